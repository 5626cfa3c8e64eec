// What a tile is: its value in every display, its legs, its limits and its order. Arithmetic only; nothing is drawn here.

import { ticketDay } from "./words.js";

export const STRATEGIES = ["butterfly", "vertical", "single"];
export const SIDES = ["call", "put", "otm"];
export const DISPLAYS = ["mid", "buy", "sell", "pin", "reward"];

/** The grid a display reads; what is derived from it is computed by valueOf. */
const PRICING = { mid: "mid", buy: "buy", sell: "sell", pin: "mid", reward: "buy" };

/** Which displays a strategy has: a pin probability is a butterfly's, reward to risk needs a limit on the reward. */
export function displaysOf(strategy) {
  if (strategy === "butterfly") return DISPLAYS;
  return strategy === "vertical" ? ["mid", "buy", "sell", "reward"] : ["mid", "buy", "sell"];
}

/** The side a strike shows: "otm" is calls from spot upwards, puts below it. */
export const sideAt = (side, strike, spot) => (side !== "otm" ? side : strike >= (spot ?? 0) ? "call" : "put");

/** The arrays of a diff that a view depends on. */
export function arraysOf(look) {
  const sides = look.side === "otm" ? ["call", "put"] : [look.side];
  return sides.map((side) => `${look.strategy}:${side}:${PRICING[look.display]}`);
}

export function raw(pane, strategy, side, pricing, at, column) {
  const cells = pane[strategy][side][pricing];
  return strategy === "single" ? cells[at] : cells[at][column];
}

/** The value shown at strike `at`, width column `column`: dollars, a share, or a ratio; null where it is missing. */
export function valueOf(pane, widths, look, spot, at, column) {
  const side = sideAt(look.side, pane.strikes[at], spot);
  const value = raw(pane, look.strategy, side, PRICING[look.display], at, column);
  if (value == null) return null;
  if (look.display === "pin") return pane.discount ? value / (widths[column] * pane.discount) : null;
  if (look.display === "reward") return value > 0 ? (widths[column] - value) / value : null;
  return value;
}

/** A tile out of its bounds: "stale_or_arb" at prices that could be traded, "noise" at mid alone, or null. */
export function flagOf(pane, widths, strategy, side, at, column) {
  if (strategy === "single") return null;
  const width = widths[column];
  const grids = pane[strategy][side];
  const mid = grids.mid[at][column];
  if (mid == null) return null;
  const buy = grids.buy[at][column];
  const sell = grids.sell[at][column];
  if (buy < 0 || sell > width) return "stale_or_arb";
  return mid < 0 || mid > width ? "noise" : null;
}

export function legsOf(strategy, side, strike, width) {
  const leg = (quantity, at) => ({ quantity, strike: round(at), side });
  if (strategy === "single") return [leg(1, strike)];
  if (strategy === "vertical") return [leg(1, strike), leg(-1, side === "call" ? strike + width : strike - width)];
  return [leg(1, strike - width), leg(-2, strike), leg(1, strike + width)];
}

const round = (value) => Math.round(value * 1000) / 1000;

/**
 * Everything a ticket tells of a tile, at what it costs now (`buy`).
 * `reward` is null where it has no limit; `breakevens` ascend; prices are dollars a share.
 */
export function tileOf(heatmap, paneKey, look, at, column) {
  const pane = heatmap.panes[paneKey];
  const strike = pane.strikes[at];
  const side = sideAt(look.side, strike, heatmap.spot);
  const width = look.strategy === "single" ? null : heatmap.widths[column];
  const [mid, buy, sell] = ["mid", "buy", "sell"].map((pricing) => raw(pane, look.strategy, side, pricing, at, column));
  const flag = flagOf(pane, heatmap.widths, look.strategy, side, at, column);
  const tile = {
    symbol: heatmap.symbol, root: pane.root, expiration: pane.expiration, settlement: pane.settlement, dte: pane.dte,
    strategy: look.strategy, side, strike, width, mid, buy, sell, flag, pane: paneKey,
    legs: legsOf(look.strategy, side, strike, width),
    pin: look.strategy === "butterfly" && mid != null && pane.discount ? mid / (width * pane.discount) : null,
    reward: null, risk: null, breakevens: [],
  };
  if (buy != null && buy > 0) {
    tile.risk = buy;
    const up = side === "call";
    if (look.strategy === "butterfly" && buy < width) {
      tile.reward = width - buy;
      tile.breakevens = [strike - width + buy, strike + width - buy];
    } else if (look.strategy === "vertical" && buy < width) {
      tile.reward = width - buy;
      tile.breakevens = [up ? strike + buy : strike - buy];
    } else if (look.strategy === "single") {
      tile.reward = up ? null : strike - buy;
      tile.breakevens = [up ? strike + buy : strike - buy];
    }
  }
  tile.order = orderOf(tile);
  return tile;
}

/** One line for an order ticket: a limit at mid, on the five-cent grid that index options trade on. */
function orderOf(tile) {
  if (tile.mid == null || tile.mid <= 0) return null;
  const limit = (Math.round(tile.mid * 20) / 20).toFixed(2);
  const strikes = tile.legs.map((leg) => leg.strike).join("/");
  const kind = tile.strategy === "single" ? "" : `${tile.strategy.toUpperCase()} `;
  const settled = tile.settlement === "AM" ? " [AM]" : "";
  return `BUY +1 ${kind}${tile.root} 100 ${ticketDay(tile.expiration)}${settled} ${strikes} ${tile.side.toUpperCase()} @${limit} LMT`;
}
