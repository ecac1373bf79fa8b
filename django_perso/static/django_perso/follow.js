/**
 * Follows a running conversation in the admin. The socket only says "look again"; the lines come from the site.
 * They are asked for every few seconds too: that is all there is while the socket is down.
 */
export {};

const PAUSED_MS = 5000;
const LIVE_MS = 15000;
const list = /** @type {HTMLElement} */ (document.querySelector("[data-follow]"));
const status = /** @type {HTMLElement} */ (document.querySelector(".perso-following"));
const address = new URL(list.dataset.follow ?? "", location.href);
address.protocol = address.protocol.replace("http", "ws");
/** @type {WebSocket} */
let socket;
let timer = 0;
let isLooking = false;
let isNews = false;

/** @param {"live" | "paused" | "over"} state */
function show(state) {
  if (status.dataset.state === state) return; // it would be read out again
  status.dataset.state = state;
  status.textContent = status.dataset[state] ?? "";
}

async function fetchNew() {
  const last = /** @type {HTMLElement | undefined} */ (
    [...list.querySelectorAll("[data-pk]")].at(-1)
  );
  const answer = await fetch(`${list.dataset.entries}?after=${last?.dataset.pk ?? 0}`);
  if (answer.redirected || answer.status === 403) return location.reload(); // logged out, or no longer allowed
  if (!answer.ok) throw new Error(answer.statusText);
  const fresh = new DOMParser()
    .parseFromString(await answer.text(), "text/html")
    .querySelectorAll("li[data-pk]");
  const isAtEnd = innerHeight + scrollY > document.body.scrollHeight - 120;
  if (fresh.length) list.querySelector("li:not([data-pk])")?.remove();
  list.append(...fresh);
  if (fresh.length && isAtEnd)
    list.lastElementChild?.scrollIntoView({ block: "nearest" });
  isNews ||= answer.headers.get("X-More") === "yes";
  if (isNews || answer.headers.get("X-Running") === "yes") return;
  show("over");
  clearTimeout(timer);
  socket.close();
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
    show("paused");
  }
  isLooking = false;
}

function connect() {
  socket = new WebSocket(address);
  socket.onopen = socket.onmessage = look;
  socket.onclose = () => {
    if (status.dataset.state === "over") return;
    show("paused");
    wait();
  };
}

function wait() {
  clearTimeout(timer);
  timer = setTimeout(
    () => {
      look();
      if (socket.readyState === WebSocket.OPEN) socket.send("{}"); // that we are still here
      if (socket.readyState === WebSocket.CLOSED) connect();
      wait();
    },
    socket.readyState === WebSocket.OPEN ? LIVE_MS : PAUSED_MS,
  );
}

connect();
wait();
