#!lua
--[[
Take panes of an epoch to compute them: of each the lease, its marks, and the values that changed. Whoever claims has
read the pane before (read_values.lua): then the marks since that claim are all that is new, whatever happened to the one
who took others. Where several consumers take turns, a pane's last claims are kept in its tiles, each with the marks that
it took: so one that missed a few is told of theirs too, and need not read the pane again. Many panes in one call,
because what they have in common costs as much as a pane.

KEYS[1] stream     dirty stream         KEYS[4] dirty_panes  marked or leased panes
KEYS[2] queued     pane -> its entry    KEYS[5] active       symbol -> epoch
KEYS[3] owed       pane -> the entry that will compute its greeks
KEYS[6] sequence                        KEYS[7] spot
ARGV[1] group
ARGV[2] consumer
ARGV[3] symbol
ARGV[4] epoch
ARGV[5] names      msgpack map: key prefixes of the epoch's registers, leases, marks and tiles
ARGV[6] jobs       msgpack list, one an entry: {entry, pane, cached (the claim number whose values the caller holds, or
                   ''), purpose (what the caller will compute: 'tiles' alone, 'all', or 'greeks': all, for an entry that
                   is owed), since (when an owed entry was first queued, ms)}
ARGV[7] most       values to hand out: the jobs after the one that reaches it are left for another call

Returns {seq, spot, answer, ...}, answers in the order of the jobs, fewer where some were left. An answer is {'claimed',
token, claim number, msgpack list: tickers, quotes, chain, volumes, the pane's queued entry or '' (entry|ts|origin|reason
of what was marked first), 1 where others have claimed the pane since the caller did, else 0}, {'unknown'} where the
caller must read the pane first, or one word, acknowledged but for 'gone': 'gone', 'retired' (the epoch), 'held' (by
another, who will see the marks and the debt), 'clean', or 'paid' (greeks that were computed meanwhile).
]]
local stream, queued, owed, dirty_panes, active, sequence, spot = unpack(KEYS)
local group, consumer, symbol, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local names, jobs, most = cmsgpack.unpack(ARGV[5]), cmsgpack.unpack(ARGV[6]), tonumber(ARGV[7])

-- @include own
-- @include hashes
-- @include values
local entries, ours, handed = {}, {}, 0
for i, job in ipairs(jobs) do entries[i] = job.entry end
for _, id in ipairs(take(stream, group, consumer, entries)) do ours[id] = true end
local retired = redis.call('HGET', active, symbol) ~= epoch
local KEPT = 32 -- claims of a pane; who has missed more reads it

-- The marks that others took since the claim ``cached``; nil where not all of them are kept.
local function taken_since(tiles, cached, claims)
  local first, last, fields, found, known = tonumber(cached), tonumber(claims), {}, {}, {}
  if not first or first > last or last - first > KEPT then return nil end
  for number = first + 1, last do fields[#fields + 1] = 'taken:' .. number end
  for _, packed in ipairs(redis.call('HMGET', tiles, unpack(fields))) do
    if not packed then return nil end
    for _, ticker in ipairs(cmsgpack.unpack(packed)) do
      if not known[ticker] then
        known[ticker] = true
        found[#found + 1] = ticker
      end
    end
  end
  return found, known
end

local function claim(job)
  local entry, pane, purpose = job.entry, job.pane, job.purpose
  if not ours[entry] then return {'gone'} end
  local function vanish(why)
    redis.call('XACK', stream, group, entry)
    return {why}
  end
  if retired then return vanish('retired') end
  local lease, dirty, tiles = names.lease .. pane, names.dirty .. pane, names.tiles .. pane
  local holder = redis.call('GET', lease)
  local own_lease = holder and string.match(holder, '^[^/]+') == entry
  if purpose == 'greeks' and not own_lease then
    if redis.call('HGET', owed, pane) ~= entry then return vanish('paid') end
    if holder then redis.call('HSET', owed, pane, '@' .. job.since) end -- whoever holds it queues the debt anew
  end
  if holder and not own_lease then return vanish('held') end
  local marks = redis.call('SMEMBERS', dirty)
  if #marks == 0 and not own_lease and purpose ~= 'greeks' then return vanish('clean') end
  local claims, shared = unpack(redis.call('HMGET', tiles, 'claims', 'shared'))
  claims = claims or '0'
  local tickers, known = {}, {}
  if own_lease and purpose == 'tiles' then return {'unknown'} end -- its marks are taken: it is computed whole, anew
  local behind = job.cached ~= claims
  if behind then
    tickers, known = taken_since(tiles, job.cached, claims)
    if not tickers then
      if job.cached ~= '' then redis.call('HSET', tiles, 'shared', 1) end -- from here on claims are kept
      return {'unknown'}
    end
  end

  local number = redis.call('HINCRBY', tiles, 'claims', 1)
  local token = entry .. '/' .. number
  redis.call('SET', lease, token)
  local first = redis.call('HGET', queued, pane) or ''
  redis.call('DEL', dirty)
  redis.call('HDEL', queued, pane)
  if purpose ~= 'tiles' then redis.call('HDEL', owed, pane) end -- from here on this entry owes them
  redis.call('SADD', dirty_panes, pane)
  local taken = {} -- '*', the whole pane, is no contract: it makes the pane look again, no more
  for _, member in ipairs(marks) do
    if member ~= '*' then
      taken[#taken + 1] = member
      if not known[member] then tickers[#tickers + 1] = member end
    end
  end
  if shared then
    redis.call('HSET', tiles, 'taken:' .. number, cmsgpack.pack(taken))
    redis.call('HDEL', tiles, 'taken:' .. (number - KEPT))
  end
  handed = handed + #tickers
  return {'claimed', token, number, registers_of(names, pane, tickers), first, behind and 1 or 0}
end

local answers = {redis.call('GET', sequence) or '0', redis.call('GET', spot) or ''}
for _, job in ipairs(jobs) do
  if handed >= most then break end
  answers[#answers + 1] = claim(job)
end
return answers
