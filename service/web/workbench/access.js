/** Keeps the caller's API key. It is nowhere but in its field: closing or reloading forgets it. */

import { $ } from "./dom.js";
import { words } from "./strings.js";

/** Returns the key that was entered, empty if none was. Throws if no key can be so. */
export function key() {
  const entered = $("key").value.trim();
  if (/[^\x21-\x7e]/.test(entered)) throw new Error(words.keyNotAscii);
  return entered;
}

/** Shows the field for the key. */
export function askForKey() {
  $("access").hidden = false;
}
