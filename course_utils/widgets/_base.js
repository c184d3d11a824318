// Draws a view: its tree of boxes and parts, with the browser's own controls.
//
// KINDS maps a kind of part to a function (part, view) => {el, update}.
//   part: name, get() -> its state (a plain object), set(value, final) -> tells Python.
//   view: {model, el, uid, part(name), listen(target, event, handler), onClose(f)}
//   el is put on the page; update(state, before) is called whenever Python changes the state, and
//   once at the start (before = {}). A control that is in the hand of the learner is not moved.
// Elements marked with data-kernel are switched off when the kernel is gone.

const KINDS = {};
let VIEWS = 0;
const GONE = "The kernel was restarted: run this cell again.";
const SLOW = "The kernel has not answered for 6 seconds. It may be busy with another cell; " +
  "if it was restarted, run this cell again.";

/** An element: h("p", {class: "x", text: "hello"}, child, ...). */
function h(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "rect", "circle", "text", "title"].includes(tag);
  const el = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") el.textContent = value;
    else el.setAttribute(key, value === true ? "" : value);
  }
  el.append(...children);
  return el;
}

/** Show bytes (DataView or similar) in an <img>; the old address is given back. */
function setPng(img, png) {
  const old = img.dataset.url;
  if (png) {
    img.dataset.url = URL.createObjectURL(new Blob([png], { type: "image/png" }));
    img.src = img.dataset.url;
  } else {
    img.removeAttribute("src");
    delete img.dataset.url;
  }
  if (old) URL.revokeObjectURL(old);
}

function dropPng(el) {
  for (const img of el.querySelectorAll("img[data-url]")) URL.revokeObjectURL(img.dataset.url);
}

/** A number as a person writes it: 3 digits that count, powers of ten where they help. */
function plain(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(0).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}

const clean = (text) => (text.toWellFormed ? text.toWellFormed() : text);

// --- controls ------------------------------------------------------------------------------------

/** A label above a control. */
function labelled(part, view, control, ...more) {
  control.id = `${view.uid}-${part.name}`;
  control.dataset.kernel = "";
  const label = h("label", { for: control.id, class: "sn-label" });
  const el = h("div", { class: "sn-field" }, label, control, ...more);
  return [el, label];
}

KINDS.slider = (part, view) => {
  const input = h("input", { type: "range" });
  const shown = h("output", { class: "sn-value" });
  const [el, label] = labelled(part, view, input);
  el.classList.add("sn-slider");
  el.replaceChildren(h("div", { class: "sn-line" }, label, shown), input);
  shown.htmlFor = input.id;
  const show = () => {
    const { text, unit } = part.get();
    const own = text && Number(input.value) === part.get().value;
    shown.value = own ? text : `${input.value}${unit ? ` ${unit}` : ""}`;
    input.setAttribute("aria-valuetext", shown.value);
  };
  input.addEventListener("input", () => { show(); part.set(Number(input.value), false); });
  input.addEventListener("change", () => part.set(Number(input.value), true));
  return {
    el,
    update(state) {
      label.textContent = state.label;
      Object.assign(input, { min: state.low, max: state.high, step: state.step });
      if (!part.held()) input.value = state.value;
      show();
    },
  };
};

/** Call `send(final)` while one types, and once with true at Enter or when the field is left. */
function onTyping(input, send) {
  let typed = false;
  const settle = () => { if (typed) { typed = false; send(true); } };
  input.addEventListener("input", () => { typed = true; send(false); });
  input.addEventListener("change", settle);
  input.addEventListener("keydown", (event) => { // in JupyterLab Enter brings no change event
    if (event.key === "Enter" && !event.isComposing && input.tagName === "INPUT") settle();
  });
}

KINDS.number = (part, view) => {
  const input = h("input", { type: "number", class: "sn-number" });
  const [el, label] = labelled(part, view, input);
  onTyping(input, (final) => {
    if (final && input.value === "") input.value = part.get().value;
    if (input.value !== "") part.set(Number(input.value), final);
  });
  return {
    el,
    update(state) {
      label.textContent = state.label;
      Object.assign(input, { min: state.low, max: state.high, step: state.step });
      if (!part.held() && document.activeElement !== input) input.value = state.value;
    },
  };
};

KINDS.text = (part, view) => {
  const many = part.get().lines > 1;
  const input = many ? h("textarea", { rows: part.get().lines }) : h("input", { type: "text" });
  Object.assign(input, { dir: "auto", spellcheck: false, autocomplete: "off" });
  const [el, label] = labelled(part, view, input);
  el.classList.add("sn-wide");
  onTyping(input, (final) => part.set(clean(input.value), final));
  return {
    el,
    update(state) {
      label.textContent = state.label;
      input.placeholder = state.placeholder;
      const typing = input.getRootNode().activeElement === input;
      if (!part.held() && !typing) input.value = state.value;
    },
  };
};

KINDS.select = (part, view) => {
  const input = h("select");
  const [el, label] = labelled(part, view, input);
  input.addEventListener("change", () => part.set(input.value, true));
  return {
    el,
    update(state, before) {
      label.textContent = state.label;
      if (JSON.stringify(state.options) !== JSON.stringify(before.options)) {
        input.replaceChildren(
          ...state.options.map(([value, text]) => h("option", { value, text })),
        );
      }
      if (!part.held()) input.value = state.value;
    },
  };
};

KINDS.check = (part, view) => {
  const input = h("input", { type: "checkbox" });
  const [el, label] = labelled(part, view, input);
  el.classList.add("sn-check");
  el.replaceChildren(input, label);
  input.addEventListener("change", () => part.set(input.checked, true));
  return {
    el,
    update(state) {
      label.textContent = state.label;
      if (!part.held()) input.checked = state.value;
    },
  };
};

KINDS.button = (part) => {
  const el = h("button", { type: "button", class: "sn-button", "data-kernel": "" });
  el.addEventListener("click", () => part.set(part.get().value + 1, true));
  return {
    el,
    update(state) {
      el.textContent = state.label;
      el.classList.toggle("sn-primary", Boolean(state.primary));
    },
  };
};

KINDS.play = (part, view) => {
  const el = h("button", { type: "button", class: "sn-button sn-play", "data-kernel": "" });
  let timer = null;
  const slider = () => view.el.querySelector(`[data-part="${part.get().target}"] input`);
  const show = () => {
    el.textContent = timer ? "❚❚ Pause" : `▶ ${part.get().label}`;
    el.setAttribute("aria-pressed", String(Boolean(timer)));
  };
  const stop = () => { clearInterval(timer); timer = null; show(); };
  const move = (input, value, type) => {
    input.value = value;
    input.dispatchEvent(new Event(type, { bubbles: true }));
  };
  const tick = () => {
    const { target, step } = part.get(), input = slider();
    if (!el.isConnected || view.gone) return stop();
    if (view.part(target).held()) return undefined;
    const next = Number(input.value) + step;
    const end = step > 0 ? next >= Number(input.max) : next <= Number(input.min);
    move(input, next, end ? "change" : "input");
    return end ? stop() : undefined;
  };
  el.addEventListener("click", () => {
    if (timer) return stop();
    const { step, interval } = part.get(), input = slider();
    const [from, to] = step > 0 ? [input.min, input.max] : [input.max, input.min];
    if (Number(input.value) === Number(to)) move(input, from, "input");
    timer = setInterval(tick, interval);
    return show();
  });
  view.onClose(() => clearInterval(timer));
  return { el, update: show };
};

KINDS.download = (part) => {
  const el = h("a", { class: "sn-download" });
  let url = null;
  return {
    el,
    update(state, before) {
      el.hidden = !state.data;
      if (!state.data || state.count === before.count) return;
      if (url) URL.revokeObjectURL(url);
      url = URL.createObjectURL(new Blob([state.data], { type: state.mime }));
      Object.assign(el, { href: url, download: state.file });
      el.textContent = `${state.label}: ${state.file}`;
      if (before.count !== undefined) el.click();
    },
    close() { if (url) URL.revokeObjectURL(url); },
  };
};

const PIECE = 2 ** 21; // bytes of a message: servers refuse large ones
const MOST = 64 * 2 ** 20;

KINDS.upload = (part, view) => {
  const input = h("input", { type: "file", accept: part.get().accept });
  const [el, label] = labelled(part, view, input);
  el.classList.add("sn-upload");
  input.addEventListener("change", async () => {
    const file = input.files[0];
    if (!file) return;
    if (file.size > MOST) {
      view.tell(`The file has ${Math.ceil(file.size / 2 ** 20)} MiB; at most 64 are read.`,
        "warning");
      return;
    }
    const count = Math.max(1, Math.ceil(file.size / PIECE));
    for (let index = 0; index < count; index++) {
      const data = await file.slice(index * PIECE, (index + 1) * PIECE).arrayBuffer();
      const head = { type: "upload", name: part.name, file: file.name, index, count };
      view.post(head, [data]);
    }
    input.value = ""; // so that the same file can be chosen again
  });
  return { el, update(state) { label.textContent = state.label; } };
};

// --- what is shown -------------------------------------------------------------------------------

KINDS.picture = () => {
  const img = h("img", { class: "sn-pixels" });
  const name = h("span", { class: "sn-name" });
  const caption = h("span", { class: "sn-caption", dir: "auto" });
  const el = h("figure", { class: "sn-picture" }, img, h("figcaption", {}, name, caption));
  return {
    el,
    update(state, before) {
      name.textContent = state.label;
      caption.textContent = state.caption ?? "";
      el.style.setProperty("--size", `${state.size}px`);
      img.alt = state.png ? state.alt : "";
      el.classList.toggle("sn-empty", !state.png);
      if (state.png !== before.png) setPng(img, state.png);
    },
    close() { dropPng(el); },
  };
};

KINDS.pictures = (part, view) => {
  const list = h("div", { class: "sn-pictures" });
  const name = h("div", { class: "sn-name", id: `${view.uid}-${part.name}` });
  const el = h("div", { role: "group", "aria-labelledby": name.id }, name, list);
  const item = (index) => {
    const choose = part.get().choose;
    const img = h("img", { class: "sn-pixels" });
    const caption = h("span", { class: "sn-caption", dir: "auto" });
    const outer = choose
      ? h("button", { type: "button", class: "sn-picture sn-choice", "data-kernel": "" })
      : h("figure", { class: "sn-picture" });
    outer.append(img, choose ? caption : h("figcaption", {}, caption));
    if (choose) outer.addEventListener("click", () => part.set(index, true));
    return outer;
  };
  return {
    el,
    update(state) {
      name.textContent = state.label;
      el.style.setProperty("--size", `${state.size}px`);
      while (list.children.length > state.items.length) {
        dropPng(list.lastChild);
        list.lastChild.remove();
      }
      while (list.children.length < state.items.length) list.append(item(list.children.length));
      state.items.forEach((one, index) => {
        const outer = list.children[index];
        const img = outer.querySelector("img");
        if (img.sn !== one.png) setPng(img, one.png);
        img.sn = one.png;
        img.alt = one.alt ?? "";
        outer.querySelector(".sn-caption").textContent = one.caption ?? "";
        if (state.choose) outer.setAttribute("aria-pressed", String(index === state.value));
      });
    },
    close() { dropPng(el); },
  };
};

KINDS.note = (part, view) => {
  const name = h("span", { class: "sn-name", id: `${view.uid}-${part.name}` });
  const text = h("span", { class: "sn-text", dir: "auto", "aria-labelledby": name.id });
  text.setAttribute("aria-live", part.get().quiet ? "off" : "polite");
  return {
    el: h("div", { class: "sn-note" }, name, text),
    update(state) {
      name.textContent = state.label;
      if (text.textContent !== state.text) text.textContent = state.text;
    },
  };
};

KINDS.html = (part, view) => {
  const el = h("div", { class: "sn-html", role: "group" });
  el.addEventListener("click", (event) => {
    const target = event.target.closest("[data-send]");
    if (target) view.part(target.dataset.send).set(target.dataset.value ?? "", true);
  });
  return {
    el,
    update(state, before) {
      el.setAttribute("aria-label", state.label);
      if (state.html === before.html) return;
      const at = [...el.querySelectorAll("[data-send]")].indexOf(document.activeElement);
      el.innerHTML = state.html;
      if (at >= 0) el.querySelectorAll("[data-send]")[at]?.focus(); // it stays where it was
    },
  };
};

// --- charts --------------------------------------------------------------------------------------

/** Places of ticks: round numbers, or powers of ten. */
function ticks(low, high, log, most) {
  if (log) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    const stride = Math.max(1, Math.ceil((last - first) / most));
    const found = [];
    for (let power = first; power <= last; power += stride) found.push(10 ** power);
    return found;
  }
  const rough = (high - low) / most, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * unit).find((size) => size >= rough);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) {
    found.push(Number((k * step).toPrecision(12)));
  }
  return found;
}

const POWER = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

function tickText(value, log) {
  if (!log || (value >= 0.01 && value <= 1000)) return plain(value).replace("-", "−");
  return `10${String(Math.round(Math.log10(value))).replace(/./g, (sign) => POWER[sign])}`;
}

KINDS.chart = (part) => {
  const el = h("figure", { class: "sn-chart" });
  const at = { left: 52, right: 14, top: 30, bottom: 44 };
  let toX = (x) => x, svg = null, marks = null;
  function place(value, low, high, log, from, to) {
    const f = (x) => (log ? Math.log10(Math.max(x, 1e-30)) : x);
    const share = (f(value) - f(low)) / (f(high) - f(low));
    return from + Math.min(1.02, Math.max(-0.02, share)) * (to - from);
  }
  function drawMarks(s, px, py, w, hgt) {
    const nodes = [];
    for (const mark of s.marks) {
      const x = px(mark.x);
      const end = x > w * 0.6;
      if (mark.y === undefined || mark.y === null) {
        nodes.push(h("line", { class: "sn-rule", x1: x, x2: x, y1: at.top, y2: hgt - at.bottom }));
      } else {
        nodes.push(h("circle", { class: "sn-dot", cx: x, cy: py(mark.y), r: 5.5 }));
      }
      if (!mark.label) continue;
      const y = mark.y === undefined || mark.y === null ? at.top + 12 : py(mark.y) - 10;
      nodes.push(h("text", {
        class: "sn-mark", x: x + (end ? -8 : 8), y: Math.max(at.top + 10, y),
        "text-anchor": end ? "end" : "start", text: mark.label,
      }));
    }
    marks.replaceChildren(...nodes);
  }
  function draw(s) {
    const w = s.width, hgt = s.height;
    const px = (x) => place(x, s.x_low, s.x_high, s.x_log, at.left, w - at.right);
    const py = (y) => place(y, s.y_low, s.y_high, s.y_log, hgt - at.bottom, at.top);
    svg = h("svg", { viewBox: `0 0 ${w} ${hgt}`, role: "img", "aria-label": s.alt || s.label });
    for (const y of ticks(s.y_low, s.y_high, s.y_log, 5)) {
      svg.append(
        h("line", { class: "sn-grid", x1: at.left, x2: w - at.right, y1: py(y), y2: py(y) }),
        h("text", { x: at.left - 6, y: py(y) + 4, "text-anchor": "end", text: tickText(y, s.y_log) }),
      );
    }
    for (const x of ticks(s.x_low, s.x_high, s.x_log, 6)) {
      svg.append(
        h("line", { class: "sn-grid", x1: px(x), x2: px(x), y1: hgt - at.bottom, y2: hgt - at.bottom + 4 }),
        h("text", { x: px(x), y: hgt - at.bottom + 17, "text-anchor": "middle", text: tickText(x, s.x_log) }),
      );
    }
    svg.append(
      h("line", { class: "sn-axis", x1: at.left, x2: w - at.right, y1: hgt - at.bottom, y2: hgt - at.bottom }),
      h("text", { class: "sn-axis-label", x: (at.left + w - at.right) / 2, y: hgt - 6, "text-anchor": "middle", text: s.x_label }),
      h("text", { class: "sn-axis-label", x: 4, y: 16, text: s.y_label }),
    );
    let legend = w - at.right;
    s.lines.forEach((line, index) => {
      const points = line.x.map((x, i) => [px(x), line.y[i]]).filter(([, y]) => Number.isFinite(y));
      const path = points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${py(y).toFixed(1)}`);
      const style = `sn-curve sn-curve-${line.style ?? index}`;
      svg.append(h("path", { class: style, d: path.join("") }));
      if (line.dots) {
        for (const [x, y] of points) svg.append(h("circle", { class: `sn-point ${style}`, cx: x, cy: py(y), r: 2.5 }));
      }
    });
    for (let index = s.lines.length - 1; index >= 0 && s.lines.length > 1; index--) {
      const line = s.lines[index];
      if (!line.label) continue;
      svg.append(h("text", { x: legend, y: 16, "text-anchor": "end", text: line.label }));
      legend -= line.label.length * 6.4 + 6;
      svg.append(h("line", { class: `sn-curve sn-curve-${line.style ?? index}`, x1: legend - 24, x2: legend, y1: 12, y2: 12 }));
      legend -= 38;
    }
    marks = h("g");
    svg.append(marks);
    toX = (pixel) => {
      const share = Math.min(1, Math.max(0, (pixel - at.left) / (w - at.left - at.right)));
      if (!s.x_log) return s.x_low + share * (s.x_high - s.x_low);
      return s.x_low * (s.x_high / s.x_low) ** share;
    };
    svg.classList.toggle("sn-clickable", Boolean(s.click));
    svg.addEventListener("click", (event) => {
      if (!part.get().click) return;
      const box = svg.getBoundingClientRect();
      part.set(toX(((event.clientX - box.left) / box.width) * w), true);
    });
    el.style.maxWidth = `${w}px`;
    el.replaceChildren(h("figcaption", { class: "sn-name", text: s.label }), svg);
    return [px, py];
  }
  let scale = null;
  return {
    el,
    update(state, before) {
      const rest = ({ marks: _, alt: __, value: ___, ...others }) => JSON.stringify(others);
      if (!svg || rest(state) !== rest(before)) scale = draw(state);
      svg.setAttribute("aria-label", state.alt || state.label);
      drawMarks(state, scale[0], scale[1], state.width, state.height);
    },
  };
};

// PARTS OF THE VIEW

// --- the view ------------------------------------------------------------------------------------

function render({ model, el }) {
  const uid = `sn${Date.now().toString(36)}${VIEWS++}`;
  const parts = new Map();
  const closing = [];
  const waiting = new Map(); // moved controls that Python has not been told of
  const sent = new Set(); // those that it has been told of, and has not answered
  const posts = []; // further messages, in order
  let busy = false, gone = false, timer = 0, local = null;

  const heading = h("div", { class: "sn-title", id: `${uid}-title`, role: "heading", "aria-level": 3 });
  const body = h("div", { class: "sn-body" });
  const meter = h("progress", { max: 1, "aria-label": "how far it is" });
  const doing = h("span", { class: "sn-doing" });
  const stop = h("button", { type: "button", class: "sn-button", text: "Stop", "data-kernel": "" });
  const running = h("div", { class: "sn-progress" }, meter, doing, stop);
  const polite = h("div", { class: "sn-message", role: "status" });
  const urgent = h("div", { class: "sn-message", role: "alert" });
  const root = h("section", { class: "sn-view", "aria-labelledby": heading.id },
    heading, body, h("div", { class: "sn-foot" }, running, polite, urgent));

  // What goes to Python: one message at a time; what moves meanwhile is sent with its last value.
  function transmit(content, buffers) {
    busy = true;
    clearTimeout(timer);
    timer = setTimeout(() => { if (busy && !gone) { local = [SLOW, "note"]; showStatus(); } }, 6000);
    try {
      model.send({ ...content, view: uid }, undefined, buffers);
    } catch (error) {
      lost();
    }
  }
  function flush() {
    if (busy || gone) return;
    if (posts.length) {
      transmit(...posts.shift());
    } else if (waiting.size) {
      const items = [...waiting].map(([name, item]) => ({ name, ...item }));
      for (const name of waiting.keys()) sent.add(name);
      waiting.clear();
      transmit({ type: "set", items });
    }
  }
  function answered(message) {
    if (message.type !== "ack" || message.view !== uid) return;
    busy = false;
    clearTimeout(timer);
    if (local) { local = null; showStatus(); }
    const names = [...sent];
    sent.clear();
    for (const name of names) refresh(name); // Python may have corrected the value
    flush();
  }
  function lost() {
    gone = true;
    local = [GONE, "error"];
    root.classList.add("sn-gone");
    for (const control of root.querySelectorAll("[data-kernel]")) control.disabled = true;
    showStatus();
    showProgress();
  }

  const view = {
    model, el: root, uid,
    part: (name) => {
      if (!parts.has(name)) throw new Error(`there is no part ${name}`);
      return parts.get(name).part;
    },
    post: (content, buffers) => { posts.push([content, buffers]); flush(); },
    tell: (text, kind = "note") => { local = [text, kind]; showStatus(); },
    listen: (target, event, handler) => {
      target.addEventListener(event, handler);
      closing.push(() => target.removeEventListener(event, handler));
    },
    onClose: (f) => closing.push(f),
    get gone() { return gone; },
  };

  function makePart(name) {
    const key = `p_${name}`, blob = `b_${name}_`; // bytes are apart, see View.__init__
    const part = {
      name,
      get: () => {
        const state = { ...model.get(key) };
        for (const name of state.heavy) state[name] = model.get(`${blob}${name}`);
        return state;
      },
      set: (value, final = true) => {
        const before = waiting.get(name);
        waiting.delete(name); // to the end: the order is that of the last moves
        waiting.set(name, { value, final: final || Boolean(before?.final) });
        flush();
      },
      held: () => waiting.has(name) || sent.has(name),
    };
    const entry = { part, before: {} };
    parts.set(name, entry);
    const kind = KINDS[part.get().kind];
    if (!kind) throw new Error(`no kind of part is called ${part.get().kind}`);
    Object.assign(entry, kind(part, view));
    entry.el.dataset.part = name;
    entry.on = () => refresh(name);
    const events = [key, ...part.get().heavy.map((one) => blob + one)].map((one) => `change:${one}`);
    for (const event of events) model.on(event, entry.on);
    closing.push(() => {
      for (const event of events) model.off(event, entry.on);
      entry.close?.();
    });
    refresh(name);
    return entry.el;
  }
  function refresh(name) {
    const entry = parts.get(name);
    const state = entry.part.get();
    entry.el.hidden = Boolean(state.hidden);
    for (const control of [entry.el, ...entry.el.querySelectorAll("[data-kernel]")]) {
      if ("disabled" in control) control.disabled = gone || Boolean(state.disabled);
    }
    entry.update(state, entry.before);
    entry.before = { ...state };
  }
  function makeNode(node) {
    if (node.part) return makePart(node.part);
    const items = node.items.map(makeNode);
    if (node.box !== "fold") return h("div", { class: `sn-${node.box}` }, ...items);
    return h("details", { class: "sn-fold" }, h("summary", { text: node.title }),
      h("div", { class: "sn-column" }, ...items));
  }

  function showStatus() {
    const { text = "", kind = "note", details } = model.get("status");
    const [words, sort] = local ?? [text, kind];
    const [here, other] = sort === "note" ? [polite, urgent] : [urgent, polite];
    other.replaceChildren();
    root.dataset.status = words ? sort : "";
    const sign = { note: "", warning: "Note: ", error: "" }[sort];
    if (here.dataset.words !== words || !here.childNodes.length) {
      here.replaceChildren(...(words ? [h("span", { class: `sn-${sort}`, dir: "auto", text: sign + words })] : []));
      if (details && !local) {
        here.append(h("details", {}, h("summary", { text: "where" }), h("pre", { text: details })));
      }
    }
    here.dataset.words = words;
  }
  function showProgress() {
    const { running: on, fraction, text } = model.get("progress");
    running.hidden = !on || gone;
    root.setAttribute("aria-busy", String(Boolean(on) && !gone));
    if (fraction === null || fraction === undefined) meter.removeAttribute("value");
    else meter.value = fraction;
    doing.textContent = text;
  }
  /** Ask the widget manager whether the connection to the kernel's part still is. */
  async function live() {
    const id = model.get("ident");
    const found = id ? await model.widget_manager?.get_model(id).catch(() => null) : null;
    if (found?.comm_live === false) lost();
  }
  // JupyterLab's one-key shortcuts would take the arrow keys from a slider. It asks the element
  // that has the focus; it hears of the key after the window.
  function shield(event) {
    if (!root.contains(event.target)) return;
    const plainKey = !event.ctrlKey && !event.metaKey && !event.altKey;
    event.target.toggleAttribute("data-lm-suppress-shortcuts", plainKey);
  }

  stop.addEventListener("click", () => view.post({ type: "stop" }));
  model.on("msg:custom", answered);
  const onStatus = () => { local = gone ? local : null; showStatus(); };
  model.on("change:status", onStatus);
  model.on("change:progress", showProgress);
  model.on("comm_live_update", live);
  window.addEventListener("keydown", shield, { capture: true });
  closing.push(() => {
    model.off("msg:custom", answered);
    model.off("change:status", onStatus);
    model.off("change:progress", showProgress);
    model.off("comm_live_update", live);
    window.removeEventListener("keydown", shield, { capture: true });
    clearTimeout(timer);
  });

  heading.textContent = model.get("title");
  body.append(makeNode(model.get("tree")));
  showStatus();
  showProgress();
  el.append(root);
  live();
  return () => { for (const f of closing) f(); };
}

export default { render };
