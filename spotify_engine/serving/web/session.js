// The session tab: what was played, what comes next, and why.

import { count, more, parameters, STEP, texts } from "./address.js";
import { ask, Live, readable, Refused, Unavailable } from "./api.js";
import { barChart, fixed, percent, shareChart, signed } from "./charts.js";
import { combobox } from "./combobox.js";
import { announce, byId, h, plural } from "./dom.js";
import { LeftOut } from "./left_out.js";
import {
  asWritten, Chosen, ground, nothingLeft, reasonTerms, Recommendations, subject,
} from "./results.js";

const EXAMPLE = 2;
const MOST_K = 100;
const NAMED = 50; // songs of an address whose names are asked for
const MOST = 1000; // songs that a request may have
const TYPING_MS = 300;
const PLAYED_MS = 180_000; // what "played" is sent as: the page knows no durations
const SENDINGS = 3;

const TERMS = {
  transition: "the song right before", artist: "artists of this session",
  follow: "artists that come after these", genre: "genre", replay: "the user's own plays",
  popularity: "popularity", collaborative: "listening", rest: "everything else",
};

/**
 * What stood in, in words.
 *
 * @param who   the user that is named, or ""
 * @param songs how many songs were played
 * @param known how many of them the catalogue has
 */
function fallbacks({ who, songs, known }) {
  const user = who ? "This user is not known" : "No user is named";
  const nothing = songs === 1 ? "the song is not known" : "none of the songs is known";
  let why = `${user}, and no song was played`;
  if (songs) why = `${user}, and ${nothing}`;
  if (known) why = `${user}, and this version goes by users alone`;
  return {
    session: `${user}: predicted from this session's songs alone.`,
    history: "This user is new since training: predicted from the plays that were stored since.",
    "new song": "Nobody had played these songs in training: they are judged by artist and genre.",
    "similar users": "This user has few plays: similar users' plays count, too.",
    popularity: `${why}: the most played songs.`,
  };
}

/**
 * @param answered (answer, ms) => void
 * @param changed  () => void, when what {@link state} gives may be another
 * @param invented () => whether the served songs don't exist
 */
export function sessionTab({ answered, changed, invented }) {
  const user = byId("session-user");
  const at = byId("session-at");
  const why = byId("session-why");
  let k = STEP;
  let event = null; // {message, failed}: what became of the last play that was to be stored
  let detailed = false; // whether the details stay open
  const leftOut = new LeftOut({
    noun: "song", changed: () => askAgain(), home: () => results.focusFirst(),
  });
  const results = new Recommendations({
    root: byId("session-results"),
    why,
    acts: [
      {
        label: "Add", kind: "add", spoken: (each) => `Add ${each.name} to this session`,
        run: (each) => chosen.add({ ...each, text: each.id }),
      },
      {
        label: "Store a play", kind: "store", quiet: true, run: store,
        spoken: (each) => `Store that ${readable(user.value)} played ${each.name}`,
        offered: () => readable(user.value) !== "",
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
    root: byId("session-chosen"),
    words: {
      label: "Songs, last one last", empty: "No songs yet.",
      count: (n) => (n === 1 ? "1 song" : `${n} songs, last one last`),
    },
    changed: () => {
      event = null;
      askAgain();
    },
    home: byId("session-search"),
    once: false,
  });
  const live = new Live({
    request: (signal) => {
      const body = { recent: chosen.sent().slice(-MOST), explain: true, k };
      if (readable(user.value)) body.user = readable(user.value);
      if (leftOut.ids.length) body.exclude = leftOut.ids.slice(-MOST);
      if (at.value) body.at = new Date(at.value).toISOString();
      return ask("v1/sessions/next", { body, signal });
    },
    show: ({ data, ms }) => {
      chosen.mark(new Map(data.unmatched.map((text) => [text, "not in the catalogue"])));
      results.show(data, k);
      answered(data, ms);
    },
    status: (state) => results.status(state),
  });

  combobox({
    id: "session-search", pipeline: "sessions", typed: false,
    add: (...songs) => chosen.add(...songs),
  });
  user.addEventListener("input", () => {
    event = null;
    askAgain(TYPING_MS);
  });
  at.addEventListener("input", () => askAgain(TYPING_MS));

  function askAgain(delay = 0) {
    changed();
    live.change(delay);
  }

  /** Stores that the user has played a song; it counts from then on, in this session and later. */
  async function store(song) {
    event = await sendPlay(readable(user.value), song);
    announce(event.message);
    live.change();
  }

  function lead(answer) {
    const who = readable(user.value);
    const songs = chosen.tracks.length;
    const unknown = new Set(answer.unmatched);
    const known = chosen.sent().filter((song) => !unknown.has(song)).length;
    const empty = !songs && !who;
    const notes = ground(answer, {
      fallbacks: fallbacks({ who, songs, known }),
      start: empty && {
        text: "Nothing was played yet: these are the most played songs. ",
        count: EXAMPLE,
        add: (examples) => {
          chosen.add(...examples.map((each) => ({ ...each, text: each.id })));
          results.focusFirst();
        },
      },
    });
    if (answer.learned) {
      notes.push(h("p", { class: "notice learned" },
        `Learned from ${plural(answer.learned, "stored play")} of this user.`));
    }
    if (event) {
      notes.push(h("p", { class: event.failed ? "notice error" : "notice" }, event.message));
    }
    return [...notes, leftOut.line(), ...nothingLeft(answer)].filter(Boolean);
  }

  function explain(recommendation) {
    if (!recommendation) {
      why.replaceChildren(subject(recommendation));
      return;
    }
    const explanation = recommendation.explanation;
    why.replaceChildren(
      subject(recommendation),
      ...(explanation ? influence(explanation) : []),
      h("details", {
        class: "figures", open: detailed, ontoggle: (event) => (detailed = event.target.open),
      }, h("summary", {}, "Details"),
      terms(recommendation), explanation ? explained(explanation) : []),
    );
  }

  /** Songs of an address have ids; their names are the catalogue's. */
  async function nameSongs(songs) {
    await Promise.all(songs.map(async (song) => {
      try {
        const path = `v1/tracks/${encodeURIComponent(song.text)}`;
        const { data } = await ask(path, { query: { pipeline: "sessions" } });
        Object.assign(song, { name: data.name, artist: data.artist });
      } catch (error) {
        // Unknown, or the server is busy: its id stands for it.
        if (!(error instanceof Refused || error instanceof Unavailable)) throw error;
      }
      song.pending = false;
    }));
    chosen.render();
  }

  return {
    change: () => live.change(),
    state: () => parameters({
      user: readable(user.value), s: chosen.sent(), when: at.value, x: leftOut.ids,
      k: k === STEP ? "" : String(k), at: results.picked,
    }),
    restore(params) {
      user.value = readable(params.get("user") ?? "");
      at.value = params.get("when") ?? "";
      k = count(params);
      leftOut.restore(texts(params, "x", MOST));
      event = null;
      results.pick(params.get("at"));
      const here = new Map(chosen.tracks.map((each) => [each.id ?? each.text, each]));
      const songs = texts(params, "s", MOST).map((text) => here.get(text) ?? asWritten(text));
      const unnamed = songs.filter((song) => song.id === null && song.name === song.text).slice(0, NAMED);
      for (const song of unnamed) song.pending = true;
      chosen.restore(songs);
      nameSongs(unnamed);
    },
  };
}

/** Stores that somebody played a song; again, if the server is busy. */
async function sendPlay(who, song) {
  const body = { events: [{ type: "play", user: who, track: song.id, ms_played: PLAYED_MS }] };
  for (let sending = 1; ; sending += 1) {
    try {
      await ask("v1/events", { body });
      return { message: `Stored: ${who} played “${song.name}”.`, failed: false };
    } catch (error) {
      const busy = error instanceof Unavailable && error.answered;
      if (!busy && !(error instanceof Refused) && !(error instanceof Unavailable)) throw error;
      if (!busy || sending === SENDINGS) {
        return { message: `The play was not stored: ${error.message}`, failed: true };
      }
      await new Promise((resolve) => setTimeout(resolve, error.seconds * 1000));
    }
  }
}

/** How a score of this kind is written: plays, a probability, or a model's number. */
function scoreText(recommendation) {
  if (recommendation.fallback === "popularity") return (value) => plural(value, "play");
  if (recommendation.reasons.some((reason) => reason.kind === "collaborative")) {
    return (value) => fixed(value, 3);
  }
  return (value) => `${(100 * value).toFixed(2)} %`;
}

function terms(recommendation) {
  const found = recommendation.explanation?.terms;
  const rows = (found
    ? Object.entries(found).map(([label, value]) => ({ label, value }))
    : reasonTerms(recommendation)
  ).map((row) => ({ ...row, label: TERMS[row.label] ?? row.label }));
  rows.sort((a, b) => b.value - a.value);
  return [
    barChart({
      caption: "What makes up its score", rows, show: scoreText(recommendation),
      total: { label: "score", value: recommendation.score },
    }),
  ];
}

function influence(explanation) {
  const shares = Object.entries(explanation.percent).filter(([, share]) => share > 0);
  return shares.length
    ? [shareChart("What it goes by", shares.map(([label, share]) => [label, share / 100]))] : [];
}

function explained(explanation) {
  const { collaborative_score: listening, genre_score: genre, final_score: final } = explanation.genre;
  return [
    explanation.neighbours.length > 0 && !explanation.even_attention &&
      barChart({
        caption: "Songs of the user's history that are like it, and their attention",
        rows: explanation.neighbours.map((each) =>
          ({ label: each.name, value: each.attention, kind: "genre" })),
        show: (value) => percent(value, 1),
      }),
    listening !== undefined &&
      h("details", {}, h("summary", {}, "As the Enhanced GAT sees it"),
        barChart({
          caption: "Genres that match the user's",
          rows: Object.entries(explanation.genre.genre_contributions).map(([label, value]) =>
            ({ label, value })),
          total: { label: "genre score", value: genre },
        }),
        h("p", { class: "hint" },
          `Listening ${signed(listening)}, genre ${signed(genre)}, together ${signed(final)}; ` +
          `genre has ${percent(explanation.genre.genre_influence)} of the influence.`)),
  ].filter(Boolean);
}
