/**
 * Records what a visitor says, with SDK 1.0 to 1.6, and waits for its text. Loaded when a visitor
 * wants to talk.
 */

const LATEST_TEXT_MS = 30_000; // of a recording; later none will come

/** Records what a visitor says. @implements {Recorder} */
export class Sdk1Recorder {
  #session;
  #page;
  /** The recordings whose text has not come yet, the oldest first. */
  #waiting = /** @type {WaitingRecording[]} */ ([]);

  /**
   * @param {Session} session
   * @param {ForRecorder} page
   */
  constructor(session, page) {
    this.#session = session;
    this.#page = page;
    // Without it the SDK would answer what it hears by itself.
    session.setSttResultCallback((text) => this.#settle({ text }));
    // The SDK does not pass on that speech could not be recognized.
    session.perso?.dc?.addEventListener(
      "message",
      (/** @type {MessageEvent} */ { data }) => {
        if (isRecognitionError(data)) this.#settle({ failure: data });
      },
    );
  }

  /** The avatar's sound. @returns {MediaStream | null} */
  get avatarStream() {
    return this.#session.getRemoteStream?.() ?? null;
  }

  attach(/** @type {MediaStreamTrack} */ track) {
    return this.#page.attach(track);
  }

  start() {
    this.#session.startVoiceChat();
  }

  /** @returns {Promise<string>} */
  async stop(/** @type {number} */ ms) {
    const { promise, settle } = defer();
    /** @type {WaitingRecording} */
    const recording = {
      endedAt: performance.now(),
      isGivenUp: false,
      doubtful: null,
      settle,
    };
    this.#waiting.push(recording);
    this.#session.stopVoiceChat();
    const answer = Promise.race([promise, expire(ms)]).catch((error) => {
      if (recording.doubtful) return recording.doubtful;
      recording.isGivenUp = true;
      this.#page.loss();
      throw error;
    });
    const { text, failure } = await answer;
    if (failure) throw new Error(failure);
    return text;
  }

  cancel() {
    this.stop(0).catch(() => {}); // its text is not used
  }

  /** Texts come in the order of the recordings. */
  #settle(/** @type {Recognition} */ recognition) {
    const since = performance.now() - LATEST_TEXT_MS;
    this.#waiting = this.#waiting.filter(({ endedAt }) => endedAt > since);
    const recording = this.#waiting.shift();
    recording?.settle(recognition);
    // If none follows, the recording that was given up never had a text, and this is the next's.
    const [next] = this.#waiting;
    if (recording?.isGivenUp && next) next.doubtful = recognition;
  }
}

/** @returns {{ promise: Promise<any>, settle: (value: any) => void }} */
function defer() {
  let settle = (/** @type {any} */ _) => {};
  const promise = new Promise((resolve) => {
    settle = resolve;
  });
  return { promise, settle };
}

/** Reject after so many milliseconds. @returns {Promise<never>} */
function expire(/** @type {number} */ ms) {
  return new Promise((_, reject) => {
    setTimeout(reject, ms, new Error("timeout"));
  });
}

function isRecognitionError(/** @type {unknown} */ data) {
  try {
    return JSON.parse(String(data)).type === "stt-error";
  } catch {
    return false;
  }
}

/** Ask the browser, for as long as the visitor wants, whether the SDK will get a microphone. */
export async function mayRecord() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    for (const track of stream.getTracks()) track.stop();
    return true;
  } catch {
    return false;
  }
}

/**
 * Let the SDK take the microphone: silent until the visitor talks, and not longer than it is used,
 * which the SDK does not see to. Without a microphone it is opened as always.
 * @param {(hasMicrophone: boolean) => Promise<Session>} open
 */
export async function openWithMicrophone(open) {
  const { mediaDevices } = navigator;
  const ask = mediaDevices.getUserMedia;
  const taken = /** @type {MediaStreamTrack[]} */ ([]);
  let isRefused = false;
  mediaDevices.getUserMedia = async (wanted) => {
    mediaDevices.getUserMedia = ask;
    try {
      const stream = await ask.call(mediaDevices, wanted);
      taken.push(...stream.getTracks());
      for (const track of taken) track.enabled = false;
      return stream;
    } catch (error) {
      isRefused = true;
      throw error;
    }
  };
  try {
    return await open(true);
  } catch (error) {
    for (const track of taken) track.stop();
    if (!isRefused) throw error;
    return open(false); // the SDK has asked Perso for nothing yet
  } finally {
    mediaDevices.getUserMedia = ask;
  }
}
