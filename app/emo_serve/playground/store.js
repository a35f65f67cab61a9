// What the page knows, in one place; views draw themselves anew when something of it has changed.

import { LEAST_SCORE, TASKS } from "./tasks.js";

/** What tells one version of a model from all others. */
export const keyOf = (model) => `${model.name}@${model.version}`;

export class Store {
  models = [];
  /** keyOf(model) -> {task, labels, settings}, where settings are what the model does by itself. */
  details = new Map();
  /** Keys of the models that answer, one or two. */
  picks = [];
  /** Task -> what its sliders say. */
  settings = {};
  /** Task -> names of the classes that are shown; empty: all. */
  classes = Object.fromEntries(Object.keys(TASKS).map((task) => [task, new Set()]));
  /** {name, image, bitmap, width, height, answers: key -> {pending} | {problem} | {answer, stages, roundTrip}} */
  photos = [];
  selected = null;
  /** Pictures a second while the camera runs, else null. */
  live = null;
  /** In which the call is shown, one of LANGUAGES. */
  language = "curl";
  #listeners = [];
  #isDue = false;

  /** Down to which objects are shown: lower where a detector wants that. */
  get leastScore() {
    const wanted = [...this.details.values()].map(({ task, settings }) => (task === "detect" ? settings.score : 1));
    return Math.min(...wanted) < LEAST_SCORE ? 0 : LEAST_SCORE;
  }

  /** The models that answer, in the order of their panels. */
  get picked() {
    return this.picks.map((key) => this.models.find((model) => keyOf(model) === key)).filter(Boolean);
  }

  /** Let models answer; the sliders of a task begin where the first model of it wants them. */
  pick(position, key) {
    this.picks[position] = key;
    const { task, settings } = this.details.get(key);
    this.settings[task] ??= { ...settings };
  }

  /** Call `listener` before the next frame after each change. */
  onChange(listener) {
    this.#listeners.push(listener);
  }

  /** To be called after every change. */
  changed() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      for (const listener of this.#listeners) listener();
    });
  }

  /** What the settings leave of a photo's answer by a model; null as long as there is none. */
  shown(photo, model, classes = this.classes[model.task]) {
    const entry = photo.answers.get(keyOf(model));
    return entry?.answer ? TASKS[model.task].narrow(entry.answer, this.settings[model.task], classes) : null;
  }
}
