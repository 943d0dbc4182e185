"""Lines of the relaxed face: where they run, in which order they come, how deep they get.

Permanent lines stand across the muscle whose pull made them, mostly as the relaxed skin tension lines run (Borges 1984,
"Relaxed skin tension lines (RSTL) versus other skin lines", which tells the two apart): horizontal on the forehead,
upright between the brows, a fan at the outer corner of the eye, spokes around the mouth. Folds come where skin that
sags meets skin that is fastened: beside nose and mouth, under the eye. Lines around the eyes are first, in the
thirties, then forehead and brows, from fifty the lips, cheeks, ears and neck; a net of tertiary lines covers sun-worn
cheeks last. That order is ours. How deep: Lemperle, Holmes, Cohen and Lemperle 2001, "A classification of facial
wrinkles", whose depths differ by place as ours do not: from about 0.1 mm (just perceptible) to more than 0.8 mm (very
deep).

Every line has a place of its own and an onset in 0..1: growing wrinkles only deepen and lengthen what the seed has
laid down. Curves live in the continuous coordinates of the atlas, and their widths are millimetres on the
template, so that a map of another size shows the same lines.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, uniform_filter
from torch import Tensor
from torch.nn import functional

from core.atlas import atlas_lookup, dilate, positions
from core.head import HeadModel, SameHead
from core.synthesis.painting import smooth_step
from core.synthesis.people import Labels

Array = np.ndarray
Number = float | int

CHART_SIDE = 256  # texels of the map from which curves read the atlas' local stretch
FOLD_SIDE = 256  # texels of the map of soft shoulders, which are far wider than one of its texels
SEGMENT_MM = 1.2  # curves are drawn as straight pieces of about this length
NET_DEPTH_MM = 0.09


def wrinkle_depth(head: HeadModel, labels: Labels, seed: int, size: int) -> Float[Tensor, "{size} {size}"]:
    """Depth of all lines and folds below the smooth skin, in metres, >= 0, on the skin map.

    labels: `wrinkles` deepens the lines, `sag` the folds (which deepen a little with wrinkles too), `gender` makes
    lines about the lips likelier on women; nothing else is read. seed: draws places, numbers and gaps. At every
    texel the depth grows with wrinkles and with sag, and is exactly 0 where both are 0. Texels off the skin repeat
    the nearest skin. All zeros for a head without "mediapipe" landmarks, where the lines' places are not known.
    """
    strength = float(labels.wrinkles)
    fold_strength = 1 - (1 - float(labels.sag)) * (1 - 0.35 * strength)
    if "mediapipe" not in head.landmarks or fold_strength <= 0:
        return torch.zeros(size, size, device=head.template.device)
    chart, lookup = _chart(SameHead(head)), _texels(SameHead(head), size)
    lines, folds = _lines(chart, seed, labels.gender)
    grooves = [family.grown(fold_strength) for family in folds]
    if strength > 0:
        grooves += [family.grown(strength) for family in lines]
    sharp, soft = _draw_apart(grooves, chart, size)
    depth_mm = sharp + soft
    depth_mm = depth_mm + _neck(lookup, seed, size, strength, fold_strength)
    if strength > 0:
        depth_mm = depth_mm + _net(lookup, seed, size, strength)
    filled = depth_mm.flatten()[lookup.nearest]
    return (filled / 1000).to(head.template.device)


@dataclass(frozen=True)
class Fold:
    """How one kind of line folds when its muscle pulls hardest: on a child's skin, and in old age. depth_mm: of the
    deepest; below 0 for what bulges. width: over that of the permanent lines. rolled: depth of the valley about each
    line, three times as wide, as a share of the line's: skin that is pushed together rolls before it creases."""

    depth_mm: tuple[float, float]
    width: tuple[float, float] = (1.5, 1.0)
    rolled: float = 0.0


# Name -> the lines it is made of. Depths by eye: no measurement of moving skin gives them all.
FOLDS: dict[str, dict[str, Fold]] = {
    "forehead": {
        "forehead": Fold((0.75, 1.2), (1.4, 1.0), 0.8),
        "forehead_short": Fold((0.04, 0.4)),
    },
    "glabella": {"frown": Fold((0.8, 0.95), (1.5, 1.25), 0.6)},
    "bunny": {"bunny": Fold((0.6, 0.75), rolled=0.5), "across_the_middle": Fold((0.5, 0.7), rolled=0.5)},
    "crowsFeet": {"crows_feet": Fold((0.45, 0.65), (1.3, 1.0), 0.4), "crows_forks": Fold((0.1, 0.3))},
    "lowerLid": {"lower_lid": Fold((0.3, 0.45), rolled=0.4)},
    "nasolabial": {
        "smile": Fold((0.3, 0.5), (1.6, 1.2)),
        "smile_fold": Fold((1.2, 1.6), (1.0, 1.0)),
        "cheek_cushion": Fold((-0.8, -1.0), (1.0, 1.0)),
        "cheek_lines": Fold((0.1, 0.4), rolled=0.4),
    },
    "lips": {"lip_spokes": Fold((0.35, 0.65), rolled=0.5)},
    "mouthCorner": {"marionette": Fold((0.25, 0.5), (1.8, 1.3)), "marionette_fold": Fold((0.4, 0.8), (1.2, 1.2))},
    "chin": {"chin_crease": Fold((0.4, 0.6), (1.8, 1.3), 0.5), "chin_pebbles": Fold((0.28, 0.4))},
}
# What breaks a permanent line does not break a fold: skin that is pushed together gives along a whole line. Over what
# share of a line its depth is evened out, and how much of that the places reach where the permanent line is broken.
EVEN_SHARE, FOLDED_SHUT = 0.12, 0.9
GROWN = (0.7, 1.0)  # how much of its lines a fold has, as a strength of permanent ones; on a child, in old age


def fold_grooves(head: HeadModel, strength: float, seed: int) -> dict[str, list[Grooves]]:
    """The grooves that expressions fold at their fullest, by the names of `FOLDS`, both sides together.

    strength: 0 a child's few, round and shallow folds, 1 the many deep ones of old age. They run where permanent lines
    of the same seed do: those are what folds leave behind. None for a head without "mediapipe" landmarks.
    """
    if "mediapipe" not in head.landmarks:
        return {name: [] for name in FOLDS}
    lines = _families(_chart(SameHead(head)), seed)

    def between(ends: tuple[float, float]) -> float:
        return float(np.interp(strength, (0, 1), ends))

    result: dict[str, list[Grooves]] = {name: [] for name in FOLDS}
    for name, parts in FOLDS.items():
        for part, fold in parts.items():
            grooves = [family.grown(between(GROWN)) for family in lines[part]]
            deepest = max(g.depth_mm.max() for g in grooves)
            scale = between(fold.depth_mm) / max(deepest, 1e-6)
            for g in grooves:
                depth = g.depth_mm * scale
                even = gaussian_filter1d(depth, EVEN_SHARE * depth.shape[1], axis=1, mode="nearest")
                closed = np.maximum(depth, np.minimum(FOLDED_SHUT * even, np.abs(depth).max()))
                line = replace(g, depth_mm=closed if scale > 0 else depth, width_mm=g.width_mm * between(fold.width))
                result[name].append(line)
                if fold.rolled:
                    valley = replace(line, depth_mm=even * fold.rolled, width_mm=line.width_mm * 3, soft=True)
                    result[name].append(valley)
    return result


def groove_depth(
    head: HeadModel, grooves: list[Grooves], size: int
) -> tuple[Float[Tensor, "{size} {size}"], Float[Tensor, "{size} {size}"]]:
    """Grooves drawn on the skin map, sharp ones and soft ones apart; bulges are grooves of negative depth. Depth in
    millimetres. Texels off the skin repeat the nearest skin."""
    if "mediapipe" not in head.landmarks:
        flat = torch.zeros(size, size, device=head.template.device)
        return flat, flat
    chart, nearest = _chart(SameHead(head)), atlas_lookup(head, size).nearest.cpu()
    bulges = [replace(g, depth_mm=-g.depth_mm) for g in grooves if g.depth_mm.min() < 0]
    sharp, soft = _draw_apart(grooves, chart, size)
    if bulges:
        raised_sharp, raised_soft = _draw_apart(bulges, chart, size)
        sharp, soft = sharp - raised_sharp, soft - raised_soft
    return sharp.flatten()[nearest].to(head.template.device), soft.flatten()[nearest].to(head.template.device)


def atlas_mm(head: HeadModel) -> float:
    """About how many millimetres of the face one unit of the atlas spans; its places differ by a third."""
    chart = _chart(SameHead(head))
    return float(np.median(np.sqrt(np.abs(np.linalg.det(chart.at(chart.to_mm, chart.uv))))))


# ------------------------------------------------------------------------------------------- the atlas, in millimetres


@dataclass(frozen=True, eq=False)
class _Chart:
    """A head's landmarks and the local stretch of its atlas.

    uv: ``[L, 2]``. mirror: ``[L]`` landmark across the middle. to_uv: ``[C, C, 2, 2]`` takes millimetres along the
    skin, towards the head's left and upwards, to atlas coordinates; to_mm is its inverse. Row 0 is v = 1.
    """

    uv: Array
    mirror: NDArray[np.int64]
    to_uv: Array
    to_mm: Array

    def at(self, maps: Array, uv: Array) -> Array:
        """The 2x2 matrices of one of the maps at points ``[..., 2]``."""
        column = np.clip((uv[..., 0] * CHART_SIDE).astype(np.int64), 0, CHART_SIDE - 1)
        row = np.clip(((1 - uv[..., 1]) * CHART_SIDE).astype(np.int64), 0, CHART_SIDE - 1)
        return maps[row, column]

    def moved(self, uv: Array, step_mm: Array) -> Array:
        """Points ``[..., 2]`` moved along the skin."""
        return uv + np.einsum("...ij,...j->...i", self.at(self.to_uv, uv), step_mm)

    def difference_mm(self, start: Array, end: Array) -> Array:
        """From start to end along the skin, for points close to one another."""
        return np.einsum("...ij,...j->...i", self.at(self.to_mm, (start + end) / 2), end - start)


@functools.lru_cache(maxsize=2)
def _chart(key: SameHead) -> _Chart:
    head = key.head
    embedding, lookup = head.landmarks["mediapipe"], atlas_lookup(head, CHART_SIDE)
    uv = (head.uv[head.uv_faces[embedding.face_index]] * embedding.barycentric[..., None]).sum(1)
    points = head.landmark_points("mediapipe", head.template)
    mirror = torch.cdist(points * points.new_tensor([-1, 1, 1]), points).argmin(1)

    corners, chart = head.template[head.faces].double(), head.uv[head.uv_faces].double()
    edges, chart_edges = corners[:, 1:] - corners[:, :1], chart[:, 1:] - chart[:, :1]  # rows: two edges
    flat = (chart_edges[:, 0, 0] * chart_edges[:, 1, 1] - chart_edges[:, 0, 1] * chart_edges[:, 1, 0]).abs() < 1e-12
    chart_edges = torch.where(flat[:, None, None], torch.eye(2).to(chart_edges), chart_edges)
    stretch = torch.linalg.solve(chart_edges, edges).transpose(1, 2)  # [F, 3, 2]: metres per unit of u, v
    normal = functional.normalize(torch.linalg.cross(edges[:, 0], edges[:, 1]), dim=1)
    above = torch.tensor([0.0, 1.0, 0.0]).to(normal)
    up = functional.normalize(above - (normal @ above)[:, None] * normal, dim=1)
    left = torch.linalg.cross(up, normal)
    to_mm = 1000 * torch.stack([left, up], 1) @ stretch
    grid = dilate(to_mm[lookup.face_index.clamp_min(0)].permute(2, 3, 0, 1), lookup.inside).cpu().numpy()
    # Neighbouring triangles stretch by steps: smooth.
    grid = np.array([[uniform_filter(one, 7) for one in row] for row in grid]).transpose(2, 3, 0, 1)
    return _Chart(uv.double().cpu().numpy(), mirror.cpu().numpy(), np.linalg.inv(grid), grid)


@dataclass(frozen=True, eq=False)
class _Texels:
    """What each texel of a size shows. nearest ``[U, U]`` as in `AtlasLookup`; the neck's and the net's texels by
    row-major index with their places in millimetres (``[N]``, ``[N, 3]``), texel spacings and weights 0..1."""

    nearest: Tensor
    neck: Tensor
    neck_place: Tensor
    neck_spacing: Tensor
    neck_weight: Tensor
    net: Tensor
    net_place: Tensor
    net_weight: Tensor
    net_direction: Tensor  # [N, 3] unit, the relaxed skin tension line


@functools.lru_cache(maxsize=6)
def _texels(key: SameHead, size: int) -> _Texels:
    head = key.head
    lookup = atlas_lookup(head, size)
    place = positions(head, head.template, size).cpu() * 1000
    points = head.landmark_points("mediapipe", head.template).cpu() * 1000
    inside, flat = lookup.inside.cpu(), place.reshape(-1, 3)
    chin, brow, eye, corner, nose = points[152], points[9], points[263], points[291], points[1]
    x, y, z = place.unbind(-1)

    # The neck: below the jaw, whose edge rises towards the ear.
    ear = points[361]
    jaw = torch.lerp(chin[1], ear[1] - 15, ((chin[2] - z) / (chin[2] - ear[2])).clamp(0, 1) ** 1.5)
    neck_weight = smooth_step(jaw - 8, jaw - 18, y) * inside * smooth_step(ear[2] - 45, ear[2] - 15, z)
    neck = torch.nonzero(neck_weight.flatten() > 0).squeeze(1)
    down, across = place.diff(dim=0, append=place[-1:]), place.diff(dim=1, append=place[:, -1:])
    spacing = torch.maximum(down.norm(dim=-1), across.norm(dim=-1)).clamp(max=6)

    def near(centre: Tensor, reach: tuple[int, int, int]) -> Tensor:
        """On both sides of the face."""
        offset = torch.stack([x.abs() - centre[0].abs(), y - centre[1], z - centre[2]], -1)
        return torch.exp(-((offset / torch.tensor(reach)) ** 2).sum(-1))

    cheek = points[280]
    net_weight = torch.maximum(near(cheek - torch.tensor([0, 14.0, 0]), (22, 26, 60)), near(eye, (20, 20, 40)))
    net_weight = torch.maximum(net_weight, 0.8 * near(points[145] - torch.tensor([0, 4.0, 0]), (18, 8, 30)))
    net_weight = net_weight * smooth_step(corner[0] - 18, corner[0] - 4, x.abs() + 0.35 * (y - corner[1]).clamp_min(0))
    net_weight = (
        net_weight * inside * smooth_step(brow[1] + 4, brow[1] - 8, y) * smooth_step(nose[2] - 85, nose[2] - 60, z)
    )
    net = torch.nonzero(net_weight.flatten() > 0.02).squeeze(1)
    # Over the cheek tension lines fall outwards, steeper towards the mouth; beside the eye they fan out level.
    steep = smooth_step(eye[1] - 4, corner[1], flat[net, 1]) * 1.1
    side = torch.where(flat[net, 0] > 0, 1.0, -1.0)
    direction = torch.stack([side * torch.cos(steep), -torch.sin(steep), torch.zeros_like(steep)], 1)
    return _Texels(
        nearest=lookup.nearest.cpu(),
        neck=neck,
        neck_place=flat[neck],
        neck_spacing=spacing.flatten()[neck],
        neck_weight=neck_weight.flatten()[neck],
        net=net,
        net_place=flat[net],
        net_weight=net_weight.flatten()[net],
        net_direction=direction,
    )


# -------------------------------------------------------------------------------------------------- families of lines


@dataclass(frozen=True, eq=False)
class Grooves:
    """Lines as they are drawn. points: ``[N, M, 2]`` in the atlas, v upwards. depth_mm: ``[N, M]``, 0 where a line is
    not (yet) seen. width_mm: ``[N]``, half the groove's width at a third of its depth. soft: the broad shoulders of a
    fold, added to the sharp lines instead of joining them."""

    points: Array
    depth_mm: Array
    width_mm: Array
    soft: bool = False


@dataclass(frozen=True, eq=False)
class _Family:
    """Lines of one kind. points: ``[N, M, 2]`` in the atlas. depth_mm: ``[N, M]`` when fully grown. onset: ``[N, M]``
    the strength at which each point begins to sink, >= 1 never. width_mm: ``[N]``, half the groove's width at a third
    of its depth. soft: the broad shoulders of a fold, added to the sharp lines instead of joining them."""

    points: Array
    depth_mm: Array
    onset: Array
    width_mm: Array
    soft: bool = False

    def with_depth(self, factor: float) -> _Family:
        return replace(self, depth_mm=self.depth_mm * factor)

    def grown(self, strength: float) -> Grooves:
        """At this strength: of no depth at each point's onset, then deeper with strength."""
        first = self.onset.min(1, keepdims=True)
        grown = np.clip((strength - self.onset) / np.maximum(1.05 - first, 0.2), 0, 1) ** 0.8
        return Grooves(self.points, self.depth_mm * grown, self.width_mm, self.soft)


class _Side:
    """Draws one side of the face. `both` gives the same numbers on either side, `own` this side's alone."""

    def __init__(self, chart: _Chart, left: bool, both: np.random.Generator, own: np.random.Generator) -> None:
        self.chart, self.left, self.both, self.own = chart, left, both, own

    def landmark(self, *index: int) -> Array:
        """Atlas coordinates of landmarks, named on the person's right side as MediaPipe numbers them."""
        which = np.asarray(index)
        return self.chart.uv[self.chart.mirror[which] if self.left else which]

    def between(self, *pairs: tuple[int, int, float]) -> Array:
        """Points so far on the way from one landmark to another."""
        start, end = self.landmark(*(a for a, _, _ in pairs)), self.landmark(*(b for _, b, _ in pairs))
        return start + (end - start) * np.array([t for _, _, t in pairs])[:, None]

    def outwards(self, out_mm: Array | Number, up_mm: Array | Number) -> Array:
        """A step along the skin, away from the middle of the face and up."""
        out, up = np.broadcast_arrays(np.asarray(out_mm, float), np.asarray(up_mm, float))
        return np.stack([out if self.left else -out, up], -1)

    def about(self, mean: Array | Number, spread: Number, shape: tuple[int, ...] | int) -> Array:
        """Numbers about a mean that the two sides share in part: their correlation is 0.7."""
        return mean + spread * (0.84 * self.both.normal(size=shape) + 0.55 * self.own.normal(size=shape))

    def walk(self, start: Array, angle: Array, length_mm: Array, count: int = 12) -> Array:
        """Curves from points ``[N, 2]`` along the skin; angle ``[N, count]`` in radians, 0 outwards, 90 degrees up."""
        points, step = [np.asarray(start, float)], length_mm / (count - 1)
        for k in range(count - 1):
            heading = angle[:, k]
            points.append(self.chart.moved(points[-1], self.outwards(step * np.cos(heading), step * np.sin(heading))))
        return np.stack(points, 1)

    def family(self, points: Array, depth_mm: Array | Number, width_mm: Array | Number, onset: Array | Number, **more):
        return _family(self.chart, self.own, points, depth_mm, width_mm, onset, **more)


def _family(
    chart: _Chart,
    rng: np.random.Generator,
    points: Array,
    depth_mm: Array | Number,
    width_mm: Array | Number,
    onset: Array | Number,
    sway_mm: Number = 0.25,
    gaps: Number = 0.35,
    taper: tuple[Number, Number] = (1.0, 1.0),
    uneven: Number = 0.25,
    soft: bool = False,
) -> _Family:
    """Lines along points ``[N, M, 2]``: they sway, break where the skin resists (`gaps`), and reach their ends last.

    depth_mm, width_mm, onset: per line, of its strongest part. uneven: relative spread of the depth along it.
    taper: how gently it fades at its start and its end, 0 for an end that is as early as the middle. soft: the result
    is a fold's shoulders (`_Family`).
    """
    count, length = points.shape[:2]
    s = np.linspace(0, 1, length)
    along = np.gradient(points, axis=1)
    across = np.einsum("...ij,...j->...i", chart.at(chart.to_mm, points), along) @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    length_mm = np.linalg.norm(across, axis=-1).sum(1, keepdims=True)
    across = across / np.linalg.norm(across, axis=-1, keepdims=True).clip(1e-9)
    at_mm = s * length_mm
    points = chart.moved(points, across * (sway_mm * _waves(rng, at_mm, 14, 70))[..., None])

    head, tail = taper
    middle = head / max(head + tail, 1e-6)
    before, after = np.clip(1 - s / max(middle, 1e-6), 0, 1), np.clip((s - middle) / max(1 - middle, 1e-6), 0, 1)
    fade = np.where(s < middle, head * before**2.5, tail * after**2.5)
    onset = np.broadcast_to(np.asarray(onset, float), count)[:, None]
    broken = gaps * np.clip(_waves(rng, at_mm, 8, 40), 0, 2)
    begins = onset + (1.05 - onset) * np.clip(fade + 0.5 * broken, 0, 1)
    uneven = np.clip(1 + uneven * _waves(rng, at_mm, 5, 25), 0.5, 1.4)
    depth = np.broadcast_to(np.asarray(depth_mm, float), count)[:, None] * uneven
    return _Family(points, depth, begins, np.broadcast_to(np.asarray(width_mm, float), count), soft)


def _waves(rng: np.random.Generator, at_mm: Array, shortest_mm: Number, longest_mm: Number) -> Array:
    """Smooth noise of about unit spread along lines, from places ``[N, M]`` on them."""
    size = (len(at_mm), 1, 4)
    wavelength = shortest_mm * (longest_mm / shortest_mm) ** rng.uniform(0, 1, size)
    phase = rng.uniform(0, 2 * np.pi, size)
    # A wave as long as the line sways more than a short one.
    weight = wavelength / wavelength.max(2, keepdims=True)
    waves = (weight * np.sin(2 * np.pi * at_mm[..., None] / wavelength + phase)).sum(2)
    return waves / np.sqrt(0.5 * (weight**2).sum(2))


def _through(control: Array, count: int) -> Array:
    """Smooth curves through control points ``[N, P, 2]`` (centripetal would not differ: they are evenly spaced):
    Catmull-Rom splines, sampled at `count` places."""
    control = np.asarray(control, float)
    before, after = 2 * control[:, :1] - control[:, 1:2], 2 * control[:, -1:] - control[:, -2:-1]
    padded = np.concatenate([before, control, after], 1)
    t = np.linspace(0, control.shape[1] - 1, count)
    k = np.minimum(t.astype(np.int64), control.shape[1] - 2)
    f = (t - k)[:, None]
    p0, p1, p2, p3 = (padded[:, k + j] for j in range(4))
    return 0.5 * (2 * p1 + (p2 - p0) * f + (2 * p0 - 5 * p1 + 4 * p2 - p3) * f**2 + (3 * p1 - p0 - 3 * p2 + p3) * f**3)


def _lines(chart: _Chart, seed: int, gender: Number) -> tuple[list[_Family], list[_Family]]:
    """All lines, which follow `wrinkles`, and all folds, which follow `sag`. What is drawn at random depends on the
    seed alone, family by family, so that no label moves a line."""
    drawn = _families(chart, seed)
    drawn["lip_spokes"] = [f.with_depth(1.1 - 0.6 * gender) for f in drawn["lip_spokes"]]
    lines, folds = ([f for name in names for f in drawn[name]] for names in (LINES, SAGGING))
    return lines, folds


def _families(chart: _Chart, seed: int) -> dict[str, list[_Family]]:
    """Everything that a seed lays down, by name, both sides together."""
    drawn = {"forehead": _prone(_forehead(chart, np.random.default_rng([seed, 0])), seed, 0)}
    for number, paired in PAIRED.items():
        families = []
        for left in (False, True):
            both, own = np.random.default_rng([seed, number]), np.random.default_rng([seed, number, 1 + left])
            families += _prone(paired(_Side(chart, left, both, own)), seed, number)
        drawn[paired.__name__.removeprefix("_")] = families
    for whole, rest in ("forehead", "forehead_short"), ("crows_feet", "crows_forks"):
        drawn[whole], drawn[rest] = drawn[whole][::2], drawn[whole][1::2]
    for whole in ("nasolabial", "marionette", "smile"):
        drawn[whole], drawn[whole + "_fold"] = ([f for f in drawn[whole] if f.soft == soft] for soft in (False, True))
    drawn["across_the_middle"] = _prone(_across_the_middle(chart, np.random.default_rng([seed, 20])), seed, 20)
    drawn["chin_crease"] = _prone([_chin_crease(chart, np.random.default_rng([seed, 21]))], seed, 21)
    drawn["chin_pebbles"] = [_chin_pebbles(chart, np.random.default_rng([seed, 24]))]
    return drawn


def _prone(families: list[_Family], seed: int, number: int) -> list[_Family]:
    """Which lines come first and deepest is a matter of habit: the brow that frowns, the eye that smiles."""
    depth = np.random.default_rng([seed, number, 3]).uniform(0.55, 1.15)
    return [f.with_depth(depth) for f in families]


def _forehead(chart: _Chart, rng: np.random.Generator) -> list[_Family]:
    """Level lines over the frontal muscle, between brows and hair, dipping or level at the middle, from one brow's
    outer third to the other's, and shorter ones between them."""
    low = [63, 105, 66, 107, 9, 336, 296, 334, 293]
    high = [103, 103, 67, 109, 10, 338, 297, 332, 332]
    lower, upper = chart.uv[low], chart.uv[high]
    upper[[0, 8]] += 0.6 * (upper[[0, 8]] - upper[[2, 6]]) * [1, 0.2]
    count = 6
    height = (np.arange(count) + 0.9 + rng.uniform(-0.3, 0.3, count)) / (count - 0.1)  # 0 brow, 1 hairline
    order = rng.permutation(count)
    # The brows' own arch fades upwards; a slant and a sag of the line's own remain.
    place = np.linspace(-1, 1, len(low))
    level = lower.mean(0, keepdims=True) * [0, 1] + lower * [1, 0]
    start = level + (lower - level) * 0.75

    def at_height(height: Array, wander: Number) -> Array:
        n = len(height)
        slant, sag = rng.normal(0, 0.02, (n, 1)), rng.normal(-0.02, 0.03, (n, 1))
        rise = height[:, None] + slant * place + sag * place**2 + wander * rng.normal(0, 1, (n, len(low)))
        return _through(start + rise[..., None] * (upper - start), 90)

    s = np.linspace(-1, 1, 90)
    main = _family(
        chart,
        rng,
        at_height(height, 0.008),
        depth_mm=rng.uniform(0.4, 0.8, count),
        width_mm=rng.uniform(0.7, 1.15, count),
        onset=0.06 + 0.5 * order / count + rng.uniform(0, 0.1, count),
        sway_mm=0.4,
        gaps=0.5,
        taper=(0.9, 0.9),
    )
    one_sided = np.clip(rng.normal(0, 0.35, (count, 1)) * s, 0, None)  # some lines are deeper on one half
    # Short ones between them, each about a place of its own.
    few = 14
    short = _family(
        chart,
        rng,
        at_height(rng.uniform(0.06, 1.1, few), 0.012),
        depth_mm=rng.uniform(0.15, 0.35, few),
        width_mm=rng.uniform(0.45, 0.7, few),
        onset=rng.uniform(0.12, 0.6, few),
        sway_mm=0.4,
        gaps=0.3,
        taper=(0, 0),
    )
    away = np.abs(s - rng.uniform(-0.8, 0.8, (few, 1))) / rng.uniform(0.12, 0.45, (few, 1))
    return [
        _Family(main.points, main.depth_mm, main.onset + one_sided, main.width_mm),
        _Family(short.points, short.depth_mm, short.onset + (1.05 - short.onset) * away**2.5, short.width_mm),
    ]


def _crows_feet(side: _Side) -> list[_Family]:
    """A fan from the outer corner of the eye: the upper lines rise, the lower ones fall; some fork."""
    count = 9
    spread = np.linspace(28, -60, count) + side.about(0, 4, count)
    angle = np.deg2rad(spread)
    origin = np.repeat(side.landmark(33), count, 0)
    start_mm = side.about(8.0, 2.0, count).clip(5, 14)
    start = side.chart.moved(origin, side.outwards(start_mm * np.cos(angle), start_mm * np.sin(angle)))
    length = side.about(17, 6, count).clip(7, 32) * np.where(np.abs(spread) > 45, 0.75, 1)
    s = np.linspace(0, 1, 20)
    # They leave the eye along its lids and then level out above, and turn down into the cheek below.
    bend = side.about(0.0, 0.22, (count, 1)) - 0.45 * np.clip(np.abs(spread) / 40, 0, 1)[:, None]
    points = side.walk(start, angle[:, None] + bend * s, length, 20)
    order = side.both.permutation(count)
    onset = 0.03 + 0.5 * order / count + side.own.uniform(0, 0.08, count)
    main = side.family(
        points, side.own.uniform(0.18, 0.48, count), side.own.uniform(0.5, 0.95, count), onset, sway_mm=0.5, gaps=0.4,
        taper=(0.8, 0.95),
    )  # fmt: skip
    fork = side.own.choice(count, 4, replace=False)
    turn = np.deg2rad(side.own.uniform(14, 30, 4) * side.own.choice([-1, 1], 4))[:, None]
    branches = side.walk(points[fork, 8], angle[fork, None] + bend[fork] + turn * (1 - 0.6 * s), 0.5 * length[fork], 20)
    small = side.family(branches, 0.22, 0.42, onset[fork] + 0.25, gaps=0.3, taper=(0.2, 0.9))
    return [main, small]


def _lower_lid(side: _Side) -> list[_Family]:
    """Fine creases under the lashes, following the lid and falling outwards into the crow's feet."""
    rings = [(133, 112, 0.7), (154, 22, 0.55), (145, 23, 0.5), (163, 110, 0.5), (33, 226, 0.75)]
    outer = [(243, 233, 0.5), (22, 231, 0.5), (23, 230, 0.45), (110, 229, 0.3), (226, 31, 0.3)]
    near, far = side.between(*rings), side.between(*outer)
    count = 5
    how_far = ((np.arange(count) + side.about(0.5, 0.25, count)) / count)[:, None, None]
    points = _through(near + (far - near) * how_far * 1.1, 30)
    order = side.both.permutation(count)
    return [
        side.family(
            points,
            side.own.uniform(0.2, 0.4, count),
            side.own.uniform(0.5, 0.8, count),
            0.05 + 0.6 * order / count,
            sway_mm=0.3,
            gaps=0.55,
            taper=(1.0, 0.6),
        )
    ]


def _frown(side: _Side) -> list[_Family]:
    """Between the brows: an upright line per side, leaning outwards above, and a shorter one beside it."""
    start = side.between((193, 8, 0.42), (193, 55, 0.55))
    start = side.chart.moved(start, side.outwards(side.about(0, 0.9, 2), side.about(0, 1.5, 2)))
    angle = np.deg2rad(side.about(np.array([88.0, 72.0]), 6, 2))[:, None]
    s = np.linspace(0, 1, 16)
    bend = np.deg2rad(side.about(np.array([-12.0, -22.0]), 8, 2))[:, None]
    points = side.walk(start, angle + bend * s, side.about(np.array([18.0, 11.0]), 3, 2).clip(8, 25), 16)
    onset = np.array([0.12, 0.42]) + side.own.uniform(0, 0.22, 2)
    return [
        side.family(
            points,
            side.own.uniform(0.45, 0.85, 2),
            np.array([1.1, 0.75]),
            onset,
            sway_mm=0.3,
            gaps=0.35,
            taper=(0.8, 1.0),
        )
    ]


def _lip_spokes(side: _Side) -> list[_Family]:
    """Spokes about the mouth: from the border of the lips outwards, longer above than below."""
    upper, lower = [0, 37, 39, 40, 185], [17, 84, 181, 91, 146]
    families = []
    for border, count, up, length, onset in ((upper, 7, 1, 8.0, 0.3), (lower, 5, -1, 5.5, 0.42)):
        curve = _through(side.landmark(*border)[None], 40)[0]
        t = (np.arange(count) + side.about(0.6, 0.22, count)) / count
        start = curve[np.clip((t * 36).astype(np.int64), 0, 39)]
        lean = np.deg2rad(90 - 42 * np.maximum(t, 0) ** 1.3 + side.about(0, 5, count)) * up
        start = side.chart.moved(start, side.outwards(-1.0 * np.cos(lean), -1.0 * np.sin(lean)))
        s = np.linspace(0, 1, 10)
        points = side.walk(
            start, lean[:, None] + side.about(0, 0.15, (count, 1)) * s, side.about(length, 1.6, count).clip(3, 12), 10
        )
        order = side.both.permutation(count)
        begins = onset + 0.45 * order / count + side.own.uniform(0, 0.1, count)
        families.append(
            side.family(
                points,
                side.own.uniform(0.25, 0.5, count),
                side.own.uniform(0.55, 0.85, count),
                begins,
                sway_mm=0.2,
                gaps=0.2,
                taper=(0.35, 0.8),
            )
        )
    return families


def _cheek_lines(side: _Side) -> list[_Family]:
    """Old smiles: arcs outside the nasolabial fold, down the cheek."""
    inner = side.between((36, 205, 0.3), (206, 205, 0.55), (216, 207, 0.35), (57, 212, 1.2), (202, 210, 0.6))
    outer = side.between((117, 50, 0.7), (50, 187, 0.35), (207, 187, 0.7), (214, 192, 0.35), (135, 136, 0.2))
    count = 4
    how_far = ((np.arange(count) + side.about(0.4, 0.3, count)) / count)[:, None, None]
    points = _through(inner + (outer - inner) * how_far, 36)
    onset = 0.38 + 0.4 * side.both.permutation(count) / count + side.own.uniform(0, 0.1, count)
    depth, width = side.own.uniform(0.15, 0.45, count), side.own.uniform(0.8, 1.5, count)
    return [side.family(points, depth, width, onset, sway_mm=0.9, gaps=0.45, taper=(0.8, 0.8))]


def _before_the_ear(side: _Side) -> list[_Family]:
    """Upright lines before the ear, where the cheek slides back."""
    count = 3
    base = np.repeat(side.landmark(234), count, 0)
    start = side.chart.moved(
        base, side.outwards(-side.about(11 + 5.0 * np.arange(count), 1, count), side.about(10, 3, count))
    )
    s = np.linspace(0, 1, 20)
    angle = np.deg2rad(side.about(-94, 4, (count, 1)) + 12 * s)
    points = side.walk(start, angle, side.about(34, 6, count).clip(18, 50), 20)
    onset = 0.35 + side.both.uniform(0, 0.4, count)
    return [side.family(points, side.own.uniform(0.2, 0.35, count), 1.1, onset, sway_mm=0.5, gaps=0.4)]


def _nasolabial(side: _Side) -> list[_Family]:
    """From the wing of the nose, past the corner of the mouth."""
    control = side.between(
        (129, 49, 0.6),
        (129, 203, 0.6),
        (203, 206, 0.75),
        (92, 216, 0.78),
        (186, 216, 0.42),
        (57, 212, 0.35),
        (43, 202, 0.95),
    )
    shift = side.outwards(side.about(0, 0.7, 7) * np.array([0, 0, 0.3, 0.6, 1, 1, 1]), np.zeros(7))
    points = _through(side.chart.moved(control, shift)[None], 48)
    core = side.family(
        points, side.about(0.6, 0.08, 1).clip(0.3), 1.2, 0.05, sway_mm=0.25, gaps=0.06, taper=(0.12, 0.95), uneven=0.15
    )
    shoulder = side.family(
        points, side.about(1.0, 0.12, 1).clip(0.5), 4.4, 0.0, sway_mm=0.1, gaps=0, taper=(0.12, 0.8), soft=True
    )
    return [core, shoulder]


def _marionette(side: _Side) -> list[_Family]:
    """From the corner of the mouth down to the jaw."""
    control = side.between((61, 57, 0.2), (43, 202, 0.35), (204, 202, 0.62), (211, 210, 0.45), (170, 169, 0.45))
    points = _through(control[None], 30)
    core = side.family(
        points, side.about(0.42, 0.07, 1).clip(0.2), 1.6, 0.2, sway_mm=0.6, gaps=0.1, taper=(0.15, 0.95), uneven=0.12
    )
    shoulder = side.family(
        points, side.about(0.85, 0.1, 1).clip(0.4), 4.0, 0.1, sway_mm=0.1, gaps=0, taper=(0.15, 0.9), soft=True
    )
    return [core, shoulder]


def _tear_trough(side: _Side) -> list[_Family]:
    """From the inner corner of the eye along the rim of the orbit, and the lid's own furrow above the bag."""
    trough = side.between(
        (243, 244, 0.5), (233, 128, 0.55), (232, 121, 0.7), (231, 120, 0.8), (230, 119, 0.75), (229, 118, 0.5)
    )
    points = _through(trough[None], 30)
    shoulder = side.family(
        points, side.about(0.8, 0.1, 1).clip(0.4), 3.4, 0.0, sway_mm=0.1, gaps=0, taper=(0.8, 0.9), soft=True
    )
    core = side.family(points, 0.16, 0.8, 0.3, sway_mm=0.3, gaps=0.3, taper=(0.5, 0.9))
    return [shoulder, core]


def _bunny(side: _Side) -> list[_Family]:
    """Short lines on the side of the nose, from its ridge outwards and down, where it wrinkles when it is pulled up.
    They do not stay."""
    count = 4
    how_far = (np.arange(count) + side.about(0.5, 0.2, count)) / count
    ridge = _through(side.landmark(6, 197, 195)[None], 40)[0]
    start = ridge[np.clip((how_far * 30 + 2).astype(np.int64), 0, 39)]
    start = side.chart.moved(start, side.outwards(side.about(3.5, 0.7, count).clip(2), np.zeros(count)))
    s = np.linspace(0, 1, 12)
    angle = np.deg2rad(side.about(-38 - 22 * how_far, 7, count))[:, None] + side.about(-0.2, 0.15, (count, 1)) * s
    points = side.walk(start, angle, side.about(14.0, 1.8, count).clip(9, 18), 12)
    onset = 0.1 + 0.35 * side.both.permutation(count) / count
    depth, width = side.own.uniform(0.3, 0.5, count), side.own.uniform(0.6, 0.85, count)
    return [side.family(points, depth, width, onset, sway_mm=0.25, gaps=0.15, taper=(0.7, 0.9))]


def _smile(side: _Side) -> list[_Family]:
    """The nasolabial fold where a smile makes it, a little inside the one that stays: it is carried outwards with the
    corner of the mouth."""
    control = side.between(
        (129, 49, 0.4),
        (129, 203, 0.75),
        (206, 92, 0.25),
        (186, 216, 0.15),
        (57, 212, 0.05),
        (43, 202, 0.85),
    )
    points = _through(control[None], 48)
    core = side.family(points, 0.6, 1.5, 0.05, sway_mm=0.2, gaps=0, taper=(0.3, 0.95), uneven=0.1)
    shoulder = side.family(points, 1.0, 4.4, 0.0, sway_mm=0.1, gaps=0, taper=(0.3, 0.9), uneven=0.1, soft=True)
    return [core, shoulder]


def _cheek_cushion(side: _Side) -> list[_Family]:
    """What a smile pushes up beside the nasolabial fold, outside it. It does not stay."""
    control = side.between((203, 36, 0.55), (206, 205, 0.45), (216, 207, 0.45), (216, 214, 0.7))
    points = _through(control[None], 30)
    return [side.family(points, 1.0, 4.2, 0.0, sway_mm=0.1, gaps=0, taper=(0.9, 0.9), uneven=0.1, soft=True)]


# The key seeds the family: add new ones, never change one.
PAIRED = {
    1: _crows_feet,
    2: _lower_lid,
    3: _frown,
    4: _lip_spokes,
    5: _cheek_lines,
    6: _before_the_ear,
    7: _nasolabial,
    8: _marionette,
    9: _tear_trough,
    25: _bunny,
    26: _cheek_cushion,
    27: _smile,
}
# What stays on the relaxed face, by the strength that it follows.
LINES = (
    *("forehead", "forehead_short", "crows_feet", "crows_forks", "lower_lid", "frown", "lip_spokes", "cheek_lines"),
    *("before_the_ear", "across_the_middle"),
)
SAGGING = ("nasolabial", "nasolabial_fold", "marionette", "marionette_fold", "tear_trough", "chin_crease")


def _across_the_middle(chart: _Chart, rng: np.random.Generator) -> list[_Family]:
    """Level lines over the root of the nose."""
    right, middle, left = chart.uv[[193, 168, 417]]
    below = chart.uv[[6]] - middle
    height = np.array([-0.15, 0.55])[:, None] + rng.normal(0, 0.15, (2, 1))
    control = np.stack([right + height * below, middle + (height - 0.15) * below, left + height * below], 1)
    control = control[:, 1:2] + (control - control[:, 1:2]) * 0.8
    return [_family(chart, rng, _through(control, 20), rng.uniform(0.15, 0.35, 2), 0.65, rng.uniform(0.25, 0.6, 2))]


def _chin_crease(chart: _Chart, rng: np.random.Generator) -> _Family:
    """The arc between lower lip and chin."""
    control = np.stack([chart.uv[[204, 182, 83, 18, 313, 406, 424]]])
    control[0, [0, -1]] += 0.35 * (control[0, [1, -2]] - control[0, [0, -1]])
    control[:, 1:-1] += 0.45 * (chart.uv[[194, 201, 200, 421, 418]] - control[:, 1:-1]) * [0.3, 1]
    return _family(chart, rng, _through(control, 40), rng.uniform(0.3, 0.5, 1), 1.3, 0.15, gaps=0.3, taper=(0.9, 0.9))


def _chin_pebbles(chart: _Chart, rng: np.random.Generator) -> _Family:
    """The pits of a chin that is pulled up: short furrows without a common direction, as on a peach stone. They do not
    stay."""
    count = 34
    middle, across, up = chart.uv[199], chart.uv[[421, 201]], chart.uv[200]
    radius, turn = np.sqrt(rng.uniform(0, 1, count)), rng.uniform(0, 2 * np.pi, count)
    place = radius[:, None] * np.stack([1.25 * np.cos(turn), np.sin(turn)], 1)
    start = middle + place[:, :1] * 0.6 * (across[0] - across[1]) + place[:, 1:] * 1.1 * (up - middle)
    heading = rng.uniform(0, np.pi, count)[:, None] + np.linspace(-0.6, 0.6, 5) * rng.choice([-1, 1], (count, 1))
    points = [start]
    for k in range(4):
        step = rng.uniform(0.6, 1.1, (count, 1)) * np.stack([np.cos(heading[:, k]), np.sin(heading[:, k])], 1)
        points.append(chart.moved(points[-1], step))
    depth, width = rng.uniform(0.5, 1.0, count) * (1 - 0.5 * radius**2), rng.uniform(0.8, 1.2, count)
    return _family(chart, rng, np.stack(points, 1), depth, width, 0.0, sway_mm=0, gaps=0, taper=(0.3, 0.3), uneven=0)


# ------------------------------------------------------------------------------------------------------------- drawing


def _draw_apart(
    grooves: list[Grooves], chart: _Chart, size: int
) -> tuple[Float[Tensor, "{size} {size}"], Float[Tensor, "{size} {size}"]]:
    """Depth in millimetres of sharp lines, and of soft shoulders."""
    soft = _draw([g for g in grooves if g.soft], chart, FOLD_SIDE)
    soft = functional.interpolate(soft[None, None], size=(size, size), mode="bilinear")[0, 0]
    return _draw([g for g in grooves if not g.soft], chart, size), soft


def _draw(grooves: list[Grooves], chart: _Chart, size: int) -> Float[Tensor, "{size} {size}"]:
    """Depth in millimetres: at each texel the deepest of the grooves that pass it.

    A groove is smooth at its bottom, has flanks that fall off exponentially and ends at three widths. One that is
    finer than a texel is drawn as wide as one, and shallower by as much.
    """
    depth = torch.zeros(size * size)
    if not grooves:
        return depth.reshape(size, size)
    starts, ends, before, after, widths = [], [], [], [], []
    for family in grooves:
        sunk = family.depth_mm
        some = (sunk[:, :-1] > 0) | (sunk[:, 1:] > 0)
        starts.append(family.points[:, :-1][some])
        ends.append(family.points[:, 1:][some])
        before.append(sunk[:, :-1][some])
        after.append(sunk[:, 1:][some])
        widths.append(np.broadcast_to(family.width_mm[:, None], some.shape)[some])
    start, end = np.concatenate(starts), np.concatenate(ends)
    if not len(start):
        return depth.reshape(size, size)
    down = np.array([1.0, -1.0])
    to_mm = chart.at(chart.to_mm, (start + end) / 2) * down / size  # of a step in texels, y down
    step = (end - start) * down * size
    along = np.einsum("nij,nj->ni", to_mm, step)
    across = along @ np.array([[0.0, 1.0], [-1.0, 0.0]]) / np.linalg.norm(along, axis=1, keepdims=True).clip(1e-9)
    texel_mm = np.linalg.norm(np.einsum("ni,nij->nj", across, to_mm), axis=1)
    wide = np.sqrt(np.concatenate(widths) ** 2 + (0.9 * texel_mm) ** 2)
    shallower = np.concatenate(widths) / wide
    first = (start * down + [0, 1]) * size
    # Texels that the groove reaches: along each axis 3 widths in the metric of the skin.
    inverse = np.linalg.inv(to_mm)
    reach = 3 * wide[:, None] * np.sqrt((inverse**2).sum(2)) + np.abs(step) / 2
    radius = np.ceil(reach.max(1)).astype(np.int64)
    bucket = np.ceil(np.log2(np.maximum(radius, 1)) * 2).astype(np.int64)
    centre = np.floor(first + step / 2).astype(np.int64)
    fields = [first, step, to_mm, wide, np.concatenate(before) * shallower, np.concatenate(after) * shallower]
    first, step, to_mm, wide, before, after = (torch.from_numpy(f).float() for f in fields)
    step_mm = torch.einsum("nij,nj->ni", to_mm, step)
    length = (step_mm**2).sum(1).clamp_min(1e-12)
    for b in np.unique(bucket):
        chosen = torch.from_numpy(np.nonzero(bucket == b)[0])
        half = int(radius[bucket == b].max())
        ramp = torch.arange(-half, half + 1)
        at = torch.from_numpy(centre)[chosen]
        x, y = at[:, 0, None, None] + ramp[None, None, :], at[:, 1, None, None] + ramp[None, :, None]
        dx, dy = x + 0.5 - first[chosen, 0, None, None], y + 0.5 - first[chosen, 1, None, None]
        m = to_mm[chosen][..., None, None]
        px, py = m[:, 0, 0] * dx + m[:, 0, 1] * dy, m[:, 1, 0] * dx + m[:, 1, 1] * dy
        sx, sy = step_mm[chosen, 0, None, None], step_mm[chosen, 1, None, None]
        t = ((px * sx + py * sy) / length[chosen, None, None]).clamp(0, 1)
        square = (px - t * sx) ** 2 + (py - t * sy) ** 2
        value = torch.lerp(before[chosen, None, None], after[chosen, None, None], t)
        value = value * _groove(square / wide[chosen, None, None] ** 2)
        valid = (value > 0) & (x >= 0) & (x < size) & (y >= 0) & (y < size)
        depth.scatter_reduce_(0, (y * size + x)[valid], value[valid], "amax")
    return depth.reshape(size, size)


def _groove(square: Tensor) -> Tensor:
    """Depth 0..1 across a groove; square: of the distance in widths."""
    return torch.exp(0.35 - (1.2 * square + 0.1225).sqrt()) * (1 - square / 9).clamp_min(0) ** 2


def _neck(texels: _Texels, seed: int, size: int, strength: float, fold_strength: float) -> Tensor:
    """Rings about the neck and, with sag, the hollows beside and between the bands of the platysma. They are drawn by
    the texels' places: the atlas squeezes the neck, and is cut behind it."""
    rng = np.random.default_rng([seed, 22])
    depth = torch.zeros(size * size)
    x, y, z = texels.neck_place.unbind(1)
    if not len(x):
        return depth.reshape(size, size)
    turn = torch.atan2(x, (z - z.min() + 5))
    top = float(y[turn.abs() < 0.3].max())  # below the chin
    total = torch.zeros_like(x)
    spacing = texels.neck_spacing
    for _ in range(4):
        height = top - rng.uniform(16, 62)
        width = rng.uniform(0.9, 1.4)
        wide = (width**2 + (0.7 * spacing) ** 2).sqrt()
        waves = sum(rng.normal(0, 0.8) * torch.sin(k * turn + rng.uniform(0, 6.3)) for k in (1.0, 2.3, 4.1, 9.0))
        level = height + rng.uniform(0.05, 0.2) * (z.max() - z) + waves
        begins = rng.uniform(0.25, 0.75) + rng.uniform(0.2, 0.5) * (turn.abs() / 1.2) ** 2
        sunk = rng.uniform(0.25, 0.5) * ((strength - begins) / 0.6).clamp(0, 1)
        total = torch.maximum(total, sunk * width / wide * _groove(((y - level) / wide) ** 2))
    for side in (-1.0, 1.0):
        for where in (0.12, 0.62):
            line = side * (where + rng.normal(0, 0.04)) + 0.0015 * (y - top) * side
            sunk = rng.uniform(0.35, 0.6) * max(fold_strength - 0.25, 0)
            total = total + sunk * torch.exp(-(((turn - line) / 0.13) ** 2))
    depth[texels.neck] = total * texels.neck_weight
    return depth.reshape(size, size)


def _net(texels: _Texels, seed: int, size: int, strength: float) -> Tensor:
    """The tertiary network: two sets of fine lines that cross in lozenges drawn out along the tension lines."""
    rng = np.random.default_rng([seed, 23])
    depth = torch.zeros(size * size)
    along = texels.net_direction
    across = torch.stack([along[:, 1], -along[:, 0], along[:, 2]], 1)
    total = torch.zeros(len(along))
    for lean, cell in ((0.5, 1.15), (-0.5, 1.3)):
        noise = torch.from_numpy(rng.standard_normal((1, 1, 40, 40, 40)).astype(np.float32))
        offset = torch.from_numpy(rng.uniform(0, 40, 3).astype(np.float32))
        direction = np.cos(lean) * along + np.sin(lean) * across
        # Squeeze space along the lines: there the noise is four times longer.
        place = texels.net_place - 0.78 * (texels.net_place * direction).sum(1, keepdim=True) * direction
        grid = ((place + offset) / (cell * 39) * 2)[None, None, None]
        value = functional.grid_sample(noise, grid, padding_mode="reflection", align_corners=True)[0, 0, 0, 0]
        total = torch.maximum(total, (1 - value.abs() / 0.3).clamp_min(0))
    grown = min(max((strength - 0.15) / 0.85, 0), 1)
    depth[texels.net] = NET_DEPTH_MM * grown * texels.net_weight * total
    return depth.reshape(size, size)
