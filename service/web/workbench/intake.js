/** Takes files in: chosen, dropped anywhere on the page, or pasted. */

import { $ } from "./dom.js";

/** Gives each list of files to `take(files, add)`. Returns what opens the choice of files. */
export function takeFiles(take) {
  const input = $("file");
  let add = false;
  const give = (files, added = false) => files.length && take([...files], added);

  input.addEventListener("change", () => {
    give(input.files, add);
    add = false;
    input.value = ""; // so that the same file can be chosen again
  });
  for (const [event, over] of [["dragover", true], ["dragleave", false], ["drop", false]])
    document.addEventListener(event, happened => {
      happened.preventDefault();
      $("stage").classList.toggle("over", over);
    });
  document.addEventListener("drop", ({ dataTransfer }) => give(dataTransfer.files));
  document.addEventListener("paste", ({ clipboardData }) => give(clipboardData.files));
  return added => {
    add = added;
    input.click();
  };
}
