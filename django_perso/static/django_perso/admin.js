// The forms of presets: a drawing of the framing, what the chosen entry is about, a tag to copy. Nothing is
// saved here, and everything that matters works without.
"use strict";

{
  /** A child of `parent`. @param {Element} parent @param {string} tag @param {string} name */
  const add = (parent, tag, name) => {
    const child = document.createElement(tag);
    child.className = name;
    return parent.appendChild(child);
  };

  /** How a field is called in a form with a prefix. @param {Element} place @param {string} name */
  const fieldName = (place, name) => {
    const prefix = place.getAttribute("data-prefix");
    return prefix ? `${prefix}-${name}` : name;
  };

  /** The picture of the tile that is chosen, or "". @param {HTMLFormElement} form @param {string} name */
  const pictureOf = (form, name) => {
    const chosen = form.querySelector(`input[name="${CSS.escape(name)}"]:checked`);
    return chosen?.closest("label")?.querySelector("img")?.src ?? "";
  };

  /** Where the avatar stands, in parts of the frame: the side of the square it is drawn in, and its left and
   * top. Its face is in the middle, a little above the half. @param {(name: string, usual: number) => number} of */
  const placed = (of) => {
    const [width, height] = [of("width", 1080), of("height", 1920)];
    const size =
      Math.min(height, width * 1.45) *
      Math.max(0.2, Math.min(2, of("padding_height", 1)));
    const middle = (width > height ? 0.45 : 0.48) + of("padding_top", 0);
    return {
      ratio: width / height,
      side: size / width,
      left: 0.5 + of("padding_left", 0) - size / width / 2,
      top: middle - (0.45 * size) / height,
    };
  };

  /** @param {HTMLElement} place */
  const framing = (place) => {
    const form = place.closest("form");
    if (!form || !form.elements.namedItem(fieldName(place, "padding_left"))) {
      place.hidden = true;
      return;
    }
    const stage = add(place, "div", "perso-stage");
    const [back, figure] = ["perso-back", "perso-figure"].map((name) =>
      add(stage, "div", name),
    );
    /** @param {HTMLElement} layer @param {string} name */
    const paint = (layer, name) => {
      const url = pictureOf(form, fieldName(place, name));
      layer.style.backgroundImage = url && `url(${JSON.stringify(url)})`;
      layer.classList.toggle("perso-blank", !url);
    };
    /** @param {string} name @param {number} usual */
    const number = (name, usual) => {
      const field = form.elements.namedItem(fieldName(place, name));
      const value = field instanceof HTMLInputElement ? field.valueAsNumber : NaN;
      return Number.isNaN(value) ? usual : value;
    };
    const draw = () => {
      const { ratio, side, left, top } = placed(number);
      if (!(ratio > 0.02 && ratio < 50)) return;
      stage.style.aspectRatio = String(ratio);
      stage.style.width = `${Math.round(Math.min(20, 20 * ratio) * 10) / 10}rem`;
      const parts = { width: side, left, top };
      for (const [name, part] of Object.entries(parts))
        figure.style.setProperty(name, `${part * 100}%`);
      paint(back, "background_image");
      paint(figure, "model_style");
    };
    form.addEventListener("input", draw);
    form.addEventListener("change", draw);
    draw();
  };

  /** What the chosen option says of itself, below its list. @param {HTMLSelectElement} select */
  const tell = (select) => {
    const chosen = select.selectedOptions[0];
    for (const name of ["mark", "about", "intro"]) {
      const line = select
        .closest(".perso-picker")
        ?.querySelector(`[data-perso-${name}]`);
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
    // Without a secure context there is no clipboard, but the old way, and the text stays selected.
    if (navigator.clipboard)
      await navigator.clipboard.writeText(field.value).catch(() => {});
    else document.execCommand("copy");
    button.textContent = button.dataset.persoCopy ?? "";
  };

  const begin = () => {
    for (const place of document.querySelectorAll("[data-perso-framing]"))
      framing(/** @type {HTMLElement} */ (place));
    document.addEventListener("change", ({ target }) => {
      if (!(target instanceof HTMLSelectElement)) return;
      if (target.closest(".perso-picker")) tell(target);
      const button = target.form?.querySelector("button[name=_lists]");
      if (target.name === "api_key" && button)
        target.form?.requestSubmit(/** @type {HTMLElement} */ (button));
    });
    document.addEventListener("click", ({ target }) => {
      if (target instanceof HTMLButtonElement && target.dataset.persoCopy) copy(target);
    });
  };
  if (document.readyState === "loading")
    document.addEventListener("DOMContentLoaded", begin);
  else begin();
}
