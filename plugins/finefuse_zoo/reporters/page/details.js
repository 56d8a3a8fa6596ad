// What opens on a click: a line with its seeds, a record with all its fields, a strategy with its paper.

import { h, plainTable } from "./dom.js";
import { heading, plusMinus, quoted, short, shortHeading, show } from "./text.js";

/** What a state's `open` asks for, as a title and content; null if there is no such thing. */
export function opened(board, open, act) {
  const [kind, ...rest] = open.split(":");
  const key = rest.join(":");
  if (kind === "line" && Number(key) >= 0 && Number(key) < board.count) return line(board, Number(key), act);
  if (kind === "cell") {
    const { count, field } = board.cells;
    for (let at = 0; at < count; at++) if (cellKey(board, at) === key) return record(board, at, act, field);
  }
  return null;
}

/** What names a record in an address: its key, or its cell where it was never run. */
export function cellKey(board, at) {
  return board.cells.field("key", at) || board.cells.field("cell", at);
}

export function cellButton(board, at, act, text) {
  return h("button.link", { type: "button", onclick: () => act.open(`cell:${cellKey(board, at)}`) }, text);
}

function line(board, at, act) {
  const { field } = board.cells;
  const cells = board.cellsOf(at);
  const ranking = board.document.lines.metrics[at];
  const facts = board.columns
    .filter((c) => !["strategy", "pool", "dataset", "backbone"].includes(c.id))
    .map((c) => [short(c.title), `${show(c.form, c.values[at])}${show(c.form, c.values[at]) && plusMinus(c.halves?.[at])}`])
    .filter(([, value]) => value !== "");
  const rows = cells.map((cell) => [
    cellButton(board, cell, act, `seed ${field("seed", cell)}${field("kind", cell) === "time" ? ", latency" : ""}`),
    field("status", cell),
    show("score", field(`test.${ranking}`, cell)),
    show("seconds", field("seconds", cell)),
    field("reason", cell) ?? "",
  ]);
  const group = { dataset: board.text("dataset", at), backbone: board.text("backbone", at) };
  const known = strategyOf(board, at);
  const names = { strategy: board.text("strategy", at), "data set": group.dataset, backbone: group.backbone };
  const full = Object.entries(names).filter(([, name]) => short(name) !== name);
  const content = h(
    "div",
    {},
    h("p", { title: heading(group) }, shortHeading(group)),
    rows.length ? plainTable("runs", ["record", "status", ranking, "seconds", "reason"], rows, 2) : null,
    board.document.cells.left_out ? h("p.said", {}, `${board.document.cells.left_out} records of the board have no room in this page; all are in records.jsonl.`) : null,
    board.document.classes.lines[at] ? h("p", {}, h("button.link", { type: "button", onclick: () => act.set({ view: "classes", panel: heading(group), a: board.names[at], open: "" }) }, "confusions and scores by class")) : null,
    h("dl.facts", {}, [...full, ...facts].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    known ? strategy(known) : null,
  );
  return { title: short(board.names[at]), content };
}

function strategyOf(board, at) {
  const kind = board.isFusion(at) ? "fusion" : "scheme";
  const label = board.document.lines.labels[at];
  return board.document.strategies.find((one) => one.kind === kind && one.label === label);
}

function record(board, at, act, field) {
  const { names } = board.cells;
  const rows = names.filter((name) => name !== "line").map((name) => [name, told(field(name, at))]).filter(([, value]) => value !== undefined);
  const owner = field("line", at);
  const back = owner >= 0 ? h("button.link", { type: "button", onclick: () => act.open(`line:${owner}`) }, `the line: ${short(board.names[owner])}`) : null;
  const label = field("label", at);
  const command = `finefuse run ${quoted(board.document.suite)}${label ? ` --only ${quoted(label)}` : ""}`;
  const content = h(
    "div",
    {},
    back,
    h("p", {}, "All of it, with predictions by class and what it is made of, from the folder of this page; and a run of it:"),
    h("pre.command", {}, `finefuse show . ${quoted(field("cell", at))}\n${command}`),
    plainTable("all fields", ["field", "value"], rows, 2),
    h("p.said", {}, "In records.jsonl only: the results by example (correct, losses), and parts, what went into its key."),
  );
  return { title: field("cell", at), content };
}

function told(value) {
  return value === undefined || typeof value === "string" ? value : JSON.stringify(value);
}

/** A docstring with its paragraphs; what is indented or listed keeps its lines. */
function paragraphs(text) {
  return text.split(/\n{2,}/).map((part) => {
    const kept = /^(\s|[-*|>])/m.test(part);
    return kept ? h("pre.docstring", {}, part) : h("p.docstring", {}, part.replaceAll("\n", " "));
  });
}

/** All that is known of a strategy. */
export function strategy(known) {
  const params = Object.entries(known.params).map(([name, value]) => [name, told(value)]);
  const given = params.length ? plainTable("parameters in this suite", ["parameter", "in this suite"], params, 2) : h("p", {}, "All parameters have their defaults.");
  if (known.trouble) return h("div.strategy", {}, h("p.said", {}, `Nothing more is known: ${known.trouble}`), given);
  const parameters = known.parameters.map((one) => [one.name, one.type, one.default, one.bounds]);
  return h(
    "div.strategy",
    {},
    h("p", {}, h("b", {}, `${known.kind} ${known.use}`), `: ${known.summary} (${known.provider})`),
    known.papers.map((paper) => h("p", {}, h("a", { href: paper, rel: "noreferrer" }, paper))),
    paragraphs(known.text),
    given,
    parameters.length ? plainTable("parameters", ["parameter", "type", "default", "bounds"], parameters, 4) : null,
  );
}

