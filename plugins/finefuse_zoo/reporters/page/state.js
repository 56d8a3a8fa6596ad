// What is shown, as a flat object of texts and lists, and its place in the address.

const LISTS = ["hide", "only", "col"];
const DEFAULTS = {
  view: "table", q: "", data: "", on: "", kind: "", pool: "", across: "", sort: "", down: "", log: "auto",
  hide: [], only: [], col: [], panel: "", x: "", y: "", a: "", b: "", open: "",
};

/** The state that an address says, and nothing else. */
export function read(hash) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const state = {};
  for (const [name, value] of Object.entries(DEFAULTS)) {
    state[name] = LISTS.includes(name) ? said.getAll(name) : (said.get(name) ?? value);
  }
  return state;
}

/** The address of a state: what is as at first is left out. */
export function write(state) {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(DEFAULTS)) {
    if (LISTS.includes(name)) state[name].forEach((one) => said.append(name, one));
    else if (state[name] !== value) said.set(name, state[name]);
  }
  return `#${said}`;
}

/** The same without any filter. */
export function unfiltered(state) {
  return { ...state, q: "", data: "", on: "", kind: "", pool: "", hide: [], only: [] };
}

/** The numbers of the lines that pass the filters, in their order. */
export function shownLines(board, state) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const [hidden, only] = [new Set(state.hide), new Set(state.only)];
  const texts = ["strategy", "pool", "dataset", "backbone", "level", "needs", "status", "reason"];
  const found = [];
  for (let line = 0; line < board.count; line++) {
    if (state.data && board.text("dataset", line) !== state.data) continue;
    if (state.on && board.text("backbone", line) !== state.on) continue;
    if (state.pool && board.text("pool", line) !== state.pool) continue;
    if (state.kind && (state.kind === "fusions") !== board.isFusion(line)) continue;
    if (hidden.has(board.names[line]) || (only.size && !only.has(board.names[line]))) continue;
    const text = words.length ? texts.map((id) => board.text(id, line)).join("\n").toLowerCase() : "";
    if (words.every((word) => text.includes(word))) found.push(line);
  }
  return found;
}

/** The ids of the columns to show: those chosen, or those shown at first. */
export function shownColumns(board, state) {
  const known = state.col.filter((id) => board.byId.has(id));
  return known.length ? board.columns.filter((c) => known.includes(c.id)) : board.columns.filter((c) => c.shown);
}
