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
                   counts {field, n, ...}, panes, origins (lists),
                   quotes: {ticker, pane, ts, origin, quote_ts, quote_seq, bid, ask, bid_size, ask_size, ...},
                   others: {{ticker, pane, ts, origin, trade, volume, trades {ts, seq, price, size, ...}}, ...}};
                   pane and origin are places in their lists, false is a missing value

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

local call, tonumber = redis.call, tonumber
local QUOTE = 10 -- values of a quote in the list
local MISSED, STALE, SIZE_ONLY, MOVED = 0, 1, 2, 3
local applied, stale, size_only, missed = 0, 0, 0, 0

-- A quote with a missing value, or one as old as the one that is held: field by field.
local function apply_carefully(key, quote)
  local held = call('HMGET', key, unpack(REGISTERS[1]))
  if not newer(quote, held, 1) then return STALE end
  local sets, gone = {}, {}
  put(REGISTERS[1], quote, held, 1, sets, gone)
  if #sets > 0 then call('HSET', key, unpack(sets)) end
  if #gone > 0 then call('HDEL', key, unpack(gone)) end
  return (quote[3] ~= held[3] or quote[4] ~= held[4]) and MOVED or SIZE_ONLY
end

-- What became of a quote in one epoch. Nearly all of what comes in comes through here, in two commands: every further
-- field that is asked for costs as much as a tenth of an update.
local function apply_quote(key, ts, seq, bid, ask, bid_size, ask_size)
  local held = call('HMGET', key, 'quote_ts', 'bid', 'ask')
  local held_ts = held[1]
  if not held_ts and call('EXISTS', key) == 0 then return MISSED end
  if held_ts == ts or not (bid and ask and bid_size and ask_size) then
    return apply_carefully(key, {ts, seq, bid, ask, bid_size, ask_size})
  end
  if held_ts and tonumber(held_ts) > tonumber(ts) then return STALE end
  if bid == held[2] and ask == held[3] then
    call('HSET', key, 'quote_ts', ts, 'quote_seq', seq, 'bid_size', bid_size, 'ask_size', ask_size)
    return SIZE_ONLY
  end
  call('HSET', key, 'quote_ts', ts, 'quote_seq', seq, 'bid', bid, 'ask', ask, 'bid_size', bid_size, 'ask_size', ask_size)
  return MOVED
end

-- Trade and volume of a contract in one epoch: applied, stale, whether a value of the models moved; nil: not listed.
local function apply_others(key, trade, volume, trades, names, spot)
  local held = call('HMGET', key, 'root', 'trade_ts', 'trade_seq', 'last', 'last_size', 'volume_ts', 'volume')
  if not held[1] then return nil end
  local sets, gone, took, late, moved = {}, {}, 0, 0, false
  for register = 2, 3 do
    local value, from = register == 2 and trade or register == 3 and volume, register == 2 and 2 or 6
    if value and newer(value, held, from) then
      put(REGISTERS[register], value, held, from, sets, gone)
      took = took + 1
      moved = moved or (register == 3 and value[2] ~= held[7])
    elseif value then
      late = late + 1
    end
  end
  if #sets > 0 then call('HSET', key, unpack(sets)) end
  if #gone > 0 then call('HDEL', key, unpack(gone)) end
  if names and spot and #trades > 0 then
    add_flow(names, key, trades, tonumber(held[2] or -1), tonumber(held[3] or -1), spot)
  end
  return took, late, moved
end

local left = own(stream, group, consumer, entries)
if #left < #entries then return {'gone', unpack(left)} end
for _, s in ipairs(sections) do
  if (call('HGET', s.names.active, s.symbol) or '') ~= s.active
      or (call('HGET', s.names.staging, s.symbol) or '') ~= s.staging then
    return {'epochs'}
  end
end

for _, s in ipairs(sections) do
  local names, panes, quotes = s.names, s.panes, s.quotes
  local active, staged = s.active ~= '' and names.contract, s.staging ~= '' and s.staged
  local marks, wrote, newest = {}, false, 0
  local before = {applied, stale, size_only, missed}
  local known_spot = call('GET', names.spot)
  local spot = known_spot and cjson.decode(known_spot).price

  local function moved(pane, ticker, ts, origin)
    local m = marks[pane]
    if not m then
      m = {members = {}, ts = ts, origin = origin}
      marks[pane] = m
    elseif tonumber(ts) < tonumber(m.ts) then
      m.ts, m.origin = ts, origin
    end
    m.members[#m.members + 1] = ticker
  end

  for i = 1, #quotes, QUOTE do
    local ticker, ts = quotes[i], quotes[i + 4]
    local seq, bid, ask, bid_size, ask_size = quotes[i + 5], quotes[i + 6], quotes[i + 7], quotes[i + 8], quotes[i + 9]
    local outcome, in_staged = MISSED, MISSED
    if active then outcome = apply_quote(active .. ticker, ts, seq, bid, ask, bid_size, ask_size) end
    if staged then in_staged = apply_quote(staged .. ticker, ts, seq, bid, ask, bid_size, ask_size) end
    wrote = wrote or outcome >= SIZE_ONLY or in_staged >= SIZE_ONLY
    if outcome == MOVED then moved(quotes[i + 1], ticker, quotes[i + 2], quotes[i + 3]) end
    if outcome == MISSED then outcome = in_staged end
    if outcome == MISSED then
      missed = missed + 1
    else
      newest = math.max(newest, tonumber(ts))
      if outcome == STALE then
        stale = stale + 1
      else
        applied = applied + 1
        if outcome == SIZE_ONLY then size_only = size_only + 1 end
      end
    end
  end

  for _, update in ipairs(s.others) do
    local ticker, trade, volume, trades = update[1], update[5], update[6], update[7]
    local took, late, changed, took_staged, late_staged, _
    if active then took, late, changed = apply_others(active .. ticker, trade, volume, trades, names, spot) end
    if staged then
      -- What the active epoch does not list counts here.
      took_staged, late_staged, _ = apply_others(staged .. ticker, trade, volume, trades, not took and names, spot)
    end
    wrote = wrote or (took or 0) > 0 or (took_staged or 0) > 0
    if changed then moved(update[2], ticker, update[3], update[4]) end
    if not took then took, late = took_staged, late_staged end
    if not took then
      missed = missed + 1
    else
      applied, stale = applied + took, stale + late
      if trade then newest = math.max(newest, tonumber(trade[1])) end
      if volume then newest = math.max(newest, tonumber(volume[1])) end
    end
  end

  if wrote then note(names, s.symbol, s.active ~= '' and s.active or s.staging, 'hydrate', s.ids, s.ts) end
  if wrote and active then
    call('HINCRBY', names.meta, 'ws_updates', applied - before[1])
    for place, pane in ipairs(panes) do
      local m = marks[place]
      if m then mark(names, s.symbol, s.active, pane, m.members, 'ws', m.ts, s.origins[m.origin]) end
    end
    local minute = math.floor(newest / 60000) * 60000
    if minute > tonumber(call('HGET', names.clock, 'quotes') or 0) then
      call('HSET', names.clock, 'quotes', string.format('%.0f', minute))
      mark_model(names, s.symbol, s.active, 'header', s.ts, entries[#entries])
    end
  end
  local counts = {applied - before[1], stale - before[2], size_only - before[3], missed - before[4]}
  for i, field in ipairs({'applied', 'stale', 'size_only', 'geometry_miss'}) do
    if counts[i] > 0 then call('HINCRBY', names.analytics, field, counts[i]) end
  end
  for i = 1, #s.counts, 2 do call('HINCRBY', names.analytics, s.counts[i], s.counts[i + 1]) end
end
call('XACK', stream, group, unpack(entries))
return {'ok', applied, stale, size_only, missed}
