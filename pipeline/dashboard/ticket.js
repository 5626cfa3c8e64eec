// What is told of one tile: beside the pointer in short, in a ticket in full.

import { el } from "./panels.js";
import { dayName, dollars, NONE, part, price } from "./words.js";

const MULTIPLIER = 100;
const FLAGS = {
  noise: "Out of its bounds at mid only: noise. At prices that can be traded it is within them.",
  stale_or_arb: "Out of its bounds at prices that could be traded: a quote is stale, or there is an arbitrage.",
};

const money = (value) => (value == null ? NONE : price(value, 2));
const cash = (value) => (value == null ? NONE : `$${price(value * MULTIPLIER, 0)}`);

export function nameOf(tile) {
  const width = tile.width == null ? "" : ` · width ${tile.width}`;
  return `${tile.symbol} ${price(tile.strike)} ${tile.side} ${tile.strategy}${width}`;
}

const expiryOf = (tile) => `${dayName(tile.expiration)} ${tile.settlement} (${tile.root}), ${tile.dte} day${tile.dte === 1 ? "" : "s"} to expiration`;

function limits(tile) {
  const ratio = tile.reward != null && tile.risk ? `${(tile.reward / tile.risk).toFixed(1)} : 1` : NONE;
  const unlimited = tile.strategy === "single" && tile.side === "call" && tile.risk != null;
  return [
    ["Maximum profit", unlimited ? "unlimited" : cash(tile.reward)],
    ["Maximum loss", cash(tile.risk)],
    ["Reward to risk", unlimited ? "unlimited" : ratio],
    [tile.breakevens.length > 1 ? "Breakevens" : "Breakeven", tile.breakevens.map((one) => price(one, 2)).join(" – ") || NONE],
    ...(tile.strategy === "butterfly" ? [["Pin probability", part(tile.pin)]] : []),
  ];
}

const listOf = (rows) => el("dl", { class: "facts" }, ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

export function fillTip(tip, tile, gex) {
  if (!tile) {
    tip.replaceChildren(el("h3", {}, `Strike ${price(gex.strike)}`), gexLine(gex));
    return;
  }
  tip.replaceChildren(
    el("h3", {}, nameOf(tile)),
    listOf([["Mid", money(tile.mid)], ["Buy now", money(tile.buy)], ["Sell now", money(tile.sell)], ...limits(tile)]),
    ...(tile.flag ? [el("p", {}, tile.flag === "noise" ? "△ out of bounds at mid: noise" : "▲ out of bounds at tradable prices")] : []),
    ...(gex ? [gexLine(gex)] : []),
  );
}

const gexLine = ({ call, put }) => el("p", {}, call == null && put == null ? "no GEX at this strike" : `GEX ${dollars(call)} calls, ${dollars(put)} puts`);

/** Copy a text; where the browser does not allow it, select it, so that the reader can. */
async function copy(text, input, told) {
  try {
    await navigator.clipboard.writeText(text);
    told("Copied.");
  } catch {
    input.focus();
    input.select();
    told("Selected: copy it with Ctrl+C.");
  }
}

/** The ticket of a tile. After a tick only its numbers are made anew: buttons stay where the hand is, and keep the focus. */
export function fillTicket(box, tile, asOf, close) {
  const mark = JSON.stringify([tile.symbol, tile.pane, tile.strategy, tile.side, tile.strike, tile.width]);
  if (box.dataset.tile !== mark) lay(box, tile, close);
  box.dataset.tile = mark;
  const order = tile.order ?? "";
  const input = box.querySelector(".order input");
  if (input.value !== order) input.value = order;
  box.querySelector('[data-name="copy"]').disabled = !order;
  box.querySelector(".numbers").replaceChildren(
    el("div", { class: "three" }, ...[["Sell now", tile.sell], ["Mid", tile.mid], ["Buy now", tile.buy]].map(([name, value]) => el("div", {}, el("span", {}, name), el("b", {}, money(value))))),
    listOf(limits(tile)),
    ...(tile.flag ? [el("p", { class: "flag" }, FLAGS[tile.flag])] : []),
    ...(tile.mid == null ? [el("p", { class: "flag" }, "A leg has no usable quote: this tile has no price.")] : []),
  );
  box.querySelector(".as-of").textContent = `Bought at what it costs now, a contract of ${MULTIPLIER}; commissions are not counted. As of ${asOf}.`;
}

function lay(box, tile, close) {
  const said = el("span", { class: "said", role: "status" });
  const input = el("input", { readonly: "", "aria-label": "Order text" });
  const button = el("button", { type: "button", "data-name": "copy", title: "Copy the order (O)" }, "Copy order");
  button.addEventListener("click", () => copy(input.value, input, (words) => { said.textContent = words; }));
  const shut = el("button", { type: "button", "aria-label": "Close", title: "Close (Esc)" }, "✕");
  shut.addEventListener("click", close);
  box.replaceChildren(
    el("header", {}, el("div", {}, el("h3", { id: "ticket-name" }, nameOf(tile)), el("p", {}, expiryOf(tile))), shut),
    el("ul", { class: "legs", "aria-label": "Legs" }, ...tile.legs.map((leg) => el(
      "li", { class: leg.quantity > 0 ? "buy" : "sell" },
      `${leg.quantity > 0 ? "+" : "−"}${Math.abs(leg.quantity)} ${tile.root} ${tile.expiration} ${leg.strike} ${leg.side}`,
    ))),
    el("div", { class: "numbers" }),
    el("div", { class: "order" }, input, button),
    el("p", {}, el("span", { class: "as-of" }), " ", said),
  );
}
