"""Pictures of skin that takes light, for docs/reflectance.md. `pictures` saves them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from core.avatar import Avatar
from core.detail import detailed, with_displacement
from core.environment import ENVIRONMENTS, named_light
from core.head import HeadModel
from core.key_expressions import KEY_EXPRESSIONS, displacement_of
from core.lighting import constant_light
from core.materials import DISPLACEMENT_UNIT_M, Materials
from core.pipeline import generate
from core.render import render_head
from core.shading import Light
from recipes.drawing import fitted, portrait, portrait_camera, sheet, to_image, with_expression

TILE_PX, ZOOM = 400, 1.15
WRINKLED_PX = 300  # twelve tiles
OLD_SEED, OLD_LABELS = 31, {"age": 66.0, "wrinkles": 0.5, "melanin": 0.25}
# A lamp that grazes the face from the side and above, and one from above, across the lines of a forehead; over a
# little light from all around.
FROM_THE_SIDE, FROM_ABOVE = (0.75, 0.45, 0.45), (0.4, 0.65, 0.6)
LAMP_COLOR, LAMP_RADIUS, AROUND = (1.5, 1.45, 1.35), 0.12, 0.25


@functools.cache
def face() -> Avatar:
    """The astronaut, with all maps."""
    return detailed(portrait().avatar)


@functools.cache
def somebody_old() -> Avatar:
    """Nobody, lined, with all maps."""
    return detailed(generate(OLD_SEED, OLD_LABELS))


def grazing(towards: tuple[float, float, float]) -> Light:
    """The light that shows relief best."""
    sh = constant_light(torch.full((3,), AROUND))[None]
    direction = torch.nn.functional.normalize(torch.tensor([[towards]]), dim=-1)
    return Light(sh, direction, torch.tensor([[LAMP_COLOR]]), spreads=torch.tensor([[LAMP_RADIUS]]))


def lit(
    head: HeadModel,
    avatar: Avatar,
    materials: Materials,
    light: Light | None = None,
    yaw_deg: float = 20.0,
    weights: Mapping[str, float] | None = None,
    zoom: float = ZOOM,
) -> Image.Image:
    """A head in these maps under a light."""
    camera = portrait_camera(TILE_PX, yaw_deg, zoom=zoom)
    vertices = head.vertices(with_expression(head, avatar, weights or {}))
    return to_image(render_head(head, vertices, materials, camera, light)[0] * 255)


def separated(head: HeadModel) -> Image.Image:
    """What each kind of map adds, after the comparison of AvatarMe++ (figure of its renderings)."""
    avatar = face()
    full = avatar.materials
    assert full.skin_photo is not None
    bare = dict.fromkeys(("skin_normal", "skin_diffuse_normal", "skin_specular", "skin_translucency", "skin_occlusion"))
    steps = (
        replace(full, skin_albedo=full.skin_photo, **bare),
        replace(full, **bare),
        replace(full, skin_translucency=None, skin_occlusion=None),
        replace(full, skin_occlusion=None),
        full,
    )
    captions = ("lit texture, shape normals", "albedo, shape normals", "separate maps", "+ scattering", "+ occlusion")
    tiles = [lit(head, avatar, materials, grazing(FROM_THE_SIDE)) for materials in steps]
    return sheet([*tiles, lit(head, avatar, full)], 3, (*captions, "all, in the studio"))


def maps(head: HeadModel) -> Image.Image:
    """The maps that were found in one photo."""
    found = face().materials

    def tile(image: Tensor | None) -> Image.Image:
        assert image is not None
        return fitted(to_image(image.float().expand(3, -1, -1)), TILE_PX)

    assert found.skin_displacement is not None and found.skin_wrinkles is not None
    heights = [
        0.5 + layer.float() * DISPLACEMENT_UNIT_M / 1.2e-3
        for layer in (found.skin_displacement[0], *found.skin_wrinkles)
    ]
    named = {
        "photo, completed": found.skin_photo,
        "diffuse albedo": found.skin_albedo,
        "specular albedo": found.skin_specular,
        "roughness": found.skin_roughness,
        "specular normals": found.skin_normal,
        "diffuse normals": found.skin_diffuse_normal,
        "translucency": found.skin_translucency,
        "occlusion": found.skin_occlusion,
        "displacement, 1.2 mm": 255 * heights[0][None],
        "wrinkles, first layer": 255 * heights[1][None],
        "wrinkles, second layer": 255 * heights[2][None],
    }
    return sheet([tile(image) for image in named.values()], 4, tuple(named))


def relit(head: HeadModel) -> Image.Image:
    """One head under the six lights of the page."""
    avatar = face()
    tiles = [lit(head, avatar, avatar.materials, named_light(name), yaw_deg=15.0) for name in ENVIRONMENTS]
    return sheet(tiles, 3, tuple(ENVIRONMENTS))


def wrinkled(head: HeadModel) -> Image.Image:
    """Expressions without and with the wrinkles that they fold, on a young face and an old one."""
    tiles, captions = [], []
    for avatar in (face(), somebody_old()):
        for name in ("brow raiser", "anger", "smile"):
            weights = KEY_EXPRESSIONS[name]
            for folds in (False, True):
                materials = avatar.materials
                if folds:
                    materials = folded(head, avatar, weights)
                tiles.append(lit(head, avatar, materials, grazing(FROM_ABOVE), 12.0, weights, zoom=1.6))
                captions.append(f"{name}{', wrinkles' if folds else ''}")
    return sheet([fitted(tile, WRINKLED_PX) for tile in tiles], 6, captions)


def folded(head: HeadModel, avatar: Avatar, weights: Mapping[str, float]) -> Materials:
    """The maps of a head whose expression folds its skin."""
    assert avatar.materials.skin_displacement is not None
    size = avatar.materials.skin_displacement.shape[-1]
    height_m = displacement_of(head, avatar.materials, weights, size)
    micrometres = (height_m / DISPLACEMENT_UNIT_M).round().clamp(-32767, 32767).to(torch.int16)[None]
    vertices = head.vertices(with_expression(head, avatar, {}))[0]
    return with_displacement(avatar.materials, head, vertices, micrometres)


PICTURES: dict[str, Callable[[HeadModel], Image.Image]] = {
    "reflectance": separated,
    "reflectance_maps": maps,
    "relit": relit,
    "expression_wrinkles": wrinkled,
}
