"""Synthetic heads under random light, in UV space: what the networks see, and what they should have found.

Light that falls on a texel is summed over `DIRECTIONS` of the surroundings and two lamps, each as far as the head does
not stand in its own way. So creases and eye sockets are dim and noses cast shadows, as in photos and unlike in a
renderer that divides by spherical harmonics. The rest is the renderer's: `diffuse_light`, `specular_light`, normals of
the displaced skin for reflections and of the softened one for what has scattered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from core.atlas import atlas_lookup, interpolate, positions
from core.color import linear_to_srgb, luminance, srgb_to_linear
from core.fitting import light_and_tone, tone_palette
from core.head import PARTS, HeadModel
from core.lighting import shading
from core.materials import SPECULAR_F0
from core.mesh import vertex_normals
from core.occlusion import light_visibility
from core.reflectance.network import COARSE_PX, WORK_PX
from core.shading import Light, diffuse_light, scatter_wrap, sh_basis, specular_light
from core.synthesis.photo import random_exposure, random_light
from core.synthesis.relief import TangentFrame, differences, tangent_frame, tilted_normals, whole_steps
from core.synthesis.shards import MapSample

FRAME_PX = 256  # at which what is smooth is kept: axes of the surface, places
SCATTER_MM = 0.7  # standard deviation over which scattering smooths the relief, where translucency is a cheek's
TEXELS_PER_MM = 2.1  # of the face at `WORK_PX`
LAMP_SHARPNESS = 80.0  # of a lamp's shadow: how closely it takes the visibility of the directions next to it
BURIED = 0.10  # share of all directions below which a place is inside the head
STRONGEST = 3  # of the surroundings' directions, which glint; the others' reflections are spread evenly
TILE_PX, BORDER_PX = 128, 16  # of the tiles that the fine network learns from, and what beside them it only sees
SAMPLES = 2000  # texels that light is fitted to


def _sphere(count: int) -> Float[Tensor, "{count} 3"]:
    """Directions that cover the sphere evenly (a Fibonacci lattice)."""
    z = (torch.arange(count) + 0.5) / count * 2 - 1
    angle = 2.399963 * torch.arange(count)
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), z, radius * angle.sin()], 1)


DIRECTIONS = _sphere(48)


@dataclass(frozen=True, eq=False)
class Geometry:
    """What of a head's shape matters to light. frame, place ``[3, U, U]`` at `FRAME_PX`. visibility:
    ``[48, C, C]`` 0..255 at `COARSE_PX`, what of each of `DIRECTIONS` arrives."""

    frame: TangentFrame
    place: Float[Tensor, "3 U U"]
    visibility: UInt8[Tensor, "48 C C"]


def geometry_of(head: HeadModel, vertices: Float[Tensor, "V 3"]) -> Geometry:
    """Seconds of work, most of it for what hides what."""
    place = positions(head, vertices, COARSE_PX).reshape(-1, 3)
    normals = interpolate(head, vertex_normals(vertices, head.faces), COARSE_PX).reshape(-1, 3)
    casters = head.faces[head.face_part != PARTS.index("lashes")]
    seen = light_visibility(vertices, casters, DIRECTIONS, place, functional.normalize(normals, dim=1))
    # No photo shows the inside of lids and lips; what maps show there was completed, without shadows.
    buried = (1 - seen.mean(1, keepdim=True) / BURIED).clamp(0, 1)
    seen = seen + buried * (0.4 - seen)
    return Geometry(
        tangent_frame(head, vertices, FRAME_PX),
        positions(head, vertices, FRAME_PX).permute(2, 0, 1).contiguous(),
        (seen.T.reshape(-1, COARSE_PX, COARSE_PX) * 255).round().to(torch.uint8),
    )


@dataclass(frozen=True, eq=False)
class Skin:
    """Skin at N points. Colours and numbers 0..1, linear; normals unit, head frame."""

    albedo: Float[Tensor, "N 3"]
    diffuse_normal: Float[Tensor, "N 3"]
    specular_normal: Float[Tensor, "N 3"]
    specular: Float[Tensor, "N 1"]
    roughness: Float[Tensor, "N 1"]
    translucency: Float[Tensor, "N 1"]


def shade(
    skin: Skin,
    lamps: Light,
    view: Float[Tensor, "N 3"],
    lamps_seen: Float[Tensor, "N D"] | None = None,
    surroundings: Float[Tensor, "S 3"] | None = None,
    surroundings_seen: Float[Tensor, "N S"] | None = None,
) -> Float[Tensor, "N 3"]:
    """Linear colour. lamps: a batch of one, with harmonics or without. surroundings: the light (irradiance over pi)
    from each of `DIRECTIONS`; None: none. Differentiable in the skin."""
    normal, diffuse_normal = skin.specular_normal[None], skin.diffuse_normal[None]
    seen = None if lamps_seen is None else lamps_seen[None]
    light = diffuse_light(lamps, diffuse_normal, seen, wrap=scatter_wrap(skin.translucency[None]))[0]
    shine = specular_light(lamps, normal, view[None], skin.roughness[None], SPECULAR_F0 * skin.specular[None], seen)[0]
    if surroundings is not None and surroundings_seen is not None:
        directions = DIRECTIONS.to(surroundings)[None]
        around = Light(lamps.sh * 0, directions, surroundings[None])
        light = light + diffuse_light(around, diffuse_normal, surroundings_seen[None])[0]
        order = surroundings.sum(1).argsort(descending=True)
        glint, even = order[:STRONGEST], order[STRONGEST:]
        bright = Light(lamps.sh * 0, directions[:, glint], surroundings[None, glint])
        shine = shine + specular_light(
            bright, normal, view[None], skin.roughness[None], SPECULAR_F0 * skin.specular[None],
            surroundings_seen[None][..., glint],
        )[0]  # fmt: skip
        # Of even surroundings skin mirrors a little more than at normal incidence, since it is seen at a slant.
        shine = shine + 1.5 * SPECULAR_F0 * skin.specular * (surroundings_seen[:, even] @ surroundings[even]) / 2
    return skin.albedo * light + shine


@dataclass(frozen=True, eq=False)
class RandomLight:
    """A light and where it is seen from. surroundings: ``[48, 3]``. lamps: two, without harmonics. camera: place."""

    surroundings: Float[Tensor, "48 3"]
    lamps: Light
    camera: Float[Tensor, "3"]

    def scaled(self, factor: float) -> RandomLight:
        lamps = Light(self.lamps.sh, self.lamps.directions, self.lamps.colors * factor)
        return RandomLight(self.surroundings * factor, lamps, self.camera)

    def to(self, device: torch.device | str) -> RandomLight:
        return RandomLight(self.surroundings.to(device), self.lamps.to(device), self.camera.to(device))

    def lamps_seen(self, visibility: Float[Tensor, "N 48"]) -> Float[Tensor, "N 2"]:
        """What of each lamp arrives, from what of the directions next to it does."""
        weight = torch.softmax(LAMP_SHARPNESS * (DIRECTIONS @ self.lamps.directions[0].T), 0)
        return visibility @ weight


def sample_light(rng: np.random.Generator) -> RandomLight:
    """As photos are lit (`synthesis.photo.random_light`), seen from in front and a little aside."""
    light = random_light(rng)
    radiance = (sh_basis(DIRECTIONS) @ light.sh[0]).clamp_min(0)
    yaw, pitch, distance = math.radians(rng.normal(0, 18)), math.radians(rng.normal(0, 8)), rng.uniform(0.4, 1.6)
    towards = [math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]
    lamps = Light(torch.zeros_like(light.sh), functional.normalize(light.directions.float(), dim=-1), light.colors)
    return RandomLight(radiance * 4 / len(DIRECTIONS), lamps, distance * torch.tensor(towards))


@dataclass(frozen=True, eq=False)
class Person:
    """One head, ready to be lit. Whole maps of `WORK_PX`, ``[C, U, U]``; the coarse ones are linear, at `COARSE_PX`."""

    albedo: UInt8[Tensor, "3 U U"]
    displacement_um: Int16[Tensor, "1 U U"]
    surface: UInt8[Tensor, "3 U U"]  # specular, roughness, translucency
    geometry: Geometry
    coarse_albedo: Float[Tensor, "3 C C"]
    coarse_surface: Float[Tensor, "3 C C"]

    @staticmethod
    def of(
        albedo: UInt8[Tensor, "3 U U"],
        displacement_mm: Float[Tensor, "U U"],
        surface: UInt8[Tensor, "3 U U"],
        geometry: Geometry,
    ) -> Person:
        """surface: specular, roughness, translucency. Maps of `WORK_PX` texels a side."""
        linear = srgb_to_linear(albedo.float() / 255)
        return Person(
            albedo,
            (displacement_mm.float() * 1000).round().clamp(-32767, 32767).to(torch.int16)[None],
            surface,
            geometry,
            functional.adaptive_avg_pool2d(linear, COARSE_PX),
            functional.adaptive_avg_pool2d(surface.float() / 255, COARSE_PX),
        )

    @staticmethod
    def of_sample(maps: MapSample, geometry: Geometry) -> Person:
        """The person of a row of a maps shard that has relief."""
        assert maps.displacement_mm is not None and maps.specular is not None
        assert maps.roughness is not None and maps.translucency is not None
        surface = torch.stack([maps.specular, maps.roughness, maps.translucency])
        return Person.of(maps.albedo, maps.displacement_mm, surface, geometry)


@dataclass(frozen=True, eq=False)
class LitTiles:
    """Tiles ``[P, C, T, T]`` of one head. row, column: of their first texel. lit: linear, as a camera shows it. The
    truth: log_albedo, height_mm, surface (specular, roughness, translucency). normal, tangent, bitangent, to_slope: as
    in `TangentFrame`, to_slope per texel of `WORK_PX`. place: metres. whole_u, whole_v: `whole_steps`. inside: skin."""

    row: Tensor
    column: Tensor
    lit: Tensor
    log_albedo: Tensor
    height_mm: Tensor
    surface: Tensor
    normal: Tensor
    tangent: Tensor
    bitangent: Tensor
    to_slope: Tensor
    place: Tensor
    whole_u: Tensor
    whole_v: Tensor
    inside: Tensor

    def to(self, device: torch.device | str) -> LitTiles:
        return LitTiles(**{name: value.to(device) for name, value in vars(self).items()})

    def one(self, i: int) -> LitTiles:
        """Tile i alone."""
        return LitTiles(**{name: value[i : i + 1] for name, value in vars(self).items()})


@dataclass(frozen=True, eq=False)
class LitMap:
    """One head under one light. lit, fitted, normals, log_albedo ``[3, C, C]`` at `COARSE_PX`: as
    `ReflectanceNet.see_whole` takes them, and the truth. sh ``[9, 3]``: the fitted light. light: the true one."""

    lit: Tensor
    fitted: Tensor
    normals: Tensor
    log_albedo: Tensor
    sh: Tensor
    light: RandomLight


@dataclass(frozen=True, eq=False)
class LitHead(LitMap):
    """The same with some tiles of it, seen from near."""

    tiles: LitTiles

    def to(self, device: torch.device | str) -> LitHead:
        """The same on another device."""
        return LitHead(**{name: value.to(device) for name, value in vars(self).items()})


def softened(height: Float[Tensor, "*batch H W"], sigma: float) -> Float[Tensor, "*batch H W"]:
    """A Gaussian blur of so many texels, its borders repeated."""
    reach = max(1, math.ceil(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2).to(height)
    kernel = kernel / kernel.sum()
    flat = height.reshape(-1, 1, *height.shape[-2:])
    flat = functional.pad(flat, (reach, reach, reach, reach), mode="replicate")
    flat = functional.conv2d(functional.conv2d(flat, kernel[None, None, :, None]), kernel[None, None, None])
    return flat.reshape(height.shape)


def skin_of(
    tiles: LitTiles, log_albedo: Tensor, height_mm: Tensor, specular: Tensor, roughness: Tensor, translucency: Tensor
) -> Skin:
    """The points of all tiles, row by row, with these maps ``[P, C, T, T]``. Differentiable in them."""

    def points(x: Tensor) -> Tensor:
        return x.movedim(1, -1).reshape(-1, x.shape[1])

    def bent(height: Tensor) -> Tensor:
        by_u, by_v = differences(height[:, 0] / 1000, tiles.whole_u, tiles.whole_v)
        x, y, z = tilted_normals(tiles.to_slope, by_u, by_v).unbind(1)
        normal = x[:, None] * tiles.tangent + y[:, None] * tiles.bitangent + z[:, None] * tiles.normal
        return points(_unit(normal))

    return Skin(
        points(log_albedo).exp(),
        bent(softened(height_mm, SCATTER_MM * TEXELS_PER_MM)),
        bent(height_mm),
        points(specular),
        points(roughness),
        points(translucency),
    )


def views_of(tiles: LitTiles, camera: Float[Tensor, "3"]) -> Float[Tensor, "N 3"]:
    """Unit vectors from the points of all tiles to the camera."""
    return _unit(camera[:, None, None] - tiles.place).movedim(1, -1).reshape(-1, 3)


def _unit(vectors: Float[Tensor, "P 3 T T"]) -> Float[Tensor, "P 3 T T"]:
    """Unit vectors. (functional.normalize is ten times slower along an inner axis.)"""
    return vectors * vectors.square().sum(1, keepdim=True).clamp_min(1e-12).rsqrt()


class LitHeads(Dataset[LitHead]):
    """Random light on people: item i is the same however it is asked for. persons: see `Person`; count: items. tiles:
    of each. seed: of all light."""

    def __init__(self, head: HeadModel, persons: Sequence[Person], count: int, tiles: int = 3, seed: int = 0) -> None:
        self.head, self.persons, self.count, self.tiles, self.seed = head, persons, count, tiles, seed
        self.inside = atlas_lookup(head, WORK_PX).inside
        self.coarse_inside = atlas_lookup(head, COARSE_PX).inside
        self.whole = whole_steps(head, WORK_PX)
        # Tiles where there is skin, and most of them on the face: that is where people look.
        face = interpolate(head, head.region("face")[:, None].float(), COARSE_PX)[..., 0] * self.coarse_inside
        self.chance = (0.12 * self.coarse_inside + face).double().flatten().numpy()
        self.chance /= self.chance.sum()
        self.skin = skin_for_light(head, COARSE_PX)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> LitHead:
        rng = np.random.default_rng([self.seed, i])
        return self.lit(self.persons[int(rng.integers(len(self.persons)))], rng)

    def lit(self, person: Person, rng: np.random.Generator, whole: bool = False) -> LitHead:
        """A person under a light drawn from `rng`. whole: one tile that is the whole map, in place of random ones."""
        coarse = self.lit_coarsely(person, rng)
        light, geometry = coarse.light, person.geometry
        if whole:
            tiles = self._tiles(person, torch.tensor([0]), torch.tensor([0]), WORK_PX)
        else:
            side, step = TILE_PX + 2 * BORDER_PX, WORK_PX // COARSE_PX
            cells = rng.choice(len(self.chance), self.tiles, p=self.chance)
            middles = np.stack([cells // COARSE_PX, cells % COARSE_PX]) * step + rng.integers(-32, 33, (2, self.tiles))
            rows, columns = torch.from_numpy((middles - side // 2).clip(0, WORK_PX - side))
            tiles = self._tiles(person, rows, columns, side)
        skin = skin_of(tiles, tiles.log_albedo, tiles.height_mm, *tiles.surface.split(1, 1))
        side = tiles.lit.shape[-1]
        seen = enlarged_tiles(geometry.visibility[None].float() / 255, tiles.row, tiles.column, side, WORK_PX)
        seen = seen.movedim(1, -1).reshape(-1, len(DIRECTIONS))
        shown = shade(
            skin, light.lamps, views_of(tiles, light.camera), light.lamps_seen(seen), light.surroundings, seen
        )
        shown = shown.reshape(-1, side, side, 3).movedim(-1, 1)
        tiles = LitTiles(**{**vars(tiles), "lit": _photographed(shown, rng)})
        return LitHead(**vars(coarse), tiles=tiles)

    def lit_coarsely(self, person: Person, rng: np.random.Generator) -> LitMap:
        """What `lit` makes of a person, without the tiles."""
        light = sample_light(rng)
        geometry = person.geometry
        frame = geometry.frame
        normals = _at(frame.normal[None], COARSE_PX)[0]
        normals = functional.normalize(normals, dim=0)
        visibility = geometry.visibility.flatten(1).T.float() / 255
        points = normals.flatten(1).T
        coarse = Skin(
            person.coarse_albedo.flatten(1).T, points, points, *(s.flatten()[:, None] for s in person.coarse_surface)
        )
        view = functional.normalize(light.camera - _at(geometry.place[None], COARSE_PX)[0].flatten(1).T, dim=1)
        white = Skin(torch.ones_like(coarse.albedo), points, points, *(0 * coarse.specular for _ in range(3)))

        def on(skin: Skin, here: RandomLight) -> Tensor:
            return shade(skin, here.lamps, view, here.lamps_seen(visibility), here.surroundings, visibility)

        # Exposed as a camera exposes the face.
        weight = self.skin.flatten()
        level = float((luminance(on(white, light).T[:, None]).flatten() * weight).sum() / weight.sum())
        albedo = float((luminance(person.coarse_albedo[:, None].flatten(2)).flatten() * weight).sum() / weight.sum())
        light = light.scaled(random_exposure(albedo, rng) / max(level, 1e-3))
        lit = on(coarse, light).T.reshape(3, COARSE_PX, COARSE_PX).clamp(0, 1)
        sh = fit_harmonics(self.head, lit, normals, self.skin)
        fitted = shading(points, sh).T.reshape(3, COARSE_PX, COARSE_PX)
        return LitMap(lit, fitted, normals, person.coarse_albedo.clamp_min(1e-3).log(), sh, light)

    def _tiles(self, person: Person, rows: Tensor, columns: Tensor, side: int) -> LitTiles:
        def cut(x: Tensor, height: int = side, width: int = side) -> Tensor:
            cuts = zip(rows.tolist(), columns.tolist(), strict=True)
            return torch.stack([x[..., r : r + height, c : c + width] for r, c in cuts])

        albedo = srgb_to_linear(cut(person.albedo).float() / 255)
        axes = torch.cat([*(getattr(person.geometry.frame, n) for n in ("normal", "tangent", "bitangent", "to_slope")),
                          person.geometry.place])  # fmt: skip
        axes = enlarged_tiles(axes[None], rows, columns, side, WORK_PX)
        normal, tangent, bitangent, to_slope, place = axes.split([3, 3, 3, 4, 3], 1)
        return LitTiles(
            rows,
            columns,
            albedo,
            albedo.clamp_min(1e-3).log(),
            cut(person.displacement_um).float() / 1000,
            cut(person.surface).float() / 255,
            _unit(normal),
            _unit(tangent),
            _unit(bitangent),
            to_slope * (WORK_PX / FRAME_PX),
            place,
            cut(self.whole[0], side, side - 1),
            cut(self.whole[1], side - 1, side),
            cut(self.inside)[:, None],
        )


def skin_for_light(head: HeadModel, size: int) -> Float[Tensor, "{size} {size}"]:
    """Where the face is bare skin by place, 0..1: what light is fitted to."""
    own = torch.stack([head.region(name) for name in ("brows", "lips", "eyelids")]).amax(0).clamp(0, 1)
    face = head.region("face") * (1 - own)
    return interpolate(head, face[:, None].float(), size)[..., 0] * atlas_lookup(head, size).inside


def fit_harmonics(
    head: HeadModel, lit: Float[Tensor, "3 U U"], normals: Float[Tensor, "3 U U"], weight: Float[Tensor, "U U"]
) -> Float[Tensor, "9 3"]:
    """Second-order light of a lit map, as reconstruction fits it to a photo (`fitting.light_and_tone`)."""
    used = torch.nonzero((weight.flatten() > 0.3) & (lit.amax(0).flatten() < 0.96)).squeeze(1)
    if len(used) < 64:
        used = torch.nonzero(weight.flatten() > 0.3).squeeze(1)
    used = used[:: max(1, len(used) // SAMPLES)]
    colors, directions = lit.flatten(1).T[used], normals.flatten(1).T[used]
    return light_and_tone(colors, directions, torch.ones_like(colors), weight.flatten()[used], tone_palette())[1]


def _at(image: Float[Tensor, "B C U V"], size: int) -> Float[Tensor, "B C {size} {size}"]:
    """A smooth map at another size."""
    if image.shape[-1] == size:
        return image
    return functional.interpolate(image, size=(size, size), mode="bilinear", antialias=size < image.shape[-1])


def enlarged_tiles(
    image: Float[Tensor, "B C U V"], rows: Tensor, columns: Tensor, side: int, whole: int
) -> Float[Tensor, "P C T T"]:
    """Tiles of `side` texels of a map that is bilinearly enlarged to `whole` texels a side. image: one for all tiles or
    one for each."""
    ramp = torch.arange(side, device=image.device) + 0.5
    y = (rows[:, None].to(ramp) + ramp) / whole * 2 - 1
    x = (columns[:, None].to(ramp) + ramp) / whole * 2 - 1
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
    image = image.expand(len(rows), -1, -1, -1) if len(image) == 1 else image
    return functional.grid_sample(image, grid.to(image), mode="bilinear", padding_mode="border", align_corners=False)


def _photographed(linear: Float[Tensor, "P 3 T T"], rng: np.random.Generator) -> Float[Tensor, "P 3 T T"]:
    """What reaches the map of a photo of it: burnt out where too bright, soft as the photo is small, grainy, bytes."""
    shown = linear_to_srgb(linear.clamp(0, 1))
    sigma = rng.uniform(0.0, 2.0) if rng.random() < 0.8 else rng.uniform(2.0, 4.0)
    if sigma > 0.35:
        shown = softened(shown, sigma)
    grain = rng.uniform(0, 0.012) * torch.from_numpy(rng.standard_normal(tuple(shown.shape), dtype=np.float32))
    return srgb_to_linear(((shown + grain).clamp(0, 1) * 255).round() / 255)
