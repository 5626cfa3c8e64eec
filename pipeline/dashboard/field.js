// The strike field: tiles and GEX bars on one strike axis, levels across both. Canvas; only what changed is drawn again.
//
// `base` holds cells and bars and is touched cell by cell; `above` holds lines, tags and the cursor, a dozen strokes that
// are drawn whole. Both stand still in the scrolling box while its spacer moves: what is drawn is what is in sight.
// All of it is drawn in the worker; `surface.js` is its other half in the page.

import { drawAxis, drawBars } from "./bars.js";
import { drawLines } from "./levels.js";
import { heldScale, MONO, shade } from "./palette.js";
import { flagOf, sideAt, valueOf } from "./tiles.js";
import { cellPrice, cellRatio, cellShare, price } from "./words.js";

const FLASH_MS = 500;
/** Pin and reward scales: a pin above this, a ratio of this, is the far end of the colours. */
const REWARD_MOST = 100;

export class Field {
  /** Three canvases without a document; `laid(tall, top)` tells how much there is to scroll through, and where it is. */
  constructor({ base, above, axis }, still, laid) {
    Object.assign(this, { base, above, axis, still, laid });
    this.paint = base.getContext("2d", { alpha: false });
    this.lines = above.getContext("2d");
    this.head = axis.getContext("2d", { alpha: false });
    this.view = null;
    this.rows = [];
    this.width = 0;
    this.rowHeight = 20;
    this.size = 1;
    this.cursor = null;
    this.hovered = null;
    this.centred = true;
    this.top = 0;
    this.scale = 0;
    this.barScale = 0;
    this.levels = {};
    this.flashes = new Map();
    this.dirty = { all: true, cells: false, bars: false, lines: false };
    this.changed = new Uint8Array(0);
    this.asked = 0;
  }

  // --- what is shown ---

  /** view: {heatmap, pane, look, bars, book, scope, gex, calls, puts, spot}. Everything is laid out anew. */
  show(view) {
    const other = !this.view || this.view.pane !== view.pane || this.view.heatmap.symbol !== view.heatmap.symbol;
    if (other) this.centred = true;
    const middle = this.#middle();
    this.view = view;
    this.scale = this.barScale = 0;
    this.flashes.clear();
    if (other) this.cursor = null;
    this.#layRows();
    this.#lay(middle);
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

  /** The room there is, and its look: {width, height, ratio, size, rowSize, inks}. */
  resize(room) {
    const middle = this.#middle();
    Object.assign(this, room);
    this.#lay(middle);
  }

  /** The price to be kept in the middle, or null where that is spot. */
  #middle() {
    return this.centred ? null : this.priceAt(this.height / 2);
  }

  #lay(middle) {
    if (!this.view || !this.width) return;
    const { width, height, ratio, size } = this;
    this.rowHeight = Math.round(this.rowSize * size);
    this.axisHeight = Math.round(26 * size);
    for (const [canvas, context, tall] of [[this.base, this.paint, height], [this.above, this.lines, height], [this.axis, this.head, this.axisHeight]]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(tall * ratio);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    const narrow = width < 560;
    const columns = this.columns();
    this.strikeWidth = narrow ? 46 : 66 * size;
    this.gutter = narrow ? 38 : width < 820 ? 84 : 118 * size;
    const least = narrow ? 72 : Math.min(420 * size, Math.max(150, width * 0.3));
    const space = width - this.strikeWidth - this.gutter - least;
    this.cellWidth = Math.max(narrow ? 30 : 40, Math.min((columns === 1 ? 220 : 104) * size, Math.floor(space / columns)));
    this.cellFont = `${(this.cellWidth < 38 ? 9 : this.rowSize >= 24 ? 13 : 11.5) * size}px ${MONO}`;
    this.heatEnd = this.strikeWidth + columns * this.cellWidth;
    this.barsAt = this.heatEnd + this.gutter;
    this.barsEnd = width - 6;
    this.#scrollTo(this.#rowAt(middle ?? this.view.spot ?? 0));
    this.#drawAll(); // in the same task: a canvas that was given a size is empty
  }

  /** Scroll so that spot is in the middle. */
  centre() {
    this.centred = true;
    if (!this.view || !this.width) return;
    this.#scrollTo(this.#rowAt(this.view.spot ?? 0));
    this.want("all");
  }

  #scrollTo(row) {
    const tall = this.rows.length * this.rowHeight;
    const top = (row + 0.5) * this.rowHeight - this.height / 2;
    this.top = Math.round(Math.max(0, Math.min(tall - this.height, top)));
    this.laid(tall, this.top);
  }

  /** The box was scrolled; by hand, then what is in the middle stays there. */
  scrolled(top, byHand) {
    if (byHand) this.centred = false;
    if (top === this.top) return;
    this.top = top;
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
    const row = Math.round((y + this.top) / this.rowHeight - 0.5);
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
    if (this.dirty.all) return this.#drawAll();
    if (this.dirty.cells) this.#drawCells();
    if (this.dirty.bars) drawBars(this);
    if (this.dirty.lines || this.dirty.bars) drawLines(this);
    this.dirty.bars = this.dirty.lines = false;
  }

  // --- drawing ---

  inSight() {
    const first = Math.max(0, Math.floor(this.top / this.rowHeight));
    return [first, Math.min(this.rows.length, Math.ceil((this.top + this.height) / this.rowHeight) + 1)];
  }

  #drawAll() {
    this.dirty = { all: false, cells: false, bars: false, lines: false };
    this.changed.fill(0);
    this.flashes.clear();
    const paint = this.paint;
    paint.fillStyle = this.inks.ground;
    paint.fillRect(0, 0, this.width, this.height);
    this.#findScale();
    const [first, last] = this.inSight();
    const columns = this.columns();
    for (let row = first; row < last; row++) {
      this.#drawStrike(row);
      this.#letters();
      for (let column = 0; column < columns; column++) this.#drawCell(row, column);
    }
    drawBars(this, true);
    drawAxis(this);
    drawLines(this);
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
    if (look.display === "reward") {
      this.scale = REWARD_MOST;
      return;
    }
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
    this.scale = heldScale(this.scale, most);
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
    const [first, last] = this.inSight();
    const until = performance.now() + FLASH_MS;
    const flashing = !this.still;
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
    const [first, last] = this.inSight();
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
    if (!this.view) return;
    const now = performance.now();
    const columns = this.columns();
    const [first, last] = this.inSight();
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
  usd(key) {
    const { scope, pane, calls, puts, gex, book } = this.view;
    if (book === "volume") {
      const call = gex?.volume_calls?.[key] ?? null;
      const put = gex?.volume_puts?.[key] ?? null;
      return [call, put];
    }
    if (scope === "pane") return [calls?.expirations[pane]?.[key] ?? null, puts?.expirations[pane]?.[key] ?? null];
    return [sumOver(calls, key), sumOver(puts, key)];
  }

  // --- pointer and cursor ---

  #cellAt(x, y) {
    const row = Math.floor((y + this.top) / this.rowHeight);
    if (!this.rows[row]) return null;
    const column = Math.floor((x - this.strikeWidth) / this.cellWidth);
    if (x >= this.barsAt) return { row, column: -1 };
    return column >= 0 && column < this.columns() && this.rows[row].at >= 0 ? { row, column } : null;
  }

  /** What is under the pointer, or null; without a place it has left. */
  hover(x, y) {
    const cell = this.view && x != null ? this.#cellAt(x, y) : null;
    const hovered = cell && cell.column >= 0 ? cell : null;
    const same = hovered?.row === this.hovered?.row && hovered?.column === this.hovered?.column;
    this.hovered = hovered;
    if (!same) this.linesChanged();
    return cell && this.#named(cell);
  }

  /** Put the cursor there; null where there is no tile. */
  pick(x, y) {
    const cell = this.view && this.#cellAt(x, y);
    if (!cell || cell.column < 0) return null;
    this.cursor = cell;
    this.linesChanged();
    return this.#named(cell);
  }

  #named(cell) {
    const row = this.rows[cell.row];
    const [call, put] = this.usd(row.key);
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
    const top = Math.max(y + this.rowHeight - this.height, Math.min(y, this.top));
    if (top !== this.top) {
      this.scrolled(top, true);
      this.laid(this.rows.length * this.rowHeight, top);
    }
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

  /** Where the cursor's tile ends at the right, for what is shown beside it. */
  place() {
    return [this.strikeWidth + (this.cursor.column + 1) * this.cellWidth, this.cursor.row * this.rowHeight - this.top];
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
