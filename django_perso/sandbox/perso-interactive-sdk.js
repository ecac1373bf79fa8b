// @ts-check
/**
 * A stand-in for Perso's JavaScript SDK, so that demos and tests need no internet.
 *
 * It is a test double: it has the part of the documented global `PersoInteractive` that
 * a page with a session id uses. Production pages load the vendor's SDK instead.
 *
 * @typedef {{text: string, isUser: boolean, timestamp: Date}} Chat
 *   one line of the chat log
 * @typedef {{id: string, function: {name: string, arguments: string}}} ToolCall
 * @typedef {{
 *   status: string,
 *   type?: string,
 *   role?: string|null,
 *   content?: string|null,
 *   tool_calls?: ToolCall[]|null,
 *   tool_call_id?: string,
 *   reason?: string,
 * }} LLMEvent  one line of a streamed reply
 * @typedef {Record<string, unknown>} Message  one message of the model's history
 */
/* exported PersoInteractive */
var PersoInteractive = (() => {
  "use strict";

  const CONNECT = { checks: 50, intervalMs: 100 };
  const PING = { intervalMs: 1000, timeoutMs: 5000, graceMs: 3000 };

  /** What the avatar is doing; subscribers get a set of these. @enum {string} */
  const ChatState = {
    RECORDING: "RECORDING",
    LLM: "LLM",
    ANALYZING: "ANALYZING",
    SPEAKING: "SPEAKING",
  };

  /** An error of the server: its HTTP status and the first entry of `errors[]`. */
  class ApiError extends Error {
    /**
     * @param {number} errorCode
     * @param {string} code
     * @param {string} detail
     * @param {string|null} [attr]
     */
    constructor(errorCode, code, detail, attr) {
      const hasAttr = attr !== null && attr !== undefined;
      super(hasAttr ? `${errorCode}:${attr}_${detail}` : `${errorCode}:${detail}`);
      this.errorCode = errorCode;
      this.code = code;
      this.detail = detail;
      this.attr = attr;
    }
  }

  /** A reply stream that reports a failure or cannot be parsed. */
  class LLMStreamingResponseError extends Error {
    /** @param {string} description */
    constructor(description) {
      super();
      this.description = description;
    }
  }

  /** A reply failed because of `underlyingError`. */
  class LLMError extends Error {
    /** @param {Error} underlyingError */
    constructor(underlyingError) {
      super();
      this.underlyingError = underlyingError;
    }
  }

  /** A function of the page that the model can call. */
  class ChatTool {
    /**
     * @param {string} name
     * @param {string} description
     * @param {object} parameters  a JSON Schema of the argument
     * @param {(argument: any) => object | Promise<object>} call
     * @param {boolean} [executeOnly]  whether the model need not reply to the result
     */
    constructor(name, description, parameters, call, executeOnly = false) {
      this.name = name;
      this.description = description;
      this.parameters = parameters;
      this.call = call;
      this.executeOnly = executeOnly;
    }
  }

  /**
   * Send a GET, or with a body a POST.
   *
   * @param {string} url
   * @param {object} [body]
   * @returns {Promise<Response>}
   */
  async function request(url, body) {
    const options = body && {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    };
    const response = await fetch(url, options);
    if (response.ok) return response;
    // As in the SDK, an answer that is not JSON of this form throws here.
    const { errors } = await response.json();
    const [error] = errors;
    throw new ApiError(response.status, error.code, error.detail, error.attr);
  }

  /**
   * Add a listener and return a function that removes it.
   *
   * @template T
   * @param {Set<T>} listeners
   * @param {T} listener
   */
  function subscribe(listeners, listener) {
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }

  /** A live conversation with an avatar. */
  class Session {
    #history = /** @type {Message[]} */ ([]);
    #log = /** @type {Chat[]} */ ([]);
    #states = /** @type {Set<string>} */ (new Set());
    #analyzing = 0;
    #speaking = { until: 0, timer: 0 };
    #ping = { last: Date.now() + PING.graceMs, timer: 0 };
    #cancelled = false;
    #closed = false;
    #job = Promise.resolve();
    #onClose = /** @type {Set<(manual: boolean) => void>} */ (new Set());
    #onStates = /** @type {Set<(states: Set<string>) => void>} */ (new Set());
    #onLog = /** @type {Set<(log: Chat[]) => void>} */ (new Set());
    #onError = /** @type {Set<(error: Error) => void>} */ (new Set());
    #onSpeechText = /** @type {((text: string) => void)|null} */ (null);
    #remote = /** @type {MediaStream|undefined} */ (undefined);

    /**
     * @param {string} apiServer
     * @param {string} sessionId
     * @param {{stream: MediaStream, release: () => void}} local
     * @param {ChatTool[]} clientTools
     * @param {RTCConfiguration} configuration
     */
    constructor(apiServer, sessionId, local, clientTools, configuration) {
      this.apiServer = apiServer;
      this.sessionId = sessionId;
      this.stream = local.stream;
      this.clientTools = clientTools;
      const pc = new RTCPeerConnection(configuration);
      const dc = pc.createDataChannel("message", { protocol: "message" });
      this.perso = { pc, dc };
      this.releaseLocal = local.release;
      for (const track of local.stream.getAudioTracks()) {
        pc.addTrack(track, local.stream);
      }
      pc.addTransceiver("video", { direction: "recvonly" });
      pc.ontrack = (event) => {
        this.#remote ??= event.streams[0];
      };
      pc.onconnectionstatechange = () => {
        if (["failed", "disconnected"].includes(pc.connectionState)) this.#close(408);
      };
      dc.onopen = () => {
        this.#ping.timer = window.setInterval(() => this.#checkPing(), PING.intervalMs);
      };
      dc.onclose = () => window.clearInterval(this.#ping.timer);
      dc.onmessage = (event) => this.#receive(JSON.parse(event.data));
    }

    /**
     * Exchange offer and answer, and wait for the picture and the channel.
     *
     * @param {number} width
     * @param {number} height
     */
    async connect(width, height) {
      const { pc } = this.perso;
      const offer = await pc.createOffer();
      await pc.setLocalDescription(offer);
      const response = await request(this.#url("exchange/"), {
        client_sdp: { type: offer.type, sdp: offer.sdp },
      });
      const { server_sdp: answer } = await response.json();
      await pc.setRemoteDescription(answer);
      await this.#waitUntilConnected();
      this.changeSize(width, height);
    }

    async #waitUntilConnected() {
      for (let check = 1; check <= CONNECT.checks; check += 1) {
        if (this.#remote && this.perso.dc.readyState === "open") return;
        await new Promise((resolve) => setTimeout(resolve, CONNECT.intervalMs));
      }
      throw new Error("WebRTC connection timeout");
    }

    getSessionId() {
      return this.sessionId;
    }

    getLocalStream() {
      return this.stream;
    }

    getRemoteStream() {
      return this.#remote;
    }

    /** @param {HTMLVideoElement} video */
    setSrc(video) {
      video.srcObject = this.#remote ?? null;
    }

    /**
     * @param {number} width
     * @param {number} height
     */
    changeSize(width, height) {
      this.#send("change-size", { width, height });
    }

    /** @param {(manual: boolean) => void} listener */
    onClose(listener) {
      return subscribe(this.#onClose, listener);
    }

    /** @param {(states: Set<string>) => void} listener */
    subscribeChatStates(listener) {
      return subscribe(this.#onStates, listener);
    }

    /**
     * The listener gets the whole log each time, newest first.
     *
     * @param {(log: Chat[]) => void} listener
     */
    subscribeChatLog(listener) {
      return subscribe(this.#onLog, listener);
    }

    /** @param {(error: Error) => void} listener */
    setErrorHandler(listener) {
      return subscribe(this.#onError, listener);
    }

    /**
     * Pass recognized speech to a function instead of the model.
     *
     * @param {(text: string) => void} callback
     */
    setSttResultCallback(callback) {
      this.#onSpeechText = callback;
      return () => {
        this.#onSpeechText = null;
      };
    }

    /**
     * Send a text to the model.
     *
     * This resolves at once; the reply arrives by chat log, states and voice.
     *
     * @param {string} text
     */
    async processChat(text) {
      this.#write(text, true);
      this.#job = this.#answer(text);
    }

    /** @param {string} text */
    async #answer(text) {
      try {
        await this.#takeTurn([{ role: "user", content: text }]);
      } catch (error) {
        const isReported =
          error instanceof ApiError || error instanceof LLMStreamingResponseError;
        // The SDK does not report other errors, and its states do not change.
        if (!isReported) throw error;
        for (const listener of this.#onError) listener(new LLMError(error));
      }
      this.#setState(ChatState.LLM, false);
    }

    /**
     * Let the avatar speak as part of the conversation.
     *
     * @param {string} text
     */
    processTTSTF(text) {
      this.processCustomChat(text);
      this.#history.push({ role: "assistant", type: "message", content: text });
      this.#write(text, false);
    }

    /**
     * Let the avatar speak without adding the text to the conversation.
     *
     * @param {string} text
     */
    processCustomChat(text) {
      const message = text.trim();
      if (!message) return;
      this.#send("ttstf", { message });
      this.#analyze(1);
    }

    startVoiceChat() {
      this.#send("record-start", {});
      this.#setState(ChatState.RECORDING, true);
    }

    stopVoiceChat() {
      this.#send("record-end-stt", {});
      this.#setState(ChatState.RECORDING, false);
      this.#analyze(1);
    }

    /** Stop the reply and the voice. */
    async clearBuffer() {
      this.#cancelled = true;
      // As in the SDK, a failed job throws here and the flag stays set.
      await this.#job;
      this.#cancelled = false;
      this.#send("clear-buffer", {});
      window.clearTimeout(this.#speaking.timer);
      this.#analyzing = 0;
      this.#states = new Set();
      this.#publishStates();
    }

    stopSession() {
      this.#close(200);
    }

    /** @param {string} path */
    #url(path) {
      return `${this.apiServer}/api/v1/session/${this.sessionId}/${path}`;
    }

    /**
     * Send messages to the model, run the tools it calls, and send it their results.
     *
     * @param {Message[]} turn  the messages that are not in the history yet
     */
    async #takeTurn(turn) {
      this.#setState(ChatState.LLM, true);
      const tools = this.clientTools.map(({ description, name, parameters }) => ({
        type: "function",
        function: { description, name, parameters },
      }));
      const response = await request(this.#url("llm/v2/"), {
        messages: [...this.#history, ...turn],
        tools,
      });
      const calls = await this.#listen(response, turn);
      if (this.#cancelled) return;
      const called = calls.flatMap((call) =>
        this.clientTools.filter((tool) => tool.name === call.function.name),
      );
      const results = await Promise.all(calls.map((call) => this.#run(call)));
      turn.push(...results.filter((result) => result !== null));
      const hasUnknown = called.length > 0 && calls.length > called.length;
      if (hasUnknown || called.some((tool) => !tool.executeOnly)) {
        await this.#takeTurn(turn);
      } else {
        this.#history.push(...turn);
      }
    }

    /**
     * Speak a streamed reply, add it to the turn, and return the calls of tools in it.
     *
     * @param {Response} response
     * @param {Message[]} turn
     */
    async #listen(response, turn) {
      /** @type {ToolCall[]} */
      let calls = [];
      let text = "";
      for await (const event of readEvents(response)) {
        if (event.type === "message" && !this.#cancelled) {
          text += event.content;
          this.processCustomChat(event.content ?? "");
          continue;
        }
        if (text) {
          turn.push({ role: "assistant", type: "message", content: text });
          this.#write(text, false);
          text = "";
        }
        if (this.#cancelled) return [];
        if (event.type === "tool_call") {
          turn.push(toolMessage(event));
          calls = event.tool_calls ?? calls;
        }
      }
      return calls;
    }

    /**
     * Run a tool and return its result, or null if the page has no such tool.
     *
     * @param {ToolCall} call
     * @returns {Promise<Message|null>}
     */
    async #run(call) {
      const tool = this.clientTools.find(({ name }) => name === call.function.name);
      if (!tool) return null;
      let result;
      try {
        result = await tool.call(JSON.parse(call.function.arguments));
      } catch {
        result = { result: "error!" };
      }
      return { role: "tool", content: JSON.stringify(result), tool_call_id: call.id };
    }

    /**
     * Add a line to the chat log.
     *
     * @param {string} text
     * @param {boolean} isUser
     */
    #write(text, isUser) {
      this.#log = [{ text, isUser, timestamp: new Date() }, ...this.#log];
      for (const listener of this.#onLog) listener(this.#log);
    }

    /**
     * @param {string} state
     * @param {boolean} isOn
     */
    #setState(state, isOn) {
      if (this.#states.has(state) === isOn) return;
      if (isOn) this.#states.add(state);
      else this.#states.delete(state);
      this.#publishStates();
    }

    #publishStates() {
      for (const listener of this.#onStates) listener(new Set(this.#states));
    }

    /**
     * Count the texts whose voice has been requested, but has not arrived yet.
     *
     * @param {1|-1} step
     */
    #analyze(step) {
      this.#analyzing = Math.max(0, this.#analyzing + step);
      this.#setState(ChatState.ANALYZING, this.#analyzing > 0);
    }

    /**
     * Estimate from the lengths of the utterances how long the avatar is speaking.
     *
     * @param {number} durationMs
     */
    #speak(durationMs) {
      const now = Date.now();
      if (this.#states.has(ChatState.SPEAKING)) {
        this.#speaking.until += durationMs + 1000;
      } else {
        this.#speaking.until = now + durationMs + 2000;
      }
      this.#setState(ChatState.SPEAKING, true);
      window.clearTimeout(this.#speaking.timer);
      this.#speaking.timer = window.setTimeout(
        () => this.#setState(ChatState.SPEAKING, false),
        this.#speaking.until - now,
      );
    }

    /**
     * @param {string} type
     * @param {object} data
     */
    #send(type, data) {
      this.perso.dc.send(JSON.stringify({ type, data }));
    }

    /** @param {{type: string, data: any}} frame */
    #receive({ type, data }) {
      switch (type) {
        case "ping":
          this.#ping.last = Date.now();
          break;
        case "stf":
          this.#analyze(-1);
          this.#speak(data.duration);
          break;
        case "stt":
          this.#analyze(-1);
          this.#hear(data.text);
          break;
        case "stt-error":
          this.#analyze(-1);
          break;
      }
    }

    /** @param {string} text  recognized speech */
    #hear(text) {
      if (this.#onSpeechText) this.#onSpeechText(text);
      else if (text) this.processChat(text);
    }

    #checkPing() {
      if (Date.now() - this.#ping.last > PING.timeoutMs) this.#close(408);
      else this.#send("ping", {});
    }

    /** @param {200|408} code  200 if the page has asked for it */
    #close(code) {
      if (this.#closed) return;
      this.#closed = true;
      window.clearInterval(this.#ping.timer);
      this.perso.dc.close();
      this.perso.pc.close();
      this.releaseLocal();
      for (const listener of this.#onClose) listener(code === 200);
    }
  }

  /**
   * Return a streamed call of tools, or the result of one, as a message of the history.
   *
   * @param {LLMEvent} event
   * @returns {Message}
   */
  function toolMessage({ type, content, tool_calls, tool_call_id }) {
    if (tool_calls) return { role: "assistant", type, content, tool_calls };
    return { role: "tool", type, content, tool_call_id };
  }

  /**
   * Yield the events of a streamed reply, one `data: {…}` per line.
   *
   * @param {Response} response
   * @returns {AsyncGenerator<LLMEvent>}
   */
  async function* readEvents(response) {
    const reader = /** @type {ReadableStream<Uint8Array>} */ (
      response.body
    ).getReader();
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = /** @type {string} */ (lines.pop());
      for (const line of lines) {
        if (!line.startsWith("data: {")) {
          throw new LLMStreamingResponseError("Failed to parse SSE response");
        }
        const event = JSON.parse(line.slice(6));
        if (event.status !== "success") {
          throw new LLMStreamingResponseError(event.reason ?? "");
        }
        yield event;
      }
    }
  }

  /**
   * Return the sound to send: the microphone, or silence, which needs no permission.
   *
   * @param {boolean} hasMicrophone
   */
  async function localSound(hasMicrophone) {
    if (hasMicrophone) {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      return { stream, release() {} };
    }
    const context = new AudioContext();
    const { stream } = context.createMediaStreamDestination();
    return {
      stream,
      release() {
        context.close();
      },
    };
  }

  /**
   * Connect to a session that the server has created.
   *
   * @param {string} apiServer
   * @param {string} sessionId
   * @param {number} width
   * @param {number} height
   * @param {boolean} enableVoiceChat  whether to ask for the microphone
   * @param {ChatTool[]} clientTools
   */
  async function createSession(
    apiServer,
    sessionId,
    width,
    height,
    enableVoiceChat,
    clientTools,
  ) {
    const local = await localSound(enableVoiceChat);
    const answer = await request(
      `${apiServer}/api/v1/session/${sessionId}/ice-servers/`,
    );
    const { ice_servers: iceServers } = await answer.json();
    const session = new Session(apiServer, sessionId, local, clientTools, {
      iceServers,
    });
    await session.connect(width, height);
    return session;
  }

  return {
    ApiError,
    ChatState,
    ChatTool,
    LLMError,
    LLMStreamingResponseError,
    Session,
    createSession,
  };
})();
