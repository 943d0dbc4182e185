"""Teeth and gums: 28 single teeth on arches that follow MakeHuman's strips of helper geometry.

MakeHuman's helper teeth are one smooth strip per jaw. Here the strip only says where the arch runs
and how it moves; each tooth is a small rounded body of its own, set into a swept gum, so that an
open mouth shows gaps, cusps and a gum line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Mesiodistal crown widths and crown heights in millimetres from the midline outwards: central and lateral incisor,
# canine, two premolars, two molars (Nelson, Wheeler's Dental Anatomy, 10th ed., table 1-1, rounded).
UPPER = ((8.5, 10.5), (6.5, 9.0), (7.5, 10.0), (7.0, 8.5), (7.0, 8.5), (10.0, 7.5), (9.0, 7.0))
LOWER = ((5.0, 9.0), (5.5, 9.5), (7.0, 11.0), (7.0, 8.5), (7.0, 8.0), (11.0, 7.5), (10.5, 7.0))
# Buccolingual depth at the neck of the crown, same order and source.
UPPER_DEPTH = (7.0, 6.0, 8.0, 9.0, 9.0, 11.0, 11.0)
LOWER_DEPTH = (6.0, 6.5, 7.5, 7.5, 8.0, 10.5, 10.0)

RING = 8  # vertices round a tooth
LEVELS = (0.0, 0.45, 0.85, 1.0)  # gum to biting edge, as fractions of the crown height


@dataclass(frozen=True)
class Arch:
    """vertices ``[N, 3]``, faces ``[F, 3]`` and texture coordinates of one jaw's teeth and gum.

    uv rows belong to corners through uv_faces. The chart is the unit square: teeth in the upper
    half (one column each), gum in the lower.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray


def arch_curve(strip: np.ndarray, upper: bool) -> tuple[np.ndarray, np.ndarray]:
    """The biting line of one jaw as a polyline ``[N, 3]`` from right to left, and its outward normals in the plan view.

    strip: ``[M, 3]`` vertices of MakeHuman's helper teeth. The plan view is fitted by a symmetric
    polynomial z(x) = a + b x^2 + c x^4, which real arches follow closely; the height by one in z.
    """
    x, y, z = strip.T
    # The outer wall is where, for its |x|, z is largest; the strip's inner wall is left out by asymmetric weights.
    design = np.stack([np.ones_like(x), x**2, x**4], 1)
    weight = np.ones_like(x)
    for _ in range(30):
        coefficients = np.linalg.lstsq(design * weight[:, None], z * weight, rcond=None)[0]
        weight = np.where(z > design @ coefficients, 1.0, 0.05)
    half = np.abs(x).max()
    grid = np.linspace(-half, half, 801)
    plan_z = np.stack([np.ones_like(grid), grid**2, grid**4], 1) @ coefficients
    edge = y <= np.quantile(y, 0.4) if upper else y >= np.quantile(y, 0.6)
    line = np.polyfit(z[edge], y[edge], 1)
    curve = np.stack([grid, np.polyval(line, plan_z), plan_z], 1)
    tangent = np.gradient(curve, axis=0)
    outward = np.stack([-tangent[:, 2], np.zeros_like(grid), tangent[:, 0]], 1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    return curve, outward


def build_arch(strip: np.ndarray, upper: bool, bite_y: float, inset: float = 0.0015) -> Arch:
    """Teeth and gum of one jaw.

    strip: ``[M, 3]`` helper vertices of the mean head in metres; bite_y: height of the biting plane
    at the incisors; inset: how far the teeth stand behind the strip's outer wall, so that closed
    lips never let them through.
    """
    curve, outward = arch_curve(strip, upper)
    curve = curve - outward * inset
    # MakeHuman's strips reach the cheeks; real arches leave a buccal corridor, and closed lips must cover the molars.
    curve[:, 0] *= 0.88
    curve[:, 1] += bite_y - curve[len(curve) // 2, 1]
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    sizes, depths = (UPPER, UPPER_DEPTH) if upper else (LOWER, LOWER_DEPTH)
    widths = np.array([width for width, _ in sizes])
    # Real teeth keep their size; only when the arch is shorter than the row are they scaled down.
    unit = min(1e-3, 0.985 * length[-1] / 2 / widths.sum())
    middle = length[len(length) // 2]
    grow = 1.0 if upper else -1.0

    def at(s: float) -> tuple[np.ndarray, np.ndarray]:
        return (
            np.array([np.interp(s, length, curve[:, k]) for k in range(3)]),
            np.array([np.interp(s, length, outward[:, k]) for k in range(3)]),
        )

    vertices: list[np.ndarray] = []
    faces: list[tuple[int, int, int]] = []
    uv: list[tuple[float, float]] = []
    uv_faces: list[tuple[int, int, int]] = []
    gum_path: list[tuple[np.ndarray, np.ndarray, float, float]] = []

    def add(corner_a: int, corner_b: int, corner_c: int, a: int, b: int, c: int) -> None:
        order = (0, 1, 2) if upper else (0, 2, 1)
        corners, texels = (corner_a, corner_b, corner_c), (a, b, c)
        faces.append(tuple(corners[i] for i in order))  # type: ignore[arg-type]
        uv_faces.append(tuple(texels[i] for i in order))  # type: ignore[arg-type]

    for side in (-1, 1):
        s = middle
        for k, ((width, height), depth) in enumerate(zip(sizes, depths, strict=True)):
            w, h, d = width * unit, height * unit, depth * unit
            centre, normal = at(s + side * w / 2)
            s += side * w
            along = np.array([normal[2], 0.0, -normal[0]])
            incisor = k < 3
            first_vertex, first_uv = len(vertices), len(uv)
            column = k if side < 0 else 7 + k
            for level in LEVELS:
                # The crown is widest near the biting edge and tapers to the neck; incisors end in a blade.
                wide = w / 2 * (0.80 + 0.20 * np.sin(min(level / 0.7, 1.0) * np.pi / 2))
                wide *= 0.88 if level == 1.0 else 1.0
                deep = d / 2 * (1 - (0.72 if incisor else 0.22) * level)
                tip = 0.10 * h if (k == 2 and level == 1.0) else 0.0
                for ring in range(RING):
                    angle = 2 * np.pi * ring / RING
                    c, q = np.cos(angle), np.sin(angle)
                    # A superellipse: flatter faces than an ellipse, round corners.
                    c, q = np.sign(c) * abs(c) ** 0.6, np.sign(q) * abs(q) ** 0.6
                    point = centre + along * (c * wide) + normal * (q * deep - d / 2)
                    point[1] += grow * (h * (1 - level)) - grow * tip * max(0.0, 1 - abs(c) * 1.2)
                    vertices.append(point)
            sunk = -grow * (0.02 if incisor else -0.06) * h
            vertices.append(np.mean(vertices[-RING:], axis=0) + np.array([0, sunk, 0]))
            for level in LEVELS:
                for ring in range(RING + 1):
                    uv.append(((column + ring / RING) / 14, 0.5 + 0.48 * level))
            uv.append(((column + 0.5) / 14, 0.995))
            for i in range(len(LEVELS) - 1):
                for ring in range(RING):
                    v = [first_vertex + (i + a) * RING + (ring + b) % RING for a, b in ((0, 0), (0, 1), (1, 1), (1, 0))]
                    t = [first_uv + (i + a) * (RING + 1) + ring + b for a, b in ((0, 0), (0, 1), (1, 1), (1, 0))]
                    add(v[0], v[1], v[2], t[0], t[1], t[2])
                    add(v[0], v[2], v[3], t[0], t[2], t[3])
            top, hub = first_vertex + (len(LEVELS) - 1) * RING, first_vertex + len(LEVELS) * RING
            top_uv, hub_uv = first_uv + (len(LEVELS) - 1) * (RING + 1), first_uv + len(LEVELS) * (RING + 1)
            for ring in range(RING):
                add(top + ring, top + (ring + 1) % RING, hub, top_uv + ring, top_uv + ring + 1, hub_uv)
            for offset in (0.0, 0.5):
                if offset == 0.0 and k == 0 and side > 0:
                    continue  # the midline belongs to both sides
                here, out = at(s - side * w * (1 - offset))
                gum_path.append((here, out, h * (0.80 if offset == 0.0 else 0.90), d))
    gum_path.sort(key=lambda item: item[0][0])

    # Gum: a swept profile from the outer sulcus over the neck line of the crowns to the inner side.
    first_vertex, first_uv = len(vertices), len(uv)
    profile = ((0.0010, 0.0085), (0.0014, 0.0040), (0.0004, 0.0), (-1.0, -0.0004), (-1.1, 0.0050), (-1.1, 0.0095))
    for i, (point, out, height, depth) in enumerate(gum_path):
        for j, (offset, rise) in enumerate(profile):
            shift = offset if offset > -0.5 else offset * depth
            position = point + out * shift
            position[1] += grow * (height + rise)
            vertices.append(position)
            uv.append((i / (len(gum_path) - 1), 0.02 + 0.44 * (1 - j / (len(profile) - 1))))
    count = len(profile)
    for i in range(len(gum_path) - 1):
        for j in range(count - 1):
            v = [first_vertex + (i + a) * count + j + b for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
            t = [first_uv + (i + a) * count + j + b for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
            add(v[0], v[2], v[1], t[0], t[2], t[1])
            add(v[0], v[3], v[2], t[0], t[3], t[2])
    return Arch(np.array(vertices), np.array(faces), np.array(uv), np.array(uv_faces))
