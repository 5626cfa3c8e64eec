// Colours that stay apart for every kind of colour vision: cividis for size, blue and orange for direction.

export const MONO = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
export const SANS = 'system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

const CIVIDIS = [
  [0, 32, 76], [0, 42, 102], [0, 52, 110], [39, 63, 108], [60, 74, 107], [76, 85, 107], [91, 95, 109], [104, 106, 112],
  [117, 117, 117], [131, 129, 120], [146, 140, 120], [161, 152, 118], [176, 165, 114], [192, 177, 109], [209, 191, 102],
  [225, 204, 92], [243, 219, 79], [255, 233, 69],
];
const STEPS = 64;

/** Fill and text of a cell by its share of the scale, as CSS colours; computed once. */
const SHADES = Array.from({ length: STEPS + 1 }, (_, step) => {
  const place = (step / STEPS) * (CIVIDIS.length - 1);
  const low = Math.min(CIVIDIS.length - 2, Math.floor(place));
  const rgb = CIVIDIS[low].map((channel, n) => Math.round(channel + (CIVIDIS[low + 1][n] - channel) * (place - low)));
  return { fill: `rgb(${rgb})`, text: luminance(rgb) > 0.179 ? "#0a0d11" : "#ffffff" };
});

function luminance(rgb) {
  const [r, g, b] = rgb.map((channel) => {
    const c = channel / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export const shade = (share) => SHADES[Math.max(0, Math.min(STEPS, Math.round(share * STEPS)))];

/** The colours that canvases need, from the style sheet: one place for both themes. */
export function inks(element) {
  const style = getComputedStyle(element);
  const ink = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(
    ["ground", "panel", "line", "text", "dim", "blue", "orange", "spot", "flip", "grid", "band", "negative", "cursor"].map(
      (name) => [name, ink(name)],
    ),
  );
}

const NICE = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];

/** The least round number that is not below `value`: scales that follow every tick would repaint every cell. */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return NICE.find((step) => step * power >= value * 0.999999) * power;
}

/** A scale that grows at once and shrinks only when it is less than half used. */
export function heldScale(scale, most) {
  return scale && most <= scale && most > scale * 0.45 ? scale : roundUp(most);
}
