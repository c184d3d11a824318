// The page: settings, the stage, what can be kept, and the experiments in their tabs.

import { Engine } from "./client.js";
import { comparePanel } from "./compare.js";
import { button, field, h, slider } from "./dom.js";
import { offPanel } from "./off.js";
import { paintPanel } from "./paint.js";
import { partsPanel } from "./parts.js";
import { enlarged } from "./pictures.js";
import { withText } from "./png.js";
import { SAMPLERS } from "./samplers.js";
import { cleanSettings, fromLink, inPython, metadata, toLink } from "./settings.js";
import { sheetPanel } from "./sheet.js";
import { Stage } from "./stage.js";
import { Studio } from "./studio.js";
import { travelPanel } from "./travel.js";

const byId = (id) => document.getElementById(id);
const PANELS = [
  ["compare", "Two prompts", comparePanel], ["sheet", "Contact sheet", sheetPanel],
  ["travel", "Travel", travelPanel], ["paint", "Paint the latents", paintPanel],
  ["off", "Switch off", offPanel], ["parts", "The four parts", partsPanel],
];
const SAMPLER_NAMES = { "dpm++2m": "DPM-Solver++(2M)", ddim: "DDIM", euler: "Euler", ddpm: "DDPM" };

/**
 * Start the page. models: name -> where its files are, see files.js; makeWorker() starts a thread.
 */
export async function start(models, makeWorker) {
  const names = Object.keys(models);
  const again = button("Start the engine again", () => load());
  const studio = new Studio(new Engine(makeWorker, (sentence) => {
    studio.progress(null);
    studio.trouble(`${sentence} Nothing that you typed is lost.`, again);
  }));
  const stage = new Stage(studio);
  studio.settings = fromLink(location.hash, names);
  const form = makeSettings(studio, names, () => load());

  /** Load the model of the settings, then draw. */
  async function load() {
    studio.stop();
    setEnabled(false);
    studio.trouble("");
    if (studio.engine.lost) studio.engine.start();
    const { model } = studio.settings;
    try {
      studio.say(`Loading ${model} …`);
      studio.model = await studio.engine.ask("load", { source: models[model] },
        ({ bytes, total }) => {
          studio.progress(bytes / total);
          studio.say(`Loading ${model}: ${Math.round(bytes / 1e6)} of ${Math.round(total / 1e6)} MB`);
        });
    } catch (error) {
      studio.progress(null);
      studio.say("");
      if (!studio.engine.lost) studio.trouble(error.message, button("Try again", () => load()));
      return;
    }
    form.fit(studio.model);
    setEnabled(true);
    makeTabs(studio, stage);
    await draw();
  }

  async function draw() {
    form.read();
    history.replaceState(null, "", toLink(studio.settings));
    if (!await showReading()) return;
    const settings = { ...studio.settings };
    const { caption } = studio;
    if (await stage.draw()) keep.show(settings, caption);
  }

  /**
   * Say how the prompt is read, and show the caption's words, each a button that shows where the
   * picture looks for it. Returns whether there is a caption to draw.
   */
  async function showReading() {
    stage.lookFor(null);
    try {
      const { caption, said, notes, words } = await studio.read(studio.settings.prompt);
      studio.caption = caption;
      const chips = words.map((word) => button(word.text, (event) => {
        const on = event.target.getAttribute("aria-pressed") !== "true";
        for (const chip of byId("read").querySelectorAll(".chip")) {
          chip.setAttribute("aria-pressed", "false");
        }
        event.target.setAttribute("aria-pressed", String(on));
        stage.lookFor(on ? word : null);
      }, { class: "chip", "aria-pressed": "false", title: "Where does the picture look for this?" }));
      byId("read").replaceChildren(
        ...[said, ...notes].filter(Boolean).map((text) => h("span", { class: "note", text })),
        ...(chips.length ? [h("span", { text: "Where it looks for each word: " }), ...chips] : []));
      return true;
    } catch (error) {
      if (!studio.engine.lost) studio.trouble(error.message);
      return false;
    }
  }

  const keep = makeKeep(stage);
  byId("ask").addEventListener("submit", (event) => { event.preventDefault(); draw(); });
  byId("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!byId("draw").disabled) draw();
  });
  byId("literal").addEventListener("change", () => { if (!byId("draw").disabled) draw(); });
  byId("idea").addEventListener("click", () => {
    byId("prompt").value = idea(studio.model);
    form.newSeed();
    draw();
  });
  addEventListener("hashchange", () => {
    const given = fromLink(location.hash, names), other = given.model !== studio.settings.model;
    if (toLink(given) === toLink(studio.settings)) return;
    studio.settings = given;
    form.write();
    if (other) load();
    else if (studio.model) draw();
  });
  await load();
}

function setEnabled(on) {
  for (const id of ["draw", "idea"]) byId(id).disabled = !on;
}

/** A prompt of things that the model knows. */
function idea({ concepts, styles, backgrounds }) {
  const any = (list) => list[Math.floor(Math.random() * list.length)];
  if (!concepts.length) return "a cat";
  return `a ${any(concepts)}${styles.length ? `, ${any(styles)} style` : ""}`
    + `${backgrounds.length ? `, on a ${any(backgrounds)} background` : ""}`;
}

// --- settings ----------------------------------------------------------------------------------

function makeSettings(studio, names, onModel) {
  const option = (value, text = value) => h("option", { value, text });
  const model = h("select", {}, ...names.map((name) => option(name)));
  const sampler = h("select", {}, ...Object.keys(SAMPLERS)
    .map((name) => option(name, SAMPLER_NAMES[name])));
  const steps = h("input", { type: "number", min: 1, max: 1000, inputmode: "numeric" });
  const seed = h("input", { type: "number", min: 0, inputmode: "numeric" });
  const negative = h("input", { type: "text", dir: "auto", spellcheck: "false",
    placeholder: "nothing" });
  const guidance = slider("Guidance", { min: 0, max: 10, step: 0.25 },
    (value) => (value === 1 ? "1 (off)" : String(value)), () => {});
  const newSeed = () => { seed.value = Math.floor(Math.random() * 10000); };
  const dice = button("⚄", newSeed, { "aria-label": "Another seed", title: "Another seed" });
  const seedField = field("Seed", seed);
  seedField.append(h("div", { class: "seed" }, seed, dice));
  const literal = byId("literal");
  byId("settings").append(field("Model", model), field("Sampler", sampler), field("Steps", steps),
    guidance.el, seedField, field("Not in the picture", negative));
  let far = null; // a guidance from a link, beyond the slider

  const form = {
    read() {
      far = guidance.value === Number(guidance.input.max) ? far : null;
      studio.settings = cleanSettings({ model: model.value, prompt: byId("prompt").value,
        literal: literal.checked, negative: negative.value, steps: steps.value,
        guidance: far ?? guidance.value, sampler: sampler.value, seed: seed.value }, names);
      form.write();
    },
    write() {
      const now = studio.settings;
      byId("prompt").value = now.prompt;
      [model.value, sampler.value, negative.value] = [now.model, now.sampler, now.negative];
      [steps.value, seed.value, literal.checked] = [now.steps, now.seed, now.literal];
      far = now.guidance > Number(guidance.input.max) ? now.guidance : null;
      guidance.set(now.guidance);
    },
    newSeed,
    fit({ T, isRead }) {
      steps.max = T;
      literal.parentElement.hidden = !isRead; // else the prompt is taken literally anyway
    },
  };
  model.addEventListener("change", () => { form.read(); onModel(); });
  form.write();
  return form;
}

// --- what can be kept --------------------------------------------------------------------------

function makeKeep(stage) {
  let settings = null, caption = "";
  const code = h("pre", { hidden: true, tabindex: 0, "aria-label": "The same in Python" });
  const said = h("span", { role: "status" });
  const buttons = [
    button("Copy link", async () => {
      try {
        await navigator.clipboard.writeText(location.href);
        said.textContent = "The link is copied.";
      } catch { // a page from the disk may not, and some browsers ask first
        said.textContent = "The browser did not let the page copy; the link is in the address line.";
      }
    }),
    button("Save PNG", async () => {
      await stage.show(stage.count);
      const png = await enlarged(stage.big, 4);
      const url = URL.createObjectURL(withText(png, metadata(settings, caption)));
      const name = caption.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 48);
      const link = h("a", { href: url,
        download: `${name.replace(/^-|-$/g, "") || "picture"}-seed${settings.seed}.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    }),
    button("The same in Python", (event) => {
      code.hidden = !code.hidden;
      event.target.setAttribute("aria-expanded", String(!code.hidden));
    }, { "aria-expanded": "false" }),
  ];
  buttons.forEach((one) => (one.disabled = true));
  byId("keep").append(...buttons, said, h("div", {}, code));
  return {
    show(now, read) {
      [settings, caption] = [now, read];
      code.textContent = inPython(now, read);
      said.textContent = "";
      buttons.forEach((one) => (one.disabled = false));
    },
  };
}

// --- tabs --------------------------------------------------------------------------------------

function makeTabs(studio, stage) {
  const made = PANELS.map(([name, text, make]) => {
    const tab = h("button", { type: "button", role: "tab", id: `tab-${name}`, text,
      "aria-controls": `panel-${name}`, onclick: () => choose(name) });
    const panel = h("div", { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": tab.id });
    return { name, tab, panel, make };
  });
  const choose = (name) => made.forEach((one) => {
    const here = one.name === name;
    one.tab.setAttribute("aria-selected", String(here));
    one.tab.tabIndex = here ? 0 : -1;
    one.panel.hidden = !here;
    if (here && !one.panel.firstChild) one.panel.append(...one.make(studio, stage));
  });
  byId("tabs").replaceChildren(...made.map(({ tab }) => tab));
  byId("panels").replaceChildren(...made.map(({ panel }) => panel));
  byId("tabs").onkeydown = (event) => {
    const at = made.findIndex(({ tab }) => tab === document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = made.at(to % made.length);
    choose(next.name);
    next.tab.focus();
  };
  choose(PANELS[0][0]);
}
