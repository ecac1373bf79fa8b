/** <perso-avatar>: the element's attributes, methods and events. It imports the other modules when they are needed. */

// Modules are named by URL, in data-modules: hashed static files cannot import each other by relative path.
const FIRST_SCREEN = ["view", "style", "words"];
/** @type {(VoiceWay | "off")[]} */
const WAYS = ["off", "hold", "click", "hands-free"];
const VOICE = ["voice", "microphone", "speech"]; // when a visitor wants to talk

let /** @type {World | null} */ world = null; // what the log needs of the browser; one for the page

/** @param {Record<string, string>} urls @param {string[]} names @returns {Promise<any>} */
async function importModules(urls, names) {
  const modules = await Promise.all(names.map((name) => import(urls[name])));
  return Object.fromEntries(names.map((name, index) => [name, modules[index]]));
}

/** Import all modules; the first time, send what earlier visits left. @returns {Promise<Modules>} */
async function importAll(/** @type {Record<string, string>} */ urls) {
  try {
    const names = Object.keys(urls).filter((name) => !VOICE.includes(name));
    const modules = await importModules(urls, names);
    if (!world) {
      world = /** @type {World} */ (modules.outbox.makeWorld(modules));
      modules.outbox.resend(world);
    }
    return { ...modules, world };
  } catch (error) {
    throw Object.assign(new Error(String(error)), { code: "modules" });
  }
}

/**
 * An avatar a visitor can talk to.
 *
 * @attr {string} preset - slug of the preset; empty for the default one
 * @attr {string} endpoint - URL that starts conversations
 * @attr {string} csrf-token - Django's token for that request
 * @attr {string} sdk-url - URL of Perso's SDK
 * @attr {string} sdk-integrity - hash of that script
 * @attr {string} nonce - for pages with a Content-Security-Policy
 * @attr {"auto" | "light" | "dark"} theme - colors; auto follows the page's color-scheme
 * @attr {"click" | "hold" | "hands-free" | "off"} voice - how visitors talk
 * @attr {boolean} review - what was understood goes into the text field first
 * @attr {string} privacy-url - the site's page about privacy
 * @attr {boolean} simultaneous - does not end other conversations on the page
 * @attr {string} data-modules - URLs of the element's modules, as JSON
 * @attr {string} data-words - translations of the first screen, as JSON
 * @attr {string} data-words-url - URL of all other translations
 * @attr {string} data-state - written by the element: idle, consent, connecting, live,
 *   ended or error
 * @attr {string} data-activity - written by the element: ready, listening,
 *   recording, thinking or speaking
 * @attr {string} data-log - written by the element: saved, saving, queued or unsaved
 *
 * @fires perso-start - before a conversation is started; cancelable
 * @fires perso-state - when the state or the activity has changed
 * @fires perso-message - for each line of the visitor or the avatar
 * @fires perso-tool - when a tool is called, and when it has answered or failed
 * @fires perso-error - when something went wrong
 * @fires perso-end - when a conversation has ended and the site knows
 *
 * @csspart panel - everything
 * @csspart stage - the picture and its overlay
 * @csspart poster - shown before the picture
 * @csspart video - the picture
 * @csspart overlay - layer over the picture
 * @csspart spinner - shown while connecting
 * @csspart error - error message
 * @csspart code - error code
 * @csspart reason - why the conversation ended
 * @csspart start - button
 * @csspart cancel - button
 * @csspart hint - below the start button
 * @csspart privacy - link to the site's page about privacy
 * @csspart consent - asks for consent
 * @csspart consent-title - its heading
 * @csspart consent-text - the text to agree to
 * @csspart agree - button
 * @csspart decline - button
 * @csspart captions - the avatar's words
 * @csspart sound - button, if the browser blocks sound
 * @csspart chat - everything beside the picture
 * @csspart bar - status and buttons
 * @csspart status - state of the conversation, as text
 * @csspart interrupt - button
 * @csspart end - button
 * @csspart log - the messages
 * @csspart message - one message or tool call
 * @csspart message-visitor - a message of the visitor
 * @csspart message-avatar - a message of the avatar
 * @csspart message-tool - a tool call
 * @csspart message-text - the text of a message
 * @csspart who - the speaker, for screen readers
 * @csspart composer - form around the input
 * @csspart input - text field
 * @csspart send - button
 * @csspart talk - button, for presets with voice
 * @csspart voice-menu - what opens beside that button
 * @csspart voice-options - button that opens it
 * @csspart voice-panel - what it contains
 * @csspart voice-label - label of a field in it
 * @csspart way - field for the way to talk
 * @csspart device - field for the microphone
 * @csspart microphone-off - button that turns the microphone off
 * @csspart voice-hint - line about the microphone
 * @csspart saved - whether everything has been saved
 *
 * @cssproperty --perso-accent - buttons and messages of the visitor
 * @cssproperty --perso-on-accent - text on the accent color
 * @cssproperty --perso-surface - background
 * @cssproperty --perso-text - text
 * @cssproperty --perso-muted - less important text
 * @cssproperty --perso-danger - end button and failures
 * @cssproperty --perso-font - font family
 * @cssproperty --perso-radius - rounding of the panel's corners
 * @cssproperty --perso-shadow - shadow of the panel
 * @cssproperty --perso-width - maximum width
 * @cssproperty --perso-aspect - aspect ratio of the picture
 *
 * @implements {PersoElement}
 */
class PersoAvatar extends HTMLElement {
  /** A page may have set it before the element was defined. @type {Record<string, any> | null} */
  params = /** @type {any} */ (this).params ?? null;

  #state = /** @type {State} */ ("idle");
  #activity = /** @type {Activity} */ ("ready");
  #avatarActivity = /** @type {Activity} */ ("ready"); // without the microphone
  #tools = /** @type {Map<string, Tool>} */ (new Map());
  #drawing = /** @type {Promise<void> | null} */ (null);
  #translating = /** @type {Promise<void> | null} */ (null);
  #view = /** @type {import("./view.js").View | null} */ (null);
  #words = /** @type {import("./words.js").Words | null} */ (null);
  #sentences = /** @type {import("./sentences.js").Sentences | null} */ (null);
  #consent = /** @type {import("./consent.js").ConsentScreen | null} */ (null);
  #conversation = /** @type {import("./conversation.js").Conversation | null} */ (null);
  #controls = /** @type {import("./voice-controls.js").VoiceControls | null} */ (null);
  #voiceMode = /** @type {VoiceMode} */ ("off");
  #spoken = /** @type {Spoken | null} */ (null); // how the text in the input came
  #unheardPreset = /** @type {string | null} */ (null); // Perso did not receive sound
  #loading = new AbortController(); // of modules, for a start
  #connection = new AbortController(); // to the document

  constructor() {
    super();
    this.addEventListener("pointerenter", () => this.#prepare(), { once: true });
    this.addEventListener("focusin", () => this.#prepare(), { once: true });
  }

  connectedCallback() {
    // Browsers pause a video that leaves the page, even if it only moves.
    if (this.#state === "live") this.#view?.parts.video.play().catch(() => {});
    this.#connection.abort();
    this.#connection = new AbortController();
    const { signal } = this.#connection;
    const sleepOrWake = () => {
      if (document.hidden) this.#conversation?.flush();
      else this.#conversation?.wake();
    };
    addEventListener("pagehide", () => this.#leave(), { signal });
    addEventListener("online", () => this.#conversation?.wake(), { signal });
    document.addEventListener("visibilitychange", sleepOrWake, { signal });
    this.#draw().catch(() => {}); // the page's own content stays
    this.#resend();
  }

  disconnectedCallback() {
    // It may only be moved; Turbo takes more than one microtask for that.
    setTimeout(() => {
      if (this.isConnected) return;
      this.#connection.abort();
      this.stop();
    });
  }

  get state() {
    return this.#state;
  }

  get activity() {
    return this.#activity;
  }

  async start() {
    try {
      await this.#draw();
    } catch (error) {
      this.#announce("error", { code: "modules", message: String(error) });
      return;
    }
    if (["consent", "connecting", "live"].includes(this.#state)) return;
    if (!this.#announce("start", { preset: this.#read("preset") })) return;
    this.#view?.clearLog();
    this.#spoken = null;
    this.dataset.log = "saved";
    this.#show("connecting");
    const conversation = await this.#makeConversation();
    await conversation?.start();
  }

  async stop() {
    this.#cancelLoading();
    await this.#conversation?.end("visitor");
  }

  async send(text = "") {
    return this.#send(text);
  }

  /** Send what is in the input, where what the visitor said may have been corrected. */
  async #sendTyped(/** @type {string} */ text) {
    const spoken = this.#spoken;
    this.#spoken = null;
    return this.#send(text, spoken);
  }

  /** @param {string} text @param {Spoken | null} spoken */
  async #send(text, spoken = null) {
    if (!this.#conversation || !this.#isConversing) return false;
    if (text.trim()) this.#view?.clearTrouble();
    return this.#conversation.send(text, spoken);
  }

  say(text = "") {
    return this.#conversation?.say(text) ?? false;
  }

  async interrupt() {
    await this.#conversation?.interrupt();
  }

  /** @param {string} name @param {Tool["handler"] | Tool} tool */
  registerTool(name, tool) {
    const entry = typeof tool === "function" ? { handler: tool } : tool;
    this.#tools.set(name, entry);
    return () => {
      if (this.#tools.get(name) === entry) this.#tools.delete(name);
    };
  }

  /** Import what a conversation needs; null if that failed, or the visitor canceled. */
  async #makeConversation() {
    this.#loading = new AbortController();
    const { signal } = this.#loading;
    try {
      const modules = await this.#importAll();
      if (signal.aborted) return null;
      this.#controls ??= this.#makeControls(modules);
      this.#consent ??= this.#makeConsent(modules);
      const { Conversation } = modules.conversation;
      this.#conversation = new Conversation(modules, this.#readOptions(), this.#stage);
      return this.#conversation;
    } catch (error) {
      if (signal.aborted) return null;
      this.#stage.trouble(/** @type {any} */ (error));
      this.#stage.ended("error");
      return null;
    }
  }

  /** Cancel a start that is still waiting for modules. */
  #cancelLoading() {
    const isLoading = this.#state === "connecting" && !this.#isConversing;
    if (!isLoading) return;
    this.#loading.abort();
    this.#stage.ended("visitor");
  }

  get #isConversing() {
    return Boolean(this.#conversation && !this.#conversation.isOver);
  }

  /** End when the page is left. */
  #leave() {
    this.#cancelLoading();
    this.#conversation?.leave();
  }

  get #urls() {
    return JSON.parse(this.dataset.modules || "{}");
  }

  get #sdk() {
    return {
      src: this.#read("sdk-url"),
      integrity: this.#read("sdk-integrity"),
      nonce: this.nonce || this.#read("nonce"),
    };
  }

  #read(/** @type {string} */ attribute) {
    return this.getAttribute(attribute) ?? "";
  }

  /** Draw the first screen, once. */
  #draw() {
    this.#drawing ??= this.#drawFirstScreen().catch((error) => {
      this.#drawing = null; // the next call tries again
      throw error;
    });
    return this.#drawing;
  }

  async #drawFirstScreen() {
    /** @type {FirstModules} */
    const modules = await importModules(this.#urls, FIRST_SCREEN);
    this.#words = new modules.words.Words(JSON.parse(this.dataset.words || "{}"));
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [modules.style.sheet];
    this.#view = new modules.view.View(root, this.#words, {
      start: () => this.start(),
      cancel: () => this.stop(),
      end: () => this.stop(),
      interrupt: () => this.interrupt(),
      send: (/** @type {string} */ text) => this.#sendTyped(text),
    });
    const { input } = this.#view.parts;
    input.oninput = () => {
      if (!input.value) this.#spoken = null;
    };
    this.#view.linkPrivacy(this.#read("privacy-url"));
    this.#show("idle");
  }

  /** Load everything when a visitor shows interest. Start retries what fails now. */
  async #prepare() {
    try {
      const modules = await this.#importAll();
      await modules["sdk-loader"].loadSdk(this.#sdk);
    } catch {
      // Start will say so.
    }
  }

  async #importAll() {
    const [modules] = await Promise.all([importAll(this.#urls), this.#translate()]);
    if (this.#words) this.#sentences ??= new modules.sentences.Sentences(this.#words);
    return modules;
  }

  /** Fetch the words of the later screens, once. */
  #translate() {
    this.#translating ??= this.#fetchWords();
    return this.#translating;
  }

  async #fetchWords() {
    const { wordsUrl } = this.dataset;
    if (!wordsUrl) return;
    await this.#draw();
    const isLoaded = await this.#words?.load(wordsUrl);
    if (!isLoaded) this.#translating = null; // the next call tries again
    this.#view?.translate();
    this.#controls?.translate();
  }

  /** Import everything if an earlier visit left something to send. */
  async #resend() {
    try {
      const databases = (await globalThis.indexedDB?.databases?.()) ?? [];
      const isLeft = databases.some(({ name }) => name === "django-perso");
      if (isLeft) await importAll(this.#urls);
    } catch {
      // The next visit tries again.
    }
  }

  /** @returns {ConversationOptions} */
  #readOptions() {
    return {
      preset: this.#read("preset"),
      endpoint: this.#read("endpoint"),
      csrfToken: this.#read("csrf-token"),
      sdk: this.#sdk,
      params: this.params,
      tools: this.#tools,
      video: /** @type {HTMLVideoElement} */ (this.#view?.parts.video),
      isSimultaneous: this.hasAttribute("simultaneous"),
      way: WAYS.find((way) => way === this.#read("voice")) ?? "",
      isReviewed: this.hasAttribute("review"),
      needsMicrophone:
        this.#unheardPreset === this.#read("preset") && this.#read("voice") !== "off",
      loadVoice: () => this.#loadVoice(),
    };
  }

  async #loadVoice() {
    try {
      return await importModules(this.#urls, VOICE);
    } catch (error) {
      throw Object.assign(new Error(String(error)), { code: "modules" });
    }
  }

  #makeControls(/** @type {Modules} */ modules) {
    const root = /** @type {ShadowRoot} */ (this.shadowRoot);
    const view = /** @type {import("./view.js").View} */ (this.#view);
    const words = /** @type {import("./words.js").Words} */ (this.#words);
    const { VoiceControls } = modules["voice-controls"];
    const { make } = modules.view;
    return new VoiceControls(make, root, view.parts, words, () => this.#conversation);
  }

  #makeConsent(/** @type {Modules} */ modules) {
    const view = /** @type {import("./view.js").View} */ (this.#view);
    const words = /** @type {import("./words.js").Words} */ (this.#words);
    const { ConsentScreen } = modules.consent;
    return new ConsentScreen(modules.view.make, view.parts, words, {
      agree: () => this.#show("connecting"),
      decline: () => this.stop(),
    });
  }

  /** What a conversation shows of itself. @type {Stage} */
  #stage = {
    saved: (status, trouble, conversation) => {
      if (conversation !== this.#conversation) return;
      this.dataset.log = status;
      const isUnsaved = status === "unsaved";
      const text = isUnsaved
        ? this.#sentences?.unsaved(trouble)
        : this.#words?.saved(status);
      this.#view?.showSaved(text ?? "");
    },
    consent: async (text, signal) => {
      const answer = this.#consent?.ask(text, signal); // draws it
      this.#show("consent");
      return (await answer) ?? false;
    },
    shape: (width, height) => this.#view?.showShape(width, height),
    live: (way) => {
      this.#show("live");
      this.#controls?.offer(way);
    },
    voice: (mode, way) => {
      this.#voiceMode = mode;
      if (mode === "asking" || mode === "recording") this.#view?.clearTrouble();
      this.#controls?.show(mode, way);
      this.#act(this.#avatarActivity);
    },
    level: (level) => this.#controls?.showLevel(level),
    review: (text, spoken) => {
      const earlier = this.#view?.parts.input.value ? this.#spoken : null;
      const ms = spoken.spoken_ms + (earlier?.spoken_ms ?? 0);
      this.#spoken = { ...spoken, spoken_ms: ms };
      this.#view?.draft(text);
    },
    activity: (activity) => this.#act(activity),
    muted: () => this.#view?.offerSound(),
    said: (said) => {
      this.#view?.addMessage(said);
      this.#announce("message", said);
    },
    tool: (event) => {
      this.#view?.showTool(event);
      this.#announce("tool", event);
    },
    trouble: ({ code, message, words, hint }) => {
      const sentences = this.#sentences ?? this.#words;
      const text = words ?? sentences?.trouble(code) ?? "";
      if (code === "voice_not_heard") this.#unheardPreset = this.#read("preset");
      this.#view?.showTrouble(text, hint ? `${code} ${hint}` : code);
      this.#announce("error", { code, message: text, detail: message });
    },
    ended: (how) => {
      // Without consent nothing has begun.
      if (this.#state === "consent") {
        this.#show("idle");
        return;
      }
      this.#show(how === "error" ? "error" : "ended");
      this.#view?.showReason(this.#words?.ended(how) ?? "");
    },
    closed: ({ how, reason, ms }, conversation) => {
      if (how === "remote" && conversation === this.#conversation)
        this.#view?.showReason(this.#sentences?.reason(reason) ?? "");
      this.#announce("end", { how, reason, ms });
    },
  };

  #show(/** @type {State} */ state) {
    this.#state = state;
    this.dataset.state = state;
    this.#view?.showState(state);
    this.#controls?.offer("off");
    this.#avatarActivity = "ready";
    this.#showActivity("ready");
  }

  /** Show what the avatar does; while it does nothing, the microphone may listen. */
  #act(/** @type {Activity} */ avatarActivity) {
    this.#avatarActivity = avatarActivity;
    const isListening = avatarActivity === "ready" && this.#voiceMode === "listening";
    const activity = isListening ? "listening" : avatarActivity;
    if (activity !== this.#activity) this.#showActivity(activity);
  }

  #showActivity(/** @type {Activity} */ activity) {
    this.#activity = activity;
    this.dataset.activity = activity;
    this.#view?.showActivity(activity);
    this.#announce("state", { state: this.#state, activity });
  }

  #announce(/** @type {string} */ name, detail = {}) {
    const event = new CustomEvent(`perso-${name}`, {
      detail,
      bubbles: true,
      composed: true,
      cancelable: name === "start",
    });
    return this.dispatchEvent(event);
  }
}

// Other browsers show what the page has put inside the element.
if ("RTCPeerConnection" in globalThis && "adoptedStyleSheets" in document)
  customElements.define("perso-avatar", PersoAvatar);
