// Keeps the page fresh without losing the reader's place; without it the page reloads itself.
"use strict";

const everyMs = 1000 * Number(document.body.dataset.refresh || 10);
const lost = document.getElementById("lost");
let lastSeen = new Date();

function openIds() {
  return new Set([...document.querySelectorAll("details")].map((each) => each.id + ":" + each.open));
}

function replace(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").getElementById("page");
  const page = document.getElementById("page");
  if (!fresh || !page || page.innerHTML === fresh.innerHTML) return;
  const known = openIds();
  for (const each of fresh.querySelectorAll("details")) {
    if (known.has(each.id + ":true")) each.open = true;
    if (known.has(each.id + ":false")) each.open = false;
  }
  const focused = document.activeElement && document.activeElement.getAttribute("href");
  page.replaceWith(document.adoptNode(fresh));
  if (focused) {
    const again = [...document.links].find((each) => each.getAttribute("href") === focused);
    if (again) again.focus({ preventScroll: true });
  }
}

async function refresh() {
  const reading = String(window.getSelection()) !== "";
  if (document.hidden || reading) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(everyMs) });
    if (!answer.ok) throw new Error("it answered " + answer.status);
    replace(await answer.text());
    lastSeen = new Date();
    lost.hidden = true;
  } catch (error) {
    lost.textContent = "gpumedic does not answer: what you see is from " +
      lastSeen.toISOString().slice(11, 19) + " UTC. (" + error.message + ")";
    lost.hidden = false;
  }
}

setInterval(refresh, everyMs);
document.addEventListener("visibilitychange", refresh);
