-- Appends messages to their streams, of an order only what has nothing before it that was refused.
-- KEYS: the streams. ARGV: maxlen (0: none), then of each message: index of its stream, order, count of its fields and
-- values, fields and values. Answers for each: 1 it was added, 0 it was not tried, text: why it was refused.
local refused, replies, at = {}, {}, 2
while at <= #ARGV do
  local stream, order, first = KEYS[tonumber(ARGV[at])], ARGV[at + 1], at + 3
  at = first + tonumber(ARGV[at + 2])
  if refused[order] then
    replies[#replies + 1] = 0
  else
    local command = {'XADD', stream}
    if ARGV[1] ~= '0' then
      command = {'XADD', stream, 'MAXLEN', '~', ARGV[1]}
    end
    command[#command + 1] = '*'
    for index = first, at - 1 do
      command[#command + 1] = ARGV[index]
    end
    local reply = redis.pcall(unpack(command))
    if type(reply) == 'table' and reply.err then
      refused[order] = true
      replies[#replies + 1] = reply.err
    else
      replies[#replies + 1] = 1
    end
  end
end
return replies
