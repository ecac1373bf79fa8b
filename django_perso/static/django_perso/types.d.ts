/**
 * Types the widget's modules share, and the contracts between them. Global, so that the modules need not import them,
 * in a project of TypeScript that lists this file; no page loads it.
 */

// --- sdk.js: Perso's global as far as the driver uses it, and what the driver makes of it

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
/** Brings the SDK into the page, once for all avatars; after a failure the next call tries again. */
type LoadSdk = (tag: SdkTag) => Promise<Perso>;
type AddScript = (tag: SdkTag) => Promise<any>;

type Activity = "ready" | "thinking" | "speaking";
type Said = { role: "visitor" | "avatar"; text: string; cut?: true };
/** Something the visitor is told: a stable code, words (of the site, or ours), and as message a detail for the log.
 * The hint is for who runs the site; others are not sent any. */
type Trouble = { code?: string; words?: string; message: string; hint?: string };
type MakeTrouble = (
  code: string,
  error?: any,
  words?: string,
  hint?: string,
) => Error & Trouble;
interface Listener {
  activity(now: Activity): void;
  said(said: Said): void;
  /** The browser forbids sound; the picture moves. */
  muted(): void;
  trouble(trouble: Trouble): void;
  /** The other side has ended it. */
  close(): void;
}
/** One live session. */
interface Driver {
  /** Settles once the picture moves, or has taken too long. */
  playing: Promise<void>;
  /** What the visitor says; whoever speaks is interrupted. False: it was not sent. */
  send(text: string): Promise<boolean>;
  /** What the avatar shall say. */
  say(text: string): boolean;
  /** Stops speech and the answer being made. */
  interrupt(): Promise<void>;
  /** Finds the activity anew, and waits anew for a sign of life. */
  update(): void;
  stop(): void;
}
type Drive = (session: Session, video: HTMLVideoElement, listener: Listener) => Driver;

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
/** Asks the site for a session. */
type RequestStart = (stage: Stage) => Promise<Start>;
/** Joins the session and plays it, if by then it is still wanted. */
type Connect = (
  perso: Perso,
  start: Start,
  tools: object[],
  run: Run,
  stage: Stage,
) => Promise<void>;
/** Rejects with the error when work takes longer. */
type Within = <T>(seconds: number, work: Promise<T>, error?: Error) => Promise<T>;
/** One conversation, as far as it got. */
type Run = {
  since: number;
  isOver: boolean;
  work?: Promise<unknown>;
  outbox?: Outbox;
  toolbox?: Toolbox;
  driver?: Driver;
};
type Modules = {
  sdk: typeof import("./sdk.js");
  outbox: typeof import("./outbox.js");
  tools: typeof import("./tools.js");
  world: World;
};
/** Brings a conversation to life, step by step; `run` keeps what there is, and may be over after each of them. */
type Converse = (run: Run, modules: Modules, stage: Stage) => Promise<unknown>;

// --- perso-avatar.js

type PersoElement = import("./perso-avatar.d.ts").PersoAvatarElement;
/** What a conversation needs of the element. */
interface Stage extends Listener, SdkTag {
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

type State = "idle" | "connecting" | "live" | "ended" | "error";
/** Who ended it; other: a second conversation began on the page. */
type How = "visitor" | "remote" | "other" | "error";
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
