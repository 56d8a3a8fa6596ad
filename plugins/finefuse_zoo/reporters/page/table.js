// The table: sections by data set and backbone, ranked anew, sorted by any column.

import { h } from "./dom.js";
import { grouped, ranksOf, resolution } from "./judge.js";
import { shownColumns } from "./state.js";
import { strip, stripScale } from "./strip.js";
import { heading, plural, plusMinus, short, shortHeading, show } from "./text.js";

const OPEN = 25; // sections that are drawn at once; the others when they are opened
const BY_CLOCK = ["seconds", "seconds_with_members"]; // what other work on the machine prolongs

/** The whole view of the shown lines. */
export function tableView(board, state, lines, act) {
  const groups = grouped(board, lines, state.across);
  const columns = shownColumns(board, state);
  const sections = groups.map((group, at) => section(board, state, group, columns, act, at < OPEN));
  const none = h("p.empty", {}, "No line passes these filters.");
  return h("div", {}, picker(board, state, columns, act), sections.length ? sections : none);
}

function section(board, state, group, columns, act, open) {
  const title = h("h2", { title: heading(group) }, shortHeading(group));
  const body = h("div", {});
  const fill = () => {
    const standing = ranksOf(board, group);
    const said = standing.fixed ? "Ranked as a whole, whatever is shown." : resolution(standing);
    body.append(drawn(board, state, group, columns, standing, act), h("p.said", {}, said));
  };
  if (open) {
    fill();
    return h("section.group", {}, title, body);
  }
  const summary = h("summary", {}, title, ` ${plural(group.lines.length, "line")}`);
  return h("details.group", { ontoggle: () => body.firstChild ?? fill() }, summary, body);
}

function drawn(board, state, group, columns, standing, act) {
  const ranking = board.rankedBy(group.lines[0]);
  const own = columns.filter((c) => c.id !== "dataset" && c.id !== "backbone" && useful(c, group.lines));
  if (!group.backbone || columns.some((c) => c.id === "backbone")) own.splice(1, 0, board.byId.get("backbone"));
  const lines = sorted(board, state, group.lines);
  const scale = stripScale(board, group.lines);
  const head = h(
    "tr",
    {},
    h("th.pick", { scope: "col" }, h("span.unseen", {}, "choose")),
    rankHead(state, act),
    own.map((column) => columnHead(state, column, column.id === ranking, act)),
    scale ? h("th.strip", { scope: "col", title: "seeds, mean and interval" }, "seeds, mean, 95 %") : null,
  );
  const rows = lines.map((line) => row(board, state, line, own, standing, scale, act));
  const table = h("table.board", {}, h("caption.unseen", {}, heading(group)), h("thead", {}, head), h("tbody", {}, rows));
  return h("div.scroll", { tabindex: 0, role: "region", "aria-label": `table of ${heading(group)}` }, table);
}

function useful(column, lines) {
  return lines.some((line) => ![null, undefined, "", false].includes(column.values[line]));
}

function row(board, state, line, columns, standing, scale, act) {
  const name = board.names[line];
  const ranking = board.rankedBy(line);
  const pick = h("input", {
    type: "checkbox",
    "aria-label": `choose ${short(name)}`,
    checked: act.chosen.has(name),
    onchange: (event) => act.choose(name, event.target.checked),
  });
  const cells = columns.map((column) => {
    if (column.id === "strategy") return nameCell(board, line, act);
    const value = board.document.lines.ok[line] || column.form === "text" ? show(column.form, column.values[line]) : "";
    const contended = value && BY_CLOCK.includes(column.id) && board.byId.get("contended")?.values[line];
    const half = value ? plusMinus(column.halves?.[line]) : "";
    const kind = column.form === "text" ? "td.text" : column.id === ranking ? "td.ranking" : "td";
    const title = contended ? "taken beside other work" : column.form === "text" ? value : null;
    return h(kind, { "data-id": column.id, title }, contended ? "~" : "", short(value), half && h("small", {}, half));
  });
  const failed = board.document.lines.ok[line] ? "" : ".failed";
  return h(
    `tr${failed}`,
    { "data-line": line, onclick: (event) => event.target.closest("button, input, a") ?? act.open(`line:${line}`) },
    h("td.pick", {}, pick),
    rankCell(standing.ranks.get(line)),
    cells,
    scale ? h("td.strip", {}, strip(board, line, scale)) : null,
  );
}

function rankCell(found) {
  if (!found) return h("td.rank", {});
  const range = found.lowest > found.rank ? h("small", {}, ` ${found.rank}–${found.lowest}`) : "";
  return h("td.rank", {}, h("b", {}, `${found.rank}${found.tied ? "=" : ""}`), range);
}

function nameCell(board, line, act) {
  const open = h("button.link", { type: "button", onclick: () => act.open(`line:${line}`) }, short(board.text("strategy", line)));
  return h("th.text", { scope: "row" }, open);
}

function rankHead(state, act) {
  const note = "1 plus the number of shown lines that are better and told apart; then the ranks it may truly have (95 %)";
  return h(
    "th.rank",
    { scope: "col", "aria-sort": state.sort ? null : "ascending" },
    h("button.head", { type: "button", title: note, onclick: () => act.set({ sort: "", down: "" }) }, "rank"),
  );
}

function columnHead(state, column, ranking, act) {
  const arrow = { higher: " ↑", lower: " ↓" }[column.better] ?? "";
  const down = state.sort === column.id ? state.down !== "" : null;
  const first = column.better === "higher" ? "1" : "";
  const next = down === null ? first : down ? "" : "1";
  const mark = down === null ? "" : h("span.sorted", { "aria-hidden": "true" }, down ? " ▼" : " ▲");
  return h(
    `th${column.form === "text" ? ".text" : ""}${ranking ? ".ranking" : ""}`,
    { scope: "col", "data-id": column.id, "aria-sort": down === null ? null : down ? "descending" : "ascending" },
    h(
      "button.head",
      { type: "button", title: column.about || column.title, onclick: () => act.set({ sort: column.id, down: next }) },
      column.title,
      column.group === "scores" ? arrow : "",
      mark,
    ),
  );
}

/** Lines by a column, those without a value last; as they are without one. */
export function sorted(board, state, lines) {
  const column = board.byId.get(state.sort);
  if (!column) return lines;
  const sign = state.down ? -1 : 1;
  if (column.form === "text") {
    return [...lines].sort((a, b) => sign * board.text(column.id, a).localeCompare(board.text(column.id, b)));
  }
  const value = (line) => board.number(column.id, line);
  return [...lines].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) : x === y ? 0 : sign * (x < y ? -1 : 1);
  });
}

function picker(board, state, columns, act) {
  const shown = new Set(columns.map((column) => column.id));
  const groups = [...new Set(board.columns.map((column) => column.group))];
  const toggle = (id, on) => {
    const chosen = board.columns.filter((c) => (c.id === id ? on : shown.has(c.id))).map((c) => c.id);
    act.set({ col: chosen });
  };
  const boxes = groups.map((group) =>
    h(
      "fieldset",
      {},
      h("legend", {}, group),
      board.columns
        .filter((column) => column.group === group && column.id !== "strategy")
        .map((column) => {
          const box = { type: "checkbox", checked: shown.has(column.id), onchange: (e) => toggle(column.id, e.target.checked) };
          return h("label", { title: column.about }, h("input", { ...box, "data-column": column.id }), short(column.title));
        }),
    ),
  );
  return h("details.columns", { open: act.columnsOpen, ontoggle: (e) => (act.columnsOpen = e.target.open) }, h("summary", {}, "Columns"), h("div", {}, boxes));
}

/** The rows of the shown table, numbers with all their digits, for CSV. */
export function tableRows(board, state, lines) {
  const columns = shownColumns(board, state);
  const names = ["dataset", "backbone"].map((id) => board.byId.get(id)).filter((c) => c && !columns.includes(c));
  const all = [...names, ...columns];
  const unit = { seconds: " (s)", joules: " (J)", bytes: " (bytes)" };
  const titles = all.map((c) => `${c.title}${unit[c.form] ?? ""}`);
  const head = ["rank", "rank.lowest", "tied", ...all.flatMap((c, at) => (c.halves ? [titles[at], `${titles[at]} ±`] : [titles[at]]))];
  const rows = grouped(board, lines, state.across).flatMap((group) => {
    const { ranks } = ranksOf(board, group);
    return sorted(board, state, group.lines).map((line) => {
      const found = ranks.get(line);
      const values = all.flatMap((c) => (c.halves ? [c.values[line], c.halves[line]] : [c.values[line]]));
      return [found?.rank, found?.lowest, found ? String(found.tied) : "", ...values];
    });
  });
  return [head, ...rows];
}
