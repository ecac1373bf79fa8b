/** Talking: when the avatar records, and what it has understood. */

const ANSWER_MS = 10_000; // for what was said, as text

/**
 * Decides from presses and from the sound of the microphone when a turn of the visitor begins and
 * ends. It records only while somebody speaks, or presses.
 */
export class Voice {
  #recorder;
  #listener;
  #modules;
  #microphone = /** @type {Microphone | null} */ (null);
  #detector;
  #way = /** @type {VoiceWay} */ ("click");
  #mode = /** @type {VoiceMode} */ ("off");
  #isPressed = false;
  #beganAt = 0; // the recording
  #answer = Promise.resolve(); // of the turn before

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
      sound: () => this.#noteSound(),
      speech: () => this.#beginTurn(),
      quiet: () => this.#listener.sound(false),
      end: () => this.#endTurn(),
    });
  }

  get mode() {
    return this.#mode;
  }

  /** Ask for the microphone, and listen. Rejects with a `code` if there is none. */
  async switchOn(/** @type {VoiceWay} */ way, deviceId = "") {
    this.#way = way;
    if (!this.#microphone) {
      const { Microphone } = this.#modules.microphone;
      const microphone = new Microphone({
        level: (level, now) => this.#hear(level, now),
        lost: () => this.#lose(),
      });
      try {
        await microphone.use(deviceId);
        await this.#recorder.attach(microphone.track);
      } catch (error) {
        microphone.close();
        throw error;
      }
      this.#microphone = microphone;
    }
    this.#detector.reset();
    this.#become(way === "hands-free" ? "listening" : "ready");
  }

  /** Let go of the microphone. What is being said is not sent. */
  switchOff() {
    if (this.#mode === "recording") this.#recorder.cancel();
    this.#microphone?.close();
    this.#microphone = null;
    this.#isPressed = false;
    this.#detector.reset();
    this.#become("off");
  }

  /** Change the device, also in the middle of a sentence. */
  async useDevice(/** @type {string} */ deviceId) {
    await this.#microphone?.use(deviceId);
  }

  /** The visitor presses the button. */
  press() {
    if (this.#mode === "off" || this.#isPressed) return;
    if (this.#way === "hold") {
      this.#isPressed = true;
      this.#beginTurn();
    } else if (this.#mode === "recording") this.#endTurn();
    else this.#become(this.#mode === "listening" ? "ready" : "listening");
  }

  /** The visitor lets go of the button. */
  release() {
    if (!this.#isPressed) return;
    this.#isPressed = false;
    this.#endTurn();
  }

  #hear(/** @type {number} */ level, /** @type {number} */ now) {
    this.#listener.level(level);
    const isListening = this.#mode === "listening" || this.#mode === "recording";
    if (this.#way !== "hold" && isListening) this.#detector.hear(level, now);
  }

  #noteSound() {
    if (this.#way === "hands-free") this.#listener.sound(true);
  }

  async #beginTurn() {
    if (this.#mode === "recording") return;
    await this.#answer;
    const isWanted = this.#way === "hold" ? this.#isPressed : this.#detector.isSpeech;
    if (!isWanted || this.#mode === "off") return;
    this.#listener.turn();
    this.#beganAt = performance.now();
    this.#recorder.start();
    this.#microphone?.open({ delayed: this.#way !== "hold" });
    this.#become("recording");
  }

  #endTurn() {
    if (this.#mode !== "recording") return;
    this.#microphone?.shut();
    const spoken = performance.now() - this.#beganAt;
    this.#answer = this.#understand(Math.round(spoken));
    this.#become(this.#way === "hands-free" ? "listening" : "ready");
  }

  async #understand(/** @type {number} */ ms) {
    try {
      const text = (await this.#recorder.stop(ANSWER_MS)).trim();
      if (text) this.#listener.understood(text, ms);
      else this.#listener.trouble("not_understood");
    } catch {
      this.#listener.trouble("not_understood");
    }
  }

  #lose() {
    this.switchOff();
    this.#listener.trouble("microphone_lost");
  }

  #become(/** @type {VoiceMode} */ mode) {
    this.#mode = mode;
    this.#listener.mode(mode);
  }
}
