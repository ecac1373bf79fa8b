/**
 * Types of the <perso-avatar> element, its methods and its events. Its attributes, parts and
 * custom properties are listed in perso-avatar.js.
 */

export type PersoState = "idle" | "connecting" | "live" | "ended" | "error";
export type PersoActivity = "ready" | "thinking" | "speaking";

export interface PersoTool {
  description?: string;
  /** JSON schema of the handler's first argument. */
  parameters?: Record<string, any>;
  handler: (args: any, context: { signal: AbortSignal }) => unknown;
  /** The avatar does not answer to the result. */
  executeOnly?: boolean;
}

export declare class PersoAvatarElement extends HTMLElement {
  readonly state: PersoState;
  readonly activity: PersoActivity;
  /** Settings to start with in place of the preset, for those who may change presets. */
  params: Record<string, unknown> | null;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Sends a message of the visitor; false: it was not sent. */
  send(text: string): Promise<boolean>;
  /** Makes the avatar say something; false: there is no conversation. */
  say(text: string): boolean;
  interrupt(): Promise<void>;
  /** Offers a function of the page to the model, from the next start on. Returns a function
   * that withdraws it. */
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
  /** Cancelable; then nothing is started or paid for. */
  "perso-start": CustomEvent<{ preset: string }>;
  "perso-state": CustomEvent<{ state: PersoState; activity: PersoActivity }>;
  "perso-message": CustomEvent<{
    role: "visitor" | "avatar";
    text: string;
    cut?: true;
  }>;
  "perso-tool": CustomEvent<PersoToolDetail>;
  "perso-error": CustomEvent<{ code: string; message: string; detail?: string }>;
  "perso-end": CustomEvent<{
    how: "visitor" | "remote" | "other" | "error";
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
