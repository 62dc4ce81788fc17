/** Shows the commands as buttons, the window as numbers, and what is known of the active image. */

import { $, element } from "./dom.js";
import { measured } from "./marks.js";
import { words } from "./strings.js";
import { inValues, ofValues } from "./tones.js";

/** Makes the buttons and fields; returns the function that brings them up to date. */
export function makeToolbar(viewer, commands) {
  const buttons = commands.map(command => [command, button(command)]);
  const group = (name, label) => {
    const made = element("div", "", { className: "group", attributes: { role: "group", "aria-label": label } });
    made.append(...buttons.filter(([command]) => command.group === name).map(([, each]) => each));
    return made;
  };
  const numbers = ["centre", "width"].map(name => number(viewer, name));
  const opacity = slider(viewer);
  const fields = element("div", "", { className: "group", attributes: { role: "group", "aria-label": words.numbers } });
  fields.append(...numbers.map(({ parentElement }) => parentElement), opacity.parentElement);
  $("tools").append(group("tools", words.tools), group("presets", words.presets), group("acts", words.acts), fields);
  $("general").append(group("page", words.page));
  return () => update(viewer, buttons, numbers, opacity);
}

function button({ id, key, run }) {
  const [name, what] = words.commands[id];
  const attributes = { "aria-keyshortcuts": key };
  const made = element("button", name, { type: "button", title: words.shortcut(what, key), attributes });
  made.addEventListener("click", run);
  return made;
}

function labelled(name, input) {
  element("label", `${name} `).append(input);
  return input;
}

function number(viewer, name) {
  const input = labelled(words[name], element("input", "", { type: "number", step: "any", name }));
  input.addEventListener("change", () => {
    const { facts, window } = viewer.active;
    const value = input.valueAsNumber;
    if (Number.isFinite(value)) viewer.active.change({ window: ofValues(facts, { ...inValues(facts, window), [name]: value }) });
  });
  return input;
}

function slider(viewer) {
  const input = element("input", "", { type: "range", min: 0, max: 1, step: 0.05, value: 0.5 });
  input.setAttribute("aria-label", words.opacity);
  input.addEventListener("input", () => {
    const pane = viewer.active;
    pane.change({ map: { ...pane.map, opacity: input.valueAsNumber } });
  });
  return labelled(words.map, input);
}

function update(viewer, buttons, numbers, opacity) {
  const pane = viewer.active;
  for (const [{ group, pressed }, each] of buttons) {
    each.disabled = !pane && group !== "page" && group !== "tools";
    if (pressed) each.setAttribute("aria-pressed", pressed());
  }
  for (const input of [...numbers, opacity]) input.disabled = !pane;
  $("about").hidden = !pane;
  if (!pane) return void ($("readout").textContent = "");
  const now = inValues(pane.facts, pane.window);
  for (const input of numbers) if (document.activeElement !== input) input.value = rounded(now[input.name]);
  opacity.value = pane.map.opacity;
  $("readout").textContent = readout(pane, now);
  $("facts").replaceChildren(...factsOf(pane.facts).map(fact => element("li", fact)));
}

const rounded = value => Number(value.toPrecision(4));

function readout({ rulers, facts, map, zoom }, { centre, width }) {
  const parts = [words.readout(rounded(centre), rounded(width), Math.round(100 * zoom))];
  if (rulers.length) parts.push(words.rulers(rulers.map(ruler => measured(ruler, facts.scale))));
  if (map.drawn) parts.push(words.mapDrawn);
  else if (map.reason) parts.push(map.reason);
  return parts.join(" · ");
}

function factsOf(facts) {
  const [down, across] = facts.scale?.spacing_mm ?? [];
  return [
    words.size(facts.rows, facts.columns),
    facts.view && words.view(facts.view),
    facts.laterality && words.side[facts.laterality],
    words.values(rounded(facts.values.low), rounded(facts.values.high)),
    facts.scale ? words.scale[facts.scale.at](down === across ? down : `${down} × ${across}`) : words.noScale,
    facts.inverted && words.inverted,
    facts.padded && words.padded,
    facts.curve && words.curve,
    ...facts.corrections,
  ].filter(Boolean);
}
