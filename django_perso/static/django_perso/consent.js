/** The screen that asks for the visitor's consent. Loaded when the site demands consent. */

const DOUBLE_CLICK = 2;

const CSS = /* css */ `
[data-state="consent"] :is([part="stage"], [part="chat"]) {
  visibility: hidden;
}
[part="panel"] {
  position: relative;
}
[part="consent"] {
  display: grid;
  grid-template: auto minmax(0, auto) auto / auto auto 1fr;
  align-content: center;
  justify-items: start;
  gap: 12px;
  min-height: 18em;
  max-height: 92vh;
  padding: 24px max(24px, 50% - 20em);
}
[part="consent-title"],
[part="consent-text"] {
  grid-column: 1 / -1;
}
[part="consent-title"] {
  font-size: 1.2em;
  font-weight: 700;
}
[part="consent-text"] {
  overflow-y: auto;
  overscroll-behavior: contain;
  white-space: pre-line;
  /* A line at the bottom, which the end of the text covers: there is more to read. */
  background:
    linear-gradient(var(--_surface), var(--_surface)) bottom / 100% 4px no-repeat local,
    linear-gradient(var(--_line), var(--_line)) bottom / 100% 1px no-repeat;
}
[part="agree"] {
  color: var(--_on-accent);
  background: var(--_accent);
  border-color: transparent;
}
[part="agree"]:hover {
  filter: brightness(1.12);
}
[part="consent"] [part="privacy"] {
  place-self: center end;
  padding-block: 10px;
}
@container (min-width: 44em) {
  [part="consent"] {
    position: absolute;
    inset: 0;
    max-height: none;
  }
}
@container (width < 44em) {
  [data-state="consent"] :is([part="stage"], [part="chat"]) {
    display: none;
  }
}
`;
const sheet = new CSSStyleSheet();
sheet.replaceSync(CSS);

/** Shows a text in place of everything else, with a button to agree and one to go back. */
export class ConsentScreen {
  #make;
  #parts;
  #words;
  #actions;

  /**
   * @param {typeof import("./view.js").make} make
   * @param {import("./view.js").View} view
   * @param {import("./words.js").Words} words
   * @param {{ agree(): void; decline(): void }} actions which move the focus away
   */
  constructor(make, view, words, actions) {
    this.#make = make;
    this.#parts = view.parts;
    this.#words = words;
    this.#actions = actions;
    view.adoptStyle(sheet);
  }

  /** Resolve to whether the visitor agrees; to false as soon as `signal` is aborted. */
  async ask(/** @type {string} */ text, /** @type {AbortSignal} */ signal) {
    const isGiven = new Promise((resolve) => {
      this.#draw(text, () => {
        this.#actions.agree();
        resolve(true);
      });
      signal.addEventListener("abort", () => resolve(false));
    });
    try {
      return Boolean(await isGiven);
    } finally {
      this.#parts.consent.remove();
    }
  }

  #draw(/** @type {string} */ text, /** @type {() => void} */ onagree) {
    const make = this.#make;
    const words = this.#words;
    const { panel, privacy } = this.#parts;
    const title = make("p", "consent-title", {
      id: "consent-title",
      textContent: words.gettext("Before you start"),
    });
    const content = make("div", "consent-text", {
      id: "consent-text",
      tabIndex: 0, // the arrow keys scroll it
      textContent: text,
    });
    const consent = make(
      "div",
      "consent",
      { role: "dialog" },
      title,
      content,
      this.#makeButton("agree", words.gettext("Agree"), onagree),
      this.#makeButton("decline", words.gettext("Not now"), this.#actions.decline),
      privacy.cloneNode(true),
    );
    consent.setAttribute("aria-labelledby", title.id);
    consent.setAttribute("aria-describedby", content.id);
    consent.onkeydown = (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation(); // a dialog of the page stays open
      this.#actions.decline();
    };
    panel.append(consent);
    Object.assign(this.#parts, { consent, "consent-text": content });
  }

  /** It may appear where Start was, and a double click there means the first press. */
  #makeButton(
    /** @type {string} */ part,
    /** @type {string} */ textContent,
    /** @type {() => void} */ onpress,
  ) {
    const onclick = (/** @type {MouseEvent} */ { detail }) => {
      if (detail < DOUBLE_CLICK) onpress();
    };
    return this.#make("button", part, { type: "button", textContent, onclick });
  }
}
