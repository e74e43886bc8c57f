// Elements. Data only ever becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Attributes named on... are event listeners; true sets an empty attribute; null and
 * false set none. Children are nodes or texts; null and false are left out.
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** A name of a track, artist or user: its own direction, whatever is around it. */
export function name(text, attributes = {}) {
  return h("bdi", attributes, text);
}

export function byId(id) {
  return document.getElementById(id);
}

/** Says something to whoever listens to the page instead of looking at it. */
export function announce(text) {
  const announcer = byId("announcer");
  // The same text again is only read if it was away in between.
  announcer.textContent = "";
  setTimeout(() => (announcer.textContent = text), 50);
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** Some of many texts, and how many more there are. */
export function some(texts, limit = 5) {
  const shown = texts.slice(0, limit).map((text) => `“${text}”`).join(", ");
  return texts.length > limit ? `${shown} and ${texts.length - limit} more` : shown;
}
