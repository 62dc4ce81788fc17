/** Calls the service that served this page, and no other. */

import { askForKey, key } from "./access.js";
import { words } from "./strings.js";

/** An error of the service, with the URN of its kind. */
export class Problem extends Error {
  constructor(message, type) {
    super(message);
    this.type = type;
  }
}

/** Sends a request and returns its answer. Throws a Problem. */
export async function send(path, request = {}) {
  const own = key();
  const headers = { ...request.headers, ...(own && { Authorization: `Bearer ${own}` }) };
  const answer = await fetch(path, { ...request, headers });
  if (answer.ok) return answer;
  throw problem(answer.status, await answer.json().catch(() => null), own);
}

function problem(status, said, own) {
  if (!said?.type) return new Problem(words.unreadable(status));
  if (said.type.startsWith("urn:eclip:auth/") && said.type !== "urn:eclip:auth/foreign") askForKey();
  return new Problem(status === 401 && !own ? words.keyNeeded : `${said.title}: ${said.detail}`, said.type);
}

/** Sends files and parameters as a form and returns the answer's object. */
export async function ask(path, files, parameters = {}) {
  const form = new FormData();
  for (const file of files) form.append("files", file);
  for (const [name, value] of Object.entries(parameters)) form.append(name, value);
  return (await send(path, { method: "POST", body: form })).json();
}

/** Returns the facts and the pixels of a file: Uint8Array or Uint16Array, row by row. */
export async function display(file) {
  const headers = { "Content-Type": "application/octet-stream" };
  const answer = await send("/display", { method: "POST", body: file, headers });
  return readDisplay(await answer.arrayBuffer());
}

/** Reads an answer of /display: the length of the facts, the facts, the pixels. */
export function readDisplay(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const Words = facts.bits === 8 ? Uint8Array : Uint16Array;
  return { facts, pixels: new Words(buffer, 4 + length, facts.rows * facts.columns) };
}
