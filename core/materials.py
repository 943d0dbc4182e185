"""What a head is made of: the texture maps that belong to its parts."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor


@dataclass(frozen=True)
class Materials:
    """The maps of one head, as 8-bit images ``[C, H, W]`` (row 0 is the top, v = 1), sRGB where they are colours.

    skin_albedo: ``[3, U, U]`` diffuse colour without light. skin_photo: the same map with the
    photo's own light left in, None where no photo was used. skin_roughness: ``[1, U, U]`` linear.
    skin_normal: ``[3, U, U]`` tangent-space normals or None. eye_albedo: ``[3, E, E]`` shared by
    both eyeballs. mouth_albedo: ``[3, M, M]`` cavity, gums, teeth, tongue. lash_albedo:
    ``[4, L, L]`` with alpha.
    """

    skin_albedo: UInt8[Tensor, "3 U U"]
    skin_roughness: UInt8[Tensor, "1 R R"]
    eye_albedo: UInt8[Tensor, "3 E E"]
    mouth_albedo: UInt8[Tensor, "3 M M"]
    lash_albedo: UInt8[Tensor, "4 L L"]
    skin_photo: UInt8[Tensor, "3 U U"] | None = None
    skin_normal: UInt8[Tensor, "3 N N"] | None = None
