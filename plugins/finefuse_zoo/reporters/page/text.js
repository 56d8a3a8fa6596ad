// Texts and numbers as people read them.

const HIDDEN = /[\p{C}\p{Zl}\p{Zp}]/gu;
const shortened = new Map();

/** A text in which nothing hides: what can't be seen, such as marks of direction, is an escape. Lines stay. */
export function visible(text) {
  return String(text).replace(HIDDEN, (c) => (c === "\n" || c === "\t" ? c : escaped(c.codePointAt(0))));
}

function escaped(code) {
  const hex = code.toString(16);
  if (code < 256) return `\\x${hex.padStart(2, "0")}`;
  return code < 65536 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** Remembers short names by those in full. */
export function shorten(names) {
  for (const [name, told] of names) shortened.set(name, told);
}

/** The short name of a data set, a backbone or a line, or any other text as it is. */
export function short(name) {
  return shortened.get(name) ?? name;
}

/** The data set and backbone of a group; the data set alone of one over all backbones. */
export function heading(group) {
  return group.backbone ? `${group.dataset} · ${group.backbone}` : group.dataset;
}

/** The same with short names. */
export function shortHeading(group) {
  return heading({ dataset: short(group.dataset), backbone: short(group.backbone) });
}

/** A number from JSON, where those that are not finite are texts, and none is null. */
export function toNumber(value) {
  return value === null || value === undefined ? NaN : Number(value);
}

/** A value of a column as text, "" for none. */
export function show(form, value) {
  if (form === "text") return value ?? "";
  if (form === "flag") return value ? "~" : "";
  const number = toNumber(value);
  if (Number.isNaN(number)) return "";
  if (!Number.isFinite(number)) return number > 0 ? "∞" : "-∞";
  if (form === "signed") return `${number < 0 ? "−" : "+"}${score(Math.abs(number))}`;
  if (form === "score") return score(number);
  if (form === "seconds") return seconds(number);
  if (form === "joules") return `${count(number)} J`;
  return form === "bytes" ? `${count(number)}B` : count(number);
}

/** Four decimals, or five digits for large numbers. */
export function score(value) {
  if (Number.isNaN(value)) return "nan";
  const text = Math.abs(value) < 1000 ? Math.abs(value).toFixed(4) : String(Number(Math.abs(value).toPrecision(5)));
  return value < 0 ? `−${text}` : text;
}

/** Three digits, in the unit that suits. */
export function seconds(value) {
  if (value === 0) return "0 s";
  if (value < 1e-3) return `${digits(value * 1e6)} µs`;
  if (value < 1) return `${digits(value * 1e3)} ms`;
  if (value < 600) return `${digits(value)} s`;
  return value < 36000 ? `${digits(value / 60)} min` : `${digits(value / 3600)} h`;
}

/** Three digits and a letter for thousands, millions and so on. */
export function count(value) {
  for (const [size, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return `${digits(value / size)}${letter}`;
  }
  return digits(value);
}

/** The same for an axis, without zeros that say nothing. */
export function tick(form, value) {
  return show(form, value).replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
}

function digits(value) {
  if (value < 1e-6) return value.toExponential(2);
  if (Number.isInteger(value) && value < 1000) return String(value);
  const rounded = Number(value.toPrecision(3));
  const places = Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(Math.abs(rounded) || 1))));
  return rounded.toFixed(places);
}

/** An interval's half-width after ±; nothing where it is not known. */
export function plusMinus(half) {
  const number = toNumber(half);
  return Number.isFinite(number) && number > 0 ? ` ± ${score(number)}` : "";
}

/** A table as CSV (RFC 4180); what a spreadsheet would execute begins with an apostrophe. */
export function csv(rows) {
  return rows.map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

function csvCell(value) {
  let text = value === null || value === undefined || Number.isNaN(value) ? "" : String(value);
  if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text) && !/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A word as a shell takes it. */
export function quoted(word) {
  return /^[\w./:@-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** So many things; `many` is their plural if it takes more than an s. */
export function plural(n, thing, many = `${thing}s`) {
  return `${n} ${n === 1 ? thing : many}`;
}
