// Market Mode, Liquidity Intent, Dealer Gravity and Vigil: one small drawing each, made of SVG and words.

import { change, dollars, minuteOf, momentOf, part, plain, price, reason } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Written only where it is another: a page is laid out again for every text that is set. */
export function write(box, text) {
  if (box.textContent !== text) box.textContent = text;
}

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const word = (x, y, said, attributes = {}) => svg("text", { x, y, "font-size": 11, ...attributes }, said);

function facts(rows) {
  return el("dl", { class: "facts" }, ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

const absent = (said) => el("p", { class: "absent" }, said);

/** 0 to 100 in three zones: dealers long gamma at the left, short at the right. */
export function drawGauge(box, mode) {
  if (!mode) return box.replaceChildren(absent("Market Mode is not published yet."));
  if (mode.score == null) return box.replaceChildren(absent(`No Market Mode: ${reason(mode.reason)}.`));
  const [wide, top, tall] = [400, 15, 14];
  const x = (score) => (score / 100) * wide;
  const zones = [["compression", 0, 33.5, "var(--blue)"], ["transition", 33.5, 66.5, "var(--dim)"], ["expansion", 66.5, 100, "var(--orange)"]];
  const drawing = svg("svg", { viewBox: `0 0 ${wide} 46`, role: "img", "aria-label": `Market Mode ${mode.score.toFixed(0)} of 100, ${mode.label}` });
  for (const [name, from, to, fill] of zones) {
    const mine = name === mode.label;
    drawing.append(
      svg("rect", { x: x(from) + 1, y: top, width: x(to) - x(from) - 2, height: tall, rx: 2, fill, "fill-opacity": mine ? 0.95 : 0.25 }),
      word((x(from) + x(to)) / 2, top + tall + 13, name, { "text-anchor": "middle", "font-weight": mine ? 700 : 400, class: mine ? "" : "dim" }),
    );
  }
  const at = x(mode.score);
  drawing.append(
    svg("path", { d: `M${at} ${top + tall + 1}l-5 -${tall + 7}h10z`, fill: "var(--text)", stroke: "var(--panel)", "stroke-width": 1.5 }),
    word(Math.max(14, Math.min(wide - 14, at)), 9, mode.score.toFixed(0), { "text-anchor": "middle", "font-weight": 700, "font-size": 12 }),
  );
  box.replaceChildren(drawing);
  return undefined;
}

const QUADRANTS = [
  ["capped", 0, 0, "capped"], ["supported", 1, 0, "supported"],
  ["downside_acceleration", 0, 1, "downside accel."], ["upside_squeeze", 1, 1, "upside squeeze"],
];

/** Bias across, flow index up; the trail is where it has been while this page was open. */
export function drawQuadrant(box, intent, trail) {
  if (!intent) return box.replaceChildren(absent("Liquidity Intent is not published yet."));
  if (intent.quadrant == null) return box.replaceChildren(absent(`No Liquidity Intent: ${reason(intent.reason)}.`));
  const [wide, tall] = [220, 130];
  const place = ({ bias, lfi }) => [((bias + 100) / 200) * wide, (1 - lfi / 100) * tall];
  const drawing = svg("svg", { viewBox: `0 -1 ${wide} ${tall + 14}`, role: "img", "aria-label": `Liquidity Intent: ${plain(intent.quadrant)}, bias ${intent.bias.toFixed(0)}, flow index ${intent.lfi.toFixed(0)}` });
  for (const [name, column, row, said] of QUADRANTS) {
    const mine = name === intent.quadrant;
    drawing.append(
      svg("rect", { x: column * (wide / 2) + 1, y: row * (tall / 2) + 1, width: wide / 2 - 2, height: tall / 2 - 2, rx: 3, fill: column ? "var(--blue)" : "var(--orange)", "fill-opacity": mine ? 0.3 : 0.08, stroke: mine ? "var(--text)" : "var(--line)" }),
      word(column * (wide / 2) + wide / 4, row ? tall - 7 : 13, said, { "text-anchor": "middle", "font-weight": mine ? 700 : 400, "font-size": 10.5, class: mine ? "" : "dim" }),
    );
  }
  drawing.append(word(2, tall + 11, "◂ dealers sell", { "font-size": 9.5, class: "dim" }), word(wide - 2, tall + 11, "dealers buy ▸", { "text-anchor": "end", "font-size": 9.5, class: "dim" }));
  if (trail.length > 1) {
    drawing.append(svg("polyline", { points: trail.map((one) => place(one).map((at) => at.toFixed(1)).join(",")).join(" "), fill: "none", stroke: "var(--dim)", "stroke-width": 1.2, "stroke-opacity": 0.8 }));
  }
  const [x, y] = place(intent);
  drawing.append(svg("circle", { cx: x, cy: y, r: 5.5, fill: "var(--flip)", stroke: "var(--ground)", "stroke-width": 1.5 }));
  box.replaceChildren(drawing, facts([
    ["Flow index (LFI)", intent.lfi.toFixed(0)],
    ["Bias", change(intent.bias, 0)],
    ["Hedge ½ EM up", dollars(intent.hedge_up_usd)],
    ["Hedge ½ EM down", dollars(intent.hedge_down_usd)],
    ["Charm, next hour", dollars(intent.charm_usd)],
  ]));
  return undefined;
}

/** Prices across: 80 % of the density weighed by gamma, its mean, spot, wells and ridges. */
export function drawGravity(box, gravity, spot) {
  if (!gravity) return box.replaceChildren(absent("Dealer Gravity is not published yet."));
  if (gravity.best == null) return box.replaceChildren(absent(`No Dealer Gravity: ${reason(gravity.reason)}.`));
  const [wide, tall, middle] = [220, 96, 46];
  const prices = [gravity.low, gravity.high, gravity.best, spot ?? gravity.best];
  const around = [...gravity.wells, ...gravity.ridges].map((one) => one.price)
    .filter((one) => one > gravity.low - (gravity.high - gravity.low) && one < gravity.high + (gravity.high - gravity.low));
  const [low, high] = [Math.min(...prices, ...around), Math.max(...prices, ...around)];
  const pad = (high - low) * 0.06 || 1;
  const x = (value) => ((value - low + pad) / (high - low + 2 * pad)) * wide;
  const end = (value) => (x(value) > wide - 30 ? "end" : x(value) < 30 ? "start" : "middle");
  const drawing = svg("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": `Dealer Gravity: mean ${price(gravity.best)}, 80 % between ${price(gravity.low)} and ${price(gravity.high)}` });
  drawing.append(
    svg("line", { x1: 0, x2: wide, y1: middle, y2: middle, class: "rule", "stroke-width": 1 }),
    svg("rect", { x: x(gravity.low), y: middle - 9, width: x(gravity.high) - x(gravity.low), height: 18, rx: 4, fill: "var(--blue)", "fill-opacity": 0.3, stroke: "var(--blue)" }),
    word(x(gravity.low), middle + 23, price(gravity.low, 0), { "text-anchor": end(gravity.low) === "middle" ? "middle" : "start", "font-size": 10, class: "dim" }),
    word(x(gravity.high), middle + 23, price(gravity.high, 0), { "text-anchor": end(gravity.high) === "middle" ? "middle" : "end", "font-size": 10, class: "dim" }),
  );
  for (const one of gravity.wells) if (around.includes(one.price)) drawing.append(svg("path", { d: `M${x(one.price)} ${middle + 9}l-4 8h8z`, fill: "var(--blue)" }));
  for (const one of gravity.ridges) if (around.includes(one.price)) drawing.append(svg("path", { d: `M${x(one.price)} ${middle - 9}l-4 -8h8z`, fill: "var(--orange)" }));
  if (spot != null) {
    drawing.append(
      svg("line", { x1: x(spot), x2: x(spot), y1: middle - 18, y2: middle + 12, stroke: "var(--spot)", "stroke-width": 2 }),
      word(x(spot), middle - 22, `spot ${price(spot, 0)}`, { "text-anchor": end(spot), "font-size": 10 }),
    );
  }
  drawing.append(
    svg("path", { d: `M${x(gravity.best)} ${middle - 7}l6 7l-6 7l-6 -7z`, fill: "var(--flip)", stroke: "var(--ground)" }),
    word(x(gravity.best), middle + 38, `mean ${price(gravity.best, 0)}`, { "text-anchor": end(gravity.best), "font-size": 10.5, "font-weight": 700 }),
  );
  box.replaceChildren(drawing, facts([
    ["Pull", `${change(gravity.pull, 2)} EM`],
    ["Confidence", part(gravity.confidence)],
    ["Wells", gravity.wells.map((one) => price(one.price, 0)).join(" ") || "none"],
    ["Ridges", gravity.ridges.map((one) => price(one.price, 0)).join(" ") || "none"],
  ]));
  return undefined;
}

const MARKS = { info: "○", warning: "◆", critical: "▲" };

/** One line of words for a Vigil event. */
export function said(event) {
  const seen = event.evidence;
  const at = seen.spot == null ? "" : `, spot ${price(seen.spot)}`;
  switch (event.type) {
    case "flip_crossed": return `Spot is ${seen.to} the gamma flip ${price(seen.flip)}${at}${seen.moved === "flip" ? " (the flip moved)" : ""}`;
    case "wall_moved": return `The ${seen.side} wall moved from ${price(seen.from)} to ${price(seen.to)}${at}`;
    case "mode_changed": return `Market Mode: ${plain(seen.to ?? seen.label)}${seen.from ? `, was ${plain(seen.from)}` : ""}`;
    case "sharp_move": return `Sharp move ${change(seen.share * 100, 2)} % from ${price(seen.from)} to ${price(seen.to)} within a minute`;
    case "volume_surge": return `The volume book grew ${seen.times ? `${Number(seen.times).toFixed(1)} times its mean` : "far above its mean"} in a minute`;
    case "epoch_promoted": return `New epoch (${plain(seen.reason)})`;
    case "feed_dormant": return "The option feed fell silent";
    case "feed_resumed": return "The option feed speaks again";
    case "data_stale": return "Quotes are stale";
    default: return plain(event.type);
  }
}

const KEPT = 200;

/** The newest first; an event that is known by its key is not told twice. */
export class Vigil {
  constructor(list, count) {
    Object.assign(this, { list, count, seen: new Map() });
  }

  forget() {
    this.seen.clear();
  }

  add(event) {
    if (this.seen.has(event.key)) return false;
    this.seen.set(event.key, event);
    if (this.seen.size > KEPT * 3) this.seen.delete(this.seen.keys().next().value);
    return true;
  }

  /** Draw those of one symbol; `fresh` marks the newest as just come. */
  draw(symbol, until = Infinity, fresh = null) {
    const events = [...this.seen.values()].filter((one) => one.symbol === symbol && one.ts <= until).sort((a, b) => b.ts - a.ts).slice(0, KEPT);
    this.count.textContent = events.length ? `${events.length} event${events.length > 1 ? "s" : ""}` : "";
    if (!events.length) return this.list.replaceChildren(el("li", { class: "absent" }, "No events yet."));
    this.list.replaceChildren(...events.map((one) => el(
      "li", { class: `${one.severity}${one === fresh ? " fresh" : ""}`, title: `${momentOf(one.ts)} New York · ${one.severity}` },
      el("time", { datetime: new Date(one.ts).toISOString() }, minuteOf(one.ts)),
      el("span", { class: "mark", "aria-label": one.severity, role: "img" }, MARKS[one.severity] ?? "○"),
      el("span", { class: "said" }, said(one)),
    )));
    return undefined;
  }
}

