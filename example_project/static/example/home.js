// @ts-check
/** The page's own script: four tools the avatar can call, and questions to click. */

/**
 * @typedef {(input: any) => object} Handler
 * @typedef {{description: string, parameters: object, handler: Handler, executeOnly?: boolean}} Tool
 * @typedef {HTMLElement & {registerTool(name: string, tool: Tool): unknown, send(text: string): unknown}} Avatar
 */

const WEATHER = {
  celsius: 17,
  condition: "Light rain",
  humidity: "81%",
  wind: "14 km/h",
};

/** @type {Record<string, Tool>} */
const tools = {
  get_square_number: {
    description:
      "Multiplies a number by itself. Use it whenever somebody asks for a square.",
    parameters: {
      type: "object",
      properties: {
        number: { type: "number", description: "The number to multiply by itself" },
      },
      required: ["number"],
    },
    handler: ({ number }) => ({ result: number * number }),
  },
  get_current_weather: {
    description:
      "Tells the weather at a place right now. This sample always sees the same rain.",
    parameters: {
      type: "object",
      properties: {
        location: { type: "string", description: "Town or region, e.g. Seoul" },
        units: { type: "string", enum: ["celsius", "fahrenheit"], default: "celsius" },
      },
      required: ["location", "units"],
    },
    handler: ({ location, units }) => ({
      location,
      temperature:
        units === "fahrenheit"
          ? `${WEATHER.celsius * 1.8 + 32}℉`
          : `${WEATHER.celsius}℃`,
      condition: WEATHER.condition,
      humidity: WEATHER.humidity,
      wind: WEATHER.wind,
    }),
  },
  show_settings: {
    description:
      "Opens this page's settings. Only for a direct request to open or show the settings.",
    parameters: { type: "object", properties: {} },
    executeOnly: true,
    handler: () => {
      settings.show();
      return { action: "show_settings", success: true };
    },
  },
  show_map: {
    description: "Opens a map. Only for a direct request to see a map.",
    parameters: { type: "object", properties: {} },
    executeOnly: true,
    handler: () => {
      // This shows what a failing tool looks like.
      throw new Error("This site has no map.");
    },
  },
};

const avatar = /** @type {Avatar} */ (document.querySelector("perso-avatar"));
const settings = /** @type {HTMLDialogElement} */ (document.getElementById("settings"));
const hint = /** @type {HTMLElement} */ (document.getElementById("hint"));

settings.addEventListener("change", (event) => {
  const choice = /** @type {HTMLInputElement} */ (event.target);
  document.documentElement.style.colorScheme = choice.value;
});

customElements.whenDefined("perso-avatar").then(() => {
  for (const [name, tool] of Object.entries(tools)) {
    avatar.registerTool(name, tool);
  }
});

for (const button of document.querySelectorAll(".tries button")) {
  button.addEventListener("click", () => {
    const isLive = avatar.dataset.state === "live";
    hint.classList.toggle("is-urgent", !isLive);
    if (isLive) {
      avatar.send(button.textContent ?? "");
      return;
    }
    // Screen readers read the hint again when its text is set.
    hint.textContent = String(hint.textContent);
    hint.scrollIntoView({ block: "nearest" });
  });
}

// Make this file a module for the type checker too.
export {};
