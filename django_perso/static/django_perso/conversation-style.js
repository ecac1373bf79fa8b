/** How the widget looks from Start on: the second style sheet. Loaded with the modules of a conversation. */

const CSS = /* css */ `
:host([data-state="consent"]) :is([part="stage"], [part="chat"]) {
  visibility: hidden;
}
[part="panel"] {
  position: relative;
}
[part="consent"] {
  display: grid;
  grid-template: auto minmax(0, auto) auto / auto auto 1fr;
  align-content: center;
  justify-items: start;
  gap: 12px;
  min-height: 18em;
  max-height: 92vh;
  padding: 24px max(24px, 50% - 20em);
}
[part="consent-title"],
[part="consent-text"] {
  grid-column: 1 / -1;
}
[part="consent-title"] {
  font-size: 1.2em;
  font-weight: 700;
}
[part="consent-text"] {
  overflow-y: auto;
  overscroll-behavior: contain;
  white-space: pre-line;
  /* A line at the bottom, which the end of the text covers: there is more to read. */
  background:
    linear-gradient(var(--_surface), var(--_surface)) bottom / 100% 4px no-repeat local,
    linear-gradient(var(--_line), var(--_line)) bottom / 100% 1px no-repeat;
}
[part="agree"] {
  color: var(--_on-accent);
  background: var(--_accent);
  border-color: transparent;
}
[part="agree"]:hover {
  filter: brightness(1.12);
}
[part="consent"] [part="privacy"] {
  place-self: center end;
}
@container (min-width: 44em) {
  [part="consent"] {
    position: absolute;
    inset: 0;
    max-height: none;
  }
}
@container (width < 44em) {
  :host([data-state="consent"]) :is([part="stage"], [part="chat"]) {
    display: none;
  }
}
[part="sound"] {
  position: absolute;
  top: 14px;
  inset-inline-end: 14px;
}
[part="captions"] {
  position: absolute;
  bottom: 16px;
  padding: 0 6px;
  border: 8px solid #0000;
  border-radius: 12px;
  max-width: min(46ch, 100% - 32px);
  max-height: calc(3lh + 16px);
  overflow: hidden;
  background: #0c0b14c2;
  font-size: 0.92em;
}
[part="talk"] {
  --_ring: calc(var(--_level, 0) * 8px);
  display: grid;
  place-items: center;
  width: 44px;
  height: 44px;
  padding: 0;
  touch-action: none;
}
[part="talk"] svg {
  width: 20px;
  height: 20px;
  fill: none;
  stroke: currentColor;
  stroke-width: 2;
  stroke-linecap: round;
}
[part="talk"][aria-pressed="true"] {
  color: var(--_on-accent);
  background: var(--_accent);
  box-shadow: 0 0 0 var(--_ring) color-mix(in srgb, var(--_accent) 35%, transparent);
}
[part="talk"][data-mode="recording"] {
  background: var(--_danger);
}
[part~="message"] {
  align-self: start;
  max-width: 85%;
  padding: 8px 14px;
  white-space: pre-line;
  background: var(--_soft);
  border-radius: 16px;
  border-end-start-radius: 5px;
}
[part~="message-visitor"] {
  align-self: end;
  color: var(--_on-accent);
  background: var(--_accent);
  border-radius: 16px;
  border-end-end-radius: 5px;
}
[part~="message-tool"] {
  align-self: center;
  padding: 2px 12px;
  font-size: 0.82em;
  color: var(--_muted);
  background: none;
  border: 1px dashed var(--_line);
  border-radius: 999px;
}
[data-phase="failed"] {
  color: var(--_danger);
}
[part="who"] {
  position: absolute;
  clip-path: inset(50%);
}
`;

export const sheet = new CSSStyleSheet();
sheet.replaceSync(CSS);
