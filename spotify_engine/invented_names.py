"""Invented names that sound like their genre, for generated data, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

_WORDS_FILE = Path(__file__).with_name("invented_words.yaml")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split("|"))


GENRE_NAMES = _listed(
    """
    indie rock|deep house|k-pop|latin pop|classic rock|hip hop|dance pop|jazz|country|techno|
    reggaeton|heavy metal|soul|folk|trance|punk|drum and bass|r&b|ambient|blues|salsa|dubstep|
    classical|reggae|indie pop|trap|house|alternative rock|synthpop|gospel|bossa nova|post-rock|
    death metal|bluegrass|funk|disco|grunge|tropical house|emo|opera|bachata|afrobeat|chillwave|
    southern hip hop|progressive rock|electropop|singer-songwriter|dancehall|shoegaze|hardstyle|
    j-pop|samba|metalcore|neo soul|big room|permanent wave|americana|lo-fi beats|ska|cumbia|
    black metal|dream pop|garage rock|swing|trip hop|urban contemporary|flamenco|minimal techno|
    pop punk|vaporwave|new wave|soundtrack|hard rock|gangster rap|psychedelic rock|merengue|
    melodic death metal|outlaw country|future bass|chamber pop|electro house|boom bap|
    thrash metal|mpb|celtic|doom metal|new jack swing|k-indie|post-punk|worship|idm|
    latin hip hop|chillhop|southern rock|norteno|power metal|blues rock|grime|stoner rock|
    french pop|italo disco|vocal jazz|christian rock|roots reggae|mandopop|hardcore punk|
    indie folk|forro|fado|tango|turkish pop|bollywood|schlager|desi pop|eurodance|glam rock|
    krautrock|math rock|motown|nu metal|rockabilly|smooth jazz|speed garage|surf rock|uk garage|
    zydeco|acid jazz|art pop|baroque pop|breakbeat|britpop|bubblegum pop|cool jazz|crunk|
    dark ambient|downtempo|electro swing|enka|folk metal|freestyle|gothic rock|hip pop|
    industrial|jangle pop|latin jazz|mariachi|noise pop|nu disco|opm|piano rock|post-hardcore|
    quiet storm|ragtime|sertanejo|soft rock|space rock|swamp rock|symphonic metal|tech house|
    traditional folk|tropicalia|viking metal|witch house|yacht rock|zouk|ballroom|afro house|
    chicago blues|dub techno|harp|latin rock|melodic techno|riot grrrl
    """
)

_ONSETS = _listed("b|br|c|ch|d|f|g|h|j|k|l|m|n|p|pr|r|s|sh|st|t|th|tr|v|w|z|l|m|n|r|s|t")
_VOWELS = (*"aeiouaeioaei", "ai", "ea", "oo", "ou")
_ACCENTED = _listed(
    """
    á|é|í|ó|ú|ñe|ü|ö|å|ø|ã|ç
    """
)
_CODAS = ("", "", "", "", "l", "m", "n", "nd", "r", "s", "st", "t", "x")
_OTHER_SCRIPTS = _listed(
    """
    사랑|노래|하늘|바다|여름|夜|東京|恋|青空|さくら|ひかり|ночь|любовь|город|звезда|море|ليل|قلب|נוף|αγάπη|θάλασσα
    """
)
_SUFFIXES = (
    " - Remastered 2011",
    " - Live",
    " - Radio Edit",
    " (Acoustic)",
    ", Pt. 2",
    ' - 7" Edit',
    ' - From "The Movie"',
    " (Original Mix)",
    " - Live at Montréal, 1997",
    " / Reprise",
)
# None names a kind of music: it would be mined as a genre that its tracks don't have.
_PLAIN_TITLES = _listed(
    """
    Summer 2016|my fav|Liked from Radio|Rooftop|days out|Road Trip|🔥🔥|❤️|Party, vol. 2|2015|naps|
    The "good" stuff|Música|Running|Throwback|new|Study|Summer 2014|🎧 mix|Favourites|Driving|work|
    holidays|Wedding|Discover Weekly Archive|top 100|Sunday Morning|shower|Dinner, friends|gym
    """
)
_GENRE_TITLES = _listed(
    """
    {0}|{1}|Best of {1}|{0} mix|{1} 2016|my {0}|{1} Vibes|🔥 {1} 🔥|{1} & more|all {0}|Pure {1}
    """
)


_MOODS = (
    _listed(
        """
        Late Night|Sunny|Rainy|Lazy|Golden|Long|Good|Slow|Best|Lost|Quiet|Loud|Happy|Sad|Cosy|Early|
        Secret|Endless|Bright|Blue|Été|Última|Spät|Sommar
        """
    ),
    _listed(
        """
        Drive|Kitchen|Mornings|Evenings|Walk|Flight|Balcony|Office|Garden|Weekend|Train|Beach|Songs|
        Hours|Memories|Coffee|Dinner|Winter|Autumn|Spring|Bath|Homework|Journey|Feelings|夜|Ночь
        """
    ),
)


_OWN_MOODS = 6  # words of either kind that the playlists of a genre choose from


def make_words(rng: np.random.Generator, n: int = 6000) -> list[str]:
    """``n`` distinct words of no language, capitalised; some have accents or other scripts."""
    words: dict[str, None] = dict.fromkeys(_OTHER_SCRIPTS)
    while len(words) < n:
        syllables = []
        for _ in range(rng.integers(1, 4)):
            vowels = _ACCENTED if rng.random() < 0.05 else _VOWELS
            syllables += [rng.choice(_ONSETS), rng.choice(vowels)]
        syllables.append(rng.choice(_CODAS))
        words["".join(syllables).capitalize()] = None
    return [str(word) for word in rng.permutation(list(words))]


class Namer:
    """Names of tracks and artists that sound like their genre.

    The same random state gives the same names.
    """

    def __init__(self, rng: np.random.Generator, genres: Sequence[str]) -> None:
        """Draw the words of each genre's names.

        Args:
            genres: names of ``GENRE_NAMES``, by the numbers that they have from now on.
        """
        given = yaml.safe_load(_WORDS_FILE.read_text(encoding="utf-8"))
        sounds = {
            genre: place
            for place, sound in enumerate(given.values())
            for genre in _listed(sound["genres"])
        }
        self._sound_of = np.array([sounds[genre] for genre in genres])
        self._invented = make_words(rng)
        self._tracks = [self._patterns(sound, "tracks") for sound in given.values()]
        self._artists = [self._patterns(sound, "artists") for sound in given.values()]

    def tracks(
        self, rng: np.random.Generator, genre: np.ndarray, newline_every: int
    ) -> pa.StringArray:
        """Titles; one in seven has a suffix (quotes and commas among them).

        Args:
            genre: int ``[n]``.
            newline_every: of so many names, the last one has a line feed between its words.
        """
        n = len(genre)
        names = self._filled(rng, self._tracks, genre)
        suffix = rng.integers(0, len(_SUFFIXES) * 7, size=n)
        chosen = pa.array([*_SUFFIXES, ""]).take(pa.array(np.minimum(suffix, len(_SUFFIXES))))
        names = pc.binary_join_element_wise(names, chosen, "")
        broken = np.zeros(n, bool)
        broken[newline_every - 1 :: newline_every] = True
        lines = [f"{name}\nReprise" for name in names.filter(pa.array(broken)).to_pylist()]
        return pc.replace_with_mask(names, pa.array(broken), pa.array(lines, pa.string()))

    def artists(self, rng: np.random.Generator, genre: np.ndarray) -> list[str]:
        """Names, all different; some hold commas, apostrophes, quotes or backslashes.

        Args:
            genre: int ``[n]``.
        """
        names = self._filled(rng, self._artists, genre).to_pylist()
        words = self._invented
        form = rng.integers(0, 200, size=len(names))
        # Far more of them than are ever needed to tell namesakes apart.
        spare = iter(rng.integers(0, len(words), size=4 * len(names) + 64).tolist())
        taken: set[str] = set()
        for i, name in enumerate(names):
            match form[i]:
                case 0:
                    name = f"{name}, {words[next(spare)]} & {words[next(spare)]}"
                case 1:
                    first, _, last = name.partition(" ")
                    name = f'{first} "{words[next(spare)]}" {last}'.rstrip()
                case 2:
                    name = f"{name} /\\ {words[next(spare)]}"
                case 3:
                    name = f"{name} '{words[next(spare)]}' \"{words[next(spare)]}\""
            while name in taken:
                name = f"{name} {words[next(spare)]}"
            taken.add(name)
            names[i] = name
        return names

    def _patterns(self, sound: Mapping[str, str], what: str) -> list[list[str | pa.Array]]:
        """Each pattern as its parts: texts, and words to choose from, of which each has some."""
        words = {kind: pa.array(_listed(text)) for kind, text in sound.items()}
        words["invented"] = pa.array(self._invented)
        return [
            [
                words[part] if place % 2 else part
                for place, part in enumerate(re.split(r"{(\w+)}", pattern))
                if part
            ]
            for pattern in _listed(sound[what])
        ]

    def _filled(
        self,
        rng: np.random.Generator,
        patterns: Sequence[list[list[str | pa.Array]]],
        genre: np.ndarray,
    ) -> pa.StringArray:
        """A name for each of ``genre``, after a random pattern of its sound."""
        sound = self._sound_of[genre]
        count = np.array([len(each) for each in patterns])
        which = (rng.random(len(genre)) * count[sound]).astype(np.int64)
        first = np.concatenate([[0], np.cumsum(count)])
        group = first[sound] + which
        order = np.argsort(group, kind="stable")
        sizes = np.bincount(group, minlength=first[-1]).tolist()
        filled = []
        for pattern, size in zip(chain(*patterns), sizes, strict=True):
            if not size:
                continue
            parts = [
                part
                if isinstance(part, str)
                else part.take(pa.array(rng.integers(0, len(part), size)))
                for part in pattern
            ]
            filled.append(pc.binary_join_element_wise(*parts, ""))
        if not filled:
            return pa.array([], pa.string())
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pa.concat_arrays(filled).take(pa.array(back))


def playlist_titles(
    rng: np.random.Generator,
    users: np.ndarray,
    genres: Sequence[str],
    genre_share: float,
) -> list[str]:
    """One title a playlist, different within a user: 'genre_share' of them name the genre.

    Args:
        users: int ``[playlists]``, who owns each.
        genres: ``[playlists]``, the main genre of each.
    """
    kind, pick = rng.random(len(users)), rng.random((3, len(users)))
    taken: set[tuple[int, str]] = set()
    titles = []
    for i, user in enumerate(users.tolist()):
        if kind[i] < genre_share:
            form = _GENRE_TITLES[int(pick[0, i] ** 2 * len(_GENRE_TITLES))]
            title = form.format(genres[i], genres[i].title())
        elif kind[i] > 0.95:
            title = "Starred"
        elif kind[i] > (1 + genre_share) / 2:
            title = _PLAIN_TITLES[int(pick[0, i] * len(_PLAIN_TITLES))]
        else:
            # Whoever likes one genre names moods of its own: titles that are alike tell something.
            own = GENRE_NAMES.index(genres[i])
            mood, time = (
                each[(own + int(x * _OWN_MOODS)) % len(each)]
                for each, x in zip(_MOODS, pick[1:, i], strict=True)
            )
            title = f"{mood} {time}" if pick[0, i] < 0.7 else time.lower()
        base, copy = title, 2
        while (user, title) in taken:
            title, copy = f"{base} {copy}", copy + 1
        taken.add((user, title))
        titles.append(title)
    return titles


def escape_playlist_field(text: pa.Array) -> pa.Array:
    """Text as it stands between the quotes of the playlists file.

    A backslash is doubled. A quote has a backslash before it or, in every fifth row, is doubled.
    """
    text = pc.replace_substring(text, "\\", "\\\\")
    every_fifth = pa.array(np.arange(len(text)) % 5 == 0)
    doubled = pc.replace_substring(text, '"', '""')
    return pc.if_else(every_fifth, doubled, pc.replace_substring(text, '"', '\\"'))


def quote_rfc4180(text: pa.Array) -> pa.Array:
    """Text as a field of an RFC 4180 file: quoted where a comma, quote or line break asks it."""
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(text, '"', '""'), '"', "")
    return pc.if_else(pc.match_substring_regex(text, '[",\r\n]'), quoted, text)


def write_text(file: BinaryIO, lines: pa.Array) -> None:
    """Write strings end to end: an Arrow string array already holds them so."""
    lines = pa.concat_arrays([lines])
    offsets = np.frombuffer(lines.buffers()[1], np.int32)
    file.write(lines.buffers()[2][offsets[0] : offsets[len(lines)]])
