/**
 * Tools the page lends to the model: each call is checked, limited in time, and told to a listener.
 * Knows no DOM and no Perso: timers and clock are given to it.
 */

/** @import { ChatTool, Check, Tool, ToolOptions } from "./types.d.ts" */

/** @type {Record<string, (value: any) => boolean>} */
const TYPES = {
  string: (value) => typeof value === "string",
  number: (value) => Number.isFinite(value),
  integer: (value) => Number.isInteger(value),
  boolean: (value) => typeof value === "boolean",
  array: Array.isArray,
  object: (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  null: (value) => value === null,
};

/** Reads type, enum, required, properties, additionalProperties and items; other keywords pass. @type {Check} */
export const check = (schema, value, at = "arguments") => {
  const types = schema.type === undefined ? [] : [schema.type].flat();
  if (types.length && !types.some((type) => TYPES[type]?.(value) ?? true)) return [`${at} must be ${types.join(" or ")}`];
  const choices = schema.enum?.map((one) => JSON.stringify(one));
  if (choices && !choices.includes(JSON.stringify(value))) return [`${at} must be one of ${choices.join(", ")}`];
  if (Array.isArray(value)) return value.flatMap((one, i) => check(schema.items ?? {}, one, `${at}[${i}]`));
  return TYPES.object(value) ? checkObject(schema, value, at) : [];
};

/** @type {Check} */
const checkObject = ({ properties = {}, required = [], additionalProperties = true }, value, at) => {
  const missing = required.filter((key) => !Object.hasOwn(value, key)).map((key) => `${at}.${key} is missing`);
  const wrong = Object.keys(value).flatMap((key) => {
    if (Object.hasOwn(properties, key)) return check(properties[key], value[key], `${at}.${key}`);
    if (additionalProperties === false) return [`${at}.${key} is not known`];
    return check(additionalProperties === true ? {} : additionalProperties, value[key], `${at}.${key}`);
  });
  return [...missing, ...wrong];
};

/** A failure with a code the model and the log can read. */
class ToolError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The tools of one conversation. */
export class Toolbox {
  #calls = 0;
  #running = 0;
  #rounds = 0;

  /** @param {Map<string, Tool>} tools @param {ToolOptions} options */
  constructor(tools, { world, ontool, onrounds, seconds = 10, rounds = 10 }) {
    this.tools = tools;
    this.world = world;
    this.ontool = ontool;
    this.onrounds = onrounds;
    this.seconds = seconds;
    this.rounds = rounds;
  }

  /** The tools for the SDK; no names means every tool. @param {ChatTool} ChatTool @param {string[]} names */
  chatTools(ChatTool, names) {
    const offered = [...this.tools].filter(([name]) => !names.length || names.includes(name));
    return offered.map(([name, { description = "", parameters, executeOnly = false }]) => {
      const schema = parameters ?? { type: "object", properties: {} };
      return new ChatTool(name, description, schema, (args) => this.call(name, args), executeOnly);
    });
  }

  /** A new turn of the visitor: the model may call tools again. */
  turn() {
    this.#rounds = 0;
  }

  /** Runs one call. Never rejects: what went wrong is part of the answer to the model.
   * @param {string} name @param {any} args @returns {Promise<object>} */
  async call(name, args) {
    const event = { id: `c${++this.#calls}`, name };
    const start = this.world.now();
    if (!this.#running++) this.#rounds++; // calls that run side by side are one round
    this.ontool({ ...event, phase: "called", arguments: args });
    try {
      const result = await this.#run(name, args);
      this.ontool({ ...event, phase: "answered", result, ms: Math.round(this.world.now() - start) });
      return result;
    } catch (cause) {
      const { code = "failed", message = String(cause) } = /** @type {any} */ (cause) ?? {};
      const error = { code: String(code), message: String(message) };
      this.ontool({ ...event, phase: "failed", error, ms: Math.round(this.world.now() - start) });
      return { error };
    } finally {
      this.#running--;
    }
  }

  /** @param {string} name @param {any} args @returns {Promise<object>} */
  async #run(name, args) {
    if (this.#rounds > this.rounds) {
      this.onrounds();
      throw new ToolError("too_many_rounds", `More than ${this.rounds} rounds of tool calls in one turn`);
    }
    const { handler, parameters } = /** @type {Tool} */ (this.tools.get(name));
    const problems = check(parameters ?? {}, args);
    if (problems.length) throw new ToolError("invalid_arguments", problems.join("; "));
    const result = await this.#inTime(name, (signal) => handler(args, { signal }));
    const plain = JSON.parse(JSON.stringify(result ?? null));
    return TYPES.object(plain) ? plain : { result: plain };
  }

  /** @param {string} name @param {(signal: AbortSignal) => unknown} run */
  #inTime(name, run) {
    const late = new AbortController();
    let /** @type {any} */ timer;
    const limit = new Promise((_, reject) => {
      timer = this.world.setTimeout(() => {
        late.abort();
        reject(new ToolError("timeout", `${name} took longer than ${this.seconds} s`));
      }, this.seconds * 1000);
    });
    const work = (async () => run(late.signal))();
    return Promise.race([work, limit]).finally(() => this.world.clearTimeout(timer));
  }
}
