// Asks about every photo what the picked models say, a few at a time, and once only.

import { keyOf } from "./store.js";
import { TASKS } from "./tasks.js";

const AT_A_TIME = 3;

export class Asking {
  #waiting = [];
  #underWay = 0;

  constructor(server, store) {
    this.server = server;
    this.store = store;
  }

  /** Ask what has not been asked: for each photo each picked model. */
  fill() {
    for (const photo of this.store.photos) {
      for (const model of this.store.picked) {
        if (photo.isLive || photo.answers.has(keyOf(model))) continue;
        photo.answers.set(keyOf(model), { pending: true });
        this.#waiting.push({ photo, model });
      }
    }
    this.#next();
  }

  /** Ask once more where there was a problem. */
  again() {
    for (const photo of this.store.photos) {
      for (const [key, entry] of photo.answers) if (entry.problem) photo.answers.delete(key);
    }
    this.fill();
    this.store.changed();
  }

  /** What the model says to an image: an answer or a problem. */
  async ask(model, image) {
    const task = TASKS[model.task];
    try {
      return await this.server.ask(model, task.path, task.wide(this.store.leastScore), image);
    } catch (problem) {
      return { problem };
    }
  }

  #next() {
    while (this.#underWay < AT_A_TIME && this.#waiting.length) this.#start(this.#waiting.shift());
  }

  async #start({ photo, model }) {
    this.#underWay += 1;
    if (this.store.photos.includes(photo)) photo.answers.set(keyOf(model), await this.ask(model, photo.image));
    this.#underWay -= 1;
    this.store.changed();
    this.#next();
  }
}
