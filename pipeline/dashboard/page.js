// The page: what is chosen, what is told of it, and who shows it. Data and the field are the worker's.

import { drawAges, drawState } from "./currency.js";
import { orderedPanes } from "./documents.js";
import { drawFigures, drawLegend, drawPanels } from "./figures.js";
import { bindKeys, SHEET } from "./keys.js";
import { el, Vigil } from "./panels.js";
import { Series } from "./series.js";
import { byId, listen, state, thread } from "./state.js";
import { begin, onPick, placeOf, resize } from "./surface.js";
import { fillTable } from "./table.js";
import { fillTicket, nameOf } from "./ticket.js";
import { displaysOf, SIDES, STRATEGIES } from "./tiles.js";
import { beginTransport, readReplays, transport } from "./transport.js";
import { NONE, paneName, price, timeOf } from "./words.js";

const SECOND_MS = 1000;
/** So long after it began, an event of Vigil's is news. */
const WARM_MS = 5000;

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
const vigil = new Vigil(byId("vigil"), byId("vigil-count"));
const series = new Series(byId("series"));
let tabled = false;
let warm = false;

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

// --- what the worker tells ---

listen.facts = (facts) => {
  for (const [symbol] of facts.symbols) if (!state.symbols.includes(symbol)) addSymbol(symbol);
  if (facts.symbol !== state.symbol) return; // asked before another symbol was chosen
  state.facts = facts;
  drawField();
  drawFigures(chosen.book);
  drawPanels();
  if (!byId("ticket").hidden) drawTicket(facts.ticket); // one that was closed meanwhile stays closed
  if (facts.table) fillTable(byId("table"), facts.table);
  drawState();
};

listen.link = (link) => {
  state.link = link;
  state.everOpen ||= link === "open";
  drawState();
};

listen.beat = (beat, offset) => {
  Object.assign(state, { beat, offset });
  drawAges();
  drawState();
};

listen.vigil = (event, unseen, position) => {
  if (vigil.add(event) && event.symbol === state.symbol && !unseen) drawVigil(position, warm ? event : null);
};

listen.row = (row) => {
  series.add(row);
  series.draw();
};

/** A tape was wound to a moment; `rows` are of what it passed by. */
listen.jumped = (position, rows) => {
  for (const row of rows) series.add(row);
  series.cut(position);
  drawVigil(position);
};

listen.refused = () => { location.href = "/login"; };

const drawVigil = (position = state.time.position, fresh = null) => vigil.draw(state.symbol, state.replay ? position : Infinity, fresh);

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

function chooseSymbol(symbol) {
  if (!symbol || symbol === state.symbol) return;
  state.symbol = symbol;
  for (const tab of byId("symbols").children) {
    const mine = tab.id === `tab-${symbol}`;
    tab.setAttribute("aria-selected", String(mine));
    tab.tabIndex = mine ? 0 : -1;
  }
  show();
  drawVigil();
  readHistory(symbol);
  readReplays();
  drawAges();
}

/** Have the field show what is chosen; the facts of it come back at once. */
function show(pane = null) {
  closeTicket();
  thread.tell("choose", state.symbol, pane, chosen);
}

function drawField() {
  const { heatmap } = state.facts;
  byId("empty").hidden = Boolean(heatmap);
  if (!heatmap) {
    paneTabs = "";
    byId("panes").replaceChildren();
    byId("empty-said").textContent = !state.symbol ? "Waiting for the first document …" : `No heatmap of ${state.symbol} is published yet: the first chain is on its way.`;
    return;
  }
  drawPaneTabs(heatmap, state.facts.pane);
  drawLegend(chosen);
}

function drawPaneTabs(found, mine) {
  const order = orderedPanes(found);
  const many = new Set(order.map((pane) => found.panes[pane]).filter((head, _, all) => all.some((other) => other !== head && other.dte === head.dte && other.settlement === head.settlement)).map((head) => head.expiration));
  const mark = JSON.stringify([state.symbol, order.map((pane) => found.panes[pane].dte), order, mine]);
  if (mark === paneTabs) return;
  paneTabs = mark;
  const tabs = byId("panes");
  const within = tabs.contains(document.activeElement);
  tabs.replaceChildren(...order.map((pane) => {
    const head = found.panes[pane];
    const name = paneName(head) + (many.has(head.expiration) ? ` ${head.root}` : "");
    const tab = el("button", { type: "button", role: "tab", "aria-selected": String(pane === mine), tabindex: pane === mine ? "0" : "-1", "data-pane": pane, title: `${head.expiration} ${head.root}, settled ${head.settlement}` }, name, " ", el("small", {}, head.dte > 0 ? `${head.dte}d` : ""));
    tab.addEventListener("click", () => show(pane));
    return tab;
  }));
  const tab = tabs.querySelector('[aria-selected="true"]');
  if (!tab) return;
  tabs.scrollLeft = tab.offsetLeft - tabs.clientWidth / 2 + tab.clientWidth / 2;
  if (within) tab.focus();
}

function stepPane(step) {
  const { heatmap, pane } = state.facts ?? {};
  if (!heatmap) return;
  const order = orderedPanes(heatmap);
  show(order[(order.indexOf(pane) + step + order.length) % order.length]);
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

function choose(name, value) {
  chosen[name] = value;
  if (name === "strategy" && !displaysOf(value).includes(chosen.display)) chosen.display = "mid";
  for (const input of document.querySelectorAll(".controls input")) input.checked = chosen[input.name] === input.value;
  store();
  limitControls();
  show();
  if (state.facts) drawFigures(chosen.book);
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

function cycle(name) {
  const allowed = name === "display" ? displaysOf(chosen.strategy) : name === "strategy" ? STRATEGIES : name === "side" ? SIDES : Object.keys(CHOICES[name]);
  choose(name, allowed[(allowed.indexOf(chosen[name]) + 1) % allowed.length]);
}

function resizeRows(step) {
  chosen.rows = Math.max(0, Math.min(ROW_HEIGHTS.length - 1, chosen.rows + step));
  store();
  resize(ROW_HEIGHTS[chosen.rows]);
}

function toggleTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "light" ? "dark" : "light";
  store();
  resize();
  series.theme();
}

function toggleTable() {
  tabled = !tabled;
  byId("table").classList.toggle("shown", tabled);
  byId("as-table").setAttribute("aria-pressed", String(tabled));
  (tabled ? byId("table") : byId("field")).focus();
  byId("table").querySelector(".at-spot")?.scrollIntoView({ block: "center" });
}

function toggleSheet() {
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

byId("centre").addEventListener("click", centre);
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
    next.click();
    next.focus();
  });
}

// --- the tile that was picked ---

/** `found`: the tile under the cursor with its place and time, or null where there is none. */
function drawTicket(found) {
  if (!found) return closeTicket();
  const box = byId("ticket");
  box.hidden = false;
  fillTicket(box, found.tile, `${timeOf(found.ts)} New York`, closeTicket);
  const [x, y] = placeOf(found.place);
  box.style.left = `${Math.max(8, Math.min(innerWidth - box.offsetWidth - 8, x + 12))}px`;
  box.style.top = `${Math.max(8, Math.min(innerHeight - box.offsetHeight - 8, y - 20))}px`;
  return undefined;
}

function closeTicket() {
  const box = byId("ticket");
  const within = box.contains(document.activeElement);
  box.hidden = true;
  thread.tell("close");
  if (within) byId("field").focus();
}

async function moveCursor(rows, columns) {
  const found = await thread.ask("move", rows, columns);
  if (!found) return;
  const { tile, cell, ticket } = found;
  byId("field-said").textContent = tile ? `${nameOf(tile)}: ${tile.mid == null ? "no price" : `mid ${price(tile.mid, 2)}`}` : `${price(cell.strike)}: no tile`;
  if (!byId("ticket").hidden) drawTicket(ticket);
}

async function openTicket() {
  drawTicket(await thread.ask("open"));
  byId("ticket").querySelector('[data-name="copy"]')?.focus();
}

function copyOrder() {
  byId("ticket").querySelector('[data-name="copy"]')?.click();
}

function centre() {
  thread.tell("centre");
}

// --- the session ---

async function readHistory(symbol) {
  series.begin([]);
  const { replay } = state;
  if (replay) return; // a tape brings its own
  try {
    const answer = await fetch(`/api/history/${encodeURIComponent(symbol)}`, { cache: "no-store" });
    if (!answer.ok || symbol !== state.symbol || replay !== state.replay) return;
    const found = await answer.json();
    const rows = [
      ...(found.spot ?? []).map(([ts, spot]) => [ts, spot, null, null, null, null, null, null, null]),
      ...(found.series ?? []).map(([ts, spot, net, score, flip]) => [ts, spot, flip, null, null, null, null, net, score]),
    ].sort((a, b) => a[0] - b[0]);
    series.begin([...rows, ...series.rows.filter((row) => !rows.length || row[0] > rows[rows.length - 1][0])]);
  } catch { /* the gateway is away: the session begins with what comes */ }
}

function drawAnew() {
  vigil.forget();
  closeTicket();
  series.begin([]);
  drawVigil();
  if (!state.replay) readHistory(state.symbol);
  drawState();
}

setInterval(() => {
  drawAges();
  drawState();
}, SECOND_MS);
setTimeout(() => { warm = true; }, WARM_MS);

bindKeys({
  transport,
  symbol: (n) => chooseSymbol(state.symbols[n]), pane: stepPane, cycle, centre, rows: resizeRows, theme: toggleTheme, table: toggleTable,
  sheet: toggleSheet, move: moveCursor, open: openTicket, close: closeTicket, copy: copyOrder, inField: () => document.activeElement === byId("field"),
});
limitControls();
begin(chosen);
resize(ROW_HEIGHTS[chosen.rows]);
onPick((found) => { if (found) drawTicket(found); });
beginTransport(drawAnew);

/** For the console and for tests: what the page was told, and what the worker holds and has drawn. */
window.marketswarm = { state, ask: (...asked) => thread.ask(...asked) };
