"""The table of words: complete, both ways, and captions that are true."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import LikenessError
from core.synthesis.people import ANCESTRIES, LABEL_NAMES, LATENT_SIZE, labels_of_latents
from editing.attributes import ATTRIBUTES, COUNT, GROUPS, INDEX, LEAST, MOST, SPREAD
from editing.concept_table import CONCEPT_ROWS
from editing.words import (
    CONCEPTS,
    Concept,
    age_concept,
    caption_facts,
    caption_with_facts,
    concept_change,
    concept_named,
    features_of,
    impossible_table,
    key_of,
    known_words,
    phrases_table,
    sample_caption,
)

PHRASES, PEOPLE = 5000, 60


def _middle() -> Float[Tensor, "N"]:
    """A head with room in every direction."""
    values = (LEAST + MOST) / 2
    values[[INDEX[name] for name in ANCESTRIES]] = 1 / 3
    return values


@pytest.fixture(scope="module")
def heads() -> Float[Tensor, "H N"]:
    """Random people, every other one with what some concept asks for."""
    rng = np.random.default_rng(11)
    people = labels_of_latents(rng.standard_normal((PEOPLE, LATENT_SIZE)))
    rows = torch.zeros(PEOPLE, COUNT)
    rows[:, GROUPS["person"]] = torch.tensor(np.stack([people[name] for name in LABEL_NAMES], axis=1)).float()
    parts = GROUPS["part"]
    rows[:, parts] = torch.from_numpy(rng.normal(0, 1, (PEOPLE, parts.stop - parts.start))).float()
    rows[:, INDEX["detail"]] = 1.0
    for i in range(0, PEOPLE, 2):
        concept = CONCEPTS[int(rng.integers(len(CONCEPTS)))]
        rows[i] += concept_change(concept, 1.0, rows[i])
    return rows


def test_there_are_enough_words() -> None:
    assert sum(len(concept.phrases) for concept in CONCEPTS) >= PHRASES
    assert len(phrases_table()) >= 5 * PHRASES
    assert {
        "elderly",
        "freckles",
        "smiling",
        "nose",
        "gray",
        "grey",
    } <= known_words() and "pikachu" not in known_words()


def test_every_phrase_means_its_concept_and_no_other() -> None:
    table = phrases_table()
    seen: set[tuple[str, ...]] = set()
    for concept in CONCEPTS:
        for phrase in concept.phrases:
            key = key_of(phrase.text)
            assert table[key] == ((concept, 1.0),), phrase.text
            assert key not in seen
            seen.add(key)


def test_every_attribute_is_reached_both_ways() -> None:
    values = _middle()
    reached: dict[tuple[str, int], float] = {}
    for concept in CONCEPTS:
        for amount in (1.0, -1.0):
            change = concept_change(concept, amount, values) / SPREAD
            for row in change.nonzero()[:, 0].tolist():
                key = ATTRIBUTES[row].name, int(torch.sign(change[row]))
                reached[key] = max(reached.get(key, 0.0), abs(float(change[row])))
    for attribute in ATTRIBUTES:
        for sign in (1, -1):
            assert reached.get((attribute.name, sign), 0.0) >= 1.0, (attribute.name, sign)


def test_what_a_concept_is_named_for_moves_clearly() -> None:
    """From the middle, the first attribute of each moves by one standard deviation, and more attributes do not."""
    values = _middle()
    values[GROUPS["expression"]] = 0.0
    for concept in CONCEPTS:
        change = (concept_change(concept, 1.0, values) / SPREAD).abs()
        told = [INDEX[move.attribute] for move in concept.moves]
        untold = torch.ones(COUNT, dtype=torch.bool)
        untold[told] = False
        assert not change[untold].any()
        adding = [move for move in concept.moves if move.add is not None]
        if adding and LEAST[INDEX[adding[0].attribute]] < values[INDEX[adding[0].attribute]]:
            assert max(float(change[INDEX[move.attribute]]) for move in adding) >= 0.75, concept.name


def test_amounts(heads: Float[Tensor, "H N"]) -> None:
    for concept in CONCEPTS:
        for values in heads[:4]:
            assert not concept_change(concept, 0.0, values).any()
            steps = torch.stack([concept_change(concept, amount, values) for amount in (0.25, 0.5, 1.0, 1.5)])
            # More is never less, and never the other way.
            assert (steps.abs().diff(dim=0) >= -1e-5).all() and ((steps >= -1e-6).all(0) | (steps <= 1e-6).all(0)).all()
            for change in (*steps, concept_change(concept, -1.0, values)):
                after = values + change
                assert (after >= LEAST - 1e-4).all() and (after <= MOST + 1e-4).all()


def test_negatives_take_things_away() -> None:
    values = _middle()
    values[GROUPS["expression"]] = 0.8
    for name, attribute in (("freckles", "freckles"), ("smile", "mouthSmileLeft"), ("beard", "beard_chin"),
                            ("moles", "moles"), ("lipstick", "lipstick"), ("sad", "browInnerUp")):  # fmt: skip
        gone = values + concept_change(concept_named(name), -1.0, values)
        assert float(gone[INDEX[attribute]]) == pytest.approx(0, abs=1e-6)
    calm = values + concept_change(concept_named("neutral"), 1.0, values)
    assert not calm[GROUPS["expression"]].any()
    # Nothing to take away: nothing changes.
    values[GROUPS["expression"]] = 0.0
    assert not concept_change(concept_named("smile"), -1.0, values)[GROUPS["expression"]].any()


@pytest.mark.parametrize("years", [18, 30, 70, 85])
def test_an_age_is_arrived_at(years: int) -> None:
    for now in (18.0, 40.0, 70.0):
        values = _middle()
        values[INDEX["age_years"]] = now
        change = concept_change(age_concept(years), 1.0, values)
        assert float(now + change[INDEX["age_years"]]) == pytest.approx(years, abs=1e-3)
        assert (float(change[INDEX["wrinkles"]]) > 0) == (years > now) and bool(change.any()) == (years != now)


def test_ancestry_stays_a_share(heads: Float[Tensor, "H N"]) -> None:
    rows = [INDEX[name] for name in ANCESTRIES]
    for name in ("african", "asian", "european", "south asian", "latino"):
        for values in heads:
            if float(values[rows].sum()) == pytest.approx(1, abs=1e-4):
                after = values + concept_change(concept_named(name), 1.0, values)
                assert float(after[rows].sum()) == pytest.approx(1, abs=0.03)


def test_unknown_names_are_errors() -> None:
    with pytest.raises(LikenessError, match="pikachu"):
        concept_named("pikachu")


def test_what_cannot_be_made_is_not_also_made() -> None:
    assert not impossible_table().keys() & phrases_table().keys()
    assert key_of("glasses") in impossible_table() and key_of("a hat") in impossible_table()
    for sentence in impossible_table().values():
        assert sentence[0].isupper() and sentence.endswith(".")


def test_held_out_words_are_an_eighth_and_each_concept_keeps_some() -> None:
    phrases = [phrase for concept in CONCEPTS for phrase in concept.phrases]
    assert 0.09 < sum(phrase.held_out for phrase in phrases) / len(phrases) < 0.16
    assert all(any(not phrase.held_out for phrase in concept.phrases) for concept in CONCEPTS)


# ---------------------------------------------------------------------------------------------- captions

# Single words against single numbers, without the table.
_CHECKS = {
    r"\b(woman|lady|grandma|mother|she)\b": lambda v: v["gender"] < 0.4,
    r"\b(man|guy|gentleman|father|he)\b": lambda v: v["gender"] > 0.6,
    r"(?<!middle-)\b(elderly|pensioner|aged)\b": lambda v: v["age_years"] > 60,
    r"(?<!not )\b(youthful|young adult)\b": lambda v: v["age_years"] < 35,
    r"(?<!not )(?<!no )\b(freckled|freckly)\b": lambda v: v["freckles"] > 0.05,
    r"\bno freckles\b": lambda v: v["freckles"] == 0,
    r"(?<!not )\b(bearded)\b": lambda v: v["beard_chin"] > 0.2,
    r"\bno (moustache|goatee)\b": lambda v: v["moustache"] == 0,
    r"(?<!not )(?<!slightly )\b(smiling|grinning)\b(?! face| mouth)": lambda v: (
        v["mouthSmileLeft"] + v["mouthSmileRight"] > 0.4
    ),
    r"\bnot (smiling|grinning)\b": lambda v: v["mouthSmileLeft"] + v["mouthSmileRight"] < 0.2,
    r"\bblue eyes\b": lambda v: v["iris_melanin"] < 0.3,
    r"(?<!-)(?<!golden )(?<!greenish )\bbrown eyes\b": lambda v: v["iris_melanin"] > 0.5,
    r"\b(ebony|dark) skin\b": lambda v: v["melanin"] > 0.5,
    r"\b(pale|porcelain|fair) skin\b": lambda v: v["melanin"] < 0.3,
    r"\b(big|huge|enormous) nose\b(?! bridge)": lambda v: v["nose_width"] > 0.5,
    r"\b(tiny|small|petite) ears\b": lambda v: v["ears_size"] < -0.5,
    r"\b(clean-shaven|beardless)\b(?! head)": lambda v: max(v["stubble"], v["beard_chin"], v["moustache"]) < 0.1,
    r"\b(neutral|expressionless|stoic)\b": lambda v: max(v[a.name] for a in ATTRIBUTES[GROUPS["expression"]]) < 0.2,
}


def test_captions_are_true_of_the_head(heads: Float[Tensor, "H N"]) -> None:
    rng = np.random.default_rng(0)
    checked = 0
    for values in heads:
        named = {attribute.name: float(values[i]) for i, attribute in enumerate(ATTRIBUTES)}
        true = set(caption_facts(values))
        for i in range(40):
            text, facts = caption_with_facts(values, rng, held_out=i % 4 == 0)
            assert set(facts) <= true and text and "{" not in text
            for pattern, holds in _CHECKS.items():
                if re.search(pattern, text):
                    assert holds(named), (text, pattern)
                    checked += 1
    assert checked > 300


def test_facts_follow_from_conditions_and_changes() -> None:
    """A head that was changed by a concept is described by it."""
    values = _middle()
    values[GROUPS["expression"]] = 0.0
    values[GROUPS["part"]] = 0.0
    described = {row.name for row in CONCEPT_ROWS if row.true}
    missing: list[str] = []
    for concept in CONCEPTS:
        if concept.name in described or concept.name not in {row.name for row in CONCEPT_ROWS}:
            after = values + concept_change(concept, 1.0, values)
            if (concept.name, "true") not in caption_facts(after):
                missing.append(concept.name)
    # These ask for more than one word gives, such as an age or a sex besides.
    assert len(missing) <= 0.12 * len(CONCEPTS), missing


def test_features_are_means_and_distances(heads: Float[Tensor, "H N"]) -> None:
    values = _middle()
    values[INDEX["mouthSmileLeft"]], values[INDEX["mouthSmileRight"]] = 0.9, 0.1
    features = features_of(values)
    assert features[:COUNT] == pytest.approx(values.numpy())
    extra = features[COUNT:]
    assert any(abs(x - 0.8) < 1e-6 for x in extra) and float(extra[-1]) == pytest.approx(0.9)


def test_captions_are_many_deterministic_and_held_out(heads: Float[Tensor, "H N"]) -> None:
    def draw(seed: int, held_out: bool) -> list[str]:
        rng = np.random.default_rng(seed)
        return [sample_caption(values, rng, held_out) for values in heads[:30] for _ in range(20)]

    training, held = draw(1, False), draw(2, True)
    assert training == draw(1, False) and len(set(training)) > 0.9 * len(training)
    # Templates are disjoint, so no text is in both.
    assert not set(training) & set(held)
    # No phrase that is kept from training is in it, but as a part of one that is not.
    held_phrases = {p.text for c in CONCEPTS for p in c.phrases if p.held_out and p.form in ("adj", "thing", "person")}
    others = " | ".join(p.text for c in CONCEPTS for p in c.phrases if not p.held_out)
    words = [text for text in held_phrases if len(text.split()) >= 3 and text not in others]
    everything = " | ".join(training)
    assert len(words) > 50 and not [text for text in words if f" {text} " in everything]


def test_a_head_of_which_nothing_stands_out_still_has_a_caption() -> None:
    values = torch.full((COUNT,), 0.3)
    values[INDEX["age_years"]] = 38.0
    for i in range(20):
        assert len(sample_caption(values, np.random.default_rng(i))) > 3


def _phrased(concept: Concept) -> list[str]:
    return [phrase.text for phrase in concept.phrases]


def test_both_spellings_are_one_key() -> None:
    for american, british in (
        ("gray eyes", "grey eyes"),
        ("a mustache", "a moustache"),
        ("blonde eyebrows", "blond brows"),
        ("makeup", "make-up"),
        ("Clean-Shaven", "clean shaven"),
        ("five o\u2019clock shadow", "five o'clock shadow"),
        ("skin colored lipstick", "skin-coloured lipstick"),
    ):
        assert key_of(american) == key_of(british)
    assert "older" in _phrased(concept_named("older"))
