#!lua
--[[
Read the values of some contracts of a pane, with the number of the claim they follow: who has them all at one number
has what a claim at that number needs, since everything that changes from then on is marked. Writes nothing.

KEYS[1] tiles      what was computed of the pane
ARGV[1] registers  msgpack map: key prefixes of the epoch's registers
ARGV[2] pane
ARGV[3] tickers    msgpack list

Returns {claims, msgpack list: tickers, quotes, chain, volumes}.
]]
-- @include hashes
-- @include values
return {tonumber(redis.call('HGET', KEYS[1], 'claims') or 0),
  registers_of(cmsgpack.unpack(ARGV[1]), ARGV[2], cmsgpack.unpack(ARGV[3]))}
