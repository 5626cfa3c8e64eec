// Is it current? In words and in shape, and where it is not, of when it is.

import { write } from "./panels.js";
import { byId, now, state } from "./state.js";
import { age, momentOf, NONE } from "./words.js";

/** A live document and spot that are both this old are not live, whatever they say. */
const QUIET_MS = 30_000;
const LATE_MS = { quotes: 15_000, spot: 15_000, chain: 180_000 };

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
  const found = state.facts?.heatmap;
  const { beat } = state;
  const quiet = Math.max(0, now() - (state.facts?.published ?? 0));
  if (state.link !== "open") return state.everOpen ? ["reconnecting", "the connection to the gateway is lost", false] : ["connecting", "", false];
  if (beat && !beat.redis) return ["reconnecting", "the gateway has lost its Redis", false];
  if (!found) return ["connecting", "no document yet", false];
  const { status } = found;
  if (status === "closed") return ["closed", "the last values of the session", false];
  if (status === "dormant") return ["dormant", "the option feed is silent", false];
  if (status === "stale") return ["stale", "quotes are minutes behind spot", false];
  if (!state.replay && quiet > QUIET_MS) return ["stale", `nothing new for ${age(quiet)}`, false];
  return status === "delayed" ? ["delayed", "by the provider's plan", true] : ["live", "", true];
}

export function drawState() {
  const [name, why, current] = currency();
  const { body } = document;
  const found = state.facts?.heatmap;
  if (body.dataset.state !== name) {
    body.dataset.state = name;
    byId("state-word").textContent = WORDS[name];
    byId("state-shape").setAttribute("d", SHAPES[name]);
  }
  write(byId("state-why"), why);
  body.classList.toggle("not-current", !current && Boolean(found));
  byId("replay-badge").hidden = !state.replay;
  byId("state").hidden = Boolean(state.replay) && name === "live"; // a recording is never live
  const old = byId("old");
  old.hidden = current || !found;
  if (!old.hidden) {
    write(old, `${name === "closed" ? "Market closed" : "Not current"}: these are the values of ${momentOf(found.ts)} New York time`);
  }
}

export function drawAges() {
  const feeds = state.beat?.symbols?.[state.symbol]?.feeds ?? {};
  for (const name of ["quotes", "spot", "chain"]) {
    const box = byId(`age-${name}`);
    const old = feeds[name] == null ? null : now() - feeds[name];
    write(box, age(old));
    box.classList.toggle("late", old != null && old > LATE_MS[name]);
  }
  write(byId("age-oi"), state.facts?.heatmap?.as_of.oi_date?.slice(5) ?? NONE);
  const latency = state.facts?.latency;
  write(byId("latency"), latency ? `${latency.p50.toFixed(0)} / ${latency.p95.toFixed(0)} ms` : NONE);
}
