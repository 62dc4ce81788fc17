/**
 * Turns pixels into grays.
 *
 * A window is {low, high} in parts of the pixels' range, 0…1: what is at `low` becomes black, what is at `high`
 * white. Stored values are what the file holds; those of an inverted image run the other way.
 */

const NARROWEST = 1 / 4096; // the least width of a window

/** Returns the part of the range at which a stored value lies. */
const part = ({ values, inverted }, value) => {
  const share = (value - values.low) / (values.high - values.low || 1);
  return inverted ? 1 - share : share;
};

/** Returns the window that the file names. */
export function storedWindow(facts) {
  const ends = [part(facts, facts.window.low), part(facts, facts.window.high)];
  return { low: Math.min(...ends), high: Math.max(...ends) };
}

/** Returns a window's centre and width in stored values. */
export function inValues({ values, inverted }, { low, high }) {
  const range = values.high - values.low;
  const middle = (low + high) / 2;
  return { centre: values.low + (inverted ? 1 - middle : middle) * range, width: (high - low) * range };
}

/** Returns the window of a centre and a width in stored values. */
export function ofValues(facts, { centre, width }) {
  const middle = part(facts, centre);
  return around(middle, width / (facts.values.high - facts.values.low || 1));
}

/** Returns the window of this width around a middle. */
export function around(middle, width) {
  const wide = Math.max(width, NARROWEST);
  return { low: middle - wide / 2, high: middle + wide / 2 };
}

/** Returns the window from one share of an image's pixels to another. Black pixels do not count. */
export function windowOfShares(pixels, first, last) {
  const top = 2 ** (8 * pixels.BYTES_PER_ELEMENT) - 1;
  const counts = new Uint32Array(top + 1);
  for (const value of pixels) counts[value]++;
  const seen = pixels.length - counts[0];
  const reached = share => {
    let value = 1;
    for (let sum = counts[1] ?? 0; sum < share * seen && value < top; ) sum += counts[++value];
    return value / top;
  };
  const [low, high] = [reached(first), reached(last)];
  return { low, high: Math.max(high, low + NARROWEST) };
}

/**
 * Returns the colour of each pixel value, Uint32 as a canvas has it. Where the file shows its values by a curve,
 * the window moves and stretches this curve.
 */
export function colours(facts, window, inverted) {
  const count = 2 ** facts.bits;
  const table = new Uint32Array(count);
  const gray = facts.curve ? alongCurve(facts, window) : share => (share - window.low) / (window.high - window.low);
  for (let value = 0; value < count; value++) {
    const level = Math.round(255 * Math.min(1, Math.max(0, gray(value / (count - 1)))));
    table[value] = 0xff000000 + (inverted ? 255 - level : level) * 0x010101;
  }
  return table;
}

function alongCurve(facts, window) {
  const stored = storedWindow(facts);
  const stretch = (stored.high - stored.low) / (window.high - window.low);
  const last = facts.curve.length - 1;
  return share => {
    const at = Math.min(1, Math.max(0, stored.low + (share - window.low) * stretch)) * last;
    const before = Math.floor(at);
    const after = Math.min(before + 1, last);
    return facts.curve[before] + (at - before) * (facts.curve[after] - facts.curve[before]);
  };
}

/** Paints a part of a level's pixels in their colours on a canvas of its size. */
export function paint(canvas, { pixels, columns }, { left, top, width, height }, table) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { alpha: false });
  const picture = context.createImageData(width, height);
  const shown = new Uint32Array(picture.data.buffer);
  for (let row = 0, at = 0; row < height; row++) {
    const first = (top + row) * columns + left;
    for (let from = first; from < first + width; from++) shown[at++] = table[pixels[from]];
  }
  context.putImageData(picture, 0, 0);
}
