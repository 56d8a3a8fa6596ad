// Elements, made of texts only: nothing that comes from a record is ever read as HTML.

import { visible } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: `h("button.small", { onclick }, "text", child)`. */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return filled(document.createElement(name), classes, attributes, children);
}

/** An SVG element, in the same way. */
export function s(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return filled(document.createElementNS(SVG, name), classes, attributes, children);
}

function filled(element, classes, attributes, children) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : name === "href" ? value : visible(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === "" || child === false) continue;
    element.append(child instanceof Node ? child : visible(child));
  }
}

/** In place of all that is in an element. */
export function replace(element, ...children) {
  element.textContent = "";
  append(element, children);
}

/** A labelled choice; options are texts or pairs of value and text. */
export function choice(label, value, options, onchange) {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  const select = h("select", { onchange: (event) => onchange(event.target.value), "aria-label": label });
  for (const [one, text] of pairs) select.append(h("option", { value: one, selected: one === value }, text));
  return h("label", {}, h("span", {}, label), select);
}

/** A plain table from texts, the first row being its head; texts may be elements. */
export function plainTable(caption, head, rows, left = 1) {
  const cell = (tag, at, value) => h(at < left ? `${tag}.text` : tag, tag === "th" ? { scope: "col" } : {}, value);
  return h(
    "div.scroll",
    { tabindex: 0, role: "region", "aria-label": caption },
    h(
      "table.plain",
      {},
      h("caption.unseen", {}, caption),
      h("thead", {}, h("tr", {}, head.map((value, at) => cell("th", at, value)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value, at) => cell("td", at, value))))),
    ),
  );
}
