"""Find texts of a page that are not translated, and elements without enough room."""

import re
from collections.abc import Sequence
from typing import Any

# Returns the texts of blocks and attributes, without what is never translated.
TEXTS = """data => {
  const texts = [];
  const attributes = [
    "aria-label", "placeholder", "title", "alt", "data-empty", "label",
  ];
  const isVisible = (element) => element.checkVisibility({ visibilityProperty: true });
  const read = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) read(element.shadowRoot);
      if (element.matches("script, style, template, " + data)) continue;
      if (element.closest(data) || !isVisible(element)) continue;
      for (const name of attributes)
        if (element.getAttribute(name)) texts.push(element.getAttribute(name));
      if (element.matches("input[type=submit], input[type=button]"))
        texts.push(element.value);
      const isBlock = !getComputedStyle(element).display.startsWith("inline");
      if (isBlock || element.matches("button, a, option")) texts.push(ownText(element));
    }
  };
  // The text of a block, without that of the blocks in it.
  const ownText = (element) => [...element.childNodes].map((node) => {
    if (node.nodeType === Node.TEXT_NODE) return node.data;
    if (node.nodeType !== Node.ELEMENT_NODE) return "";
    if (node.matches("script, style, " + data)) return "";
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
      const isTooWide = element.scrollWidth > element.clientWidth + 1;
      const isCut = isTooWide && (overflowX !== "visible" || element.clientWidth);
      const isOutside = width && (left < -1 || right > innerWidth + 1);
      if (isCut || isOutside) {
        const part = element.getAttribute("part");
        const text = element.textContent.trim().slice(0, 40);
        cramped.push(`${element.localName}.${element.className}[part=${part}] ${text}`);
      }
    }
  };
  look(document);
  return cramped;
}"""


def untranslated(page: Any, data: str, known: Sequence[str] = ()) -> list[str]:
    """Return the texts of a page that contain English words.

    Elements that match `data`, and the texts in `known`, are never translated.
    """
    english = []
    for text in page.evaluate(TEXTS, data):
        rest = UUID.sub(" ", text)
        for phrase in known:
            rest = re.sub(rf"(?<!\w){re.escape(phrase)}(?!\w)", " ", rest)
        while MARKED.search(rest):  # from the innermost outwards
            rest = MARKED.sub(" ", rest)
        if WORD.search(rest):
            english.append(" ".join(text.split()))
    return english


def cramped(page: Any) -> list[str]:
    """Return the elements of a page that do not have enough room for their text."""
    elements: list[str] = page.evaluate(CRAMPED)
    return elements
