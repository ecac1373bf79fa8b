/** <perso-avatar>: the element's attributes, methods and events. It imports the other modules when they are needed. */

// Modules are named by URL, in data-modules: hashed static files cannot import each other by relative path.
const FIRST_SCREEN = ["view", "style", "words"];
/** @type {(VoiceWay | "off")[]} */
const WAYS = ["off", "hold", "click", "hands-free"];
// Modules that many conversations do not need. They import these by themselves.
const VOICE = [
  "talking",
  "voice-controls",
  "voice",
  "recorder",
  "microphone",
  "speech",
];
const ON_DEMAND = ["consent", ...VOICE];
const REMOVED_MS = 3000; // then an element that the page has removed ends its conversation
// Those of the document, while it has no others: the scripts of a fragment have those of their own response.
const NONCES = [...document.scripts].map(({ nonce }) => nonce);

let /** @type {World | null} */ world = null; // what the log needs of the browser; one for the page

/** @param {Record<string, string>} urls @param {string[]} names @returns {Promise<any>} */
async function importModules(urls, names) {
  const modules = await Promise.all(names.map((name) => importModule(urls[name])));
  return Object.fromEntries(names.map((name, index) => [name, modules[index]]));
}

async function importModule(/** @type {string} */ url) {
  try {
    return await import(url);
  } catch (error) {
    const code = (await isGone(url)) ? "outdated" : "modules";
    throw Object.assign(new Error(String(error)), { code });
  }
}

/** Whether the site has something else at a module's URL, as after a deploy. */
async function isGone(/** @type {string} */ url) {
  try {
    const { status, headers } = await fetch(url);
    return status < 500 && !headers.get("Content-Type")?.includes("javascript");
  } catch {
    return false; // the network is down
  }
}

/** Import what every conversation needs; the first time, send what earlier visits left. @returns {Promise<Modules>} */
async function importAll(/** @type {Record<string, string>} */ urls) {
  const names = Object.keys(urls).filter((name) => !ON_DEMAND.includes(name));
  const modules = await importModules(urls, names);
  if (!world) {
    world = /** @type {World} */ (modules.outbox.makeWorld(modules));
    modules.outbox.resend(world);
  }
  return { ...modules, world };
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
  static observedAttributes = ["data-state", "data-activity", "data-log"];

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
  /** What all parts need that are made later than the first screen. @type {PartOptions} */
  #forParts = /** @type {any} */ (null);
  #messages = /** @type {import("./messages.js").Messages | null} */ (null);
  #consent = /** @type {import("./consent.js").ConsentScreen | null} */ (null);
  #conversation = /** @type {import("./conversation.js").Conversation | null} */ (null);
  #controls = /** @type {import("./voice-controls.js").VoiceControls | null} */ (null);
  #voiceMode = /** @type {VoiceMode} */ ("off");
  #spoken = /** @type {Spoken | null} */ (null); // how the text in the input came
  #unheardPreset = /** @type {string | null} */ (null); // Perso did not receive sound
  #loading = new AbortController(); // of modules, for a start
  #connection = new AbortController(); // to the document
  #removal = 0; // the timer of an element that the page has removed
  #reflected = /** @type {Record<string, string>} */ ({}); // what the observed attributes are
  #reload = /** @type {HTMLElement | null} */ (null); // button in place of the first screen

  constructor() {
    super();
    this.addEventListener("pointerenter", () => this.#prepare(), { once: true });
    this.addEventListener("focusin", () => this.#prepare(), { once: true });
  }

  connectedCallback() {
    clearTimeout(this.#removal);
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
    for (const type of ["keydown", "keypress", "keyup"])
      addEventListener(type, (event) => this.#view?.keepTyped(event), {
        signal,
        capture: true, // before the page's own listeners
      });
    this.#view?.adoptStyle();
    this.#draw().catch(({ code }) => {
      if (code === "outdated") this.#offerReload(); // after the page's own content
    });
    this.#resend();
  }

  /** Everything goes on while moveBefore() moves the element. */
  connectedMoveCallback() {}

  disconnectedCallback() {
    // It may only be moved, by code that waits for something in between.
    this.#removal = setTimeout(() => {
      this.#connection.abort();
      this.stop();
    }, REMOVED_MS);
  }

  /** Restore what a page has changed, perhaps by morphing itself into what its server renders. */
  attributeChangedCallback(
    /** @type {string} */ name,
    /** @type {string | null} */ _former,
    /** @type {string | null} */ value,
  ) {
    const reflected = this.#reflected[name] ?? null;
    if (value !== reflected) this.#reflect(name, reflected);
  }

  #reflect(/** @type {string} */ name, /** @type {string | null} */ value) {
    if (value === null) {
      this.removeAttribute(name);
      return;
    }
    this.#reflected[name] = value;
    this.setAttribute(name, value);
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
    } catch (/** @type {any} */ error) {
      this.#announce("error", { code: error.code, message: String(error) });
      return;
    }
    if (["consent", "connecting", "live"].includes(this.#state)) return;
    if (!this.#announce("start", { preset: this.#read("preset") })) return;
    this.#messages?.clear();
    this.#spoken = null;
    this.#reflect("data-log", "saved");
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
      this.#messages ??= new modules.messages.Messages(...this.#forParts);
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
      pageNonces: NONCES,
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
    if (!this.dataset.modules) {
      const message = "Let {% perso_avatar %} write this element.";
      console.error(message);
      throw Object.assign(new Error(message), { code: "modules" });
    }
    /** @type {FirstModules} */
    const modules = await importModules(this.#urls, FIRST_SCREEN);
    this.#words = new modules.words.Words(JSON.parse(this.dataset.words || "{}"));
    const root = this.attachShadow({ mode: "open" });
    this.#reload?.remove();
    this.#view = new modules.view.View(root, modules.style.sheet, this.#words, {
      start: () => this.start(),
      cancel: () => this.stop(),
      end: () => this.stop(),
      interrupt: () => this.interrupt(),
      send: (/** @type {string} */ text) => this.#sendTyped(text),
    });
    this.#forParts = [modules.view.make, this.#view, this.#words];
    const { input } = this.#view.parts;
    input.oninput = () => {
      if (!input.value) this.#spoken = null;
    };
    this.#view.linkPrivacy(this.#read("privacy-url"));
    this.#show("idle");
  }

  /** Offer to reload in the page's own content, in words that are on the page. */
  #offerReload() {
    const text = "This page is out of date. Reload.";
    const words = JSON.parse(this.dataset.words || "{}");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words[text] ?? text;
    button.onclick = () => location.reload();
    this.#reload?.remove();
    this.#reload = button;
    this.append(button);
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
      importModules: (names) => importModules(this.#urls, names),
    };
  }

  /** What a conversation shows of itself. @type {Stage} */
  #stage = {
    saved: (status, trouble, conversation) => {
      if (conversation !== this.#conversation) return;
      this.#reflect("data-log", status);
      const reason = status === "unsaved" ? this.#sentences?.unsaved(trouble) : "";
      this.#messages?.showSaved(status, reason ?? "");
    },
    consent: ({ ConsentScreen }, text, signal) => {
      this.#consent ??= new ConsentScreen(...this.#forParts, {
        agree: () => this.#show("connecting"),
        decline: () => this.stop(),
      });
      const answer = this.#consent.ask(text, signal); // draws it
      this.#show("consent");
      return answer;
    },
    shape: (width, height) => this.#view?.showShape(width, height),
    live: () => this.#show("live"),
    offerVoice: ({ VoiceControls }, talking, way) => {
      this.#controls ??= new VoiceControls(...this.#forParts);
      this.#controls.offer(way, talking);
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
      this.#controls?.draft(text);
    },
    activity: (activity) => this.#act(activity),
    muted: () => this.#view?.offerSound(),
    said: (said) => {
      this.#messages?.add(said);
      this.#announce("message", said);
    },
    tool: (event) => {
      this.#messages?.showTool(event);
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
    this.#reflect("data-state", state);
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
    this.#reflect("data-activity", activity);
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
const isAble = "RTCPeerConnection" in globalThis && "adoptedStyleSheets" in document;
// After a deploy a page may load this module twice, by two URLs.
if (isAble && !customElements.get("perso-avatar"))
  customElements.define("perso-avatar", PersoAvatar);
