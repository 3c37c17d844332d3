-- Reads a page in key order. ARGV: clock, lower and upper bound of the fields (ZRANGEBYLEX's), limit of entries, bytes of
-- values, entries and bytes that the page has already, whether only keys are wanted, most fields to look at.
-- Answers {clock, what follows, last field, {field, head, value, ...}}: "more" entries, "end", or "on": unknown, as many
-- ended ones were passed; call again from the last field on.
local lower, upper = ARGV[2], ARGV[3]
local limit, bytes_max, count, size = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local keys_only, visits = ARGV[8] ~= '', tonumber(ARGV[9])
local found, last = {}, ''

while visits > 0 do
  local chunk = math.min(limit - count + 1, visits)
  local fields = call('ZRANGEBYLEX', NAMES, lower, upper, 'LIMIT', 0, chunk)
  for _, field in ipairs(fields) do
    local raw = call('HGET', HEADS, field)
    local head = parse(field, raw)
    -- What does not verify is told, too: the reader is to hear of it.
    if head == false or live(head) then
      if count == limit then return unwritten({now, 'more', last, found}) end
      local value = not keys_only and call('HGET', VALUES, field) or ''
      size = size + #value
      if count > 0 and size > bytes_max then return unwritten({now, 'more', last, found}) end
      count = count + 1
      found[#found + 1] = field
      found[#found + 1] = raw
      found[#found + 1] = value
    end
    last = field
  end
  if #fields < chunk then return unwritten({now, 'end', last, found}) end
  lower = '(' .. last
  visits = visits - #fields
end
return unwritten({now, 'on', last, found})
