// A world for the log: a clock that tests wind, and a server that follows perso.log.1.
import * as frames from "../../django_perso/static/django_perso/frames.js";
import { Outbox } from "../../django_perso/static/django_perso/outbox.js";
import { Transport } from "../../django_perso/static/django_perso/transport.js";

export const ADDRESS = {
  stream: "6f1c",
  ticket: "t0",
  ws: "ws://host/perso/log/",
  post: "/perso/log/entries/",
};

export const upTo = (n) => Array.from({ length: n }, (_, i) => i + 1);
export const texts = (server) => server.rows.map((row) => row.d.text ?? row.d.reason);
export const numbers = (server) => server.rows.map((row) => row.s);

/** A refusal as the app's views write it. */
export const problem = (status, code) =>
  new Response(JSON.stringify({ type: "about:blank", status, code }), {
    status,
    headers: { "Content-Type": "application/problem+json" },
  });

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
  clearTimeout = (id) => {
    this.timers.delete(id);
  };

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

/** A store in memory. What one page leaves, the next one finds as it was when put. */
export class Shelf {
  left = new Map();
  puts = 0;
  put = async (left) => {
    this.puts += 1;
    const late = this.left.get(left.stream)?.late ?? [];
    this.left.set(left.stream, structuredClone(left));
    return late;
  };
  drop = async (stream) => {
    const late = this.left.get(stream)?.late ?? [];
    this.left.delete(stream);
    return late;
  };
  dropUntil = async (stream, at) => {
    const kept = this.left.get(stream);
    if (kept?.at <= at && !kept.late) this.left.delete(stream);
  };
  handOver = async ({ entries, ...left }) => {
    const kept = this.left.get(left.stream) ?? { ...left, entries: [], last: 0 };
    const late = structuredClone([...(kept.late ?? []), ...entries]);
    this.left.set(left.stream, { ...kept, late });
  };
  all = async () => [...this.left.values()].map((left) => structuredClone(left));
}

/** The server's side of one conversation: what it has stored, and the faults of a test. */
export class Server {
  rows = [];
  hellos = 0;
  lease = 0;
  sockets = [];
  posts = [];
  window = 4;
  ping = 15;
  refuses = () => null; // entry → reject code
  answers = (frame) => [frame]; // a fault: drops, repeats or changes answers
  hears = () => true; // a fault: loses what arrives
  loses = () => false; // a fault: loses a POST

  get last() {
    return this.rows.length;
  }

  /** One transaction: new entries are stored until a hole or a bad entry. */
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

  /** Let the caller alone write from now on. */
  welcome(age) {
    this.hellos += 1;
    this.lease += 1;
    const { last: ack, lease, ping } = this;
    return { t: "welcome", ack, age, ping, lease };
  }

  /** Return the response to a body. */
  answerPost({ items, bye, lease, hello }, now) {
    if (hello) {
      return Response.json({ ...this.welcome(this.age ?? now), window: 1 });
    }
    if (lease && lease !== this.lease) return problem(409, "superseded");
    const taken = this.record(items);
    return Response.json(bye && taken.t === "ack" ? this.answer({ bye }) : taken);
  }

  /** Return the answer to a frame or a body. */
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

/** The world of an outbox whose sockets and requests reach `server`. */
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
        const { age = clock.time, window } = server;
        const welcome = { ...server.welcome(age), window };
        this.lease = welcome.lease;
        return server.answers(welcome);
      }
      if (this.lease !== server.lease) {
        this.cut(4409, "superseded");
        return [];
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
    /** As cut(), but after the current task, as browsers do. */
    die(code) {
      this.isCut = true;
      queueMicrotask(() => this.onclose?.({ code, reason: "" }));
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
    return server.answerPost(message, clock.time);
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

/** A random number generator (xorshift) whose cases can be replayed by their seed. */
export function dice(seed) {
  let x = seed + 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 2 ** 32;
  };
}

/** A page with an outbox, without a store. */
export function open({ address = ADDRESS, server = new Server(), random } = {}) {
  const clock = new Clock();
  const statuses = [];
  const troubles = [];
  const page = world(server, clock, { random });
  const outbox = new Outbox(address, page, (status, trouble) => {
    statuses.push(status);
    troubles.push(trouble);
  });
  const say = (text) => outbox.add("chat", { role: "visitor", text });
  return { server, clock, statuses, troubles, outbox, say };
}
