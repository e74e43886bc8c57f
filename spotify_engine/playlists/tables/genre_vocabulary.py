"""Names of genres, and how they are found in the title of a playlist."""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from spotify_engine.names import without_accents

BREAK = ","  # the token between two parts of a title that a genre's name doesn't span
_POSSESSIVE = re.compile(r"(?<=\w)'s\b")
_SEPARATOR = re.compile(r"[,;|/\\+•·()\[\]{}]|\s[-:]+\s")
_AND = re.compile(r"&|\band\b")
_CENTURY = re.compile(r"\b19(?=[2-9]0s\b)")
_TOKEN = re.compile(r"[^\W_]+|,")


def normalise_title(text: str) -> str:
    """The words of a title in one spelling, separated by single blanks.

    Lower case without accents; ``&``, ``and`` and ``n`` are all ``n``; ``80's`` and ``1980s`` are
    ``80s``; other punctuation, emoji and underscores are blanks, but a separator such as a comma,
    slash, bracket or free-standing dash stays as the token ``,``: "Soul, Jazz" isn't "soul jazz".
    """
    text = _POSSESSIVE.sub("s", without_accents(text))
    text = _CENTURY.sub("", _AND.sub(" n ", _SEPARATOR.sub(f" {BREAK} ", text)))
    return " ".join(_TOKEN.findall(text)).strip(f" {BREAK}")


class GenreVocabulary:
    """Names of genres, the phrases that mean them, and how to find them in a title.

    Attributes:
        names: the genres' names, in the order given.
        phrases: normalised phrase -> name. Besides the names and aliases it holds each phrase of
            several words written as one ("deephouse"), unless that means something else.
        misleading: normalised phrases that contain a genre's name and don't mean it ("mood swing").
    """

    def __init__(
        self, aliases: Mapping[str, Iterable[str]], misleading: Iterable[str] = ()
    ) -> None:
        """``aliases``: name -> its aliases. Raises ValueError if a phrase means two genres."""
        self.names = list(aliases)
        self.phrases: dict[str, str] = {}
        for name, others in aliases.items():
            for phrase in (normalise_title(name), *map(normalise_title, others)):
                if not phrase or self.phrases.setdefault(phrase, name) != name:
                    raise ValueError(f"{phrase!r} of {name!r} is empty or also a name of another")
        self.misleading = frozenset(map(normalise_title, misleading))
        for phrase, name in list(self.phrases.items()):
            self.phrases.setdefault(phrase.replace(" ", ""), name)
        self._longest: dict[str, int] = {}  # first word -> words in the longest phrase it starts
        for phrase in (*self.phrases, *self.misleading):
            words = phrase.split(" ")
            self._longest[words[0]] = max(self._longest.get(words[0], 0), len(words))

    def find(self, title: str) -> list[str]:
        """Genres named in ``title``, each once, in the order of the title.

        The longest phrase wins and uses up its words (of two equally long ones the left), so
        "melodic death metal" is one genre. Misleading phrases use up their words too.
        """
        words = normalise_title(title).split(" ")
        found = []
        for start, word in enumerate(words):
            for n_words in range(min(self._longest.get(word, 0), len(words) - start), 0, -1):
                phrase = " ".join(words[start : start + n_words])
                if phrase in self.misleading:
                    found.append((-n_words, start, ""))
                elif phrase in self.phrases:
                    found.append((-n_words, start, self.phrases[phrase]))
        used: set[int] = set()
        chosen = []
        for negative_length, start, name in sorted(found):
            span = range(start, start - negative_length)
            if used.isdisjoint(span):
                used.update(span)
                chosen.append((start, name))
        return list(dict.fromkeys(name for _, name in sorted(chosen) if name))

    def restricted_to(self, names: Iterable[str]) -> GenreVocabulary:
        """A vocabulary of just ``names``, with the aliases this one knows for them.

        A name may be one this vocabulary hasn't, or an alias in it. A name spelt like an earlier
        one after normalisation means that one.
        """
        aliases_of: dict[str, list[str]] = {}
        for phrase, name in self.phrases.items():
            aliases_of.setdefault(name, []).append(phrase)
        owner: dict[str, str] = {}
        distinct = list(dict.fromkeys(names))
        for name in distinct:
            if normalise_title(name):
                owner.setdefault(normalise_title(name), name)
        kept: dict[str, list[str]] = {name: [] for name in owner.values()}
        for phrase, name in list(owner.items()):
            for alias in aliases_of.get(self.phrases.get(phrase, ""), ()):
                if owner.setdefault(alias, name) == name:
                    kept[name].append(alias)
        return GenreVocabulary(kept, self.misleading)


@functools.cache
def load_vocabulary() -> GenreVocabulary:
    """The vocabulary kept in the package.

    ``genre_vocabulary.tsv`` has a genre a line: name, tab, aliases separated by ``|``. ``#`` starts
    a comment, ``!`` a line of misleading phrases separated by ``|``.
    """
    file = importlib.resources.files(__package__) / "genre_vocabulary.tsv"
    aliases: dict[str, list[str]] = {}
    misleading: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("!"):
            misleading += line[1:].split("|")
        elif line and not line.startswith("#"):
            name, _, others = line.partition("\t")
            aliases[name] = others.split("|") if others else []
    return GenreVocabulary(aliases, misleading)


class TitleGenres:
    """Finds the genres of one bundle in titles.

    Only these genres are looked for, so a title that names a genre the bundle hasn't falls back to
    a shorter name it has: "melodic death metal" to "metal".
    """

    def __init__(self, names: Sequence[str], vocabulary: GenreVocabulary) -> None:
        """``names``: ``[genres]``, the bundle's genre names by id."""
        self._id = {name: i for i, name in reversed(list(enumerate(names)))}
        self._vocabulary = vocabulary.restricted_to(names)

    def ids(self, title: str | None) -> np.ndarray:
        """int32 ``[found]``: ascending ids of the genres named in ``title``, none without one."""
        found = self._vocabulary.find(title) if title else []
        return np.array(sorted(self._id[name] for name in found), dtype=np.int32)
