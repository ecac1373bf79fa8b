// The outbox replays the traces that browser and server share, frame by frame.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as frames from "../../django_perso/static/django_perso/frames.js";
import { Outbox, resend } from "../../django_perso/static/django_perso/outbox.js";
import { Transport } from "../../django_perso/static/django_perso/transport.js";
import { ADDRESS, Clock, Server, settle, Shelf } from "./world.mjs";

const { traces } = JSON.parse(
  readFileSync(new URL("../traces/log.json", import.meta.url), "utf8"),
);
const lines = ([first, last]) =>
  Array.from({ length: last - first + 1 }, (_, i) => `line ${first + i}`);
const said = (text) => ({ k: "chat", d: { role: "visitor", text } });
const meant = (list) =>
  list
    .flatMap((told) => (told.lines ? lines(told.lines) : [told]))
    .map((told) => (typeof told === "string" ? said(told) : told));
const content = (entries) => entries.map(({ k, d }) => ({ k, d }));

/** A connection on which nothing moves unless the trace says so. */
class Line {
  sockets = [];
  sent = []; // what no step has mentioned yet
  named = new Map();
  clock = new Clock();
  server = Object.assign(new Server(), {
    refuses: ({ k, d }) => (k === "chat" && d.role === "nobody" ? "bad_schema" : null),
  });
  store = new Shelf();

  constructor() {
    const line = this;
    class Socket {
      constructor() {
        line.sockets.push(this);
      }
      send(text) {
        const { t, items = [], ...bye } = JSON.parse(text);
        line.sent.push({ t, items, bye: t === "bye" ? bye : null, socket: this });
      }
      close() {}
    }
    const fetch = (_, { body }) =>
      new Promise((resolve, reject) => {
        const { items, bye = null } = JSON.parse(body);
        this.sent.push({ t: "post", items, bye, resolve, reject });
      });
    const { now, setTimeout, clearTimeout } = this.clock;
    this.world = {
      frames,
      Transport,
      WebSocket: Socket,
      fetch,
      random: () => 0.5,
      store: this.store,
      now,
      setTimeout,
      clearTimeout,
    };
    this.outbox = new Outbox(ADDRESS, this.world, () => {});
  }

  async play(step) {
    const [verb] = Object.keys(step);
    await this[verb](step[verb], step);
    await settle();
  }
  add = (entries) => meant(entries).forEach(({ k, d }) => this.outbox.add(k, d));
  end = (how) => {
    this.outbox.end(how);
  };
  hide = () => this.outbox.flush();
  leave = (how) => this.outbox.leave(how);
  visit = () => resend(this.world);
  wait = (ms) => this.clock.wind(ms);

  hello(ack) {
    const socket = this.open();
    socket.onopen();
    assert.equal(this.sent.shift()?.t, "hello");
    this.server.lease = (this.server.lease ?? 0) + 1;
    socket.lease = this.server.lease;
    assert.equal(this.server.last, ack);
    this.tell(socket, { t: "welcome", ack, age: this.clock.time, window: 4, ping: 15 });
  }
  refuse(code) {
    this.open().onclose({ code });
  }
  open() {
    const socket = this.sockets.shift();
    assert.ok(socket, "the outbox has opened a socket");
    this.socket = socket;
    return socket;
  }
  cut(code) {
    this.socket.onclose({ code });
  }
  tell(socket, frame) {
    socket.onmessage({ data: JSON.stringify(frame) });
  }

  send(entries, step) {
    this.#take({ ...step, items: entries, bye: null });
  }
  bye(last, step) {
    this.#take({ ...step, items: step.items ?? [], bye: { last, how: step.how } });
  }
  #take({ items, bye, by = "socket", from, as: name = "", answer }) {
    const frame = this.sent.shift();
    assert.ok(frame, "the outbox has sent a frame");
    assert.equal(frame.socket ? "socket" : "post", by);
    assert.deepEqual(
      { items: content(frame.items), bye: frame.bye },
      { items: meant(items), bye },
    );
    if (items.length) assert.equal(frame.items[0].s, from);
    this.named.set(name, frame);
    if (name) return;
    this.reach(name, { answer });
    this.hear(name);
  }

  reach(name, { answer }) {
    const frame = this.named.get(name);
    frame.answer = answer.t === "retry" ? answer : this.#commit(frame);
    assert.deepEqual(frame.answer, answer);
  }
  #commit({ items, bye, socket }) {
    if (socket && socket.lease !== this.server.lease) return { close: 4409 };
    const taken = this.server.record(items);
    if (!bye || taken.t !== "ack") return taken;
    this.ended = bye.last === this.server.last;
    return this.ended ? { t: "done" } : { t: "gap", s: this.server.last };
  }
  hear(name) {
    const { socket, answer, resolve } = this.named.get(name);
    if (socket) this.tell(socket, answer);
    else resolve(Response.json(answer));
  }
  fail(name) {
    this.named.get(name).reject(new TypeError("network"));
  }
}

for (const { name, steps, stored, ended = false } of traces) {
  test(name, async () => {
    const line = new Line();
    for (const [index, step] of steps.entries()) {
      await line
        .play(step)
        .catch((error) =>
          assert.fail(`step ${index + 1} ${JSON.stringify(step)}: ${error.message}`),
        );
    }
    assert.deepEqual(line.sent, [], "nothing else was sent");
    assert.deepEqual(content(line.server.rows), meant(stored));
    assert.equal(line.ended ?? false, ended);
    assert.equal(line.store.left.size, 0, "nothing is left for another page");
  });
}
