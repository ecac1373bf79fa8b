// The form of presets and the playground: draws the framing, describes the chosen entry,
// copies the tag. The form works without it.
"use strict";

{
  /** @param {Element} parent @param {string} className */
  const addBox = (parent, className) => {
    const box = document.createElement("div");
    box.className = className;
    return parent.appendChild(box);
  };

  /** The picture of the chosen tile, or "". @param {HTMLFormElement} form @param {string} name */
  const pictureOf = (form, name) => {
    const chosen = form.querySelector(`input[name="${CSS.escape(name)}"]:checked`);
    return chosen?.closest("label")?.querySelector("img")?.src ?? "";
  };

  /**
   * Where the avatar stands, in fractions of the frame: the side of the square in which
   * it is drawn, and its left and top. Its face is a little above the middle.
   * @param {(name: string, usual: number) => number} valueOf
   */
  const placement = (valueOf) => {
    const width = valueOf("width", 1080);
    const height = valueOf("height", 1920);
    const scale = Math.max(0.2, Math.min(2, valueOf("padding_height", 1)));
    const size = Math.min(height, width * 1.45) * scale;
    const usualMiddle = width > height ? 0.45 : 0.48;
    const middle = usualMiddle + valueOf("padding_top", 0);
    return {
      ratio: width / height,
      side: size / width,
      left: 0.5 + valueOf("padding_left", 0) - size / width / 2,
      top: middle - (0.45 * size) / height,
    };
  };

  /** A drawing of the avatar in its frame, which follows the fields of its form. */
  class Framing {
    /** @param {HTMLElement} place @param {HTMLFormElement} form */
    constructor(place, form) {
      this.form = form;
      this.prefix = place.dataset.prefix;
      this.stage = addBox(place, "perso-stage");
      this.background = addBox(this.stage, "perso-back");
      this.figure = addBox(this.stage, "perso-figure");
      form.addEventListener("input", () => this.draw());
      form.addEventListener("change", () => this.draw());
      this.draw();
    }

    draw() {
      const { ratio, side, left, top } = placement((...args) => this.#number(...args));
      const isDrawable = ratio > 0.02 && ratio < 50;
      if (!isDrawable) return;
      this.stage.style.aspectRatio = String(ratio);
      this.stage.style.width = `${Math.round(Math.min(320, 320 * ratio))}px`;
      const parts = { width: side, left, top };
      for (const [name, part] of Object.entries(parts))
        this.figure.style.setProperty(name, `${part * 100}%`);
      this.#paint(this.background, "background_image");
      this.#paint(this.figure, "model_style");
    }

    /** @param {string} name */
    #fieldName(name) {
      return this.prefix ? `${this.prefix}-${name}` : name;
    }

    /** @param {string} name @param {number} usual */
    #number(name, usual) {
      const field = this.form.elements.namedItem(this.#fieldName(name));
      const value = field instanceof HTMLInputElement ? field.valueAsNumber : NaN;
      return Number.isNaN(value) ? usual : value;
    }

    /** @param {HTMLElement} layer @param {string} name */
    #paint(layer, name) {
      const url = pictureOf(this.form, this.#fieldName(name));
      layer.style.backgroundImage = url ? `url(${JSON.stringify(url)})` : "";
      layer.classList.toggle("perso-blank", !url);
    }
  }

  /** Describe the chosen entry below its list. @param {HTMLSelectElement} select */
  const describe = (select) => {
    const picker = select.closest(".perso-picker");
    const chosen = select.selectedOptions[0];
    for (const name of ["mark", "about", "intro"]) {
      const line = picker?.querySelector(`[data-perso-${name}]`);
      if (!(line instanceof HTMLElement)) continue;
      line.textContent = chosen?.dataset[name] ?? "";
      line.hidden = !line.textContent;
    }
  };

  /** @param {HTMLButtonElement} button */
  const copy = async (button) => {
    const field = button.parentElement?.querySelector("input");
    if (!field) return;
    field.select();
    // Without a secure context there is no clipboard; then the text stays selected.
    if (navigator.clipboard)
      await navigator.clipboard.writeText(field.value).catch(() => {});
    else document.execCommand("copy");
    button.textContent = button.dataset.persoCopy ?? "";
  };

  /** @param {HTMLSelectElement} select */
  const onChange = (select) => {
    if (select.closest(".perso-picker")) describe(select);
    const showLists = select.form?.querySelector("button[name=_lists]");
    if (select.name === "api_key" && showLists instanceof HTMLElement)
      select.form?.requestSubmit(showLists);
  };

  const begin = () => {
    for (const place of document.querySelectorAll("[data-perso-framing]")) {
      const form = place.closest("form");
      if (form && place instanceof HTMLElement) new Framing(place, form);
    }
    document.addEventListener("change", ({ target }) => {
      if (target instanceof HTMLSelectElement) onChange(target);
    });
    document.addEventListener("click", ({ target }) => {
      if (target instanceof HTMLButtonElement && target.dataset.persoCopy) copy(target);
    });
  };
  if (document.readyState === "loading")
    document.addEventListener("DOMContentLoaded", begin);
  else begin();
}
