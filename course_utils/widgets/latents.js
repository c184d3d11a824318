// A latent channel: squares that are painted with the mouse, a finger or the keyboard.

const LS_STOPS = [[255, 255, 255], [246, 227, 218], [180, 69, 31], [34, 34, 34]];

function lsShade(value, reach) {
  const at = Math.min(1, Math.max(0, (value + reach) / (2 * reach))) * (LS_STOPS.length - 1);
  const below = Math.min(LS_STOPS.length - 2, Math.floor(at)), share = at - below;
  const mixed = LS_STOPS[below].map((v, i) => Math.round(v + share * (LS_STOPS[below + 1][i] - v)));
  return `rgb(${mixed.join(" ")})`;
}

const lsNumber = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

KINDS.plane = (part, view) => {
  const side = part.get().side;
  const name = h("div", { class: "sn-name", id: `${view.uid}-${part.name}` });
  const grid = h("div", { class: "ls-grid", role: "grid", "aria-labelledby": name.id });
  grid.style.gridTemplateColumns = `repeat(${side}, 1fr)`;
  const read = h("div", { class: "ls-read" });
  const el = h("div", { class: "ls-plane" }, name, grid, read);
  const cells = [];
  for (let row = 0; row < side; row++) {
    const line = h("div", { class: "ls-line", role: "row" });
    for (let column = 0; column < side; column++) {
      const cell = h("div", { class: "ls-cell", role: "gridcell", tabindex: cells.length ? -1 : 0 });
      cell.dataset.index = cells.length;
      cells.push(cell);
      line.append(cell);
    }
    grid.append(line);
  }
  let stroke = null, strokes = 0;
  let sent = []; // strokes that Python may not have heard of: each message holds all of them

  const control = (name) =>
    view.el.querySelector(`[data-part="${name}"] input, [data-part="${name}"] select`).value;

  function tell(index) {
    const { numbers } = part.get();
    const at = `row ${Math.floor(index / side) + 1}, col. ${(index % side) + 1}`;
    read.textContent = numbers.length ? `${at}: ${lsNumber(numbers[index])}` : at;
  }
  function begin(index) {
    if (view.gone || !part.get().numbers.length) return;
    strokes += 1;
    // As the controls stand on the page: Python may not have heard of their last change.
    const value = control("tool") === "paint" ? Number(control("brush")) : null;
    stroke = { name: `${view.uid}-${part.name}-${strokes}`, cells: [], value };
    sent.push(stroke);
    add(index);
  }
  function add(index) {
    if (!stroke || stroke.cells.includes(index)) return;
    stroke.cells.push(index);
    if (stroke.value !== null) { // shown at once, before Python answers
      cells[index].style.background = lsShade(stroke.value, part.get().reach);
      cells[index].classList.add("ls-painted");
    }
    part.set(sent.map((one) => ({ ...one, cells: [...one.cells] })), false);
  }
  function end() {
    if (!stroke) return;
    stroke = null;
    part.set(sent, true);
  }
  const under = (event) => {
    const found = el.getRootNode().elementFromPoint(event.clientX, event.clientY);
    return cells.indexOf(found);
  };
  grid.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const index = under(event);
    if (index < 0) return;
    event.preventDefault();
    grid.setPointerCapture(event.pointerId);
    move(index);
    begin(index);
  });
  grid.addEventListener("pointermove", (event) => {
    const index = under(event);
    if (index < 0) return;
    tell(index);
    if (!stroke) return;
    // A fast mouse leaves squares out: fill the line from the last one.
    const last = stroke.cells[stroke.cells.length - 1];
    const [y0, x0, y1, x1] = [Math.floor(last / side), last % side, Math.floor(index / side), index % side];
    const count = Math.max(Math.abs(y1 - y0), Math.abs(x1 - x0));
    for (let k = 1; k <= count; k++) {
      add(Math.round(y0 + ((y1 - y0) * k) / count) * side + Math.round(x0 + ((x1 - x0) * k) / count));
    }
  });
  grid.addEventListener("pointerup", end);
  grid.addEventListener("pointercancel", end);

  function move(index) {
    for (const cell of cells) cell.tabIndex = -1;
    cells[index].tabIndex = 0;
    cells[index].focus({ preventScroll: true });
    tell(index);
  }
  grid.addEventListener("focusin", (event) => {
    const index = cells.indexOf(event.target);
    if (index >= 0) tell(index);
  });
  grid.addEventListener("keydown", (event) => {
    const index = cells.indexOf(event.target);
    if (index < 0) return;
    const [row, column] = [Math.floor(index / side), index % side];
    const steps = {
      ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
      Home: [row, 0], End: [row, side - 1],
    };
    if (event.key in steps) {
      const [y, x] = steps[event.key].map((at) => Math.min(side - 1, Math.max(0, at)));
      move(y * side + x);
    } else if (event.key === "Enter" || event.key === " ") {
      begin(index);
      end();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // not JupyterLab's keys
  });
  return {
    el,
    update(state) {
      name.textContent = state.label;
      if (!part.held()) sent = stroke ? [stroke] : [];
      const painted = new Set(state.painted);
      const drawing = new Set(stroke ? stroke.cells : []);
      state.numbers.forEach((value, index) => {
        const cell = cells[index];
        const at = `row ${Math.floor(index / side) + 1}, column ${(index % side) + 1}`;
        const mark = painted.has(index) ? ", painted" : "";
        cell.setAttribute("aria-label", `${at}: ${lsNumber(value)}${mark}`);
        if (drawing.has(index) || part.held()) return; // Python has not heard of it yet
        cell.style.background = lsShade(value, state.reach);
        cell.classList.toggle("ls-painted", painted.has(index));
      });
      const here = cells.indexOf(el.getRootNode().activeElement);
      if (here >= 0) tell(here);
    },
  };
};
