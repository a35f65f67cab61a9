// What differs between the tasks: how wide the page asks once, and what of the answer its settings leave.

import { suppress } from "./suppress.js";

export const LEAST_SCORE = 0.05;
const MOST = 1000;

/**
 * path: of the route. settings: where the sliders begin, by the model's manifest. wide: the parameters with which the
 * page asks, by the least score that a slider goes down to, so that all that sliders can show is there. narrow: the answer that these settings would have got.
 * parameters: the settings that differ from what the server does anyway; of a list each value is a parameter.
 */
export const TASKS = {
  classify: {
    path: "classify",
    title: "Classes",
    settings: () => ({ score: 0, count: 5 }),
    ranges: { score: [0, 1, 0.01], count: [1, 50, 1] },
    wide: () => ({ top_k: MOST }),
    narrow: narrowClasses,
    parameters: ({ score, count }, defaults) => ({
      ...(count !== defaults.count && { top_k: count }),
      ...(score !== defaults.score && { score_threshold: score }),
    }),
    filtersOnServer: false,
  },
  detect: {
    path: "detect",
    title: "Objects",
    settings: ({ detection }) => ({
      score: detection.score_threshold,
      iou: detection.iou_threshold,
      count: detection.max_detections,
      agnostic: false,
    }),
    ranges: { score: [LEAST_SCORE, 1, 0.01], iou: [0, 1, 0.01], count: [1, 300, 1] },
    // With an IoU of 1 nothing is suppressed: the page does that itself, whenever a slider moves.
    wide: (leastScore) => ({ score_threshold: leastScore, iou_threshold: 1, max_detections: MOST }),
    narrow: narrowObjects,
    parameters: ({ score, iou, count, agnostic }, defaults, classes) => ({
      ...(score !== defaults.score && { score_threshold: score }),
      ...(iou !== defaults.iou && { iou_threshold: iou }),
      ...(agnostic && { class_agnostic: true }),
      ...(count !== defaults.count && { max_detections: count }),
      ...(classes.size && { classes: [...classes] }),
    }),
    filtersOnServer: true,
  },
  segment: {
    path: "segment",
    title: "Areas",
    settings: () => ({}),
    ranges: {},
    wide: () => ({}),
    narrow: (answer, _, classes) => ({ ...answer, classes: answer.classes.filter(among(classes)) }),
    parameters: () => ({}),
    filtersOnServer: false,
  },
};

/** The list of an answer that its task is about. */
export const entriesOf = (answer) => answer.classifications ?? answer.detections ?? answer.classes ?? [];

const among = (classes) => (entry) => classes.size === 0 || classes.has(entry.name);

function narrowClasses(answer, { score, count }, classes) {
  const isWanted = among(classes);
  const left = answer.classifications.filter((entry) => entry.score >= score && isWanted(entry));
  const narrowed = { ...answer, classifications: left.slice(0, count) };
  if (!answer.groups) return narrowed;
  const wanted = new Set(answer.classifications.filter(isWanted).map((entry) => entry.group));
  const groups = answer.groups.filter((group) => group.score >= score && wanted.has(group.name));
  return { ...narrowed, groups: groups.slice(0, count) };
}

function narrowObjects(answer, { score, iou, count, agnostic }, classes) {
  const candidates = answer.detections.filter((entry) => entry.score >= score).filter(among(classes));
  return { ...answer, detections: suppress(candidates, { iouThreshold: iou, count, classAgnostic: agnostic }) };
}
