// Published documents in the page's memory: diffs applied in place, and what they changed told to whoever draws.
// The rules are those of `pipeline.models.documents.apply_diff`.

const HEADER = ["ts", "as_of", "spot", "status", "coverage", "version"];

/** A diff that is not for the version held: the document has to be read anew. */
export class Gap extends Error {}

/**
 * Apply a diff to a parsed document, in place.
 * Returns {tiles: Map "pane|strategy:side:pricing" -> flat indices, strikes: boolean, heads: boolean}.
 * Throws Gap when the diff is for another document, epoch or version; the document is then as it was.
 */
export function applyDiff(held, diff) {
  const [name, generation] = held.schema.split("/");
  if (
    diff.schema !== `${name}-diff/${generation}` || diff.symbol !== held.symbol || diff.epoch !== held.epoch ||
    diff.base !== held.version
  ) {
    throw new Gap(`${diff.schema} ${diff.symbol} ${diff.epoch} base ${diff.base} for version ${held.version} of ${held.epoch}`);
  }
  const changed = { tiles: new Map(), strikes: false, heads: Boolean(diff.heads) };
  for (const field of HEADER) if (field in diff) held[field] = diff[field];
  if (name === "heatmap") applyHeatmap(held, diff, changed);
  else if (name === "gex-side") applySide(held, diff, changed);
  else applyNet(held, diff, changed);
  return changed;
}

function applyHeatmap(held, diff, changed) {
  for (const pane in diff.heads ?? {}) Object.assign(held.panes[pane], diff.heads[pane]);
  for (const pane in diff.panes ?? {}) {
    for (const array in diff.panes[pane]) {
      const { i, v } = diff.panes[pane][array];
      const [strategy, side, pricing] = array.split(":");
      const cells = held.panes[pane][strategy][side][pricing];
      if (strategy === "single") for (let n = 0; n < i.length; n++) cells[i[n]] = v[n];
      else {
        const columns = held.widths.length;
        for (let n = 0; n < i.length; n++) cells[(i[n] / columns) | 0][i[n] % columns] = v[n];
      }
      changed.tiles.set(`${pane}|${array}`, i);
    }
  }
}

function applySide(held, diff, changed) {
  for (const pane in diff.panes ?? {}) {
    for (const array in diff.panes[pane]) write(held.expirations[pane], diff.panes[pane][array]);
    changed.strikes = true;
  }
}

function applyNet(held, diff, changed) {
  Object.assign(held, diff.heads?.net ?? {});
  for (const array in diff.panes?.net ?? {}) {
    write(held[array], diff.panes.net[array]);
    changed.strikes = true;
  }
}

function write(byStrike, { k, v }) {
  for (let n = 0; n < k.length; n++) byStrike[k[n]] = v[n];
}

/** Panes in the order of their expiry, those that are settled last. */
export function orderedPanes(heatmap) {
  return Object.keys(heatmap.panes).sort((a, b) => {
    const [x, y] = [heatmap.panes[a], heatmap.panes[b]];
    return (x.dte < 0) - (y.dte < 0) || x.dte - y.dte || x.settlement.localeCompare(y.settlement) || a.localeCompare(b);
  });
}

/** The first expiration still to come, settled in the afternoon where a day has both. */
export function nearestPane(heatmap) {
  const order = orderedPanes(heatmap);
  const same = order.filter((pane) => heatmap.panes[pane].dte === heatmap.panes[order[0]].dte);
  return same[same.length - 1];
}
