#!lua
--[[
Store what was computed of panes of an epoch, mark them for publication where they differ, and let the leases go. Marks
that came meanwhile queue the next entry; where tiles alone were computed, one entry is queued that will compute the
greeks. A stale token changes nothing.

KEYS[1] stream     dirty stream
ARGV[1] group
ARGV[2] symbol
ARGV[3] epoch
ARGV[4] names      msgpack map: the keys of the epoch and its underlying
ARGV[5] seq        the commit the values were claimed at
ARGV[6] jobs       msgpack list, one a pane: {entry, pane, token, ts (oldest event behind its tiles), origin (the entry of
                   that event), greeks_ts (oldest event behind everything else), fields {field, packed value, ...} of
                   what the caller computed and holds for changed, whole (every tile, where the caller does not know
                   what is stored, or ''), patches {offset, bytes, ...} of the tiles that changed, where it does,
                   owing (whether tiles alone were computed)}

Returns of each job how many fields and patches changed, -1 for a stale token, -2 for an epoch that is no longer active.
]]
local stream = KEYS[1]
local group, symbol, epoch = ARGV[1], ARGV[2], ARGV[3]
local names, seq, jobs = cmsgpack.unpack(ARGV[4]), ARGV[5], cmsgpack.unpack(ARGV[6])

-- @include mark
-- @include mark_model

local retired = redis.call('HGET', names.active, symbol) ~= epoch
local counts = {}
local function count(name) counts[name] = (counts[name] or 0) + 1 end

local function store(job)
  local pane = job.pane
  local tiles, grids = names.tiles .. pane, names.grids .. pane
  local sets = {}
  for i = 1, #job.fields, 2 do
    if redis.call('HGET', tiles, job.fields[i]) ~= job.fields[i + 1] then
      sets[#sets + 1] = job.fields[i]
      sets[#sets + 1] = job.fields[i + 1]
    end
  end
  local computed, moved = #sets / 2, 0
  if job.whole ~= '' and redis.call('GET', grids) ~= job.whole then
    redis.call('SET', grids, job.whole)
    moved = moved + 1
  end
  for i = 1, #job.patches, 2 do
    redis.call('SETRANGE', grids, job.patches[i], job.patches[i + 1])
    moved = moved + 1
  end
  local changed = computed + moved
  local first = redis.call('HEXISTS', tiles, 'version') == 0
  if changed == 0 and not first then return 0 end
  if moved > 0 or first then redis.call('HSET', tiles, 'seq', seq) end
  if computed > 0 or first then
    redis.call('HSET', tiles, 'greeks', seq, unpack(sets))
    redis.call('HSETNX', names.models_state, 'greeks_ts', job.greeks_ts)
  end
  redis.call('HINCRBY', tiles, 'version', 1)
  if first then redis.call('HINCRBY', names.meta, 'computed', 1) end
  -- Tiles name the event behind them; what is deferred is older, and names none.
  local tiles_too = moved > 0 or first
  mark_model(names, symbol, epoch, pane, tiles_too and job.ts or job.greeks_ts, tiles_too and job.origin or '',
    first and complete(names))
  return changed
end

local function let_go(job)
  local pane = job.pane
  redis.call('DEL', names.lease .. pane)
  redis.call('XACK', stream, group, job.entry)
  local owed = redis.call('HGET', names.owed, pane)
  if job.owing or (owed and string.match(owed, '^@')) then owe(names, symbol, epoch, pane, job.ts, job.origin) end
  if redis.call('EXISTS', names.dirty .. pane) == 1 then
    local _, next_ts, next_origin, reason = string.match(redis.call('HGET', names.queued, pane) or '',
      '^([^|]*)|([^|]*)|([^|]*)|(.*)$')
    queue(names, symbol, epoch, pane, reason or 'ws', next_ts or job.ts, next_origin or job.origin)
  elseif not job.owing and not owed then
    redis.call('SREM', names.dirty_panes, pane)
    if redis.call('SCARD', names.dirty_panes) == 0 then
      redis.call('SREM', names.epoch_dirty, epoch)
      redis.call('SADD', names.epoch_clean, epoch)
    end
  end
end

local function commit(job)
  if redis.call('GET', names.lease .. job.pane) ~= job.token then return -1 end
  if retired then
    redis.call('DEL', names.lease .. job.pane)
    redis.call('XACK', stream, group, job.entry)
    return -2
  end
  local changed = store(job)
  count(job.owing and 'tiles_first' or 'computed')
  if changed > 0 then count('changed') end
  let_go(job)
  return changed
end

local answers = {}
for i, job in ipairs(jobs) do answers[i] = commit(job) end
for name, number in pairs(counts) do redis.call('HINCRBY', names.analytics, name, number) end
return answers
