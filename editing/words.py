"""What words mean: concepts, the phrases that name them, the change of attributes that each asks for, and captions.

The rows of `editing.concept_table` become `CONCEPTS`; a small grammar adds what need not be written by hand: sizes of
parts, comparatives, "nose wider" beside "wider nose", -ing forms, British and American spelling. The same table teaches
the mapper and the text-image model (captions say what is clearly true of a head) and is the list of what we know.
"""

from __future__ import annotations

import functools
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from core.errors import LikenessError
from core.synthesis.captions import WORDS
from editing.attributes import ATTRIBUTES, COUNT, INDEX, LEAST, LOW, MOST
from editing.concept_table import CONCEPT_ROWS, IMPOSSIBLE, PARTS, SENSES, Part, Row

Form = Literal["adj", "comp", "thing", "person", "clause", "verb"]
FORMS: tuple[Form, ...] = ("adj", "comp", "thing", "person", "clause", "verb")
HELD_OUT_SHARE = 8  # one phrase and template in so many is kept from training
YOUNGEST_NAMED, OLDEST_NAMED = 18, 85
YEARS_PER_STEP = 30.0  # of "older" at amount 1


@dataclass(frozen=True)
class Move:
    """What amount 1 does to an attribute, in its own unit. add: by so much. to: to this value, from either side. Both:
    by `add`, and at least as far as `to` where that lies in the same direction."""

    attribute: str
    add: float | None = None
    to: float | None = None


@dataclass(frozen=True)
class Phrase:
    """How people say a concept. text: as in a sentence, with the article where one belongs. form: as in
    `editing.concept_table.Row`. held_out: kept from training."""

    text: str
    form: Form
    held_out: bool


@dataclass(frozen=True, eq=False)
class Concept:
    """One thing that words can ask for. opposite: moves of the negative, at amount -1. aim: the moves are scaled such
    that the attribute of the first one arrives here ("70 years old"). Concepts are the same only if identical."""

    name: str
    title: str
    moves: tuple[Move, ...]
    opposite: tuple[Move, ...]
    phrases: tuple[Phrase, ...]
    aim: float | None = None


# ---------------------------------------------------------------------------------------------- words of a text


@dataclass(frozen=True)
class Token:
    """A word, number or mark of a text, in its canonical spelling. start, end: where it stands in the text."""

    word: str
    start: int
    end: int


# Typographic quotes and dashes.
_PLAIN_MARKS = {**dict.fromkeys("\u2019\u2018`\u00b4", "'"), **dict.fromkeys("\u2013\u2014", "-"), "\r": "\n"}
_WORD = re.compile(r"\d+(?:[.]\d+)?|[^\W\d_]+(?:'[^\W\d_]+)*|\n|[^\w\s]", re.UNICODE)


def _pairs(text: str) -> dict[str, str]:
    """Of the notation "gray=grey freckle=freckles"."""
    return {left: right for left, _, right in (pair.partition("=") for pair in text.split())}


# One spelling of words that mean the same wherever they stand.
_SPELLING: dict[str, str] = _pairs(
    "gray=grey grayer=greyer graying=greying blonde=blond blondes=blond mustache=moustache "
    "moustaches=moustache mustaches=moustache mustached=moustached eyebrows=brows eyebrow=brows "
    "brow=brows eyebrowed=browed eye=eyes ear=ears lip=lips cheek=cheeks cheekbone=cheekbones "
    "freckle=freckles wrinkle=wrinkles mole=moles pimple=pimples scar=scars pore=pores colour=color "
    "coloured=colored colours=color colors=color dimple=dimples beards=beard birthmark=birthmarks "
    "zit=zits noses=nose mouths=mouth jaws=jaw foreheads=forehead faces=face smiles=smile grins=grin "
    "shadow=shadows circle=circles tattoos=tattoo greyish=grey fulle=full specs=glasses "
    "complexions=complexion mould=mole sceptical=skeptical goatees=goatee smilling=smiling eyelid=eyelids "
    "iris=irises nostril=nostrils earring=earrings whisker=whiskers years=year yrs=year yr=year "
    "decades=decade bags=bag blushes=blush u=you &=and pls=please plz=please realer=realistic"
)
# Words that are one, though some write two.
_JOINED: dict[str, str] = _pairs(
    "make+up=makeup eyes+liner=eyeliner eyes+shadows=eyeshadow lip+stick=lipstick lips+stick=lipstick "
    "cheeks+bones=cheekbones cheeks+bone=cheekbones eyes+brows=brows hair+line=hairline "
    "fore+head=forehead sun+burnt=sunburnt sun+burn=sunburn eyes+shades=eyeshadow "
    "grand+mother=grandmother eyes+bag=eyebags eyes+glasses=eyeglasses side+burns=sideburns "
    "tatoo+s=tattoo grand+father=grandfather jaw+line=jawline ear+rings=earrings clean+shaved=cleanshaved "
    "eyes+lashes=eyelashes mid+life=midlife"
)
ARTICLES = frozenset(
    ["a", "an", "the", "her", "his", "their", "my", "your", "its", "our", "hers", "mine", "yours", "this", "that"]
)


def tokens_of(text: str) -> tuple[Token, ...]:
    """The words, numbers and marks of a text, lower case without accents and apostrophes; hyphens within a word and
    underscores are spaces. Any text is fine; what is neither letter, digit nor mark is left out."""
    plain: list[str] = []
    where: list[int] = []
    for index, letter in enumerate(text):
        letter = _PLAIN_MARKS.get(letter, letter)
        for part in unicodedata.normalize("NFKD", letter.casefold()):
            if unicodedata.combining(part):
                continue
            plain.append(part if part.isprintable() or part == "\n" else " ")
            where.append(index)
    flat = "".join(plain)
    flat = re.sub(r"(?<=\w)-(?=\w)|_", " ", flat)
    tokens: list[Token] = []
    for match in _WORD.finditer(flat):
        word = match.group().replace("'", "")
        if not word:
            continue
        word = _SPELLING.get(word, word)
        token = Token(word, where[match.start()], where[match.end() - 1] + 1)
        joined = _JOINED.get(f"{tokens[-1].word}+{word}") if tokens else None
        # "make up" is one word only where both halves stand side by side.
        if joined is not None and text[tokens[-1].end : token.start].strip(" -") == "":
            tokens[-1] = Token(joined, tokens[-1].start, token.end)
        else:
            tokens.append(token)
    return tuple(tokens)


@functools.lru_cache(maxsize=65536)
def key_of(phrase: str) -> tuple[str, ...]:
    """The words of a phrase by which it is found: without articles and possessives."""
    return tuple(token.word for token in tokens_of(phrase) if token.word not in ARTICLES)


# ---------------------------------------------------------------------------------------------- the table


def _sides(name: str) -> tuple[str, ...]:
    if name in INDEX:
        return (name,)
    if name == "all":
        return tuple(a.name for a in ATTRIBUTES if a.group == "expression")
    pair = (f"{name}Left", f"{name}Right")
    assert all(side in INDEX for side in pair), name
    return pair


def _moves(text: str) -> tuple[Move, ...]:
    """Of the notation in `editing.concept_table`; of several moves of one attribute the first counts."""
    found: dict[str, Move] = {}
    for part in text.split(";"):
        name, amount = part.split()
        for side in _sides(name):
            if amount.startswith("="):
                move = Move(side, to=float(amount[1:]))
            else:
                add, _, to = amount.partition(">")
                move = Move(side, float(add), float(to) if to else None)
            found.setdefault(side, move)
    return tuple(found.values())


def _opposite(row: Row, moves: tuple[Move, ...]) -> tuple[Move, ...]:
    if row.opposite == "mirror":
        return tuple(Move(move.attribute, add=-move.add) for move in moves if move.add is not None)
    if row.opposite == "gone":
        return tuple(Move(m.attribute, to=LOW[INDEX[m.attribute]].item()) for m in moves if m.add is not None)
    return _moves(row.opposite)


def is_held_out(text: str) -> bool:
    return zlib.crc32(text.encode()) % HELD_OUT_SHARE == 0


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _phrases(by_form: Iterable[tuple[Form, str]]) -> tuple[Phrase, ...]:
    """The first phrase of a concept is never held out."""
    found: dict[str, Phrase] = {}
    for form, texts in by_form:
        for text in _split(texts):
            found.setdefault(text, Phrase(text, form, bool(found) and is_held_out(text)))
    return tuple(found.values())


_DOUBLED = re.compile(r"(^|[^aeiou])[aeiou][bdgmnpt]$")


@functools.lru_cache(maxsize=4096)
def comparatives(adjective: str) -> tuple[str, str]:
    """wide: wider, widest; big: bigger, biggest; heavy: heavier, heaviest. Only short adjectives have them."""
    if adjective.endswith("e"):
        stem = adjective[:-1]
    elif adjective.endswith("y") and len(adjective) > 2 and adjective[-2] not in "aeiou":
        stem = adjective[:-1] + "i"
    elif _DOUBLED.search(adjective):
        stem = adjective + adjective[-1]
    else:
        stem = adjective
    return f"{stem}er", f"{stem}est"


@functools.lru_cache(maxsize=4096)
def is_short(adjective: str) -> bool:
    """Whether an adjective is compared by -er: one syllable, or two of which the last is y."""
    if not re.fullmatch(r"[a-z]+", adjective) or re.search(
        r"(ed|ing|ous|ful|ish|less|ic|al|en|er|ier|est)$", adjective
    ):
        return False
    syllables = len(re.findall(r"[aeiouy]+", adjective.removesuffix("e")))
    return syllables <= (2 if adjective.endswith("y") else 1)


def _part_concepts() -> list[tuple[Concept, Part, str]]:
    """A concept for every part and sense: `wide nose`."""
    made: list[tuple[Concept, Part, str]] = []
    for part in PARTS:
        nouns = _split(part.names)
        for sense, text in part.senses.items():
            adjectives, verbs = SENSES[sense]
            moves = _moves(text)
            words = _split(adjectives)
            things = [f"{_article_if_singular(nouns[0], word)}{word} {nouns[0]}" for word in words]
            things += [f"{_article_if_singular(noun, words[0])}{words[0]} {noun}" for noun in nouns[1:]]
            comps = [
                f"{compared} {nouns[0]}" for word in words if is_short(word) for compared in comparatives(word)[:1]
            ]
            phrases = _phrases(
                [
                    ("thing", ",".join([*things, part.extra.get(sense, "")])),
                    ("comp", ",".join(comps)),
                    ("verb", ",".join(f"{verb} the {nouns[0]}" for verb in _split(verbs))),
                ]
            )
            name = f"{words[0]} {nouns[0]}"
            opposite = tuple(Move(move.attribute, add=-(move.add or 0.0)) for move in moves)
            made.append((Concept(name, f"{_compared(words[0])} {nouns[0]}", moves, opposite, phrases), part, sense))
    return made


_PLURAL = (
    "lips",
    "eyes",
    "ears",
    "cheekbones",
    "nostrils",
    "earlobes",
    "ear lobes",
    "cheek bones",
    "eyeballs",
    "jaws",
    "eye openings",
    "zygomatic bones",
)


def _article_if_singular(noun: str, word: str) -> str:
    return "" if noun in _PLURAL else ("an " if word[0] in "aeiou" else "a ")


def _compared(adjective: str) -> str:
    return comparatives(adjective)[0] if is_short(adjective) else f"more {adjective}"


def _row_concept(row: Row) -> Concept:
    moves = _moves(row.moves)
    texts: dict[Form, str] = {
        "adj": row.adj,
        "comp": row.comp,
        "thing": row.thing,
        "person": row.person,
        "clause": row.clause,
        "verb": row.verb,
    }
    # The form that the name is of comes first, so that a concept always keeps its plainest phrase for training.
    order = sorted(FORMS, key=lambda form: row.name not in [_bare(text) for text in _split(texts[form])])
    phrases = _phrases((form, texts[form]) for form in order)
    return Concept(row.name, row.name, moves, _opposite(row, moves), phrases)


def _bare(phrase: str) -> str:
    return re.sub(r"^(a|an|the|their) ", "", phrase)


def _without_taken(concepts: Iterable[Concept]) -> Iterator[Concept]:
    """A phrase is the first concept's that has it; the others go without."""
    taken: set[tuple[str, ...]] = set()
    for concept in concepts:
        kept: list[Phrase] = []
        for phrase in concept.phrases:
            key = key_of(phrase.text)
            if key not in taken:
                kept.append(phrase)
                taken.add(key)
        assert kept, concept.name
        kept[0] = replace(kept[0], held_out=False)
        yield replace(concept, phrases=tuple(kept))


_PART_ROWS = _part_concepts()
CONCEPTS: tuple[Concept, ...] = tuple(
    _without_taken([*(_row_concept(row) for row in CONCEPT_ROWS), *(concept for concept, _, _ in _PART_ROWS)])
)
_PART_CONCEPTS = [
    (concept, part, sense) for concept, (_, part, sense) in zip(CONCEPTS[len(CONCEPT_ROWS) :], _PART_ROWS, strict=True)
]
_BY_NAME: dict[str, Concept] = {concept.name: concept for concept in CONCEPTS}
assert len(_BY_NAME) == len(CONCEPTS)


def concept_named(name: str) -> Concept:
    """The concept of a name. Raises LikenessError for an unknown one."""
    if name not in _BY_NAME:
        raise LikenessError(f"{name!r} is not a concept. The names are those of editing.words.CONCEPTS.")
    return _BY_NAME[name]


@functools.cache
def age_concept(years: int) -> Concept:
    """To be of an age in years, between `YOUNGEST_NAMED` and `OLDEST_NAMED`, with what comes with it: as "older" or
    "younger" by as much as is missing."""
    assert YOUNGEST_NAMED <= years <= OLDEST_NAMED
    older = concept_named("older")
    title = f"{years} years old"
    return Concept(f"age {years}", title, older.moves, older.opposite, (Phrase(title, "adj", False),), float(years))


def concept_change(concept: Concept, amount: float, values: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """What a concept changes of a head with these attributes, in their units. amount: 1 as the phrase says, 0 nothing,
    negative the other way; beyond 1, what is added goes on, while a value to arrive at is not passed.

    The result keeps every attribute between its `LEAST` and `MOST`.
    """
    moves = concept.moves if amount >= 0 else concept.opposite
    share = abs(float(amount))
    if concept.aim is not None:
        first = concept.moves[0]
        missing = concept.aim - float(values[INDEX[first.attribute]])
        steps = missing / YEARS_PER_STEP if amount >= 0 else -missing / YEARS_PER_STEP
        moves, share = (concept.moves if steps >= 0 else concept.opposite), share * abs(steps)
    change = torch.zeros(COUNT)
    for move in moves:
        row = INDEX[move.attribute]
        value = float(values[row])
        if move.add is None:
            assert move.to is not None
            change[row] += min(share, 1.0) * (move.to - value)
        elif move.to is None:
            change[row] += share * move.add
        else:
            furthest = max if move.add > 0 else min
            change[row] += share * furthest(move.add, move.to - value)
    now = values.float().cpu()
    return (now + change).clamp(LEAST, MOST).nan_to_num() - now


# ---------------------------------------------------------------------------------------------- finding phrases

Meaning = tuple[tuple[Concept, float], ...]
BODY = frozenset(
    [
        "nose",
        "nostrils",
        "lips",
        "mouth",
        "jaw",
        "jawline",
        "chin",
        "cheekbones",
        "cheeks",
        "eyes",
        "brows",
        "ears",
        "face",
        "forehead",
        "skin",
        "hair",
        "hairline",
        "beard",
        "moustache",
        "complexion",
        "pores",
        "eyelids",
        "head",
        "bridge",
        "features",
        "tone",
    ]
)
HAIR_COLOURS = ("black hair", "brown hair", "blond hair", "ginger hair", "grey hair", "white hair", "salt and pepper")
# "big-nosed", "thin-lipped".
_ENDED = _pairs(
    "nose=nosed lips=lipped jaw=jawed chin=chinned face=faced mouth=mouthed ears=eared eyes=eyed forehead=foreheaded "
    "cheekbones=cheekboned"
)
_FACIAL_HAIR = ("beard", "full beard", "goatee", "moustache", "stubble", "sideburns")
_COLOUR_WORDS = {
    "black hair": ("black", "dark", "jet-black"),
    "brown hair": ("brown", "chestnut"),
    "blond hair": ("blond", "fair", "golden", "light"),
    "ginger hair": ("ginger", "red", "auburn", "reddish", "orange"),
    "grey hair": ("grey", "silver", "greying"),
    "white hair": ("white", "snow-white"),
    "salt and pepper": ("salt-and-pepper",),
}


@functools.lru_cache(maxsize=4096)
def _inflected_verb(words: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """smile: smiling, smiles, smiled."""
    first, rest = words[0], words[1:]
    if first.endswith("ie"):
        ing = f"{first[:-2]}ying"
    elif first.endswith("e") and not first.endswith(("ee", "ye", "oe")):
        ing = f"{first[:-1]}ing"
    elif _DOUBLED.search(first) and len(re.findall(r"[aeiouy]+", first)) == 1:
        ing = f"{first}{first[-1]}ing"
    else:
        ing = f"{first}ing"
    return (ing, *rest), (f"{first}s", *rest)


@functools.cache
def phrases_table() -> dict[tuple[str, ...], Meaning]:
    """Every phrase that is understood -> what it means: the table's own, then what the grammar adds."""
    # Pairs of a key and what it means; a plain list, since there are tens of thousands.
    pairs: list[tuple[tuple[str, ...], tuple[Concept, ...]]] = []
    of_skin = {row.name for row in CONCEPT_ROWS if "skin" in row.thing}
    for concept in CONCEPTS:
        for phrase in concept.phrases:
            pairs.append((key_of(phrase.text), (concept,)))
    for concept in CONCEPTS:
        pairs.append((key_of(concept.name), (concept,)))
    # Sizes of parts: every noun with every adjective, before and after it, comparatives, and verbs.
    for concept, part, sense in _PART_CONCEPTS:
        adjectives, verbs = SENSES[sense]
        for noun in map(key_of, _split(part.names)):
            for adjective in _split(adjectives):
                forms = [key_of(adjective), *(((c,)) for c in comparatives(adjective) if is_short(adjective))]
                if adjective == "little":
                    forms.append(("littler",))
                for form in forms:
                    pairs.append(((*form, *noun), (concept,)))
                    # "make the face a little older" is not about a little face.
                    if adjective != "little":
                        pairs.append(((*noun, *form), (concept,)))
            for verb in map(key_of, _split(verbs)):
                for form in (verb, *_inflected_verb(verb)):
                    pairs.append(((*form, *noun), (concept,)))
                    pairs.append(((form[0], *noun, *form[1:]), (concept,)))
        stem = _split(part.names)[0]
        ended = _ENDED.get(stem)
        for adjective in _split(adjectives):
            if ended is not None:
                pairs.append(((*key_of(adjective), ended), (concept,)))
    # Beards of a colour.
    for colour in HAIR_COLOURS:
        for word in _COLOUR_WORDS[colour]:
            for name in _FACIAL_HAIR:
                for phrase in concept_named(name).phrases:
                    if phrase.form == "thing":
                        noun = key_of(phrase.text)
                        pairs.append(
                            (
                                (*key_of(word), *noun),
                                (
                                    concept_named(colour),
                                    concept_named(name),
                                ),
                            )
                        )
                        pairs.append(
                            (
                                (*noun, *key_of(word)),
                                (
                                    concept_named(colour),
                                    concept_named(name),
                                ),
                            )
                        )
                        if len(noun) == 2 and noun[1] in ("beard", "moustache"):
                            both = concept_named(colour), concept_named(name)
                            pairs.append(((noun[0], *key_of(word), noun[1]), both))
                if word == "grey":
                    pairs.append(
                        (
                            ("greyer", *key_of(name)),
                            (
                                concept_named(colour),
                                concept_named(name),
                            ),
                        )
                    )
    # Inflections.
    for concept in CONCEPTS:
        for phrase in concept.phrases:
            key = key_of(phrase.text)
            if phrase.form == "adj" and len(key) == 1 and is_short(key[0]):
                for form in comparatives(key[0]):
                    pairs.append(((form,), (concept,)))
            if phrase.form == "verb" and key:
                for form in _inflected_verb(key):
                    pairs.append((form, (concept,)))
            if phrase.form in ("thing", "comp") and len(key) == 2 and key[1] in BODY:
                if key[0] != "little":
                    pairs.append(((key[1], key[0]), (concept,)))
                for form in comparatives(key[0]) if is_short(key[0]) else ():
                    pairs.append(((form, key[1]), (concept,)))
                    pairs.append(((key[1], form), (concept,)))
            if phrase.form == "person" and key:
                pairs.append(((*key[:-1], f"{key[-1]}s"), (concept,)))
            if phrase.form == "adj" and len(key) == 1 and key[0] not in ("big",):
                for noun in ("face", "expression", "look", "features", "appearance"):
                    pairs.append(((key[0], noun), (concept,)))
                if concept.name in of_skin:
                    pairs.append(((key[0], "skin"), (concept,)))
                    pairs.append((("skin", key[0]), (concept,)))
    table: dict[tuple[str, ...], Meaning] = {}
    for key, meaning in pairs:
        if key:
            table.setdefault(key, tuple((concept, 1.0) for concept in meaning))
    return table


@functools.cache
def impossible_table() -> dict[tuple[str, ...], str]:
    """Words for what cannot be made -> a sentence that says so."""
    table: dict[tuple[str, ...], str] = {}
    for words, sentence in IMPOSSIBLE:
        for word in _split(words):
            if key_of(word) not in phrases_table():
                table.setdefault(key_of(word), sentence)
    return table


@functools.cache
def known_words() -> frozenset[str]:
    """Every single word of every phrase that is understood, in its canonical spelling and as written."""
    found = {word for key in phrases_table() for word in key}
    return frozenset(found | {raw for raw, spelt in _SPELLING.items() if spelt in found})


# ---------------------------------------------------------------------------------------------- what is true of a head


@dataclass(frozen=True, eq=False)
class Fact:
    """Something that can be said of some heads. key: identifies it: (concept's name, degree). phrases: as training may
    use them, and held out ones."""

    key: tuple[str, str]
    concept: Concept
    phrases: tuple[Phrase, ...]
    held_out: tuple[Phrase, ...]
    topic: str
    weight: float


Range = tuple[str, float, float]


def _condition(row: Row, text: str) -> tuple[Range, ...]:
    if text.startswith("@"):
        label, phrase = text[1:].split(":")
        canonical = key_of(phrase)
        word = next(w for w in WORDS[label] if canonical in [key_of(p) for p in w.phrases])
        return ((label, word.low, word.high), *((name, *bounds) for name, bounds in word.also.items()))
    parts = [part.split() for part in text.split(";")]
    return tuple((name, *(float(end) for end in bounds.split(".."))) for name, bounds in parts)  # type: ignore[misc]


_PAIRS = tuple(
    a.name.removesuffix("Left") for a in ATTRIBUTES if a.name.endswith("Left") and a.name[:-4] + "Right" in INDEX
)
_EXPRESSIONS = tuple(i for i, a in enumerate(ATTRIBUTES) if a.group == "expression")
_FEATURES: dict[str, int] = {
    **INDEX,
    **{f"mean:{name}": COUNT + i for i, name in enumerate(_PAIRS)},
    **{f"diff:{name}": COUNT + len(_PAIRS) + i for i, name in enumerate(_PAIRS)},
    "most:expression": COUNT + 2 * len(_PAIRS),
}
_LEFT = np.array([INDEX[f"{name}Left"] for name in _PAIRS])
_RIGHT = np.array([INDEX[f"{name}Right"] for name in _PAIRS])
_FIRST_EXPRESSION, _END_EXPRESSION = _EXPRESSIONS[0], _EXPRESSIONS[-1] + 1
# Heads' labels are float32, the table's ends are not.
_ROUNDING = 1e-6
_TOPICS = {
    **{name: "beard" for name in ("stubble", "beard_chin", "beard_cheeks", "moustache")},
    **{name: "brows" for name in ("brow_density", "brow_thickness")},
    **{name: "hair" for name in ("hair_melanin", "hair_redness", "grey")},
    **{name: "ancestry" for name in ("african", "asian", "european")},
}


# True of most heads, so that saying it tells little.
_SELDOM_SAID = {"closed mouth": 0.07, "neutral": 0.25, "man": 0.2, "woman": 0.2, "clear skin": 0.5, "rested": 0.5}


def features_of(values: Float[Tensor, "N"]) -> NDArray[np.float32]:
    """The attributes, then mean and distance of the sides of each pair of expressions, then the largest expression."""
    flat = values.detach().cpu().numpy().astype(np.float32)
    left, right = flat[_LEFT], flat[_RIGHT]
    most = flat[_FIRST_EXPRESSION:_END_EXPRESSION].max(keepdims=True)
    return np.concatenate([flat, (left + right) / 2, np.abs(left - right), most])


@dataclass(frozen=True, eq=False)
class _Facts:
    facts: tuple[Fact, ...]
    columns: NDArray[np.int64]
    lows: NDArray[np.float32]
    highs: NDArray[np.float32]
    starts: NDArray[np.int64]


@functools.cache
def _all_facts() -> _Facts:
    said: list[tuple[Fact, tuple[Range, ...]]] = []

    def add(concept: Concept, degree: str, conditions: tuple[Range, ...], weight: float) -> None:
        describing = [p for p in concept.phrases if p.form in ("adj", "thing", "person", "clause")]
        if degree != "true":
            describing = [p for p in describing if p.form in ("adj", "thing") and len(p.text.split()) <= 3]
        training = tuple(p for p in describing if not p.held_out)
        if training:
            first = conditions[0][0]
            topic = _TOPICS.get(first, first.partition(":")[2] or first)
            held = tuple(p for p in describing if p.held_out)
            said.append((Fact((concept.name, degree), concept, training, held, topic, weight), conditions))

    for row in CONCEPT_ROWS:
        concept = _BY_NAME[row.name]
        weight = 3.0 if ATTRIBUTES[INDEX[concept.moves[0].attribute]].group == "expression" else 1.5
        for degree, text, share in (
            ("true", row.true, _SELDOM_SAID.get(row.name, 1.0)),
            ("strong", row.strong, 0.7),
            ("slight", row.slight, 0.8),
            ("never", row.never, 0.05),
        ):
            if text:
                add(concept, degree, _condition(row, text), weight * share)
    for concept, _, _ in _PART_CONCEPTS:
        parts = [m for m in concept.moves if ATTRIBUTES[INDEX[m.attribute]].group == "part" and abs(m.add or 0) >= 0.8]
        for degree, least in (("true", 1.0), ("strong", 2.0)):
            # A part that leads is judged by itself; one that comes along has to agree.
            ranges: list[Range] = []
            for i, move in enumerate(parts):
                bound = least if i == 0 else 0.6
                ranges.append((move.attribute, bound, 9.0) if (move.add or 0) > 0 else (move.attribute, -9.0, -bound))
            if ranges:
                add(concept, degree, tuple(ranges), 0.9 if degree == "true" else 0.7)
    lengths = np.array([len(conditions) for _, conditions in said])
    flat = [condition for _, conditions in said for condition in conditions]
    return _Facts(
        tuple(fact for fact, _ in said),
        np.array([_FEATURES[name] for name, _, _ in flat]),
        np.array([low - _ROUNDING for _, low, _ in flat], dtype=np.float32),
        np.array([high + _ROUNDING for _, _, high in flat], dtype=np.float32),
        np.concatenate([[0], np.cumsum(lengths)[:-1]]),
    )


def _true_facts(values: Float[Tensor, "N"]) -> list[Fact]:
    known = _all_facts()
    picked = features_of(values)[known.columns]
    inside = (picked >= known.lows) & (picked <= known.highs)
    return [known.facts[i] for i in np.flatnonzero(np.logical_and.reduceat(inside, known.starts))]


def caption_facts(values: Float[Tensor, "N"]) -> tuple[tuple[str, str], ...]:
    """The keys of all that is clearly true of a head with these attributes: (concept's name, degree), where the degree
    is "true", "strong", "slight" or "never". A caption is true of a head where its keys are among these."""
    return tuple(fact.key for fact in _true_facts(values))


# ---------------------------------------------------------------------------------------------- captions

_STRONGLY = ("very", "extremely", "really", "strikingly")
_SLIGHTLY = ("slightly", "a little", "a bit", "somewhat")
_MUCH = ("very pronounced", "very noticeable", "striking")
_LITTLE = ("slight", "faint", "a hint of", "a touch of")
_PICTURES = ("photo", "portrait", "picture", "photograph", "headshot", "close-up", "studio portrait", "render", "image")
_WITH_THINGS = (
    "{np} with {things}",
    "{a_picture} of {np} with {things}",
    "{np} who has {things}",
    "this is {np} with {things}",
    "{a_picture} of {np}. {subject} {have} {things}",
    "{np}, {things}",
    "{picture} of {np}, {things}",
    "the face of {np} with {things}",
    "{np}, showing {things}",
    "here we see {np} with {things}",
    "{np} having {things}",
    "{picture}, {things}, {np}",
    "{things} on the face of {np}",
    "front view of {np} with {things}",
    "{subject} {have} {things}, {np}",
    "a head of {np} that has {things}",
    "{np} and {things}",
    "you can see {things} on {np}",
)
_WITHOUT_THINGS = (
    "{np}",
    "{a_picture} of {np}",
    "this is {np}",
    "the face of {np}",
    "{picture}, {np}",
    "here we see {np}",
    "{subject} {be} {np}",
    "the head of {np}",
    "{a_picture} that shows {np}",
    "somebody like {np}",
    "front view of {np}",
    "{subject} {look} like {np}",
)
_LISTS = (
    "{list}",
    "{picture}, {list}",
    "{list}, {noun}",
    "{noun}, {list}",
    "{subject}: {list}",
    "a face: {list}",
    "make it {list}",
    "head, {list}",
)
_PREDICATES = (
    "{subject} {be} {adjs}",
    "{subject} {look} {adjs}",
    "someone {adjs}",
    "this {noun} is {adjs}",
    "the {noun} looks {adjs}",
    "a face that looks {adjs}",
    "{subject} {seem} {adjs}",
    "{adjs}",
    "somebody who is {adjs}",
    "the {noun} in this {picture} is {adjs}",
)


def _halves(templates: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Templates for training, and those held out: the plainest is for training, and one at least is held out."""
    held = [text for text in templates[1:] if is_held_out(text)] or [templates[-1]]
    return tuple(text for text in templates if text not in held), tuple(held)


_CAPTION_TEMPLATES = {
    kind: _halves(texts)
    for kind, texts in (
        ("with", _WITH_THINGS),
        ("without", _WITHOUT_THINGS),
        ("list", _LISTS),
        ("predicate", _PREDICATES),
    )
}
_PRONOUNS = {"woman": ("she", "her"), "man": ("he", "his"), "person": ("they", "their")}
_PERSONS = ("person", "face", "someone")


def sample_caption(values: Float[Tensor, "N"], rng: np.random.Generator, held_out: bool = False) -> str:
    """Words that are true of a head with these attributes, in one of thousands of wordings.

    held_out: use the phrases and templates that are never used otherwise, to measure what was learned and not
    remembered.
    """
    return caption_with_facts(values, rng, held_out)[0]


def caption_with_facts(
    values: Float[Tensor, "N"], rng: np.random.Generator, held_out: bool = False
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A caption as `sample_caption`, and the keys of all that it says, which are among `caption_facts`."""
    true = _true_facts(values)
    if held_out:
        # Half of what is said is in words never heard; of the rest only the template is new.
        unheard = [fact for fact in true if fact.held_out]
        true = unheard if unheard and rng.random() < 0.7 else true
    chosen = _chosen(true, rng)
    gender = next((name for name in ("woman", "man") if any(f.key == (name, "true") for f in true)), None)
    return _written(chosen, gender, rng, held_out)


def _chosen(true: Sequence[Fact], rng: np.random.Generator) -> list[Fact]:
    """One to four facts of different topics, weighty ones more often (Efraimidis and Spirakis 2006). At times only one
    of the expression, as prompts are."""
    if not true:
        return []
    keys = rng.random(len(true)) ** (1 / np.array([fact.weight for fact in true]))
    count = (1, 1, 2, 2, 2, 3, 3, 4)[int(rng.integers(8))]
    chosen: dict[str, Fact] = {}
    for i in np.argsort(-keys):
        fact = true[int(i)]
        if fact.topic != "gender" and fact.topic not in chosen and len(chosen) < count:
            chosen[fact.topic] = fact
    return list(chosen.values()) or [true[0]]


@dataclass
class _Said:
    """What a caption is built from: adjectives before the noun, what follows it, things, nouns."""

    before: list[str]
    after: list[str]
    things: list[str]
    nouns: list[str]


def _written(
    chosen: Sequence[Fact], gender: str | None, rng: np.random.Generator, held_out: bool
) -> tuple[str, tuple[tuple[str, str], ...]]:
    said = _Said([], [], [], [])
    keys: list[tuple[str, str]] = []
    for fact in chosen:
        texts = fact.held_out if held_out and fact.held_out else fact.phrases
        phrase = _one_of(texts, rng)
        if phrase.form == "person" and said.nouns:
            texts = [p for p in texts if p.form != "person"]
            if not texts:
                continue
            phrase = _one_of(texts, rng)
        _say(said, phrase, fact.key[1], rng)
        keys.append(fact.key)
    noun = said.nouns[0] if said.nouns else None
    if noun is None and gender is not None and rng.random() < 0.75:
        keys.append((gender, "true"))
        plain = [p.text for p in _BY_NAME[gender].phrases if p.form == "person" and p.held_out == held_out][:8]
        noun = gender if rng.random() < 0.5 or not plain else plain[int(rng.integers(len(plain)))]
    subject, possessive = _PRONOUNS[gender if gender is not None and (gender, "true") in keys else "person"]
    noun = noun or _PERSONS[int(rng.integers(2))]
    text = _filled(said, noun, subject, rng, held_out)
    return re.sub(r"\btheir\b", possessive, text), tuple(dict.fromkeys(keys))


def _one_of(phrases: Sequence[Phrase], rng: np.random.Generator) -> Phrase:
    """Any, the plain ones, which come first in the table, half of the time."""
    count = min(len(phrases), 4) if rng.random() < 0.5 else len(phrases)
    return phrases[int(rng.integers(count))]


def _say(said: _Said, phrase: Phrase, degree: str, rng: np.random.Generator) -> None:
    text = phrase.text
    if phrase.form == "thing":
        bare = _bare(text)
        if degree == "never":
            text = f"no {bare}"
        elif degree in ("strong", "slight"):
            word = (_MUCH if degree == "strong" else _LITTLE)[int(rng.integers(len(_MUCH)))]
            article = "" if bare == text or word.startswith("a ") else ("an " if word[0] in "aeiou" else "a ")
            text = f"{article}{word} {bare}"
        said.things.append(text)
    elif phrase.form == "person":
        said.nouns.append(text)
    elif degree == "never":
        said.after.append(f"not {text}")
    else:
        if degree in ("strong", "slight"):
            text = f"{(_STRONGLY if degree == 'strong' else _SLIGHTLY)[int(rng.integers(len(_STRONGLY)))]} {text}"
        # "A over the moon man" is no English: longer phrases follow the noun.
        after = phrase.form == "clause" or " " in phrase.text or text.startswith("a ")
        (said.after if after else said.before).append(text)


def _filled(said: _Said, noun: str, subject: str, rng: np.random.Generator, held_out: bool) -> str:
    kinds = ["with" if said.things else "without"]
    if not said.things and not said.nouns and (said.before or said.after):
        kinds += ["predicate"]
    if not said.nouns:
        kinds += ["list"]
    kind = kinds[int(rng.integers(len(kinds)))]
    texts = _CAPTION_TEMPLATES[kind][1 if held_out else 0]
    template = texts[int(rng.integers(len(texts)))]
    parts = [*said.before, *said.after, *said.things]
    order = rng.permutation(len(parts))
    picture = _PICTURES[int(rng.integers(len(_PICTURES)))]
    plural = subject == "they"
    phrase = " ".join([*said.before, noun])
    for after in said.after:
        phrase += f" {after}" if after.startswith(("in ", "of ", "from ", "with ")) else f", {after}"
    return template.format(
        np=_with_article(phrase),
        things=_joined(said.things),
        picture=picture,
        a_picture=_with_article(picture),
        subject=subject,
        noun=noun,
        have="have" if plural else "has",
        be="are" if plural else "is",
        look="look" if plural else "looks",
        seem="seem" if plural else "seems",
        adjs=_joined([*said.before, *said.after]),
        list=", ".join(_bare(parts[int(i)]) for i in order) or noun,
    )


def _with_article(text: str) -> str:
    """a or an by the first letter."""
    vowel = text[0].lower() in "aeiou" and not text.startswith(("un-", "european", "uni", "eur"))
    return f"{'an' if vowel or text.startswith('8') else 'a'} {text}"


def _joined(parts: Sequence[str]) -> str:
    if not parts:
        return ""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
