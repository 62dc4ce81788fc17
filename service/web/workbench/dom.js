/** Makes and finds elements. */

export const $ = id => document.getElementById(id);

/** Returns a new element with these properties, attributes among them as `attributes`. */
export function element(tag, text = "", { attributes = {}, ...properties } = {}) {
  const made = Object.assign(document.createElement(tag), { textContent: text }, properties);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Writes a language's words where the page names them: as text, or as the name of a region. */
export function fill(words) {
  for (const each of document.querySelectorAll("[data-word]")) each.textContent = words[each.dataset.word];
  for (const each of document.querySelectorAll("[data-label]"))
    each.setAttribute("aria-label", words[each.dataset.label]);
}
