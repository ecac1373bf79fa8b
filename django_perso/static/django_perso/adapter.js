/** Drives one session of Perso's SDK; one class for each generation of the SDK. Knows only the video element. */

const CONNECT_SECONDS = 20;
const ANSWER_SECONDS = 45; // without any activity
const PICTURE_SECONDS = 1; // then the conversation continues without it
const INTERRUPT_SECONDS = 3; // the SDK waits for a line that may never come
const NOTICE_MS = 300; // in which the SDK may notice a failed request by itself

/** Return the adapter class for the SDK of this page, if there is one. */
export function chooseAdapter(/** @type {any} */ sdk) {
  return Sdk1Adapter.supports(sdk) ? Sdk1Adapter : undefined;
}

/** SDK 1.0 to 1.6, which differ in what they export but not in what is used here. */
export class Sdk1Adapter {
  /** Settles once the picture moves, or has taken too long. @type {Promise<unknown>} */
  playing;

  #session;
  #video;
  #listener;
  #activity = /** @type {Activity} */ ("ready");
  #states = /** @type {Set<string>} */ (new Set()); // as the SDK reports them
  #stuck = /** @type {Set<string>} */ (new Set()); // of these, what it will not leave by itself
  #lines = 0; // of the SDK's chat log that were passed on
  #isWaiting = false; // something was sent, and nothing has come back yet
  #isBroken = false; // the SDK lost an answer; clearing its buffer would lose the next one
  #isInterrupting = false;
  #isOver = false;
  #watchdog = 0;
  #turn = Promise.resolve(false); // one line is sent after the other
  #spoken = /** @type {Spoken | null} */ (null); // how the next line of the visitor came
  #done = new AbortController();

  static supports(/** @type {any} */ sdk) {
    return Boolean(sdk?.createSession && sdk.ChatTool);
  }

  /**
   * Join the session of a start and play it. A session that arrives too late, or when the signal
   * has been aborted, is closed.
   * @param {Perso} sdk
   * @param {Start} start
   * @param {ForAdapter} page
   * @param {AdapterListener} listener
   * @param {AbortSignal} signal
   * @returns {Promise<Sdk1Adapter | null>}
   */
  static async connect(sdk, start, page, listener, signal) {
    // With six arguments in every version; the fifth asks for the microphone at once.
    const open = (/** @type {boolean} */ hasMicrophone) =>
      sdk.createSession(
        start.api_server.replace(/\/+$/, ""),
        start.session_id,
        start.width,
        start.height,
        hasMicrophone,
        page.tools,
      );
    const opening = page.openWithMicrophone?.(open) ?? open(false);
    let adapter = null;
    try {
      const session = await within(CONNECT_SECONDS, opening);
      if (!signal.aborted) adapter = new Sdk1Adapter(session, page.video, listener);
      return adapter;
    } catch (error) {
      const detail = describe(error);
      const code = /timeout/i.test(detail) ? "connect_timeout" : "connect_failed";
      throw Object.assign(new Error(detail), { code });
    } finally {
      if (!adapter) opening.then(release, () => {});
    }
  }

  /**
   * @param {Session} session
   * @param {HTMLVideoElement} video
   * @param {AdapterListener} listener
   */
  constructor(session, video, listener) {
    this.#session = session;
    this.#video = video;
    this.#listener = listener;
    session.setSrc(video);
    this.#watchRejections();
    this.#watchRequests();
    this.#watchClosing();
    session.setErrorHandler((error) => this.#report("llm_failed", error));
    session.subscribeChatStates((states) => this.#followStates(states));
    session.subscribeChatLog((lines) => this.#followLog(lines));
    this.playing = within(PICTURE_SECONDS, this.#play()).catch(() => {});
  }

  /**
   * Interrupt the avatar and send the visitor's text, which may have been spoken; return false if
   * it was not sent.
   * @param {string} text
   * @param {Spoken | null} spoken
   */
  send(text, spoken = null) {
    this.#turn = this.#turn.then(async () => {
      if (this.isBusy) await this.interrupt();
      this.#isBroken = false;
      this.#spoken = spoken;
      return this.#ask(() => this.#session.processChat(text));
    });
    return this.#turn;
  }

  /** What the visitor says is recorded through this. @returns {Recorder} */
  makeRecorder(/** @type {typeof import("./recorder.js")} */ { Sdk1Recorder }) {
    return new Sdk1Recorder(this.#session, {
      attach: (track) => this.#attach(track),
      loss: () => this.#forgetStates(),
    });
  }

  /** Send this track in place of the one that the SDK sends. */
  async #attach(/** @type {MediaStreamTrack} */ track) {
    const line = findAudioLine(this.#session);
    if (line?.currentDirection !== "sendrecv")
      throw Object.assign(new Error("not received"), { code: "voice_not_heard" });
    await line.sender.replaceTrack(track);
    stopTracks(this.#session);
  }

  /** Whether Perso receives the visitor's sound. */
  get isHeard() {
    return findAudioLine(this.#session)?.currentDirection === "sendrecv";
  }

  /** Make the avatar say something; return false if it was not sent. */
  say(/** @type {string} */ text) {
    return this.#ask(() => this.#session.processTTSTF(text));
  }

  /** Stop the speech and the answer. */
  async interrupt() {
    if (this.#isOver) return;
    this.#isInterrupting = true;
    try {
      if (this.#isBroken) throw new Error("there is nothing the SDK could stop");
      await within(INTERRUPT_SECONDS, this.#session.clearBuffer());
    } catch {
      this.#stuck = new Set(this.#states);
    }
    this.#isInterrupting = false;
    this.#isWaiting = false;
    this.update();
  }

  /** Update the activity, and restart the timeout. */
  update() {
    clearTimeout(this.#watchdog);
    if (this.#isOver) return;
    const activity = this.#findActivity();
    if (activity === "thinking") {
      const giveUp = () => {
        this.#report("no_answer");
        this.interrupt();
      };
      this.#watchdog = setTimeout(giveUp, ANSWER_SECONDS * 1000);
    }
    if (activity === this.#activity) return;
    this.#activity = activity;
    this.#listener.activity(activity);
  }

  /** Close the session; return false if it was already closed. */
  stop() {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#done.abort();
    clearTimeout(this.#watchdog);
    // What is left of an answer would be sent to the closed channel, and throw into the page.
    this.#session.clearBuffer().catch(() => {});
    release(this.#session);
    this.#video.srcObject = null;
    return true;
  }

  /** Whether the avatar thinks or speaks. */
  get isBusy() {
    return this.#activity === "thinking" || this.#activity === "speaking";
  }

  /** @returns {Activity} */
  #findActivity() {
    const busy = [...this.#states].filter((state) => !this.#stuck.has(state));
    if (busy.includes("RECORDING")) return "recording";
    if (busy.includes("SPEAKING")) return "speaking";
    return busy.length || this.#isWaiting ? "thinking" : "ready";
  }

  async #play() {
    const video = this.#video;
    try {
      video.muted = false;
      await video.play();
    } catch {
      if (this.#isOver) return;
      video.muted = true; // sound may be forbidden, not the picture
      this.#listener.muted();
      await video.play();
    }
  }

  #ask(/** @type {() => unknown} */ work) {
    if (this.#isOver) return false;
    this.#isWaiting = true;
    try {
      Promise.resolve(work()).catch((error) => this.#loseAnswer(error));
    } catch (error) {
      this.#report("send_failed", error);
      return false;
    }
    this.update();
    return true;
  }

  #report(/** @type {string} */ code, /** @type {unknown} */ error = code) {
    this.#isWaiting = false;
    const reported = navigator.onLine ? code : "site_unreachable";
    this.#listener.trouble({ code: reported, message: describe(error) });
    this.update();
  }

  /** Give up the answer; the visitor can go on. */
  #loseAnswer(/** @type {unknown} */ error) {
    if (this.#isOver || this.#isBroken) return;
    this.#isBroken = true;
    this.#stuck = new Set(this.#states);
    this.#report("llm_failed", error);
  }

  /** Ignore the states in which the SDK waits for something that will not come. */
  #forgetStates() {
    this.#stuck = new Set(this.#states);
    this.update();
  }

  #followStates(/** @type {Set<string>} */ states) {
    this.#states = new Set(states);
    this.#stuck = new Set([...this.#stuck].filter((state) => states.has(state)));
    if (!this.#stuck.size) this.#isBroken = false;
    this.#isWaiting = false;
    this.update();
  }

  /** Pass on what is new in the SDK's log, which comes whole each time, the newest line first. */
  #followLog(/** @type {Chat[]} */ log) {
    if (this.#isOver) return;
    const fresh = log.slice(0, Math.max(0, log.length - this.#lines)).reverse();
    this.#lines = log.length;
    for (const { text, isUser } of fresh) {
      if (isUser) {
        this.#listener.said({ role: "visitor", text, ...this.#spoken });
        this.#spoken = null;
        continue;
      }
      this.#isWaiting = false;
      /** @type {Said} */
      const said = { role: "avatar", text };
      if (this.#isInterrupting) said.cut = true;
      this.#listener.said(said);
    }
    this.update();
  }

  /** When an answer fails the SDK stays in its state. Some failures reach the page as rejections. */
  #watchRejections() {
    const judge = (/** @type {PromiseRejectionEvent} */ event) => {
      if (!this.#states.size || !isOfSdk(event.reason)) return;
      event.preventDefault();
      this.#loseAnswer(event.reason);
    };
    addEventListener("unhandledrejection", judge, this.#done);
  }

  /** Other failures of an answer show only in what the SDK requested. */
  #watchRequests() {
    const requests = new PerformanceObserver((list) => {
      for (const { name, responseStatus } of /** @type {any[]} */ (list.getEntries())) {
        const isAnswer = name.endsWith(`/${this.#session.sessionId}/llm/v2/`);
        if (isAnswer && (responseStatus === 0 || responseStatus >= 400))
          this.#expectNotice(`HTTP ${responseStatus}`);
      }
    });
    requests.observe({ type: "resource" });
    this.#done.signal.addEventListener("abort", () => requests.disconnect());
  }

  /** Give up the answer unless the SDK soon notices by itself that it failed. */
  #expectNotice(/** @type {string} */ failure) {
    const before = this.#lines;
    const judge = () => {
      if (this.#lines === before && this.#states.has("LLM")) this.#loseAnswer(failure);
    };
    setTimeout(judge, NOTICE_MS);
  }

  #watchClosing() {
    const close = () => {
      if (this.stop()) this.#listener.close();
    };
    this.#session.onClose(close);
    // The SDK does not notice when the data channel alone closes.
    this.#session.perso?.dc?.addEventListener?.("close", close, this.#done);
  }
}

/** @returns {RTCRtpTransceiver | undefined} */
function findAudioLine(/** @type {Session} */ session) {
  /** @type {RTCRtpTransceiver[]} */
  const lines = session.perso?.pc?.getTransceivers() ?? [];
  return lines.find(({ receiver }) => receiver.track.kind === "audio");
}

/** Whether an error was thrown by the SDK, or by nobody's code in particular. */
function isOfSdk(/** @type {any} */ error) {
  const stack = String(error?.stack ?? "");
  // The names of its file on GitHub and on npm
  if (/perso-interactive-sdk|index\.iife\.js/.test(stack)) return true;
  const isBroken = error instanceof TypeError || error instanceof SyntaxError;
  return isBroken && !stack.includes("://");
}

/** Close a session and let go of the microphone, which the SDK never does. */
function release(/** @type {Session} */ session) {
  // A ping to a channel that is about to close would throw into the page.
  clearInterval(/** @type {any} */ (session.perso)?.pingIntervalId);
  try {
    session.stopSession();
  } catch {
    // It was closed already.
  }
  stopTracks(session);
}

function stopTracks(/** @type {Session} */ session) {
  for (const track of session.getLocalStream?.()?.getTracks() ?? []) track.stop();
}

/** Return what an error of the SDK says; some of its errors keep it in another one. */
function describe(/** @type {any} */ error) {
  const cause = error?.underlyingError ?? error;
  return String(cause?.detail || cause?.description || cause?.message || cause);
}

/**
 * Reject when work takes longer.
 * @template T
 * @param {number} seconds
 * @param {Promise<T>} work
 * @returns {Promise<T>}
 */
function within(seconds, work) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(reject, seconds * 1000, new Error("timeout"));
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
