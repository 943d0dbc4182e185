"""How close heads come to the truth, in millimetres, and how photos fare.

Geometry is measured as the NoW challenge does (Sanyal et al. 2019, "Learning to regress 3D face shape and expression
from an image without 3D supervision", section 4.3): the predicted mesh is aligned rigidly, by landmarks and then by
the surface itself, and every point of the true surface's face region asks for its distance to the predicted surface.
Scale is never aligned: a head that is 5 % too large is wrong by that much. Numbers mean little alone, so those of
the model's mean head, which has seen no photo at all, always stand beside them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from core.avatar import Avatar
from core.errors import LikenessError, PhotoError
from core.fitting import LandmarkFitSettings, PhotometricSettings, fit_landmarks, fit_photo, fit_photos
from core.head import HeadModel, HeadParameters
from core.landmarks import detect_faces, landmarks, pick_face
from core.mesh import rigid_align
from core.photo import Photo
from core.synthesis.photo import SyntheticPhoto, sample_photo

# Seeds from here on are for measuring. Whoever tunes, calibrates or trains on synthetic heads takes seeds below.
EVALUATION_SEED = 1_000_000
YAW_BINS_DEG = ((0.0, 15.0), (15.0, 30.0), (30.0, 45.0))
MEAN_HEAD = "mean head"

# The seven points that NoW aligns by, in MediaPipe's numbering: outer and inner corner of the right eye, inner and
# outer corner of the left eye, below the nose, right and left corner of the mouth.
NOW_LANDMARKS = (33, 133, 362, 263, 2, 61, 291)


@dataclass(frozen=True)
class ErrorSummary:
    """Distances of the true surface from a predicted one, millimetres, over `count` points."""

    median_mm: float
    mean_mm: float
    std_mm: float
    count: int


@dataclass(frozen=True)
class Scan:
    """The face region of a true surface. points: ``[N, 3]`` evenly spread over its area, metres. landmarks:
    ``[7, 3]`` on it, in the order of `NOW_LANDMARKS`."""

    points: Float[Tensor, "N 3"]
    landmarks: Float[Tensor, "7 3"]

    def moved(self, rotation: Float[Tensor, "3 3"], translation: Float[Tensor, "3"]) -> Scan:
        """The scan in another frame."""
        return Scan(self.points @ rotation.T + translation, self.landmarks @ rotation.T + translation)


def face_scan(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], landmarks: Float[Tensor, "7 3"], count: int = 4000
) -> Scan:
    """Points on the face of a true surface, as NoW crops its scans.

    The region is a ball around the nose: centre 30 % of the way from below the nose to the bridge (between the inner
    corners of the eyes), radius 0.7 (distance of the outer corners + length of the nose). Of what lies in it, only
    surface that faces forward counts, as a scanner in front would see it: the face from the chin to the middle of the
    forehead, without the ears and what lines the nostrils. Points are drawn evenly by area with a fixed seed, since
    a mesh's own vertices would count its dense parts double. faces: of the outer surface only.
    Raises ValueError where the region holds no surface.
    """
    seven = landmarks.double()
    bridge, base = (seven[1] + seven[2]) / 2, seven[4]
    centre = base + 0.3 * (bridge - base)
    radius = 0.7 * ((seven[0] - seven[3]).norm() + (bridge - base).norm())
    forward = torch.linalg.cross(seven[3] - seven[0], bridge - (seven[5] + seven[6]) / 2)
    a, b, c = vertices[faces].double().unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    # A triangle meets the ball only if a corner is within the ball's radius and the triangle's longest edge.
    reach = torch.stack([(b - a).norm(dim=1), (c - b).norm(dim=1), (a - c).norm(dim=1)]).amax(dim=0)
    kept = (normal @ forward > 0) & ((a - centre).norm(dim=1) < radius + reach)
    if not bool(kept.any()):
        raise ValueError("The face region around the nose holds no surface.")
    a, b, c, area = a[kept], b[kept], c[kept], normal[kept].norm(dim=1)
    generator = torch.Generator().manual_seed(0)
    chosen: list[Tensor] = []
    while sum(map(len, chosen)) < count:
        rows = torch.multinomial(area, count, replacement=True, generator=generator)
        u, v = torch.rand(2, count, 1, generator=generator, dtype=torch.float64)
        u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
        points = a[rows] + u * (b[rows] - a[rows]) + v * (c[rows] - a[rows])
        points = points[(points - centre).norm(dim=1) < radius]
        if not len(points):
            raise ValueError("The face region around the nose holds no surface.")
        chosen.append(points)
    return Scan(torch.cat(chosen)[:count].to(vertices.dtype), landmarks)


def surface_distance(
    points: Float[Tensor, "N 3"], vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]
) -> Float[Tensor, "N"]:
    """Exact distance of each point from a triangle mesh, in the units of the input. Computed in float64."""
    surface = _Surface(vertices, faces)
    distance, _, _ = surface.closest(points.double().numpy())
    return torch.from_numpy(distance).to(points.dtype)


_SEARCH_EDGE_M = 0.006
_ALIGNED_POINTS = 1000
_SETTLED_M = 1e-6  # a step of the alignment below this changes no digit that is reported


class _Surface:
    """Closest points on a mesh: candidates by their centroids, and as many of them as exactness takes.

    Large triangles are cut up first, which leaves the surface what it is and the candidates few.
    """

    def __init__(self, vertices: Tensor, faces: Tensor) -> None:
        from trimesh.remesh import subdivide_to_size

        corners, rows, *_ = subdivide_to_size(vertices.double().numpy(), faces.numpy(), _SEARCH_EDGE_M, max_iter=20)
        self.triangles = np.asarray(corners, np.float64)[rows]
        self.centroids = self.triangles.mean(axis=1)
        # No point of a triangle is farther from its centroid than its corners are.
        self.reach = float(np.linalg.norm(self.triangles - self.centroids[:, None], axis=2).max())
        self.tree = KDTree(self.centroids)
        edges = self.triangles[:, 1:] - self.triangles[:, :1]
        normals = np.cross(edges[:, 0], edges[:, 1])
        self.normals = normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-20)

    def closest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distance ``[N]``, closest point ``[N, 3]`` and the direction ``[N, 3]`` in which the distance grows."""
        best = np.full(len(points), np.inf)
        place, normal = np.zeros((len(points), 3)), np.zeros((len(points), 3))
        open_rows, count = np.arange(len(points)), 16
        while len(open_rows):
            count = min(count, len(self.centroids))
            away, candidate, *_ = self.tree.query(points[open_rows], k=count)
            away, candidate = away.reshape(-1, count), candidate.reshape(-1, count)
            asked = np.repeat(points[open_rows], count, axis=0)
            found = _closest_on_triangles(asked, self.triangles[candidate.ravel()]).reshape(-1, count, 3)
            distance = np.linalg.norm(found - points[open_rows, None], axis=2)
            row, pick = np.arange(len(open_rows)), distance.argmin(axis=1)
            best[open_rows], place[open_rows] = distance[row, pick], found[row, pick]
            # Over an edge or a corner the distance grows along the line to it, not along any normal.
            line = (points[open_rows] - place[open_rows]) / best[open_rows, None].clip(1e-12)
            on_surface = best[open_rows, None] < 1e-9
            normal[open_rows] = np.where(on_surface, self.normals[candidate[row, pick]], line)
            # The centroids of triangles that were not asked lie beyond the last one that was.
            unsure = (away[:, -1] - self.reach < distance[row, pick]) & (count < len(self.centroids))
            open_rows, count = open_rows[unsure], count * 3
        return best, place, normal


def _closest_on_triangles(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The point ``[N, 3]`` of each triangle ``[N, 3, 3]`` closest to each point; degenerate triangles are segments."""
    origin = triangles[:, 0]
    ab, ac, to = triangles[:, 1] - origin, triangles[:, 2] - origin, points - origin
    # Foot of the perpendicular in barycentric weights of b and c, from the 2x2 normal equations.
    aa, bb, ab_ac = (ab * ab).sum(1), (ac * ac).sum(1), (ab * ac).sum(1)
    d, e = (ab * to).sum(1), (ac * to).sum(1)
    area_sq = aa * bb - ab_ac * ab_ac
    flat = area_sq <= 1e-14 * aa * bb
    safe = np.where(flat, 1.0, area_sq)
    v, w = (bb * d - ab_ac * e) / safe, (aa * e - ab_ac * d) / safe
    inside = ~flat & (v >= 0) & (w >= 0) & (v + w <= 1)
    best = origin + v[:, None] * ab + w[:, None] * ac
    # Where the foot lies outside, the closest point is on one of the edges.
    rows = np.nonzero(~inside)[0]
    nearest = np.full(len(rows), np.inf)
    for i in range(3):
        start = triangles[rows, i]
        edge, away = triangles[rows, (i + 1) % 3] - start, points[rows] - start
        t = ((edge * away).sum(1) / (edge * edge).sum(1).clip(1e-30)).clip(0, 1)
        place = start + t[:, None] * edge
        distance_sq = ((points[rows] - place) ** 2).sum(1)
        closer = distance_sq < nearest
        nearest[closer] = distance_sq[closer]
        best[rows[closer]] = place[closer]
    return best


def scan_to_mesh_error(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    landmarks: Float[Tensor, "7 3"],
    scan: Scan,
) -> ErrorSummary:
    """Error of a predicted mesh against a scan after rigid alignment (see the module's docstring).

    landmarks: the predicted mesh's points in the order of `NOW_LANDMARKS`. Any rigid motion of either side leaves the
    result as it is.
    """
    return summarise(scan_to_mesh_distances_mm(vertices, faces, landmarks, scan))


def scan_to_mesh_distances_mm(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    landmarks: Float[Tensor, "7 3"],
    scan: Scan,
    iterations: int = 60,
) -> Float[Tensor, "N"]:
    """Distance of every scan point from the aligned mesh, millimetres.

    The scan is moved to the mesh: first by the landmarks, then by iterated closest points with damped point-to-plane
    steps (Chen and Medioni 1992; Fitzgibbon 2003 for the damping), which minimise the sum of squared distances over
    rotation and translation. Only steps that lower that sum are taken, so the surface alignment is never worse than
    the landmarks' own. At most `_ALIGNED_POINTS` of the points, picked at random, are aligned by; all are measured.
    """
    surface = _Surface(vertices, faces)
    rotation, translation = rigid_align(scan.landmarks.double(), landmarks.double())
    start = (scan.points.double() @ rotation.T + translation).numpy()
    some = np.random.default_rng(0).permutation(len(start))[:_ALIGNED_POINTS]
    points = start[some]
    turn, shift = np.eye(3), np.zeros(3)  # from `start` to where the descent has got
    distance, place, normal = surface.closest(points)
    damping, size = 1e-3, float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))
    for _ in range(iterations):
        centre = points.mean(axis=0)
        arm = points - centre
        # Linear in a small rotation w and a shift t: normal . (point + w x arm + t - place). Rotation is measured in
        # lengths at the scan's size, so that damping treats both alike; it also holds what the surface leaves free (a
        # ball may turn).
        rows = np.concatenate([np.cross(arm, normal) / size, normal], axis=1)
        gap = ((points - place) * normal).sum(axis=1)
        normal_matrix = rows.T @ rows
        strength = damping * np.trace(normal_matrix) / 6
        step = np.linalg.solve(normal_matrix + strength * np.eye(6), -rows.T @ gap)
        small = _rotation(step[:3] / size)
        moved = arm @ small.T + centre + step[3:]
        trial = surface.closest(moved)
        before, after = float((distance**2).sum()), float((trial[0] ** 2).sum())
        if after >= before:
            damping *= 10
            if damping > 1e4 or before == 0:
                break
            continue
        damping = max(damping / 3, 1e-6)
        points, (distance, place, normal) = moved, trial
        turn, shift = small @ turn, small @ (shift - centre) + centre + step[3:]
        if np.linalg.norm(step) < _SETTLED_M:
            break
    distance, _, _ = surface.closest(start @ turn.T + shift)
    return torch.from_numpy(1e3 * distance)


def _rotation(vector: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(vector).as_matrix()


def summarise(distances_mm: Float[Tensor, "N"]) -> ErrorSummary:
    """Median, mean and standard deviation over points (all points of all heads pooled, as NoW reports)."""
    return ErrorSummary(
        float(distances_mm.median()),
        float(distances_mm.mean()),
        float(distances_mm.std(correction=0)),
        len(distances_mm),
    )


# ------------------------------------------------------------------------------------------------ synthetic heads

# From a photo to a head. It should look at `SyntheticPhoto.photo` only; oracles may look at the rest.
Estimator = Callable[[SyntheticPhoto], HeadParameters]


@dataclass(frozen=True)
class GeometryRow:
    """One estimator on one group of heads.

    yaw_deg: the group's absolute yaw, None for all heads. heads: measured; failures: heads for which the estimator
    raised a PhotoError, which are left out of `error`. ratio_median, ratio_mean: over the mean head's error on
    the same heads; 1 is no better than not looking at the photo. shape_spread: root mean square of the estimated
    shape coefficients, 1 if they vary as people do.
    """

    estimator: str
    yaw_deg: tuple[float, float] | None
    heads: int
    failures: int
    error: ErrorSummary | None
    ratio_median: float | None
    ratio_mean: float | None
    shape_spread: float
    seconds: float


def evaluate_geometry(
    head: HeadModel,
    estimators: Mapping[str, Estimator],
    count: int = 30,
    seed: int = EVALUATION_SEED,
    size: int = 512,
    progress: Callable[[int, int], None] | None = None,
    yaw_range_deg: tuple[float, float] = (-45.0, 45.0),
) -> tuple[GeometryRow, ...]:
    """Errors of estimators on synthetic heads ``seed .. seed + count - 1``, the mean head first.

    Both sides are compared neutral: the truth is the true shape without the expression that the photo shows, and of
    the estimate only the shape counts, so an expression mistaken for shape is an error here. Only the outer skin is
    measured. seconds: median per head. progress: called with heads done and `count`.
    """
    all_estimators: dict[str, Estimator] = {MEAN_HEAD: lambda _: head.neutral(), **estimators}
    skin = head.faces[head.part_faces("skin")]
    distances: dict[str, list[Tensor | None]] = {name: [] for name in all_estimators}
    shapes: dict[str, list[Tensor]] = {name: [] for name in all_estimators}
    seconds: dict[str, list[float]] = {name: [] for name in all_estimators}
    yaws_deg: list[float] = []

    def neutral(shape: Tensor) -> tuple[Tensor, Tensor]:
        zero = head.neutral()
        vertices = head.vertices(HeadParameters(shape, zero.expression, zero.joint_rotations))[0].detach()
        return vertices, head.landmark_points("mediapipe", vertices)[list(NOW_LANDMARKS)]

    for i in range(count):
        sample = sample_photo(head, seed + i, yaw_range_deg=yaw_range_deg, size=size)
        yaws_deg.append(abs(float(np.degrees(sample.yaw))))
        true_vertices, true_landmarks = neutral(sample.parameters.shape)
        scan = face_scan(true_vertices, skin, true_landmarks)
        for name, estimator in all_estimators.items():
            start = time.perf_counter()
            try:
                shape = estimator(sample).shape.detach()
            except PhotoError:
                distances[name].append(None)
                continue
            seconds[name].append(time.perf_counter() - start)
            vertices, points = neutral(shape)
            distances[name].append(scan_to_mesh_distances_mm(vertices, skin, points, scan))
            shapes[name].append(shape)
        if progress is not None:
            progress(i + 1, count)

    rows = []
    for name in all_estimators:
        spread = float(torch.cat(shapes[name]).pow(2).mean().sqrt()) if shapes[name] else 0.0
        pace = statistics.median(seconds[name]) if seconds[name] else 0.0
        for group in (None, *YAW_BINS_DEG):
            members = [i for i in range(count) if group is None or group[0] <= yaws_deg[i] < group[1]]
            if not members:
                continue
            measured = [i for i in members if distances[name][i] is not None]
            row = GeometryRow(name, group, len(measured), len(members) - len(measured), None, None, None, spread, pace)
            if measured:
                error = summarise(_pool(distances[name], measured))
                base = summarise(_pool(distances[MEAN_HEAD], measured))
                row = replace(
                    row,
                    error=error,
                    ratio_median=error.median_mm / base.median_mm,
                    ratio_mean=error.mean_mm / base.mean_mm,
                )
            rows.append(row)
    return tuple(rows)


def _pool(distances: Sequence[Tensor | None], members: Iterable[int]) -> Tensor:
    return torch.cat([d for i in members if (d := distances[i]) is not None])


def landmark_estimator(
    head: HeadModel, settings: LandmarkFitSettings | None = None, know_focal: bool = False
) -> Estimator:
    """`fit_landmarks` on what the detector sees. know_focal: as if the photo's EXIF had its focal length."""

    def estimate(sample: SyntheticPhoto) -> HeadParameters:
        photo = _as_file(sample, know_focal)
        seen = landmarks(photo, pick_face(detect_faces(photo)))
        fit = fit_landmarks(
            head, seen.points_px, seen.depth_px, photo.height, photo.width, photo.focal_px, settings=settings
        )
        return fit.parameters

    return estimate


def photo_estimator(
    head: HeadModel,
    settings: LandmarkFitSettings | None = None,
    photometric: PhotometricSettings | None = None,
    know_focal: bool = False,
) -> Estimator:
    """`fit_photo`: landmarks, light, albedo and pixels. know_focal: as if the photo's EXIF had its focal length."""

    def estimate(sample: SyntheticPhoto) -> HeadParameters:
        photo = _as_file(sample, know_focal)
        seen = landmarks(photo, pick_face(detect_faces(photo)))
        return fit_photo(photo, head, seen, settings=settings, photometric=photometric).parameters

    return estimate


def several_photos_estimator(head: HeadModel, yaws_deg: Sequence[float]) -> Estimator:
    """`fit_photos` on the sample and more photos of the same person, turned by these angles: another camera and light,
    the same expression."""

    def estimate(sample: SyntheticPhoto) -> HeadParameters:
        size = sample.pixels.shape[0]
        more = [sample_photo(head, sample.seed, yaw_range_deg=(yaw, yaw), size=size) for yaw in yaws_deg]
        photos = [_as_file(one, False) for one in (sample, *more)]
        seen = [landmarks(photo, pick_face(detect_faces(photo))) for photo in photos]
        return fit_photos(photos, head, seen).fits[0].parameters

    return estimate


def _as_file(sample: SyntheticPhoto, know_focal: bool) -> Photo:
    return replace(sample.photo, focal_px=float(sample.camera.focal_px)) if know_focal else sample.photo


# ---------------------------------------------------------------------------------------------------- real photos

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".bmp", ".tif", ".tiff", ".gif")


@dataclass(frozen=True)
class PhotoRow:
    """What became of one photo. error: the sentence it was refused with, None where it became a head. residuals:
    name with unit -> value, and seconds: stage -> duration, as the avatar has them; empty for a refused photo."""

    name: str
    error: str | None
    confidence: float
    residuals: Mapping[str, float]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class PhotoReport:
    """All photos of a folder. success_rate: share that became heads. residuals, seconds: medians over those."""

    rows: tuple[PhotoRow, ...]
    success_rate: float
    residuals: Mapping[str, float]
    seconds: Mapping[str, float]


def evaluate_photos(
    folder: Path,
    reconstruct: Callable[[Path], Avatar],
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PhotoReport:
    """Run the pipeline on every photo of a folder and its subfolders, in the order of their names.

    limit: take only so many, spread evenly over the folder. A refusal (PhotoError) is a result; any other
    exception is a bug and is raised. Raises LikenessError where the folder holds no photo.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    if not paths:
        raise LikenessError(
            f"The folder {folder} holds no photo: no file there ends in {', '.join(PHOTO_SUFFIXES)}. "
            "Name a folder with photos."
        )
    if limit is not None and limit < len(paths):
        paths = [paths[i * len(paths) // limit] for i in range(limit)]
    rows = []
    for i, path in enumerate(paths):
        try:
            avatar = reconstruct(path)
        except PhotoError as error:
            rows.append(PhotoRow(path.name, str(error), 0.0, {}, {}))
        else:
            quality = avatar.quality
            rows.append(PhotoRow(path.name, None, quality.confidence, quality.residuals, avatar.provenance.seconds))
        if progress is not None:
            progress(i + 1, len(paths))
    done = [row for row in rows if row.error is None]
    return PhotoReport(
        tuple(rows),
        len(done) / len(rows),
        medians([row.residuals for row in done]),
        medians([row.seconds for row in done]),
    )


def medians(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each entry over the tables that have it, in the order of first appearance."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: statistics.median(table[name] for table in tables if name in table) for name in names}
