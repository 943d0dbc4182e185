"""Texture charts: a bijective, left-right symmetric map of a disk-like surface onto the unit square.

The skin is cut along the back of the head and flattened half by half. The half starts from a Tutte
embedding (Floater 1997: convex boundary and positive weights, so no triangle is flipped) and then
descends the symmetric Dirichlet energy (Smith and Schaefer 2015) against a target scale per face
with steps that can never flip a triangle (Rabinovich et al. 2017). The target scale is what
gives the face more texels than the back of the head.
"""

from __future__ import annotations

import itertools

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla


def boundary_loops(faces: np.ndarray) -> list[list[int]]:
    """The boundary loops of a triangle mesh, each in the direction of its faces' half-edges."""
    half = {(int(a), int(b)) for f in faces for a, b in zip(f, np.roll(f, -1), strict=True)}
    following = {a: b for a, b in half if (b, a) not in half}
    loops = []
    while following:
        start, current = next(iter(following.items()))
        loop = [start]
        del following[start]
        while current != start:
            loop.append(current)
            current = following.pop(current)
        loops.append(loop)
    return loops


def uniform_laplacian(faces: np.ndarray, count: int) -> sp.csr_matrix:
    """Graph Laplacian D - A of the edges."""
    i, j = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    a = sp.coo_matrix((np.ones(len(i)), (i, j)), (count, count)).tocsr()
    a = ((a + a.T) > 0).astype(float)
    return (sp.diags(np.asarray(a.sum(1)).ravel()) - a).tocsr()


def tutte(faces: np.ndarray, count: int, fixed: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Uniform Tutte embedding ``[V, 2]`` with the boundary vertices `fixed` held at `values`."""
    laplacian = uniform_laplacian(faces, count)
    free = np.setdiff1d(np.arange(count), fixed)
    uv = np.zeros((count, 2))
    uv[fixed] = values
    uv[free] = spla.spsolve(laplacian[free][:, free].tocsc(), -(laplacian[free][:, fixed] @ values))
    return uv


def reference_frames(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of each triangle's own 2x2 edge matrix ``[F, 2, 2]``, and its area ``[F]``."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    e1, e2 = b - a, c - a
    x = e1 / np.linalg.norm(e1, axis=1, keepdims=True)
    normal = np.cross(e1, e2)
    area2 = np.linalg.norm(normal, axis=1)
    y = np.cross(normal / area2[:, None], x)
    edges = np.stack(
        [np.stack([(e1 * x).sum(1), (e2 * x).sum(1)], 1), np.stack([(e1 * y).sum(1), (e2 * y).sum(1)], 1)], 1
    )
    return np.linalg.inv(edges), area2 / 2


def symmetric_dirichlet(
    uv: np.ndarray,
    faces: np.ndarray,
    inverse: np.ndarray,
    weight: np.ndarray,
    locked: np.ndarray,
    iterations: int = 200,
) -> np.ndarray:
    """Minimise the weighted symmetric Dirichlet energy ``sum w (|J|^2 + |J^-1|^2)`` of a planar map.

    Scalable locally injective mappings (Rabinovich, Poranne, Panozzo and Sorkine-Hornung 2017): each
    step solves the quadratic proxy whose gradient matches the energy's, then searches along it.
    uv: ``[V, 2]`` start without flips; inverse: ``[F, 2, 2]`` inverse edge matrices of the wanted
    triangles; weight: ``[F]``; locked: ``[V, 2]`` True where a coordinate may not move. Every
    accepted step keeps all triangles positively oriented.
    """
    count = len(uv)
    face_count = len(faces)
    # Gradient operator: rows (face, a) give sum_i uv_i * D[f, i, a], so that J[f, x, a] = (D uv_x)[f, a].
    corner = np.stack([-inverse.sum(1), inverse[:, 0], inverse[:, 1]], 1)
    rows = np.repeat(np.arange(face_count * 2).reshape(face_count, 2)[:, None, :], 3, 1)
    columns = np.repeat(faces[:, :, None], 2, 2)
    gradient = sp.csr_matrix((corner.ravel(), (rows.ravel(), columns.ravel())), (2 * face_count, count))
    free = ~locked.T.ravel()

    def jacobians(p: np.ndarray) -> np.ndarray:
        return np.stack([(gradient @ p[:, x]).reshape(face_count, 2) for x in range(2)], 1)

    def energy(p: np.ndarray) -> float:
        jacobian = jacobians(p)
        det = jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]
        if det.min() <= 0:
            return np.inf
        return float((weight * (jacobian**2).sum((1, 2)) * (1 + 1 / det**2)).sum())

    current = energy(uv)
    assert np.isfinite(current), "the start of the descent has flipped triangles"
    for _ in range(iterations):
        u, s, vt = np.linalg.svd(jacobians(uv))
        rotation = u @ vt
        s = np.where(np.abs(s - 1) < 1e-6, 1 + 1e-6, s)
        proxy = np.einsum("fij,fj,fkj->fik", u, np.sqrt((s - s**-3) / (s - 1)), u)
        proxy *= np.sqrt(weight)[:, None, None]
        # Least squares over both coordinates: rows (face, i, a) of sum_x proxy[i, x] (J - R)[x, a].
        blocks = []
        for i in range(2):
            blocks.append(sp.hstack([sp.diags(np.repeat(proxy[:, i, x], 2)) @ gradient for x in range(2)]))
        matrix = sp.vstack(blocks).tocsr()
        target = np.concatenate([(proxy @ rotation)[:, i].ravel() for i in range(2)])
        unknown = uv.T.ravel().copy()
        residual = target - matrix @ unknown
        a = matrix[:, free]
        normal = (a.T @ a + 1e-9 * sp.identity(int(free.sum()))).tocsc()
        move = np.zeros_like(unknown)
        move[free] = spla.spsolve(normal, a.T @ residual)
        direction = move.reshape(2, count).T
        step = 1.0
        while step > 1e-10:
            trial = energy(uv + step * direction)
            if trial < current:
                break
            step *= 0.6
        else:
            break
        uv = uv + step * direction
        converged = current - trial < 1e-6 * current
        current = trial
        if converged:
            break
    return uv


def uv_areas(uv: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Signed area of each triangle in the atlas; negative means flipped."""
    a, b, c = (uv[faces[:, i]] for i in range(3))
    return 0.5 * ((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]))


def flatten_half(
    vertices: np.ndarray,
    faces: np.ndarray,
    scale: np.ndarray,
    midline: np.ndarray,
    crown: int,
    neck_front: int,
    neck_back: int,
) -> np.ndarray:
    """Flatten the head's left half (x >= 0) into [0, 0.5] x [0, 1]; the mid-sagittal front becomes u = 0.

    scale: ``[F]`` wanted texel density, up to a common factor. midline: ``[V]`` bool. The boundary
    loop runs from `crown` down the front to `neck_front` (left edge), round the neck to `neck_back`
    (bottom edge) and up the back of the head to the crown (right edge, then the top edge). Where
    the front leaves the midline (the mouth) and round inner holes (the eyes) a fan of virtual
    triangles takes part in the descent, so that lips and lids cannot cross. Returns uv ``[V, 2]``.
    """
    count = len(vertices)
    loops = boundary_loops(faces)
    outer = next(loop for loop in loops if crown in loop)
    start = outer.index(crown)
    outer = outer[start:] + outer[:start]
    i, j = outer.index(neck_front), outer.index(neck_back)
    assert 0 < i < j, "the half's faces must be counter-clockwise seen from outside"
    front, neck, back = outer[: i + 1], outer[i : j + 1], [*outer[j:], crown]

    positions = list(vertices)
    fans: list[tuple[int, int, int]] = []

    def add_fan(ring: list[int], closed: bool) -> int:
        hub = len(positions)
        centre = vertices[ring].mean(0)
        positions.append(np.array([0.0, centre[1], centre[2]]) if not closed else centre)
        pairs = zip(ring, ring[1:] + ring[:1], strict=True) if closed else itertools.pairwise(ring)
        fans.extend((b, a, hub) for a, b in pairs)
        return hub

    for loop in loops:
        if crown not in loop:
            add_fan(loop, closed=True)
    edge, notch = [], []
    for v in front:
        if not midline[v]:
            notch.append(v)
            continue
        if notch:
            edge.append(add_fan([edge[-1], *notch, v], closed=False))
            notch = []
        edge.append(v)

    placed = np.array(positions)
    all_faces = np.vstack([faces, np.array(fans, int).reshape(-1, 3)])

    def arc(path: list[int]) -> np.ndarray:
        t = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(placed[path], axis=0), axis=1) + 1e-6)])
        return t / t[-1]

    t_back = arc(back)
    corner = int(np.argmin(np.abs(t_back - 0.62)))
    boundary = {v: (0.0, 1 - t) for v, t in zip(edge, arc(edge), strict=True)}
    boundary |= {v: (t, 0.0) for v, t in zip(neck, arc(neck), strict=True)}
    for k, (v, t) in enumerate(zip(back, t_back, strict=True)):
        up, left = t / t_back[corner], 1 - (t - t_back[corner]) / (1 - t_back[corner])
        boundary[v] = (1.0, up) if k <= corner else (left, 1.0)
    fixed = np.array(list(boundary))
    uv = tutte(all_faces, len(placed), fixed, np.array([boundary[v] for v in fixed]) * [0.5, 1.0])

    inverse, area = reference_frames(vertices, faces)
    scale = scale * np.sqrt(0.5 / (scale**2 * area).sum())
    inverse = inverse / scale[:, None, None]
    weight = area * scale**2
    # A virtual triangle wants to be a small equilateral one: it only keeps its ring open.
    side = 0.2 / np.sqrt(len(faces))
    inverse_fan = np.linalg.inv(side * np.array([[1.0, 0.5], [0.0, np.sqrt(0.75)]]))
    inverse = np.concatenate([inverse, np.repeat(inverse_fan[None], len(fans), 0)])
    weight = np.concatenate([weight, np.full(len(fans), 0.05 * weight.mean())])

    locked = np.zeros((len(placed), 2), bool)
    locked[edge, 0] = True
    locked[neck, 1] = True
    locked[back[: corner + 1], 0] = True
    locked[back[corner:], 1] = True
    locked[[neck_front, neck_back, back[corner], crown]] = True
    return symmetric_dirichlet(uv, all_faces, inverse, weight, locked)[:count]
