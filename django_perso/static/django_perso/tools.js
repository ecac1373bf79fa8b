/**
 * Browser tools: functions on the page that the model may call. Arguments are checked,
 * handlers are limited in time, and every call is reported.
 */

/** @param {unknown} value */
const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** @type {Map<string, (value: unknown) => boolean>} */
const TYPES = new Map([
  ["string", (value) => typeof value === "string"],
  ["number", (value) => Number.isFinite(value)],
  ["integer", (value) => Number.isInteger(value)],
  ["boolean", (value) => typeof value === "boolean"],
  ["array", (value) => Array.isArray(value)],
  ["object", isObject],
  ["null", (value) => value === null],
]);

/**
 * Return whether a value is of a JSON schema's type. Unknown types pass.
 * @param {unknown} value
 * @param {string} type
 */
function isOfType(value, type) {
  const test = TYPES.get(type);
  return !test || test(value);
}

/**
 * @param {Schema} schema
 * @param {unknown} value
 * @param {string} at
 */
function checkType({ type }, value, at) {
  const types = [type ?? []].flat();
  const isValid = types.length === 0 || types.some((one) => isOfType(value, one));
  return isValid ? null : `${at} must be ${types.join(" or ")}`;
}

/**
 * @param {Schema} schema
 * @param {unknown} value
 * @param {string} at
 */
function checkChoice(schema, value, at) {
  const choices = schema.enum?.map((choice) => JSON.stringify(choice));
  const isValid = !choices || choices.includes(JSON.stringify(value));
  return isValid ? null : `${at} must be one of ${choices.join(", ")}`;
}

/**
 * Return what is wrong with a value, one sentence each. Keywords other than type, enum,
 * required, properties, additionalProperties and items are not checked.
 * @param {Schema} schema
 * @param {any} value
 * @param {string} [at]
 * @returns {string[]}
 */
export function check(schema, value, at = "arguments") {
  const problem = checkType(schema, value, at) ?? checkChoice(schema, value, at);
  if (problem) return [problem];
  if (Array.isArray(value)) {
    const items = schema.items ?? {};
    return value.flatMap((item, index) => check(items, item, `${at}[${index}]`));
  }
  return isObject(value) ? checkObject(schema, value, at) : [];
}

/**
 * @param {Schema} schema
 * @param {Record<string, any>} value
 * @param {string} at
 */
function checkObject({ properties, required = [], additionalProperties }, value, at) {
  const problems = required
    .filter((key) => !Object.hasOwn(value, key))
    .map((key) => `${at}.${key} is missing`);
  const known = new Map(Object.entries(properties ?? {}));
  for (const [key, item] of Object.entries(value)) {
    const schema = known.get(key) ?? additionalProperties ?? true;
    if (schema === false) problems.push(`${at}.${key} is not known`);
    else if (schema !== true) problems.push(...check(schema, item, `${at}.${key}`));
  }
  return problems;
}

/** Why a call failed, with a code for the model and the log. */
class ToolError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/**
 * Return what the model and the log are given of whatever a handler has thrown.
 * @param {any} cause
 */
function describe(cause) {
  return {
    code: String(cause?.code ?? "failed"),
    message: String(cause?.message ?? cause),
  };
}

/** The tools of a page during one conversation. */
export class Toolbox {
  #tools;
  #world;
  #ontool;
  #onrounds;
  #seconds;
  #rounds;
  #calls = 0;
  #running = 0;
  #round = 0; // of the visitor's turn; calls that run side by side are one round

  /**
   * @param {Map<string, Tool>} tools
   * @param {ToolOptions} options
   */
  constructor(tools, { world, ontool, onrounds, seconds = 10, rounds = 10 }) {
    this.#tools = tools;
    this.#world = world;
    this.#ontool = ontool;
    this.#onrounds = onrounds;
    this.#seconds = seconds;
    this.#rounds = rounds;
  }

  /**
   * Run one call. It never rejects: the answer tells the model what went wrong.
   * @param {string} name
   * @param {any} args
   * @returns {Promise<object>}
   */
  async call(name, args) {
    this.#calls += 1;
    const event = { id: `c${this.#calls}`, name };
    const startedAt = this.#world.now();
    const elapsed = () => Math.round(this.#world.now() - startedAt);
    if (!this.#running) this.#round += 1;
    this.#running += 1;
    this.#ontool({ ...event, phase: "called", arguments: args });
    try {
      const result = await this.#run(name, args);
      this.#ontool({ ...event, phase: "answered", result, ms: elapsed() });
      return result;
    } catch (cause) {
      const error = describe(cause);
      this.#ontool({ ...event, phase: "failed", error, ms: elapsed() });
      return { error };
    } finally {
      this.#running -= 1;
    }
  }

  /** Begin a new turn of the visitor: the model may call tools again. */
  turn() {
    this.#round = 0;
  }

  /**
   * Return the tools as the SDK takes them; no names means every tool.
   * @param {Perso["ChatTool"]} ChatTool
   * @param {string[]} names
   * @returns {ChatTool[]}
   */
  chatTools(ChatTool, names) {
    const chosen = [...this.#tools].filter(
      ([name]) => !names.length || names.includes(name),
    );
    return chosen.map(
      ([name, { description = "", parameters, executeOnly = false }]) => {
        const schema = parameters ?? { type: "object", properties: {} };
        const call = (/** @type {any} */ args) => this.call(name, args);
        return new ChatTool(name, description, schema, call, executeOnly);
      },
    );
  }

  /**
   * @param {string} name
   * @param {any} args
   */
  async #run(name, args) {
    if (this.#round > this.#rounds) {
      this.#onrounds();
      const message = `More than ${this.#rounds} rounds of tool calls in one turn`;
      throw new ToolError("too_many_rounds", message);
    }
    const tool = this.#tools.get(name);
    if (!tool) throw new ToolError("unknown_tool", `There is no tool ${name}`);
    const problems = check(tool.parameters ?? {}, args);
    if (problems.length) throw new ToolError("invalid_arguments", problems.join("; "));
    const result = await this.#withinTime(name, (signal) =>
      tool.handler(args, { signal }),
    );
    const plain = JSON.parse(JSON.stringify(result ?? null));
    return isObject(plain) ? plain : { result: plain };
  }

  /**
   * @param {string} name
   * @param {(signal: AbortSignal) => unknown} work
   */
  async #withinTime(name, work) {
    const late = new AbortController();
    /** @type {any} */
    let timer;
    const limit = new Promise((_resolve, reject) => {
      timer = this.#world.setTimeout(() => {
        late.abort();
        const message = `${name} took longer than ${this.#seconds} s`;
        reject(new ToolError("timeout", message));
      }, this.#seconds * 1000);
    });
    try {
      return await Promise.race([work(late.signal), limit]);
    } finally {
      this.#world.clearTimeout(timer);
    }
  }
}
