-- Counts entries by namespace. ARGV: clock, lower bound of the fields (ZRANGEBYLEX's), most entries of a namespace to look
-- at, most of all. What is looked at is spread evenly over a namespace's keys.
-- Answers {clock, lower bound to go on from (empty: that is all), {namespace, entries that are there, looked at, live among
-- those, bytes of their keys and values, ...}}.
local lower, sample_max, visits = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local found = {}

local function look_at(scope, field)
  local raw = call('HGET', HEADS, field)
  if not raw then return 0, 0 end
  -- Not verified: a wrong size of one among many is no harm.
  local _, _, _, _, ends = struct.unpack(HEAD, string.sub(raw, 9))
  if ends > 0 and ends <= now then return 0, 0 end
  return 1, #field - #scope + call('HSTRLEN', VALUES, field)
end

while visits > 0 do
  local first = call('ZRANGEBYLEX', NAMES, lower, '+', 'LIMIT', 0, 1)[1]
  if not first then return unwritten({now, '', found}) end
  local scope = string.sub(first, 1, 2 + struct.unpack('>I2', first))
  -- No UTF-8 has the byte FF.
  local beyond = '(' .. scope .. '\255'
  local count, rank = call('ZLEXCOUNT', NAMES, '[' .. scope, beyond), call('ZRANK', NAMES, first)
  local looked = math.min(count, sample_max)
  local live, size = 0, 0
  for number = 0, looked - 1 do
    local position = rank + math.floor(number * count / looked)
    local one, its = look_at(scope, call('ZRANGE', NAMES, position, position)[1])
    live, size = live + one, size + its
  end
  for _, told in ipairs({string.sub(scope, 3), count, looked, live, size}) do found[#found + 1] = told end
  visits = visits - looked - 1
  lower = beyond
end
return unwritten({now, lower, found})
