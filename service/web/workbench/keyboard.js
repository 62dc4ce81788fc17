/** Lets keys do what buttons do, and shows the sheet of keys. */

import { $, element } from "./dom.js";
import { words } from "./strings.js";
import { giveUp, nudge, setEnd } from "./tools.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const [STEP, LARGE] = [10, 50]; // pixels that an arrow key stands for, alone and with Shift

/** Listens to keys. Those with Ctrl, Alt or Meta are the browser's. */
export function listenToKeys(viewer, commands) {
  const single = makeSheet(commands);
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey || $("sheet").open || takesKeys(event.target)) return;
    const act = single.checked ? actOf(viewer, commands, event) : onImage(viewer, event);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function takesKeys(target) {
  return target.matches("input, textarea, select");
}

function actOf(viewer, commands, event) {
  return onImage(viewer, event) ?? commands.find(({ key }) => key === event.key)?.run;
}

/** What a key does while an image has the focus. */
function onImage({ active: pane, tool }, { key, shiftKey, target }) {
  if (!pane || target !== pane.canvas) return undefined;
  if (ARROWS[key]) {
    const [x, y] = ARROWS[key].map(way => way * (shiftKey ? LARGE : STEP));
    return () => nudge(pane, tool, { x, y });
  }
  if (key === "Enter" && tool === "ruler") return () => setEnd(pane);
  return key === "Escape" ? () => giveUp(pane) : undefined;
}

/** Fills the sheet; returns the box that says whether single keys work. */
function makeSheet(commands) {
  const sheet = $("sheet");
  const list = element("dl");
  const rows = [...commands.map(({ id, key }) => [key, ...words.commands[id]]), ...words.arrows];
  for (const [key, ...what] of rows) {
    const term = element("dt");
    term.append(element("kbd", key));
    list.append(term, element("dd", what.join(": ")));
  }
  const single = element("input", "", { type: "checkbox", checked: true });
  const label = element("label");
  label.append(single, ` ${words.single}`);
  const close = element("button", words.close, { type: "button" });
  close.addEventListener("click", () => sheet.close());
  sheet.setAttribute("aria-label", words.sheet);
  sheet.append(element("h2", words.sheet), label, list, close);
  return single;
}
