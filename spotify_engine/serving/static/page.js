// The page: two tabs, the versions, and a footer that says who answered and how fast.

import { byId } from "./dom.js";
import { playlistTab } from "./playlist.js";
import { sessionTab } from "./session.js";
import { versionsPanel } from "./versions.js";

const tabs = ["playlist", "session"].map((name) => ({
  name, tab: byId(`tab-${name}`), panel: byId(`panel-${name}`), latest: null,
}));

/** Keeps what the footer says of a tab; shows it if that tab is open. */
function answeredBy(name) {
  return ({ version, ms: server }, ms) => {
    const entry = tabs.find((each) => each.name === name);
    entry.latest = `${version} answered in ${ms.toFixed(0)} ms (server ${server.toFixed(1)} ms)`;
    if (!entry.panel.hidden) byId("answered").textContent = entry.latest;
  };
}

const live = {
  playlist: playlistTab({ answered: answeredBy("playlist") }),
  session: sessionTab({ answered: answeredBy("session") }),
};
versionsPanel({
  switched: (pipeline) => live[pipeline === "playlists" ? "playlist" : "session"].change(),
});

function open(name, focus = false) {
  for (const each of tabs) {
    const mine = each.name === name;
    each.tab.setAttribute("aria-selected", String(mine));
    each.tab.tabIndex = mine ? 0 : -1;
    each.panel.hidden = !mine;
    if (!mine) continue;
    if (focus) each.tab.focus();
    byId("answered").textContent = each.latest ?? "No answer yet.";
    // First opened: nothing was asked yet.
    if (each.latest === null) live[name].change();
  }
}

/** The tab that the address names; the first one where it names none. */
function addressed() {
  return (tabs.find(({ name }) => location.hash === `#${name}`) ?? tabs[0]).name;
}

/** Opens a tab and says so in the address: Back leads to the other one. */
function go(name, focus = false) {
  history[name === addressed() ? "replaceState" : "pushState"](null, "", `#${name}`);
  open(name, focus);
}

tabs.forEach(({ name, tab }, place) => {
  tab.addEventListener("click", () => go(name));
  tab.addEventListener("keydown", (event) => {
    const to = {
      ArrowRight: place + 1, ArrowLeft: place - 1 + tabs.length, Home: 0, End: tabs.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(tabs[to % tabs.length].name, true);
  });
});

// Back, Forward, a link or an address that was typed; the focus stays on the tabs if it was there.
addEventListener("hashchange", () =>
  open(addressed(), tabs.some(({ tab }) => tab === document.activeElement)));
open(addressed());
