// What the page shows, in the address: #TAB?t=…; a link holds it and a reload restores it.

import { readable } from "./api.js";

const MOST_K = 100;
export const STEP = 10; // recommendations at first, and with every "10 more"

/** @returns {name, params}: the tab that the address names, "" where it names none */
export function addressed() {
  const [name, query = ""] = location.hash.slice(1).split("?", 2);
  return { name, params: new URLSearchParams(query) };
}

export function addressOf(name, params) {
  const query = params.toString();
  return `#${name}${query && `?${query}`}`;
}

/** All texts of a parameter, as the server takes them. */
export function texts(params, key, most) {
  return params.getAll(key).slice(0, most).map(readable).filter(Boolean);
}

/** How many recommendations are asked for. */
export function count(params) {
  const k = Number.parseInt(params.get("k") ?? "", 10);
  return Number.isNaN(k) ? STEP : Math.min(Math.max(k, 1), MOST_K);
}

export function more(k) {
  return Math.min(k + STEP, MOST_K);
}

/** Parameters without those that are empty; a list sets its key several times. */
export function parameters(entries) {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(entries)) {
    for (const each of [value].flat()) if (each) params.append(key, each);
  }
  return params;
}
