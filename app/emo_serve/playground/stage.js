// The picture of a panel: drawn, zoomed, and read by pointing at it.

import { element, percent } from "./dom.js";
import { Areas, drawBoxes, drawPicture, fitPixels } from "./draw.js";
import { Zoom } from "./zoom.js";
import { summary } from "./results.js";

export class Stage {
  #canvas = element("canvas", { tabIndex: 0, role: "img" });
  #readout = element("p", { className: "readout", "aria-hidden": "true" });
  #zoom;
  #photo = null;
  #answer = null;
  #highlighted = null;
  #areas = null;
  #overlay = null;

  /** `onPoint` gets the position of what is pointed at, or null. */
  constructor(place, onPoint) {
    this.onPoint = onPoint;
    this.#zoom = new Zoom(this.#canvas, () => this.#draw());
    const button = (text, label, onclick) =>
      element("button", { type: "button", "aria-label": label, title: label, onclick }, text);
    const tools = element(
      "div",
      { className: "zoom" },
      button("−", "Zoom out", () => this.#zoom.by(1 / 1.6)),
      button("⤢", "Whole picture", () => this.#zoom.reset()),
      button("+", "Zoom in", () => this.#zoom.by(1.6)),
    );
    place.append(this.#canvas, this.#readout, tools);
    this.#canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.#canvas.addEventListener("pointerleave", () => this.#unpoint());
    new ResizeObserver(() => this.#draw()).observe(this.#canvas);
  }

  /** Show a photo with what is left of its answer, if there is one; `whole` is the answer before any setting. */
  show(photo, answer, whole, highlighted) {
    if (photo !== this.#photo && !(photo.isLive && this.#photo?.isLive)) this.#zoom.reset();
    if (whole?.classes && this.#areas?.classes !== whole.classes) this.#areas = new Areas(whole);
    if (!whole?.classes) this.#areas = null;
    this.#photo = photo;
    this.#answer = answer;
    this.#highlighted = highlighted;
    const shown = answer?.classes;
    const strong = shown?.[highlighted];
    this.#overlay = this.#areas && shown ? this.#areas.overlay((entry) => shown.includes(entry), strong) : null;
    this.#canvas.parentElement.style.setProperty("--ratio", photo.width / photo.height);
    this.#canvas.setAttribute("aria-label", `${photo.name}${answer ? `: ${summary(answer)}` : ""}. Zoom with + and −.`);
    this.#draw();
  }

  #draw() {
    if (!this.#photo?.width) return;
    const ratio = fitPixels(this.#canvas);
    const { width, height } = this.#photo;
    const toScreen = ([x, y]) => {
      const [across, down] = this.#zoom.toCanvas([x / width, y / height]);
      return [across * this.#canvas.width, down * this.#canvas.height];
    };
    const context = this.#canvas.getContext("2d");
    drawPicture(context, this.#photo, this.#overlay, toScreen);
    if (this.#answer?.detections) drawBoxes(context, this.#answer.detections, this.#highlighted, toScreen, ratio);
  }

  #point(event) {
    const [across, down] = this.#zoom.toPicture(event);
    const place = [across * this.#photo.width, down * this.#photo.height];
    const found = this.#found(place);
    const where = `x ${Math.round(place[0])}, y ${Math.round(place[1])}`;
    this.#readout.textContent = found === null ? where : `${this.#described(found)} · ${where}`;
    this.#readout.classList.add("visible");
    if (found !== this.#highlighted) this.onPoint(found);
  }

  #unpoint() {
    this.#readout.classList.remove("visible");
    this.onPoint(null);
  }

  /** The position of what lies at a pixel: of several boxes the smallest. */
  #found([x, y]) {
    if (this.#areas && this.#answer?.classes) {
      const index = this.#answer.classes.indexOf(this.#areas.at([x, y]));
      return index < 0 ? null : index;
    }
    let best = null;
    let least = Infinity;
    this.#answer?.detections?.forEach(({ box: [left, top, right, bottom] }, index) => {
      const area = (right - left) * (bottom - top);
      if (x >= left && x <= right && y >= top && y <= bottom && area < least) [best, least] = [index, area];
    });
    return best;
  }

  #described(index) {
    const entry = (this.#answer.detections ?? this.#answer.classes)[index];
    if (!entry.box) return `${entry.name} ${percent(entry.share)} of the picture`;
    const [left, top, right, bottom] = entry.box;
    return `${entry.name} ${percent(entry.score)} · ${Math.round(right - left)} × ${Math.round(bottom - top)} px`;
  }
}
