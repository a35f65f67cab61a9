// Runs before the page is painted: the theme that was chosen last, if any; else the system's.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("emo-theme");
  } catch {
    // Storage may be forbidden; the system's theme will do.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
