#!lua
--[[
Apply one batch of spot prices: of each underlying and minute the newest.

KEYS[1] stream     the stream the batch was read from
ARGV[1] group
ARGV[2] consumer
ARGV[3] entries    msgpack list: ids of the batch
ARGV[4] sections   msgpack list, one an underlying: {symbol, active (epoch id or ''), ids, names, counts {field, n, ...},
                   spots {price, ts, origin, ...}: each minute's newest, in the order of their time}

Returns {'ok', applied}; {'gone', id, ...} with what is left; {'epochs'} where an active epoch is not the one named.
]]
local stream = KEYS[1]
local group, consumer = ARGV[1], ARGV[2]
local entries, sections = cmsgpack.unpack(ARGV[3]), cmsgpack.unpack(ARGV[4])

-- @include own
-- @include note
-- @include mark
-- @include mark_model
-- @include take_spot

local left = own(stream, group, consumer, entries)
if #left < #entries then return {'gone', unpack(left)} end
for _, s in ipairs(sections) do
  if (redis.call('HGET', s.names.active, s.symbol) or '') ~= s.active then return {'epochs'} end
end
local applied = 0
for _, s in ipairs(sections) do
  local taken = 0
  for i = 1, #s.spots, 3 do
    if take_spot(s.names, s.symbol, s.active, s.spots[i], s.spots[i + 1], s.spots[i + 2]) then taken = taken + 1 end
  end
  if taken > 0 then
    note(s.names, s.symbol, s.active, 'spot', s.ids, s.spots[#s.spots - 1])
    redis.call('HINCRBY', s.names.analytics, 'applied', taken)
    applied = applied + taken
  end
  for i = 1, #s.counts, 2 do redis.call('HINCRBY', s.names.analytics, s.counts[i], s.counts[i + 1]) end
end
redis.call('XACK', stream, group, unpack(entries))
return {'ok', applied}
