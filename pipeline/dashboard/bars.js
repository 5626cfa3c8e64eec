// GEX by strike: bars on the field's rows, and the axis above tiles and bars.

import { MONO, SANS } from "./palette.js";
import { dollarsShort } from "./words.js";

export function drawBars(field, whole = false) {
  const paint = field.paint;
  const split = field.view.bars === "split";
  const rows = field.rows;
  const [first, last] = field.inSight();
  // All strikes set the scale, once a second; what is drawn is in sight.
  let scale = field.barScale;
  if (whole || performance.now() - field.scanned > 1000) {
    field.scanned = performance.now();
    let most = 0;
    for (const row of rows) {
      const [call, put] = field.usd(row.key);
      const [c, p] = [call ?? 0, put ?? 0];
      most = split ? Math.max(most, c, -p) : Math.max(most, Math.abs(c + p));
    }
    // Not a round number: bars have labels, and room is what they lack.
    if (most > scale || most < scale * 0.7) scale = most * 1.04 || 1;
  }
  if (scale !== field.barScale) {
    field.barScale = scale;
    if (!whole) drawAxis(field);
    whole = true;
  }
  paint.font = `${10.5 * field.size}px ${MONO}`;
  const middle = (field.barsAt + field.barsEnd) / 2;
  const roomy = field.barsEnd - field.barsAt > 230;
  const half = (field.barsEnd - field.barsAt) / 2 - (roomy ? 46 * field.size : 1);
  paint.textBaseline = "middle";
  for (let n = first; n < last; n++) {
    const [call, put] = field.usd(rows[n].key);
    const known = call != null || put != null;
    const net = (call ?? 0) + (put ?? 0);
    const right = split ? call ?? 0 : Math.max(0, net);
    const left = split ? -(put ?? 0) : Math.max(0, -net);
    const [r, l] = [Math.round((right / scale) * half * 2) / 2, Math.round((left / scale) * half * 2) / 2];
    const labels = roomy && known ? [right / scale >= 0.004 ? dollarsShort(right) : "", left / scale >= 0.004 ? dollarsShort(-left) : ""] : ["", ""];
    const mark = `${r} ${l} ${labels} ${known}`;
    if (!whole && field.drawnBars[n] === mark) continue;
    field.drawnBars[n] = mark;
    const y = n * field.rowHeight - field.top;
    paint.fillStyle = field.inks.ground;
    paint.fillRect(field.barsAt, y, field.barsEnd - field.barsAt + 6, field.rowHeight);
    paint.fillStyle = field.inks.grid;
    paint.fillRect(field.barsAt, y + field.rowHeight - 1, field.barsEnd - field.barsAt, 1);
    paint.fillStyle = field.inks.line;
    paint.fillRect(middle - 0.5, y, 1, field.rowHeight);
    const [top, tall] = [y + 3, field.rowHeight - 7];
    if (r > 0) { paint.fillStyle = field.inks.blue; paint.fillRect(middle + 1, top, Math.max(1, r), tall); }
    if (l > 0) { paint.fillStyle = field.inks.orange; paint.fillRect(middle - 1 - Math.max(1, l), top, Math.max(1, l), tall); }
    if (!known) { paint.fillStyle = field.inks.line; paint.fillRect(middle - 3, y + field.rowHeight / 2 - 1, 6, 1); }
    if (roomy) {
      paint.fillStyle = field.inks.dim;
      if (labels[0]) { paint.textAlign = "left"; paint.fillText(labels[0], middle + r + 5, y + field.rowHeight / 2 + 0.5); }
      if (labels[1]) { paint.textAlign = "right"; paint.fillText(labels[1], middle - l - 5, y + field.rowHeight / 2 + 0.5); }
    }
  }
}

export function drawAxis(field) {
  const head = field.head;
  const tall = field.axisHeight;
  head.fillStyle = field.inks.panel;
  head.fillRect(0, 0, field.width, tall);
  head.fillStyle = field.inks.line;
  head.fillRect(0, tall - 1, field.width, 1);
  head.textBaseline = "middle";
  head.fillStyle = field.inks.dim;
  head.font = `${11 * field.size}px ${SANS}`;
  head.textAlign = "right";
  head.fillText("strike", field.strikeWidth - 8, tall / 2);
  head.textAlign = "center";
  const { look, heatmap } = field.view;
  if (look.strategy === "single") head.fillText(`${look.side} ${look.display}`, field.strikeWidth + field.cellWidth / 2, tall / 2);
  else {
    heatmap.widths.forEach((width, column) => {
      head.fillText((field.cellWidth > 70 * field.size ? "width " : "") + width, field.strikeWidth + (column + 0.5) * field.cellWidth, tall / 2);
    });
  }
  const middle = (field.barsAt + field.barsEnd) / 2;
  const split = field.view.bars === "split";
  const roomy = field.barsEnd - field.barsAt > 150;
  const tight = field.barsEnd - field.barsAt < 100;
  head.fillStyle = field.inks.orange;
  head.textAlign = "right";
  head.fillText(tight ? (split ? "◂ P" : "◂ S") : split ? "◂ puts" : roomy ? "◂ net short" : "◂ short", middle - 6, tall / 2);
  head.fillStyle = field.inks.blue;
  head.textAlign = "left";
  head.fillText(tight ? (split ? "C ▸" : "L ▸") : split ? "calls ▸" : roomy ? "net long ▸" : "long ▸", middle + 6, tall / 2);
  if (field.barsEnd - field.barsAt > 260) {
    head.fillStyle = field.inks.dim;
    head.textAlign = "right";
    head.fillText(`to ${dollarsShort(field.barScale).replace("+", "$")}`, field.barsEnd, tall / 2);
  }
}
