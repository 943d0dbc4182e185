"""Maps from one mesh to another: what a foreign model paints or measures in its own texture space, in our atlas.

A texel of ours is a point of our head. The nearest point of the foreign surface lies in one of its triangles, whose
texture coordinates say where to look. Before that the foreign mesh is bent onto our head by landmarks that both have
(`bent_to`), because nearest points on two faces that merely overlap would put a nostril onto a lip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int16
from torch import Tensor
from torch.nn import functional

from core.atlas import atlas_lookup, interpolate, positions, rasterise_triangles
from core.errors import LikenessError
from core.head import PARTS, HeadModel
from core.materials import DISPLACEMENT_UNIT_M
from core.mesh import Mesh, at_corners, face_normals, vertex_normals

CANDIDATES = 6  # triangles tried first for each point
CHUNK = 1 << 15  # points at a time
MAX_SIDE = 8192


@dataclass(frozen=True)
class NearestPoints:
    """Where on a mesh each point's nearest one lies.

    face: ``[N]``; barycentric: ``[N, 3]``; distance: ``[N]`` in the mesh's unit; on_border: ``[N]``, true where the
    nearest point lies on an edge of one triangle only, that is, where the mesh ends before the point does.
    """

    face: Int[Tensor, "N"]
    barycentric: Float[Tensor, "N 3"]
    distance: Float[Tensor, "N"]
    on_border: Bool[Tensor, "N"]


@dataclass(frozen=True)
class TransferSettings:
    """What counts as the same place. max_distance_m: of the nearest point. min_cosine: of the angle between the two
    surfaces' normals; the back of the lips lies as close as their front."""

    max_distance_m: float = 0.012
    min_cosine: float = 0.3


@dataclass(frozen=True)
class TransferredMap:
    """values: ``[C, U, U]``, 0 where not valid; valid: ``[U, U]``."""

    values: Float[Tensor, "C U U"]
    valid: Bool[Tensor, "U U"]

    def displacement(self) -> Int16[Tensor, "1 U U"]:
        """Values that are metres, as `Materials.skin_displacement` holds them; a flat surface where not valid."""
        return (self.values[:1] / DISPLACEMENT_UNIT_M).round().clamp(-32767, 32767).to(torch.int16)


def nearest_on_mesh(
    points: Float[Tensor, "N 3"], vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]
) -> NearestPoints:
    """The nearest point of the surface to each point, exactly.

    Triangles near in centre are tried first, ever more of them, until none of the untried ones can be nearer: the
    distance of its centre less its circumscribed radius is a bound. They are looked up by size, so that a few large
    ones (a neck) do not weaken the bound for the many small ones. Equally near triangles: any one of them.
    """
    from scipy.spatial import KDTree

    corners = vertices[faces].double().cpu().numpy()
    query = points.double().cpu().numpy()
    centre = corners.mean(1)
    radius = np.linalg.norm(corners - centre[:, None], axis=-1).max(1)
    level = np.floor(np.log2(np.maximum(radius / max(radius.max(), 1e-30), 1e-6)))
    # A corner of some triangle to start with: what cannot be nearer than the nearest one is never looked at.
    used, first = np.unique(faces.cpu().numpy(), return_index=True)
    best, corner = KDTree(vertices.double().cpu().numpy()[used]).query(query)
    face, weight = first[corner] // 3, np.eye(3)[first[corner] % 3]
    # The smallest triangles first: they are the most.
    for size in np.unique(level):
        members = np.nonzero(level == size)[0]
        tree, reach = KDTree(centre[members]), radius[members].max()
        open_points, tried = np.nonzero(tree.query(query)[0] - reach < best)[0], 0
        while len(open_points) and tried < len(members):
            wanted = min(max(CANDIDATES, 4 * tried), len(members))
            left = []
            for start in range(0, len(open_points), max(1, CHUNK * CANDIDATES // wanted)):
                rows = open_points[start : start + max(1, CHUNK * CANDIDATES // wanted)]
                away, found = tree.query(query[rows], k=wanted)
                away, found = away.reshape(len(rows), wanted), members[found.reshape(len(rows), wanted)]
                bary = _closest(query[rows][:, None], corners[found[:, tried:]])
                away_from = np.einsum("nkc,nkcx->nkx", bary, corners[found[:, tried:]]) - query[rows][:, None]
                distance = np.sqrt(_dot(away_from, away_from))
                pick = distance.argmin(1)
                at = (np.arange(len(rows)), pick)
                better = distance[at] < best[rows]
                improved = rows[better]
                best[improved] = distance[at][better]
                face[improved], weight[improved] = found[:, tried:][at][better], bary[at][better]
                left.append(rows[away[:, -1] - reach < best[rows]])
            open_points, tried = np.concatenate(left), wanted
    border = _border_corners(faces.cpu().numpy())[face]  # which opposite edges are open
    on_border = (border & (weight < 1e-6)).any(1)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(points.device)

    return NearestPoints(
        tensor(face), tensor(weight).to(points.dtype), tensor(best).to(points.dtype), tensor(on_border)
    )


def _closest(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric weights of the point of each triangle [..., 3, 3] that is nearest to [..., 3]: the foot of the
    perpendicular where it lies inside, else the nearest of the three edges' nearest points."""
    corners = np.broadcast_to(corners, (*np.broadcast_shapes(points.shape[:-1], corners.shape[:-2]), 3, 3))
    points = np.broadcast_to(points, (*corners.shape[:-2], 3))
    a = corners[..., 0, :]
    edge_b, edge_c, offset = corners[..., 1, :] - a, corners[..., 2, :] - a, points - a
    bb, bc, cc = _dot(edge_b, edge_b), _dot(edge_b, edge_c), _dot(edge_c, edge_c)
    pb, pc = _dot(offset, edge_b), _dot(offset, edge_c)
    determinant = bb * cc - bc * bc
    safe = np.where(determinant > 1e-30, determinant, 1)
    v, w = (cc * pb - bc * pc) / safe, (bb * pc - bc * pb) / safe
    result = np.stack([1 - v - w, v, w], -1)
    outside = (v < 0) | (w < 0) | (v + w > 1) | (determinant <= 1e-30)
    result[outside] = _on_edges(points[outside], corners[outside])
    return result


def _on_edges(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The same for the outline of each triangle."""
    result, least = np.zeros_like(points), np.full(len(points), np.inf)
    for k in range(3):
        start, along = corners[:, k], corners[:, (k + 1) % 3] - corners[:, k]
        length = _dot(along, along)
        t = np.clip(_dot(points - start, along) / np.where(length > 0, length, 1), 0, 1)
        away = start + t[:, None] * along - points
        distance = _dot(away, away)
        better = distance < least
        least[better] = distance[better]
        result[better] = 0
        result[better, k], result[better, (k + 1) % 3] = 1 - t[better], t[better]
    return result


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("...x,...x->...", a, b)


def _border_corners(faces: np.ndarray) -> np.ndarray:
    """``[F, 3]`` whether the edge across from each corner belongs to this triangle alone."""
    edges = np.sort(faces[:, [[1, 2], [2, 0], [0, 1]]].reshape(-1, 2), 1)
    _, inverse, counts = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    return (counts[inverse] == 1).reshape(-1, 3)


def bent_to(
    vertices: Float[Tensor, "V 3"],
    landmarks: Float[Tensor, "L 3"],
    targets: Float[Tensor, "L 3"],
    smoothing: float = 0.0,
) -> Float[Tensor, "V 3"]:
    """The vertices moved as the landmarks have to move to meet their targets, smoothly in between.

    A radial basis function with the kernel r and an affine part: the smoothest deformation of space in the sense of
    Carr et al. 2001, "Reconstruction and representation of 3D objects with radial basis functions". smoothing: 0 meets
    the targets exactly. Landmarks that coincide are averaged. Raises LikenessError for fewer than four places.
    """
    from scipy.interpolate import RBFInterpolator

    places, inverse = np.unique(landmarks.double().cpu().numpy(), axis=0, return_inverse=True)
    if len(places) < 4 or np.linalg.matrix_rank(places - places.mean(0)) < 3:
        raise LikenessError(
            f"A mesh cannot be bent by {len(places)} landmarks: at least four were expected, not all in one plane."
        )
    moves = (targets - landmarks).double().cpu().numpy()
    counts = np.bincount(inverse.ravel())
    mean = np.stack([np.bincount(inverse.ravel(), moves[:, k]) / counts for k in range(3)], 1)
    field = RBFInterpolator(places, mean, kernel="linear", degree=1, smoothing=smoothing)
    return vertices + torch.from_numpy(field(vertices.double().cpu().numpy())).to(vertices)


def windowed(mesh: Mesh, left: float, top: float, right: float, bottom: float) -> Mesh:
    """The same mesh with texture coordinates that run from 0 to 1 over a part of its map.

    The edges are shares of the map's side, from its left and from its top. Outside, coordinates leave 0..1.
    """
    assert mesh.uv is not None
    u = (mesh.uv[:, 0] - left) / (right - left)
    v = 1 - (1 - mesh.uv[:, 1] - top) / (bottom - top)
    return replace(mesh, uv=torch.stack([u, v], 1))


def to_atlas(
    head: HeadModel,
    vertices: Float[Tensor, "V 3"],
    foreign: Mesh,
    image: Float[Tensor, "C h w"],
    size: int,
    known: Bool[Tensor, "h w"] | None = None,
    settings: TransferSettings | None = None,
) -> TransferredMap:
    """A map in the texture space of `foreign` as one of our skin map with `size` texels a side.

    vertices: of our head, in metres. foreign: in the same place (see `bent_to`), with texture coordinates. known:
    where the image says anything. A texel is valid where our skin is, the foreign surface is near, faces the same way
    and does not end, and its texture coordinates lie on a known part of the image. Raises LikenessError for sizes and
    meshes that cannot be.
    """
    settings = settings or TransferSettings()
    _check(size, foreign)
    inside = atlas_lookup(head, size).inside
    points = positions(head, vertices, size)[inside]
    normals = functional.normalize(interpolate(head, vertex_normals(vertices, head.faces), size)[inside], dim=-1)
    # Most of a head is far from a face: leave it out before the exact search.
    near = _within(points, foreign.vertices, foreign.faces, settings.max_distance_m)
    hit = nearest_on_mesh(points[near], foreign.vertices, foreign.faces)
    assert foreign.uv is not None and foreign.uv_faces is not None
    uv = (at_corners(foreign.uv, foreign.uv_faces[hit.face]) * hit.barycentric[..., None]).sum(1)
    facing = (face_normals(foreign.vertices, foreign.faces)[hit.face] * normals[near]).sum(1)
    good = (hit.distance <= settings.max_distance_m) & (facing >= settings.min_cosine) & ~hit.on_border
    good &= ((uv >= 0) & (uv <= 1)).all(1)
    if known is not None:
        good &= _sample(known[None].to(image), uv)[0] > 0.999
    found = torch.where(good, _sample(image, uv), 0)
    rows = torch.nonzero(inside.flatten()).squeeze(1)[near]
    values, valid = image.new_zeros(image.shape[0], size * size), torch.zeros(size * size, dtype=torch.bool)
    values[:, rows], valid[rows] = found, good
    return TransferredMap(values.unflatten(1, (size, size)), valid.reshape(size, size))


def from_atlas(
    head: HeadModel,
    vertices: Float[Tensor, "V 3"],
    foreign: Mesh,
    image: Float[Tensor, "C U U"],
    size: int,
    settings: TransferSettings | None = None,
) -> TransferredMap:
    """A map of our skin as one in the texture space of `foreign`, with `size` texels a side; see `to_atlas`."""
    settings = settings or TransferSettings()
    _check(size, foreign)
    assert foreign.uv is not None and foreign.uv_faces is not None
    corners = foreign.uv[foreign.uv_faces].double().cpu().numpy() * [1, -1] + [0, 1]
    # What leaves the map by far would leave the integers too.
    covered = rasterise_triangles(np.clip(corners, -4, 5) * size, size)
    row, column = np.nonzero(covered >= 0)
    face = torch.from_numpy(covered[row, column])
    texel = np.stack([column + 0.5, row + 0.5, np.zeros(len(row))], 1)
    flat = np.concatenate([corners * size, np.zeros((len(corners), 3, 1))], 2)
    weight = torch.from_numpy(_closest(texel, flat[face.numpy()])).to(foreign.vertices)
    points = (foreign.vertices[foreign.faces[face]] * weight[..., None]).sum(1)

    skin = torch.nonzero(head.face_part == PARTS.index("skin")).squeeze(1)
    near = _within(points, vertices, head.faces[skin], settings.max_distance_m)
    hit = nearest_on_mesh(points[near], vertices, head.faces[skin])
    facing = (
        face_normals(foreign.vertices, foreign.faces)[face][near] * face_normals(vertices, head.faces[skin])[hit.face]
    ).sum(1)
    good = (hit.distance <= settings.max_distance_m) & (facing >= settings.min_cosine) & ~hit.on_border
    uv = (at_corners(head.uv, head.uv_faces[skin][hit.face]) * hit.barycentric[..., None]).sum(1)
    rows = torch.from_numpy(row * size + column)[near]
    values, valid = image.new_zeros(image.shape[0], size * size), torch.zeros(size * size, dtype=torch.bool)
    values[:, rows], valid[rows] = torch.where(good, _sample(image, uv), 0), good
    return TransferredMap(values.unflatten(1, (size, size)), valid.reshape(size, size))


def _check(size: int, foreign: Mesh) -> None:
    if not 1 <= size <= MAX_SIDE:
        raise LikenessError(f"A map of {size} texels a side cannot be made; 1 to {MAX_SIDE} were expected.")
    if foreign.uv is None or foreign.uv_faces is None:
        raise LikenessError("The foreign mesh has no texture coordinates. Load it with its own topology or template.")


def _within(
    points: Float[Tensor, "N 3"], vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], reach: float
) -> Int[Tensor, "M"]:
    """Indices of the points that may be within `reach` of the surface: a vertex is then within that and an edge."""
    from scipy.spatial import KDTree

    corners = vertices[faces]
    longest = float((corners - corners.roll(1, 1)).norm(dim=-1).amax())
    tree = KDTree(vertices[faces.unique()].double().cpu().numpy())
    bound = reach + longest
    distance, _ = tree.query(points.double().cpu().numpy(), distance_upper_bound=bound)
    return torch.nonzero(torch.from_numpy(distance <= bound)).squeeze(1)


def _sample(image: Float[Tensor, "C h w"], uv: Float[Tensor, "N 2"]) -> Float[Tensor, "C N"]:
    """Bilinear, pixel centres at half integers, origin bottom-left; beyond the border the nearest pixel's value."""
    place = (uv * torch.tensor([2.0, -2.0]).to(uv) + torch.tensor([-1.0, 1.0]).to(uv)).to(image)
    return functional.grid_sample(
        image[None], place[None, None], mode="bilinear", padding_mode="border", align_corners=False
    )[0, :, 0]
