/** Every text of the widget, in the language of its page. */

const PATIENCE_MS = 3000; // then the widget stays English

export class Words {
  #translations = new Map();

  /** @param {Record<string, string>} translations of the first screen, from the template tag */
  constructor(translations = {}) {
    this.#add(translations);
  }

  /** Translate a text. `makemessages -d djangojs` extracts the calls. */
  gettext(/** @type {string} */ msgid) {
    return this.#translations.get(msgid) || msgid;
  }

  /** Fetch all other translations; return false if they stay English. */
  async load(/** @type {string} */ url) {
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      const answer = await fetch(url, { credentials: "same-origin", signal });
      this.#add(await answer.json());
      return true;
    } catch {
      return false;
    }
  }

  #add(/** @type {Record<string, string>} */ translations) {
    for (const [msgid, text] of Object.entries(translations))
      this.#translations.set(msgid, text);
  }

  start(/** @type {State} */ state) {
    /** @type {Partial<Record<State, string>>} */
    const labels = {
      idle: this.gettext("Start conversation"),
      ended: this.gettext("Start again"),
      error: this.gettext("Try again"),
    };
    return labels[state] ?? "";
  }

  state(/** @type {State} */ state) {
    const labels = {
      idle: this.gettext("Not started"),
      consent: this.gettext("Not started"),
      connecting: this.gettext("Connecting…"),
      live: this.gettext("Connected"),
      ended: this.gettext("Conversation ended"),
      error: this.gettext("Not connected"),
    };
    return labels[state];
  }

  activity(/** @type {Activity} */ activity) {
    const labels = {
      ready: this.gettext("Ready"),
      listening: this.gettext("Listening"),
      recording: this.gettext("I hear you"),
      thinking: this.gettext("Thinking…"),
      speaking: this.gettext("Speaking"),
    };
    return labels[activity];
  }

  /** Say who ended a conversation. */
  ended(/** @type {How} */ how) {
    const sentences = {
      visitor: this.gettext("You ended the conversation."),
      remote: this.gettext("The conversation was closed."),
      other: this.gettext("Another conversation was started on this page."),
      logout: this.gettext("You have logged out, so this conversation has ended."),
      error: "",
    };
    return sentences[how];
  }

  /** Say what went wrong if nothing else is known: mostly that modules could not be loaded. */
  trouble(code = "") {
    if (code === "outdated") return this.gettext("This page is out of date. Reload.");
    if (code === "modules")
      return this.gettext(
        "Parts of this page could not be loaded. Check your connection.",
      );
    return this.gettext("Something went wrong.");
  }
}
