/**
 * The page of `manage.py perso_doctor --contact`: it holds one short conversation through the SDK
 * and reports what it has measured. The command that serves the page judges the report.
 */
import { loadSdk } from "./sdk-loader.js";

// How long each step may take; together less than TALK_SECONDS of the command.
const CONNECT_SECONDS = 20;
const PICTURE_SECONDS = 10;
const ANSWER_SECONDS = 45;
const SPEECH_SECONDS = 15; // until the avatar speaks
const STT_SECONDS = 15;
const LAST_SECONDS = 3; // for answers that are still being read

const SOUND_MS = 1000;
const LINE = "Hello! Please answer in one short sentence.";
const MAX_FRAMES = 100;

const find = (/** @type {string} */ selector) =>
  /** @type {HTMLElement} */ (document.querySelector(selector));
const now = () => performance.now();
const sleep = (/** @type {number} */ ms) =>
  new Promise((resolve) => setTimeout(resolve, ms));

/** What is reported. */
const report = {
  facts: /** @type {Record<string, number | string>} */ ({}),
  answers: /** @type {Answer[]} */ ([]),
  frames: /** @type {Frame[]} */ ([]),
  sdkExports: /** @type {string[]} */ ([]),
  leftAt: 0, // when this page closed the session
  isSent: false,
};

/**
 * An answer to a request of the SDK, which is read while the SDK reads it, too.
 * @typedef {{
 *   method: string,
 *   path: string,
 *   status: number,
 *   content_type: string,
 *   ms: number,
 *   body: string,
 *   isComplete: boolean,
 * }} Answer
 */
/**
 * A frame of the data channel, and when it came.
 * @typedef {{text: string, at: number, type?: string, data?: any}} Frame
 */

/** Keep all answers to requests about the session. The SDK calls the global `fetch`. */
function watchRequests(/** @type {string} */ sessionId) {
  const send = window.fetch;
  window.fetch = async (input, options) => {
    const url = input instanceof Request ? input.url : String(input);
    const [, path] = url.split(`/session/${sessionId}/`);
    if (path === undefined) return send(input, options);
    const answer = {
      method: input instanceof Request ? input.method : (options?.method ?? "GET"),
      path,
      status: 0,
      content_type: "",
      ms: 0,
      body: "",
      isComplete: false,
    };
    report.answers.push(answer);
    const startedAt = now();
    try {
      const response = await send(input, options);
      answer.status = response.status;
      answer.content_type = response.headers.get("Content-Type") ?? "";
      read(response.clone(), answer, startedAt).catch(() => {}); // it was cut off
      return response;
    } finally {
      answer.ms = now() - startedAt;
    }
  };
}

async function read(
  /** @type {Response} */ response,
  /** @type {Answer} */ answer,
  /** @type {number} */ startedAt,
) {
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  try {
    let piece = await reader?.read();
    while (piece && !piece.done) {
      answer.body += decoder.decode(piece.value, { stream: true });
      piece = await reader?.read();
    }
  } finally {
    answer.ms = now() - startedAt;
    answer.isComplete = true;
  }
}

// --- the conversation

async function talk(/** @type {AudioContext} */ audio) {
  const perso = await step("sdk", load);
  const start = await step("session", askForSession);
  watchRequests(start.session_id);
  const session = await step("connect", () => connect(perso, start));
  try {
    watch(session);
    await tryStep("picture", () => show(session));
    await tryStep("answer", () => converse(session));
    await tryStep("speech", () => speak(session, audio));
  } finally {
    await step("end", async () => {
      await until(() => report.answers.every((each) => each.isComplete), LAST_SECONDS);
      leave(session);
    });
  }
}

async function load() {
  const startedAt = now();
  const sdk = await (await fetch("sdk.json")).json();
  const perso = await loadSdk({ ...sdk, nonce: "", pageNonces: [] });
  report.facts.sdk_ms = now() - startedAt;
  report.sdkExports = Object.keys(perso);
  return perso;
}

async function askForSession() {
  const response = await fetch("session", { method: "POST", body: "{}" });
  if (response.status === 409) throw failure("used_before");
  if (!response.ok) throw failure("no_session");
  return response.json();
}

/** @param {Perso} perso @param {any} start @returns {Promise<Session>} */
async function connect(perso, start) {
  const { api_server: server, session_id: id, width, height } = start;
  const startedAt = now();
  const opening = perso.createSession(server, id, width, height, false, []);
  try {
    const session = await within(CONNECT_SECONDS, opening);
    connectionOf(session);
    report.facts.connect_ms = now() - startedAt;
    return session;
  } catch (error) {
    opening.then(leave, () => {});
    throw error;
  }
}

/** Return the connection of a session; some sessions have none. */
function connectionOf(/** @type {Session} */ session) {
  if (!session.perso) throw failure("no_webrtc");
  return session.perso;
}

/** Note what happens by itself. */
function watch(/** @type {Session} */ session) {
  const startedAt = now();
  const { dc } = connectionOf(session);
  dc.addEventListener("message", (/** @type {MessageEvent} */ { data }) => {
    const text = String(data);
    const frame = { text, at: now(), ...parse(text) };
    if (frame.type !== "ping" && report.frames.length < MAX_FRAMES)
      report.frames.push(frame);
  });
  const noteClose = () => {
    if (!report.leftAt) report.facts.closed_ms ??= now() - startedAt;
  };
  session.onClose(noteClose);
  dc.addEventListener("close", noteClose); // which the SDK does not notice
  session.setErrorHandler(() => count("sdk_errors"));
  // Speech goes to this function and not to the model.
  session.setSttResultCallback(() => {});
}

/** Show the avatar, and note how the media come. */
async function show(/** @type {Session} */ session) {
  const startedAt = now();
  const video = /** @type {HTMLVideoElement} */ (find("video"));
  const frame = new Promise((resolve) => {
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(resolve);
    else video.addEventListener("loadeddata", resolve, { once: true });
  });
  session.setSrc(video);
  video.hidden = false;
  video.play().catch(() => {
    video.muted = true; // sound may be forbidden, not the picture
    return video.play();
  });
  try {
    await within(PICTURE_SECONDS, frame);
    const { connect_ms: connectMs } = report.facts;
    report.facts.first_frame_ms = Number(connectMs) + now() - startedAt;
    report.facts.video_width = video.videoWidth;
    report.facts.video_height = video.videoHeight;
  } finally {
    await describeMedia(connectionOf(session).pc);
  }
}

/** Note directions, codecs and kinds of candidates, and no address. */
async function describeMedia(/** @type {RTCPeerConnection} */ pc) {
  const { facts } = report;
  facts.audio_direction = audioLine(pc)?.currentDirection ?? "none";
  const answer = String(pc.remoteDescription?.sdp);
  for (const kind of ["host", "srflx", "relay"]) {
    facts[`candidates_${kind}`] = answer.split(` typ ${kind}`).length - 1;
  }
  const /** @type {Map<string, any>} */ stats = new Map();
  (await pc.getStats()).forEach((entry) => stats.set(entry.id, entry));
  for (const entry of stats.values()) {
    const codec = stats.get(entry.codecId);
    if (entry.type === "inbound-rtp" && codec)
      facts[`${entry.kind}_codec`] = codec.mimeType;
    const pair = stats.get(entry.selectedCandidatePairId);
    if (pair) facts.route = stats.get(pair.localCandidateId)?.candidateType;
  }
}

function audioLine(/** @type {RTCPeerConnection} */ pc) {
  return pc.getTransceivers().find(({ receiver }) => receiver.track.kind === "audio");
}

/** Send a line of text, and wait for the whole answer and for the avatar to speak. */
async function converse(/** @type {Session} */ session) {
  const startedAt = now();
  await session.processChat(LINE);
  const answer = await until(
    () => report.answers.find((each) => each.path === "llm/v2/" && each.isComplete),
    ANSWER_SECONDS,
  );
  if (!answer) throw failure("timeout");
  if (answer.status !== 200) throw failure(`http_${answer.status}`);
  report.facts.answer_ms = answer.ms;
  const speech = await until(() => findFrame("stf"), SPEECH_SECONDS);
  if (!speech) throw failure("timeout");
  report.facts.speech_ms = speech.at - startedAt;
}

/** Send a second of sound in place of silence, and wait for what it is taken for. */
async function speak(
  /** @type {Session} */ session,
  /** @type {AudioContext} */ audio,
) {
  const sender = audioLine(connectionOf(session).pc)?.sender;
  const tone = audio.createOscillator();
  const sound = audio.createMediaStreamDestination();
  tone.connect(sound);
  await sender?.replaceTrack(sound.stream.getAudioTracks()[0]);
  session.startVoiceChat();
  tone.start();
  await sleep(SOUND_MS);
  session.stopVoiceChat();
  const endedAt = now();
  const frame = await until(
    () => findFrame("stt") ?? findFrame("stt-error"),
    STT_SECONDS,
  );
  tone.stop();
  await sender?.replaceTrack(null);
  if (!frame) throw failure("timeout");
  const { type, data } = frame;
  report.facts.stt_ms = frame.at - endedAt;
  report.facts.stt = type === "stt" ? "text" : "error";
  if (type === "stt") report.facts.stt_characters = String(data?.text ?? "").length;
  else report.facts.stt_code = Number(data?.code);
}

function findFrame(/** @type {string} */ type) {
  return report.frames.find((frame) => frame.type === type);
}

/** Return type and data of a frame. @returns {{type?: string, data?: any}} */
function parse(/** @type {string} */ text) {
  try {
    const { type, data } = JSON.parse(text);
    return { type, data };
  } catch {
    return {};
  }
}

/** Close the session and what the SDK leaves open. */
function leave(/** @type {Session} */ session) {
  report.leftAt = now();
  find("video").hidden = true;
  try {
    session.stopSession();
  } catch {
    // It was closed already.
  }
  for (const track of session.getLocalStream?.()?.getTracks() ?? []) track.stop();
}

// --- the report

function count(/** @type {string} */ name) {
  report.facts[name] = Number(report.facts[name] ?? 0) + 1;
}

/** Return the report as JSON. It goes to the command on this machine, which removes all secrets. */
function writeReport(/** @type {boolean} */ isComplete) {
  return JSON.stringify({
    ...report.facts,
    is_complete: isComplete,
    sdk_exports: report.sdkExports,
    answers: report.answers,
    frames: report.frames.map(({ text }) => text),
    left_ms_ago: report.leftAt ? now() - report.leftAt : null,
  });
}

async function send() {
  report.isSent = true;
  await fetch("result", { method: "POST", body: writeReport(true) });
}

addEventListener("pagehide", () => {
  if (report.isSent || find("#start").hidden === false) return;
  report.isSent = true;
  navigator.sendBeacon("result", writeReport(false));
});
// Some failures of the SDK reach the page only like this.
addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  count("lost_errors");
});

// --- what the page shows

/**
 * Do one step and show how it goes.
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work
 */
async function step(name, work) {
  const item = find(`[data-step=${name}]`);
  item.dataset.state = "running";
  try {
    const value = await work();
    item.dataset.state = "done";
    return value;
  } catch (error) {
    item.dataset.state = "failed";
    report.facts.failed_step ??= name;
    report.facts.failure ??= describe(error);
    throw error;
  }
}

/** Do a step after which the others go on even if it fails. */
async function tryStep(
  /** @type {string} */ name,
  /** @type {() => Promise<void>} */ work,
) {
  await step(name, work).catch(() => {});
}

/** Return a word for an error; its text may contain anything. */
function describe(/** @type {any} */ error) {
  const { errorCode, code, message } = error?.underlyingError ?? error ?? {};
  if (errorCode) return `http_${errorCode}`;
  if (typeof code === "string") return code;
  return /timeout/i.test(message) ? "timeout" : String(error?.name);
}

const failure = (/** @type {string} */ code) =>
  Object.assign(new Error(code), { code });

/**
 * Return what a function finds, as soon as it does; undefined after some seconds, or once Perso
 * has closed the connection.
 * @template T
 * @param {() => T} look
 * @param {number} seconds
 */
async function until(look, seconds) {
  const deadline = now() + seconds * 1000;
  while (now() < deadline && report.facts.closed_ms === undefined) {
    const found = look();
    if (found) return found;
    await sleep(25);
  }
  return undefined;
}

/**
 * Reject when work takes longer.
 * @template T
 * @param {number} seconds
 * @param {Promise<T>} work
 * @returns {Promise<T>}
 */
function within(seconds, work) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(reject, seconds * 1000, failure("timeout"));
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

find("#start").addEventListener("click", async () => {
  find("#start").hidden = true;
  const audio = new AudioContext(); // sound may run after a click only
  document.body.dataset.state = "running";
  find("#status").textContent = "Please wait. This takes about half a minute.";
  try {
    await talk(audio);
    find("#status").textContent =
      "Done. You can close this page; the results are in the terminal.";
  } catch {
    find("#status").textContent =
      "This did not work. You can close this page; the terminal says why.";
  }
  document.body.dataset.state = "over";
  await audio.close();
  await send();
});
