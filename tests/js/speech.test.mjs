// Speech is told from noise, coughs and clicks, by the level alone.
import assert from "node:assert/strict";
import test from "node:test";

import { SpeechDetector } from "../../django_perso/static/django_perso/speech.js";

const STEP_MS = 20;
const ROOM = 0.0005; // a quiet room
const VOICE = 0.1;
const SOFT_VOICE = 0.032; // −30 dBFS

/** Feed levels, and return what was reported, each with its time in milliseconds. */
function listen(parts, room = ROOM) {
  const reported = [];
  let now = 0;
  const report = (name) => () => reported.push([name, now]);
  const names = ["sound", "speech", "quiet", "end"];
  const detector = new SpeechDetector(
    Object.fromEntries(names.map((name) => [name, report(name)])),
  );
  const noise = (n) => room * (1 + 0.2 * Math.sin(n * 1.7));
  for (const [ms, level] of [[1000, 0], ...parts]) {
    for (let passed = 0; passed < ms; passed += STEP_MS) {
      now += STEP_MS;
      // A voice has syllables, and short gaps between words.
      const gap = level > 0 && Math.floor(passed / STEP_MS) % 12 > 9;
      detector.hear(Math.hypot(gap ? 0 : level, noise(now)), now);
    }
  }
  return reported;
}

const turns = (reported) => reported.filter(([name]) => name === "end").length;
const named = (reported, name) => reported.filter(([each]) => each === name);

for (const [kind, voice, room] of [
  ["loud", VOICE, ROOM],
  ["soft", SOFT_VOICE, ROOM],
  ["in noise 20 dB below it", VOICE, 0.01],
]) {
  test(`sentences of a voice that is ${kind} are turns, coughs are not`, () => {
    const sentence = [
      [1400, voice],
      [700, 0], // a pause within the sentence
      [900, voice],
      [1500, 0],
    ];
    const cough = [
      [150, voice],
      [1500, 0],
    ];
    const reported = listen([...sentence, ...cough, ...sentence, ...cough], room);
    assert.equal(named(reported, "speech").length, 2);
    assert.equal(turns(reported), 2);
    assert.equal(named(reported, "quiet").length, 2);
  });
}

test("speech is found after 250 ms and ends after 0.9 s of quiet", () => {
  const reported = listen([
    [2000, VOICE],
    [1500, 0],
  ]);
  const times = Object.fromEntries(reported);
  assert.ok(times.sound - 1000 <= 100, `sound after ${times.sound - 1000} ms`);
  assert.ok(times.speech - 1000 <= 340, `speech after ${times.speech - 1000} ms`);
  const end = times.end - 3000;
  assert.ok(end >= 860 && end <= 980, `end after ${end} ms`);
});

test("five minutes of a quiet room are no turn", () => {
  assert.deepEqual(listen([[300_000, 0]]), []);
});

test("steady noise is no speech", () => {
  assert.deepEqual(listen([[20_000, 0]], 0.04), []);
});

test("clicks of a keyboard are no speech", () => {
  const clicks = Array.from({ length: 100 }, () => [
    [20, VOICE],
    [140, 0],
  ]).flat();
  assert.equal(named(listen(clicks), "speech").length, 0);
});

/** Return the levels of an avatar that speaks for so long, with syllables and pauses. */
function avatarLevels(ms) {
  return Array.from({ length: ms / STEP_MS }, (_, step) => {
    const isPause = step % 130 > 110;
    const syllable = Math.abs(Math.sin(step * 0.37)) * (1 + 0.3 * Math.sin(step * 1.9));
    return isPause ? 0 : 0.12 * syllable;
  });
}

/** Let the microphone hear the avatar, later and softer, and a visitor's sentence. */
function listenOverAvatar({ gain, delay, voice = 0, at = Infinity }) {
  const played = avatarLevels(60_000);
  const reported = [];
  const report = (name) => () => reported.push(name);
  const names = ["sound", "speech", "quiet", "end"];
  const detector = new SpeechDetector(
    Object.fromEntries(names.map((name) => [name, report(name)])),
  );
  played.forEach((avatar, step) => {
    const now = step * STEP_MS;
    const echo = gain * (played[step - Math.round(delay / STEP_MS)] ?? 0);
    const isGap = step % 12 > 9;
    const said = now >= at && now < at + 1500 && !isGap ? voice : 0;
    const sound = { level: avatar, isFull: true };
    detector.hear(Math.hypot(echo, said, ROOM), now, sound);
  });
  return reported.filter((name) => name === "speech" || name === "end");
}

for (const delay of [20, 100, 250]) {
  test(`the avatar heard ${delay} ms later is no speech`, () => {
    assert.deepEqual(listenOverAvatar({ gain: 0.5, delay }), []);
  });

  test(`a sentence over the avatar heard ${delay} ms later is a turn`, () => {
    const reported = listenOverAvatar({ gain: 0.5, delay, voice: 0.12, at: 30_000 });
    assert.deepEqual(reported, ["speech", "end"]);
  });
}

test("a soft voice over an avatar that is not heard is a turn", () => {
  const reported = listenOverAvatar({ gain: 0, delay: 0, voice: SOFT_VOICE, at: 2000 });
  assert.deepEqual(reported, ["speech", "end"]);
});
