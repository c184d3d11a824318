// Keeps the page for visits without a connection: its own files at once, a model's when they are
// fetched. `course playground --out` fills in the two lines below.

const VERSION = "";
const SHELL = [];

const NAME = `playground ${VERSION}`;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(SHELL))
    .then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const tidy = async () => {
    const old = (await caches.keys()).filter((name) =>
      name.startsWith("playground ") && name !== NAME);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== self.location.origin) return;
  event.respondWith(answer(event, request));
});

async function answer(event, request) {
  const cache = await caches.open(NAME).catch(() => null); // storage may be refused later, too
  if (!cache) return fetch(request);
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept) return kept;
  const fresh = await fetch(request);
  if (fresh.ok) event.waitUntil(cache.put(request, fresh.clone()).catch(() => {})); // disk is full
  return fresh;
}
