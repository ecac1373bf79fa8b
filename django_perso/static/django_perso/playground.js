// @ts-check
/**
 * The playground: gives each avatar what its column says when it starts, tells how it went, and works two at once.
 * The conversations themselves are <perso-avatar>'s.
 */

/** @import { PersoAvatarElement, PersoTool } from "./perso-avatar.d.ts" */

const LISTS = ["mcp_servers", "client_tools"];

/** What the model may call here. @param {Column} column @returns {Record<string, PersoTool>} */
const tools = (column) => ({
  get_square_number: {
    description: "Squares a number. To be used whenever a square is asked for.",
    parameters: {
      type: "object",
      properties: { number: { type: "number" } },
      required: ["number"],
    },
    handler: ({ number }) => ({ result: number * number }),
  },
  get_current_weather: {
    description:
      "Tells what the weather is like at a place now. A sample: it is the same everywhere.",
    parameters: {
      type: "object",
      properties: {
        location: { type: "string", description: "A place, e.g. Busan" },
        units: { type: "string", enum: ["celsius", "fahrenheit"], default: "celsius" },
      },
      required: ["location", "units"],
    },
    handler: ({ location, units }) => ({
      location,
      temperature: units === "celsius" ? "21℃" : "70℉",
      condition: "Sunny",
      humidity: "45%",
      wind: "6 km/h",
    }),
  },
  show_settings: {
    description:
      "Opens the settings of this avatar. Only when somebody asks for exactly that.",
    parameters: { type: "object", properties: {} },
    executeOnly: true,
    handler: () => {
      for (const group of all(column.section, "details")) group.open = true;
      return { action: "show_settings", success: true };
    },
  },
  show_map: {
    description: "Opens a map. Only when somebody asks for exactly that.",
    parameters: { type: "object", properties: {} },
    executeOnly: true,
    handler: () => {
      throw new Error("There is no map here."); // on purpose: what a tool that fails looks like
    },
  },
});

/** @param {Element} within @param {string} selector @returns {any[]} */
const all = (within, selector) => [...within.querySelectorAll(selector)];
/** @param {Element} within @param {string} selector */
const find = (within, selector) => all(within, selector)[0];

/** One avatar with its settings. */
class Column {
  #since = 0;
  #asked = 0;
  #answers = 0;

  /** @param {HTMLElement} section @param {HTMLFormElement} form */
  constructor(section, form) {
    this.section = section;
    this.form = form;
    this.avatar = /** @type {PersoAvatarElement} */ (find(section, "perso-avatar"));
    this.source = /** @type {HTMLSelectElement} */ (find(section, "select"));
    this.avatar.toggleAttribute("simultaneous", true);
    for (const [name, tool] of Object.entries(tools(this)))
      this.avatar.registerTool(name, tool);
    for (const number of all(section, "[name*=-padding_]")) this.#slide(number);
    this.#orient();
    section.addEventListener("input", () => this.#show());
    this.#listen();
    this.#show();
  }

  /** The column's settings, under the names of a preset's fields. */
  get params() {
    const sent = new FormData(this.form);
    /** @type {Record<string, any>} */
    const params = {};
    for (const { name: full, type } of all(this.section, "[data-perso-field] [name]")) {
      const name = full.slice(2),
        texts = sent.getAll(full).map(String);
      if (LISTS.includes(name))
        params[name] = texts.flatMap((text) => text.split(/[\s,]+/).filter(Boolean));
      else if (type === "checkbox") params[name] = sent.has(full);
      else if (type === "number") params[name] = Number(texts[0]);
      else params[name] = texts[0] || (name === "api_key" ? null : "");
    }
    return params;
  }

  /** Shows what goes with the chosen source. */
  #show() {
    const isOwn = this.source.value === "";
    for (const part of all(this.section, "[data-perso-own]")) part.hidden = !isOwn;
    for (const part of all(this.section, "[data-perso-preset]")) part.hidden = isOwn;
    const pairs = Object.entries(this.params).flatMap(([name, value]) =>
      [value].flat().map((one) => [name, one === false ? "" : (one ?? "")]),
    );
    for (const link of all(this.section, "[data-perso-save]"))
      link.href = `${link.dataset.persoSave}?${new URLSearchParams(pairs)}`;
  }

  /** A slider beside the number. @param {HTMLInputElement} number */
  #slide(number) {
    const { min, max, value, labels } = number;
    const slider = Object.assign(document.createElement("input"), {
      type: "range",
      min,
      max,
      step: "0.01",
      value,
    });
    slider.ariaLabel = `${labels?.[0].textContent}, ${this.form.dataset.slider}`;
    slider.oninput = () => (number.value = slider.value); // it bubbles, as if the number was typed
    number.addEventListener("input", () => (slider.value = number.value));
    number.after(slider);
  }

  #orient() {
    const sizes = all(this.section, "[name$=-width], [name$=-height]");
    const isPortrait = () => Number(sizes[0].value) < Number(sizes[1].value);
    for (const way of all(this.section, "[data-perso-way]")) {
      way.checked = (way.value === "portrait") === isPortrait();
      way.oninput = () => {
        const [width, height] = sizes.map(({ value }) => value);
        if ((way.value === "portrait") !== isPortrait())
          [sizes[0].value, sizes[1].value] = [height, width];
      };
    }
  }

  #listen() {
    const { avatar, section } = this;
    const say = find(section, "[data-perso-say]"),
      line = find(section, "[data-perso-line]");
    const interrupt = find(section, "[data-perso-interrupt]");
    interrupt.onclick = () => avatar.interrupt();
    say.form.onsubmit = (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      if (avatar.say(line.value)) line.value = "";
    };
    avatar.addEventListener("perso-start", () => {
      avatar.setAttribute("preset", this.source.value);
      avatar.params = this.source.value ? null : this.params;
      [this.#since, this.#asked, this.#answers] = [performance.now(), 0, 0];
      for (const name of ["connected", "first", "last", "how", "reason"])
        this.#tell(name, "–");
    });
    avatar.addEventListener("perso-state", ({ detail: { state, activity } }) => {
      say.disabled = state !== "live";
      interrupt.disabled = activity === "ready";
      if (state === "live" && this.#since)
        this.#since = this.#time("connected", this.#since);
    });
    avatar.addEventListener("perso-message", ({ detail }) => {
      if (detail.role === "visitor") this.#asked = performance.now();
      else if (this.#asked)
        this.#asked = this.#time(this.#answers++ ? "last" : "first", this.#asked);
    });
    avatar.addEventListener("perso-end", ({ detail }) => {
      this.#tell("how", this.#fact("how").dataset[detail.how]);
      this.#tell("reason", detail.reason || this.#fact("reason").dataset.none);
    });
  }

  /** The place of a fact, and the words there are for it. @param {string} name */
  #fact(name) {
    return find(this.section, `[data-perso-fact=${name}]`);
  }

  /** @param {string} name @param {string} text */
  #tell(name, text) {
    this.#fact(name).textContent = text;
  }

  /** @param {string} name @param {number} since @returns {0} nothing to wait for any more */
  #time(name, since) {
    this.#tell(name, `${Math.round(performance.now() - since)} ms`);
    return 0;
  }
}

/** @param {Element} page */
function bringToLife(page) {
  const settings = find(page, "[data-perso-settings]"),
    both = find(page, "[data-perso-both]");
  const [a, b] = all(settings, "[data-perso-column]").map(
    (section) => new Column(section, settings),
  );
  const compare = find(both, "[data-perso-compare]"),
    question = find(both, "input");
  const show = (/** @type {boolean} */ isCompared) => {
    settings.elements.compare.value = isCompared ? "1" : "";
    compare.ariaExpanded = String(isCompared);
    for (const part of [b.section, ...all(both, "[data-perso-with-b]")])
      part.hidden = !isCompared;
    if (!isCompared) b.avatar.stop();
  };
  compare.onclick = () => show(b.section.hasAttribute("hidden"));
  find(both, "[data-perso-start]").onclick = () =>
    [a, b].map(({ avatar }) => avatar.start());
  find(both, "[data-perso-stop]").onclick = () =>
    [a, b].map(({ avatar }) => avatar.stop());
  both.onsubmit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const sent = await Promise.all(
      [a, b].map(({ avatar }) => avatar.send(question.value)),
    );
    if (sent.some(Boolean)) question.value = "";
  };
  // Loading other lists ends a conversation: not by Enter in some field, and not while there is one.
  settings.addEventListener("keydown", (/** @type {any} */ event) => {
    const { key, target } = event;
    if (key === "Enter" && target.matches("input") && target.form === settings)
      event.preventDefault();
  });
  page.addEventListener("perso-state", () => {
    const states = [a, b].map(({ avatar }) => avatar.state),
      isLive = states.includes("live");
    for (const button of all(page, "[data-perso-reload]"))
      button.disabled = isLive || states.includes("connecting");
    find(both, "[data-perso-ask]").disabled = !isLive;
  });
  show(!b.section.hasAttribute("hidden"));
}

customElements.whenDefined("perso-avatar").then(() => {
  for (const page of document.querySelectorAll(
    "[data-perso-playground]:has(perso-avatar)",
  ))
    bringToLife(page);
});

export {}; // a module
