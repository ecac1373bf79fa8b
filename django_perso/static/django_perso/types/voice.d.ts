/**
 * Types of speech.js, microphone.js and voice.js. Global, so that the modules need not import
 * them; no page loads this file.
 */

interface SpeechListener {
  /** Somebody makes a sound, which may be speech. */
  sound(): void;
  /** The sound is speech. */
  speech(): void;
  /** The sound was not speech. */
  quiet(): void;
  /** The speech has ended. */
  end(): void;
}

interface MicrophoneListener {
  /** The root mean square of the newest samples, every 20 ms. */
  level(level: number, now: number): void;
  /** The device was unplugged, or the permission withdrawn. */
  lost(): void;
}

/** How a visitor talks: while a button is held, after a click, or at any time. */
type VoiceWay = "hold" | "click" | "hands-free";
/**
 * ready: the microphone is on, and a press begins a turn; listening: speech begins one;
 * recording: the avatar hears the visitor.
 */
type VoiceMode = "off" | "ready" | "listening" | "recording";

type Voice = import("../voice.js").Voice;
type Microphone = import("../microphone.js").Microphone;
type VoiceModules = {
  microphone: typeof import("../microphone.js");
  speech: typeof import("../speech.js");
};

/** What an adapter does for speech. */
interface Recorder {
  /** Send this track in place of silence. Rejects with a `code` if the avatar cannot hear. */
  attach(track: MediaStreamTrack): Promise<void>;
  start(): void;
  /** Resolves to what was understood, in so many milliseconds. */
  stop(ms: number): Promise<string>;
  /** End a recording whose text nobody wants. */
  cancel(): void;
}

interface VoiceListener {
  mode(mode: VoiceMode): void;
  level(level: number): void;
  /** Hands-free, a sound has begun, or was not speech. */
  sound(isOn: boolean): void;
  /** The visitor's turn begins: the avatar stops speaking. */
  turn(): void;
  understood(text: string, ms: number): void;
  trouble(code: string): void;
}
