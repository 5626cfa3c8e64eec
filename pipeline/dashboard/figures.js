// The key figures and the small panels, from the facts that the worker told last.

import { drawGauge, drawGravity, drawQuadrant, write } from "./panels.js";
import { byId, state } from "./state.js";
import { change, dollars, NONE, paneName, part, percent, price, reason } from "./words.js";

function put(id, text, note, css = "") {
  const box = byId(id);
  write(box, text);
  const line = byId(`${id}-note`);
  write(line, note);
  line.className = `note ${css}`;
  return box;
}

export function drawFigures(book) {
  const { spot, intel, heatmap, gex, mode, pane, symbols } = state.facts;
  const head = heatmap?.panes[pane];
  write(byId("spot"), price(spot, 2));
  const first = intel?.spot?.first;
  const moved = first && spot ? spot - first : null;
  const note = byId("spot-change");
  write(note, moved == null ? " " : `${change(moved)} (${percent(moved / first)})`);
  note.className = `note ${moved > 0 ? "up" : moved < 0 ? "down" : ""}`;
  note.title = first ? `Since ${price(first, 2)}, the first spot of the day that was seen` : "";
  write(byId("move-label"), head ? `Expected move ${paneName(head)}` : "Expected move");
  const used = head?.expected_move && moved != null ? Math.abs(moved) / head.expected_move : null;
  put("move", head?.expected_move ? `±${price(head.expected_move, 1)}` : NONE, head?.expected_move ? `IV ${percent(head.atm_iv, 1).replace("+", "")}${used == null ? "" : ` · ${part(used)} used`}` : head ? reason("no_volatility") : " ");
  put("mode", mode?.score == null ? NONE : `${mode.score.toFixed(0)} ${mode.label}`, mode ? (mode.score == null ? reason(mode.reason) : `${change(mode.distance, 2)} EM from the flip`) : " ");
  const flip = gex?.levels.flip;
  const box = put("flip", flip?.value != null ? price(flip.value, 1) : flip ? "none" : NONE, flip ? (flip.value != null ? `spot ${change(spot - flip.value, 1)}${flip.roots.length > 1 ? ` · ${flip.roots.length} roots` : ""}` : `${reason(flip.reason)}${flip.sign ? `; net ${flip.sign > 0 ? "long" : "short"}` : ""}`) : " ");
  box.classList.toggle("none", flip?.value == null);
  byId("flip-note").title = byId("flip-note").textContent;
  const mine = gex?.books[book];
  put("net", dollars(mine?.net), mine?.net == null ? " " : `dealers ${mine.net > 0 ? "long" : "short"} · ${book === "oi" ? "OI" : "volume"}`);
  byId("net").className = mine?.net > 0 ? "up" : mine?.net < 0 ? "down" : "";
  put("ratio", mine?.ratio == null ? NONE : change(mine.ratio, 3), mine ? `gross ${dollars(mine.gross, false)}` : " ");
  for (const [id, name] of [["call-wall", "call_wall"], ["put-wall", "put_wall"], ["pain", "max_pain"]]) {
    const level = name === "max_pain" ? head?.max_pain ?? null : gex?.levels[name];
    const why = name === "max_pain" ? "no open interest" : reason(gex?.levels.reasons[name]);
    put(id, level == null ? (gex ? "none" : NONE) : price(level), level == null ? (gex ? why : " ") : spot == null ? " " : `${change(level - spot, 1)} from spot`).classList.toggle("none", level == null);
  }
  for (const [symbol, last] of symbols) write(byId(`tab-${symbol}`).lastChild, price(last, 2));
  const covered = heatmap?.coverage == null ? "" : `${part(heatmap.coverage)} of the contracts quoted`;
  const counts = head?.violation_counts;
  write(byId("coverage"), [covered, counts ? `${counts.noise} noise, ${counts.stale_or_arb} stale or arbitrage` : ""].filter(Boolean).join(" · "));
  const title = spot == null ? "MarketSwarm" : `${state.symbol} ${price(spot, 2)} · MarketSwarm`;
  if (document.title !== title) document.title = title;
}

let drawn = "";

/** The same documents make the same drawings: they are made anew only for others. */
export function drawPanels() {
  const { mode, intent, gravity, trail, spot, heatmap, symbol } = state.facts;
  const mark = [symbol, ...[mode, intent, gravity].map((one) => `${one?.epoch} ${one?.version}`), spot].join("|");
  if (mark === drawn) return;
  drawn = mark;
  drawGauge(byId("gauge"), mode);
  write(byId("mode-of"), mode?.ratio == null ? "" : `near-spot net / gross ${change(mode.ratio, 3)}`);
  drawQuadrant(byId("quadrant"), intent, trail);
  drawGravity(byId("gravity"), gravity, spot);
  write(byId("gravity-of"), heatmap?.panes[gravity?.pane] ? paneName(heatmap.panes[gravity.pane]) : "");
}

/** What the ends of the colours are worth. */
export function drawLegend({ display, strategy }) {
  const most = state.facts.scale;
  const words = {
    reward: ["0 : 1", "100 : 1"], pin: ["0 %", `${(most * 100).toFixed(0)} %`],
  }[display] ?? (strategy === "single" ? ["$0", `$${price(most)}`] : ["$0", `${(most * 100).toFixed(most < 0.05 ? 1 : 0)} % of the width`]);
  write(byId("legend-low"), words[0]);
  write(byId("legend-high"), words[1]);
}
