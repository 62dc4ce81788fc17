/** Starts the workbench: reads files, shows them, and asks for their report and similar cases. */

import { ask, display, send } from "./api.js";
import { findCases, showCases } from "./cases.js";
import { commandsOf } from "./commands.js";
import { $, fill } from "./dom.js";
import { takeFiles } from "./intake.js";
import { listenToKeys } from "./keyboard.js";
import { showNoReport, showReport } from "./report.js";
import { words } from "./strings.js";
import { changeTheme } from "./theme.js";
import { makeToolbar } from "./toolbar.js";
import { Viewer } from "./viewer.js";

const MOST = 4; // views side by side
const NOT_FRONTAL = ["LATERAL", "LATERAL DECUBITUS", "OBLIQUE"];

fill(words);
let update = () => {};
const viewer = new Viewer($("panes"), () => update());
const choose = takeFiles((files, add) => read(add ? [...viewer.panes.map(pane => pane.file), ...files] : files));
const commands = commandsOf(viewer, [
  ["open", "o", () => choose(false)],
  ["add", "a", () => choose(true)],
  ["theme", "t", changeTheme],
  ["help", "?", () => $("sheet").showModal()],
]);
update = makeToolbar(viewer, commands);
update();
listenToKeys(viewer, commands);
document.body.classList.add("ready");
$("key").addEventListener("change", showBundle);
showBundle();

let latest = 0;

/** Shows the views of a study, then what the service says of them. */
async function read(files) {
  const turn = ++latest;
  const isLatest = () => turn === latest; // false once newer files were chosen
  performance.mark("chosen");
  $("error").textContent = "";
  $("status").textContent = words.reading;
  showAnswer(false);
  $("drop").hidden = true;
  viewer.show([]);
  try {
    if (files.length > MOST) throw new Error(words.tooMany(MOST));
    const images = await Promise.all(files.map(async file => ({ file, ...(await display(file)) })));
    if (!isLatest()) return;
    await viewer.show(images);
    performance.measure("image shown", "chosen");
    await answer(images, isLatest);
  } catch (problem) {
    if (isLatest()) refuse(problem);
  }
}

async function answer(images, isLatest) {
  const files = images.map(({ file }) => file);
  const frontal = images.find(({ facts }) => !NOT_FRONTAL.includes(facts.view)) ?? images[0];
  const [written, cases] = await Promise.all([
    ask("/generate-report", files).catch(unwritten),
    findCases(frontal.file),
  ]);
  if (!isLatest()) return;
  if (written) showReport(written);
  else showNoReport();
  showCases(cases);
  showAnswer(true);
  $("status").textContent = words.done;
}

// A bundle of images alone writes no report, and finds similar cases all the same.
function unwritten(problem) {
  if (problem.type !== "urn:eclip:bundle/no-text") throw problem;
  return null;
}

function refuse(problem) {
  $("error").textContent = problem.message;
  $("status").textContent = "";
  $("drop").hidden = viewer.panes.length > 0;
}

function showAnswer(shown) {
  $("answer").hidden = !shown;
  $("empty").hidden = shown;
}

async function showBundle() {
  try {
    const { manifest } = await (await send("/bundle")).json();
    $("bundle").textContent = words.bundle(manifest.name, manifest.version);
    $("error").textContent = "";
  } catch (problem) {
    $("error").textContent = problem.message;
  }
}
