// Puts the page together: what is served, the views, and what buttons do.

import { Problem, Server } from "./api.js";
import { Asking } from "./asking.js";
import { Camera } from "./camera.js";
import { Controls } from "./controls.js";
import { byId } from "./dom.js";
import { Grid } from "./grid.js";
import { KeyDialog } from "./key.js";
import { Panel } from "./panel.js";
import { readPhoto, takeFiles, takeSamples } from "./photos.js";
import { problemCard } from "./problem.js";
import { summary } from "./results.js";
import { Store, keyOf } from "./store.js";
import { TASKS } from "./tasks.js";

const server = new Server();
const store = new Store();
const asking = new Asking(server, store);
const camera = new Camera(store, asking);
const controls = new Controls(byId("controls"), store);
const grid = new Grid(byId("grid"), store, select);
const keyDialog = new KeyDialog(server, start);
const panels = [];
let refusal = null; // the last one for which a key was asked
const wide = matchMedia("(min-width: 60rem)"); // where the style sheet puts the settings beside the photo

async function start() {
  try {
    store.models = (await server.models()).filter((model) => model.task in TASKS);
    for (const model of store.models) await learn(model); // all at once would be too many for a key with a small share
  } catch (problem) {
    trouble(problem, start);
    return;
  }
  byId("trouble").replaceChildren();
  byId("key-button").hidden = !server.key;
  const isServed = (key) => store.models.some((model) => keyOf(model) === key);
  store.picks = store.picks.filter(isServed);
  if (!store.picks.length) firstPicks(store.models).forEach((key, position) => store.pick(position, key));
  asking.again();
}

/** The models that people see first: the default classifier, which always has an answer, or where there is room two. */
function firstPicks(models) {
  const order = wide.matches ? ["detect", "classify", "segment"] : ["classify", "detect", "segment"];
  const defaults = order.flatMap((task) =>
    models.filter((model) => model.task === task && model.default),
  );
  return (defaults.length ? defaults : models).slice(0, wide.matches ? 2 : 1).map(keyOf);
}

async function learn(model) {
  const { labels, manifest } = await server.describe(model);
  const settings = TASKS[model.task].settings(manifest);
  store.details.set(keyOf(model), { task: model.task, labels, settings });
}

function trouble(problem, again) {
  if (problem.status === 401) keyDialog.open(problem);
  byId("trouble").replaceChildren(problemCard(problem, again));
}

// ---- photos and models ----

async function take(files) {
  const photos = await Promise.all(files.map(readPhoto));
  if (!photos.length) return;
  const isFirst = !store.selected;
  store.photos.push(...photos);
  select(photos[0]);
  asking.fill();
  if (isFirst) requestAnimationFrame(() => byId("work").focus({ preventScroll: true })); // what had the focus is gone
}

function select(photo) {
  store.selected = photo;
  store.changed();
}

function pick(position, key) {
  store.pick(position, key);
  asking.fill();
  store.changed();
}

function compare() {
  const [one] = store.picked;
  const others = store.models.filter((model) => model !== one);
  pick(1, keyOf(others.find((model) => model.task !== one.task) ?? others[0]));
}

function alone() {
  store.picks.length = 1;
  store.changed();
}

function clear() {
  if (camera.isOn) camera.stop();
  store.photos = [];
  select(null);
}

async function toggleCamera() {
  if (camera.isOn) {
    camera.stop();
    return;
  }
  try {
    await camera.start();
    byId("trouble").replaceChildren();
  } catch (problem) {
    trouble(problem, toggleCamera);
  }
}

// ---- views ----

function render() {
  const hasPhoto = Boolean(store.selected) && store.picked.length > 0;
  byId("welcome").hidden = hasPhoto;
  byId("work").hidden = !hasPhoto;
  for (const button of document.querySelectorAll("[data-camera]")) {
    button.textContent = store.live === null ? "Live camera" : "Stop camera";
  }
  byId("rate").textContent = store.live ? `${store.live.toFixed(1)} pictures a second` : "";
  if (!hasPhoto) return;
  document.body.classList.toggle("two", store.picks.length > 1);
  store.picks.forEach((_, position) => {
    panels[position] ??= new Panel(position, store, server, { pick, compare, alone, again: () => asking.again() });
    if (!panels[position].root.isConnected) byId("panels").append(panels[position].root);
    panels[position].render();
  });
  if (store.picks.length < 2) panels[1]?.root.remove();
  controls.render();
  grid.render();
  announce();
}

/** Tell those who hear the page what the selected photo shows, once its answers are there. */
function announce() {
  if (store.live !== null) return;
  const parts = store.picked.map((model) => {
    const shown = store.shown(store.selected, model);
    return shown && `${model.name}: ${summary(shown)}`;
  });
  const text = parts.every(Boolean) ? `${store.selected.name}. ${parts.join(". ")}` : "";
  if (byId("status").textContent !== text) byId("status").textContent = text;
  const refused = [...store.selected.answers.values()].find(({ problem }) => problem?.status === 401);
  if (refused && refused !== refusal) keyDialog.open(refused.problem);
  refusal = refused;
}

function toggleTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try {
    localStorage.setItem("emo-theme", root.dataset.theme);
  } catch {
    // storage may be forbidden: it lasts as long as the page
  }
}

store.onChange(render);
takeFiles(take);
takeSamples(take, ({ message }) => trouble(new Problem({ title: "The sample cannot be loaded", detail: message }), start));
for (const button of document.querySelectorAll("[data-camera]")) button.addEventListener("click", toggleCamera);
byId("clear").addEventListener("click", clear);
byId("theme").addEventListener("click", toggleTheme);
byId("settings").open = wide.matches;
wide.addEventListener("change", () => (byId("settings").open = wide.matches));
start();
