// Three hundred conversations with every fault at once; a seed replays each of them.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Outbox, resend } from "../../django_perso/static/django_perso/outbox.js";
import { ADDRESS, Clock, dice, Server, Shelf, world } from "./world.mjs";

const LINES = 80;

const isDeadly = (frame) => frame.items?.some(({ d }) => d.text?.startsWith("deadly"));

/** Leave to chance what arrives, what is answered, and how sockets end. */
function spoil(server, chance) {
  const late = [];
  server.refuses = ({ d }) => (d.text.startsWith("bad") ? "bad_schema" : null);
  server.loses = () => chance() < 0.2;
  server.hears = (frame, socket) => {
    if (isDeadly(frame) || chance() < 0.03)
      socket.die(isDeadly(frame) || chance() < 0.5 ? 1006 : 1012);
    return !isDeadly(frame) && chance() > 0.1;
  };
  server.answers = (frame) => {
    const roll = chance();
    if (roll < 0.1) return [];
    if (roll < 0.2) return [frame, frame];
    if (roll < 0.3 && frame.t === "ack") {
      late.push(frame);
      return [];
    }
    if (roll < 0.35 && frame.t !== "welcome") return [{ t: "retry", after: 1000 }];
    return [...late.splice(0), frame];
  };
}

/** End the faults, but not what is wrong with single entries. */
function mend(server) {
  server.answers = (frame) => [frame];
  server.loses = () => false;
  server.refusesSockets = 0;
  server.hears = (frame, socket) => {
    if (isDeadly(frame)) socket.die(1006);
    return !isDeadly(frame);
  };
}

/** Add one entry; perhaps let time pass, cut the socket, hide or wake the page. */
async function act(n, { server, clock, outbox, told }, chance) {
  told.push(`${kindOf(chance())} ${n}`);
  outbox.add("chat", { role: "visitor", text: told.at(-1) });
  if (chance() < 0.3) await clock.wind(chance() * 2000);
  if (chance() < 0.1) server.sockets.at(-1)?.cut(chance() < 0.3 ? 1006 : 1012);
  if (chance() < 0.05) server.refusesSockets = server.refusesSockets ? 0 : 1006;
  if (chance() < 0.05) outbox.flush();
  if (chance() < 0.05) outbox.wake();
}

function kindOf(roll) {
  if (roll < 0.01) return "deadly";
  return roll < 0.04 ? "bad" : "line";
}

async function converse(seed) {
  const chance = dice(seed * 7919);
  const server = new Server();
  const clock = new Clock();
  const store = new Shelf();
  const page = world(server, clock, { random: chance, store });
  const hasSockets = seed % 3 > 0;
  const address = hasSockets ? ADDRESS : { ...ADDRESS, ws: null };
  const outbox = new Outbox(address, page, () => {});
  const told = [];
  spoil(server, chance);
  for (let n = 1; n <= LINES; n += 1) {
    await act(n, { server, clock, outbox, told }, chance);
  }
  const isLeft = chance() < 0.5; // the page goes away; another one comes without faults
  const ended = isLeft ? outbox.leave("visitor") : outbox.end("visitor");
  if (isLeft) await clock.wind(1000);
  mend(server);
  if (isLeft) await resend(world(server, clock, { random: chance, store }));
  await clock.wind(10 * 60_000);
  if (!isLeft) assert.equal(await ended, "GRACEFUL_TERMINATION");
  return { server, store, told };
}

test("entries are stored once and in order under all faults", async () => {
  const sum = { stored: 0, gaps: 0, lost: 0, doubled: 0, disordered: 0, innocent: 0 };
  for (let seed = 1; seed <= 300; seed++) {
    const { server, store, told } = await converse(seed);
    const { rows } = server;
    const gaps = rows.filter(({ k }) => k === "gap");
    const kept = rows.filter(({ k }) => k !== "gap");
    const counted = gaps.reduce((count, { d }) => count + d.count, 0);
    sum.stored += kept.length;
    sum.gaps += counted;
    sum.lost += told.length - kept.length - counted;
    sum.doubled += kept.length - new Set(kept.map(({ d }) => d.text)).size;
    sum.disordered += rows.filter(
      (row, i) => row.s !== i + 1 || (row.k !== "gap" && row.d.text !== told[i]),
    ).length;
    sum.innocent += rows.filter(
      (row, i) => row.k === "gap" && told[i].startsWith("line"),
    ).length;
    assert.ok(
      rows.every((row, i) => row.k === "gap" || !told[i].startsWith("bad")),
      `seed ${seed}`,
    );
    assert.ok(
      gaps.every(({ d }) => d.count === 1),
      `seed ${seed}`,
    );
    assert.deepEqual(server.bye, { last: LINES, how: "visitor" }, `seed ${seed}`);
    assert.equal(store.left.size, 0, `seed ${seed}: nothing is left`);
    assert.deepEqual(
      [sum.lost, sum.doubled, sum.disordered],
      [0, 0, 0],
      `seed ${seed}`,
    );
  }
  assert.equal(sum.stored + sum.gaps, 300 * LINES);
  assert.ok(
    sum.innocent < 0.005 * sum.stored,
    `${sum.innocent} entries were taken for deadly and are gaps`,
  );
});
