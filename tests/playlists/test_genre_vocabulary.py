import importlib.resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.playlists.tables.genre_vocabulary import (
    GenreVocabulary,
    TitleGenres,
    load_vocabulary,
    normalise_title,
)

SMALL = GenreVocabulary(
    {
        "metal": [],
        "death metal": [],
        "melodic death metal": ["melodeath"],
        "hip hop": [],
        "rap": [],
        "drum and bass": ["dnb", "d&b"],
        "r&b": ["rnb", "rhythm and blues"],
        "rock and roll": [],
        "soul": [],
        "jazz": [],
        "soul jazz": [],
        "jazz funk band": [],
        "forró": [],
        "80s pop": [],
        "house": [],
        "80s rock": [],
        "русский рэп": [],
    },
    misleading=["house party", "metal gear"],
)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Best of Hip-Hop 2019", ["hip hop"]),
        ("#HIPHOP", ["hip hop"]),
        ("hip_hop & rap 🔥", ["hip hop", "rap"]),
        ("🔥DnB🔥", ["drum and bass"]),
        ("Drum & Bass", ["drum and bass"]),
        ("drum 'n' bass", ["drum and bass"]),
        ("drum'n'bass", ["drum and bass"]),
        ("D and B", ["drum and bass"]),
        ("R n B", ["r&b"]),
        ("90's R&B", ["r&b"]),
        ("Rock’n’Roll", ["rock and roll"]),
        ("FORRO", ["forró"]),
        ("Forró do bom", ["forró"]),
        ("1980's Pop", ["80s pop"]),
        ("80`s pop", ["80s pop"]),
        ("𝓡𝓪𝓹 𝓶𝓲𝔁", ["rap"]),
        ("ＲＡＰ", ["rap"]),
        ("Русский Рэп", ["русский рэп"]),
        ("wrap rapper", []),
        ("", []),
        ("🔥🔥", []),
        ("rap RAP rap", ["rap"]),
    ],
)
def test_find_reads_every_spelling(title: str, expected: list[str]) -> None:
    assert SMALL.find(title) == expected


def test_the_longest_phrase_uses_up_its_words() -> None:
    assert SMALL.find("melodic death metal") == ["melodic death metal"]
    assert SMALL.find("Melodeath / death metal, metal") == [
        "melodic death metal",
        "death metal",
        "metal",
    ]
    # Not greedy from the left: the three words win and leave "soul".
    assert SMALL.find("soul jazz funk band") == ["soul", "jazz funk band"]


def test_a_separator_ends_a_phrase() -> None:
    assert SMALL.find("soul jazz") == ["soul jazz"]
    for title in ("Soul, Jazz", "soul/jazz", "Soul - Jazz", "[soul] jazz", "soul | jazz"):
        assert SMALL.find(title) == ["soul", "jazz"]


def test_misleading_phrases_name_no_genre() -> None:
    assert SMALL.find("House Party!!") == []
    assert SMALL.find("house party with deep house") == ["house"]


def test_a_phrase_of_two_genres_is_refused() -> None:
    with pytest.raises(ValueError, match="hip hop"):
        GenreVocabulary({"rap": ["Hip-Hop"], "hip hop": []})


@given(st.text(max_size=60))
def test_find_takes_any_text(title: str) -> None:
    vocabulary = load_vocabulary()
    assert set(vocabulary.find(title)) <= set(vocabulary.names)


@given(
    st.lists(
        st.one_of(st.sampled_from([*load_vocabulary().phrases]), st.text(max_size=8)), max_size=5
    ),
    st.sampled_from([" ", ", ", "-", " & ", "🔥"]),
)
def test_found_genres_are_written_in_the_title(parts: list[str], glue: str) -> None:
    vocabulary = load_vocabulary()
    title = glue.join(parts)
    words = f" {normalise_title(title)} "
    for name in vocabulary.find(title):
        assert any(f" {p} " in words for p, genre in vocabulary.phrases.items() if genre == name)


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise_title(normalise_title(text)) == normalise_title(text)


def vocabulary_lines() -> list[tuple[str, list[str]]]:
    file = importlib.resources.files("spotify_engine.playlists.tables") / "genre_vocabulary.tsv"
    lines = file.read_text("utf-8").splitlines()
    split = [line.partition("\t") for line in lines if line and line[0] not in "#!"]
    return [(name, others.split("|") if others else []) for name, _, others in split]


def test_the_vocabulary_is_large_and_clean() -> None:
    lines = vocabulary_lines()
    names = [name for name, _ in lines]
    assert len({normalise_title(name) for name in names}) == len(names) >= 1500
    assert all(name == name.lower().strip() and normalise_title(name) for name in names)


def test_no_phrase_of_the_vocabulary_means_two_genres() -> None:
    owners: dict[str, str] = {}
    for name, aliases in vocabulary_lines():
        for phrase in map(normalise_title, [name, *aliases]):
            assert phrase
            assert phrase not in owners, (phrase, name, owners[phrase])
            owners[phrase] = name
    fused: dict[str, str] = {}
    for phrase, name in owners.items():
        joined = phrase.replace(" ", "")
        assert owners.get(joined, name) == name
        assert fused.setdefault(joined, name) == name


def test_every_name_is_found_by_itself() -> None:
    vocabulary = load_vocabulary()
    assert [vocabulary.find(name) for name in vocabulary.names] == [[n] for n in vocabulary.names]
    assert not vocabulary.misleading & set(vocabulary.phrases)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Melodic Death Metal & Classical", ["melodic death metal", "classical"]),
        ("K-Pop 2020 💜", ["k-pop"]),
        ("Rock en Español", ["rock en español"]),
        ("kpop / jpop", ["k-pop", "j-pop"]),
        ("Deutschrap", ["german hip hop"]),
        ("UKG and Grime", ["uk garage", "grime"]),
        ("Pop, Hip Hop & RnB", ["pop", "hip hop", "r&b"]),
        ("Full House", []),
        ("Summer Drive", []),
    ],
)
def test_the_vocabulary_on_common_titles(title: str, expected: list[str]) -> None:
    assert load_vocabulary().find(title) == expected


def test_a_title_falls_back_to_the_genres_of_the_bundle() -> None:
    names = ["Hip-Hop", "indie poptimism x", "metal", "dnb"]
    titles = TitleGenres(names, SMALL)
    assert titles.ids("Melodic death metal, hip hop").tolist() == [0, 2]
    assert titles.ids("INDIE POPTIMISM X").tolist() == [1]
    assert titles.ids("drum and bass").tolist() == [3]
    assert titles.ids("metal gear").tolist() == []
    for title in ("jazz", "", None):
        assert titles.ids(title).dtype == np.int32
        assert len(titles.ids(title)) == 0
    assert TitleGenres([], SMALL).ids("metal").tolist() == []
    assert TitleGenres(["hip hop", "Hip-Hop"], SMALL).ids("hiphop").tolist() == [0]
