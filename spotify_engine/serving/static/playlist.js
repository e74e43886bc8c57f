// The playlist tab: choose tracks, see the completion as it changes, and why.

import { ask, Live, readable } from "./api.js";
import { barChart, fixed, heatmap, percent, shareChart } from "./charts.js";
import { combobox } from "./combobox.js";
import { byId, h, plural, some } from "./dom.js";
import {
  Chosen, ground, nothingLeft, notice, reasonTerms, Recommendations, subject,
} from "./results.js";

const SEEDS_DRAWN = 15; // in the bar chart; the others are summed
const COLUMNS = 24; // of the heatmap
const GENRES = 12;
const EXAMPLE = 3;
const MOST = 1000; // tracks that a request may have
const TYPING_MS = 300;

const FALLBACKS = {
  artist: "No training playlist holds any of these tracks: completed from their artists and sound.",
  title: "Nothing is known of the tracks: completed from playlists with similar titles.",
  "title genres": "Nothing is known of the tracks: popular tracks of the genres that the title names.",
  popularity: "Neither tracks nor title say anything: the most popular tracks.",
};
const COUNTED = new Set(["popularity", "title genres"]); // whose score is a number of playlists
const TERMS = {
  title: "similarly named playlists", popularity: "popularity", genre: "artists and genres",
  seed: "similar listening", other_seeds: "the other tracks", item_item: "playlists with both",
  rest: "everything else",
};
const PARTS = {
  track: "the track itself", playlists: "playlists it is in", artists: "its artists and genres",
  item_item: "playlists with both",
};

export function playlistTab({ answered }) {
  const title = byId("playlist-title");
  const why = byId("playlist-why");
  const map = byId("playlist-heatmap");
  const results = new Recommendations({
    root: byId("playlist-results"),
    act: { label: "Add", run: (each) => chosen.add({ ...each, text: `${each.artist} - ${each.name}` }) },
    score: (each) =>
      COUNTED.has(each.fallback) ? plural(each.score, "playlist") : fixed(each.score, 2),
    selected: explain,
    retry: () => live.change(),
    lead,
  });
  const chosen = new Chosen({
    root: byId("playlist-chosen"),
    words: { label: "Tracks", empty: "No tracks yet.", count: (n) => plural(n, "track") },
    changed: () => live.change(),
    home: byId("playlist-search"),
    once: true,
  });
  const live = new Live({
    request: (signal) => {
      const body = { tracks: chosen.sent().slice(0, MOST), explain: true };
      if (readable(title.value)) body.title = readable(title.value);
      return ask("v1/playlists/complete", { body, signal });
    },
    show: ({ data, ms }) => {
      nameTyped(data.seeds);
      chosen.mark(new Map([
        ...data.by_artist.map((text) => [text, "only its artist is known"]),
        ...data.unmatched.map((text) => [text, "not in the catalogue"]),
      ]));
      results.show(data);
      answered(data, ms);
    },
    status: (state) => results.status(state),
  });

  combobox({
    id: "playlist-search", pipeline: "playlists", typed: true,
    add: (...tracks) => chosen.add(...tracks),
  });
  title.addEventListener("input", () => live.change(TYPING_MS));

  /** What was typed as an id has a name once the server has found it. */
  function nameTyped(seeds) {
    const found = new Map(seeds.map((seed) => [seed.id, seed]));
    for (const track of chosen.tracks) {
      const seed = track.id === null && found.get(track.text);
      if (seed) Object.assign(track, { name: seed.name, artist: seed.artist });
    }
  }

  function lead(answer) {
    const empty = !chosen.tracks.length && !readable(title.value);
    const notes = ground(answer, {
      fallbacks: FALLBACKS,
      start: empty && {
        text: "An empty playlist: these are the most popular tracks. ",
        count: EXAMPLE,
        add: (examples) => {
          chosen.add(...examples.map((each) => ({ ...each, text: `${each.artist} - ${each.name}` })));
          results.focusFirst();
        },
      },
    });
    if (answer.by_artist.length) {
      notes.push(notice(`Only the artist is known: ${some(answer.by_artist)}.`));
    }
    if (chosen.tracks.length > MOST) {
      notes.push(notice(`Only the first ${plural(MOST, "track")} count.`));
    }
    return [...notes, ...nothingLeft(answer)];
  }

  function explain(recommendation, answer) {
    const card = map.closest("section");
    if (!recommendation) {
      why.replaceChildren(subject(recommendation));
      card.hidden = true;
      return;
    }
    const explanation = recommendation.explanation;
    card.hidden = !explanation;
    why.replaceChildren(
      subject(recommendation),
      ...(explanation
        ? explained(recommendation, explanation, answer)
        : [byReasons(recommendation)]),
    );
    if (explanation) drawHeatmap(map, answer, recommendation);
    else map.replaceChildren();
  }
  return live;
}

function byReasons(recommendation) {
  const counted = COUNTED.has(recommendation.fallback);
  const show = counted ? (value) => plural(value, "playlist") : undefined;
  const rows = reasonTerms(recommendation).map((row) =>
    ({ ...row, label: TERMS[row.label] ?? row.label }));
  return barChart({
    caption: "What makes up its score", rows, show,
    total: { label: "score", value: recommendation.score },
  });
}

function explained(recommendation, explanation, answer) {
  const terms = answer.seeds.map((seed, place) => ({
    label: seed.name, detail: seed.artist, value: explanation.seeds[place],
  }));
  terms.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  const rows = terms.slice(0, SEEDS_DRAWN).sort((a, b) => b.value - a.value);
  const others = terms.slice(SEEDS_DRAWN);
  if (others.length) {
    rows.push({
      label: others.length === 1 ? "the other track" : `the other ${others.length} tracks`,
      value: others.reduce((sum, each) => sum + each.value, 0),
    });
  }
  rows.push({ label: "its own popularity", value: explanation.bias, kind: "bias" });
  const parts = Object.entries(explanation.parts).map(([part, value]) =>
    ({ label: PARTS[part] ?? part, value }));
  parts.push({ label: "its own popularity", value: explanation.bias, kind: "bias" });
  const total = { label: "score", value: recommendation.score };
  return [
    barChart({ caption: "What each track of the playlist adds to the score: listening, artist and genre together", rows, total }),
    shareChart("What moved the score", Object.entries(explanation.influence)),
    h("details", {}, h("summary", {}, "The same score by what the track is made of"),
      barChart({ caption: "Parts of the score", rows: parts, total })),
    genreProfile(explanation, answer),
    h("details", {}, h("summary", {}, "In words"), h("p", { class: "words" }, explanation.text)),
  ].filter(Boolean);
}

function genreProfile(explanation, answer) {
  const matched = explanation.matched_genres;
  // What is matched is shown in any case.
  const genres = Object.entries(answer.genres).sort(
    ([a, x], [b, y]) => (b in matched) - (a in matched) || y - x,
  ).slice(0, GENRES).sort(([, x], [, y]) => y - x);
  if (!genres.length) return null;
  const left = Object.keys(answer.genres).length - genres.length;
  return barChart({
    caption: `Genres of the playlist, by share of its tracks${left > 0 ? `; ${plural(left, "rarer one")} left out` : ""}`,
    rows: genres.map(([genre, share]) => ({
      label: genre, value: share, kind: genre in matched ? "matched" : "genre",
      remark: genre in matched ? "✓ its genre, too" : null,
    })),
    show: (share) => percent(share),
  });
}

function drawHeatmap(root, answer, selected) {
  const order = answer.seeds.map((_, place) => place);
  order.sort((a, b) => answer.seeds[b].attention - answer.seeds[a].attention);
  const shown = order.slice(0, COLUMNS);
  const held = shown.reduce((sum, place) => sum + answer.seeds[place].attention, 0);
  const rows = answer.recommendations.filter((each) => each.explanation).map((each) => ({
    label: each.name,
    values: shown.map((place) => each.explanation.seeds[place]),
    selected: each.id === selected.id,
  }));
  root.replaceChildren(
    ...[
      shown.length < order.length &&
        h("p", { class: "hint" },
          `${shown.length} of ${order.length} tracks: those with most attention, ${percent(held)} of it.`),
      heatmap({
        caption: "What each track of the playlist adds to each recommendation's score, and its attention",
        columns: shown.map((place) => ({
          label: answer.seeds[place].name, attention: answer.seeds[place].attention,
        })),
        rows,
      }),
    ].filter(Boolean),
  );
}
