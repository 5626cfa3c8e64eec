// Three plots over the session on one time axis: spot with its levels, net GEX, Market Mode. uPlot draws them.

import { inks } from "./palette.js";
import { dollarsShort, price, timeOf } from "./words.js";

const STEP_MS = 1000;
const KEPT = 4 * 3600;
const NEW_YORK = "America/New_York";
/** Columns of a row: event time, then these. */
const COLUMNS = ["spot", "flip", "call_wall", "put_wall", "high", "low", "net", "score"];

export class Series {
  constructor(box) {
    this.box = box;
    this.rows = [];
    this.plots = [];
    this.asked = false;
    new ResizeObserver(() => this.#resize()).observe(box);
  }

  /** Begin anew with rows [ts, spot, flip, call wall, put wall, EM high, EM low, net, score]; null where unknown. */
  begin(rows) {
    this.rows = rows.slice(-KEPT);
    this.draw();
  }

  /** The newest row; within a second it replaces the one before. */
  add(row) {
    const last = this.rows[this.rows.length - 1];
    if (last && row[0] < last[0]) return;
    if (last && row[0] - last[0] < STEP_MS && this.rows.length > 1) this.rows[this.rows.length - 1] = [last[0], ...row.slice(1)];
    else this.rows.push(row);
    if (this.rows.length > KEPT) this.rows.splice(0, 600);
  }

  /** Forget what is later than this. */
  cut(ts) {
    this.rows = this.rows.filter((row) => row[0] <= ts);
    this.draw();
  }

  theme() {
    for (const plot of this.plots) plot.destroy();
    this.plots = [];
    this.box.replaceChildren();
    this.draw();
  }

  draw() {
    if (!this.box.clientWidth || !window.uPlot) return;
    if (this.rows.length < 2 && !this.plots.length) return; // one instant has no axis
    if (!this.plots.length) this.#make();
    const column = (n) => this.rows.map((row) => row[n] ?? null);
    const time = this.rows.map((row) => row[0] / 1000);
    const of = (...names) => [time, ...names.map((name) => column(COLUMNS.indexOf(name) + 1))];
    this.plots[0].setData(of("spot", "flip", "call_wall", "put_wall", "high", "low"));
    this.plots[1].setData(of("net"));
    this.plots[2].setData(of("score"));
  }

  #make() {
    const ink = inks(this.box);
    const size = Math.max(1, parseFloat(getComputedStyle(document.documentElement).fontSize) / 14);
    const font = `${10 * size}px system-ui, sans-serif`;
    const axis = (values, space = 30 * size) => ({ stroke: ink.dim, font, size: 48 * size, gap: 3, space, grid: { stroke: ink.grid, width: 1 }, ticks: { show: false }, values });
    const clock = new Intl.DateTimeFormat("en-GB", { timeZone: NEW_YORK, hour: "2-digit", minute: "2-digit" });
    const bottom = {
      values: (_, at, axis, space, step) => at.map((seconds) => (step < 60 ? timeOf(seconds * 1000) : clock.format(seconds * 1000))), stroke: ink.dim, font, size: 20 * size, gap: 2, space: 60 * size, grid: { stroke: ink.grid, width: 1 }, ticks: { show: false } };
    const common = {
      width: this.box.clientWidth, height: 60, padding: [4, 6, 0, 0], legend: { show: false },
      tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), NEW_YORK),
      cursor: { sync: { key: "session" }, points: { size: 5 }, drag: { x: false, y: false }, y: false },
    };
    const line = (label, stroke, more = {}) => ({ label, stroke, width: 1.5, points: { show: false }, spanGaps: true, ...more });
    const plot = (options, tall, said) => {
      const holder = document.createElement("div");
      holder.className = tall ? "plot tall" : "plot";
      const caption = document.createElement("span");
      caption.textContent = said;
      holder.append(caption);
      this.box.append(holder);
      const hooks = { setCursor: [(self) => {
        const at = self.cursor.idx;
        if (at == null || !this.rows[at]) { caption.textContent = said; return; }
        const told = self.series.slice(1).map((one, n) => [one.label, self.data[n + 1][at]]).filter(([, value]) => value != null);
        caption.textContent = told.map(([name, value]) => `${name} ${options.tell(value)}`).join("  ");
      }] };
      const { tell: _, ...rest } = options;
      this.plots.push(new window.uPlot({ ...common, ...rest, hooks }, [[]], holder));
    };
    // Levels far from spot would flatten it: the axis follows spot and what is near.
    const near = (self) => {
      const spots = self.data[1].filter((value) => value != null);
      if (!spots.length) return [0, 1];
      let [low, high] = [Math.min(...spots), Math.max(...spots)];
      const reach = Math.max((high - low) * 1.5, high * 0.0035);
      for (const values of self.data.slice(2)) {
        for (const value of values) if (value != null && value > low - reach && value < high + reach) { low = Math.min(low, value); high = Math.max(high, value); }
      }
      const pad = Math.max((high - low) * 0.08, high * 0.0003);
      return [low - pad, high + pad];
    };
    plot({
      tell: (value) => price(value, 1), scales: { y: { range: near } }, axes: [{ ...bottom, show: false }, axis((_, at) => at.map((value) => price(value, value % 1 ? 1 : 0)))],
      series: [{}, line("spot", ink.spot, { width: 2 }), line("flip", ink.flip, { dash: [2, 3] }), line("call wall", ink.blue, { dash: [8, 3] }), line("put wall", ink.orange, { dash: [8, 3] }), line("+EM", ink.dim, { dash: [3, 4], width: 1 }), line("−EM", ink.dim, { dash: [3, 4], width: 1 })],
    }, true, "spot, flip ··· call wall ‑‑ put wall ‑‑ ±EM");
    plot({ tell: (value) => dollarsShort(value), axes: [{ ...bottom, show: false }, axis((_, at) => at.map((value) => dollarsShort(value)), 18 * size)], series: [{}, line("net GEX", ink.blue)] }, false, "net GEX");
    plot({ tell: (value) => value.toFixed(0), scales: { y: { range: [0, 100] } }, axes: [bottom, axis((_, at) => at.map(String), 14 * size)], series: [{}, line("mode", ink.orange)] }, false, "Market Mode");
    this.#resize();
  }

  #resize() {
    if (!this.plots.length) return this.draw();
    for (const plot of this.plots) {
      const holder = plot.root.parentElement;
      if (holder.clientWidth && holder.clientHeight > 20) plot.setSize({ width: holder.clientWidth, height: holder.clientHeight });
    }
    return undefined;
  }
}
