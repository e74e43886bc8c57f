// A search field with a list of what was found: the combobox pattern of ARIA 1.2.

import { ask, readable, Refused, Unavailable } from "./api.js";
import { announce, byId, h, name, plural } from "./dom.js";
import { asWritten } from "./results.js";

const PAUSE_MS = 120; // of typing, before it searches
const FOUND = 8;

/**
 * @param id       of the input; its list is `${id without -search}-options`
 * @param pipeline whose catalogue is searched
 * @param add      (track) => void; a track has id (null when typed), name, artist, text
 * @param typed    whether "Artist - Title" may be added as it stands, found or not
 * @param pasted   (text) => void, takes several lines that are pasted; null: they are one
 *
 * Enter on "Artist - Title" adds the track of that very name and artist, or none: a track that is
 * only like it has to be chosen from the list.
 */
export function combobox({ id, pipeline, add, typed, pasted = null }) {
  const input = byId(id);
  const list = byId(id.replace("-search", "-options"));
  let options = [];
  let active = -1;
  let listed = ""; // what the options were found for
  let entered = false; // Enter was pressed before anything was found
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
    entered = false;
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

  /**
   * @param items   tracks
   * @param message null, or why there is none, or none of that name
   * @param first   the option that Enter takes; -1 for none
   */
  function open(q, items, message, first = items.length ? 0 : -1) {
    options = items;
    listed = q;
    const remark = message && h("li", { role: "option", "aria-disabled": "true", class: "none" }, message);
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
      // An option that can't be chosen says why there is none. It is last, as options have places.
      ...(remark ? [remark] : []),
    );
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    activate(first);
    const counted = `${plural(items.length, "result")}${first < 0 ? "" : ", Enter adds"}`;
    announce([message, items.length && counted].filter(Boolean).join(" "));
  }

  async function search() {
    const wanted = entered;
    stop();
    const q = readable(input.value);
    if (!q) {
      close();
      return;
    }
    const { signal } = (controller = new AbortController());
    entered = wanted;
    const named = /\S - \S/.test(q);
    const asTyped = typed && named ? [asWritten(q)] : [];
    try {
      const { data } = await ask("v1/tracks", { query: { q, k: FOUND, pipeline }, signal });
      if (signal.aborted) return;
      const found = data.tracks.map((each) => ({ ...each, text: `${each.artist} - ${each.name}` }));
      const exact = found.findIndex((each) => isNamed(each, q));
      const [nearest] = found;
      let message = null;
      if (!nearest) message = `Nothing is like “${q}”.`;
      else if (named && exact < 0) message = `Not found: “${q}”. Nearest: “${nearest.text}”.`;
      const taken = entered && named && exact >= 0;
      entered = false;
      open(q, [...found, ...asTyped], message, named || !nearest ? exact : 0);
      if (taken) take(exact);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refused || error instanceof Unavailable)) throw error;
      open(q, asTyped, error.message, -1);
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
        const from = active < 0 && step < 0 ? 0 : active;
        activate((from + step + options.length) % options.length);
      }
    } else if (event.key === "Enter") {
      event.preventDefault();
      // What is listed may belong to an earlier text; never add that.
      if (list.hidden || stale) {
        entered = true;
        search();
      } else take(active);
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

  if (pasted) {
    input.addEventListener("paste", (event) => {
      const text = event.clipboardData.getData("text");
      if (!/[\r\n]/.test(text.trim())) return;
      event.preventDefault();
      pasted(text);
    });
  }
}

/** Whether a text is a track's artist and name, in either order. */
function isNamed(track, text) {
  const [artist, called] = [plain(track.artist), plain(track.name)];
  return [...text.matchAll(/ - /g)].some(({ index }) => {
    const [before, after] = [plain(text.slice(0, index)), plain(text.slice(index + 3))];
    return (before === artist && after === called) || (before === called && after === artist);
  });
}

/** Letters and digits alone, small and without accents; a text that has none as it is. */
function plain(text) {
  const all = text.normalize("NFKD").toLowerCase().replace(/[\u0300-\u036f]/g, "");
  return all.replace(/[^\p{L}\p{N}\p{M}]+/gu, " ").trim() || all.trim();
}
