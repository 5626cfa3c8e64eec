#!lua
--[[
Read every register of some contracts of a pane, with the commit they are at. Writes nothing.

KEYS[1] sequence
ARGV[1] registers  msgpack map: key prefixes of the epoch's registers
ARGV[2] pane
ARGV[3] tickers    msgpack list

Returns {seq, msgpack map: quotes, trades, volumes, chain -> a register of each ticker, or false}.
]]
-- @include hashes
local found, tickers = {}, cmsgpack.unpack(ARGV[3])
for kind, prefix in pairs(cmsgpack.unpack(ARGV[1])) do found[kind] = hmget(prefix .. ARGV[2], tickers) end
return {redis.call('GET', KEYS[1]) or '0', cmsgpack.pack(found)}
