/** Does what a drag or the arrow keys ask of the tool that is chosen. */

import { around } from "./tones.js";
import { moved } from "./geometry.js";

const CLICK = 4; // pixels that a pointer may move and still click
const CONTRAST = 200; // pixels to the right that widen a window e-fold

/** Each tool: `drag` by pixels, from a point of the pane; `begin` and `end` where it needs them. */
const tools = {
  window: { drag: (pane, by) => widen(pane, by) },
  zoom: { drag: (pane, by, from) => pane.enlarge(Math.exp(-by.y / 150), from) },
  pan: { drag: (pane, by) => pane.change({ place: moved(pane.place, by.x, by.y) }) },
  ruler: { begin: beginRuler, drag: (pane, by, from, at) => lead(pane, pane.pointAt(at)), end: endRuler },
};

/** Widens the window by pixels to the right, and lowers it by pixels up. */
function widen(pane, by) {
  const { low, high } = pane.window;
  const width = high - low;
  pane.change({ window: around((low + high) / 2 + (by.y * width) / 400, width * Math.exp(by.x / CONTRAST)) });
}

function beginRuler(pane, at) {
  const point = pane.pointAt(at);
  if (pane.open) return lead(pane, point);
  const open = { from: point, to: point };
  pane.change({ rulers: [...pane.rulers, open], open });
}

function lead(pane, point) {
  if (!pane.open) return;
  pane.open.to = point;
  pane.draw();
}

function endRuler(pane, way) {
  const { from, to } = pane.open ?? {};
  const isPoint = !from || (from.x === to.x && from.y === to.y);
  if (!isPoint && (way > CLICK || pane.clicked)) pane.change({ open: null, clicked: false });
  else pane.clicked = true;
}

/** Gives a ruler up that has one end. */
export function giveUp(pane) {
  pane.change({ rulers: pane.rulers.filter(each => each !== pane.open), open: null, clicked: false, cursor: null });
}

/** Removes the last ruler. */
export function eraseRuler(pane) {
  pane.change({ rulers: pane.rulers.slice(0, -1), open: null, clicked: false });
}

/** Sets an end of a ruler at the cross, which begins in the middle. */
export function setEnd(pane) {
  if (!pane.cursor) return pane.change({ cursor: middleOf(pane) });
  if (pane.open) return pane.change({ open: null, cursor: null, clicked: false });
  const open = { from: pane.cursor, to: pane.cursor };
  return pane.change({ rulers: [...pane.rulers, open], open });
}

function middleOf(pane) {
  const { width, height } = pane.size;
  return pane.pointAt({ x: width / 2, y: height / 2 });
}

/** Does a step of a tool, in pixels to the right and down, as an arrow key asks. */
export function nudge(pane, tool, by) {
  if (tool !== "ruler") return tools[tool].drag(pane, by);
  const cursor = pane.cursor ?? middleOf(pane);
  const from = pane.pointAt({ x: 0, y: 0 });
  const to = pane.pointAt(by);
  pane.change({ cursor: { x: cursor.x + to.x - from.x, y: cursor.y + to.y - from.y } });
  return lead(pane, pane.cursor);
}

/** Lets pointers and the wheel act on a pane. `chosen` returns the name of the tool. */
export function listen(pane, chosen) {
  const pointers = new Map();
  const { canvas } = pane;
  let tool, from, way;

  canvas.addEventListener("pointerdown", event => {
    if (event.button > 1) return;
    event.preventDefault();
    canvas.focus();
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    tool = tools[event.button === 1 ? "pan" : chosen()];
    [from, way] = [at(event), 0];
    if (pointers.size === 1) tool.begin?.(pane, from);
    else giveUp(pane);
  });
  canvas.addEventListener("pointermove", event => {
    const before = pointers.get(event.pointerId);
    const now = at(event);
    if (!before) return pane.clicked && lead(pane, pane.pointAt(now));
    const by = { x: now.x - before.x, y: now.y - before.y };
    if (pointers.size === 2) pinch(pane, pointers, event.pointerId, now);
    else tool.drag(pane, by, from, now);
    way += Math.hypot(by.x, by.y);
    pointers.set(event.pointerId, now);
  });
  for (const ending of ["pointerup", "pointercancel"])
    canvas.addEventListener(ending, event => {
      if (pointers.delete(event.pointerId) && !pointers.size) tool.end?.(pane, way);
    });
  canvas.addEventListener(
    "wheel",
    event => {
      event.preventDefault();
      pane.enlarge(Math.exp(-event.deltaY / 500), at(event));
    },
    { passive: false },
  );
  canvas.addEventListener("dblclick", event => {
    const { width, height } = pane.size;
    if (chosen() === "pan") tools.pan.drag(pane, { x: width / 2 - event.offsetX, y: height / 2 - event.offsetY });
  });
}

const at = event => ({ x: event.offsetX, y: event.offsetY });

/** Two fingers zoom and pan. */
function pinch(pane, pointers, id, now) {
  const [[, other]] = [...pointers].filter(([each]) => each !== id);
  const before = pointers.get(id);
  const distance = point => Math.hypot(point.x - other.x, point.y - other.y) || 1;
  pane.enlarge(distance(now) / distance(before), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
  pane.change({ place: moved(pane.place, (now.x - before.x) / 2, (now.y - before.y) / 2) });
}
