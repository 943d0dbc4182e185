"""Triangle meshes: the frozen `Mesh` and the geometry that needs nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
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


def edge_rows(faces: Int[Tensor, "F 3"]) -> tuple[Int[Tensor, "N 2"], Int[Tensor, "F 3"]]:
    """`unique_edges`, and which of them are the edges of each face: edge k runs from corner k to the next."""
    ends = torch.stack([faces, faces.roll(-1, 1)], 2).sort(dim=2).values
    # One number for each edge: sorting pairs takes many times as long.
    count = int(faces.max()) + 1
    keys, rows = torch.unique(ends[..., 0] * count + ends[..., 1], return_inverse=True)
    return torch.stack([keys // count, keys % count], 1), rows


# Children of a face by which of its edges are split (1, 2 and 4 for edges 0, 1 and 2, added up): rows of its corners
# 0, 1, 2 and of the middles 3, 4, 5 of its edges.
_CHILDREN = (
    ((0, 1, 2),),
    ((0, 3, 2), (3, 1, 2)),
    ((0, 1, 4), (0, 4, 2)),
    ((3, 1, 4), (0, 3, 4), (0, 4, 2)),
    ((0, 1, 5), (1, 2, 5)),
    ((0, 3, 5), (3, 1, 2), (3, 2, 5)),
    ((4, 2, 5), (0, 1, 4), (0, 4, 5)),
    ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)),
)


@dataclass(frozen=True)
class Split:
    """A mesh some of whose edges were split in the middle; where all edges of a face were, it became four.

    faces: ``[F', 3]``, in which the middle of the k-th split edge is vertex V + k; uv_faces: the same of texture
    coordinates. parent: ``[F']`` the face that each was a part of. edges: ``[M, 2]`` the ends of the split edges;
    uv_edges: ``[P, 2]`` of those on the map, where an edge on a seam lies twice.
    """

    faces: Int[Tensor, "F2 3"]
    uv_faces: Int[Tensor, "F2 3"]
    parent: Int[Tensor, "F2"]
    edges: Int[Tensor, "M 2"]
    uv_edges: Int[Tensor, "P 2"]


def split_edges(
    faces: Int[Tensor, "F 3"],
    uv_faces: Int[Tensor, "F 3"],
    marked: Bool[Tensor, "N"],
    vertex_count: int,
    uv_count: int,
) -> Split:
    """Split the marked ones of `edge_rows(faces)`. Neighbours agree on what lies on their edge: nothing comes apart."""
    edges, of_faces = edge_rows(faces)
    uv_edges, uv_of_faces = edge_rows(uv_faces)
    split = marked[of_faces]
    on_map = torch.zeros(len(uv_edges), dtype=torch.bool, device=faces.device)
    on_map[uv_of_faces[split]] = True
    points = torch.cat([faces, vertex_count + (marked.cumsum(0) - 1)[of_faces]], 1)
    uv_points = torch.cat([uv_faces, uv_count + (on_map.cumsum(0) - 1)[uv_of_faces]], 1)
    kind = (split * torch.tensor([1, 2, 4], device=faces.device)).sum(1)
    parents, children, uv_children = [], [], []
    for code, pattern in enumerate(_CHILDREN):
        rows = torch.nonzero(kind == code).squeeze(1)
        local = torch.tensor(pattern, device=faces.device)
        parents.append(rows.repeat_interleave(len(local)))
        children.append(points[rows][:, local].reshape(-1, 3))
        uv_children.append(uv_points[rows][:, local].reshape(-1, 3))
    parent = torch.cat(parents)
    # In the order of their parents, so that what lay together stays together.
    order = torch.argsort(parent, stable=True)
    return Split(
        torch.cat(children)[order], torch.cat(uv_children)[order], parent[order], edges[marked], uv_edges[on_map]
    )


@dataclass(frozen=True)
class LoopPoints:
    """What Loop's rules make of a mesh. vertices: ``[V, 3]`` where the next finer mesh has the vertices, and middles:
    ``[N, 3]`` those that come onto the edges; limit: ``[V, 3]`` where the vertices end up on the smooth surface."""

    vertices: Float[Tensor, "V 3"]
    middles: Float[Tensor, "N 3"]
    limit: Float[Tensor, "V 3"]


def loop_points(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], smooth: Bool[Tensor, "F"] | None = None
) -> LoopPoints:
    """One step of subdivision by the rules of Loop 1987, "Smooth subdivision surfaces based on triangles".

    smooth: the faces that make the surface, None for all; the others take part in nothing, and vertices of theirs
    alone stay. Where the surface ends it is a cubic B-spline of its border alone, so that what is joined there may
    follow; vertices where several borders meet stay where they are.
    """
    edges, of_faces = edge_rows(faces)
    if smooth is not None:
        faces, of_faces = faces[smooth], of_faces[smooth]

    def collected(rows: Tensor, values: Tensor, count: int) -> Tensor:
        return values.new_zeros(count, *values.shape[1:]).index_add(0, rows, values)

    ones = vertices.new_ones(of_faces.numel(), 1)
    sides = collected(of_faces.flatten(), ones, len(edges))
    across = collected(of_faces.flatten(), vertices[faces.roll(1, 1).flatten()], len(edges))
    start, end = vertices[edges[:, 0]], vertices[edges[:, 1]]
    inner, border = sides == 2, (sides > 0) & (sides != 2)
    middles = torch.where(inner, 0.375 * (start + end) + 0.125 * across, 0.5 * (start + end))

    both, others = edges.flatten(), torch.stack([end, start], 1).reshape(-1, 3)
    part = (sides > 0).to(vertices).repeat_interleave(2, 0)
    valence, around = collected(both, part, len(vertices)), collected(both, part * others, len(vertices))
    part = border.to(vertices).repeat_interleave(2, 0)
    borders, along = collected(both, part, len(vertices)), collected(both, part * others, len(vertices))

    count = valence.clamp_min(3)
    beta = (0.625 - (0.375 + 0.25 * torch.cos(2 * math.pi / count)) ** 2) / count
    chi = 1 / (3 / (8 * beta) + count)
    inside, edge = (borders == 0) & (valence >= 3), borders == 2
    moved = torch.where(inside, (1 - count * beta) * vertices + beta * around, vertices)
    moved = torch.where(edge, 0.75 * vertices + 0.125 * along, moved)
    limit = torch.where(inside, (1 - count * chi) * vertices + chi * around, vertices)
    limit = torch.where(edge, (2 * vertices + 0.5 * along) / 3, limit)
    return LoopPoints(moved, middles, limit)


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
