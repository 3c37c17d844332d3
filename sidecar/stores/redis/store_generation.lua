-- The generation of cached entries. ARGV: clock, identity of the cache. It rises when another cache is seen, and does not
-- come again when this store's memory is lost.
local known = call('HMGET', META, 'cache', 'generation')
local generation = tonumber(known[2] or '0')
if known[1] ~= ARGV[2] or generation == 0 then
  generation = tick(generation)
  call('HSET', META, 'cache', ARGV[2], 'generation', generation)
end
return unwritten({now, generation})
