/** How the widget looks: one style sheet for all elements of a page. */

const CSS = /* css */ `
:host {
  --_accent: var(--perso-accent, #4f46e5);
  --_on-accent: var(--perso-on-accent, #fff);
  --_surface: var(--perso-surface, #fff);
  --_text: var(--perso-text, #1c1b22);
  --_muted: var(--perso-muted, #5e5d6b);
  --_danger: var(--perso-danger, #b3261e);
  --_line: color-mix(in srgb, var(--_text) 14%, transparent);
  --_soft: color-mix(in srgb, var(--_text) 6%, var(--_surface));
  display: block;
  writing-mode: horizontal-tb;
  container-type: inline-size !important;
  font-size: 16px !important; /* for em in the queries of the container */
  /* A container has no width of its own in a dialog or a float, which ask for one. */
  contain-intrinsic-inline-size: min(var(--perso-width, 60em), 100vw - 2em);
  min-width: 0;
  max-width: min(var(--perso-width, 60em), 100%);
}
:host([hidden]),
[hidden] {
  display: none !important;
}
* {
  box-sizing: border-box;
  margin: 0;
  unicode-bidi: plaintext;
}
/* What the page sets on all of its elements, such as * { letter-spacing: 1px }, ends here. */
[part="panel"] {
  display: grid;
  overflow: hidden;
  font: 16px/1.5 var(--perso-font, system-ui, sans-serif);
  letter-spacing: normal;
  word-spacing: normal;
  text-align: start;
  text-align-last: auto;
  text-indent: 0;
  text-shadow: none;
  text-transform: none;
  white-space: normal;
  -webkit-text-fill-color: currentcolor;
  -webkit-text-stroke: 0;
  overflow-wrap: anywhere;
  color: var(--_text);
  background: var(--_surface);
  border: 1px solid var(--_line);
  border-radius: var(--perso-radius, 20px);
  box-shadow: var(--perso-shadow, 0 12px 32px #0000001f);
}
[part="stage"] {
  --_focus: #fff;
  position: relative;
  display: grid;
  place-items: center;
  overflow: hidden;
  color: #fff;
  text-align: center;
  text-wrap: balance;
  width: 100%;
  min-height: 18em;
  max-height: 46vh;
  aspect-ratio: var(--perso-aspect, var(--_shape, 4 / 3));
}
video,
[part="poster"] {
  position: absolute;
  inset: 0;
  width: 100%;
  height: 100%;
  transition: opacity 0.4s;
}
video {
  object-fit: cover;
  opacity: 0;
}
[data-state="live"] video {
  opacity: 1;
}
[data-state="live"] [part="poster"] {
  opacity: 0;
}
[part="poster"] {
  color: #ffffff1f;
  background:
    radial-gradient(circle closest-side at 50% 40%, currentColor 44%, transparent 45%),
    radial-gradient(circle at 50% 115%, currentColor 37%, transparent 37.5%),
    #191826
      radial-gradient(
        circle at 50% 36%,
        color-mix(in srgb, var(--_accent) 70%, #fff 8%),
        #191826 78%
      );
}
[part="overlay"] {
  position: relative;
  align-self: end;
  display: grid;
  justify-items: center;
  gap: 12px;
  padding: 24px 24px max(24px, 7cqw);
}
[data-state="live"] [part="overlay"] {
  align-self: start;
}
[part="error"] {
  padding: 10px 16px;
  border-radius: 12px;
  background: #8c1d18;
}
[part="error"]:empty {
  padding: 0;
  margin-top: -12px;
}
[part="reason"]:empty,
[part="captions"]:empty {
  display: none;
}
[part="privacy"] {
  padding-block: 12px;
  color: inherit;
}
code {
  display: block;
  font:
    12px ui-monospace,
    monospace;
  opacity: 0.8;
}
button {
  font: inherit;
  font-weight: 600;
  min-height: 44px;
  padding: 8px 18px;
  border: 1px solid var(--_line);
  border-radius: 999px;
  color: inherit;
  background: none;
  flex: none;
  max-width: 100%;
  text-wrap: balance;
  cursor: pointer;
}
button:where(:hover) {
  background: var(--_soft);
}
:disabled {
  opacity: 0.45;
  cursor: default;
}
:focus-visible {
  outline: 2px solid var(--_focus, var(--_accent));
  outline-offset: 2px;
}
[part="start"],
[part="send"] {
  color: var(--_on-accent);
  background: var(--_accent);
  border-color: transparent;
}
[part="start"]:hover,
[part="send"]:hover {
  filter: brightness(1.12);
}
[part="start"] {
  font-size: 1.1em;
  padding: 13px 28px;
  box-shadow: 0 4px 18px #00000059;
}
[part="cancel"],
[part="sound"] {
  border-color: #ffffff73;
  background: #141320a6;
}
[part="cancel"]:hover,
[part="sound"]:hover {
  background: #191826;
}
[part="sound"] {
  position: absolute;
  top: 14px;
  inset-inline-end: 14px;
}
[part="spinner"] {
  width: 44px;
  height: 44px;
  border-radius: 50%;
  border: 4px solid #ffffff40;
  border-top-color: #fff;
  animation: turn 1s linear infinite;
}
@keyframes turn {
  to {
    rotate: 1turn;
  }
}
[part="chat"] {
  display: flex;
  flex-direction: column;
  min-width: 0;
}
[part="bar"] {
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 10px;
  padding: 10px 16px;
  border-bottom: 1px solid var(--_line);
}
[part="status"] {
  display: flex;
  align-items: center;
  gap: 8px;
  margin-inline-end: auto;
  min-height: 38px;
  font-weight: 600;
}
[part="status"]::before {
  content: "";
  width: 10px;
  height: 10px;
  border-radius: 50%;
  background: var(--_muted);
}
[part="bar"] button {
  min-height: 38px;
  padding: 4px 14px;
  font-size: 0.9em;
}
[part="end"] {
  color: var(--_danger);
}
[part="log"] {
  position: relative;
  display: flex;
  flex-direction: column;
  gap: 8px;
  flex: 1 1 13em;
  padding: 16px;
  overflow-y: auto;
  overscroll-behavior: contain;
}
[part="log"]:empty::before {
  content: attr(data-empty);
  margin: auto;
  color: var(--_muted);
}
form {
  display: flex;
  gap: 8px;
  padding: 12px 16px 6px;
  border-top: 1px solid var(--_line);
}
input {
  flex: 1;
  min-width: 0;
  min-height: 44px;
  padding: 8px 16px;
  font: inherit;
  color: inherit;
  background: var(--_soft);
  border: 1px solid var(--_line);
  border-radius: 999px;
}
input::placeholder {
  color: var(--_muted);
  opacity: 1;
}
[part="saved"] {
  padding: 0 18px 8px;
  min-height: 1.9em;
  font-size: 0.8em;
  color: var(--_muted);
  text-align: end;
}
@container (min-width: 44em) {
  [part="panel"] {
    grid-template-columns: minmax(0, 3fr) minmax(19em, 2fr);
  }
  [data-shape="portrait"] {
    grid-template-columns: minmax(0, 2fr) minmax(19em, 3fr);
  }
  [part="stage"] {
    min-height: 26em;
    max-height: 44em;
    height: 100%;
  }
  [part="chat"] {
    height: 0;
    min-height: 100%;
    border-inline-start: 1px solid var(--_line);
  }
  [part="log"] {
    flex-basis: 0;
  }
}
@container (width < 44em) {
  [data-state="idle"] [part="chat"] {
    display: none;
  }
}
/* Light or dark as the page is: these colors follow the color-scheme the element inherits. */
@supports (color: light-dark(#000, #fff)) {
  :host {
    --_accent: var(--perso-accent, light-dark(#4f46e5, #6b62ef));
    --_surface: var(--perso-surface, light-dark(#fff, #1b1a24));
    --_text: var(--perso-text, light-dark(#1c1b22, #f1f0f6));
    --_muted: var(--perso-muted, light-dark(#5e5d6b, #a9a7b8));
    --_danger: var(--perso-danger, light-dark(#b3261e, #ff8a80));
  }
}
:host([theme="light"]) {
  color-scheme: light;
}
:host([theme="dark"]) {
  color-scheme: dark;
}
@media (prefers-reduced-motion: reduce) {
  *,
  ::before {
    animation: none !important;
    transition: none !important;
  }
}
`;

export const sheet = new CSSStyleSheet();
sheet.replaceSync(CSS);
