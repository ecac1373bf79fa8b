/**
 * The outbox of the log: keeps the entries of one conversation until the server has
 * acknowledged them, and decides when they are sent, again and again if need be. It uses
 * neither the network nor the DOM.
 */

const ENVELOPE_BYTES = 2048; // of a frame or body around its entries
const SHORTEST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
const DAY_MS = 86_400_000;
// Refusals after which waiting entries will never be accepted.
const FORGOTTEN = ["no_stream", "logged_out"];
const HALF_CHARACTER = /[\uD800-\uDBFF]$/;

const encoder = new TextEncoder();

/** @param {unknown} value */
const jsonBytes = (value) => encoder.encode(JSON.stringify(value)).length;

/**
 * What the outbox needs of the browser and of the other modules.
 * @param {LogModules} modules
 * @returns {World}
 */
export function makeWorld({ frames, transport, store }) {
  return {
    frames,
    Transport: transport.Transport,
    store: new store.Store(),
    WebSocket,
    fetch: (url, options) => fetch(url, options),
    random: () => Math.random(),
    now: () => performance.now(),
    setTimeout: (run, ms) => setTimeout(run, ms),
    clearTimeout: (timer) => clearTimeout(timer),
  };
}

/**
 * Send what earlier pages left, before the page has an outbox of its own.
 * @param {World} world
 */
export async function resend(world) {
  const found = (await world.store?.all()) ?? [];
  const oldest = Date.now() - DAY_MS;
  for (const left of found) {
    if (left.at < oldest) {
      world.store?.drop(left.stream, left.at);
    } else {
      const { stream, ticket, post } = left;
      new Outbox({ stream, ticket, post, ws: null }, world, () => {}, left);
    }
  }
}

/** The entries of a conversation that are not acknowledged yet, numbered in sequence. */
class Entries {
  #limits;
  /** @type {Entry[]} */
  #kept;
  #acked; // the first kept entry has the next number
  #bytes;
  #highestSent = 0; // entries up to this number may have reached the server

  /**
   * @param {World["frames"]["LIMITS"]} limits
   * @param {Left} [left]
   */
  constructor(limits, left) {
    this.#limits = limits;
    this.#kept = left?.entries ?? [];
    this.#acked = left ? left.last - left.entries.length : 0;
    this.#bytes = this.#kept.reduce((sum, entry) => sum + jsonBytes(entry), 0);
  }

  get acked() {
    return this.#acked;
  }

  get last() {
    return this.#acked + this.#kept.length;
  }

  get isEmpty() {
    return this.#kept.length === 0;
  }

  get first() {
    return this.#kept[0];
  }

  copy() {
    return [...this.#kept];
  }

  /**
   * Take an entry in. Where there is no room for it, a gap entry counts it.
   * @param {string} k
   * @param {number} t
   * @param {Entry["d"]} d
   */
  add(k, t, d) {
    const entry = { s: this.last + 1, k, t, d: JSON.parse(JSON.stringify(d)) };
    this.#shorten(entry);
    if (this.#hasRoomFor(entry)) {
      this.#append(entry);
      return;
    }
    const tail = this.#kept.at(-1);
    if (tail?.k === "gap" && tail.s > this.#highestSent) {
      this.#change(tail, { d: { ...tail.d, count: tail.d.count + 1 } });
    } else {
      this.#append({ ...entry, k: "gap", d: { count: 1, reason: "overflow" } });
    }
  }

  /**
   * Return the entries after that number that fit in one frame.
   * @param {number} after
   * @param {number} most entries
   * @param {number} bytes
   */
  take(after, most, bytes) {
    const start = after - this.#acked;
    const items = [];
    let room = bytes - ENVELOPE_BYTES;
    for (const entry of this.#kept.slice(start, start + most)) {
      room -= jsonBytes(entry) + 1; // and a comma
      if (room < 0) break;
      items.push(entry);
    }
    this.#highestSent = Math.max(this.#highestSent, after + items.length);
    return items;
  }

  /**
   * Let go of the entries up to that number; return whether there were any.
   * @param {number} number
   */
  acknowledge(number) {
    const count = Math.max(0, number - this.#acked);
    const saved = this.#kept.splice(0, count);
    this.#acked += saved.length;
    for (const entry of saved) this.#bytes -= jsonBytes(entry);
    return saved.length > 0;
  }

  /**
   * Put a gap entry under each number that the server has acknowledged and lost since.
   * @param {number} number the last one it knows
   */
  restore(number) {
    const lost = [];
    for (let s = number + 1; s <= this.#acked; s += 1) {
      lost.push({ s, t: 0, k: "gap", d: { count: 1, reason: "lost" } });
    }
    this.#kept.unshift(...lost);
    this.#acked -= lost.length;
    this.#bytes += lost.reduce((sum, entry) => sum + jsonBytes(entry), 0);
  }

  /**
   * Put a gap entry in place of each of these; return false when one is a gap already.
   * @param {number[]} numbers
   * @param {string} reason
   */
  replace(numbers, reason) {
    const chosen = this.#kept.filter(({ s }) => numbers.includes(s));
    if (chosen.some(({ k }) => k === "gap")) return false;
    for (const entry of chosen) {
      this.#change(entry, { k: "gap", d: { count: 1, reason } });
    }
    return true;
  }

  /** @param {Entry} entry */
  #hasRoomFor(entry) {
    const { outboxEntries, outboxBytes } = this.#limits;
    const bytes = this.#bytes + jsonBytes(entry);
    return this.#kept.length + 1 < outboxEntries && bytes <= outboxBytes;
  }

  /** @param {Entry} entry */
  #append(entry) {
    this.#kept.push(entry);
    this.#bytes += jsonBytes(entry);
  }

  /**
   * @param {Entry} entry
   * @param {Partial<Entry>} values
   */
  #change(entry, values) {
    this.#bytes -= jsonBytes(entry);
    Object.assign(entry, values);
    this.#bytes += jsonBytes(entry);
  }

  /**
   * Cut the longest values of an entry that is too long for the server, and mark where.
   * @param {Entry} entry
   */
  #shorten(entry) {
    const { entryBytes } = this.#limits;
    for (let most = entryBytes; jsonBytes(entry) > entryBytes; most *= 0.9) {
      for (const [key, value] of Object.entries(entry.d)) {
        const text = typeof value === "string" ? value : JSON.stringify(value);
        if (text.length > most) {
          const start = text.slice(0, most - 1).replace(HALF_CHARACTER, "");
          entry.d[key] = `${start}…`;
        }
      }
      entry.d.truncated = true;
    }
  }
}

/** Sends the entries of one conversation, in order, until the server has them all. */
export class Outbox {
  #address;
  #world;
  #onstatus;
  #left;
  #entries;
  #transport;
  /** @type {Ending | null} */
  #ending = null;
  /** @type {number[]} */
  #inFlight = []; // the last number of each frame that is not answered yet
  /** @type {Status} */
  #status = "saved";
  #isClosed = false;
  #isForgotten = false;
  #isSavePending = false;
  /** @type {number} */
  #framesInFlight;
  #failures = 0; // since entries were last acknowledged
  #ackedAtCut = -1;
  #suspectUpTo = 0; // up to this number entries go one by one
  #startedAt;

  /**
   * @param {Address} address
   * @param {World} world
   * @param {(status: Status) => void} onstatus
   * @param {Left} [left] what an earlier page left of this conversation
   */
  constructor(address, world, onstatus, left) {
    this.#address = address;
    this.#world = world;
    this.#onstatus = onstatus;
    this.#left = left;
    this.#entries = new Entries(world.frames.LIMITS, left);
    if (left) this.#ending = { how: left.how ?? "", done() {} };
    this.#framesInFlight = world.frames.LIMITS.framesInFlight;
    this.#startedAt = world.now();
    this.#transport = new world.Transport(address, world, {
      onready: () => this.#pump(),
      onframe: (frame) => this.#read(frame),
      ondown: (down) => this.#goDown(down),
    });
  }

  /**
   * Take in an entry of this kind and content.
   * @param {string} kind
   * @param {Entry["d"]} data
   */
  add(kind, data) {
    if (this.#ending) return;
    const age = this.#world.now() - this.#startedAt;
    this.#entries.add(kind, Math.max(0, Math.round(age)), data);
    this.#save();
    this.#pump();
  }

  /**
   * Take nothing in any more; resolve with the server's reason once everything is saved,
   * and with "" when that will not happen on this page.
   * @param {string} how
   * @returns {Promise<string>}
   */
  end(how) {
    if (this.#ending || this.#isClosed) return Promise.resolve("");
    return new Promise((done) => {
      this.#ending = { how, done };
      this.#save();
      this.#pump();
    });
  }

  /**
   * Send the rest and the end in one request: the page goes away.
   * @param {string} how
   */
  leave(how) {
    if (this.#isClosed) return;
    this.#ending ??= { how, done() {} };
    this.#postRest({ last: this.#entries.last, how: this.#ending.how });
    this.#close();
  }

  /** Send what fits in one request that outlives the page. */
  flush() {
    if (!this.#isClosed && !this.#entries.isEmpty) this.#postRest();
  }

  /** Continue at once: the network or the page is back. */
  wake() {
    if (!this.#isClosed) this.#transport.wake();
  }

  /** @param {Bye} [bye] */
  async #postRest(bye) {
    const { flushBytes } = this.#world.frames.LIMITS;
    const items = this.#take(this.#entries.acked, flushBytes);
    const { frame } = await this.#transport.post({ items, bye }, true);
    if (frame) this.#read(frame);
  }

  /**
   * @param {number} after
   * @param {number} [bytes]
   */
  #take(after, bytes) {
    const { frameEntries, frameBytes } = this.#world.frames.LIMITS;
    const most = after < this.#suspectUpTo ? 1 : frameEntries;
    return this.#entries.take(after, most, bytes ?? frameBytes);
  }

  /** Send what may be sent now, and report the status. */
  #pump() {
    const isOpen = this.#transport.isOpen;
    if (isOpen) {
      this.#sendEntries();
      this.#sendBye();
    }
    this.#report(isOpen);
  }

  #sendEntries() {
    while (this.#inFlight.length < this.#window) {
      const after = this.#inFlight.at(-1) ?? this.#entries.acked;
      const items = this.#take(after);
      if (!items.length) return;
      this.#inFlight.push(after + items.length);
      this.#transport.send({ t: "ev", items });
    }
  }

  /** After a failure, or for suspects, one frame goes alone. */
  get #window() {
    const isProbing = this.#failures > 0 || this.#entries.acked < this.#suspectUpTo;
    return isProbing ? 1 : this.#framesInFlight;
  }

  #sendBye() {
    if (!this.#ending || this.#inFlight.length) return;
    const { how } = this.#ending;
    if (!how) {
      this.#close({ isForgotten: true }); // an earlier page did not say how it ended
      return;
    }
    const last = this.#entries.acked;
    this.#inFlight.push(last + 1);
    this.#transport.send({ t: "bye", bye: { last, how } });
  }

  /** @param {boolean} isOpen */
  #report(isOpen) {
    const status = this.#describe(isOpen);
    if (status === this.#status) return;
    this.#status = status;
    this.#onstatus(status);
  }

  /**
   * @param {boolean} isOpen
   * @returns {Status}
   */
  #describe(isOpen) {
    if (this.#entries.isEmpty) return "saved";
    const isWaiting = !isOpen && (this.#failures > 0 || this.#isClosed);
    return isWaiting ? "queued" : "saving";
  }

  /** @param {Frame} frame */
  #read(frame) {
    switch (frame.t) {
      case "welcome":
        this.#framesInFlight = frame.window ?? this.#framesInFlight;
        if (frame.age !== undefined) this.#startedAt = this.#world.now() - frame.age;
        this.#entries.restore(frame.ack ?? 0);
        this.#acknowledge(frame.ack ?? 0);
        break;
      case "ack":
        this.#acknowledge(frame.s);
        break;
      case "done":
        this.#acknowledge(this.#entries.last);
        this.#close({ reason: frame.reason, isForgotten: true });
        break;
      case "gap":
        this.#entries.restore(frame.s);
        this.#rewind();
        break;
      case "reject":
        this.#reject(frame);
        break;
      default: // what was sent before a pong or a retry has been lost
        this.#rewind(frame.after);
    }
    this.#pump();
  }

  /** @param {number} number */
  #acknowledge(number) {
    if (!this.#entries.acknowledge(number)) return;
    const { acked } = this.#entries;
    this.#inFlight = this.#inFlight.filter((last) => last > acked);
    this.#failures = 0;
    this.#save();
  }

  /** @param {Frame} frame */
  #reject({ s, code = "" }) {
    if (!this.#inFlight.length) return; // it came twice
    this.#replace(s, code);
    this.#rewind();
  }

  /**
   * @param {number[]} numbers
   * @param {string} reason
   */
  #replace(numbers, reason) {
    if (this.#entries.replace(numbers, reason)) this.#save();
    else this.#close(); // the server does not even take a gap entry
  }

  /** Send again what is in flight, after a while. */
  #rewind(after = 0) {
    if (this.#inFlight.length) this.#backOff(after);
  }

  #backOff(after = 0) {
    if (this.#isClosed) return;
    this.#inFlight = [];
    const longest = Math.min(LONGEST_WAIT_MS, SHORTEST_WAIT_MS * 2 ** this.#failures);
    this.#failures += 1;
    this.#transport.rest(Math.max(after, this.#world.random() * longest));
  }

  /** @param {Down} down */
  #goDown({ refusal, isCut, after }) {
    if (refusal) {
      this.#close({ isForgotten: FORGOTTEN.includes(refusal) });
      return;
    }
    if (isCut && this.#inFlight.length) this.#suspect();
    this.#backOff(after);
    this.#pump();
  }

  /**
   * When the same frame was cut twice, send its entries one by one. An entry that is cut
   * alone becomes a gap.
   */
  #suspect() {
    const { first, acked } = this.#entries;
    if (!first) return;
    if (first.s > this.#suspectUpTo) {
      this.#suspectUpTo = this.#ackedAtCut === acked ? this.#inFlight[0] : 0;
    } else if (first.k !== "gap") {
      this.#replace([first.s], "undeliverable");
    }
    this.#ackedAtCut = acked;
  }

  #close({ reason = "", isForgotten = false } = {}) {
    this.#isClosed = true;
    this.#isForgotten = isForgotten;
    this.#transport.close();
    this.#save();
    this.#pump();
    this.#ending?.done(reason);
  }

  /** Store what is left for the next page, once for all changes of this task. */
  async #save() {
    if (this.#isSavePending) return;
    this.#isSavePending = true;
    await null;
    this.#isSavePending = false;
    const { stream, ticket, post } = this.#address;
    const how = this.#ending?.how;
    const isDone = this.#isForgotten || (this.#entries.isEmpty && !how);
    if (isDone) {
      this.#world.store?.drop(stream, this.#left?.at);
    } else if (!this.#left) {
      const entries = this.#entries.copy();
      const { last } = this.#entries;
      this.#world.store?.put({
        stream,
        ticket,
        post,
        at: Date.now(),
        entries,
        how,
        last,
      });
    }
  }
}
