#!lua
--[[
Read what was computed of a pane, all at one commit. Writes nothing.

KEYS[1] tiles      what was computed
KEYS[2] grids      every tile

Returns {every tile, the rest (flat list)}.
]]
return {redis.call('GET', KEYS[2]) or '', redis.call('HGETALL', KEYS[1])}
