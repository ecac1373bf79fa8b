/**
 * How entries travel: by WebSocket, or by POST where sockets are missing or fail. This
 * module decides which answers come from the server; it knows nothing about stored entries.
 */

const FIRST_SOCKETS = 2; // that may fail before POST is used
const LATER_SOCKETS = 3; // the same once a socket has worked
const PING_SECONDS = 15; // until a welcome says otherwise
const UNANSWERED_PINGS = 2; // after which the server counts as out of reach
const POST_SECONDS = 20;
const LONGEST_RETRY_AFTER_MS = 600_000; // however long a proxy asks for
// A proxy may cut a socket without a close frame, or with 1009, because of what was sent.
const CUT_CLOSES = [1006, 1009];

/**
 * A way to the server, which opens itself and stays open until it goes down or is closed.
 * After `ondown` it does nothing until `rest()` has passed or `wake()` is called.
 */
export class Transport {
  #address;
  #world;
  #listener;
  /** @type {WebSocket | null} */
  #socket = null;
  #isSocketWelcome = false; // then everything travels by this socket
  #haveSocketsWorked = false;
  #socketsLeft = FIRST_SOCKETS;
  #isOpen = false;
  #isResting = true;
  #pingSeconds = PING_SECONDS;
  #unansweredPings = 0;
  /** @type {any} */
  #timer;
  #round = 0; // grows with each close; answers to requests of an earlier round are late

  /**
   * @param {Address} address
   * @param {World} world
   * @param {TransportListener} listener
   */
  constructor(address, world, listener) {
    this.#address = address;
    this.#world = world;
    this.#listener = listener;
    this.wake();
  }

  /** Whether something may be sent now. */
  get isOpen() {
    return this.#isOpen && !this.#isResting;
  }

  /** @param {Message} message */
  send({ bye, ...message }) {
    if (this.#isSocketWelcome) {
      this.#socket?.send(JSON.stringify({ ...message, ...bye }));
    } else {
      this.#request({ ...message, bye });
    }
  }

  /**
   * Send entries in a single request, and return what the server answers. With
   * `keepalive` the request outlives the page.
   * @param {{ items: Entry[], bye?: Bye }} message
   * @param {boolean} [keepalive]
   * @returns {Promise<Answer>}
   */
  async post(message, keepalive) {
    const { stream, ticket, post } = this.#address;
    let after = 0;
    try {
      const response = await this.#world.fetch(post, {
        method: "POST",
        credentials: "same-origin",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ stream, ticket, ...message }),
        keepalive,
        signal: AbortSignal.timeout(POST_SECONDS * 1000),
      });
      after = readRetryAfter(response);
      return { after, ...(await this.#read(response)) };
    } catch {
      return { after }; // no response, or a body that is not JSON
    }
  }

  /**
   * Send nothing for a while; then be ready again, or open anew. The outbox decides for how long.
   * @param {number} ms
   */
  rest(ms) {
    this.#isResting = true;
    this.#schedule(() => this.wake(), ms);
  }

  /** End the rest at once. */
  wake() {
    if (!this.#isResting) return;
    this.#isResting = false;
    this.#watch();
    if (this.#isOpen) {
      this.#listener.onready();
    } else if (this.#address.ws && this.#socketsLeft > 0) {
      this.#connect();
    } else {
      this.#request({ t: "hello" });
    }
  }

  close() {
    this.#round += 1;
    this.#isOpen = false;
    this.#isSocketWelcome = false;
    this.#world.clearTimeout(this.#timer);
    if (this.#socket) {
      this.#socket.onopen = null;
      this.#socket.onmessage = null;
      this.#socket.onclose = null;
      this.#socket.close();
    }
    this.#socket = null;
  }

  /** @param {Down} [down] */
  #goDown(down = {}) {
    this.close();
    this.#listener.ondown(down);
  }

  /**
   * @param {() => void} run
   * @param {number} ms
   */
  #schedule(run, ms) {
    this.#world.clearTimeout(this.#timer);
    this.#timer = this.#world.setTimeout(run, ms);
  }

  /** Go down after a silence, or when nothing has opened in time. */
  #watch() {
    this.#unansweredPings = 0;
    this.#scheduleCheck();
  }

  #scheduleCheck() {
    this.#schedule(() => this.#check(), this.#pingSeconds * 1000);
  }

  #check() {
    if (!this.#isOpen || this.#unansweredPings >= UNANSWERED_PINGS) {
      this.#goDown();
      return;
    }
    this.#unansweredPings += 1;
    this.#scheduleCheck();
    this.#ping();
  }

  #ping() {
    const isSocketWorthATry = this.#haveSocketsWorked && !this.#socket;
    if (isSocketWorthATry) this.#connect();
    else this.send({ t: "ping" });
  }

  #connect() {
    this.#socketsLeft -= 1;
    const { ws, stream, ticket } = this.#address;
    try {
      const socket = new this.#world.WebSocket(ws ?? "");
      socket.onopen = () => socket.send(JSON.stringify({ t: "hello", stream, ticket }));
      socket.onmessage = ({ data }) => this.#hearSocket(data);
      socket.onclose = ({ code, reason }) => this.#loseSocket(code, reason);
      this.#socket = socket;
    } catch {
      this.#schedule(() => this.#loseSocket(), 0); // some browsers' policies forbid it
    }
  }

  /** @param {string} text */
  #hearSocket(text) {
    const frame = parse(text);
    if (!this.#world.frames.isFrame(frame)) return;
    if (frame.t === "welcome") {
      this.#isSocketWelcome = true;
      this.#haveSocketsWorked = true;
      this.#socketsLeft = LATER_SOCKETS;
    }
    this.#hear(frame);
  }

  /**
   * @param {number} [code]
   * @param {string} [reason]
   */
  #loseSocket(code = 0, reason = "") {
    const isTriedBesidePost = this.#isOpen && !this.#isSocketWelcome;
    if (isTriedBesidePost) {
      this.#socket = null;
      this.#request({ t: "ping" });
      return;
    }
    const { FINAL_CLOSES, FINAL_PROBLEMS } = this.#world.frames;
    const usual = FINAL_CLOSES.get(code);
    const refusal = usual && FINAL_PROBLEMS.has(reason) ? reason : usual;
    this.#goDown({ refusal, isCut: CUT_CLOSES.includes(code) });
  }

  /** @param {Message} message */
  async #request({ t, items = [], bye }) {
    const round = this.#round;
    const { frame, refusal, after } = await this.post({ items, bye });
    if (round !== this.#round) return;
    if (!frame) {
      this.#goDown({ refusal, after });
    } else if (t !== "hello") {
      this.#hear(frame);
    } else if (frame.t === "ack") {
      this.#hear({ t: "welcome", ack: frame.s, window: 1 });
    } else {
      this.#goDown({ after: frame.after });
    }
  }

  /** @param {Frame} frame */
  #hear(frame) {
    if (frame.t === "welcome") this.#isOpen = true;
    this.#pingSeconds = frame.ping ?? this.#pingSeconds;
    if (!this.#isResting) this.#watch();
    this.#listener.onframe(frame);
  }

  /**
   * Return what this app's server says, or nothing for any other response.
   * @param {Response} response
   * @returns {Promise<Answer>}
   */
  async #read(response) {
    const { isFrame, FINAL_PROBLEMS } = this.#world.frames;
    const type = response.headers.get("Content-Type") ?? "";
    const body = await response.json();
    if (response.ok && isFrame(body)) return { frame: body };
    const isProblem = type.startsWith("application/problem+json");
    if (isProblem && FINAL_PROBLEMS.has(body?.code)) return { refusal: body.code };
    return {};
  }
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Return the milliseconds to wait. A date counts as no wait.
 * @param {Response} response
 */
function readRetryAfter(response) {
  const seconds = Number(response.headers.get("Retry-After")) || 0;
  return Math.min(LONGEST_RETRY_AFTER_MS, seconds * 1000);
}
