/** Changes between the dark page and the light one. At first it is what the system prefers. */

const light = matchMedia("(prefers-color-scheme: light)");

/** Shows the other theme, until the page is loaded again. */
export function changeTheme() {
  const root = document.documentElement;
  const isLight = root.dataset.theme ? root.dataset.theme === "light" : light.matches;
  root.dataset.theme = isLight ? "dark" : "light";
}
