-- What a contract's trades did to the dealers' delta, in whole dollars by second, so that the sum is the same in any
-- order: -(signed size) * delta * shares * spot, signed by the quote rule (at or above the ask a customer bought, at or
-- below the bid one sold, a locked or missing quote says nothing). A trade counts once: when it is newer than the newest
-- the contract has seen; `trades` (ts, seq, price, size, ...) come in the order of time and sequence.
local FLOW_TTL_S = 259200
local SHARES = 100 -- a chain's adjusted contracts are not listed

local function add_flow(names, quote, chain, trades, seen, spot)
  local bid, ask = string.match(quote, '^%d+|%d+|([^|]+)|([^|]+)')
  local delta = chain and tonumber(values_of_register(chain)[4])
  bid, ask = tonumber(bid), tonumber(ask)
  if not (bid and ask and delta and bid < ask) then return end
  local seen_ts, seen_seq = string.match(seen or '', '^(%d+)|(%d+)')
  seen_ts, seen_seq = tonumber(seen_ts or -1), tonumber(seen_seq or -1)
  for i = 1, #trades, 4 do
    local ts, seq = tonumber(trades[i]), tonumber(trades[i + 1])
    local price, size = tonumber(trades[i + 2]), tonumber(trades[i + 3])
    local sign = (price >= ask and 1) or (price <= bid and -1) or 0
    local fresh = ts > seen_ts or (ts == seen_ts and seq > seen_seq)
    if fresh then seen_ts, seen_seq = ts, seq end
    if fresh and sign ~= 0 then
      local usd = math.floor(-sign * size * delta * SHARES * spot + 0.5)
      redis.call('HINCRBY', names.flow_delta, string.format('%.0f', math.floor(ts / 1000) * 1000),
        string.format('%.0f', usd))
      redis.call('EXPIRE', names.flow_delta, FLOW_TTL_S)
    end
  end
end
