"""Words for a person's labels: one table of phrases, and captions built from it in many wordings.

A caption states only what clearly holds: every phrase of `WORDS` has the values for which it is true, with a gap
between neighbours where nobody would be sure. `mentioned` reads a text back by the same table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from core.errors import LikenessError
from core.synthesis.people import Labels

FEWEST_WORDS, MOST_WORDS = 3, 30


@dataclass(frozen=True)
class Word:
    """Phrases that mean the same, and for which values of a label they are true: low <= value <= high.

    also: further labels that have to lie in a range. form: "adjective" stands before man or woman, "noun" is that
    word, "with" follows *with* (articles included), "clause" stands by itself after the noun.
    """

    low: float
    high: float
    phrases: tuple[str, ...]
    form: str = "with"
    also: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def _decade(low: int, name: str) -> Word:
    return Word(float(low), low + 9.99, tuple(f"in {whose} {name}" for whose in ("her", "his", "their")), "clause")


_NO, _SOME = (0.0, 0.02), (0.0, 0.2)
_PIGMENTED = {"grey": (0.0, 0.25), "hair_redness": (0.0, 0.1)}
_BARE = {"beard_chin": _NO, "beard_cheeks": _NO, "moustache": _NO}

# label -> what can be said about it. Every head is shaved, so the hair of the scalp has no words but those of `SHAVED`.
WORDS: dict[str, tuple[Word, ...]] = {
    "age_years": (
        Word(18.0, 29.0, ("young", "youthful"), "adjective"),
        Word(42.0, 58.0, ("middle-aged",), "adjective"),
        Word(64.0, 85.0, ("old", "elderly", "older", "aged"), "adjective"),
        Word(76.0, 85.0, ("very old",), "adjective"),
        *(_decade(*d) for d in ((20, "twenties"), (30, "thirties"), (40, "forties"), (50, "fifties"))),
        *(_decade(*d) for d in ((60, "sixties"), (70, "seventies"))),
    ),
    "gender": (
        Word(0.0, 0.3, ("woman", "lady", "female"), "noun"),
        Word(0.4, 0.6, ("androgynous",), "adjective"),
        Word(0.7, 1.0, ("man", "gentleman", "guy", "male"), "noun"),
        Word(0.7, 1.0, ("masculine",), "adjective"),
        Word(0.0, 0.3, ("feminine",), "adjective"),
    ),
    "weight": (
        Word(0.0, 0.25, ("thin", "slim", "lean"), "adjective"),
        Word(0.75, 1.0, ("heavy", "heavy-set", "stout"), "adjective"),
        Word(0.0, 0.22, ("a thin face", "hollow cheeks")),
        Word(0.75, 1.0, ("a full face", "full cheeks")),
    ),
    "african": (Word(0.65, 1.0, ("of African descent", "of African ancestry"), "clause"),),
    "asian": (Word(0.65, 1.0, ("of Asian descent", "of Asian ancestry"), "clause"),),
    "european": (Word(0.65, 1.0, ("of European descent", "of European ancestry"), "clause"),),
    "melanin": (
        Word(0.0, 0.08, ("very fair skin", "pale skin", "very light skin")),
        Word(0.0, 0.17, ("fair skin", "light skin")),
        Word(0.22, 0.33, ("olive skin", "tan skin", "light brown skin")),
        Word(0.36, 0.52, ("brown skin", "medium brown skin")),
        Word(0.58, 1.0, ("dark skin", "dark brown skin", "deep brown skin")),
        Word(0.8, 1.0, ("very dark skin", "deep dark skin")),
    ),
    "pores": (Word(0.8, 1.0, ("large pores", "visible pores")), Word(0.0, 0.15, ("fine pores",))),
    "oiliness": (Word(0.75, 1.0, ("oily skin", "shiny skin")), Word(0.0, 0.12, ("matte skin", "dry skin"))),
    "mottling": (Word(0.85, 1.0, ("uneven skin", "blotchy skin")), Word(0.0, 0.15, ("an even complexion",))),
    "freckles": (
        Word(0.2, 1.0, ("freckled",), "adjective"),
        Word(0.2, 1.0, ("freckles", "a freckled face")),
        Word(0.55, 1.0, ("many freckles", "lots of freckles", "heavy freckles")),
        Word(0.0, 0.0, ("no freckles",)),
    ),
    "moles": (Word(0.3, 1.0, ("moles", "some moles")), Word(0.6, 1.0, ("many moles",)), Word(0.0, 0.0, ("no moles",))),
    "age_spots": (Word(0.3, 1.0, ("age spots", "liver spots", "sun spots")),),
    "blemishes": (Word(0.3, 1.0, ("blemishes", "pimples", "acne")), Word(0.0, 0.0, ("clear skin",))),
    "scars": (Word(0.2, 1.0, ("scars", "facial scars", "a scarred face")),),
    "wrinkles": (
        Word(0.35, 1.0, ("wrinkled",), "adjective"),
        Word(0.35, 1.0, ("wrinkles", "a lined face")),
        Word(0.65, 1.0, ("deep wrinkles", "many wrinkles", "a deeply lined face")),
        Word(0.0, 0.03, ("smooth skin", "no wrinkles")),
    ),
    "sag": (Word(0.5, 1.0, ("sagging cheeks", "sagging skin", "deep folds")),),
    "under_eye": (
        Word(0.6, 1.0, ("dark circles under the eyes", "shadows under the eyes", "tired eyes")),
    ),
    "flush": (Word(0.65, 1.0, ("rosy cheeks", "flushed cheeks", "ruddy cheeks")),),
    "lip_redness": (
        Word(0.75, 1.0, ("red lips", "rosy lips"), also={"lipstick": _NO}),
        Word(0.0, 0.25, ("pale lips",), also={"lipstick": _NO}),
    ),
    "hair_melanin": (
        Word(0.85, 1.0, ("black eyebrows", "black brows"), also=_PIGMENTED),
        Word(0.4, 0.72, ("brown eyebrows", "brown brows"), also=_PIGMENTED),
        Word(0.0, 0.28, ("blond eyebrows", "blond brows", "fair eyebrows"), also=_PIGMENTED),
    ),
    "hair_redness": (
        Word(0.35, 1.0, ("ginger eyebrows", "red eyebrows", "ginger brows"),
             also={"grey": _SOME, "hair_melanin": (0.0, 0.75)}),
    ),
    "grey": (
        Word(0.6, 1.0, ("grey eyebrows", "grey brows", "gray eyebrows")),
        Word(0.93, 1.0, ("white eyebrows", "white brows")),
    ),
    "brow_density": (Word(0.82, 1.0, ("dense eyebrows", "bushy eyebrows", "bushy brows")),
                     Word(0.0, 0.3, ("sparse eyebrows", "sparse brows"))),
    "brow_thickness": (Word(0.78, 1.0, ("thick eyebrows", "thick brows")),
        Word(0.0, 0.22, ("thin eyebrows", "thin brows"))),
    "brow_arch": (Word(0.78, 1.0, ("arched eyebrows", "arched brows")),
        Word(0.0, 0.22, ("straight eyebrows", "straight brows"))),
    "brow_length": (Word(0.82, 1.0, ("long eyebrows",)), Word(0.0, 0.18, ("short eyebrows",))),
    "recession": (
        Word(0.3, 1.0, ("balding",), "adjective"),
        Word(0.3, 1.0, ("a receding hairline", "a high hairline")),
    ),
    "stubble": (
        Word(0.25, 1.0, ("stubble", "a five o'clock shadow", "a stubbly chin"), also=_BARE),
        Word(0.25, 1.0, ("unshaven", "stubbly"), "adjective", also=_BARE),
        Word(0.0, 0.02, ("clean-shaven", "beardless"), "adjective", also={**_BARE, "gender": (0.7, 1.0)}),
        Word(0.0, 0.02, ("no beard",), also={**_BARE, "gender": (0.7, 1.0)}),
    ),
    "beard_chin": (
        Word(0.3, 1.0, ("bearded",), "adjective"),
        Word(0.3, 1.0, ("a beard", "a short beard", "facial hair")),
        Word(0.7, 1.0, ("a full beard", "a thick beard"), also={"beard_cheeks": (0.35, 1.0)}),
        Word(0.3, 1.0, ("a goatee", "a chin beard"), also={"beard_cheeks": _NO}),
        Word(0.3, 1.0, ("a grey beard", "a gray beard"), also={"grey": (0.6, 1.0)}),
        Word(0.3, 1.0, ("a white beard",), also={"grey": (0.93, 1.0)}),
        Word(0.3, 1.0, ("a dark beard", "a black beard"), also={"hair_melanin": (0.85, 1.0), **_PIGMENTED}),
        Word(0.3, 1.0, ("a blond beard",), also={"hair_melanin": (0.0, 0.28), **_PIGMENTED}),
        Word(0.3, 1.0, ("a ginger beard", "a red beard"),
             also={"hair_redness": (0.35, 1.0), "grey": _SOME, "hair_melanin": (0.0, 0.75)}),
    ),
    "beard_cheeks": (Word(0.4, 1.0, ("whiskers on the cheeks", "a beard on the cheeks")),),
    "moustache": (
        Word(0.3, 1.0, ("a moustache", "a mustache")),
        Word(0.3, 1.0, ("a grey moustache", "a grey mustache"), also={"grey": (0.6, 1.0)}),
    ),
    "iris_melanin": (
        Word(0.0, 0.15, ("blue eyes",), also={"iris_green": (0.0, 0.35)}),
        Word(0.0, 0.2, ("green eyes",), also={"iris_green": (0.7, 1.0)}),
        Word(0.0, 0.25, ("light eyes",)),
        Word(0.36, 0.48, ("hazel eyes",), also={"iris_green": (0.0, 0.5)}),
        Word(0.36, 0.48, ("amber eyes",), also={"iris_green": (0.75, 1.0)}),
        Word(0.66, 1.0, ("brown eyes",)),
        Word(0.9, 1.0, ("dark brown eyes", "dark eyes")),
    ),
    "lipstick": (
        Word(0.25, 1.0, ("lipstick", "painted lips")),
        Word(0.3, 1.0, ("red lipstick",), also={"lipstick_hue": (0.4, 0.6)}),
        Word(0.3, 1.0, ("nude lipstick",), also={"lipstick_hue": (0.0, 0.2)}),
        Word(0.3, 1.0, ("plum lipstick", "dark lipstick"), also={"lipstick_hue": (0.82, 1.0)}),
        Word(0.0, 0.0, ("no make-up", "a bare face", "no makeup"),
             also={"gender": (0.0, 0.3), "eyeliner": (0.0, 0.0), "eyeshadow": (0.0, 0.0), "blush": (0.0, 0.0)}),
    ),
    "eyeliner": (Word(0.25, 1.0, ("eyeliner", "lined eyes")),),
    "eyeshadow": (Word(0.25, 1.0, ("eyeshadow", "eye shadow")),),
    "blush": (Word(0.25, 1.0, ("blush", "blusher on the cheeks")),),
}  # fmt: skip

# True of every head here, whatever its labels.
SHAVED_ADJECTIVES, SHAVED = ("bald", "shaven-headed"), ("a shaved head", "a bald head")


def holds(label: str, word: Word, labels: Labels) -> bool:
    """Whether a word of `WORDS[label]` is true of these labels."""
    # Labels are float32, the table's ends are not: 1e-6 is rounding.
    return all(
        low - 1e-6 <= getattr(labels, name) <= high + 1e-6
        for name, (low, high) in {**word.also, label: (word.low, word.high)}.items()
    )


def mentioned(text: str) -> list[tuple[str, Word]]:
    """The entries of `WORDS`, as (label, word), that a text mentions, longest phrases first; a phrase inside a longer
    one that was found ("brown eyes" in "dark brown eyes") does not count. Several entries may share a phrase."""
    rest = text.lower()
    entries = [(p.lower(), label, word) for label, words in WORDS.items() for word in words for p in word.phrases]
    found: list[tuple[str, Word]] = []
    for phrase in sorted({entry[0] for entry in entries}, key=lambda p: (-len(p), p)):
        pattern = rf"(?<![\w-]){re.escape(phrase)}(?![\w-])"
        if re.search(pattern, rest):
            rest = re.sub(pattern, "|", rest)
            found += [(label, word) for p, label, word in entries if p == phrase]
    return found


def describe(labels: Labels) -> str:
    """The one best caption: age, sex, and up to four of the most telling facts. Deterministic."""
    facts = _facts(labels)
    noun = _noun(labels, 0)
    clauses = [w.phrases for _, w in facts if w.form == "clause" and w.phrases[0].startswith("in ")]
    adjectives = [] if clauses else [w.phrases[0] for n, w in facts if n == "age_years" and w.form == "adjective"][-1:]
    chosen = _distinct([f for f in facts if f[1].form == "with"], 4)
    who = _with_article(" ".join([*adjectives, noun]))
    when = f" {_agreeing(clauses[0], labels)}" if clauses else ""
    return f"{who}{when} with {_joined([w.phrases[0] for _, w in chosen] or [SHAVED[0]])}"


def captions(labels: Labels, rng: np.random.Generator, count: int) -> list[str]:
    """`count` captions in random wordings of `FEWEST_WORDS` to `MOST_WORDS` words, from "old man, grey beard" to whole
    sentences. Each mentions a random part of what is clearly there. Raises LikenessError for a negative count."""
    if count < 0:
        raise LikenessError(f"{count} captions were asked for. Ask for 0 or more.")
    return [_caption(labels, rng) for _ in range(count)]


def _caption(labels: Labels, rng: np.random.Generator) -> str:
    facts = _facts(labels)
    facts = [facts[i] for i in _by_weight(rng, facts)]
    adjectives = _distinct([f for f in facts if f[1].form == "adjective"], int(rng.integers(0, 3)))
    told = {name for name, _ in adjectives}
    clauses = [f for f in facts if f[1].form == "clause" and f[0] not in told]
    clauses = _distinct(clauses, int(rng.integers(0, 2)))
    told |= {name for name, _ in clauses}
    things = [f for f in facts if f[1].form == "with" and f[0] not in told]
    things = _distinct(things, int(rng.integers(1, 5)))

    words = [_one(rng, word.phrases) for _, word in adjectives]
    nouns = [_one(rng, word.phrases) for _, word in things]
    shaved = rng.random()
    if shaved < 0.2 and "balding" not in words:
        words.append(_one(rng, SHAVED_ADJECTIVES))
    elif shaved < 0.4 or not nouns:
        nouns.append(_one(rng, SHAVED))
    name = " ".join([*words, _noun(labels, int(rng.integers(0, 100)))])
    clause = " ".join(_agreeing(w.phrases, labels, int(rng.integers(0, 100))) for _, w in clauses)
    who = f"{name} {clause}".strip()
    some, listed = _with_article(who), _joined(nouns)
    subject = _subject(labels)
    have = "have" if subject == "they" else "has"
    picture = _one(rng, ("portrait", "photo", "picture", "photograph", "close-up", "headshot", "studio portrait"))
    templates = (
        f"{who}, {', '.join(_without_article(noun) for noun in nouns)}",
        f"{some} with {listed}",
        f"{_with_article(picture)} of {some} with {listed}",
        f"{picture} of {some}, {listed}",
        f"the face of {some} with {listed}",
        f"{some} who has {listed}",
        f"This is {some} with {listed}.",
        f"{_with_article(picture).capitalize()} of {some}. {subject.capitalize()} {have} {listed}.",
        f"{some}, front view, {listed}",
    )
    # "woman, freckles" is too curt to be a caption; the longest possible one has some words to spare.
    return _one(rng, tuple(text for text in templates if FEWEST_WORDS <= len(text.split()) <= MOST_WORDS))


# What people name first when they describe a face; everything else has weight 1.
_TELLING = {"age_years": 4.0, "beard_chin": 4.0, "freckles": 3.0, "wrinkles": 2.5, "melanin": 2.5, "moustache": 3.0,
            "iris_melanin": 1.5, "weight": 2.0, "lipstick": 2.5, "hair_redness": 3.0, "grey": 2.0, "scars": 3.0,
            "stubble": 2.0}  # fmt: skip


def _weight(label: str, word: Word) -> float:
    absent = word.phrases[0].startswith("no ") or word.high == 0.0
    return 0.3 if absent or label == "gender" else _TELLING.get(label, 1.0)


def _facts(labels: Labels) -> list[tuple[str, Word]]:
    """What is true, the most telling first; of one label the most particular (the latest in the table) first."""
    facts = [
        (label, word)
        for label, words in WORDS.items()
        for word in reversed(words)
        if word.form != "noun" and holds(label, word, labels)
    ]
    return sorted(facts, key=lambda fact: -_weight(*fact))


def _by_weight(rng: np.random.Generator, facts: list[tuple[str, Word]]) -> list[int]:
    """A random order in which weighty facts tend to come first (Efraimidis and Spirakis 2006)."""
    keys = [float(rng.random()) ** (1 / _weight(*fact)) for fact in facts]
    return sorted(range(len(facts)), key=lambda i: -keys[i])


# Labels that talk of the same thing: one of them is enough in one caption.
_SAME = {"brow_density": "brows", "brow_thickness": "brows", "brow_length": "brows", "hair_melanin": "brows",
         "hair_redness": "brows", "grey": "brows", "brow_arch": "brows", "stubble": "beard", "beard_chin": "beard",
         "beard_cheeks": "beard", "african": "ancestry", "asian": "ancestry", "european": "ancestry"}  # fmt: skip


def _distinct(facts: list[tuple[str, Word]], most: int) -> list[tuple[str, Word]]:
    """The first `most` facts, one of a kind."""
    chosen: dict[str, tuple[str, Word]] = {}
    for fact in facts:
        chosen.setdefault(_SAME.get(fact[0], fact[0]), fact)
    return list(chosen.values())[:most]


def _subject(labels: Labels) -> str:
    if holds("gender", WORDS["gender"][0], labels):
        return "she"
    return "he" if holds("gender", WORDS["gender"][2], labels) else "they"


def _noun(labels: Labels, pick: int) -> str:
    """man, woman or person; the plain word as often as all synonyms together."""
    words = {"she": WORDS["gender"][0].phrases, "he": WORDS["gender"][2].phrases, "they": ("person",)}[_subject(labels)]
    return words[0] if pick % 2 == 0 else words[pick // 2 % len(words)]


def _agreeing(phrases: tuple[str, ...], labels: Labels, pick: int = 0) -> str:
    """Of phrases that differ by his, her or their, the one that agrees with the noun."""
    if not phrases[0].startswith("in her "):
        return phrases[pick % len(phrases)]
    return phrases[{"she": 0, "he": 1, "they": 2}[_subject(labels)]]


def _one(rng: np.random.Generator, phrases: tuple[str, ...]) -> str:
    return phrases[int(rng.integers(len(phrases)))]


def _with_article(text: str) -> str:
    """a or an by the sound of the first word; only words of this file are asked about."""
    vowel = text[0].lower() in "aeio" or text.startswith("un")
    return f"{'an' if vowel else 'a'} {text}"


def _without_article(text: str) -> str:
    return re.sub(r"^(a|an) ", "", text)


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
