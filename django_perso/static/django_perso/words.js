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

  /** What a press of the button to talk does. */
  talk(/** @type {VoiceMode} */ mode) {
    const labels = {
      off: this.gettext("Talk"),
      ready: this.gettext("Talk"),
      listening: this.gettext("Stop listening"),
      recording: this.gettext("Stop talking"),
    };
    return labels[mode];
  }

  saved(/** @type {Status} */ status) {
    const labels = {
      saved: this.gettext("Saved"),
      saving: this.gettext("Saving…"),
      queued: this.gettext("Not saved yet"),
    };
    return labels[status];
  }

  speaker(/** @type {"visitor" | "avatar" | "tool"} */ role) {
    const labels = {
      visitor: this.gettext("You"),
      avatar: this.gettext("Avatar"),
      tool: this.gettext("Tool"),
    };
    return labels[role];
  }

  tool(/** @type {ToolEvent["phase"]} */ phase, /** @type {string} */ name) {
    const labels = {
      called: this.gettext("Using %(name)s"),
      answered: this.gettext("Used %(name)s"),
      failed: this.gettext("Could not use %(name)s"),
    };
    return labels[phase].replace("%(name)s", () => name);
  }

  /** Say who ended a conversation. */
  ended(/** @type {How} */ how) {
    const sentences = {
      visitor: this.gettext("You ended the conversation."),
      remote: this.gettext("The conversation was closed."),
      other: this.gettext("Another conversation was started on this page."),
      error: "",
    };
    return sentences[how];
  }

  /** Say why Perso ended a conversation; show an unknown reason as it is. */
  reason(/** @type {string} */ code) {
    /** @type {Record<string, string>} */
    const sentences = {
      "": this.gettext("The conversation was closed."),
      GRACEFUL_TERMINATION: this.gettext("The conversation was closed."),
      SESSION_EXPIRED_BEFORE_CONNECTION: this.gettext(
        "The connection to the avatar took too long.",
      ),
      SESSION_LOST_AFTER_CONNECTION: this.gettext(
        "The connection to the avatar was lost.",
      ),
      SESSION_MISC_ERROR: this.gettext("The avatar had a problem and had to stop."),
      MAX_ACTIVE_SESSION_QUOTA_EXCEEDED: this.gettext(
        "All avatars are busy. Please try again in a moment.",
      ),
      MAX_MIN_PER_SESSION_QUOTA_EXCEEDED: this.gettext(
        "This conversation reached its time limit.",
      ),
      TOTAL_MIN_PER_MONTH_QUOTA_EXCEEDED: this.gettext(
        "This site has used up its avatar time for this month.",
      ),
      INSUFFICIENT_CREDITS: this.gettext("This site has used up its avatar time."),
      NOT_FOUND: this.gettext("The conversation was closed."),
    };
    return sentences[code] ?? `${sentences[""]} (${code})`;
  }

  /** Say what went wrong, by error code. */
  trouble(/** @type {string} */ code) {
    /** @type {Record<string, string>} */
    const sentences = {
      modules: this.gettext(
        "Parts of this page could not be loaded. Check your connection.",
      ),
      sdk_unreachable: this.gettext(
        "The avatar could not be loaded. Check your connection.",
      ),
      sdk_forbidden: this.gettext(
        "This site's security policy does not allow the avatar to load.",
      ),
      sdk_changed: this.gettext(
        "The avatar's script is not the one this site trusts, so it was blocked.",
      ),
      sdk_unusable: this.gettext("The avatar's script does not work on this page."),
      site_unreachable: this.gettext(
        "This site cannot be reached. Check your connection.",
      ),
      site_unreadable: this.gettext(
        "This site gave an unexpected answer. Reload the page and try again.",
      ),
      connect_timeout: this.gettext(
        "The avatar did not answer in time. A firewall may be blocking the connection.",
      ),
      connect_failed: this.gettext("The connection to the avatar failed."),
      llm_failed: this.gettext("The avatar could not answer. You can ask again."),
      no_answer: this.gettext("The avatar is not answering. You can ask again."),
      send_failed: this.gettext("Your message could not be sent."),
      not_understood: this.gettext("I did not catch that. You can also type."),
      voice_not_heard: this.gettext(
        "This avatar cannot hear you. You can type instead.",
      ),
      microphone_denied: this.gettext(
        "The microphone is blocked. Allow it in your browser's settings for this site, or type.",
      ),
      microphone_dismissed: this.gettext(
        "The microphone was not allowed. Press the button to be asked again, or type.",
      ),
      microphone_forbidden: this.gettext(
        "This site does not allow the microphone here. You can type instead.",
      ),
      microphone_missing: this.gettext(
        "No microphone was found. You can type instead.",
      ),
      microphone_busy: this.gettext(
        "Another program is using the microphone. Close it and try again, or type.",
      ),
      microphone_lost: this.gettext(
        "The microphone was disconnected. Connect it and try again, or type.",
      ),
      microphone_insecure: this.gettext(
        "The microphone needs a secure page (https). You can type instead.",
      ),
      microphone_failed: this.gettext(
        "The microphone does not work. You can type instead.",
      ),
      tools_without_end: this.gettext(
        "The avatar kept calling tools and was stopped. You can ask again.",
      ),
    };
    return sentences[code] ?? this.gettext("Something went wrong.");
  }
}
