#!lua
--[[
Read what was computed of a pane, all at one instant. Writes nothing.

KEYS[1] tiles      what was computed
KEYS[2] grids      every tile
ARGV[1] known      the commit of the greeks that the caller has, or ''

Returns {every tile, commit of the tiles, commit of the greeks, the rest (flat list; empty where the caller has it)}.
]]
local seq = redis.call('HMGET', KEYS[1], 'seq', 'greeks')
return {redis.call('GET', KEYS[2]) or '', seq[1] or '', seq[2] or '',
  seq[2] == ARGV[1] and {} or redis.call('HGETALL', KEYS[1])}
