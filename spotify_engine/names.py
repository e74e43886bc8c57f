"""Comparing names: the one place that decides when two spellings are the same name.

Names of artists, tracks, genres and playlists are compared by what ``normalise`` makes of them, and
shown as they were written. Spellings are the same that differ only in

- case: also ``ß`` and ``SS``, the two sigmas, the Turkish dotted and dotless i;
- how Unicode writes a character: composed or decomposed, full or half width, as a ligature;
- which dash, apostrophe or quotation mark it is;
- spaces: which ones, how many, any around the name;
- what can't be seen: zero-width characters, soft hyphens, variation selectors.

Accents, punctuation and words tell names apart. So do ``&`` and ``and``: there are tracks of one
artist that differ in just that, and ``&`` is another word in every language.
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DASHES = "-‐‑‒–—―−－﹘﹣\u058a\u05be\u1806\u2043\u2e3a\u2e3b\u2e40"
_SAME_SIGNS = {
    "'": "‘’‚‛`´\u1ffd\u0384ʹʻʼˈˊˋ′‵‹›՚׳",
    '"': "“”„‟″‶«»״〝〞〟",
    "-": DASHES,
    "~": "\u301c",  # one character with the full-width tilde to older Japanese character sets
    "/": "\u2044\u2215",
    "i": "ı",  # its capital is I
}
_SIGNS = {ord(other): sign for sign, others in _SAME_SIGNS.items() for other in others}
# Unicode's Default_Ignorable_Code_Point.
_UNSEEN = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_NOTHING = {code: "" for first, last in _UNSEEN for code in range(first, last + 1)}
_SIGNS_OR_NOTHING = _SIGNS | _NOTHING
_DOTTED = re.compile("i\u0307+")
_UNDECOMPOSED = str.maketrans(
    {"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ħ": "h", "æ": "ae", "œ": "oe", "þ": "th"}
)


def normalise(name: str) -> str:
    """The form a name is compared by. It is the same for all spellings of the name, and for itself.

    A name that consists of nothing but what can't be seen is compared by that.
    """
    if name.isascii():
        return " ".join(name.lower().replace("`", "'").split())
    words = _folded(name).split() or unicodedata.normalize("NFKC", name).split()
    return " ".join(words)


def without_accents(name: str) -> str:
    """``normalise`` for those who type on another keyboard: ``Björk`` is ``bjork``."""
    name = normalise(name)
    if name.isascii():
        return name
    split = unicodedata.normalize("NFKD", name)
    kept = (c for c in split if unicodedata.category(c) not in ("Mn", "Mc", "Me", "Cf"))
    return " ".join("".join(kept).translate(_UNDECOMPOSED).split())


def seen(text: str) -> str:
    """A text of plain characters, full-width ones as well, without what can't be seen."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text).translate(_NOTHING)


# What is said beside a name of how it was recorded, cut, mixed, published or with whom.
_VERSION = re.compile(
    r"""^(?:feat|ft|featuring|with)\b
    | \bremaster(?:ed|izado|isé)?\b
    | ^live\b | \blive(?:\s(?:version|session|recording|take|edit|mix))?(?:,.*)?$
    | \b(?:radio|single|album|video|short|long|extended)\s(?:edit|version|mix|cut)$ | ^edit$
    | \b(?:original|studio|lp|full\slength)\s(?:mix|version|recording)$
    | ^(?:mono|stereo)\b | ^\d{4}\s(?:mix|version)$ | ^bonus\s?track\b
    | ^(?:explicit|clean)(?:\sversion)?$ | \bdeluxe\b | \banniversary\b
    | ^(?:official|lyrics?|music)\s?(?:music\s|lyrics?\s)?(?:video|audio|visuali[sz]er)?$
    | ^(?:audio|video|visuali[sz]er|hd|hq|4k)$
    | ^from\b.*\b(?:soundtrack|motion\spicture|film|movie)\b""",
    re.VERBOSE,
)
_BRACKETS = re.compile(r"\s*[(\[{]([^()\[\]{}]*)[)\]}]")
_AFTER_DASH = re.compile(r"^(.*\S)\s+-\s+(\S[^-]*)$")
_FEATURED = re.compile(r"(?<=\S)\s+(?:feat\.?|ft\.?|featuring)\s+\S.*$")
_INITIALS = re.compile(r"\b(\w)\.(?=\w\b)")
_MARKS = re.compile(r"[(\[{]|\s-\s|\s(?:feat|ft)")
_WORD = re.compile(r"[^\W_]+")


def bare(name: str) -> str:
    """``without_accents``, and without punctuation; ``&`` is ``and``, and ``T.N.T.`` one word.

    A name of nothing but punctuation keeps it.
    """
    spelled = without_accents(name)
    joined = _INITIALS.sub(r"\1", spelled.replace("'", ""))
    words = _WORD.findall(joined.replace("&", " and "))
    return " ".join(words) or spelled


def without_version(name: str) -> str:
    """``bare`` of what is left of a name without ``feat. X``, ``- Remastered 2011``, ``(Live)``.

    It may mean another recording: whoever takes one for the other has to say so.
    """
    spelled = without_accents(name)
    if not _MARKS.search(spelled):
        return bare(name)

    def kept(bracket: re.Match[str]) -> str:
        return "" if _VERSION.search(bracket[1].strip()) else bracket[0]

    short = _FEATURED.sub("", _BRACKETS.sub(kept, spelled))
    while (dash := _AFTER_DASH.match(short)) and _VERSION.search(dash[2].strip()):
        short = dash[1]
    return bare(short) if short.strip() else bare(name)


def _folded(text: str) -> str:
    """``normalise`` but for spaces: Unicode's NFKC_Casefold, and the signs."""
    # The signs first: some decompose to a space with an accent.
    split = unicodedata.normalize("NFKD", text.translate(_SIGNS)).casefold()
    seen = unicodedata.normalize("NFKD", split).translate(_SIGNS_OR_NOTHING)
    return unicodedata.normalize("NFC", _DOTTED.sub("i", seen))


# Most names need no such care: each of their characters becomes another one, whatever stands
# beside it, or stays. Arrays of names go through a table of these, if a character of theirs is
# neither ASCII nor stays.
_BLOCK = 1 << 16  # names at a time: what is made of them on the way stays in the cache
_CARE = 0xFFFFFFFF
_ALPHABETS = (
    (0x20, 0x7E), (0xA1, 0x2FF), (0x370, 0x58F), (0x1E00, 0x1FFF), (0x2010, 0x205E),
    (0x3041, 0x30FF),
)  # fmt: skip
_UNCHANGED = ((0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F64F))  # Han, Hangul, pictograms


def _make_table() -> np.ndarray:
    """uint32 by code point: what it becomes, or ``_CARE`` where that depends on others."""
    table = np.full(0x110000, _CARE, np.uint32)
    for first, last in _ALPHABETS:
        for code in range(first, last + 1):
            folded = _folded(chr(code))
            if len(folded) == 1 and not folded.isspace() and not unicodedata.combining(chr(code)):
                table[code] = ord(folded)
    for first, last in _UNCHANGED:
        table[first : last + 1] = np.arange(first, last + 1)
    table[0x20] = 0x20
    return table


_TABLE = _make_table()
_STAYS = np.arange(len(_TABLE)) == _TABLE


def normalise_all(names: pa.StringArray) -> pa.StringArray:
    """``normalise`` of each, many times faster; there must be no nulls."""
    blocks = [_normalise_block(names[at : at + _BLOCK]) for at in range(0, len(names), _BLOCK)]
    return pa.concat_arrays(blocks) if blocks else names


def canonical(names: pa.StringArray | pa.ChunkedArray) -> pa.StringArray | pa.ChunkedArray:
    """Composed and decomposed spellings as one, all else as it is.

    What people call their playlists and users may differ in case or a space: they are told apart.
    """
    if pc.all(pc.string_is_ascii(names), min_count=0).as_py():
        return names
    return pc.utf8_normalize(names, "NFC")


def _normalise_block(names: pa.StringArray) -> pa.StringArray:
    offsets, data = _buffers(names)
    wide = _where(data >= 0xC0)
    hits = wide[~_STAYS[_code_points(data, wide)]]
    if data.min(initial=0x20) < 0x20 or data.tobytes().find(b"`") >= 0:
        hits = np.append(hits, _where((data < 0x20) | (data == ord("`"))))
    odd = np.union1d(_holding(hits, offsets), _oddly_spaced(data == 0x20, offsets))
    small = pc.ascii_lower(names)
    return _with(small, odd, _normalise_odd(names.take(pa.array(odd)))) if len(odd) else small


def _code_points(data: np.ndarray, at: np.ndarray) -> np.ndarray:
    """int64: the characters of UTF-8 text that start at some bytes, none of them ASCII."""
    lead = data[at].astype(np.int64)
    padded = np.append(data, np.zeros(3, np.uint8)) & 0x3F
    code = (lead & 0x1F) << 6 | padded[at + 1]
    long = np.flatnonzero(lead >= 0xE0)
    code[long] = (code[long] & 0x3FF) << 6 | padded[at[long] + 2]
    long = long[lead[long] >= 0xF0]
    code[long] = (code[long] & 0x7FFF) << 6 | padded[at[long] + 3]
    return code


def _normalise_odd(names: pa.StringArray) -> pa.StringArray:
    bytes_at, data = _buffers(names)
    codes = np.frombuffer(data.tobytes().decode().encode("utf-32-le"), "<u4")
    offsets = np.append(0, np.cumsum((data & 0xC0) != 0x80))[bytes_at]
    became = _TABLE[codes]
    careful = np.flatnonzero(became == _CARE)
    became[careful] = ord("?")  # of a name that is made anew below
    sizes = 1 + (became >= 0x80).astype(np.int32) + (became >= 0x800) + (became >= 0x10000)
    ends = np.append(0, np.cumsum(sizes))[offsets].astype(np.int32)
    text = became.astype("<u4").tobytes().decode("utf-32-le").encode()
    found = pa.StringArray.from_buffers(len(names), pa.py_buffer(ends), pa.py_buffer(text))
    odd = np.union1d(_holding(careful, offsets), _oddly_spaced(codes == 0x20, offsets))
    each = names.take(pa.array(odd)).dictionary_encode()
    made = pa.array(map(normalise, each.dictionary.to_pylist()), pa.string())
    return _with(found, odd, made.take(each.indices))


def _with(names: pa.StringArray, rows: np.ndarray, others: pa.StringArray) -> pa.StringArray:
    """``names`` with those of some rows replaced."""
    place = np.arange(len(names))
    place[rows] = np.arange(len(names), len(names) + len(rows))
    return pa.concat_arrays([names, others]).take(pa.array(place))


def _holding(hits: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """int64: which names hold a hit, given where they start and end."""
    return np.searchsorted(offsets, hits, side="right") - 1


def _where(flags: np.ndarray) -> np.ndarray:
    """``np.flatnonzero``, faster where few are set."""
    whole = len(flags) // 8 * 8
    words = np.flatnonzero(flags[:whole].view(np.uint64) != 0)
    of_words = np.flatnonzero(flags[:whole].reshape(-1, 8)[words].ravel())
    at = 8 * words[of_words // 8] + of_words % 8
    return np.append(at, whole + np.flatnonzero(flags[whole:]))


def _buffers(names: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """(int64 ``[n + 1]``, where names start and end in the text; the text, uint8)."""
    offsets = np.frombuffer(names.buffers()[1], np.int32)
    offsets = offsets[names.offset : names.offset + len(names) + 1].astype(np.int64)
    if offsets[0] == offsets[-1]:
        return offsets - offsets[0], np.zeros(0, np.uint8)
    data = np.frombuffer(names.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    return offsets - offsets[0], data


def _oddly_spaced(spaces: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """int64: names that start or end with a space, or have two in a row; perhaps empty ones, too.

    Args:
        spaces: bool, of each character.
        offsets: ``[names + 1]``, where names start and end in it.
    """
    if not len(spaces):
        return np.zeros(0, np.int64)
    edges = spaces.take(offsets[:-1], mode="clip") | spaces[offsets[1:] - 1]
    doubled = _where(spaces[1:] & spaces[:-1])
    return np.append(np.flatnonzero(edges), _holding(doubled, offsets))
