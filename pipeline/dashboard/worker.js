// Where the data are: this thread takes the events in, holds the documents, plays the tapes and draws the field. The page's
// own thread is told what its figures need, a few times a second however often the market moves.

import { nearestPane } from "./documents.js";
import { Field } from "./field.js";
import { Tape } from "./replay.js";
import { Stream } from "./stream.js";
import { textOfTable } from "./table.js";
import { arraysOf, tileOf } from "./tiles.js";

const FACTS_MS = 250;
const ROW_MS = 1000;
/** The table is the dearest that the page lays out; nobody reads its hundreds of numbers faster. */
const TABLE_MS = 2500;
const TRAIL = 40;

const tell = (name, ...what) => postMessage([name, ...what]);
const panes = new Map();
const spots = new Map();
const intel = new Map();
const trails = new Map();
let symbol = null;
let look = {};
let picked = false;
let rowDue = false;
let factsDue = 0;
let rowAt = 0;
let tableAt = -Infinity;
let rows = [];
let field = null;

const stream = new Stream({
  document: onDocument, spot: onSpot, vexy: onVexy,
  vigil: (event) => tell("vigil", event, stream.unseen, tape.position),
  epoch: () => {}, record: (name, text) => tape.add(name, text),
  link: (link) => tell("link", link), refused: () => tell("refused"),
  heartbeat: (beat) => tell("beat", beat, stream.offset),
});

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
    rowAt = 0;
  },
  jumped: () => {
    show();
    tell("jumped", tape.position, rows);
    rows = [];
  },
  complete: () => ["done", "failed", "stopped"].includes(stream.beat?.replay?.state ?? ""),
  moved: tellTime,
});

const held = (model) => stream.document(model, symbol);
const heatmap = () => held("heatmap")?.document ?? null;
const spotOf = (name) => spots.get(name)?.price ?? stream.document("heatmap", name)?.document.spot ?? null;

// --- what comes ---

function onDocument(model, of, entry, changed) {
  wantFacts();
  if (of !== symbol) return;
  const { document: found } = entry;
  if (model === "heatmap") {
    if (!changed || !field.view) show();
    else {
      for (const array of arraysOf(look)) {
        const indices = changed.tiles.get(`${field.view.pane}|${array}`);
        if (indices) field.tilesChanged(indices);
      }
      if (changed.heads) field.linesChanged();
    }
  } else if (model.startsWith("gex")) {
    if (field.view && (!changed || !field.view.gex)) renewView();
    if (!changed || changed.strikes) field.barsChanged();
    if (model === "gex") field.linesChanged();
  } else if (model === "liquidity_intent" && found.quadrant) {
    trails.set(symbol, [...(trails.get(symbol) ?? []).slice(1 - TRAIL), { bias: found.bias, lfi: found.lfi }]);
  }
  if (model === "gex" || model === "market_mode") rowDue = true;
}

function onSpot(spot) {
  const before = spots.get(spot.symbol);
  if (before && before.ts > spot.ts) return;
  spots.set(spot.symbol, spot);
  if (stream.unseen) return;
  wantFacts();
  if (spot.symbol !== symbol || !field.view) return;
  const crossed = look.side === "otm" && field.pane().strikes.some((strike) => (strike >= (field.view.spot ?? 0)) !== (strike >= spot.price));
  field.view.spot = spot.price;
  if (crossed) field.want("all");
  field.linesChanged();
  rowDue = true;
}

function onVexy(of, document) {
  intel.set(of, document);
  if (!stream.unseen) wantFacts();
}

// --- the field ---

function viewOf() {
  return {
    heatmap: heatmap(), pane: panes.get(symbol),
    look: { strategy: look.strategy, side: look.side, display: look.display }, bars: look.bars, book: look.book,
    scope: look.book === "volume" ? "all" : look.scope,
    gex: held("gex")?.document ?? null, calls: held("gex_calls")?.document ?? null, puts: held("gex_puts")?.document ?? null,
    spot: spotOf(symbol),
  };
}

/** Everything of the field anew: another symbol, pane, look or epoch. */
function show() {
  const found = heatmap();
  if (!found) field.view = null;
  else {
    if (!found.panes[panes.get(symbol)]) panes.set(symbol, nearestPane(found));
    field.show(viewOf());
  }
  tableAt = -Infinity;
  tellFacts();
}

function renewView() {
  const view = viewOf();
  if (!view.heatmap) return;
  const rowsDiffer = field.view.scope === "all" && !field.view.gex !== !view.gex;
  if (rowsDiffer) field.show(view);
  else field.renew(view);
}

/** What a cell of the field is: {cell, tile}, the tile null where it is of bars alone; null for no cell. */
function named(cell) {
  const tiled = cell && cell.at >= 0 && cell.column >= 0;
  return cell && { cell, tile: tiled ? tileOf(heatmap(), field.view.pane, look, cell.at, cell.column) : null };
}

/** The cursor's tile and where it is, for the ticket. */
function ticket() {
  const found = field.view && named(field.picked());
  return found?.tile ? { ...found, place: field.place(), ts: heatmap().ts } : null;
}

function pickedTicket() {
  const found = ticket();
  picked = Boolean(found);
  return found;
}

// --- what the page is told ---

function wantFacts() {
  factsDue ||= setTimeout(tellFacts, FACTS_MS);
}

/** Everything beside the field: documents without what is by strike, which only the field draws. */
function tellFacts() {
  clearTimeout(factsDue);
  factsDue = 0;
  const entry = symbol && held("heatmap");
  const net = symbol && held("gex");
  const symbols = [...new Set([...stream.held.keys()].map((key) => key.split("|")[1]))];
  tell("facts", {
    symbols: symbols.map((name) => [name, spotOf(name)]), symbol, pane: entry ? field.view?.pane : null,
    heatmap: entry && headsOf(entry.document),
    gex: net && { levels: net.document.levels, books: net.document.books },
    mode: held("market_mode")?.document, intent: held("liquidity_intent")?.document, gravity: held("dealer_gravity")?.document,
    trail: trails.get(symbol) ?? [], intel: intel.get(symbol)?.facts, spot: spotOf(symbol),
    published: Math.max(entry?.published ?? 0, spots.get(symbol)?.published ?? 0),
    scale: field.scale, latency: stream.replay ? null : stream.latency(), ticket: picked ? ticket() : null,
    table: tableNow(),
  });
}

function tableNow() {
  if (!field.view || performance.now() - tableAt < TABLE_MS) return null;
  tableAt = performance.now();
  return textOfTable(field.view);
}

function headsOf(found) {
  const heads = {};
  for (const pane in found.panes) {
    const { strikes, butterfly, vertical, single, ...head } = found.panes[pane];
    heads[pane] = head;
  }
  return { ...found, panes: heads };
}

/** A row of the session's series: event time, spot, levels, expected move, net GEX, Market Mode. */
function rowNow() {
  const spot = symbol && spotOf(symbol);
  if (spot == null) return null;
  const net = held("gex");
  const levels = net?.document.levels;
  const move = heatmap()?.panes[levels?.front]?.expected_move ?? null;
  const at = Math.max(net?.document.ts ?? 0, spots.get(symbol)?.ts ?? 0);
  return [at, spot, levels?.flip.value ?? null, levels?.call_wall ?? null, levels?.put_wall ?? null, move && spot + move, move && spot - move, net?.document.totals?.net ?? null, held("market_mode")?.document.score ?? null];
}

function noteUnseen(name) {
  if (!name.startsWith("gex") && name !== "market_mode") return;
  const row = rowNow();
  if (row && row[0] - rowAt >= ROW_MS) {
    rowAt = row[0];
    rows.push(row);
  }
}

setInterval(() => {
  const row = rowDue && rowNow();
  rowDue = false;
  if (row) tell("row", row);
}, ROW_MS);

function tellTime() {
  tell("time", { start: tape.start, end: tape.end, position: tape.position, playing: tape.playing });
}

// --- what the page asks ---

const acts = {
  begin(canvases, chosen, still) {
    look = chosen;
    field = new Field(canvases, still, (tall, top) => tell("laid", tall, top));
    stream.open();
  },
  still: (still) => { field.still = still; },
  resize(room) {
    field.resize(room);
    if (picked) tellFacts();
  },
  scroll(top, byHand) {
    field.scrolled(top, byHand);
    if (picked) tellFacts();
  },
  centre: () => field.centre(),
  choose(wanted, pane, chosen) {
    [symbol, look] = [wanted, chosen];
    if (pane) panes.set(symbol, pane);
    show();
  },
  hover: (x, y) => named(field.hover(x, y)),
  pick: (x, y) => (field.pick(x, y) ? pickedTicket() : null),
  open() {
    if (field.view && !field.picked()) field.move(0, 0);
    return pickedTicket();
  },
  move(down, right) {
    if (!field.view) return null;
    const found = named(field.move(down, right));
    return { ...found, ticket: picked ? pickedTicket() : null };
  },
  close() {
    picked = false;
    field.release();
  },
  source(replay) {
    tape.clear();
    for (const map of [spots, intel, trails]) map.clear();
    [rowAt, rows, picked] = [0, [], false];
    stream.open(replay);
    show();
  },
  play: () => tape.play(),
  seek: (ts) => tape.seek(ts),
  step: (direction) => tape.step(direction, "heatmap", symbol),
  speed: (speed) => { tape.speed = speed; },
  // For the console and for tests: what is held and drawn, never what it would like to be.
  document: (model, of) => stream.document(model, of)?.document ?? null,
  counts: () => stream.counts,
  /** The field as it was just drawn. */
  async drawn() {
    await new Promise(requestAnimationFrame);
    if (!field.view) return null;
    const { view: { heatmap: { symbol: of }, pane, look: { strategy, side, display }, bars, book, scope }, rows: laid, shown, rowHeight, height, top } = field;
    const cells = field.pane()[strategy][side]?.[display];
    return { symbol: of, pane, strategy, side, display, bars, book, scope, cells, columns: field.columns(), rows: laid, shown, levels: field.levels, rowHeight, height, top };
  },
};

addEventListener("message", ({ data: [id, name, ...given] }) => {
  const answer = acts[name](...given);
  if (id) Promise.resolve(answer).then((found) => tell("answer", id, found));
});
// What fails in a promise is told to the page as what fails elsewhere is.
addEventListener("unhandledrejection", ({ reason }) => { throw reason; });
