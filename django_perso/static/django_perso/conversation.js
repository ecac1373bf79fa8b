/** One conversation, from Start to its end: asks the site for a session, plays it, and logs what happens. */

const START_MS = 60_000; // for the site's answer
const GIVE_BACK_MS = 5000; // for the site to take a place back, before another is asked for

export class Conversation {
  /** The page has one at a time, unless they are simultaneous. @type {Conversation | null} */
  static #current = null;
  /** Settles when the places of conversations that have ended were given back. */
  static #placesGivenBack = Promise.resolve("");
  /** What the site gave in place of the page's CSRF token. @type {CsrfToken | null} */
  static #csrf = null;

  #modules;
  #options;
  #stage;
  #since = performance.now();
  #over = new AbortController();
  #work = Promise.resolve("");
  #outbox = /** @type {Outbox | null} */ (null);
  #toolbox = /** @type {Toolbox | null} */ (null);
  #adapter = /** @type {Adapter | null} */ (null);
  #talking = /** @type {Talking | null} */ (null);

  /** @param {Modules} modules @param {ConversationOptions} options @param {Stage} stage */
  constructor(modules, options, stage) {
    this.#modules = modules;
    this.#options = options;
    this.#stage = stage;
  }

  get isOver() {
    return this.#over.signal.aborted;
  }

  /** Start; settle once it is live or has ended. Never reject. */
  async start() {
    if (!this.#options.isSimultaneous) {
      Conversation.#current?.end("other");
      Conversation.#current = this;
    }
    this.#work = this.#run();
    try {
      await this.#work;
    } catch (error) {
      this.#complain(/** @type {any} */ (error));
      this.end("error");
    }
  }

  /**
   * Send the visitor's text, which may have been spoken; return false if it was not sent.
   * @param {string} text
   * @param {Spoken | null} spoken
   */
  async send(text, spoken = null) {
    const line = text.trim();
    if (!this.#adapter || this.isOver || !line) return false;
    this.#toolbox?.turn();
    return this.#adapter.send(line, spoken);
  }

  /** Make the avatar say something; return false without a conversation. */
  say(/** @type {string} */ text) {
    const line = text.trim();
    if (!this.#adapter || !line) return false;
    return this.#adapter.say(line);
  }

  async interrupt() {
    this.#outbox?.add("state", { name: "interrupted" });
    await this.#adapter?.interrupt();
  }

  /** Send what waits: the page is visible or the network is back. */
  wake() {
    this.#outbox?.wake();
  }

  /** Send what fits in one request: the page is hidden. */
  flush() {
    this.#outbox?.flush();
  }

  /** End when the page is left; the end may already be on its way. */
  leave() {
    if (!this.isOver) this.#outbox?.add("state", { name: "ended", detail: "pagehide" });
    this.#outbox?.leave("left");
    this.#finish("visitor");
  }

  /** End it; settle once the site knows, or after a timeout. */
  async end(/** @type {How} */ how) {
    if (this.isOver) return;
    const outbox = this.#outbox;
    outbox?.add("state", { name: "ended", detail: how });
    this.#finish(how);
    const ms = Math.round(performance.now() - this.#since);
    const bye = how === "other" ? "replaced" : how;
    const answer = outbox ? outbox.end(bye) : this.#work.catch(() => "");
    const reason = await Conversation.#awaitPlace(answer);
    if (outbox) this.#stage.closed({ how, reason, ms }, this);
  }

  /** Wait for the place to be given back, and let the next start wait for it, too. */
  static #awaitPlace(/** @type {Promise<string>} */ answer) {
    const late = new Promise((resolve) => {
      setTimeout(resolve, GIVE_BACK_MS, "");
    });
    const given = Promise.race([answer, late]);
    Conversation.#placesGivenBack = Conversation.#placesGivenBack.then(() => given);
    return given;
  }

  #finish(/** @type {How} */ how) {
    if (this.isOver) return;
    this.#over.abort();
    if (Conversation.#current === this) Conversation.#current = null;
    this.#talking?.stop();
    this.#adapter?.stop();
    this.#stage.ended(how);
  }

  /** Go on until the conversation is live. It may be over after each step. */
  async #run() {
    await Conversation.#placesGivenBack;
    const { "sdk-loader": loader, adapter } = this.#modules;
    const sdk = await loader.loadSdk(this.#options.sdk);
    const Adapter = adapter.chooseAdapter(sdk);
    if (!Adapter) throw failure("sdk_unusable", this.#options.sdk.src);
    const { preset, video } = this.#options;
    const openWithMicrophone = await this.#askMicrophone();
    if (this.isOver) return ""; // nothing has been paid for yet
    const start = await this.#requestStart(this.#modules.store.recallConsent(preset));
    if (!start) return ""; // the visitor does not agree, and nothing was paid for
    const outbox = this.#openOutbox(start);
    if (this.isOver) return outbox.end("visitor");
    outbox.add("state", { name: "connecting" });
    const tools = this.#makeTools(sdk, start);
    this.#stage.shape(start.width, start.height);
    const way = this.#chooseWay(start);
    const page = {
      tools,
      video,
      openWithMicrophone: way === "off" ? null : openWithMicrophone,
    };
    const { signal } = this.#over;
    const joined = await Adapter.connect(sdk, start, page, this.#listener, signal);
    this.#adapter = joined;
    await joined?.playing;
    if (joined && !this.isOver) this.#goLive(joined, start);
    return "";
  }

  /** Ask for the microphone if the SDK has to take it at once. @returns {Promise<OpenWithMicrophone>} */
  async #askMicrophone() {
    const { needsMicrophone, importModules } = this.#options;
    if (!needsMicrophone) return null;
    const { recorder } = await importModules(["recorder"]);
    return (await recorder.mayRecord()) ? recorder.openWithMicrophone : null;
  }

  #goLive(/** @type {Adapter} */ adapter, /** @type {Start} */ start) {
    this.#outbox?.add("state", { name: "live" });
    this.#stage.live();
    const way = this.#chooseWay(start);
    if (way !== "off") this.#offerVoice(adapter, way);
    this.say(start.intro_message ?? "");
  }

  async #offerVoice(/** @type {Adapter} */ adapter, /** @type {VoiceWay} */ way) {
    if (!adapter.isHeard) {
      this.#complain({ code: "voice_not_heard", message: "sendonly" });
      return;
    }
    const { importModules, video } = this.#options;
    /** @type {TalkingPage} */
    const page = {
      video,
      mode: (mode, current) => this.#stage.voice(mode, current),
      level: (level) => this.#stage.level(level),
      interrupt: () => this.interrupt(),
      understood: (text, spoken) => this.#hear(text, spoken),
      trouble: (trouble) => this.#complain(trouble),
    };
    try {
      const modules = await importModules(["talking", "voice-controls"]);
      if (this.isOver) return;
      /** @type {Talking} */
      const talking = new modules.talking.Talking(importModules, adapter, page);
      this.#talking = talking;
      this.#stage.offerVoice(modules["voice-controls"], talking, way);
    } catch (error) {
      this.#complain(/** @type {any} */ (error));
    }
  }

  #hear(/** @type {string} */ text, /** @type {Spoken} */ spoken) {
    if (this.isOver) return;
    if (this.#options.isReviewed) this.#stage.review(text, spoken);
    else this.send(text, spoken);
  }

  /** A page may choose the way to talk, but not give voice to a preset without it. */
  #chooseWay(/** @type {Start} */ { voice }) {
    return voice === "off" ? "off" : this.#options.way || voice;
  }

  /**
   * Ask the site for a session, and first the visitor for consent if the site demands it; null if
   * it is not given. Perso bills the session.
   *
   * @param {string | undefined} consent the hash of the text that the visitor has agreed to
   * @returns {Promise<Start | null>}
   */
  async #requestStart(consent) {
    const { isOk, status, body } = await this.#postWithToken(consent);
    if (isOk && body?.session_id) return body;
    if (body?.consent) return this.#askConsent(body.consent);
    throw Object.assign(failure(body?.code ?? "site_unreadable", `HTTP ${status}`), {
      words: body?.detail,
      hint: body?.hint,
    });
  }

  /** Post the start, and once more with another CSRF token if the site refuses the page's. */
  async #postWithToken(/** @type {string | undefined} */ consent) {
    const answer = await this.#postStart(consent);
    const tokenUrl = answer.body?.token_url;
    if (!tokenUrl) return answer;
    Conversation.#csrf = await fetchToken(tokenUrl);
    const mayTryAgain = Conversation.#csrf && !this.isOver;
    return mayTryAgain ? this.#postStart(consent) : answer;
  }

  async #postStart(/** @type {string | undefined} */ consent) {
    const { endpoint, csrfToken, preset, params } = this.#options;
    const csrf = Conversation.#csrf ?? { header: "X-CSRFToken", token: csrfToken };
    try {
      const answer = await fetch(endpoint, {
        method: "POST",
        credentials: "same-origin",
        headers: {
          "Content-Type": "application/json",
          Accept: "application/json",
          [csrf.header]: csrf.token,
        },
        body: JSON.stringify(params ? { params } : { preset, consent }),
        signal: AbortSignal.timeout(START_MS),
      });
      const body = await answer.json().catch(() => null);
      return { isOk: answer.ok, status: answer.status, body };
    } catch (error) {
      throw failure("site_unreachable", String(error));
    }
  }

  async #askConsent(/** @type {Question} */ { text, hash }) {
    const { consent } = await this.#options.importModules(["consent"]);
    const { signal } = this.#over;
    const isGiven =
      !signal.aborted && (await this.#stage.consent(consent, text, signal));
    if (!isGiven) return null;
    this.#modules.store.rememberConsent(this.#options.preset, hash);
    this.#since = performance.now();
    return this.#requestStart(hash);
  }

  #openOutbox(/** @type {Start} */ start) {
    const { outbox, world } = this.#modules;
    const { stream, ticket } = start;
    const { ws: path, post } = start.log;
    const ws = path && new URL(path, document.baseURI).href.replace(/^http/, "ws");
    const address = { stream, ticket, ws, post };
    this.#outbox = new outbox.Outbox(address, world, (status, trouble) => {
      this.#stage.saved(status, trouble, this);
      if (trouble === "logged_out") this.end("logout");
    });
    return this.#outbox;
  }

  /** @param {Perso} sdk @param {Start} start */
  #makeTools(sdk, start) {
    const { tools, world } = this.#modules;
    this.#toolbox = new tools.Toolbox(this.#options.tools, {
      world,
      ontool: (event) => this.#noteTool(event),
      onrounds: () => {
        this.#adapter?.interrupt();
        this.#complain({
          code: "tools_without_end",
          message: "too many rounds of tools",
        });
      },
    });
    return this.#toolbox.chatTools(sdk.ChatTool, start.tools);
  }

  #noteTool(/** @type {ToolEvent} */ event) {
    this.#adapter?.update(); // some activity
    if (this.isOver) return;
    const { error, ...told } = event;
    const failed = error && { error: error.message, code: error.code };
    this.#outbox?.add("tool", { ...told, ...failed });
    this.#stage.tool(event);
  }

  #complain(/** @type {Trouble} */ trouble) {
    if (this.isOver) return;
    const { code = "unknown", message, words } = trouble;
    this.#outbox?.add("error", { code, message: message || words });
    this.#stage.trouble({ ...trouble, code, message });
  }

  /** What the adapter reports. @type {AdapterListener} */
  #listener = {
    activity: (activity) => this.#stage.activity(activity),
    said: (said) => {
      this.#outbox?.add("chat", said);
      this.#stage.said(said);
    },
    muted: () => {
      this.#outbox?.add("state", { name: "sound_blocked" });
      this.#stage.muted();
    },
    trouble: (trouble) => this.#complain(trouble),
    close: () => this.end("remote"),
  };
}

/**
 * Ask the site for another CSRF token: the page may come from a cache, or be older than a login.
 *
 * @param {string} url
 * @returns {Promise<CsrfToken | null>} null if the site does not give one
 */
async function fetchToken(url) {
  try {
    const answer = await fetch(url, {
      credentials: "same-origin",
      cache: "no-store",
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(START_MS),
    });
    const { header, token } = await answer.json();
    return header && token ? { header, token } : null;
  } catch {
    return null;
  }
}

const failure = (/** @type {string} */ code, /** @type {string} */ message) =>
  Object.assign(new Error(message), { code });
