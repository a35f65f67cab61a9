// What one model says about the selected photo: the picture, bars, times, the call and the answer.

import { CallView } from "./call.js";
import { bytes, element } from "./dom.js";
import { problemCard } from "./problem.js";
import { Results } from "./results.js";
import { Stage } from "./stage.js";
import { keyOf } from "./store.js";
import { TASKS, entriesOf } from "./tasks.js";
import { showTiming } from "./timing.js";

const NOTHING = new Set();

export class Panel {
  #store;
  #position;
  #actions;
  #highlighted = null;
  #timed = null;
  #picker = element("select");
  #other = element("button", { type: "button", className: "quiet" });
  #facts = element("p", { className: "facts" });
  #stagePlace = element("figure", { className: "stage" });
  #problem = element("div", { role: "alert" });
  #resultsPlace = element("div", { className: "results" });
  #timing = element("div", { className: "timing" });
  #call = element("details", { className: "call", open: true }, element("summary", {}, "The call"));
  #json = element("pre", { tabIndex: 0, "aria-label": "The answer as JSON" });
  #jsonBox = element("details", { className: "json" }, element("summary", {}, "The answer as JSON"), this.#json);

  /** `actions`: pick(position, key), compare(), alone() and again(). */
  constructor(position, store, server, actions) {
    this.#store = store;
    this.#position = position;
    this.#actions = actions;
    this.server = server;
    const point = (index) => {
      this.#highlighted = index;
      this.render();
    };
    this.stage = new Stage(this.#stagePlace, point);
    this.results = new Results(this.#resultsPlace, point);
    this.callView = new CallView(this.#call, store);
    this.#picker.addEventListener("change", () => actions.pick(position, this.#picker.value));
    this.#jsonBox.addEventListener("toggle", () => this.render());
    const label = element("label", { className: "picker" }, element("span", {}, position ? "Second model" : "Model"));
    label.append(this.#picker);
    this.root = element(
      "section",
      { className: "panel", "aria-label": position ? "Second model" : "First model" },
      element("header", {}, label, this.#other, this.#facts),
      this.#stagePlace,
      this.#problem,
      this.#resultsPlace,
      this.#timing,
      this.#call,
      this.#jsonBox,
    );
  }

  render() {
    const model = this.#store.picked[this.#position];
    const photo = this.#store.selected;
    if (!model || !photo) return;
    this.#showPicker(model);
    const entry = photo.answers.get(keyOf(model)) ?? {};
    const shown = this.#store.shown(photo, model);
    if (entry.answer && !photo.width) Object.assign(photo, entry.answer.image); // a format that this browser cannot show
    if (this.#highlighted !== null && !entriesOf(shown ?? {})[this.#highlighted]) this.#highlighted = null;
    this.#stagePlace.hidden = !photo.width;
    if (photo.width) this.stage.show(photo, shown, entry.answer, this.#highlighted);
    this.root.setAttribute("aria-busy", String(Boolean(entry.pending)));
    this.#showProblem(entry.problem);
    for (const part of [this.#resultsPlace, this.#timing, this.#jsonBox]) part.hidden = !shown;
    if (shown) this.results.show(shown, entry.answer, this.#highlighted);
    if (shown && this.#timed !== entry) showTiming(this.#timing, entry.stages, entry.roundTrip);
    this.#timed = entry;
    this.#showCall(photo, model);
    const { filtersOnServer } = TASKS[model.task];
    if (!shown || !this.#jsonBox.open) return;
    const asAsked = filtersOnServer ? shown : this.#store.shown(photo, model, NOTHING);
    this.#json.textContent = JSON.stringify(asAsked, null, 2);
  }

  #showPicker(model) {
    const { models, picks } = this.#store;
    const isStale = this.#picker.dataset.models !== String(models.map(keyOf));
    if (isStale) {
      this.#picker.dataset.models = String(models.map(keyOf));
      this.#picker.replaceChildren(...groupedOptions(models));
    }
    this.#picker.value = keyOf(model);
    const photo = this.#store.selected;
    const size = photo.width ? `${photo.width} × ${photo.height} px · ` : "";
    const hidden = photo.width && !photo.bitmap ? " · this browser cannot show the format" : "";
    const facts = `${photo.name} · ${size}${photo.isLive ? "camera" : bytes(photo.image.size)}${hidden}`;
    if (this.#facts.textContent !== facts) this.#facts.textContent = facts;
    const isTwo = picks.length > 1;
    this.#other.hidden = (!isTwo && models.length < 2) || (isTwo && this.#position === 0);
    this.#other.textContent = isTwo ? "Remove" : "Compare";
    this.#other.title = isTwo ? "Show one model only" : "Show a second model beside this one";
    this.#other.onclick = isTwo ? this.#actions.alone : this.#actions.compare;
  }

  #showProblem(problem) {
    if (this.shownProblem === problem) return;
    this.shownProblem = problem;
    this.#problem.replaceChildren(...(problem ? [problemCard(problem, this.#actions.again)] : []));
  }

  #showCall(photo, model) {
    const { settings, classes, details } = this.#store;
    this.callView.show({
      photo,
      model,
      isNamed: !model.default,
      settings: settings[model.task],
      defaults: details.get(keyOf(model)).settings,
      classes: classes[model.task],
      hasKey: Boolean(this.server.key),
    });
  }
}

function groupedOptions(models) {
  return Object.entries(TASKS).flatMap(([task, { title }]) => {
    const own = models.filter((model) => model.task === task);
    const names = own.map((model) => {
      const isOnly = own.filter(({ name }) => name === model.name).length === 1;
      return element("option", { value: keyOf(model) }, isOnly ? model.name : `${model.name} ${model.version}`);
    });
    return own.length ? [element("optgroup", { label: title }, ...names)] : [];
  });
}
