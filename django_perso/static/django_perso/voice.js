/** Talking: when a turn of the visitor begins and ends, and what was understood. */

const ANSWER_MS = 10_000; // for what was said, as text
const LONGEST_MS = 30_000; // a turn
const LEAD_MS = 150; // sent before the first sound of a turn, which may be soft
const TAIL_MS = 150; // sent after the last sound
const LONGEST_TEXT = 4000; // as much as visitors can type

/**
 * A turn: what was said from one moment to another. It leaves the page `lag` milliseconds later,
 * because speech is recognized late, or because the avatar is not yet ready to record it.
 * @typedef {{ from: number, until: number, lag: number | null }} Turn
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
  #isPressed = false; // the button that is held
  #turn = /** @type {Turn | null} */ (null);
  #timer = 0; // ends the turn
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
      speech: (from) => this.#begin(from - LEAD_MS),
      end: (heardAt) => this.#end(heardAt + TAIL_MS),
    });
  }

  /**
   * Turn the microphone on, or change the way to talk. Rejects with a `code` if there is no
   * microphone.
   */
  async switchOn(/** @type {VoiceWay} */ way, deviceId = "") {
    this.#way = way;
    if (this.#mode === "asking") return;
    if (!this.#microphone && !(await this.#open(deviceId))) return;
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
    this.#turn = null;
    this.#microphone.close();
    this.#microphone = null;
    this.#isPressed = false;
    this.#isListening = false;
    this.#noteSound(false);
    this.#become("off");
  }

  /** Change the device, also in the middle of a sentence. Rejects as `switchOn` does. */
  async useDevice(/** @type {string} */ deviceId) {
    await this.#microphone?.use(deviceId);
    this.#detector.expectEcho({ isCanceled: this.#microphone?.cancelsEcho });
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
    if (isStart && this.#way === "click") this.#listener.turn();
  }

  /** The visitor lets go of the button. */
  release() {
    if (!this.#isPressed) return;
    this.#isPressed = false;
    this.#end(performance.now());
  }

  /** Return whether there is a microphone, and nobody has switched it off meanwhile. */
  async #open(/** @type {string} */ deviceId) {
    Voice.#current?.switchOff();
    Voice.#current = this;
    const microphone = new this.#modules.microphone.Microphone({
      level: (level, avatar, now) => this.#hear(level, avatar, now),
      lost: (code) => this.#lose(code),
    });
    this.#microphone = microphone;
    this.#become("asking");
    try {
      await microphone.use(deviceId);
      if (this.#microphone !== microphone) return false;
      await this.#recorder.attach(microphone.track);
    } catch (error) {
      if (this.#microphone !== microphone) return false;
      this.switchOff();
      throw error;
    }
    microphone.compareWith(this.#recorder.avatarStream);
    this.#detector.expectEcho({ isCanceled: microphone.cancelsEcho });
    document.addEventListener("visibilitychange", this.#visibility);
    return true;
  }

  #listen(/** @type {boolean} */ isOn) {
    this.#isListening = isOn;
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
    if (this.#isListening && !document.hidden) this.#detector.hear(level, now, avatar);
    else this.#detector.learn(level, now, avatar);
  }

  /** Hands-free, the avatar is quieter while the visitor makes a sound. */
  #noteSound(/** @type {boolean} */ isOn) {
    if (this.#way === "hands-free" || !isOn) this.#listener.sound(isOn);
  }

  /** Nobody is heard while the page is hidden, where timers are late. */
  #followPage() {
    if (!document.hidden) return;
    this.#isPressed = false;
    this.#end(performance.now());
    this.#detector.reset();
    this.#noteSound(false);
  }

  #begin(/** @type {number} */ from) {
    if (this.#turn) {
      // The last of it has not been sent yet, and the visitor goes on.
      clearTimeout(this.#timer);
      this.#turn.until = Infinity;
      return;
    }
    this.#turn = { from, until: Infinity, lag: null };
    this.#record(this.#turn);
  }

  /** Record a turn, once the turn before was understood and the avatar is silent. */
  async #record(/** @type {Turn} */ turn) {
    await this.#answer;
    await this.#listener.turn();
    if (this.#turn !== turn) return;
    turn.lag = performance.now() - turn.from;
    try {
      this.#recorder.start();
    } catch {
      this.#turn = null; // the session has just been closed
      return;
    }
    this.#microphone?.open(turn.lag);
    this.#showMode();
    this.#schedule(turn);
  }

  /** End the turn, if there is one. */
  #end(/** @type {number} */ until) {
    const turn = this.#turn;
    if (!turn) return;
    turn.until = until;
    if (turn.lag !== null) this.#schedule(turn);
  }

  #schedule(/** @type {Turn} */ turn) {
    const until = Math.min(turn.until, turn.from + LONGEST_MS);
    const wait = until + (turn.lag ?? 0) - performance.now();
    clearTimeout(this.#timer);
    if (wait <= 0) this.#finish(turn, until);
    else this.#timer = setTimeout(() => this.#finish(turn, until), wait);
  }

  #finish(/** @type {Turn} */ turn, /** @type {number} */ until) {
    this.#microphone?.shut();
    this.#turn = null;
    this.#isPressed = false;
    this.#isListening &&= this.#way === "hands-free";
    this.#detector.reset();
    const margins = this.#way === "hold" ? 0 : LEAD_MS + TAIL_MS;
    this.#answer = this.#understand(Math.round(until - turn.from - margins));
    this.#showMode();
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
    if (this.#turn?.lag != null) this.#become("recording");
    else this.#become(this.#isListening ? "listening" : "ready");
  }

  #become(/** @type {VoiceMode} */ mode) {
    this.#mode = mode;
    this.#listener.mode(mode, this.#way);
  }
}
