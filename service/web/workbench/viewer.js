/** Shows the views of a study side by side. One of them is active: tools and keys act on it. */

import { Pane } from "./pane.js";
import { listen } from "./tools.js";

const LONGEST = 1000; // milliseconds until a frame is no longer waited for

/** The views on the stage, the active one and the chosen tool. */
export class Viewer {
  constructor(stage, changed) {
    Object.assign(this, { stage, changed, panes: [], active: null, tool: "window" });
  }

  /** Shows images in the place of those before. Resolves once they are painted. */
  async show(images) {
    for (const pane of this.panes) pane.close();
    this.panes = images.map(({ file, ...image }) => new Pane(file, image, () => this.changed()));
    for (const pane of this.panes) {
      listen(pane, () => this.tool);
      pane.canvas.addEventListener("focus", () => this.activate(pane));
    }
    this.stage.dataset.views = this.panes.length;
    this.stage.replaceChildren(...this.panes.map(pane => pane.canvas));
    this.activate(this.panes[0] ?? null);
    await painted();
  }

  /** Makes a pane the one that tools and keys act on. */
  activate(pane) {
    this.active = pane;
    for (const each of this.panes) each.canvas.classList.toggle("active", each === pane && this.panes.length > 1);
    this.changed();
  }

  /** Chooses a tool by its name. */
  choose(tool) {
    this.tool = tool;
    this.changed();
  }
}

/** Resolves after the frame that comes next has been painted. A page in the background paints none. */
function painted() {
  return new Promise(done => {
    requestAnimationFrame(() => setTimeout(done));
    setTimeout(done, LONGEST);
  });
}
