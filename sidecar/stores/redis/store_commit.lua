-- Applies a write: all its operations, or none. ARGV: clock, seen sequence, bound of the log (0: there is none), request
-- and fingerprint (empty: none), whether a refusal is not kept under the request (empty: it is), then the operations, each
-- a letter, a field, and what the letter has:
--   P  guard ttl details value digest                                             put
--   R  guard                                                                      remove
--   C  guard                                                                      check
--   I  ttl_new moves ttl_own wants details create delta minimum maximum size_max  increment
--   X                                                                             a change that only the daemon can compute
--   V  ttl_new moves ttl_own wants details found raw value digest told            the same, computed for that raw head;
--                                                                                 told: for the result (empty: the value)
--   F  found raw refusal                                                          the same, refused
-- guard: empty, the sequence to be found (0: none), -1 (of an older epoch), or E (of a newer one).
-- ttl_new: for an entry that is begun; moves: an entry's end is moved, by ttl_own or by the ttl it was last given.
-- Answers {clock, what, ...}:
--   known    record            what the request id did before
--   done     outcome {raw value ...}  applied or refused; for each changed key its head, and the value that was made here
--   load     {field raw value ...}    changes to be computed in the daemon, and what for; nothing was written
--   corrupt  field             nothing was written
local seen, changes_max = tonumber(ARGV[2]), tonumber(ARGV[3])
local request, fingerprint, tentative = ARGV[4], ARGV[5], ARGV[6] ~= ''

if request ~= '' then
  local record = call('HGET', REQUESTS, request)
  if record then return unwritten({now, 'known', record}) end
end

local position = 6
local function take()
  position = position + 1
  return ARGV[position]
end
local function take_number()
  return tonumber(take())
end

local results, writes, elsewhere = {}, {}, {}
local index = -1
local refusal, makes_room = nil, true

local FOUND, CHANGED, WANTS = 1, 2, 4
local function result(found, change, wants, told)
  local value = wants and (told or change.value) or ''
  results[#results + 1] = struct.pack('>BI8I4',
    (found and FOUND or 0) + (change and CHANGED or 0) + (wants and WANTS or 0),
    change and change.head and change.head.ends or 0, #value) .. value
end

-- Whether the guard holds; if not, this refuses the write.
local function guarded(guard, head)
  if guard == '' then return true end
  local found = live(head) and head.sequence or 0
  if guard ~= 'E' and tonumber(guard) == found then return true end
  refusal = struct.pack('>c1I4I8', guard == 'E' and 'E' or 'C', index, found)
  return false
end

local function will_put(field, old, created, ttl, details, value, value_digest, made_here)
  makes_room = false
  local change = {
    field = field, old = old, value = value, made_here = made_here,
    head = {
      kind = ENTRY, time = now, created = created, ends = ttl and now + ttl or 0, ttl = ttl or 0,
      digest = value_digest, details = details,
    },
  }
  writes[#writes + 1] = change
  return change
end

-- What a change does to an entry besides its value.
local function will_change(field, head, entry, how, value, value_digest, made_here, told)
  local change
  if entry then
    local ttl = head.ttl > 0 and head.ttl or nil
    if how.moves then ttl = how.ttl_own or ttl end
    change = will_put(field, head, head.created, ttl, head.details, value, value_digest, made_here)
    if not how.moves then change.head.ends = head.ends end
  else
    change = will_put(field, head, now, how.ttl_new, how.details, value, value_digest, made_here)
  end
  result(entry, change, how.wants, told)
end

local function take_how()
  return {
    ttl_new = take_number(), moves = take() ~= '', ttl_own = take_number(), wants = take() ~= '', details = take(),
  }
end

-- The counter's new text; nil where the daemon is to compute it, or to say what is wrong.
local function incremented(text, delta, minimum, maximum, size_max)
  if #text > 15 or not string.match(text, '^[+-]?%d+$') then return nil end
  local sum = tonumber(text) + delta
  if (minimum and sum < minimum) or (maximum and sum > maximum) then return nil end
  local made = string.format('%d', sum)
  return #made <= size_max and made or nil
end

local decide = {
  P = function(field, head, entry)
    local guard, ttl, details, value, value_digest = take(), take_number(), take(), take(), take()
    if guarded(guard, head) then
      local created = entry and head.created or now
      result(entry, will_put(field, head, created, ttl, details, value, value_digest))
    end
  end,
  R = function(field, head, entry)
    if guarded(take(), head) then
      local change = entry and {field = field, old = head}
      writes[#writes + 1] = change or nil
      result(entry, change)
    end
  end,
  C = function(_, head, entry)
    if guarded(take(), head) then result(entry) end
  end,
  I = function(field, head, entry)
    local how, create = take_how(), take() ~= ''
    local delta, minimum, maximum, size_max = take_number(), take_number(), take_number(), take_number()
    local value = entry and (call('HGET', VALUES, field) or '') or '0'
    local intact = not entry or digest(value) == head.digest
    local made = intact and (entry or create) and incremented(value, delta, minimum, maximum, size_max)
    if not made then return true end
    will_change(field, head, entry, how, made, digest(made), true)
  end,
  X = function()
    return true
  end,
  V = function(field, head, entry)
    local how, found, raw, value, value_digest, told = take_how(), take() ~= '', take(), take(), take(), take()
    if found ~= (entry or false) or raw ~= (head and head.raw or '') then return true end
    will_change(field, head, entry, how, value, value_digest, false, told ~= '' and told or nil)
  end,
  F = function(_, head, entry)
    local found, raw, refused = take() ~= '', take(), take()
    if found ~= (entry or false) or raw ~= (head and head.raw or '') then return true end
    refusal = 'J' .. refused
  end,
}

while position < #ARGV do
  local letter, field = take(), take()
  index = index + 1
  local head = load(field)
  if head == false then return {now, 'corrupt', field} end
  local entry = live(head) or false
  if decide[letter](field, head, entry) then
    elsewhere[#elsewhere + 1] = field
    elsewhere[#elsewhere + 1] = head and head.raw or ''
    elsewhere[#elsewhere + 1] = entry and call('HGET', VALUES, field) or ''
  end
  -- The first refusal is the write's, and one after a change that is not computed yet may not be the first.
  if refusal and #elsewhere == 0 then
    if request == '' or tentative then return unwritten({now, 'done', refusal, {}}) end
    remember(request, fingerprint, refusal)
    return {now, 'done', refusal, {}}
  end
  refusal = nil
end
if #elsewhere > 0 then return unwritten({now, 'load', elsewhere}) end

local told = {}
local sequence = 0
if #writes > 0 then
  local meta = load_meta(seen)
  sequence = tick(meta.sequence)
  meta.sequence = sequence
  if makes_room then relieve() end
  if changes_max > 0 then
    for _, change in ipairs(writes) do
      announce(meta, change.head and PUT or DELETE, sequence, change.field)
    end
    bound_changes(meta, changes_max)
  end
  store_meta(meta)
  for _, change in ipairs(writes) do
    if change.head then
      change.head.sequence = sequence
      put(change.field, change.old, change.head, change.value)
      told[#told + 1] = change.head.raw
    else
      told[#told + 1] = bury(change.field, change.old, sequence)
    end
    told[#told + 1] = change.made_here and change.value or ''
  end
end
local outcome = struct.pack('>c1I8', 'A', sequence) .. table.concat(results)
if request ~= '' then
  remember(request, fingerprint, outcome)
elseif #writes == 0 then
  return unwritten({now, 'done', outcome, told})
end
return {now, 'done', outcome, told}
