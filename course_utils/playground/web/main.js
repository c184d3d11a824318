// Starts the page where it is served. site.json, which `course playground` writes, says which
// models there are (name -> {base, bytes}) and whether the page is kept for visits without a
// connection.

import { start } from "./app.js";

const PATIENCE = 4000; // milliseconds for the service worker; the page does not need it

try {
  const answer = await fetch("site.json");
  if (!answer.ok) throw new Error(`site.json: status ${answer.status}`);
  const { models, offline } = await answer.json();
  if (offline) await keepForLater();
  await start(models, () => new Worker("worker.js", { type: "module" }));
} catch (error) {
  const el = document.getElementById("trouble");
  el.hidden = false;
  el.textContent = `The page did not start (${error.message}). Load it again; if that does not `
    + "help, it was not copied whole.";
}

/** The service worker, in charge before the weights are fetched, so that it keeps them. */
async function keepForLater() {
  const workers = navigator.serviceWorker;
  if (!workers || workers.controller) return;
  try {
    await workers.register("service-worker.js");
    await new Promise((resolve) => {
      workers.addEventListener("controllerchange", resolve, { once: true });
      setTimeout(resolve, PATIENCE);
    });
  } catch {
    // in a private window, or where storage is refused: the page works while there is a connection
  }
}
