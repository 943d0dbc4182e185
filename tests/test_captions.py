"""Captions: true of the person, grammatical, short, many."""

from __future__ import annotations

import re

import numpy as np
import pytest

from core.errors import LikenessError
from core.synthesis.captions import FEWEST_WORDS, MOST_WORDS, WORDS, captions, describe, holds, mentioned
from core.synthesis.people import LABEL_NAMES, LATENT_SIZE, Labels, label_range, labels_of_latents

PEOPLE = 120


@pytest.fixture(scope="module")
def written() -> list[tuple[Labels, str]]:
    values = labels_of_latents(np.random.default_rng(2).standard_normal((PEOPLE, LATENT_SIZE)) * 1.3)
    people = [Labels(**{name: float(values[name][i]) for name in LABEL_NAMES}) for i in range(PEOPLE)]
    rng = np.random.default_rng(3)
    return [(labels, text) for labels in people for text in [*captions(labels, rng, 6), describe(labels)]]


def test_table_is_sound() -> None:
    for label, words in WORDS.items():
        low, high = label_range(label)
        for word in words:
            assert low <= word.low <= word.high <= high and word.form in ("adjective", "noun", "with", "clause")
            for other, (least, most) in word.also.items():
                assert label_range(other)[0] <= least <= most <= label_range(other)[1]
    phrases = [phrase.lower() for words in WORDS.values() for word in words for phrase in word.phrases]
    assert len(phrases) == len(set(phrases))


def test_captions_read_back_are_true(written: list[tuple[Labels, str]]) -> None:
    facts = 0
    for labels, text in written:
        for label, word in mentioned(text):
            assert holds(label, word, labels), (text, label, getattr(labels, label))
            facts += 1
    assert facts > 3 * len(written)


def test_captions_contradict_no_label(written: list[tuple[Labels, str]]) -> None:
    """Independent of the table: single words against single numbers."""
    checks = {
        r"\b(woman|lady|female|she|her)\b": lambda x: x.gender < 0.5,
        r"\b(man|gentleman|guy|male|he|his)\b": lambda x: x.gender > 0.5,
        r"\b(young|youthful)\b": lambda x: x.age_years < 35,
        r"\b(old|elderly|older)\b": lambda x: x.age_years > 60,
        r"(?<!no )\b(a|full|short|grey|dark) beard\b": lambda x: x.beard_chin > 0.1,
        r"\bfreckle[sd]\b(?<!no freckles)": lambda x: x.freckles > 0.1,
        r"\b(dark|deep) (brown )?skin\b": lambda x: x.melanin > 0.5,
        r"\b(fair|pale|light) skin\b": lambda x: x.melanin < 0.25,
        r"\bclean-shaven\b": lambda x: max(x.stubble, x.beard_chin, x.moustache) < 0.05,
        r"\bblue eyes\b": lambda x: x.iris_melanin < 0.3,
        r"\bred lipstick\b": lambda x: x.lipstick > 0.2,
    }
    for pattern, true in checks.items():
        found = [(labels, text) for labels, text in written if re.search(pattern, text)]
        assert found, pattern
        for labels, text in found:
            assert true(labels), text
    assert not any(re.search(r"\b(haired|curly|ponytail|long hair|short hair)\b", text) for _, text in written)


def test_grammar(written: list[tuple[Labels, str]]) -> None:
    for _, text in written:
        assert FEWEST_WORDS <= len(text.split()) <= MOST_WORDS, text
        for article, word in re.findall(r"\b(an?) ([\w-]+)", text, re.IGNORECASE):
            assert (article.lower() == "an") == (word[0] in "aeiou"), text
        assert not re.search(r"\b(an? an?|the an?|with with|and and)\b|  |,,|\.\.|, ,| ,", text), text
        sentences = text.endswith(".")
        assert text[0].isupper() == sentences, text
        assert not re.search(r"\bin her\b.*\bHe\b|\bin his\b.*\bShe\b", text)


def test_captions_are_many_and_repeatable() -> None:
    labels = Labels(age_years=67.0, gender=0.9, wrinkles=0.5, grey=0.8, beard_chin=0.6, weight=0.8, freckles=0.3)
    found = captions(labels, np.random.default_rng(0), 200)
    assert len(set(found)) > 180
    assert found == captions(labels, np.random.default_rng(0), 200) != captions(labels, np.random.default_rng(1), 200)
    lengths = [len(text.split()) for text in found]
    assert min(lengths) <= 6 and max(lengths) >= 18
    said = " ".join(found)
    for word in ("a grey beard", "bearded", "wrinkles", "in his sixties", "old", "freckles", "shaved head", "bald"):
        assert word in said, word


@pytest.mark.parametrize("label", sorted(WORDS))
def test_every_word_can_be_said(label: str) -> None:
    """At the middle of its range each entry is true, is read back from its own phrase, and gets into captions."""
    for word in WORDS[label]:
        wanted = {label: (word.low, word.high), **word.also}
        labels = Labels(**{name: (low + high) / 2 for name, (low, high) in wanted.items()})
        assert holds(label, word, labels)
        for phrase in word.phrases:
            assert (label, word) in mentioned(f"a face, {phrase}.")
        phrases = word.phrases
        if word.form == "clause" and phrases[0].startswith("in her"):
            phrases = phrases[2:3]
        rng = np.random.default_rng(0)
        texts = (text for _ in range(15) for text in captions(labels, rng, 8))  # until one of them says it
        assert any(phrase in text for text in texts for phrase in phrases), word


def test_best_caption() -> None:
    assert describe(Labels(age_years=65.0, gender=0.1, freckles=0.4, melanin=0.1)).startswith(
        "a woman in her sixties with"
    )
    bearded = describe(Labels(age_years=75.0, gender=0.95, beard_chin=0.8, grey=1.0))
    assert "in his seventies" in bearded and "beard" in bearded
    assert len(describe(Labels()).split()) >= FEWEST_WORDS
    # The longest match is what was meant.
    assert [label for label, _ in mentioned("dark brown eyes and no freckles")] == ["iris_melanin", "freckles"]
    assert mentioned("a house by the sea") == []


def test_negative_count_is_a_sentence() -> None:
    assert captions(Labels(), np.random.default_rng(0), 0) == []
    with pytest.raises(LikenessError, match="-1 captions"):
        captions(Labels(), np.random.default_rng(0), -1)
