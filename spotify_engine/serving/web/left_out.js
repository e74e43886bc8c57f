// Recommendations that somebody doesn't want, and the way back.

import { announce, h, name, plural } from "./dom.js";

export class LeftOut {
  /**
   * @param noun    what they are, "track" or "song"
   * @param changed () => void, when others are left out
   * @param home    () => void, puts the focus where it is of use once a button is gone
   */
  constructor({ noun, changed, home }) {
    Object.assign(this, { noun, changed, home });
    this.items = []; // [{id, name}], the last one last; of an address the names aren't known
  }

  get ids() {
    return this.items.map(({ id }) => id);
  }

  /** The button beside a recommendation that leaves it out. */
  get act() {
    return {
      label: "Not this one", kind: "without", quiet: true,
      spoken: (each) => `Not this one: ${each.name}`,
      run: (each) => {
        this.items.push({ id: each.id, name: each.name });
        announce(`${each.name} is left out`);
        this.changed();
      },
    };
  }

  /** Leaves out what an address names. */
  restore(ids) {
    const known = new Map(this.items.map((each) => [each.id, each.name]));
    this.items = ids.map((id) => ({ id, name: known.get(id) ?? null }));
  }

  /** What is left out, in a line; null: nothing. */
  line() {
    if (!this.items.length) return null;
    const last = this.items.at(-1).name;
    const count = this.items.length;
    return h("p", { class: "hint undo" },
      h("span", {}, count === 1 && last
        ? ["Left out: ", name(last)] : `Left out: ${plural(count, this.noun)}`),
      this.back("Undo", last ? `Undo: ${last} was left out` : "Undo the last one left out",
        () => this.items.slice(0, -1)),
      count > 1 && this.back("Undo all", "Leave nothing out", () => []));
  }

  back(label, spoken, kept) {
    return h("button", {
      type: "button", class: "quiet", "aria-label": spoken,
      onclick: () => {
        this.items = kept();
        const count = this.items.length;
        announce(count ? `${plural(count, this.noun)} left out` : "Nothing is left out");
        this.home();
        this.changed();
      },
    }, label);
  }
}
