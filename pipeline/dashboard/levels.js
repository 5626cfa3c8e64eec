// What runs across tiles and bars: spot, flip, walls and the expected move, with their names; and the cursor.

import { MONO, SANS } from "./palette.js";
import { price } from "./words.js";

export function drawLines(field) {
  const lines = field.lines;
  lines.clearRect(0, 0, field.width, field.height);
  const { spot, gex } = field.view;
  const narrow = field.gutter < 60;
  const move = field.pane().expected_move;
  if (spot != null && move) {
    const [top, bottom] = [field.yOf(spot + move), field.yOf(spot - move)];
    lines.fillStyle = field.inks.band;
    lines.fillRect(field.strikeWidth, top, field.heatEnd - field.strikeWidth, bottom - top);
    lines.fillRect(field.heatEnd, top, field.barsEnd - field.heatEnd, bottom - top);
  }
  const marks = [];
  const add = (value, long, short, ink, dash = []) => {
    if (value != null) marks.push({ value, y: field.yOf(value), name: narrow ? short : long, ink, dash });
  };
  if (spot != null && move) {
    add(spot + move, "+1 EM", "+EM", field.inks.dim, [3, 4]);
    add(spot - move, "−1 EM", "−EM", field.inks.dim, [3, 4]);
  }
  if (gex) {
    const { levels } = gex;
    add(levels.call_wall, "CALL WALL", "CW", field.inks.blue, [8, 3]);
    add(levels.put_wall, "PUT WALL", "PW", field.inks.orange, [8, 3]);
    add(levels.flip.value, "FLIP", "FLIP", field.inks.flip, [2, 3]);
  }
  add(spot, "SPOT", "SPOT", field.inks.spot);
  field.levels = Object.fromEntries(marks.map(({ name, value }) => [name, value]));
  for (const mark of marks) line(field, mark);
  tags(field, marks, narrow);
  drawCursor(field, field.hovered, 1);
  drawCursor(field, field.cursor, 2);
}

/** Where a line may run without striking a number out: along an edge of its row, or both where it is on the strike. */
function edges(field, y) {
  const row = Math.floor((y + field.top) / field.rowHeight);
  const top = row * field.rowHeight - field.top;
  const off = (y - top) / field.rowHeight - 0.5;
  if (row < 0 || row >= field.rows.length || Math.abs(off) > 0.36) return [y];
  if (Math.abs(off) < 0.02) return [top - 0.5, top + field.rowHeight - 0.5];
  return [off < 0 ? top - 0.5 : top + field.rowHeight - 0.5];
}

function line(field, { y, ink, dash, name }) {
  if (y < -field.rowHeight || y > field.height + field.rowHeight) return;
  const lines = field.lines;
  const heavy = name === "SPOT" ? 2 : 1.5;
  lines.setLineDash(dash);
  for (const edge of edges(field, y)) {
    const at = Math.round(edge) + 0.5;
    // A dark rim keeps a line visible on a bright tile.
    for (const [stroke, width] of [["rgba(0,0,0,.6)", heavy + 1.5], [ink, heavy]]) {
      lines.strokeStyle = stroke;
      lines.lineWidth = width;
      lines.beginPath();
      lines.moveTo(field.strikeWidth, at);
      lines.lineTo(field.heatEnd, at);
      lines.stroke();
    }
    lines.beginPath();
    lines.moveTo(field.barsAt, at);
    lines.lineTo(field.barsEnd, at);
    lines.stroke();
  }
  lines.setLineDash([]);
}

/** Names of the levels between tiles and bars, kept apart; those out of sight wait at the edge they lie beyond. */
function tags(field, marks, narrow) {
  const lines = field.lines;
  const tall = narrow ? 13 : 17 * field.size;
  const sorted = marks
    .map((mark) => ({ ...mark, beyond: mark.y < 0 ? "▲" : mark.y > field.height ? "▼" : "" }))
    .sort((a, b) => b.value - a.value);
  const tops = sorted.map((mark) => Math.max(0, Math.min(field.height - tall, mark.y - tall / 2)));
  for (let n = 1; n < tops.length; n++) tops[n] = Math.max(tops[n], tops[n - 1] + tall + 1);
  let floor = field.height - tall;
  for (let n = tops.length - 1; n >= 0; n--) {
    tops[n] = Math.min(tops[n], floor);
    floor = tops[n] - tall - 1;
  }
  lines.textBaseline = "middle";
  sorted.forEach((mark, n) => {
    const [x, wide, top] = [field.heatEnd + 5, field.gutter - 10, tops[n]];
    if (!mark.beyond) {
      lines.strokeStyle = mark.ink;
      lines.lineWidth = 1;
      lines.beginPath();
      for (const [from, to] of [[field.heatEnd, x], [field.barsAt, x + wide]]) {
        lines.moveTo(from, mark.y);
        lines.lineTo(to, top + tall / 2);
      }
      lines.stroke();
    }
    lines.fillStyle = field.inks.panel;
    lines.fillRect(x, top, wide, tall);
    lines.strokeStyle = mark.ink;
    lines.lineWidth = mark.name === "SPOT" ? 2 : 1;
    lines.strokeRect(x + 0.5, top + 0.5, wide - 1, tall - 1);
    lines.fillStyle = field.inks.text;
    lines.font = `600 ${narrow ? 8 : 9 * field.size}px ${SANS}`;
    lines.textAlign = "left";
    if (narrow) {
      lines.textAlign = "center";
      lines.fillText(mark.beyond + mark.name, x + wide / 2, top + tall / 2 + 0.5);
      return;
    }
    lines.fillText(mark.beyond + (wide < 90 ? mark.name.replace(" WALL", "") : mark.name), x + 4, top + tall / 2 + 0.5);
    lines.font = `${10.5 * field.size}px ${MONO}`;
    lines.textAlign = "right";
    lines.fillText(price(mark.value, wide < 90 || mark.name !== "SPOT" ? 0 : 1), x + wide - 4, top + tall / 2 + 0.5);
  });
}

function drawCursor(field, cell, width) {
  if (!cell) return;
  const lines = field.lines;
  const x = field.strikeWidth + cell.column * field.cellWidth;
  const y = cell.row * field.rowHeight - field.top;
  lines.strokeStyle = "#000";
  lines.lineWidth = width + 2;
  lines.strokeRect(x, y, field.cellWidth - 1, field.rowHeight - 1);
  lines.strokeStyle = field.inks.cursor;
  lines.lineWidth = width;
  lines.strokeRect(x, y, field.cellWidth - 1, field.rowHeight - 1);
}
