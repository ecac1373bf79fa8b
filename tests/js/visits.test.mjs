// What outlives the page: what the outbox leaves in the browser's store, and what the next visit makes of it.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Outbox, resend } from "../../django_perso/static/django_perso/outbox.js";
import { Store } from "../../django_perso/static/django_perso/store.js";
import { Clock, Server, settle, Shelf, world } from "./world.mjs";

const ADDRESS = {
  stream: "6f1c",
  ticket: "t0",
  ws: "ws://host/perso/log/",
  post: "/perso/log/entries/",
  session_id: "secret",
};
const DAY = 24 * 60 * 60 * 1000;
const upTo = (n) => Array.from({ length: n }, (_, i) => i + 1);
const texts = (server) => server.rows.map((row) => row.d.text ?? row.d.reason);

/** A page with an outbox; its server hears it until told otherwise. */
async function open({ store = new Shelf(), server = new Server() } = {}) {
  const clock = new Clock(),
    statuses = [];
  const page = world(server, clock, { store });
  const outbox = new Outbox(ADDRESS, page, (status) => statuses.push(status));
  await clock.wind(0);
  const say = (text) => outbox.add("chat", { role: "visitor", text });
  return { server, clock, store, statuses, outbox, say, page };
}

/** A page that wrote `lines` while nothing got through, and was gone without a word. */
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

test("an entry is in the store from the moment it is said until it is saved", async () => {
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

test("what is left says how to reach the log, and nothing of the conversation with the avatar", async () => {
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

test("many entries said at once are put into the store once", async () => {
  const { server, store, say } = await open();
  server.hears = () => false;
  for (const n of upTo(1000)) say(`line ${n}`);
  await settle();
  assert.equal(store.puts, 1);
  assert.equal(store.left.get("6f1c").entries.length, 1000);
});

test("what a crashed page left is sent by the next visit, once, and does not end the conversation", async () => {
  const left = await crashed();
  left.server.record([{ s: 1, k: "chat", t: 0, d: { role: "visitor", text: "one" } }]); // stored, but nobody heard
  const clock = await visit(left);
  assert.deepEqual(texts(left.server), ["one", "two"]);
  assert.equal(left.server.bye, undefined);
  assert.equal(left.server.sockets.length, 1);
  assert.equal(left.store.left.size, 0);
  assert.equal(clock.timers.size, 0);
});

test("a conversation that had ended is also ended by the next visit", async () => {
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

test("a page that left and lives on forgets what its last request has saved, and says so", async () => {
  const { server, store, outbox, say, statuses } = await open();
  server.hears = () => false;
  say("one");
  outbox.leave("visitor");
  await settle();
  assert.deepEqual(server.bye, { last: 1, how: "visitor" });
  assert.equal(store.left.size, 0);
  assert.equal(statuses.at(-1), "saved");
});

test("a page that only hides sends the rest and goes on", async () => {
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

test("what the server rejects of a hidden page's request becomes a gap", async () => {
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

test("two last requests fit in the 64 KiB that outlive a page, and the rest is for the next visit", async () => {
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

/** A refusal as this app's views write it. */
const problem = (status, code) =>
  Response.json(
    { code },
    { status, headers: { "Content-Type": "application/problem+json" } },
  );

test("what is left of a conversation that is over is dropped", async () => {
  const left = await crashed();
  left.server.failsPost = () => problem(404, "no_stream");
  await visit(left);
  assert.equal(left.server.posts.length, 1);
  assert.equal(left.store.left.size, 0);
});

test("what waits when the login runs out, or is said later, is kept for the visit after the next login", async () => {
  const { server, store, clock, say, statuses } = await open();
  say("one");
  await clock.wind(0);
  server.hears = () => false;
  say("two");
  server.sockets[0].cut(4401);
  say("three");
  await clock.wind(600_000);
  assert.equal(statuses.at(-1), "queued");
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
  test(`what meets a ${status} is kept for another visit, and tried patiently`, async () => {
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

test("after a day what was left is dropped unsent", async () => {
  const left = await crashed();
  left.store.left.get("6f1c").at = Date.now() - DAY - 1000;
  await visit(left);
  assert.equal(left.server.posts.length, 0);
  assert.equal(left.store.left.size, 0);
});

test("two pages that send the same rest at once store it once", async () => {
  const left = await crashed(upTo(60).map((n) => `line ${n}`));
  await Promise.all([visit(left), visit(left)]);
  assert.deepEqual(
    texts(left.server),
    upTo(60).map((n) => `line ${n}`),
  );
});

test("a second tab sends for a first one that is still talking, and takes nothing from it", async () => {
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

test("a second tab that is done forgets nothing the first one has said since", async () => {
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

test("without a store all goes on in memory, and entries that wait are not called kept", async () => {
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

test("where the browser has no IndexedDB the store keeps nothing and does not complain", async () => {
  const store = new Store();
  await store.put({ stream: "6f1c" });
  assert.deepEqual(await store.all(), []);
  await store.drop("6f1c");
});
