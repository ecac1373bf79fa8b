/**
 * Types of talking.js, speech.js, microphone.js, recorder.js and voice.js. Global, so that the modules need not import
 * them; no page loads this file.
 */

interface SpeechListener {
  /** Somebody makes a sound, which may be speech. */
  sound(): void;
  /** The sound is speech, which began at this time. */
  speech(from: number): void;
  /** The sound was not speech. */
  quiet(): void;
  /** The speech has ended; its last sound was heard at this time. */
  end(heardAt: number): void;
}

/** The avatar's sound: its level, and whether the page plays it at its full volume. */
type Played = { level: number; isFull: boolean };

interface MicrophoneListener {
  /** The root mean squares of the newest samples, of the visitor and the avatar, every 20 ms. */
  level(level: number, avatar: number, now: number): void;
  /** The device was unplugged, or the permission withdrawn. */
  lost(code: string): void;
}

/** How a visitor talks: while a button is held, after a click, or at any time. */
type VoiceWay = "hold" | "click" | "hands-free";
/**
 * asking: the browser asks the visitor for the microphone; ready: it is on, and a press begins a
 * turn; listening: speech begins one; recording: the avatar hears the visitor.
 */
type VoiceMode = "off" | "asking" | "ready" | "listening" | "recording";

type Talking = import("../talking.js").Talking;
type Voice = import("../voice.js").Voice;
type Microphone = import("../microphone.js").Microphone;
type VoiceModules = {
  microphone: typeof import("../microphone.js");
  speech: typeof import("../speech.js");
};

/** How a recording was recognized. */
type Recognition = { text?: any; failure?: any };
/** A recording whose text is awaited. */
interface WaitingRecording {
  endedAt: number;
  isGivenUp: boolean;
  /** A text that may be that of the recording before. */
  doubtful: Recognition | null;
  settle(recognition: Recognition): void;
}
/** What a recorder needs of its adapter. */
interface ForRecorder {
  /** Send this track in place of silence. Rejects with a `code` if the avatar cannot hear. */
  attach(track: MediaStreamTrack): Promise<void>;
  /** The text of a recording does not come. */
  loss(): void;
}
/** What an SDK does for speech. */
interface Recorder {
  /** The avatar's sound. */
  readonly avatarStream: MediaStream | null;
  /** Send this track in place of silence. Rejects with a `code` if the avatar cannot hear. */
  attach(track: MediaStreamTrack): Promise<void>;
  start(): void;
  /** Resolves to what was understood, in so many milliseconds. */
  stop(ms: number): Promise<string>;
  /** End a recording whose text nobody wants. */
  cancel(): void;
}

/** What talking needs of the page. */
interface TalkingPage {
  video: HTMLVideoElement;
  mode(mode: VoiceMode, way: VoiceWay): void;
  level(level: number): void;
  interrupt(): Promise<void>;
  understood(text: string, spoken: Spoken): void;
  trouble(trouble: Trouble): void;
}
interface VoiceListener {
  mode(mode: VoiceMode, way: VoiceWay): void;
  level(level: number): void;
  /** Make the avatar quieter, or as loud as before. */
  duck(isDucked: boolean): void;
  /** Whether the avatar is silent in the page, whatever Perso sends. */
  isMuted(): boolean;
  /** Make the avatar stop speaking: the visitor speaks. */
  silence(): Promise<void>;
  understood(text: string, ms: number): void;
  trouble(code: string): void;
}
