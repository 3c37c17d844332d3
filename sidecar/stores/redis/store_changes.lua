-- Reads change rows. ARGV: clock, cursor (empty: only the newest one is wanted), limit. Answers {clock, cursor after them,
-- whether some before were forgotten, {row, ...}, {the cursor after each, ...}}.
local meta = load_meta(0)

-- Another process than the last reader's: a restart or a failover may have undone what was told.
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
if call('HGET', META, 'run') ~= run then
  meta.change = tick(meta.change)
  meta.floor = meta.change
  relieve()
  call('HSET', META, 'run', run)
  store_meta(meta)
end

if ARGV[2] == '' then return unwritten({now, meta.change, 0, {}, {}}) end
local cursor = tonumber(ARGV[2])
local gap = cursor < meta.floor or cursor > meta.change
if gap then cursor = meta.floor end
local rows, ids = {}, {}
for _, item in ipairs(call('XRANGE', LOG, cursor + 1, '+', 'COUNT', ARGV[3])) do
  cursor = tonumber(string.match(item[1], '^%d+'))
  rows[#rows + 1], ids[#ids + 1] = item[2][2], cursor
end
return unwritten({now, cursor, gap and 1 or 0, rows, ids})
