"""When two spellings are the same name."""

from __future__ import annotations

import sys
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spotify_engine import names
from spotify_engine.names import canonical, normalise, normalise_all, without_accents

# Letters of many scripts, marks that combine, signs, spaces, what can't be seen, pictograms.
TRICKY = (
    "aAzZ09 ''\"`-.&éÉñÑßẞiIİıſσςΣΌόΐάЙйЁёŉǰǆǅﬁﬀĳŀæøłđ"
    "\u0301\u0307\u0323\u0308\u0327\u0345\u3099\u0328\u034f\u200b\u200d\ufe0f\ufeff\u00ad"
    "\u00a0\u2009\u3000\t\n\x1f\u0085\u2028–—‐‑−’‘“”´′″…«»ªº²½™№①㎯"
    "ＡｂＺ！－＇ｶﾞガガﾊﾟ青空사랑사랑ลำนำบทเพลงप्रेमحبאהבה❤️🔥🎧🇩🇪𝓡𝓪𝓹\u3164"
)
TEXT = st.text(st.sampled_from(TRICKY) | st.characters(exclude_categories=["Cs"]), max_size=12)
FORMS = ("NFC", "NFD")


def array(values: list[str]) -> pa.StringArray:
    return pa.array(values, pa.string())


@pytest.mark.parametrize(
    "spellings",
    [
        ["Beyoncé", "Beyonce\u0301", "BEYONCÉ", " beyoncé ", "Beyonc\u200bé", "\ufeffBeyoncé"],
        ["Straße", "STRASSE", "strasse", "STRAẞE"],
        ["İstanbul", "istanbul", "I\u0307stanbul", "ISTANBUL", "i\u0307stanbul"],
        ["Işık", "IŞIK", "ışık", "işik"],
        ["Ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ", "ὀδυσσεύσ"],
        [
            "Sigur Rós",
            "Ｓｉｇｕｒ　Ｒós",
            "Sigur\u00a0Rós",
            "Sigur  Rós",
            "Sigur\u2009Rós",
            "Sigur\tRós",
        ],
        ["Don't", "Don’t", "Don‘t", "Don`t", "Don´t", "Donʼt", "Don＇t", "Don′t"],
        ['"Heroes"', "“Heroes”", "„Heroes‟", "＂Heroes＂", "«Heroes»"],
        ["Jay-Z", "Jay‐Z", "Jay‑Z", "Jay–Z", "Jay—Z", "Jay−Z", "Jay－Z", "Jay\u00ad-Z"],
        ["Wait...", "Wait…"],
        ["Office", "O\ufb03ce", "Of\u200bfice", "Of\u00adfice"],
        ["ガール", "ｶﾞｰﾙ", "カ\u3099ール"],
        ["사랑", "\u1109\u1161\u1105\u1161\u11bc"],
        ["I ❤️ U", "I ❤ U", "i ❤ u"],
        ["½ Mensch", "1⁄2 Mensch", "1/2 mensch"],
        ["Café\u2019s", "CAFE\u0301`S"],
    ],
)
def test_spellings_of_one_name(spellings: list[str]) -> None:
    assert {normalise(each) for each in spellings} == {normalise(spellings[0])}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Beyoncé", "Beyonce"),
        ("Simon & Garfunkel", "Simon and Garfunkel"),
        ("P!nk", "Pink"),
        ("Song", "Song (Live)"),
        ("The Band", "Band"),
        ("a b", "ab"),
        ("øre", "ore"),
        ("♥", "❤"),
    ],
)
def test_different_names(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_a_name_of_nothing_that_is_seen_is_still_a_name() -> None:
    assert normalise("\u3164") == normalise("\u1160") == "\u1160"
    assert normalise("\u200b") != normalise("\u3164")
    assert normalise("") == normalise(" \u00a0\t") == ""


@given(TEXT)
@example("i\u0307\u0307")
@example("\u0130\u0323")
@example("\u1ffd \u00b4a")
@example("a\u034f\u0301")
@example("\u0345\u0301")
def test_what_unicode_calls_the_same_text_is_the_same_name(text: str) -> None:
    name = normalise(text)
    assert {normalise(unicodedata.normalize(form, text)) for form in FORMS} == {name}
    assert normalise(name) == name
    assert unicodedata.is_normalized("NFC", name)
    assert without_accents(without_accents(text)) == without_accents(text)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12))
def test_full_width_forms_are_the_same_name(text: str) -> None:
    wide = "".join("\u3000" if c == " " else chr(ord(c) + 0xFEE0) for c in text)
    assert normalise(wide) == normalise(text)


@given(st.text("aäzßiıσςλέйёőşğçñœ ǆ'", max_size=12))
def test_capitals_are_the_same_name(text: str) -> None:
    assert normalise(text.upper()) == normalise(text.lower()) == normalise(text)


@given(st.lists(TEXT, max_size=20), st.integers(1, 5))
def test_an_array_of_names_is_each_of_them(texts: list[str], block: int) -> None:
    whole = array(texts)
    expected = [normalise(text) for text in texts]
    assert normalise_all(whole).to_pylist() == expected
    # A slice shares its buffers with the rest.
    assert normalise_all(whole[1:]).to_pylist() == expected[1:]
    before, names._BLOCK = names._BLOCK, block
    try:
        assert normalise_all(whole).to_pylist() == expected
    finally:
        names._BLOCK = before
    assert canonical(whole).to_pylist() == [unicodedata.normalize("NFC", text) for text in texts]


def test_every_character_is_treated_alike_in_an_array_beside_any_other() -> None:
    """What the table says of a character holds whatever stands beside it."""
    codes = [*range(0xD800), *range(0xE000, 0x20000), *range(0x20000, sys.maxunicode, 99)]
    every = [chr(code) for code in codes]
    assert normalise_all(array(every)).to_pylist() == [normalise(each) for each in every]
    sure = [chr(code) for code in codes if names._TABLE[code] != names._CARE]
    # Han and Hangul are many, and alike.
    sure = [each for each in sure if each < "\u3400" or ord(each) % 50 == 0]
    for beside in ("i", "é", "가"):
        pairs = [text for each in sure for text in (each + beside, beside + each)]
        assert normalise_all(array(pairs)).to_pylist() == [normalise(pair) for pair in pairs]


def test_without_accents() -> None:
    assert without_accents(" Björk  Guðmundsdóttir") == "bjork gudmundsdottir"
    assert without_accents("Mø & Łona—Æther") == "mo & lona-aether"
