-- Begins every script of the Store. A shard is nine keys of one hash slot, so a script sees all of it, and declares all
-- that it touches:
--   HEADS     hash: field -> all of an entry but its value, or a tombstone     ENDS    sorted set: field by expire time
--   VALUES    hash: field -> value                                            GRAVES  sorted set: field by delete time
--   NAMES     sorted set of one score: fields of entries in key order         ASKED   sorted set: request by its time
--   REQUESTS  hash: request -> what it did                                    LOG     stream: a change an item
--   META      hash: sequence (the last one drawn), change (the last id), floor (ids up to it were forgotten), ...
-- A field is the namespace, its length before it, then the key; so is a request.
--
-- The one rule of writing: of what a script writes, the first command is one that a full server refuses (HSET, ZADD,
-- XADD), or `relieve`. A server refuses only the first write of a script, so either nothing is written, or all.
-- Nothing raises after it: what can be wrong is looked at before.
--
-- Numbers are doubles, exact up to 2^53: sequences (48 bits), times and ttls (milliseconds) are below that.
local HEADS, VALUES, NAMES, ENDS, GRAVES, REQUESTS, ASKED, LOG, META = unpack(KEYS)
local ENTRY, TOMBSTONE = 1, 2
local PUT, DELETE, EXPIRE, TOUCH = 1, 2, 3, 4
local call = redis.call

-- The authority's clock in milliseconds: the server's, or in tests the given one.
local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What is drawn after `last`. It is at least the time since 2025 in 1/128 ms: what was handed out and then lost with the
-- server's memory lies behind that, unless 128,000 a second were drawn on average. It suffices until 2092.
local function tick(last)
  return math.max(last, math.min((now - 1735689600000) * 128, 0xf00000000000)) + 1
end

local function load_meta(seen)
  local found = call('HMGET', META, 'sequence', 'change', 'floor')
  local change = tonumber(found[2] or '') or tick(0)
  return {
    -- `seen`: the greatest sequence that the caller knows of, should the server's clock have been set back, too.
    sequence = math.max(tonumber(found[1] or '0'), seen),
    change = change,
    floor = tonumber(found[3] or '') or change,
  }
end

local function store_meta(meta)
  call('HSET', META, 'sequence', meta.sequence, 'change', meta.change, 'floor', meta.floor)
end

-- Begins a script that makes room: its writes are done on a full server, too.
local function relieve()
  call('HDEL', META, '')
end

-- What a script answers that has written nothing: READONLY where the server was made a replica, whose data may be old,
-- which an attempt to write tells. (Other reasons not to write are none not to read.)
local function unwritten(answer)
  local told = redis.pcall('HDEL', META, '')
  local readonly = type(told) == 'table' and told.err and string.find(told.err, 'READONLY', 1, true)
  return readonly and told or answer
end

-- Eight hex digits of the SHA-1 of a field and what it holds go before that: what does not verify is not trusted.
local function digest(text)
  return string.sub(redis.sha1hex(text), 1, 8)
end

local function seal(field, text)
  return digest(field .. text) .. text
end

local function unseal(field, raw)
  local text = string.sub(raw, 9)
  return string.sub(raw, 1, 8) == digest(field .. text) and text or nil
end

-- Kind, sequence, update or delete time, create time, expire time (0: none), ttl (0: none), the value's digest; then the
-- content type, schema version and labels in a form that only the daemon reads.
local HEAD, HEAD_LENGTH = '>BI8I8I8I8I8c8', 49

-- A head, nil where there is none, or false if it does not verify.
local function parse(field, raw)
  if not raw then return nil end
  local text = unseal(field, raw)
  if not text then return false end
  local kind, sequence, time, created, ends, ttl, value_digest = struct.unpack(HEAD, text)
  return {
    raw = raw, kind = kind, sequence = sequence, time = time, created = created, ends = ends, ttl = ttl,
    digest = value_digest, details = string.sub(text, HEAD_LENGTH + 1),
  }
end

local function load(field)
  return parse(field, call('HGET', HEADS, field))
end

-- Whether a reader may see it.
local function live(head)
  return head and head.kind == ENTRY and (head.ends == 0 or head.ends > now)
end

local function store_head(field, head)
  head.raw = seal(field, struct.pack(HEAD, head.kind, head.sequence, head.time, head.created, head.ends, head.ttl,
    head.digest) .. head.details)
  call('HSET', HEADS, field, head.raw)
end

local function store_end(field, old_ends, ends)
  if ends > 0 then
    call('ZADD', ENDS, ends, field)
  elseif old_ends > 0 then
    call('ZREM', ENDS, field)
  end
end

-- An entry in the place of `old`, which may be nil, an entry or a tombstone.
local function put(field, old, head, value)
  store_head(field, head)
  call('HSET', VALUES, field, value)
  store_end(field, old and old.ends or 0, head.ends)
  if not old or old.kind == TOMBSTONE then call('ZADD', NAMES, 0, field) end
  if old and old.kind == TOMBSTONE then call('ZREM', GRAVES, field) end
end

-- A tombstone in the place of an entry; its raw head.
local function bury(field, old, sequence)
  local head = {
    kind = TOMBSTONE, sequence = sequence, time = now, created = 0, ends = 0, ttl = 0,
    digest = '\0\0\0\0\0\0\0\0', details = '',
  }
  store_head(field, head)
  call('HDEL', VALUES, field)
  call('ZREM', NAMES, field)
  store_end(field, old.ends, 0)
  call('ZADD', GRAVES, now, field)
  return head.raw
end

-- A change row. `meta` is to be stored after it.
local function announce(meta, kind, sequence, field)
  meta.change = tick(meta.change)
  call('XADD', LOG, meta.change, 'c', struct.pack('>BI8I8', kind, sequence, now) .. field)
end

-- Forgets the `count` oldest change rows. `meta` is to be stored after it.
local function forget_changes(meta, count)
  local oldest = call('XRANGE', LOG, '-', '+', 'COUNT', count)
  if #oldest == 0 then return end
  local id = tonumber(string.match(oldest[#oldest][1], '^%d+'))
  call('XTRIM', LOG, 'MINID', id + 1)
  meta.floor = math.max(meta.floor, id)
end

-- Keeps the log within its bound, give or take a hundred.
local function bound_changes(meta, changes_max)
  local surplus = call('XLEN', LOG) - changes_max
  if surplus >= 100 then forget_changes(meta, surplus) end
end

local function remember(request, fingerprint, outcome)
  call('HSET', REQUESTS, request, seal(request, struct.pack('>I8I2', now, #fingerprint) .. fingerprint .. outcome))
  call('ZADD', ASKED, now, request)
end
