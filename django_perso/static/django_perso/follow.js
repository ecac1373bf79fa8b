/**
 * Follows a running conversation in the admin.
 *
 * The socket only says that there is something new; the entries come from the admin page
 * itself. They are also fetched every few seconds, so that following goes on, more slowly,
 * while the socket is down.
 */
export {};

const PAUSED_MS = 5000;
const LIVE_MS = 15000;
const NEAR_THE_END = 120; // pixels

/** @typedef {"live" | "paused" | "over"} State */

class Follower {
  #list = /** @type {HTMLElement} */ (document.querySelector("[data-follow]"));
  #status = /** @type {HTMLElement} */ (document.querySelector(".perso-following"));
  #after = this.#list.dataset.after ?? "0";
  #socket;
  #timer = 0;
  #isFetching = false;
  #hasNews = false;

  constructor() {
    this.#socket = this.#connect();
    this.#wait();
  }

  get #isConnected() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  #connect() {
    const address = new URL(this.#list.dataset.follow ?? "", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.onopen = () => this.#fetchNews();
    socket.onmessage = () => this.#fetchNews();
    socket.onclose = () => this.#lostSocket();
    return socket;
  }

  #lostSocket() {
    if (this.#status.dataset.state === "over") return;
    this.#report("paused");
    this.#wait();
  }

  /** Fetch again after a while, and open the socket again if it has closed. */
  #wait() {
    clearTimeout(this.#timer);
    const ms = this.#isConnected ? LIVE_MS : PAUSED_MS;
    this.#timer = setTimeout(() => {
      this.#fetchNews();
      if (this.#isConnected) {
        this.#socket.send("{}"); // the server drops pages it no longer hears from
      } else if (this.#socket.readyState === WebSocket.CLOSED) {
        this.#socket = this.#connect();
      }
      this.#wait();
    }, ms);
  }

  /** Fetch one page after the other, so that no entry is shown twice. */
  async #fetchNews() {
    this.#hasNews = true;
    if (this.#isFetching) return;
    this.#isFetching = true;
    try {
      while (this.#hasNews) {
        this.#hasNews = false;
        await this.#fetchPage();
      }
      if (this.#isConnected) this.#report("live");
    } catch {
      this.#report("paused");
    }
    this.#isFetching = false;
  }

  async #fetchPage() {
    const query = new URLSearchParams({ after: this.#after, line: this.#lastLine });
    const answer = await fetch(`${this.#list.dataset.entries}?${query}`);
    if (answer.redirected || answer.status === 403) {
      location.reload(); // logged out, or no longer allowed
      return;
    }
    if (!answer.ok) throw new Error(answer.statusText);
    this.#show(await answer.text());
    this.#after = answer.headers.get("X-Last") ?? this.#after;
    if (answer.headers.get("X-More") === "yes") this.#hasNews = true;
    if (!this.#hasNews && answer.headers.get("X-Running") !== "yes") this.#finish();
  }

  /** The key of the line of states that the list ends with, or "". */
  get #lastLine() {
    const last = /** @type {HTMLElement | null} */ (this.#list.lastElementChild);
    return last?.matches(".perso-state") ? (last.dataset.pk ?? "") : "";
  }

  /** Append new entries; those that are shown already have changed. */
  #show(/** @type {string} */ html) {
    const page = new DOMParser().parseFromString(html, "text/html");
    const entries = page.querySelectorAll("li[data-pk]");
    if (!entries.length) return;
    const isAtEnd = innerHeight + scrollY > document.body.scrollHeight - NEAR_THE_END;
    this.#list.querySelector("li:not([data-pk])")?.remove(); // "Nothing was said"
    for (const entry of entries) {
      const shown = document.getElementById(entry.id);
      if (shown) shown.replaceWith(entry);
      else this.#list.append(entry);
    }
    if (isAtEnd) this.#list.lastElementChild?.scrollIntoView({ block: "nearest" });
  }

  #finish() {
    this.#report("over");
    clearTimeout(this.#timer);
    this.#socket.close();
  }

  #report(/** @type {State} */ state) {
    if (this.#status.dataset.state === state) return; // or it would be read out again
    this.#status.dataset.state = state;
    this.#status.textContent = this.#status.dataset[state] ?? "";
  }
}

new Follower();
