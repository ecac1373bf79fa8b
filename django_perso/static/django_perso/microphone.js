/** The visitor's microphone: its level, and the gate through which its sound leaves the page. */

const LONGEST_DELAY_SECONDS = 20; // sound waits for a recording to begin
const STEP_MS = 20;
const SAMPLES = 1024; // 21 ms at 48 kHz
const FADE_SECONDS = 0.005; // a gate that opens at once clicks
const DISMISSED_MS = 500; // a prompt that is refused sooner was not shown
const RESUME_MS = 1000; // the browser may not let sound begin

const samples = new Float32Array(SAMPLES);

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
  #analyser = makeAnalyser(this.#context);
  #delay = this.#context.createDelay(LONGEST_DELAY_SECONDS);
  #gate = this.#context.createGain();
  #output = this.#context.createMediaStreamDestination();
  #source = /** @type {MediaStreamAudioSourceNode | null} */ (null);
  #device = /** @type {MediaStreamTrack | null} */ (null);
  #avatar = /** @type {AnalyserNode | null} */ (null);
  #timer = 0;
  #calls = 0; // of use(); only the newest counts
  #isClosed = false;

  /** @param {MicrophoneListener} listener */
  constructor(listener) {
    this.#listener = listener;
    this.#gate.gain.value = 0;
    this.#delay.connect(this.#gate).connect(this.#output);
    this.#context.onstatechange = () => this.#keepRunning();
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

  /** Whether the browser cancels the echo of the avatar. */
  get cancelsEcho() {
    return this.#device?.getSettings().echoCancellation === true;
  }

  /**
   * Use a device, the usual one without an id. Rejects with a `code` that says why there is none;
   * the device used before stays.
   */
  async use(deviceId = "") {
    this.#calls += 1;
    const call = this.#calls;
    const stream = await ask(deviceId);
    const [device] = stream.getAudioTracks();
    try {
      await this.#resume();
      if (this.#isClosed || call !== this.#calls) {
        device.stop();
        return;
      }
      const source = this.#context.createMediaStreamSource(stream);
      this.#disconnect();
      this.#source = source;
    } catch (error) {
      device.stop();
      throw error;
    }
    this.#device = device;
    device.onended = () => this.#lose();
    this.#source.connect(this.#analyser);
    this.#source.connect(this.#delay);
  }

  /** Measure the avatar's sound, too, which the microphone may hear. */
  compareWith(/** @type {MediaStream | null} */ stream) {
    if (!stream?.getAudioTracks().length) return;
    this.#avatar = makeAnalyser(this.#context);
    this.#context.createMediaStreamSource(stream).connect(this.#avatar);
  }

  /** Let sound through, from so many milliseconds ago. */
  openGate(/** @type {number} */ lag) {
    this.#delay.delayTime.value = Math.min(lag / 1000, LONGEST_DELAY_SECONDS);
    this.#fadeTo(1, 0);
  }

  /** Let no more sound through in so many milliseconds, by the clock of the sound itself. */
  shutGate(/** @type {number} */ ms) {
    this.#fadeTo(0, ms);
  }

  /** Stop using the device. */
  close() {
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.#disconnect();
    this.track.stop();
    this.#context.close();
  }

  #disconnect() {
    this.#source?.disconnect();
    this.#source = null;
    if (!this.#device) return;
    this.#device.onended = null;
    this.#device.stop();
    this.#device = null;
  }

  async #resume() {
    const late = new Promise((resolve) => {
      setTimeout(resolve, RESUME_MS);
    });
    await Promise.race([this.#context.resume().catch(() => {}), late]);
    const { state } = this.#context;
    if (state !== "running" && !this.#isClosed)
      throw failure("microphone_suspended", state);
  }

  async #lose() {
    const isDenied = (await findPermission()) === "denied";
    if (!this.#isClosed)
      this.#listener.lost(isDenied ? "microphone_denied" : "microphone_lost");
  }

  /** Go on when the system has interrupted the sound, as for a call. */
  async #keepRunning() {
    if (!this.#source || this.#context.state === "running") return;
    try {
      await this.#resume();
    } catch (error) {
      if (!this.#isClosed) this.#listener.lost(/** @type {any} */ (error).code);
    }
  }

  #fadeTo(/** @type {number} */ gain, /** @type {number} */ ms) {
    const { currentTime } = this.#context;
    const { gain: parameter } = this.#gate;
    parameter.cancelScheduledValues(currentTime + FADE_SECONDS); // an end that was later
    parameter.setTargetAtTime(gain, currentTime + ms / 1000, FADE_SECONDS);
  }

  #measure() {
    if (!this.#source) return;
    const avatar = this.#avatar ? measure(this.#avatar) : 0;
    this.#listener.level(measure(this.#analyser), avatar, performance.now());
  }
}

function makeAnalyser(/** @type {AudioContext} */ context) {
  const analyser = context.createAnalyser();
  analyser.fftSize = SAMPLES;
  return analyser;
}

/** Return the root mean square of the newest samples. */
function measure(/** @type {AnalyserNode} */ analyser) {
  analyser.getFloatTimeDomainData(samples);
  let power = 0;
  for (const sample of samples) power += sample * sample;
  return Math.sqrt(power / SAMPLES);
}

/** Ask the browser for a microphone. @returns {Promise<MediaStream>} */
async function ask(/** @type {string} */ deviceId) {
  if (!isSecureContext) throw failure("microphone_insecure", location.origin);
  if (!isAllowedByPolicy()) throw forbid();
  const askedAt = performance.now();
  const audio = {
    channelCount: 1,
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

/** Return the failure of a page whose site, or whose frame, does not allow the microphone. */
function forbid() {
  return window === top
    ? failure(
        "microphone_forbidden",
        'the page needs the header "Permissions-Policy: microphone=(self)"',
      )
    : failure(
        "microphone_forbidden_in_frame",
        'the frame needs allow="microphone; autoplay"',
      );
}

const failure = (/** @type {string} */ code, /** @type {unknown} */ cause = code) =>
  Object.assign(new Error(String(cause)), { code });
