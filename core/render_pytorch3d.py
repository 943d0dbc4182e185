"""The second rasteriser: PyTorch3D's, where it is installed. Same face ids as `core.render.rasterize`."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.raster import NEAR_M, front_facing


@torch.no_grad()
def rasterize(
    points_px: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    height: int,
    width: int,
    cull_backfaces: bool = False,
) -> Int[Tensor, "B H W"]:
    """`core.render.rasterize` by ``pytorch3d.renderer.mesh.rasterize_meshes``.

    The two agree except where a pixel's centre lies on an edge to within rounding. Raises ImportError, with the
    original reason, where PyTorch3D cannot be imported.
    """
    try:
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.structures import Meshes
    except ImportError as error:
        raise ImportError(
            f"core.render_pytorch3d needs PyTorch3D, which could not be imported ({error}). Install it from source as "
            "its INSTALL.md says, or use core.render.rasterize, which needs nothing."
        ) from error
    result = []
    for points in points_px:
        corners = points[faces]
        drawn = torch.isfinite(corners).all(dim=2).all(dim=1) & (corners[..., 2] > NEAR_M).all(dim=1)
        if cull_backfaces:
            drawn &= front_facing(corners[..., :2])
        kept = torch.nonzero(drawn).squeeze(1)
        if not len(kept):
            result.append(torch.full((height, width), -1, dtype=torch.int64, device=points.device))
            continue
        # PyTorch3D's normalised device coordinates: the shorter side spans -1..1, +X left, +Y up.
        half_short = min(height, width) / 2
        x = (width / 2 - points[:, 0]) / half_short
        y = (height / 2 - points[:, 1]) / half_short
        mesh = Meshes([torch.stack([x, y, points[:, 2]], dim=1).float()], [faces[kept]])
        found = rasterize_meshes(
            mesh, image_size=(height, width), blur_radius=0.0, faces_per_pixel=1, perspective_correct=True
        )[0][0, ..., 0]
        result.append(torch.where(found < 0, -1, kept[found.clamp_min(0)]))
    return torch.stack(result)
