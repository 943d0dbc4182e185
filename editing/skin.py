"""What an edit does to the maps of a head: the change between two people, carried over to the head's own skin.

A random head is known exactly, so generator and painter draw the other person's map and the change is the whole
difference. Behind a photo's head stands a guess: what an edit adds (freckles, a beard, wrinkles) is drawn over the
photo's skin, but what it takes away lies elsewhere on the photo than on the guess. There the change of colour is
carried over without its fine pattern, and the photo's own spots, lines or hairs are calmed. How skin takes light and
how it is shaped beyond the mesh follows in `editing.surface`, where a head has maps of that.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from core.albedo.bundled import albedo_gan
from core.albedo.model import log_albedo
from core.generation import RELIEF_PX, covered, refined, relief_of, skin_of
from core.head import HeadModel, load_head
from core.materials import Materials, paint_eye
from core.synthesis.features import Features, canvas_of, draw_features
from core.synthesis.heads import paint_eyes
from core.synthesis.people import Person, iris_colour
from core.synthesis.skins import paint_albedo
from core.texture import skin_mask
from core.transfer import changed, enlarged, transferred
from editing.attributes import Subject
from editing.latents import GENERATED, IRIS_LABELS, EditLatent, latent_of, person_after
from editing.surface import HAIRS, LEAST_AMOUNT, SPOTS, Drawn, at_size, bare_skin, edited_surface, kept, smoothed

# Drawn over the skin, each at its own place on everybody.
LAYERS = (
    *("wrinkles", "pores", "stubble", "beard_chin", "beard_cheeks", "moustache", "brow_density", "brow_thickness"),
    *("lipstick", "eyeliner", "eyeshadow", "blush"),
)
# Labels that the relief shows.
GROOVES = ("wrinkles", "sag", "pores", "scars", "moles", "blemishes", "oiliness", "beard_chin", "brow_density")
PATTERN_MM = 2.5  # standard deviation below which the guess's pattern is not the photo's
SPOT_MM, LINE_MM, BEARD_MM = 2.0, 4.0, 14.0  # scale of what is calmed: spots, lines, and around a beard
HAIR_LOG = 0.3  # difference from the face in log albedo that makes a scalp hairy
BEARD_LOG = 0.1  # by which log albedo has to lie below the cheeks' to be a beard's shadow and nothing else
FAR_SHARE = 0.05
HAIR_PATTERN = 0.6  # share of the fine pattern that goes with it: pores stay
# Of a normal map: straight out of the skin.
FLAT = torch.tensor([128, 128, 255])
QUICK_PX = 512  # of the maps in a quick look
PHOTO_PX = 768  # at which changes of a photo's skin are drawn: a photo's face is seldom finer


def edited_materials(subject: Subject, before: EditLatent, after: EditLatent, size: int | None = None) -> Materials:
    """The head's maps after an edit; a map that nothing changes stays the same tensor.

    size: side in texels at which the change is drawn, for a quick look, with maps of the skin of at most `QUICK_PX`.
    """
    head, materials = load_head(), subject.avatar.materials
    if _same(before, after, "albedo", "person", "hair", "detail"):
        skin = materials
    else:
        skin = _skin(head, subject, before, after, size)
    if not _same(before, after, "iris"):
        skin = replace(skin, eye_albedo=_eyes(head, subject, after))
    return skin


def _same(before: EditLatent, after: EditLatent, *groups: str) -> bool:
    return all(torch.equal(before.group(name), after.group(name)) for name in groups)  # pyright: ignore


def _skin(head: HeadModel, subject: Subject, before: EditLatent, after: EditLatent, size: int | None) -> Materials:
    materials, person = subject.avatar.materials, subject.person
    quick = size is not None
    if quick:
        materials = _small(subject)
    full = materials.skin_albedo.shape[-1]
    size = min(size or (full if subject.exact else PHOTO_PX), full)
    labels = after.labels()
    other = person_after(head, person, labels)
    added: Tensor | None = None
    removed: Mapping[str, float] = {}
    shown = other
    if subject.exact:
        change, features = _known_change(head, subject, after, other, size)
    else:
        change, added, shown, features, removed = _guessed_change(head, subject, before, after, other, size)
    change = enlarged(change, full)
    if not subject.exact:
        change = change * _bare_scalp(head, materials.skin_albedo)
    detail = float(after.group("detail"))
    if removed or detail != 1:
        change = change + _calmed(head, materials.skin_albedo, change, features, removed, detail)
    if added is not None:
        change = change + enlarged(added, full)
    albedo, lit = changed(materials.skin_albedo, change, materials.skin_photo)
    done = replace(materials, skin_albedo=albedo, skin_photo=lit)
    if materials.skin_displacement is not None:
        drawn = Drawn(shown, features, asdict(person.labels), labels)
        return replace(done, **edited_surface(head, subject, drawn, detail, quick))
    if quick or (detail == 1 and all(labels[name] == getattr(person.labels, name) for name in GROOVES)):
        return done
    return replace(done, **_relief(head, subject, other, features, detail))


def _small(subject: Subject) -> Materials:
    """The head's maps for a quick look."""
    materials = subject.avatar.materials
    found = {
        name: kept(subject, name, QUICK_PX, functools.partial(_shrunk, getattr(materials, name)))
        for name in ("skin_albedo", "skin_photo")
        if getattr(materials, name) is not None
    }
    return replace(materials, **found)


def _shrunk(image: UInt8[Tensor, "3 U U"]) -> UInt8[Tensor, "3 V V"]:
    if image.shape[-1] <= QUICK_PX:
        return image
    small = functional.interpolate(image[None].float(), size=(QUICK_PX, QUICK_PX), mode="area")[0]
    return (small + 0.5).to(torch.uint8)


def _decoded(subject: Subject, latent: EditLatent) -> Float[Tensor, "3 G G"]:
    """What the generator makes of a latent. What tells the head's layers apart stays."""
    of_head = subject.avatar.latent
    assert of_head is not None
    return albedo_gan().decode(of_head + (latent.group("albedo") - of_head.mean(0)))


def _known_change(
    head: HeadModel, subject: Subject, after: EditLatent, other: Person, size: int
) -> tuple[Float[Tensor, "3 U U"], Features]:
    """The change of log albedo of a head whose person is known, and what is on the skin after it.

    First all changes that the generator has a part in, then the rest. The second step is the painter's alone: brought
    together with a generator that has heard of no beard, a beard would be paler, and lipstick would tint the cheeks.
    """
    person = subject.person
    old, new = asdict(person.labels), asdict(other.labels)
    change = torch.zeros(3, size, size)
    if any(new[name] != old[name] for name in GENERATED) or not _same(latent_of(subject), after, "albedo"):
        between = person_after(head, other, new | {name: old[name] for name in HAIRS})
        features = draw_features(head, between, size)
        painted = paint_albedo(head, between, features, size, None)
        drawn = refined(_decoded(subject, after), painted, covered(features))
        albedo = subject.avatar.materials.skin_albedo
        start = functional.interpolate(albedo[None].float() / 255, size=(size, size), mode="area")[0]
        change = log_albedo(drawn.float() / 255) - log_albedo(start)
        was = log_albedo(painted.float() / 255)
        if all(new[name] == old[name] for name in HAIRS):
            return change, features
    else:

        def painted_before() -> Tensor:
            return paint_albedo(head, person, draw_features(head, person, size), size, None)

        was = log_albedo(kept(subject, "painted", size, painted_before).float() / 255)
    features = draw_features(head, other, size)
    return change + (_painted(head, other, features, size) - was), features


def _painted(head: HeadModel, person: Person, features: Features, size: int) -> Float[Tensor, "3 U U"]:
    """Log albedo of the painter's own map."""
    return log_albedo(paint_albedo(head, person, features, size, None).float() / 255)


def _guessed_change(
    head: HeadModel, subject: Subject, before: EditLatent, after: EditLatent, other: Person, size: int
) -> tuple[Float[Tensor, "3 U U"], Float[Tensor, "3 U U"] | None, Person, Features, Mapping[str, float]]:
    """The change of log albedo of a head whose person is a guess; what is drawn over it besides; who was drawn and what
    is on the skin after it; and which share of what the photo itself may show of each label is taken away."""
    old, new = asdict(subject.person.labels), asdict(other.labels)
    removed = {
        name: 1 - new[name] / old[name]
        for name in (*SPOTS, *LAYERS)
        if old[name] > LEAST_AMOUNT and new[name] < old[name]
    }
    none = dict.fromkeys(SPOTS, 0.0)
    # First all but what is added to the skin, whose pattern is smoothed away; then that, with its pattern.
    common = none | {name: min(old[name], new[name]) for name in LAYERS}
    gained = {name: max(new[name] - old[name], 0.0) for name in SPOTS}
    without = person_after(head, other, new | common)
    features = draw_features(head, without, size)
    painted = paint_albedo(head, without, features, size, None)
    change = torch.zeros(3, size, size)
    start = person_after(head, subject.person, old | none)
    if asdict(start.labels) != asdict(without.labels) or not _same(before, after, "albedo"):

        def was() -> Tensor:
            return skin_of(head, start, _decoded(subject, before), size)[0]

        plain = log_albedo(refined(_decoded(subject, after), painted, covered(features)).float() / 255)
        change = smoothed(plain - log_albedo(kept(subject, "start", size, was).float() / 255), PATTERN_MM)
    added, shown = None, without
    if any(gained.values()) or any(new[name] > common[name] for name in LAYERS):
        shown = person_after(head, other, new | gained)
        features = draw_features(head, shown, size)
        added = _painted(head, shown, features, size) - log_albedo(painted.float() / 255)
    return change, added, shown, features, removed


def _calmed(
    head: HeadModel,
    albedo: UInt8[Tensor, "3 U U"],
    change: Float[Tensor, "3 U U"],
    features: Features,
    removed: Mapping[str, float],
    detail: float,
) -> Float[Tensor, "3 U U"]:
    """What has to be added to the change so that the map's own spots, lines and hairs fade by what is `removed`, and
    its fine detail is `detail` times as strong. Brows, lips, lids and drawn hair are left alone."""
    size = albedo.shape[-1]
    log = log_albedo(albedo.float() / 255) + change
    masks = canvas_of(head, QUICK_PX).masks
    beard, on_lips = at_size(masks["beard"], size).clamp(0, 1), at_size(masks["lips"], size)
    bare = bare_skin(head, features, size)
    added = torch.zeros_like(log)
    for names, scale_mm in ((SPOTS, SPOT_MM), (("wrinkles", "pores"), LINE_MM)):
        share = max((removed.get(name, 0.0) for name in names), default=0.0)
        if share > 0:
            dark = (log - smoothed(log, scale_mm)).clamp(max=0)
            added = added - share * bare * dark
    bearded = max((removed.get(name, 0.0) for name in HAIRS), default=0.0)
    if bearded > 0:
        lips = (3 * smoothed(on_lips[None], LINE_MM)[0]).clamp(0, 1)
        skin = skin_mask(head, size) * (1 - lips)
        where = beard * skin
        clear = (skin - where).clamp(0, 1)
        # In the middle of a beard no clear skin is near: there the whole face's counts.
        mean = (log * clear).sum((1, 2), keepdim=True) / clear.sum()
        near, share = smoothed(log * clear, BEARD_MM), smoothed(clear[None], BEARD_MM)
        target = (near + FAR_SHARE * mean) / (share + FAR_SHARE)
        coarse = smoothed(log, LINE_MM)
        # A beard only darkens: what is as light as the cheeks has none.
        lighter = (target - coarse) * ((target - coarse).mean(0) / BEARD_LOG).clamp(0, 1)
        added = added + bearded * where * (lighter - HAIR_PATTERN * (log - coarse))
    if detail != 1:
        added = added + (detail - 1) * bare * (log - smoothed(log, LINE_MM))
    return added


def _bare_scalp(head: HeadModel, albedo: UInt8[Tensor, "3 U U"]) -> Float[Tensor, "U U"]:
    """1 where a photo's map shows skin, 0 on the hair of the scalp, which is no darker for a darker skin. Told by how
    far the colour lies from the face's."""
    size = albedo.shape[-1]
    face, log = skin_mask(head, size), log_albedo(albedo.float() / 255)
    tone = (log * face).sum((1, 2)) / face.sum()
    unlike = (smoothed(log, SPOT_MM) - tone[:, None, None]).square().mean(0) / HAIR_LOG**2
    scalp = at_size(torch.sigmoid(canvas_of(head, QUICK_PX).hairline / SPOT_MM), size)
    return 1 - scalp * (1 - torch.exp(-0.5 * unlike))


def _relief(
    head: HeadModel, subject: Subject, other: Person, features: Features, detail: float
) -> dict[str, UInt8[Tensor, "..."]]:
    """Normals and roughness after the edit. A photo's head, which has no normals of its own, gets those of what the
    edit has added."""
    roughness, normals = relief_of(head, other, features)
    made = {"skin_roughness": roughness} if subject.exact else {}
    if not subject.exact:
        size = min(len(features.wrinkles), RELIEF_PX)
        start = kept(
            subject,
            "normals",
            size,
            lambda: relief_of(head, subject.person, draw_features(head, subject.person, size))[1],
        )
        normals = (normals.int() - start.int() + FLAT[:, None, None]).clamp(0, 255).to(torch.uint8)
    if detail != 1 and subject.exact:
        normals = (
            ((normals.float() - FLAT[:, None, None]) * torch.tensor([detail, detail, 1.0])[:, None, None])
            .add(FLAT[:, None, None] + 0.5)
            .clamp(0, 255)
            .to(torch.uint8)
        )
    return made | {"skin_normal": normals}


def _eyes(head: HeadModel, subject: Subject, after: EditLatent) -> UInt8[Tensor, "3 E E"]:
    """The map of the eyes with irises of another colour, their own fibres and veins kept."""
    eyes = subject.avatar.materials.eye_albedo
    size, person = eyes.shape[-1], subject.person
    other = replace(person, labels=replace(person.labels, **{name: after.labels()[name] for name in IRIS_LABELS}))
    if subject.exact:
        return paint_eyes(head, other, size)
    start, end = (paint_eye(iris_colour(p.labels), size).float() / 255 for p in (person, other))
    return transferred(eyes, start, end)[0]
