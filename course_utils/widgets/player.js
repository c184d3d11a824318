// Plays a recording: three pictures cut from one sheet, a slider for the step, Play and Pause. The
// same code plays in a notebook and in the one-file page, so it needs nothing but the browser.
//
// meta: frames [{step, t, alpha_bar}], steps, columns, width, height, what
// makePlayer(host, moved) -> {load(meta, sheet, index), preview(image, words), close()}
function makePlayer(host, moved = () => {}) {
  const make = (tag, attributes, ...children) => {
    const el = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "text") el.textContent = value;
      else el.setAttribute(key, value);
    }
    el.append(...children);
    return el;
  };
  const figure = (name, size) => {
    const canvas = make("canvas", { class: "sn-pixels", role: "img", width: 64, height: 64 });
    const caption = make("span", { class: "sn-caption" });
    const title = make("span", { class: "sn-name", text: name });
    const el = make("figure", { class: "sn-picture" }, canvas,
      make("figcaption", {}, title, caption));
    el.style.setProperty("--size", `${size}px`);
    return { el, canvas, caption, name };
  };
  const shown = figure("the picture on its way, xₜ", 320);
  const noise = figure("the noise", 192);
  const clean = figure("the finished picture", 192);
  const play = make("button", { type: "button", class: "sn-button sn-primary sn-play", text: "▶ Play" });
  const id = `sn-step-${Math.random().toString(36).slice(2)}`;
  const slider = make("input", { type: "range", min: 0, max: 1, value: 0, step: 1, id });
  const label = make("label", { for: id, class: "sn-label", text: "step" });
  const output = make("output", { class: "sn-value sn-step", for: id });
  const snr = make("span", { class: "sn-text sn-snr" });
  const signal = make("div", { class: "sn-signal" });
  const share = make("div", { class: "sn-share", role: "img" }, signal);
  const shareWords = make("div", { class: "sn-text sn-share-words" });
  const side = make("div", { class: "sn-column sn-beside" },
    make("div", { class: "sn-name", text: "what the network predicts from it" }),
    make("div", { class: "sn-row" }, noise.el, clean.el),
    make("div", {}, make("span", { class: "sn-label", text: "signal-to-noise ratio: " }), snr),
    make("div", {}, share, shareWords));
  const controls = make("div", { class: "sn-bar" }, play,
    make("div", { class: "sn-field sn-slider" },
      make("div", { class: "sn-line" }, label, output), slider));
  host.append(make("div", { class: "sn-column sn-player" },
    make("div", { class: "sn-row" }, shown.el, side), controls));

  let meta = null, sheet = null, timer = null;
  const number = (value) => {
    if (value >= 1e-3 && value < 1e3) return String(Number(value.toPrecision(2)));
    return value.toExponential(1).replace("e+", "e").replace("-", "−");
  };
  const snrWords = (alphaBar) => {
    if (alphaBar <= 0) return "0 (pure noise)";
    if (alphaBar >= 1) return "infinite (no noise left)";
    const ratio = alphaBar / (1 - alphaBar), decibel = Math.round(10 * Math.log10(ratio));
    return `${number(ratio)} (${decibel > 0 ? "+" : ""}${String(decibel).replace("-", "−")} dB)`;
  };
  const place = ({ step, t }) => {
    if (step === 0) return `step 0 of ${meta.steps}: pure random noise, t = ${t}`;
    if (step === meta.steps) return `step ${step} of ${step}: the picture, t = ${t}`;
    return `step ${step} of ${meta.steps}, t = ${t}`;
  };
  function tile(target, index) {
    const { width, height, columns } = meta;
    const context = target.canvas.getContext("2d");
    const x = (index % columns) * width, y = Math.floor(index / columns) * height;
    target.canvas.width = width;
    target.canvas.height = height;
    context.imageSmoothingEnabled = false;
    context.drawImage(sheet, x, y, width, height, 0, 0, width, height);
  }
  function show(index) {
    const count = meta.frames.length, frame = meta.frames[index], last = index === count - 1;
    slider.value = index;
    tile(shown, index);
    const words = place(frame);
    output.value = words;
    slider.setAttribute("aria-valuetext", words);
    shown.caption.textContent = words;
    shown.canvas.setAttribute("aria-label", `${meta.what}: ${words}`);
    snr.textContent = snrWords(frame.alpha_bar);
    const percent = Math.round(100 * frame.alpha_bar);
    signal.style.width = `${100 * frame.alpha_bar}%`;
    shareWords.textContent = `${percent} % signal, ${100 - percent} % noise`;
    share.setAttribute("aria-label", shareWords.textContent);
    for (const [which, target] of [[1, noise], [2, clean]]) {
      target.el.classList.toggle("sn-blank", last);
      target.caption.textContent = last ? "nothing left to predict" : "";
      target.canvas.setAttribute("aria-label",
        last ? "nothing: the picture is finished" : `prediction of ${target.name}, at ${words}`);
      if (last) target.canvas.width = meta.width; // which empties it
      else tile(target, which * count + index);
    }
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ Play";
  }
  function step() {
    const next = Number(slider.value) + 1;
    if (!host.isConnected || !meta) return stop();
    if (next < meta.frames.length) show(next);
    if (next < meta.frames.length - 1) return undefined;
    stop();
    return moved(Number(slider.value));
  }
  play.addEventListener("click", () => {
    if (!meta) return;
    if (timer) {
      stop();
      moved(Number(slider.value));
      return;
    }
    const count = meta.frames.length;
    if (Number(slider.value) >= count - 1) show(0);
    play.textContent = "❚❚ Pause";
    timer = setInterval(step, Math.max(40, Math.min(400, 5000 / count)));
  });
  slider.addEventListener("input", () => { if (meta) { stop(); show(Number(slider.value)); } });
  slider.addEventListener("change", () => { if (meta) moved(Number(slider.value)); });
  play.disabled = slider.disabled = true;
  side.classList.add("sn-waiting");
  return {
    load(newMeta, newSheet, index) {
      stop();
      [meta, sheet] = [newMeta, newSheet];
      side.classList.remove("sn-waiting");
      slider.max = meta.frames.length - 1;
      play.disabled = slider.disabled = false;
      show(Math.min(index, meta.frames.length - 1));
    },
    /** While it is drawn: the picture as far as it has come. */
    preview(image, words) {
      stop();
      play.disabled = slider.disabled = true;
      side.classList.add("sn-waiting");
      const context = shown.canvas.getContext("2d");
      [shown.canvas.width, shown.canvas.height] = [image.naturalWidth, image.naturalHeight];
      context.drawImage(image, 0, 0);
      shown.caption.textContent = words;
      shown.canvas.setAttribute("aria-label", `being drawn: ${words}`);
    },
    /** After a preview: back to the recording, if there is one. */
    back() { if (meta) this.load(meta, sheet, Number(slider.value)); },
    close: stop,
  };
}
