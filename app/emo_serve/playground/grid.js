// Several photos: each small, with what was found on it and in a few words.

import { element, updateChildren } from "./dom.js";
import { drawBoxes, drawPicture, fitPixels } from "./draw.js";
import { summary } from "./results.js";
import { keyOf } from "./store.js";

export class Grid {
  /** `onSelect` gets the photo that was chosen. */
  constructor(place, store, onSelect) {
    this.place = place;
    this.store = store;
    this.onSelect = onSelect;
  }

  render() {
    const { photos, selected } = this.store;
    this.place.hidden = photos.length < 2;
    if (this.place.hidden) return;
    updateChildren(
      this.place,
      photos,
      () => this.#card(),
      (item, photo) => {
        item.photo = photo;
        const [card] = item.children;
        card.setAttribute("aria-current", String(photo === selected));
        const [canvas, caption] = card.children;
        const text = this.#caption(photo);
        caption.textContent = text;
        card.setAttribute("aria-label", `${photo.name}: ${text}`);
        this.#draw(canvas, photo);
      },
    );
  }

  #card() {
    const item = element("li");
    const canvas = element("canvas", { "aria-hidden": "true" });
    const onclick = () => this.onSelect(item.photo);
    item.append(
      element("button", { type: "button", className: "card", onclick }, canvas, element("span", { className: "caption" })),
    );
    return item;
  }

  #caption(photo) {
    const [model] = this.store.picked;
    const entry = photo.answers.get(keyOf(model));
    if (entry?.problem) return entry.problem.title;
    const shown = this.store.shown(photo, model);
    return shown ? summary(shown) : "…";
  }

  #draw(canvas, photo) {
    const ratio = fitPixels(canvas);
    if (!photo.width) return;
    const scale = Math.min(canvas.width / photo.width, canvas.height / photo.height);
    const left = (canvas.width - photo.width * scale) / 2;
    const top = (canvas.height - photo.height * scale) / 2;
    const toScreen = ([x, y]) => [left + x * scale, top + y * scale];
    const context = canvas.getContext("2d");
    drawPicture(context, photo, null, toScreen);
    const shown = this.store.shown(photo, this.store.picked[0]);
    if (shown?.detections) drawBoxes(context, shown.detections, null, toScreen, ratio, false);
  }
}
