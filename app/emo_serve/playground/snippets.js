// The call that gets the answer on the page, for a shell, Python and JavaScript.

import { ROOT, mediaType } from "./api.js";
import { TASKS } from "./tasks.js";

export const LANGUAGES = { curl: "curl", python: "Python", javascript: "JavaScript" };

/** The code in a language of the `LANGUAGES`. */
export function snippet(language, { photo, model, isNamed, settings, defaults, classes, hasKey }) {
  const task = TASKS[model.task];
  const parameters = {
    ...(isNamed && { model: model.name, version: model.version }),
    ...task.parameters(settings, defaults, classes),
  };
  const call = {
    file: photo.name,
    url: new URL(task.path, ROOT).href,
    parameters,
    type: mediaType(photo.image),
    hasKey,
  };
  return { curl, python, javascript }[language](call);
}

const withQuery = ({ url, parameters }) => {
  const pairs = Object.entries(parameters).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  const query = new URLSearchParams(pairs).toString();
  return query ? `${url}?${query}` : url;
};

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function curl(call) {
  const lines = [
    `curl --data-binary ${shell(`@${call.file}`)}`,
    `-H ${shell(`Content-Type: ${call.type}`)}`,
    ...(call.hasKey ? ['-H "Authorization: Bearer $EMO_KEY"'] : []),
    shell(withQuery(call)),
  ];
  return lines.join(" \\\n  ");
}

const literal = (value) => (value === true ? "True" : JSON.stringify(value));

function python(call) {
  const entries = Object.entries(call.parameters).map(([name, value]) => `"${name}": ${literal(value)}`);
  const key = call.hasKey ? `, "Authorization": f"Bearer {os.environ['EMO_KEY']}"` : "";
  return [
    ...(call.hasKey ? ["import os", ""] : []),
    "import requests",
    "",
    `with open(${JSON.stringify(call.file)}, "rb") as photo:`,
    "    answer = requests.post(",
    `        ${JSON.stringify(call.url)},`,
    ...(entries.length ? [`        params={${entries.join(", ")}},`] : []),
    "        data=photo,",
    `        headers={"Content-Type": ${JSON.stringify(call.type)}${key}},`,
    "        timeout=30,",
    "    )",
    "answer.raise_for_status()",
    "print(answer.json())",
  ].join("\n");
}

function javascript(call) {
  const key = call.hasKey ? ", Authorization: `Bearer ${key}`" : "";
  return [
    `// photo: a File, a Blob or a Buffer${call.hasKey ? "; key: your API key" : ""}`,
    `const answer = await fetch(${JSON.stringify(withQuery(call))}, {`,
    '  method: "POST",',
    `  headers: { "Content-Type": ${JSON.stringify(call.type)}${key} },`,
    "  body: photo,",
    "});",
    "if (!answer.ok) throw new Error((await answer.json()).detail);",
    "console.log(await answer.json());",
  ].join("\n");
}
