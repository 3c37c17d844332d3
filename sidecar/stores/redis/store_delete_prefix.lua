-- Deletes entries of a range of fields that are not newer than a horizon. ARGV: clock, seen sequence, bound of the log,
-- request and fingerprint (empty: none), lower and upper bound (ZRANGEBYLEX's), most entries to delete, most fields to look
-- at, horizon (empty: what was drawn last), count deleted before, field to go on after (empty: from the lower bound on).
-- What is recorded under the request goes before the last three. Answers
--   {clock, "done", horizon, count, whether all is done, field to go on after, sequence, {field, ...}}
--   {clock, "reused"} or {clock, "corrupt", field}
local seen, changes_max, request, fingerprint = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local lower, upper, limit, visits = ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])
local meta = load_meta(seen)
relieve()
local horizon, count, after = tonumber(ARGV[10]) or meta.sequence, tonumber(ARGV[11]), ARGV[12]

local record = request ~= '' and call('HGET', REQUESTS, request)
if record then
  record = unseal(request, record)
  if not record then return {now, 'corrupt', request} end
  local _, length, begin = struct.unpack('>I8I2', record)
  local kind = string.sub(record, begin + length, begin + length)
  if string.sub(record, begin, begin + length - 1) ~= fingerprint or kind ~= 'D' then return {now, 'reused'} end
  local done, rest
  horizon, count, done, rest = struct.unpack('>I8I8B', record, begin + length + 1)
  after = string.sub(record, rest)
  if done == 1 then return {now, 'done', horizon, count, 1, after, 0, {}} end
end

if after ~= '' then lower = '(' .. after end
local doomed, heads, all = {}, {}, false
while visits > 0 and #doomed < limit and not all do
  local chunk = math.min(limit - #doomed, visits)
  local fields = call('ZRANGEBYLEX', NAMES, lower, upper, 'LIMIT', 0, chunk)
  for _, field in ipairs(fields) do
    local head = load(field)
    if head == false then return {now, 'corrupt', field} end
    if live(head) and head.sequence <= horizon then
      doomed[#doomed + 1] = field
      heads[field] = head
    end
    after = field
  end
  all = #fields < chunk
  lower = '(' .. after
  visits = visits - #fields
end

local sequence = 0
if #doomed > 0 then
  sequence = tick(meta.sequence)
  meta.sequence = sequence
  if changes_max > 0 then
    for _, field in ipairs(doomed) do announce(meta, DELETE, sequence, field) end
    bound_changes(meta, changes_max)
  end
  store_meta(meta)
  for _, field in ipairs(doomed) do bury(field, heads[field], sequence) end
end
count = count + #doomed
if request ~= '' then
  remember(request, fingerprint, struct.pack('>c1I8I8B', 'D', horizon, count, all and 1 or 0) .. after)
end
return {now, 'done', horizon, count, all and 1 or 0, after, sequence, doomed}
