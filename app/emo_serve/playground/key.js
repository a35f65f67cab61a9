// The API key, where the server wants one: kept for this tab, sent with every request, never shown in code.

import { byId } from "./dom.js";

const PLACE = "emo-api-key";

export class KeyDialog {
  #dialog = byId("key-dialog");
  #input = byId("key-input");

  /** `onKey` is called when a key was given. */
  constructor(server, onKey) {
    this.server = server;
    server.key = stored();
    byId("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      server.key = this.#input.value.trim();
      store(server.key);
      this.#dialog.close();
      onKey();
    });
    byId("key-cancel").addEventListener("click", () => this.#dialog.close());
    byId("key-button").addEventListener("click", () => this.open());
  }

  /** Ask for a key; `problem` says why. */
  open(problem = null) {
    byId("key-button").hidden = false;
    byId("key-problem").textContent = problem?.detail ?? "";
    this.#input.value = this.server.key;
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}

function stored() {
  try {
    return sessionStorage.getItem(PLACE) ?? "";
  } catch {
    return ""; // storage may be forbidden: the key lasts as long as the page
  }
}

function store(key) {
  try {
    sessionStorage.setItem(PLACE, key);
  } catch {
    // as above
  }
}
