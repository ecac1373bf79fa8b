// The outbox against a server that keeps the rules of the log protocol, with faults in between.
import assert from "node:assert/strict";
import { test } from "node:test";

import { LIMITS } from "../../django_perso/static/django_perso/frames.js";
import { Outbox } from "../../django_perso/static/django_perso/outbox.js";
import { Clock, Server, settle, world } from "./world.mjs";

const ADDRESS = {
  stream: "6f1c",
  ticket: "t0",
  ws: "ws://host/perso/log/",
  post: "/perso/log/entries/",
};

function open({ address = ADDRESS, server = new Server(), random } = {}) {
  const clock = new Clock();
  const statuses = [];
  const outbox = new Outbox(address, world(server, clock, { random }), (status) =>
    statuses.push(status),
  );
  const say = (text) => outbox.add("chat", { role: "visitor", text });
  return { server, clock, statuses, outbox, say };
}

const texts = (server) => server.rows.map((row) => row.d.text ?? row.d.reason);
const numbers = (server) => server.rows.map((row) => row.s);
const upTo = (n) => Array.from({ length: n }, (_, i) => i + 1);

test("an entry is saved once the server has acknowledged it, not before", async () => {
  const { server, clock, statuses, say } = open();
  say("hello");
  assert.deepEqual(statuses, ["saving"]);
  await clock.wind(0);
  assert.deepEqual(statuses, ["saving", "saved"]);
  assert.deepEqual(texts(server), ["hello"]);
  assert.deepEqual(server.sockets[0].sent[0], {
    t: "hello",
    stream: "6f1c",
    ticket: "t0",
    bytes: 43,
  });
});

test("the ticket is never part of an address", async () => {
  const { server, clock } = open();
  await clock.wind(0);
  assert.equal(server.sockets[0].url, ADDRESS.ws);
});

test("an entry's time goes on from the age the server tells", async () => {
  const server = new Server();
  server.age = 48_000;
  const { clock, say } = open({ server });
  await clock.wind(10);
  await clock.wind(500);
  say("later");
  await clock.wind(0);
  assert.ok(Math.abs(server.rows[0].t - 48_500) <= 10, `t is ${server.rows[0].t}`);
});

test("entries whose acknowledgement was lost are sent again and written once", async () => {
  const { server, clock, statuses, say } = open();
  server.answers = (frame) => (frame.t === "ack" ? [] : [frame]);
  say("one");
  say("two");
  await clock.wind(0);
  assert.equal(server.last, 2);
  assert.equal(statuses.at(-1), "saving");
  server.answers = (frame) => [frame];
  server.sockets[0].cut(1006);
  await clock.wind(1000);
  assert.deepEqual(texts(server), ["one", "two"]);
  assert.equal(statuses.at(-1), "saved");
});

test("a doubled answer changes nothing", async () => {
  const { server, clock, statuses, say } = open();
  server.answers = (frame) => [frame, frame];
  for (const n of upTo(9)) say(`line ${n}`);
  await clock.wind(0);
  assert.deepEqual(numbers(server), upTo(9));
  assert.equal(statuses.at(-1), "saved");
});

test("a late acknowledgement of fewer entries takes nothing back", async () => {
  const { server, clock, statuses, say } = open();
  const late = [];
  server.answers = (frame) =>
    frame.t === "ack"
      ? (late.push(frame), late.length < 3 ? [] : late.splice(0).reverse())
      : [frame];
  for (const n of upTo(3)) {
    say(`line ${n}`);
    await clock.wind(0);
  }
  assert.deepEqual(numbers(server), upTo(3));
  assert.equal(statuses.at(-1), "saved");
  server.answers = (frame) => [frame];
  say("line 4");
  await clock.wind(0);
  assert.deepEqual(numbers(server), upTo(4));
});

test("a frame lost on the way is answered with gap, and all is sent again in order", async () => {
  const { server, clock, say, statuses } = open();
  await clock.wind(0);
  let lost = 0;
  server.hears = (frame) =>
    !(frame.t === "ev" && frame.items[0].s === 1 && lost++ === 0);
  for (const n of upTo(6)) say(`line ${n}`);
  await clock.wind(0);
  assert.deepEqual(numbers(server), []);
  assert.equal(statuses.at(-1), "queued");
  await clock.wind(30_000);
  assert.deepEqual(numbers(server), upTo(6));
  assert.equal(statuses.at(-1), "saved");
});

test("a frame lost on a socket that lives on is missed at the next pong, and sent again on the same socket", async () => {
  const { server, clock, say, statuses } = open();
  await clock.wind(0);
  server.hears = (frame) => frame.t !== "ev";
  say("one");
  await clock.wind(14_000);
  assert.equal(statuses.at(-1), "saving");
  server.hears = () => true;
  await clock.wind(2000);
  assert.deepEqual(texts(server), ["one"]);
  assert.equal(statuses.at(-1), "saved");
  assert.equal(server.sockets.length, 1);
});

test("a server that answers gap for ever is asked more and more slowly", async () => {
  const { server, clock, say } = open();
  server.answer = () => ({ t: "gap", s: 7 });
  say("one");
  await clock.wind(10 * 60_000);
  const frames = server.sockets[0].sent.filter((frame) => frame.t === "ev");
  assert.ok(
    frames.length > 5 && frames.length < 60,
    `${frames.length} frames in ten minutes`,
  );
});

/** A replica takes over that knows only the first entries. */
const failOver = (server, last) => void server.rows.splice(last);

for (const [how, notice] of [
  ["a gap tells it", () => {}],
  ["the next welcome tells it", ({ server }) => server.sockets[0].cut(1012)],
])
  test(`entries a failover has lost become gap entries, and all that follows is stored: ${how}`, async () => {
    const page = open(),
      { server, clock, say, outbox, statuses } = page;
    for (const n of upTo(6)) say(`line ${n}`);
    await clock.wind(0);
    failOver(server, 4);
    notice(page);
    for (const n of [7, 8]) say(`line ${n}`);
    await clock.wind(5000);
    assert.deepEqual(numbers(server), upTo(8));
    assert.deepEqual(texts(server), [
      "line 1",
      "line 2",
      "line 3",
      "line 4",
      "lost",
      "lost",
      "line 7",
      "line 8",
    ]);
    assert.deepEqual(server.rows[4], {
      s: 5,
      k: "gap",
      t: 0,
      d: { count: 1, reason: "lost" },
    });
    assert.equal(statuses.at(-1), "saved");
    const ended = outbox.end("visitor");
    await clock.wind(0);
    assert.equal(await ended, "GRACEFUL_TERMINATION");
  });

test("what a failover has lost before the goodbye is a gap, and the goodbye is heard", async () => {
  const { server, clock, say, outbox } = open();
  for (const n of upTo(6)) say(`line ${n}`);
  await clock.wind(0);
  failOver(server, 3);
  const ended = outbox.end("visitor");
  await clock.wind(5000);
  assert.equal(await ended, "GRACEFUL_TERMINATION");
  assert.deepEqual(texts(server), [
    "line 1",
    "line 2",
    "line 3",
    "lost",
    "lost",
    "lost",
  ]);
});

test("however much a failover has lost, it goes out in frames the server takes", async () => {
  const { server, clock, say } = open();
  for (const n of upTo(7000)) {
    say(`line ${n}`);
    if (n % 1000 === 0) await clock.wind(0);
  }
  failOver(server, 0);
  say("after");
  await clock.wind(60_000);
  assert.deepEqual(numbers(server), upTo(7001));
  const frames = server.sockets[0].sent.filter((frame) => frame.t === "ev");
  assert.ok(
    frames.every(
      ({ items, bytes }) =>
        items.length <= LIMITS.frameEntries && bytes <= LIMITS.frameBytes,
    ),
  );
  assert.equal(server.rows.at(-1).d.text, "after");
});

test("a gap that comes too late costs nothing that was stored", async () => {
  const { server, clock, say, outbox, statuses } = open();
  await clock.wind(0);
  let answer;
  server.failsPost = () => new Promise((done) => (answer = done));
  say("one");
  say("two");
  outbox.flush();
  await clock.wind(0);
  assert.equal(statuses.at(-1), "saved");
  answer(Response.json({ t: "gap", s: 0 }));
  await clock.wind(5000);
  assert.deepEqual(texts(server), ["one", "two"]);
  assert.equal(statuses.at(-1), "saved");
});

test("no more frames are on their way than the server's window allows", async () => {
  const server = new Server();
  server.window = 3;
  const { clock, say } = open({ server });
  await clock.wind(0);
  server.hears = () => false;
  for (const n of upTo(10)) say(`line ${n}`);
  await settle();
  assert.equal(server.sockets[0].sent.filter((frame) => frame.t === "ev").length, 3);
});

test("a frame holds at most fifty entries and stays under 64 KiB", async () => {
  const { server, clock, say } = open();
  for (const n of upTo(120)) say(`line ${n} ${"é".repeat(n % 2 ? 10 : 3000)}`);
  await clock.wind(0);
  const frames = server.sockets[0].sent.filter((frame) => frame.t === "ev");
  assert.deepEqual(numbers(server), upTo(120));
  assert.ok(
    frames.every(
      (frame) =>
        frame.items.length <= LIMITS.frameEntries && frame.bytes <= LIMITS.frameBytes,
    ),
  );
  assert.ok(frames.length < 20, `${frames.length} frames`);
});

test("what waits for the socket goes out in full frames", async () => {
  const { server, clock, say } = open();
  for (const n of upTo(120)) say(`line ${n}`);
  await clock.wind(0);
  const frames = server.sockets[0].sent.filter((frame) => frame.t === "ev");
  assert.deepEqual(
    frames.map((frame) => frame.items.length),
    [50, 50, 20],
  );
});

test("an entry over 16 KiB is cut where it is longest and says so", async () => {
  const { server, clock, outbox } = open();
  outbox.add("tool", {
    id: "c1",
    name: "look",
    phase: "answered",
    result: { rows: ["😀".repeat(20_000)] },
    ms: 3,
  });
  outbox.add("chat", { role: "visitor", text: "short" });
  await clock.wind(0);
  const [cut, short] = server.rows;
  assert.equal(cut.d.truncated, true);
  assert.deepEqual([cut.d.id, cut.d.name, cut.d.ms], ["c1", "look", 3]);
  assert.ok(
    JSON.stringify(cut).length > 4000 &&
      new TextEncoder().encode(JSON.stringify(cut)).length <= LIMITS.entryBytes,
  );
  assert.ok(
    !/[\uD800-\uDBFF](?![\uDC00-\uDFFF])/.test(cut.d.result),
    "no half of a character is left over",
  );
  assert.equal(short.d.truncated, undefined);
});

test("an entry the server rejects becomes a gap entry of the same number", async () => {
  const { server, clock, say, statuses } = open();
  server.refuses = (entry) => (entry.d.text === "bad" ? "bad_schema" : null);
  say("one");
  say("bad");
  say("three");
  await clock.wind(5000);
  assert.deepEqual(numbers(server), [1, 2, 3]);
  assert.deepEqual(server.rows[1].k, "gap");
  assert.deepEqual(server.rows[1].d, { count: 1, reason: "bad_schema" });
  assert.equal(statuses.at(-1), "saved");
});

test("a server that takes not even the gap entry is left alone", async () => {
  const { server, clock, say, statuses } = open();
  server.record = (items) => ({ t: "reject", s: [items[0].s], code: "limit" });
  say("one");
  await clock.wind(60_000);
  assert.equal(server.sockets[0].sent.filter((frame) => frame.t === "ev").length, 2);
  assert.equal(statuses.at(-1), "queued");
});

test("retry keeps everything and waits as long as the server asks", async () => {
  const { server, clock, say, statuses } = open();
  await clock.wind(0);
  server.answer = () => ({ t: "retry", after: 9000 });
  say("one");
  await clock.wind(8000);
  assert.equal(statuses.at(-1), "queued");
  delete server.answer;
  await clock.wind(900);
  assert.deepEqual(numbers(server), []);
  await clock.wind(200);
  assert.deepEqual(numbers(server), [1]);
  assert.equal(server.hellos, 1);
});

test("while the server asks for patience one frame at a time is tried, and few in half a minute", async () => {
  const server = new Server();
  const { clock, say } = open({ server });
  await clock.wind(0);
  server.answer = () => ({ t: "retry", after: 1000 });
  for (const n of upTo(400)) say(`line ${n}`);
  await clock.wind(0);
  const frames = () => server.sockets[0].sent.filter((frame) => frame.t === "ev");
  const first = frames().length;
  await clock.wind(30_000);
  assert.ok(
    frames().length - first <= 8,
    `${frames().length - first} frames were sent again`,
  );
  delete server.answer;
  await clock.wind(31_000);
  assert.deepEqual(numbers(server), upTo(400));
});

test("an entry that kills every socket it is sent on becomes a gap, and no other does", async () => {
  const server = new Server();
  const { clock, say, statuses } = open({ server });
  await clock.wind(0);
  server.hears = (frame, socket) =>
    !(frame.items?.some(({ d }) => d.text === "line 7") && (socket.die(1006), true));
  for (const n of upTo(20)) say(`line ${n}`);
  await clock.wind(60_000);
  assert.deepEqual(numbers(server), upTo(20));
  assert.deepEqual(
    server.rows.filter(({ k }) => k === "gap").map(({ s, d }) => [s, d]),
    [[7, { count: 1, reason: "undeliverable" }]],
  );
  assert.ok(server.sockets.length <= 4, `${server.sockets.length} sockets`);
  assert.equal(statuses.at(-1), "saved");
});

test("an outage is no reason to doubt an entry: refused sockets, silence and unanswered requests count for nothing", async () => {
  const server = new Server();
  const { clock, say } = open({ server });
  await clock.wind(0);
  server.hears = () => false;
  say("one");
  await clock.wind(300_000);
  server.refusesSockets = 1006;
  server.loses = () => true;
  server.sockets.at(-1).cut(1006);
  await clock.wind(300_000);
  Object.assign(server, { refusesSockets: 0, loses: () => false, hears: () => true });
  await clock.wind(60_000);
  assert.deepEqual(texts(server), ["one"]);
});

test("what a page tells is as it was when it was told", async () => {
  const { server, clock, outbox } = open();
  const result = { rows: 1, secret: () => 1 };
  outbox.add("tool", { id: "c", name: "n", phase: "answered", result });
  result.rows = 2;
  await clock.wind(0);
  assert.deepEqual(server.rows[0].d.result, { rows: 1 });
});

test("a lost socket is opened again with growing, scattered patience", async () => {
  const { server, clock, say } = open({ random: () => 1 });
  await clock.wind(0);
  say("one");
  await clock.wind(0);
  server.refusesSockets = 1006;
  server.loses = () => true;
  const start = clock.time;
  server.sockets[0].cut(1012);
  await clock.wind(10 * 60_000);
  const tries = server.sockets.length - 1 + server.posts.length;
  assert.ok(tries >= 20 && tries <= 26, `${tries} tries in ten minutes`);
  server.refusesSockets = 0;
  server.loses = () => false;
  say("two");
  await clock.wind(31_000);
  assert.deepEqual(texts(server), ["one", "two"]);
  assert.ok(clock.time > start);
});

test("browsers that lost their sockets at the same time do not come back at the same time", async () => {
  for (const [chance, after] of [
    [0.1, 50],
    [0.9, 450],
  ]) {
    const { server, clock } = open({ random: () => chance });
    await clock.wind(0);
    server.sockets[0].cut(1012);
    await clock.wind(after - 1);
    assert.equal(server.sockets.length, 1);
    await clock.wind(1);
    assert.equal(server.sockets.length, 2);
  }
});

test("patience is short again once entries were acknowledged", async () => {
  const { server, clock, say } = open({ random: () => 1 });
  await clock.wind(0);
  server.refusesSockets = 1006;
  server.loses = () => true;
  server.sockets[0].cut(1006);
  await clock.wind(120_000);
  server.refusesSockets = 0;
  server.loses = () => false;
  await clock.wind(60_000);
  say("one");
  await clock.wind(0);
  const before = server.sockets.length;
  server.sockets.at(-1).cut(1006);
  await clock.wind(500);
  assert.equal(server.sockets.length, before + 1);
});

test("the network coming back ends the wait", async () => {
  const { server, clock, outbox, say } = open({ random: () => 1 });
  await clock.wind(0);
  server.refusesSockets = 1006;
  server.sockets[0].cut(1006);
  await clock.wind(20_000);
  server.refusesSockets = 0;
  say("one");
  outbox.wake();
  await settle();
  assert.deepEqual(numbers(server), [1]);
});

test("the pings come as often as the server wants", async () => {
  const server = new Server();
  server.ping = 5;
  const { clock } = open({ server });
  await clock.wind(15_500);
  assert.equal(server.sockets[0].sent.filter((frame) => frame.t === "ping").length, 3);
});

test("a socket that is silent for 45 s, through two pings, is taken for a lost line", async () => {
  const { server, clock, say } = open();
  await clock.wind(0);
  server.hears = (frame, socket) => socket !== server.sockets[0];
  await clock.wind(44_000);
  assert.equal(server.sockets.length, 1);
  await clock.wind(2000);
  assert.equal(server.sockets.length, 2);
  say("one");
  await clock.wind(0);
  assert.deepEqual(numbers(server), [1]);
});

for (const code of [4400, 4401, 4403, 4404, 4409, 4413]) {
  test(`a socket closed with ${code} is not opened again, and the page hears that entries wait`, async () => {
    const { server, clock, say, statuses } = open();
    await clock.wind(0);
    server.sockets[0].cut(code);
    say("one");
    await clock.wind(60_000);
    assert.equal(server.sockets.length, 1);
    assert.equal(server.posts.length, 0);
    assert.equal(statuses.at(-1), "queued");
  });
}

for (const code of [1000, 1005, 1008, 1009, 1011, 1013, 4000, 4408, 4429, 4503, 4999])
  test(`a socket closed with ${code} is opened again, and everything is stored`, async () => {
    const { server, clock, say, statuses } = open();
    await clock.wind(0);
    server.sockets[0].cut(code);
    say("one");
    await clock.wind(1000);
    assert.equal(server.sockets.length, 2);
    assert.deepEqual(texts(server), ["one"]);
    assert.equal(statuses.at(-1), "saved");
  });

test("where sockets never open the same entries travel by POST", async () => {
  const server = new Server();
  server.refusesSockets = 1006;
  const { clock, say, statuses } = open({ server });
  for (const n of upTo(60)) say(`line ${n}`);
  await clock.wind(5000);
  assert.equal(server.sockets.length, 2);
  assert.deepEqual(numbers(server), upTo(60));
  assert.equal(statuses.at(-1), "saved");
  assert.deepEqual(Object.keys(server.posts[0]).sort(), [
    "items",
    "keepalive",
    "stream",
    "ticket",
    "url",
  ]);
});

test("where the browser forbids sockets, and throws it, the entries travel by POST", async () => {
  const server = new Server();
  server.forbidsSockets = true;
  const { clock, say, statuses } = open({ server });
  for (const n of upTo(60)) say(`line ${n}`);
  await clock.wind(5000);
  assert.deepEqual(numbers(server), upTo(60));
  assert.equal(statuses.at(-1), "saved");
});

test("a socket that opens but is never welcomed is given up for POST too", async () => {
  const { server, clock, say } = open();
  server.hears = () => false;
  say("one");
  await clock.wind(40_000);
  assert.deepEqual(numbers(server), [1]);
  assert.ok(server.posts.length >= 2);
});

test("a site without sockets starts with POST and says every 15 s that the page is there", async () => {
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

test("a POST whose answer was lost is repeated and written once", async () => {
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
  test(`a POST answered ${status} waits as long as Retry-After says`, async () => {
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

/** A refusal as this app's views write it. */
const problem = (status, code) =>
  new Response(JSON.stringify({ type: "about:blank", status, code }), {
    status,
    headers: { "Content-Type": "application/problem+json" },
  });

for (const [status, code] of [
  [400, "bad_request"],
  [401, "logged_out"],
  [401, "not_authorised"],
  [403, "origin"],
  [404, "no_stream"],
  [409, "superseded"],
  [413, "bad_request"],
  [413, "too_big"],
])
  test(`a POST that this app refuses with ${status} ${code} is not repeated`, async () => {
    const { server, clock, say, statuses } = open({
      address: { ...ADDRESS, ws: null },
    });
    await clock.wind(0);
    server.failsPost = () => problem(status, code);
    say("one");
    await clock.wind(120_000);
    assert.equal(server.posts.length, 2);
    assert.equal(statuses.at(-1), "queued");
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
])
  test(`a POST answered with ${what} is repeated until it is stored`, async () => {
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

test("Retry-After of a proxy is obeyed for ten minutes at most", async () => {
  const { server, clock, say } = open({ address: { ...ADDRESS, ws: null } });
  await clock.wind(0);
  const headers = { "Retry-After": "9999999" };
  server.failsPost = () => new Response("", { status: 503, headers });
  say("one");
  await clock.wind(599_000);
  assert.equal(server.posts.length, 2);
  server.failsPost = null;
  await clock.wind(2000);
  assert.deepEqual(texts(server), ["one"]);
});

test("over its bound the outbox keeps what came first and one gap entry with the count of the rest", async () => {
  const server = new Server();
  server.refusesSockets = 1012;
  const { clock, say, outbox } = open({
    server,
    address: { ...ADDRESS, post: "/down/" },
  });
  server.failsPost = () => new Response("", { status: 503 });
  for (const n of upTo(5200)) say(`line ${n}`);
  await clock.wind(5000);
  server.failsPost = null;
  await clock.wind(60_000);
  say("after");
  await clock.wind(1000);
  assert.deepEqual(numbers(server), upTo(5001));
  assert.deepEqual(server.rows[4999].d, { count: 201, reason: "overflow" });
  assert.equal(server.rows[5000].d.text, "after");
  assert.ok(outbox);
});

test("a gap entry that is on its way counts no further", async () => {
  const server = new Server();
  server.window = 6000;
  const { clock, say } = open({ server });
  await clock.wind(0);
  server.hears = () => false;
  for (const n of upTo(5003)) say(`line ${n}`);
  assert.deepEqual(
    server.sockets[0].sent.slice(-4).map(({ items }) => items[0].d.count),
    [1, 1, 1, 1],
  );
  server.hears = () => true;
  server.sockets[0].cut(1012);
  await clock.wind(60_000);
  assert.equal(
    server.rows.reduce((sum, { k, d }) => sum + (k === "gap" ? d.count : 1), 0),
    5003,
  );
});

test("the outbox is bounded in bytes as well", async () => {
  const server = new Server();
  server.failsPost = () => new Response("", { status: 503 });
  const { clock, outbox } = open({ server, address: { ...ADDRESS, ws: null } });
  for (const n of upTo(200))
    outbox.add("chat", { role: "avatar", text: `${n}${"x".repeat(15_000)}` });
  await clock.wind(1000);
  server.failsPost = null;
  await clock.wind(60_000);
  const gap = server.rows.at(-1);
  assert.equal(gap.k, "gap");
  assert.equal(gap.d.count + server.last - 1, 200);
  assert.ok(JSON.stringify(server.rows).length <= LIMITS.outboxBytes);
});

test("what is saved makes room again", async () => {
  const server = new Server();
  server.window = 1;
  const { clock, outbox } = open({ server });
  const talk = (count) =>
    upTo(count).forEach(() =>
      outbox.add("chat", { role: "avatar", text: "x".repeat(15_000) }),
    );
  talk(130);
  let heard = 0;
  server.hears = (frame) => frame.t !== "ev" || heard++ < 20;
  await clock.wind(0);
  assert.equal(server.last, 80);
  talk(80);
  server.hears = () => true;
  await clock.wind(120_000);
  assert.equal(server.last, 210);
  assert.ok(server.rows.every((row) => row.k === "chat"));
});

test("bye goes out when everything is acknowledged and brings the server's reason", async () => {
  const { server, clock, outbox, say } = open();
  say("one");
  const ended = outbox.end("visitor");
  say("too late");
  await clock.wind(0);
  assert.equal(await ended, "GRACEFUL_TERMINATION");
  assert.deepEqual(server.bye, { last: 1, how: "visitor" });
  assert.equal(server.sockets[0].isCut, true);
  assert.equal(clock.timers.size, 0);
});

test("a bye whose answer was lost is said again on the next socket", async () => {
  const { server, clock, outbox, say } = open();
  say("one");
  await clock.wind(0);
  server.answers = (frame) => (frame.t === "done" ? [] : [frame]);
  const ended = outbox.end("remote");
  await clock.wind(0);
  server.answers = (frame) => [frame];
  server.sockets[0].cut(1006);
  await clock.wind(2000);
  assert.equal(await ended, "GRACEFUL_TERMINATION");
  assert.equal(server.sockets.length, 2);
});

test("by POST the bye is a request of its own", async () => {
  const { server, clock, outbox, say } = open({ address: { ...ADDRESS, ws: null } });
  say("one");
  const ended = outbox.end("visitor");
  await clock.wind(0);
  assert.equal(await ended, "GRACEFUL_TERMINATION");
  assert.deepEqual(server.posts.at(-1).bye, { last: 1, how: "visitor" });
});

test("an outbox that was given up ends without a reason and without waiting", async () => {
  const { server, clock, outbox } = open();
  await clock.wind(0);
  server.sockets[0].cut(4401);
  assert.equal(await outbox.end("visitor"), "");
});

test("a page that goes away says what is left and bye in one request nobody waits for", async () => {
  const { server, clock, outbox, say } = open();
  await clock.wind(0);
  server.hears = () => false;
  say("last words");
  outbox.leave("visitor");
  await settle();
  assert.deepEqual(texts(server), ["last words"]);
  assert.deepEqual(server.bye, { last: 1, how: "visitor" });
  assert.equal(server.posts[0].keepalive, true);
  assert.equal(server.sockets[0].isCut, true);
  assert.equal(clock.timers.size, 0);
});

for (const [what, answer] of [
  ["is refused", () => new Response("", { status: 503 })],
  ["is put off", () => Response.json({ t: "retry", after: 1000 })],
])
  test(`a page that goes away tries nothing more when its last request ${what}`, async () => {
    const { server, clock, outbox, say } = open();
    await clock.wind(0);
    server.failsPost = answer;
    say("last words");
    outbox.leave("visitor");
    await clock.wind(60_000);
    assert.equal(clock.timers.size, 0);
    assert.deepEqual([server.sockets.length, server.posts.length], [1, 1]);
  });
