"""What a page shows: texts that are not in the pseudo-locale, and texts without room."""

import re
from collections.abc import Sequence
from typing import Any

# Blocks of text, each with what belongs to no translation taken out, and texts of attributes.
TEXTS = """data => {
  const texts = [];
  const attributes = ["aria-label", "placeholder", "title", "alt", "data-empty", "label"];
  const read = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) read(element.shadowRoot);
      if (element.matches("script, style, template, " + data)) continue;
      if (element.closest(data) || !element.checkVisibility({ visibilityProperty: true })) continue;
      for (const name of attributes)
        if (element.getAttribute(name)) texts.push(element.getAttribute(name));
      if (element.matches("input[type=submit], input[type=button]")) texts.push(element.value);
      const isBlock = !getComputedStyle(element).display.startsWith("inline");
      if (isBlock || element.matches("button, a, option")) texts.push(ownText(element));
    }
  };
  // The text of a block, without that of the blocks in it.
  const ownText = (element) => [...element.childNodes].map((node) => {
    if (node.nodeType === Node.TEXT_NODE) return node.data;
    if (node.nodeType !== Node.ELEMENT_NODE || node.matches("script, style, " + data)) return "";
    const isInline = getComputedStyle(node).display === "inline";
    return isInline ? ownText(node) : " ";
  }).join("");
  read(document);
  return texts;
}"""
MARKED = re.compile(r"«[^«»]*»")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
WORD = re.compile(r"[A-Za-z]{2,}")
# Elements whose text is cut off, or which reach beyond the window.
CRAMPED = """() => {
  const cramped = [];
  const look = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) look(element.shadowRoot);
      if (!element.checkVisibility({ visibilityProperty: true })) continue;
      const { overflowX, display, clipPath } = getComputedStyle(element);
      if (display === "inline" || clipPath !== "none") continue;
      const { left, right, width } = element.getBoundingClientRect();
      const isCut = overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1;
      const isWide = element.clientWidth && element.scrollWidth > element.clientWidth + 1;
      const isOutside = width && (left < -1 || right > innerWidth + 1);
      if (isCut || isWide || isOutside)
        cramped.push(`${element.localName}.${element.className}[part=${element.getAttribute("part")}]`
          + ` ${element.textContent.trim().slice(0, 40)}`);
    }
  };
  look(document);
  return cramped;
}"""


def untranslated(page: Any, data: str, known: Sequence[str] = ()) -> list[str]:
    """The texts of a page that hold English words.

    Elements that match `data`, and the texts in `known`, belong to nobody's translation.
    """
    found = []
    for text in page.evaluate(TEXTS, data):
        rest = UUID.sub(" ", text)
        for each in known:
            rest = re.sub(rf"(?<!\w){re.escape(each)}(?!\w)", " ", rest)
        while MARKED.search(rest):  # from the innermost on
            rest = MARKED.sub(" ", rest)
        if WORD.search(rest):
            found.append(" ".join(text.split()))
    return found


def cramped(page: Any) -> list[str]:
    """The elements of a page that do not have room for their text."""
    found: list[str] = page.evaluate(CRAMPED)
    return found
