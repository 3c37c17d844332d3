-- Reads keys. ARGV: clock, then fields. Answers {clock, heads, values}.
local heads = call('HMGET', HEADS, unpack(ARGV, 2))
local values = call('HMGET', VALUES, unpack(ARGV, 2))
return unwritten({now, heads, values})
