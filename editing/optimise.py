"""Optimisation: the edit latent moved until pictures of the head have changed as the text says.

Patashnik et al. 2021 ("StyleCLIP", section 4) with the directional loss of Gal et al. 2021 ("StyleGAN-NADA", eq. 1), on
a head instead of a picture: it is seen from several sides at once, through the differentiable renderer. It starts from
where another method left it, since a gradient of 600 numbers finds the near and likely, not the far.

Only what has a gradient is moved: skin through w, shape, expression and the colour of the eyes. What the painter draws
(beard, freckles, make-up) stays as the start has it, and is seen in the pictures.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from core.albedo.bundled import albedo_gan
from core.albedo.model import log_albedo, srgb_from_log
from core.camera import Camera
from core.color import linear_to_srgb, srgb_to_linear
from core.errors import LikenessError
from core.head import HeadModel, load_head
from core.materials import IRIS_RADIUS_UV
from core.shading import attach_to_camera, studio_light
from core.synthesis.people import Labels, iris_colour
from editing.attributes import EXPRESSION_SPREAD, Subject
from editing.directions import text_direction
from editing.latents import LOCKED, EditLatent, GroupName, latent_of, plausible
from editing.skin import edited_materials
from editing.text_image import TextImageModel
from editing.views import camera_of, render_heads

MOVED: tuple[GroupName, ...] = ("albedo", "shape", "expression", "iris")
DECODED_TEXELS = 64  # of the generator's map while optimising: what w draws finer hardly moves a small picture
MAP_TEXELS, EYE_TEXELS = 256, 128
UNITS = {"albedo": 1.0, "shape": 1.0, "expression": EXPRESSION_SPREAD, "iris": EXPRESSION_SPREAD}  # about a deviation
SHOW_EVERY = 4  # steps
IRIS_EDGE = 0.06  # width of the iris' border, of its radius
LEAST_COLOUR = 0.004  # linear; a darker iris would be a ratio of nothing


Coordinates = dict[str, Tensor]  # of what is moved, by `MOVED`


@dataclass(frozen=True)
class OptimiseSettings:
    """How far and how long. Losses are in units of the directional loss, which is from 0 to 2.

    steps: at most. size_px: side of the pictures. yaws_rad: from where the head is seen. rates: of Adam, by group: in
    deviations of w and of shape, in weights of expressions, in shares of the iris' range. augmentations: different
    croppings, turns and backgrounds, one after the other. patience: rounds of all augmentations without `least_gain`
    after which it ends. reach: how far along the text's direction the embedding is to move at amount 1, since a
    direction alone is had by a move that nobody sees; short: of the squared share of that which is missing. likely: of
    the mean square of w and of shape, per squared deviation. near: of the squared distance from the start, which
    another method has found and the pictures are to refine, in deviations. same_look, same_form: at keep_identity 1,
    of the squared change of the pictures' embedding that the text does not ask for, and of the mean squared
    displacement of the surface over (2 mm) squared.
    """

    steps: int = 30
    size_px: int = 112
    yaws_rad: tuple[float, ...] = (-0.5, 0.0, 0.5)
    rates: tuple[tuple[str, float], ...] = (
        ("albedo", 0.15),
        ("shape", 0.1),
        ("expression", 0.06),
        ("iris", 0.03),
    )
    augmentations: int = 4
    patience: int = 2
    least_gain: float = 0.01
    reach: float = 0.3
    short: float = 1.0
    likely: float = 0.02
    near: float = 0.06
    same_look: float = 0.5
    same_form: float = 0.1
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Worn:
    """A head as it looks: its latent, and the maps that it wears, sRGB."""

    latent: EditLatent
    albedo: UInt8[Tensor, "3 U U"]
    eye_albedo: UInt8[Tensor, "3 V V"]


@dataclass(frozen=True, eq=False)
class Step:
    """Where the optimisation is. latent: plausible. loss: before this step was made. fraction: 0..1, 1 at the end.
    show: whether enough has changed since the last that was shown, or it is the last."""

    latent: EditLatent
    loss: float
    fraction: float
    show: bool


@dataclass(frozen=True, eq=False)
class _Shot:
    """One way to look at the head, and what the model makes of the base there."""

    camera: Camera
    background: float
    base: Float[Tensor, "V E"]


def optimise(
    model: TextImageModel,
    subject: Subject,
    start: EditLatent,
    clauses: Sequence[tuple[str, float]],
    keep_identity: float = 0.5,
    locks: Collection[str] = (),
    settings: OptimiseSettings | None = None,
) -> Iterator[Step]:
    """Move the latent from the start so that the head's pictures differ from the unedited one's as the clauses say.

    clauses: words without degree and negation, and amount (`editing.prompts.Clause`). start: where another method's
    edit has the head. keep_identity: 0 .. 1. locks: of `editing.latents.LOCKED`, what stays as the start has it. Yields
    each step as it is made; stop asking for more to cancel. The same arguments give the same steps. Nothing to move, or
    a text that says nothing to the model, yields the start and ends. Raises LikenessError where keep_identity is out of
    range.
    """
    settings = settings or OptimiseSettings()
    if not 0 <= keep_identity <= 1:  # also true of NaN
        raise LikenessError(f"keep_identity was set to {keep_identity}. Give a number from 0 to 1.")
    held = {name for lock in locks for name in LOCKED[lock]}
    groups = [name for name in MOVED if name not in held]
    target, length = _target(model, clauses)
    if not groups or length < 1e-3:
        yield Step(start, 0.0, 1.0, True)
        return
    base = latent_of(subject)
    scene = _Scene(load_head(), _worn(subject, base, base), _worn(subject, base, start))
    shots = _shots(model, scene, settings)
    first = scene.coordinates(start)
    moving = {name: first[name].clone().requires_grad_(True) for name in groups}
    rates = dict(settings.rates)
    adam = torch.optim.Adam([{"params": [moving[name]], "lr": rates[name]} for name in groups])

    best, waited, losses = math.inf, 0, []
    for i in range(settings.steps):
        adam.zero_grad(set_to_none=True)
        shot = shots[i % len(shots)]
        loss = _loss(model, scene, shot, target, length, first, {**first, **moving}, keep_identity, settings)
        loss.backward()
        if "expression" in moving:
            moving["expression"].grad = _symmetric(scene.head.expression_names, moving["expression"].grad)
        if i == 0:
            # Of numbers that hardly matter Adam would move each as far as those that do: a gradient well below the
            # group's usual one counts as little.
            for group, name in zip(adam.param_groups, groups, strict=True):
                gradient = moving[name].grad
                assert gradient is not None
                group["eps"] = max(float(gradient.square().mean().sqrt()), 1e-12)
        adam.step()
        with torch.no_grad():
            for name in ("expression", "iris"):
                if name in moving:
                    moving[name].clamp_(0, 1)
        losses.append(loss.item())
        if len(losses) % len(shots) == 0:
            # Shots differ, so rounds of all of them are compared.
            round_loss = sum(losses[-len(shots) :]) / len(shots)
            waited = 0 if round_loss < best - settings.least_gain else waited + 1
            best = min(best, round_loss)
        last = i + 1 == settings.steps or waited >= settings.patience
        latent = scene.latent({**first, **{name: value.detach().clone() for name, value in moving.items()}})
        fraction = 1.0 if last else (i + 1) / settings.steps
        yield Step(plausible(base, latent), losses[-1], fraction, last or (i + 1) % SHOW_EVERY == 0)
        if last:
            return


def _worn(subject: Subject, base: EditLatent, latent: EditLatent) -> Worn:
    materials = edited_materials(subject, base, latent, MAP_TEXELS)
    return Worn(latent, materials.skin_albedo, materials.eye_albedo)


def _symmetric(names: tuple[str, ...], gradient: Float[Tensor, "E"] | None) -> Float[Tensor, "E"]:
    """The gradient of moving both sides of the face alike. Left to the start: the gaze, what leans to a side, and the
    closing of the lips, which undoes an open jaw and deforms a shut one."""
    assert gradient is not None
    swap = {"Left": "Right", "Right": "Left"}
    result = torch.zeros_like(gradient)
    for i, name in enumerate(names):
        side = next((side for side in swap if name.endswith(side)), "")
        stem = name.removesuffix(side)
        if stem in ("mouth", "jaw", "mouthClose") or stem.startswith("eyeLook"):
            continue
        other = names.index(stem + swap[side]) if side else i
        result[i] = (gradient[i] + gradient[other]) / 2
    return result


def _target(model: TextImageModel, clauses: Sequence[tuple[str, float]]) -> tuple[Float[Tensor, "E"], float]:
    """The direction of all clauses together, of length 1, and the length of their sum; 0 where there is none."""
    total = text_direction(model, "") * 0
    for core, amount in clauses:
        total = total + amount * text_direction(model, core)
    return functional.normalize(total, dim=0), float(total.norm())


def _shots(model: TextImageModel, scene: _Scene, settings: OptimiseSettings) -> list[_Shot]:
    generator = torch.Generator().manual_seed(settings.seed)
    count, size = len(settings.yaws_rad), settings.size_px
    shots = []
    for _ in range(settings.augmentations):
        turn, nod = 0.1 * torch.randn(2, count, generator=generator)
        scale, left, top, grey = torch.rand(4, generator=generator).tolist()
        camera = camera_of(torch.tensor(settings.yaws_rad) + turn, nod, size)
        scale = 1 + 0.15 * scale
        # What is left over by the enlarging is cut anywhere.
        spare = size * (1 - 1 / scale)
        camera = camera.crop_and_resize(left * spare, top * spare, scale, size, size)
        background = 0.6 + 0.35 * grey
        with torch.no_grad():
            shots.append(_Shot(camera, background, model.embed_images(scene.base_pictures(camera, background)).float()))
    return shots


def _loss(
    model: TextImageModel,
    scene: _Scene,
    shot: _Shot,
    target: Float[Tensor, "E"],
    length: float,
    first: Coordinates,
    now: Coordinates,
    keep_identity: float,
    settings: OptimiseSettings,
) -> Float[Tensor, ""]:
    change = model.embed_images(scene.pictures(now, shot.camera, shot.background)).float() - shot.base
    far = change @ target.to(change)
    along = far[:, None] * target.to(change)
    short = (1 - far / (settings.reach * length)).clamp_min(0).square().mean()
    directional = (1 - functional.cosine_similarity(change, target[None].to(change), dim=1)).mean()
    unasked = (change - along).square().sum(1).mean()
    likely = now["albedo"].square().mean() + now["shape"].square().mean()
    near = sum(((now[name] - first[name]) / UNITS[name]).square().sum() for name in MOVED)
    look = settings.same_look * unasked + settings.same_form * scene.displacement(now["shape"])
    directional = directional + settings.short * short
    return directional + settings.likely * likely + settings.near * near + keep_identity * look


class _Scene:
    """The head in coordinates of about one deviation each, and its pictures as a differentiable function of them."""

    def __init__(self, head: HeadModel, base: Worn, start: Worn) -> None:
        self.head, self.generator = head, albedo_gan()
        self.base, self.start = base, start
        with torch.no_grad():
            self._log_skin = log_albedo(_small(start.albedo, MAP_TEXELS))
            self._log_start = log_albedo(self._decoded(start.latent.group("albedo")))
            self._base_skin, self._base_eyes = _small(base.albedo, MAP_TEXELS), _small(base.eye_albedo, EYE_TEXELS)
            self._eyes = srgb_to_linear(_small(start.eye_albedo, EYE_TEXELS))
            self._iris_start = _iris(start.latent.group("iris"))
            self._iris_disc = _disc(self._eyes.shape[-1])
            surface = torch.unique(head.faces[head.part_faces("skin")])
            self._moves_mm = 1000 * head.shape_basis[:, surface].flatten(1)

    def coordinates(self, latent: EditLatent) -> Coordinates:
        """What may move of a latent, w whitened."""
        found: Coordinates = {name: latent.group(name).clone() for name in MOVED}
        found["albedo"] = self.generator.space.whiten(found["albedo"])
        return found

    def latent(self, coordinates: Coordinates) -> EditLatent:
        """The start with other coordinates; those that are the start's leave it as it is, to the bit."""
        first = self.coordinates(self.start.latent)
        changed = {name: value for name, value in coordinates.items() if not torch.equal(value, first[name])}
        if "albedo" in changed:
            # A difference, as whitening leaves out axes along which w hardly varies.
            step = self.generator.space.unwhiten(changed["albedo"]) - self.generator.space.unwhiten(first["albedo"])
            changed["albedo"] = self.start.latent.group("albedo") + step
        return self.start.latent.replaced(**changed)

    def pictures(self, coordinates: Coordinates, camera: Camera, background: float) -> Float[Tensor, "V 3 S S"]:
        """The start's skin, changed as the generator's map changes; its eyes in another colour."""
        space = self.generator.space
        first = space.whiten(self.start.latent.group("albedo"))
        w = self.start.latent.group("albedo") + space.unwhiten(coordinates["albedo"]) - space.unwhiten(first)
        change = (log_albedo(self._decoded(w)) - self._log_start)[None]
        change = functional.interpolate(change, size=self._log_skin.shape[1:], mode="bilinear")[0]
        skin = srgb_from_log(self._log_skin + change)
        ratio = _iris(coordinates["iris"]) / self._iris_start
        eyes = self._eyes * (1 + self._iris_disc * (ratio[:, None, None] - 1))
        return self._seen(coordinates, skin, linear_to_srgb(eyes.clamp(0, 1)), camera, background)

    def base_pictures(self, camera: Camera, background: float) -> Float[Tensor, "V 3 S S"]:
        """The base head, as it is."""
        return self._seen(self.coordinates(self.base.latent), self._base_skin, self._base_eyes, camera, background)

    def displacement(self, shape: Float[Tensor, "K"]) -> Float[Tensor, ""]:
        """Mean squared displacement of the skin's vertices from the base's, over (2 mm) squared."""
        moved = (shape - self.base.latent.group("shape")) @ self._moves_mm
        return moved.reshape(-1, 3).square().sum(1).mean() / 4

    def _decoded(self, w: Float[Tensor, "W"]) -> Float[Tensor, "3 S S"]:
        """The generator's map of at most `DECODED_TEXELS`, without what w does not determine, sRGB 0..1."""
        generator = self.generator.joint.generator
        quiet = [w.new_zeros(1, 1, 1, 1)] * generator.num_layers
        levels = int(math.log2(min(DECODED_TEXELS, generator.size) / 4))
        maps = generator([w[None]], input_is_latent=True, noise=quiet, randomize_noise=False, levels=levels)[0]
        return ((maps[0] + 1) / 2).clamp(0, 1)

    def _seen(
        self, coordinates: Coordinates, skin: Tensor, eyes: Tensor, camera: Camera, background: float
    ) -> Float[Tensor, "V 3 S S"]:
        light = attach_to_camera(studio_light(), camera)
        shape, expression = coordinates["shape"][None], coordinates["expression"][None]
        count = len(camera.focal_px)
        seen = render_heads(
            self.head,
            shape.expand(count, -1),
            expression.expand(count, -1),
            skin[None],
            eyes[None],
            camera,
            light,
            background,
        )
        return linear_to_srgb(seen.color_linear.clamp(0, 1))


def _small(image: UInt8[Tensor, "3 U U"], texels: int) -> Float[Tensor, "3 S S"]:
    """0..1, of at most so many texels a side."""
    side = min(texels, image.shape[-1])
    return functional.interpolate(image[None].float() / 255, size=(side, side), mode="area")[0]


_MELANIN_STEPS = 26  # the bends of `iris_colour` are among them


@functools.cache
def _iris_colours() -> Float[Tensor, "G M 3"]:
    """Colours without and with all green, by melanin from 0 to 1 in even steps."""
    steps = [i / (_MELANIN_STEPS - 1) for i in range(_MELANIN_STEPS)]
    return torch.tensor([[iris_colour(Labels(iris_melanin=m, iris_green=g)) for m in steps] for g in (0.0, 1.0)])


def _iris(iris: Float[Tensor, "2"]) -> Float[Tensor, "3"]:
    """`core.synthesis.people.iris_colour` of melanin and green, with gradients."""
    melanin, green = iris.clamp(0, 1)
    place = melanin * (_MELANIN_STEPS - 1)
    weights = (1 - (place - torch.arange(_MELANIN_STEPS)).abs()).clamp_min(0)
    cold, warm = weights @ _iris_colours()
    return torch.lerp(cold, warm, green).clamp_min(LEAST_COLOUR)


def _disc(size: int) -> Float[Tensor, "{size} {size}"]:
    """1 on the iris of an eye's map, 0 off it. The pupil is nearly black and stays so under any ratio."""
    axis = (torch.arange(size) + 0.5) / size - 0.5
    radius = torch.hypot(axis[None], axis[:, None]) / IRIS_RADIUS_UV
    return ((1 - radius) / IRIS_EDGE + 0.5).clamp(0, 1)
