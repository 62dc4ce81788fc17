/** Finds similar cases and shows them with their pictures. */

import { ask, send } from "./api.js";
import { $, element } from "./dom.js";
import { words } from "./strings.js";

/** Returns the cases nearest to a file, each with its picture. */
export async function findCases(file) {
  const { hits } = await ask("/retrieve", [file], { target: "image", k: 6, group_by: "study" });
  return Promise.all(hits.map(async hit => ({ hit, image: await picture(hit.image_url) })));
}

// An image element sends no key, so images are fetched and shown from memory.
async function picture(url) {
  const image = element("img", "", { alt: words.similar });
  try {
    image.src = URL.createObjectURL(await (await send(url)).blob());
  } catch {
    image.alt = words.noPicture;
  }
  return image;
}

/** Shows cases and lets go of the pictures that were shown before. */
export function showCases(cases) {
  for (const image of $("cases").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  $("cases").replaceChildren(
    ...cases.map(({ hit, image }) => {
      const figure = document.createElement("figure");
      const found = hit.findings.join(", ") || words.noFinding;
      figure.append(image, element("figcaption", `${hit.score.toFixed(3)} ${found}`));
      return figure;
    }),
  );
}
