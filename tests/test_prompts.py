"""Prompts: read as people mean them, whatever they type."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editing.attributes import HIGH, INDEX, LOW
from editing.prompts import (
    LONGEST_PROMPT,
    Clause,
    Reading,
    read_prompt,
    read_uncached,
    sample_instruction,
    split_prompt,
)
from editing.words import CONCEPTS, concept_change


def _said(text: str) -> list[tuple[str, dict[str, float]]]:
    """Clauses as (core, concepts with amounts)."""
    return [
        (clause.core, {concept.name: round(amount, 3) for concept, amount in clause.concepts})
        for clause in read_prompt(text).clauses
    ]


def _meant(text: str) -> dict[str, float]:
    """The concepts of all clauses, and none unknown."""
    reading = read_prompt(text)
    assert reading.problem is None and not reading.unknown, (text, reading)
    return {concept.name: round(amount, 3) for clause in reading.clauses for concept, amount in clause.concepts}


def test_the_goal_is_read() -> None:
    """The prompts that the project promises to understand."""
    assert [clause.text for clause in read_prompt("older, smiling").clauses] == ["older", "smiling"]
    assert _said("slightly older") == [("older", {"older": 0.4})]
    assert _said("not smiling") == [("smiling", {"smile": -1.0})]
    assert _said("30 years older") == [("older", {"older": 1.0})]
    assert _meant("much younger") == {"younger": 1.4}
    assert _meant("less beard") == {"beard": -0.6}
    assert _meant("wider nose and fuller lips") == {"wide nose": 1.0, "full lips": 1.0}
    assert len(read_prompt("wider nose and fuller lips").clauses) == 2
    assert _meant("green eyes") == {"green eyes": 1.0}
    assert _meant("darker skin") == {"darker skin": 1.0}
    assert [core for core, _ in _said("angry surprised")] == ["angry", "surprised"]
    assert _said("make him look like a tired old sailor") == [
        ("tired old sailor", {"tired": 1.0, "old": 1.0, "sailor": 1.0})
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("make me look like I'm 80", {"age 80": 1.0}),
        ("a 70-year-old man", {"age 70": 1.0, "man": 1.0}),
        ("in her late forties", {"age 48": 1.0}),
        ("Aged 60.", {"age 60": 1.0}),
        ("ten years younger", {"younger": 0.333}),
        ("make it 50% older", {"older": 0.5}),
        ("30 percent fatter", {"heavier": 0.3}),
        ("old man", {"grandfather": 1.0}),
        ("as a woman", {"woman": 1.0}),
        ("make this man older", {"older": 1.0}),
        ("with blue eyes and a big smile", {"blue eyes": 1.0, "grin": 1.0}),
        ("big blue eyes", {"big eyes": 1.0, "blue eyes": 1.0}),
        ("thin arched brows", {"thin brows": 1.0, "arched brows": 1.0}),
        ("wider and longer nose", {"wide nose": 1.0, "long nose": 1.0}),
        ("her nose wider and longer", {"wide nose": 1.0, "long nose": 1.0}),
        ("thinner and longer nose", {"thin nose": 1.0, "long nose": 1.0}),
        ("bigger nose and ears", {"big nose": 1.0, "big ears": 1.0}),
        ("nose a bit wider", {"wide nose": 0.4}),
        ("her nose is too big", {"big nose": -0.8}),
        ("remove the beard", {"beard": -1.0}),
        ("no more wrinkles", {"wrinkles": -1.0}),
        ("no wrinkles and freckles", {"wrinkles": -1.0, "freckles": -1.0}),
        ("without freckles or moles", {"freckles": -1.0, "moles": -1.0}),
        ("no beard and green eyes", {"beard": -1.0, "green eyes": 1.0}),
        ("old man without wrinkles", {"grandfather": 1.0, "wrinkles": -1.0}),
        ("not a tired old sailor", {"tired": -1.0, "old": -1.0, "sailor": -1.0}),
        ("not very old", {"old": -0.6}),
        ("don't smile", {"smile": -1.0}),
        ("smiling, but only a little", {"smile": 0.4}),
        ("smile a lot", {"smile": 1.4}),
        ("pretty old", {"old": 1.0}),
        ("a pretty woman", {"attractive": 1.0, "woman": 1.0}),
        ("eyes wide open", {"eyes wide open": 1.0}),
        ("look up", {"look up": 1.0}),
        ("ginger beard", {"ginger hair": 1.0, "beard": 1.0}),
        ("salt & pepper beard", {"salt and pepper": 1.0, "beard": 1.0}),
        ("can you please make my face rounder??", {"round face": 1.0}),
        ("GRAY EYES", {"grey eyes": 1.0}),
        ("she should have way fuller lips", {"full lips": 1.4}),
        ("stick your tongue out", {"tongue out": 1.0}),
        ("smiling instead of frowning", {"smile": 1.0, "frown": -1.0}),
        ("smaller, rounder chin", {"small chin": 1.0, "round chin": 1.0}),
        ("with a slight smile", {"smile": 0.4}),
        ("eyes: green", {"green eyes": 1.0}),
        ("get rid of the dark circles", {"dark circles": -1.0}),
    ],
)
def test_meaning(text: str, meant: dict[str, float]) -> None:
    assert _meant(text) == meant


def test_phrases_of_the_table_are_read_back() -> None:
    """Every fourth: `test_words` looks all of them up in the table itself."""
    for concept in CONCEPTS:
        for phrase in concept.phrases[::4]:
            reading = read_uncached(phrase.text)
            assert not reading.unknown and [clause.concepts for clause in reading.clauses] == [((concept, 1.0),)], (
                phrase
            )


def test_degrees_are_monotone() -> None:
    for form in ("{} older", "{} smiling", "{} wrinkled"):
        amounts = [
            next(iter(_meant(form.format(degree)).values()))
            for degree in ("not", "less", "slightly", "somewhat", "", "very", "much", "extremely")
        ]
        assert all(a < b for a, b in itertools.pairwise(amounts)), form
    years = [_meant(f"{n} years older")["older"] for n in (1, 5, 20, 40)]
    assert years == sorted(years) and years[2:] == pytest.approx([2 / 3, 4 / 3], abs=2e-3)


_CLAUSES = ("older", "not smiling", "slightly wider nose", "green eyes", "a beard", "20 years younger", "no freckles",
            "tired old sailor", "much darker skin", "without make-up")  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(_CLAUSES), min_size=1, max_size=5, unique=True), st.randoms(use_true_random=False))
def test_the_order_of_clauses_does_not_matter(chosen: list[str], random: object) -> None:
    def parts(texts: list[str]) -> set[Clause]:
        return set(read_prompt(", ".join(texts)).clauses)

    expected = parts(chosen)
    assert len(expected) == len(chosen)
    for order in itertools.islice(itertools.permutations(chosen), 6):
        assert parts(list(order)) == expected


def _round_trip(text: str) -> None:
    for clause in read_uncached(text).clauses:
        assert read_uncached(clause.text).clauses == (clause,), (text, clause)


def test_a_chip_says_by_itself_what_it_said_in_the_prompt() -> None:
    for text in (
        "bigger nose and ears", "no wrinkles and freckles", "wider and longer nose", "older, fatter, with a grey beard",
        "without freckles or moles", "make her look like a very tired old woman with green eyes and no make-up",
        "her nose is too big", "smiling, but not too much", "thin arched brows", "a 30 year old guy with stubble",
        "slightly bigger eyes and lips", "smiling instead of frowning", "not a tired old sailor",
    ):  # fmt: skip
        _round_trip(text)
        assert split_prompt(text) == tuple(clause.text for clause in read_prompt(text).clauses)
    rng = np.random.default_rng(5)
    for i in range(60):
        text, clause = sample_instruction(rng, held_out=i % 3 == 0)
        assert read_uncached(text).clauses == (clause,) and clause.core and clause.concepts
        _round_trip(text)


def test_negations_move_the_other_way() -> None:
    values = (LOW + HIGH) / 2
    for positive, negative, attribute in (
        ("older", "not older", "age_years"),
        ("freckles", "fewer freckles", "freckles"),
        ("full lips", "less full lips", "lips_fullness"),
        ("angry", "stop being angry", "browDownLeft"),
        ("dark skin", "not so dark skin", "melanin"),
    ):
        moved: list[float] = []
        for text in (positive, negative):
            total = values * 0
            for clause in read_prompt(text).clauses:
                for concept, amount in clause.concepts:
                    total = total + concept_change(concept, amount, values)
            moved.append(float(total[INDEX[attribute]]))
        assert moved[0] > 0 > moved[1], (positive, negative)


def test_unknown_words_are_named_with_what_was_meant() -> None:
    reading = read_prompt("oldr, pikachu and smilling")
    assert [clause.text for clause in reading.clauses] == ["smilling"]
    assert {word.text: word.suggestion for word in reading.unknown}["oldr"] == "older"
    assert all(word.text in word.sentence and word.sentence.endswith(".") for word in reading.unknown)
    assert read_prompt("freckels").unknown[0].suggestion == "freckles"
    # Never applied silently.
    assert not read_prompt("freckels").clauses
    half = read_prompt("old pikachu")
    assert [clause.core for clause in half.clauses] == ["old"] and half.unknown[0].text == "pikachu"


def test_what_cannot_be_done_is_said() -> None:
    for text in ("glasses", "a man with a hat", "long blonde hair", "white teeth", "tattoos", "turn the head left"):
        reading = read_prompt(text)
        assert len(reading.unknown) == 1 and "I don't know" not in reading.unknown[0].sentence, text
    assert "bigger nose" in read_prompt("nose").unknown[0].sentence
    assert "wider nose" in read_prompt("wider").unknown[0].sentence
    assert read_prompt("no").unknown


def test_a_model_that_knows_every_word_gets_them() -> None:
    reading = read_prompt("older, slightly like Einstein", open_words=True)
    assert not reading.unknown and [(c.core, c.amount) for c in reading.clauses] == [("older", 1.0), ("einstein", 0.4)]
    assert not reading.clauses[1].concepts


def test_notes_tell_of_limits_and_contradictions() -> None:
    assert "work against each other" in read_prompt("older, younger").notes[0]
    assert "18" in read_prompt("a 5 year old").notes[0] and "85" in read_prompt("make him 120 years old").notes[0]
    assert not read_prompt("older, smiling").notes


def test_the_same_chip_comes_once() -> None:
    assert split_prompt("older, Older, OLDER") == ("older",)


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "...", "😀😀", "!!!", "\x00\x01", "<>", "—"])
def test_nothing_to_read_is_a_problem(text: str) -> None:
    reading = read_prompt(text)
    assert reading.problem is not None and reading.problem.endswith(".") and not reading.clauses and not reading.unknown


def test_long_texts_are_a_problem() -> None:
    reading = read_prompt("older " * 2000)
    assert reading.problem is not None and "12,000" in reading.problem and str(LONGEST_PROMPT) in reading.problem
    assert read_prompt(("older, " * 60)[:LONGEST_PROMPT]).problem is None


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "'; DROP TABLE heads; --", "../../etc/passwd", "старше", "年をとった", "Ⅷ ² ½ ٣",
     "{0} %s %d {x}", "nan years older", "1e999 years older", "00000 years old", "99999999999999999999 years older"],
)  # fmt: skip
def test_odd_texts_are_answered(text: str) -> None:
    reading = read_prompt(text)
    assert reading.problem or reading.unknown or reading.clauses
    for clause in reading.clauses:
        assert "<" not in clause.text and ">" not in clause.text


_TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.one_of(
            st.sampled_from(
                "older not slightly nose wider big blue eyes and but with without , ; no less more beard 20 years % "
                "too face smile old man make her like a 45 in seventies fuller lips pikachu glasses hair or".split()
            ),
            st.text(max_size=4),
        ),
        max_size=12,
    ).map(" ".join),
)


@settings(max_examples=150, deadline=None)
@given(_TEXTS)
def test_any_text_is_read(text: str) -> None:
    reading = read_uncached(text)
    assert isinstance(reading, Reading)
    assert reading.problem is not None or reading.clauses or reading.unknown
    for clause in reading.clauses:
        assert abs(clause.amount) <= 3.5 and clause.text and clause.concepts
        assert read_uncached(clause.text).clauses == (clause,), clause
    again = read_uncached(text)
    assert again == reading
    # Case and spaces say nothing. Not every letter survives a change of case, so only those of ASCII are changed.
    if text.isascii():
        for same in (text.upper(), f"  {text.replace(' ', '   ')}  "):
            other = read_uncached(same)
            assert [c.concepts for c in other.clauses] == [c.concepts for c in reading.clauses]


def test_instructions_teach_and_are_held_out() -> None:
    def draw(seed: int, held_out: bool) -> list[str]:
        rng = np.random.default_rng(seed)
        return [sample_instruction(rng, held_out)[0] for _ in range(60)]

    training, held = draw(1, False), draw(2, True)
    assert training == draw(1, False) and len(set(training)) > 55 and not set(training) & set(held)
