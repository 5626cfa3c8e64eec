-- What models are made of, packed for whoever computes: ticker, bid, ask, iv, gamma, oi, volume (false: none), ...
local function values_of(contract, tickers)
  local values, n = {}, 0
  for i = 1, #tickers do
    local ticker = tickers[i]
    local held = redis.call('HMGET', contract .. ticker, 'bid', 'ask', 'iv', 'gamma', 'oi', 'volume')
    values[n + 1], values[n + 2], values[n + 3], values[n + 4] = ticker, held[1], held[2], held[3]
    values[n + 5], values[n + 6], values[n + 7] = held[4], held[5], held[6]
    n = n + 7
  end
  return cmsgpack.pack(values)
end
