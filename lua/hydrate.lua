#!lua
--[[
Apply one batch of provider frames: what each known contract is worth now. Newest wins, field by field; a contract that
no chain has listed is counted and dropped. Writes the active epoch and, while one is being staged, that one too.

KEYS[1] stream     the stream the batch was read from
ARGV[1] group
ARGV[2] consumer
ARGV[3] entries    msgpack list: ids of the batch
ARGV[4] sections   msgpack list, one an underlying: {symbol, active, staging (epoch ids or ''), ids (ranges, for the
                   record), ts (newest event), names (keys), staged (contract key prefix of the staging epoch),
                   counts {field, n, ...}, updates: {{ticker, pane, ts, origin, quote, trade, volume, trades {ts, seq,
                   price, size, ...}}, ...}}

Returns {'ok', applied, stale, size_only, missed} after the one call that did it all; {'gone', id, ...} with what is
left where another consumer had committed some; {'epochs'} where an underlying's epochs are not the ones named.
]]
local stream = KEYS[1]
local group, consumer = ARGV[1], ARGV[2]
local entries, sections = cmsgpack.unpack(ARGV[3]), cmsgpack.unpack(ARGV[4])

-- @include own
-- @include newest
-- @include note
-- @include mark
-- @include mark_model
-- @include flow

local TRADES = 8
local QUOTE, TRADE, VOLUME = 5, 6, 7 -- places in an update; a register begins with its time
local QUOTE_ONLY = {'pane', unpack(REGISTERS[1])}
local EVERY = {'pane', unpack(REGISTER_FIELDS)}
local applied, stale, size_only, missed = 0, 0, 0, 0

-- Apply one update to one epoch's contract: nil if it is not listed there, else whether a price or volume changed.
local function apply(key, update, counting, names, spot)
  local fields = (update[TRADE] or update[VOLUME]) and EVERY or QUOTE_ONLY
  local held = redis.call('HMGET', key, unpack(fields))
  if not held[1] then return nil end
  local sets, gone, changed = {}, {}, false
  local from = 2
  for i, register_fields in ipairs(REGISTERS) do
    local register = update[QUOTE + i - 1]
    if register then
      if newer(register, held, from) then
        put(register_fields, register, held, from, sets, gone)
        local moved = false
        if i == 1 then moved = register[3] ~= held[from + 2] or register[4] ~= held[from + 3] end
        if i == 3 then moved = register[2] ~= held[from + 1] end
        changed = changed or moved
        if counting then
          applied = applied + 1
          if i == 1 and not moved then size_only = size_only + 1 end
        end
      elseif counting then
        stale = stale + 1
      end
    end
    from = from + #register_fields
  end
  if #sets > 0 then redis.call('HSET', key, unpack(sets)) end
  if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
  if counting and spot and #update[TRADES] > 0 then
    add_flow(names, key, update[TRADES], tonumber(held[8] or -1), tonumber(held[9] or -1), spot)
  end
  return changed, #sets > 0 or #gone > 0
end

local left = own(stream, group, consumer, entries)
if #left < #entries then return {'gone', unpack(left)} end
for _, s in ipairs(sections) do
  if (redis.call('HGET', s.names.active, s.symbol) or '') ~= s.active
      or (redis.call('HGET', s.names.staging, s.symbol) or '') ~= s.staging then
    return {'epochs'}
  end
end

for _, s in ipairs(sections) do
  local marks, wrote, newest = {}, false, 0
  local before = {applied, stale, size_only, missed}
  local known_spot = redis.call('GET', s.names.spot)
  local spot = known_spot and cjson.decode(known_spot).price
  for _, update in ipairs(s.updates) do
    local ticker, pane, ts, origin = update[1], update[2], update[3], update[4]
    local changed, written
    if s.active ~= '' then changed, written = apply(s.names.contract .. ticker, update, true, s.names, spot) end
    if s.staging ~= '' then
      local moved, staged = apply(s.staged .. ticker, update, changed == nil, s.names, spot)
      written = written or staged
      if changed == nil and moved ~= nil then changed = false end
    end
    if changed == nil then
      missed = missed + 1
    else
      for register = QUOTE, VOLUME do
        if update[register] then newest = math.max(newest, tonumber(update[register][1])) end
      end
    end
    wrote = wrote or written
    if changed then
      local m = marks[pane]
      if not m then
        m = {members = {}, ts = ts, origin = origin}
        marks[pane] = m
        marks[#marks + 1] = pane
      elseif tonumber(ts) < tonumber(m.ts) then
        m.ts, m.origin = ts, origin
      end
      m.members[#m.members + 1] = ticker
    end
  end
  if wrote then
    note(s.names, s.symbol, s.active ~= '' and s.active or s.staging, 'hydrate', s.ids, s.ts)
  end
  if wrote and s.active ~= '' then
    redis.call('HINCRBY', s.names.meta, 'ws_updates', applied - before[1])
    for _, pane in ipairs(marks) do
      local m = marks[pane]
      mark(s.names, s.symbol, s.active, pane, m.members, 'ws', m.ts, m.origin)
    end
    local minute = math.floor(newest / 60000) * 60000
    if minute > tonumber(redis.call('HGET', s.names.clock, 'quotes') or 0) then
      redis.call('HSET', s.names.clock, 'quotes', string.format('%.0f', minute))
      mark_model(s.names, s.symbol, s.active, 'header', s.ts, entries[#entries])
    end
  end
  local counts = {applied - before[1], stale - before[2], size_only - before[3], missed - before[4]}
  for i, field in ipairs({'applied', 'stale', 'size_only', 'geometry_miss'}) do
    if counts[i] > 0 then redis.call('HINCRBY', s.names.analytics, field, counts[i]) end
  end
  for i = 1, #s.counts, 2 do redis.call('HINCRBY', s.names.analytics, s.counts[i], s.counts[i + 1]) end
end
redis.call('XACK', stream, group, unpack(entries))
return {'ok', applied, stale, size_only, missed}
