/**
 * Types of the widget: perso-avatar.js, view.js, words.js, conversation.js, sdk-loader.js
 * and adapter.js. Global, so that the modules need not import them; no page loads this file.
 */

// --- adapter.js and sdk-loader.js

type Perso = typeof PersoInteractive;
type ChatTool = PersoInteractive.ChatTool;
type Chat = PersoInteractive.Chat;
type Session = PersoInteractive.Session;
type SdkTag = { src: string; integrity: string; nonce: string; pageNonces: string[] };

type Adapter = import("../adapter.js").Sdk1Adapter;
type OpenWithMicrophone = typeof import("../recorder.js").openWithMicrophone | null;
/** What an adapter needs of the page. */
type ForAdapter = {
  tools: ChatTool[];
  video: HTMLVideoElement;
  /** Opens the session so that the SDK takes the microphone at once; null: without. */
  openWithMicrophone: OpenWithMicrophone;
};
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
  voice: VoiceWay | "off";
  tools: string[];
  log: { ws: string | null; post: string };
};
/** Something that went wrong: a stable code, and as message a detail for the log. The site may
 * send words of its own, and a hint for its operator. */
type Trouble = { code?: string; message: string; words?: string; hint?: string };
/** The text that the visitor has to agree to, and its hash. */
type Question = { text: string; hash: string };
/** Django's CSRF token, and the header in which it is sent. */
type CsrfToken = { header: string; token: string };
type Ended = { how: How; reason: string; ms: number };

/** Import modules of the widget by their names. Rejects with a `code`. */
type ImportModules = (names: string[]) => Promise<any>;

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
  /** The page's way to talk; empty for the preset's. */
  way: VoiceWay | "off" | "";
  /** The visitor corrects what was understood before it is sent. */
  isReviewed: boolean;
  /** Ask for the microphone before the start, because Perso did not receive it last time. */
  needsMicrophone: boolean;
  importModules: ImportModules;
}
/** Where a conversation shows what happens. */
interface Stage {
  saved(status: Status, trouble: string, from: Conversation): void;
  /** Ask the visitor for consent; resolves to false when `signal` is aborted. */
  consent(
    module: typeof import("../consent.js"),
    text: string,
    signal: AbortSignal,
  ): Promise<boolean>;
  shape(width: number, height: number): void;
  /** The visitor can type. */
  live(): void;
  /** The visitor can talk, in this way. */
  offerVoice(
    module: typeof import("../voice-controls.js"),
    talking: Talking,
    way: VoiceWay,
  ): void;
  voice(mode: VoiceMode, way: VoiceWay): void;
  /** What was understood, for the visitor to correct and send. */
  review(text: string, spoken: Spoken): void;
  /** How loud the visitor is: the root mean square of the samples. */
  level(level: number): void;
  activity(now: Activity): void;
  muted(): void;
  said(said: Said): void;
  tool(event: ToolEvent): void;
  trouble(trouble: Trouble & { code: string }): void;
  /** It has ended; the site may not know yet. */
  ended(how: How): void;
  /** The site knows, and has said why Perso ended it. */
  closed(ended: Ended, from: Conversation): void;
}
type Conversation = import("../conversation.js").Conversation;

// --- perso-avatar.js and view.js

type PersoElement = import("../perso-avatar.d.ts").PersoAvatarElement;
type FirstModules = {
  view: typeof import("../view.js");
  style: typeof import("../style.js");
  words: typeof import("../words.js");
};
type Modules = FirstModules & {
  sentences: typeof import("../sentences.js");
  messages: typeof import("../messages.js");
  conversation: typeof import("../conversation.js");
  "sdk-loader": typeof import("../sdk-loader.js");
  adapter: typeof import("../adapter.js");
  frames: typeof import("../frames.js");
  outbox: typeof import("../outbox.js");
  transport: typeof import("../transport.js");
  store: typeof import("../store.js");
  tools: typeof import("../tools.js");
  world: World;
};

/** What all parts of the widget need that are made later than the first screen. */
type PartOptions = [Make, import("../view.js").View, import("../words.js").Words];

type State = "idle" | "consent" | "connecting" | "live" | "ended" | "error";
type Activity = "ready" | "listening" | "recording" | "thinking" | "speaking";
/** That a line was spoken, and for how long. */
type Spoken = { via: "voice"; spoken_ms: number };
type Said = { role: "visitor" | "avatar"; text: string; cut?: true } & Partial<Spoken>;
/** Who ended it; other: a second conversation started on the page. */
type How = "visitor" | "remote" | "other" | "logout" | "error";

/** What the buttons of the view do. */
interface ViewActions {
  start(): void;
  cancel(): void;
  end(): void;
  interrupt(): void;
  /** Resolves to false if it was not sent. */
  send(text: string): Promise<boolean>;
}
/** An element of the widget, with its place in `::part()`. */
type Make = <T extends keyof HTMLElementTagNameMap>(
  tag: T,
  part: string,
  properties?: Record<string, any>,
  ...children: (Node | string)[]
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
      | "consent"
      | "consent-text"
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
  privacy: HTMLAnchorElement;
  video: HTMLVideoElement;
  composer: HTMLFormElement;
  input: HTMLInputElement;
};
