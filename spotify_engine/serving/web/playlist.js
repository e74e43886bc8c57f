// The playlist tab: choose tracks, see the completion as it changes, and why.

import { count, more, parameters, STEP, texts } from "./address.js";
import { ask, Live, readable } from "./api.js";
import { barChart, heatmap, percent, shareChart } from "./charts.js";
import { combobox } from "./combobox.js";
import { announce, byId, h, name, plural, some } from "./dom.js";
import { reader, saver } from "./files.js";
import { LeftOut } from "./left_out.js";
import { paths, profile } from "./profile.js";
import {
  asAddressed, Chosen, ground, nothingLeft, notice, reasonTerms, Recommendations, subject,
} from "./results.js";

const SEEDS_DRAWN = 15; // in the bar chart; the others are summed
const COLUMNS = 24; // of the heatmap
const EXAMPLE = 3;
const MOST_K = 100;
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
  item_item: "playlists with both", second_stage: "attention to order, pairs and likeness",
};

/**
 * @param answered (answer, ms) => void
 * @param changed  () => void, when what {@link state} gives may be another
 * @param invented () => whether the served tracks don't exist
 */
export function playlistTab({ answered, changed, invented }) {
  const title = byId("playlist-title");
  const why = byId("playlist-why");
  const map = byId("playlist-heatmap");
  const comparison = byId("playlist-comparison");
  const sound = byId("playlist-profile");
  let k = STEP;
  const leftOut = new LeftOut({
    noun: "track", changed: () => askAgain(), home: () => results.focusFirst(),
  });
  let detailed = false; // whether the details stay open
  let shown = null; // {recommendation, answer}, as explained last
  const results = new Recommendations({
    root: byId("playlist-results"),
    why,
    acts: [
      {
        label: "Add", kind: "add", spoken: (each) => `Add ${each.name}`,
        run: (each) => chosen.add({ ...each, text: `${each.artist} - ${each.name}` }),
      },
      leftOut.act,
    ],
    invented,
    selected: explain,
    picked: changed,
    more: () => {
      k = more(k);
      askAgain();
    },
    most: MOST_K,
    retry: () => live.change(),
    lead,
  });
  const chosen = new Chosen({
    root: byId("playlist-chosen"),
    words: { label: "Tracks", empty: "No tracks yet.", count: (n) => plural(n, "track") },
    changed: () => askAgain(),
    home: byId("playlist-search"),
    once: true,
  });
  const live = new Live({
    request: (signal) => {
      const body = { tracks: chosen.sent().slice(0, MOST), explain: true, k };
      if (readable(title.value)) body.title = readable(title.value);
      if (leftOut.ids.length) body.exclude = leftOut.ids.slice(-MOST);
      return ask("v1/playlists/complete", { body, signal });
    },
    show: ({ data, ms }) => {
      nameTyped(data.seeds);
      chosen.mark(new Map([
        ...data.by_artist.map((text) => [text, "only its artist is known"]),
        ...data.unmatched.map((text) => [text, "not in the catalogue"]),
      ]));
      results.show(data, k);
      saved.hidden = !chosen.tracks.length;
      answered(data, ms);
    },
    status: (state) => results.status(state),
  });

  function askAgain(delay = 0) {
    changed();
    live.change(delay);
  }

  combobox({
    id: "playlist-search", pipeline: "playlists", typed: true, pasted: (text) => files.read(text),
    add: (...tracks) => chosen.add(...tracks),
  });
  const files = reader({
    tab: "playlist",
    add: (...tracks) => chosen.add(...tracks),
    named: (called) => {
      if (!readable(title.value)) title.value = readable(called);
    },
  });
  const saved = byId("playlist-save");
  saved.append(saver({
    tab: "playlist",
    content: () => ({ tracks: chosen.sent().slice(0, MOST), title: readable(title.value) }),
  }));
  title.addEventListener("input", () => askAgain(TYPING_MS));
  comparison.addEventListener("toggle", compare);

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
    return [...notes, leftOut.line(), ...nothingLeft(answer)].filter(Boolean);
  }

  function explain(recommendation, answer) {
    shown = recommendation && { recommendation, answer };
    const explanation = recommendation?.explanation;
    comparison.hidden = !explanation;
    compare();
    const drawn = explanation ? profile(answer, recommendation) : null;
    sound.closest("section").hidden = !drawn;
    sound.replaceChildren(...(drawn ? [drawn] : []));
    why.replaceChildren(subject(recommendation), ...(recommendation ? reasons(recommendation, answer) : []));
  }

  function reasons(recommendation, answer) {
    const explanation = recommendation.explanation;
    const charts = explanation
      ? explained(recommendation, explanation, answer) : [byReasons(recommendation)];
    return [
      explanation && paths(answer, recommendation),
      h("details", {
        class: "figures", open: detailed, ontoggle: (event) => (detailed = event.target.open),
      }, h("summary", {}, "Details"), charts),
    ].filter(Boolean);
  }

  /** The comparison of all recommendations is drawn when it is looked at. */
  function compare() {
    const wanted = comparison.open && shown?.recommendation.explanation;
    if (wanted) drawHeatmap(map, shown.answer, shown.recommendation);
    else map.replaceChildren();
  }

  return {
    change: () => live.change(),
    state: () => parameters({
      t: chosen.sent(), title: readable(title.value), x: leftOut.ids,
      k: k === STEP ? "" : String(k), at: results.picked,
    }),
    restore(params) {
      leftOut.restore(texts(params, "x", MOST));
      title.value = readable(params.get("title") ?? "");
      k = count(params);
      results.pick(params.get("at"));
      const here = new Map(chosen.tracks.map((each) => [each.id ?? each.text, each]));
      chosen.restore(texts(params, "t", MOST).map((text) => here.get(text) ?? asAddressed(text)));
    },
  };
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
  ].filter(Boolean);
}

function drawHeatmap(root, answer, selected) {
  const order = answer.seeds.map((_, place) => place);
  order.sort((a, b) => answer.seeds[b].attention - answer.seeds[a].attention);
  const shown = order.slice(0, COLUMNS);
  const even = answer.even_attention;
  const own = selected.explanation?.attention?.length ? selected.explanation.attention : null;
  const attention = (place) => (own ? own[place] : answer.seeds[place].attention);
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
          even
            ? `${shown.length} of ${order.length} tracks.`
            : `${shown.length} of ${order.length} tracks: those with most attention, ${percent(held)} of it.`),
      even && shown.length > 1 &&
        h("p", { class: "hint" }, "The model gives all of these tracks the same attention."),
      heatmap({
        caption: "What each track of the playlist adds to each recommendation's score" +
          (even ? "" : own ? `, and what ${selected.name} attends to` : ", and its attention"),
        columns: shown.map((place) => ({
          label: answer.seeds[place].name,
          attention: even ? null : attention(place),
        })),
        rows,
      }),
    ].filter(Boolean),
  );
}
