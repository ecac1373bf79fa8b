/**
 * How entries travel: by WebSocket, or by POST where sockets are missing or fail. This
 * module decides which answers come from the server; it knows nothing about stored entries.
 */

const FAILING_SOCKETS = 2; // in sequence; then POST is used
const SILENT_SOCKETS = 2; // that were opened; then no more are tried
const PING_SECONDS = 15; // until a welcome says otherwise
const WELCOME_SECONDS = 5; // for a socket to be opened and welcomed
const ANSWER_SECONDS = 7; // for a socket to answer entries or a ping
const POST_SECONDS = 20;
const LONGEST_RETRY_AFTER_MS = 600_000; // however long a proxy asks for

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
  #socketsLeft; // to be tried before POST is used
  #silentSockets = 0; // while POST was answered
  #isReturning = false; // from POST to a socket
  #isAnswerDue = false; // from the socket
  #sentUpTo = 0; // the number of the last entry sent by the socket
  /** @type {number | undefined} */
  #lease; // of the newest welcome; unknown from a hello to its welcome
  #isOpen = false;
  #isResting = true;
  #pingSeconds = PING_SECONDS;
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
    this.#socketsLeft = world.areSocketsBroken || !address.ws ? 0 : FAILING_SOCKETS;
    this.wake();
  }

  /** Whether something may be sent now. */
  get isOpen() {
    return this.#isOpen && !this.#isResting;
  }

  /** @param {Message} message */
  send({ bye, ...message }) {
    if (!this.#isSocketWelcome) {
      this.#request({ items: message.items ?? [], bye });
      return;
    }
    this.#socket?.send(JSON.stringify({ ...message, ...bye }));
    this.#sentUpTo = message.items?.at(-1)?.s ?? 0;
    // The server may have to ask Perso before it answers a bye.
    if (bye || this.#isAnswerDue) return;
    this.#isAnswerDue = true;
    this.#watch();
  }

  /**
   * Send entries in a single request, and return what the server answers. With
   * `keepalive` the request outlives the page.
   * @param {Posted} body
   * @param {boolean} [keepalive]
   * @returns {Promise<Answer>}
   */
  async post(body, keepalive) {
    const { stream, ticket, post } = this.#address;
    const lease = this.#lease;
    let response;
    try {
      response = await this.#world.fetch(post, {
        method: "POST",
        credentials: "same-origin",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ stream, ticket, lease, ...body }),
        keepalive,
        signal: AbortSignal.timeout(POST_SECONDS * 1000),
      });
    } catch {
      return { trouble: "site_unreachable" };
    }
    return { after: readRetryAfter(response), ...(await this.#read(response)) };
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
    if (this.#isOpen) {
      this.#watch();
      this.#listener.onready();
    } else if (this.#socketsLeft > 0) {
      this.#connect();
    } else {
      this.#sayHello();
    }
  }

  close() {
    this.#round += 1;
    this.#isOpen = false;
    this.#isSocketWelcome = false;
    this.#isReturning = false;
    this.#isAnswerDue = false;
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

  /** Ping when nothing has been heard for a while. A silent socket is given up. */
  #watch() {
    const seconds = this.#socket ? this.#socketSeconds : this.#pingSeconds;
    this.#schedule(() => this.#check(), seconds * 1000);
  }

  get #socketSeconds() {
    if (!this.#isSocketWelcome) return WELCOME_SECONDS;
    return this.#isAnswerDue ? ANSWER_SECONDS : this.#pingSeconds;
  }

  #check() {
    const isSilent = this.#isAnswerDue || !this.#isSocketWelcome;
    if (this.#socket && isSilent) this.#giveUpSocket();
    else if (!this.#isOpen) this.#goDown();
    else this.#ping();
  }

  /** Go on by POST: a proxy may accept sockets and pass nothing on. */
  #giveUpSocket() {
    this.#silentSockets += 1;
    this.#socketsLeft = 0;
    this.#loseSocket();
  }

  #ping() {
    const isSocketWorthATry =
      !this.#socket && this.#haveSocketsWorked && this.#silentSockets < SILENT_SOCKETS;
    if (isSocketWorthATry) {
      this.close(); // what was sent by POST is sent again after the welcome
      this.#isReturning = true;
      this.#connect();
    } else {
      this.send({ t: "ping" });
      this.#watch();
    }
  }

  #connect() {
    this.#socketsLeft -= 1;
    const { ws, stream, ticket } = this.#address;
    try {
      const socket = new this.#world.WebSocket(ws ?? "");
      socket.onopen = () => {
        this.#lease = undefined;
        socket.send(JSON.stringify({ t: "hello", stream, ticket }));
      };
      socket.onmessage = ({ data }) => this.#hearSocket(data);
      socket.onclose = ({ code }) => this.#loseSocket(code);
      this.#socket = socket;
      this.#watch();
    } catch {
      this.#schedule(() => this.#loseSocket(), 0); // some browsers' policies forbid it
    }
  }

  /** @param {string} text */
  #hearSocket(text) {
    const frame = parse(text);
    if (!this.#world.frames.isFrame(frame)) return;
    this.#isAnswerDue = frame.t === "ack" && frame.s < this.#sentUpTo;
    if (frame.t === "welcome") {
      if (this.#isSocketWelcome) return; // it came twice
      this.#isSocketWelcome = true;
      this.#isReturning = false;
    } else {
      this.#haveSocketsWorked = true;
      this.#socketsLeft = FAILING_SOCKETS;
      this.#world.areSocketsBroken = false;
    }
    this.#hear(frame);
  }

  /** @param {number} [code] */
  #loseSocket(code = 0) {
    if (this.#isReturning) {
      this.close();
      this.#sayHello();
      return;
    }
    const { REFUSING_CLOSES, CUTTING_CLOSES } = this.#world.frames;
    const refusal = REFUSING_CLOSES.get(code);
    this.#goDown({ refusal, isCut: CUTTING_CLOSES.has(code) });
  }

  /** Ask by POST to write the log. */
  async #sayHello() {
    this.#watch();
    const { ws, isLeft } = this.#address;
    this.#lease = undefined;
    const round = this.#round;
    const hello = isLeft ? undefined : true;
    const { frame, ...down } = await this.post({ items: [], hello });
    if (round !== this.#round) return;
    const welcome = readWelcome(frame);
    if (welcome) {
      if (ws) this.#world.areSocketsBroken = true;
      this.#hear(welcome);
    } else {
      this.#silentSockets = 0; // it was not the sockets alone
      const busy = { after: frame?.after, trouble: "site_busy" };
      this.#goDown(frame ? busy : down);
    }
  }

  /** @param {Posted} body */
  async #request(body) {
    const round = this.#round;
    const { frame, ...down } = await this.post(body);
    if (round !== this.#round) return;
    if (frame) this.#hear(frame);
    else this.#goDown({ ...down, isCut: true });
  }

  /** @param {Frame} frame */
  #hear(frame) {
    if (frame.t === "welcome") {
      this.#isOpen = true;
      this.#lease = frame.lease;
    }
    this.#pingSeconds = frame.ping ?? this.#pingSeconds;
    if (!this.#isResting) this.#watch();
    this.#listener.onframe(frame);
  }

  /**
   * Return what this app's server says, or that somebody else has answered.
   * @param {Response} response
   * @returns {Promise<Answer>}
   */
  async #read(response) {
    const { isFrame, REFUSALS } = this.#world.frames;
    const type = response.headers.get("Content-Type") ?? "";
    const body = await response.json().catch(() => null);
    if (response.ok && isFrame(body)) return { frame: body };
    const isProblem = type.startsWith("application/problem+json");
    if (isProblem && REFUSALS.has(body?.code)) return { refusal: body.code };
    const isDown = response.status >= 500;
    return { trouble: isDown ? "site_unreachable" : "site_unreadable" };
  }
}

/**
 * Return the answer to a hello. Without one, as for entries that an earlier page has left,
 * the server only acknowledges.
 * @param {Frame} [frame]
 * @returns {Frame | null}
 */
function readWelcome(frame) {
  if (frame?.t === "ack") return { t: "welcome", ack: frame.s, window: 1 };
  return frame?.t === "welcome" ? frame : null;
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
