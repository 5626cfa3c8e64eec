#!lua
--[[
Decide what a complete chain is: a refresh of the active epoch, the beginning of a new one, or too late to matter.

KEYS[1] stream     chain stream          KEYS[6] geometry   of the new epoch
KEYS[2] active     symbol -> epoch       KEYS[7] staged     chunks staged of the new epoch
KEYS[3] staging    symbol -> epoch       KEYS[8] meta       of the new epoch
KEYS[4] retiring   epochs to be let go   KEYS[9] analytics
KEYS[5] expected_meta  meta of the epoch the caller takes for the active one
ARGV[1] group
ARGV[2] consumer
ARGV[3] entry
ARGV[4] symbol
ARGV[5] epoch      id this chain would make
ARGV[6] expected   the epoch the caller takes for the active one, or ''
ARGV[7] ts         snapshot time, ms
ARGV[8] hash       geometry hash
ARGV[9] force      1: a new epoch even if the geometry is the same
ARGV[10] panes     msgpack list: pane, packed geometry, ...
ARGV[11] facts     msgpack list: fields of the new epoch's meta
ARGV[12] registers msgpack map: key prefixes of the new epoch's registers

Returns 'stage', 'refresh', 'superseded' (acknowledged), 'wait' (an older chain of this underlying is not done),
'epochs' (the active epoch is another) or 'gone'.
]]
local stream, active, staging, retiring, expected_meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local geometry, staged, meta, analytics = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local group, consumer, entry, symbol, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local expected, ts, hash, force = ARGV[6], ARGV[7], ARGV[8], ARGV[9]

-- @include own
if #take(stream, group, consumer, {entry}) == 0 then return 'gone' end

-- Chains of one underlying are done in the order of the stream, whoever holds them.
for _, row in ipairs(redis.call('XPENDING', stream, group, '-', '(' .. entry, 1000)) do
  local older = redis.call('XRANGE', stream, row[1], row[1])[1]
  if older then
    for i = 1, #older[2], 2 do
      if older[2][i] == 'symbol' and older[2][i + 1] == symbol then return 'wait' end
    end
  end
end

if (redis.call('HGET', active, symbol) or '') ~= expected then return 'epochs' end
local under_way = redis.call('HGET', staging, symbol)
if under_way == epoch then return 'stage' end

if expected ~= '' then
  local known = redis.call('HMGET', expected_meta, 'snapshot_ts', 'refreshed_ts', 'geometry')
  local newest = math.max(tonumber(known[1]), tonumber(known[2] or 0))
  local same = known[3] == hash and force ~= '1'
  if tonumber(ts) < newest or (tonumber(ts) == newest and not same and epoch <= expected) then
    redis.call('HINCRBY', analytics, 'superseded', 1)
    redis.call('XACK', stream, group, entry)
    return 'superseded'
  end
  if under_way then -- its chain was buried: nobody will finish it
    redis.call('HDEL', staging, symbol)
    redis.call('SADD', retiring, under_way)
  end
  if same then return 'refresh' end
elseif under_way then
  redis.call('SADD', retiring, under_way)
end

-- An attempt at this very epoch may have been given up, and its keys their TTL: nothing of it may be inherited.
redis.call('DEL', geometry, staged, meta)
local panes = cmsgpack.unpack(ARGV[10])
local registers = cmsgpack.unpack(ARGV[12])
for i = 1, #panes, 2 do
  redis.call('HSET', geometry, panes[i], panes[i + 1])
  for _, prefix in pairs(registers) do redis.call('UNLINK', prefix .. panes[i]) end
end
redis.call('HSET', meta, 'state', 'staging', unpack(cmsgpack.unpack(ARGV[11])))
redis.call('SREM', retiring, epoch)
redis.call('HSET', staging, symbol, epoch)
return 'stage'
