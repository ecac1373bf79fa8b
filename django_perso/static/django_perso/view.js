/** The widget's DOM: its parts, what they show, and where the focus goes. Independent of conversations. */

const DOUBLE_CLICK = 2;
const PAGE_KEYS = /^(Escape|Tab|F\d+)$/; // the page hears them from the widget, too

export class View {
  /** @type {Parts} */ parts;
  #root;
  #sheets = /** @type {CSSStyleSheet[]} */ ([]);
  #words;
  #state = /** @type {State} */ ("idle");
  #activity = /** @type {Activity} */ ("ready");
  #isOutdated = false; // nothing but reloading the page helps

  /**
   * @param {ShadowRoot} root
   * @param {CSSStyleSheet} sheet
   * @param {import("./words.js").Words} words
   * @param {ViewActions} actions
   */
  constructor(root, sheet, words, actions) {
    this.#root = root;
    this.adoptStyle(sheet);
    this.#words = words;
    this.parts = buildParts();
    root.append(this.parts.panel);
    this.#listen(actions);
    this.translate();
  }

  /** Add a style sheet, and any that the browser dropped while the element was in another document. */
  adoptStyle(/** @type {CSSStyleSheet[]} */ ...added) {
    this.#sheets.push(...added);
    if (this.#root.ownerDocument === document)
      this.#root.adoptedStyleSheets = this.#sheets;
  }

  /** Write all labels anew, in the words that are known now. */
  translate() {
    const words = this.#words;
    const { panel, log, input, cancel, interrupt, end, send, sound } = this.parts;
    const { hint, privacy } = this.parts;
    panel.ariaLabel = words.gettext("Conversation with an avatar");
    log.ariaLabel = words.gettext("Messages");
    log.dataset.empty = words.gettext("Messages will appear here.");
    input.ariaLabel = words.gettext("Your message");
    input.placeholder = words.gettext("Your message");
    cancel.textContent = words.gettext("Cancel");
    interrupt.textContent = words.gettext("Interrupt");
    end.textContent = words.gettext("End");
    send.textContent = words.gettext("Send");
    hint.childNodes[0].textContent = words.gettext(
      "You will be talking with an AI. The conversation is stored.",
    );
    privacy.textContent = words.gettext("Privacy");
    sound.textContent = words.gettext("Tap for sound");
    this.#label();
  }

  /** Hide from the page's shortcuts, which see the widget as a whole, what is typed into the text field. */
  keepTyped(/** @type {any} */ event) {
    if (event.composedPath()[0] === this.parts.input) keepKey(event);
  }

  /** Show a state, and move the keyboard focus to the next control. */
  showState(/** @type {State} */ state) {
    this.#state = state;
    const { parts } = this;
    const isLive = state === "live";
    const isConnecting = state === "connecting";
    const focused = this.#root.activeElement;
    parts.panel.dataset.state = state;
    parts.start.hidden = isConnecting || isLive;
    parts.cancel.hidden = !isConnecting;
    parts.spinner.hidden = !isConnecting;
    parts.hint.hidden = state !== "idle";
    parts.end.hidden = !isLive;
    parts.interrupt.hidden = !isLive;
    parts.input.disabled = !isLive;
    parts.send.disabled = !isLive;
    parts.reason.textContent = "";
    parts.captions.textContent = "";
    if (!isLive) parts.sound.hidden = true;
    if (state !== "error") this.clearTrouble();
    this.#label();
    if (focused) this.#moveFocus(focused);
  }

  showActivity(/** @type {Activity} */ activity) {
    const { panel, interrupt, captions, log } = this.parts;
    const isBusy = activity === "thinking" || activity === "speaking";
    if (!isBusy && this.#root.activeElement === interrupt) log.focus();
    // The text of an introduction comes a moment before it is spoken.
    if (!isBusy && this.#activity === "speaking") captions.textContent = "";
    interrupt.disabled = !isBusy;
    panel.dataset.activity = activity;
    this.#activity = activity;
    this.#label();
  }

  /** Say why the conversation has ended. */
  showReason(/** @type {string} */ text) {
    this.parts.reason.textContent = text;
  }

  /** Show what went wrong: a message, and a code for support. */
  showTrouble(/** @type {string} */ text, /** @type {string} */ code) {
    this.parts.error.replaceChildren(text, make("code", "code", { textContent: code }));
    this.#isOutdated = code === "outdated";
    this.#label();
  }

  clearTrouble() {
    this.parts.error.replaceChildren();
  }

  /** Give the picture its shape, so that nothing jumps when it comes. */
  showShape(/** @type {number} */ width, /** @type {number} */ height) {
    const { stage, panel } = this.parts;
    stage.style.setProperty("--_shape", `${width} / ${height}`);
    panel.dataset.shape = width < height ? "portrait" : "landscape";
  }

  /** Link to the site's page about privacy, if it has one. */
  linkPrivacy(/** @type {string} */ url) {
    const { privacy } = this.parts;
    privacy.href = url;
    privacy.hidden = !url;
  }

  /** Offer to turn the sound on, which the browser has refused. */
  offerSound() {
    this.parts.sound.hidden = false;
  }

  /** Write what depends on the state. */
  #label() {
    const words = this.#words;
    const { start, status } = this.parts;
    start.textContent = this.#isOutdated
      ? words.gettext("Reload")
      : words.start(this.#state);
    status.textContent =
      this.#state === "live"
        ? words.activity(this.#activity)
        : words.state(this.#state);
  }

  #listen(/** @type {ViewActions} */ actions) {
    const { panel, start, cancel, end, interrupt, sound } = this.parts;
    const { composer, send } = this.parts;
    start.onclick = () => {
      start.focus(); // Safari does not
      if (this.#isOutdated) location.reload();
      else actions.start();
    };
    // Cancel appears where Start was: a double click or a key held down means the first.
    cancel.onclick = ({ detail }) => {
      if (detail < DOUBLE_CLICK) actions.cancel();
    };
    panel.onkeydown = (event) => {
      if (event.repeat && event.key === "Enter") event.preventDefault();
    };
    for (const type of ["keydown", "keypress", "keyup"])
      panel.addEventListener(type, keepKey);
    end.onclick = () => actions.end();
    interrupt.onclick = () => actions.interrupt();
    sound.onclick = () => this.#turnSoundOn();
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#send(actions);
    };
    send.onclick = submit; // by Enter, too; a sandbox without forms submits nothing
    composer.onsubmit = submit;
  }

  /** Empty the input at once; what could not be sent comes back, unless something else was typed. */
  async #send(/** @type {ViewActions} */ actions) {
    const { input } = this.parts;
    const text = input.value;
    input.value = "";
    const isSent = await actions.send(text);
    if (!isSent) input.value ||= text;
  }

  #turnSoundOn() {
    const { log, sound, video } = this.parts;
    log.focus();
    sound.hidden = true;
    video.muted = false;
    video.play().catch(() => {}); // it is still forbidden
  }

  #moveFocus(/** @type {Element} */ focused) {
    const { input, log, panel } = this.parts;
    // A visitor who is typing would press the next button.
    const next = focused === input ? log : this.#findNext();
    next.focus();
    panel.scrollIntoView({ block: "nearest" }); // it may have grown
  }

  #findNext() {
    const { cancel, start, input, log } = this.parts;
    if (this.#state === "connecting") return cancel;
    if (this.#state === "consent") return this.parts["consent-text"];
    if (this.#state !== "live") return start;
    const isTyped = matchMedia("(pointer: fine)").matches;
    return isTyped ? input : log; // on a phone the keyboard would open
  }
}

/** Keep a key in the widget, unless the page may act on it. */
function keepKey(/** @type {any} */ event) {
  const isTyped =
    event.getModifierState("AltGraph") || !(event.ctrlKey || event.metaKey);
  if (isTyped && !PAGE_KEYS.test(event.key)) event.stopPropagation();
}

/** @returns {Parts} */
function buildParts() {
  const panel = make("section", "panel", {}, buildStage(), buildChat());
  const parts = [panel, ...panel.querySelectorAll("[part]")];
  return Object.fromEntries(parts.map((node) => [node.getAttribute("part"), node]));
}

function buildStage() {
  const privacy = make("a", "privacy", { target: "_blank", rel: "noopener" });
  const hint = make("p", "hint", { id: "hint" }, new Text(), " ", privacy);
  const start = makeButton("start");
  start.setAttribute("aria-describedby", hint.id);
  const overlay = make(
    "div",
    "overlay",
    {},
    make("div", "spinner"),
    make("p", "error", { role: "alert" }),
    make("p", "reason"),
    start,
    makeButton("cancel"),
    hint,
  );
  return make(
    "div",
    "stage",
    {},
    make("div", "poster"),
    make("video", "video", { playsInline: true, autoplay: true }),
    overlay,
    make("p", "captions", { ariaHidden: "true" }),
    makeButton("sound", { hidden: true }),
  );
}

function buildChat() {
  const bar = make(
    "div",
    "bar",
    {},
    make("p", "status", { role: "status" }),
    makeButton("interrupt"),
    makeButton("end"),
  );
  const composer = make(
    "form",
    "composer",
    {},
    make("input", "input", { maxLength: 4000 }),
    makeButton("send", { type: "submit" }),
  );
  const log = make("div", "log", { role: "log", tabIndex: 0 });
  return make("div", "chat", {}, bar, log, composer, make("p", "saved"));
}

/** @type {Make} */
export function make(tag, part, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.setAttribute("part", part);
  node.append(...children);
  return node;
}

const makeButton = (/** @type {string} */ part, properties = {}) =>
  make("button", part, { type: "button", ...properties });
