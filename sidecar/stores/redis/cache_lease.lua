-- Give the lease of a key that has no copy. (The header's bytes: codec.py.)
-- KEYS[1] the slot. ARGV: generation (8 bytes), now (ms), the placeholder, its life in Redis (ms), 'reader' or 'writer'.
-- Answers 1: the lease is the caller's; 0: it is somebody's, or a writer found a copy; to a reader a copy or cached miss.
local reader = ARGV[5] == 'reader'
local slot
if reader then
  slot = redis.call('GET', KEYS[1]) or ''
else
  slot = redis.call('GETRANGE', KEYS[1], 0, 29)
end
if #slot >= 30 and string.byte(slot, 5) == 1 and string.sub(slot, 7, 14) == ARGV[1]
  and tonumber(ARGV[2]) < struct.unpack('>I8', slot, 23) then
  local kind = string.sub(slot, 6, 6)
  if kind == 'P' then
    return 0
  end
  if reader then
    return slot
  end
  -- To a writer a cached miss gives way.
  if kind ~= 'M' then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1
