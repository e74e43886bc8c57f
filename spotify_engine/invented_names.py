"""Invented but pronounceable names for generated data, and how they are quoted and written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


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
_PLAIN_TITLES = _listed(
    """
    Summer 2016|my fav|Liked from Radio|Workout|Chill|Road Trip|🔥🔥|❤️|Party, vol. 2|2015|sleep|
    The "good" stuff|Música|Running|Oldies|new|Study|Summer 2014|🎧 mix|Favourites|Driving|work|
    christmas|Wedding|Discover Weekly Archive|top 100|Sunday Morning|shower|Dinner, friends|gym
    """
)
_GENRE_TITLES = _listed(
    """
    {0}|{1}|Best of {1}|{0} mix|{1} 2016|my {0}|{1} Vibes|🔥 {1} 🔥|{1} & more|all {0}|Pure {1}
    """
)


def make_words(rng: np.random.Generator, n: int = 6000) -> list[str]:
    """``n`` distinct capitalised words, some with accents, a few in other scripts."""
    words: dict[str, None] = dict.fromkeys(_OTHER_SCRIPTS)
    while len(words) < n:
        syllables = []
        for _ in range(rng.integers(1, 4)):
            vowels = _ACCENTED if rng.random() < 0.05 else _VOWELS
            syllables += [rng.choice(_ONSETS), rng.choice(vowels)]
        syllables.append(rng.choice(_CODAS))
        words["".join(syllables).capitalize()] = None
    # The other scripts land anywhere in the list, whose start is used most.
    return [str(word) for word in rng.permutation(list(words))]


def track_names(
    rng: np.random.Generator, n: int, words: pa.Array, newline_every: int
) -> pa.StringArray:
    """``n`` titles of one to four words; one in seven has a suffix (quotes and commas among them).

    Every ``newline_every``-th has a line feed between its words.
    """
    if n == 0:
        return pa.array([], pa.string())
    length = rng.choice(4, size=n, p=[0.12, 0.33, 0.33, 0.22]) + 1
    parts = []
    for place in range(4):
        index = (len(words) * rng.random(n) ** 1.6).astype(np.int32)
        parts.append(words.take(pa.array(index, mask=length <= place)))
    names = pc.binary_join_element_wise(*parts, " ", null_handling="skip")
    suffix = rng.integers(0, len(_SUFFIXES) * 7, size=n)
    chosen = pa.array([*_SUFFIXES, ""]).take(pa.array(np.minimum(suffix, len(_SUFFIXES))))
    names = pc.binary_join_element_wise(names, chosen, "")
    broken = np.zeros(n, bool)
    broken[newline_every - 1 :: newline_every] = True
    lines = [f"{name}\nReprise" for name in names.filter(pa.array(broken)).to_pylist()]
    return pc.replace_with_mask(names, pa.array(broken), pa.array(lines, pa.string()))


def artist_names(rng: np.random.Generator, n: int, words: Sequence[str]) -> list[str]:
    """``n`` names, nearly all different; some hold commas, apostrophes, quotes or backslashes."""
    first, second, third = (len(words) * rng.random((3, n)) ** 1.2).astype(int)
    form = rng.integers(0, 200, size=n)
    names = []
    for i in range(n):
        a, b, c = words[first[i]], words[second[i]], words[third[i]]
        match form[i]:
            case 0:
                name = f"{a}, {b} & {c}"
            case 1:
                name = f'{a} "{b}" {c}'
            case 2:
                name = f"{a} /\\ {b}"
            case 3:
                name = f"{a} '{b}' \"{c}\""
            case 4 | 5 | 6:
                name = f"{a} D'{b}"
            case 7 | 8 | 9:
                name = f"DJ {a} {b}"
            case k if k < 30:
                name = f"The {a} {b}s"
            case k if k < 45:
                name = f"{a} {b} {c}"
            case _:
                name = f"{a} {b}"
        names.append(name)
    return names


def playlist_titles(
    rng: np.random.Generator,
    users: np.ndarray,
    genres: Sequence[str],
    words: Sequence[str],
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
            a, b = (words[int(x * len(words))] for x in pick[1:, i])
            title = f"{a} {b}" if pick[0, i] < 0.7 else a.lower()
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
