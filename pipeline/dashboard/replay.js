// A recorded session as a tape: entries come as fast as the gateway sends them, and are shown at the reader's pace.
//
// Forward is applying entries in order. Back is the nearest frame before, everything held as it was then, and forward
// from there: the same diffs in the same order, so that a moment looks the same however it was reached.

const FRAME_MS = 60_000;
const FRAMES_MOST = 150;
/** So long at a time, so that on a long way the reader is still heard. */
const TURN_MS = 12;
const HASTY = 40;

const instant = /"ts":(\d+)/;

export class Tape {
  /**
   * `apply(name, sent)` shows one event, `capture()` and `restore(frame)` take and put back all that is held, `jumped()`
   * draws after entries that were applied unseen, `moved()` tells that position, end or play have changed.
   */
  constructor(listen) {
    this.listen = listen;
    this.speed = 1;
    this.clear();
  }

  clear() {
    this.entries = [];
    this.frames = [];
    this.at = 0;
    this.position = 0;
    this.playing = false;
    this.unseen = false;
    this.turn = (this.turn ?? 0) + 1;
  }

  get start() {
    return this.entries[0]?.ts ?? 0;
  }

  get end() {
    return this.entries[this.entries.length - 1]?.ts ?? 0;
  }

  /** An event as it came. Its time never runs back: what was late is shown when it came. */
  add(name, text) {
    const found = instant.exec(text.slice(0, 400));
    const before = this.end;
    // Before the first time is known nothing can be placed; such entries belong to the beginning.
    this.entries.push({ name, text, ts: Math.max(before, found ? Number(found[1]) : before) });
    if (!this.position && this.end) {
      this.position = this.end;
      this.playing = true;
      this.listen.moved();
      this.#run();
    }
  }

  play(on = !this.playing) {
    if (on && this.at >= this.entries.length && this.entries.length) this.seek(this.start);
    this.playing = on;
    this.listen.moved();
    if (on) this.#run();
  }

  /** To a moment, in ms of event time. */
  seek(ts) {
    this.position = Math.max(this.start, Math.min(this.end, ts));
    this.#go(this.#after(this.position));
  }

  /** To the publication of this model and symbol before or after. */
  step(direction, model, symbol) {
    this.playing = false;
    const mine = ({ name, text }) => name.startsWith(model) && text.startsWith(`{"symbol":"${symbol}"`);
    let n = direction > 0 ? this.at : this.at - 2;
    while (n >= 0 && n < this.entries.length && !mine(this.entries[n])) n += direction;
    n = Math.max(0, Math.min(this.entries.length - 1, n));
    this.position = this.entries[n]?.ts ?? 0;
    this.#go(n + 1);
  }

  /** How many entries are not later than this. */
  #after(ts) {
    let [low, high] = [0, this.entries.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.entries[middle].ts <= ts) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async #go(target) {
    const turn = ++this.turn;
    if (target < this.at) {
      let n = this.frames.length - 1;
      while (n > 0 && this.frames[n].at > target) n--;
      const frame = this.frames[n]?.at <= target ? this.frames[n] : null;
      this.at = frame?.at ?? 0;
      this.listen.restore(frame ? frame.held : null);
      this.unseen = true;
    }
    await this.#forward(target, turn);
    if (turn !== this.turn) return;
    this.listen.moved();
    if (this.playing) this.#run();
  }

  async #forward(target, turn) {
    if (target - this.at > HASTY) this.unseen = true;
    let since = performance.now();
    while (this.at < target) {
      const { name, text, ts } = this.entries[this.at++];
      this.listen.apply(name, JSON.parse(text), this.unseen);
      const last = this.frames[this.frames.length - 1];
      const spacing = Math.max(FRAME_MS, (this.end - this.start) / FRAMES_MOST);
      if (this.at > (last?.at ?? 0) && ts - (last?.ts ?? -Infinity) >= spacing) this.frames.push({ at: this.at, ts, held: this.listen.capture() });
      if (performance.now() - since < TURN_MS) continue;
      await new Promise((resume) => setTimeout(resume));
      if (turn !== this.turn) return;
      since = performance.now();
    }
    if (this.unseen) {
      this.unseen = false;
      this.listen.jumped();
    }
  }

  /** Play: the position goes with the clock times speed, and never beyond what has come. */
  async #run() {
    const turn = ++this.turn;
    let then = performance.now();
    while (this.playing && turn === this.turn) {
      await new Promise((resume) => requestAnimationFrame(resume));
      if (turn !== this.turn || !this.playing) return;
      const now = performance.now();
      this.position = Math.min(this.end, this.position + Math.min(1000, now - then) * this.speed);
      then = now;
      await this.#forward(this.#after(this.position), turn);
      if (turn !== this.turn) return;
      if (this.at >= this.entries.length && this.listen.complete()) this.playing = false;
      this.listen.moved();
    }
  }
}
