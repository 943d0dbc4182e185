"""Embed the detector's landmarks in the head and paint its regions: ``python -m recipes.embed_landmarks``.

No hand work: heads with skin are rendered from many sides, the detector runs on the pictures, the
surface point under each landmark is read, and the median over all pictures is kept, made left-right
symmetric. Regions follow from outlines of those landmarks in the atlas. Reads and rewrites
assets/head.safetensors; run it after recipes.build_head.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
import trimesh
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.optimize import linear_sum_assignment

from core.atlas import nearest_inside
from core.camera import look_at_head
from core.checkpoints import ASSETS
from core.errors import PhotoError
from core.head import PARTS, HeadModel, HeadParameters, read_head
from core.landmarks import detect_faces, landmarks
from core.materials import IRIS_DIAMETER_M
from core.photo import load_photo
from core.raster import fragments, rasterize
from core.render import render_head
from recipes.skins import training_materials

log = logging.getLogger("embed_landmarks")
SIDE_PX = 512

# Outlines in mediapipe's 478 points ("right" is the person's own).
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
RIGHT_LIDS = (226, 31, 228, 229, 230, 231, 232, 233, 244, 189, 221, 222, 223, 224, 225, 113)
RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
        150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
NOSE = (168, 193, 245, 188, 174, 217, 209, 198, 102, 64, 98, 97, 2, 326, 327, 294, 331, 420, 429, 437, 399, 412, 465,
        417)  # fmt: skip
CHIN = (32, 194, 201, 200, 421, 418, 262, 369, 395, 394, 379, 378, 400, 377, 152, 148, 176, 149, 150, 169, 170, 140)
RIGHT_CHEEK = (111, 117, 118, 119, 100, 142, 203, 206, 216, 214, 135, 138, 215, 177, 137, 227)
FOREHEAD = (10, 338, 297, 332, 284, 251, 301, 293, 334, 296, 336, 9, 107, 66, 105, 63, 71, 21, 54, 103, 67, 109)

# iBUG's 68 points as mediapipe's nearest (both annotation schemes are published; jaw, brows, nose, eyes, lips).
IBUG_FROM_MEDIAPIPE = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip


def observe(head: HeadModel, count: int, seed: int) -> list[list[np.ndarray]]:
    """For each of the 468 surface landmarks, the points of the template seen under it in `count` renders."""
    rng = np.random.default_rng(seed)
    skin, lashes = PARTS.index("skin"), PARTS.index("lashes")
    seen: list[list[np.ndarray]] = [[] for _ in range(468)]
    solid = head.faces[head.face_part != lashes]
    solid_rows = torch.nonzero(head.face_part != lashes).squeeze(1)
    neutral = head.neutral()
    for i in range(count):
        frontal = i % 3 == 0
        yaw, pitch = (0.0, 0.0) if frontal else (rng.uniform(-35, 35), rng.uniform(-15, 15))
        beta = torch.tensor(rng.normal(0, 0.7, (1, head.shape_count)), dtype=torch.float32)
        vertices = head.vertices(HeadParameters(beta, neutral.expression, neutral.joint_rotations))
        camera = look_at_head(
            torch.tensor([math.radians(yaw)]), torch.tensor([math.radians(pitch)]), 0.9,
            torch.tensor([0.0, -0.02, 0.0]), 0.9 * SIDE_PX / 0.32, SIDE_PX, SIDE_PX,
        )  # fmt: skip
        picture = render_head(head, vertices, training_materials(head, rng, SIDE_PX), camera, supersample=1)
        photo = load_photo((picture[0].permute(1, 2, 0) * 255).round().byte().numpy())
        try:
            faces = detect_faces(photo)
        except PhotoError:
            continue
        if not faces:
            continue
        points = landmarks(photo, faces[0]).points_px.double().numpy()
        face_index = rasterize(camera.project(vertices), solid, SIDE_PX, SIDE_PX)
        pixels = fragments(vertices, solid, camera, face_index)
        visible = torch.where(face_index[0] >= 0, solid_rows[face_index[0].clamp_min(0)], -1)
        on_skin = (visible >= 0) & (head.face_part[visible.clamp_min(0)] == skin)
        # A landmark on the lid or lip margin may fall just off the skin: read the nearest skin pixel, at most 5 away.
        nearest = nearest_inside(on_skin)
        for k in range(468):
            x, y = int(points[k, 0]), int(points[k, 1])
            if not (0 <= x < SIDE_PX and 0 <= y < SIDE_PX):
                continue
            row, column = divmod(int(nearest[y, x]), SIDE_PX)
            if max(abs(row - y), abs(column - x)) > 5:
                continue
            corners = head.template[head.faces[visible[row, column]]]
            seen[k].append((corners * pixels.barycentric[0, row, column][:, None]).sum(0).numpy())
    return seen


def symmetric_medians(seen: list[list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Symmetric medians ``[468, 3]``, the mirror landmark of each, and spreads ``[468]`` in metres."""
    median = np.stack([np.median(np.array(points), 0) for points in seen])
    spread = np.array([np.median(np.linalg.norm(np.array(p) - m, axis=1)) for p, m in zip(seen, median, strict=True)])
    reflected = median * [-1, 1, 1]
    cost = np.linalg.norm(median[:, None] - reflected[None], axis=2)
    mirror = linear_sum_assignment(cost + cost.T)[1]
    assert (mirror[mirror] == np.arange(468)).all()
    weight = 1 / np.maximum(spread, 5e-4) ** 2
    both = weight + weight[mirror]
    return (median * weight[:, None] + reflected[mirror] * weight[mirror, None]) / both[:, None], mirror, spread


def closest(
    vertices: np.ndarray, faces: np.ndarray, rows: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Face index (of the whole head) and barycentric weights of the nearest points on the faces `rows`."""
    mesh = trimesh.Trimesh(vertices, faces[rows], process=False)
    on_surface, _, triangle = trimesh.proximity.closest_point_naive(mesh, points)
    return rows[triangle], trimesh.triangles.points_to_barycentric(mesh.triangles[triangle], on_surface)


def eye_centres(head: HeadModel) -> np.ndarray:
    """Centres of the right and left eyeball of the template ``[2, 3]``."""
    joints = [head.joint_names.index(name) for name in ("rightEye", "leftEye")]
    return head.joint_template[joints].double().numpy()


def inner_lids(head: HeadModel) -> np.ndarray:
    """Skin faces ``[F]`` bool that look at an eyeball: no landmark lies on them."""
    vertices, faces = head.template.double().numpy(), head.faces.numpy()
    centre = vertices[faces].mean(1)
    normal = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    hidden = np.zeros(len(faces), bool)
    for eye in eye_centres(head):
        offset = centre - eye
        hidden |= (np.linalg.norm(offset, axis=1) < 0.02) & ((offset * normal).sum(1) < 0)
    return hidden


def iris_points(head: HeadModel) -> np.ndarray:
    """Iris centre and its +x, +y, -x, -y limbus points of both eyes ``[10, 3]``, right eye first."""
    vertices = head.template.double().numpy()
    eye_vertices = np.unique(head.faces[head.part_faces("eyes")].numpy())
    points = []
    for eye in eye_centres(head):
        side = eye_vertices[np.sign(vertices[eye_vertices, 0]) == np.sign(eye[0])]
        radius = np.linalg.norm(vertices[side] - eye, axis=1).mean()
        s = IRIS_DIAMETER_M / 2 / radius
        z = math.sqrt(1 - s * s)
        points += [eye + radius * np.array(d) for d in ((0, 0, 1), (s, 0, z), (0, s, z), (-s, 0, z), (0, -s, z))]
    return np.array(points)


def soft_region(head: HeadModel, uv: np.ndarray, outlines: list[np.ndarray], smoothing: int = 2) -> np.ndarray:
    """Vertices ``[V]`` 0..1 whose atlas position lies in one of the polygons, with softened borders; skin only."""
    from matplotlib.path import Path as Polygon

    inside = np.zeros(len(uv))
    for outline in outlines:
        inside = np.maximum(inside, Polygon(outline).contains_points(uv).astype(float))
    return smooth(head, inside, smoothing)


def smooth(head: HeadModel, mask: np.ndarray, steps: int) -> np.ndarray:
    """Average each vertex with its neighbours, `steps` times."""
    faces = head.faces.numpy()
    i, j = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    graph = sp.coo_matrix((np.ones(len(i)), (i, j)), (len(mask), len(mask))).tocsr()
    graph = ((graph + graph.T) > 0).astype(float)
    degree = np.maximum(np.asarray(graph.sum(1)).ravel(), 1)
    for _ in range(steps):
        mask = 0.5 * mask + 0.5 * (graph @ mask) / degree
    return mask


def paint_regions(
    head: HeadModel, face_index: np.ndarray, barycentric: np.ndarray, mirror: np.ndarray, ears: np.ndarray
) -> dict[str, np.ndarray]:
    """Soft masks over the vertices. ears: ``[V]`` bool, from the ear targets (recipes.build_head)."""
    faces, uv_faces = head.faces.numpy(), head.uv_faces.numpy()
    skin_rows = head.part_faces("skin").numpy()
    landmark_uv = (head.uv.numpy()[uv_faces[face_index]] * barycentric[:, :, None]).sum(1)
    vertex_uv = np.full((len(head.template), 2), -1.0)
    vertex_uv[faces[skin_rows].ravel()] = head.uv.numpy()[uv_faces[skin_rows].ravel()]
    skin = vertex_uv[:, 0] >= 0
    vertices = head.template.numpy()

    def polygon(indices: tuple[int, ...]) -> np.ndarray:
        return landmark_uv[list(indices)]

    def both(indices: tuple[int, ...]) -> list[np.ndarray]:
        return [polygon(indices), polygon(tuple(int(mirror[i]) for i in indices))]

    hidden = np.zeros(len(vertices), bool)
    hidden[np.unique(faces[skin_rows][inner_lids(head)[skin_rows]])] = True
    oval = soft_region(head, vertex_uv, [polygon(OVAL)], 3) * skin
    jaw_y = vertices[faces[face_index[152]]].mean(0)[1]
    brow_y = vertices[faces[face_index[10]]].mean(0)[1]
    neck = smooth(head, (skin & (vertices[:, 1] < jaw_y + 0.004) & (oval < 0.5)).astype(float), 3)
    ear = smooth(head, ears.astype(float), 1) * skin
    scalp = skin & (oval < 0.2) & (ear < 0.3)
    # The hair grows above a line from the forehead past the ears to the nape.
    height = vertices[:, 1] - np.interp(vertices[:, 2], [-0.12, -0.02, 0.06], [-0.055, -0.02, brow_y + 0.012])
    scalp = smooth(head, (scalp & (height > 0)).astype(float), 4) * skin
    regions = {
        "skin": skin.astype(float),
        "face": oval,
        "lips": soft_region(head, vertex_uv, [polygon(LIPS)], 1) * skin,
        "eyelids": soft_region(head, vertex_uv, both(RIGHT_LIDS), 1) * skin * ~hidden,
        "eye_sockets": hidden.astype(float),
        "brows": soft_region(head, vertex_uv, both(RIGHT_BROW), 1) * skin,
        "nose": soft_region(head, vertex_uv, [polygon(NOSE)], 2) * skin,
        "ears": ear,
        "scalp": scalp,
        "neck": neck * skin,
        "forehead": soft_region(head, vertex_uv, [polygon(FOREHEAD)], 3) * skin,
        "cheeks": soft_region(head, vertex_uv, both(RIGHT_CHEEK), 3) * skin,
        "chin": soft_region(head, vertex_uv, [polygon(CHIN)], 3) * skin,
    }
    mirrored = head.mirror.numpy()
    return {name: (mask + mask[mirrored]) / 2 for name, mask in regions.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=90, help="pictures to run the detector on")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(2)
    path = ASSETS / "head.safetensors"
    head = read_head(Path(path))
    points, mirror, spread = symmetric_medians(observe(head, options.count, options.seed))
    log.info("spread of the landmarks: median %.2f mm, largest %.2f mm", np.median(spread) * 1e3, spread.max() * 1e3)
    vertices, faces = head.template.double().numpy(), head.faces.numpy()
    skin_rows = np.nonzero((head.face_part.numpy() == PARTS.index("skin")) & ~inner_lids(head))[0]
    face_index, barycentric = closest(vertices, faces, skin_rows, points)
    iris_index, iris_barycentric = closest(vertices, faces, head.part_faces("eyes").numpy(), iris_points(head))
    ibug = list(IBUG_FROM_MEDIAPIPE)
    with safe_open(str(path), framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
        metadata = json.loads(file.metadata()["head"])
    regions = paint_regions(head, face_index, barycentric, mirror, tensors["ears"].numpy().astype(bool))
    embeddings = {
        "mediapipe": (np.concatenate([face_index, iris_index]), np.concatenate([barycentric, iris_barycentric])),
        "ibug": (face_index[ibug], barycentric[ibug]),
    }
    for name, (index, weights) in embeddings.items():
        tensors[f"landmarks.{name}.face_index"] = torch.tensor(index, dtype=torch.int32)
        tensors[f"landmarks.{name}.barycentric"] = torch.tensor(weights, dtype=torch.float32)
    tensors["regions"] = torch.tensor(np.stack(list(regions.values())) * 255).round().to(torch.uint8)
    metadata |= {
        "landmarks": list(embeddings),
        "regions": list(regions),
        "landmark_spread_mm": round(float(np.median(spread)) * 1e3, 3),
    }
    # Whole or not at all: what is there stays until its successor is complete.
    fresh = path.with_suffix(".new")
    save_file(tensors, str(fresh), {"head": json.dumps(metadata)})
    fresh.replace(path)


if __name__ == "__main__":
    main()
