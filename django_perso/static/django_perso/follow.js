/**
 * Follows a running conversation in the admin. The socket only says "look again"; the lines come from the site.
 * While the socket is down they are asked for every few seconds.
 */

const PAUSED_MS = 5000;
const list = /** @type {HTMLElement} */ (document.querySelector("[data-follow]"));
const status = /** @type {HTMLElement} */ (document.querySelector(".perso-following"));
const { follow = "", entries = "" } = list.dataset;
let isOver = false;
let looking = Promise.resolve();

/** @param {"live" | "paused" | "over"} state */
function show(state) {
  status.textContent = status.dataset[state] ?? "";
  status.dataset.state = state;
}

async function fetchNew() {
  const last = /** @type {HTMLElement | undefined} */ ([...list.querySelectorAll("[data-pk]")].at(-1));
  const answer = await fetch(`${entries}?after=${last?.dataset.pk ?? 0}`, { credentials: "same-origin" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelectorAll("li[data-pk]");
  const isAtEnd = innerHeight + scrollY > document.body.scrollHeight - 120;
  list.append(...fresh);
  if (fresh.length) list.querySelector("li:not([data-pk])")?.remove();
  if (fresh.length && isAtEnd) list.lastElementChild?.scrollIntoView({ block: "nearest" });
  if (answer.headers.get("X-Running") === "no") {
    isOver = true;
    show("over");
  }
}

/** One look after the other, so that no line comes twice. */
const look = () => (looking = looking.then(() => (isOver ? undefined : fetchNew())).catch(() => {}));

function connect() {
  const socket = new WebSocket(follow);
  socket.onopen = () => {
    show("live");
    look();
  };
  socket.onmessage = look;
  socket.onclose = () => {
    if (isOver) return;
    show("paused");
    look();
    setTimeout(() => isOver || connect(), PAUSED_MS);
  };
}

connect();
