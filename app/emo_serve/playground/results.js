// What was found, as bars: names and numbers for those who see, read or hear them.

import { colourOf, css } from "./colours.js";
import { element, percent, updateChildren } from "./dom.js";

const ACCENT = "var(--accent)";

/** Rows {name, note, share, colour, entry} of an answer's list, by its kind. */
export function rowsOf(answer) {
  if (answer.classifications) {
    return answer.classifications.map(({ name, group, score }) => ({ name, note: group, share: score, colour: ACCENT }));
  }
  if (answer.detections) {
    return answer.detections.map((entry) => ({
      name: entry.name,
      share: entry.score,
      colour: css(colourOf(entry.class_id)),
      entry,
    }));
  }
  return answer.classes.map((entry) => ({
    name: entry.name,
    share: entry.share,
    colour: css(colourOf(entry.class_id)),
    entry,
  }));
}

/** One sentence of an answer, for captions and for those who hear it. */
export function summary(answer) {
  const rows = rowsOf(answer);
  if (answer.detections) {
    if (rows.length === 0) return "nothing found";
    const counts = new Map();
    for (const { name } of rows) counts.set(name, (counts.get(name) ?? 0) + 1);
    return [...counts].map(([name, count]) => (count === 1 ? name : `${count} × ${name}`)).join(", ");
  }
  if (rows.length === 0) return "no class";
  return `${rows[0].name} ${percent(rows[0].share)}`;
}

/** Show broad groups, if the answer has any, and its rows in `place`; `onPoint(index or null)` where rows can be pointed at. */
export class Results {
  #groups = element("ol", { className: "bars groups" });
  #rows = element("ol", { className: "bars" });
  #groupTitle = element("h3", {}, "Groups");
  #title = element("h3");
  #none = element("p", { className: "none" });

  constructor(place, onPoint) {
    this.onPoint = onPoint;
    place.append(this.#groupTitle, this.#groups, this.#title, this.#rows, this.#none);
  }

  /** Show what is left of an answer; `whole` is the answer before any setting. */
  show(answer, whole, highlighted) {
    const groups = answer.groups ?? [];
    const rows = rowsOf(answer);
    this.#groupTitle.hidden = this.#groups.hidden = groups.length === 0;
    this.#title.textContent = answer.detections ? `Objects (${rows.length})` : answer.classes ? "Areas" : "Classes";
    this.#none.hidden = rows.length > 0;
    this.#none.textContent = emptiness(whole);
    updateChildren(
      this.#groups,
      groups.map(({ name, score }) => ({ name, share: score, colour: ACCENT })),
      () => element("li", {}, bar("div")),
      updateBar,
    );
    const isPointable = !answer.classifications;
    if (this.#rows.firstElementChild?.firstElementChild.tagName !== (isPointable ? "BUTTON" : "DIV")) {
      this.#rows.replaceChildren();
    }
    updateChildren(
      this.#rows,
      rows,
      () => element("li", {}, isPointable ? this.#button() : bar("div")),
      (item, row, index) => {
        updateBar(item, row);
        item.classList.toggle("strong", index === highlighted);
      },
    );
  }

  #button() {
    const made = bar("button");
    made.type = "button";
    const point = () => this.onPoint([...this.#rows.children].indexOf(made.parentElement));
    for (const event of ["pointerenter", "focus"]) made.addEventListener(event, point);
    for (const event of ["pointerleave", "blur"]) made.addEventListener(event, () => this.onPoint(null));
    return made;
  }
}

/** Why nothing is shown. */
function emptiness(whole) {
  const [best] = rowsOf(whole);
  return best ? `Nothing at these settings. The best candidate: ${best.name}, ${percent(best.share)}.` : "Nothing found.";
}

function bar(tag) {
  const name = element("span", { className: "name" });
  const track = element("span", { className: "track" }, element("span", { className: "fill" }));
  return element(tag, { className: "bar" }, name, track, element("span", { className: "value" }));
}

function updateBar(item, { name, note, share, colour }) {
  const [label, track, value] = item.firstElementChild.children;
  if (label.dataset.text !== `${name}|${note}`) {
    label.dataset.text = `${name}|${note}`;
    label.replaceChildren(name, note && note !== name ? element("small", {}, ` ${note}`) : "");
  }
  track.firstElementChild.style.width = `${Math.min(100, share * 100)}%`;
  track.firstElementChild.style.background = colour;
  value.textContent = percent(share);
}
