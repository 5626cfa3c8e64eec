#!lua
--[[
Read the values of some contracts of a pane, with the number of the claim they follow: who has them all at one number
has what a claim at that number needs, since everything that changes from then on is marked. Writes nothing.

KEYS[1] tiles      what was computed of the pane
ARGV[1] contract   key prefix of the epoch's contracts
ARGV[2] tickers    msgpack list

Returns {claims, msgpack list: ticker, bid, ask, iv, gamma, oi, volume, ...}.
]]
-- @include values
return {tonumber(redis.call('HGET', KEYS[1], 'claims') or 0), values_of(ARGV[1], cmsgpack.unpack(ARGV[2]))}
