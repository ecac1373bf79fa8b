// Browser tools: arguments are checked, handlers are limited, every call is reported.
import assert from "node:assert/strict";
import { test } from "node:test";

import { check, Toolbox } from "../../django_perso/static/django_perso/tools.js";
import { Clock, settle } from "./world.mjs";

const WEATHER = {
  type: "object",
  properties: {
    location: { type: "string" },
    units: { type: "string", enum: ["celsius", "fahrenheit"] },
  },
  required: ["location", "units"],
  additionalProperties: false,
};

class ChatTool {
  constructor(name, description, parameters, call, executeOnly) {
    Object.assign(this, { name, description, parameters, call, executeOnly });
  }
}

function box(tools, options = {}) {
  const clock = new Clock();
  const events = [];
  const report = { rounds: 0 };
  const toolbox = new Toolbox(new Map(Object.entries(tools)), {
    world: clock,
    ontool: (event) => events.push(event),
    onrounds: () => report.rounds++,
    ...options,
  });
  return { clock, events, report, toolbox };
}

const cases = [
  ["a value of the type", { type: "number" }, 3, []],
  ["another type", { type: "number" }, "3", ["arguments must be number"]],
  ["not a number", { type: "number" }, NaN, ["arguments must be number"]],
  [
    "a fraction for an integer",
    { type: "integer" },
    1.5,
    ["arguments must be integer"],
  ],
  ["one of two types", { type: ["string", "null"] }, null, []],
  [
    "neither of two types",
    { type: ["string", "null"] },
    4,
    ["arguments must be string or null"],
  ],
  ["an array for an object", { type: "object" }, [], ["arguments must be object"]],
  ["null for an object", { type: "object" }, null, ["arguments must be object"]],
  ["every required key", WEATHER, { location: "Seoul", units: "celsius" }, []],
  [
    "a required key is missing",
    WEATHER,
    { units: "celsius" },
    ["arguments.location is missing"],
  ],
  [
    "a key of the prototype counts as missing",
    { type: "object", required: ["toString"] },
    {},
    ["arguments.toString is missing"],
  ],
  [
    "none of the listed values",
    WEATHER,
    { location: "Seoul", units: "kelvin" },
    ['arguments.units must be one of "celsius", "fahrenheit"'],
  ],
  [
    "an unknown key",
    WEATHER,
    { location: "Seoul", units: "celsius", evil: 1 },
    ["arguments.evil is not known"],
  ],
  ["an unknown key where all are allowed", { type: "object" }, { any: 1 }, []],
  [
    "further keys of a type",
    { type: "object", additionalProperties: { type: "number" } },
    { a: 1, b: "2" },
    ["arguments.b must be number"],
  ],
  [
    "a nested object",
    { properties: { a: { type: "object", required: ["b"] } } },
    { a: {} },
    ["arguments.a.b is missing"],
  ],
  [
    "items of an array",
    { type: "array", items: { type: "string" } },
    ["a", 2],
    ["arguments[1] must be string"],
  ],
  ["an unknown keyword", { type: "string", minLength: 3 }, "a", []],
  ["a type named as a method of objects", { type: "toString" }, 3, []],
  ["an unknown type", { type: "date" }, "today", []],
  ["an empty schema", {}, { a: [1, { b: null }] }, []],
];
for (const [what, schema, value, problems] of cases) {
  test(`check: ${what}`, () => assert.deepEqual(check(schema, value), problems));
}

test("a call is reported before and after its handler runs", async () => {
  const { events, toolbox } = box({
    square: {
      parameters: { type: "object" },
      handler: ({ number }) => ({ result: number ** 2 }),
    },
  });
  assert.deepEqual(await toolbox.call("square", { number: 7 }), { result: 49 });
  assert.deepEqual(events, [
    { id: "c1", name: "square", phase: "called", arguments: { number: 7 } },
    { id: "c1", name: "square", phase: "answered", result: { result: 49 }, ms: 0 },
  ]);
});

for (const [given, answered] of [
  [5, { result: 5 }],
  [undefined, { result: null }],
  [[1], { result: [1] }],
  [{ a: new Date(0) }, { a: "1970-01-01T00:00:00.000Z" }],
]) {
  test(`a handler result ${JSON.stringify(given)} becomes an object`, async () => {
    const { toolbox } = box({ look: { handler: () => given } });
    assert.deepEqual(await toolbox.call("look", {}), answered);
  });
}

test("arguments that break the schema never reach the handler", async () => {
  let ran = 0;
  const { events, toolbox } = box({
    weather: { parameters: WEATHER, handler: () => ran++ },
  });
  const answer = await toolbox.call("weather", { location: 3 });
  assert.equal(ran, 0);
  assert.deepEqual(answer, {
    error: {
      code: "invalid_arguments",
      message: "arguments.units is missing; arguments.location must be string",
    },
  });
  assert.equal(events[1].phase, "failed");
});

for (const [how, handler, message] of [
  [
    "throws",
    () => {
      throw new Error("no map here");
    },
    "no map here",
  ],
  [
    "rejects",
    async () => {
      throw new Error("no map here");
    },
    "no map here",
  ],
  ["rejects with nothing", () => Promise.reject(), "undefined"],
  [
    "returns what JSON cannot hold",
    () => {
      const loop = {};
      loop.loop = loop;
      return loop;
    },
    /circular/,
  ],
]) {
  test(`a handler that ${how} gives the model an error`, async () => {
    const { events, toolbox } = box({ show_map: { handler } });
    const { error } = await toolbox.call("show_map", {});
    assert.equal(error.code, "failed");
    assert.match(error.message, new RegExp(message));
    assert.deepEqual(
      events.map((event) => event.phase),
      ["called", "failed"],
    );
  });
}

test("a handler that takes too long is aborted", async () => {
  let signal;
  const { clock, events, toolbox } = box({
    slow: {
      handler: (_args, context) => {
        signal = context.signal;
        return new Promise(() => {});
      },
    },
  });
  const answer = toolbox.call("slow", {});
  await clock.wind(9999);
  assert.equal(signal.aborted, false);
  await clock.wind(1);
  assert.deepEqual((await answer).error, {
    code: "timeout",
    message: "slow took longer than 10 s",
  });
  assert.equal(events[1].ms, 10_000);
  assert.equal(signal.aborted, true);
});

test("a handler that finishes leaves no timer", async () => {
  const { clock, toolbox } = box({ quick: { handler: async () => ({}) } });
  await toolbox.call("quick", {});
  assert.equal(clock.timers.size, 0);
});

test("a model may call tools in ten rounds of one turn", async () => {
  let ran = 0;
  const { report, toolbox } = box({ again: { handler: () => ran++ } });
  for (let round = 0; round < 10; round++) await toolbox.call("again", {});
  assert.equal(report.rounds, 0);
  assert.equal((await toolbox.call("again", {})).error.code, "too_many_rounds");
  assert.deepEqual([ran, report.rounds], [10, 1]);
  toolbox.turn();
  assert.deepEqual(await toolbox.call("again", {}), { result: 10 });
});

test("a call of an unknown tool gives the model an error", async () => {
  const { toolbox } = box({});
  const { error } = await toolbox.call("absent", {});
  assert.equal(error.code, "unknown_tool");
});

test("calls side by side are one round", async () => {
  const { report, toolbox } = box({ look: { handler: settle } }, { rounds: 1 });
  const answers = await Promise.all([1, 2, 3].map(() => toolbox.call("look", {})));
  assert.deepEqual(answers, Array(3).fill({ result: null }));
  assert.equal(report.rounds, 0);
});

test("the SDK gets the tools that the preset names", async () => {
  const { toolbox } = box({
    one: {
      description: "first",
      parameters: WEATHER,
      handler: () => 1,
      executeOnly: true,
    },
    two: { handler: () => 2 },
  });
  const [tool, ...rest] = toolbox.chatTools(ChatTool, ["one", "absent"]);
  assert.deepEqual(rest, []);
  assert.deepEqual(
    [tool.name, tool.description, tool.parameters, tool.executeOnly],
    ["one", "first", WEATHER, true],
  );
  assert.equal((await tool.call({})).error.code, "invalid_arguments");
});

test("a preset without tool names offers every tool", async () => {
  const { toolbox } = box({ one: { handler: () => 1 }, two: { handler: () => 2 } });
  const tools = toolbox.chatTools(ChatTool, []);
  assert.deepEqual(
    tools.map((tool) => [
      tool.name,
      tool.description,
      tool.parameters,
      tool.executeOnly,
    ]),
    [
      ["one", "", { type: "object", properties: {} }, false],
      ["two", "", { type: "object", properties: {} }, false],
    ],
  );
  assert.deepEqual(await tools[1].call({}), { result: 2 });
});
