// A recorded session: which there are, and what plays them.

import { el } from "./panels.js";
import { byId, listen, state, thread } from "./state.js";
import { momentOf, timeOf } from "./words.js";

const SPEEDS = [1, 2, 5, 10, 30, 60, 300];
const HOUR_MS = 3_600_000;
const REPLAYS_MS = 10_000;

let recorded = {};
let listed = "";
let sliding = false;
let speed = 1;

/** What the page does when it shows another source, a replay's name or "" for what is live. */
let changed = () => {};

export function drawTime() {
  const { replay, time } = state;
  const on = Boolean(replay);
  for (const id of ["back", "play", "forward", "slider", "to-live", "speed"]) byId(id).disabled = !on;
  byId("play").textContent = time.playing ? "❚❚" : "▶";
  byId("play").setAttribute("aria-label", time.playing ? "Pause" : "Play");
  document.body.classList.toggle("replay", on);
  const slider = byId("slider");
  if (on && time.end) {
    slider.min = time.start;
    slider.max = time.end;
    if (!sliding) slider.value = time.position;
    slider.setAttribute("aria-valuetext", `${momentOf(time.position)} New York`);
    byId("slider-time").textContent = `${momentOf(time.position)} of ${timeOf(time.end)}`;
  } else byId("slider-time").textContent = on ? "loading …" : "live";
}

listen.time = (time) => {
  state.time = time;
  drawTime();
};

function openSource(name) {
  const replay = name || null;
  if (replay === state.replay) return;
  Object.assign(state, { replay, beat: null, time: { start: 0, end: 0, position: 0, playing: false } });
  thread.tell("source", replay);
  byId("source").value = name;
  changed();
  drawTime();
}

export async function readReplays() {
  try {
    const answer = await fetch("/api/replays", { cache: "no-store" });
    byId("time").hidden = !answer.ok;
    if (!answer.ok) return;
    const found = await answer.json();
    recorded = found.recorded ?? {};
    const names = found.replays.map((one) => one.name);
    const mark = JSON.stringify(found.replays.map((one) => [one.name, one.state]));
    if (mark !== listed) {
      listed = mark;
      byId("source").replaceChildren(el("option", { value: "" }, "Live"), ...found.replays.map((one) => el("option", { value: one.name }, `${one.name} (${one.symbol}, ${one.state})`)));
    }
    byId("source").value = state.replay && names.includes(state.replay) ? state.replay : "";
    for (const id of ["to-open", "back-hour"]) byId(id).disabled = !recorded[state.symbol] && !state.replay;
  } catch { /* the gateway is away */ }
}

/** A replay of what is recorded of this symbol, of the last so many ms; then it is what the page shows. */
async function record(reach) {
  const mine = recorded[state.symbol];
  if (!mine) return;
  const from = Math.max(mine.from_ms, mine.to_ms - reach);
  byId("slider-time").textContent = "asking for the recording …";
  try {
    const answer = await fetch("/api/replays", {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ symbol: state.symbol, from_ms: from, to_ms: mine.to_ms }),
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

const whileReplaying = (name, ...given) => { if (state.replay) thread.tell(name, ...given); };

function setSpeed(chosen) {
  speed = chosen;
  byId("speed").value = String(speed);
  thread.tell("speed", speed);
}

export const transport = {
  toOpen: () => (state.replay ? thread.tell("seek", state.time.start) : record(24 * HOUR_MS)),
  backHour: () => (state.replay ? thread.tell("seek", state.time.position - HOUR_MS) : record(HOUR_MS)),
  step: (direction) => whileReplaying("step", direction),
  play: () => whileReplaying("play"),
  live: () => openSource(""),
  speed: (step) => setSpeed(SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(speed) + step))]),
};

export function beginTransport(onChange) {
  changed = onChange;
  const slider = byId("slider");
  slider.addEventListener("input", () => {
    sliding = true;
    thread.tell("seek", Number(slider.value));
  });
  slider.addEventListener("change", () => { sliding = false; });
  byId("speed").append(...SPEEDS.map((one) => el("option", { value: String(one) }, `${one} ×`)));
  byId("speed").addEventListener("change", () => setSpeed(Number(byId("speed").value)));
  byId("source").addEventListener("change", () => openSource(byId("source").value));
  byId("source").addEventListener("focus", readReplays);
  for (const [id, act] of [["to-open", "toOpen"], ["back-hour", "backHour"], ["play", "play"], ["to-live", "live"]]) byId(id).addEventListener("click", () => transport[act]());
  byId("back").addEventListener("click", () => transport.step(-1));
  byId("forward").addEventListener("click", () => transport.step(1));
  drawTime();
  readReplays();
  setInterval(readReplays, REPLAYS_MS);
}
