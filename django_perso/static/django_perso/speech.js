/** Finds speech in the level of a microphone. Independent of the browser. */

const CONFIRM_MS = 250; // of sound within WINDOW_MS are speech; a cough is shorter
const WINDOW_MS = 500;
const PAUSE_MS = 900; // of quiet end a turn
const LONGEST_MS = 30_000;
const LOUDER = 3.5; // than the noise, about 11 dB
const QUIETEST = 0.006; // a level below is never sound
const LEARN_MS = 400; // at first only the noise is measured
const BUCKET_MS = 100;
const BUCKETS = 20;

/** The level of the noise: the lowest of the last two seconds, because speech has gaps. */
class Noise {
  #buckets = /** @type {number[]} */ ([]); // the lowest level in each
  #bucket = -1;

  hear(/** @type {number} */ level, /** @type {number} */ now) {
    const bucket = Math.floor(now / BUCKET_MS);
    if (bucket === this.#bucket) {
      const lowest = this.#buckets.at(-1) ?? level;
      this.#buckets[this.#buckets.length - 1] = Math.min(lowest, level);
      return;
    }
    this.#bucket = bucket;
    this.#buckets.push(level);
    if (this.#buckets.length > BUCKETS) this.#buckets.shift();
  }

  get level() {
    return Math.min(...this.#buckets);
  }
}

/**
 * Takes the level every few milliseconds, and reports when somebody begins to make a sound, when
 * the sound is speech, and when the speech has ended.
 */
export class SpeechDetector {
  #listener;
  #noise = new Noise();
  #startedAt = /** @type {number | null} */ (null);
  #now = 0;
  #sounds = /** @type {{ at: number, ms: number }[]} */ ([]); // within the window
  #heardAt = -Infinity; // the last sound
  #beganAt = 0; // the speech
  #isSound = false;
  #isSpeech = false;

  /** @param {SpeechListener} listener */
  constructor(listener) {
    this.#listener = listener;
  }

  get isSpeech() {
    return this.#isSpeech;
  }

  /** Take the level, the root mean square of the samples, since the last call. */
  hear(/** @type {number} */ level, /** @type {number} */ now) {
    this.#startedAt ??= now;
    const ms = Math.min(now - this.#now, BUCKET_MS); // timers may be late
    this.#now = now;
    this.#noise.hear(level, now);
    if (now - this.#startedAt < LEARN_MS) return;
    if (level > Math.max(QUIETEST, LOUDER * this.#noise.level)) this.#noteSound(ms);
    else this.#noteQuiet();
    if (this.#isSpeech && now - this.#beganAt >= LONGEST_MS) this.#finish();
  }

  /** Forget the sound so far, but not the noise. */
  reset() {
    this.#sounds = [];
    this.#isSound = false;
    this.#isSpeech = false;
  }

  #noteSound(/** @type {number} */ ms) {
    const now = this.#now;
    this.#heardAt = now;
    this.#sounds.push({ at: now, ms });
    this.#sounds = this.#sounds.filter(({ at }) => now - at < WINDOW_MS);
    if (!this.#isSound) {
      this.#isSound = true;
      this.#listener.sound();
    }
    const heard = this.#sounds.reduce((sum, sound) => sum + sound.ms, 0);
    if (this.#isSpeech || heard < CONFIRM_MS) return;
    this.#isSpeech = true;
    this.#beganAt = now;
    this.#listener.speech();
  }

  #noteQuiet() {
    const quiet = this.#now - this.#heardAt;
    if (this.#isSpeech) {
      if (quiet >= PAUSE_MS) this.#finish();
    } else if (this.#isSound && quiet >= WINDOW_MS) {
      this.#isSound = false;
      this.#listener.quiet();
    }
  }

  #finish() {
    this.reset();
    this.#listener.end();
  }
}
