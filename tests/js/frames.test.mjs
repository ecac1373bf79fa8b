// The tables of the log protocol, and what counts as a frame of the server.
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  CLOSE,
  CUTTING_CLOSES,
  isFrame,
  LIMITS,
  REFUSALS,
  REFUSING_CLOSES,
  SERVER_FRAME_NAMES,
} from "../../django_perso/static/django_perso/frames.js";

const FRAMES = [
  { t: "ack", s: 3 },
  { t: "done", reason: "" },
  { t: "gap", s: 0 },
  { t: "pong" },
  { t: "reject", s: [3], code: "too_big" },
  { t: "retry", after: 1000 },
  { t: "welcome", ack: 0 },
];

test("every frame of the server is recognized", () => {
  assert.deepEqual(
    FRAMES.map(({ t }) => t),
    SERVER_FRAME_NAMES,
  );
  for (const frame of FRAMES) assert.equal(isFrame(frame), true, frame.t);
});

for (const value of [
  null,
  undefined,
  [],
  "ack",
  {},
  { t: "hello" },
  { t: "toString" },
  { t: ["pong"] },
  { t: "ack" },
  { t: "ack", s: "3" },
  { t: "gap", s: 1.5 },
  { t: "reject", s: 3 },
  { t: "welcome" },
])
  test(`${JSON.stringify(value)} is not a frame`, () => {
    assert.equal(isFrame(value), false);
  });

test("only close codes of the app end the log", () => {
  const codes = Object.values(CLOSE);
  assert.ok([...REFUSING_CLOSES.keys()].every((code) => codes.includes(code)));
});

test("no close code both ends the log and makes frames smaller", () => {
  assert.ok([...CUTTING_CLOSES].every((code) => !REFUSING_CLOSES.has(code)));
});

test("every close code that ends the log has its problem code", () => {
  assert.deepEqual([...REFUSALS].sort(), [
    "logged_out",
    "no_stream",
    "not_authorised",
    "origin",
    "superseded",
  ]);
});

test("an outbox holds more than one frame and one last request", () => {
  assert.ok(LIMITS.entryBytes < LIMITS.flushBytes);
  assert.ok(2 * LIMITS.flushBytes < LIMITS.frameBytes);
  assert.ok(LIMITS.frameBytes * LIMITS.framesInFlight < LIMITS.outboxBytes);
});
