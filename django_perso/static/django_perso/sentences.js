/**
 * What the widget says when something went wrong, or Perso has ended the conversation. Loaded with
 * the modules of a conversation.
 */

export class Sentences {
  #words;

  /** @param {import("./words.js").Words} words */
  constructor(words) {
    this.#words = words;
  }

  /** Say why Perso ended a conversation; show an unknown reason as it is. */
  reason(/** @type {string} */ code) {
    const words = this.#words;
    /** @type {Record<string, string>} */
    const sentences = {
      "": words.gettext("The conversation was closed."),
      GRACEFUL_TERMINATION: words.gettext("The conversation was closed."),
      SESSION_EXPIRED_BEFORE_CONNECTION: words.gettext(
        "The connection to the avatar took too long.",
      ),
      SESSION_LOST_AFTER_CONNECTION: words.gettext(
        "The connection to the avatar was lost.",
      ),
      SESSION_MISC_ERROR: words.gettext("The avatar had a problem and had to stop."),
      MAX_ACTIVE_SESSION_QUOTA_EXCEEDED: words.gettext(
        "All avatars are busy. Please try again in a moment.",
      ),
      MAX_MIN_PER_SESSION_QUOTA_EXCEEDED: words.gettext(
        "This conversation reached its time limit.",
      ),
      TOTAL_MIN_PER_MONTH_QUOTA_EXCEEDED: words.gettext(
        "This site has used up its avatar time for this month.",
      ),
      INSUFFICIENT_CREDITS: words.gettext("This site has used up its avatar time."),
      NOT_FOUND: words.gettext("The conversation was closed."),
    };
    return sentences[code] ?? `${sentences[""]} (${code})`;
  }

  /** Say why the last lines have not been saved for a long time, or never will be. */
  unsaved(/** @type {string} */ trouble) {
    const words = this.#words;
    /** @type {Record<string, string>} */
    const sentences = {
      site_unreachable: words.gettext(
        "The last lines are not saved: this site cannot be reached. Keep this page open; it keeps trying.",
      ),
      site_unreadable: words.gettext(
        "The last lines are not saved: something between you and this site blocks them, such as a firewall. Keep this page open; it keeps trying.",
      ),
      site_busy: words.gettext(
        "The last lines are not saved: this site is too busy. Keep this page open; it keeps trying.",
      ),
      superseded: words.gettext(
        "This conversation continues on another page. Nothing more is saved on this one.",
      ),
      logged_out: words.gettext("You have logged out. Nothing more is saved."),
      not_authorised: words.gettext(
        "This site no longer accepts this conversation. Log in again and start a new one. Nothing more is saved.",
      ),
      origin: words.gettext("This site does not save conversations from this address."),
      no_stream: words.gettext(
        "This site has closed this conversation. Nothing more is saved.",
      ),
      limit: words.gettext("This conversation is too long. Nothing more is saved."),
    };
    return sentences[trouble] ?? words.gettext("Nothing more is saved.");
  }

  /** Say what went wrong, by error code. */
  trouble(/** @type {string} */ code) {
    const words = this.#words;
    /** @type {Record<string, string>} */
    const sentences = {
      sdk_unreachable: words.gettext(
        "The avatar could not be loaded. Check your connection.",
      ),
      sdk_forbidden: words.gettext(
        "This site's security policy does not allow the avatar to load.",
      ),
      sdk_changed: words.gettext(
        "The avatar's script is not the one this site trusts, so it was blocked.",
      ),
      sdk_unusable: words.gettext("The avatar's script does not work on this page."),
      site_unreachable: words.gettext(
        "This site cannot be reached. Check your connection.",
      ),
      site_unreadable: words.gettext(
        "This site gave an unexpected answer. Reload the page and try again.",
      ),
      connect_timeout: words.gettext(
        "The avatar did not answer in time. A firewall may be blocking the connection.",
      ),
      connect_failed: words.gettext("The connection to the avatar failed."),
      llm_failed: words.gettext("The avatar could not answer. You can ask again."),
      no_answer: words.gettext("The avatar is not answering. You can ask again."),
      send_failed: words.gettext("Your message could not be sent."),
      not_understood: words.gettext("I did not catch that. You can also type."),
      voice_not_heard: words.gettext(
        "This avatar cannot hear you. You can type, or end the conversation and start again with the microphone.",
      ),
      microphone_denied: words.gettext(
        "The microphone is blocked. Allow it in your browser's settings for this site, or type.",
      ),
      microphone_dismissed: words.gettext(
        "The microphone was not allowed. Press the button to be asked again, or type.",
      ),
      microphone_forbidden: words.gettext(
        "This site does not allow the microphone. You can type instead.",
      ),
      microphone_forbidden_in_frame: words.gettext(
        "The page around the avatar does not allow the microphone. You can type instead.",
      ),
      microphone_missing: words.gettext(
        "No microphone was found. You can type instead.",
      ),
      microphone_busy: words.gettext(
        "Another program is using the microphone. Close it and try again, or type.",
      ),
      microphone_lost: words.gettext(
        "The microphone was disconnected. Connect it and try again, or type.",
      ),
      microphone_insecure: words
        .gettext(
          "The microphone needs a secure address (https), and this page is %(address)s. You can type instead.",
        )
        .replace("%(address)s", () => location.origin),
      microphone_suspended: words.gettext(
        "The browser has not started the microphone. Press the button again, or type.",
      ),
      microphone_failed: words.gettext(
        "The microphone does not work. You can type instead.",
      ),
      tools_without_end: words.gettext(
        "The avatar kept calling tools and was stopped. You can ask again.",
      ),
    };
    return sentences[code] ?? words.trouble(code);
  }
}
