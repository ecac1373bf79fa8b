/** The log's road to the server, and where entries wait. */

/** Problem codes of this app that refuse a POST, and the close codes that a socket has for them. */
const REFUSALS = new Map([
  ["bad_request", 4400],
  ["logged_out", 4401],
  ["no_stream", 4404],
  ["not_authorised", 4401],
  ["origin", 4403],
  ["superseded", 4409],
  ["too_big", 4413],
]);
const FRAMES = ["ack", "done", "gap", "pong", "reject", "retry", "welcome"];
const LONGEST_WAIT = 600_000; // however long a proxy asks for

/**
 * Returns what a response of this app says, and nothing for any other: a proxy or a
 * middleware may answer a POST with any status and any body.
 * @param {Response} response
 */
async function readAnswer(response) {
  const type = response.headers.get("Content-Type") ?? "";
  const body = await response.json();
  if (response.ok && FRAMES.includes(body?.t)) return { frame: body };
  if (!type.startsWith("application/problem+json")) return {};
  return { code: REFUSALS.get(body?.code) };
}

/** By socket; by POST where there is none or while sockets fail. @type {MakeRoad} */
export const makeRoad = ({ stream, ticket, ws, post: url }, world, onframe, ondown) => {
  const { fetch, WebSocket, setTimeout, clearTimeout } = world;
  let /** @type {WebSocket | null} */ socket = null;
  let isWelcome = false,
    hasWorked = false; // this socket; any
  let chances = 2; // of sockets to fail until POST serves
  let isOpen = false,
    isResting = true;
  let ping = 15,
    timer = 0;
  let turn = 0; // answers to an earlier one are too late

  const later = (run = wake, ms = 0) => {
    clearTimeout(timer);
    timer = setTimeout(run, ms);
  };

  /** Silence, or no welcome, is a lost line. */
  const listen = (asked = 0) =>
    later(() => {
      if (!isOpen || asked >= 2) return down();
      listen(asked + 1);
      send({ t: "ping" });
    }, ping * 1000);

  const hear = (/** @type {Frame} */ frame) => {
    isOpen ||= frame.t === "welcome";
    ping = frame.ping ?? ping;
    if (!isResting) listen();
    onframe(frame);
  };

  const connect = () => {
    chances--;
    const lost = (/** @type {{ code?: number }} */ { code } = {}) => {
      if (isWelcome || !isOpen) return down(code);
      socket = null; // it was tried while POST serves
      ask({ t: "ping" });
    };
    try {
      socket = new WebSocket(ws ?? "");
    } catch {
      return later(lost); // by some browsers' policy
    }
    socket.onopen = () => socket?.send(JSON.stringify({ t: "hello", stream, ticket }));
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.t === "welcome") [isWelcome, hasWorked, chances] = [true, true, 3];
      hear(frame);
    };
    socket.onclose = lost;
  };

  /** @type {Road["post"]} */
  const post = async (message, keepalive) => {
    const signal = AbortSignal.timeout(20_000),
      headers = { "Content-Type": "application/json" };
    const body = JSON.stringify({ stream, ticket, ...message }),
      credentials = "same-origin";
    let after = 0;
    try {
      const response = await fetch(url, {
        method: "POST",
        credentials,
        headers,
        body,
        keepalive,
        signal,
      });
      const seconds = Number(response.headers.get("Retry-After")) || 0;
      after = Math.min(LONGEST_WAIT, seconds * 1000);
      return { after, ...(await readAnswer(response)) };
    } catch {
      return { after }; // no answer, or none that can be read: a lost line
    }
  };

  const ask = async (/** @type {Message} */ { t, items = [], bye }) => {
    const asked = turn,
      { frame, code, after } = await post({ items, bye });
    if (asked !== turn) return;
    if (!frame) down(code, after);
    else hear(t === "hello" ? { t: "welcome", ack: frame.s, window: 1 } : frame);
  };

  const send = (/** @type {Message} */ { bye, ...frame }) => {
    if (isWelcome) socket?.send(JSON.stringify({ ...frame, ...bye }));
    else if (frame.t === "ping" && hasWorked && !socket)
      connect(); // perhaps sockets work again
    else ask({ ...frame, bye });
  };

  const wake = () => {
    if (!isResting) return;
    isResting = false;
    listen();
    if (isOpen) onframe({ t: "welcome" });
    else if (ws && chances > 0) connect();
    else ask({ t: "hello" });
  };

  const close = () => {
    turn++;
    isOpen = isWelcome = false;
    clearTimeout(timer);
    if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
    socket?.close();
    socket = null;
  };

  /** @type {typeof ondown} */
  const down = (...why) => {
    close();
    ondown(...why);
  };

  wake();
  return {
    send,
    post,
    wake,
    close,
    rest(ms) {
      isResting = true;
      later(wake, ms);
    },
    get isOpen() {
      return isOpen && !isResting;
    },
  };
};

/** Where the browser keeps nothing all goes on in memory. @type {() => Store} */
export const openStore = () => {
  const heed = (/** @type {IDBRequest} */ request) =>
    new Promise((done, onerror) =>
      Object.assign(request, { onsuccess: () => done(request.result), onerror }),
    );
  const opening = (async () => {
    const request = indexedDB.open("django-perso", 1);
    request.onupgradeneeded = () =>
      request.result.createObjectStore("outbox", { keyPath: "stream" });
    return heed(request);
  })();
  const ask = (
    /** @type {"put" | "delete" | "getAll"} */ verb,
    /** @type {any} */ what = undefined,
    at = Infinity,
  ) =>
    opening
      .then(async (db) => {
        const store = db.transaction("outbox", "readwrite").objectStore("outbox");
        if (verb !== "delete" || (await heed(store.get(what)))?.at <= at)
          return heed(store[verb](what));
      })
      .catch(() => []);
  return {
    put: (left) => ask("put", left),
    drop: (stream, at) => ask("delete", stream, at),
    all: () => ask("getAll"),
  };
};

/** @type {() => World} */
export const browser = () => ({
  makeRoad,
  store: openStore(),
  random: Math.random,
  now: () => performance.now(),
  fetch,
  WebSocket,
  setTimeout,
  clearTimeout,
});
