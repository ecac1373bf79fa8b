/** Finds speech in the level of a microphone. Independent of the browser. */

const CONFIRM_MS = 250; // of sound within WINDOW_MS are speech; a cough is shorter
const WINDOW_MS = 500;
const PAUSE_MS = 900; // of quiet end a turn
const LOUDER = 3.5; // than the noise, about 11 dB
const QUIETEST = 0.003; // a level below is never sound
const LEARN_MS = 400; // at first only the noise is measured
const BUCKET_MS = 100;

const ECHO_MS = 500; // the avatar's sound may be heard so much later
const ECHO_FAINTEST = 0.003; // a level of the avatar below is silence
const ECHO_LOUDER = 1.5; // than the avatar's sound is usually heard
const ECHO_GAIN = 0.7; // how loud it is heard, until that is known
const ECHO_GROWTH = 1.05; // in each bucket at most

/** One number for each tenth of a second, of the last ones. */
class Recent {
  #pick;
  #count;
  #values;
  #bucket = -1;

  /**
   * @param {(...numbers: number[]) => number} pick which number of a bucket is kept
   * @param {number} ms for which numbers are kept
   * @param {number[]} values to begin with
   */
  constructor(pick, ms, values = []) {
    this.#pick = pick;
    this.#count = Math.ceil(ms / BUCKET_MS);
    this.#values = values;
  }

  add(/** @type {number} */ value, /** @type {number} */ now) {
    const bucket = Math.floor(now / BUCKET_MS);
    if (bucket === this.#bucket) {
      const last = this.#values.pop() ?? value;
      this.#values.push(this.#pick(last, value));
      return;
    }
    this.#bucket = bucket;
    this.#values.push(value);
    if (this.#values.length > this.#count) this.#values.shift();
  }

  get value() {
    return this.#pick(...this.#values);
  }
}

/** How loud the microphone may hear the avatar: what is not louder is not the visitor. */
class Echo {
  #played = new Recent(Math.max, ECHO_MS);
  #gains = new Recent(Math.max, 1500, [ECHO_GAIN]);

  play(/** @type {number} */ level, /** @type {number} */ now) {
    this.#played.add(level, now);
  }

  get limit() {
    const played = this.#played.value;
    return played < ECHO_FAINTEST ? 0 : ECHO_LOUDER * this.#gains.value * played;
  }

  /** Learn from a level that was not the visitor's. */
  learn(/** @type {number} */ level, /** @type {number} */ now) {
    const played = this.#played.value;
    if (played < ECHO_FAINTEST) return;
    const most = this.#gains.value * ECHO_GROWTH;
    this.#gains.add(Math.min(level / played, most, 1), now);
  }
}

/**
 * Takes the level every few milliseconds, and reports when somebody begins to make a sound, when
 * the sound is speech, and when the speech has ended.
 */
export class SpeechDetector {
  #listener;
  #noise = new Recent(Math.min, 2000); // the lowest level, because speech has gaps
  #echo = new Echo();
  #startedAt = /** @type {number | null} */ (null);
  #now = 0;
  #sounds = /** @type {{ at: number, ms: number }[]} */ ([]); // within the window
  #heardAt = -Infinity; // the last sound
  #isSound = false;
  #isSpeech = false;

  /** @param {SpeechListener} listener */
  constructor(listener) {
    this.#listener = listener;
  }

  /**
   * Take the levels of the microphone and of the avatar, root mean squares of the samples since
   * the last call.
   */
  hear(/** @type {number} */ level, /** @type {number} */ now, avatar = 0) {
    const ms = Math.min(now - this.#now, BUCKET_MS); // timers may be late
    const isSound = this.learn(level, now, avatar);
    if (isSound) this.#noteSound(ms);
    else this.#noteQuiet();
  }

  /** Take the levels while nobody listens; return whether there is a sound. */
  learn(/** @type {number} */ level, /** @type {number} */ now, avatar = 0) {
    this.#startedAt ??= now;
    this.#now = now;
    this.#noise.add(level, now);
    this.#echo.play(avatar, now);
    const limit = Math.max(QUIETEST, LOUDER * this.#noise.value, this.#echo.limit);
    const isSound = level > limit;
    if (!isSound) this.#echo.learn(level, now);
    return isSound && now - this.#startedAt >= LEARN_MS;
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
    this.#listener.speech(this.#sounds[0].at);
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
    const heardAt = this.#heardAt;
    this.reset();
    this.#listener.end(heardAt);
  }
}
