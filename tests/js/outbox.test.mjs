// The outbox, through its transport, against a server that follows the log protocol.
import assert from "node:assert/strict";
import { test } from "node:test";

import { LIMITS } from "../../django_perso/static/django_perso/frames.js";
import {
  ADDRESS,
  numbers,
  open,
  problem,
  Server,
  settle,
  texts,
  upTo,
} from "./world.mjs";

test("an entry counts as saved once it is acknowledged", async () => {
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

test("the ticket is not part of the socket URL", async () => {
  const { server, clock } = open();
  await clock.wind(0);
  assert.equal(server.sockets[0].url, ADDRESS.ws);
});

test("an entry's time continues from the age in the welcome", async () => {
  const server = new Server();
  server.age = 48_000;
  const { clock, say } = open({ server });
  await clock.wind(10);
  await clock.wind(500);
  say("later");
  await clock.wind(0);
  assert.ok(Math.abs(server.rows[0].t - 48_500) <= 10, `t is ${server.rows[0].t}`);
});

test("entries with a lost acknowledgement are stored once", async () => {
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

test("a repeated answer changes nothing", async () => {
  const { server, clock, statuses, say } = open();
  server.answers = (frame) => [frame, frame];
  for (const n of upTo(9)) say(`line ${n}`);
  await clock.wind(0);
  assert.deepEqual(numbers(server), upTo(9));
  assert.equal(statuses.at(-1), "saved");
});

test("a late acknowledgement takes nothing back", async () => {
  const { server, clock, statuses, say } = open();
  const late = [];
  server.answers = (frame) => {
    if (frame.t !== "ack") return [frame];
    late.push(frame);
    return late.length < 3 ? [] : late.splice(0).reverse();
  };
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

test("a lost frame makes the outbox send again in order", async () => {
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

test("a bye lost on an open socket is sent again after a pong", async () => {
  const { server, clock, outbox } = open();
  await clock.wind(0);
  server.hears = () => false;
  const ended = outbox.end("visitor");
  await clock.wind(14_000);
  server.hears = () => true;
  await clock.wind(2000);
  assert.equal(await ended, "GRACEFUL_TERMINATION");
  assert.equal(server.sockets.length, 1);
});

test("repeated gap answers slow the outbox down", async () => {
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
const failOver = (server, last) => server.rows.splice(last);

for (const [how, notice] of [
  ["a gap says so", () => {}],
  ["a welcome says so", ({ server }) => server.sockets[0].cut(1012)],
])
  test(`entries lost in a failover become gaps: ${how}`, async () => {
    const page = open();
    const { server, clock, say, outbox, statuses } = page;
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

test("a failover before the end does not prevent the end", async () => {
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

test("a welcome alone makes gaps of entries lost in a failover", async () => {
  const { server, clock, say } = open();
  for (const n of upTo(3)) say(`line ${n}`);
  await clock.wind(0);
  failOver(server, 1);
  server.sockets[0].cut(1012);
  await clock.wind(1000);
  assert.deepEqual(texts(server), ["line 1", "lost", "lost"]);
});

test("a failover does not raise the limit in bytes", async () => {
  const { server, clock, say } = open();
  for (let n = 1; n <= 8000; n += 1) {
    say(`line ${n}`);
    if (n % 1000 === 0) await clock.wind(0);
  }
  failOver(server, 0);
  say("after");
  await clock.wind(60_000);
  server.hears = () => false;
  const before = server.last;
  for (const _n of upTo(200)) say("x".repeat(15_000));
  server.hears = () => true;
  server.sockets[0].cut(1012);
  await clock.wind(60_000);
  const stored = server.rows.slice(before);
  assert.equal(stored.at(-1).k, "gap");
  assert.ok(JSON.stringify(stored).length <= LIMITS.outboxBytes);
});

test("gaps for a large failover go out in normal frames", async () => {
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

test("a late gap answer loses nothing that was stored", async () => {
  const { server, clock, say, outbox, statuses } = open();
  await clock.wind(0);
  let answer;
  server.failsPost = () =>
    new Promise((done) => {
      answer = done;
    });
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

test("the window limits the frames in flight", async () => {
  const server = new Server();
  server.window = 3;
  const { clock, say } = open({ server });
  await clock.wind(0);
  server.hears = () => false;
  for (const n of upTo(10)) say(`line ${n}`);
  await settle();
  assert.equal(server.sockets[0].sent.filter((frame) => frame.t === "ev").length, 3);
});

test("a frame holds at most 50 entries and 64 KiB", async () => {
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

test("entries that waited for the socket go in full frames", async () => {
  const { server, clock, say } = open();
  for (const n of upTo(120)) say(`line ${n}`);
  await clock.wind(0);
  const frames = server.sockets[0].sent.filter((frame) => frame.t === "ev");
  assert.deepEqual(
    frames.map((frame) => frame.items.length),
    [50, 50, 20],
  );
});

test("an entry over 16 KiB is shortened and marked", async () => {
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
  assert.match(cut.d.result, /^[^…]*…$/u);
  assert.equal(short.d.truncated, undefined);
});

test("a rejected entry becomes a gap with the same number", async () => {
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

test("a rejected gap ends the log", async () => {
  const { server, clock, say, statuses } = open();
  server.record = (items) => ({ t: "reject", s: [items[0].s], code: "limit" });
  say("one");
  await clock.wind(60_000);
  assert.equal(server.sockets[0].sent.filter((frame) => frame.t === "ev").length, 2);
  assert.equal(statuses.at(-1), "unsaved");
});

test("retry makes the outbox wait as long as the server asks", async () => {
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

test("after retry one frame at a time is tried, and rarely", async () => {
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

const isDeadly = ({ items = [] }) => items.some(({ d }) => d.text === "line 7");

for (const code of [1006, 1009, 4400, 4413])
  test(`an entry that cuts every socket with ${code} goes by POST`, async () => {
    const { server, clock, say, statuses } = open();
    await clock.wind(0);
    server.hears = (frame, socket) => {
      if (isDeadly(frame)) socket.die(code);
      return !isDeadly(frame);
    };
    for (const n of upTo(20)) say(`line ${n}`);
    await clock.wind(60_000);
    assert.deepEqual(
      texts(server),
      upTo(20).map((n) => `line ${n}`),
    );
    assert.ok(server.sockets.length <= 6, `${server.sockets.length} sockets`);
    assert.equal(statuses.at(-1), "saved");
  });

const html = (status) => () =>
  new Response("<h1>Blocked</h1>", {
    status,
    headers: { "Content-Type": "text/html" },
  });

/** Let something between page and server answer the bodies that it does not like. */
function block(server, dislikes, answer) {
  server.failsPost = (body) => {
    if (dislikes(body)) return answer();
    return server.answerPost(body, 0);
  };
}

for (const [what, answer] of [
  ["a page with status 200", html(200)],
  ["a page with status 403", html(403)],
  ["a page with status 404", html(404)],
  ["a page with status 503", html(503)],
  ["bad_request of the app", () => problem(400, "bad_request")],
  ["too_big of the app", () => problem(413, "too_big")],
  [
    "no answer at all",
    () => {
      throw new TypeError("network");
    },
  ],
])
  test(`only the entry that always gets ${what} becomes a gap`, async () => {
    const { server, clock, say, statuses, outbox } = open({
      address: { ...ADDRESS, ws: null },
    });
    block(server, isDeadly, answer);
    for (const n of upTo(20)) say(`line ${n}`);
    await clock.wind(90_000);
    assert.deepEqual(numbers(server), upTo(20));
    assert.deepEqual(
      server.rows.filter(({ k }) => k === "gap").map(({ s, d }) => [s, d]),
      [[7, { count: 1, reason: "undeliverable" }]],
    );
    assert.equal(statuses.at(-1), "saved");
    const alone = server.posts.filter(
      (post) => isDeadly(post) && post.items.length === 1,
    );
    assert.ok(alone.length >= 3, `${alone.length} times alone`);
    const ended = outbox.end("visitor");
    await clock.wind(0);
    assert.equal(await ended, "GRACEFUL_TERMINATION");
  });

test("an entry becomes no gap while nothing else is answered either", async () => {
  const { server, clock, say } = open({ address: { ...ADDRESS, ws: null } });
  await clock.wind(0);
  block(server, () => true, html(403));
  say("one");
  await clock.wind(600_000);
  server.failsPost = null;
  await clock.wind(31_000);
  assert.equal(server.rows[0].d.text, "one");
});

test("an entry is given up after three losses at least 2 s apart", async () => {
  const { server, clock, say } = open({
    address: { ...ADDRESS, ws: null },
    random: () => 0.001,
  });
  await clock.wind(0);
  block(server, isDeadly, html(403));
  say("line 7");
  await clock.wind(3900);
  assert.ok(server.posts.filter(isDeadly).length > 3);
  assert.deepEqual(texts(server), []);
  await clock.wind(300);
  assert.deepEqual(texts(server), ["undeliverable"]);
});

test("bodies over 8 KiB that a proxy refuses are split", async () => {
  const { server, clock, say, statuses } = open({ address: { ...ADDRESS, ws: null } });
  await clock.wind(0);
  server.loses = () => true;
  for (const n of upTo(31)) say(`line ${n} ${"x".repeat(400)}`);
  await clock.wind(60_000);
  server.loses = () => false;
  const size = (body) => new TextEncoder().encode(JSON.stringify(body)).length;
  block(server, (body) => size(body) > 8192, html(413));
  await clock.wind(60_000);
  assert.deepEqual(numbers(server), upTo(31));
  assert.ok(server.rows.every((row) => row.k === "chat"));
  assert.equal(statuses.at(-1), "saved");
});

for (const [trouble, answer] of [
  ["site_unreachable", () => Promise.reject(new TypeError("network"))],
  ["site_unreachable", html(502)],
  ["site_unreadable", html(200)],
  ["site_busy", () => Response.json({ t: "retry", after: 1000 })],
])
  test(`after two minutes the status says ${trouble}`, async () => {
    const page = open({ address: { ...ADDRESS, ws: null } });
    const { server, clock, say, statuses, troubles } = page;
    await clock.wind(0);
    server.failsPost = answer;
    say("one");
    await clock.wind(119_000);
    assert.equal(statuses.at(-1), "queued");
    await clock.wind(1000);
    assert.equal(statuses.at(-1), "unsaved");
    assert.equal(troubles.at(-1), trouble);
    server.failsPost = null;
    await clock.wind(31_000);
    assert.equal(statuses.at(-1), "saved");
    assert.deepEqual(
      server.rows.map(({ d }) => d.text ?? d),
      ["one", { name: "unsaved", detail: trouble }],
    );
    server.failsPost = answer;
    say("two");
    await clock.wind(1000);
    assert.equal(statuses.at(-1), "queued");
  });

test("an outbox that is emptied slowly is not late", async () => {
  const { server, clock, say, statuses } = open({ address: { ...ADDRESS, ws: null } });
  for (const n of upTo(6)) {
    say(`line ${n}`);
    await clock.wind(0);
    server.loses = () => true;
    say(`line ${n} again`);
    await clock.wind(90_000);
    server.loses = () => false;
    await clock.wind(31_000);
  }
  assert.ok(!statuses.includes("unsaved"));
});

test("an outage does not turn entries into gaps", async () => {
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

test("an entry is copied when it is added", async () => {
  const { server, clock, outbox } = open();
  const result = { rows: 1, secret: () => 1 };
  outbox.add("tool", { id: "c", name: "n", phase: "answered", result });
  result.rows = 2;
  await clock.wind(0);
  assert.deepEqual(server.rows[0].d.result, { rows: 1 });
});

test("a lost socket is opened again after growing waits", async () => {
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

test("browsers do not all reconnect at the same moment", async () => {
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

test("an acknowledgement makes waits short again", async () => {
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
  const before = server.posts.length;
  server.loses = () => true;
  say("two");
  await clock.wind(0);
  server.loses = () => false;
  await clock.wind(500);
  assert.deepEqual(texts(server), ["one", "two"]);
  assert.equal(server.posts.length, before + 3);
});

test("wake ends the wait", async () => {
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

test("a full outbox counts further entries in one gap", async () => {
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

test("a gap entry in flight is not changed any more", async () => {
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

test("the outbox is limited in bytes too", async () => {
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

test("saved entries make room for new ones", async () => {
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

test("end resolves with the server's reason", async () => {
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

test("a bye with a lost answer is sent again", async () => {
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

test("end resolves at once after a refusal", async () => {
  const { server, clock, outbox } = open();
  await clock.wind(0);
  server.sockets[0].cut(4401);
  assert.equal(await outbox.end("visitor"), "");
});

test("leave sends the rest and the bye in one request", async () => {
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
  test(`leave sends nothing more when its request ${what}`, async () => {
    const { server, clock, outbox, say } = open();
    await clock.wind(0);
    server.failsPost = answer;
    say("last words");
    outbox.leave("visitor");
    await clock.wind(60_000);
    assert.equal(clock.timers.size, 0);
    assert.deepEqual([server.sockets.length, server.posts.length], [1, 1]);
  });
