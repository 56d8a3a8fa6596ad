// The page: reads the document, keeps the state in the address, draws the view.

import { Board } from "./board.js";
import { classesView } from "./classes.js";
import { roundsView, sizesView } from "./curves.js";
import { opened } from "./details.js";
import { choice, h, replace } from "./dom.js";
import { tasksView, winsView } from "./heat.js";
import { hasSource, keptView } from "./kept.js";
import { failures, failuresView, methodsView, notesView } from "./lists.js";
import { pairView } from "./pair.js";
import { paretoView } from "./pareto.js";
import { png, save, svgText } from "./save.js";
import { read, shownLines, unfiltered, write } from "./state.js";
import { tableRows, tableView } from "./table.js";
import { csv, plural, short } from "./text.js";

const VIEWS = {
  table: ["Table", tableView],
  cost: ["Cost", paretoView],
  rounds: ["Rounds", roundsView],
  sizes: ["Sizes", sizesView],
  tasks: ["Tasks", tasksView],
  kept: ["Retention", keptView],
  wins: ["Wins", winsView],
  pair: ["Pair", pairView],
  classes: ["Classes", classesView],
  failures: ["Failures", failuresView],
  methods: ["Methods", methodsView],
  notes: ["Notes", notesView],
};

class Page {
  constructor(board) {
    this.board = board;
    this.state = read(location.hash);
    this.chosen = new Set();
    this.columnsOpen = false;
    const at = (id) => document.getElementById(id);
    [this.nav, this.filters, this.main, this.status, this.dialog] = ["views", "filters", "view", "status", "dialog"].map(at);
    addEventListener("hashchange", () => this.arrive());
    this.dialog.addEventListener("close", () => this.state.open && this.set({ open: "" }));
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    document.getElementById("rests").textContent = board.document.notes[0] ?? "";
    this.drawFilters();
    this.draw();
  }

  /** Changes the state, and with it the address and the page. `quietly` leaves no step in the history. */
  set(change, quietly = false) {
    this.state = { ...this.state, ...change };
    const hash = write(this.state);
    if (hash !== (location.hash || "#")) {
      if (quietly) location.replace(hash);
      else location.hash = hash;
    }
    this.draw();
  }

  open(what) {
    this.set({ open: what });
  }

  choose(name, on) {
    if (on) this.chosen.add(name);
    else this.chosen.delete(name);
    this.drawStatus();
    for (const box of this.main.querySelectorAll("td.pick input")) {
      if (box.getAttribute("aria-label") === `choose ${short(name)}`) box.checked = on;
    }
  }

  /** The address was changed by the reader, or by going back. */
  arrive() {
    if (write(this.state) === (location.hash || "#")) return;
    this.state = read(location.hash);
    this.drawFilters();
    this.draw();
  }

  draw() {
    const view = VIEWS[this.state.view] ? this.state.view : "table";
    const { open, ...rest } = this.state;
    const drawn = JSON.stringify([rest, view]);
    this.lines = shownLines(this.board, this.state);
    if (drawn !== this.drawn) {
      this.drawn = drawn;
      document.getElementById("tip").hidden = true;
      this.drawNav(view);
      const focus = focusPath(this.main);
      const content = VIEWS[view][1](this.board, this.state, this.lines, this);
      replace(this.main, content, this.downloads(view, content.querySelector("svg.plot") !== null));
      refocus(this.main, focus);
      this.drawStatus();
    }
    this.drawDialog(open);
  }

  drawNav(view) {
    const bad = failures(this.board);
    const links = Object.entries(VIEWS).filter(([id]) => id === view || this.has(id)).map(([id, [title]]) =>
      h("a", { href: write({ ...this.state, view: id, open: "" }), "aria-current": id === view ? "page" : null }, title, id === "failures" && bad ? h("span.badge", {}, ` ${bad}`) : ""),
    );
    replace(this.nav, links);
  }

  /** Whether the board has anything to show in a view. */
  has(view) {
    const { lines, tables } = this.board.document;
    if (view === "rounds") return lines.rounds.some((round) => round > 0);
    if (view === "sizes") return this.board.document.sizes.length > 0;
    const { classes } = this.board.document;
    if (view === "classes") return Object.keys(classes.lines).length > 0 || classes.trouble !== "";
    if (view === "kept") return hasSource(this.board);
    if (view === "tasks") return lines.tasks.some((tasks) => tasks.length);
    if (view === "wins" || view === "pair") return tables.some((table) => table.lines.length > 1);
    return view !== "failures" || failures(this.board) > 0;
  }

  drawFilters() {
    const { board, state } = this;
    const values = (id) => [...new Set(Array.from({ length: board.count }, (_, line) => board.text(id, line)))].filter(Boolean);
    const filter = (name, label, id) => {
      const found = values(id);
      return found.length > 1 ? choice(label, state[name], [["", "all"], ...found.map((value) => [value, short(value)])], (value) => this.set({ [name]: value })) : null;
    };
    const search = h("input", {
      type: "search",
      value: state.q,
      placeholder: "names, reasons …",
      "aria-label": "search",
      oninput: (event) => {
        clearTimeout(this.typing);
        this.typing = setTimeout(() => this.set({ q: event.target.value }, true), 120);
      },
    });
    const kinds = [["", "all"], ["schemes", "schemes"], ["fusions", "fusions"]];
    const across = board.document.tables.some((table) => table.across);
    replace(
      this.filters,
      h("label", {}, h("span", {}, "search"), search),
      filter("data", "data set", "dataset"),
      filter("on", "backbone", "backbone"),
      filter("pool", "pool", "pool"),
      values("pool").length ? choice("kind", state.kind, kinds, (kind) => this.set({ kind })) : null,
      across ? choice("ranked", state.across, [["", "per backbone"], ["1", "over all backbones"]], (value) => this.set({ across: value })) : null,
    );
  }

  drawStatus() {
    const { state, board, chosen } = this;
    const filtered = this.lines.length < board.count;
    const names = [...chosen];
    const button = (text, change) =>
      h("button", { type: "button", onclick: () => this.narrow(change) }, text);
    replace(
      this.status,
      h("span", { role: "status" }, `${this.lines.length} of ${plural(board.count, "line")}${filtered ? ", ranked anew among these" : ""}`),
      names.length ? h("span", {}, `${names.length} chosen:`) : null,
      names.length ? button("Hide", { hide: [...new Set([...state.hide, ...names])] }) : null,
      names.length ? button("Only these", { only: names }) : null,
      names.length === 2 ? button("Compare", { view: "pair", a: names[0], b: names[1] }) : null,
      filtered ? button("Show all", unfiltered(state)) : null,
    );
  }

  /** Filters by what was chosen, which is then no longer so. */
  narrow(change) {
    this.chosen.clear();
    this.set(change);
    this.drawFilters();
  }

  downloads(view, chart) {
    const name = `${this.board.document.suite.replace(/[^\w.-]+/g, "-")}-${view}`;
    const button = (text, act) => h("button", { type: "button", onclick: act }, text);
    const drawn = () => [...this.main.querySelectorAll("svg.plot")];
    const part = (at, all) => (all.length > 1 ? `${name}-${at + 1}` : name);
    const shownTables = () => [...this.main.querySelectorAll("table.plain")].flatMap((table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent)));
    const rows = () => (view === "table" ? tableRows(this.board, this.state, this.lines) : shownTables());
    if (view === "notes" || view === "methods") return null;
    return h(
      "p.downloads",
      {},
      "What is shown, as ",
      button("CSV", () => save(`${name}.csv`, csv(rows()), "text/csv")),
      chart ? button("SVG", () => drawn().forEach((svg, at, all) => save(`${part(at, all)}.svg`, svgText(svg), "image/svg+xml"))) : null,
      chart ? button("PNG", () => drawn().forEach(async (svg, at, all) => save(`${part(at, all)}.png`, await png(svg)))) : null,
    );
  }

  drawDialog(open) {
    const found = open && opened(this.board, open, this);
    if (!found) {
      if (this.dialog.open) this.dialog.close();
      return;
    }
    const close = h("button.close", { type: "button", "aria-label": "close", onclick: () => this.dialog.close() }, "×");
    replace(this.dialog, h("header", {}, h("h2", { id: "opened" }, found.title), close), found.content);
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }
}

/** What has the focus, so that it can have it again after drawing anew. */
function focusPath(main) {
  const active = document.activeElement;
  if (!main.contains(active)) return null;
  const same = [...main.querySelectorAll(active.tagName)].filter((one) => keyOf(one) === keyOf(active));
  return { tag: active.tagName, key: keyOf(active), at: same.indexOf(active) };
}

function keyOf(element) {
  return element.dataset.column || element.getAttribute("aria-label") || element.textContent;
}

function refocus(main, path) {
  if (!path) return;
  const same = [...main.querySelectorAll(path.tag)].filter((one) => keyOf(one).replace(/ [▲▼]$/, "") === path.key.replace(/ [▲▼]$/, ""));
  same[path.at]?.focus();
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

async function start() {
  const status = document.getElementById("status");
  if (typeof DecompressionStream === "undefined") {
    status.textContent = "This page needs a browser of 2023 or later: Chrome 80, Firefox 113, Safari 16.4.";
    return;
  }
  new Page(new Board(await unpacked(document.getElementById("document").textContent)));
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

start();
