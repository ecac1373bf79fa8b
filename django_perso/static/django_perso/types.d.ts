/** Types the widget's modules share. Not loaded by any page. */
import type { Driver, Trouble } from "./sdk.js";
import type { Outbox } from "./log.js";
import type { Toolbox } from "./tools.js";

// --- log.js: the protocol perso.log.1

/** One line; `s` counts 1, 2, 3 … */
export type Entry = { s: number; k: string; t: number; d: Record<string, any> };
/** saved: all acknowledged; queued: the server is out of reach */
export type Status = "saved" | "saving" | "queued";
/** An answer of the server. */
export type Frame = {
  t: string; s?: any; ack?: number; age?: number; window?: number; ping?: number; after?: number; code?: string; reason?: string;
};
/** What travels to the server; with nothing in it: "still there?" */
export type Message = { items: Entry[]; bye?: { last: number; how: string } };
export type Address = { stream: string; ticket: string; ws: string | null; post: string };
/** A way to the server that opens itself, until it is down or closed. */
export type Road = { send(message: Message): void; close(): void };
export type Open = (
  address: Address,
  world: World,
  onframe: (frame: Frame) => void,
  ondown: (code: number, after?: number) => void,
) => Road;
/** One request: the frame that answers it, or a code that says why there is none. */
export type Post = (
  address: Address, world: World, message: Message, keepalive?: boolean,
) => Promise<{ frame?: Frame; code: number; after: number }>;
/** What a page leaves of a conversation: entries up to number `last`, and how it ended, if it did. */
export type Left = {
  stream: string; ticket: string; post: string; at: number; entries: Entry[]; last: number; how?: string;
};
export interface Store {
  put(left: Left): unknown;
  drop(stream: string): unknown;
  all(): Promise<Left[]>;
}

export interface Timers {
  now(): number;
  setTimeout(run: () => void, ms: number): any;
  clearTimeout(timer: any): void;
}
export interface World extends Timers {
  WebSocket: new (url: string) => WebSocket;
  fetch: typeof fetch;
  random(): number;
  /** Without one nothing outlives the page. */
  store?: Store;
}

// --- tools.js

/** A JSON schema; the keywords read are listed in `check`. */
export type Schema = {
  type?: string | string[];
  enum?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  [keyword: string]: unknown;
};
/** What is wrong with a value, one sentence each. */
export type Check = (schema: Schema, value: any, at?: string) => string[];
export type Tool = {
  description?: string;
  parameters?: Schema;
  handler: (args: any, context: { signal: AbortSignal }) => unknown;
  executeOnly?: boolean;
};
export type ToolEvent = {
  id: string;
  name: string;
  phase: "called" | "answered" | "failed";
  arguments?: any;
  result?: any;
  error?: { code: string; message: string };
  ms?: number;
};
export type ToolOptions = {
  world: Timers;
  ontool(event: ToolEvent): void;
  /** The model calls tools without end. */
  onrounds(): void;
  seconds?: number;
  rounds?: number;
};

// --- sdk.js: Perso's global as far as the driver uses it, and what the driver makes of it

export type ChatTool = new (
  name: string, description: string, parameters: Schema, call: (args: any) => Promise<object>, executeOnly: boolean,
) => object;
export type Chat = { text: string; isUser: boolean };
export interface Session {
  sessionId: string;
  processChat(text: string): unknown;
  processTTSTF(text: string): unknown;
  clearBuffer(): Promise<void>;
  setSrc(video: HTMLVideoElement): void;
  stopSession(): void;
  getLocalStream?(): MediaStream | null;
  onClose(run: (manual: boolean) => void): unknown;
  setErrorHandler(run: (error: unknown) => void): unknown;
  subscribeChatStates(run: (states: Set<string>) => void): unknown;
  subscribeChatLog(run: (newestFirst: Chat[]) => void): unknown;
  perso?: any;
}
export interface Perso {
  createSession(
    server: string, id: string, width: number, height: number, voice: boolean, tools: object[],
  ): Promise<Session>;
  ChatTool: ChatTool;
}
export type SdkTag = { url: string; integrity: string; nonce: string };

export type Activity = "ready" | "thinking" | "speaking";
export type Said = { role: "visitor" | "avatar"; text: string; cut?: true };
export interface Listener {
  activity(now: Activity): void;
  said(said: Said): void;
  muted(): void;
  trouble(trouble: Trouble): void;
  close(): void;
}
/** What the site answers to a start. */
export type Start = {
  stream: string;
  ticket: string;
  session_id: string;
  api_server: string;
  intro_message: string;
  width: number;
  height: number;
  tools: string[];
  log: { ws: string | null; post: string };
};

/** One conversation, as far as it got. */
export type Run = { since: number; isOver: boolean; outbox?: Outbox; toolbox?: Toolbox; driver?: Driver };
export type Modules = {
  sdk: typeof import("./sdk.js");
  log: typeof import("./log.js");
  tools: typeof import("./tools.js");
};
/** What a conversation needs of the element. */
export interface Stage extends Listener {
  tag: SdkTag;
  endpoint: string;
  csrfToken: string;
  preset: string;
  params: Record<string, any> | null;
  tools: Map<string, Tool>;
  video: HTMLVideoElement;
  saved(status: Status): void;
  tool(event: ToolEvent): void;
  shape(width: number, height: number): void;
  live(): void;
}

export type State = "idle" | "connecting" | "live" | "ended" | "error";
/** Who ended it; other: a second conversation began on the page. */
export type How = "visitor" | "remote" | "other" | "error";
