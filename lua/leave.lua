#!lua
--[[
Take a consumer off its group. What it still owns goes to the colleague who was heard of last, so idle that the next
sweep of whoever comes first takes it at once, and without counting as a failed attempt. The last of a group cannot leave
with entries in hand: deleting it would drop them, so it stays, and who comes next takes them over.

KEYS[1] stream
ARGV[1] group
ARGV[2] consumer

Returns 1 when it was removed, 0 when it still owns entries and nobody else is there.
]]
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local heir, least = consumer, math.huge
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  local said = {}
  for i = 1, #row, 2 do said[row[i]] = row[i + 1] end
  if said.name ~= consumer and said.idle < least then heir, least = said.name, said.idle end
end
local after = '-'
while true do
  local rows = redis.call('XPENDING', stream, group, after, '+', 100, consumer)
  if #rows == 0 then break end
  for _, row in ipairs(rows) do
    redis.call(
      'XCLAIM', stream, group, heir, 0, row[1], 'IDLE', 3600000, 'RETRYCOUNT', math.max(row[4] - 1, 0), 'JUSTID'
    )
  end
  after = '(' .. rows[#rows][1]
end
if #redis.call('XPENDING', stream, group, '-', '+', 1, consumer) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
return 1
