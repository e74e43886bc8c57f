// The page: two tabs, the versions, and a footer that says who answered and how fast.

import { addressed, addressOf } from "./address.js";
import { ask } from "./api.js";
import { byId } from "./dom.js";
import { playlistTab } from "./playlist.js";
import { sessionTab } from "./session.js";
import { versionsPanel } from "./versions.js";

const tabs = [["playlist", "playlists"], ["session", "sessions"]].map(([name, pipeline]) => ({
  name, pipeline, tab: byId(`tab-${name}`), panel: byId(`panel-${name}`),
  latest: null, // what the footer says of its last answer
  invented: false,
}));

/** Keeps what the footer says of a tab; shows it if that tab is open. */
function answeredBy(name) {
  return ({ version, ms: server }, ms) => {
    const entry = tabs.find((each) => each.name === name);
    entry.latest = `${version} answered in ${ms.toFixed(0)} ms (server ${server.toFixed(1)} ms)`;
    if (!entry.panel.hidden) byId("answered").textContent = entry.latest;
  };
}

/** What the served version of a tab says of its data. */
function isInvented(name) {
  return () => tabs.find((each) => each.name === name).invented;
}

/** Keeps the address as what the open tab shows. */
function changed(name) {
  return () => {
    if (openTab().name !== name) return;
    const address = addressOf(name, live[name].state());
    const bare = address === `#${name}` && location.hash.length < 2;
    if (!bare && address !== location.hash) history.replaceState(null, "", address);
  };
}

const live = {};
for (const [name, make] of [["playlist", playlistTab], ["session", sessionTab]]) {
  live[name] = make({
    answered: answeredBy(name), changed: changed(name), invented: isInvented(name),
  });
}
versionsPanel({
  switched: (pipeline) => live[pipeline === "playlists" ? "playlist" : "session"].change(),
  seen: know,
});

function openTab() {
  return tabs.find(({ panel }) => !panel.hidden);
}

/** Shows the tabs of what is served, and whether it is real; all of them while nothing is. */
function know({ versions }) {
  const served = tabs.map(({ pipeline }) =>
    versions.find((each) => each.served && each.pipeline === pipeline));
  tabs.forEach((each, place) => {
    each.tab.hidden = !served[place] && served.some(Boolean);
    each.trained = served[place]?.trained ?? "";
    const invented = served[place]?.invented === true;
    if (each.invented === invented) return;
    each.invented = invented;
    if (each.latest !== null) live[each.name].change();
  });
  byId("tabs").hidden = tabs.filter(({ tab }) => !tab.hidden).length < 2;
  if (openTab().tab.hidden) follow();
  sayOf(openTab());
}

/** Says what the data of a tab is, and how its model was trained. */
function sayOf(tab) {
  byId("invented").hidden = !tab.invented;
  byId("trained").textContent = tab.trained;
}

function open(name, focus = false) {
  for (const each of tabs) {
    const mine = each.name === name;
    each.tab.setAttribute("aria-selected", String(mine));
    each.tab.tabIndex = mine ? 0 : -1;
    each.panel.hidden = !mine;
    if (!mine) continue;
    if (focus) each.tab.focus();
    byId("answered").textContent = each.latest ?? "No answer yet.";
    sayOf(each);
    // First opened: nothing was asked yet.
    if (each.latest === null) live[name].change();
  }
}

/** Opens the tab that the address names, the first one where it names none, as it says. */
function follow() {
  const { name, params } = addressed();
  const { name: to } = tabs.find((each) => each.name === name && !each.tab.hidden) ??
    tabs.find(({ tab }) => !tab.hidden);
  const wanted = to === name ? params : new URLSearchParams();
  if (addressOf(to, wanted) !== addressOf(to, live[to].state())) {
    live[to].restore(wanted);
    tabs.find((each) => each.name === to).latest = null;
  }
  open(to, tabs.some(({ tab }) => tab === document.activeElement));
}

/** Opens a tab and says so in the address: Back leads to the other one. */
function go(name, focus = false) {
  const same = name === openTab().name;
  history[same ? "replaceState" : "pushState"](null, "", addressOf(name, live[name].state()));
  open(name, focus);
}

tabs.forEach(({ name, tab }) => {
  tab.addEventListener("click", () => go(name));
  tab.addEventListener("keydown", (event) => {
    const all = tabs.filter((each) => !each.tab.hidden);
    const place = all.findIndex((each) => each.name === name);
    const to = {
      ArrowRight: place + 1, ArrowLeft: place - 1 + all.length, Home: 0, End: all.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(all[to % all.length].name, true);
  });
});

// Back, Forward, a link or an address that was typed; the focus stays on the tabs if it was there.
addEventListener("hashchange", follow);
// What isn't served is not asked; when nobody can say what is, everything is tried.
ask("v1/versions")
  .then(({ data }) => know(data), () => (byId("tabs").hidden = false))
  .then(follow);
