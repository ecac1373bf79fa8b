// What an outbox leaves in the browser's store, and what the next page does with it.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Outbox, resend } from "../../django_perso/static/django_perso/outbox.js";
import { Store } from "../../django_perso/static/django_perso/store.js";
import {
  ADDRESS as PLAIN_ADDRESS,
  Clock,
  problem,
  Server,
  settle,
  Shelf,
  texts,
  upTo,
  world,
} from "./world.mjs";

const ADDRESS = { ...PLAIN_ADDRESS, session_id: "secret" };
const DAY = 24 * 60 * 60 * 1000;

/** A page with an outbox and a store. */
async function open({ store = new Shelf(), server = new Server() } = {}) {
  const clock = new Clock();
  const statuses = [];
  const page = world(server, clock, { store });
  const outbox = new Outbox(ADDRESS, page, (status) => statuses.push(status));
  await clock.wind(0);
  const say = (text) => outbox.add("chat", { role: "visitor", text });
  return { server, clock, store, statuses, outbox, say, page };
}

/** A page that added `lines` while nothing reached the server, and then crashed. */
async function crashed(lines = ["one", "two"]) {
  const page = await open();
  page.server.hears = () => false;
  lines.forEach(page.say);
  await settle();
  const store = new Shelf();
  store.left = page.store.left;
  return {
    ...page,
    store,
    server: Object.assign(page.server, { hears: () => true, posts: [] }),
  };
}

/** The next page of this browser. */
async function visit({ server, store }, seconds = 60) {
  const clock = new Clock();
  await resend(world(server, clock, { store }));
  await clock.wind(seconds * 1000);
  return clock;
}

test("an entry stays in the store until it is saved", async () => {
  const { server, clock, store, say, statuses } = await open();
  server.hears = () => false;
  say("one");
  await settle();
  assert.deepEqual(
    store.left.get("6f1c").entries.map(({ s, d }) => [s, d.text]),
    [[1, "one"]],
  );
  assert.equal(statuses.at(-1), "saving");
  server.hears = () => true;
  server.sockets[0].cut(1012);
  await clock.wind(1000);
  assert.equal(statuses.at(-1), "saved");
  assert.equal(store.left.size, 0);
});

test("the store holds no Perso session id", async () => {
  const { store } = await crashed();
  const { at, entries, ...left } = store.left.get("6f1c");
  assert.deepEqual(left, {
    stream: "6f1c",
    ticket: "t0",
    post: ADDRESS.post,
    last: 2,
    how: undefined,
  });
  assert.ok(Math.abs(Date.now() - at) < 5000 && entries.length === 2);
});

test("many entries at once are stored once", async () => {
  const { server, store, say } = await open();
  server.hears = () => false;
  for (const n of upTo(1000)) say(`line ${n}`);
  await settle();
  assert.equal(store.puts, 1);
  assert.equal(store.left.get("6f1c").entries.length, 1000);
});

test("the next page sends what a crashed page left", async () => {
  const left = await crashed();
  left.server.record([{ s: 1, k: "chat", t: 0, d: { role: "visitor", text: "one" } }]); // stored, but nobody heard
  const clock = await visit(left);
  assert.deepEqual(texts(left.server), ["one", "two"]);
  assert.equal(left.server.bye, undefined);
  assert.equal(left.server.sockets.length, 1);
  assert.equal(left.store.left.size, 0);
  assert.equal(clock.timers.size, 0);
});

test("the next page also sends the end", async () => {
  const { server, store, outbox, say } = await open();
  server.loses = () => true;
  server.hears = () => false;
  say("one");
  outbox.leave("visitor");
  await settle();
  assert.deepEqual(texts(server), []);
  Object.assign(server, { loses: () => false, hears: () => true });
  await visit({ server, store });
  assert.deepEqual(texts(server), ["one"]);
  assert.deepEqual(server.bye, { last: 1, how: "visitor" });
  assert.equal(store.left.size, 0);
});

test("a page that survives leave forgets what was saved", async () => {
  const { server, store, outbox, say, statuses } = await open();
  server.hears = () => false;
  say("one");
  outbox.leave("visitor");
  await settle();
  assert.deepEqual(server.bye, { last: 1, how: "visitor" });
  assert.equal(store.left.size, 0);
  assert.equal(statuses.at(-1), "saved");
});

test("a hidden page sends the rest and continues", async () => {
  const { server, clock, outbox, say, statuses } = await open();
  server.hears = () => false;
  say("one");
  outbox.flush();
  await settle();
  assert.deepEqual(texts(server), ["one"]);
  assert.equal(server.posts[0].keepalive, true);
  assert.equal(server.bye, undefined);
  assert.equal(statuses.at(-1), "saved");
  server.hears = () => true;
  say("two");
  await clock.wind(0);
  assert.deepEqual(texts(server), ["one", "two"]);
  outbox.flush();
  await settle();
  assert.equal(server.posts.length, 1, "nothing was left, so nothing was asked");
});

test("an entry rejected while the page hides becomes a gap", async () => {
  const { server, clock, outbox, say } = await open();
  server.refuses = ({ d }) => (d.text === "bad" ? "bad_schema" : null);
  server.hears = () => false;
  say("one");
  say("bad");
  outbox.flush();
  server.hears = () => true;
  await clock.wind(1000);
  assert.deepEqual(texts(server), ["one", "bad_schema"]);
});

test("the last request stays under 32 KiB", async () => {
  const { server, store, outbox } = await open();
  server.hears = () => false;
  for (const n of upTo(10))
    outbox.add("chat", { role: "avatar", text: `${n}${"é".repeat(4000)}` });
  outbox.leave("visitor");
  await settle();
  const size = new TextEncoder().encode(JSON.stringify(server.posts[0])).length;
  assert.ok(size <= 32 * 1024 && size > 16 * 1024, `${size} bytes`);
  assert.ok(server.last > 0 && server.last < 10);
  assert.equal(server.bye.last, 10);
  await visit({ server, store });
  assert.deepEqual(
    server.rows.map(({ s }) => s),
    upTo(10),
  );
  assert.equal(store.left.size, 0);
});

for (const [status, code] of [
  [410, "logged_out"],
  [404, "no_stream"],
])
  test(`entries refused with ${code} are dropped`, async () => {
    const left = await crashed();
    left.server.failsPost = () => problem(status, code);
    await visit(left);
    assert.equal(left.server.posts.length, 1);
    assert.equal(left.store.left.size, 0);
  });

for (const code of [4404, 4410])
  test(`a socket closed with ${code} empties the store`, async () => {
    const { server, store, say, statuses } = await open();
    server.hears = () => false;
    say("one");
    server.sockets[0].cut(code);
    await settle();
    assert.equal(store.left.size, 0);
    assert.equal(statuses.at(-1), "unsaved");
  });

for (const code of [4400, 4401, 4403, 4409])
  test(`a socket closed with ${code} keeps the store`, async () => {
    const { server, store, say } = await open();
    server.hears = () => false;
    say("one");
    server.sockets[0].cut(code);
    await settle();
    assert.equal(store.left.size, 1);
  });

test("entries refused without a login wait for the next one", async () => {
  const { server, store, clock, say, statuses } = await open();
  say("one");
  await clock.wind(0);
  server.hears = () => false;
  say("two");
  server.sockets[0].cut(4401);
  say("three");
  await clock.wind(600_000);
  assert.equal(statuses.at(-1), "unsaved");
  assert.deepEqual([server.sockets.length, server.posts.length], [1, 0]);
  server.failsPost = () => problem(401, "not_authorised");
  await visit({ server, store }, 600); // of somebody else
  assert.equal(server.posts.length, 1);
  server.failsPost = null;
  await visit({ server, store });
  assert.deepEqual(texts(server), ["one", "two", "three"]);
  assert.equal(store.left.size, 0);
});

for (const status of [401, 404, 500, 503])
  test(`entries answered with ${status} are kept and tried again`, async () => {
    const left = await crashed();
    left.server.failsPost = () => new Response("", { status });
    await visit(left, 600);
    assert.ok(
      left.server.posts.length > 10 && left.server.posts.length < 60,
      `${left.server.posts.length} requests in ten minutes`,
    );
    assert.equal(left.store.left.size, 1);
    left.server.failsPost = null;
    await visit(left);
    assert.deepEqual(texts(left.server), ["one", "two"]);
  });

test("entries older than a day are dropped", async () => {
  const left = await crashed();
  left.store.left.get("6f1c").at = Date.now() - DAY - 1000;
  await visit(left);
  assert.equal(left.server.posts.length, 0);
  assert.equal(left.store.left.size, 0);
});

test("two pages that send the same entries store them once", async () => {
  const left = await crashed(upTo(60).map((n) => `line ${n}`));
  await Promise.all([visit(left), visit(left)]);
  assert.deepEqual(
    texts(left.server),
    upTo(60).map((n) => `line ${n}`),
  );
});

test("a second tab leaves the store of the first alone", async () => {
  const first = await open();
  first.server.hears = () => false;
  const said = upTo(60).map((n) => `line ${n}`);
  said.forEach(first.say);
  await settle();
  const { puts } = first.store;
  await visit(first);
  assert.equal(first.store.puts, puts, "only who talks writes");
  first.say("last");
  await settle();
  assert.deepEqual(
    first.store.left.get("6f1c").entries.map(({ d }) => d.text),
    [...said, "last"],
  );
  first.server.hears = () => true;
  await first.clock.wind(120_000);
  assert.deepEqual(texts(first.server), [...said, "last"]);
  assert.equal(first.store.left.size, 0);
});

test("a second tab keeps what the first has added since", async () => {
  const first = await open();
  first.server.hears = () => false;
  first.say("one");
  await settle();
  const second = new Clock();
  await resend(world(first.server, second, { store: first.store })); // it has read what was left, and sent nothing yet
  await new Promise((done) => setTimeout(done, 5));
  first.say("two");
  await settle();
  await second.wind(60_000);
  assert.deepEqual(texts(first.server), ["one"]);
  assert.deepEqual(
    first.store.left.get("6f1c").entries.map(({ d }) => d.text),
    ["one", "two"],
  );
});

/** A second page that opens the conversation of another one. */
async function openToo({ server, store }, address = ADDRESS) {
  const clock = new Clock();
  const statuses = [];
  const page = world(server, clock, { store });
  const outbox = new Outbox(address, page, (...told) => statuses.push(told));
  const say = (text) => outbox.add("chat", { role: "visitor", text });
  return { server, clock, store, statuses, outbox, say };
}

for (const ws of [ADDRESS.ws, null])
  test(`a page adopts what an earlier one left, with ws ${ws}`, async () => {
    const left = await crashed();
    const page = await openToo(left, { ...ADDRESS, ws });
    page.say("three");
    await page.clock.wind(1000);
    assert.deepEqual(texts(left.server), ["one", "two", "three"]);
    assert.equal(left.store.left.size, 0);
  });

test("a page numbers its entries after those the server has", async () => {
  const first = await open();
  upTo(5).forEach((n) => first.say(`line ${n}`));
  await first.clock.wind(0);
  const second = await openToo(first);
  second.say("line 6");
  await second.clock.wind(0);
  assert.deepEqual(
    texts(first.server),
    upTo(6).map((n) => `line ${n}`),
  );
});

test("adopted entries that the server has are not sent again", async () => {
  const left = await crashed(["one", "two", "three"]);
  left.server.record(left.store.left.get("6f1c").entries.slice(0, 2));
  const page = await openToo(left);
  page.say("four");
  await page.clock.wind(0);
  assert.deepEqual(texts(left.server), ["one", "two", "three", "four"]);
  const sent = left.server.sockets.at(-1).sent.filter(({ t }) => t === "ev");
  assert.equal(sent[0].items[0].s, 3);
});

test("what was adopted stays in the store until it is saved", async () => {
  const left = await crashed();
  left.server.hears = () => false;
  left.server.loses = () => true;
  const page = await openToo(left);
  page.say("three");
  await page.clock.wind(100);
  assert.deepEqual(
    left.store.left.get("6f1c").entries.map(({ s, d }) => [s, d.text]),
    [
      [1, "one"],
      [2, "two"],
      [3, "three"],
    ],
  );
});

test("a page opens although the store does not answer", async () => {
  const store = Object.assign(new Shelf(), { all: () => new Promise(() => {}) });
  const page = await openToo({ server: new Server(), store });
  page.say("one");
  await page.clock.wind(3000);
  assert.deepEqual(texts(page.server), ["one"]);
});

for (const ws of [ADDRESS.ws, null])
  test(`two pages lose none of each other's entries, with ws ${ws}`, async () => {
    const server = new Server();
    const store = new Shelf();
    const address = { ...ADDRESS, ws };
    const first = await openToo({ server, store }, address);
    await first.clock.wind(0);
    first.say("one");
    await first.clock.wind(0);
    const second = await openToo({ server, store }, address);
    await second.clock.wind(0);
    first.say("two, on the first page"); // which does not know yet
    second.say("two, on the second page");
    await first.clock.wind(0);
    await second.clock.wind(0);
    first.say("three, on the first page");
    await first.clock.wind(1000);
    assert.deepEqual(first.statuses.at(-1), ["unsaved", "superseded"]);
    second.say("four, on the second page");
    await second.clock.wind(1000);
    assert.deepEqual(texts(server).sort(), [
      "four, on the second page",
      "one",
      "three, on the first page",
      "two, on the first page",
      "two, on the second page",
    ]);
    assert.equal(store.left.size, 0);
    assert.deepEqual(second.statuses.at(-1), ["saved", ""]);
  });

test("an entry handed over is not stored again if the server has it", async () => {
  const { server, store, clock, say } = await open();
  server.answers = (frame) => (frame.t === "ack" ? [] : [frame]);
  say("one");
  await clock.wind(0);
  server.answers = (frame) => [frame];
  const second = await openToo({ server, store: new Shelf() }); // cannot adopt it
  second.store.left = store.left;
  await second.clock.wind(0);
  say("two");
  await clock.wind(0);
  second.say("three");
  await second.clock.wind(1000);
  assert.deepEqual(texts(server), ["one", "three", "two"]);
});

test("a page goes on by POST with the lease that its socket got", async () => {
  const { server, clock, say, outbox } = await open();
  say("one");
  await clock.wind(0);
  server.hears = () => false;
  say("two");
  outbox.flush();
  await clock.wind(0);
  assert.equal(server.posts.at(-1).lease, 1);
  assert.deepEqual(texts(server), ["one", "two"]);
});

test("a page's own new lease does not end its log", async () => {
  const page = await openToo(
    { server: new Server(), store: new Shelf() },
    { ...ADDRESS, ws: null },
  );
  const { server, clock, say, statuses } = page;
  await clock.wind(0);
  for (const n of upTo(5)) {
    server.failsPost = () => Promise.reject(new TypeError("network"));
    say(`line ${n}`);
    await clock.wind(1000);
    server.failsPost = null;
    await clock.wind(31_000);
  }
  assert.equal(server.last, 5);
  assert.ok(server.lease > 5);
  assert.deepEqual(statuses.at(-1), ["saved", ""]);
});

test("what an earlier page left is sent without a lease", async () => {
  const first = await open();
  first.server.hears = () => false;
  first.say("one");
  await settle();
  await visit(first);
  assert.deepEqual(texts(first.server), ["one"]);
  assert.ok(first.server.posts.every(({ lease, hello }) => !lease && !hello));
  assert.equal(first.server.lease, 1);
});

test("words of a user who has logged out are neither sent nor kept", async () => {
  const left = await crashed();
  left.store.left.get("6f1c").at -= 1000;
  left.store.left.get("6f1c").late = [
    { s: 9, k: "chat", t: 0, d: { role: "visitor", text: "late" } },
  ];
  left.server.failsPost = () => problem(410, "logged_out");
  await visit(left);
  assert.deepEqual(
    left.server.posts.map(({ items }) => items),
    [[]],
  );
  assert.equal(left.store.left.size, 0);
});

test("without a store entries wait in memory", async () => {
  const { server, statuses, outbox, say, clock, page } = await open({
    store: undefined,
    server: new Server(),
  });
  page.store = undefined;
  server.hears = () => false;
  say("one");
  server.sockets[0].cut(1012);
  assert.equal(statuses.at(-1), "queued");
  server.hears = () => true;
  await clock.wind(10_000);
  assert.deepEqual(texts(server), ["one"]);
  await resend({ ...page, store: undefined });
  assert.ok(outbox);
});

test("without IndexedDB the store keeps nothing", async () => {
  const store = new Store();
  await store.put({ stream: "6f1c" });
  assert.deepEqual(await store.all(), []);
  await store.drop("6f1c");
});
