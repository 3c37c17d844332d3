-- Cleans. ARGV: clock, seen sequence, bound of the log, most entries, tombstones, requests and changes, retention of
-- tombstones (and of changes) and of requests. Answers {clock, sequence, tombstones, requests, changes, corrupt entries,
-- {field, ...}}: the expired ones, which share a sequence.
local meta = load_meta(tonumber(ARGV[2]))
relieve()
local changes_max = tonumber(ARGV[3])
local entries_max, graves_max, requests_max, rows_max =
  tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local cutoff, request_cutoff = now - tonumber(ARGV[8]), now - tonumber(ARGV[9])

local function oldest(index, to, count)
  return call('ZRANGEBYSCORE', index, '-inf', to, 'LIMIT', 0, count)
end

local ended, heads, corrupt = {}, {}, {}
for _, field in ipairs(oldest(ENDS, now, entries_max)) do
  local head = load(field)
  if head and head.kind == ENTRY and head.ends > 0 and head.ends <= now then
    ended[#ended + 1] = field
    heads[field] = head
  else
    corrupt[#corrupt + 1] = field
  end
end
local graves, requests = oldest(GRAVES, cutoff, graves_max), oldest(ASKED, request_cutoff, requests_max)
local rows = 0
if changes_max > 0 then
  for _, item in ipairs(call('XRANGE', LOG, '-', '+', 'COUNT', rows_max)) do
    local _, _, time = struct.unpack('>BI8I8', item[2][2])
    if time > cutoff then break end
    rows = rows + 1
  end
end

local sequence = 0
if #ended > 0 then
  sequence = tick(meta.sequence)
  meta.sequence = sequence
  if changes_max > 0 then
    for _, field in ipairs(ended) do announce(meta, EXPIRE, sequence, field) end
  end
end
if rows > 0 then forget_changes(meta, rows) end
if #ended > 0 or rows > 0 then store_meta(meta) end
for _, field in ipairs(ended) do bury(field, heads[field], sequence) end
-- Left for those who read it to hear of; without its end it is not found here again.
for _, field in ipairs(corrupt) do call('ZREM', ENDS, field) end
for _, field in ipairs(graves) do
  call('HDEL', HEADS, field)
  call('ZREM', GRAVES, field)
end
for _, request in ipairs(requests) do
  call('HDEL', REQUESTS, request)
  call('ZREM', ASKED, request)
end
return {now, sequence, #graves, #requests, rows, #corrupt, ended}
