/**
 * Says where an image lies on a pane.
 *
 * A place is {zoom, x, y, turns, flipped}: how many pixels of the pane one of the image takes (null: it fits), by
 * how much its middle is off the pane's, quarters of a turn to the right, and whether it is mirrored.
 */

const MOST = 40; // times that a pixel may be enlarged
const LEAST = 0.25; // of the zoom at which the image fits

/** Returns the place of an image that fits. */
export const start = () => ({ zoom: null, x: 0, y: 0, turns: 0, flipped: false });

/** Returns the zoom of a place, also where it fits. */
export function zoomOf(place, image, pane) {
  return place.zoom ?? fitting(place, image, pane);
}

function fitting({ turns }, { columns, rows }, { width, height }) {
  const [wide, high] = turns % 2 ? [rows, columns] : [columns, rows];
  return Math.min(width / wide, height / high);
}

/** Returns the matrix from pixels of the image to those of the pane. */
export function matrix(place, image, pane) {
  const zoom = zoomOf(place, image, pane);
  return new DOMMatrix()
    .translate(pane.width / 2 + place.x, pane.height / 2 + place.y)
    .scale(place.flipped ? -1 : 1, 1)
    .rotate(90 * place.turns)
    .scale(zoom)
    .translate(-image.columns / 2, -image.rows / 2);
}

/** Returns the part of an image, or of a smaller copy, that a pane shows: {left, top, width, height} in its pixels. */
export function visiblePart(onPane, pane, { columns, rows, scale }) {
  const back = onPane.inverse();
  const corners = [0, pane.width].flatMap(x => [0, pane.height].map(y => back.transformPoint({ x, y })));
  const span = (axis, most) => {
    const places = corners.map(corner => corner[axis] * scale);
    const first = Math.max(0, Math.floor(Math.min(...places)) - 1);
    return [first, Math.max(0, Math.min(most, Math.ceil(Math.max(...places)) + 1) - first)];
  };
  const [[left, width], [top, height]] = [span("x", columns), span("y", rows)];
  return { left, top, width, height };
}

/** Returns the place that is larger by a factor, while the point of the pane shows what it showed. */
export function zoomed(place, image, pane, factor, point = { x: pane.width / 2, y: pane.height / 2 }) {
  const before = zoomOf(place, image, pane);
  const zoom = Math.min(MOST, Math.max(LEAST * fitting(place, image, pane), before * factor));
  const away = (offset, middle, at) => at - middle - ((at - middle - offset) * zoom) / before;
  return { ...place, zoom, x: away(place.x, pane.width / 2, point.x), y: away(place.y, pane.height / 2, point.y) };
}

/** Returns the place moved by pixels of the pane. */
export const moved = (place, x, y) => ({ ...place, x: place.x + x, y: place.y + y });

/** Returns the place turned by quarters to the right, as it is seen. */
export function turned(place, quarters) {
  const turns = (place.turns + (place.flipped ? -quarters : quarters) + 4) % 4;
  return { ...place, turns, x: -quarters * place.y, y: quarters * place.x };
}

/** Returns the place mirrored from left to right, as it is seen. */
export const mirrored = place => ({ ...place, flipped: !place.flipped, x: -place.x });

/** Returns a length in mm where the scale is known, else in pixels. */
export function lengthOf({ from, to }, scale) {
  const [down, across] = scale?.spacing_mm ?? [1, 1];
  return Math.hypot((to.x - from.x) * across, (to.y - from.y) * down);
}
