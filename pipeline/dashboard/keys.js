// The keyboard: every control has a key, and the sheet behind `?` names them all.

export const SHEET = [
  [["1", "… 9"], "symbol"],
  [[",", "."], "expiration before, after"],
  [["S"], "strategy: butterfly, vertical, single"],
  [["C"], "side: call, put, out of the money"],
  [["V"], "show: mid, buy, sell, pin probability, reward to risk"],
  [["G"], "GEX bars: calls and puts, net"],
  [["B"], "book: open interest, volume"],
  [["E"], "GEX of all dates, of this date"],
  [["0"], "centre on spot"],
  [["+", "−"], "larger, smaller rows"],
  [["←", "→", "↑", "↓"], "move over the tiles"],
  [["Enter"], "ticket of the tile"],
  [["O"], "copy the order of the ticket"],
  [["T"], "heatmap as a table"],
  [["D"], "dark or light"],
  [["Space"], "replay: play, pause"],
  [["[", "]"], "replay: a step back, on"],
  [["<", ">"], "replay: slower, faster"],
  [["Home"], "replay from the open"],
  [["H"], "replay: an hour back"],
  [["L"], "back to live"],
  [["R"], "choose the source: live or a replay"],
  [["Esc"], "close"],
  [["?"], "this sheet"],
];

/** `act`: symbol(n), pane(step), cycle(name), centre, rows(step), theme, table, sheet, move(rows, columns), open, close, copy. */
export function bindKeys(act) {
  const plainKeys = {
    ",": () => act.pane(-1), ".": () => act.pane(1), s: () => act.cycle("strategy"), c: () => act.cycle("side"),
    v: () => act.cycle("display"), g: () => act.cycle("bars"), b: () => act.cycle("book"), e: () => act.cycle("scope"),
    0: act.centre, "+": () => act.rows(1), "=": () => act.rows(1), "-": () => act.rows(-1), o: act.copy, t: act.table,
    d: act.theme, "?": act.sheet, "[": () => act.transport.step(-1), "]": () => act.transport.step(1),
    "<": () => act.transport.speed(-1), ">": () => act.transport.speed(1), Home: act.transport.toOpen,
    h: act.transport.backHour, l: act.transport.live, r: () => document.getElementById("source").focus(),
  };
  const arrows = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const { target, key } = event;
    if (key === "Escape") return act.close();
    if (target.closest("dialog") && key !== "?") return;
    const typing = target.matches("select, textarea, input:not([type=radio]):not([type=range])");
    if (typing) return;
    const step = arrows[key];
    if (step && !target.matches("input, select, .table, #vigil, [role=tab]")) {
      event.preventDefault();
      return act.move(...step);
    }
    if (key === "Enter" && (act.inField() || target === document.body)) {
      event.preventDefault();
      return act.open();
    }
    if (/^[1-9]$/.test(key)) return act.symbol(Number(key) - 1);
    if (key === " " && !target.matches("button, input, summary")) {
      event.preventDefault();
      return act.transport.play();
    }
    if (key === "Home" && target.matches("input, .table, #vigil, #field")) return undefined;
    const does = plainKeys[key.length === 1 ? key.toLowerCase() : key];
    if (does) {
      event.preventDefault();
      does();
    }
  });
}
