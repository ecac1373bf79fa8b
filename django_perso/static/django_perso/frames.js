/**
 * The log protocol perso.log.1: frames, close codes, problem codes and limits. The
 * server has the same tables in `django_perso/log/`.
 *
 * | browser → server                    | server → browser                               |
 * |-------------------------------------|------------------------------------------------|
 * | hello {stream, ticket}              | welcome {ack, age, window, ping, lease}        |
 * | ev    {items: [{s, k, t, d}]}       | ack {s} · gap {s} · reject {s, code}           |
 * | bye   {last, how}                   | done {reason} · gap {s}                        |
 * | ping                                | pong · retry {after}                           |
 */

/** Why the server closes a socket. */
export const CLOSE = Object.freeze({
  RECONNECT: 4000,
  BAD_FRAME: 4400,
  NOT_AUTHORISED: 4401,
  ORIGIN: 4403,
  NO_STREAM: 4404,
  HELLO_TIMEOUT: 4408,
  SUPERSEDED: 4409,
  LOGGED_OUT: 4410,
  TOO_BIG: 4413,
  TOO_FAST: 4429,
  BUSY: 4503,
});

/** The first four are the server's too. */
export const LIMITS = Object.freeze({
  frameEntries: 50,
  frameBytes: 65_536,
  entryBytes: 16_384,
  framesInFlight: 4,
  // Requests of a page that hides and then goes away: browsers allow 64 KiB for both.
  flushBytes: 30_000,
  outboxEntries: 5000,
  outboxBytes: 2 * 1024 * 1024,
});

/**
 * Close codes that refuse the log, and the problem codes that POST has for them. After any
 * other close code the socket is opened again.
 * @type {ReadonlyMap<number, string>}
 */
export const REFUSING_CLOSES = new Map([
  [CLOSE.NOT_AUTHORISED, "not_authorised"],
  [CLOSE.ORIGIN, "origin"],
  [CLOSE.NO_STREAM, "no_stream"],
  [CLOSE.SUPERSEDED, "superseded"],
  [CLOSE.LOGGED_OUT, "logged_out"],
]);

/**
 * Problem codes that refuse the log. After any other answer to a POST, whatever its status,
 * the request is repeated: a proxy or a login page may have answered it.
 * @type {ReadonlySet<string>}
 */
export const REFUSALS = new Set(REFUSING_CLOSES.values());

/**
 * Close codes that may be due to what was sent. A proxy may also cut a socket without a close
 * frame, or with 1009.
 * @type {ReadonlySet<number>}
 */
export const CUTTING_CLOSES = new Set([1006, 1009, CLOSE.BAD_FRAME, CLOSE.TOO_BIG]);

/**
 * What the frames of the server must carry.
 * @type {Record<string, (frame: Frame) => boolean>}
 */
const SERVER_FRAMES = {
  ack: ({ s }) => Number.isInteger(s),
  done: () => true,
  gap: ({ s }) => Number.isInteger(s),
  pong: () => true,
  reject: ({ s }) => Array.isArray(s),
  retry: () => true,
  welcome: ({ ack }) => Number.isInteger(ack),
};

/** The names of the frames a server sends. */
export const SERVER_FRAME_NAMES = Object.freeze(Object.keys(SERVER_FRAMES));

/**
 * Return whether a parsed JSON value is a frame of the server.
 * @param {any} value
 * @returns {value is Frame}
 */
export function isFrame(value) {
  return SERVER_FRAME_NAMES.includes(value?.t) && SERVER_FRAMES[value.t](value);
}
