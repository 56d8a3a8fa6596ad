// The document of the board, with what is packed in it unpacked when it is needed.

import { short, shorten, toNumber } from "./text.js";

/** The board of a document: lines are numbers from 0, in the order of data set, backbone and rank. */
export class Board {
  constructor(document) {
    this.document = document;
    this.count = document.lines.count;
    this.columns = document.columns;
    this.byId = new Map(document.columns.map((column) => [column.id, column]));
    this.names = Array.from({ length: this.count }, (_, i) => lineName(this.text("strategy", i), this.text("pool", i)));
    shorten(Object.entries(document.names));
    shorten(this.names.map((name, i) => [name, lineName(short(this.text("strategy", i)), this.text("pool", i))]));
    this.tableOf = Array(this.count).fill(null);
    this.placeOf = Array(this.count).fill(-1);
    for (const table of document.tables) {
      table.lines.forEach((line, at) => {
        this.tableOf[line] = table;
        this.placeOf[line] = at;
      });
    }
    this.unpacked = new Map();
  }

  /** A text of a line, "" if it has none. */
  text(id, line) {
    return this.byId.get(id)?.values[line] ?? "";
  }

  /** A number of a line, NaN if it has none. */
  number(id, line) {
    return toNumber(this.byId.get(id)?.values[line]);
  }

  /** Half of the interval of a number, NaN if it has none. */
  half(id, line) {
    return toNumber(this.byId.get(id)?.halves?.[line]);
  }

  isFusion(line) {
    return this.text("pool", line) !== "";
  }

  /** The column of the metric that ranks a line. */
  rankedBy(line) {
    return `test.${this.document.lines.metrics[line]}.mean`;
  }

  /** The scores of a line by seed, NaN where there is none. */
  scores(line) {
    const table = this.tableOf[line];
    return table ? table.scores[this.placeOf[line]].map(toNumber) : [];
  }

  seeds(line) {
    return this.tableOf[line]?.seeds ?? [];
  }

  /** What is known of pairs of a table's lines: functions of two places in it. */
  pairs(table) {
    if (!this.unpacked.has(table)) {
      const single = triangle(table.single, Float32Array, NaN);
      const shared = triangle(table.shared, Float32Array, 0);
      const least = table.least ? triangle(table.least, Float32Array, 0) : (i, j) => single(i, j) || 0;
      const differing = (table.differing ?? []).map((packed) => triangle(packed, Uint32Array, 0));
      this.unpacked.set(table, { single, shared, least, differing });
    }
    return this.unpacked.get(table);
  }

  /** Column names of a kind of number, such as costs, that some line has. */
  group(...groups) {
    return this.columns.filter((column) => groups.includes(column.group) && column.form !== "text" && column.form !== "flag");
  }

  /** The records, as functions of their number. */
  get cells() {
    const { columns, count } = this.document.cells;
    return { count, field: (name, at) => columns[name]?.values[columns[name].at[at]], names: Object.keys(columns) };
  }

  /** The numbers of all records of a line, by seed. */
  cellsOf(line) {
    this.byLine ??= groupedCells(this.cells);
    return this.byLine.get(line) ?? [];
  }
}

export function lineName(strategy, pool) {
  return pool ? `${strategy} of ${pool}` : strategy;
}

function groupedCells(cells) {
  const found = new Map();
  for (let at = 0; at < cells.count; at++) {
    const line = cells.field("line", at);
    if (!found.has(line)) found.set(line, []);
    found.get(line).push(at);
  }
  for (const list of found.values()) list.sort((a, b) => cells.field("seed", a) - cells.field("seed", b));
  return found;
}

/** A symmetric matrix from the packed part below its diagonal; `none` without one, 0 on the diagonal. */
function triangle(packed, type, none) {
  if (!packed) return () => none;
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const values = new type(bytes.buffer);
  return (i, j) => (i === j ? 0 : i > j ? values[(i * (i - 1)) / 2 + j] : values[(j * (j - 1)) / 2 + i]);
}
