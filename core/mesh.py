"""Triangle meshes: the frozen `Mesh` and the geometry that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh with per-corner texture coordinates.

    vertices: ``[V, 3]`` metres, head frame. faces: ``[F, 3]`` counter-clockwise seen from outside.
    uv: ``[T, 2]`` origin bottom-left; uv_faces: ``[F, 3]`` rows of `uv`, so that seams need no
    duplicate vertices. Both are None where a mesh has no texture.
    """

    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    uv: Float[Tensor, "T 2"] | None = None
    uv_faces: Int[Tensor, "F 3"] | None = None

    def to(self, device: torch.device | str) -> Mesh:
        """The same mesh on another device."""
        moved = [None if t is None else t.to(device) for t in (self.vertices, self.faces, self.uv, self.uv_faces)]
        assert moved[0] is not None and moved[1] is not None
        return Mesh(moved[0], moved[1], moved[2], moved[3])


def at_corners(values: Float[Tensor, "*batch V C"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "*batch F 3 C"]:
    """Values at vertices, at the corners of each face.

    Not ``values[..., faces, :]``: the gradient of that is added up by racing threads on a CPU, and a fit that descends
    along it would give another head each time. Selecting rows has a gradient that is summed in order.
    """
    rows = values.flatten(0, -3) if values.dim() > 2 else values[None]
    corners = [one.index_select(0, faces.flatten()) for one in rows]
    return torch.stack(corners).reshape(*values.shape[:-2], *faces.shape, values.shape[-1])


def face_normals(
    vertices: Float[Tensor, "*batch V 3"], faces: Int[Tensor, "F 3"], normalise: bool = True
) -> Float[Tensor, "*batch F 3"]:
    """Face normals ``[..., F, 3]``; without `normalise` as long as twice the area. A degenerate face gives zero."""
    a, b, c = at_corners(vertices, faces).unbind(-2)
    cross = torch.linalg.cross(b - a, c - a)
    if not normalise:
        return cross
    return cross / cross.norm(dim=-1, keepdim=True).clamp_min(1e-20)


def vertex_normals(vertices: Float[Tensor, "*batch V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "*batch V 3"]:
    """Area-weighted unit vertex normals. A vertex of no (or only degenerate) faces gets the zero vector."""
    weighted = face_normals(vertices, faces, normalise=False)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(-2, faces[:, corner], weighted)
    return total / total.norm(dim=-1, keepdim=True).clamp_min(1e-20)


def texture_gradients(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], uv: Float[Tensor, "T 2"], uv_faces: Int[Tensor, "F 3"]
) -> Float[Tensor, "T 2 3"]:
    """How a place moves along rising u and along rising v, metres per unit of the map, at each corner of the map.

    Each face's derivatives, averaged by area in the map over the faces about a corner, as MikkTSpace does. Zero for
    corners of no faces, and of faces without area in the map. Differentiable in the vertices.
    """
    corners, chart = at_corners(vertices, faces).double(), at_corners(uv, uv_faces).double()
    edges, chart_edges = corners[:, 1:] - corners[:, :1], chart[:, 1:] - chart[:, :1]
    (a, b), (c, d) = chart_edges[:, 0].unbind(-1), chart_edges[:, 1].unbind(-1)
    area = a * d - b * c
    safe = torch.where(area.abs() < 1e-14, torch.inf, area)[:, None]
    along_u = (d[:, None] * edges[:, 0] - b[:, None] * edges[:, 1]) / safe
    along_v = (a[:, None] * edges[:, 1] - c[:, None] * edges[:, 0]) / safe
    weighted = torch.cat([along_u, along_v, torch.ones_like(along_u[:, :1])], 1) * area.abs()[:, None]
    total = weighted.new_zeros(len(uv), 7)
    for corner in range(3):
        total = total.index_add(0, uv_faces[:, corner], weighted)
    return (total[:, :6] / total[:, 6:].clamp_min(1e-20)).to(vertices).unflatten(1, (2, 3))


def unique_edges(faces: Int[Tensor, "F 3"]) -> Int[Tensor, "N 2"]:
    """Each undirected edge once, as sorted vertex pairs."""
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return torch.unique(edges.sort(dim=1).values, dim=0)


def compact(mesh: Mesh, face_mask: torch.Tensor) -> tuple[Mesh, Int[Tensor, "N"]]:
    """The sub-mesh of the faces where `face_mask` is true, and the original index of each vertex that stays."""
    faces = mesh.faces[face_mask]
    kept, compact_faces = torch.unique(faces, return_inverse=True)
    uv = uv_faces = None
    if mesh.uv is not None and mesh.uv_faces is not None:
        kept_uv, uv_faces = torch.unique(mesh.uv_faces[face_mask], return_inverse=True)
        uv = mesh.uv[kept_uv]
    return Mesh(mesh.vertices[kept], compact_faces, uv, uv_faces), kept


def rigid_align(
    source: Float[Tensor, "N 3"], target: Float[Tensor, "N 3"], weights: Float[Tensor, "N"] | None = None
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3"]]:
    """Rotation R and translation t with ``R @ source + t`` closest to `target` in least squares.

    Kabsch 1976; no scale. Three collinear points leave the rotation about their line free (the
    smallest one is returned). Raises ValueError for fewer than three points.
    """
    if source.shape[0] < 3:
        raise ValueError(f"A rigid alignment needs at least 3 points, got {source.shape[0]}.")
    w = torch.ones_like(source[:, 0]) if weights is None else weights
    w = (w / w.sum())[:, None]
    source_mean, target_mean = (w * source).sum(0), (w * target).sum(0)
    covariance = ((source - source_mean) * w).T @ (target - target_mean)
    u, _, vt = torch.linalg.svd(covariance)
    sign = torch.ones(3, dtype=source.dtype, device=source.device)
    sign[2] = torch.sign(torch.linalg.det(u @ vt))
    rotation = vt.T @ torch.diag(sign) @ u.T
    return rotation, target_mean - rotation @ source_mean
