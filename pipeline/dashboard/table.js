// The heatmap as a table: for readers that cannot see a canvas, and for those who would rather read.

import { el } from "./panels.js";
import { valueOf } from "./tiles.js";
import { cellPrice, cellRatio, cellShare, paneName, price } from "./words.js";

/** Strikes around spot; more would make a table that nobody reads and every update pays for. */
const REACH = 60;
const NAMES = { mid: "mid", buy: "buy", sell: "sell", pin: "pin probability", reward: "reward to risk" };

let mark = "";

export function fillTable(box, view, chosen) {
  const pane = view.heatmap.panes[view.pane];
  const columns = chosen.strategy === "single" ? [chosen.display] : view.heatmap.widths.map((width) => `width ${width}`);
  const nearest = pane.strikes.reduce((best, strike, at) => (Math.abs(strike - view.spot) < Math.abs(pane.strikes[best] - view.spot) ? at : best), 0);
  const [first, last] = [Math.max(0, nearest - REACH), Math.min(pane.strikes.length, nearest + REACH + 1)];
  const look = JSON.stringify([view.heatmap.epoch, view.pane, chosen.strategy, chosen.side, chosen.display, first, last]);
  const write = { pin: cellShare, reward: cellRatio }[chosen.display] ?? cellPrice;
  const text = (at, column) => write(valueOf(pane, view.heatmap.widths, chosen, view.spot, at, column)) || "–";
  if (look !== mark) {
    mark = look;
    const body = el("tbody");
    for (let at = last - 1; at >= first; at--) {
      body.append(el("tr", {}, el("th", { scope: "row" }, price(pane.strikes[at])), ...columns.map((_, column) => el("td", {}, text(at, column)))));
    }
    box.replaceChildren(el(
      "table", {},
      el("caption", {}, `${view.heatmap.symbol} ${paneName(pane)}: ${chosen.side} ${chosen.strategy}, ${NAMES[chosen.display]}${pane.strikes.length > last - first ? `; ${last - first} strikes around spot` : ""}`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Strike"), ...columns.map((name) => el("th", { scope: "col" }, name)))),
      body,
    ));
  }
  const rows = box.querySelector("tbody").rows;
  for (let n = 0; n < rows.length; n++) {
    const at = last - 1 - n;
    rows[n].classList.toggle("at-spot", at === nearest);
    for (let column = 0; column < columns.length; column++) {
      const cell = rows[n].cells[column + 1];
      const now = text(at, column);
      if (cell.textContent !== now) cell.textContent = now;
    }
  }
}
