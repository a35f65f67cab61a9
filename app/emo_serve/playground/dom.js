// The little that is needed of a view library.

/** An element with these properties, data-* and aria-* attributes, and children; `on…` properties are listeners. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && !name.includes("-")) made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * Make the children of `list` be as many as `items`: those that are there are kept and updated, so that bars move and
 * focus stays.
 */
export function updateChildren(list, items, create, update) {
  while (list.children.length > items.length) list.lastElementChild.remove();
  while (list.children.length < items.length) list.append(create());
  items.forEach((item, index) => update(list.children[index], item, index));
}

/** 0.8712 as "87.1 %". */
export const percent = (share) => `${(share * 100).toFixed(1)} %`;

/** Bytes as a person reads them. */
export const bytes = (count) => (count < 1e6 ? `${Math.ceil(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`);
