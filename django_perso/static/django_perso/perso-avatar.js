/** <perso-avatar>, the element a visitor talks to. It brings the other modules once a visitor shows intent. */

/** Every word a visitor reads. */
const TEXT = {
  region: "Conversation with an avatar",
  log: "What was said",
  empty: "What is said will appear here.",
  who: { visitor: "You", avatar: "Avatar", tool: "Tool" },
  start: {
    idle: "Start conversation",
    ended: "Start again",
    error: "Try again",
    connecting: "",
    live: "",
  },
  hint: "You type, the avatar answers aloud.",
  cancel: "Cancel",
  interrupt: "Interrupt",
  end: "End",
  send: "Send",
  sound: "Tap for sound",
  input: "Your message",
  state: {
    idle: "Not started",
    connecting: "Connecting…",
    live: "Connected",
    ended: "Conversation ended",
    error: "Not connected",
  },
  activity: { ready: "Ready", thinking: "Thinking…", speaking: "Speaking" },
  saved: { saved: "Saved", saving: "Saving…", queued: "Not saved yet" },
  tool: { called: "Using", answered: "Used", failed: "Could not use" },
  how: {
    visitor: "You ended the conversation.",
    remote: "The conversation was closed.",
    other: "Another conversation on this page was started.",
    error: "",
  },
  modules: "Parts of this page could not be loaded. Check your connection.",
  unknown: "Something went wrong.",
};

const STYLE = `
:host { --_accent: var(--perso-accent, #4f46e5); --_on-accent: var(--perso-on-accent, #fff);
  --_surface: var(--perso-surface, #fff); --_text: var(--perso-text, #1c1b22);
  --_muted: var(--perso-muted, #5e5d6b); --_danger: var(--perso-danger, #b3261e);
  --_line: color-mix(in srgb, var(--_text) 14%, transparent);
  --_soft: color-mix(in srgb, var(--_text) 6%, var(--_surface));
  display: block; container-type: inline-size; max-width: var(--perso-width, 60rem); text-align: start;
  font: 16px/1.5 var(--perso-font, system-ui, sans-serif); color: var(--_text); overflow-wrap: anywhere; }
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; margin: 0; unicode-bidi: plaintext; }
[part=panel] { display: grid; overflow: hidden; background: var(--_surface); border: 1px solid var(--_line);
  border-radius: var(--perso-radius, 20px); box-shadow: var(--perso-shadow, 0 12px 32px #0000001f); }
[part=stage] { --_focus: #fff; position: relative; display: grid; place-items: center; overflow: hidden; color: #fff;
  text-align: center; text-wrap: balance; width: 100%; min-height: 18rem; max-height: 46vh;
  aspect-ratio: var(--perso-aspect, var(--_shape, 4 / 3)); }
video, [part=poster] { position: absolute; inset: 0; width: 100%; height: 100%; transition: opacity .4s; }
video { object-fit: cover; opacity: 0; }
:host([data-state=live]) video { opacity: 1; }
:host([data-state=live]) [part=poster] { opacity: 0; }
[part=poster] { color: #ffffff1f; background:
  radial-gradient(circle closest-side at 50% 40%, currentColor 44%, transparent 45%),
  radial-gradient(circle at 50% 115%, currentColor 37%, transparent 37.5%), #191826
  radial-gradient(circle at 50% 36%, color-mix(in srgb, var(--_accent) 70%, #fff 8%), #191826 78%); }
[part=overlay] { position: relative; align-self: end; display: grid; justify-items: center; gap: 12px;
  padding: 24px 24px max(24px, 7cqw); }
:host([data-state=live]) [part=overlay] { align-self: start; }
[part=error] { padding: 10px 16px; border-radius: 12px; background: #8c1d18; }
[part=error]:empty { padding: 0; margin-top: -12px; }
[part=reason]:empty, [part=hint]:empty, [part=captions]:empty { display: none; }
code { display: block; font: 12px ui-monospace, monospace; opacity: .8; }
button { font: inherit; font-weight: 600; min-height: 44px; padding: 8px 18px; border: 1px solid var(--_line);
  border-radius: 999px; color: inherit; background: none; white-space: nowrap; cursor: pointer; }
button:hover { background: var(--_soft); }
:disabled { opacity: .45; cursor: default; }
:focus-visible { outline: 2px solid var(--_focus, var(--_accent)); outline-offset: 2px; }
[part=start], [part=send] { color: var(--_on-accent); background: var(--_accent) !important; border-color: transparent; }
[part=start]:hover, [part=send]:hover { filter: brightness(1.12); }
[part=start] { font-size: 1.1rem; padding: 13px 28px; box-shadow: 0 4px 18px #00000059; }
[part=cancel], [part=sound] { border-color: #ffffff73; background: #141320a6; }
[part=cancel]:hover, [part=sound]:hover { background: #191826; }
[part=sound] { position: absolute; top: 14px; inset-inline-end: 14px; }
[part=spinner] { width: 44px; height: 44px; border-radius: 50%; border: 4px solid #ffffff40;
  border-top-color: #fff; animation: turn 1s linear infinite; }
@keyframes turn { to { rotate: 1turn; } }
[part=captions] { position: absolute; bottom: 16px; padding: 0 6px; border: 8px solid #0000; border-radius: 12px;
  max-width: min(46ch, 100% - 32px); max-height: calc(3lh + 16px); overflow: hidden; background: #0c0b14c2;
  font-size: .92rem; }
[part=chat] { display: flex; flex-direction: column; min-width: 0; }
[part=bar] { display: flex; flex-wrap: wrap; align-items: center; gap: 10px; padding: 10px 16px;
  border-bottom: 1px solid var(--_line); }
[part=status] { display: flex; align-items: center; gap: 8px; margin-inline-end: auto; min-height: 38px; font-weight: 600; }
[part=status]::before { content: ""; width: 10px; height: 10px; border-radius: 50%; background: var(--_muted); }
:host([data-state=live]) [part=status]::before { background: #1e9e5a; }
:host(:is([data-activity=thinking], [data-activity=speaking])) [part=status]::before { background: var(--_accent);
  animation: pulse 1s infinite alternate; }
@keyframes pulse { to { opacity: .3; } }
[part=bar] button { min-height: 38px; padding: 4px 14px; font-size: .9rem; }
[part=end] { color: var(--_danger); }
[part=log] { position: relative; display: flex; flex-direction: column; gap: 8px; flex: 1 1 13rem; padding: 16px;
  overflow-y: auto; overscroll-behavior: contain; }
[part=log]:empty::before { content: attr(data-empty); margin: auto; color: var(--_muted); }
[part~=message] { align-self: start; max-width: 85%; padding: 8px 14px; white-space: pre-line; background: var(--_soft);
  border-radius: 16px; border-end-start-radius: 5px; }
[part~=message-visitor] { align-self: end; color: var(--_on-accent); background: var(--_accent);
  border-radius: 16px; border-end-end-radius: 5px; }
[part~=message-tool] { align-self: center; padding: 2px 12px; font-size: .82rem; color: var(--_muted);
  background: none; border: 1px dashed var(--_line); border-radius: 999px; }
[data-phase=failed] { color: var(--_danger); }
[part=who] { position: absolute; clip-path: inset(50%); }
form { display: flex; gap: 8px; padding: 12px 16px 6px; border-top: 1px solid var(--_line); }
input { flex: 1; min-width: 0; min-height: 44px; padding: 8px 16px; font: inherit; color: inherit;
  background: var(--_soft); border: 1px solid var(--_line); border-radius: 999px; }
input::placeholder { color: var(--_muted); opacity: 1; }
[part=saved] { padding: 0 18px 8px; min-height: 1.9em; font-size: .8rem; color: var(--_muted);
  text-align: end; }
@container (min-width: 44rem) {
  [part=panel] { grid-template-columns: minmax(0, 3fr) minmax(19rem, 2fr); }
  [data-shape=portrait] { grid-template-columns: minmax(0, 2fr) minmax(19rem, 3fr); }
  [part=stage] { min-height: 26rem; max-height: 44rem; height: 100%; }
  [part=chat] { height: 0; min-height: 100%; border-inline-start: 1px solid var(--_line); }
  [part=log] { flex-basis: 0; }
}
@container (max-width: 43.99rem) { :host([data-state=idle]) [part=chat] { display: none; } }
@media (prefers-color-scheme: dark) { :host { --_accent: var(--perso-accent, #6b62ef);
  --_surface: var(--perso-surface, #1b1a24); --_text: var(--perso-text, #f1f0f6);
  --_muted: var(--perso-muted, #a9a7b8); --_danger: var(--perso-danger, #ff8a80); } }
@media (prefers-reduced-motion: reduce) { *, ::before { animation: none !important; transition: none !important; } }
`;

/** @type {Make} */
const make = (tag, part, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  if (part) node.setAttribute("part", part);
  node.append(...children);
  return node;
};

/** @returns {Parts} */
function build() {
  const button = (part = "", textContent = "", type = "button") =>
    make("button", part, { type, textContent });
  const panel = make(
    "section",
    "panel",
    { ariaLabel: TEXT.region },
    make(
      "div",
      "stage",
      {},
      make("div", "poster"),
      make("video", "video", { playsInline: true, autoplay: true }),
      make(
        "div",
        "overlay",
        {},
        make("div", "spinner"),
        make("p", "error", { role: "alert" }),
        make("p", "reason"),
        button("start"),
        button("cancel", TEXT.cancel),
        make("p", "hint"),
      ),
      make("p", "captions", { ariaHidden: "true" }),
      button("sound", TEXT.sound),
    ),
    make(
      "div",
      "chat",
      {},
      make(
        "div",
        "bar",
        {},
        make("p", "status", { role: "status" }),
        button("interrupt", TEXT.interrupt),
        button("end", TEXT.end),
      ),
      make("div", "log", { role: "log", tabIndex: 0, ariaLabel: TEXT.log }),
      make(
        "form",
        "composer",
        {},
        make("input", "input", {
          ariaLabel: TEXT.input,
          placeholder: TEXT.input,
          maxLength: 4000,
        }),
        button("send", TEXT.send, "submit"),
      ),
      make("p", "saved"),
    ),
  );
  const parts = [panel, ...panel.querySelectorAll("[part]")].map((node) => [
    node.getAttribute("part"),
    node,
  ]);
  return Object.fromEntries(parts);
}

let /** @type {Promise<Modules> | null} */ modules = null; // of the page
let /** @type {PersoAvatar | null} */ talking = null; // one conversation a page
let leaving = Promise.resolve(""); // places are given back before another is asked for

/** Brings the other modules, and sends what earlier visits left. */
function load(urls = "{}") {
  modules ??= (async () => {
    const named = Object.entries(JSON.parse(urls)).map(async ([name, url]) => [
      name,
      await import(url),
    ]);
    const found = Object.fromEntries(await Promise.all(named)),
      world = found.outbox.makeWorld(found);
    found.outbox.resend(world);
    return { ...found, world };
  })().catch((error) => {
    modules = null;
    throw Object.assign(error, { code: "modules", words: TEXT.modules });
  });
  return modules;
}

/** @implements {PersoElement} */
class PersoAvatar extends HTMLElement {
  #view = build();
  #root = this.attachShadow({ mode: "open" });
  #tools = /** @type {Stage["tools"]} */ (new Map());
  /** @type {Run} */ #run = { since: 0, isOver: true };
  #gone = new AbortController();
  /** @type {Stage["params"]} */ params = /** @type {any} */ (this).params ?? null; // perhaps set before

  constructor() {
    super();
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    this.#root.adoptedStyleSheets = [sheet];
    const { panel, start, cancel, end, interrupt, sound, composer, log, input, video } =
      this.#view;
    this.#root.append(panel);
    start.onclick = () => (start.focus(), this.start()); // Safari does not focus it
    end.onclick = () => this.stop();
    // Cancel comes where Start was: a double click or a key held down means the first.
    cancel.onclick = ({ detail }) => void (detail < 2 && this.stop());
    panel.onkeydown = (event) => {
      if (event.repeat && event.key === "Enter") event.preventDefault();
    };
    interrupt.onclick = () => this.interrupt();
    sound.onclick = () => {
      log.focus();
      sound.hidden = true;
      video.muted = false;
      video.play().catch(() => {});
    };
    log.dataset.empty = TEXT.empty;
    composer.onsubmit = async (event) => {
      event.preventDefault();
      const text = input.value;
      input.value = "";
      if (!(await this.send(text))) input.value ||= text;
    };
    const warm = () =>
      load(this.dataset.modules)
        .then(({ sdk }) => sdk.loadSdk(this.#told))
        .catch(() => {}); // Start will tell
    this.addEventListener("pointerenter", warm, { once: true });
    this.addEventListener("focusin", warm, { once: true });
  }

  connectedCallback() {
    if (!this.#run.since) this.#show("idle");
    this.#gone.abort();
    this.#gone = new AbortController();
    const { signal } = this.#gone;
    addEventListener("pagehide", () => this.#leave(), { signal });
    addEventListener("online", () => this.#run.outbox?.wake(), { signal });
    document.addEventListener(
      "visibilitychange",
      () => {
        this.#run.outbox?.[document.hidden ? "flush" : "wake"]();
      },
      { signal },
    );
    globalThis.indexedDB
      ?.databases?.()
      .then(async (known) => {
        if (known.some(({ name }) => name === "django-perso"))
          await load(this.dataset.modules);
      })
      .catch(() => {});
  }

  disconnectedCallback() {
    queueMicrotask(() => {
      // it may only be moved
      if (this.isConnected) return;
      this.#gone.abort();
      this.stop();
    });
  }

  get state() {
    return /** @type {State} */ (this.dataset.state ?? "idle");
  }

  get activity() {
    return /** @type {Activity} */ (this.dataset.activity ?? "ready");
  }

  async start() {
    if (!this.#run.isOver || !this.#announce("start", { preset: this.#told.preset }))
      return;
    if (!this.hasAttribute("simultaneous")) {
      if (talking) talking.#finish(talking.#run, "other");
      talking = this;
    }
    this.#run = { since: performance.now(), isOver: false };
    const run = this.#run;
    this.#view.log.replaceChildren();
    this.#show("connecting");
    try {
      const found = await load(this.dataset.modules);
      await leaving;
      await (run.work = found.sdk.converse(run, found, this.#stage(run)));
    } catch (error) {
      this.#complain(run, /** @type {any} */ (error));
      this.#finish(run, "error");
    }
  }

  async stop() {
    await this.#finish(this.#run, "visitor");
  }

  async send(text = "") {
    const { driver, toolbox, isOver } = this.#run;
    if (!driver || isOver || !text.trim()) return false;
    this.#view.error.replaceChildren();
    toolbox?.turn();
    return driver.send(text.trim());
  }

  say(text = "") {
    return !!text.trim() && !!this.#run.driver?.say(text.trim());
  }

  async interrupt() {
    this.#run.outbox?.add("state", { name: "interrupted" });
    await this.#run.driver?.interrupt();
  }

  /** @param {string} name @param {Tool["handler"] | Tool} tool */
  registerTool(name, tool) {
    const entry = typeof tool === "function" ? { handler: tool } : tool;
    this.#tools.set(name, entry);
    return () => void (this.#tools.get(name) === entry && this.#tools.delete(name));
  }

  get #told() {
    const read = (name = "") => this.getAttribute(name) ?? "";
    return {
      preset: read("preset"),
      endpoint: read("endpoint"),
      csrfToken: read("csrf-token"),
      src: read("sdk-url"),
      integrity: read("sdk-integrity"),
      nonce: this.nonce || read("nonce"),
    };
  }

  /** @param {Run} run @returns {Stage} */
  #stage(run) {
    const { video, stage, panel, sound, captions, saved } = this.#view,
      lines = new Map();
    return {
      ...this.#told,
      params: this.params,
      tools: this.#tools,
      video,
      saved: (status) => {
        if (this.#run !== run) return;
        this.dataset.log = status;
        saved.textContent = TEXT.saved[status];
      },
      shape: (width, height) => {
        stage.style.setProperty("--_shape", `${width} / ${height}`);
        panel.dataset.shape = width < height ? "portrait" : "landscape";
      },
      live: () => this.#show("live"),
      activity: (now) => this.#act(now),
      said: (said) => {
        run.outbox?.add("chat", said);
        this.#line(said.role, said.text);
        if (said.role === "avatar") captions.textContent = said.text;
        this.#announce("message", said);
      },
      tool: (event) => {
        if (run.isOver) return;
        const { id, name, phase, error } = event;
        run.outbox?.add("tool", {
          ...event,
          ...(error && { error: error.message, code: error.code }),
        });
        const text = `${TEXT.tool[phase]} ${name}`,
          line = lines.get(id) ?? this.#line("tool", text);
        lines.set(id, line);
        line.dataset.phase = phase;
        line.lastElementChild.textContent = text;
        this.#announce("tool", event);
      },
      trouble: (trouble) => this.#complain(run, trouble),
      close: () => this.#finish(run, "remote"),
      muted: () => {
        sound.hidden = false;
        run.outbox?.add("state", { name: "sound_blocked" });
      },
    };
  }

  #line(/** @type {"tool" | Said["role"]} */ role, text = "") {
    const { log } = this.#view,
      isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    const who = make("span", "who", { textContent: `${TEXT.who[role]}: ` });
    const line = make(
      "div",
      `message message-${role}`,
      {},
      who,
      make("span", "message-text", { textContent: text }),
    );
    log.append(line);
    if (isAtEnd || role === "visitor") log.scrollTop = log.scrollHeight;
    return line;
  }

  /** @param {Run} run @param {Trouble} trouble */
  #complain(run, { code = "unknown", words = TEXT.unknown, message, hint = "" }) {
    if (run.isOver) return;
    this.#view.error.replaceChildren(
      words,
      make("code", "code", { textContent: `${code} ${hint}` }),
    );
    run.outbox?.add("error", { code, message: message || words });
    this.#announce("error", { code, message: words, detail: message });
  }

  /** @param {Run} run @param {How} how */
  async #finish(run, how, isHeard = true) {
    if (run.isOver) return;
    const { outbox, driver, since, work } = run,
      { reason: line } = this.#view;
    run.isOver = true;
    if (talking === this) talking = null;
    outbox?.add("state", { name: "ended", detail: how });
    driver?.stop();
    this.#show(how === "error" ? "error" : "ended");
    line.textContent = TEXT.how[how];
    const ms = Math.round(performance.now() - since);
    const late = new Promise((/** @type {(reason: string) => void} */ done) =>
      setTimeout(done, 5000, ""),
    );
    const told =
      outbox?.end(how === "other" ? "visitor" : how) ?? work?.then(String, String);
    const left = Promise.race([told ?? "", late]);
    leaving = leaving.then(() => left);
    const reason = await left;
    if (how === "remote" && this.#run === run)
      line.textContent =
        (await load()).sdk.REASONS[reason] ??
        `${TEXT.how.remote} ${reason && `(${reason})`}`;
    if (outbox && isHeard) this.#announce("end", { how, reason, ms });
  }

  /** The page goes away. */
  #leave() {
    const { outbox, isOver } = this.#run;
    if (!isOver) outbox?.add("state", { name: "ended", detail: "pagehide" });
    outbox?.leave("visitor"); // also when its end is still on its way
    this.#finish(this.#run, "visitor", false);
  }

  /** @param {State} state */
  #show(state) {
    const view = this.#view,
      focused = this.#root.activeElement;
    this.dataset.state = state;
    view.start.textContent = TEXT.start[state];
    view.hint.textContent = state === "idle" ? TEXT.hint : "";
    view.start.hidden = state === "connecting" || state === "live";
    view.cancel.hidden = view.spinner.hidden = state !== "connecting";
    view.end.hidden =
      view.interrupt.hidden =
      view.input.disabled =
      view.send.disabled =
        state !== "live";
    view.reason.textContent = view.captions.textContent = "";
    if (state !== "live") view.sound.hidden = true;
    if (state !== "error") view.error.replaceChildren();
    if (state === "connecting") this.dataset.log = "saved";
    const isTyped = matchMedia("(pointer: fine)").matches; // not a phone, whose keyboard would open
    const next =
      state === "connecting"
        ? view.cancel
        : state !== "live"
          ? view.start
          : isTyped
            ? view.input
            : view.log;
    // Who was typing would press the next button.
    if (focused) (focused === view.input ? view.log : next).focus();
    if (focused) view.panel.scrollIntoView({ block: "nearest" }); // it may have grown
    this.#act("ready");
  }

  /** @param {Activity} activity */
  #act(activity) {
    const { status, interrupt, captions, log } = this.#view,
      isReady = activity === "ready";
    if (isReady && this.#root.activeElement === interrupt) log.focus();
    // An introduction is told a moment before it is spoken.
    if (isReady && this.activity === "speaking") captions.textContent = "";
    this.dataset.activity = activity;
    status.textContent =
      this.state === "live" ? TEXT.activity[activity] : TEXT.state[this.state];
    interrupt.disabled = isReady;
    this.#announce("state", { state: this.state, activity });
  }

  #announce(name = "", detail = {}) {
    const options = {
      detail,
      bubbles: true,
      composed: true,
      cancelable: name === "start",
    };
    return this.dispatchEvent(new CustomEvent(`perso-${name}`, options));
  }
}

// Other browsers show what the page has put inside the element.
if ("RTCPeerConnection" in globalThis && "adoptedStyleSheets" in document)
  customElements.define("perso-avatar", PersoAvatar);
