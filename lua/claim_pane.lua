#!lua
--[[
Take a pane to compute it: the lease, its marks, and the values needed.

KEYS[1] stream     dirty stream         KEYS[6] dirty_panes  marked or leased panes
KEYS[2] lease      token of the holder  KEYS[7] geometry     pane -> strikes and tickers
KEYS[3] dirty      marks of the pane    KEYS[8] active       symbol -> epoch
KEYS[4] tiles      what was computed    KEYS[9] sequence
KEYS[5] queued     pane -> its entry    KEYS[10] spot
ARGV[1] group
ARGV[2] consumer
ARGV[3] entry
ARGV[4] symbol
ARGV[5] epoch
ARGV[6] pane
ARGV[7] contract   key prefix of the epoch's contracts
ARGV[8] cached     the claim number whose values the caller still holds, or ''

Returns {'claimed', token, claim number, seq, spot, whole (0/1), msgpack list: ticker, bid, ask, iv, gamma, oi, volume,
...}, or one word: 'gone', 'retired' (the epoch), 'held' (by another, who will see the marks) or 'clean'; all but
'gone' acknowledged.
]]
local stream, lease, dirty, tiles, queued = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local dirty_panes, geometry, active, sequence, spot = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local group, consumer, entry, symbol, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local pane, contract, cached = ARGV[6], ARGV[7], ARGV[8]

-- @include own
if #own(stream, group, consumer, {entry}) == 0 then return {'gone'} end
local function vanish(why)
  redis.call('XACK', stream, group, entry)
  return {why}
end
if redis.call('HGET', active, symbol) ~= epoch then return vanish('retired') end
local holder = redis.call('GET', lease)
local own_lease = holder and string.match(holder, '^[^/]+') == entry
if holder and not own_lease then return vanish('held') end
local marks = redis.call('SMEMBERS', dirty)
if #marks == 0 and not own_lease then return vanish('clean') end

local number = redis.call('HINCRBY', tiles, 'claims', 1)
local token = entry .. '/' .. number
redis.call('SET', lease, token)
redis.call('DEL', dirty)
redis.call('HDEL', queued, pane)
redis.call('SADD', dirty_panes, pane)

-- The marks since the caller's own last claim are all that changed; otherwise it needs the whole pane. After a lost
-- reply or a crash it always does: the marks of that claim are gone.
local whole = own_lease or cached ~= tostring(number - 1)
local tickers = {}
for _, member in ipairs(marks) do
  if member == '*' then whole = true elseif member ~= 'spot' then tickers[#tickers + 1] = member end
end
if whole then
  tickers = {}
  local listed = cmsgpack.unpack(redis.call('HGET', geometry, pane))
  for _, side in ipairs({listed.call, listed.put}) do
    for i = 1, #listed.strikes do
      if side[i] then tickers[#tickers + 1] = side[i] end
    end
  end
end
local values = {}
for _, ticker in ipairs(tickers) do
  local held = redis.call('HMGET', contract .. ticker, 'bid', 'ask', 'iv', 'gamma', 'oi', 'volume')
  values[#values + 1] = ticker
  for i = 1, 6 do values[#values + 1] = held[i] end
end
return {'claimed', token, number, redis.call('GET', sequence) or '0', redis.call('GET', spot) or '',
  whole and 1 or 0, cmsgpack.pack(values)}
