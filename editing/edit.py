"""Text edits of a whole head: clauses with strengths in, an edited `Avatar` out.

An edit is always applied to the untouched base head, and the changes of its clauses are summed in a fixed order. So
removing a clause gives exactly the head without it, a strength of 0 is the identity and the order of clauses cannot
matter.

Nothing is resampled through a generator: the skin changes by the ratio between what generator and painter make of the
two people, texels without a change keep their bytes, and geometry changes by differences (residual transfer,
core.transfer).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from core.avatar import Avatar
from core.errors import LikenessError
from editing.attributes import ATTRIBUTES, COUNT, GROUPS, INDEX, LEAST, MOST, Group, Subject, read_subject
from editing.latents import EditLatent, latent_of, locked, moved, plausible, values_in
from editing.prompts import Clause, Reading, read_prompt
from editing.skin import edited_materials
from editing.words import concept_change

METHODS = ("mixed", "table", "mapper", "directions", "optimisation")
STRENGTHS = (-1.0, 1.5)
PREVIEW_PX = 256  # of the skin's change in a preview
# What people change about themselves without becoming somebody else.
KEPT_FREE = (
    *("stubble", "beard_chin", "beard_cheeks", "moustache", "hair_melanin", "hair_redness", "grey", "scalp_hair"),
    *("lipstick", "lipstick_hue", "eyeliner", "eyeshadow", "blush", "iris_melanin", "iris_green"),
)
MOST_MOVED, LEAST_MOVED = 8, 0.1  # of the list of what moved: entries, and spreads below which nothing is said


@dataclass(frozen=True)
class TextEdit:
    """What is asked for. clauses: text as it was typed, and its strength from -1, the other way, over 0, nothing, to
    1.5. keep_identity: 0 lets the person change, 1 hardly. locks: of
    `editing.latents.LOCKED`, what stays. method: of `METHODS`. model: of
    `editing.text_image.load_model`."""

    clauses: tuple[tuple[str, float], ...] = ()
    keep_identity: float = 0.5
    locks: frozenset[str] = frozenset()
    method: str = "mixed"
    model: str = "bundled"


@dataclass(frozen=True)
class Moved:
    """What an edit changed of one attribute. amount: in years for the age, weights for expressions, spreads over people
    for the rest."""

    name: str
    title: str
    amount: float


@dataclass(frozen=True, eq=False)
class Edited:
    """An edited head. moved: what changed, the most first. latent: where the head is now."""

    avatar: Avatar
    moved: tuple[Moved, ...]
    latent: EditLatent


# A head on the way of an optimisation and the share of the way done; False ends it where it is.
Progress = Callable[[Avatar, float], bool]


class Editor:
    """Edits of one head. The head is read at the first use; after that an edit takes about a second, a preview a
    fraction. Safe to use from several threads."""

    def __init__(self, avatar: Avatar) -> None:
        self.avatar = avatar
        self._lock = threading.Lock()
        self._subject: Subject | None = None

    @property
    def subject(self) -> Subject:
        """Who the head is. Raises FileError as `read_subject` does."""
        with self._lock:
            if self._subject is None:
                self._subject = read_subject(self.avatar)
            return self._subject

    def preview(self, edit: TextEdit) -> Edited:
        """As `apply`, without optimisation and with the skin's change drawn coarsely."""
        if edit.method == "optimisation":
            edit = replace(edit, method="mixed")
        return self._edited(edit, self._latent(edit), PREVIEW_PX)

    def apply(self, edit: TextEdit, progress: Progress | None = None) -> Edited:
        """The head after an edit; without clauses that do anything, the base head itself.

        Raises LikenessError for strengths, locks or methods that there are not, for clauses that say nothing that is
        known (naming what is), and as `editing.text_image.load_model` does.
        """
        latent = self._latent(edit)
        if edit.method == "optimisation" and any(strength for _, strength in edit.clauses):
            latent = self._optimised(edit, latent, progress)
        return self._edited(edit, latent, None)

    def change(self, edit: TextEdit) -> Float[Tensor, "N"]:
        """The change of the head's attributes that the clauses ask for, in the attributes' own units, from `LEAST` to
        `MOST` of each."""
        check(edit)
        values = self.subject.values
        total = torch.zeros(COUNT)
        # Sorted, because sums of floats depend on their order.
        for text, strength in sorted(edit.clauses):
            for clause in clauses_of(text, edit):
                if strength and clause.amount:
                    total = total + _change_of(clause, float(strength), values, edit)
        return (values + _identity_gain(edit.keep_identity) * total).clamp(LEAST, MOST) - values

    def _latent(self, edit: TextEdit) -> EditLatent:
        subject = self.subject
        base = latent_of(subject)
        change = self.change(edit)
        if not bool(change.any()):
            return base
        return locked(base, plausible(base, moved(subject, change), 1.6 - edit.keep_identity), edit.locks)

    def _edited(self, edit: TextEdit, latent: EditLatent, size: int | None) -> Edited:
        subject = self.subject
        base = latent_of(subject)
        if torch.equal(base.vector, latent.vector):
            return Edited(self.avatar, (), latent)
        return Edited(_carried(subject, base, latent, size), moves(base, latent), latent)

    def _optimised(self, edit: TextEdit, start: EditLatent, progress: Progress | None) -> EditLatent:
        from editing.optimise import optimise
        from editing.text_image import load_model

        subject = self.subject
        base = latent_of(subject)
        wanted = [
            (clause.core, strength * clause.amount)
            for text, strength in sorted(edit.clauses)
            for clause in clauses_of(text, edit)
            if strength and clause.amount
        ]
        latent = start
        for step in optimise(load_model(edit.model), subject, start, wanted, edit.keep_identity, edit.locks):
            latent = locked(base, plausible(base, step.latent, 1.6 - edit.keep_identity), edit.locks)
            if progress is not None and step.show:
                if not progress(_carried(subject, base, latent, PREVIEW_PX), step.fraction):
                    break
        return latent


def check(edit: TextEdit) -> None:
    """Raises LikenessError for what no edit can be."""
    low, high = STRENGTHS
    for text, strength in edit.clauses:
        if not low <= strength <= high:  # also true of NaN
            raise LikenessError(f"The strength of a change is {strength:g}. Give a number from {low:g} to {high:g}.")
        if not clauses_of(text, edit):
            reading = reading_of(text, edit.model)
            raise LikenessError(reading.problem or " ".join(word.sentence for word in reading.unknown))
    if not 0 <= edit.keep_identity <= 1:
        raise LikenessError(f"The identity is to be kept by {edit.keep_identity:g}. Give a number from 0 to 1.")
    if edit.method not in METHODS:
        raise LikenessError(f"There is no method {edit.method!r}. The methods are {', '.join(METHODS)}.")


def clauses_of(text: str, edit: TextEdit) -> tuple[Clause, ...]:
    """What a chip's text says, in clauses."""
    return reading_of(text, edit.model).clauses


def reading_of(text: str, model: str) -> Reading:
    """A prompt, read for a text-image model: to one that has seen the world any word may mean something, to the one
    that comes along only its own."""
    return read_prompt(text, open_words=model != "bundled")


def _identity_gain(keep: float) -> Float[Tensor, "N"]:
    """How much of a change is made of each attribute. Above 0.5 less and less of what makes the person, below more."""
    gain = torch.ones(COUNT)
    factor = 1 - 1.4 * (keep - 0.5) if keep > 0.5 else 1 + 0.6 * (0.5 - keep)
    for group in ("person", "part"):
        gain[GROUPS[group]] = factor
    for name in KEPT_FREE:
        gain[INDEX[name]] = 1.0
    return gain


def _change_of(clause: Clause, strength: float, values: Float[Tensor, "N"], edit: TextEdit) -> Float[Tensor, "N"]:
    """The change of one clause, by the method."""
    if edit.method == "table" or (edit.method in ("mixed", "optimisation") and clause.concepts):
        total = torch.zeros(COUNT)
        for concept, amount in sorted(clause.concepts, key=lambda pair: pair[0].name):
            total = total + concept_change(concept, strength * amount, values)
        return total
    from editing.text_image import load_model

    if edit.model == "bundled" and edit.method != "directions":
        from editing.mapper import load_mapper

        return load_mapper().change(clause.core, strength * clause.amount, values)
    from editing.directions import global_change

    return global_change(load_model(edit.model), clause.core, strength * clause.amount, values)


def _carried(subject: Subject, base: EditLatent, latent: EditLatent, size: int | None) -> Avatar:
    """The avatar at another latent. Its own detail stays; see `editing.skin`."""
    avatar = subject.avatar
    assert avatar.latent is not None
    provenance = avatar.provenance
    if subject.exact:
        # A random head is drawn again from its labels, so that the edited one can be edited like any other.
        provenance = replace(provenance, labels=latent.labels())
    return replace(
        avatar,
        shape=avatar.shape if torch.equal(base.group("shape"), latent.group("shape")) else latent.group("shape"),
        expression=latent.group("expression").clamp(0, 1),
        materials=edited_materials(subject, base, latent, size),
        latent=avatar.latent + (latent.group("albedo") - base.group("albedo")),
        provenance=provenance,
    )


def moves(base: EditLatent, latent: EditLatent) -> tuple[Moved, ...]:
    """What changed between two latents of a head, the most first; both sides of an expression as one."""
    found: dict[str, list[tuple[str, float, float, Group]]] = {}
    for attribute, change in zip(ATTRIBUTES, values_in(latent) - values_in(base), strict=True):
        key = attribute.name.removesuffix("Left").removesuffix("Right")
        row = (attribute.title, float(change), float(change) / attribute.spread, attribute.group)
        found.setdefault(key, []).append(row)
    rows: list[tuple[float, Moved]] = []
    for key, sides in found.items():
        title = sides[0][0].removesuffix(" left").removesuffix(" right")
        amount = sum(side[1] for side in sides) / len(sides)
        spreads = sum(side[2] for side in sides) / len(sides)
        own_unit = key == "age_years" or sides[0][3] == "expression"
        if abs(spreads) >= LEAST_MOVED:
            rows.append((abs(spreads), Moved(key, title, round(amount if own_unit else spreads, 2))))
    return tuple(row for _, row in sorted(rows, key=lambda row: (-row[0], row[1].name)))[:MOST_MOVED]
