-- Moves ends. ARGV: clock, bound of the log (0: announce nothing), slack (part of a ttl), then for each touch: field, ttl
-- (empty: the last given), whether it only extends. Answers {clock, "done", {found, end (0: none), ...}} or
-- {clock, "corrupt", field}. A key that is named twice is moved by the later from where the earlier left it.
local changes_max, slack = tonumber(ARGV[2]), tonumber(ARGV[3])
local heads, moved, answers = {}, {}, {}

local function gains(head, ends, ttl)
  if head.ends == 0 then return false end
  return ends == 0 or ends - head.ends > ttl * slack
end

for position = 4, #ARGV, 3 do
  local field, ttl, extends = ARGV[position], tonumber(ARGV[position + 1]), ARGV[position + 2] ~= ''
  local head = heads[field]
  if head == nil then
    head = load(field)
    if head == false then return {now, 'corrupt', field} end
    heads[field] = head
  end
  if live(head) then
    ttl = ttl or head.ttl
    local ends = ttl > 0 and now + ttl or 0
    if not (extends and not gains(head, ends, ttl)) and (ends ~= head.ends or ttl ~= head.ttl) then
      if not head.moved then
        head.moved, head.old_ends = true, head.ends
        moved[#moved + 1] = field
      end
      head.ends, head.ttl = ends, ttl
    end
    answers[#answers + 1] = 1
    answers[#answers + 1] = head.ends
  else
    answers[#answers + 1] = 0
    answers[#answers + 1] = 0
  end
end

if #moved == 0 then return unwritten({now, 'done', answers}) end
if changes_max > 0 then
  local meta = load_meta(0)
  for _, field in ipairs(moved) do
    announce(meta, TOUCH, heads[field].sequence, field)
  end
  bound_changes(meta, changes_max)
  store_meta(meta)
end
for _, field in ipairs(moved) do
  store_head(field, heads[field])
  store_end(field, heads[field].old_ends, heads[field].ends)
end
return {now, 'done', answers}
