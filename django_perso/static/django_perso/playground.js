// @ts-check
/**
 * The playground: starts each avatar with the settings of its column, shows how the
 * conversation went, and controls both avatars at once. <perso-avatar> holds the
 * conversations.
 */

/** @import { PersoAvatarElement, PersoTool } from "./perso-avatar.d.ts" */

/**
 * How the values of a field are sent, by the kind that the server gives the field.
 * @type {Record<string, (texts: string[]) => unknown>}
 */
const READERS = {
  key: ([id]) => id || null,
  text: ([text]) => text ?? "",
  locale: ([text]) => text ?? "",
  names: (texts) => texts.flatMap(namesIn),
  fraction: ([text]) => Number(text),
  pixels: ([text]) => Number(text),
  flag: (texts) => texts.length > 0,
};

/** @param {string} text */
function namesIn(text) {
  const names = text.split(/[,\n]/).map((name) => name.trim());
  return names.filter(Boolean);
}

/**
 * The tools that the model may call on this page.
 * @param {HTMLElement} section
 * @returns {Record<string, PersoTool>}
 */
const toolsOf = (section) => ({
  get_square_number: {
    description: "Squares a number. Use it whenever a square is asked for.",
    parameters: {
      type: "object",
      properties: { number: { type: "number" } },
      required: ["number"],
    },
    handler: ({ number }) => ({ result: number * number }),
  },
  get_current_weather: {
    description: "Returns the current weather at a place. A sample: always the same.",
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
    description: "Opens the settings of this avatar. Use it for direct commands only.",
    parameters: { type: "object", properties: {} },
    executeOnly: true,
    handler: () => {
      for (const group of all(section, "details")) group.open = true;
      return { action: "show_settings", success: true };
    },
  },
  show_map: {
    description: "Opens a map. Use it for direct commands only.",
    parameters: { type: "object", properties: {} },
    executeOnly: true,
    handler: () => {
      // Shows what happens when a tool fails.
      throw new Error("There is no map here.");
    },
  },
});

/** @param {Element} within @param {string} selector @returns {any[]} */
const all = (within, selector) => [...within.querySelectorAll(selector)];
/** @param {Element} within @param {string} selector @returns {any} */
const find = (within, selector) => within.querySelector(selector);

/** One avatar with its settings and the facts about its conversation. */
class Column {
  /** When the conversation was started, until it is live. @type {number | null} */
  #startedAt = null;
  /** When the visitor asked, until the avatar answers. @type {number | null} */
  #askedAt = null;
  #answers = 0;

  /** @param {HTMLElement} section @param {HTMLFormElement} form */
  constructor(section, form) {
    this.section = section;
    this.form = form;
    this.prefix = section.dataset.persoColumn;
    this.avatar = /** @type {PersoAvatarElement} */ (find(section, "perso-avatar"));
    this.source = /** @type {HTMLSelectElement} */ (find(section, "select"));
    this.avatar.toggleAttribute("simultaneous", true);
    for (const [name, tool] of Object.entries(toolsOf(section)))
      this.avatar.registerTool(name, tool);
    for (const number of all(section, "[data-perso-kind=fraction] input"))
      this.#addSlider(number);
    this.#connectOrientation();
    this.#connectControls();
    this.#connectFacts();
    section.addEventListener("input", () => this.#showSource());
    this.#showSource();
  }

  /** The settings of the column, under the names of a preset's fields. */
  get params() {
    const sent = new FormData(this.form);
    /** @type {Record<string, any>} */
    const params = {};
    for (const { dataset } of all(this.section, "[data-perso-field]")) {
      const name = dataset.persoField;
      const texts = sent.getAll(`${this.prefix}-${name}`).map(String);
      params[name] = READERS[dataset.persoKind](texts);
    }
    return params;
  }

  /** Show what belongs to the chosen source: a preset, or the settings of the column. */
  #showSource() {
    const isPreset = this.source.value !== "";
    for (const part of all(this.section, "[data-perso-own]")) part.hidden = isPreset;
    for (const part of all(this.section, "[data-perso-preset]"))
      part.hidden = !isPreset;
    const query = this.#query();
    for (const link of all(this.section, "[data-perso-save]"))
      link.href = `${link.dataset.persoSave}?${query}`;
  }

  /** The settings as the query string that the form of a new preset takes. */
  #query() {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(this.params)) {
      const values = Array.isArray(value) ? value : [value];
      for (const each of values) query.append(name, each || each === 0 ? each : "");
    }
    return query;
  }

  /** @param {HTMLInputElement} number */
  #addSlider(number) {
    const slider = document.createElement("input");
    slider.type = "range";
    slider.min = number.min;
    slider.max = number.max;
    slider.step = "0.01";
    slider.value = number.value;
    slider.ariaLabel = `${number.labels?.[0].textContent}, ${this.form.dataset.slider}`;
    // The event bubbles, as if somebody had typed the number.
    slider.addEventListener("input", () => {
      number.value = slider.value;
    });
    number.addEventListener("input", () => {
      slider.value = number.value;
    });
    number.after(slider);
  }

  #connectOrientation() {
    const width = find(this.section, "[name$=-width]");
    const height = find(this.section, "[name$=-height]");
    const orientation = () =>
      Number(width.value) < Number(height.value) ? "portrait" : "landscape";
    for (const choice of all(this.section, "[data-perso-way]")) {
      choice.checked = choice.value === orientation();
      choice.addEventListener("input", () => {
        if (choice.value === orientation()) return;
        [width.value, height.value] = [height.value, width.value];
      });
    }
  }

  #connectControls() {
    const { avatar, section } = this;
    const say = find(section, "[data-perso-say]");
    const text = find(section, "[data-perso-line]");
    const interrupt = find(section, "[data-perso-interrupt]");
    interrupt.addEventListener("click", () => avatar.interrupt());
    say.form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      if (avatar.say(text.value)) text.value = "";
    });
    avatar.addEventListener("perso-state", ({ detail: { state, activity } }) => {
      say.disabled = state !== "live";
      interrupt.disabled = activity === "ready";
    });
  }

  #connectFacts() {
    const { avatar } = this;
    avatar.addEventListener("perso-start", () => this.#reset());
    avatar.addEventListener("perso-state", ({ detail }) => {
      if (detail.state !== "live" || this.#startedAt === null) return;
      this.#showTime("connected", this.#startedAt);
      this.#startedAt = null;
    });
    avatar.addEventListener("perso-message", ({ detail }) => {
      if (detail.role === "visitor") this.#askedAt = performance.now();
      else this.#answered();
    });
    avatar.addEventListener("perso-end", ({ detail }) => {
      this.#show("how", this.#fact("how").dataset[detail.how]);
      this.#show("reason", detail.reason || this.#fact("reason").dataset.none);
    });
  }

  /** Give the avatar its settings as it starts, and forget the last conversation. */
  #reset() {
    this.avatar.setAttribute("preset", this.source.value);
    this.avatar.params = this.source.value ? null : this.params;
    this.#startedAt = performance.now();
    this.#askedAt = null;
    this.#answers = 0;
    for (const fact of all(this.section, "[data-perso-fact]")) fact.textContent = "–";
  }

  #answered() {
    if (this.#askedAt === null) return;
    this.#showTime(this.#answers === 0 ? "first" : "last", this.#askedAt);
    this.#answers += 1;
    this.#askedAt = null;
  }

  /** @param {string} name */
  #fact(name) {
    return find(this.section, `[data-perso-fact=${name}]`);
  }

  /** @param {string} name @param {string} text */
  #show(name, text) {
    this.#fact(name).textContent = text;
  }

  /** @param {string} name @param {number} since */
  #showTime(name, since) {
    this.#show(name, `${Math.round(performance.now() - since)} ms`);
  }
}

/** The page: two columns, the second of which may be hidden. */
class Playground {
  /** @param {Element} page */
  constructor(page) {
    this.page = page;
    this.settings = find(page, "[data-perso-settings]");
    this.both = find(page, "[data-perso-both]");
    const sections = all(this.settings, "[data-perso-column]");
    this.columns = sections.map((section) => new Column(section, this.settings));
    this.second = this.columns[1];
    this.#connectBoth();
    this.#protectConversations();
    this.#compare(!this.second.section.hasAttribute("hidden"));
  }

  /** @param {boolean} isCompared */
  #compare(isCompared) {
    this.settings.elements.compare.value = isCompared ? "1" : "";
    find(this.both, "[data-perso-compare]").ariaExpanded = String(isCompared);
    for (const part of all(this.both, "[data-perso-with-b]")) part.hidden = !isCompared;
    this.second.section.hidden = !isCompared;
    if (!isCompared) this.second.avatar.stop();
  }

  #connectBoth() {
    const avatars = this.columns.map(({ avatar }) => avatar);
    const question = find(this.both, "input");
    find(this.both, "[data-perso-compare]").addEventListener("click", () =>
      this.#compare(this.second.section.hasAttribute("hidden")),
    );
    find(this.both, "[data-perso-start]").addEventListener("click", () => {
      for (const avatar of avatars) avatar.start();
    });
    find(this.both, "[data-perso-stop]").addEventListener("click", () => {
      for (const avatar of avatars) avatar.stop();
    });
    this.both.addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      const sent = await Promise.all(
        avatars.map((avatar) => avatar.send(question.value)),
      );
      if (sent.some(Boolean)) question.value = "";
    });
  }

  /** Showing other lists loads the page anew, which would end a conversation. */
  #protectConversations() {
    this.settings.addEventListener("keydown", (/** @type {any} */ event) => {
      const { key, target } = event;
      const isSetting = target.matches("input") && target.form === this.settings;
      if (key === "Enter" && isSetting) event.preventDefault();
    });
    this.page.addEventListener("perso-state", () => {
      const states = this.columns.map(({ avatar }) => avatar.state);
      const isLive = states.includes("live");
      for (const button of all(this.page, "[data-perso-reload]"))
        button.disabled = isLive || states.includes("connecting");
      find(this.both, "[data-perso-ask]").disabled = !isLive;
    });
  }
}

customElements.whenDefined("perso-avatar").then(() => {
  const pages = all(document.body, "[data-perso-playground]:has(perso-avatar)");
  for (const page of pages) new Playground(page);
});

export {}; // a module
