/** The visitor's microphone: its level, and the gate through which its sound leaves the page. */

const DELAY_SECONDS = 0.5; // speech is found late, and its first syllable has to be sent
const STEP_MS = 20;
const FADE_SECONDS = 0.005; // a gate that opens at once clicks
const DISMISSED_MS = 500; // a prompt that is refused sooner was not shown

/** What an error of the browser means. @type {Record<string, string>} */
const CODES = {
  NotFoundError: "microphone_missing",
  OverconstrainedError: "microphone_missing",
  NotReadableError: "microphone_busy",
  AbortError: "microphone_busy",
};

/** Asks for a microphone, and owns it until it is closed. */
export class Microphone {
  #listener;
  #context = new AudioContext();
  #analyser = this.#context.createAnalyser();
  #delay = this.#context.createDelay(DELAY_SECONDS);
  #gate = this.#context.createGain();
  #output = this.#context.createMediaStreamDestination();
  #source = /** @type {MediaStreamAudioSourceNode | null} */ (null);
  #device = /** @type {MediaStreamTrack | null} */ (null);
  #timer = 0;

  /** @param {MicrophoneListener} listener */
  constructor(listener) {
    this.#listener = listener;
    this.#gate.gain.value = 0;
    this.#analyser.fftSize = 1024; // 21 ms at 48 kHz
    this.#delay.connect(this.#gate).connect(this.#output);
    this.#timer = setInterval(() => this.#measure(), STEP_MS);
  }

  /** The sound that leaves the page: silence while the gate is shut. */
  get track() {
    return this.#output.stream.getAudioTracks()[0];
  }

  /** The device in use. */
  get deviceId() {
    return this.#device?.getSettings().deviceId ?? "";
  }

  /**
   * Use a device, the usual one without an id. Rejects with a `code` that says why there is none.
   */
  async use(deviceId = "") {
    const stream = await ask(deviceId);
    await this.#context.resume();
    this.#disconnect();
    const [device] = stream.getAudioTracks();
    device.onended = () => this.#listener.lost();
    this.#device = device;
    this.#source = this.#context.createMediaStreamSource(stream);
    this.#source.connect(this.#analyser);
    this.#source.connect(this.#delay);
  }

  /** Let sound through, from half a second ago unless it is not `delayed`. */
  open({ delayed = true } = {}) {
    this.#delay.delayTime.value = delayed ? DELAY_SECONDS : 0;
    this.#fadeTo(1);
  }

  shut() {
    this.#fadeTo(0);
  }

  /** Let go of the device. */
  close() {
    clearInterval(this.#timer);
    this.#disconnect();
    this.track.stop();
    this.#context.close();
  }

  #disconnect() {
    this.#source?.disconnect();
    if (!this.#device) return;
    this.#device.onended = null;
    this.#device.stop();
    this.#device = null;
  }

  #fadeTo(/** @type {number} */ gain) {
    const { currentTime } = this.#context;
    this.#gate.gain.setTargetAtTime(gain, currentTime, FADE_SECONDS);
  }

  #measure() {
    if (!this.#device) return;
    const samples = new Float32Array(this.#analyser.fftSize);
    this.#analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0);
    this.#listener.level(Math.sqrt(power / samples.length), performance.now());
  }
}

/** Ask the browser for a microphone. @returns {Promise<MediaStream>} */
async function ask(/** @type {string} */ deviceId) {
  if (!navigator.mediaDevices) throw failure("microphone_insecure");
  if (!isAllowedByPolicy()) throw failure("microphone_forbidden");
  const askedAt = performance.now();
  const audio = {
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
    ...(deviceId && { deviceId: { exact: deviceId } }),
  };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw failure(await explain(error, performance.now() - askedAt), error);
  }
}

/** Return why the browser gave no microphone. @returns {Promise<string>} */
async function explain(/** @type {any} */ error, /** @type {number} */ ms) {
  const name = error?.name;
  if (name !== "NotAllowedError") return CODES[name] ?? "microphone_failed";
  const isDenied = (await findPermission()) === "denied" || ms < DISMISSED_MS;
  return isDenied ? "microphone_denied" : "microphone_dismissed";
}

/** Return the state of the permission; nothing where the browser does not say. */
async function findPermission() {
  try {
    const name = /** @type {PermissionName} */ ("microphone");
    return (await navigator.permissions.query({ name })).state;
  } catch {
    return "";
  }
}

function isAllowedByPolicy() {
  const { featurePolicy, permissionsPolicy } = /** @type {any} */ (document);
  return (permissionsPolicy ?? featurePolicy)?.allowsFeature("microphone") ?? true;
}

const failure = (/** @type {string} */ code, /** @type {unknown} */ cause = code) =>
  Object.assign(new Error(String(cause)), { code });
