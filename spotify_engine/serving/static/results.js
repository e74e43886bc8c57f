// What both tabs have in common: chosen tracks, and a list of recommendations that can be asked why.

import { announce, h, name, some } from "./dom.js";

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

/** The list of chosen tracks, each with a button that removes it. */
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
    this.tracks = [];
    this.marks = new Map();
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
    const [gone] = this.tracks.splice(place, 1);
    announce(`${gone.name} removed`);
    this.render();
    const buttons = this.root.querySelectorAll("button.remove");
    (buttons[Math.min(place, buttons.length - 1)] ?? this.home).focus();
    this.changed();
  }

  clear() {
    this.tracks = [];
    announce("All removed");
    this.render();
    this.home.focus();
    this.changed();
  }

  /** What a track is sent as. */
  sent() {
    return this.tracks.map(keyOf);
  }

  /** @param marks Map of what was sent to a remark about it */
  mark(marks) {
    this.marks = marks;
    this.render();
  }

  render() {
    const focused = [...this.root.querySelectorAll("button.remove")].indexOf(document.activeElement);
    const scrolled = this.root.querySelector("ol")?.scrollTop ?? 0;
    if (!this.tracks.length) {
      this.root.replaceChildren(h("p", { class: "hint" }, this.words.empty));
      return;
    }
    const list = h(
      "ol", { class: "chosen", "aria-label": this.words.label },
      this.tracks.map((track, place) => {
        const remark = this.marks.get(keyOf(track));
        return h(
          "li", {},
          h("span", { class: "names", title: track.text },
            name(track.name, { class: "track" }),
            track.artist && name(track.artist, { class: "artist" }),
            remark && h("span", { class: "remark" }, remark)),
          h("button", {
            type: "button", class: "remove quiet", "aria-label": `Remove ${track.name}`,
            onclick: () => this.remove(place),
          }, "×"),
        );
      }),
    );
    this.root.replaceChildren(
      h("p", { class: "hint count" },
        `${this.words.count(this.tracks.length)} `,
        this.tracks.length > 1 && h("button", {
          type: "button", class: "quiet", onclick: () => this.clear(),
        }, "Remove all")),
      list,
    );
    list.scrollTop = scrolled;
    if (focused >= 0) this.root.querySelectorAll("button.remove")[focused]?.focus();
  }
}

function keyOf(track) {
  return track.id ?? track.text;
}

/** The recommendations; one of them is selected and shows its reasons. */
export class Recommendations {
  /**
   * @param root     where they go
   * @param act      {label, run}: the button of each; run(recommendation)
   * @param score    (recommendation, answer) => text
   * @param selected (recommendation | null, answer) => void
   * @param retry    () => void
   * @param lead     (answer) => nodes above the list
   */
  constructor({ root, act, score, selected, retry, lead }) {
    Object.assign(this, { act, score, selected, lead });
    this.state = h("div", { class: "state" });
    this.again = h("button", { type: "button", onclick: retry }, "Try again now");
    this.notes = h("div", { class: "notes" });
    this.list = h("ol", { class: "recommendations", "aria-label": "Recommendations" });
    root.append(this.state, this.notes, this.list);
    this.picked = null; // by a person; stays selected as long as it is recommended
    this.chosen = null;
    this.expanded = true;
  }

  status({ state, message, seconds, first }) {
    this.list.setAttribute("aria-busy", String(state === "asking"));
    if (state === "asking") return; // what is shown stays until the answer is there
    if (state === "shown") {
      this.state.replaceChildren();
      return;
    }
    this.list.classList.add("old");
    const waits = state === "waiting" ? ` Asking again in ${seconds} s.` : "";
    const text = h("p", { class: "notice" }, `${message}${waits}`);
    const focused = document.activeElement === this.again;
    this.state.replaceChildren(text, ...(waits ? [this.again] : []));
    if (focused && waits) this.again.focus();
    if (state === "refused" || first) announce(`${message}${waits}`);
  }

  show(answer) {
    this.answer = answer;
    const all = answer.recommendations;
    const focus = this.focusedControl();
    this.list.classList.remove("old");
    this.notes.replaceChildren(...this.lead(answer));
    if (!all.some((each) => each.id === this.picked)) this.picked = null;
    this.chosen = this.picked ?? all[0]?.id ?? null;
    this.rows = all.map((each, place) => this.row(each, place));
    this.list.replaceChildren(...this.rows);
    this.select(this.chosen, this.expanded);
    if (focus) {
      const place = Math.max(all.findIndex((each) => each.id === focus.id), 0);
      const row = this.rows[all[place]?.id === focus.id ? place : Math.min(focus.place, all.length - 1)];
      row?.querySelector(focus.control)?.focus();
    }
  }

  /** Gives the first recommendation the focus, now and when the list is drawn again. */
  focusFirst() {
    this.list.querySelector(".pick")?.focus();
  }

  /** Which row's button has the focus, so that it can have it again. */
  focusedControl() {
    const row = document.activeElement?.closest?.(".recommendations > li");
    if (!row || row.parentElement !== this.list) return null;
    const control = document.activeElement.classList.contains("act") ? ".act" : ".pick";
    return { id: row.dataset.id, place: this.rows.indexOf(row), control };
  }

  row(each, place) {
    const why = `${this.list.parentElement.id}-reasons-${place}`;
    const flagged = each.fallback && each.fallback !== this.answer.fallback;
    return h(
      "li", { "data-id": each.id },
      h("div", { class: "row" },
        h("button", {
          type: "button", class: "pick", "aria-controls": why,
          onclick: () => {
            this.picked = each.id;
            this.select(each.id, !(each.id === this.chosen && this.expanded));
          },
        },
        h("span", { class: "rank" }, String(place + 1)),
        h("span", { class: "names", title: `${each.artist} - ${each.name}` },
          name(each.name, { class: "track" }),
          name(each.artist, { class: "artist" }),
          flagged && h("span", { class: "remark" }, each.fallback)),
        h("span", { class: "score" }, this.score(each, this.answer))),
        h("button", {
          type: "button", class: "act", "aria-label": `${this.act.label} ${each.name}`,
          onclick: () => this.act.run(each),
        }, this.act.label)),
      h("ul", { id: why, class: "reasons", hidden: true },
        each.reasons.map((reason) => h("li", {}, name(reason.text)))),
    );
  }

  select(id, expanded) {
    this.chosen = id;
    this.expanded = expanded;
    for (const row of this.rows) {
      const mine = row.dataset.id === id;
      row.classList.toggle("selected", mine);
      row.querySelector(".pick").setAttribute("aria-expanded", String(mine && expanded));
      row.querySelector(".reasons").hidden = !(mine && expanded);
    }
    const chosen = this.answer.recommendations.find((each) => each.id === id) ?? null;
    this.selected(chosen, this.answer);
  }
}

/** Bars of the reasons, where nothing finer is known: they, too, sum to the score. */
export function reasonTerms(recommendation) {
  return recommendation.reasons.map((reason) => ({
    label: reason.kind, value: reason.contribution,
  }));
}
