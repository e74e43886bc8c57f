// What both tabs have in common: chosen tracks, and a list of recommendations that can be asked why.

import { STEP } from "./address.js";
import { announce, h, name, plural, some, svg } from "./dom.js";

const NARROW = matchMedia("(max-width: 1100px)"); // no room beside the list
const LEAST_BAR = 3; // percent of the width, so that a poor match is seen at all
const GENRES_SHOWN = 3;
const SPOTIFY_ID = /^[0-9A-Za-z]{22}$/;
// Figures that a reason's text gives; they are under Details.
const FIGURES = / \((?:attention: [\d.,]+, )?score [+−-]?[\d.,]+\)| \(affinity: [\d.,]+\)/g;

/** A line above the recommendations. */
export function notice(...content) {
  return h("p", { class: "notice" }, ...content);
}

/**
 * What stands above the recommendations of either tab: on what ground they stand, and what was not
 * found.
 *
 * @param start     null, or for an empty tab {text, count, add}: its invitation, and what to do with
 *                  so many recommendations as an example
 * @param fallbacks by kind, in words
 */
export function ground(answer, { start, fallbacks }) {
  const notes = [];
  if (start && answer.fallback === "popularity") {
    notes.push(notice(
      start.text,
      answer.recommendations.length >= start.count && h("button", {
        type: "button", class: "primary",
        onclick: () => start.add(answer.recommendations.slice(0, start.count)),
      }, `Try an example with ${start.count} of them`)));
  } else if (answer.fallback) {
    notes.push(notice(fallbacks[answer.fallback] ?? `Fallback: ${answer.fallback}`));
  }
  if (answer.unmatched.length) {
    notes.push(notice(`Not in the catalogue: ${some(answer.unmatched)}.`));
  }
  return notes;
}

/** A hint where there is nothing to recommend. */
export function nothingLeft(answer) {
  return answer.recommendations.length
    ? [] : [h("p", { class: "hint" }, "There is nothing left to recommend.")];
}

/** What an explanation is about; without a recommendation, that there is none. */
export function subject(recommendation) {
  if (!recommendation) return h("p", { class: "hint" }, "Reasons appear with recommendations.");
  return h("p", { class: "subject" }, name(recommendation.name), " by ", name(recommendation.artist));
}

/** The list of chosen tracks, each with a button that removes it; what was removed can come back. */
export class Chosen {
  /**
   * @param root    where it goes
   * @param words   {label, empty, count}; count(n) says how many there are
   * @param changed () => void
   * @param home    the element that gets the focus when nothing is left to remove
   * @param once    whether a track can be in it only once
   */
  constructor({ root, words, changed, home, once }) {
    Object.assign(this, { root, words, changed, home, once });
    this.restore([]);
  }

  /** Starts anew with these tracks, as an address names them. */
  restore(tracks) {
    this.tracks = tracks;
    this.marks = new Map();
    this.removals = []; // [{message, before}], the last one last
    this.render();
  }

  add(...tracks) {
    const fresh = [];
    for (const track of tracks) {
      const key = keyOf(track);
      const known = [...this.tracks, ...fresh].some((each) => keyOf(each) === key);
      if (!(this.once && known)) fresh.push(track);
    }
    if (!fresh.length) {
      announce(`${tracks[0].name} is there already`);
      return;
    }
    this.tracks.push(...fresh);
    announce(fresh.length === 1 ? `${fresh[0].name} added` : `${fresh.length} added`);
    this.render();
    this.changed();
    this.root.querySelector("ol")?.lastElementChild.scrollIntoView({ block: "nearest" });
  }

  remove(place) {
    const gone = this.tracks[place];
    this.keep(`Removed “${gone.name}”.`, [gone]);
    this.tracks.splice(place, 1);
    announce(`${gone.name} removed`);
    this.render();
    const buttons = this.root.querySelectorAll("button.remove");
    (buttons[Math.min(place, buttons.length - 1)] ?? this.home).focus();
    this.changed();
  }

  clear() {
    this.keep(`Removed ${plural(this.tracks.length, "track")}.`, this.tracks);
    this.tracks = [];
    announce("All removed");
    this.render();
    this.home.focus();
    this.changed();
  }

  /** Remembers what a removal takes away, and where it was. */
  keep(message, gone) {
    const places = gone.map((track) => this.tracks.indexOf(track));
    this.removals.push({ message, gone, places });
  }

  undo() {
    const { gone, places } = this.removals.pop();
    gone.forEach((track, i) => {
      const again = this.once && this.tracks.some((each) => keyOf(each) === keyOf(track));
      if (!again) this.tracks.splice(Math.min(places[i], this.tracks.length), 0, track);
    });
    announce(gone.length === 1 ? `${gone[0].name} is back` : `${gone.length} are back`);
    this.render();
    (this.root.querySelector(".undo button") ?? this.home).focus();
    this.changed();
  }

  /** What a track is sent as. */
  sent() {
    return this.tracks.map(keyOf);
  }

  /** @param marks Map of what was sent to a remark about it */
  mark(marks) {
    this.marks = marks;
    for (const track of this.tracks) track.pending = false;
    this.render();
  }

  render() {
    const focused = [...this.root.querySelectorAll("button")].indexOf(document.activeElement);
    const scrolled = this.root.querySelector("ol")?.scrollTop ?? 0;
    const removal = this.removals.at(-1);
    const list = h(
      "ol", { class: "chosen", "aria-label": this.words.label },
      this.tracks.map((track, place) => {
        const remark = this.marks.get(keyOf(track));
        return h(
          "li", { "aria-busy": track.pending ? "true" : null },
          h("span", { class: "names", title: track.text },
            track.pending ? h("span", { class: "skeleton" }) : name(track.name, { class: "track" }),
            !track.pending && track.artist && name(track.artist, { class: "artist" }),
            remark && h("span", { class: "remark" }, remark)),
          h("button", {
            type: "button", class: "remove quiet", "aria-label": `Remove ${track.name}`,
            onclick: () => this.remove(place),
          }, "×"),
        );
      }),
    );
    const count = h("p", { class: "hint count" },
      `${this.words.count(this.tracks.length)} `,
      this.tracks.length > 1 && h("button", {
        type: "button", class: "quiet", onclick: () => this.clear(),
      }, "Remove all"));
    const undo = removal && h("p", { class: "hint undo" },
      h("span", {}, removal.message), h("button", {
        type: "button", class: "quiet", "aria-label": `Undo: ${removal.message}`,
        onclick: () => this.undo(),
      }, "Undo"));
    this.root.replaceChildren(...[
      ...(this.tracks.length ? [count, list] : [h("p", { class: "hint" }, this.words.empty)]), undo,
    ].filter(Boolean));
    list.scrollTop = scrolled;
    if (focused >= 0) this.root.querySelectorAll("button")[focused]?.focus();
  }
}

/** A track as somebody wrote it: "Artist - Title", or an id. */
export function asWritten(text) {
  const cut = text.indexOf(" - ");
  return {
    id: null, text,
    name: cut < 0 ? text : text.slice(cut + 3),
    artist: cut < 0 ? "" : text.slice(0, cut),
  };
}

/** As {@link asWritten}, of an address: an id has no name until the server says it. */
export function asAddressed(text) {
  return { ...asWritten(text), pending: !text.includes(" - ") };
}

function keyOf(track) {
  return track.id ?? track.text;
}

/** How well known a track is among all of its catalogue. */
function standing({ popularity, above }) {
  if (popularity === null) return null;
  if (popularity === 0) return "new";
  if (above >= 95) return "very popular";
  if (above >= 70) return "popular";
  return above >= 30 ? "known" : "little known";
}

/** The strongest reason as one sentence, without the figures that stand under Details. */
function sentence({ reasons, explanation }) {
  const strongest = reasons.toSorted((a, b) => b.contribution - a.contribution);
  const found = strongest.find((each) => each.kind !== "rest") ?? strongest[0];
  if (!found) return null;
  const matched = Object.keys(explanation?.matched_genres ?? {});
  if (found.kind === "genre" && matched.length) {
    const [first] = found.text.split("; ");
    const genres = `matches the playlist’s ${both(matched)}`;
    const artist = !first.startsWith("Matches ") && first.replace(FIGURES, "");
    return artist ? `${artist}, and it ${genres}.` : `M${genres.slice(1)}.`;
  }
  return `${found.text.replace(FIGURES, "").replace(/\.$/, "")}.`;
}

/** The first two of some words. */
function both(words) {
  return words.slice(0, 2).join(" and ");
}

/** A link to a track that Spotify has; null for invented ones and ids of others. */
export function spotifyLink({ id, name: called }, invented) {
  if (invented || !SPOTIFY_ID.test(id)) return null;
  return h("a", {
    class: "spotify", href: `https://open.spotify.com/track/${id}`, target: "_blank",
    rel: "noopener noreferrer", "aria-label": `Open ${called} in Spotify`,
  }, "Open in Spotify");
}

/** The recommendations; one of them is selected, and why it is there is shown. */
export class Recommendations {
  /**
   * @param root     where they go
   * @param why      what shows the reasons; beside the list or, without room, in the row that was tapped
   * @param acts     [{label, kind, quiet?, run, spoken, offered?}]: the buttons of each;
   *                 run(recommendation), spoken(recommendation) is what a button says to who can't see its row
   * @param invented () => whether no such tracks exist
   * @param selected (recommendation | null, answer) => void
   * @param picked   () => void, when a person selected one
   * @param more     () => void, to ask for more of them
   * @param most     how many can be asked for
   * @param retry    () => void
   * @param lead     (answer) => nodes above the list
   */
  constructor({ root, why, acts, invented, selected, picked, more, most, retry, lead }) {
    Object.assign(this, { why, acts, invented, selected, pickedOne: picked, most, lead });
    this.state = h("div", { class: "state" });
    this.again = h("button", { type: "button", onclick: retry }, "Try again now");
    this.notes = h("div", { class: "notes" });
    this.list = h("ol", { class: "recommendations", "aria-label": "Recommendations" });
    this.more = h("button", { type: "button", class: "more", hidden: true, onclick: () => {
      this.reach = this.rows.length;
      more();
    } }, `${STEP} more`);
    root.append(this.state, this.notes, this.list, this.more);
    this.home = why.parentElement;
    this.rows = [];
    this.reach = null; // the row that gets the focus once there are more
    this.picked = null; // by a person; stays selected as long as it is recommended
    this.chosen = null;
    this.expanded = false; // without room beside the list: whether the row is open
    this.skeleton();
    NARROW.addEventListener("change", () => this.answer && this.select(this.chosen, this.expanded));
  }

  /** Rows without words, while the first answer is awaited. */
  skeleton() {
    this.list.replaceChildren(...Array.from({ length: STEP }, () =>
      h("li", { class: "awaited", "aria-hidden": "true" },
        h("span", { class: "skeleton" }), h("span", { class: "skeleton short" }))));
  }

  status({ state, message, seconds, first }) {
    this.list.setAttribute("aria-busy", String(state === "asking"));
    if (state === "asking") return; // what is shown stays until the answer is there
    if (state === "shown") {
      this.state.replaceChildren();
      return;
    }
    if (!this.answer) this.list.replaceChildren();
    this.list.classList.add("old");
    const waits = state === "waiting" ? ` Asking again in ${seconds} s.` : "";
    const text = h("p", { class: "notice" }, `${message}${waits}`);
    const focused = document.activeElement === this.again;
    this.state.replaceChildren(text, ...(waits ? [this.again] : []));
    if (focused && waits) this.again.focus();
    if (state === "refused" || first) announce(`${message}${waits}`);
  }

  show(answer, asked) {
    this.answer = answer;
    const all = answer.recommendations;
    const focus = this.focusedControl();
    this.list.classList.remove("old");
    this.notes.replaceChildren(...this.lead(answer));
    if (!all.some((each) => each.id === this.picked)) {
      this.picked = null;
      this.expanded = false;
    }
    this.chosen = this.picked ?? all[0]?.id ?? null;
    this.home.append(this.why); // before its row goes
    this.rows = all.map((each, place) => this.row(each, place));
    this.list.replaceChildren(...this.rows);
    this.more.hidden = all.length < asked || asked >= this.most;
    this.select(this.chosen, this.expanded);
    const reached = this.reach === null ? null : this.rows[this.reach];
    this.reach = null;
    if (reached) {
      reached.querySelector(".pick").focus();
      announce(`${all.length} recommendations`);
    } else if (focus) {
      const place = Math.max(all.findIndex((each) => each.id === focus.id), 0);
      const row = this.rows[all[place]?.id === focus.id ? place : Math.min(focus.place, all.length - 1)];
      (row?.querySelector(focus.control) ?? row?.querySelector(".pick"))?.focus();
    }
  }

  /** Selects one as an address names it, or none, before it is shown. */
  pick(id) {
    this.picked = id;
    this.expanded = id !== null;
  }

  /** Gives the first recommendation the focus, now and when the list is drawn again. */
  focusFirst() {
    this.list.querySelector(".pick")?.focus();
  }

  /** Which row's button has the focus, so that it can have it again. */
  focusedControl() {
    const row = document.activeElement?.closest?.(".recommendations > li");
    if (!row || row.parentElement !== this.list) return null;
    const kind = document.activeElement.dataset.act;
    const control = kind ? `[data-act="${kind}"]` : ".pick";
    return { id: row.dataset.id, place: this.rows.indexOf(row), control };
  }

  row(each, place) {
    const flagged = each.fallback && each.fallback !== this.answer.fallback;
    const facts = [...each.genres.slice(0, GENRES_SHOWN), standing(each)].filter(Boolean);
    const reason = sentence(each);
    return h(
      "li", { "data-id": each.id },
      h("div", { class: "row" },
        h("button", {
          type: "button", class: "pick", "aria-controls": this.why.id,
          onclick: () => {
            this.picked = each.id;
            this.select(each.id, !(each.id === this.chosen && this.expanded));
            this.pickedOne();
          },
        },
        h("span", { class: "rank" }, String(place + 1)),
        h("span", { class: "names", title: `${each.artist} - ${each.name}` },
          name(each.name, { class: "track" }),
          name(each.artist, { class: "artist" }),
          facts.length > 0 && h("span", { class: "facts" }, facts.join(" · ")),
          flagged && h("span", { class: "remark" }, each.fallback)),
        match(each, this.answer)),
        h("span", { class: "acts" },
          this.acts.filter((act) => act.offered?.() ?? true).map((act) => h("button", {
            type: "button", class: act.quiet ? "act quiet" : "act", "data-act": act.kind,
            "aria-label": act.spoken(each), onclick: () => act.run(each),
          }, act.label)))),
      h("p", { class: "because" },
        reason && name(reason), " ", spotifyLink(each, this.invented())),
    );
  }

  select(id, expanded) {
    this.chosen = id;
    this.expanded = expanded;
    const narrow = NARROW.matches;
    for (const row of this.rows) {
      const mine = row.dataset.id === id;
      row.classList.toggle("selected", mine && (!narrow || expanded));
      const pick = row.querySelector(".pick");
      if (narrow) pick.setAttribute("aria-expanded", String(mine && expanded));
      else pick.removeAttribute("aria-expanded");
      if (!narrow && mine) pick.setAttribute("aria-current", "true");
      else pick.removeAttribute("aria-current");
      if (mine && narrow) row.append(this.why);
    }
    if (!narrow) this.home.append(this.why);
    this.why.hidden = narrow && !expanded;
    this.home.hidden = narrow;
    const chosen = this.answer.recommendations.find((each) => each.id === id) ?? null;
    this.selected(chosen, this.answer);
  }
}

/** How well a recommendation suits, as a bar: the best of the list has all of it. */
function match(each, answer) {
  const best = answer.recommendations[0].score;
  if (!(best > 0)) return null;
  const share = Math.round(100 * Math.min(Math.max(each.score / best, 0), 1));
  return h("span", { class: "match", title: `${share} % of the best match’s score` },
    svg("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { class: "rest", width: 100, height: 10 }),
      svg("rect", { class: "matched", width: Math.max(share, LEAST_BAR), height: 10 })),
    h("span", { class: "unseen" }, ` match ${share} %`));
}

/** Bars of the reasons, where nothing finer is known: they, too, sum to the score. */
export function reasonTerms(recommendation) {
  return recommendation.reasons.map((reason) => ({
    label: reason.kind, value: reason.contribution,
  }));
}
