// Where the time of an answer went: the header Server-Timing as a bar.

import { element } from "./dom.js";

/** [{name, ms, note}] of a Server-Timing header. */
export function readServerTiming(header) {
  return [...header.matchAll(/([\w-]+)((?:;[^,]*)?)/g)].flatMap(([, name, rest]) => {
    const ms = /dur=([\d.]+)/.exec(rest);
    return ms ? [{ name, ms: Number(ms[1]), note: /desc="([^"]*)"/.exec(rest)?.[1] ?? "" }] : [];
  });
}

const format = (ms) => (ms < 9.95 ? ms.toFixed(1) : ms.toFixed(0));

/** Fill `place` with a bar of the stages and a legend; the total is the server's, the rest of the way is the network. */
export function showTiming(place, stages, roundTrip) {
  const total = stages.find((stage) => stage.name === "total")?.ms ?? 0;
  const steps = stages.filter((stage) => stage.name !== "total");
  const rest = total - steps.reduce((sum, stage) => sum + stage.ms, 0);
  if (rest > 0.05) steps.push({ name: "http", ms: rest, note: "" });
  const bar = element("div", { className: "stages", "aria-hidden": "true" });
  const legend = element("ul", { className: "legend" });
  steps.forEach((stage, index) => {
    const part = element("span", { className: `stage stage-${index % 6}` });
    part.style.flexGrow = stage.ms;
    bar.append(part);
    const note = stage.note ? ` at ${stage.note}` : "";
    const dot = element("span", { className: `dot stage-${index % 6}`, "aria-hidden": "true" });
    legend.append(element("li", {}, dot, `${stage.name}${note} `, element("b", {}, `${format(stage.ms)} ms`)));
  });
  const sums = element("p", { className: "sums" }, "Server ", element("b", {}, `${format(total)} ms`));
  sums.append(" · round trip ", element("b", {}, `${format(roundTrip)} ms`));
  place.replaceChildren(sums, bar, legend);
}
