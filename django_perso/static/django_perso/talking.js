/**
 * Talking in a conversation: turns the microphone on and off for the visitor, and the avatar down
 * while the visitor speaks. Loaded where visitors may talk.
 */

const TO_TALK = ["voice", "recorder", "microphone", "speech"]; // when a visitor wants to
const DUCKED_VOLUME = 0.15;

export class Talking {
  #importModules;
  #adapter;
  #page;
  #voice = /** @type {Voice | null} */ (null);
  #loading = /** @type {Promise<Voice> | null} */ (null);
  #isOver = false;

  /**
   * @param {ImportModules} importModules
   * @param {Adapter} adapter
   * @param {TalkingPage} page
   */
  constructor(importModules, adapter, page) {
    this.#importModules = importModules;
    this.#adapter = adapter;
    this.#page = page;
  }

  /**
   * Turn the microphone on or off, or change the way to talk. Never rejects: the page shows what is
   * wrong.
   */
  async setVoice(/** @type {VoiceWay | "off"} */ way) {
    if (this.#isOver) return;
    if (way === "off") {
      this.#voice?.switchOff();
      return;
    }
    try {
      this.#loading ??= this.#makeVoice();
      this.#voice = await this.#loading;
      if (!this.#isOver) await this.#voice.switchOn(way);
    } catch (error) {
      if (!this.#voice) this.#loading = null; // the next press tries again
      this.#page.trouble(/** @type {any} */ (error));
    }
  }

  /** Change the microphone, which is on. Never rejects. */
  async useDevice(/** @type {string} */ id) {
    try {
      await this.#voice?.useDevice(id);
    } catch (error) {
      this.#page.trouble(/** @type {any} */ (error));
    }
  }

  /** The microphone in use. */
  get deviceId() {
    return this.#voice?.deviceId ?? "";
  }

  /** The visitor presses the button to talk. */
  press() {
    this.#voice?.press();
  }

  release() {
    this.#voice?.release();
  }

  /** The conversation has ended. */
  stop() {
    this.#isOver = true;
    this.#voice?.switchOff();
  }

  async #makeVoice() {
    const { voice, recorder, ...modules } = await this.#importModules(TO_TALK);
    const page = this.#page;
    return new voice.Voice(modules, this.#adapter.makeRecorder(recorder), {
      mode: page.mode,
      level: page.level,
      duck: (/** @type {boolean} */ isDucked) => this.#duck(isDucked),
      isMuted: () => page.video.muted,
      silence: () => this.#silence(),
      understood: (/** @type {string} */ text, /** @type {number} */ ms) =>
        page.understood(text, { via: "voice", spoken_ms: ms }),
      trouble: (/** @type {string} */ code) => page.trouble({ code, message: code }),
    });
  }

  /** While the visitor makes a sound, the avatar is quieter. */
  #duck(/** @type {boolean} */ isDucked) {
    this.#page.video.volume = isDucked ? DUCKED_VOLUME : 1;
  }

  async #silence() {
    if (this.#adapter.isBusy) await this.#page.interrupt();
    this.#duck(false);
  }
}
