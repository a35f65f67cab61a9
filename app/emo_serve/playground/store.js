// What the page knows, in one place; views draw themselves anew when something of it has changed.

import { TASKS } from "./tasks.js";

/** The one of `models` that is meant by `key`. */
export const keyOf = (model) => `${model.name}@${model.version}`;

export class Store {
  models = [];
  /** keyOf(model) -> {labels, manifest, settings}, where settings are the model's own. */
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

  /** The models that answer, in the order of their panels. */
  get picked() {
    return this.picks.map((key) => this.models.find((model) => keyOf(model) === key)).filter(Boolean);
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
