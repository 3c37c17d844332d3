-- Claim the turn to repair a generation.
-- KEYS[1] the turn. ARGV: generation, owner, cursor to begin with ('': none), now, new deadline.
-- Answers the cursor; '' where none is known and none given; 0: it is another's turn.
local generation, owner, cursor, deadline =
  unpack(redis.call('HMGET', KEYS[1], 'generation', 'owner', 'cursor', 'deadline'))
if generation ~= ARGV[1] then
  if ARGV[3] == '' then
    return ''
  end
  cursor = ARGV[3]
elseif owner ~= ARGV[2] and tonumber(ARGV[4]) < tonumber(deadline) then
  return 0
end
-- Only a script's first write is refused for lack of memory, and this one takes none.
redis.call('PERSIST', KEYS[1])
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'owner', ARGV[2], 'cursor', cursor, 'deadline', ARGV[5])
return cursor
