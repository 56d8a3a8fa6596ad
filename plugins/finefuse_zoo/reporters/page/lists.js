// What failed, the methods, and the notes.

import { h, plainTable } from "./dom.js";
import { cellButton, strategy } from "./details.js";
import { plural, short } from "./text.js";

const MOST = 200; // records of one reason

/** All records that are not ok, by reason. */
export function failuresView(board, state, lines, act) {
  const { count, field } = board.cells;
  const shown = new Set(lines);
  const reasons = new Map();
  for (let at = 0; at < count; at++) {
    const [status, line] = [field("status", at), field("line", at)];
    if (status === "ok" || (line >= 0 && !shown.has(line))) continue;
    const reason = `${status}: ${field("reason", at) || field("error", at) || "no reason was given"}`;
    if (!reasons.has(reason)) reasons.set(reason, []);
    reasons.get(reason).push(at);
  }
  if (!reasons.size) return h("p.empty", {}, "Every run behind the shown lines is ok.");
  return h(
    "div",
    {},
    [...reasons].map(([reason, cells]) =>
      h(
        "section.failure",
        {},
        h("h2", {}, reason),
        plainTable(
          reason,
          ["cell", "data set", "backbone", "seed"],
          cells.slice(0, MOST).map((at) => [
            cellButton(board, at, act, [field("label", at) || field("kind", at), field("pool", at)].filter(Boolean).join(" of ")),
            short(field("dataset", at)),
            short(field("backbone", at)),
            field("seed", at),
          ]),
          3,
        ),
        cells.length > MOST ? h("p.said", {}, `and ${cells.length - MOST} more`) : null,
      ),
    ),
  );
}

/** How many records are not ok. */
export function failures(board) {
  const { count, field } = board.cells;
  let found = 0;
  for (let at = 0; at < count; at++) found += field("status", at) !== "ok";
  return found;
}

/** Every strategy with its docstring, parameters and paper. */
export function methodsView(board, state, lines) {
  const shown = new Set(lines.map((line) => board.document.lines.labels[line]));
  const here = board.document.strategies.filter((one) => shown.has(one.label));
  if (!here.length) return h("p.empty", {}, "No strategy passes these filters.");
  return h(
    "div",
    {},
    h("p.said", {}, plural(here.length, "strategy", "strategies")),
    here.map((one) => h("details.method", { open: here.length === 1 }, h("summary", {}, h("b", {}, one.label), one.summary ? ` ${one.summary}` : ""), strategy(one))),
  );
}

export function notesView(board) {
  return h("ul.notes", {}, board.document.notes.map((note) => h("li", {}, note)));
}
