/**
 * Types of the <perso-avatar> element, its methods and its events. Its attributes, parts and
 * custom properties are listed in perso-avatar.js.
 */

export type PersoState = "idle" | "consent" | "connecting" | "live" | "ended" | "error";
export type PersoActivity =
  "ready" | "listening" | "recording" | "thinking" | "speaking";

export interface PersoTool {
  description?: string;
  /** JSON Schema of the handler's first argument. */
  parameters?: Record<string, any>;
  handler: (args: any, context: { signal: AbortSignal }) => unknown;
  /** The avatar does not wait for a result. */
  executeOnly?: boolean;
}

export declare class PersoAvatarElement extends HTMLElement {
  readonly state: PersoState;
  readonly activity: PersoActivity;
  /** Session parameters to start with instead of a preset, for staff who may change presets. */
  params: Record<string, unknown> | null;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Sends a message as the visitor. Resolves to false if it was not sent. */
  send(text: string): Promise<boolean>;
  /** Makes the avatar say something. Returns false if there is no conversation. */
  say(text: string): boolean;
  interrupt(): Promise<void>;
  /** Lets the model call a function on the page, from the next start on. Returns a function
   * that unregisters it. */
  registerTool(name: string, tool: PersoTool["handler"] | PersoTool): () => void;
}

export interface PersoToolDetail {
  id: string;
  name: string;
  phase: "called" | "answered" | "failed";
  arguments?: any;
  result?: any;
  error?: { code: string; message: string };
  ms?: number;
}

export interface PersoEvents {
  /** Cancelable: if it is canceled, nothing is started or billed. */
  "perso-start": CustomEvent<{ preset: string }>;
  "perso-state": CustomEvent<{ state: PersoState; activity: PersoActivity }>;
  "perso-message": CustomEvent<{
    role: "visitor" | "avatar";
    text: string;
    cut?: true;
    via?: "voice";
    spoken_ms?: number;
  }>;
  "perso-tool": CustomEvent<PersoToolDetail>;
  "perso-error": CustomEvent<{ code: string; message: string; detail?: string }>;
  "perso-end": CustomEvent<{
    how: "visitor" | "remote" | "other" | "logout" | "error";
    reason: string;
    ms: number;
  }>;
}

declare global {
  interface HTMLElementTagNameMap {
    "perso-avatar": PersoAvatarElement;
  }
  interface HTMLElementEventMap extends PersoEvents {}
  interface DocumentEventMap extends PersoEvents {}
}
