// Drawings of a playlist: what it sounds like, and how its tracks lead to a recommendation.

import { barChart, percent } from "./charts.js";
import { h, name, plural, svg } from "./dom.js";

const GENRES = 12;
const BINS = 20;
const NAMED = 5; // tracks of a playlist that a drawing names; the others are one
const THICKEST = 14; // px of a line
const THINNEST = 1;
const FAINT = 0.005; // of all that moves the score: such a line is left out

const share = { low: 0, high: 1, show: (value) => percent(value) };
const SOUND = [
  { key: "energy", label: "Energy", ...share },
  { key: "danceability", label: "Danceability", ...share },
  { key: "valence", label: "Valence (how happy)", ...share },
  { key: "acousticness", label: "Acousticness", ...share },
  { key: "tempo", label: "Tempo", low: 40, high: 220, show: (value) => `${value.toFixed(0)} bpm` },
];

/** What the playlist is like, and where a recommendation stands in it; null if nothing is known. */
export function profile(answer, recommendation) {
  const parts = [genres(answer, recommendation), sound(answer, recommendation)].filter(Boolean);
  return parts.length ? h("div", { class: "profile" }, parts) : null;
}

function genres(answer, recommendation) {
  const mine = new Set(recommendation.genres);
  // What is matched is shown in any case.
  const shown = Object.entries(answer.genres).sort(
    ([a, x], [b, y]) => mine.has(b) - mine.has(a) || y - x,
  ).slice(0, GENRES).sort(([, x], [, y]) => y - x);
  if (!shown.length) return null;
  const left = Object.keys(answer.genres).length - shown.length;
  return barChart({
    caption: `Genres, by share of its tracks${left > 0 ? `; ${plural(left, "rarer one")} left out` : ""}`,
    rows: shown.map(([genre, part]) => ({
      label: genre, value: part, kind: mine.has(genre) ? "matched" : "genre",
      remark: mine.has(genre) ? "✓ this track, too" : null,
    })),
    show: (part) => percent(part),
  });
}

function sound(answer, recommendation) {
  const heard = answer.seeds.filter((seed) => seed.audio);
  const rows = SOUND.map((feature) => {
    const values = heard.map((seed) => seed.audio[feature.key]).filter((value) => value !== undefined);
    return { feature, values, mark: recommendation.audio?.[feature.key] };
  }).filter(({ values }) => values.length);
  if (!rows.length) return null;
  const of = heard.length === answer.seeds.length
    ? "its tracks" : `the ${heard.length} of its ${answer.seeds.length} tracks whose sound is known`;
  return h("table", { class: "sound" },
    h("caption", {}, `Sound: how ${of} are spread; the line is `, name(recommendation.name)),
    h("thead", {}, h("tr", {},
      h("td"), h("th", { scope: "col" }, h("span", { class: "unseen" }, "Spread")),
      h("th", { scope: "col" }, "Playlist"), h("th", { scope: "col" }, "This track"))),
    h("tbody", {}, rows.map(({ feature, values, mark }) =>
      h("tr", {},
        h("th", { scope: "row" }, feature.label),
        h("td", { class: "drawn" }, distribution(values, mark, feature)),
        h("td", { class: "value", title: "median" }, feature.show(median(values))),
        h("td", { class: "value" }, mark === undefined ? "–" : feature.show(mark))))));
}

/** How often values fall where, and a line at another one. */
function distribution(values, mark, { low, high }) {
  const place = (value) => Math.min(Math.max((value - low) / (high - low), 0), 1);
  const bins = new Array(BINS).fill(0);
  for (const value of values) bins[Math.min(Math.floor(BINS * place(value)), BINS - 1)] += 1;
  const most = Math.max(...bins);
  const width = 100 / BINS;
  return svg("svg",
    { class: "distribution", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("line", { class: "zero", x1: 0, x2: 100, y1: 24, y2: 24 }),
    bins.map((count, bin) => count > 0 && svg("rect", {
      class: "genre", x: bin * width + 0.4, width: width - 0.8,
      y: 24 - (20 * count) / most, height: (20 * count) / most,
    })),
    mark !== undefined &&
      svg("line", { class: "mark", x1: 100 * place(mark), x2: 100 * place(mark), y1: 0, y2: 24 }));
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * The way from a playlist's tracks to a recommendation: tracks on the left, what they share with it
 * in the middle, it on the right; a line is as wide as what goes through it adds to the score.
 */
export function paths(answer, recommendation) {
  const { paths: strongest, parts, bias, matched_genres: matched } = recommendation.explanation;
  const named = strongest.slice(0, NAMED);
  const whole = { listening: parts.track + parts.playlists, artists: parts.artists, item_item: parts.item_item, second_stage: parts.second_stage ?? 0 };
  const tracks = named.map((path) => ({ ...path, label: answer.seeds[path.seed].name }));
  const left = answer.seeds.length - tracks.length;
  if (left) {
    const rest = Object.fromEntries(Object.entries(whole).map(([kind, all]) =>
      [kind, all - named.reduce((sum, path) => sum + path[kind], 0)]));
    tracks.push({ ...rest, label: plural(left, "other track") });
  }
  const sameArtist = answer.seeds.some((seed) => seed.artist === recommendation.artist);
  const shared = [sameArtist && recommendation.artist, ...Object.keys(matched).slice(0, 2)].filter(Boolean);
  const kinds = [
    { kind: "item_item", label: "playlists with both", value: whole.item_item },
    { kind: "second_stage", label: "order and pairs", value: whole.second_stage },
    { kind: "listening", label: "similar listening", value: whole.listening },
    { kind: "artists", label: shared.length ? shared.join(", ") : "artist and genres", value: whole.artists },
    { kind: "bias", label: "its popularity", value: bias },
  ];
  const lines = kinds.flatMap(({ kind, value }) => [value, ...tracks.map((track) => track[kind] ?? 0)]);
  const most = Math.max(...lines.map(Math.abs)) || 1;
  const moved = kinds.reduce((sum, { value }) => sum + Math.abs(value), 0) || 1;
  const middle = kinds.filter(({ value }) => Math.abs(value) / moved >= FAINT);
  const line = (value, from, to) => Math.abs(value) / moved < FAINT ? null : svg("path", {
    class: value < 0 ? "negative" : "positive",
    d: `M0,${from} C50,${from} 50,${to} 100,${to}`,
    "stroke-width": Math.max((THICKEST * Math.abs(value)) / most, THINNEST).toFixed(1),
  });
  const centre = (place, of) => (100 * (place + 0.5)) / of;
  const between = (...drawn) => svg("svg", {
    class: "lines", viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true",
  }, drawn);
  const influence = ({ value }) =>
    `${percent(Math.abs(value) / moved)}${value < 0 ? " against it" : ""}`;
  const figure = h("figure", { class: "paths" },
    h("figcaption", {}, "From your tracks to this one: the wider a line, the more it adds",
      lines.some((value) => value < 0 && -value / moved >= FAINT) && "; dashed ones take away"),
    h("div", { class: "drawing" },
      h("ul", { "aria-label": "Tracks of the playlist, strongest first" },
        tracks.map(({ label }) => h("li", {}, name(label, { title: label })))),
      between(middle.flatMap(({ kind }, to) => tracks.map((track, from) =>
        track[kind] === undefined
          ? null : line(track[kind], centre(from, tracks.length), centre(to, middle.length))))),
      h("ul", { class: "shared", "aria-label": "What they share with it, and its part in the score" },
        middle.map((each) => h("li", {},
          h("span", {}, name(each.label), h("span", { class: "part" }, influence(each)))))),
      between(middle.map(({ value }, from) => line(value, centre(from, middle.length), 50))),
      h("p", { class: "to" }, name(recommendation.name))));
  figure.style.setProperty("--rows", String(Math.max(tracks.length, middle.length, 3)));
  return figure;
}
