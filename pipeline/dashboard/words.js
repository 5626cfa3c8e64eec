// Numbers, times and reasons as a trader reads them. A missing value is a dash and never a zero.

const NEW_YORK = "America/New_York";
const clock = new Intl.DateTimeFormat("en-GB", { timeZone: NEW_YORK, hour: "2-digit", minute: "2-digit", second: "2-digit" });
const clockShort = new Intl.DateTimeFormat("en-GB", { timeZone: NEW_YORK, hour: "2-digit", minute: "2-digit" });
const dayAndClock = new Intl.DateTimeFormat("en-GB", { timeZone: NEW_YORK, day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const weekday = new Intl.DateTimeFormat("en-US", { timeZone: "UTC", weekday: "short" });
const grouped = [0, 1, 2, 3].map((digits) => new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export const NONE = "–";
const MINUS = "−";

export const timeOf = (ms) => (ms == null ? NONE : clock.format(ms));
export const minuteOf = (ms) => (ms == null ? NONE : clockShort.format(ms));
export const momentOf = (ms) => (ms == null ? NONE : dayAndClock.format(ms).replace(",", ""));

/** 6,801.42; whole strikes without decimals. */
export function price(value, digits) {
  if (value == null || !Number.isFinite(value)) return NONE;
  return signed(value, grouped[digits ?? (Number.isInteger(value) ? 0 : 2)], false);
}

function signed(value, format, plus) {
  const sign = value < 0 ? MINUS : plus && value > 0 ? "+" : "";
  return sign + format.format(Math.abs(value));
}

export const change = (value, digits = 2) => (value == null ? NONE : signed(value, grouped[digits], true));
export const percent = (share, digits = 2) => (share == null ? NONE : `${signed(share * 100, grouped[digits], true)} %`);
export const part = (share) => (share == null ? NONE : `${Math.round(share * 100)} %`);

/** Dollars in thousands, millions or billions: −15.5 bn. */
export function dollars(usd, plus = true) {
  if (usd == null) return NONE;
  const size = Math.abs(usd);
  const [unit, name] = size >= 1e9 ? [1e9, " bn"] : size >= 1e6 ? [1e6, " mn"] : size >= 1e3 ? [1e3, " k"] : [1, ""];
  const scaled = usd / unit;
  return signed(scaled, grouped[Math.abs(scaled) >= 100 || unit === 1 ? 0 : 1], plus) + name;
}

/** The same, as short as a bar's label must be: −9.9B. */
export function dollarsShort(usd) {
  if (usd == null) return NONE;
  const size = Math.abs(usd);
  const [unit, name] = size >= 1e9 ? [1e9, "B"] : size >= 1e6 ? [1e6, "M"] : size >= 1e3 ? [1e3, "K"] : [1, ""];
  const scaled = size / unit;
  return (usd < 0 ? MINUS : usd > 0 ? "+" : "") + scaled.toFixed(scaled >= 100 || unit === 1 ? 0 : 1) + name;
}

/** How long ago, in the largest unit that says it. */
export function age(ms) {
  if (ms == null || !Number.isFinite(ms)) return NONE;
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

/** A price of a tile in its cell. */
export function cellPrice(value) {
  if (value == null) return "";
  const size = Math.abs(value);
  return (value < 0 ? MINUS : "") + size.toFixed(size < 100 ? 2 : size < 1000 ? 1 : 0);
}

export function cellShare(value) {
  if (value == null) return "";
  const size = Math.abs(value * 100);
  return `${value < 0 ? MINUS : ""}${size.toFixed(size < 10 ? 1 : 0)}%`;
}

export function cellRatio(value) {
  if (value == null) return "";
  return value >= 1000 ? "≥1000" : value.toFixed(value < 10 ? 1 : 0);
}

/** "0DTE PM", "Fri 18 Dec AM": a pane by its date and settlement. */
export function paneName(head) {
  if (head.dte < 0) return `settled ${dayName(head.expiration)} ${head.settlement}`;
  return head.dte === 0 ? `0DTE ${head.settlement}` : `${dayName(head.expiration)} ${head.settlement}`;
}

export function dayName(date) {
  const [year, month, day] = date.split("-").map(Number);
  return `${weekday.format(Date.UTC(year, month - 1, day))} ${day} ${MONTHS[month - 1]}`;
}

/** 24 NOV 26, as order tickets write it. */
export function ticketDay(date) {
  const [year, month, day] = date.split("-").map(Number);
  return `${day} ${MONTHS[month - 1].toUpperCase()} ${String(year).slice(2)}`;
}

const REASONS = {
  no_root: "no zero crossing within ±6 %",
  low_coverage: "too few strikes have a volatility",
  flat: "the profile is flat",
  unstable: "a small error would move it far",
  stale: "quotes are stale",
  no_gamma_above: "no gamma above spot",
  no_gamma_below: "no gamma below spot",
  no_gamma: "no gamma",
  no_front_pane: "no pane with an hour left",
  no_open_interest: "no open interest",
  no_volatility: "no volatility",
};

export const reason = (name) => (name == null ? "" : REASONS[name] ?? String(name).replaceAll("_", " "));
export const plain = (name) => (name == null ? NONE : String(name).replaceAll("_", " "));
