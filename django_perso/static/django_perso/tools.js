/** Tools the page lends to the model: calls are checked, limited in time, told. Knows no DOM and no Perso. */

/** @type {Types} */
const TYPES = {
  string: (value) => typeof value === "string",
  number: (value) => Number.isFinite(value),
  integer: (value) => Number.isInteger(value),
  boolean: (value) => typeof value === "boolean",
  array: Array.isArray,
  object: (value) =>
    typeof value === "object" && value !== null && !Array.isArray(value),
  null: (value) => value === null,
};

/** @type {Check} */
export const check = (schema, value, at = "arguments") => {
  const types = [schema.type ?? []].flat();
  if (types.length && !types.some((type) => TYPES[type]?.(value) ?? true))
    return [`${at} must be ${types.join(" or ")}`];
  const choices = schema.enum?.map((one) => JSON.stringify(one));
  if (choices && !choices.includes(JSON.stringify(value)))
    return [`${at} must be one of ${choices.join(", ")}`];
  if (Array.isArray(value))
    return value.flatMap((one, i) => check(schema.items ?? {}, one, `${at}[${i}]`));
  return TYPES.object(value) ? checkObject(schema, value, at) : [];
};

/** @type {Check} */
const checkObject = (
  { properties = {}, required = [], additionalProperties = true },
  value,
  at,
) => {
  const missing = required
    .filter((key) => !Object.hasOwn(value, key))
    .map((key) => `${at}.${key} is missing`);
  const wrong = Object.entries(value).flatMap(([key, one]) => {
    const known = Object.hasOwn(properties, key)
      ? properties[key]
      : additionalProperties;
    if (known === false) return [`${at}.${key} is not known`];
    return check(known === true ? {} : known, one, `${at}.${key}`);
  });
  return [...missing, ...wrong];
};

const failure = (code = "", message = "") =>
  Object.assign(new Error(message), { code });

/** @type {MakeToolbox} */
export const makeToolbox = (
  tools,
  { world, ontool, onrounds, seconds = 10, rounds = 10 },
) => {
  const { now, setTimeout, clearTimeout } = world;
  let calls = 0,
    running = 0,
    round = 0;

  const run = async (name = "", args = {}) => {
    if (round > rounds) {
      onrounds();
      throw failure(
        "too_many_rounds",
        `More than ${rounds} rounds of tool calls in one turn`,
      );
    }
    const { handler, parameters = {} } = /** @type {Tool} */ (tools.get(name));
    const problems = check(parameters, args);
    if (problems.length) throw failure("invalid_arguments", problems.join("; "));
    const late = new AbortController();
    let timer = 0;
    const limit = new Promise((_, reject) => {
      timer = setTimeout(() => {
        late.abort();
        reject(failure("timeout", `${name} took longer than ${seconds} s`));
      }, seconds * 1000);
    });
    try {
      const result = await Promise.race([
        handler(args, { signal: late.signal }),
        limit,
      ]);
      const plain = JSON.parse(JSON.stringify(result ?? null));
      return TYPES.object(plain) ? plain : { result: plain };
    } finally {
      clearTimeout(timer);
    }
  };

  const call = async (name = "", args = {}) => {
    const event = { id: `c${++calls}`, name },
      since = now(),
      ms = () => Math.round(now() - since);
    if (!running++) round++; // calls that run side by side are one round
    ontool({ ...event, phase: "called", arguments: args });
    try {
      const result = await run(name, args);
      ontool({ ...event, phase: "answered", result, ms: ms() });
      return result;
    } catch (cause) {
      const { code = "failed", message = String(cause) } =
        /** @type {any} */ (cause) ?? {};
      const error = { code: String(code), message: String(message) };
      ontool({ ...event, phase: "failed", error, ms: ms() });
      return { error };
    } finally {
      running--;
    }
  };

  return {
    call,
    turn: () => void (round = 0),
    chatTools: (ChatTool, names) =>
      [...tools]
        .filter(([name]) => !names.length || names.includes(name))
        .map(([name, { description = "", parameters, executeOnly = false }]) => {
          const schema = parameters ?? { type: "object", properties: {} };
          return new ChatTool(
            name,
            description,
            schema,
            (args) => call(name, args),
            executeOnly,
          );
        }),
  };
};
