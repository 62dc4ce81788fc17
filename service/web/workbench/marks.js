/** Draws over the image what does not grow with it: rulers, the cross, the letters of the patient's sides. */

import { lengthOf } from "./geometry.js";
import { words } from "./strings.js";

const COLOUR = "#ffd84d";
const OPPOSITE = { L: "R", R: "L", A: "P", P: "A", H: "F", F: "H" };

/** Returns a ruler's length in words. */
export function measured(ruler, scale) {
  const length = lengthOf(ruler, scale).toFixed(1);
  return words.ruler[scale?.at ?? "pixels"](length);
}

/** Draws in pixels of the pane; `matrix` leads there from those of the image. */
export function drawMarks(context, { rulers, cursor, facts }, matrix, pane) {
  context.font = "14px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (const ruler of rulers) drawRuler(context, ruler, facts.scale, matrix);
  if (cursor) drawCross(context, matrix.transformPoint(cursor));
  if (facts.directions) drawSides(context, facts.directions, matrix, pane);
}

function drawRuler(context, ruler, scale, matrix) {
  const [from, to] = [matrix.transformPoint(ruler.from), matrix.transformPoint(ruler.to)];
  outlined(context, () => {
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    for (const end of [from, to]) {
      context.moveTo(end.x + 4, end.y);
      context.arc(end.x, end.y, 4, 0, 2 * Math.PI);
    }
    context.stroke();
  });
  write(context, measured(ruler, scale), to.x + 10, to.y - 12, "left");
}

function drawCross(context, { x, y }) {
  outlined(context, () => {
    context.beginPath();
    context.moveTo(x - 12, y);
    context.lineTo(x + 12, y);
    context.moveTo(x, y - 12);
    context.lineTo(x, y + 12);
    context.stroke();
  });
}

function outlined(context, stroke) {
  for (const [colour, width] of [["#000", 4], [COLOUR, 1.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    stroke();
  }
}

function write(context, text, x, y, align) {
  context.textAlign = align;
  context.lineWidth = 4;
  context.strokeStyle = "#000";
  context.strokeText(text, x, y);
  context.fillStyle = COLOUR;
  context.fillText(text, x, y);
}

/** The directions of rows and columns, at the edges to which they lead. */
function drawSides(context, [across, down], matrix, { width, height }) {
  for (const [letter, x, y] of [
    [across, matrix.a, matrix.b],
    [down, matrix.c, matrix.d],
  ]) {
    const length = Math.hypot(x, y);
    const edge = (sign, name) => {
      const to = { x: (sign * x) / length, y: (sign * y) / length };
      write(context, name, width / 2 + to.x * (width / 2 - 14), height / 2 + to.y * (height / 2 - 14), "center");
    };
    edge(1, letter);
    edge(-1, OPPOSITE[letter]);
  }
}
