#!lua
--[[
Read one pane as it is now: the values of its contracts and what was computed of them, at the same instant. Writes
nothing.

KEYS[1] lease      KEYS[2] dirty      KEYS[3] tiles
KEYS[4] geometry   KEYS[5] sequence   KEYS[6] spot
ARGV[1] pane
ARGV[2] contract   key prefix of the epoch's contracts

Returns {quiet (1: nothing is marked or being computed), seq, spot, values (as claim_pane), tiles (flat list)}.
]]
local lease, dirty, tiles, geometry, sequence, spot = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local pane, contract = ARGV[1], ARGV[2]
local quiet = redis.call('EXISTS', lease, dirty) == 0 and redis.call('HEXISTS', tiles, 'version') == 1
local listed = redis.call('HGET', geometry, pane)
local values = {}
if quiet and listed then
  listed = cmsgpack.unpack(listed)
  for _, side in ipairs({listed.call, listed.put}) do
    for i = 1, #listed.strikes do
      if side[i] then
        local held = redis.call('HMGET', contract .. side[i], 'bid', 'ask', 'iv', 'gamma', 'oi', 'volume')
        values[#values + 1] = side[i]
        for j = 1, 6 do values[#values + 1] = held[j] end
      end
    end
  end
end
return {quiet and 1 or 0, redis.call('GET', sequence) or '0', redis.call('GET', spot) or '', cmsgpack.pack(values),
  quiet and redis.call('HGETALL', tiles) or {}}
