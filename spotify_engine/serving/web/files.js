// Playlists as people have them come in, by paste, drop or file, and go out as files.

import { ask, Refused, Unavailable } from "./api.js";
import { announce, byId, h, name, plural } from "./dom.js";

const NAMED = 20; // tracks of a list that are named
const MOST_CHARACTERS = 1_000_000;
const FORMATS = [
  ["exportify", "CSV (Exportify)"], ["soundiiz", "CSV (Soundiiz)"], ["m3u", "M3U8"],
  ["uris", "Spotify URIs"], ["text", "Artist - Title lines"],
];

/**
 * Reads what is pasted into the search field, dropped on a panel or chosen as a file.
 *
 * @param tab   whose elements these are
 * @param add   (...tracks) => void
 * @param named (title) => void, what the playlist was called
 * @returns {read}: read(text, filename)
 */
export function reader({ tab, add, named }) {
  const panel = byId(`panel-${tab}`);
  const report = byId(`${tab}-read`);
  const picker = byId(`${tab}-file`);

  function say(...content) {
    report.replaceChildren(...content.filter(Boolean));
    report.hidden = !content.length;
  }

  async function read(text, filename = null) {
    if (!text.trim()) {
      say(h("p", { class: "notice error" }, "There is nothing in it."));
      return;
    }
    if (text.length > MOST_CHARACTERS) {
      say(h("p", { class: "notice error" },
        `Too long: ${plural(text.length, "character")}, at most ${MOST_CHARACTERS.toLocaleString("en")}.`));
      return;
    }
    say(h("p", { class: "notice" }, "Reading …"));
    const body = { text: text.toWellFormed() };
    if (filename) body.filename = filename.toWellFormed().slice(0, 500);
    try {
      const { data } = await ask("v1/playlists/read", { body });
      if (data.playlists.length === 1) take(data.playlists[0], data.summary);
      else choose(data.playlists);
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Unavailable)) throw error;
      say(h("p", { class: "notice error" }, error.message));
      announce(error.message);
    }
  }

  /** Several playlists in one file: which of them. */
  function choose(playlists) {
    say(h("p", { class: "hint" }, `${plural(playlists.length, "playlist")} in it. Which one?`),
      h("ul", { class: "choices" }, playlists.map((each) => h("li", {}, h("button", {
        type: "button", onclick: () => take(each, null),
      }, name(each.title ?? "Without a title"), ` · ${plural(each.entries.length, "track")}`)))));
    announce(`${playlists.length} playlists; choose one`);
    report.querySelector("button")?.focus();
  }

  function take(playlist, summary) {
    const found = playlist.entries.map(asTrack).filter(Boolean);
    const missing = playlist.entries.filter((each) => each.how === "not found");
    const guessed = playlist.entries.filter((each) => each.how === "fuzzy");
    say(
      h("p", { class: "notice" }, `${summary ?? plural(found.length, "track")}.`, h("button", {
        type: "button", class: "quiet", onclick: () => {
          say();
          byId(`${tab}-search`).focus();
        },
      }, "Close")),
      listed("Read as", guessed, (each) => [name(`“${each.text}”`), " is ",
        name(`${each.track.artist} - ${each.track.name}`)]),
      listed("Not found", missing, (each, item) => [name(`“${each.text}”`),
        each.nearest && [" Nearest: ", name(`${each.nearest.artist} - ${each.nearest.name}`), " ",
          h("button", {
            type: "button", class: "quiet", "aria-label": `Add ${each.nearest.name} instead`,
            onclick: () => {
              add(known(each.nearest));
              item().remove();
            },
          }, "Add")]]),
    );
    if (playlist.title) named(playlist.title);
    if (found.length) add(...found);
    announce(summary ?? `${found.length} added`);
  }

  function listed(title, entries, words) {
    if (!entries.length) return null;
    const items = entries.slice(0, NAMED).map((each) => {
      const item = h("li", {});
      item.append(...h("span", {}, words(each, () => item)).childNodes);
      return item;
    });
    const more = entries.length - items.length;
    return h("details", { open: true },
      h("summary", {}, `${title}: ${entries.length.toLocaleString("en")}`),
      h("ul", { class: "read", "aria-label": title, tabindex: "0" }, items, more > 0 && h("li", {}, `and ${more.toLocaleString("en")} more`)));
  }

  async function open(file) {
    if (file) await read(await file.text(), file.name);
  }

  byId(`${tab}-open`).addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    open(picker.files[0]);
    picker.value = ""; // the same file may be chosen again
  });
  panel.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].some((kind) => kind === "Files" || kind === "text/plain")) return;
    event.preventDefault();
    panel.classList.add("dropping");
  });
  panel.addEventListener("dragleave", (event) => {
    if (!panel.contains(event.relatedTarget)) panel.classList.remove("dropping");
  });
  panel.addEventListener("drop", (event) => {
    event.preventDefault();
    panel.classList.remove("dropping");
    const [file] = event.dataTransfer.files;
    if (file) open(file);
    else read(event.dataTransfer.getData("text/plain"));
  });
  return { read };
}

function known(track) {
  return { ...track, text: `${track.artist} - ${track.name}` };
}

/** An entry as a track of the playlist; null if nothing of it is known. */
function asTrack(entry) {
  if (entry.track) return known(entry.track);
  if (entry.how !== "by artist") return null;
  return { id: null, text: `${entry.artist} - ${entry.name}`, name: entry.name, artist: entry.artist };
}

/**
 * A field to save a playlist as a file.
 *
 * @param content () => {tracks, title}; tracks as they are sent
 */
export function saver({ tab, content }) {
  const format = h("select", { id: `${tab}-format` },
    FORMATS.map(([key, words]) => h("option", { value: key }, words)));
  const said = h("span", { class: "hint", role: "status" });
  async function save() {
    const { tracks, title } = content();
    const body = { tracks, format: format.value };
    if (title) body.title = title;
    try {
      const { data, headers } = await ask("v1/playlists/export", { body, text: true });
      const left = Number(headers.get("X-Left-Out") ?? 0);
      download(data, filename(headers), headers.get("Content-Type"));
      said.textContent = left ? `Saved; ${plural(left, "track")} left out: no Spotify id.` : "Saved.";
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Unavailable)) throw error;
      said.textContent = error.message;
    }
  }
  return h("p", { class: "save" },
    h("label", { for: format.id }, "Save as"), format,
    h("button", { type: "button", onclick: save }, "Save"), said);
}

function filename(headers) {
  const found = /filename\*=UTF-8''([^;]+)/.exec(headers.get("Content-Disposition") ?? "");
  return found ? decodeURIComponent(found[1]) : "playlist.txt";
}

function download(text, called, type) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type })), download: called });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
