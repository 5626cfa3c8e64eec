// The strike field: tiles and GEX bars on one strike axis, levels across both. Canvas; only what changed is drawn again.
//
// `base` holds cells and bars and is touched cell by cell; `above` holds lines, tags and the cursor, a dozen strokes that
// are drawn whole. Both stand still in the scrolling box while its spacer moves: what is drawn is what is in sight.

import { flagOf, sideAt, valueOf } from "./tiles.js";
import { heldScale, inks, shade } from "./palette.js";
import { cellPrice, cellRatio, cellShare, dollarsShort, price } from "./words.js";

const FLASH_MS = 500;
const MONO = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const SANS = 'system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
/** Pin and reward scales: a pin above this, a ratio of this, is the far end of the colours. */
const REWARD_MOST = 100;

export class Field {
  /** `box` scrolls; `listen` has hover(tile|null), pick(tile), moved(). */
  constructor({ box, spacer, base, above, axis }, listen) {
    Object.assign(this, { box, spacer, base, above, axis, listen });
    this.paint = base.getContext("2d", { alpha: false });
    this.lines = above.getContext("2d");
    this.head = axis.getContext("2d", { alpha: false });
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.view = null;
    this.rows = [];
    this.rowHeight = this.rowSize = 20;
    this.size = 1;
    this.cursor = null;
    this.hovered = null;
    this.centred = true;
    this.top = 0;
    this.scale = 0;
    this.barScale = 0;
    this.flashes = new Map();
    this.dirty = { all: true, cells: false, bars: false, lines: false };
    this.changed = new Uint8Array(0);
    this.asked = 0;
    new ResizeObserver(() => this.resize()).observe(box);
    for (const moves of ["wheel", "touchmove", "pointerdown", "keydown"]) {
      box.addEventListener(moves, () => { this.centred = false; }, { passive: true });
    }
    box.addEventListener("scroll", () => this.want("all"), { passive: true });
    above.addEventListener("pointermove", (event) => this.#hover(event));
    above.addEventListener("pointerleave", () => this.#unhover());
    above.addEventListener("click", (event) => this.#click(event));
    addEventListener("resize", () => this.resize()); // also where only the pixel ratio changes
  }

  // --- what is shown ---

  /** view: {heatmap, pane, look, bars, book, scope, gex, calls, puts, spot, levels}. Everything is laid out anew. */
  show(view) {
    const other = !this.view || this.view.pane !== view.pane || this.view.heatmap.symbol !== view.heatmap.symbol;
    const held = other ? null : this.priceAt(this.height / 2);
    this.view = view;
    this.scale = this.barScale = 0;
    this.flashes.clear();
    this.#layRows();
    this.resize();
    if (other) this.cursor = null;
    // The rows may be others: what was in the middle stays there, and at first that is spot.
    if (other || this.centred) this.centre();
    else if (held != null) this.box.scrollTop += this.yOf(held) - this.height / 2;
  }

  /** The same view of newer values whose rows are those of before. */
  renew(view) {
    this.view = view;
  }

  columns() {
    return this.view.look.strategy === "single" ? 1 : this.view.heatmap.widths.length;
  }

  pane() {
    return this.view.heatmap.panes[this.view.pane];
  }

  #layRows() {
    const { strikes } = this.pane();
    const at = new Map(strikes.map((strike, n) => [strike, n]));
    if (this.view.scope === "all" && this.view.gex) {
      for (const key in this.view.gex.by_strike) if (!at.has(Number(key))) at.set(Number(key), -1);
    }
    this.rows = [...at].map(([strike, n]) => ({ strike, at: n, key: String(strike) })).sort((a, b) => b.strike - a.strike);
    this.rowOf = new Int32Array(strikes.length);
    this.rows.forEach((row, n) => { if (row.at >= 0) this.rowOf[row.at] = n; });
    this.shown = new Array(this.rows.length * this.columns()).fill(undefined);
    this.changed = new Uint8Array(this.shown.length);
    this.drawnBars = new Array(this.rows.length).fill("");
    this.scanned = 0;
  }

  resize() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [this.box.clientWidth, this.box.clientHeight];
    if (!this.view || !width || !height) return;
    this.width = width;
    this.height = height;
    // Everything on the canvas grows with the page's letters: a 4K screen is read from the same chair.
    this.size = Math.max(1, parseFloat(getComputedStyle(document.documentElement).fontSize) / 14);
    this.rowHeight = Math.round(this.rowSize * this.size);
    const { size } = this;
    this.axisHeight = Math.round(26 * size);
    for (const [canvas, tall] of [[this.base, height], [this.above, height], [this.axis, this.axisHeight]]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(tall * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${tall}px`;
      canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    const narrow = width < 560;
    const columns = this.columns();
    this.strikeWidth = narrow ? 46 : 66 * size;
    this.gutter = narrow ? 38 : width < 820 ? 84 : 118 * size;
    const least = narrow ? 72 : Math.min(420 * size, Math.max(150, width * 0.3));
    const room = width - this.strikeWidth - this.gutter - least;
    this.cellWidth = Math.max(narrow ? 30 : 40, Math.min((columns === 1 ? 220 : 104) * size, Math.floor(room / columns)));
    this.cellFont = `${(this.cellWidth < 38 ? 9 : this.rowSize >= 24 ? 13 : 11.5) * size}px ${MONO}`;
    this.heatEnd = this.strikeWidth + columns * this.cellWidth;
    this.barsAt = this.heatEnd + this.gutter;
    this.barsEnd = width - 6;
    this.spacer.style.height = `${this.rows.length * this.rowHeight}px`;
    this.inks = inks(this.box);
    this.#drawAll(); // in the same task: a canvas that was given a size is empty
  }

  setRowHeight(height) {
    const middle = this.priceAt(this.height / 2);
    this.rowSize = height;
    this.resize();
    if (middle != null) this.box.scrollTop = this.yOf(middle) + this.top - this.height / 2;
    this.want("all");
  }

  /** Scroll so that spot is in the middle. */
  centre() {
    const spot = this.view?.spot;
    if (spot == null || !this.rows.length) return;
    this.box.scrollTop = Math.max(0, this.#rowAt(spot) * this.rowHeight + this.rowHeight / 2 - this.height / 2);
    this.centred = true;
    this.want("all");
  }

  // --- the strike axis ---

  /** Row of a price, a fraction between two strikes. Beyond the strikes it goes on by the last spacing. */
  #rowAt(value) {
    const rows = this.rows;
    if (rows.length < 2) return 0;
    let low = 0;
    let high = rows.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (rows[middle].strike >= value) low = middle;
      else high = middle;
    }
    return low + (rows[low].strike - value) / (rows[low].strike - rows[high].strike);
  }

  yOf(value) {
    return (this.#rowAt(value) + 0.5) * this.rowHeight - this.top;
  }

  priceAt(y) {
    const row = Math.round((y + this.box.scrollTop) / this.rowHeight - 0.5);
    return this.rows[Math.max(0, Math.min(this.rows.length - 1, row))]?.strike ?? null;
  }

  // --- changes ---

  /** Tiles of the pane shown, by the flat indices of a diff. */
  tilesChanged(indices) {
    const columns = this.columns();
    for (let n = 0; n < indices.length; n++) {
      const at = (indices[n] / columns) | 0;
      this.changed[this.rowOf[at] * columns + (indices[n] - at * columns)] = 1;
    }
    this.dirty.cells = true;
    this.want("cells");
  }

  barsChanged() {
    this.dirty.bars = true;
    this.want("bars");
  }

  linesChanged() {
    this.dirty.lines = true;
    this.want("lines");
  }

  want(what) {
    if (what === "all") this.dirty.all = true;
    if (!this.asked) this.asked = requestAnimationFrame(() => this.frame());
  }

  frame() {
    this.asked = 0;
    if (!this.view || !this.width) return;
    this.top = this.box.scrollTop; // read once: each time it is asked for, the browser first lays the page out
    if (this.dirty.all) return this.#drawAll();
    if (this.dirty.cells) this.#drawCells();
    if (this.dirty.bars) this.#drawBars();
    if (this.dirty.lines || this.dirty.bars) this.#drawLines();
    this.dirty.bars = this.dirty.lines = false;
  }

  // --- drawing ---

  #inSight() {
    const first = Math.max(0, Math.floor(this.top / this.rowHeight));
    return [first, Math.min(this.rows.length, Math.ceil((this.top + this.height) / this.rowHeight) + 1)];
  }

  #drawAll() {
    this.top = this.box.scrollTop;
    this.dirty = { all: false, cells: false, bars: false, lines: false };
    this.changed.fill(0);
    this.flashes.clear();
    const paint = this.paint;
    paint.fillStyle = this.inks.ground;
    paint.fillRect(0, 0, this.width, this.height);
    this.#findScale();
    const [first, last] = this.#inSight();
    const columns = this.columns();
    for (let row = first; row < last; row++) {
      this.#drawStrike(row);
      this.#letters();
      for (let column = 0; column < columns; column++) this.#drawCell(row, column);
    }
    this.#drawBars(true);
    this.#drawAxis();
    this.#drawLines();
    this.listen.moved?.();
  }

  #drawStrike(row) {
    const paint = this.paint;
    const y = row * this.rowHeight - this.top;
    paint.font = `600 ${(this.strikeWidth < 60 ? 10.5 : 12) * this.size}px ${MONO}`;
    paint.fillStyle = this.inks.text;
    paint.textAlign = "right";
    paint.textBaseline = "middle";
    paint.fillText(price(this.rows[row].strike), this.strikeWidth - 8, y + this.rowHeight / 2 + 0.5);
  }

  /** Colours are of a share of the most that the pane has: by width, so that narrow and wide tiles compare. */
  #share(value, column) {
    const { display, strategy } = this.view.look;
    if (display === "reward") return Math.log1p(Math.max(0, value)) / Math.log1p(REWARD_MOST);
    if (display === "pin" || strategy === "single") return value / this.scale;
    return value / this.view.heatmap.widths[column] / this.scale;
  }

  #findScale() {
    const { heatmap, look, spot } = this.view;
    if (look.display === "reward") { this.scale = REWARD_MOST; return false; }
    const pane = this.pane();
    const columns = this.columns();
    let most = 0;
    for (let at = 0; at < pane.strikes.length; at++) {
      for (let column = 0; column < columns; column++) {
        const value = valueOf(pane, heatmap.widths, look, spot, at, column);
        if (value == null) continue;
        const scaled = look.display === "pin" || look.strategy === "single" ? value : value / heatmap.widths[column];
        if (scaled > most) most = scaled;
      }
    }
    const scale = heldScale(this.scale, most);
    const other = scale !== this.scale;
    this.scale = scale;
    return other;
  }

  #textOf(value) {
    const { display } = this.view.look;
    return display === "pin" ? cellShare(value) : display === "reward" ? cellRatio(value) : cellPrice(value);
  }

  #cellValue(row, column) {
    const { at } = this.rows[row];
    if (at < 0) return null;
    return valueOf(this.pane(), this.view.heatmap.widths, this.view.look, this.view.spot, at, column);
  }

  /** What every tile is written in: set once for many, since a canvas looks a font up each time it is told one. */
  #letters() {
    this.paint.font = this.cellFont;
    this.paint.textAlign = "right";
    this.paint.textBaseline = "middle";
  }

  /** Wants #letters. */
  #drawCell(row, column, value = this.#cellValue(row, column)) {
    const paint = this.paint;
    const x = this.strikeWidth + column * this.cellWidth;
    const y = row * this.rowHeight - this.top;
    const [wide, tall] = [this.cellWidth - 1, this.rowHeight - 1];
    this.shown[row * this.columns() + column] = value;
    if (value == null) {
      paint.fillStyle = this.inks.panel;
      paint.fillRect(x, y, wide, tall);
      return;
    }
    const colours = value < 0 ? { fill: this.inks.negative, text: this.inks.text } : shade(this.#share(value, column));
    paint.fillStyle = colours.fill;
    paint.fillRect(x, y, wide, tall);
    paint.fillStyle = colours.text;
    const inset = this.columns() === 1 ? this.cellWidth / 2 - 24 * this.size : this.cellWidth > 70 * this.size ? this.cellWidth * 0.22 : this.cellWidth < 38 ? 2 : 6;
    paint.fillText(this.#textOf(value), x + wide - inset, y + this.rowHeight / 2 + 0.5);
    const { look, heatmap, spot } = this.view;
    const flag = flagOf(this.pane(), heatmap.widths, look.strategy, sideAt(look.side, this.rows[row].strike, spot), this.rows[row].at, column);
    if (flag) this.#drawFlag(x, y, flag, colours.text);
  }

  /** A corner: hollow for noise at mid, filled for what could be traded. */
  #drawFlag(x, y, flag, ink) {
    const paint = this.paint;
    paint.beginPath();
    paint.moveTo(x + 1, y + 1);
    paint.lineTo(x + 7, y + 1);
    paint.lineTo(x + 1, y + 7);
    paint.closePath();
    if (flag === "noise") {
      paint.strokeStyle = ink;
      paint.lineWidth = 1;
      paint.stroke();
    } else {
      paint.fillStyle = this.inks.orange;
      paint.fill();
    }
  }

  /** Of the changed tiles those in sight; the others are drawn when they come into sight. */
  #drawCells() {
    this.dirty.cells = false;
    if (this.#outgrown()) return this.#drawAll();
    const columns = this.columns();
    const [first, last] = this.#inSight();
    const until = performance.now() + FLASH_MS;
    const flashing = !this.still.matches;
    this.#letters();
    for (let cell = first * columns; cell < last * columns; cell++) {
      if (!this.changed[cell]) continue;
      const row = (cell / columns) | 0;
      const column = cell - row * columns;
      const before = this.shown[cell];
      const value = this.#cellValue(row, column);
      if (value === before) continue;
      this.#drawCell(row, column, value);
      if (!flashing || before == null || value == null) continue;
      this.#drawFlash(row, column, value > before);
      if (!this.flashes.size) setTimeout(() => this.#endFlashes(), FLASH_MS);
      this.flashes.delete(cell); // so that the map stays in the order of their ends
      this.flashes.set(cell, until);
    }
    this.changed.fill(0);
    return undefined;
  }

  /** Whether a changed tile in sight is beyond the colours; that they are half used is looked at only when all is drawn. */
  #outgrown() {
    if (this.view.look.display === "reward") return false;
    const columns = this.columns();
    const [first, last] = this.#inSight();
    for (let cell = first * columns; cell < last * columns; cell++) {
      if (!this.changed[cell]) continue;
      const row = (cell / columns) | 0;
      const value = this.#cellValue(row, cell - row * columns);
      if (value != null && this.#share(value, cell - row * columns) > 1.02) return true;
    }
    return false;
  }

  /** Up: a bright edge above; down: an orange edge below. */
  #drawFlash(row, column, up) {
    const paint = this.paint;
    const x = this.strikeWidth + column * this.cellWidth;
    const y = row * this.rowHeight - this.top;
    paint.fillStyle = "#000";
    paint.fillRect(x, up ? y : y + this.rowHeight - 4, this.cellWidth - 1, 3);
    paint.fillStyle = up ? "#b9dcff" : "#ff9a3c";
    paint.fillRect(x, up ? y : y + this.rowHeight - 3, this.cellWidth - 1, 2);
  }

  #endFlashes() {
    const now = performance.now();
    const columns = this.columns();
    const [first, last] = this.#inSight();
    this.#letters();
    for (const [cell, until] of this.flashes) {
      if (until > now + 5) break;
      this.flashes.delete(cell);
      const row = (cell / columns) | 0;
      if (row >= first && row < last) this.#drawCell(row, cell - row * columns);
    }
    const next = this.flashes.values().next().value;
    if (next) setTimeout(() => this.#endFlashes(), Math.max(16, next - now));
  }

  // --- bars ---

  /** Dollars of calls and puts of a strike, or net alone where only that is known. */
  #usd(key) {
    const { scope, pane, calls, puts, gex, book } = this.view;
    if (book === "volume") {
      const call = gex?.volume_calls?.[key] ?? null;
      const put = gex?.volume_puts?.[key] ?? null;
      return [call, put];
    }
    if (scope === "pane") return [calls?.expirations[pane]?.[key] ?? null, puts?.expirations[pane]?.[key] ?? null];
    return [sumOver(calls, key), sumOver(puts, key)];
  }

  #drawBars(whole = false) {
    const paint = this.paint;
    const split = this.view.bars === "split";
    const rows = this.rows;
    const [first, last] = this.#inSight();
    // All strikes set the scale, once a second; what is drawn is in sight.
    let scale = this.barScale;
    if (whole || performance.now() - this.scanned > 1000) {
      this.scanned = performance.now();
      let most = 0;
      for (const row of rows) {
        const [call, put] = this.#usd(row.key);
        const [c, p] = [call ?? 0, put ?? 0];
        most = split ? Math.max(most, c, -p) : Math.max(most, Math.abs(c + p));
      }
      // Not a round number: bars have labels, and room is what they lack.
      if (most > scale || most < scale * 0.7) scale = most * 1.04 || 1;
    }
    if (scale !== this.barScale) {
      this.barScale = scale;
      if (!whole) this.#drawAxis();
      whole = true;
    }
    paint.font = `${10.5 * this.size}px ${MONO}`;
    const middle = (this.barsAt + this.barsEnd) / 2;
    const roomy = this.barsEnd - this.barsAt > 230;
    const half = (this.barsEnd - this.barsAt) / 2 - (roomy ? 46 * this.size : 1);
    paint.textBaseline = "middle";
    for (let n = first; n < last; n++) {
      const [call, put] = this.#usd(rows[n].key);
      const known = call != null || put != null;
      const net = (call ?? 0) + (put ?? 0);
      const right = split ? call ?? 0 : Math.max(0, net);
      const left = split ? -(put ?? 0) : Math.max(0, -net);
      const [r, l] = [Math.round((right / scale) * half * 2) / 2, Math.round((left / scale) * half * 2) / 2];
      const labels = roomy && known ? [right / scale >= 0.004 ? dollarsShort(right) : "", left / scale >= 0.004 ? dollarsShort(-left) : ""] : ["", ""];
      const mark = `${r} ${l} ${labels} ${known}`;
      if (!whole && this.drawnBars[n] === mark) continue;
      this.drawnBars[n] = mark;
      const y = n * this.rowHeight - this.top;
      paint.fillStyle = this.inks.ground;
      paint.fillRect(this.barsAt, y, this.barsEnd - this.barsAt + 6, this.rowHeight);
      paint.fillStyle = this.inks.grid;
      paint.fillRect(this.barsAt, y + this.rowHeight - 1, this.barsEnd - this.barsAt, 1);
      paint.fillStyle = this.inks.line;
      paint.fillRect(middle - 0.5, y, 1, this.rowHeight);
      const [top, tall] = [y + 3, this.rowHeight - 7];
      if (r > 0) { paint.fillStyle = this.inks.blue; paint.fillRect(middle + 1, top, Math.max(1, r), tall); }
      if (l > 0) { paint.fillStyle = this.inks.orange; paint.fillRect(middle - 1 - Math.max(1, l), top, Math.max(1, l), tall); }
      if (!known) { paint.fillStyle = this.inks.line; paint.fillRect(middle - 3, y + this.rowHeight / 2 - 1, 6, 1); }
      if (roomy) {
        paint.fillStyle = this.inks.dim;
        if (labels[0]) { paint.textAlign = "left"; paint.fillText(labels[0], middle + r + 5, y + this.rowHeight / 2 + 0.5); }
        if (labels[1]) { paint.textAlign = "right"; paint.fillText(labels[1], middle - l - 5, y + this.rowHeight / 2 + 0.5); }
      }
    }
  }

  #drawAxis() {
    const head = this.head;
    const tall = this.axisHeight;
    head.fillStyle = this.inks.panel;
    head.fillRect(0, 0, this.width, tall);
    head.fillStyle = this.inks.line;
    head.fillRect(0, tall - 1, this.width, 1);
    head.textBaseline = "middle";
    head.fillStyle = this.inks.dim;
    head.font = `${11 * this.size}px ${SANS}`;
    head.textAlign = "right";
    head.fillText("strike", this.strikeWidth - 8, tall / 2);
    head.textAlign = "center";
    const { look, heatmap } = this.view;
    if (look.strategy === "single") head.fillText(`${look.side} ${look.display}`, this.strikeWidth + this.cellWidth / 2, tall / 2);
    else {
      heatmap.widths.forEach((width, column) => {
        head.fillText((this.cellWidth > 70 * this.size ? "width " : "") + width, this.strikeWidth + (column + 0.5) * this.cellWidth, tall / 2);
      });
    }
    const middle = (this.barsAt + this.barsEnd) / 2;
    const split = this.view.bars === "split";
    const roomy = this.barsEnd - this.barsAt > 150;
    const tight = this.barsEnd - this.barsAt < 100;
    head.fillStyle = this.inks.orange;
    head.textAlign = "right";
    head.fillText(tight ? (split ? "◂ P" : "◂ S") : split ? "◂ puts" : roomy ? "◂ net short" : "◂ short", middle - 6, tall / 2);
    head.fillStyle = this.inks.blue;
    head.textAlign = "left";
    head.fillText(tight ? (split ? "C ▸" : "L ▸") : split ? "calls ▸" : roomy ? "net long ▸" : "long ▸", middle + 6, tall / 2);
    if (this.barsEnd - this.barsAt > 260) {
      head.fillStyle = this.inks.dim;
      head.textAlign = "right";
      head.fillText(`to ${dollarsShort(this.barScale).replace("+", "$")}`, this.barsEnd, tall / 2);
    }
  }

  // --- lines ---

  #drawLines() {
    const lines = this.lines;
    lines.clearRect(0, 0, this.width, this.height);
    const { spot, levels } = this.view;
    const narrow = this.gutter < 60;
    const move = this.pane().expected_move;
    if (spot != null && move) {
      const [top, bottom] = [this.yOf(spot + move), this.yOf(spot - move)];
      lines.fillStyle = this.inks.band;
      lines.fillRect(this.strikeWidth, top, this.heatEnd - this.strikeWidth, bottom - top);
      lines.fillRect(this.heatEnd, top, this.barsEnd - this.heatEnd, bottom - top);
    }
    const marks = [];
    const add = (value, long, short, ink, dash = []) => {
      if (value != null) marks.push({ value, y: this.yOf(value), name: narrow ? short : long, ink, dash });
    };
    if (spot != null && move) {
      add(spot + move, "+1 EM", "+EM", this.inks.dim, [3, 4]);
      add(spot - move, "−1 EM", "−EM", this.inks.dim, [3, 4]);
    }
    if (levels) {
      add(levels.call_wall, "CALL WALL", "CW", this.inks.blue, [8, 3]);
      add(levels.put_wall, "PUT WALL", "PW", this.inks.orange, [8, 3]);
      add(levels.flip.value, "FLIP", "FLIP", this.inks.flip, [2, 3]);
    }
    add(spot, "SPOT", "SPOT", this.inks.spot);
    for (const mark of marks) this.#line(mark);
    this.#tags(marks, narrow);
    this.#drawCursor(this.hovered, 1);
    this.#drawCursor(this.cursor, 2);
  }

  /** Where a line may run without striking a number out: along an edge of its row, or both where it is on the strike. */
  #edges(y) {
    const row = Math.floor((y + this.top) / this.rowHeight);
    const top = row * this.rowHeight - this.top;
    const off = (y - top) / this.rowHeight - 0.5;
    if (row < 0 || row >= this.rows.length || Math.abs(off) > 0.36) return [y];
    if (Math.abs(off) < 0.02) return [top - 0.5, top + this.rowHeight - 0.5];
    return [off < 0 ? top - 0.5 : top + this.rowHeight - 0.5];
  }

  #line({ y, ink, dash, name }) {
    if (y < -this.rowHeight || y > this.height + this.rowHeight) return;
    const lines = this.lines;
    const heavy = name === "SPOT" ? 2 : 1.5;
    lines.setLineDash(dash);
    for (const edge of this.#edges(y)) {
      const at = Math.round(edge) + 0.5;
      // A dark rim keeps a line visible on a bright tile.
      for (const [stroke, width] of [["rgba(0,0,0,.6)", heavy + 1.5], [ink, heavy]]) {
        lines.strokeStyle = stroke;
        lines.lineWidth = width;
        lines.beginPath();
        lines.moveTo(this.strikeWidth, at);
        lines.lineTo(this.heatEnd, at);
        lines.stroke();
      }
      lines.beginPath();
      lines.moveTo(this.barsAt, at);
      lines.lineTo(this.barsEnd, at);
      lines.stroke();
    }
    lines.setLineDash([]);
  }

  /** Names of the levels between tiles and bars, kept apart; those out of sight wait at the edge they lie beyond. */
  #tags(marks, narrow) {
    const lines = this.lines;
    const tall = narrow ? 13 : 17 * this.size;
    const sorted = marks
      .map((mark) => ({ ...mark, beyond: mark.y < 0 ? "▲" : mark.y > this.height ? "▼" : "" }))
      .sort((a, b) => b.value - a.value);
    const tops = sorted.map((mark) => Math.max(0, Math.min(this.height - tall, mark.y - tall / 2)));
    for (let n = 1; n < tops.length; n++) tops[n] = Math.max(tops[n], tops[n - 1] + tall + 1);
    let floor = this.height - tall;
    for (let n = tops.length - 1; n >= 0; n--) {
      tops[n] = Math.min(tops[n], floor);
      floor = tops[n] - tall - 1;
    }
    lines.textBaseline = "middle";
    sorted.forEach((mark, n) => {
      const [x, wide, top] = [this.heatEnd + 5, this.gutter - 10, tops[n]];
      if (!mark.beyond) {
        lines.strokeStyle = mark.ink;
        lines.lineWidth = 1;
        lines.beginPath();
        for (const [from, to] of [[this.heatEnd, x], [this.barsAt, x + wide]]) {
          lines.moveTo(from, mark.y);
          lines.lineTo(to, top + tall / 2);
        }
        lines.stroke();
      }
      lines.fillStyle = this.inks.panel;
      lines.fillRect(x, top, wide, tall);
      lines.strokeStyle = mark.ink;
      lines.lineWidth = mark.name === "SPOT" ? 2 : 1;
      lines.strokeRect(x + 0.5, top + 0.5, wide - 1, tall - 1);
      lines.fillStyle = this.inks.text;
      lines.font = `600 ${narrow ? 8 : 9 * this.size}px ${SANS}`;
      lines.textAlign = "left";
      if (narrow) {
        lines.textAlign = "center";
        lines.fillText(mark.beyond + mark.name, x + wide / 2, top + tall / 2 + 0.5);
        return;
      }
      lines.fillText(mark.beyond + (wide < 90 ? mark.name.replace(" WALL", "") : mark.name), x + 4, top + tall / 2 + 0.5);
      lines.font = `${10.5 * this.size}px ${MONO}`;
      lines.textAlign = "right";
      lines.fillText(price(mark.value, wide < 90 || mark.name !== "SPOT" ? 0 : 1), x + wide - 4, top + tall / 2 + 0.5);
    });
  }

  #drawCursor(cell, width) {
    if (!cell) return;
    const lines = this.lines;
    const x = this.strikeWidth + cell.column * this.cellWidth;
    const y = cell.row * this.rowHeight - this.top;
    lines.strokeStyle = "#000";
    lines.lineWidth = width + 2;
    lines.strokeRect(x, y, this.cellWidth - 1, this.rowHeight - 1);
    lines.strokeStyle = this.inks.cursor;
    lines.lineWidth = width;
    lines.strokeRect(x, y, this.cellWidth - 1, this.rowHeight - 1);
  }

  // --- pointer and cursor ---

  #cellAt(event) {
    const place = this.above.getBoundingClientRect();
    const [x, y] = [event.clientX - place.left, event.clientY - place.top];
    const row = Math.floor((y + this.box.scrollTop) / this.rowHeight);
    if (!this.rows[row]) return null;
    const column = Math.floor((x - this.strikeWidth) / this.cellWidth);
    if (x >= this.barsAt) return { row, column: -1 };
    return column >= 0 && column < this.columns() && this.rows[row].at >= 0 ? { row, column } : null;
  }

  #hover(event) {
    const cell = this.view && this.#cellAt(event);
    const same = cell?.row === this.hovered?.row && cell?.column === this.hovered?.column;
    this.hovered = cell && cell.column >= 0 ? cell : null;
    if (!same) this.linesChanged();
    this.listen.hover(cell && this.#named(cell), event);
  }

  #unhover() {
    this.hovered = null;
    this.linesChanged();
    this.listen.hover(null);
  }

  #click(event) {
    const cell = this.view && this.#cellAt(event);
    if (!cell || cell.column < 0) return;
    this.cursor = cell;
    this.linesChanged();
    this.listen.pick(this.#named(cell));
  }

  #named(cell) {
    const row = this.rows[cell.row];
    const [call, put] = this.#usd(row.key);
    return { strike: row.strike, at: row.at, column: cell.column, call, put };
  }

  /** Move the cursor by rows and columns; it begins at the money. Returns what it is on. */
  move(rows, columns) {
    const count = this.columns();
    if (!this.cursor) {
      this.cursor = { row: Math.max(0, Math.min(this.rows.length - 1, Math.round(this.#rowAt(this.view.spot ?? 0)))), column: Math.min(count - 1, 0) };
    } else {
      this.cursor = {
        row: Math.max(0, Math.min(this.rows.length - 1, this.cursor.row + rows)),
        column: Math.max(0, Math.min(count - 1, this.cursor.column + columns)),
      };
    }
    while (this.rows[this.cursor.row].at < 0 && this.rows[this.cursor.row + (rows || 1)]) this.cursor.row += rows || 1;
    const y = this.cursor.row * this.rowHeight;
    if (y < this.box.scrollTop) this.box.scrollTop = y;
    if (y + this.rowHeight > this.box.scrollTop + this.height) this.box.scrollTop = y + this.rowHeight - this.height;
    this.linesChanged();
    return this.#named(this.cursor);
  }

  picked() {
    return this.cursor && this.rows[this.cursor.row] ? this.#named(this.cursor) : null;
  }

  release() {
    this.cursor = null;
    this.linesChanged();
  }

  /** Where the cursor's tile is on the screen, for what is shown beside it. */
  place(cell) {
    const box = this.above.getBoundingClientRect();
    const row = this.rows.findIndex((one) => one.strike === cell.strike);
    return { x: box.left + this.strikeWidth + (cell.column + 1) * this.cellWidth, y: box.top + row * this.rowHeight - this.box.scrollTop };
  }
}

function sumOver(side, key) {
  if (!side) return null;
  let sum = null;
  for (const pane in side.expirations) {
    const usd = side.expirations[pane][key];
    if (usd != null) sum = (sum ?? 0) + usd;
  }
  return sum;
}
