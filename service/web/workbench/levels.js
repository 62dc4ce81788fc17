/** Keeps an image in smaller and smaller copies, so that a view paints about as many pixels as it shows. */

const SMALLEST = 256; // pixels of the longer side below which no smaller copy is made

/** The pixels of an image, and copies of half the sides each, made when first asked for. */
export class Levels {
  constructor(pixels, columns, rows) {
    this.all = [{ pixels, columns, rows, scale: 1 }];
  }

  /** Returns the smallest copy that still has a pixel for each of the screen, at so many of these a pixel. */
  at(zoom) {
    let index = 0;
    while (this.all[index].scale / 2 >= zoom && this.hasHalf(index)) index++;
    return this.all[index];
  }

  /** Returns the smallest copy. */
  get smallest() {
    return this.at(0);
  }

  hasHalf(index) {
    if (index + 1 < this.all.length) return true;
    const level = this.all[index];
    if (Math.max(level.columns, level.rows) < 2 * SMALLEST || Math.min(level.columns, level.rows) < 2) return false;
    this.all.push(half(level));
    return true;
  }
}

/** Returns the means of squares of four pixels. A last odd row or column is left out. */
export function half({ pixels, columns, rows, scale }) {
  const [wide, high] = [columns >> 1, rows >> 1];
  const means = new pixels.constructor(wide * high);
  for (let row = 0, at = 0; row < high; row++) {
    let from = 2 * row * columns;
    for (let column = 0; column < wide; column++, from += 2)
      means[at++] = (pixels[from] + pixels[from + 1] + pixels[from + columns] + pixels[from + columns + 1] + 2) >> 2;
  }
  return { pixels: means, columns: wide, rows: high, scale: scale / 2 };
}
