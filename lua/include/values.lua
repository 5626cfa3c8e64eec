-- What models are made of, packed for whoever computes: tickers, and the register of each in three lists (false: none).
local function registers_of(registers, pane, tickers)
  return cmsgpack.pack({tickers, hmget(registers.quotes .. pane, tickers), hmget(registers.chain .. pane, tickers),
    hmget(registers.volumes .. pane, tickers)})
end
