// @ts-check
/**
 * A stand-in for Perso's JavaScript SDK, served by the sandbox so that demos and tests need no internet.
 *
 * A test double: it offers the documented global `PersoInteractive` as far as a page that was given a session id
 * needs it. On a production page the vendor's own SDK is loaded instead.
 *
 * @typedef {{text: string, isUser: boolean, timestamp: Date}} Chat  one line of the chat log
 * @typedef {{id: string, function: {name: string, arguments: string}}} ToolCall
 * @typedef {{status: string, type?: string, role?: string|null, content?: string|null, tool_calls?: ToolCall[]|null,
 *   tool_call_id?: string, reason?: string}} LLMEvent  one line of a streamed reply
 * @typedef {Record<string, unknown>} Message  one entry of the history the model is sent
 */
var PersoInteractive = (() => {
  "use strict";

  const READY = { checks: 50, intervalMs: 100 };
  const PING = { intervalMs: 1000, timeoutMs: 5000, graceMs: 3000 };

  /** What the avatar is doing; a set of these is published. @enum {string} */
  const ChatState = {
    RECORDING: "RECORDING",
    LLM: "LLM",
    ANALYZING: "ANALYZING",
    SPEAKING: "SPEAKING",
  };

  /** A refusal of the server: HTTP status and the first entry of `errors[]`. */
  class ApiError extends Error {
    /** @param {number} errorCode @param {string} code @param {string} detail @param {string|null} [attr] */
    constructor(errorCode, code, detail, attr) {
      super(
        attr === null || attr === undefined
          ? `${errorCode}:${detail}`
          : `${errorCode}:${attr}_${detail}`,
      );
      Object.assign(this, { errorCode, code, detail, attr });
    }
  }

  /** The reply stream said it failed, or could not be read. */
  class LLMStreamingResponseError extends Error {
    /** @param {string} description */
    constructor(description) {
      super();
      this.description = description;
    }
  }

  /** A reply went wrong; `underlyingError` says how. */
  class LLMError extends Error {
    /** @param {Error} underlyingError */
    constructor(underlyingError) {
      super();
      this.underlyingError = underlyingError;
    }
  }

  /** A function of the page that the model may call. */
  class ChatTool {
    /**
     * @param {string} name @param {string} description @param {object} parameters  JSON Schema of the argument
     * @param {(argument: any) => object | Promise<object>} call
     * @param {boolean} [executeOnly]  true: a side effect that needs no further reply
     */
    constructor(name, description, parameters, call, executeOnly = false) {
      this.name = name;
      this.description = description;
      this.parameters = parameters;
      this.call = call;
      this.executeOnly = executeOnly;
    }
  }

  /** @param {string} url @param {object} [body] @returns {Promise<Response>} POST when there is a body */
  async function request(url, body) {
    const response = await fetch(
      url,
      body && {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      },
    );
    if (response.ok) return response;
    const [error] = (await response.json()).errors; // throws for what is no such answer, as the SDK does
    throw new ApiError(response.status, error.code, error.detail, error.attr);
  }

  /** @template T @param {Set<T>} listeners @param {T} listener @returns {() => void} unsubscribe */
  function subscribe(listeners, listener) {
    listeners.add(listener);
    return () => void listeners.delete(listener);
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
     * @param {string} apiServer @param {string} sessionId @param {{stream: MediaStream, release: () => void}} local
     * @param {ChatTool[]} clientTools @param {RTCConfiguration} configuration
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
      for (const track of local.stream.getAudioTracks())
        pc.addTrack(track, local.stream);
      pc.addTransceiver("video", { direction: "recvonly" });
      pc.ontrack = (event) => {
        this.#remote ??= event.streams[0];
      };
      pc.onconnectionstatechange = () => {
        if (pc.connectionState === "failed" || pc.connectionState === "disconnected")
          this.#close(408);
      };
      dc.onopen = () => {
        this.#ping.timer = window.setInterval(() => this.#checkPing(), PING.intervalMs);
      };
      dc.onclose = () => window.clearInterval(this.#ping.timer);
      dc.onmessage = (event) => this.#receive(JSON.parse(event.data));
    }

    /** Offer, answer, and wait until picture and channel are there. @param {number} width @param {number} height */
    async connect(width, height) {
      const { pc, dc } = this.perso;
      const offer = await pc.createOffer();
      await pc.setLocalDescription(offer);
      const response = await request(this.#url("exchange/"), {
        client_sdp: { type: offer.type, sdp: offer.sdp },
      });
      await pc.setRemoteDescription((await response.json()).server_sdp);
      for (let check = 1; !(this.#remote && dc.readyState === "open"); check += 1) {
        if (check === READY.checks) throw new Error("WebRTC connection timeout");
        await new Promise((resolve) => setTimeout(resolve, READY.intervalMs));
      }
      this.changeSize(width, height);
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
    /** @param {number} width @param {number} height */
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
    /** Newest first, the whole log each time. @param {(log: Chat[]) => void} listener */
    subscribeChatLog(listener) {
      return subscribe(this.#onLog, listener);
    }
    /** @param {(error: Error) => void} listener */
    setErrorHandler(listener) {
      return subscribe(this.#onError, listener);
    }

    /** Take recognised speech instead of chatting with it. @param {(text: string) => void} callback */
    setSttResultCallback(callback) {
      this.#onSpeechText = callback;
      return () => {
        this.#onSpeechText = null;
      };
    }

    /** Say something to the model; resolves at once, the reply comes by log, states and voice. @param {string} text */
    async processChat(text) {
      this.#write(text, true);
      this.#job = this.#turn([{ role: "user", content: text }])
        .catch((error) => {
          // Of other failures the SDK tells nobody, and stays in its state.
          if (!(
            error instanceof ApiError || error instanceof LLMStreamingResponseError
          ))
            throw error;
          this.#onError.forEach((listener) => listener(new LLMError(error)));
        })
        .then(() => this.#set(ChatState.LLM, false));
    }

    /** Let the avatar say this, as part of the conversation. @param {string} text */
    processTTSTF(text) {
      this.processCustomChat(text);
      this.#history.push({ role: "assistant", type: "message", content: text });
      this.#write(text, false);
    }

    /** Let the avatar say this and forget it. @param {string} text */
    processCustomChat(text) {
      const message = text.trim();
      if (!message) return;
      this.#send("ttstf", { message });
      this.#analyze(1);
    }

    startVoiceChat() {
      this.#send("record-start", {});
      this.#set(ChatState.RECORDING, true);
    }

    stopVoiceChat() {
      this.#send("record-end-stt", {});
      this.#set(ChatState.RECORDING, false);
      this.#analyze(1);
    }

    /** Stop the reply and the voice. */
    async clearBuffer() {
      this.#cancelled = true;
      await this.#job; // of a job that failed it throws, and the flag is left to stop the next one
      this.#cancelled = false;
      this.#send("clear-buffer", {});
      window.clearTimeout(this.#speaking.timer);
      this.#analyzing = 0;
      this.#states = new Set();
      this.#tellStates();
    }

    stopSession() {
      this.#close(200);
    }

    /** @param {string} path */
    #url(path) {
      return `${this.apiServer}/api/v1/session/${this.sessionId}/${path}`;
    }

    /** One request to the model and what follows from it. @param {Message[]} turn the messages not yet in the history */
    async #turn(turn) {
      this.#set(ChatState.LLM, true);
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
      const executed = calls.flatMap((call) =>
        this.clientTools.filter((tool) => tool.name === call.function.name),
      );
      const results = await Promise.all(calls.map((call) => this.#run(call)));
      turn.push(...results.filter((result) => result !== null));
      const unknown = calls.length > executed.length;
      if (
        (executed.length > 0 && unknown) ||
        executed.some((tool) => !tool.executeOnly)
      )
        await this.#turn(turn);
      else this.#history.push(...turn);
    }

    /** Read a streamed reply into the turn. @param {Response} response @param {Message[]} turn */
    async #listen(response, turn) {
      /** @type {ToolCall[]} */
      let calls = [];
      let text = "";
      for await (const event of readEvents(response)) {
        if (event.status !== "success")
          throw new LLMStreamingResponseError(event.reason ?? "");
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
        const { type, content, tool_calls, tool_call_id } = event;
        if (type !== "tool_call") continue;
        turn.push(
          tool_calls
            ? { role: "assistant", type, content, tool_calls }
            : { role: "tool", type, content, tool_call_id },
        );
        calls = tool_calls ?? calls;
      }
      return calls;
    }

    /** @param {ToolCall} call @returns {Promise<Message|null>} null when the page has no such tool */
    async #run(call) {
      const tool = this.clientTools.find(({ name }) => name === call.function.name);
      if (!tool) return null;
      const result = await (async () =>
        tool.call(JSON.parse(call.function.arguments)))().catch(() => ({
        result: "error!",
      }));
      return { role: "tool", content: JSON.stringify(result), tool_call_id: call.id };
    }

    /** @param {string} text @param {boolean} isUser */
    #write(text, isUser) {
      this.#log = [{ text, isUser, timestamp: new Date() }, ...this.#log];
      this.#onLog.forEach((listener) => listener(this.#log));
    }

    /** @param {string} state @param {boolean} on */
    #set(state, on) {
      if (this.#states.has(state) === on) return;
      if (on) this.#states.add(state);
      else this.#states.delete(state);
      this.#tellStates();
    }

    #tellStates() {
      this.#onStates.forEach((listener) => listener(new Set(this.#states)));
    }

    /** @param {1|-1} step */
    #analyze(step) {
      this.#analyzing = Math.max(0, this.#analyzing + step);
      this.#set(ChatState.ANALYZING, this.#analyzing > 0);
    }

    /** SPEAKING is an estimate from the lengths of the utterances. @param {number} duration in ms */
    #speak(duration) {
      const now = Date.now();
      const speaking = this.#states.has(ChatState.SPEAKING);
      this.#speaking.until = speaking
        ? this.#speaking.until + duration + 1000
        : now + duration + 2000;
      this.#set(ChatState.SPEAKING, true);
      window.clearTimeout(this.#speaking.timer);
      this.#speaking.timer = window.setTimeout(
        () => this.#set(ChatState.SPEAKING, false),
        this.#speaking.until - now,
      );
    }

    /** @param {string} type @param {object} data */
    #send(type, data) {
      this.perso.dc.send(JSON.stringify({ type, data }));
    }

    /** @param {{type: string, data: any}} frame */
    #receive({ type, data }) {
      if (type === "ping") this.#ping.last = Date.now();
      if (["stf", "stt", "stt-error"].includes(type)) this.#analyze(-1);
      if (type === "stf") this.#speak(data.duration);
      if (type === "stt" && this.#onSpeechText) this.#onSpeechText(data.text);
      else if (type === "stt" && data.text) void this.processChat(data.text);
    }

    #checkPing() {
      if (Date.now() - this.#ping.last > PING.timeoutMs) this.#close(408);
      else this.#send("ping", {});
    }

    /** @param {200|408} code 200: the page wanted it */
    #close(code) {
      if (this.#closed) return;
      this.#closed = true;
      window.clearInterval(this.#ping.timer);
      this.perso.dc.close();
      this.perso.pc.close();
      this.releaseLocal();
      this.#onClose.forEach((listener) => listener(code === 200));
    }
  }

  /** The events of a streamed reply: one `data: {…}` per line. @param {Response} response @returns {AsyncGenerator<LLMEvent>} */
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
        if (!line.startsWith("data: {"))
          throw new LLMStreamingResponseError("Failed to parse SSE response");
        yield JSON.parse(line.slice(6));
      }
    }
  }

  /** Sound to send: the microphone, or silence that asks for no permission. @param {boolean} microphone */
  async function localSound(microphone) {
    if (microphone)
      return {
        stream: await navigator.mediaDevices.getUserMedia({ audio: true }),
        release() {},
      };
    const context = new AudioContext();
    return {
      stream: context.createMediaStreamDestination().stream,
      release: () => void context.close(),
    };
  }

  /**
   * Connect to a session that the server has created.
   * @param {string} apiServer @param {string} sessionId @param {number} width @param {number} height
   * @param {boolean} enableVoiceChat  asks for the microphone @param {ChatTool[]} clientTools
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
