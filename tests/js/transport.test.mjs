// The transport, alone and below an outbox: sockets, POST, which answers end the log.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Outbox } from "../../django_perso/static/django_perso/outbox.js";
import { Transport } from "../../django_perso/static/django_perso/transport.js";
import {
  ADDRESS,
  Clock,
  numbers,
  open,
  problem,
  Server,
  texts,
  upTo,
  world,
} from "./world.mjs";

/** A transport alone, and what its listener hears. */
function connect(address = ADDRESS) {
  const server = new Server();
  const clock = new Clock();
  const heard = [];
  const transport = new Transport(address, world(server, clock), {
    onready: () => heard.push("ready"),
    onframe: ({ t }) => heard.push(t),
    ondown: (down) => heard.push(down),
  });
  return { server, clock, heard, transport };
}

test("pings are as frequent as the welcome says", async () => {
  const server = new Server();
  server.ping = 5;
  const { clock } = open({ server });
  await clock.wind(15_500);
  assert.equal(server.sockets[0].sent.filter((frame) => frame.t === "ping").length, 3);
});

test("a socket that does not answer a ping is given up", async () => {
  const { server, clock, say } = open();
  await clock.wind(0);
  server.hears = () => false;
  await clock.wind(21_000);
  assert.equal(server.sockets[0].isCut, undefined);
  await clock.wind(2000);
  assert.equal(server.sockets[0].isCut, true);
  say("one");
  await clock.wind(0);
  assert.deepEqual(numbers(server), [1]);
});

for (const [what, fault] of [
  ["is refused", { refusesSockets: 1006 }],
  ["is forbidden", { forbidsSockets: true }],
  ["is accepted and stays silent", { hears: () => false }],
  ["is cut after each hello", { hears: (_, socket) => socket.die(1006) }],
  ["swallows all but the hello", { hears: ({ t }) => t === "hello" }],
])
  test(`POST takes over within 10 s when the socket ${what}`, async () => {
    const server = Object.assign(new Server(), fault);
    const { clock, say, outbox } = open({ server, random: () => 1 });
    say("one");
    await clock.wind(10_000);
    assert.deepEqual(texts(server), ["one"]);
    outbox.leave("left");
  });

test("POST takes over within 10 s when a good socket turns silent", async () => {
  const { server, clock, say } = open({ random: () => 1 });
  say("one");
  await clock.wind(0);
  server.hears = () => false;
  say("two");
  await clock.wind(10_000);
  assert.deepEqual(texts(server), ["one", "two"]);
});

test("POST takes over when a socket answers only the first of two frames", async () => {
  const { server, clock, say } = open({ random: () => 1 });
  await clock.wind(0);
  server.hears = (frame) => frame.items?.[0].s !== 2;
  say("one");
  say("two");
  await clock.wind(10_000);
  assert.deepEqual(texts(server), ["one", "two"]);
});

test("sockets that turn silent twice are not tried again", async () => {
  const { server, clock, say } = open();
  say("one");
  await clock.wind(0);
  server.hears = ({ t }) => t === "hello";
  for (const n of upTo(20)) {
    say(`line ${n}`);
    await clock.wind(15_000);
  }
  assert.equal(server.last, 21);
  assert.equal(server.sockets.length, 2);
});

test("sockets are tried again after the site was out of reach", async () => {
  const { server, clock, say } = open();
  say("one");
  await clock.wind(0);
  for (const n of upTo(3)) {
    Object.assign(server, { hears: () => false, loses: () => true });
    say(`outage ${n}`);
    await clock.wind(60_000);
    Object.assign(server, { hears: () => true, loses: () => false });
    await clock.wind(60_000);
    say(`line ${n}`);
    await clock.wind(0);
    assert.equal(texts(server).at(-1), `line ${n}`);
    assert.equal(server.sockets.at(-1).sent.at(-1).items[0].d.text, `line ${n}`);
  }
});

test("later conversations of the page begin with POST", async () => {
  const first = new Server();
  first.refusesSockets = 1006;
  const clock = new Clock();
  const page = world(first, clock);
  new Outbox(ADDRESS, page, () => {});
  await clock.wind(10_000);
  assert.equal(first.sockets.length, 2);
  const second = new Server();
  const { fetch, WebSocket } = world(second, clock);
  const outbox = new Outbox(
    ADDRESS,
    Object.assign(page, { fetch, WebSocket }),
    () => {},
  );
  outbox.add("chat", { role: "visitor", text: "one" });
  await clock.wind(0);
  assert.deepEqual(texts(second), ["one"]);
  assert.equal(second.sockets.length, 0);
});

test("a transport that rests is not open until it wakes", async () => {
  const { server, clock, transport, heard } = connect();
  assert.equal(transport.isOpen, false);
  await clock.wind(0);
  assert.equal(transport.isOpen, true);
  transport.rest(1000);
  assert.equal(transport.isOpen, false);
  await clock.wind(1000);
  assert.equal(transport.isOpen, true);
  assert.deepEqual(heard, ["welcome", "ready"]);
  assert.equal(server.sockets.length, 1);
});

test("a closed transport hears nothing more", async () => {
  const { server, clock, transport, heard } = connect();
  transport.close();
  await clock.wind(60_000);
  server.sockets[0].cut(1006);
  assert.deepEqual(heard, []);
  assert.equal(clock.timers.size, 0);
});

test("a closed transport ignores the answer to its last request", async () => {
  const { server, clock, transport, heard } = connect({ ...ADDRESS, ws: null });
  await clock.wind(0);
  let answer;
  server.failsPost = () =>
    new Promise((done) => {
      answer = done;
    });
  transport.send({ t: "ev", items: [] });
  transport.close();
  answer(Response.json({ t: "ack", s: 0 }));
  await clock.wind(0);
  assert.deepEqual(heard, ["welcome"]);
});

for (const [code, down] of [
  [1006, { refusal: undefined, isCut: true }],
  [1009, { refusal: undefined, isCut: true }],
  [1012, { refusal: undefined, isCut: false }],
  [4401, { refusal: "not_authorised", isCut: false }],
  [4404, { refusal: "no_stream", isCut: false }],
  [4410, { refusal: "logged_out", isCut: false }],
])
  test(`a socket closed with ${code} says why`, async () => {
    const { server, clock, heard } = connect();
    await clock.wind(0);
    server.sockets[0].cut(code);
    assert.deepEqual(heard, ["welcome", down]);
  });

for (const code of [4401, 4403, 4404, 4409, 4410]) {
  test(`a socket closed with ${code} is not opened again`, async () => {
    const { server, clock, say, statuses } = open();
    await clock.wind(0);
    server.sockets[0].cut(code);
    say("one");
    await clock.wind(60_000);
    assert.equal(server.sockets.length, 1);
    assert.equal(server.posts.length, 0);
    assert.equal(statuses.at(-1), "unsaved");
  });
}

for (const code of [
  1000, 1005, 1008, 1009, 1011, 1013, 4000, 4400, 4408, 4413, 4429, 4503, 4999,
])
  test(`a socket closed with ${code} is opened again`, async () => {
    const { server, clock, say, statuses } = open();
    await clock.wind(0);
    server.sockets[0].cut(code);
    say("one");
    await clock.wind(1000);
    assert.equal(server.sockets.length, 2);
    assert.deepEqual(texts(server), ["one"]);
    assert.equal(statuses.at(-1), "saved");
  });

for (const text of ["<h1>Elsewhere</h1>", "null", '{"t": "news"}', '{"t": "ack"}'])
  test(`a socket message ${text} is ignored`, async () => {
    const { server, clock, say, statuses } = open();
    await clock.wind(0);
    server.sockets[0].onmessage({ data: text });
    say("one");
    await clock.wind(0);
    assert.deepEqual(texts(server), ["one"]);
    assert.equal(statuses.at(-1), "saved");
    assert.equal(server.sockets.length, 1);
  });

test("entries travel by POST when sockets never open", async () => {
  const server = new Server();
  server.refusesSockets = 1006;
  const { clock, say, statuses } = open({ server });
  for (const n of upTo(60)) say(`line ${n}`);
  await clock.wind(5000);
  assert.equal(server.sockets.length, 2);
  assert.deepEqual(numbers(server), upTo(60));
  assert.equal(statuses.at(-1), "saved");
  assert.deepEqual(Object.keys(server.posts[0]).sort(), [
    "hello",
    "items",
    "keepalive",
    "stream",
    "ticket",
    "url",
  ]);
});

test("entries travel by POST when WebSocket throws", async () => {
  const server = new Server();
  server.forbidsSockets = true;
  const { clock, say, statuses } = open({ server });
  for (const n of upTo(60)) say(`line ${n}`);
  await clock.wind(5000);
  assert.deepEqual(numbers(server), upTo(60));
  assert.equal(statuses.at(-1), "saved");
});

test("a site without sockets gets a POST every 15 s", async () => {
  const { server, clock, say } = open({ address: { ...ADDRESS, ws: null } });
  say("one");
  await clock.wind(100);
  assert.deepEqual(
    server.posts.map((post) => post.items.length),
    [0, 1],
  );
  await clock.wind(45_500);
  assert.deepEqual(
    server.posts.map((post) => post.items.length),
    [0, 1, 0, 0, 0],
  );
  assert.equal(server.sockets.length, 0);
});

test("entries of a POST with a lost answer are stored once", async () => {
  const { server, clock, say, statuses } = open({ address: { ...ADDRESS, ws: null } });
  await clock.wind(0);
  let lost = 0;
  server.failsPost = ({ items }) => {
    if (lost++) return Response.json(server.record(items));
    server.record(items);
    throw new TypeError("network");
  };
  say("one");
  await clock.wind(0);
  assert.equal(statuses.at(-1), "queued");
  await clock.wind(5000);
  assert.deepEqual(numbers(server), [1]);
  assert.equal(statuses.at(-1), "saved");
});

for (const status of [408, 429, 503])
  test(`a POST answered ${status} is repeated after Retry-After`, async () => {
    const { server, clock, say } = open({ address: { ...ADDRESS, ws: null } });
    await clock.wind(0);
    server.failsPost = () =>
      new Response("", { status, headers: { "Retry-After": "20" } });
    say("one");
    await clock.wind(0);
    server.failsPost = null;
    await clock.wind(19_000);
    assert.deepEqual(numbers(server), []);
    await clock.wind(2000);
    assert.deepEqual(numbers(server), [1]);
  });

for (const [status, code] of [
  [410, "logged_out"],
  [401, "not_authorised"],
  [403, "origin"],
  [404, "no_stream"],
  [409, "superseded"],
])
  test(`a POST refused with ${status} ${code} is not repeated`, async () => {
    const { server, clock, say, statuses } = open({
      address: { ...ADDRESS, ws: null },
    });
    await clock.wind(0);
    server.failsPost = () => problem(status, code);
    say("one");
    await clock.wind(120_000);
    assert.equal(server.posts.length, 2);
    assert.equal(statuses.at(-1), "unsaved");
  });

const page = (status) =>
  new Response(status === 204 ? null : "<h1>Not yours</h1>", {
    status,
    headers: { "Content-Type": "text/html" },
  });
const json = (body, status = 200, type = "application/json") =>
  new Response(JSON.stringify(body), { status, headers: { "Content-Type": type } });
for (const [what, answer] of [
  ...[200, 204, 302, 400, 401, 403, 404, 405, 409, 413, 418, 429, 500, 502].map(
    (status) => [`a page with status ${status}`, () => page(status)],
  ),
  ["an empty body", () => new Response("")],
  ["JSON that is no object", () => json(null)],
  ["JSON of somebody else", () => json({ status: "ok" })],
  ["a frame nobody knows", () => json({ t: "hello" })],
  ["a frame with status 404", () => json({ t: "ack", s: 1 }, 404)],
  ["a problem of somebody else", () => json({ code: "no_stream" }, 404)],
  ["a problem nobody knows", () => problem(404, "not_found")],
  ["a problem called toString", () => problem(404, "toString")],
  ["a problem that will pass", () => problem(503, "database_unavailable")],
  ["a body that cannot be read", () => problem(400, "bad_request")],
  ["a body that is too big", () => problem(413, "too_big")],
])
  test(`a POST answered with ${what} is repeated`, async () => {
    const { server, clock, say, statuses } = open({
      address: { ...ADDRESS, ws: null },
    });
    await clock.wind(0);
    server.failsPost = answer;
    say("one");
    await clock.wind(60_000);
    say("two");
    assert.equal(statuses.at(-1), "queued");
    assert.ok(server.posts.length > 3, `${server.posts.length} requests in a minute`);
    assert.ok(server.posts.length < 15, `${server.posts.length} requests in a minute`);
    server.failsPost = null;
    await clock.wind(31_000);
    assert.deepEqual(texts(server), ["one", "two"]);
    assert.equal(statuses.at(-1), "saved");
  });

test("Retry-After delays a POST by ten minutes at most", async () => {
  const { server, clock, say } = open({ address: { ...ADDRESS, ws: null } });
  await clock.wind(0);
  const headers = { "Retry-After": "9999999" };
  server.failsPost = () => new Response("", { status: 503, headers });
  say("one");
  await clock.wind(599_000);
  assert.equal(server.posts.length, 2);
  server.failsPost = null;
  await clock.wind(2000);
  assert.equal(server.rows[0].d.text, "one");
});
