// The call as code with a button to copy it, and the JSON of the answer.

import { element } from "./dom.js";
import { LANGUAGES, snippet } from "./snippets.js";

let count = 0;

/** Tabs of one language each; which one is open is the same in all panels. */
export class CallView {
  #tabs;
  #code = element("code");
  #copy = element("button", { type: "button", className: "quiet copy", onclick: () => this.#toClipboard() }, "Copy");
  #call = null;

  constructor(place, store) {
    this.store = store;
    const id = `call-${(count += 1)}`;
    this.#tabs = Object.entries(LANGUAGES).map(([language, name]) =>
      element("button", { type: "button", role: "tab", "aria-controls": id, "data-language": language }, name),
    );
    const bar = element("div", { role: "tablist", className: "tabs", "aria-label": "Language" }, ...this.#tabs);
    bar.addEventListener("click", ({ target }) => target.dataset.language && this.#open(target.dataset.language));
    bar.addEventListener("keydown", (event) => this.#key(event));
    const block = element("pre", { tabIndex: 0, "aria-label": "The call" }, this.#code);
    const panel = element("div", { id, role: "tabpanel", "aria-label": "The call as code" }, block);
    place.append(element("div", { className: "callbar" }, bar, this.#copy), panel);
  }

  /** Show the call; `call` is what `snippet` takes. */
  show(call) {
    this.#call = call;
    for (const tab of this.#tabs) {
      const isOpen = tab.dataset.language === this.store.language;
      tab.setAttribute("aria-selected", String(isOpen));
      tab.tabIndex = isOpen ? 0 : -1;
    }
    const text = snippet(this.store.language, call);
    if (this.#code.textContent !== text) this.#code.textContent = text;
  }

  #open(language) {
    this.store.language = language;
    this.show(this.#call);
    this.store.changed();
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const all = this.#tabs;
    const next = all[(all.indexOf(event.target) + step + all.length) % all.length];
    next.focus();
    this.#open(next.dataset.language);
  }

  async #toClipboard() {
    try {
      await navigator.clipboard.writeText(this.#code.textContent);
    } catch {
      // Pages that came over plain HTTP have no clipboard, but may copy what is selected.
      getSelection().selectAllChildren(this.#code);
      document.execCommand("copy");
    }
    this.#copy.textContent = "Copied";
    setTimeout(() => (this.#copy.textContent = "Copy"), 1500);
  }
}
