// A world for the outbox: a clock that is wound by hand, and a server that keeps the rules of perso.log.1.
import * as frames from "../../django_perso/static/django_perso/frames.js";
import { Transport } from "../../django_perso/static/django_perso/transport.js";

/** Timers that run when the test winds the clock; `settle` lets pending promises finish. */
export class Clock {
  time = 0;
  timers = new Map();
  now = () => this.time;
  setTimeout = (run, ms) => {
    const id = Symbol(ms);
    this.timers.set(id, { at: this.time + ms, run });
    return id;
  };
  clearTimeout = (id) => void this.timers.delete(id);

  async wind(ms) {
    const end = this.time + ms;
    for (;;) {
      await settle();
      const due = [...this.timers]
        .filter(([, timer]) => timer.at <= end)
        .sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      this.timers.delete(due[0]);
      this.time = Math.max(this.time, due[1].at);
      due[1].run();
    }
    this.time = end;
  }
}

export const settle = () => new Promise((done) => setImmediate(done));

/** A browser's store: what one page leaves the next one finds, as it was when it was put. */
export class Shelf {
  left = new Map();
  puts = 0;
  put = (left) => void (this.puts++, this.left.set(left.stream, structuredClone(left)));
  drop = (stream, at = Infinity) =>
    void (this.left.get(stream)?.at <= at && this.left.delete(stream));
  all = async () => [...this.left.values()].map((left) => structuredClone(left));
}

/** The server's side of one stream: what it has written down, and the faults a test asks for. */
export class Server {
  rows = [];
  hellos = 0;
  sockets = [];
  posts = [];
  window = 4;
  ping = 15;
  refuses = () => null; // entry → reject code
  answers = (frame) => [frame]; // a fault: drop, double or change what goes back
  hears = () => true; // a fault: lose what arrives
  loses = () => false; // a fault: a POST gets no answer, and did not arrive

  get last() {
    return this.rows.length;
  }

  /** One transaction, as the protocol tells it: what follows is written, a hole or a bad entry stops the rest. */
  record(items) {
    const bad = items.findIndex((entry) => entry.k !== "gap" && this.refuses(entry));
    const good = bad < 0 ? items : items.slice(0, bad);
    for (const entry of good) if (entry.s === this.last + 1) this.rows.push(entry);
    const at = bad < 0 ? 0 : items[bad].s;
    if (Math.max(0, ...good.map((entry) => entry.s), at - 1) > this.last)
      return { t: "gap", s: this.last };
    if (at > this.last) return { t: "reject", s: [at], code: this.refuses(items[bad]) };
    return { t: "ack", s: this.last };
  }

  /** What a frame or a body is answered with. */
  answer(message) {
    if (message.bye) {
      this.bye = message.bye;
      return message.bye.last === this.last
        ? { t: "done", reason: "GRACEFUL_TERMINATION" }
        : { t: "gap", s: this.last };
    }
    return this.record(message.items);
  }
}

/** The world an outbox lives in, joined to `server` by sockets and POST. */
export function world(server, clock, { random = () => 0.5, store } = {}) {
  class FakeSocket {
    sent = [];
    constructor(url) {
      if (server.forbidsSockets) throw new Error("by the site's policy");
      Object.assign(this, { url, isOpen: false });
      server.sockets.push(this);
      queueMicrotask(() =>
        server.refusesSockets ? this.cut(server.refusesSockets) : this.onopen?.(),
      );
    }
    send(text) {
      const frame = JSON.parse(text);
      this.sent.push({ ...frame, bytes: new TextEncoder().encode(text).length });
      if (this.isCut || !server.hears(frame, this)) return;
      for (const answer of this.replies(frame))
        queueMicrotask(() => this.onmessage?.({ data: JSON.stringify(answer) }));
    }
    replies(frame) {
      if (frame.t === "hello") {
        server.hellos += 1;
        const { last: ack, age = clock.time, window, ping } = server;
        return server.answers({ t: "welcome", ack, age, window, ping });
      }
      if (frame.t === "ping") return server.answers({ t: "pong" });
      return server.answers(
        server.answer(
          frame.t === "bye" ? { bye: { last: frame.last, how: frame.how } } : frame,
        ),
        frame,
      );
    }
    cut(code) {
      this.isCut = true;
      this.onclose?.({ code });
    }
    /** As cut, but later than what is being done: so a browser hears of it. */
    die(code) {
      this.isCut = true;
      queueMicrotask(() => this.onclose?.({ code }));
    }
    close() {
      this.isCut = true;
    }
  }
  const fetch = async (url, { body, keepalive }) => {
    const message = JSON.parse(body);
    server.posts.push({ url, keepalive, ...message });
    if (server.failsPost) return server.failsPost(message);
    if (server.loses()) throw new TypeError("network");
    const { stream: _stream, ticket: _ticket, ...told } = message;
    const taken = told.items.length ? server.record(told.items) : null;
    return Response.json(
      taken && !(told.bye && taken.t === "ack") ? taken : server.answer(told),
    );
  };
  return {
    frames,
    Transport,
    WebSocket: FakeSocket,
    fetch,
    random,
    store,
    now: clock.now,
    setTimeout: clock.setTimeout,
    clearTimeout: clock.clearTimeout,
  };
}

/** A small chance generator (xorshift), so that a failing case can be replayed by its seed. */
export function dice(seed) {
  let x = seed + 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 2 ** 32;
  };
}
