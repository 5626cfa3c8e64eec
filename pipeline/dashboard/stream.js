// One EventSource for everything: documents are kept whole, by diffs, and a gap is noticed before it is shown.

import { applyDiff, Gap } from "./documents.js";

const DOCUMENTS = ["heatmap", "gex", "gex_calls", "gex_puts", "market_mode", "liquidity_intent", "dealer_gravity"];
const DIFFS = ["heatmap", "gex", "gex_calls", "gex_puts"];
const SILENT_MS = 12_000;
const BACKOFF_MS = [500, 1000, 2000, 5000];
const SAMPLES = 400;
const SAMPLE_AGE_MS = 60_000;

export class Stream {
  /**
   * `listen`: record(name, text) of a replay, whose events are taken when their time has come; else document(model, symbol, held, changed|null), spot(spot), vigil(event), vexy(symbol, document),
   * epoch(event), heartbeat(beat), link("connecting" | "open" | "lost"), refused().
   */
  constructor(listen) {
    this.listen = listen;
    this.held = new Map();
    this.source = null;
    this.replay = null;
    this.lastId = "";
    this.tries = 0;
    this.heardAt = 0;
    this.beat = null;
    this.beatAt = 0;
    this.offset = 0;
    this.samples = [];
    this.waiting = [];
    this.unseen = false;
    this.takes = {
      spot: (sent) => listen.spot(sent), vigil: (sent) => listen.vigil(sent), epoch: (sent) => listen.epoch(sent),
      vexy: (sent) => listen.vexy(sent.symbol, sent.document),
    };
    for (const model of DOCUMENTS) this.takes[model] = (sent) => this.#full(sent);
    for (const model of DIFFS) this.takes[`${model}_diff`] = (sent) => this.#diff(sent);
    this.counts = { events: 0, diffs: 0, gaps: 0, opened: 0 };
    setInterval(() => this.#watch(), 1000);
  }

  document(model, symbol) {
    return this.held.get(`${model}|${symbol}`) ?? null;
  }

  /** Open anew: live, or a replay by its name. What is held is forgotten when the source is another one. */
  open(replay = this.replay) {
    if (replay !== this.replay) this.forget();
    this.replay = replay;
    this.#connect();
  }

  forget() {
    this.held.clear();
    this.lastId = "";
    this.samples = [];
    this.waiting = [];
    this.beat = null;
  }

  #connect() {
    clearTimeout(this.timer);
    this.source?.close();
    this.listen.link("connecting");
    const query = new URLSearchParams();
    if (this.replay) query.set("replay", this.replay);
    if (this.lastId) query.set("last_event_id", this.lastId);
    const source = new EventSource(`/sse?${query}`);
    this.source = source;
    this.counts.opened++;
    this.heardAt = performance.now();
    const heard = (name, take) => source.addEventListener(name, (event) => {
      if (this.source !== source) return;
      this.heardAt = performance.now();
      this.counts.events++;
      if (event.lastEventId) this.lastId = event.lastEventId;
      take(event.data);
    });
    source.onopen = () => {
      if (this.source !== source) return;
      this.tries = 0;
      this.heardAt = performance.now();
      this.listen.link("open");
    };
    source.onerror = () => {
      if (this.source !== source) return;
      this.listen.link("lost");
      if (source.readyState === EventSource.CLOSED) this.#later();
    };
    for (const name of Object.keys(this.takes)) {
      heard(name, (text) => (this.replay ? this.listen.record(name, text) : this.take(name, JSON.parse(text))));
    }
    heard("reset", (text) => { if (!this.replay) this.#reset(JSON.parse(text)); });
    heard("heartbeat", (text) => {
      const sent = JSON.parse(text);
      this.beat = sent;
      this.beatAt = performance.now();
      this.offset = sent.now - Date.now();
      this.listen.heartbeat(sent);
    });
  }

  /** One event, parsed. `unseen`: it changes what is held, and nobody is told. */
  take(name, sent, unseen = false) {
    this.unseen = unseen;
    this.takes[name](sent);
    this.unseen = false;
  }

  #reset({ symbols, models }) {
    for (const symbol of symbols) for (const model of models) this.held.delete(`${model}|${symbol}`);
  }

  #later() {
    this.source?.close();
    this.source = null;
    const pause = BACKOFF_MS[Math.min(this.tries++, BACKOFF_MS.length - 1)];
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      // An EventSource does not say why it was refused; a plain request does.
      try {
        const answer = await fetch("/api/symbols", { cache: "no-store" });
        if (answer.status === 401) return this.listen.refused();
      } catch { /* not there yet: the EventSource finds out by itself */ }
      return this.#connect();
    }, pause);
  }

  #watch() {
    if (!this.source || performance.now() - this.heardAt < SILENT_MS) return;
    this.listen.link("lost");
    this.#later();
  }

  #full(sent) {
    const key = `${sent.model}|${sent.symbol}`;
    const held = this.held.get(key);
    if (held && held.document.epoch === sent.epoch && held.document.version > sent.version) return;
    const entry = { document: sent.document, published: sent.published };
    this.held.set(key, entry);
    this.#time(sent);
    if (!this.unseen) this.listen.document(sent.model, sent.symbol, entry, null);
  }

  #diff(sent) {
    const held = this.held.get(`${sent.model}|${sent.symbol}`);
    if (held && held.document.epoch === sent.epoch && sent.version <= held.document.version) return;
    this.counts.diffs++;
    try {
      if (!held) throw new Gap(`a diff of ${sent.model} ${sent.symbol} before the document`);
      const changed = applyDiff(held.document, sent.document);
      held.published = sent.published;
      this.#time(sent);
      if (!this.unseen) this.listen.document(sent.model, sent.symbol, held, changed);
    } catch (error) {
      if (!(error instanceof Gap)) throw error;
      this.counts.gaps++;
      if (this.replay) return; // a tape is whole or it is not: the next full document mends it
      this.forget();
      this.#connect();
    }
  }

  /** Receipt of the tick to the frame that shows it: the sample is taken once this frame is drawn. */
  #time(sent) {
    if (sent.received == null || this.replay) return;
    if (!this.waiting.length) {
      requestAnimationFrame(() => setTimeout(() => {
        const now = Date.now() + this.offset;
        for (const received of this.waiting) this.samples.push({ at: now, took: Math.max(0, now - received) });
        this.waiting = [];
        if (this.samples.length > SAMPLES) this.samples.splice(0, this.samples.length - SAMPLES);
      }));
    }
    this.waiting.push(sent.received);
  }

  /** {p50, p95} in ms over the last minute, or null. */
  latency() {
    const since = Date.now() + this.offset - SAMPLE_AGE_MS;
    const took = this.samples.filter((sample) => sample.at >= since).map((sample) => sample.took).sort((a, b) => a - b);
    if (!took.length) return null;
    const at = (share) => took[Math.min(took.length - 1, Math.floor(share * took.length))];
    return { p50: at(0.5), p95: at(0.95) };
  }

  /** Wall time of the gateway now, by its last heartbeat. */
  now() {
    return Date.now() + this.offset;
  }
}
