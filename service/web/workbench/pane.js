/** Shows one image on a canvas: its grays, its place, its rulers and its map. */

import { element } from "./dom.js";
import * as geometry from "./geometry.js";
import { Levels } from "./levels.js";
import { drawMarks } from "./marks.js";
import { drawMap } from "./overlay.js";
import { words } from "./strings.js";
import * as tones from "./tones.js";

const SHARP = 3; // pixels of the screen for one of the image, from which on its squares are seen

/** One image and how it is shown. Tells `changed` of every painting. */
export class Pane {
  constructor(file, { facts, pixels }, changed) {
    Object.assign(this, { file, facts, changed });
    this.levels = new Levels(pixels, facts.columns, facts.rows);
    this.grays = document.createElement("canvas"); // of the part that is seen
    this.canvas = element("canvas", "", {
      tabIndex: 0,
      attributes: { role: "application", "aria-label": words.pane(facts.view, facts.rows, facts.columns) },
    });
    this.map = { drawn: false, opacity: 0.5 };
    this.reset();
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.canvas);
  }

  /** Shows the image as it was opened. */
  reset() {
    this.change({ place: geometry.start(), window: tones.storedWindow(this.facts), inverted: false });
    this.change({ rulers: [], open: null, cursor: null });
  }

  /** Ends what watches the canvas. */
  close() {
    this.watcher.disconnect();
    cancelAnimationFrame(this.waiting);
  }

  /** Changes how the image is shown, and paints it again. */
  change(properties) {
    Object.assign(this, properties);
    this.draw();
  }

  /** Returns the pane's size in pixels of the page. */
  get size() {
    return { width: this.canvas.clientWidth, height: this.canvas.clientHeight };
  }

  /** Returns how many pixels of the page one of the image takes. */
  get zoom() {
    return geometry.zoomOf(this.place, this.facts, this.size);
  }

  /** Returns the point of the image that a point of the pane shows. */
  pointAt(point) {
    const { x, y } = geometry.matrix(this.place, this.facts, this.size).inverse().transformPoint(point);
    return { x, y };
  }

  /** Enlarges around a point of the pane. */
  enlarge(factor, point) {
    this.change({ place: geometry.zoomed(this.place, this.facts, this.size, factor, point) });
  }

  /** Shows the pixels between two shares of them over all grays. */
  showShares(first, last) {
    this.change({ window: tones.windowOfShares(this.levels.smallest.pixels, first, last) });
  }

  /** Paints before the next frame, once however often it is asked. */
  draw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      if (this.size.width) this.paint();
    });
  }

  paint() {
    const { width, height } = this.size;
    const density = devicePixelRatio;
    const [wide, high] = [Math.round(width * density), Math.round(height * density)];
    if (this.canvas.width !== wide || this.canvas.height !== high) Object.assign(this.canvas, { width: wide, height: high });
    const context = this.canvas.getContext("2d", { alpha: false });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, wide, high);
    const onPage = geometry.matrix(this.place, this.facts, this.size);
    context.setTransform(new DOMMatrix().scale(density).multiply(onPage));
    this.paintImage(context, onPage, this.zoom * density);
    if (this.map.drawn) drawMap(context, this.map, this.facts, this.map.opacity);
    context.setTransform(density, 0, 0, density, 0, 0);
    drawMarks(context, this, onPage, this.size);
    this.changed(this);
  }

  /** Paints what of the image is seen, so that its cost depends on the pane and not on the image. */
  paintImage(context, onPage, zoom) {
    const level = this.levels.at(zoom);
    const part = geometry.visiblePart(onPage, this.size, level);
    const { low, high } = this.window;
    const made = [level.scale, ...Object.values(part), low, high, this.inverted].join();
    if (!part.width || !part.height) return;
    if (made !== this.made) tones.paint(this.grays, level, part, tones.colours(this.facts, this.window, this.inverted));
    this.made = made;
    context.imageSmoothingEnabled = zoom < SHARP;
    context.imageSmoothingQuality = "medium";
    const [left, top, width, height] = [part.left, part.top, part.width, part.height].map(side => side / level.scale);
    context.drawImage(this.grays, left, top, width, height);
  }
}
