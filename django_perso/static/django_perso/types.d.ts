/**
 * Types the widget's modules share, and the contracts between them. Global, so that the modules need not import them,
 * in a project of TypeScript that lists this file; no page loads it.
 */

// --- log.js and road.js: the protocol perso.log.1

/** One line; `s` counts 1, 2, 3 … */
type Entry = { s: number; k: string; t: number; d: Record<string, any> };
/** saved: all acknowledged; queued: the server is out of reach */
type Status = "saved" | "saving" | "queued";
/** An answer of the server. */
type Frame = {
  t: string;
  s?: any;
  ack?: number;
  age?: number;
  window?: number;
  ping?: number;
  after?: number;
  code?: string;
  reason?: string;
};
type Bye = { last: number; how: string };
/** What travels to the server. */
type Message = { t: "hello" | "ev" | "bye" | "ping"; items?: Entry[]; bye?: Bye };
type Address = { stream: string; ticket: string; ws: string | null; post: string };

/** Keeps the entries of one conversation until the server has acknowledged them. */
interface Outbox {
  /** Takes an entry in, with its kind and content; when full, one gap entry counts what is left out. */
  add(k: string, d: Entry["d"]): void;
  /** Nothing follows; resolves with the server's reason once all is saved. */
  end(how: string): Promise<string>;
  /** The last words of a page that goes away. */
  leave(how: string): void;
  /** Sends what fits in one request that outlives the page. */
  flush(): void;
  /** Goes on at once: the network or the page is back. */
  wake(): void;
}
type OpenOutbox = (
  address: Address,
  world: World,
  onstatus: (status: Status) => void,
  left?: Left,
) => Outbox;
/** How a conversation has ended, and who wants to know that it is saved. */
type Ending = { how: string; done(reason: string): void };

/** A way to the server, which opens itself and stays awake until it is down or closed. */
interface Road {
  /** Whether something may be sent now. */
  readonly isOpen: boolean;
  send(message: Message): void;
  /** By a request that may outlive the page: the frame that answers it, or a close code that says why there is none. */
  post(
    message: { items: Entry[]; bye?: Bye },
    keepalive?: boolean,
  ): Promise<{ frame?: Frame; code?: number; after?: number }>;
  /** Nothing is sent for so many ms; then it is open again, or opens itself anew. */
  rest(ms: number): void;
  /** Ends the rest. */
  wake(): void;
  close(): void;
}
type MakeRoad = (
  address: Address,
  world: World,
  /** "welcome": something may be sent now. */
  onframe: (frame: Frame) => void,
  /** Without a code nobody said why; `after` ms at the earliest the server will have it again. */
  ondown: (code?: number, after?: number) => void,
) => Road;

/** What a page leaves of a conversation: entries up to number `last`, and how it ended, if it did. */
type Left = {
  stream: string;
  ticket: string;
  post: string;
  at: number;
  entries: Entry[];
  last: number;
  how?: string;
};
interface Store {
  put(left: Left): unknown;
  /** Forgets what was left at that time or before; a page that is still open may have left more since. */
  drop(stream: string, at?: number): unknown;
  all(): Promise<Left[]>;
}

interface Timers {
  now(): number;
  setTimeout(run: () => void, ms: number): any;
  clearTimeout(timer: any): void;
}
interface World extends Timers {
  makeRoad: MakeRoad;
  WebSocket: new (url: string) => WebSocket;
  fetch(url: string, options: RequestInit): Promise<Response>;
  random(): number;
  /** Without one nothing outlives the page. */
  store?: Store;
}

// --- tools.js

/** A JSON schema; the keywords read are type, enum, required, properties, additionalProperties and items. */
type Schema = {
  type?: string | string[];
  enum?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  [keyword: string]: unknown;
};
type Types = Record<string, (value: any) => boolean>;
/** What is wrong with a value, one sentence each; keywords that are not read pass. */
type Check = (schema: Schema, value: any, at?: string) => string[];
type Tool = {
  description?: string;
  parameters?: Schema;
  handler: (args: any, context: { signal: AbortSignal }) => unknown;
  executeOnly?: boolean;
};
type ToolEvent = {
  id: string;
  name: string;
  phase: "called" | "answered" | "failed";
  arguments?: any;
  result?: any;
  error?: { code: string; message: string };
  ms?: number;
};
interface Toolbox {
  /** Runs one call. Never rejects: what went wrong is part of the answer to the model. */
  call(name: string, args: any): Promise<object>;
  /** A new turn of the visitor: the model may call tools again. */
  turn(): void;
  /** The tools for the SDK; no names means every tool. */
  chatTools(ChatTool: ChatTool, names: string[]): object[];
}
type ToolOptions = {
  world: Timers;
  ontool(event: ToolEvent): void;
  /** The model calls tools without end. */
  onrounds(): void;
  seconds?: number;
  rounds?: number;
};
type MakeToolbox = (tools: Map<string, Tool>, options: ToolOptions) => Toolbox;

// --- adapter.js and sdk-loader.js: Perso's global, as far as it is used

type ChatTool = new (
  name: string,
  description: string,
  parameters: Schema,
  call: (args: any) => Promise<object>,
  executeOnly: boolean,
) => object;
type Chat = { text: string; isUser: boolean };
interface Session {
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
interface Perso {
  createSession(
    server: string,
    id: string,
    width: number,
    height: number,
    voice: boolean,
    tools: object[],
  ): Promise<Session>;
  ChatTool: ChatTool;
}
type SdkTag = { src: string; integrity: string; nonce: string };

type Adapter = import("./adapter.js").Sdk1Adapter;
/** What an adapter reports of its session. */
interface AdapterListener {
  activity(now: Activity): void;
  said(said: Said): void;
  /** The browser forbids sound; the picture moves. */
  muted(): void;
  trouble(trouble: Trouble): void;
  /** The other side has ended it. */
  close(): void;
}

// --- conversation.js

/** What the site answers to a start. */
type Start = {
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
/** Something that went wrong: a stable code, and as message a detail for the log. The site may
 * send words of its own, and a hint for who runs it. */
type Trouble = { code?: string; message: string; words?: string; hint?: string };
type Ended = { how: How; reason: string; ms: number };

interface ConversationOptions {
  preset: string;
  endpoint: string;
  csrfToken: string;
  sdk: SdkTag;
  /** Sent in place of the preset. */
  params: Record<string, any> | null;
  tools: Map<string, Tool>;
  video: HTMLVideoElement;
  isSimultaneous: boolean;
}
/** Where a conversation shows what happens. */
interface Stage {
  saved(status: Status, from: Conversation): void;
  shape(width: number, height: number): void;
  live(): void;
  activity(now: Activity): void;
  muted(): void;
  said(said: Said): void;
  tool(event: ToolEvent): void;
  trouble(trouble: Trouble & { code: string }): void;
  /** It is over; the site may not know yet. */
  ended(how: How): void;
  /** The site knows, and has said why Perso ended it. */
  closed(ended: Ended, from: Conversation): void;
}
type Conversation = import("./conversation.js").Conversation;

// --- perso-avatar.js and view.js

type PersoElement = import("./perso-avatar.d.ts").PersoAvatarElement;
type FirstModules = {
  view: typeof import("./view.js");
  style: typeof import("./style.js");
  words: typeof import("./words.js");
};
type Modules = FirstModules & {
  conversation: typeof import("./conversation.js");
  "sdk-loader": typeof import("./sdk-loader.js");
  adapter: typeof import("./adapter.js");
  log: typeof import("./log.js");
  road: typeof import("./road.js");
  tools: typeof import("./tools.js");
  world: World;
};

type State = "idle" | "connecting" | "live" | "ended" | "error";
type Activity = "ready" | "thinking" | "speaking";
type Said = { role: "visitor" | "avatar"; text: string; cut?: true };
/** Who ended it; other: a second conversation began on the page. */
type How = "visitor" | "remote" | "other" | "error";

/** What the buttons of the view do. */
interface ViewActions {
  start(): void;
  cancel(): void;
  end(): void;
  interrupt(): void;
  /** False: it was not sent. */
  send(text: string): Promise<boolean>;
}
/** An element of the widget, with its place in `::part()`. */
type Make = <T extends keyof HTMLElementTagNameMap>(
  tag: T,
  part: string,
  properties?: Record<string, any>,
  ...children: Node[]
) => HTMLElementTagNameMap[T];
type Parts = {
  [
    part in
      | "panel"
      | "stage"
      | "poster"
      | "overlay"
      | "spinner"
      | "error"
      | "reason"
      | "hint"
      | "captions"
      | "chat"
      | "bar"
      | "status"
      | "log"
      | "saved"
  ]: HTMLElement;
} & {
  [
    part in "start" | "cancel" | "sound" | "interrupt" | "end" | "send"
  ]: HTMLButtonElement;
} & {
  video: HTMLVideoElement;
  composer: HTMLFormElement;
  input: HTMLInputElement;
};
