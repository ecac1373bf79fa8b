/**
 * The driver of Perso's SDK: loads it, asks the site for a session, and makes of the SDK's callbacks messages,
 * one activity and errors in order. Uses what every SDK up to 1.6 offers; knows no markup but the video.
 */

/** @import { Activity, Chat, Listener, Modules, Perso, Run, SdkTag, Session, Stage, Start } from "./types.d.ts" */

const LOAD_SECONDS = 20;
const CONNECT_SECONDS = 20;
const ANSWER_SECONDS = 45; // without any sign of life while the visitor waits
const NOTICE_MS = 300; // in which the SDK itself notices a failed request, if it does
const INTERRUPT_SECONDS = 3; // the SDK waits for the model's next line, which may never come

/** Something the visitor is told: a stable code, perhaps words of the site, and a detail for the log. */
export class Trouble extends Error {
  /** @param {string} code @param {{words?: string, detail?: string}} [more] */
  constructor(code, { words, detail } = {}) {
    super(detail ?? words ?? code);
    this.code = code;
    this.words = words;
  }
}

/** What an error of the SDK says; some wrap another one and have no message of their own. @param {any} error */
function explain(error) {
  const cause = error?.underlyingError ?? error;
  return String(cause?.detail || cause?.description || cause?.message || cause);
}

/** @template T @param {number} seconds @param {Promise<T>} work @returns {Promise<T>} */
function within(seconds, work) {
  let /** @type {any} */ timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("timeout")), seconds * 1000);
  });
  return /** @type {Promise<T>} */ (Promise.race([work, late])).finally(() => clearTimeout(timer));
}

/** @returns {Perso | null} the SDK if it is there and has what the driver needs */
function foundSdk() {
  const { PersoInteractive: perso } = /** @type {any} */ (globalThis);
  return perso?.createSession && perso.ChatTool ? perso : null;
}

let /** @type {Promise<Perso> | null} */ loading = null;

/** Brings the SDK into the page, once for all avatars; after a failure the next call tries again.
 * @param {SdkTag} tag @returns {Promise<Perso>} */
export async function loadSdk(tag) {
  const found = foundSdk();
  if (found) return found;
  loading ??= within(LOAD_SECONDS, addScript(tag)).catch((error) => {
    loading = null;
    throw error instanceof Trouble ? error : new Trouble("sdk_unreachable", { detail: `${tag.url}: no answer` });
  });
  return loading;
}

/** @param {SdkTag} tag @returns {Promise<Perso>} */
function addScript({ url, integrity, nonce }) {
  const script = document.createElement("script");
  Object.assign(script, { src: url, async: true, crossOrigin: "anonymous", integrity, nonce });
  let isForbidden = false;
  const forbid = (/** @type {SecurityPolicyViolationEvent} */ event) => {
    isForbidden ||= script.src.startsWith(event.blockedURI);
  };
  document.addEventListener("securitypolicyviolation", forbid);
  return new Promise((resolve, reject) => {
    const fail = (/** @type {string} */ code) => reject(new Trouble(code, { detail: url }));
    script.onload = () => {
      const found = foundSdk();
      if (found) resolve(found);
      else fail("sdk_unusable");
    };
    // The browser does not say why. A forbidden script has an event of its own, a little later; one that was
    // refused for its bytes did arrive.
    script.onerror = () => setTimeout(() => {
      const [entry] = /** @type {any[]} */ (performance.getEntriesByName(script.src)).slice(-1);
      const isThere = integrity && entry?.responseStatus === 200;
      fail(isForbidden ? "sdk_forbidden" : isThere ? "sdk_changed" : "sdk_unreachable");
      script.remove();
    }, 50);
    document.head.append(script);
  }).finally(() => document.removeEventListener("securitypolicyviolation", forbid));
}

/** What the outbox and the tools need of a browser. @type {import("./types.d.ts").World} */
export const WORLD = {
  WebSocket,
  fetch: fetch.bind(globalThis),
  random: Math.random,
  now: performance.now.bind(performance),
  setTimeout: setTimeout.bind(globalThis),
  clearTimeout: clearTimeout.bind(globalThis),
};

/** Brings a conversation to life, step by step; `run` keeps what there is, and may be over after each of them.
 * @param {Run} run @param {Modules} modules @param {Stage} stage */
export async function converse(run, { log, tools }, stage) {
  const perso = await loadSdk(stage.tag);
  if (run.isOver) return; // cancelled, and nothing is paid for yet
  const start = await requestStart(stage);
  const ws = start.log.ws && new URL(start.log.ws, location.href).href.replace(/^http/, "ws");
  const outbox = (run.outbox = new log.Outbox({ ...start, ws, post: start.log.post }, WORLD, stage.saved));
  if (run.isOver) return void outbox.end("visitor");
  outbox.add("state", { name: "connecting" });
  const toolbox = (run.toolbox = new tools.Toolbox(stage.tools, {
    world: WORLD,
    ontool: (event) => (run.driver?.update(), stage.tool(event)), // the SDK shows no sign of life meanwhile
    onrounds: () => (run.driver?.interrupt(), stage.trouble(new Trouble("tools_without_end"))),
  }));
  stage.shape(start.width, start.height);
  const lent = toolbox.chatTools(perso.ChatTool, start.tools);
  const driver = (run.driver = await connect(perso, start, lent, stage));
  if (run.isOver) return driver.stop();
  outbox.add("state", { name: "live" });
  stage.live();
  if (start.intro_message?.trim()) driver.say(start.intro_message.trim());
}

/** Asks the site for a session. This is what costs money. @param {Stage} stage @returns {Promise<Start>} */
async function requestStart({ endpoint, csrfToken, preset, params }) {
  const headers = { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrfToken };
  const signal = AbortSignal.timeout(60_000), body = JSON.stringify(params ? { params } : { preset });
  const answer = await fetch(endpoint, { method: "POST", credentials: "same-origin", headers, body, signal })
    .catch((error) => { throw new Trouble("site_unreachable", { detail: explain(error) }); });
  const told = await answer.json().catch(() => null);
  if (answer.ok && told?.session_id) return told;
  throw new Trouble(told?.code ?? "site_unreadable", { words: told?.detail, detail: `HTTP ${answer.status}` });
}

/** Joins the session and plays it. @param {Perso} perso @param {Start} start @param {object[]} tools
 * @param {Stage} stage @returns {Promise<Driver>} */
async function connect(perso, start, tools, stage) {
  const server = start.api_server.replace(/\/+$/, "");
  let isTooLate = false;
  const opening = perso.createSession(server, start.session_id, start.width, start.height, false, tools);
  opening.then((session) => isTooLate && release(session), () => {});
  try {
    return new Driver(await within(CONNECT_SECONDS, opening), stage.video, stage);
  } catch (error) {
    isTooLate = true;
    const detail = explain(error);
    throw new Trouble(/timeout/i.test(detail) ? "connect_timeout" : "connect_failed", { detail });
  }
}

/** @param {Session} session */
function release(session) {
  try {
    session.stopSession();
  } catch { /* it was closed already */ }
  for (const track of session.getLocalStream?.()?.getTracks() ?? []) track.stop();
}

/** One live session. */
export class Driver {
  /** @type {Set<string>} */ #states = new Set();
  /** @type {Set<string>} */ #stuck = new Set(); // states the SDK will not leave by itself any more
  /** @type {Activity} */ #activity = "ready";
  /** @type {any} */ #watchdog;
  #told = 0; // how many lines of the SDK's log were passed on
  #isWaiting = false; // sent, and nothing heard of it yet
  #isCutting = false;
  #isBroken = false; // the SDK lost its answer, and would lose the next one if asked to stop this one
  #isOver = false;
  #gone = new AbortController();

  /** @param {Session} session @param {HTMLVideoElement} video @param {Listener} listener */
  constructor(session, video, listener) {
    this.session = session;
    this.video = video;
    this.listener = listener;
    session.onClose(() => this.#closed());
    session.subscribeChatStates((states) => this.#heed(states));
    session.subscribeChatLog((log) => this.#tell(log));
    session.setErrorHandler((error) => this.#trouble("llm_failed", error));
    const { signal } = this.#gone;
    addEventListener("unhandledrejection", (event) => this.#catch(event), { signal });
    this.requests = new PerformanceObserver((list) => list.getEntries().forEach((entry) => this.#answered(entry)));
    this.requests.observe({ type: "resource" });
    // The SDK does not report that the other side closed the data channel alone.
    session.perso?.dc?.addEventListener?.("close", () => this.#closed(), { signal });
    session.setSrc(video);
    this.#play();
  }

  /** What the visitor says. Whoever speaks is interrupted. @param {string} text @returns {Promise<boolean>} sent? */
  async send(text) {
    if (this.#activity !== "ready") await this.interrupt();
    this.#isBroken = false;
    return this.#ask(() => this.session.processChat(text));
  }

  /** What the avatar shall say. @param {string} text @returns {boolean} */
  say(text) {
    return this.#ask(() => this.session.processTTSTF(text));
  }

  /** Stops speech and the answer being made. */
  async interrupt() {
    if (this.#isOver) return;
    this.#isCutting = true;
    try {
      if (this.#isBroken) throw new Error("there is nothing the SDK could stop");
      await within(INTERRUPT_SECONDS, this.session.clearBuffer());
    } catch {
      this.#stuck = new Set(this.#states);
    }
    this.#isCutting = this.#isWaiting = false;
    this.update();
  }

  stop() {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#gone.abort();
    this.requests.disconnect();
    clearTimeout(this.#watchdog);
    release(this.session);
    this.video.srcObject = null;
  }

  async #play() {
    try {
      this.video.muted = false;
      await this.video.play();
    } catch {
      if (this.#isOver) return;
      this.video.muted = true; // a browser that forbids sound still lets the picture move
      this.listener.muted();
      this.video.play().catch(() => {});
    }
  }

  /** @param {() => unknown} work */
  #ask(work) {
    if (this.#isOver) return false;
    this.#isWaiting = true;
    try {
      Promise.resolve(work()).catch((error) => this.#lose(error));
    } catch (error) {
      this.#isWaiting = false;
      this.#trouble("send_failed", error);
      return false;
    }
    this.update();
    return true;
  }

  /** @param {Set<string>} states */
  #heed(states) {
    this.#states = new Set(states);
    this.#stuck = new Set([...this.#stuck].filter((state) => states.has(state)));
    this.#isWaiting = false;
    this.update();
  }

  /** Passes on the lines that are new; the SDK gives all of them each time. @param {Chat[]} newestFirst */
  #tell(newestFirst) {
    const fresh = newestFirst.slice(0, Math.max(0, newestFirst.length - this.#told)).reverse();
    this.#told = newestFirst.length;
    for (const { text, isUser } of fresh) {
      if (!isUser) this.#isWaiting = false;
      const isCut = this.#isCutting && !isUser;
      this.listener.said({ role: isUser ? "visitor" : "avatar", text, ...(isCut && { cut: true }) });
    }
    this.update();
  }

  /** Finds the activity anew, and waits anew for a sign of life. */
  update() {
    clearTimeout(this.#watchdog);
    if (this.#isOver) return;
    const busy = [...this.#states].filter((state) => !this.#stuck.has(state));
    /** @type {Activity} */
    const now = busy.includes("SPEAKING") ? "speaking" : busy.length || this.#isWaiting ? "thinking" : "ready";
    if (now === "thinking")
      this.#watchdog = setTimeout(() => this.#giveUp(), ANSWER_SECONDS * 1000);
    if (now !== this.#activity) this.listener.activity((this.#activity = now));
  }

  /** The SDK lets go of failures inside an answer, and stays in its state for ever. Some are told to the page …
   * @param {PromiseRejectionEvent} event */
  #catch(event) {
    const { reason } = event;
    const isLikeSdk = this.#states.has("LLM") && (reason instanceof TypeError || reason instanceof SyntaxError);
    if (!isLikeSdk && !/perso-interactive-sdk/.test(reason?.stack ?? "")) return;
    event.preventDefault();
    this.#lose(reason);
  }

  /** … and some only show in what was requested. @param {any} entry a PerformanceResourceTiming */
  #answered({ name, responseStatus }) {
    if (!name.endsWith(`/${this.session.sessionId}/llm/v2/`) || !(responseStatus === 0 || responseStatus >= 400)) return;
    const told = this.#told;
    const isStill = () => told === this.#told && this.#states.has("LLM");
    setTimeout(() => isStill() && this.#lose(`HTTP ${responseStatus}`), NOTICE_MS);
  }

  /** The answer is lost; the visitor can go on. @param {unknown} error */
  #lose(error) {
    if (this.#isOver || this.#isBroken) return;
    this.#isBroken = true;
    this.#stuck = new Set(this.#states);
    this.#trouble("llm_failed", error);
  }

  /** Nothing was heard for too long. */
  #giveUp() {
    this.#trouble("no_answer", "no sign of life");
    this.interrupt();
  }

  /** @param {string} code @param {unknown} error */
  #trouble(code, error) {
    this.#isWaiting = false;
    this.listener.trouble(new Trouble(code, { detail: explain(error) }));
    this.update();
  }

  #closed() {
    if (this.#isOver) return;
    this.stop();
    this.listener.close();
  }
}
