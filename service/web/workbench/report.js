/** Shows a report: its sentences with what they cite, its findings and its evidence. */

import { $, element } from "./dom.js";
import { words } from "./strings.js";

function cite(number) {
  const raised = document.createElement("sup");
  raised.append(element("a", `[${number}]`, { href: `#e${number}` }));
  return raised;
}

/** Returns a sentence, what it cites and what speaks against it. */
export function sentence(item) {
  const line = element("p", item.sentence + " ");
  line.append(...item.evidence.map(cite));
  if (item.against.length) line.append(element("small", words.denied), ...item.against.map(cite));
  if (item.zero_shot === "disagrees") line.append(element("small", words.disagrees));
  if (item.region?.agrees === "disagrees") line.append(element("small", words.otherSide(item.region.finding)));
  else if (item.region?.zone && item.region.lungs_found) line.append(element("small", words.zone(item.region.zone)));
  return line;
}

/** Shows what /generate-report answered. */
export function showReport(written) {
  const parts = written.warnings.map(warning => element("p", words.warning(warning)));
  for (const [title, items] of Object.entries(written.report))
    parts.push(element("h3", title[0].toUpperCase() + title.slice(1)), ...items.map(sentence));
  if (written.abstained) parts.push(element("p", words.noReport(written.abstained)));
  parts.push(element("small", words.writer(written.generator.model, written.generator.kind)));
  $("report").replaceChildren(...parts);
  $("evidence").replaceChildren(
    ...written.evidence.map(item => element("li", item.text, { id: `e${item.number}`, value: item.number })),
  );
  $("findings").replaceChildren(...written.classification.map(finding));
}

function finding({ label, probability, abstained, calibrated }) {
  const row = document.createElement("tr");
  const meter = element("meter", "", { value: probability ?? 0, attributes: { "aria-label": label } });
  const value = probability === null ? "–" : probability.toPrecision(2);
  const note = abstained ? words.uncertain : calibrated ? "" : words.uncalibrated;
  const cells = [element("th", label, { scope: "row" }), element("td"), element("td", value), element("td", note)];
  cells[1].append(meter);
  row.append(...cells);
  return row;
}

/** Says that the bundle writes no reports. */
export function showNoReport() {
  $("report").textContent = words.imagesAlone;
  for (const id of ["findings", "evidence"]) $(id).replaceChildren();
}
