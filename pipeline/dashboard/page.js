// The page: what is chosen, what came, and who is told of it.

import { nearestPane, orderedPanes } from "./documents.js";
import { Field } from "./field.js";
import { bindKeys, SHEET } from "./keys.js";
import { drawGauge, drawGravity, drawQuadrant, el, said, Vigil } from "./panels.js";
import { Tape } from "./replay.js";
import { Series } from "./series.js";
import { Stream } from "./stream.js";
import { fillTable } from "./table.js";
import { fillTicket, fillTip, nameOf } from "./ticket.js";
import { arraysOf, displaysOf, SIDES, STRATEGIES, tileOf } from "./tiles.js";
import { age, change, dollars, momentOf, NONE, paneName, part, percent, price, reason, timeOf } from "./words.js";

const byId = (id) => document.getElementById(id);
const PANELS_MS = 250;
const SERIES_MS = 1000;
const TABLE_MS = 2000;
/** A live document and spot that are both this old are not live, whatever they say. */
const QUIET_MS = 30_000;
const LATE_MS = { quotes: 15_000, spot: 15_000, chain: 180_000 };

const CHOICES = {
  strategy: { butterfly: "Butterfly", vertical: "Vertical", single: "Single" },
  side: { call: "Call", put: "Put", otm: "OTM" },
  display: { mid: "Mid", buy: "Buy", sell: "Sell", pin: "Pin prob.", reward: "Reward : risk" },
  bars: { split: "Calls & puts", net: "Net" },
  book: { oi: "OI", volume: "Volume" },
  scope: { all: "All dates", pane: "This date" },
};
const ROW_HEIGHTS = [14, 16, 18, 20, 23, 27, 32];

const chosen = { strategy: "butterfly", side: "call", display: "mid", bars: "split", book: "oi", scope: "all", rows: 3, ...stored() };
const state = { symbol: null, symbols: [], panes: new Map(), link: "connecting", everOpen: false, table: false, picked: null };
const spots = new Map();
const intel = new Map();
const trails = new Map();
const dirty = { panels: false, series: false };

function stored() {
  try {
    const found = JSON.parse(localStorage.getItem("marketswarm.look") ?? "{}");
    return Object.fromEntries(Object.entries(found).filter(([name, value]) => (name === "rows" ? ROW_HEIGHTS[value] : CHOICES[name]?.[value])));
  } catch {
    return {};
  }
}

function store() {
  try {
    localStorage.setItem("marketswarm.look", JSON.stringify(chosen));
    localStorage.setItem("marketswarm.theme", document.documentElement.dataset.theme);
  } catch { /* storage is not allowed: the choice lasts as long as the page */ }
}

// --- parts ---

const field = new Field(
  { box: byId("field"), spacer: byId("spacer"), base: byId("base"), above: byId("above"), axis: byId("axis") },
  { hover, pick, moved: placeTicket },
);
field.rowSize = ROW_HEIGHTS[chosen.rows];
const vigil = new Vigil(byId("vigil"), byId("vigil-count"));
const series = new Series(byId("series"));

export const stream = new Stream({
  document: onDocument, spot: onSpot, vigil: onVigil, vexy: onVexy, heartbeat: onHeartbeat,
  epoch: () => {}, record: (name, text) => tape.add(name, text),
  link: (link) => { state.link = link; state.everOpen ||= link === "open"; drawState(); },
  refused: () => { location.href = "/login"; },
});

const held = (model) => stream.document(model, state.symbol);
const heatmap = () => held("heatmap")?.document ?? null;
const spotOf = (symbol) => spots.get(symbol)?.price ?? stream.document("heatmap", symbol)?.document.spot ?? null;

// --- what comes ---

function onDocument(model, symbol, entry, changed) {
  if (!state.symbols.includes(symbol)) addSymbol(symbol);
  if (symbol !== state.symbol) return;
  const { document: found } = entry;
  if (model === "heatmap") {
    if (!changed) showField();
    else {
      const pane = state.panes.get(symbol);
      for (const array of arraysOf(chosen)) {
        const indices = changed.tiles.get(`${pane}|${array}`);
        if (indices) field.tilesChanged(indices);
      }
      if (changed.heads) field.linesChanged();
      if (state.picked && changed.tiles.size) dirty.ticket = true;
    }
  } else if (model.startsWith("gex")) {
    if (field.view && (!changed || !field.view.gex)) renewView();
    if (!changed || changed.strikes) field.barsChanged();
    if (model === "gex") field.linesChanged();
  } else if (model === "liquidity_intent" && found.quadrant) {
    const trail = trails.get(symbol) ?? [];
    trails.set(symbol, [...trail.slice(-39), { bias: found.bias, lfi: found.lfi }]);
  }
  if (model === "gex" || model === "market_mode") dirty.series = true;
  wantPanels();
}

function onSpot(spot) {
  const before = spots.get(spot.symbol);
  if (before && before.ts > spot.ts) return;
  spots.set(spot.symbol, { ...spot, before: before && before.price !== spot.price ? before.price : before?.before });
  if (stream.unseen) return;
  wantPanels();
  if (spot.symbol !== state.symbol || !field.view) return;
  const crossed = chosen.side === "otm" && field.pane().strikes.some((strike) => (strike >= (field.view.spot ?? 0)) !== (strike >= spot.price));
  field.view.spot = spot.price;
  if (crossed) field.want("all");
  field.linesChanged();
  dirty.series = true;
}

function onVexy(symbol, document) {
  intel.set(symbol, document);
  if (!stream.unseen) wantPanels();
}

function onVigil(event) {
  if (!vigil.add(event) || event.symbol !== state.symbol || stream.unseen) return;
  vigil.draw(state.symbol, stream.replay ? tape.position : Infinity, state.warm ? event : null);
}

function onHeartbeat() {
  drawAges();
  drawState();
}

// --- what is shown ---

let paneTabs = "";

function addSymbol(symbol) {
  state.symbols.push(symbol);
  state.symbols.sort((a, b) => (a === "SPX" ? -1 : b === "SPX" ? 1 : a.localeCompare(b)));
  byId("symbols").replaceChildren(...state.symbols.map((name) => {
    const tab = el("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-selected": String(name === state.symbol), tabindex: name === state.symbol ? "0" : "-1" }, el("b", {}, name), el("span", {}, NONE));
    tab.addEventListener("click", () => chooseSymbol(name));
    return tab;
  }));
  if (!state.symbol) chooseSymbol(state.symbols[0]);
}

export function chooseSymbol(symbol) {
  if (!symbol || symbol === state.symbol) return;
  state.symbol = symbol;
  for (const tab of byId("symbols").children) {
    const mine = tab.id === `tab-${symbol}`;
    tab.setAttribute("aria-selected", String(mine));
    tab.tabIndex = mine ? 0 : -1;
  }
  closeTicket();
  showField();
  vigil.draw(symbol);
  readHistory(symbol);
  readReplays();
  drawPanels();
  drawAges();
  drawState();
}

function viewOf() {
  return {
    heatmap: heatmap(), pane: state.panes.get(state.symbol), look: { strategy: chosen.strategy, side: chosen.side, display: chosen.display },
    bars: chosen.bars, book: chosen.book, scope: chosen.book === "volume" ? "all" : chosen.scope,
    gex: held("gex")?.document ?? null, calls: held("gex_calls")?.document ?? null, puts: held("gex_puts")?.document ?? null,
    spot: spotOf(state.symbol), levels: held("gex")?.document.levels ?? null,
  };
}

/** Everything of the field anew: another symbol, pane, look or epoch. */
function showField() {
  const found = heatmap();
  byId("empty").hidden = Boolean(found);
  if (!found) {
    field.view = null;
    paneTabs = "";
    byId("panes").replaceChildren();
    byId("empty-said").textContent = state.symbol ? `No heatmap of ${state.symbol} is published yet: the first chain is on its way.` : "Waiting for the first document …";
    return;
  }
  const pane = state.panes.get(state.symbol);
  if (!found.panes[pane]) state.panes.set(state.symbol, nearestPane(found));
  drawPaneTabs(found);
  limitControls();
  field.show(viewOf());
  drawLegend();
  drawTable(true);
}

function renewView() {
  const view = viewOf();
  if (!view.heatmap) return;
  const rowsDiffer = field.view.scope === "all" && !field.view.gex !== !view.gex;
  if (rowsDiffer) field.show(view);
  else field.renew(view);
}

function drawPaneTabs(found) {
  const order = orderedPanes(found);
  const mine = state.panes.get(state.symbol);
  const many = new Set(order.map((pane) => found.panes[pane]).filter((head, _, all) => all.some((other) => other !== head && other.dte === head.dte && other.settlement === head.settlement)).map((head) => head.expiration));
  const mark = JSON.stringify([state.symbol, order.map((pane) => found.panes[pane].dte), order, mine]);
  if (mark === paneTabs) return;
  paneTabs = mark;
  byId("panes").replaceChildren(...order.map((pane) => {
    const head = found.panes[pane];
    const name = paneName(head) + (many.has(head.expiration) ? ` ${head.root}` : "");
    const tab = el("button", { type: "button", role: "tab", "aria-selected": String(pane === mine), tabindex: pane === mine ? "0" : "-1", "data-pane": pane, title: `${head.expiration} ${head.root}, settled ${head.settlement}` }, name, " ", el("small", {}, head.dte > 0 ? `${head.dte}d` : ""));
    tab.addEventListener("click", () => choosePane(pane));
    return tab;
  }));
  const tabs = byId("panes");
  const tab = tabs.querySelector('[aria-selected="true"]');
  if (tab) tabs.scrollLeft = tab.offsetLeft - tabs.clientWidth / 2 + tab.clientWidth / 2;
}

export function choosePane(pane) {
  state.panes.set(state.symbol, pane);
  closeTicket();
  showField();
  drawPanels();
}

export function stepPane(step) {
  const found = heatmap();
  if (!found) return;
  const order = orderedPanes(found);
  const at = order.indexOf(state.panes.get(state.symbol)) + step;
  choosePane(order[(at + order.length) % order.length]);
}

// --- controls ---

for (const [name, options] of Object.entries(CHOICES)) {
  byId(name).append(...Object.entries(options).map(([value, words]) => {
    const input = el("input", { type: "radio", name, value });
    input.checked = chosen[name] === value;
    input.addEventListener("change", () => choose(name, value));
    return el("label", {}, input, el("span", {}, words));
  }));
}

export function choose(name, value) {
  chosen[name] = value;
  if (name === "strategy" && !displaysOf(value).includes(chosen.display)) chosen.display = "mid";
  for (const input of document.querySelectorAll(".controls input")) input.checked = chosen[input.name] === input.value;
  store();
  closeTicket();
  if (heatmap()) showField();
  drawPanels();
}

function limitControls() {
  const displays = displaysOf(chosen.strategy);
  for (const input of byId("display").querySelectorAll("input")) {
    input.disabled = !displays.includes(input.value);
    input.parentElement.title = !input.disabled ? "" : input.value === "pin" ? "A pin probability is a butterfly's" : "A single has no limited reward";
  }
  for (const input of byId("scope").querySelectorAll("input")) {
    input.disabled = chosen.book === "volume" && input.value === "pane";
    input.parentElement.title = input.disabled ? "The volume book is published over all dates" : "";
  }
}

export function cycle(name) {
  const allowed = name === "display" ? displaysOf(chosen.strategy) : name === "strategy" ? STRATEGIES : name === "side" ? SIDES : Object.keys(CHOICES[name]);
  choose(name, allowed[(allowed.indexOf(chosen[name]) + 1) % allowed.length]);
}

export function resizeRows(step) {
  chosen.rows = Math.max(0, Math.min(ROW_HEIGHTS.length - 1, chosen.rows + step));
  store();
  field.setRowHeight(ROW_HEIGHTS[chosen.rows]);
}

export function toggleTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "light" ? "dark" : "light";
  store();
  field.resize();
  series.theme();
  panelsDrawn = "";
  drawPanels();
}

export function toggleTable() {
  state.table = !state.table;
  byId("table").classList.toggle("shown", state.table);
  byId("as-table").setAttribute("aria-pressed", String(state.table));
  drawTable(true);
  byId("table").querySelector(".at-spot")?.scrollIntoView({ block: "center" });
  (state.table ? byId("table") : byId("field")).focus();
}

export function toggleSheet() {
  const sheet = byId("sheet");
  if (sheet.open) return sheet.close();
  if (!sheet.childElementCount) {
    const close = el("button", { type: "button" }, "Close");
    close.addEventListener("click", () => sheet.close());
    sheet.append(
      el("h2", { id: "sheet-name" }, "Keys"),
      el("dl", { class: "keys" }, ...SHEET.map(([keys, does]) => el("div", {}, el("dt", {}, ...keys.flatMap((key, n) => [...(n ? [" "] : []), el("kbd", {}, key)])), el("dd", {}, does)))),
      el("p", {}, "Prices are dollars a share; GEX is dollars of delta per 1 % move under the naive sign model: dealers long calls and short puts. Times are New York's. It describes positions and prices as they are; none of it predicts."),
      close,
    );
  }
  return sheet.showModal();
}

byId("centre").addEventListener("click", () => field.centre());
byId("smaller").addEventListener("click", () => resizeRows(-1));
byId("larger").addEventListener("click", () => resizeRows(1));
byId("as-table").addEventListener("click", toggleTable);
byId("theme").addEventListener("click", toggleTheme);
byId("help").addEventListener("click", toggleSheet);
for (const list of [byId("symbols"), byId("panes")]) {
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const tabs = [...list.children];
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    const [id, pane] = [next.id, next.dataset.pane];
    next.click();
    (id ? byId(id) : list.querySelector(`[data-pane="${pane}"]`)).focus();
  });
}

// --- the tile under the pointer, and the one that was picked ---

function hover(cell, event) {
  const tip = byId("tip");
  tip.hidden = !cell;
  if (!cell) return;
  const tile = cell.column >= 0 ? tileOf(heatmap(), field.view.pane, chosen, cell.at, cell.column) : null;
  fillTip(tip, tile, cell);
  const [x, y] = [event.clientX + 16, event.clientY + 16];
  tip.style.left = `${Math.max(4, Math.min(innerWidth - tip.offsetWidth - 6, x))}px`;
  tip.style.top = `${y + tip.offsetHeight > innerHeight - 6 ? Math.max(4, event.clientY - tip.offsetHeight - 12) : y}px`;
}

function pick(cell) {
  if (!cell || cell.at < 0) return;
  state.picked = cell;
  byId("tip").hidden = true;
  drawTicket();
  placeTicket();
}

function drawTicket() {
  dirty.ticket = false;
  const found = heatmap();
  if (!state.picked || !found?.panes[field.view?.pane]?.strikes[state.picked.at]) return closeTicket();
  const entry = held("heatmap");
  byId("ticket").hidden = false;
  fillTicket(byId("ticket"), tileOf(found, field.view.pane, chosen, state.picked.at, state.picked.column), `${timeOf(entry.ts)} New York`, closeTicket);
  return undefined;
}

function placeTicket() {
  if (!state.picked || byId("ticket").hidden) return;
  const { x, y } = field.place(state.picked);
  const box = byId("ticket");
  box.style.left = `${Math.max(8, Math.min(innerWidth - box.offsetWidth - 8, x + 12))}px`;
  box.style.top = `${Math.max(8, Math.min(innerHeight - box.offsetHeight - 8, y - 20))}px`;
}

export function closeTicket() {
  const within = byId("ticket").contains(document.activeElement);
  state.picked = null;
  byId("ticket").hidden = true;
  field.release();
  if (within) byId("field").focus();
}

export function moveCursor(rows, columns) {
  if (!field.view) return;
  const cell = field.move(rows, columns);
  const tile = cell.at >= 0 ? tileOf(heatmap(), field.view.pane, chosen, cell.at, cell.column) : null;
  byId("field-said").textContent = tile ? `${nameOf(tile)}: ${tile.mid == null ? "no price" : `mid ${price(tile.mid, 2)}`}` : `${price(cell.strike)}: no tile`;
  if (state.picked) pick(cell);
}

export const openTicket = () => {
  pick(field.picked() ?? (field.view && field.move(0, 0)));
  byId("ticket").querySelector('[data-name="copy"]')?.focus();
};
export const copyOrder = () => byId("ticket").querySelector('[data-name="copy"]')?.click();
export const centre = () => field.centre();

// --- figures ---

function put(id, text, note, css = "") {
  const box = byId(id);
  if (box.textContent !== text) box.textContent = text;
  const line = byId(`${id}-note`);
  if (line && line.textContent !== note) line.textContent = note;
  if (line) line.className = `note ${css}`;
  return box;
}

function drawFigures() {
  const spot = spotOf(state.symbol);
  const facts = intel.get(state.symbol)?.facts;
  const found = heatmap();
  const gex = held("gex")?.document;
  const mode = held("market_mode")?.document;
  const head = found?.panes[state.panes.get(state.symbol)];
  byId("spot").textContent = price(spot, 2);
  const first = facts?.spot?.first;
  const moved = first && spot ? spot - first : null;
  const note = byId("spot-change");
  note.textContent = moved == null ? " " : `${change(moved)} (${percent(moved / first)})`;
  note.className = `note ${moved > 0 ? "up" : moved < 0 ? "down" : ""}`;
  note.title = first ? `Since ${price(first, 2)}, the first spot of the day that was seen` : "";
  byId("move-label").textContent = head ? `Expected move ${paneName(head)}` : "Expected move";
  const used = head?.expected_move && moved != null ? Math.abs(moved) / head.expected_move : null;
  put("move", head?.expected_move ? `±${price(head.expected_move, 1)}` : NONE, head?.expected_move ? `IV ${percent(head.atm_iv, 1).replace("+", "")}${used == null ? "" : ` · ${part(used)} used`}` : head ? reason("no_volatility") : " ");
  put("mode", mode?.score == null ? NONE : `${mode.score.toFixed(0)} ${mode.label}`, mode ? (mode.score == null ? reason(mode.reason) : `${change(mode.distance, 2)} EM from the flip`) : " ");
  const flip = gex?.levels.flip;
  const box = put("flip", flip?.value != null ? price(flip.value, 1) : flip ? "none" : NONE, flip ? (flip.value != null ? `spot ${change(spot - flip.value, 1)}${flip.roots.length > 1 ? ` · ${flip.roots.length} roots` : ""}` : `${reason(flip.reason)}${flip.sign ? `; net ${flip.sign > 0 ? "long" : "short"}` : ""}`) : " ");
  box.classList.toggle("none", flip?.value == null);
  byId("flip-note").title = byId("flip-note").textContent;
  const book = gex?.books[chosen.book];
  put("net", dollars(book?.net), book?.net == null ? " " : `dealers ${book.net > 0 ? "long" : "short"} · ${chosen.book === "oi" ? "OI" : "volume"}`);
  byId("net").className = book?.net > 0 ? "up" : book?.net < 0 ? "down" : "";
  put("ratio", book?.ratio == null ? NONE : change(book.ratio, 3), book ? `gross ${dollars(book.gross, false)}` : " ");
  for (const [id, name] of [["call-wall", "call_wall"], ["put-wall", "put_wall"], ["pain", "max_pain"]]) {
    const level = name === "max_pain" ? head?.max_pain ?? null : gex?.levels[name];
    const why = name === "max_pain" ? "no open interest" : reason(gex?.levels.reasons[name]);
    put(id, level == null ? (gex ? "none" : NONE) : price(level), level == null ? (gex ? why : " ") : spot == null ? " " : `${change(level - spot, 1)} from spot`).classList.toggle("none", level == null);
  }
  for (const symbol of state.symbols) {
    const tab = byId(`tab-${symbol}`).lastChild;
    const text = price(spotOf(symbol), 2);
    if (tab.textContent !== text) tab.textContent = text;
  }
  const covered = found?.coverage == null ? "" : `${part(found.coverage)} of the contracts quoted`;
  const counts = head?.violation_counts;
  byId("coverage").textContent = [covered, counts ? `${counts.noise} noise, ${counts.stale_or_arb} stale or arbitrage` : ""].filter(Boolean).join(" · ");
  document.title = spot == null ? "MarketSwarm" : `${state.symbol} ${price(spot, 2)} · MarketSwarm`;
}

let panelsDrawn = "";
function wantPanels() {
  if (dirty.panels) return;
  dirty.panels = true;
  setTimeout(drawPanels, PANELS_MS);
}

function drawPanels() {
  dirty.panels = false;
  if (!state.symbol) return undefined;
  const mode = held("market_mode")?.document;
  const gravity = held("dealer_gravity")?.document;
  drawFigures();
  // The same documents make the same drawings: they are made anew only for others.
  const intent = held("liquidity_intent")?.document;
  const drawn = [state.symbol, ...[mode, intent, gravity].map((one) => `${one?.epoch} ${one?.version}`), spotOf(state.symbol)].join("|");
  if (drawn === panelsDrawn) {
    if (dirty.ticket) drawTicket();
    return drawState();
  }
  panelsDrawn = drawn;
  drawGauge(byId("gauge"), mode);
  byId("mode-of").textContent = mode?.ratio == null ? "" : `near-spot net / gross ${change(mode.ratio, 3)}`;
  drawQuadrant(byId("quadrant"), intent, trails.get(state.symbol) ?? []);
  drawGravity(byId("gravity"), gravity, spotOf(state.symbol));
  byId("gravity-of").textContent = gravity?.pane && heatmap()?.panes[gravity.pane] ? paneName(heatmap().panes[gravity.pane]) : "";
  const found = heatmap();
  if (found) drawPaneTabs(found);
  if (dirty.ticket) drawTicket();
  return drawState();
}

function drawLegend() {
  const { display, strategy } = chosen;
  const most = field.scale;
  const words = {
    reward: ["0 : 1", "100 : 1"], pin: ["0 %", `${(most * 100).toFixed(0)} %`],
  }[display] ?? (strategy === "single" ? ["$0", `$${price(most)}`] : ["$0", `${(most * 100).toFixed(most < 0.05 ? 1 : 0)} % of the width`]);
  [byId("legend-low").textContent, byId("legend-high").textContent] = words;
}

let tableAt = 0;
function drawTable(now = false) {
  if (!field.view || (!now && performance.now() - tableAt < TABLE_MS)) return;
  tableAt = performance.now();
  fillTable(byId("table"), field.view, chosen);
}

// --- is it current? ---

const SHAPES = {
  live: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z",
  delayed: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm0 2a5 5 0 1 1 0 10A5 5 0 0 1 8 3zm-.8 1.5v4.2l3 1.8.8-1.3-2.2-1.3V4.500z",
  stale: "M8 1 15.500 14.500H.5zM7.200 6v4h1.600V6zm0 5v1.600h1.600V11z",
  dormant: "M3 2h3.500v12H3zm6.500 0H13v12H9.500z",
  reconnecting: "M8 1.500V4a4 4 0 0 1 4 4h2.500A6.500 6.500 0 0 0 8 1.500zM1.500 8A6.500 6.500 0 0 0 8 14.500V12a4 4 0 0 1-4-4z",
  connecting: "M8 1.500V4a4 4 0 0 1 4 4h2.500A6.500 6.500 0 0 0 8 1.500zM1.500 8A6.500 6.500 0 0 0 8 14.500V12a4 4 0 0 1-4-4z",
  closed: "M2 2h12v12H2z",
};
const WORDS = { live: "LIVE", delayed: "DELAYED", stale: "STALE", dormant: "DORMANT", reconnecting: "RECONNECTING", connecting: "CONNECTING", closed: "MARKET CLOSED" };

/** [state, why, whether the numbers are those of now]. */
function currency() {
  const entry = state.symbol ? held("heatmap") : null;
  const beat = stream.beat;
  const quiet = Math.max(0, stream.now() - Math.max(entry?.published ?? 0, spots.get(state.symbol)?.published ?? 0));
  if (state.link !== "open") return state.everOpen ? ["reconnecting", "the connection to the gateway is lost", false] : ["connecting", "", false];
  if (beat && !beat.redis) return ["reconnecting", "the gateway has lost its Redis", false];
  if (!entry) return ["connecting", "no document yet", false];
  const { status } = entry.document;
  if (status === "closed") return ["closed", "the last values of the session", false];
  if (status === "dormant") return ["dormant", "the option feed is silent", false];
  if (status === "stale") return ["stale", "quotes are minutes behind spot", false];
  if (!stream.replay && quiet > QUIET_MS) return ["stale", `nothing new for ${age(quiet)}`, false];
  return status === "delayed" ? ["delayed", "by the provider's plan", true] : ["live", "", true];
}

function drawState() {
  const [name, why, current] = currency();
  const { body } = document;
  const entry = state.symbol ? held("heatmap") : null;
  if (body.dataset.state !== name) {
    body.dataset.state = name;
    byId("state-word").textContent = WORDS[name];
    byId("state-shape").setAttribute("d", SHAPES[name]);
  }
  if (byId("state-why").textContent !== why) byId("state-why").textContent = why;
  body.classList.toggle("not-current", !current && Boolean(entry));
  byId("replay-badge").hidden = !stream.replay;
  byId("state").hidden = Boolean(stream.replay) && name === "live"; // a recording is never live
  const old = byId("old");
  old.hidden = current || !entry;
  if (!old.hidden) {
    const told = `${name === "closed" ? "Market closed" : "Not current"}: these are the values of ${momentOf(entry.ts)} New York time`;
    if (old.textContent !== told) old.textContent = told;
  }
}

function drawAges() {
  const feeds = stream.beat?.symbols?.[state.symbol]?.feeds ?? {};
  for (const name of ["quotes", "spot", "chain"]) {
    const box = byId(`age-${name}`);
    const old = feeds[name] == null ? null : stream.now() - feeds[name];
    box.textContent = age(old);
    box.classList.toggle("late", old != null && old > LATE_MS[name]);
  }
  byId("age-oi").textContent = heatmap()?.as_of.oi_date?.slice(5) ?? NONE;
  const latency = stream.replay ? null : stream.latency();
  byId("latency").textContent = latency ? `${latency.p50.toFixed(0)} / ${latency.p95.toFixed(0)} ms` : NONE;
}

// --- a recorded session ---

const SPEEDS = [1, 2, 5, 10, 30, 60, 300];
const HOUR_MS = 3_600_000;

const tape = new Tape({
  apply: (name, sent, unseen) => { stream.take(name, sent, unseen); if (unseen) noteUnseen(name); },
  capture: () => JSON.stringify({ held: [...stream.held], spots: [...spots], intel: [...intel] }),
  restore: (frame) => {
    const found = frame ? JSON.parse(frame) : { held: [], spots: [], intel: [] };
    for (const [into, from] of [[stream.held, found.held], [spots, found.spots], [intel, found.intel]]) {
      into.clear();
      for (const [key, value] of from) into.set(key, value);
    }
    trails.clear();
  },
  jumped: () => {
    for (const key of stream.held.keys()) if (!state.symbols.includes(key.split("|")[1])) addSymbol(key.split("|")[1]);
    showField();
    series.cut(tape.position);
    vigil.draw(state.symbol, tape.position);
    drawPanels();
  },
  complete: () => ["done", "failed", "stopped"].includes(stream.beat?.replay?.state ?? ""),
  moved: drawTime,
});

let unseenRowAt = 0;
function noteUnseen(name) {
  if (!name.startsWith("gex") && name !== "market_mode") return;
  const row = state.symbol && rowNow();
  if (row && row[0] - unseenRowAt >= SERIES_MS) {
    unseenRowAt = row[0];
    series.add(row);
  }
}

function drawTime() {
  const { body } = document;
  const on = Boolean(stream.replay);
  for (const id of ["back", "play", "forward", "slider", "to-live", "speed"]) byId(id).disabled = !on;
  byId("play").textContent = tape.playing ? "❚❚" : "▶";
  byId("play").setAttribute("aria-label", tape.playing ? "Pause" : "Play");
  body.classList.toggle("replay", on);
  const slider = byId("slider");
  if (on && tape.end) {
    slider.min = tape.start;
    slider.max = tape.end;
    if (!sliding) slider.value = tape.position;
    slider.setAttribute("aria-valuetext", `${momentOf(tape.position)} New York`);
    byId("slider-time").textContent = `${momentOf(tape.position)} of ${timeOf(tape.end)}`;
  } else byId("slider-time").textContent = on ? "loading …" : "live";
}

function openSource(name) {
  const replay = name || null;
  if (replay === stream.replay && stream.source) return;
  tape.clear();
  for (const map of [spots, intel, trails]) map.clear();
  vigil.forget();
  series.begin([]);
  field.view = null;
  unseenRowAt = 0;
  stream.open(replay);
  closeTicket();
  showField();
  vigil.draw(state.symbol);
  if (!replay) readHistory(state.symbol);
  byId("source").value = name;
  drawTime();
  drawState();
}

async function readReplays() {
  try {
    const answer = await fetch("/api/replays", { cache: "no-store" });
    byId("time").hidden = !answer.ok;
    if (!answer.ok) return;
    const found = await answer.json();
    state.recorded = found.recorded ?? {};
    const names = found.replays.map((one) => one.name);
    const mark = JSON.stringify(found.replays.map((one) => [one.name, one.state]));
    if (mark !== state.replays) {
      state.replays = mark;
      byId("source").replaceChildren(el("option", { value: "" }, "Live"), ...found.replays.map((one) => el("option", { value: one.name }, `${one.name} (${one.symbol}, ${one.state})`)));
    }
    byId("source").value = stream.replay && names.includes(stream.replay) ? stream.replay : "";
    const recorded = Boolean(state.recorded[state.symbol]) || Boolean(stream.replay);
    for (const id of ["to-open", "back-hour"]) byId(id).disabled = !recorded;
  } catch { /* the gateway is away */ }
}

/** A replay of what is recorded of this symbol, of the last so many ms; then it is what the page shows. */
async function record(reach) {
  const recorded = state.recorded?.[state.symbol];
  if (!recorded) return;
  const from = Math.max(recorded.from_ms, recorded.to_ms - reach);
  byId("slider-time").textContent = "asking for the recording …";
  try {
    const answer = await fetch("/api/replays", {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ symbol: state.symbol, from_ms: from, to_ms: recorded.to_ms }),
    });
    const found = await answer.json();
    if (!answer.ok) {
      byId("slider-time").textContent = found.error ?? `refused (${answer.status})`;
      return;
    }
    await readReplays();
    openSource(found.name);
  } catch {
    byId("slider-time").textContent = "the gateway does not answer";
  }
}

export const transport = {
  toOpen: () => (stream.replay ? tape.seek(tape.start) : record(24 * HOUR_MS)),
  backHour: () => (stream.replay ? tape.seek(tape.position - HOUR_MS) : record(HOUR_MS)),
  step: (direction) => { if (stream.replay) tape.step(direction, "heatmap", state.symbol); },
  play: () => { if (stream.replay) tape.play(); },
  live: () => openSource(""),
  speed: (step) => {
    const at = Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(tape.speed) + step));
    tape.speed = SPEEDS[at];
    byId("speed").value = String(tape.speed);
  },
};

let sliding = false;
byId("slider").addEventListener("input", () => {
  sliding = true;
  tape.seek(Number(byId("slider").value));
});
byId("slider").addEventListener("change", () => { sliding = false; });
byId("speed").append(...SPEEDS.map((speed) => el("option", { value: String(speed) }, `${speed} ×`)));
byId("speed").addEventListener("change", () => { tape.speed = Number(byId("speed").value); });
byId("source").addEventListener("change", () => openSource(byId("source").value));
byId("source").addEventListener("focus", readReplays);
for (const [id, act] of [["to-open", "toOpen"], ["back-hour", "backHour"], ["play", "play"], ["to-live", "live"]]) byId(id).addEventListener("click", () => transport[act]());
byId("back").addEventListener("click", () => transport.step(-1));
byId("forward").addEventListener("click", () => transport.step(1));

// --- the session ---

function rowNow() {
  const entry = held("gex");
  const mode = held("market_mode")?.document;
  const spot = spotOf(state.symbol);
  const move = heatmap()?.panes[held("gex")?.document.levels.front]?.expected_move ?? null;
  if (spot == null) return null;
  const levels = entry?.document.levels;
  const at = Math.max(entry?.ts ?? 0, spots.get(state.symbol)?.ts ?? 0);
  return [at, spot, levels?.flip.value ?? null, levels?.call_wall ?? null, levels?.put_wall ?? null, move && spot + move, move && spot - move, entry?.document.totals?.net ?? null, mode?.score ?? null];
}

async function readHistory(symbol) {
  series.begin([]);
  const { replay } = stream;
  if (replay) return; // a tape brings its own
  try {
    const answer = await fetch(`/api/history/${encodeURIComponent(symbol)}`, { cache: "no-store" });
    if (!answer.ok || symbol !== state.symbol || replay !== stream.replay) return;
    const found = await answer.json();
    const rows = [
      ...(found.spot ?? []).map(([ts, spot]) => [ts, spot, null, null, null, null, null, null, null]),
      ...(found.series ?? []).map(([ts, spot, net, score, flip]) => [ts, spot, flip, null, null, null, null, net, score]),
    ].sort((a, b) => a[0] - b[0]);
    series.begin([...rows, ...series.rows.filter((row) => !rows.length || row[0] > rows[rows.length - 1][0])]);
  } catch { /* the gateway is away: the session begins with what comes */ }
}

setInterval(() => {
  if (dirty.series && state.symbol) {
    dirty.series = false;
    const row = rowNow();
    if (row) series.add(row);
    series.draw();
  }
  drawTable();
  drawAges();
  drawState();
}, SERIES_MS);

bindKeys({
  transport,
  symbol: (n) => chooseSymbol(state.symbols[n]), pane: stepPane, cycle, centre, rows: resizeRows, theme: toggleTheme, table: toggleTable,
  sheet: toggleSheet, move: moveCursor, open: openTicket, close: closeTicket, copy: copyOrder, inField: () => document.activeElement === byId("field"),
});

stream.open();
drawTime();
readReplays();
setInterval(readReplays, 10_000);
setTimeout(() => { state.warm = true; }, 5000);

/** For the console and for tests: what the page holds, never what it would like to. */
window.marketswarm = {
  stream, field, state, chosen, said, tape,
  document: (model, symbol) => stream.document(model, symbol)?.document ?? null,
};
