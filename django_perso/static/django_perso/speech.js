/** Finds speech in the level of a microphone. Independent of the browser. */

const CONFIRM_MS = 250; // of sound within WINDOW_MS are speech; a cough is shorter
const WINDOW_MS = 500;
const LATEST_MS = 600; // after its first sound speech is confirmed, or begins later
const PAUSE_MS = 900; // of quiet end a turn
const CLICK_MS = 80; // a shorter sound is a click
const LOUDER = 3.5; // than the noise, about 11 dB
const QUIETEST = 0.003; // a level below is never sound
const BEGIN_MS = 300; // a device has begun
const SETTLE_MS = 100; // its first samples are quieter than the room
const LEARN_MS = 400; // at first only the noise is measured
const BUCKET_MS = 100;
const BUCKETS = 20;

const ECHO_MS = 600; // the avatar's sound may be heard so much later
const ECHO_DELAYS_MS = [...Array(21)].map((_, number) => number * 25);
const ECHO_FAINTEST = 0.003; // a level of the avatar below is silence
const ECHO_LOUDER = 1.5; // than the avatar is heard: the visitor
const ECHO_GAIN = 0.5; // how loud the avatar is heard, until that is known
const CANCELED_ECHO_GAIN = 0.2; // the same if the browser cancels the echo
const GAINS = 30; // are remembered, one for each tenth of a second of the avatar
const SILENT = { level: 0, isFull: true };
const LOWEST_GAIN = 2; // the third, because timers may be late

/** The level of the noise: the lowest of the last two seconds, because speech has gaps. */
class Noise {
  #buckets = /** @type {number[]} */ ([]); // the lowest level in each
  #bucket = -1;

  add(/** @type {number} */ level, /** @type {number} */ now) {
    const bucket = Math.floor(now / BUCKET_MS);
    if (bucket === this.#bucket) {
      const lowest = this.#buckets.pop() ?? level;
      this.#buckets.push(Math.min(lowest, level));
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
 * How loud the microphone may hear the avatar: what is not louder is not the visitor.
 *
 * How much later it hears the avatar is not known. For each delay, the avatar is heard at most as
 * loud as the lowest quotients of what is heard and what was played so much earlier: the visitor
 * only makes them higher, and pauses now and then.
 */
class Echo {
  #played = /** @type {{ at: number, level: number }[]} */ ([]); // the oldest first
  #heard = /** @type {{ at: number, level: number }[]} */ ([]);
  #gains; // for each delay, the oldest first
  #gain;
  #bucket = -1;

  /** @param {number} gain to begin with */
  constructor(gain) {
    this.#gains = ECHO_DELAYS_MS.map(() => [gain, gain, gain]);
    this.#gain = gain;
  }

  /** Take what is played, and the level of the microphone. */
  add(
    /** @type {Played} */ { level, isFull },
    /** @type {number} */ heard,
    /** @type {number} */ now,
  ) {
    if (level < ECHO_FAINTEST && !this.#played.length) return; // the avatar is silent
    this.#played.push({ at: now, level });
    this.#heard.push({ at: now, level: heard });
    this.#played = this.#played.filter(({ at }) => now - at <= ECHO_MS);
    this.#heard = this.#heard.filter(({ at }) => now - at < BUCKET_MS);
    if (this.#loudest < ECHO_FAINTEST) this.#played = [];
    const bucket = Math.floor(now / BUCKET_MS);
    const isDue = bucket !== this.#bucket && this.#played.length > 0;
    if (isDue && isFull) this.#learn(now);
    this.#bucket = bucket;
  }

  get limit() {
    return this.#played.length ? ECHO_LOUDER * this.#gain * this.#loudest : 0;
  }

  get #loudest() {
    return Math.max(...this.#played.map(({ level }) => level));
  }

  #learn(/** @type {number} */ now) {
    const heard = mean(this.#heard);
    ECHO_DELAYS_MS.forEach((delay, index) => {
      const end = now - delay;
      const played = mean(
        this.#played.filter(({ at }) => at <= end && at > end - BUCKET_MS),
      );
      if (played < ECHO_FAINTEST) return;
      const gains = this.#gains[index];
      gains.push(Math.min(heard / played, 1));
      if (gains.length > GAINS) gains.shift();
    });
    const lowest = this.#gains.map(
      (gains) => [...gains].sort((one, other) => one - other)[LOWEST_GAIN],
    );
    this.#gain = Math.max(...lowest);
  }
}

const mean = (/** @type {{ level: number }[]} */ samples) =>
  samples.reduce((sum, { level }) => sum + level, 0) / (samples.length || 1);

/**
 * Takes the level every few milliseconds, and reports when somebody begins to make a sound, when
 * the sound is speech, and when the speech has ended.
 */
export class SpeechDetector {
  #listener;
  #noise = new Noise();
  #echo = new Echo(ECHO_GAIN);
  #calledAt = /** @type {number | null} */ (null);
  #beganAt = /** @type {number | null} */ (null);
  #now = 0;
  #sounds = /** @type {{ at: number, ms: number }[]} */ ([]); // within the window
  #soundMs = 0; // for which it has not been quiet
  #soundedAt = 0; // the first sound
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
  hear(
    /** @type {number} */ level,
    /** @type {number} */ now,
    /** @type {Played} */ played = SILENT,
  ) {
    const ms = Math.min(now - this.#now, BUCKET_MS); // timers may be late
    this.#soundMs = this.learn(level, now, played) ? this.#soundMs + ms : 0;
    if (this.#soundMs >= CLICK_MS) this.#noteSound(ms);
    else this.#noteQuiet();
  }

  /** Take the levels while nobody listens; return whether there is a sound. */
  learn(
    /** @type {number} */ level,
    /** @type {number} */ now,
    /** @type {Played} */ played = SILENT,
  ) {
    this.#now = now;
    this.#calledAt ??= now;
    // Before a device begins, it gives zeros. Later they are its silence.
    if (level === 0 && now - this.#calledAt < BEGIN_MS) return false;
    this.#beganAt ??= level === 0 ? now - LEARN_MS : now;
    if (now - this.#beganAt < SETTLE_MS) return false;
    this.#noise.add(level, now);
    this.#echo.add(played, level, now);
    const limit = Math.max(QUIETEST, LOUDER * this.#noise.level, this.#echo.limit);
    return level > limit && now - this.#beganAt >= LEARN_MS;
  }

  /** Forget the noise and the echo of the device before. */
  changeDevice({ cancelsEcho = false }) {
    this.#calledAt = null;
    this.#beganAt = null;
    this.#noise = new Noise();
    this.#echo = new Echo(cancelsEcho ? CANCELED_ECHO_GAIN : ECHO_GAIN);
  }

  /** Forget the sound so far, but not the noise. */
  reset() {
    this.#sounds = [];
    this.#soundMs = 0;
    this.#isSound = false;
    this.#isSpeech = false;
  }

  #noteSound(/** @type {number} */ ms) {
    const now = this.#now;
    const isFirst = this.#soundMs < CLICK_MS + ms;
    if (isFirst) this.#sounds.push({ at: now - this.#soundMs, ms: this.#soundMs });
    else this.#sounds.push({ at: now, ms });
    this.#sounds = this.#sounds.filter(({ at }) => now - at < WINDOW_MS);
    this.#heardAt = now;
    if (!this.#isSound) {
      this.#isSound = true;
      this.#soundedAt = now - this.#soundMs;
      this.#listener.sound();
    }
    const heard = this.#sounds.reduce((sum, sound) => sum + sound.ms, 0);
    if (this.#isSpeech || heard < CONFIRM_MS) return;
    this.#isSpeech = true;
    this.#listener.speech(Math.max(this.#soundedAt, now - LATEST_MS));
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
