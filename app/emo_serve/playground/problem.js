// A problem, as the server says it.

import { element } from "./dom.js";

/** Title and detail of a Problem, its id in the log, and a button that tries again. */
export function problemCard(problem, onAgain) {
  const facts = [problem.status, problem.requestId && `request ${problem.requestId}`].filter(Boolean).join(" · ");
  const wait = problem.retryAfterMs ? `The server has room again in ${(problem.retryAfterMs / 1000).toFixed(1)} s.` : "";
  return element(
    "div",
    { className: "problem" },
    element("h3", {}, problem.title),
    element("p", {}, problem.detail),
    wait ? element("p", {}, wait) : null,
    facts ? element("p", { className: "facts" }, facts) : null,
    element("button", { type: "button", className: "quiet", onclick: onAgain }, "Try again"),
  );
}
