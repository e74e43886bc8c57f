// A search field with a list of what was found: the combobox pattern of ARIA 1.2.

import { ask, readable, Refused, Unavailable } from "./api.js";
import { announce, byId, h, name, plural } from "./dom.js";

const PAUSE_MS = 120; // of typing, before it searches
const FOUND = 8;

/**
 * @param id       of the input; its list is `${id without -search}-options`
 * @param pipeline whose catalogue is searched
 * @param add      (track) => void; a track has id (null when typed), name, artist, text
 * @param typed    whether "Artist - Title" may be added as it stands, found or not
 */
export function combobox({ id, pipeline, add, typed }) {
  const input = byId(id);
  const list = byId(id.replace("-search", "-options"));
  let options = [];
  let active = -1;
  let listed = ""; // what the options were found for
  let controller = new AbortController();
  let timer;

  function close() {
    list.hidden = true;
    listed = "";
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function stop() {
    clearTimeout(timer);
    controller.abort();
  }

  function activate(index) {
    active = index;
    [...list.children].forEach((option, place) => {
      if (option.role === "option") option.setAttribute("aria-selected", String(place === index));
    });
    const option = list.children[index];
    if (option) {
      input.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else input.removeAttribute("aria-activedescendant");
  }

  function take(index) {
    const track = options[index];
    if (!track) return;
    stop();
    input.value = "";
    close();
    add(track);
  }

  function open(q, items, message) {
    options = items;
    listed = q;
    list.replaceChildren(
      ...items.map((track, index) =>
        h(
          "li",
          {
            role: "option", id: `${list.id}-${index}`, "aria-selected": "false",
            // The field keeps the focus.
            onmousedown: (event) => event.preventDefault(),
            onclick: () => take(index),
          },
          track.id === null
            ? ["Add ", name(`“${track.text}”`), " as typed"]
            : [name(track.name, { class: "track" }), name(track.artist, { class: "artist" })],
        ),
      ),
    );
    // An option that can't be chosen says why there is none.
    if (message) {
      list.append(h("li", { role: "option", "aria-disabled": "true", class: "none" }, message));
    }
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    activate(items.length ? 0 : -1);
    announce(items.length ? `${plural(items.length, "result")}, Enter adds` : message);
  }

  async function search() {
    stop();
    const q = readable(input.value);
    if (!q) {
      close();
      return;
    }
    const { signal } = (controller = new AbortController());
    const asTyped = typed && /\S - \S/.test(q) ? [asWritten(q)] : [];
    try {
      const { data } = await ask("v1/tracks", { query: { q, k: FOUND, pipeline }, signal });
      if (signal.aborted) return;
      const found = data.tracks.map((each) => ({ ...each, text: `${each.artist} - ${each.name}` }));
      open(q, [...found, ...asTyped], found.length ? null : `Nothing is like “${q}”.`);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refused || error instanceof Unavailable)) throw error;
      open(q, asTyped, error.message);
      if (error instanceof Unavailable) timer = setTimeout(search, error.seconds * 1000);
    }
  }

  input.addEventListener("input", () => {
    stop();
    timer = setTimeout(search, PAUSE_MS);
  });

  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const stale = readable(input.value) !== listed;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden || stale) search();
      else if (options.length) {
        const step = event.key === "ArrowDown" ? 1 : -1;
        activate((active + step + options.length) % options.length);
      }
    } else if (event.key === "Enter") {
      event.preventDefault();
      // What is listed may belong to an earlier text; never add that.
      if (list.hidden || stale) search();
      else take(active);
    } else if (event.key === "Escape") {
      if (list.hidden) input.value = "";
      stop();
      close();
    }
  });

  input.addEventListener("blur", () => {
    stop();
    close();
  });

  if (typed) {
    input.addEventListener("paste", (event) => {
      const lines = event.clipboardData.getData("text").split(/[\r\n]+/);
      // Columns of a spreadsheet are artist and title.
      const texts = lines.map((line) => readable(line.trim().replace(/\t+/g, " - "))).filter(Boolean);
      if (texts.length < 2) return;
      event.preventDefault();
      add(...texts.map(asWritten));
    });
  }
}

/** A track as somebody wrote it: "Artist - Title", or an id. */
function asWritten(text) {
  const cut = text.indexOf(" - ");
  return {
    id: null, text,
    name: cut < 0 ? text : text.slice(cut + 3),
    artist: cut < 0 ? "" : text.slice(0, cut),
  };
}
