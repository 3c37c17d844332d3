-- Tell a committed state. (The header's bytes: codec.py.)
-- KEYS[1] the slot. ARGV: generation, version (8 bytes each), the new slot ('' for a tombstone), its life in Redis (ms).
local held = redis.call('GETRANGE', KEYS[1], 0, 29)
if held == '' then
  -- A writer never creates: a reader of before the commit may be about to.
  return 0
end
local kind = string.sub(held, 6, 6)
if string.byte(held, 5) == 1 and (kind == 'E' or kind == 'T') and string.sub(held, 7, 14) == ARGV[1] then
  local high, low = struct.unpack('>I4I4', held, 15)
  local new_high, new_low = struct.unpack('>I4I4', ARGV[2])
  if high > new_high or (high == new_high and low >= new_low) then
    return 0
  end
  if ARGV[3] ~= '' then
    -- Where the memory is full the old copy must go nevertheless.
    local done = redis.pcall('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
    if not done.err then
      return 1
    end
  end
end
-- A placeholder, a cached miss, a copy of another generation or format, or one that is deleted.
redis.call('UNLINK', KEYS[1])
return 2
