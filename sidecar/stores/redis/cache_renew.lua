-- Keep a turn, and how far its owner came.
-- KEYS[1] the turn. ARGV: generation, owner, cursor, new deadline. Answers 1; 0: the turn is another's, or was forgotten.
local generation, owner = unpack(redis.call('HMGET', KEYS[1], 'generation', 'owner'))
if generation ~= ARGV[1] or owner ~= ARGV[2] then
  return 0
end
-- Only a script's first write is refused for lack of memory, and this one takes none.
redis.call('PERSIST', KEYS[1])
redis.call('HSET', KEYS[1], 'cursor', ARGV[3], 'deadline', ARGV[4])
return 1
