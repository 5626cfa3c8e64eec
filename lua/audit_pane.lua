#!lua
--[[
Read what was computed of a pane, and whether anything is marked or being computed. Quiet at two instants with the same
number of claims: nothing of the pane has changed between them. Writes nothing.

KEYS[1] lease      KEYS[2] dirty      KEYS[3] tiles      KEYS[4] grids      KEYS[5] spot
KEYS[6] owed
ARGV[1] pane

Returns {quiet (0/1), claims, spot, every tile, the rest (flat list)}.
]]
local lease, dirty, tiles, grids, spot = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local quiet = redis.call('EXISTS', lease, dirty) == 0 and redis.call('HEXISTS', tiles, 'version') == 1
  and redis.call('HEXISTS', KEYS[6], ARGV[1]) == 0
return {quiet and 1 or 0, tonumber(redis.call('HGET', tiles, 'claims') or 0), redis.call('GET', spot) or '',
  quiet and redis.call('GET', grids) or '', quiet and redis.call('HGETALL', tiles) or {}}
