#!lua
--[[
Read some contracts whole, with the commit they are at. Writes nothing.

KEYS[1] sequence
ARGV[1] contract   key prefix of the epoch's contracts
ARGV[2] tickers    msgpack list

Returns {seq, msgpack list: ticker, {field, value, ...}, ...}.
]]
local found = {}
for _, ticker in ipairs(cmsgpack.unpack(ARGV[2])) do
  found[#found + 1] = ticker
  found[#found + 1] = redis.call('HGETALL', ARGV[1] .. ticker)
end
return {redis.call('GET', KEYS[1]) or '0', cmsgpack.pack(found)}
