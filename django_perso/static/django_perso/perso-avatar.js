/**
 * <perso-avatar>: the element a visitor talks to. It draws and decides; the SDK's driver, the log's outbox and the
 * tools are modules it imports when a visitor shows intent. Until then, and without it, the page pays this file only.
 */

/** @import { PersoAvatarElement } from "./perso-avatar.d.ts" */
/** @import { Activity, How, Modules, Run, Said, Stage, State, Tool, ToolEvent } from "./types.d.ts" */

/** Every word a visitor reads. */
const TEXT = {
  region: "Conversation with an avatar",
  log: "What was said",
  empty: "What is said will appear here.",
  who: { visitor: "You", avatar: "Avatar", tool: "Tool" },
  start: { idle: "Start conversation", ended: "Start again", error: "Try again", connecting: "", live: "" },
  hint: { idle: "You type, the avatar answers aloud.", ended: "", error: "", connecting: "", live: "" },
  cancel: "Cancel",
  interrupt: "Stop speaking",
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
  },
  reason: /** @type {Record<string, string>} */ ({
    GRACEFUL_TERMINATION: "The conversation was closed.",
    SESSION_EXPIRED_BEFORE_CONNECTION: "The avatar waited too long for the connection.",
    SESSION_LOST_AFTER_CONNECTION: "The connection to the avatar was lost.",
    SESSION_MISC_ERROR: "The avatar had a problem and had to stop.",
    MAX_ACTIVE_SESSION_QUOTA_EXCEEDED: "All avatars are busy. Please try again soon.",
    MAX_MIN_PER_SESSION_QUOTA_EXCEEDED: "This conversation reached its time limit.",
    TOTAL_MIN_PER_MONTH_QUOTA_EXCEEDED: "This month's time with the avatar is used up.",
    INSUFFICIENT_CREDITS: "This site's time with the avatar is used up.",
  }),
  error: /** @type {Record<string, string>} */ ({
    unknown: "Something went wrong.",
    unsupported: "This browser cannot show the avatar.",
    modules: "Parts of this page could not be loaded. Check your connection.",
    sdk_unreachable: "The avatar's program could not be loaded. Check your connection.",
    sdk_forbidden: "This site's security policy does not let the avatar's program load.",
    sdk_changed: "The avatar's program is not the one this site trusts, so it was refused.",
    sdk_unusable: "The avatar's program does not work here.",
    site_unreachable: "This site cannot be reached. Check your connection.",
    site_unreadable: "This site gave an answer that makes no sense. Reload the page and try again.",
    connect_timeout: "The avatar did not answer in time. A firewall may be in the way.",
    connect_failed: "The connection to the avatar failed.",
    llm_failed: "The avatar could not answer. You can ask again.",
    no_answer: "The avatar does not answer. You can ask again.",
    send_failed: "Your message could not be sent.",
    tools_without_end: "The avatar lost itself in its tools and was stopped. You can ask again.",
  }),
};

const STYLE = `
:host { --_accent: var(--perso-accent, #4f46e5); --_on-accent: var(--perso-on-accent, #fff);
  --_surface: var(--perso-surface, #fff); --_text: var(--perso-text, #1c1b22);
  --_muted: var(--perso-muted, #5e5d6b); --_danger: var(--perso-danger, #b3261e);
  --_line: color-mix(in srgb, var(--_text) 14%, transparent);
  --_soft: color-mix(in srgb, var(--_text) 6%, var(--_surface));
  display: block; container-type: inline-size; max-width: var(--perso-width, 60rem); text-align: start;
  font: 16px/1.5 var(--perso-font, system-ui, sans-serif); color: var(--_text); }
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
[part=panel] { display: grid; overflow: hidden; background: var(--_surface); border: 1px solid var(--_line);
  border-radius: var(--perso-radius, 20px); box-shadow: var(--perso-shadow, 0 12px 32px rgb(0 0 0 / 12%)); }
[part=stage] { --_focus: #fff; position: relative; display: grid; place-items: center; overflow: hidden; color: #fff;
  width: 100%; max-height: 46vh; aspect-ratio: var(--perso-aspect, var(--_shape, 4 / 3)); background: #191826
  radial-gradient(circle at 50% 36%, color-mix(in srgb, var(--_accent) 70%, #fff 8%), #191826 78%); }
video, [part=poster] { position: absolute; inset: 0; width: 100%; height: 100%; transition: opacity .4s; }
video { object-fit: cover; opacity: 0; }
:host([data-state=live]) video { opacity: 1; }
:host([data-state=live]) [part=poster] { opacity: 0; }
[part=poster] { color: rgb(255 255 255 / 12%); background:
  radial-gradient(circle closest-side at 50% 40%, currentColor 44%, transparent 45%),
  radial-gradient(ellipse 30% 34% at 50% 100%, currentColor 98%, transparent); }
[part=overlay] { position: relative; align-self: end; display: grid; justify-items: center; gap: 12px;
  padding: 24px 24px max(24px, 7cqw); text-align: center; text-wrap: balance; }
:host([data-state=live]) [part=overlay] { align-self: start; }
p { margin: 0; max-width: 46ch; }
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
[part=start] { font-size: 1.1rem; padding: 13px 28px; box-shadow: 0 4px 18px rgb(0 0 0 / 35%); }
[part=cancel], [part=sound] { border-color: rgb(255 255 255 / 45%); background: rgb(20 19 32 / 65%); }
[part=cancel]:hover, [part=sound]:hover { background: #191826; }
[part=sound] { position: absolute; top: 14px; inset-inline-end: 14px; }
[part=spinner] { width: 44px; height: 44px; border-radius: 50%; border: 4px solid rgb(255 255 255 / 25%);
  border-top-color: #fff; animation: turn 1s linear infinite; }
@keyframes turn { to { transform: rotate(1turn); } }
[part=captions] { position: absolute; bottom: 16px; padding: 8px 14px; max-width: min(46ch, 100% - 32px); max-height: 40%;
  overflow: hidden; border-radius: 12px; background: rgb(12 11 20 / 76%); font-size: .92rem; text-align: center; text-wrap: balance; }
[part=chat] { display: flex; flex-direction: column; min-width: 0; }
[part=bar] { display: flex; align-items: center; gap: 10px; padding: 10px 16px; border-bottom: 1px solid var(--_line); }
[part=status] { display: flex; align-items: center; gap: 8px; margin-inline-end: auto; min-height: 38px; font-weight: 600; }
[part=status]::before { content: ""; width: 10px; height: 10px; border-radius: 50%; background: var(--_muted); }
:host([data-state=live]) [part=status]::before { background: #1e9e5a; }
:host(:is([data-activity=thinking], [data-activity=speaking])) [part=status]::before { background: var(--_accent);
  animation: pulse 1s infinite alternate; }
@keyframes pulse { to { opacity: .3; } }
[part=bar] button { min-height: 38px; padding: 4px 14px; font-size: .9rem; }
[part=end] { color: var(--_danger); }
[part=log] { display: flex; flex-direction: column; gap: 8px; flex: 1 1 13rem; height: 13rem; margin: 0; padding: 16px;
  overflow-y: auto; overscroll-behavior: contain; list-style: none; }
[part=log]:empty::before { content: attr(data-empty); margin: auto; color: var(--_muted); }
li { max-width: 85%; padding: 8px 14px; border-radius: 16px; border-end-start-radius: 5px; align-self: start;
  background: var(--_soft); overflow-wrap: anywhere; white-space: pre-line; }
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
[part=saved] { max-width: none; padding: 0 18px 8px; min-height: 1.9em; font-size: .8rem; color: var(--_muted);
  text-align: end; }
@container (min-width: 44rem) {
  [part=panel] { grid-template-columns: minmax(0, 3fr) minmax(19rem, 2fr); }
  [data-shape=portrait] { grid-template-columns: minmax(0, 2fr) minmax(19rem, 3fr); }
  [part=stage] { min-height: 26rem; max-height: 44rem; height: 100%; }
  [part=chat] { height: 0; min-height: 100%; border-inline-start: 1px solid var(--_line); }
  [part=log] { height: auto; flex-basis: 0; }
}
@container (max-width: 43.99rem) { :host([data-state=idle]) [part=chat] { display: none; } }
@media (prefers-color-scheme: dark) { :host { --_accent: var(--perso-accent, #6d64f0);
  --_surface: var(--perso-surface, #1b1a24); --_text: var(--perso-text, #f1f0f6);
  --_muted: var(--perso-muted, #a9a7b8); --_danger: var(--perso-danger, #ff8a80); } }
@media (prefers-reduced-motion: reduce) { *, ::before { animation: none !important; transition: none !important; } }
`;

/** @template {keyof HTMLElementTagNameMap} T @param {T} tag @param {string} part
 * @param {Record<string, any>} [properties] @param {Node[]} children @returns {HTMLElementTagNameMap[T]} */
function make(tag, part, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  if (part) node.setAttribute("part", part);
  node.append(...children);
  return node;
}

/** All parts of the element, by name. */
function build() {
  const button = (/** @type {string} */ part, text = "", type = "button") =>
    make("button", part, { type, textContent: text, hidden: part !== "start" && part !== "send" });
  const view = {
    video: make("video", "video", { playsInline: true, autoplay: true }),
    poster: make("div", "poster"),
    hint: make("p", "hint", { textContent: TEXT.hint.idle }),
    reason: make("p", "reason"),
    spinner: make("div", "spinner", { hidden: true }),
    error: make("p", "error", { role: "alert" }),
    start: button("start", TEXT.start.idle),
    cancel: button("cancel", TEXT.cancel),
    sound: button("sound", TEXT.sound),
    captions: make("p", "captions", { ariaHidden: "true" }),
    status: make("p", "status", { role: "status" }),
    interrupt: button("interrupt", TEXT.interrupt),
    end: button("end", TEXT.end),
    log: make("ol", "log", { role: "log", tabIndex: 0, ariaLabel: TEXT.log }),
    input: make("input", "input", { ariaLabel: TEXT.input, placeholder: TEXT.input, maxLength: 4000 }),
    send: button("send", TEXT.send, "submit"),
    saved: make("p", "saved"),
  };
  view.log.dataset.empty = TEXT.empty;
  const { video, poster, hint, reason, spinner, error, start, cancel, sound, captions } = view;
  const form = make("form", "composer", {}, view.input, view.send);
  const overlay = make("div", "overlay", {}, spinner, error, reason, start, cancel, hint);
  const stage = make("div", "stage", {}, poster, video, overlay, captions, sound);
  const bar = make("div", "bar", {}, view.status, view.interrupt, view.end);
  const chat = make("div", "chat", {}, bar, view.log, form, view.saved);
  const panel = make("section", "panel", { ariaLabel: TEXT.region }, stage, chat);
  return { ...view, form, stage, panel };
}

let /** @type {PersoAvatar | null} */ talking = null; // one conversation a page
let leaving = Promise.resolve(""); // places are given back before another is asked for

/** @implements {PersoAvatarElement} */
class PersoAvatar extends HTMLElement {
  #view = build();
  #root = this.attachShadow({ mode: "open" });
  /** @type {Map<string, Tool>} */ #tools = new Map();
  /** @type {Map<string, HTMLElement>} */ #toolLines = new Map();
  /** @type {Promise<Modules> | null} */ #modules = null;
  /** @type {Run} */ #run = { since: 0, isOver: true };
  #gone = new AbortController();
  /** @type {Stage["params"]} */ params = null;

  constructor() {
    super();
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    this.#root.adoptedStyleSheets = [sheet];
    this.#root.append(this.#view.panel);
    const { start, cancel, end, interrupt, sound, form, video } = this.#view;
    start.onclick = () => this.start();
    cancel.onclick = end.onclick = () => this.stop();
    interrupt.onclick = () => this.interrupt();
    form.onsubmit = (event) => (event.preventDefault(), this.#submit());
    sound.onclick = () => {
      video.muted = false;
      video.play();
      sound.hidden = true;
    };
    const warm = () => this.#load().then(({ sdk }) => sdk.loadSdk(this.#sdkTag())).catch(() => {}); // Start will tell
    for (const intent of ["pointerenter", "focusin"]) this.addEventListener(intent, warm, { once: true });
  }

  connectedCallback() {
    if (!this.#run.since) this.#show("idle");
    this.#gone.abort();
    this.#gone = new AbortController();
    const { signal } = this.#gone;
    addEventListener("pagehide", () => this.#leave(), { signal });
    addEventListener("online", () => this.#run.outbox?.wake(), { signal });
    document.addEventListener("visibilitychange", () => {
      const { outbox } = this.#run;
      if (document.hidden) outbox?.flush();
      else outbox?.wake();
    }, { signal });
    // What an earlier visit could not send any more is sent now, by who has talked here before.
    globalThis.indexedDB?.databases?.().then(async (known) => {
      if (known.some(({ name }) => name === "django-perso")) await this.#load();
    }).catch(() => {});
  }

  disconnectedCallback() {
    queueMicrotask(() => { // an element that is only moved is connected again by now
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

  /** Begins a conversation; does nothing while there is one. */
  async start() {
    const preset = this.getAttribute("preset") ?? "";
    if (!this.#run.isOver || !this.#announce("start", { preset })) return;
    if (!this.hasAttribute("simultaneous")) {
      if (talking) talking.#finish(talking.#run, "other");
      talking = this;
    }
    const run = (this.#run = /** @type {Run} */ ({ since: performance.now(), isOver: false }));
    this.#view.log.replaceChildren();
    this.#toolLines.clear();
    this.#show("connecting");
    try {
      const modules = await this.#load();
      await leaving;
      await modules.sdk.converse(run, modules, this.#stage(run));
    } catch (error) {
      this.#complain(run, error);
      this.#finish(run, "error");
    }
  }

  /** Ends the conversation. */
  async stop() {
    await this.#finish(this.#run, "visitor");
  }

  /** Says something as the visitor. @param {string} text @returns {Promise<boolean>} whether it was sent */
  async send(text) {
    const { driver, toolbox, isOver } = this.#run;
    if (!driver || isOver || !text.trim()) return false;
    this.#view.error.replaceChildren();
    toolbox?.turn();
    return driver.send(text.trim());
  }

  /** Makes the avatar say something. @param {string} text */
  say(text) {
    const { driver, isOver } = this.#run;
    return !!driver && !isOver && !!text.trim() && driver.say(text.trim());
  }

  /** Stops what the avatar is saying or about to say. */
  async interrupt() {
    this.#run.outbox?.add("state", { name: "interrupted" });
    await this.#run.driver?.interrupt();
  }

  /** Lends the model a function of the page, from the next start on. @param {string} name
   * @param {Tool["handler"] | Tool} tool @returns {() => void} takes it back */
  registerTool(name, tool) {
    const entry = typeof tool === "function" ? { handler: tool } : tool;
    this.#tools.set(name, entry);
    return () => void (this.#tools.get(name) === entry && this.#tools.delete(name));
  }

  async #load() {
    this.#modules ??= (async () => {
      const urls = JSON.parse(this.dataset.modules ?? "{}");
      const [sdk, log, tools] = await Promise.all([import(urls.sdk), import(urls.log), import(urls.tools)]);
      if (!sdk.WORLD.store) log.resend(Object.assign(sdk.WORLD, { store: log.openStore() }));
      return { sdk, log, tools };
    })().catch((error) => {
      this.#modules = null;
      throw Object.assign(error, { code: "modules" });
    });
    return this.#modules;
  }

  #sdkTag() {
    const read = (/** @type {string} */ name) => this.getAttribute(name) ?? "";
    return { url: read("sdk-url"), integrity: read("sdk-integrity"), nonce: this.nonce || read("nonce") };
  }

  /** What the conversation tells this element, as long as it is not over. @param {Run} run @returns {Stage} */
  #stage(run) {
    const read = (/** @type {string} */ name) => this.getAttribute(name) ?? "";
    const { video, stage, panel, sound } = this.#view;
    return {
      tag: this.#sdkTag(), endpoint: read("endpoint"), csrfToken: read("csrf-token"), preset: read("preset"),
      params: this.params, tools: this.#tools, video,
      saved: (status) => this.#run === run && this.#save(status),
      shape: (width, height) => {
        stage.style.setProperty("--_shape", `${width} / ${height}`);
        panel.dataset.shape = width < height ? "portrait" : "landscape";
      },
      live: () => this.#show("live"),
      activity: (now) => run.isOver || this.#act(now),
      said: (said) => run.isOver || this.#hear(run, said),
      tool: (event) => run.isOver || this.#tell(run, event),
      trouble: (trouble) => this.#complain(run, trouble),
      close: () => void this.#finish(run, "remote"),
      muted: () => {
        sound.hidden = false;
        run.outbox?.add("state", { name: "sound_blocked" });
      },
    };
  }

  /** @param {Run} run @param {Said} said */
  #hear(run, said) {
    run.outbox?.add("chat", { ...said });
    this.#line(said.role, said.text);
    if (said.role === "avatar") this.#view.captions.textContent = said.text;
    this.#announce("message", said);
  }

  /** @param {Run} run @param {ToolEvent} event */
  #tell(run, event) {
    const { id, name, phase, error } = event;
    run.outbox?.add("tool", { ...event, ...(error && { error: error.message, code: error.code }) });
    const line = phase === "called" ? this.#line("tool", "") : this.#toolLines.get(id);
    if (line) {
      this.#toolLines.set(id, line);
      line.dataset.phase = phase;
      /** @type {Element} */ (line.lastElementChild).textContent = `${TEXT.tool[phase]} ${name}`;
    }
    this.#announce("tool", event);
  }

  /** @param {"visitor" | "avatar" | "tool"} role @param {string} text */
  #line(role, text) {
    const { log } = this.#view;
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    const who = make("span", "who", { textContent: `${TEXT.who[role]}: ` });
    const line = make("li", `message message-${role}`, {}, who, make("span", "message-text", { textContent: text }));
    log.append(line);
    if (isAtEnd || role === "visitor") log.scrollTop = log.scrollHeight;
    return line;
  }

  /** Tells the visitor, the page and the log what went wrong. @param {Run} run @param {any} error */
  #complain(run, error) {
    if (run.isOver) return;
    const { code = "unknown", words, message } = error;
    const text = words ?? TEXT.error[code] ?? TEXT.error.unknown;
    this.#view.error.replaceChildren(text, make("code", "code", { textContent: code }));
    run.outbox?.add("error", { code, message: message || text });
    this.#announce("error", { code, message: text, detail: message });
  }

  /** @param {Run} run @param {How} how */
  async #finish(run, how) {
    if (run.isOver) return;
    run.outbox?.add("state", { name: "ended", detail: how });
    this.#close(run, how);
    const ms = Math.round(performance.now() - run.since);
    const late = new Promise((/** @type {(reason: string) => void} */ done) => setTimeout(done, 5000, ""));
    const left = Promise.race([run.outbox?.end(how === "other" ? "visitor" : how) ?? "", late]);
    leaving = leaving.then(() => left);
    const reason = await left;
    if (how === "remote" && this.#run === run)
      this.#view.reason.textContent = TEXT.reason[reason] ?? `${TEXT.how.remote} ${reason && `(${reason})`}`;
    if (run.outbox) this.#announce("end", { how, reason, ms });
  }

  /** The page goes away: the avatar's place is given back at once. */
  #leave() {
    const run = this.#run;
    if (!run.isOver) run.outbox?.add("state", { name: "ended", detail: "pagehide" });
    run.outbox?.leave("visitor"); // also one whose end is still on its way
    if (!run.isOver) this.#close(run, "visitor");
  }

  /** @param {Run} run @param {How} how */
  #close(run, how) {
    run.isOver = true;
    if (talking === this) talking = null;
    run.driver?.stop();
    this.#show(how === "error" ? "error" : "ended");
    this.#view.reason.textContent = how === "error" ? "" : TEXT.how[how];
  }

  /** @param {import("./types.d.ts").Status} status */
  #save(status) {
    this.dataset.log = status;
    this.#view.saved.textContent = TEXT.saved[status];
  }

  async #submit() {
    const { input } = this.#view;
    const text = input.value;
    input.value = "";
    if (!(await this.send(text))) input.value ||= text;
  }

  /** @param {State} state */
  #show(state) {
    const view = this.#view;
    const focused = this.#root.activeElement;
    this.dataset.state = state;
    view.start.textContent = TEXT.start[state];
    view.hint.textContent = TEXT.hint[state];
    view.start.hidden = state === "connecting" || state === "live";
    view.cancel.hidden = view.spinner.hidden = state !== "connecting";
    view.end.hidden = view.interrupt.hidden = view.input.disabled = view.send.disabled = state !== "live";
    view.reason.textContent = view.captions.textContent = "";
    if (state !== "live") view.sound.hidden = true;
    if (state !== "error") view.error.replaceChildren();
    if (state === "connecting") this.dataset.log = "saved"; // nothing was said yet
    if (focused) this.#focus(state);
    this.#act("ready");
  }

  /** The button that was pressed is gone: the keyboard goes on where the visitor will. @param {State} state */
  #focus(state) {
    const { cancel, input, log, start } = this.#view;
    const isTyped = matchMedia("(pointer: fine)").matches; // on a phone focus would open the keyboard
    (state === "connecting" ? cancel : state !== "live" ? start : isTyped ? input : log).focus();
  }

  /** @param {Activity} activity */
  #act(activity) {
    const { status, interrupt, captions } = this.#view;
    this.dataset.activity = activity;
    status.textContent = this.state === "live" ? TEXT.activity[activity] : TEXT.state[this.state];
    interrupt.disabled = activity === "ready";
    if (activity === "ready") captions.textContent = "";
    this.#announce("state", { state: this.state, activity });
  }

  /** @param {"start" | "state" | "message" | "tool" | "error" | "end"} name @param {object} detail */
  #announce(name, detail) {
    const options = { detail, bubbles: true, composed: true, cancelable: name === "start" };
    return this.dispatchEvent(new CustomEvent(`perso-${name}`, options));
  }
}

// A browser that cannot hold a conversation shows what the page has put inside the element.
if ("RTCPeerConnection" in globalThis && "adoptedStyleSheets" in document)
  customElements.define("perso-avatar", PersoAvatar);
