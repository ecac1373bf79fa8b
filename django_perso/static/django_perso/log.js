/**
 * The outbox of the log protocol perso.log.1: what the page tells reaches the server once and in order, if need be
 * from the next page. Knows no DOM: sockets, fetch, timers, chance, clock and store are given to it.
 */

/** @import { Address, Entry, Frame, Left, Message, Open, Post, Road, Status, Store, World } from "./types.d.ts" */

export const LIMITS = { items: 50, frame: 65536, flush: 49152, entry: 16384, entries: 5000, bytes: 2 * 1024 * 1024 };
const ENVELOPE = 2048; // what stream, ticket and brackets may take of a frame
const CUT = 1006; // perhaps because of what was sent
const LOST = 1012; // silence, or no answer: no frame's fault
const RETRIED = [1001, CUT, 1011, LOST, 4000, 4429, 4503];
const DAY = 86_400_000;

const size = (/** @type {unknown} */ value) => new TextEncoder().encode(JSON.stringify(value)).length;

/** Shortens the longest values of an entry until it fits, and says so. @param {Entry} entry */
function fitted(entry) {
  const cut = (/** @type {any} */ value, /** @type {number} */ most) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return text.length > most ? text.slice(0, most).replace(/[\uD800-\uDBFF]$/, "") : value;
  };
  for (let most = LIMITS.entry; size(entry) > LIMITS.entry; most *= 0.9)
    entry.d = { ...Object.fromEntries(Object.entries(entry.d).map(([k, v]) => [k, cut(v, most)])), truncated: true };
  return entry;
}

/** What outlives the page. Where the browser keeps nothing all goes on in memory. @returns {Store} */
export function openStore() {
  const heed = (/** @type {IDBRequest} */ request) =>
    new Promise((onsuccess, onerror) => Object.assign(request, { onsuccess, onerror })).then(() => request.result);
  const opening = (async () => {
    const request = indexedDB.open("django-perso", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("outbox", { keyPath: "stream" });
    return heed(request);
  })();
  const ask = (/** @type {"put" | "delete" | "getAll"} */ verb, /** @type {any} */ what) =>
    opening.then((db) => heed(db.transaction("outbox", "readwrite").objectStore("outbox")[verb](what))).catch(() => []);
  return { put: (left) => ask("put", left), drop: (stream) => ask("delete", stream), all: () => ask("getAll", null) };
}

/** Sends what earlier pages left, if it is less than a day old. To be called once, before the page's first outbox.
 * @param {World} world */
export async function resend(world) {
  for (const left of (await world.store?.all()) ?? [])
    if (left.at < Date.now() - DAY) world.store?.drop(left.stream);
    else if (left.entries.length || left.how) new Outbox({ ...left, ws: null }, world, () => {}, left);
}

/** @type {Post} */
async function post({ post: url, stream, ticket }, world, message, keepalive = false) {
  const signal = AbortSignal.timeout(20_000), headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ stream, ticket, ...message }), credentials = "same-origin";
  let code = LOST, after = 0;
  try {
    const answer = await world.fetch(url, { method: "POST", credentials, headers, body, keepalive, signal });
    after = Number(answer.headers.get("Retry-After")) * 1000 || 0;
    if (answer.ok) return { frame: await answer.json(), code, after };
    if (answer.status < 500 && answer.status !== 408) code = 4000 + answer.status;
  } catch { /* no answer, or none that can be read: as a lost line */ }
  return { code, after };
}

/** By websocket. @type {Open} */
const bySocket = ({ ws, stream, ticket }, world, onframe, ondown) => {
  const socket = new world.WebSocket(/** @type {string} */ (ws));
  const write = (/** @type {object} */ frame) => socket.send(JSON.stringify(frame));
  socket.onopen = () => write({ t: "hello", stream, ticket });
  socket.onmessage = (event) => onframe(JSON.parse(event.data));
  socket.onclose = (event) => ondown(event.code);
  const send = (/** @type {Message} */ { items, bye }) =>
    write(bye ? { t: "bye", ...bye } : items.length ? { t: "ev", items } : { t: "ping" });
  const close = () => {
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  };
  return { send, close };
};

/** By POST, each answered with one frame; an empty one asks how far the server is. @type {Open} */
const byPost = (address, world, onframe, ondown) => {
  const send = async (/** @type {Message} */ message, isHello = false) => {
    const { frame, code, after } = await post(address, world, message);
    if (!frame) ondown(code, after);
    else onframe(isHello ? { t: "welcome", ack: frame.s, window: 1 } : frame);
  };
  send({ items: [] }, true);
  return { send, close() {} };
};

/** Numbers the entries of one conversation and keeps each until the server has acknowledged it. */
export class Outbox {
  /** @type {Entry[]} */ #kept = []; // the first has number acked + 1
  /** @type {number[]} */ #flying = []; // the last number of each frame on its way
  /** @type {"up" | "down" | "over"} */ #state = "down";
  /** @type {Status} */ #status = "saved";
  /** @type {{how: string, done(reason: string): void} | null} */ #bye = null;
  /** @type {Road | null} */ #road = null;
  /** @type {any} */ #timer;
  #isPaused = true;
  #isProbing = false; // after trouble one frame goes alone, until it is acknowledged
  #isSaving = false;
  #isGone = false; // nothing of it is to be sent any more
  #acked = 0;
  #bytes = 0;
  #seen = 0; // the highest number that ever left; a later one may still change
  #window = 4;
  #ping = 15;
  #tries = 0;
  #refused = 0; // sockets in a row without a welcome …
  #bearable = 2; // … and how many until POST serves; one more where sockets have worked
  #deaths = 0; // of sockets, under the frame that is now the first
  #doubted = 0; // up to this number entries go one by one

  /** @param {Address} address @param {World} world @param {(status: Status) => void} onstatus @param {Left} [left] */
  constructor(address, world, onstatus, left) {
    this.address = address;
    this.world = world;
    this.onstatus = onstatus;
    this.started = world.now();
    this.left = left;
    if (left) {
      this.#kept = left.entries;
      this.#acked = left.last - left.entries.length;
      this.#bye = { how: left.how ?? "", done() {} };
    }
    this.wake();
  }

  /** Takes an entry in; when full, one gap entry counts what is left out. @param {string} k @param {Entry["d"]} d */
  add(k, d) {
    if (this.#bye) return;
    const tail = this.#kept[this.#kept.length - 1], t = Math.max(0, Math.round(this.world.now() - this.started));
    const entry = fitted({ s: this.#last + 1, k, t, d: JSON.parse(JSON.stringify(d)) });
    const isFull = this.#kept.length + 1 >= LIMITS.entries || this.#bytes + size(entry) > LIMITS.bytes;
    const isCounted = isFull && tail.k === "gap" && tail.s > this.#seen;
    if (isCounted) tail.d.count++;
    else if (isFull) Object.assign(entry, { k: "gap", d: { count: 1, reason: "overflow" } });
    if (!isCounted) this.#bytes += size(this.#kept[this.#kept.push(entry) - 1]);
    this.#save();
    this.#pump();
  }

  /** Nothing follows; resolves with the server's reason once all is saved. @param {string} how */
  end(how) {
    return new Promise((/** @type {(reason: string) => void} */ done) => {
      if (this.#bye || this.#state === "over") return done("");
      this.#bye = { how, done };
      this.#save();
      this.#pump();
    });
  }

  /** The last words of a page that goes away. @param {string} how */
  leave(how) {
    if (this.#state === "over") return;
    this.#bye ??= { how, done() {} };
    this.flush({ last: this.#last, how: this.#bye.how });
    this.#close();
  }

  /** Sends what fits in one request that outlives the page. @param {Message["bye"]} [bye] */
  flush(bye) {
    const items = this.#batch(this.#acked, LIMITS.flush);
    if (this.#state === "over" || !(items.length || bye)) return;
    this.#seen = Math.max(this.#seen, this.#acked + items.length);
    post(this.address, this.world, { items, bye }, true)
      .then(({ frame }) => frame && ["ack", "done"].includes(frame.t) && this.#read(frame));
  }

  /** Goes on at once: the wait is over, or the network or the page is back. */
  wake() {
    if (!this.#isPaused || this.#state === "over") return;
    this.#isPaused = false;
    this.#listen();
    if (this.#state === "up") this.#pump();
    else this.#open();
  }

  get #last() {
    return this.#acked + this.#kept.length;
  }

  /** Leaves to the next page what is not saved yet, once for all that happens at a time. */
  async #save() {
    if (this.#isSaving || (this.left && !this.#isGone)) return; // left by a page that may be alive
    this.#isSaving = true;
    await null;
    this.#isSaving = false;
    const { stream, ticket, post } = this.address, entries = [...this.#kept], how = this.#bye?.how, at = Date.now();
    if (this.#isGone || !(how || entries.length)) this.world.store?.drop(stream);
    else this.world.store?.put({ stream, ticket, post, at, entries, how, last: this.#last });
  }

  /** By socket; by POST where there is none or while sockets fail. */
  #open(isTrial = false) {
    const open = this.address.ws && (isTrial || this.#refused < this.#bearable) ? bySocket : byPost;
    const /** @type {Road} */ road = open(
      this.address, this.world,
      (frame) => void (road === this.#road && this.#read(frame)),
      (...why) => road === this.#road && this.#down(...why),
    );
    this.#road = road;
  }

  /** Asks after each quiet while; silence, or no welcome, is taken for a lost line. */
  #listen(asked = 0) {
    this.world.clearTimeout(this.#timer);
    this.#timer = this.world.setTimeout(() => {
      if (this.#state !== "up" || asked >= 2) return this.#down(LOST);
      this.#listen(asked + 1);
      const mayTry = this.#bearable > 2 && this.#refused >= this.#bearable && !this.#flying.length;
      if (!mayTry) return this.#road?.send({ items: [] });
      this.#state = "down"; // a quiet moment to see whether sockets work again
      this.#open(true);
    }, this.#ping * 1000);
  }

  /** @param {Frame} frame */
  #read({ t, s, ack = s, age, window, ping, after, code, reason }) {
    if (this.#state === "over" && t !== "done") return;
    if (t === "welcome") {
      this.#state = "up";
      this.#window = window ?? this.#window;
      this.#ping = ping ?? this.#ping;
      if (age !== undefined) [this.started, this.#refused, this.#bearable] = [this.world.now() - age, 0, 3]; // a socket
    }
    const isMute = t === "pong" && this.#flying.length; // alive, but what was sent is still unanswered
    if (!this.#isPaused && !isMute) this.#listen();
    if (t === "ack") this.#tries = 0;
    if (t === "welcome" || t === "ack") this.#forget(ack, t === "ack");
    else if (t === "reject") this.#replace(s, code);
    else if (t === "gap" || t === "retry") this.#back(after);
    else if (t === "done") this.#close(reason, true);
    this.#pump();
  }

  /** Lets go of what is saved. */
  #forget(last = 0, isAnswer = false) {
    const saved = this.#kept.splice(0, Math.max(0, last - this.#acked));
    if (!saved.length) return;
    this.#acked += saved.length;
    this.#bytes = this.#kept.length && this.#bytes - saved.reduce((sum, entry) => sum + size(entry), 0);
    this.#flying = this.#flying.filter((flown) => flown > this.#acked);
    this.#deaths = 0;
    if (isAnswer) this.#isProbing = false;
    this.#save();
  }

  #down(code = LOST, after = 0) {
    if (!RETRIED.includes(code)) return this.#close("", code === 4401 || code === 4404);
    this.#road?.close();
    if (this.#state !== "up") this.#refused++;
    if (code === CUT && this.#flying.length && this.#kept.length) this.#doubt();
    this.#state = "down";
    this.#back(after);
    this.#pump();
  }

  /** A socket was cut under the first frame, as servers do that find it too long: at the second time its entries go
   * one by one, and the one that still kills becomes a gap. */
  #doubt() {
    const [head] = this.#kept;
    if (head.s > this.#doubted) this.#doubted = ++this.#deaths > 1 ? this.#flying[0] : 0;
    else if (head.k !== "gap") this.#replace([head.s], "undeliverable");
  }

  /** Keeps all, waits with growing patience, then sends again what is not acknowledged. */
  #back(after = 0) {
    this.#flying = [];
    this.#isProbing = true;
    if (this.#isPaused) return;
    this.#isPaused = true;
    const wait = this.world.random() * Math.min(30_000, 500 * 2 ** this.#tries++);
    this.world.clearTimeout(this.#timer);
    this.#timer = this.world.setTimeout(() => this.wake(), Math.max(after, wait));
  }

  /** What the server never takes becomes a gap of that number. */
  #replace(numbers = [0], reason = "") {
    if (this.#isPaused) return; // said of what will be sent again anyway
    for (const entry of this.#kept.filter(({ s }) => numbers.includes(s))) {
      if (entry.k === "gap") return this.#close(); // not even this: it takes no more
      Object.assign(entry, { k: "gap", d: { count: 1, reason } });
    }
    this.#save();
    this.#back();
  }

  /** The entries after number `from` that fit in one frame. */
  #batch(from = 0, limit = LIMITS.frame) {
    let room = limit - ENVELOPE;
    const first = from - this.#acked, most = from < this.#doubted ? 1 : LIMITS.items;
    return this.#kept.slice(first, first + most).filter((entry) => (room -= size(entry) + 1) >= 0);
  }

  #pump() {
    const mayGo = this.#state === "up" && !this.#isPaused, isAlone = this.#isProbing || this.#acked < this.#doubted;
    while (mayGo && this.#flying.length < (isAlone ? 1 : this.#window)) {
      const items = this.#batch(this.#flying[this.#flying.length - 1] ?? this.#acked);
      if (!items.length) break;
      this.#flying.push(items[items.length - 1].s);
      this.#seen = Math.max(this.#seen, items[items.length - 1].s);
      this.#road?.send({ items });
    }
    if (mayGo && this.#bye && !this.#flying.length) {
      if (!this.#bye.how) return this.#close("", true); // an earlier page did not say how it ended
      this.#flying.push(this.#acked + 1);
      this.#road?.send({ items: [], bye: { last: this.#acked, how: this.#bye.how } });
    }
    const isStuck = !mayGo && (this.#tries || this.#state === "over");
    const status = !this.#kept.length ? "saved" : isStuck ? "queued" : "saving";
    if (status !== this.#status) this.onstatus((this.#status = status));
  }

  #close(reason = "", isGone = false) {
    this.#state = "over";
    this.#isGone ||= isGone;
    this.world.clearTimeout(this.#timer);
    this.#road?.close();
    this.#save();
    this.#pump();
    this.#bye?.done(reason);
  }
}
