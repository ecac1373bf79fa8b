/** Holds a conversation by Perso's SDK, any up to 1.6. Knows no markup but the video. */

const WAIT_SECONDS = 20; // for the SDK, for a connection
const ANSWER_SECONDS = 45; // without a sign of life
const PICTURE_SECONDS = 1; // until it goes on without
const INTERRUPT_SECONDS = 3; // the SDK waits for a line that may never come
const NOTICE_MS = 300; // in which the SDK may notice by itself

/** Why Perso has closed a conversation. @type {Record<string, string>} */
export const REASONS = {
  GRACEFUL_TERMINATION: "The conversation was closed.",
  SESSION_EXPIRED_BEFORE_CONNECTION: "The avatar waited too long for the connection.",
  SESSION_LOST_AFTER_CONNECTION: "The connection to the avatar was lost.",
  SESSION_MISC_ERROR: "The avatar had a problem and had to stop.",
  MAX_ACTIVE_SESSION_QUOTA_EXCEEDED: "All avatars are busy. Please try again soon.",
  MAX_MIN_PER_SESSION_QUOTA_EXCEEDED: "This conversation reached its time limit.",
  TOTAL_MIN_PER_MONTH_QUOTA_EXCEEDED: "This month's time with the avatar is used up.",
  INSUFFICIENT_CREDITS: "This site's time with the avatar is used up.",
};

/** @type {Record<string, string>} */
const WORDS = {
  sdk_unreachable: "The avatar's program could not be loaded. Check your connection.",
  sdk_forbidden: "This site's security policy does not let the avatar's program load.",
  sdk_changed:
    "The avatar's program is not the one this site trusts, so it was refused.",
  sdk_unusable: "The avatar's program does not work here.",
  site_unreachable: "This site cannot be reached. Check your connection.",
  site_unreadable:
    "This site gave an answer that makes no sense. Reload the page and try again.",
  connect_timeout: "The avatar did not answer in time. A firewall may be in the way.",
  connect_failed: "The connection to the avatar failed.",
  llm_failed: "The avatar could not answer. You can ask again.",
  no_answer: "The avatar does not answer. You can ask again.",
  send_failed: "Your message could not be sent.",
  tools_without_end:
    "The avatar lost itself in its tools and was stopped. You can ask again.",
};

/** @type {MakeTrouble} */
const trouble = (code, error = code, words = WORDS[code], hint = "") => {
  const cause = error?.underlyingError ?? error;
  const detail = String(cause?.detail || cause?.description || cause?.message || cause);
  return Object.assign(new Error(detail), { code, words, hint });
};

/** @type {Within} */
const within = (seconds, work, error = new Error("timeout")) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(reject, seconds * 1000, error);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });

let /** @type {Promise<void> | null} */ loading = null;

/** @type {LoadSdk} */
export const loadSdk = async (tag) => {
  const page = /** @type {any} */ (globalThis),
    late = trouble("sdk_unreachable", `${tag.src}: no answer`);
  const isThere = () =>
    page.PersoInteractive?.createSession && page.PersoInteractive.ChatTool;
  if (!isThere())
    await (loading ??= within(WAIT_SECONDS, addScript(tag), late).finally(
      () => (loading = null),
    ));
  if (isThere()) return page.PersoInteractive;
  throw trouble("sdk_unusable", tag.src);
};

/** @type {AddScript} */
const addScript = ({ src, integrity, nonce }) => {
  const script = document.createElement("script"),
    gone = new AbortController(),
    { signal } = gone;
  let code = "sdk_unreachable";
  document.addEventListener(
    "securitypolicyviolation",
    ({ blockedURI }) => {
      if (script.src.startsWith(blockedURI)) code = "sdk_forbidden";
    },
    { signal },
  );
  return new Promise((onload, reject) => {
    // Forbidden: an event of its own, a little later; changed: the bytes did arrive.
    const onerror = () =>
      setTimeout(() => {
        const /** @type {any} */ entry = performance
            .getEntriesByName(script.src)
            .at(-1);
        reject(
          trouble(
            integrity && entry?.responseStatus === 200 ? "sdk_changed" : code,
            src,
          ),
        );
        script.remove();
      }, 50);
    try {
      Object.assign(script, {
        src,
        integrity,
        nonce,
        crossOrigin: "anonymous",
        onload,
        onerror,
      });
      document.head.append(script);
    } catch (error) {
      // trusted types
      reject(trouble("sdk_forbidden", error));
    }
  }).finally(() => gone.abort());
};

/** @type {Converse} */
export const converse = async (run, { outbox: log, tools, world }, stage) => {
  const perso = await loadSdk(stage);
  if (run.isOver) return; // nothing is paid for yet
  const start = await requestStart(stage);
  const ws =
    start.log.ws && new URL(start.log.ws, location.href).href.replace(/^http/, "ws");
  const outbox = (run.outbox = new log.Outbox(
    { ...start, ...start.log, ws },
    world,
    stage.saved,
  ));
  if (run.isOver) return outbox.end("visitor");
  outbox.add("state", { name: "connecting" });
  const toolbox = (run.toolbox = new tools.Toolbox(stage.tools, {
    world,
    ontool: (event) => (run.driver?.update(), stage.tool(event)), // a sign of life
    onrounds: () => (
      run.driver?.interrupt(),
      stage.trouble(trouble("tools_without_end"))
    ),
  }));
  stage.shape(start.width, start.height);
  await connect(
    perso,
    start,
    toolbox.chatTools(perso.ChatTool, start.tools),
    run,
    stage,
  );
  const { driver } = run;
  await driver?.playing;
  if (!driver || run.isOver) return;
  outbox.add("state", { name: "live" });
  stage.live();
  if (start.intro_message?.trim()) driver.say(start.intro_message.trim());
};

/** This is what costs money. @type {RequestStart} */
const requestStart = async ({ endpoint, csrfToken, preset, params }) => {
  const headers = {
    "Content-Type": "application/json",
    Accept: "application/json",
    "X-CSRFToken": csrfToken,
  };
  const signal = AbortSignal.timeout(60_000),
    body = JSON.stringify(params ? { params } : { preset });
  const answer = await fetch(endpoint, {
    method: "POST",
    credentials: "same-origin",
    headers,
    body,
    signal,
  }).catch((error) => {
    throw trouble("site_unreachable", error);
  });
  const told = await answer.json().catch(() => null);
  if (answer.ok && told?.session_id) return told;
  throw trouble(
    told?.code ?? "site_unreadable",
    `HTTP ${answer.status}`,
    told?.detail,
    told?.hint,
  );
};

/** @type {Connect} */
const connect = async (perso, start, tools, run, stage) => {
  const server = start.api_server.replace(/\/+$/, "");
  const opening = perso.createSession(
    server,
    start.session_id,
    start.width,
    start.height,
    false,
    tools,
  );
  try {
    const session = await within(WAIT_SECONDS, opening);
    if (!run.isOver) run.driver = drive(session, stage.video, stage);
  } catch (error) {
    const failed = trouble("connect_failed", error);
    throw /timeout/i.test(failed.message) ? trouble("connect_timeout", error) : failed;
  } finally {
    if (!run.driver) opening.then(release, () => {}); // also one that comes too late
  }
};

/** @param {Session} session */
function release(session) {
  try {
    session.stopSession();
  } catch {
    /* it was closed already */
  }
  session
    .getLocalStream?.()
    ?.getTracks()
    .forEach((track) => track.stop());
}

/** @type {Drive} */
const drive = (session, video, listener) => {
  let states = new Set(),
    stuck = new Set(); // stuck: those the SDK will not leave by itself
  let /** @type {Activity} */ activity = "ready";
  let told = 0; // lines of its log that were passed on
  let isWaiting = false; // sent, and nothing heard of it yet
  let isBroken = false; // the SDK lost an answer; stopping it would lose the next
  let isCutting = false,
    isOver = false;
  let watchdog = 0,
    turn = Promise.resolve(false);
  const gone = new AbortController(),
    { signal } = gone;

  const update = () => {
    clearTimeout(watchdog);
    if (isOver) return;
    const busy = [...states].filter((state) => !stuck.has(state));
    const now = busy.includes("SPEAKING")
      ? "speaking"
      : busy.length || isWaiting
        ? "thinking"
        : "ready";
    if (now === "thinking") watchdog = setTimeout(giveUp, ANSWER_SECONDS * 1000);
    if (now !== activity) listener.activity((activity = now));
  };

  const tell = (code = "", /** @type {unknown} */ error = code) => {
    isWaiting = false;
    listener.trouble(trouble(navigator.onLine ? code : "site_unreachable", error));
    update();
  };

  const giveUp = () => {
    tell("no_answer");
    interrupt();
  };

  /** The answer is lost; the visitor can go on. */
  const lose = (/** @type {unknown} */ error) => {
    if (isOver || isBroken) return;
    isBroken = true;
    stuck = new Set(states);
    tell("llm_failed", error);
  };

  const interrupt = async () => {
    if (isOver) return;
    isCutting = true;
    try {
      if (isBroken) throw new Error("there is nothing the SDK could stop");
      await within(INTERRUPT_SECONDS, session.clearBuffer());
    } catch {
      stuck = new Set(states);
    }
    isCutting = isWaiting = false;
    update();
  };

  const ask = (/** @type {() => unknown} */ work) => {
    if (isOver) return false;
    isWaiting = true;
    try {
      Promise.resolve(work()).catch(lose);
    } catch (error) {
      tell("send_failed", error);
      return false;
    }
    update();
    return true;
  };

  const stop = () => {
    if (isOver) return false;
    isOver = true;
    gone.abort();
    requests.disconnect();
    clearTimeout(watchdog);
    release(session);
    video.srcObject = null;
    return true;
  };

  const closed = () => void (stop() && listener.close());

  const play = async () => {
    try {
      video.muted = false;
      await video.play();
    } catch {
      if (isOver) return;
      video.muted = true; // sound may be forbidden, not the picture
      listener.muted();
      await video.play();
    }
  };

  session.setSrc(video);
  // When an answer fails the SDK stays in its state. Some failures are told to the page …
  addEventListener(
    "unhandledrejection",
    (event) => {
      const { reason } = event,
        stack = String(reason?.stack ?? "");
      const isNameless =
        !stack.includes("://") &&
        (reason instanceof TypeError || reason instanceof SyntaxError);
      if (!states.size || !(isNameless || /perso-interactive-sdk/.test(stack))) return;
      event.preventDefault();
      lose(reason);
    },
    { signal },
  );
  // … others only show in what was requested.
  const requests = new PerformanceObserver((list) => {
    for (const { name, responseStatus } of /** @type {any[]} */ (list.getEntries())) {
      if (
        !name.endsWith(`/${session.sessionId}/llm/v2/`) ||
        !(responseStatus === 0 || responseStatus >= 400)
      )
        continue;
      const before = told,
        isStill = () => told === before && states.has("LLM");
      setTimeout(() => isStill() && lose(`HTTP ${responseStatus}`), NOTICE_MS);
    }
  });
  requests.observe({ type: "resource" });

  session.onClose(closed);
  // The SDK does not notice when the data channel alone closes.
  session.perso?.dc?.addEventListener?.("close", closed, { signal });
  session.setErrorHandler((error) => tell("llm_failed", error));
  session.subscribeChatStates((now) => {
    states = new Set(now);
    stuck = new Set([...stuck].filter((state) => states.has(state)));
    isBroken &&= stuck.size > 0;
    isWaiting = false;
    update();
  });
  session.subscribeChatLog((log) => {
    // all lines each time, the newest first
    if (isOver) return;
    const fresh = log.slice(0, Math.max(0, log.length - told)).reverse();
    told = log.length;
    for (const { text, isUser } of fresh) {
      if (!isUser) isWaiting = false;
      listener.said({
        role: isUser ? "visitor" : "avatar",
        text,
        ...(isCutting && !isUser && { cut: true }),
      });
    }
    update();
  });
  return {
    update,
    interrupt,
    stop,
    playing: within(PICTURE_SECONDS, play()).catch(() => {}),
    send: (text) =>
      (turn = turn.then(async () => {
        if (activity !== "ready") await interrupt();
        isBroken = false;
        return ask(() => session.processChat(text));
      })),
    say: (text) => ask(() => session.processTTSTF(text)),
  };
};
