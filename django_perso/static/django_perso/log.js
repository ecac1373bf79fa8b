/**
 * The outbox of the log protocol perso.log.1: what the page tells reaches the server once and in order.
 * Knows no DOM: sockets, fetch, timers, chance and clock are given to it. It keeps in memory only.
 */

/** @import { Address, Entry, Frame, Message, Road, Status, World } from "./types.d.ts" */

export const LIMITS = { items: 50, frame: 65536, entry: 16384, entries: 5000, bytes: 2 * 1024 * 1024 };
const ENVELOPE = 2048; // what stream, ticket and brackets may take of a frame
const RETRIED = [1001, 1006, 1011, 1012, 4000, 4429, 4503];

const size = (/** @type {unknown} */ value) => new TextEncoder().encode(JSON.stringify(value)).length;

/** Shortens the longest values of an entry until it fits, and says so. @param {Entry} entry @returns {Entry} */
function fitted(entry) {
  if (size(entry) <= LIMITS.entry) return entry;
  const texts = Object.entries(entry.d).map(([k, v]) => [k, v && typeof v === "object" ? JSON.stringify(v) : v]);
  const d = Object.fromEntries([...texts, ["truncated", true]]);
  while (size({ ...entry, d }) > LIMITS.entry) {
    const longest = Object.keys(d).reduce((a, b) => (String(d[b]).length > String(d[a]).length ? b : a));
    d[longest] = d[longest].slice(0, d[longest].length * 0.9).replace(/[\uD800-\uDBFF]$/, "");
  }
  return { ...entry, d };
}

/** By websocket. @type {Road} */
const socketRoad = ({ ws, stream, ticket }, world, onframe, ondown) => {
  let /** @type {WebSocket | null} */ socket = null;
  const write = (/** @type {object} */ frame) => socket?.send(JSON.stringify(frame));
  const send = (/** @type {Message} */ { items, bye }) =>
    write(bye ? { t: "bye", ...bye } : items.length ? { t: "ev", items } : { t: "ping" });
  const close = () => {
    if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
    socket?.close();
    socket = null;
  };
  const open = () => {
    socket = new world.WebSocket(/** @type {string} */ (ws));
    socket.onopen = () => write({ t: "hello", stream, ticket });
    socket.onmessage = (event) => onframe(JSON.parse(event.data));
    socket.onclose = (event) => (close(), ondown(event.code));
  };
  return { open, send, close };
};

/** By POST, each answered with one frame; an empty one asks how far the server is. @type {Road} */
const postRoad = ({ post, stream, ticket }, world, onframe, ondown) => {
  const headers = { "Content-Type": "application/json" };
  const send = async (/** @type {Message} */ message, isHello = false) => {
    const signal = AbortSignal.timeout(20_000), keepalive = !!message.bye, credentials = "same-origin";
    const body = JSON.stringify({ stream, ticket, ...message });
    let /** @type {Frame | null} */ frame = null, code = 1006, after = 0;
    try {
      const answer = await world.fetch(post, { method: "POST", credentials, headers, body, keepalive, signal });
      after = Number(answer.headers.get("Retry-After")) * 1000 || 0;
      if (answer.ok) frame = await answer.json();
      else if (answer.status < 500 && ![408, 429].includes(answer.status)) code = 4400; // refused for good
    } catch { /* no answer, or none that can be read: as a lost line */ }
    if (!frame) ondown(code, after);
    else onframe(isHello ? { t: "welcome", ack: frame.s, window: 1 } : frame);
  };
  return { open: () => send({ items: [] }, true), send, close() {} };
};

/** Numbers the entries of one conversation and keeps each until the server has acknowledged it. */
export class Outbox {
  /** @type {Entry[]} */ #kept = []; // the first has number acked + 1
  /** @type {number[]} */ #flying = []; // the last number of each frame on its way
  /** @type {"up" | "down" | "over"} */ #state = "down";
  /** @type {Status} */ #status = "saved";
  /** @type {{how: string, done(reason: string): void} | null} */ #bye = null;
  /** @type {any} */ #timer;
  #isPaused = true;
  #acked = 0;
  #bytes = 0;
  #seen = 0; // the highest number that ever left; a later one may still change
  #window = 0; // none before the first welcome
  #ping = 15;
  #tries = 0;

  /** @param {Address} address @param {World} world @param {(status: Status) => void} onstatus */
  constructor(address, world, onstatus) {
    this.address = address;
    this.world = world;
    this.onstatus = onstatus;
    this.started = world.now();
    this.road = this.#build(address.ws ? socketRoad : postRoad);
    this.wake();
  }

  /** Takes an entry in; when full, one gap entry counts what is left out. @param {string} k @param {Entry["d"]} d */
  add(k, d) {
    if (this.#bye) return;
    const t = Math.max(0, Math.round(this.world.now() - this.started));
    const entry = fitted({ s: this.#acked + this.#kept.length + 1, k, t, d });
    if (this.#kept.length + 1 >= LIMITS.entries || this.#bytes + size(entry) > LIMITS.bytes) {
      const tail = this.#kept[this.#kept.length - 1];
      if (tail.d.reason === "overflow" && tail.s > this.#seen) return void tail.d.count++;
      Object.assign(entry, { k: "gap", d: { count: 1, reason: "overflow" } });
    }
    this.#kept.push(entry);
    this.#bytes += size(entry);
    this.#pump();
  }

  /** Nothing follows; resolves with the server's reason once all is saved. @param {string} how */
  end(how) {
    return new Promise((/** @type {(reason: string) => void} */ done) => {
      if (this.#bye || this.#state === "over") return done("");
      this.#bye = { how, done };
      this.#pump();
    });
  }

  /** The last words of a page that goes away: one request nobody waits for. @param {string} how */
  leave(how) {
    const bye = { last: this.#acked + this.#kept.length, how };
    this.#close("");
    this.#build(postRoad).send({ items: this.#batch(this.#acked), bye });
  }

  /** Goes on at once: the wait is over, or the network or the page is back. */
  wake() {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#listen(0);
    if (this.#state === "up") this.#pump();
    else this.road.open();
  }

  /** @param {Road} road */
  #build(road) {
    return road(this.address, this.world, (frame) => this.#read(frame), (...why) => this.#down(...why));
  }

  /** Asks after each quiet while; silence, or no welcome, is taken for a lost line. @param {number} asked */
  #listen(asked) {
    this.world.clearTimeout(this.#timer);
    this.#timer = this.world.setTimeout(() => {
      if (this.#state !== "up" || asked >= 3) return this.road.close(), this.#down(1006);
      this.road.send({ items: [] });
      this.#listen(asked + 1);
    }, this.#ping * 1000);
  }

  /** @param {Frame} frame */
  #read(frame) {
    if (this.#state === "over") return;
    if (frame.t === "welcome") {
      this.#state = "up";
      this.#window = frame.window ?? 4;
      this.#ping = frame.ping ?? this.#ping;
      if (frame.age !== undefined) this.started = this.world.now() - frame.age;
    }
    const isMute = frame.t === "pong" && this.#flying.length; // alive, but what was sent is still unanswered
    if (!this.#isPaused && !isMute) this.#listen(0);
    if (frame.t === "ack") this.#tries = 0;
    if (frame.t === "welcome" || frame.t === "ack") {
      const saved = this.#kept.splice(0, (frame.ack ?? frame.s) - this.#acked);
      this.#acked += saved.length;
      this.#bytes = this.#kept.length && this.#bytes - saved.reduce((sum, entry) => sum + size(entry), 0);
      this.#flying = this.#flying.filter((last) => last > this.#acked);
    } else if (frame.t === "reject") this.#replace(frame.s, frame.code);
    else if (frame.t === "gap" || frame.t === "retry") this.#back(frame.after);
    else if (frame.t === "done") this.#close(frame.reason ?? "");
    this.#pump();
  }

  /** @param {number} code @param {number} [after] */
  #down(code, after) {
    if (this.#state === "over") return;
    if (!RETRIED.includes(code)) return this.#close("");
    if (!this.#window && this.#tries) this.road = this.#build(postRoad); // twice unwelcome: no sockets here
    this.#state = "down";
    this.#back(after);
    this.#pump();
  }

  /** Keeps all, waits with growing patience, then sends again what is not acknowledged. */
  #back(after = 0) {
    this.#flying = [];
    if (this.#isPaused) return;
    this.#isPaused = true;
    const wait = this.world.random() * Math.min(30_000, 500 * 2 ** this.#tries++);
    this.world.clearTimeout(this.#timer);
    this.#timer = this.world.setTimeout(() => this.wake(), Math.max(after, wait));
  }

  /** What the server never takes becomes a gap of that number. @param {number[]} numbers @param {string} [reason] */
  #replace(numbers, reason) {
    for (const entry of numbers.map((s) => this.#kept[s - this.#acked - 1]).filter(Boolean)) {
      if (entry.k === "gap") return this.#close(""); // not even this: it takes no more
      Object.assign(entry, { k: "gap", d: { count: 1, reason } });
    }
    this.#back();
  }

  /** The entries after number `from` that fit in one frame. @param {number} from */
  #batch(from) {
    let room = LIMITS.frame - ENVELOPE;
    const next = this.#kept.slice(from - this.#acked, from - this.#acked + LIMITS.items);
    return next.filter((entry) => (room -= size(entry) + 1) >= 0);
  }

  #pump() {
    const mayGo = this.#state === "up" && !this.#isPaused;
    while (mayGo && this.#flying.length < this.#window) {
      const items = this.#batch(this.#flying.at(-1) ?? this.#acked);
      if (!items.length) break;
      this.#flying.push(items[items.length - 1].s);
      this.#seen = Math.max(this.#seen, items[items.length - 1].s);
      this.road.send({ items });
    }
    if (mayGo && this.#bye && !this.#flying.length) {
      this.#flying.push(this.#acked + 1);
      this.road.send({ items: [], bye: { last: this.#acked, how: this.#bye.how } });
    }
    const isStuck = !mayGo && (this.#tries || this.#state === "over");
    const status = !this.#kept.length ? "saved" : isStuck ? "queued" : "saving";
    if (status !== this.#status) this.onstatus((this.#status = status));
  }

  /** @param {string} reason */
  #close(reason) {
    this.#state = "over";
    this.world.clearTimeout(this.#timer);
    this.road.close();
    this.#pump();
    this.#bye?.done(reason);
  }
}
