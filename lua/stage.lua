#!lua
--[[
Write one chunk of a new epoch's contracts, each merged with what the active epoch knows of it (newest wins), so that
ticks applied before the chunk are not lost. A chunk that was staged already counts once and changes nothing.

KEYS[1] stream     chain stream
KEYS[2] staging    symbol -> epoch
KEYS[3] staged     chunk numbers done
KEYS[4] sequence   KEYS[5] commits   the order of commits
ARGV[1] group
ARGV[2] consumer
ARGV[3] entry
ARGV[4] symbol
ARGV[5] epoch
ARGV[6] chunk      its number
ARGV[7] ts         snapshot time, ms
ARGV[8] fresh      msgpack map: key prefixes of the new epoch's registers
ARGV[9] known      the same of the active epoch, or an empty map
ARGV[10] panes     msgpack list: {pane, tickers, and by kind a register of each or false: quotes, trades, volumes, chain}
ARGV[11] legends   msgpack map: the field of a hash that tells what it holds, and by kind what it tells

Returns 1; 0 where the entry is another's or the epoch is no longer being staged.
]]
local stream, staging, staged = KEYS[1], KEYS[2], KEYS[3]
local names = {sequence = KEYS[4], commits = KEYS[5]}
local group, consumer, entry, symbol, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local chunk, ts, fresh, known = ARGV[6], ARGV[7], cmsgpack.unpack(ARGV[8]), cmsgpack.unpack(ARGV[9])
local panes, legends = cmsgpack.unpack(ARGV[10]), cmsgpack.unpack(ARGV[11])

-- @include own
-- @include newest
-- @include hashes
-- @include note

if #take(stream, group, consumer, {entry}) == 0 or redis.call('HGET', staging, symbol) ~= epoch then return 0 end
if redis.call('SISMEMBER', staged, chunk) == 1 then return 1 end

local function write(kind, pane, tickers, said)
  local held = kind ~= 'chain' and known[kind] and hmget(known[kind] .. pane, tickers) or {}
  local sets = {legends.field, legends[kind]}
  for i, ticker in ipairs(tickers) do
    local register = held[i]
    if said[i] and newer(said[i], register) then register = said[i] end
    -- Every contract has a quote, be it none: that is how ticks know what is listed.
    if register or kind == 'quotes' then
      sets[#sets + 1] = ticker
      sets[#sets + 1] = register or ''
    end
  end
  hset(fresh[kind] .. pane, sets)
end

for _, of in ipairs(panes) do
  for kind in pairs(fresh) do write(kind, of.pane, of.tickers, of[kind]) end
end
note(names, symbol, epoch, 'stage', entry, ts, chunk)
redis.call('SADD', staged, chunk)
return 1
