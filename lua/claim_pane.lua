#!lua
--[[
Take a pane to compute it: the lease, its marks, and the values that changed. Whoever claims has read the pane before
(read_values.lua): then the marks since that claim are all that is new, whatever happened to the one who took others.

KEYS[1] stream     dirty stream         KEYS[5] queued       pane -> its entry
KEYS[2] lease      token of the holder  KEYS[6] dirty_panes  marked or leased panes
KEYS[3] dirty      marks of the pane    KEYS[7] active       symbol -> epoch
KEYS[4] tiles      what was computed    KEYS[8] sequence
KEYS[9] spot
KEYS[10] owed      pane -> the entry that will compute its greeks
ARGV[1] group
ARGV[2] consumer
ARGV[3] entry
ARGV[4] symbol
ARGV[5] epoch
ARGV[6] pane
ARGV[7] registers  msgpack map: key prefixes of the epoch's registers
ARGV[8] cached     the claim number whose values the caller holds, or ''
ARGV[9] purpose    what the caller will compute: 'tiles' alone, 'all', or 'greeks' (all, for an entry that is owed)
ARGV[10] since     when an owed entry was first queued, ms

Returns {'claimed', token, claim number, seq, spot, msgpack list: tickers, quotes, chain, volumes, the pane's queued entry
or '' (entry|ts|origin|reason of what was marked first)},
{'unknown'} where the caller must read the pane first (nothing was written), or one word, acknowledged but for 'gone':
'gone', 'retired' (the epoch), 'held' (by another, who will see the marks and the debt), 'clean', or 'paid' (greeks that
were computed meanwhile).
]]
local stream, lease, dirty, tiles, queued = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local dirty_panes, active, sequence, spot, owed = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local group, consumer, entry, symbol, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local pane, registers, cached, purpose, since = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]

-- @include own
-- @include hashes
-- @include values
if #take(stream, group, consumer, {entry}) == 0 then return {'gone'} end
local function vanish(why)
  redis.call('XACK', stream, group, entry)
  return {why}
end
if redis.call('HGET', active, symbol) ~= epoch then return vanish('retired') end
local holder = redis.call('GET', lease)
local own_lease = holder and string.match(holder, '^[^/]+') == entry
if purpose == 'greeks' and not own_lease then
  if redis.call('HGET', owed, pane) ~= entry then return vanish('paid') end
  if holder then redis.call('HSET', owed, pane, '@' .. since) end -- whoever holds it queues the debt anew
end
if holder and not own_lease then return vanish('held') end
local marks = redis.call('SMEMBERS', dirty)
if #marks == 0 and not own_lease and purpose ~= 'greeks' then return vanish('clean') end
-- An entry that is done anew took marks that nobody has computed yet: its pane is read, and computed whole.
if cached ~= (redis.call('HGET', tiles, 'claims') or '0') or (own_lease and purpose == 'tiles') then
  return {'unknown'}
end

local number = redis.call('HINCRBY', tiles, 'claims', 1)
local token = entry .. '/' .. number
redis.call('SET', lease, token)
local first = redis.call('HGET', queued, pane) or ''
redis.call('DEL', dirty)
redis.call('HDEL', queued, pane)
if purpose ~= 'tiles' then redis.call('HDEL', owed, pane) end -- from here on this entry owes them
redis.call('SADD', dirty_panes, pane)
local tickers = {} -- '*', the whole pane, is no contract: it makes the pane look again, no more
for _, member in ipairs(marks) do
  if member ~= '*' then tickers[#tickers + 1] = member end
end
return {'claimed', token, number, redis.call('GET', sequence) or '0', redis.call('GET', spot) or '',
  registers_of(cmsgpack.unpack(registers), pane, tickers), first}
