"""Small pictures of a head with gradients to its shape, expression and skin: what edits are measured on.

Lit per pixel without highlights, shadows and lashes, so that a dozen are made in the time of one `render_head`. The
pictures that the text-image model learns from (`pairs`) come from the same function.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from core.camera import Camera, look_at_head
from core.color import linear_to_srgb, srgb_to_linear
from core.head import PART_TEXTURE, PARTS, HeadModel
from core.materials import paint_mouth
from core.render import Rendering, render
from core.shading import Light, attach_to_camera, studio_light

# The whole head with some neck, as tall as wide.
DISTANCE_M, HEIGHT_M = 1.0, 0.245
MIDDLE_M = (0.0, -0.012, -0.04)
BACKGROUND_SRGB = 0.85
_MOUTH_SIZE = 128


def render_views(
    head: HeadModel,
    shape: Float[Tensor, "K"],
    expression: Float[Tensor, "E"],
    albedo: Float[Tensor, "3 U U"],
    eye_albedo: Float[Tensor, "3 V V"],
    yaws: Float[Tensor, "N"],
    size: int,
) -> Float[Tensor, "N 3 {size} {size}"]:
    """One head from several sides in the studio light, sRGB 0..1, before light grey.

    albedo, eye_albedo: sRGB 0..1, of any size. yaws: radians, positive shows the head's left side. Gradients reach
    shape, expression and albedo, by way of the outline too.
    """
    count = len(yaws)
    camera = camera_of(yaws, torch.zeros_like(yaws), size)
    seen = render_heads(
        head,
        shape[None].expand(count, -1),
        expression[None].expand(count, -1),
        albedo[None],
        eye_albedo[None],
        camera,
        attach_to_camera(studio_light().to(yaws.device), camera),
        BACKGROUND_SRGB,
    )
    return linear_to_srgb(seen.color_linear.clamp(0, 1))


def camera_of(yaws: Float[Tensor, "N"], pitches: Float[Tensor, "N"], size: int) -> Camera:
    """Cameras around the head that see it whole; radians."""
    middle = torch.tensor(MIDDLE_M, dtype=yaws.dtype, device=yaws.device)
    return look_at_head(yaws, pitches, DISTANCE_M, middle, size * DISTANCE_M / HEIGHT_M, size, size)


def render_heads(
    head: HeadModel,
    shape: Float[Tensor, "#N K"],
    expression: Float[Tensor, "#N E"],
    albedo: Float[Tensor, "#N 3 U U"],
    eye_albedo: Float[Tensor, "#N 3 V V"],
    camera: Camera,
    light: Light,
    background: float = 0.0,
) -> Rendering:
    """As many heads as cameras, in linear light; background: sRGB grey. Maps that are much finer than the picture are
    averaged before they are sampled."""
    faces, uv_faces, texture = _drawn(head.faces, head.uv_faces, head.face_part)
    skin = srgb_to_linear(albedo)
    factor = 2 ** max(0, int(math.log2(max(skin.shape[-1] / (2 * camera.width), 1))))
    if factor > 1:
        skin = functional.avg_pool2d(skin, factor)
    mouth = srgb_to_linear(_mouth().to(skin) / 255)[None]
    behind = srgb_to_linear(skin.new_full((1, 1, 1, 1), background))
    vertices = head.rest_vertices(shape, expression)
    return render(
        vertices, faces, camera, light, head.uv, uv_faces, [skin, srgb_to_linear(eye_albedo), mouth], texture,
        background=behind, cull_backfaces=True,
    )  # fmt: skip


# Tensors hash by identity, so the same model finds the same faces.
@functools.lru_cache(maxsize=2)
def _drawn(faces: Tensor, uv_faces: Tensor, face_part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Faces, their corners in the atlas and the map that each samples, of everything but the lashes."""
    chosen = torch.nonzero(face_part != PARTS.index("lashes")).squeeze(1)
    maps = ("skin", "eye", "mouth", "lash")
    texture = torch.tensor([maps.index(PART_TEXTURE[part]) for part in PARTS], device=faces.device)
    return faces[chosen], uv_faces[chosen], texture[face_part[chosen]]


@functools.cache
def _mouth() -> Tensor:
    return paint_mouth(_MOUTH_SIZE)
