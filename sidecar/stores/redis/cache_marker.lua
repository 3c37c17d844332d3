-- What is lost in a flush: a random name, given by whoever finds none.
-- KEYS[1] the marker. ARGV[1] a new name. Answers the marker's name.
local marker = redis.call('GET', KEYS[1])
if not marker then
  -- Only a script's first write is refused for lack of memory, and this one takes none.
  redis.call('PERSIST', KEYS[1])
  redis.call('SET', KEYS[1], ARGV[1])
  marker = ARGV[1]
end
return marker
