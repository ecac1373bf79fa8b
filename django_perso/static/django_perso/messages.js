/** The messages of a conversation, its captions, what its status looks like, and whether all is saved. Loaded with the modules of a conversation. */

const NEAR_END_PX = 80; // a visitor who has scrolled further up is reading

const CSS = /* css */ `
[data-state="live"] [part="status"]::before {
  background: #1e9e5a;
}
:is([data-activity="thinking"], [data-activity="speaking"])
  [part="status"]::before {
  background: var(--_accent);
  animation: pulse 1s infinite alternate;
}
@keyframes pulse {
  to {
    opacity: 0.3;
  }
}
[part="captions"] {
  position: absolute;
  bottom: 16px;
  padding: 0 6px;
  border: 8px solid #0000;
  border-radius: 12px;
  max-width: min(46ch, 100% - 32px);
  max-height: calc(3lh + 16px);
  overflow: hidden;
  background: #0c0b14c2;
  font-size: 0.92em;
}
[part~="message"] {
  align-self: start;
  max-width: 85%;
  padding: 8px 14px;
  white-space: pre-line;
  background: var(--_soft);
  border-radius: 16px;
  border-end-start-radius: 5px;
}
[part~="message-visitor"] {
  align-self: end;
  color: var(--_on-accent);
  background: var(--_accent);
  border-radius: 16px;
  border-end-end-radius: 5px;
}
[part~="message-tool"] {
  align-self: center;
  padding: 2px 12px;
  font-size: 0.82em;
  color: var(--_muted);
  background: none;
  border: 1px dashed var(--_line);
  border-radius: 999px;
}
[data-phase="failed"] {
  color: var(--_danger);
}
[part="who"] {
  position: absolute;
  clip-path: inset(50%);
}
`;
const sheet = new CSSStyleSheet();
sheet.replaceSync(CSS);

export class Messages {
  #make;
  #parts;
  #words;
  #tools = /** @type {Map<string, HTMLElement>} */ (new Map()); // lines, by call

  /**
   * @param {Make} make
   * @param {import("./view.js").View} view
   * @param {import("./words.js").Words} words
   */
  constructor(make, view, words) {
    this.#make = make;
    this.#parts = view.parts;
    this.#words = words;
    view.adoptStyle(sheet);
  }

  /** Forget the messages of an earlier conversation, and whether they were saved. */
  clear() {
    this.#parts.log.replaceChildren();
    this.#parts.saved.textContent = "";
    this.#tools.clear();
  }

  add(/** @type {Said} */ { role, text }) {
    this.#addLine(role, text);
    if (role === "avatar") this.#parts.captions.textContent = text;
  }

  /** Show a tool call: one line, which changes as the call goes on. */
  showTool(/** @type {ToolEvent} */ { id, name, phase }) {
    const text = this.#describe(phase, name);
    const line = this.#tools.get(id) ?? this.#addLine("tool", text);
    this.#tools.set(id, line);
    line.dataset.phase = phase;
    const { lastElementChild } = line;
    if (lastElementChild) lastElementChild.textContent = text;
  }

  /** Show the status, or in place of "unsaved" its reason. */
  showSaved(/** @type {Status} */ status, /** @type {string} */ reason) {
    const words = this.#words;
    const labels = {
      saved: words.gettext("Saved"),
      saving: words.gettext("Saving…"),
      queued: words.gettext("Not saved yet"),
      unsaved: reason,
    };
    this.#parts.saved.textContent = labels[status];
  }

  #describe(/** @type {ToolEvent["phase"]} */ phase, /** @type {string} */ name) {
    const words = this.#words;
    const labels = {
      called: words.gettext("Using %(name)s"),
      answered: words.gettext("Used %(name)s"),
      failed: words.gettext("Could not use %(name)s"),
    };
    return labels[phase].replace("%(name)s", () => name);
  }

  #addLine(
    /** @type {"visitor" | "avatar" | "tool"} */ role,
    /** @type {string} */ text,
  ) {
    const words = this.#words;
    const make = this.#make;
    const { log } = this.#parts;
    const speakers = {
      visitor: words.gettext("You"),
      avatar: words.gettext("Avatar"),
      tool: words.gettext("Tool"),
    };
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX;
    const who = make("span", "who", { textContent: `${speakers[role]}: ` });
    const content = make("span", "message-text", { textContent: text });
    const line = make("div", `message message-${role}`, {}, who, content);
    log.append(line);
    if (isAtEnd || role === "visitor") log.scrollTop = log.scrollHeight;
    return line;
  }
}
