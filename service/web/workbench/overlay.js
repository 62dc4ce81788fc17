/** Turns a map, a grid of numbers over a part of the image, into a picture to lay over it. */

import { ask } from "./api.js";
import { words } from "./strings.js";

const TINT = [255, 64, 0]; // red, green, blue: those of the service's own overlay

/** Returns the map of where the model looked at a file: {picture, covers} or {reason}. */
export async function attentionMap(file) {
  const { maps, covers } = await ask("/attention", [file]);
  const map = maps.attention;
  return map.validated ? { picture: tinted(map.grid), covers } : { reason: words.mapHeld(map.caution) };
}

/** Returns a canvas of the grid's size: clear at the map's median and below, opaque at its maximum. */
export function tinted(grid) {
  const values = grid.flat();
  const sorted = values.toSorted((one, other) => one - other);
  const [low, high] = [sorted[sorted.length >> 1], sorted.at(-1)];
  const canvas = document.createElement("canvas");
  [canvas.height, canvas.width] = [grid.length, grid[0].length];
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  values.forEach((value, at) => {
    const strength = Math.max(0, (value - low) / (high - low || 1));
    picture.data.set([...TINT, Math.round(255 * strength)], 4 * at);
  });
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** Draws a map where it lies in the image. The part that it covers may reach outside of the image. */
export function drawMap(context, { picture, covers }, { columns, rows }, opacity) {
  context.save();
  context.beginPath();
  context.rect(0, 0, columns, rows);
  context.clip();
  context.globalAlpha = opacity;
  context.imageSmoothingEnabled = true;
  context.drawImage(picture, covers.left, covers.top, covers.width, covers.height);
  context.restore();
}
