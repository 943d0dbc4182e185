"""A synthetic head, complete: who the person is, the maps of the skin, its relief, eyes, mouth and lashes.

A person is a deterministic function of a latent of independent normal coordinates and a seed (`people`). This file puts
together what the others paint from it; `photo` takes pictures of the result, `shards` writes many.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from core.head import HeadModel
from core.materials import IRIS_DIAMETER_M, Materials, iris_radius_uv, paint_eye, paint_lashes, paint_mouth
from core.synthesis.features import draw_features, person_rng
from core.synthesis.people import Person, iris_colour, sample_person
from core.synthesis.relief import Relief, normal_map, paint_relief
from core.synthesis.skins import SkinSources, paint_albedo

EYE_SIZE = 256  # texels a side of the maps that a head shares with nobody's skin
IRIS_SPREAD_M = 0.0004
PUPIL_RANGE_M = (0.0025, 0.0055)
_EYES_STREAM = 50  # of a person's random numbers


@dataclass(frozen=True, eq=False)
class SyntheticHead:
    """A person who does not exist, as maps and numbers.

    albedo: ``[3, U, U]`` sRGB diffuse colour without light, the same tensor as `materials.skin_albedo`. relief:
    displacement, specular albedo and roughness at the same size. materials: what `render_head` and the exporters take;
    roughness and normals are the relief's, the eyes follow the labels. The shape is `person.shape`.
    """

    person: Person
    albedo: UInt8[Tensor, "3 U U"]
    relief: Relief
    materials: Materials


def sample_head(
    head: HeadModel, seed: int, size: int, sources: SkinSources | None = None, normals: bool = True
) -> SyntheticHead:
    """The random person of a seed with maps of `size` texels a side. Same arguments, same bytes, up to the last bit of
    a float between kinds of processor.

    sources: the CC0 skins to mix; None paints from the procedural skin in assets, which needs no file. Another size
    shows the same person. normals: make the map of normals too, two fifths of the time at 512.
    """
    return head_from_person(head, sample_person(head, seed), size, sources, normals)


def head_from_person(
    head: HeadModel, person: Person, size: int, sources: SkinSources | None = None, normals: bool = True
) -> SyntheticHead:
    """The head of a person whose factors are known: of `sample_person`, or changed by sliders (`people`)."""
    features = draw_features(head, person, size)
    albedo = paint_albedo(head, person, features, size, sources)
    relief = paint_relief(head, person, features)
    shaped = rest_vertices(head, person.shape[None])
    materials = Materials(
        skin_albedo=albedo,
        skin_roughness=as_bytes(relief.roughness)[None],
        eye_albedo=paint_eyes(head, person),
        mouth_albedo=paint_mouth(EYE_SIZE),
        lash_albedo=paint_lashes(EYE_SIZE),
        skin_normal=normal_map(head, relief.displacement_m, shaped) if normals else None,
    )
    return SyntheticHead(person, albedo, relief, materials)


def as_bytes(values: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Numbers 0..1 as 0..255, rounded; what lies outside is cut off."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def eyeball_radius_m(head: HeadModel, shape: Float[Tensor, "1 K"]) -> float:
    """Mean radius of a head's eyeballs."""
    vertices = rest_vertices(head, shape)
    eyes = torch.unique(head.faces[head.part_faces("eyes")])
    radii = []
    for sign in (-1, 1):
        ball = vertices[eyes[torch.sign(head.template[eyes, 0]) == sign]]
        radii.append((ball - ball.mean(0)).norm(dim=1).mean())
    return float(torch.stack(radii).mean())


def rest_vertices(head: HeadModel, shape: Float[Tensor, "1 K"]) -> Float[Tensor, "V 3"]:
    """A head of this shape, relaxed."""
    return head.rest_vertices(shape, shape.new_zeros(1, len(head.expression_names)))[0]


def paint_eyes(head: HeadModel, person: Person, size: int = EYE_SIZE) -> UInt8[Tensor, "3 {size} {size}"]:
    """Irises of the labels' colour; the size of iris and pupil and the fibres by the seed.

    Visible irises measure 11.7 +- 0.4 mm whatever the size of the head (Ruefer et al. 2005), which is how a photo
    shows metric size.
    """
    rng = person_rng(person, _EYES_STREAM)
    return paint_eye(
        iris_colour(person.labels),
        size=size,
        seed=int(rng.integers(1 << 31)),
        pupil_diameter_m=float(rng.uniform(*PUPIL_RANGE_M)),
        iris_radius_uv=iris_radius_uv(
            eyeball_radius_m(head, person.shape[None]), float(rng.normal(IRIS_DIAMETER_M, IRIS_SPREAD_M))
        ),
    )
