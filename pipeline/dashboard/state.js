// What the parts of the page share: what is chosen, and what the worker told last.

import { Thread } from "./thread.js";

export const byId = (id) => document.getElementById(id);

/** `facts`: all that the page shows of a symbol beside the field; `tellFacts` in worker.js says what they are. */
export const state = {
  symbol: null, symbols: [], facts: null, link: "connecting", everOpen: false, beat: null, offset: 0, replay: null,
  time: { start: 0, end: 0, position: 0, playing: false },
};

/** What the worker tells by itself, and who is told of it: each part of the page adds its own. */
export const listen = {};
export const thread = new Thread(listen);

/** Wall time of the gateway now, by its last heartbeat. */
export const now = () => Date.now() + state.offset;
