/**
 * The outbox of the log: keeps the entries of one conversation until the server has
 * acknowledged them, and decides when they are sent, again and again if need be. It uses
 * neither the network nor the DOM.
 */

const ENVELOPE_BYTES = 2048; // of a frame or body around its entries
const SHORTEST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
const DAY_MS = 86_400_000;
const UNSAVED_MS = 120_000; // without an acknowledgement; then the status says so
const ADOPTING_MS = 3000; // for the browser's store
// An entry that got lost alone so often, while the server answered, becomes a gap.
const LOSSES = 3;
const LOSSES_APART_MS = 2000;
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
    WebSocket: globalThis.WebSocket, // some pages remove it
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
      world.store?.drop(left.stream);
    } else {
      const { stream, ticket, post } = left;
      const address = { stream, ticket, post, ws: null, isLeft: true };
      new Outbox(address, world, () => {}, left);
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
  #adoptedUpTo = 0; // entries up to this number come from an earlier page

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
   * Put what an earlier page left before the entries of this page, unless some were sent.
   * @param {Left} left
   */
  adopt({ entries, last }) {
    if (this.#highestSent > 0) return;
    this.#putFirst(entries, last);
    this.#adoptedUpTo = last;
  }

  /**
   * Number the entries of this page from there on if the server has entries of the conversation
   * that this browser does not know. Return the number that is before theirs.
   * @param {number} number the last one that the server has
   */
  continueAfter(number) {
    const isSent = this.#highestSent > this.#adoptedUpTo;
    if (isSent || number <= this.#adoptedUpTo) return this.#adoptedUpTo;
    this.acknowledge(this.#adoptedUpTo);
    this.#putFirst([], number);
    return number;
  }

  /**
   * Put entries, of which the last has that number, before those that are kept, and number
   * these from there on.
   * @param {Entry[]} entries
   * @param {number} last
   */
  #putFirst(entries, last) {
    const own = this.#kept;
    this.#kept = entries;
    this.#acked = last - entries.length;
    this.#bytes = entries.reduce((sum, entry) => sum + jsonBytes(entry), 0);
    for (const entry of own) this.#append({ ...entry, s: this.last + 1 });
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
  #trouble = "site_unreachable"; // what is the matter, if anything
  #toldTrouble = "";
  #isLate = false; // nothing was acknowledged for two minutes
  /** @type {any} */
  #lateTimer;
  #adopted;
  #isNumbered; // the server has said where the numbers go on
  #knownUpTo = 0; // entries up to this number are the server's, or were adopted
  /** @type {Entry[]} */
  #handedOver = []; // by the page that wrote the log before, not yet taken over
  #handedOverUpTo = 0; // by this page, to the one that writes the log now
  #isClosed = false;
  #isRefused = false;
  #isForgotten = false;
  #isSavePending = false;
  /** @type {number} */
  #framesInFlight;
  /** @type {number} */
  #frameEntries; // at most so many in a frame; fewer after losses
  #failures = 0; // since entries were last acknowledged
  #ackedAtLoss = -1;
  #suspect = { s: 0, losses: 0, lostAt: -Infinity, isProven: true };
  #startedAt;

  /**
   * @param {Address} address
   * @param {World} world
   * @param {StatusListener} onstatus
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
    this.#frameEntries = world.frames.LIMITS.frameEntries;
    this.#startedAt = world.now();
    this.#isNumbered = Boolean(left);
    this.#adopted = left ? null : this.#adopt();
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
    const isFirst = this.#entries.isEmpty;
    this.#entries.add(kind, Math.max(0, Math.round(age)), data);
    if (isFirst) this.#expectAck();
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

  /** Take over what the browser keeps of this conversation, from an earlier page. */
  async #adopt() {
    const { store, setTimeout } = this.#world;
    if (!store) return;
    const late = new Promise((resolve) => {
      setTimeout(() => resolve([]), ADOPTING_MS);
    });
    /** @type {Left[]} */
    const found = await Promise.race([store.all(), late]);
    const left = found.find(({ stream }) => stream === this.#address.stream);
    if (left) this.#entries.adopt(left);
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
    const { frameBytes } = this.#world.frames.LIMITS;
    return this.#entries.take(after, this.#frameEntries, bytes ?? frameBytes);
  }

  /** Send what may be sent now, and report the status. */
  #pump() {
    const isOpen = this.#transport.isOpen;
    if (isOpen && this.#isNumbered) {
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

  /** After a failure, and until frames have their full size again, one frame goes alone. */
  get #window() {
    const { frameEntries } = this.#world.frames.LIMITS;
    const isProbing = this.#failures > 0 || this.#frameEntries < frameEntries;
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
    const trouble = status === "unsaved" ? this.#trouble : "";
    if (status === this.#status && trouble === this.#toldTrouble) return;
    this.#status = status;
    this.#toldTrouble = trouble;
    this.#onstatus(status, trouble);
  }

  /**
   * @param {boolean} isOpen
   * @returns {Status}
   */
  #describe(isOpen) {
    if (this.#entries.isEmpty) return "saved";
    if (this.#isRefused || this.#isLate) return "unsaved";
    const isWaiting = !isOpen && (this.#failures > 0 || this.#isClosed);
    return isWaiting ? "queued" : "saving";
  }

  /** @param {Frame} frame */
  #read(frame) {
    switch (frame.t) {
      case "welcome":
        if (!this.#isNumbered) {
          this.#begin(frame);
          return;
        }
        this.#welcome(frame);
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
      case "retry":
        this.#trouble = "site_busy";
        this.#rewind(frame.after);
        break;
      default: // what was sent before a pong has been lost
        this.#rewind();
    }
    this.#pump();
  }

  /**
   * Number the entries of this page, at its first welcome.
   * @param {Frame} frame
   */
  async #begin(frame) {
    await this.#adopted;
    this.#knownUpTo = this.#entries.continueAfter(frame.ack ?? 0);
    this.#isNumbered = true;
    this.#welcome(frame);
    this.#pump();
  }

  /** @param {Frame} frame */
  #welcome({ window, age, ack = 0 }) {
    this.#framesInFlight = window ?? this.#framesInFlight;
    if (age !== undefined) this.#startedAt = this.#world.now() - age;
    this.#inFlight = []; // what was sent by another transport is sent again
    this.#entries.restore(ack);
    this.#acknowledge(ack);
    this.#judgeSuspect();
  }

  /** @param {number} number */
  #acknowledge(number) {
    if (!this.#entries.acknowledge(number)) return;
    const { acked } = this.#entries;
    this.#inFlight = this.#inFlight.filter((last) => last > acked);
    this.#failures = 0;
    const { frameEntries } = this.#world.frames.LIMITS;
    this.#frameEntries = Math.min(frameEntries, this.#frameEntries * 2);
    this.#expectAck();
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
    else this.#refuse(reason); // the server does not even take a gap entry
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
  #goDown({ refusal, isCut, after, trouble }) {
    if (refusal) {
      this.#refuse(refusal);
      return;
    }
    this.#trouble = trouble ?? "site_unreachable";
    if (isCut) this.#noteLostFrame();
    this.#backOff(after);
    this.#pump();
  }

  /**
   * A frame was lost, perhaps because of what it carried. When that happens again, send smaller
   * ones.
   */
  #noteLostFrame() {
    const { first, acked } = this.#entries;
    if (!first || !this.#inFlight.length) return;
    const size = this.#inFlight[0] - acked;
    const isAlone = size === 1 && this.#inFlight.length === 1;
    if (isAlone) this.#noteLostEntry(first.s);
    const { frameEntries } = this.#world.frames.LIMITS;
    const isAgain = this.#ackedAtLoss === acked || this.#frameEntries < frameEntries;
    if (isAgain) this.#frameEntries = Math.max(1, Math.floor(size / 2));
    this.#ackedAtLoss = acked;
  }

  /** @param {number} s of an entry that was sent alone */
  #noteLostEntry(s) {
    const now = this.#world.now();
    if (this.#suspect.s !== s) {
      this.#suspect = { s, losses: 0, lostAt: -Infinity, isProven: true };
    }
    if (now - this.#suspect.lostAt < LOSSES_APART_MS) return;
    this.#suspect.lostAt = now;
    this.#suspect.isProven = false; // until the server answers something else
  }

  /** The server has answered an empty request after an entry was lost. */
  #judgeSuspect() {
    const { first } = this.#entries;
    const suspect = this.#suspect;
    if (first?.s !== suspect.s || suspect.isProven) return;
    suspect.isProven = true;
    suspect.losses += 1;
    if (suspect.losses < LOSSES || first.k === "gap") return;
    this.#replace([first.s], "undeliverable");
  }

  /** Report the status again if nothing is acknowledged for a long time from now. */
  #expectAck() {
    const { setTimeout, clearTimeout } = this.#world;
    clearTimeout(this.#lateTimer);
    this.#isLate = false;
    if (this.#entries.isEmpty || this.#isClosed) return;
    const report = () => {
      this.#isLate = true;
      // The site's staff will see it in the transcript.
      this.add("state", { name: "unsaved", detail: this.#trouble });
      this.#pump();
    };
    this.#lateTimer = setTimeout(report, UNSAVED_MS);
  }

  /**
   * Stop: the server takes no more entries.
   * @param {string} code
   */
  #refuse(code) {
    if (this.#isClosed) return;
    this.#isRefused = true;
    this.#trouble = code;
    this.#close({ isForgotten: FORGOTTEN.includes(code) });
  }

  #close({ reason = "", isForgotten = false } = {}) {
    this.#isClosed = true;
    this.#isForgotten = isForgotten;
    this.#transport.close();
    this.#expectAck();
    this.#save();
    this.#pump();
    this.#ending?.done(reason);
  }

  /** Store what is left for the next page, once for all changes of this task. */
  async #save() {
    if (this.#isSavePending) return;
    this.#isSavePending = true;
    await this.#adopted;
    this.#isSavePending = false;
    const { store } = this.#world;
    if (!store) return;
    const isSuperseded = this.#isRefused && this.#trouble === "superseded";
    if (this.#left) this.#saveLeft(store, this.#left);
    else if (isSuperseded) this.#handOver(store);
    else this.#takeOver(await this.#saveOwn(store));
  }

  /**
   * @param {Store} store
   * @param {Left} left
   */
  #saveLeft(store, { stream, at, how }) {
    if (this.#isRefused && this.#isForgotten) store.drop(stream);
    else if (this.#isForgotten || (this.#entries.isEmpty && !how)) {
      store.dropUntil(stream, at);
    }
  }

  /**
   * Return what an earlier page has handed over.
   * @param {Store} store
   */
  #saveOwn(store) {
    const left = this.#describeLeft(this.#entries.copy());
    const isDone = this.#isForgotten || (this.#entries.isEmpty && !left.how);
    return isDone ? store.drop(left.stream) : store.put(left);
  }

  /**
   * @param {Entry[]} entries
   * @returns {Left}
   */
  #describeLeft(entries) {
    const { stream, ticket, post } = this.#address;
    const how = this.#ending?.how;
    const { last } = this.#entries;
    return { stream, ticket, post, at: Date.now(), entries, how, last };
  }

  /**
   * Another page writes the log now: leave it the entries that it cannot know.
   * @param {Store} store
   */
  #handOver(store) {
    const entries = this.#entries.copy().filter(({ s }) => s > this.#handedOverUpTo);
    this.#handedOverUpTo = this.#entries.last;
    if (entries.length) store.handOver(this.#describeLeft(entries));
  }

  /**
   * Take in what the page has handed over that wrote the log before, unless this page has
   * adopted it, or the server had it already.
   * @param {Entry[]} handedOver
   */
  #takeOver(handedOver) {
    this.#handedOver.push(...handedOver);
    if (!this.#isNumbered || this.#isClosed || !this.#handedOver.length) return;
    for (const { s, k, t, d } of this.#handedOver.splice(0)) {
      if (s > this.#knownUpTo) this.#entries.add(k, t, d);
    }
    this.#expectAck();
    this.#save();
    this.#pump();
  }
}
