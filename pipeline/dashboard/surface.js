// The field's half that is in the page: its place, what scrolls it and what points at it. It is drawn in the worker.

import { inks } from "./palette.js";
import { byId, listen, thread } from "./state.js";
import { fillTip } from "./ticket.js";

const box = byId("field");
const above = byId("above");
const tip = byId("tip");
const still = matchMedia("(prefers-reduced-motion: reduce)");
let byHand = false;
let rowSize = 20;
let pointed = 0;

export function begin(chosen) {
  thread.begin({ base: byId("base"), above, axis: byId("axis") }, chosen, still.matches);
  new ResizeObserver(() => resize()).observe(box);
}

/** The room there is, and how it looks. */
export function resize(rows = rowSize) {
  rowSize = rows;
  const [width, height] = [box.clientWidth, box.clientHeight];
  if (!width || !height) return;
  // Everything on the canvas grows with the page's letters: a 4K screen is read from the same chair.
  const size = Math.max(1, parseFloat(getComputedStyle(document.documentElement).fontSize) / 14);
  for (const [canvas, tall] of [[byId("base"), height], [above, height], [byId("axis"), Math.round(26 * size)]]) {
    canvas.style.width = `${width}px`;
    canvas.style.height = `${tall}px`;
  }
  thread.tell("resize", { width, height, ratio: devicePixelRatio || 1, size, rowSize, inks: inks(box) });
}

listen.laid = (tall, top) => {
  byHand = false;
  byId("spacer").style.height = `${tall}px`;
  box.scrollTop = top;
};

/** Where a place in the field is on the screen. */
export function placeOf([x, y]) {
  const { left, top } = box.getBoundingClientRect();
  return [left + x, top + y];
}

const placeIn = ({ clientX, clientY }) => {
  const { left, top } = box.getBoundingClientRect();
  return [clientX - left, clientY - top];
};

async function hover(event) {
  const mine = ++pointed;
  const found = await thread.ask("hover", ...(event ? placeIn(event) : []));
  if (mine !== pointed) return;
  tip.hidden = !found;
  if (!found) return;
  fillTip(tip, found.tile, found.cell);
  tip.style.left = `${Math.max(4, Math.min(innerWidth - tip.offsetWidth - 6, event.clientX + 16))}px`;
  const y = event.clientY + 16;
  tip.style.top = `${y + tip.offsetHeight > innerHeight - 6 ? Math.max(4, event.clientY - tip.offsetHeight - 12) : y}px`;
}

/** `picked`: what becomes of a tile that was clicked, or of null. */
export function onPick(picked) {
  above.addEventListener("click", async (event) => {
    const found = await thread.ask("pick", ...placeIn(event));
    pointed++;
    tip.hidden = true;
    picked(found);
  });
}

for (const moves of ["wheel", "touchmove", "pointerdown", "keydown"]) {
  box.addEventListener(moves, () => { byHand = true; }, { passive: true });
}
box.addEventListener("scroll", () => thread.tell("scroll", box.scrollTop, byHand), { passive: true });
above.addEventListener("pointermove", hover);
above.addEventListener("pointerleave", () => hover(null));
addEventListener("resize", () => resize()); // also where only the pixel ratio changes
still.addEventListener("change", () => thread.tell("still", still.matches));
