/**
 * Types of the log: frames.js, outbox.js, transport.js and store.js. Global, so that the
 * modules need not import them; no page loads this file.
 */

/** One line of a conversation's log; `s` counts 1, 2, 3 … */
type Entry = { s: number; k: string; t: number; d: Record<string, any> };
/**
 * saved: everything is acknowledged; queued: the server is out of reach; unsaved: the same for
 * two minutes, or the server refuses the log.
 */
type Status = "saved" | "saving" | "queued" | "unsaved";
/** Called with what is the matter if the status is "unsaved". */
type StatusListener = (status: Status, trouble: string) => void;
/** What the server sends. */
type Frame = {
  t: string;
  s?: any;
  ack?: number;
  age?: number;
  window?: number;
  ping?: number;
  lease?: number;
  after?: number;
  code?: string;
  reason?: string;
};
type Bye = { last: number; how: string };
/** What is sent to the server. */
type Message = { t: "ev" | "bye" | "ping"; items?: Entry[]; bye?: Bye };
/** The same by POST, without stream, ticket and lease. */
type Posted = { items: Entry[]; bye?: Bye; hello?: boolean };
/**
 * Where the log of a conversation is, and what opens it. `ws` is null without sockets. For
 * entries that an earlier page has left, no lease is asked for: another page may have it.
 */
type Address = {
  stream: string;
  ticket: string;
  ws: string | null;
  post: string;
  isLeft?: boolean;
};
/** How a conversation has ended, and a callback for when that is saved. */
type Ending = { how: string; done(reason: string): void };

/** A frame, the problem code of a refusal, or what is the matter. */
type Answer = { frame?: Frame; refusal?: string; trouble?: string; after?: number };
/**
 * Why a transport went down: refused for good, or cut perhaps because of what was sent.
 * Do not ask the server again for `after` ms.
 */
type Down = { refusal?: string; isCut?: boolean; trouble?: string; after?: number };
interface TransportListener {
  /** Something may be sent again. */
  onready(): void;
  /** A welcome means that something may be sent now. */
  onframe(frame: Frame): void;
  ondown(down: Down): void;
}
type Transport = import("../transport.js").Transport;
type Outbox = import("../outbox.js").Outbox;

/** What a page leaves of a conversation: entries up to number `last`, and how it ended. */
type Left = {
  stream: string;
  ticket: string;
  post: string;
  at: number;
  entries: Entry[];
  last: number;
  how?: string;
  /** What a page has handed over to the one that writes the log in its place. */
  late?: Entry[];
};
type Store = Pick<
  import("../store.js").Store,
  "put" | "drop" | "dropUntil" | "handOver" | "all"
>;

interface Timers {
  now(): number;
  setTimeout(run: () => void, ms: number): any;
  clearTimeout(timer: any): void;
}
/** What the log needs of the browser, and of modules that it does not import. */
interface World extends Timers {
  frames: typeof import("../frames.js");
  Transport: typeof import("../transport.js").Transport;
  WebSocket: new (url: string) => WebSocket;
  fetch(url: string, options: RequestInit): Promise<Response>;
  random(): number;
  /** Sockets have failed where POST was answered: later conversations begin with POST. */
  areSocketsBroken?: boolean;
  /** Without a store nothing outlives the page. */
  store?: Store;
}
type LogModules = {
  frames: typeof import("../frames.js");
  transport: typeof import("../transport.js");
  store: typeof import("../store.js");
};
