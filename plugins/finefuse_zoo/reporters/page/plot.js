// Parts of charts: scales, axes, points that can be reached by mouse and keyboard, heat maps.

import { h, plainTable, s } from "./dom.js";

const COLOURS = 8;
export const LETTER = 7; // pixels of a letter in a name, about

/** A scale from values to pixels; logarithmic where asked, with a little room on both sides. */
export function scale(values, from, to, log) {
  const useful = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  let [low, high] = useful.length ? [Math.min(...useful), Math.max(...useful)] : [log ? 1 : 0, log ? 10 : 1];
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
  const f = log ? Math.log10 : (value) => value;
  const room = 0.04 * (f(high) - f(low));
  const [a, b] = [f(low) - room, f(high) + room];
  const place = (value) => from + ((to - from) * (f(value) - a)) / (b - a);
  place.ticks = log ? logTicks(a, b) : linearTicks(a, b, Math.max(2, Math.round(Math.abs(to - from) / 80)));
  return place;
}

/** Texts of the ticks of a scale, all with as many decimals. */
export function even(ticks) {
  const decimals = Math.max(0, ...ticks.map((tick) => (String(Number(tick.toPrecision(8))).split(".")[1] ?? "").length));
  return (tick) => tick.toFixed(Math.min(decimals, 8));
}

function linearTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((size) => size >= rough);
  const ticks = [];
  for (let at = Math.ceil(low / step); at * step <= high; at++) ticks.push(at * step);
  return ticks;
}

function logTicks(low, high) {
  const fine = high - low < 1.2 ? [1, 2, 3, 5, 7] : high - low < 3 ? [1, 3] : [1];
  const step = Math.max(1, Math.ceil((high - low) / 8));
  const ticks = [];
  for (let power = Math.floor(low); power <= high; power += step) {
    for (const m of fine) ticks.push(m * 10 ** power);
  }
  return ticks.filter((tick) => Math.log10(tick) >= low && Math.log10(tick) <= high);
}

/** The frame of a chart: grid, ticks and titles. `left` is where the plot begins, and so on. */
export function axes(box, x, y, xTitle, yTitle, xText, yText) {
  const parts = [];
  for (const tick of y.ticks) {
    parts.push(s("line.grid", { x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }));
    parts.push(s("text.tick", { x: box.left - 6, y: y(tick) + 4, "text-anchor": "end" }, yText(tick)));
  }
  for (const tick of x.ticks) {
    parts.push(s("line.grid", { x1: x(tick), x2: x(tick), y1: box.top, y2: box.bottom }));
    parts.push(s("text.tick", { x: x(tick), y: box.bottom + 16, "text-anchor": "middle" }, xText(tick)));
  }
  parts.push(s("text.axis", { x: (box.left + box.right) / 2, y: box.bottom + 36, "text-anchor": "middle" }, xTitle));
  parts.push(s("text.axis", { x: box.left, y: box.top - 8 }, yTitle));
  return s("g", { "aria-hidden": "true" }, parts);
}

/** A chart: `draw(width)` gives its SVG; below it the same as a table. */
export function figure(title, draw, head, rows, open = false) {
  const holder = h("div.chart", {});
  const again = () => {
    const width = Math.max(300, Math.min(1400, holder.clientWidth || 900));
    if (holder.firstChild && width === holder.drawnAt) return;
    holder.drawnAt = width;
    holder.replaceChildren(draw(width));
  };
  new ResizeObserver(again).observe(holder);
  again();
  return h("figure", {}, h("figcaption.unseen", {}, title), holder, h("details.data", { open }, h("summary", {}, "The same as a table"), plainTable(title, head, rows)));
}

export function svg(title, width, height, ...children) {
  return s("svg.plot", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title }, ...children);
}

/** The class of the colour of one of several things. */
export function colour(at) {
  return `c${at % COLOURS}`;
}

/** The tooltip of the page, for whatever has the pointer or the focus. */
export function tip(element, text, open) {
  const box = document.getElementById("tip");
  const showTip = () => {
    box.textContent = "";
    box.append(...text().map((line, at) => h(at ? "div" : "b", {}, line)));
    box.hidden = false;
    const [there, own] = [element.getBoundingClientRect(), box.getBoundingClientRect()];
    const left = Math.min(there.right + 8, window.innerWidth - own.width - 8);
    const above = there.top - own.height - 8;
    box.style.left = `${Math.max(8, left) + window.scrollX}px`;
    box.style.top = `${(above > 0 ? above : there.bottom + 8) + window.scrollY}px`;
  };
  const hide = () => (box.hidden = true);
  for (const [name, call] of [["pointerenter", showTip], ["focus", showTip], ["pointerleave", hide], ["blur", hide]]) {
    element.addEventListener(name, call);
  }
  if (!open) return element;
  element.classList.add("opens");
  element.addEventListener("click", open);
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      open();
    }
  });
  return element;
}

/** One stop of the Tab key for many points; arrows, Home and End go from one to the next. */
export function roving(points) {
  points.forEach((point, at) => {
    point.setAttribute("tabindex", at ? "-1" : "0");
    point.setAttribute("role", "button");
    point.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const to = event.key === "Home" ? 0 : event.key === "End" ? points.length - 1 : step && at + step;
      if (to === undefined || !points[to]) return;
      event.preventDefault();
      point.setAttribute("tabindex", "-1");
      points[to].setAttribute("tabindex", "0");
      points[to].focus();
    });
  });
}

/** A heat map: rows and columns with names, `cell(i, j)` gives `{ share, text, told, open }` or null. */
export function heatMap(title, rows, columns, cell, width) {
  const longest = (names) => Math.max(...names.map((name) => name.length), 1);
  const left = Math.min(width * 0.42, 16 + LETTER * longest(rows));
  const top = Math.min(190, 28 + 5.6 * longest(columns));
  const right = 8 + 0.5 * top; // the last names lean over the edge
  const size = Math.max(22, Math.min(64, (width - left - right) / columns.length));
  const high = Math.min(size, 30);
  const wide = Math.max(width, left + size * columns.length + right);
  const points = [];
  const parts = columns.map((name, j) => {
    const [x, y] = [left + size * (j + 0.5) + 4, top - 8];
    return s("text.name", { x, y, transform: `rotate(-60 ${x} ${y})` }, cut(name, 34), s("title", {}, name));
  });
  rows.forEach((name, i) => {
    const y = top + high * i;
    parts.push(s("text.name", { x: left - 6, y: y + high / 2 + 4, "text-anchor": "end" }, cut(name, Math.floor((left - 8) / LETTER)), s("title", {}, name)));
    columns.forEach((_, j) => {
      const found = cell(i, j);
      if (!found) return;
      const place = { x: left + size * j, y, width: size - 2, height: high - 2, rx: 3 };
      const share = Math.max(-1, Math.min(1, found.share));
      const box = s(share < 0 ? "rect.below" : "rect.above", { ...place, "fill-opacity": Math.abs(share).toFixed(3) });
      const text = s("text.value", { x: place.x + place.width / 2, y: y + high / 2 + 3, "text-anchor": "middle" }, size < 34 ? "" : found.text);
      const point = s("g.cell", { "aria-label": found.told.join(", ") }, s("rect.back", place), box, text);
      points.push(tip(point, () => found.told, found.open));
      parts.push(point);
    });
  });
  roving(points);
  return svg(title, wide, top + high * rows.length + 8, parts);
}

export function cut(text, most) {
  return text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text;
}
