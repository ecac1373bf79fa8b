/**
 * Types of tools.js. Global, so that the modules need not import them; no page loads this
 * file.
 */

/** A JSON schema, as far as it is checked. */
type Schema = {
  type?: string | string[];
  enum?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  [keyword: string]: unknown;
};
type Tool = import("../perso-avatar.d.ts").PersoTool;
type ToolEvent = {
  id: string;
  name: string;
  phase: "called" | "answered" | "failed";
  arguments?: any;
  result?: any;
  error?: { code: string; message: string };
  ms?: number;
};
type ToolOptions = {
  world: Timers;
  ontool(event: ToolEvent): void;
  /** The model keeps calling tools. */
  onrounds(): void;
  /** How long a handler may take. */
  seconds?: number;
  /** How many rounds of calls a turn of the visitor may have. */
  rounds?: number;
};
type Toolbox = import("../tools.js").Toolbox;
