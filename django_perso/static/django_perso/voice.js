/** Talking: when a turn of the visitor begins and ends, and what was understood. */

const ANSWER_MS = 10_000; // for what was said, as text
const LONGEST_MS = 30_000; // a turn
const LEAD_MS = 150; // sent before the first sound of a turn, which may be soft
const TAIL_MS = 150; // sent after the last sound
const AFTER_DUCKING_MS = 600; // the microphone may still hear the quieter avatar
const LONGEST_TEXT = 4000; // as much as visitors can type

/**
 * A turn: the visitor speaks from one moment to another, `Infinity` while it goes on. The sound
 * leaves the page `lag` milliseconds later, because speech is recognized late, or because the
 * avatar was not ready to record it. Without a lag it is not recorded yet.
 * @typedef {{ from: number, until: number, lead: number, tail: number, lag: number | null }} Turn
 */

/**
 * Decides from presses and from the sound of the microphone when a turn of the visitor begins and
 * ends. It records only while somebody speaks, or presses.
 */
export class Voice {
  /** The page has one microphone. @type {Voice | null} */
  static #current = null;

  #recorder;
  #listener;
  #modules;
  #microphone = /** @type {Microphone | null} */ (null);
  #detector;
  #way = /** @type {VoiceWay} */ ("click");
  #mode = /** @type {VoiceMode} */ ("off");
  #isListening = false; // speech begins a turn
  #listenedAt = 0; // since when
  #isPressed = false; // the button that is held
  #isDucked = false; // the avatar, which is quieter
  #duckedAt = -Infinity;
  #turns = /** @type {Turn[]} */ ([]); // the oldest is recorded, the others wait
  #timer = 0; // ends the turn that is recorded
  #answer = Promise.resolve(); // to the turn before
  #visibility = () => this.#followPage();

  /**
   * @param {VoiceModules} modules
   * @param {Recorder} recorder
   * @param {VoiceListener} listener
   */
  constructor(modules, recorder, listener) {
    this.#modules = modules;
    this.#recorder = recorder;
    this.#listener = listener;
    this.#detector = new modules.speech.SpeechDetector({
      sound: () => this.#noteSound(true),
      quiet: () => this.#noteSound(false),
      speech: (from) => this.#begin(Math.max(from, this.#listenedAt), LEAD_MS),
      end: (heardAt) => this.#noteEnd(heardAt),
    });
  }

  /**
   * Turn the microphone on, or change the way to talk. Rejects with a `code` if there is no
   * microphone.
   */
  async switchOn(/** @type {VoiceWay} */ way) {
    this.#way = way;
    if (this.#mode === "asking") return;
    if (!this.#microphone && !(await this.#open())) return;
    this.#end(performance.now());
    this.#listen(this.#way === "hands-free");
  }

  /** Let go of the microphone. What is being said is not sent. */
  switchOff() {
    if (!this.#microphone) return;
    document.removeEventListener("visibilitychange", this.#visibility);
    if (Voice.#current === this) Voice.#current = null;
    if (this.#mode === "recording") this.#recorder.cancel();
    clearTimeout(this.#timer);
    this.#turns = [];
    this.#microphone.close();
    this.#microphone = null;
    this.#isPressed = false;
    this.#isListening = false;
    this.#noteSound(false);
    this.#become("off");
  }

  /** Change the device, also in the middle of a sentence. Rejects as `switchOn` does. */
  async useDevice(/** @type {string} */ deviceId) {
    const microphone = this.#microphone;
    await microphone?.use(deviceId);
    if (microphone) this.#detector.changeDevice(microphone);
  }

  /** The device in use. */
  get deviceId() {
    return this.#microphone?.deviceId ?? "";
  }

  /** The visitor presses the button. */
  press() {
    if (this.#mode === "off" || this.#mode === "asking" || this.#isPressed) return;
    if (this.#way === "hold") {
      this.#isPressed = true;
      this.#begin(performance.now());
      return;
    }
    const isStart = !this.#isListening;
    this.#end(performance.now());
    this.#listen(isStart);
    if (isStart && this.#way === "click") this.#listener.silence();
  }

  /** The visitor lets go of the button. */
  release() {
    if (!this.#isPressed) return;
    this.#isPressed = false;
    this.#end(performance.now());
  }

  /** Return whether there is a microphone, and nobody has switched it off meanwhile. */
  async #open() {
    Voice.#current?.switchOff();
    Voice.#current = this;
    const microphone = new this.#modules.microphone.Microphone({
      level: (level, avatar, now) => this.#hear(level, avatar, now),
      lost: (code) => this.#lose(code),
    });
    this.#microphone = microphone;
    this.#become("asking");
    try {
      await microphone.use();
      if (this.#microphone === microphone)
        await this.#recorder.attach(microphone.track);
      if (this.#microphone !== microphone) return false;
      microphone.compareWith(this.#recorder.avatarStream);
    } catch (error) {
      if (this.#microphone !== microphone) return false;
      this.switchOff();
      throw error;
    }
    this.#detector.changeDevice(microphone);
    document.addEventListener("visibilitychange", this.#visibility);
    return true;
  }

  #listen(/** @type {boolean} */ isOn) {
    this.#isListening = isOn;
    this.#listenedAt = performance.now();
    this.#detector.reset();
    this.#noteSound(false);
    this.#showMode();
  }

  #hear(
    /** @type {number} */ level,
    /** @type {number} */ avatar,
    /** @type {number} */ now,
  ) {
    this.#listener.level(level);
    if (this.#isDucked) this.#duckedAt = now;
    const isFull = now - this.#duckedAt > AFTER_DUCKING_MS;
    const played = { level: this.#listener.isMuted() ? 0 : avatar, isFull };
    if (this.#isListening && !document.hidden) this.#detector.hear(level, now, played);
    else this.#detector.learn(level, now, played);
  }

  /** Hands-free, the avatar is quieter while the visitor makes a sound. */
  #noteSound(/** @type {boolean} */ isOn) {
    this.#isDucked = isOn && this.#way === "hands-free";
    this.#listener.duck(this.#isDucked);
  }

  /** Stop listening while the page is hidden: timers are late there. */
  #followPage() {
    if (!document.hidden) return;
    this.#isPressed = false;
    this.#end(performance.now());
    this.#detector.reset();
    this.#noteSound(false);
  }

  #noteEnd(/** @type {number} */ heardAt) {
    this.#end(heardAt, TAIL_MS);
    if (this.#way === "click") this.#listen(false);
  }

  #begin(/** @type {number} */ from, lead = 0) {
    if (this.#turns.at(-1)?.until === Infinity) return;
    const turn = { from, until: Infinity, lead, tail: 0, lag: null };
    this.#turns.push(turn);
    if (this.#turns.length === 1) this.#record(turn);
  }

  /** Record a turn, once the turn before was understood and the avatar is silent. */
  async #record(/** @type {Turn} */ turn) {
    await this.#answer;
    await this.#listener.silence();
    if (this.#turns[0] !== turn) return;
    try {
      this.#recorder.start();
    } catch {
      this.#turns = []; // the session has just been closed
      return;
    }
    turn.lag = performance.now() - turn.from + turn.lead;
    this.#microphone?.openGate(turn.lag);
    this.#showMode();
    this.#schedule(turn);
  }

  /** End the newest turn, unless it has ended. */
  #end(/** @type {number} */ until, tail = 0) {
    const turn = this.#turns.at(-1);
    if (turn?.until !== Infinity) return;
    turn.until = until;
    turn.tail = tail;
    if (turn.lag !== null) this.#schedule(turn);
  }

  /** Finish a turn when the last of it has left the page. */
  #schedule(/** @type {Turn} */ turn) {
    const until = Math.min(turn.until, turn.from + LONGEST_MS);
    const wait = until + turn.tail + (turn.lag ?? 0) - performance.now();
    this.#microphone?.shutGate(Math.max(wait, 0));
    clearTimeout(this.#timer);
    if (wait <= 0) this.#finish(turn, until);
    else this.#timer = setTimeout(() => this.#finish(turn, until), wait);
  }

  #finish(/** @type {Turn} */ turn, /** @type {number} */ until) {
    this.#turns.shift();
    if (turn.until > until) this.#cutOff();
    this.#answer = this.#understand(Math.round(until - turn.from));
    this.#showMode();
    const [next] = this.#turns;
    if (next) this.#record(next);
  }

  /** The visitor has spoken for too long, and may begin another turn. */
  #cutOff() {
    this.#isPressed = false;
    this.#listen(this.#way === "hands-free");
  }

  async #understand(/** @type {number} */ ms) {
    try {
      const text = (await this.#recorder.stop(ANSWER_MS)).trim();
      if (text) this.#listener.understood(text.slice(0, LONGEST_TEXT), ms);
      else this.#listener.trouble("not_understood");
    } catch {
      this.#listener.trouble("not_understood");
    }
  }

  #lose(/** @type {string} */ code) {
    this.switchOff();
    this.#listener.trouble(code);
  }

  #showMode() {
    const isRecording = typeof this.#turns[0]?.lag === "number";
    if (isRecording) this.#become("recording");
    else this.#become(this.#isListening ? "listening" : "ready");
  }

  #become(/** @type {VoiceMode} */ mode) {
    this.#mode = mode;
    this.#listener.mode(mode, this.#way);
  }
}
