#!lua
--[[
Apply one batch of provider frames: what each known contract is worth now. Newest wins, register by register; a contract
that no chain has listed is counted and dropped. Writes the active epoch and, while one is being staged, that one too.

KEYS[1] stream     the stream the batch was read from
ARGV[1] group
ARGV[2] consumer
ARGV[3] entries    msgpack list: ids of the batch
ARGV[4] sections   msgpack list, one an underlying: {symbol, active, staging (epoch ids or ''), ids (ranges, for the
                   record), ts (newest event), names (keys), staged (key prefixes of the staging epoch's registers),
                   counts {field, n, ...}, origins (list), panes: {
                     {pane, quotes: {tickers, times, origins, quotes},
                      others: {tickers, times, origins, trades, volumes, sums {ts, seq, price, size, ...}}}, ...}};
                   lists beside each other, a contract each: times (ms) and origins (place in the list) of the oldest
                   event, false is a register of which nothing was said

Returns {'ok', applied, stale, size_only, missed} after the one call that did it all; {'gone', id, ...} with what is
left where another consumer had committed some; {'epochs'} where an underlying's epochs are not the ones named.
]]
local stream = KEYS[1]
local group, consumer = ARGV[1], ARGV[2]
local entries, sections = cmsgpack.unpack(ARGV[3]), cmsgpack.unpack(ARGV[4])

-- @include own
-- @include newest
-- @include hashes
-- @include note
-- @include mark
-- @include mark_model
-- @include flow

local call, sub = redis.call, string.sub
local MISSED, STALE, SIZE_ONLY, MOVED = 0, 1, 2, 3
local applied, stale, size_only, missed = 0, 0, 0, 0

-- What became of each quote in one epoch. Nearly all of what comes in comes through here, in two commands a pane: two
-- for every contract cost three times as much.
local function apply_quotes(key, tickers, quotes)
  local held, outcomes, sets, n = hmget(key, tickers), {}, {}, 0
  for i = 1, #tickers do
    local quote, was = quotes[i], held[i]
    if not was then
      outcomes[i] = MISSED
    elseif newer(quote, was) then
      sets[n + 1], sets[n + 2] = tickers[i], quote
      n = n + 2
      outcomes[i] = prices_of(quote) == prices_of(was) and SIZE_ONLY or MOVED
    else
      outcomes[i] = STALE
    end
  end
  hset(key, sets)
  return outcomes, n > 0
end

-- What became of trades and volumes in one epoch: how many registers of a contract took what was said (nil where it is
-- not listed), and whether a volume moved. What a trade did to the dealers' delta counts unless `counted` has it.
local function apply_others(registers, pane, others, names, spot, counted)
  local tickers, taken, moved, trade_sets, volume_sets = others.tickers, {}, {}, {}, {}
  local quotes, trades = hmget(registers.quotes .. pane, tickers), hmget(registers.trades .. pane, tickers)
  local volumes = hmget(registers.volumes .. pane, tickers)
  for i, ticker in ipairs(tickers) do
    local trade, volume, sums = others.trades[i], others.volumes[i], others.sums[i]
    if quotes[i] then
      taken[i] = 0
      if trade and newer(trade, trades[i]) then
        trade_sets[#trade_sets + 1], trade_sets[#trade_sets + 2] = ticker, trade
        taken[i] = 1
      end
      if volume and newer(volume, volumes[i]) then
        volume_sets[#volume_sets + 1], volume_sets[#volume_sets + 2] = ticker, volume
        taken[i] = taken[i] + 1
        moved[i] = sub(volume, TIME_DIGITS + 1) ~= sub(volumes[i] or '', TIME_DIGITS + 1)
      end
      if spot and #sums > 0 and not counted[i] then
        add_flow(names, quotes[i], call('HGET', registers.chain .. pane, ticker), sums, trades[i], spot)
      end
    end
  end
  hset(registers.trades .. pane, trade_sets)
  hset(registers.volumes .. pane, volume_sets)
  return taken, moved, #trade_sets + #volume_sets > 0
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
  local names = s.names
  local active, staged = s.active ~= '' and names, s.staging ~= '' and s.staged
  local wrote, newest, to_mark = false, '', {} -- times have as many digits: as texts they are in the same order
  local before = {applied, stale, size_only, missed}
  local known_spot = call('GET', names.spot)
  local spot = known_spot and cjson.decode(known_spot).price

  local function date(register)
    local ts = sub(register, 1, TIME_DIGITS)
    if ts > newest then newest = ts end
  end

  for _, of in ipairs(s.panes) do
    local quotes, others, members = of.quotes, of.others, {}
    local tickers, oldest, oldest_origin = quotes.tickers, math.huge, nil
    local function mark_moved(ticker, ts, origin)
      members[#members + 1] = ticker
      if ts < oldest then oldest, oldest_origin = ts, origin end
    end

    local outcomes, in_staged, wrote_active, wrote_staged = {}, {}, false, false
    if active then outcomes, wrote_active = apply_quotes(active.quotes .. of.pane, tickers, quotes.quotes) end
    if staged then in_staged, wrote_staged = apply_quotes(staged.quotes .. of.pane, tickers, quotes.quotes) end
    wrote = wrote or wrote_active or wrote_staged
    for i = 1, #tickers do
      local outcome = outcomes[i] or MISSED
      if outcome == MOVED then mark_moved(tickers[i], quotes.times[i], quotes.origins[i]) end
      if outcome == MISSED then outcome = in_staged[i] or MISSED end
      if outcome == MISSED then
        missed = missed + 1
      else
        date(quotes.quotes[i])
        if outcome == STALE then
          stale = stale + 1
        else
          applied = applied + 1
          if outcome == SIZE_ONLY then size_only = size_only + 1 end
        end
      end
    end

    if #others.tickers > 0 then
      local taken, moved, taken_staged, _ = {}, {}, {}
      if active then
        taken, moved, wrote_active = apply_others(active, of.pane, others, names, spot, {})
        wrote = wrote or wrote_active
      end
      if staged then
        taken_staged, _, wrote_staged = apply_others(staged, of.pane, others, names, spot, taken)
        wrote = wrote or wrote_staged
      end
      for i, ticker in ipairs(others.tickers) do
        local trade, volume, took = others.trades[i], others.volumes[i], taken[i] or taken_staged[i]
        if moved[i] then mark_moved(ticker, others.times[i], others.origins[i]) end
        if took then
          applied, stale = applied + took, stale + (trade and 1 or 0) + (volume and 1 or 0) - took
          if trade then date(trade) end
          if volume then date(volume) end
        else
          missed = missed + 1
        end
      end
    end
    if #members > 0 then to_mark[#to_mark + 1] = {of.pane, members, string.format('%.0f', oldest), oldest_origin} end
  end

  if wrote then note(names, s.symbol, s.active ~= '' and s.active or s.staging, 'hydrate', s.ids, s.ts) end
  if wrote and active then
    call('HINCRBY', names.meta, 'ws_updates', applied - before[1])
    for _, of in ipairs(to_mark) do
      mark(names, s.symbol, s.active, of[1], of[2], 'ws', of[3], s.origins[of[4]])
    end
    local minute = math.floor((tonumber(newest) or 0) / 60000) * 60000
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
