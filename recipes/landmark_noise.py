"""Measure what the landmark detector gets wrong: ``python -m recipes.landmark_noise``.

Synthetic photos (core.synthesis.photo) have known landmarks. The detector runs on them; its errors are
regressed on head pose, shape and expression, and what remains gives a covariance. The result,
assets/landmark_noise.safetensors, is what `core.fitting.fit_landmarks` whitens its residuals with.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from core.checkpoints import ASSETS
from core.fitting import LandmarkNoise, eye_roll, head_angles, landmark_span, pose_features
from core.head import load_head
from core.landmarks import detect_faces, landmarks
from core.synthesis.photo import sample_photo
from recipes.skins import baked_skins

log = logging.getLogger("landmark_noise")

SIDE_PX = 512  # of a synthetic photo
RESPONSE_SHAPES = 50  # leading shape coefficients whose pull on the detector is estimated
RANK = 60  # of the covariance
BAKED_SHARE = 0.5  # of the photos wear one of the CC0 skins where they are there
# Standard deviation, in spans, added to each coordinate by itself: about 1.2 px on a face of 200 px. Some thousand
# photos cannot tell which of 956 coordinates err together beyond the first `RANK` ways; without this the fit takes the
# rest for independent measurements and believes them. Chosen on held-out photos (0.0025, 0.008 and 0.015 tried).
FLOOR = 0.015


@dataclass(frozen=True)
class Observations:
    """Detections and what was photographed, one row per photo. All pixels; camera rotation `R_camera_head`."""

    detected: torch.Tensor  # [N, 478, 2]
    depth: torch.Tensor  # [N, 478]
    rotation: torch.Tensor  # [N, 3, 3]
    translation: torch.Tensor  # [N, 3]
    focal: torch.Tensor  # [N]
    shape: torch.Tensor  # [N, K]
    expression: torch.Tensor  # [N, E]


def observe(seed: int) -> dict[str, torch.Tensor] | None:
    """One synthetic photo and what the detector says about it; None where it finds no face."""
    torch.set_num_threads(1)
    head = load_head()
    skins = baked_skins(SIDE_PX)
    rng = np.random.default_rng(seed)
    skin = skins[rng.integers(len(skins))] if skins and rng.random() < BAKED_SHARE else None
    picture = sample_photo(head, seed, skin=skin, size=SIDE_PX)
    faces = detect_faces(picture.photo)
    if not faces:
        return None
    found = landmarks(picture.photo, faces[0])
    return {
        "detected": found.points_px,
        "depth": found.depth_px,
        "rotation": picture.camera.T_camera_head[0, :3, :3],
        "translation": picture.camera.T_camera_head[0, :3, 3],
        "focal": picture.camera.focal_px[0],
        "shape": picture.parameters.shape[0],
        "expression": picture.parameters.expression[0],
    }


def errors(data: Observations) -> tuple[torch.Tensor, torch.Tensor]:
    """Levelled errors in spans ``[N, L, 2]`` and pose features ``[N, P]``."""
    head = load_head()
    rows, features = [], []
    for i in range(len(data.detected)):
        detected, rotation = data.detected[i].double(), data.rotation[i].double()
        vertices = head.rest_vertices(data.shape[i : i + 1], data.expression[i : i + 1])
        seen = head.landmark_points("mediapipe", vertices)[0].double() @ rotation.T + data.translation[i].double()
        # Synthetic photos have their principal point in the middle.
        true = seen[:, :2] / seen[:, 2:] * data.focal[i].double() + SIDE_PX / 2
        roll = eye_roll(detected)
        level = torch.stack([torch.stack([roll.cos(), roll.sin()]), torch.stack([-roll.sin(), roll.cos()])])
        rows.append((detected - true) @ level.T / landmark_span(detected))
        yaw, pitch, _ = head_angles(rotation)
        features.append(pose_features(yaw, pitch))
    return torch.stack(rows), torch.stack(features)


def calibrate(data: Observations) -> LandmarkNoise:
    """Ridge regression of the errors on pose, shape and expression; low-rank plus diagonal covariance of the rest."""
    error, pose = errors(data)
    count, poses = pose.shape
    shape, expression = data.shape[:, :RESPONSE_SHAPES].double(), data.expression.double()
    inputs = torch.cat([pose, shape, expression], 1)
    # Ridge in units of observations: shape is noise-like and many-dimensional, expression is sparse.
    ridge = torch.cat(
        [torch.full((poses,), 1e-2), torch.full((shape.shape[1],), 30.0), torch.full((expression.shape[1],), 8.0)]
    )
    solution = torch.linalg.solve(inputs.T @ inputs + torch.diag(ridge.double()), inputs.T @ error.flatten(1))
    rest = error.flatten(1) - inputs @ solution
    # A few detections are far off; they are the robust weights' business, not the covariance's.
    limit = 4 * rest.std(0)
    rest = rest.clamp(-limit, limit)
    covariance = rest.T @ rest / (count - poses - 0.6 * (inputs.shape[1] - poses))
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0)[:RANK].clamp_min(0), vectors.flip(1)[:, :RANK]
    factor = vectors * values.sqrt()
    diagonal = (covariance.diagonal() - factor.pow(2).sum(1)).clamp_min(0) + FLOOR**2
    log.info(
        "error per coordinate in spans: %.4f raw, %.4f after the response; rank %d holds %.1f %% of the variance",
        error.pow(2).mean().sqrt(), rest.pow(2).mean().sqrt(), RANK, 100 * values.sum() / covariance.diagonal().sum(),
    )  # fmt: skip
    response = solution.reshape(-1, *error.shape[1:])
    return LandmarkNoise(
        bias=response[:poses],
        shape_response=response[poses : poses + shape.shape[1]],
        expression_response=response[poses + shape.shape[1] :],
        factor=factor,
        diagonal=diagonal,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1500, help="synthetic photos")
    parser.add_argument("--seed", type=int, default=10_000_000, help="of the first photo; tests use seeds below this")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--observations", type=Path, nargs="*", default=[],
        help="files of detections: those that exist are read, the first that does not is written; with none, "
        "the detections are not kept",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=ASSETS / "landmark_noise.safetensors")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parts = [load_file(str(path)) for path in options.observations if path.is_file()]
    missing = next((path for path in options.observations if not path.is_file()), None)
    if missing is not None or not parts:
        seeds = range(options.seed, options.seed + options.count)
        with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
            found = [row for row in tqdm(pool.imap(observe, seeds, chunksize=4), total=options.count) if row]
        log.info("the detector found a face on %d of %d", len(found), options.count)
        parts.append({key: torch.stack([row[key] for row in found]).float().contiguous() for key in found[0]})
        if missing is not None:
            save_file(parts[-1], str(missing))
    data = Observations(**{key: torch.cat([part[key] for part in parts]) for key in parts[-1]})
    noise = calibrate(data)
    tensors = {name: value.half().contiguous() for name, value in vars(noise).items() if name != "diagonal"}
    tensors["diagonal"] = noise.diagonal.float()
    facts = {
        "photos": len(data.detected),
        "seed": options.seed,
        "raw_error_spans": round(float(errors(data)[0].pow(2).mean().sqrt()), 5),
    }
    # Whole or not at all: what is there stays until its successor is complete.
    fresh = options.out.with_suffix(".new")
    save_file(tensors, str(fresh), {"landmark_noise": json.dumps(facts)})
    fresh.replace(options.out)


if __name__ == "__main__":
    main()
