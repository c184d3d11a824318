// Elements, and the few controls that the panels share. Text is always inserted as text.

/** An element: h("p", {class: "x", text: "hello"}, child, ...). */
export function h(tag, attributes = {}, ...children) {
  const el = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") el.textContent = value;
    else if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else el.setAttribute(key, value === true ? "" : value);
  }
  el.append(...children);
  return el;
}

let names = 0;

/** A label above a control. */
export function field(text, control, more = {}) {
  control.id ||= `control-${++names}`;
  return h("div", { class: "field", ...more }, h("label", { for: control.id, text }), control);
}

/** A slider with its value beside its label; show(value) says it in words. */
export function slider(text, attributes, show, change) {
  const input = h("input", { type: "range", ...attributes });
  const value = h("output");
  const tell = () => {
    value.textContent = show(Number(input.value));
    input.setAttribute("aria-valuetext", value.textContent);
  };
  input.addEventListener("input", () => { tell(); change(Number(input.value)); });
  const el = field(text, input);
  el.firstChild.append(" ", value);
  tell();
  return { el, input, set(number) { input.value = number; tell(); },
    get value() { return Number(input.value); } };
}

export function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", text, onclick, ...attributes });
}

/** A picture with its name and what to know about it. */
export function figure(name, words = "", attributes = {}) {
  const canvas = h("canvas", { role: "img", "aria-label": `${name}: nothing yet`, width: 64,
    height: 64, class: "empty" });
  const title = h("b", { text: name }), text = h("span", { text: words, dir: "auto" });
  return { el: h("figure", attributes, canvas, h("figcaption", {}, title, " ", text)), canvas, text,
    title };
}
