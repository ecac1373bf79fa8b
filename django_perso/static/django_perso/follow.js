/**
 * Follows a running conversation in the admin. The socket only says "look again"; the lines come from the site.
 * They are asked for every few seconds too: that is all there is while the socket is down.
 */

const PAUSED_MS = 5000;
const LIVE_MS = 15000;
const list = /** @type {HTMLElement} */ (document.querySelector("[data-follow]"));
const status = /** @type {HTMLElement} */ (document.querySelector(".perso-following"));
const { follow = "", entries = "" } = list.dataset;
const address = new URL(follow, location.href);
address.protocol = address.protocol.replace("http", "ws");
/** @type {WebSocket} */
let socket;
let isLooking = false;
let isNews = false;

/** @param {"live" | "paused" | "over"} state */
function show(state) {
  if (status.dataset.state === state) return; // it would be read out again
  status.dataset.state = state;
  status.textContent = status.dataset[state] ?? "";
}

/** @param {Iterable<Element>} fresh */
function append(fresh) {
  const isAtEnd = innerHeight + scrollY > document.body.scrollHeight - 120;
  list.querySelector("li:not([data-pk])")?.remove();
  list.append(...fresh);
  if (isAtEnd) list.lastElementChild?.scrollIntoView({ block: "nearest" });
}

async function fetchNew() {
  const last = /** @type {HTMLElement | undefined} */ ([...list.querySelectorAll("[data-pk]")].at(-1));
  const answer = await fetch(`${entries}?after=${last?.dataset.pk ?? 0}`);
  if (answer.redirected || answer.status === 403) location.reload(); // logged out, or no longer allowed
  if (!answer.ok) throw new Error(answer.statusText);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelectorAll("li[data-pk]");
  if (fresh.length) append(fresh);
  if (answer.headers.get("X-More") === "yes") isNews = true;
  else if (answer.headers.get("X-Running") === "no") finish();
}

/** One look after the other, so that no line comes twice. */
async function look() {
  isNews = true;
  if (isLooking) return;
  isLooking = true;
  try {
    while (isNews) {
      isNews = false;
      await fetchNew();
    }
    if (socket.readyState === WebSocket.OPEN) show("live");
  } catch {
    if (status.dataset.state !== "over") show("paused");
  }
  isLooking = false;
}

function connect() {
  socket = new WebSocket(address);
  socket.onopen = look;
  socket.onmessage = look;
  socket.onclose = () => {
    if (status.dataset.state === "over") return;
    show("paused");
    wait();
  };
}

/** @type {number} */
let timer;
function wait() {
  clearTimeout(timer);
  timer = setTimeout(tick, socket.readyState === WebSocket.OPEN ? LIVE_MS : PAUSED_MS);
}

function tick() {
  look();
  if (socket.readyState === WebSocket.OPEN) socket.send("{}"); // that we are still here
  if (socket.readyState === WebSocket.CLOSED) connect();
  wait();
}

function finish() {
  show("over");
  clearTimeout(timer);
  socket.close();
}

connect();
wait();
