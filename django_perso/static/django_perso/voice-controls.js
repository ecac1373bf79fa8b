/** The controls for talking: the button, its level, and a menu with ways to talk and microphones. */

const FAINTEST = 0.003; // the level that is shown as nothing
const LEVEL_STEPS = 20;
const AFTER_POINTER_MS = 200; // comes the click of a press that was seen
const DOUBLE_CLICK_MS = 300;
const SVG = "http://www.w3.org/2000/svg";
const MICROPHONE =
  "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM6 11a6 6 0 0 0 12 0M12 17v4M9 21h6";
const CHEVRON = "M6 15l6-6 6 6";

const CSS = /* css */ `
[part="composer"] {
  position: relative;
  flex-wrap: wrap;
}
[part="talk"],
summary {
  display: grid;
  place-items: center;
  height: 44px;
  border-radius: 999px;
  cursor: pointer;
}
[part="talk"] {
  --_ring: calc(var(--_level, 0) * 8px);
  width: 44px;
  padding: 0;
  touch-action: none;
  user-select: none;
}
[part="voice-menu"] {
  margin-inline: -8px;
}
summary {
  width: 44px;
  list-style: none;
}
summary::-webkit-details-marker {
  display: none;
}
svg {
  width: 20px;
  height: 20px;
  fill: none;
  stroke: currentColor;
  stroke-width: 2;
  stroke-linecap: round;
  pointer-events: none;
}
[part="talk"][aria-pressed="true"] {
  color: var(--_on-accent);
  background: var(--_accent);
  box-shadow: 0 0 0 var(--_ring) color-mix(in srgb, var(--_accent) 35%, transparent);
}
[part="talk"][data-mode="recording"] {
  color: var(--_surface);
  background: var(--_danger);
}
[part="voice-panel"] {
  position: absolute;
  inset: auto 16px 100%;
  display: grid;
  gap: 6px;
  padding: 12px 16px 16px;
  background: var(--_surface);
  border: 1px solid var(--_line);
  border-radius: 14px;
  box-shadow: 0 8px 24px #0000002e;
}
[part="voice-menu"]:not([open]) [part="voice-panel"] {
  display: none;
}
label {
  font-size: 0.86em;
  color: var(--_muted);
}
select {
  min-height: 44px;
  min-width: 0;
  width: 100%;
  padding: 6px 10px;
  font: inherit;
  color: inherit;
  background: var(--_soft);
  border: 1px solid var(--_line);
  border-radius: 10px;
}
option {
  color: var(--_text);
  background: var(--_surface);
}
[part="microphone-off"] {
  margin-top: 6px;
}
[part="voice-hint"] {
  flex: 1 0 100%;
  order: -1;
  font-size: 0.86em;
  color: var(--_muted);
}
[part="voice-hint"]:empty {
  display: none;
}
`;
const sheet = new CSSStyleSheet();
sheet.replaceSync(CSS);

/** Begins and ends turns for the visitor, and shows what the microphone does. */
export class VoiceControls {
  #parts;
  #words;
  #talking = /** @type {Talking | null} */ (null);
  #way = /** @type {VoiceWay | "off"} */ ("off");
  #mode = /** @type {VoiceMode} */ ("off");
  #isPressed = false;
  #pointerUpAt = -Infinity;
  #shownLevel = "";
  #on = new AbortController(); // while the microphone is on

  #hint;
  #talk;
  #menu;
  #options;
  #ways;
  #devices;
  #wayLabel;
  #deviceLabel;
  #switchOff;

  /**
   * @param {Make} make
   * @param {import("./view.js").View} view among whose parts the controls appear
   * @param {import("./words.js").Words} words
   */
  constructor(make, view, words) {
    const { parts } = view;
    this.#parts = parts;
    this.#words = words;
    view.adoptStyle(sheet);
    const button = { type: "button" };
    this.#hint = make("p", "voice-hint", { role: "status" });
    this.#talk = make("button", "talk", button, draw(MICROPHONE));
    this.#options = make("summary", "voice-options", {}, draw(CHEVRON));
    this.#wayLabel = make("label", "voice-label", { htmlFor: "way" });
    this.#ways = make("select", "way", { id: "way" });
    this.#deviceLabel = make("label", "voice-label", { htmlFor: "device" });
    this.#devices = make("select", "device", { id: "device" });
    this.#switchOff = make("button", "microphone-off", button);
    const panel = make(
      "div",
      "voice-panel",
      {},
      this.#wayLabel,
      this.#ways,
      this.#deviceLabel,
      this.#devices,
      this.#switchOff,
    );
    this.#menu = make("details", "voice-menu", {}, this.#options, panel);
    parts.send.before(this.#talk, this.#menu, this.#hint);
    this.#listenToTalk();
    this.#listenToMenu();
    this.offer("off");
  }

  /**
   * Show the controls for a way to talk, or none.
   * @param {VoiceWay | "off"} way
   * @param {Talking | null} talking what they control
   */
  offer(way, talking = null) {
    this.#talking = talking;
    this.#way = way;
    this.#talk.hidden = way === "off";
    this.#menu.hidden = way === "off";
    this.#menu.open = false;
    this.translate();
    this.show("off", way);
  }

  show(/** @type {VoiceMode} */ mode, /** @type {VoiceWay | "off"} */ way) {
    const wasOn = isOn(this.#mode);
    this.#mode = mode;
    this.#way = way;
    if (isOn(mode) && !wasOn) this.#watchDevices();
    if (!isOn(mode)) this.#on.abort();
    const isHearing = mode === "listening" || mode === "recording";
    this.#talk.ariaPressed = String(isHearing);
    this.#talk.dataset.mode = mode;
    this.#deviceLabel.hidden = !isOn(mode);
    this.#devices.hidden = !isOn(mode);
    this.#switchOff.hidden = !isOn(mode);
    // A screen reader would speak over the avatar, and into the microphone.
    const politeness = isOn(mode) ? "off" : "polite";
    this.#parts.status.ariaLive = politeness;
    this.#parts.log.ariaLive = politeness;
    this.showLevel(0);
    this.#label();
  }

  /** Show how loud the visitor is: the root mean square of the samples. */
  showLevel(/** @type {number} */ level) {
    const decibels = 20 * Math.log10(Math.max(level, FAINTEST));
    const part = 1 - decibels / (20 * Math.log10(FAINTEST));
    const shown = (Math.round(part * LEVEL_STEPS) / LEVEL_STEPS).toFixed(2);
    if (shown === this.#shownLevel) return;
    this.#shownLevel = shown;
    this.#talk.style.setProperty("--_level", shown);
  }

  /** Put a text into the input, after what was typed, for the visitor to correct and send. */
  draft(/** @type {string} */ text) {
    const { input } = this.#parts;
    input.value = `${input.value} ${text}`.trim().slice(0, input.maxLength);
    input.focus();
  }

  /** Write all labels anew, in the words that are known now. */
  translate() {
    const words = this.#words;
    this.#options.ariaLabel = words.gettext("Microphone settings");
    this.#wayLabel.textContent = words.gettext("How to talk");
    this.#deviceLabel.textContent = words.gettext("Microphone");
    this.#switchOff.textContent = words.gettext("Turn the microphone off");
    /** @type {[VoiceWay, string][]} */
    const ways = [
      ["hold", words.gettext("Hold the button")],
      ["click", words.gettext("Click, then talk")],
      ["hands-free", words.gettext("Hands-free")],
    ];
    this.#ways.replaceChildren(...ways.map(([way, label]) => new Option(label, way)));
    this.#label();
  }

  /** Write what depends on the way and the mode. */
  #label() {
    const words = this.#words;
    const labels = {
      off: "",
      hold: words.gettext("Hold to talk"),
      click: words.gettext("Talk"),
      "hands-free": words.gettext("Talk hands-free"),
    };
    const label = labels[this.#way];
    this.#talk.ariaLabel = label;
    this.#talk.title = label;
    this.#ways.value = this.#way;
    const isMuted = this.#mode === "ready" && this.#way === "hands-free";
    let hint = "";
    if (this.#mode === "asking")
      hint = words.gettext("Allow the microphone in your browser.");
    if (isMuted) hint = words.gettext("The microphone is muted.");
    this.#hint.textContent = hint;
  }

  /** A press lasts from pointer or key down to up. Screen readers only click. */
  #listenToTalk() {
    const talk = this.#talk;
    const isKey = (/** @type {KeyboardEvent} */ { key }) =>
      key === " " || key === "Enter";
    talk.onpointerdown = (event) => {
      const isDouble = event.timeStamp - this.#pointerUpAt < DOUBLE_CLICK_MS;
      if (event.button || (isDouble && this.#way !== "hold")) return;
      talk.setPointerCapture(event.pointerId);
      this.#press();
    };
    talk.onpointerup = ({ timeStamp }) => {
      this.#pointerUpAt = timeStamp;
      this.#release();
    };
    talk.onpointercancel = () => this.#release();
    talk.onblur = () => this.#release();
    talk.oncontextmenu = (event) => event.preventDefault(); // of a long touch
    talk.onkeydown = (event) => {
      if (!isKey(event)) return;
      event.preventDefault(); // a click would follow
      if (!event.repeat) this.#press();
    };
    talk.onkeyup = (event) => {
      if (!isKey(event)) return;
      event.preventDefault();
      this.#release();
    };
    talk.onclick = ({ timeStamp }) => {
      if (timeStamp - this.#pointerUpAt < AFTER_POINTER_MS) return;
      if (this.#isPressed && this.#way === "hold") this.#release();
      else this.#press();
    };
  }

  /** Turn the microphone on with the first press, and pass on the others. */
  async #press() {
    if (this.#way === "off" || this.#mode === "asking") return;
    const talking = this.#talking;
    const wasOff = this.#mode === "off";
    this.#isPressed = true;
    if (wasOff) await talking?.setVoice(this.#way);
    // The browser's question takes longer than a press.
    const isWanted =
      !wasOff || this.#way === "click" || (this.#way === "hold" && this.#isPressed);
    if (isWanted) talking?.press();
  }

  #release() {
    if (!this.#isPressed) return;
    this.#isPressed = false;
    this.#talking?.release();
  }

  #listenToMenu() {
    const menu = this.#menu;
    this.#ways.onchange = () => {
      this.#way = /** @type {VoiceWay} */ (this.#ways.value);
      if (this.#mode !== "off") this.#talking?.setVoice(this.#way);
      this.#label();
    };
    this.#devices.onchange = async () => {
      await this.#talking?.useDevice(this.#devices.value);
      this.#listDevices();
    };
    this.#switchOff.onclick = () => {
      this.#close();
      this.#talking?.setVoice("off");
    };
    menu.onkeydown = (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      event.stopPropagation(); // a dialog around the widget stays open
      this.#close();
    };
    menu.addEventListener("focusout", ({ relatedTarget }) => {
      const next = /** @type {Node | null} */ (relatedTarget);
      if (next && !menu.contains(next)) menu.open = false;
    });
  }

  #close() {
    this.#menu.open = false;
    this.#options.focus();
  }

  #watchDevices() {
    this.#on = new AbortController();
    const { signal } = this.#on;
    const list = () => this.#listDevices();
    navigator.mediaDevices.addEventListener?.("devicechange", list, { signal });
    list();
  }

  async #listDevices() {
    const { mediaDevices } = navigator;
    const devices = await mediaDevices.enumerateDevices().catch(() => []);
    const microphones = devices.filter(({ kind }) => kind === "audioinput");
    this.#devices.replaceChildren(
      ...microphones.map(({ label, deviceId }) => new Option(label, deviceId)),
    );
    this.#devices.value = this.#talking?.deviceId ?? "";
  }
}

const isOn = (/** @type {VoiceMode} */ mode) => mode !== "off" && mode !== "asking";

function draw(/** @type {string} */ shape) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", shape);
  svg.append(path);
  return svg;
}
