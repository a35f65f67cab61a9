// Sliders and the class filter, a group for each task of the picked models.

import { element } from "./dom.js";
import { keyOf } from "./store.js";
import { TASKS } from "./tasks.js";

const NAMES = { score: "Least score", iou: "Overlap (IoU)", count: "At most" };

export class Controls {
  #drawnFor = "";
  #chips = new Map();

  constructor(place, store) {
    this.place = place;
    this.store = store;
  }

  render() {
    const tasks = [...new Set(this.store.picked.map((model) => model.task))];
    const wanted = JSON.stringify([tasks, this.store.picks]);
    if (wanted !== this.#drawnFor) {
      this.#drawnFor = wanted;
      this.place.replaceChildren(...tasks.map((task) => this.#group(task)));
    }
    for (const task of tasks) this.#showChips(task);
  }

  #group(task) {
    const { title, ranges } = TASKS[task];
    const sliders = Object.keys(ranges).map((name) => this.#slider(task, name));
    const parts = [...sliders, ...(task === "detect" ? [this.#agnostic()] : []), this.#filter(task)];
    if (sliders.length) parts.push(this.#reset(task));
    return element("fieldset", {}, element("legend", {}, title), ...parts);
  }

  #slider(task, name) {
    const [least, most, step] = TASKS[task].ranges[name];
    const values = this.store.settings[task];
    const written = (value) => (name === "count" ? String(value) : Number(value).toFixed(2));
    const number = element("span", { "aria-hidden": "true" }, written(values[name])); // the slider says it itself
    const input = element("input", { type: "range", min: name === "score" ? Math.min(least, this.store.leastScore) : least });
    input.step = step;
    input.max = Math.max(most, values[name]);
    input.value = values[name];
    input.addEventListener("input", () => {
      values[name] = input.valueAsNumber;
      number.textContent = written(values[name]);
      this.store.changed();
    });
    return element("label", { className: "slider" }, element("span", {}, NAMES[name]), number, input);
  }

  #agnostic() {
    const values = this.store.settings.detect;
    const input = element("input", { type: "checkbox", checked: values.agnostic });
    input.addEventListener("change", () => {
      values.agnostic = input.checked;
      this.store.changed();
    });
    return element("label", { className: "check" }, input, "Boxes of all classes suppress each other");
  }

  #filter(task) {
    const labels = new Set(
      this.store.picked.filter((model) => model.task === task).flatMap((model) => this.#labelsOf(model)),
    );
    const list = element("datalist", { id: `labels-${task}` });
    list.append(...[...labels].map((label) => element("option", { value: label })));
    const input = element("input", { type: "text", placeholder: "all classes", autocomplete: "off" });
    input.setAttribute("list", list.id);
    const take = () => {
      const name = [...labels].find((label) => label.toLowerCase() === input.value.trim().toLowerCase());
      input.setCustomValidity(name || !input.value.trim() ? "" : "No model on this page has a class of this name.");
      if (!name) return void input.reportValidity();
      this.store.classes[task].add(name);
      input.value = "";
      this.store.changed();
    };
    input.addEventListener("change", take);
    input.addEventListener("input", (event) => event.inputType === "insertReplacementText" && take());
    input.addEventListener("keydown", (event) => event.key === "Enter" && take());
    const chips = element("div", { className: "chips" });
    this.#chips.set(task, chips);
    const title = TASKS[task].filtersOnServer ? "Only these classes" : "Only these classes, on this page";
    return element("div", { className: "filter" }, element("label", {}, title, input), list, chips);
  }

  #labelsOf(model) {
    return this.store.details.get(keyOf(model)).labels;
  }

  #showChips(task) {
    const place = this.#chips.get(task);
    const classes = this.store.classes[task];
    if (place.dataset.shown === JSON.stringify([...classes])) return;
    place.dataset.shown = JSON.stringify([...classes]);
    const chip = (name) =>
      element(
        "button",
        {
          type: "button",
          className: "chip",
          "aria-label": `Remove ${name}`,
          onclick: () => {
            classes.delete(name);
            this.store.changed();
          },
        },
        `${name} ×`,
      );
    place.replaceChildren(...[...classes].map(chip));
  }

  #reset(task) {
    const reset = () => {
      const model = this.store.picked.find((picked) => picked.task === task);
      Object.assign(this.store.settings[task], this.store.details.get(keyOf(model)).settings);
      this.store.classes[task].clear();
      this.#drawnFor = "";
      this.store.changed();
    };
    return element("button", { type: "button", className: "quiet", onclick: reset }, "Reset");
  }
}
