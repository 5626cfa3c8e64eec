// The heatmap as a table: for readers that cannot see a canvas, and for those who would rather read.

import { el, write } from "./panels.js";
import { valueOf } from "./tiles.js";
import { cellPrice, cellRatio, cellShare, paneName, price } from "./words.js";

/** Strikes around spot; more would make a table that nobody reads and every update pays for. */
const REACH = 60;
const NAMES = { mid: "mid", buy: "buy", sell: "sell", pin: "pin probability", reward: "reward to risk" };

/** What the table says of a view: {look, caption, columns, rows, nearest}, rows from the highest strike down. */
export function textOfTable({ heatmap, pane: name, look, spot }) {
  const { strategy, side, display } = look;
  const pane = heatmap.panes[name];
  const columns = strategy === "single" ? [display] : heatmap.widths.map((width) => `width ${width}`);
  const nearest = pane.strikes.reduce((best, strike, at) => (Math.abs(strike - spot) < Math.abs(pane.strikes[best] - spot) ? at : best), 0);
  const [first, last] = [Math.max(0, nearest - REACH), Math.min(pane.strikes.length, nearest + REACH + 1)];
  const word = { pin: cellShare, reward: cellRatio }[display] ?? cellPrice;
  const rows = [];
  for (let at = last - 1; at >= first; at--) {
    rows.push([price(pane.strikes[at]), ...columns.map((_, column) => word(valueOf(pane, heatmap.widths, look, spot, at, column)) || "–")]);
  }
  return {
    look: JSON.stringify([heatmap.epoch, name, strategy, side, display, first, last]), columns, rows, nearest: last - 1 - nearest,
    caption: `${heatmap.symbol} ${paneName(pane)}: ${side} ${strategy}, ${NAMES[display]}${pane.strikes.length > last - first ? `; ${last - first} strikes around spot` : ""}`,
  };
}

let mark = "";

/** Of the same look only the cells are written whose words are others. */
export function fillTable(box, { look, caption, columns, rows, nearest }) {
  if (look !== mark) {
    mark = look;
    box.replaceChildren(el(
      "table", {}, el("caption", {}, caption),
      el("thead", {}, el("tr", {}, ...["Strike", ...columns].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...rows.map(([strike, ...cells]) => el("tr", {}, el("th", { scope: "row" }, strike), ...cells.map((text) => el("td", {}, text))))),
    ));
  }
  const drawn = box.querySelector("tbody").rows;
  rows.forEach((row, n) => {
    drawn[n].classList.toggle("at-spot", n === nearest);
    row.forEach((text, column) => write(drawn[n].cells[column], text));
  });
}
