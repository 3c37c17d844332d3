-- Fill or give back a lease: only if that very placeholder is still there.
-- KEYS[1] the slot. ARGV: the placeholder, the new slot ('' to give back), its life in Redis (ms). Answers 1 if stored.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] ~= '' then
  -- Where the memory is full the placeholder goes: the next reader need not wait for its deadline.
  local done = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  if not done.err then
    return 1
  end
end
redis.call('DEL', KEYS[1])
return 0
