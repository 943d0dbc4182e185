"""Prompts as people type them, read into clauses: "slightly older, not smiling" is two, each with what the table finds.

A prompt is cut at commas and the like, then at "and", "but", "with". Within a piece the longest phrases of the table
are found; words of degree and of negation scale them; numbers of years and percent count. What is not understood is
named, with what may have been meant, and never guessed.
"""

from __future__ import annotations

import difflib
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from editing.concept_table import SENSES
from editing.words import (
    ARTICLES,
    BODY,
    CONCEPTS,
    OLDEST_NAMED,
    YEARS_PER_STEP,
    YOUNGEST_NAMED,
    Concept,
    Form,
    Phrase,
    Token,
    age_concept,
    comparatives,
    concept_named,
    impossible_table,
    is_held_out,
    is_short,
    key_of,
    known_words,
    phrases_table,
    tokens_of,
)

LONGEST_PROMPT = 300  # characters
LARGEST_AMOUNT, LARGEST_AGING = 2.0, 3.5
MOST_UNKNOWN = 8  # words that are answered one by one
_TRY = "Try something like 'older, smiling' or 'slightly wider nose'."
_KNOWN = (
    "I know age, gender, weight, ancestry, skin, wrinkles, freckles, brows, beards, eye colours, "
    "make-up, the size of each part of the face, expressions and some characters."
)


@dataclass(frozen=True)
class Clause:
    """One change that is asked for. text: as typed, and read by itself it gives this clause again. core: its words
    without degree and negation. amount: what those stand for: 1 as the core says, negative its opposite. concepts: what
    the table finds in it, each with its amount, in which `amount` is contained."""

    text: str
    core: str
    amount: float
    concepts: tuple[tuple[Concept, float], ...]


@dataclass(frozen=True)
class Unknown:
    """A word that was not understood, what to say about it, and what may have been meant."""

    text: str
    sentence: str
    suggestion: str | None = None


@dataclass(frozen=True)
class Reading:
    """What a prompt says. clauses: in the order typed. unknown: what was not understood. problem: one sentence, where
    nothing could be read at all. notes: what a person may want to know though all was understood."""

    clauses: tuple[Clause, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    problem: str | None = None
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------- small words


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DEGREES: dict[str, float] = {
    **dict.fromkeys(_words("touch hint tad smidge subtly minimally trace whiff"), 0.3),
    **dict.fromkeys(_words("slightly slight bit little lightly faintly faint mildly gently subtle marginally"), 0.4),
    **dict.fromkeys(_words("half"), 0.5),
    **dict.fromkeys(_words("somewhat moderately partly kinda sorta moderate few medium"), 0.6),
    **dict.fromkeys(_words("fairly rather reasonably"), 0.85),
    **dict.fromkeys(_words("more quite clearly some normally simply even any full-on just"), 1.0),
    **dict.fromkeys(_words("very really so truly visibly noticeably many pronounced noticeable distinctly such"), 1.3),
    **dict.fromkeys(_words("much lot lots far way significantly considerably strongly seriously heavily"), 1.4),
    **dict.fromkeys(
        _words("striking completely fully possible strikingly plenty loads substantially most totally"), 1.4
    ),
    **dict.fromkeys(_words("extremely super incredibly hugely absolutely insanely ridiculously massively"), 1.7),
    **dict.fromkeys(_words("ultra drastically dramatically maximum max twice enormously exceptionally utterly"), 1.7),
    **dict.fromkeys(_words("double triple"), 1.7),
}
NEGATIONS = frozenset(
    _words(
        "no not without isnt arent wasnt dont doesnt didnt remove removing removed delete erase hide "
        "lose losing minus never nor neither non stop stopping avoid eliminate gone rid shouldnt cant "
        "wont cannot zero un hardly undo absent lacking lack nothing none fix heal conceal"
    )
)
# Negations of things that go on after "and": "no beard and moustache".
_OF_THINGS = frozenset(_words("no without remove removing delete erase hide lose rid fewer less reduce reducing"))
LESS = frozenset(_words("less fewer reduce reducing reduced decrease decreasing lessen lower diminish minimise tone"))
LESS_AMOUNT, NOT_VERY_AMOUNT, TOO_AMOUNT = -0.6, -0.6, -0.8
STOP_WORDS = ARTICLES | frozenset(
    _words(
        "make makes making made give gives giving given add adds adding turn turns turning put puts "
        "putting set let have has had be is are am was were being been get gets getting got become "
        "becomes look looks looking looked appear appears seem seems like as into to in on at for of by "
        "from me him it them us you i we he she they im ive id ill hes shes theyre youre were please can "
        "could would should will shall must may might want wants wanted wish need needs just only also "
        "still now then here there what how if which whose one ones same kindly person avatar portrait "
        "photo picture image human someone somebody anyone thing kind sort type style version do does "
        "did doing go goes going show shows showing try render change changes changing edit modify "
        "transform convert create generate draw grow growing grown wear apply increase increasing boost "
        "all over around under above near between myself himself herself themselves own so up down out "
        "old-school ok okay hi hello hey thanks thank you lets shall very well too both side sides than "
        "enough bit when were themself these those whole entire general appearance wanna gonna gotta "
        "hasnt havent saw seen see sees day days again where about almost nearly per cent percent keep "
        "makes hers subject character overall everything shape shaped skinned part of off away back "
        "through after before until because since yes emotion left right expression mood side view year "
        "decade age aged"
    )
)
_SOFT = frozenset(_words("and but with plus while whilst yet or & + having wearing who then including nor"))
_SEPARATING_NEGATIONS = frozenset(_words("without minus instead nor"))
_GENERIC_PEOPLE = frozenset(["man", "woman", "boy", "girl"])
_UNITS = {
    word: n
    for n, word in enumerate(
        _words(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
            "sixteen seventeen eighteen nineteen"
        )
    )
}
_TENS = {word: 10 * n for n, word in enumerate(_words("twenty thirty forty fifty sixty seventy eighty ninety"), 2)}
_DECADES = {
    word: 10 * n
    for n, word in enumerate(_words("twenties thirties forties fifties sixties seventies eighties nineties"), 2)
}
_ABOUT_PARTS = {
    "hair": "grey hair",
    "skin": "darker skin",
    "eyes": "blue eyes",
    "brows": "thick brows",
    "lips": "fuller lips",
    "face": "longer face",
    "complexion": "darker skin",
    "hairline": "receding hairline",
    "cheeks": "chubby cheeks",
    "features": "feminine features",
    "tone": "darker skin",
    "head": "longer face",
    "eyelids": "closed eyes",
}


@functools.cache
def _sizes() -> frozenset[str]:
    """Adjectives that say something only together with a part."""
    found: set[str] = set()
    for adjectives, _ in SENSES.values():
        for adjective in adjectives.split(","):
            word = adjective.strip()
            if " " not in word and "-" not in word:
                found.add(word)
                found.update(comparatives(word) if is_short(word) else ())
    return frozenset(found - {"little"})


# ---------------------------------------------------------------------------------------------- finding phrases


@dataclass
class _Node:
    """Of the tree of phrases: what comes next, and what has been said if it ends here."""

    following: dict[str, _Node] = field(default_factory=dict)
    meaning: tuple[tuple[Concept, float], ...] | None = None
    impossible: str | None = None
    key: tuple[str, ...] = ()


@functools.cache
def _tree() -> _Node:
    root = _Node()
    for table in (phrases_table(), impossible_table()):
        for key, said in table.items():
            node = root
            for word in key:
                node = node.following.setdefault(word, _Node())
            node.key = key
            if isinstance(said, str):
                node.impossible = said
            else:
                node.meaning = said
    return root


@functools.cache
def _people() -> frozenset[tuple[str, ...]]:
    return frozenset(key_of(p.text) for concept in CONCEPTS for p in concept.phrases if p.form == "person")


@functools.cache
def _things() -> frozenset[tuple[str, ...]]:
    return frozenset(key_of(p.text) for concept in CONCEPTS for p in concept.phrases if p.form == "thing")


@dataclass(frozen=True)
class _Item:
    """A stretch of tokens and what it is. first, last: tokens, last excluded. kind: one of those of `_items`. key: the
    words by which it was found. value: of a degree, or what a number says. within: degrees and negations inside the
    stretch, as in "nose a bit wider". text: words that do not stand there in the prompt, or what a mark is."""

    kind: str
    first: int
    last: int
    meaning: tuple[tuple[Concept, float], ...] = ()
    key: tuple[str, ...] = ()
    value: float | int = 0.0
    within: tuple[_Item, ...] = ()
    text: str = ""


def _match(words: Sequence[str], first: int) -> tuple[_Node, int, list[int]] | None:
    """The longest phrase that starts at a word: the leaf, where it ends, and which words in between it passes over."""
    node, at = _tree(), first
    passed: list[int] = []
    best: tuple[_Node, int, list[int]] | None = None
    while at < len(words):
        word = words[at]
        following = node.following.get(word)
        if following is not None:
            node = following
            if node.meaning is not None or node.impossible is not None:
                best = node, at + 1, list(passed)
        elif at > first and len(passed) < 4 and _may_be_passed(word):
            passed.append(at)
        else:
            break
        at += 1
    return best


def _may_be_passed(word: str) -> bool:
    return word in STOP_WORDS or word in DEGREES or word in (":", "not", "no", "less", "isnt", "arent", "too")


def _number(words: Sequence[str], first: int) -> tuple[float | int, int] | None:
    """A number in digits or words and where it ends."""
    word = words[first]
    if word[0].isdigit():
        try:
            return float(word), first + 1
        except ValueError:  # digits of other scripts, such as superscripts
            return None
    if word in _TENS:
        value = _TENS[word]
        following = _UNITS.get(words[first + 1]) if first + 1 < len(words) else None
        return (value + following, first + 2) if following is not None and 0 < following < 10 else (value, first + 1)
    # "one eye closed": small numbers in words count only in front of years.
    if word in _UNITS and first + 1 < len(words) and words[first + 1] in ("year", "decade", "percent"):
        return _UNITS[word], first + 1
    if word == "a" and words[first + 1 : first + 2] == ["decade"]:
        return 1.0, first + 1
    return None


def _age_item(words: Sequence[str], first: int) -> _Item | None:
    """Ages and years: "20 years older", "70 years old", "in her late forties", "aged 60"."""
    word = words[first]
    if word in ("early", "mid", "late", "middle") and first + 1 < len(words) and words[first + 1] in _DECADES:
        within = {"early": 2, "mid": 5, "middle": 5, "late": 8}[word]
        return _aged(_DECADES[words[first + 1]] + within, first, first + 2)
    if word in _DECADES:
        return _aged(_DECADES[word] + 5, first, first + 1)
    if word in ("age", "aged", "older", "younger", "add") and first + 1 < len(words):
        skip = first + 1 + (words[first + 1] in ("by", "of", "to", "about", "around"))
        found = _number(words, skip) if skip < len(words) else None
        if found is not None:
            value, end = found
            if word in ("older", "younger", "add"):
                unit = words[end] if end < len(words) else ""
                if unit not in ("year", "decade"):
                    return None
                return _older(
                    value * (10 if unit == "decade" else 1), "older" if word == "add" else word, first, end + 1
                )
            end += end < len(words) and words[end] == "year"
            return _aged(value, first, end)
    found = _number(words, first)
    if found is None:
        return None
    value, end = found
    rest = list(words[end : end + 3])
    if rest[:1] == ["s"] and value in (20, 30, 40, 50, 60, 70, 80, 90):
        return _aged(value + 5, first, end + 1)
    if rest[:1] and rest[0] in ("yo", "y"):
        return _aged(value, first, end + (2 if rest[1:2] == ["o"] else 1))
    if rest[:1] and rest[0] in ("year", "decade"):
        years = value * (10 if rest[0] == "decade" else 1)
        passed = 2 if rest[1:2] == ["more"] else 1
        following = words[end + passed] if end + passed < len(words) else ""
        if following in ("older", "younger"):
            return _older(years, following, first, end + passed + 1)
        if following in ("off", "less"):
            return _older(years, "younger", first, end + passed + 1)
        if following == "old":
            return _aged(years, first, end + 2)
        if rest[1:3] == ["of", "age"]:
            return _aged(years, first, end + 3)
        if rest[0] == "year" and years >= YOUNGEST_NAMED:
            return _aged(years, first, end + 1)
        return None
    return None


def _aged(years: float | int, first: int, last: int) -> _Item:
    years = float(min(max(years, 0.0), 999.0))
    named = int(min(max(round(years), YOUNGEST_NAMED), OLDEST_NAMED))
    return _Item("concept", first, last, ((age_concept(named), 1.0),), ("age",), years)


def _older(years: float | int, which: str, first: int, last: int) -> _Item:
    amount = min(years / YEARS_PER_STEP, LARGEST_AGING)
    return _Item("concept", first, last, ((concept_named(which), amount),), (which,), amount)


def _items(tokens: Sequence[Token]) -> list[_Item]:
    """The tokens in stretches: concept, impossible, hard and soft separators, degree, negation, less, too, size (an
    adjective that lacks its part), noun (a part that lacks what is said of it), number, stop, unknown."""
    words = [token.word for token in tokens]
    items: list[_Item] = []
    at = 0
    while at < len(words):
        item = _item(words, at)
        items.append(item)
        at = item.last
    return items


def _item(words: Sequence[str], at: int) -> _Item:
    word = words[at]
    aged = _age_item(words, at)
    if aged is not None:
        return aged
    if word == "no" and words[at + 1 : at + 2] == ["longer"] and words[at + 2 : at + 3] not in (["nose"], ["chin"]):
        return _Item("negation", at, at + 2)
    found = _number(words, at)
    if found is not None:
        value, end = found
        if words[end : end + 1] == ["%"] or words[end : end + 1] == ["percent"]:
            return _Item("degree", at, end + 1, value=value / 100)
        if list(words[end : end + 2]) == ["per", "cent"]:
            return _Item("degree", at, end + 2, value=value / 100)
        match = _match(words, at)
        if match is None:
            return _Item("number", at, end, value=value)
    match = _match(words, at)
    if match is not None:
        return _matched(words, at, *match)
    if word == "get" and words[at + 1 : at + 2] == ["rid"]:
        return _Item("negation", at, at + (3 if words[at + 2 : at + 3] == ["of"] else 2), text="remove")
    if word in ("rather", "instead") and words[at + 1 : at + 2] in (["than"], ["of"]):
        return _Item("soft", at, at + 2, text="instead")
    if word == "as" and list(words[at + 1 : at + 3]) == ["well", "as"]:
        return _Item("soft", at, at + 3, text="and")
    if word in ("kind", "sort") and words[at + 1 : at + 2] == ["of"]:
        return _Item("degree", at, at + 2, value=0.6)
    if word == "a" and words[at + 1 : at + 2] and words[at + 1] in DEGREES and _match(words, at + 1) is None:
        inner = _item(words, at + 1)
        return replace(inner, first=at)
    if word == "too":
        return _Item("too", at, at + 1)
    if word in _SOFT and word != "nor":
        return _Item("soft", at, at + 1, text=word)
    if word in NEGATIONS:
        return _Item("negation", at, at + (2 if words[at + 1 : at + 2] == ["of"] else 1), text=word)
    if word in LESS:
        return _Item("less", at, at + 1, text=word)
    if word in DEGREES:
        return _Item("degree", at, at + (2 if words[at + 1 : at + 2] == ["of"] else 1), value=DEGREES[word])
    if word in _sizes():
        return _Item("size", at, at + 1, key=(word,))
    if word in BODY:
        return _Item("noun", at, at + 1, key=(word,))
    if word in STOP_WORDS:
        return _Item("stop", at, at + 1)
    if word[0].isalpha() or word[0].isdigit():
        return _Item("unknown", at, at + 1, text=word)
    # "eyes: green" is one.
    return _Item("stop" if word in "%:" else "hard", at, at + 1, text=word)


def _matched(words: Sequence[str], first: int, leaf: _Node, last: int, passed: Sequence[int]) -> _Item:
    if leaf.impossible is not None:
        return _Item("impossible", first, last, key=leaf.key, text=leaf.impossible)
    assert leaf.meaning is not None
    # "pretty old": a degree where an adjective follows.
    if leaf.key == ("pretty",) and last < len(words):
        following = _match(words, last)
        if following is not None and following[0].meaning is not None and following[0].key not in _people() | _things():
            return _Item("degree", first, last, value=1.0)
    # "make this man older": who it is, not who it should be.
    if leaf.key in _people() and leaf.meaning[0][0].name in _GENERIC_PEOPLE and len(leaf.meaning) == 1:
        if first > 0 and words[first - 1] in ("this", "that", "the", "these", "my"):
            return _Item("stop", first, last)
    within = tuple(item for i in passed for item in [_modifier(words[i], i)] if item is not None)
    return _Item("concept", first, last, leaf.meaning, leaf.key, within=within)


def _modifier(word: str, at: int) -> _Item | None:
    if word in NEGATIONS:
        return _Item("negation", at, at + 1, text=word)
    if word in LESS:
        return _Item("less", at, at + 1, text=word)
    if word == "too":
        return _Item("too", at, at + 1)
    return _Item("degree", at, at + 1, value=DEGREES[word]) if word in DEGREES else None


def _factor(modifiers: Sequence[_Item]) -> float:
    """What degrees and negations in front of a phrase make of it."""
    kinds = [item.kind for item in modifiers]
    size = 1.0
    for item in modifiers:
        if item.kind == "degree":
            size *= item.value
    size = min(max(size, 0.0), LARGEST_AMOUNT)
    negated = kinds.count("negation") % 2 == 1
    if "too" in kinds:
        return NOT_VERY_AMOUNT if negated else TOO_AMOUNT * size
    if "less" in kinds:
        return LESS_AMOUNT * size * (-1 if negated else 1)
    if negated:
        # "not very old", "no more wrinkles", "not at all": the degree is part of what is denied.
        return NOT_VERY_AMOUNT if size > 1 else -1.0
    return size


# ---------------------------------------------------------------------------------------------- pieces and clauses


@dataclass
class _Piece:
    """Items between two separators. joined: the word or mark in front."""

    joined: str
    items: list[_Item]


def _pieces(items: Sequence[_Item]) -> list[_Piece]:
    pieces = [_Piece("", [])]
    for item in items:
        if item.kind == "hard":
            pieces.append(_Piece(item.text, []))
        elif item.kind == "soft":
            pieces.append(
                _Piece(
                    item.text,
                    [_Item("negation", item.first, item.last, text="instead")] if item.text == "instead" else [],
                )
            )
        elif item.kind == "negation" and item.text in _SEPARATING_NEGATIONS:
            pieces.append(_Piece(item.text, [item]))
        else:
            pieces[-1].items.append(item)
    return [piece for piece in pieces if piece.items]


def _noun_of(items: Sequence[_Item]) -> tuple[str, ...] | None:
    """The part that a piece is about: the first that it names."""
    for item in items:
        if item.kind == "noun":
            return item.key
        if item.kind == "concept":
            parts = [word for word in (item.key[-1:], item.key[:1]) if word and word[0] in BODY]
            if parts:
                return parts[0]
    return None


def _with_part(item: _Item, noun: tuple[str, ...] | None) -> _Item | None:
    """A size together with its part."""
    if noun is None:
        return None
    meaning = phrases_table().get((*item.key, *noun))
    if meaning is None:
        return None
    return replace(item, kind="concept", meaning=meaning, key=(*item.key, *noun), text=" ".join((*item.key, *noun)))


_GOES_ON = frozenset([*_words("and or but + ,")])


def _resolve(pieces: list[_Piece]) -> None:
    """Gives sizes their parts and parts what is said of them, from the piece itself or the one it is joined to."""
    for index, piece in enumerate(pieces):
        after = pieces[index + 1] if index + 1 < len(pieces) and pieces[index + 1].joined in _GOES_ON else None
        before = pieces[index - 1] if index > 0 and piece.joined in _GOES_ON else None
        for at, item in enumerate(piece.items):
            alone = len([i for i in piece.items if i.kind in ("concept", "size", "noun")]) == 1
            if item.kind == "size":
                near = _noun_of(piece.items[at + 1 :]) or _noun_of(piece.items[:at][::-1])
                beside = (after and _noun_of(after.items)) or (before and _noun_of(before.items))
                found = _with_part(item, near or beside or None)
                if found is not None:
                    piece.items[at] = found
            elif item.kind == "concept" and alone and item.key[0] in _sizes() and len(item.key) == 1:
                # "thinner and longer nose": not a thinner person.
                follows = [i for i in after.items if i.kind == "concept"] if after is not None else []
                if follows and len(follows[0].key) == 2 and follows[0].key[0] in _sizes():
                    piece.items[at] = _with_part(item, _noun_of(after.items if after else ())) or item
            elif item.kind == "noun" and alone and before is not None and piece.joined != ",":
                said = [i for i in before.items if i.kind == "concept" and len(i.key) > 1 and i.key[-1] in BODY]
                meaning = phrases_table().get((*said[-1].key[:-1], *item.key)) if said else None
                if said and meaning is not None:
                    key = (*said[-1].key[:-1], *item.key)
                    modifiers = [i for i in before.items if i.kind in ("degree", "negation", "less", "too")]
                    piece.items[at] = replace(item, kind="concept", meaning=meaning, key=key, text=" ".join(key))
                    piece.items[:0] = [replace(i, text=_spoken(i)) for i in modifiers]


def _complete_adjectives(piece: _Piece) -> None:
    """In "thin arched brows" or "bushy grey brows" an adjective right before a phrase about a part speaks of that part,
    if it can."""
    for at, item in reversed(list(enumerate(piece.items[:-1]))):
        following = piece.items[at + 1]
        if item.kind == "unknown" and following.kind == "concept" and following.key[-1:] and following.key[-1] in BODY:
            piece.items[at] = _with_part(replace(item, key=(item.text,)), following.key[-1:]) or item
        elif item.kind == "concept" and len(item.key) == 1 and following.kind == "concept" and len(following.key) > 1:
            noun = following.key[-1:]
            if noun[0] in BODY and item.key not in _people() | _things():
                piece.items[at] = _with_part(item, noun) or item


_MODIFIERS = frozenset(["degree", "negation", "less", "too"])


def _hand_back(pieces: list[_Piece]) -> list[_Piece]:
    """As in "smiling, but not too much": degrees that stand alone belong to the piece before."""
    kept: list[_Piece] = []
    for piece in pieces:
        kinds = {item.kind for item in piece.items}
        sayings = [item for item in piece.items if item.kind in _MODIFIERS]
        if (
            kept
            and sayings
            and piece.joined in _GOES_ON
            and kinds <= _MODIFIERS | {"stop"}
            and any(i.kind == "concept" for i in kept[-1].items)
        ):
            vague = {"degree", "too"} & {item.kind for item in sayings}
            if vague:
                value = abs(_factor(sayings))
                kept[-1].items.append(_Item("degree", sayings[0].first, sayings[-1].last, value=value))
                continue
        kept.append(piece)
    return kept


def _spoken(item: _Item) -> str:
    return item.text or {"too": "too", "less": "less", "negation": "not"}.get(item.kind, "")


def _carry_negations(pieces: list[_Piece]) -> None:
    """So that "without beard or freckles" and "remove freckles and wrinkles" deny both."""
    for before, piece in itertools.pairwise(pieces):
        first = next((item for item in before.items if item.kind in ("negation", "less")), None)
        if first is None or any(item.kind in ("negation", "less", "too", "degree") for item in piece.items):
            continue
        concepts = [item for item in piece.items if item.kind == "concept"]
        bare = bool(concepts) and all(len(item.key) == 1 and item.key in _things() for item in concepts)
        if concepts and (piece.joined == "or" or (piece.joined in ("and", "+") and first.text in _OF_THINGS and bare)):
            piece.items.insert(0, replace(first, text=first.text or "not", value=-1.0))


class _Reader:
    """Reads one prompt. What is found is in `clauses`, `unknown` and `notes`."""

    def __init__(self, text: str, open_words: bool) -> None:
        self.text = text
        self.tokens = tokens_of(text)
        self.open_words = open_words
        self.clauses: list[Clause] = []
        self.unknown: dict[str, Unknown] = {}
        self.notes: list[str] = []

    def read(self) -> None:
        pieces = _hand_back(_pieces(_items(self.tokens)))
        for piece in pieces:
            _complete_adjectives(piece)
        _resolve(pieces)
        _carry_negations(pieces)
        for piece in pieces:
            self._read_piece(piece.items)

    def _read_piece(self, items: list[_Item]) -> None:
        concepts = [item for item in items if item.kind == "concept"]
        for item in items:
            self._note_unknown(item, bool(concepts))
        if not concepts:
            self._without_concepts(items)
            return
        # What a person is called and what stands before it belong together: "tired old sailor".
        together = any(item.key in _people() for item in concepts)
        groups: list[list[_Item]] = [[]]
        for item in items:
            if item.kind in ("concept", "degree", "negation", "less", "too"):
                groups[-1].append(item)
                if item.kind == "concept" and not together and not self._continues(item, items):
                    groups.append([])
        if not any(item.kind == "concept" for item in groups[-1]):
            # Words of degree at the end belong to what stands before: "smiling a bit".
            trailing = groups.pop()
            groups[-1].extend(trailing)
        for group in groups:
            self._add(group)

    def _continues(self, item: _Item, items: Sequence[_Item]) -> bool:
        """Whether a size was completed by the part of the next phrase, as in "big blue eyes"."""
        index = items.index(item)
        following = items[index + 1] if index + 1 < len(items) else None
        completed = bool(item.text) and item.last - item.first < len(item.key)
        return (
            completed and following is not None and following.kind == "concept" and following.key[-1:] == item.key[-1:]
        )

    def _add(self, group: Sequence[_Item]) -> None:
        amounts: list[tuple[Concept, float]] = []
        modifiers: list[_Item] = []
        concepts = [item for item in group if item.kind == "concept"]
        whole = 1.0
        start = 0
        if len(concepts) > 1:
            # "not a tired old sailor" denies all of it.
            leading = [item for item in group[: group.index(concepts[0])]]
            if any(item.kind == "negation" for item in leading):
                whole, start = _factor(leading), len(leading)
        cores: list[_Item] = []
        for item in group[start:]:
            if item.kind != "concept":
                modifiers.append(item)
                continue
            factor = _factor([*modifiers, *item.within])
            amounts += [(concept, factor * amount) for concept, amount in item.meaning]
            cores.append(item)
            modifiers = []
        if modifiers:
            factor = _factor(modifiers)
            last = len(cores[-1].meaning)
            amounts[-last:] = [(concept, factor * amount) for concept, amount in amounts[-last:]]
        if len(concepts) == 1:
            shares = [amount for _, amount in concepts[0].meaning]
            whole = amounts[0][1] / shares[0] if concepts[0].value == 0 else amounts[0][1]
            total = amounts
        else:
            total = [(concept, whole * amount) for concept, amount in amounts]
        largest = LARGEST_AGING if concepts[0].value and concepts[0].key != ("age",) else LARGEST_AMOUNT
        summed: dict[Concept, float] = {}
        for concept, amount in total:
            summed[concept] = min(max(summed.get(concept, 0.0) + amount, -largest), largest)
        whole = min(max(whole, -largest), largest)
        if len(concepts) > 1:
            # Among several, all stands as it was typed: "thin arched brows".
            group = [replace(item, text="") if item.kind == "concept" else item for item in group]
            concepts = [item for item in group if item.kind == "concept"]
        text = self._typed(group)
        clause = Clause(text, self._core(concepts), whole, tuple(summed.items()))
        if all(other.text.casefold() != clause.text.casefold() for other in self.clauses):
            self.clauses.append(clause)
        for item in concepts:
            if item.key == ("age",) and not YOUNGEST_NAMED <= item.value <= OLDEST_NAMED:
                end, named = ("youngest", YOUNGEST_NAMED) if item.value < YOUNGEST_NAMED else ("oldest", OLDEST_NAMED)
                self.notes.append(f"The {end} head that can be made is {named} years old, so that is what you get.")

    def _typed(self, group: Sequence[_Item]) -> str:
        """As typed; where a word came from another piece, put together anew."""
        carried = [item for item in group if item.kind != "concept" and item.value == -1.0]
        if carried:
            rest = [item for item in group if item not in carried]
            return " ".join([*(item.text for item in carried), self._typed(rest)])
        if any(item.text and item.kind == "concept" for item in group):
            return " ".join(item.text or self._raw(item.first, item.last) for item in group)
        first, last = min(item.first for item in group), max(item.last for item in group)
        return self._raw(first, last)

    def _raw(self, first: int, last: int) -> str:
        return " ".join(self.text[self.tokens[first].start : self.tokens[last - 1].end].split())

    def _core(self, concepts: Sequence[_Item]) -> str:
        """The words that carry meaning, in lower case."""
        words: list[str] = []
        for item in concepts:
            if item.text:
                words.append(item.text)
                continue
            if item.value and item.key != ("age",):
                words.append(item.key[0])
                continue
            dropped = {index for inner in item.within for index in range(inner.first, inner.last)}
            dropped |= {index - 1 for index in dropped if self.tokens[index - 1].word == "a"}
            kept = [index for index in range(item.first, item.last) if index not in dropped]
            run = kept[:1]
            for index in [*kept[1:], -1]:
                if run and index == run[-1] + 1:
                    run.append(index)
                else:
                    words.append(self._raw(run[0], run[-1] + 1).lower())
                    run = [index]
        return " ".join(words)

    def _note_unknown(self, item: _Item, said_something: bool) -> None:
        if item.kind == "impossible":
            self._say(Unknown(self._raw(item.first, item.last), item.text))
        elif item.kind == "unknown" and not self.open_words:
            self._say(_unknown_word(self._raw(item.first, item.last), item.text))
        elif item.kind == "size" and not said_something:
            word = self._raw(item.first, item.last)
            example = f"{item.key[0]} nose"
            example = example if key_of(example) in phrases_table() else f"{item.key[0]} face"
            meant = example if key_of(example) in phrases_table() else None
            self._say(Unknown(word, f"Say what is to be {word.lower()}, such as '{meant or 'wider nose'}'.", meant))

    def _without_concepts(self, items: Sequence[_Item]) -> None:
        """A piece in which nothing was found: perhaps an age, perhaps a part of which nothing is said."""
        numbers = [item for item in items if item.kind == "number"]
        words = [item for item in items if item.kind in ("unknown", "impossible", "size", "noun")]
        if self.open_words and any(item.kind == "unknown" for item in items):
            kept = [item for item in items if item.kind in ("unknown", "size", "noun", "degree", "negation", "less")]
            inner = [item for item in kept if item.kind in ("unknown", "size", "noun")]
            core = " ".join(self._raw(item.first, item.last).lower() for item in inner)
            factor = _factor([item for item in kept if item not in inner])
            text = self._raw(min(i.first for i in kept), max(i.last for i in kept))
            self.clauses.append(Clause(text, core, factor, ()))
            return
        if len(numbers) == 1 and not words and 3 <= numbers[0].value <= 130:
            aged = _aged(numbers[0].value, numbers[0].first, numbers[0].last)
            self._add([replace(aged, first=numbers[0].first)])
            return
        for item in items:
            if item.kind == "noun" and not any(i.kind in ("unknown", "impossible", "size") for i in items):
                part = self._raw(item.first, item.last)
                example = _ABOUT_PARTS.get(item.key[0], f"bigger {item.key[0]}")
                self._say(Unknown(part, f"Say what should happen to the {part.lower()}, such as '{example}'.", example))
        lonely = [item for item in items if item.kind in ("negation", "less", "too")]
        if lonely and not words:
            word = self._raw(lonely[0].first, lonely[0].last)
            self._say(Unknown(word, f"'{word}' says too little: add what it is about, such as 'fewer wrinkles'."))

    def _say(self, unknown: Unknown) -> None:
        if len(self.unknown) < MOST_UNKNOWN:
            self.unknown.setdefault(unknown.text.casefold(), unknown)


@functools.lru_cache(maxsize=64)
def _unknown_word(typed: str, word: str) -> Unknown:
    if not word.isascii():
        return Unknown(typed, f"I don't know '{typed}': I read English only. {_TRY}")
    meant = _meant(word)
    if meant is None:
        return Unknown(typed, f"I don't know '{typed}'. {_KNOWN}")
    return Unknown(typed, f"I don't know '{typed}'. Did you mean '{meant}'? {_KNOWN}", meant)


def _meant(word: str) -> str | None:
    """The known word that looks most like this one, if any does."""
    if len(word) < 3:
        return None
    close = difflib.get_close_matches(word, sorted(_plain_words() - {word}), n=3, cutoff=0.75)
    # Of words that are as close, one that says something alone.
    alone = [found for found in close if (found,) in phrases_table()]
    ratio = {found: difflib.SequenceMatcher(None, word, found).ratio() for found in close}
    if alone and ratio[alone[0]] >= ratio[close[0]] - 0.08:
        return alone[0]
    return close[0] if close else None


@functools.cache
def _plain_words() -> frozenset[str]:
    return frozenset(word for word in known_words() if len(word) > 2 and word not in STOP_WORDS and word not in DEGREES)


def read_prompt(text: str, open_words: bool = False) -> Reading:
    """What a prompt says. Deterministic; case, accents and extra spaces make no difference.

    open_words: for models that know any word (CLIP): pieces that the table does not know become clauses without
    concepts instead of being named as unknown.
    """
    return _read(text, open_words)


# Few: the chips of those who are at it. What people type is not kept.
@functools.lru_cache(maxsize=32)
def _read(text: str, open_words: bool) -> Reading:
    if len(text) > LONGEST_PROMPT:
        return Reading(
            problem=f"The text has {len(text):,} characters, but at most {LONGEST_PROMPT} are read. Say it in fewer "
            "words, or in several steps."
        )
    if not text.strip():
        return Reading(problem=f"There are no words. {_TRY}")
    reader = _Reader(text, open_words)
    if not any(token.word[0].isalnum() for token in reader.tokens):
        return Reading(problem=f"There are no words that I can read, only marks or pictures. {_TRY}")
    reader.read()
    if not reader.clauses and not reader.unknown:
        return Reading(problem=f"That names nothing to change. {_TRY}")
    notes = (*reader.notes, *_cancelling(reader.clauses))
    return Reading(tuple(reader.clauses), tuple(reader.unknown.values()), None, tuple(dict.fromkeys(notes)))


def split_prompt(text: str) -> tuple[str, ...]:
    """The texts of a prompt's clauses, of which chips are made: each read by itself says what it said there."""
    return tuple(clause.text for clause in read_prompt(text).clauses)


def _cancelling(clauses: Sequence[Clause]) -> list[str]:
    """A note for each pair of clauses that undo each other."""
    wanted = [_direction(clause) for clause in clauses]
    notes: list[str] = []
    for i, first in enumerate(wanted):
        for j in range(i + 1, len(wanted)):
            second = wanted[j]
            product = sum(first[name] * second[name] for name in first.keys() & second.keys())
            sizes = sum(v * v for v in first.values()) * sum(v * v for v in second.values())
            if sizes > 0 and product < -0.8 * sizes**0.5:
                notes.append(f"'{clauses[i].text}' and '{clauses[j].text}' work against each other.")
    return notes


def _direction(clause: Clause) -> dict[str, float]:
    found: dict[str, float] = {}
    for concept, amount in clause.concepts:
        if concept.aim is not None:
            continue
        for move in concept.moves:
            if move.add is not None:
                # Years count as shares of the whole range, as all else does.
                unit = 67.0 if move.attribute == "age_years" else 1.0
                found[move.attribute] = found.get(move.attribute, 0.0) + amount * move.add / unit
    return found


# ---------------------------------------------------------------------------------------------- instructions

_TEMPLATES: dict[Form, tuple[str, ...]] = {
    "adj": (
        "{x}",
        "make her {x}",
        "make him look {x}",
        "look {x}",
        "I want her to be {x}",
        "she should be {x}",
        "please make me {x}",
        "a {x} face",
        "make the face {x}",
        "turn him {x}",
        "more {x}",
        "can you make them {x}",
        "let her look {x}",
        "he should look {x}",
        "get her to look {x}",
        "could he be {x}",
        "as a {x} person",
    ),
    "comp": (
        "{x}",
        "make her {x}",
        "make him look {x}",
        "please {x}",
        "I want her {x}",
        "she should be {x}",
        "get him {x}",
        "can you make it {x}",
        "let me look {x}",
        "make them appear {x}",
        "I would like {x}",
    ),
    "thing": (
        "{x}",
        "with {x}",
        "give her {x}",
        "add {x}",
        "she has {x}",
        "please add {x}",
        "I want {x}",
        "give him {x}",
        "he should have {x}",
        "make her have {x}",
        "show {x}",
        "let him have {x}",
        "get {x}",
        "put {x} on him",
    ),
    "person": (
        "{x}",
        "like {x}",
        "make him look like {x}",
        "turn her into {x}",
        "as {x}",
        "make me {x}",
        "I want to be {x}",
        "she should look like {x}",
        "transform him into {x}",
        "let her look like {x}",
        "convert me to {x}",
    ),
    "clause": (
        "{x}",
        "someone {x}",
        "make her look {x}",
        "a person {x}",
        "he should be {x}",
        "show her {x}",
        "let me be {x}",
    ),
    "verb": (
        "{x}",
        "please {x}",
        "make her {x}",
        "let him {x}",
        "she should {x}",
        "can you {x}",
        "I want him to {x}",
        "have her {x}",
    ),
}
_DEGREE_WORDS = ("slightly", "a bit", "a little", "somewhat", "very", "much", "extremely", "really", "a lot", "quite")
_NEGATIVES: dict[Form, tuple[str, ...]] = {
    "adj": ("not {x}", "less {x}", "not very {x}"),
    "comp": ("not {x}",),
    "thing": ("no {x}", "without {x}", "remove {x}", "less {x}", "get rid of {x}"),
    "person": ("not {x}",),
    "clause": ("not {x}",),
    "verb": ("don't {x}", "stop {x}"),
}


@functools.cache
def _templates(form: Form, held_out: bool) -> tuple[str, ...]:
    """The plain one is for training; of the others some are held out."""
    texts = _TEMPLATES[form]
    held = [text for text in texts[1:] if is_held_out(text)] or [texts[-1]]
    return tuple(held) if held_out else tuple(text for text in texts if text not in held)


@functools.cache
def _sayable(held_out: bool) -> tuple[tuple[Concept, tuple[Phrase, ...]], ...]:
    found = [(c, tuple(p for p in c.phrases if p.held_out == held_out)) for c in CONCEPTS]
    return tuple((concept, phrases) for concept, phrases in found if phrases)


def sample_instruction(rng: np.random.Generator, held_out: bool = False) -> tuple[str, Clause]:
    """A random instruction of one clause, with degree or negation at times, and how it is read.

    held_out: from phrases and templates that are never used otherwise.
    """
    while True:
        text, concept = _instruction(rng, held_out)
        clauses = read_uncached(text).clauses
        # Some combinations read as something else ("more thin lips"); they teach nothing.
        if len(clauses) == 1 and any(found is concept for found, _ in clauses[0].concepts):
            return text, clauses[0]


def read_uncached(text: str) -> Reading:
    """`read_prompt` without keeping the answer: for texts that come once."""
    return _read.__wrapped__(text, False)


def _instruction(rng: np.random.Generator, held_out: bool) -> tuple[str, Concept]:
    def one(texts: Sequence[str]) -> str:
        return texts[int(rng.integers(len(texts)))]

    sayable = _sayable(held_out)
    concept, phrases = sayable[int(rng.integers(len(sayable)))]
    phrase = phrases[int(rng.integers(len(phrases)))]
    text = phrase.text.replace("their ", one(("her ", "his ", "their ")))
    chance = rng.random()
    if chance < 0.15:
        bare = text.removeprefix("a ").removeprefix("an ").removeprefix("the ")
        text = one(_NEGATIVES[phrase.form]).format(x=bare)
        return text, concept
    if phrase.form == "person":
        # Characters with a mood or an age: "a tired old sailor".
        if rng.random() < 0.3:
            others = [
                c for c, _ in sayable if c.name in ("old", "tired", "young", "angry", "happy", "sad", "heavy", "thin")
            ]
            if others:
                other = others[int(rng.integers(len(others)))]
                words = [
                    p.text for p in other.phrases if p.form == "adj" and " " not in p.text and p.held_out == held_out
                ]
                text = f"{one(words)} {text}" if words else text
        text = f"{'an' if text[0] in 'aeiou' else 'a'} {text}"
    elif chance < 0.4 and phrase.form in ("adj", "comp"):
        text = f"{one(_DEGREE_WORDS)} {text}"
    return one(_templates(phrase.form, held_out)).format(x=text), concept
