// Browser tools: arguments from a model are checked, handlers are limited, and every call is told.
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
  ["a number that is none", { type: "number" }, NaN, ["arguments must be number"]],
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
  ["all that is required", WEATHER, { location: "Seoul", units: "celsius" }, []],
  [
    "what is required is missing",
    WEATHER,
    { units: "celsius" },
    ["arguments.location is missing"],
  ],
  [
    "a key of every object's prototype is missing too",
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
  ["an unknown key where any is allowed", { type: "object" }, { any: 1 }, []],
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
  ["a keyword it does not read", { type: "string", minLength: 3 }, "a", []],
  ["a type it does not know", { type: "date" }, "today", []],
  ["no schema at all", {}, { a: [1, { b: null }] }, []],
];
for (const [what, schema, value, problems] of cases) {
  test(`check: ${what}`, () => assert.deepEqual(check(schema, value), problems));
}

test("a call is answered with the handler's object and told before and after", async () => {
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
  test(`a handler that returns ${JSON.stringify(given)} is answered as a plain object`, async () => {
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
      return (loop.loop = loop);
    },
    /circular/,
  ],
]) {
  test(`a handler that ${how} gives the model an error it can read`, async () => {
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

test("a handler that takes too long is given up and told so by its signal", async () => {
  let signal;
  const { clock, events, toolbox } = box({
    slow: { handler: (_, context) => new Promise(() => (signal = context.signal)) },
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

test("a handler in time leaves no timer behind", async () => {
  const { clock, toolbox } = box({ quick: { handler: async () => ({}) } });
  await toolbox.call("quick", {});
  assert.equal(clock.timers.size, 0);
});

test("a model that calls tools without end is stopped after ten rounds, until the visitor speaks again", async () => {
  let ran = 0;
  const { report, toolbox } = box({ again: { handler: () => ran++ } });
  for (let round = 0; round < 10; round++) await toolbox.call("again", {});
  assert.equal(report.rounds, 0);
  assert.equal((await toolbox.call("again", {})).error.code, "too_many_rounds");
  assert.deepEqual([ran, report.rounds], [10, 1]);
  toolbox.turn();
  assert.deepEqual(await toolbox.call("again", {}), { result: 10 });
});

test("calls side by side are one round", async () => {
  const { report, toolbox } = box({ look: { handler: settle } }, { rounds: 1 });
  const answers = await Promise.all([1, 2, 3].map(() => toolbox.call("look", {})));
  assert.deepEqual(answers, Array(3).fill({ result: null }));
  assert.equal(report.rounds, 0);
});

test("the SDK is given the tools the preset names, wrapped", async () => {
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

test("a preset that names no tools offers every tool of the page", async () => {
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
