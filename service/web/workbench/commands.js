/** Lists what can be asked of the viewer. Buttons, keys and the sheet of keys are made from this list. */

import * as geometry from "./geometry.js";
import { attentionMap } from "./overlay.js";
import { storedWindow } from "./tones.js";
import { eraseRuler } from "./tools.js";

const TOOLS = [
  ["window", "w"],
  ["zoom", "z"],
  ["pan", "p"],
  ["ruler", "m"],
];

const PRESETS = [
  ["file", "1", pane => pane.change({ window: storedWindow(pane.facts) })],
  ["full", "2", pane => pane.change({ window: { low: 0, high: 1 } })],
  ["lung", "3", pane => pane.showShares(0.01, 0.66)],
  ["bone", "4", pane => pane.showShares(0.33, 0.998)],
];

const ACTS = [
  ["turn", "r", pane => pane.change({ place: geometry.turned(pane.place, 1) })],
  ["turnBack", "e", pane => pane.change({ place: geometry.turned(pane.place, -1) })],
  ["flip", "f", pane => pane.change({ place: geometry.mirrored(pane.place) })],
  ["invert", "i", pane => pane.change({ inverted: !pane.inverted })],
  ["enlarge", "+", pane => pane.enlarge(1.25)],
  ["reduce", "-", pane => pane.enlarge(0.8)],
  ["erase", "x", eraseRuler],
  ["reset", "0", pane => pane.reset()],
  ["map", "k", toggleMap],
];

/** Returns the commands: {id, key, group, run, pressed}. `page` has what is no matter of an image. */
export function commandsOf(viewer, page) {
  const acts = (group, list) =>
    list.map(([id, key, act]) => ({ id, key, group, run: () => viewer.active && act(viewer.active) }));
  const tools = TOOLS.map(([id, key]) => ({
    id,
    key,
    group: "tools",
    run: () => viewer.choose(id),
    pressed: () => viewer.tool === id,
  }));
  const commands = [...tools, ...acts("presets", PRESETS), ...acts("acts", ACTS)];
  const states = { invert: pane => pane.inverted, flip: pane => pane.place.flipped, map: pane => pane.map.drawn };
  for (const command of commands)
    if (states[command.id]) command.pressed = () => Boolean(viewer.active && states[command.id](viewer.active));
  return [...commands, ...page.map(([id, key, run]) => ({ id, key, group: "page", run }))];
}

/** Shows or hides the map of where the model looked. The first time it is asked for. */
async function toggleMap(pane) {
  if (pane.map.drawn) return pane.change({ map: { ...pane.map, drawn: false, note: "" } });
  const found = pane.map.picture ? pane.map : await attentionMap(pane.file).catch(({ message }) => ({ reason: message }));
  return pane.change({ map: { ...pane.map, ...found, drawn: Boolean(found.picture) } });
}
