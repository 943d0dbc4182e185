"""From landmarks and pixels to head parameters: alternating descent over shape and albedo.

Stage (a), `fit_landmarks`, is a Gauss-Newton descent on the detector's points, whitened by the
detector's own measured bias and covariance. Stages (b) and (c), light and coarse albedo by least
squares and photometric refinement of shape and pose through the renderer, are in `fit_photo`, which
alternates them as section 3.3 of the AlbedoGAN paper does (Rai et al., WACV 2024).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from core.camera import Camera, axis_angle_to_matrix, matrix_to_axis_angle
from core.checkpoints import read_safetensors, weights_path
from core.color import srgb_to_linear
from core.head import PARTS, HeadModel, HeadParameters
from core.landmarks import Landmarks
from core.lighting import Tone, TonePalette, constant_light, fit_light, fit_tone, shading
from core.materials import IRIS_DIAMETER_M
from core.mesh import rigid_align
from core.photo import Photo
from core.render import Rendering, render
from core.shading import Light
from core.synthesis.painting import SkinLook, paint_skin, skin_tone

LANDMARK_SHARE = 0.3  # of the time of `fit_photo`
IRIS_EYE_OPENING = 0.15  # lid distance over eye width, below which an iris cannot be measured


@dataclass(frozen=True)
class LandmarkFitSettings:
    """Weights of the landmark fit; all residuals are in standard deviations, so these are unitless.

    shape_prior: weight of |beta|^2. expression_sigma: standard deviation of an ARKit weight about
    0. default_focal: focal length over the photo's longer side where EXIF has none (0.75 is a
    phone's main camera, 1.5 a portrait lens). focal_log_sigma: how far, in log units, the focal
    length may leave the default; with EXIF it is kept. iris_sigma: relative error of the iris
    diameter in pixels (detector and anatomy together). noise_inflation: how much larger the
    detector's errors are on photographs than on the renders they were measured on.
    side_inflation: how much larger again on photos beside the first: of a turned face it guesses the
    half that it does not see (`python -m benchmarks --only sides` measures what it is worth).
    iterations: at most. tolerance: stop when the objective falls
    by less than this share.
    """

    shape_prior: float = 1.0
    expression_sigma: float = 0.2
    default_focal: float = 1.2
    focal_log_sigma: float = 0.35
    iris_sigma: float = 0.06
    noise_inflation: float = 1.3
    side_inflation: float = 4.0
    iterations: int = 20
    tolerance: float = 1e-4


@dataclass(frozen=True)
class LandmarkNoise:
    """What the detector gets wrong, measured on synthetic heads with known truth (recipes/calibrate_landmarks.py).

    Errors (detected minus true) are in units of the face's span (`landmark_span`), in the image
    rotated so that the eyes are level. bias: ``[P, L, 2]`` coefficients of `pose_features`. A
    detector trained on people also pulls every face towards its own mean; shape_response
    ``[Ks, L, 2]`` (the first Ks shape coefficients) and expression_response ``[E, L, 2]`` are the
    part of the error that is linear in what the face really is. What remains has the covariance
    ``factor factor^T + diag(diagonal)``; factor: ``[2 L, R]``, diagonal: ``[2 L]``.
    """

    bias: Float[Tensor, "P L 2"]
    shape_response: Float[Tensor, "Ks L 2"]
    expression_response: Float[Tensor, "E L 2"]
    factor: Float[Tensor, "N R"]
    diagonal: Float[Tensor, "N"]

    def bias_at(self, yaw: Tensor, pitch: Tensor) -> Float[Tensor, "L 2"]:
        """Expected error of each point at a head pose (radians)."""
        return torch.einsum("p,plx->lx", pose_features(yaw, pitch).to(self.bias), self.bias)

    def covariance(self) -> Float[Tensor, "N N"]:
        """Covariance of all coordinates, (x, y) per landmark."""
        return self.factor @ self.factor.T + torch.diag(self.diagonal)


@functools.lru_cache(maxsize=1)
def load_landmark_noise() -> LandmarkNoise:
    """The bundled calibration (assets/landmark_noise.safetensors), in float64."""
    names = [field.name for field in fields(LandmarkNoise)]
    tensors, _ = read_safetensors(weights_path("landmark_noise"), required=tuple(names))
    return LandmarkNoise(**{name: tensors[name].double() for name in names})


def pose_features(yaw: Tensor, pitch: Tensor) -> Float[Tensor, "*batch P"]:
    """Polynomial in yaw and pitch (radians) that the detector's bias is linear in."""
    one = torch.ones_like(yaw)
    return torch.stack([one, yaw, pitch, yaw**2, yaw * pitch, pitch**2, yaw**3], dim=-1)


def landmark_span(points: Float[Tensor, "L 2"]) -> Float[Tensor, ""]:
    """Root mean square distance of the 468 surface points from their mean: the unit of landmark errors."""
    surface = points[:468]
    return (surface - surface.mean(0)).pow(2).sum(1).mean().sqrt()


def eye_roll(points: Float[Tensor, "L 2"]) -> Float[Tensor, ""]:
    """In-plane angle (radians, clockwise as seen) of the line through the outer eye corners."""
    across = points[263] - points[33]
    return torch.atan2(across[1], across[0])


def head_angles(rotation: Float[Tensor, "3 3"]) -> tuple[Tensor, Tensor, Tensor]:
    """Yaw, pitch, roll (radians) of a head seen by a camera with ``R_camera_head`` `rotation`.

    yaw > 0: the head is turned to its own left (its nose points to the image's right); pitch > 0: it
    looks up; roll > 0: it leans clockwise as seen in the image.
    """
    forward, up = rotation[:, 2], rotation[:, 1]
    yaw = torch.atan2(forward[0], -forward[2])
    pitch = torch.atan2(-forward[1], torch.sqrt(forward[0] ** 2 + forward[2] ** 2))
    # Up direction with yaw and pitch removed; what is left of it in the image is the roll.
    right = torch.linalg.cross(forward, torch.tensor([0.0, -1.0, 0.0], dtype=rotation.dtype, device=rotation.device))
    right = right / right.norm().clamp_min(1e-9)
    level_up = torch.linalg.cross(right, forward)
    roll = torch.atan2((up * right).sum(), (up * level_up).sum())
    return yaw, pitch, -roll


@dataclass(frozen=True)
class ShapeBelief:
    """What is known of a shape: a Gaussian. mean: ``[K]``; precision: ``[K, K]``; both float64."""

    mean: Float[Tensor, "K"]
    precision: Float[Tensor, "K K"]


@dataclass(frozen=True)
class LandmarkFit:
    """Result of `fit_landmarks`: parameters, camera in photo pixels, and how well they agree.

    objective: value after each accepted iteration, never rising. residual_px: root mean square
    distance of the 468 points; outliers: share of points given less than half weight. precision: the
    curvature (half the second derivative) of the objective over rotation (3), translation (3), log
    focal length, shape and expression, priors included.
    """

    parameters: HeadParameters
    camera: Camera
    objective: tuple[float, ...]
    residual_px: float
    outliers: float
    precision: Float[Tensor, "D D"]
    iterations: int


def _skew(v: Float[Tensor, "L 3"]) -> Float[Tensor, "L 3 3"]:
    zero = torch.zeros_like(v[:, 0])
    x, y, z = v.unbind(1)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)


def initial_pose(
    model_points: Float[Tensor, "L 3"],
    points_px: Float[Tensor, "L 2"],
    depth_px: Float[Tensor, "L"],
    focal_px: float,
    principal_px: Float[Tensor, "2"],
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3"]]:
    """R_camera_head and translation from the detector's own relative depths: a similarity alignment,
    with the scale turned into a distance."""
    seen = torch.cat([points_px, depth_px[:, None]], 1)
    size = (seen - seen.mean(0)).pow(2).sum().sqrt() / (model_points - model_points.mean(0)).pow(2).sum().sqrt()
    rotation, _ = rigid_align(model_points, seen / size)
    distance = focal_px / size
    centre_px = (seen.mean(0)[:2] - principal_px) / focal_px * distance
    centre = torch.cat([centre_px, distance[None]])
    return rotation, centre - rotation @ model_points.mean(0)


def fit_landmarks(
    head: HeadModel,
    points_px: Float[Tensor, "478 2"],
    depth_px: Float[Tensor, "478"],
    height: int,
    width: int,
    focal_px: float | None = None,
    noise: LandmarkNoise | None = None,
    settings: LandmarkFitSettings | None = None,
    report: Callable[[float], None] | None = None,
    belief: ShapeBelief | None = None,
    start: LandmarkFit | None = None,
) -> LandmarkFit:
    """Fit camera, shape and expression to the 478 detected points (stage a).

    Minimises ``|L^-1 (projected - detected - bias)|^2 + priors`` where ``L L^T`` is the detector's
    covariance: Levenberg-Marquardt over rotation, translation, log focal length, shape and
    expression; expression weights are kept in the head's range by an active set. Points that stay
    far outside their own spread (hands, hair, glasses) lose weight between rounds (Cauchy weights).
    points_px: photo pixels; depth_px: the detector's relative depths. height, width: of the photo. report: called
    now and then with the share that is done, 0..1; what it raises ends the fit. belief: takes the place of the shape
    prior, where other photos have told something of the shape. start: an earlier fit of the same points, from which
    this one goes on.
    """
    settings = settings or LandmarkFitSettings()
    noise = noise or load_landmark_noise()
    dtype = torch.float64
    embedding = head.landmarks["mediapipe"]
    corners = head.faces[embedding.face_index]
    barycentric = embedding.barycentric.to(dtype)

    def at_landmarks(field: Tensor) -> Tensor:
        return torch.einsum("lc,...lcx->...lx", barycentric, field[..., corners, :].to(dtype))

    template, shape_basis, expression_basis = (
        at_landmarks(head.template),
        at_landmarks(head.shape_basis),
        at_landmarks(head.expression_basis),
    )
    count_shape, count_expression = shape_basis.shape[0], expression_basis.shape[0]
    basis = torch.cat([shape_basis, expression_basis])
    response = torch.zeros(count_shape + count_expression, len(template), 2, dtype=dtype)
    response[: len(noise.shape_response)] = noise.shape_response
    response[count_shape:] = noise.expression_response
    observed = points_px.to(dtype)
    span = landmark_span(observed)
    principal = torch.tensor([width / 2, height / 2], dtype=dtype)
    start_focal = focal_px or settings.default_focal * max(height, width)
    if start is None:
        rotation, translation = initial_pose(template, observed, depth_px.to(dtype), start_focal, principal)
    else:
        transform = start.camera.T_camera_head[0].to(dtype)
        rotation, translation = transform[:3, :3], transform[:3, 3]

    roll = eye_roll(observed)
    level = torch.stack([torch.stack([roll.cos(), roll.sin()]), torch.stack([-roll.sin(), roll.cos()])])
    covariance = noise.covariance() * settings.noise_inflation**2
    marginal = covariance.diagonal().reshape(-1, 2).sum(1)

    pose_count = 7
    size = pose_count + count_shape + count_expression
    prior_precision = torch.zeros(size, dtype=dtype)
    prior_precision[6] = 1e8 if focal_px else settings.focal_log_sigma**-2
    shape_part = slice(pose_count, pose_count + count_shape)
    prior_precision[shape_part] = settings.shape_prior if belief is None else 0.0
    prior_precision[pose_count + count_shape :] = settings.expression_sigma**-2
    low, high = head.expression_range
    coefficients = torch.zeros(count_shape + count_expression, dtype=dtype)
    log_focal = torch.zeros((), dtype=dtype)  # relative to the start
    if start is not None:
        coefficients = torch.cat([start.parameters.shape[0], start.parameters.expression[0]]).to(dtype)
        log_focal = (start.camera.focal_px[0].to(dtype) / start_focal).log()
    iris_pairs = torch.tensor([[469, 471], [474, 476]])
    # Closed eyes show no iris; the detector then draws a small one.
    openings = (observed[[159, 386]] - observed[[145, 374]]).norm(dim=1)
    widths = (observed[[33, 362]] - observed[[133, 263]]).norm(dim=1)
    iris_weight = 1.0 if float((openings / widths.clamp_min(1e-6)).min()) > IRIS_EYE_OPENING else 0.0

    def project(r: Tensor, t: Tensor, c: Tensor, lf: Tensor) -> tuple[Tensor, Tensor]:
        camera_points = (template + torch.einsum("n,nlx->lx", c, basis)) @ r.T + t
        return camera_points[:, :2] / camera_points[:, 2:] * (start_focal * lf.exp()) + principal, camera_points

    def residual(r: Tensor, t: Tensor, c: Tensor, lf: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pixels, camera_points = project(r, t, c, lf)
        error = (pixels - observed) @ level.T / span + bias + torch.einsum("n,nlx->lx", c, response)
        diameters = (observed[iris_pairs[:, 0]] - observed[iris_pairs[:, 1]]).norm(dim=1)
        depth = camera_points[iris_pairs.flatten(), 2].reshape(2, 2).mean(1)
        # The pairs lie along the head's x axis, which a turned head foreshortens.
        expected = start_focal * lf.exp() * IRIS_DIAMETER_M / depth * r[:2, 0].norm()
        iris = iris_weight * (torch.log(expected) - torch.log(diameters.clamp_min(1e-3))).mean() / settings.iris_sigma
        return error, iris, camera_points

    def objective(r: Tensor, t: Tensor, c: Tensor, lf: Tensor, bias: Tensor, whiten: Tensor) -> Tensor:
        error, iris, _ = residual(r, t, c, lf, bias)
        white = torch.linalg.solve_triangular(whiten, error.reshape(-1, 1), upper=False)
        x = torch.cat([torch.zeros(6, dtype=dtype), lf[None], c])
        value = white.pow(2).sum() + iris**2 + (prior_precision * x**2).sum()
        if belief is not None:
            away = c[:count_shape] - belief.mean
            value = value + away @ belief.precision @ away
        return value

    def reweighted(error: Tensor) -> Tensor:
        return 1 / (1 + error.pow(2).sum(1) / marginal / 9)

    history: list[float] = []
    weights = torch.ones(len(observed), dtype=dtype)
    precision = torch.eye(size, dtype=dtype)
    if start is not None:
        bias = noise.bias_at(*head_angles(rotation)[:2])
        weights = reweighted(residual(rotation, translation, coefficients, log_focal, bias)[0])
    # Points lose weight between rounds; a fit that goes on has theirs already.
    for round_index in range(0 if start is None else 2, 3):
        yaw, pitch, _ = head_angles(rotation)
        bias = noise.bias_at(yaw, pitch)
        scale = weights.rsqrt().repeat_interleave(2)
        whiten = torch.linalg.cholesky(covariance * scale[:, None] * scale[None, :])
        current = objective(rotation, translation, coefficients, log_focal, bias, whiten)
        if round_index == 0 or start is not None:
            history = [float(current)]
        damping = 1e-3
        for _ in range(settings.iterations):
            error, iris, camera_points = residual(rotation, translation, coefficients, log_focal, bias)
            focal = start_focal * log_focal.exp()
            x, y, z = camera_points.unbind(1)
            zero = torch.zeros_like(z)
            d_pixels = torch.stack(
                [
                    torch.stack([focal / z, zero, -focal * x / z**2], 1),
                    torch.stack([zero, focal / z, -focal * y / z**2], 1),
                ],
                1,
            )
            d_points = torch.cat(
                [
                    -_skew(camera_points - translation),
                    torch.eye(3, dtype=dtype).expand(len(x), 3, 3),
                    torch.zeros(len(x), 3, 1, dtype=dtype),
                    torch.einsum("ij,nlj->lin", rotation, basis),
                ],
                2,
            )
            jacobian = d_pixels @ d_points
            jacobian[:, :, 6] = torch.stack([focal * x / z, focal * y / z], 1)
            jacobian = torch.einsum("ij,ljn->lin", level, jacobian) / span
            jacobian[:, :, pose_count:] += response.permute(1, 2, 0)
            white = torch.linalg.solve_triangular(
                whiten, torch.cat([jacobian.reshape(-1, size), error.reshape(-1, 1)], 1), upper=False
            )
            d_depth = d_points[iris_pairs.flatten(), 2].reshape(2, 2, size).mean(1)
            depth = z[iris_pairs.flatten()].reshape(2, 2).mean(1)
            # The foreshortening's own derivative is left out: a good step does not need it, and steps are verified.
            d_iris = -(d_depth / depth[:, None]).mean(0) / settings.iris_sigma * iris_weight
            d_iris[6] += iris_weight / settings.iris_sigma
            state = torch.cat([torch.zeros(6, dtype=dtype), log_focal[None], coefficients])
            gradient = white[:, :size].T @ white[:, size] + d_iris * iris + prior_precision * state
            hessian = white[:, :size].T @ white[:, :size] + torch.outer(d_iris, d_iris) + torch.diag(prior_precision)
            if belief is not None:
                gradient[shape_part] += belief.precision @ (coefficients[:count_shape] - belief.mean)
                hessian[shape_part, shape_part] += belief.precision
            precision = hessian
            improved = False
            while damping < 1e8:
                damped = hessian + damping * torch.diag(hessian.diagonal())
                # Active set: an expression weight that the step would carry out of range stops at its bound, and the
                # others are solved again knowing that.
                free = torch.ones(size, dtype=torch.bool)
                step = torch.zeros(size, dtype=dtype)
                weights_now, tail = coefficients[count_shape:], slice(pose_count + count_shape, size)
                for _ in range(8):
                    known = damped[free][:, ~free] @ step[~free]
                    step[free] = -torch.linalg.solve(damped[free][:, free], gradient[free] + known)
                    wanted = weights_now + step[tail]
                    allowed = wanted.clamp(low, high)
                    outside = free[tail] & (wanted != allowed)
                    step[tail] = allowed - weights_now
                    if not outside.any():
                        break
                    free[tail] &= ~outside
                new_rotation = axis_angle_to_matrix(step[:3]) @ rotation
                new_translation = translation + step[3:6]
                new_focal = log_focal + step[6]
                new_coefficients = coefficients + step[pose_count:]
                trial = objective(new_rotation, new_translation, new_coefficients, new_focal, bias, whiten)
                if trial < current:
                    improved = True
                    break
                damping *= 8
            if not improved:
                break
            rotation, translation, coefficients, log_focal = new_rotation, new_translation, new_coefficients, new_focal
            damping = max(damping / 8, 1e-9)
            converged = current - trial < settings.tolerance * current
            current = trial
            if round_index == 2:
                history.append(float(current))
            if converged:
                break
        if round_index < 2:
            error, _, _ = residual(rotation, translation, coefficients, log_focal, bias)
            weights = reweighted(error)
            if round_index == 1:
                history = []
        if report is not None:
            report((round_index + 1) / 3)
    pixels, _ = project(rotation, translation, coefficients, log_focal)
    rms = (pixels - observed)[:468].pow(2).sum(1).mean().sqrt()
    transform = torch.eye(4, dtype=dtype)
    transform[:3, :3], transform[:3, 3] = rotation, translation
    camera = Camera(
        transform[None].float(),
        (start_focal * log_focal.exp())[None].float(),
        principal[None].float(),
        height,
        width,
    )
    parameters = HeadParameters(
        coefficients[None, :count_shape].float(),
        coefficients[None, count_shape:].float(),
        torch.zeros(1, len(head.joint_names), 3),
    )
    outliers = float((weights < 0.5).double().mean())
    return LandmarkFit(parameters, camera, tuple(history), float(rms), outliers, precision, len(history) - 1)


# ------------------------------------------------------------------------------------------- pixels


@dataclass(frozen=True)
class PhotometricSettings:
    """The part of the fit that looks at pixels.

    face_px: longer side of the face in the picture that is compared; more costs time and finds
    wrinkles that the shape basis cannot follow. sigma: scale of a log-colour residual, 0.2 is
    about 20 %: what pores, make-up and stubble do to skin. weight: how many independent
    measurements the whole face counts as; neighbouring pixels' residuals are far from independent.
    rounds: of light and albedo, then shape and pose. evaluations: of the renderer in a round,
    more_evaluations: and of several photos that many more.
    minimum_gain: stop when a round lowers the objective by less than this share.
    """

    face_px: int = 160
    sigma: float = 0.2
    weight: float = 400.0
    rounds: int = 2
    evaluations: int = 7
    more_evaluations: int = 5
    minimum_gain: float = 0.01


@dataclass(frozen=True)
class FitResult:
    """Geometry, camera and light of the head in a photo.

    parameters: a batch of one. camera: of the whole photo. light_sh: ``[9, 3]`` in the convention of
    `shading.Light.sh`. tone: the skin's. objective: after each half step of the alternation, never
    rising. residual_px: of the 468 landmarks, root mean square; outliers: share of landmarks that were
    given less than half weight.
    """

    parameters: HeadParameters
    camera: Camera
    light_sh: Float[Tensor, "9 3"]
    tone: Tone
    objective: tuple[float, ...]
    residual_px: float
    outliers: float


def apply_step(head: HeadModel, start: LandmarkFit, step: Float[Tensor, "D"]) -> tuple[HeadParameters, Camera]:
    """Move a fit by a step in its own coordinates (rotation, translation, log focal, shape, expression)."""
    k = head.shape_count
    rotation = axis_angle_to_matrix(step[:3]) @ start.camera.T_camera_head[0, :3, :3]
    translation = start.camera.T_camera_head[0, :3, 3] + step[3:6]
    top = torch.cat([rotation, translation[:, None]], 1)
    transform = torch.cat([top, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=top.dtype)])[None]
    camera = replace(start.camera, T_camera_head=transform, focal_px=start.camera.focal_px * step[6].exp())
    expression = (start.parameters.expression + step[7 + k :]).clamp(*head.expression_range)
    parameters = HeadParameters(start.parameters.shape + step[7 : 7 + k], expression, start.parameters.joint_rotations)
    return parameters, camera


def shape_belief(fit: LandmarkFit) -> ShapeBelief:
    """What a fit says of the shape, whatever pose and expression: its Gaussian's marginal, by a Schur complement."""
    count = fit.parameters.shape.shape[1]
    shape = torch.zeros(len(fit.precision), dtype=torch.bool)
    shape[7 : 7 + count] = True
    cross = fit.precision[shape][:, ~shape]
    precision = fit.precision[shape][:, shape] - cross @ torch.linalg.solve(fit.precision[~shape][:, ~shape], cross.T)
    return ShapeBelief(fit.parameters.shape[0].double(), (precision + precision.T) / 2)


def pooled(beliefs: Sequence[ShapeBelief], prior: float) -> ShapeBelief:
    """What independent beliefs say together. prior: the precision of the prior that each of them has counted in; it
    is counted once."""
    precision = torch.stack([b.precision for b in beliefs]).sum(0)
    precision = precision - (len(beliefs) - 1) * prior * torch.eye(len(precision), dtype=torch.float64)
    information = torch.stack([b.precision @ b.mean for b in beliefs]).sum(0)
    return ShapeBelief(torch.linalg.solve(precision, information), precision)


def same_person(first: ShapeBelief, second: ShapeBelief, prior: float) -> float:
    """Log odds (natural) that two beliefs are about one head rather than two, from an even start (a Bayes factor).

    The probability of both photos under one shape drawn from the prior, over that under two.
    """

    def log_evidence(belief: ShapeBelief) -> float:
        return 0.5 * float(belief.mean @ belief.precision @ belief.mean - torch.logdet(belief.precision / prior))

    return log_evidence(pooled([first, second], prior)) - log_evidence(first) - log_evidence(second)


def fit_photo(
    photo: Photo,
    head: HeadModel,
    landmarks: Landmarks,
    settings: LandmarkFitSettings | None = None,
    photometric: PhotometricSettings | None = None,
    report: Callable[[float, LandmarkFit | None], None] | None = None,
) -> FitResult:
    """Alternating descent over shape and albedo (Rai et al. 2024, section 3.3; objective: Blanz and Vetter 1999).

    (a) `fit_landmarks`. Its optimum and curvature stand in for the landmark and prior terms from
    here on: ``|L^T step|^2``. (b) With the geometry fixed, skin tone and second-order light by robust
    least squares. (c) With light and albedo fixed, a few L-BFGS steps on shape, expression, pose and
    focal length through the renderer, preconditioned by (a)'s curvature. (b) and (c) repeat; a half
    step that does not lower the common objective is undone. report: called now and then with the share that is
    done, 0..1, and once, after (a), with its result; what it raises ends the fit.
    """

    def say(share: float, _index: int, start: LandmarkFit | None) -> None:
        if report is not None:
            report(share, start)

    return fit_photos([photo], head, [landmarks], settings, photometric, say).fits[0]


@dataclass(frozen=True)
class JointFit:
    """Several photos of one person. fits: one per photo, all with the same shape, each with its own expression,
    camera and light; their objective is the common one. agreement: for each photo after the first, `same_person` of
    it and the first, by the landmarks alone."""

    fits: tuple[FitResult, ...]
    agreement: tuple[float, ...]


def fit_photos(
    photos: Sequence[Photo],
    head: HeadModel,
    landmarks: Sequence[Landmarks],
    settings: LandmarkFitSettings | None = None,
    photometric: PhotometricSettings | None = None,
    report: Callable[[float, int, LandmarkFit | None], None] | None = None,
) -> JointFit:
    """One head fitted to all photos at once: `fit_photo` with a shape in common and the rest to each photo its own.

    (a) Each photo's landmarks are fitted alone, then again believing what the others say of the shape; the product
    of the photos' beliefs, with the prior counted once, is the common one. (b) and (c) as in `fit_photo`, over one
    shape and every photo's pose, focal length and expression; the objective is the sum of the photos', and the descent
    starts where the first photo alone ends. report: called with the share that is done, the photo at work, and, once
    per photo, the result of (a).
    """
    settings = settings or LandmarkFitSettings()
    photometric = photometric or PhotometricSettings()
    say = report or (lambda share, index, landmark_fit: None)
    count = len(photos)
    side_settings = replace(settings, noise_inflation=settings.noise_inflation * settings.side_inflation)
    front_photometric = photometric
    if count > 1:
        photometric = replace(photometric, evaluations=photometric.evaluations + photometric.more_evaluations)

    def fit_points(
        i: int,
        begin: float,
        end: float,
        trust: LandmarkFitSettings,
        belief: ShapeBelief | None = None,
        start: LandmarkFit | None = None,
    ) -> LandmarkFit:
        photo, points = photos[i], landmarks[i]
        return fit_landmarks(
            head, points.points_px, points.depth_px, photo.height, photo.width, photo.focal_px,
            settings=trust,
            report=lambda share: say(begin + (end - begin) * share, i, None), belief=belief, start=start,
        )  # fmt: skip

    front = None
    if count > 1:
        front = fit_photo(photos[0], head, landmarks[0], settings, front_photometric, lambda *_: say(0.0, 0, None))
    first_pass = LANDMARK_SHARE if count == 1 else 0.75 * LANDMARK_SHARE
    part, part_again = first_pass / count, (LANDMARK_SHARE - first_pass) / count
    starts = [fit_points(i, part * i, part * (i + 1), settings) for i in range(count)]
    agreement: tuple[float, ...] = ()
    if count > 1:
        alone = [shape_belief(start) for start in starts]
        agreement = tuple(same_person(alone[0], other, settings.shape_prior) for other in alone[1:])
        # From here on the other photos are heard with less trust.
        starts[1:] = [fit_points(i, first_pass, first_pass, side_settings, start=starts[i]) for i in range(1, count)]
        alone = [shape_belief(start) for start in starts]
        again, told = [], []
        for i in range(count):
            others = pooled([b for j, b in enumerate(alone) if j != i], settings.shape_prior)
            begin = first_pass + part_again * i
            trust = side_settings if i else settings
            start = fit_points(i, begin, begin + part_again, trust, others, starts[i])
            # Of the curvature, what the others said goes and the plain prior comes back.
            precision, own = start.precision.clone(), slice(7, 7 + head.shape_count)
            precision[own, own] += settings.shape_prior * torch.eye(head.shape_count).double() - others.precision
            again.append(replace(start, precision=precision))
            told.append(shape_belief(again[-1]).precision)
        # Each of these has seen all photos, its own at first hand: where it knows most, it counts most.
        known = torch.stack([p @ s.parameters.shape[0].double() for p, s in zip(told, again, strict=True)]).sum(0)
        common = torch.linalg.solve(torch.stack(told).sum(0), known)
        for i, start in enumerate(again):
            parameters, camera = apply_step(head, start, _towards(start, common - start.parameters.shape[0]))
            starts[i] = replace(start, parameters=parameters, camera=camera)
    for i, start in enumerate(starts):
        say(LANDMARK_SHARE, i, start)

    views = [_View(photo, head, start, photometric) for photo, start in zip(photos, starts, strict=True)]
    # One vector for all: the first photo's coordinates in their own order, then what is other photos' own.
    size = len(starts[0].precision)
    shape_rows = torch.arange(7, 7 + head.shape_count)
    rows = [torch.arange(size)]
    for i in range(1, count):
        own_rows = size + (i - 1) * (size - head.shape_count) + torch.arange(size - head.shape_count)
        rows.append(torch.cat([own_rows[:7], shape_rows, own_rows[7:]]))
    whole = size + (count - 1) * (size - head.shape_count)
    precision = torch.zeros(whole, whole, dtype=torch.float64)
    for row, start in zip(rows, starts, strict=True):
        precision[row[:, None], row[None, :]] += start.precision
    if count > 1:
        precision[shape_rows, shape_rows] -= (count - 1) * settings.shape_prior
    curvature = torch.linalg.cholesky(precision)
    evaluations, expected = 0, photometric.rounds * (photometric.evaluations + 1) * count

    def evaluated(i: int) -> None:
        nonlocal evaluations
        evaluations += 1
        say(LANDMARK_SHARE + (1 - LANDMARK_SHARE) * min(1.0, evaluations / expected), i, None)

    def total(step: Tensor, lights: Sequence[tuple[Tone, Tensor]]) -> Tensor:
        value = (curvature.T @ step.double()).pow(2).sum().float()
        for i in used:
            value = value + views[i].term(step[rows[i]], *lights[i])
            evaluated(i)
        return value

    step = torch.zeros(whole)
    if front is not None:
        # The pooled landmarks are the bowl's bottom, but pixels already know better of the front: the descent starts
        # where the front photo alone ended, each other photo's pose and expression at their best for that shape.
        change = front.parameters.shape[0] - starts[0].parameters.shape[0]
        for i, row in enumerate(rows):
            step[row] = _towards(starts[i], change)
        step[rows[0]] = _step_between(starts[0], front)
    lights: list[tuple[Tone, Tensor]] = [(Tone(0.35, 0.5, 1.0, torch.ones(3), 1.0), constant_light(torch.ones(3)))]
    lights *= count
    history: list[float] = []
    used = list(range(count))
    for _ in range(photometric.rounds):
        with torch.no_grad():
            new = [views[i].light_and_tone(step[rows[i]], lights[i][0]) if i in used else None for i in range(count)]
            if not history:
                used = [i for i in used if new[i] is not None]
            if not used or any(new[i] is None for i in used):
                break  # too little skin in view to learn light from; the landmark fit stands
            new_lights = [lights[i] if light is None else light for i, light in enumerate(new)]
            proposed = float(total(step, new_lights))
            if not history or proposed < history[-1]:
                lights = new_lights
                history.append(proposed)
        before = history[-1]
        value, step = _descend(
            step,
            before,
            curvature,
            lambda candidate, lights=lights: total(candidate, lights),
            photometric.evaluations,
        )
        history.append(value)
        if before - value < photometric.minimum_gain * before:
            break
    fits = []
    for i in range(count):
        parameters, camera = apply_step(head, starts[i], step[rows[i]])
        if fits:  # equal but for rounding
            parameters = replace(parameters, shape=fits[0].parameters.shape)
        projected = camera.project(head.landmark_points("mediapipe", head.vertices(parameters)))[0, :468, :2]
        rms = (projected - landmarks[i].points_px[:468]).pow(2).sum(1).mean().sqrt()
        tone, sh = lights[i]
        fits.append(FitResult(parameters, camera, sh, tone, tuple(history), float(rms), starts[i].outliers))
    return JointFit(tuple(fits), agreement)


def _towards(fit: LandmarkFit, change: Float[Tensor, "K"]) -> Float[Tensor, "D"]:
    """The step to another shape with the pose and expression that are best for it, to first order."""
    own = torch.zeros(len(fit.precision), dtype=torch.bool)
    own[7 : 7 + len(change)] = True
    step = torch.zeros(len(fit.precision), dtype=torch.float64)
    step[own] = change.double()
    step[~own] = -torch.linalg.solve(fit.precision[~own][:, ~own], fit.precision[~own][:, own] @ step[own])
    return step.float()


def _step_between(start: LandmarkFit, end: FitResult) -> Float[Tensor, "D"]:
    """The step by which `apply_step` leads from `start` to `end`."""
    turn = end.camera.T_camera_head[0, :3, :3] @ start.camera.T_camera_head[0, :3, :3].T
    moved = end.camera.T_camera_head[0, :3, 3] - start.camera.T_camera_head[0, :3, 3]
    zoom = (end.camera.focal_px / start.camera.focal_px).log().reshape(-1)[:1]
    shape = end.parameters.shape[0] - start.parameters.shape[0]
    expression = end.parameters.expression[0] - start.parameters.expression[0]
    return torch.cat([matrix_to_axis_angle(turn), moved, zoom, shape, expression]).float()


class _View:
    """What the pixels of one photo say of a step away from its landmark fit."""

    def __init__(self, photo: Photo, head: HeadModel, start: LandmarkFit, settings: PhotometricSettings) -> None:
        self.head, self.start, self.settings = head, start, settings
        self.picture, self.window = _face_crop(photo, head, start, head.vertices(start.parameters), settings.face_px)
        opaque = torch.nonzero(head.face_part != PARTS.index("lashes")).squeeze(1)
        self.faces, self.uv_faces = head.faces[opaque], head.uv_faces[opaque]
        is_skin = head.face_part[opaque] == PARTS.index("skin")
        self.face_weight = _trusted_skin(head)[self.faces].mean(1) * is_skin
        self.relief = _relief(head)
        self.log_picture = self.picture.clamp_min(2e-3).log()

    def rendering(self, step: Float[Tensor, "D"], tone: Tone, sh: Float[Tensor, "9 3"]) -> tuple[Tensor, Rendering]:
        """The head as the photo would show it, and how far to believe each pixel of the photo ``[1, h, w]``."""
        head, picture = self.head, self.picture
        parameters, camera = apply_step(head, self.start, step)
        albedo = self.relief * skin_tone(tone.melanin, tone.haemoglobin)[:, None, None]
        light = Light(sh[None].float(), torch.zeros(1, 0, 3), torch.zeros(1, 0, 3))
        cropped = camera.crop_and_resize(*self.window, picture.shape[2], picture.shape[3])
        result = render(
            head.vertices(parameters), self.faces, cropped, light, head.uv, self.uv_faces, [albedo[None]],
            cull_backfaces=True, smooth_edges=False,
        )  # fmt: skip
        index = result.fragments.face_index
        weight = torch.where(index >= 0, self.face_weight[index.clamp_min(0)], 0.0)
        # Clipped pixels are no measurements.
        weight = weight * ((picture.amax(1) < 0.97) & (picture.amin(1) > 0.003))
        return weight, result

    def term(self, step: Float[Tensor, "D"], tone: Tone, sh: Float[Tensor, "9 3"]) -> Float[Tensor, ""]:
        """The photo's part of the objective."""
        weight, result = self.rendering(step, tone, sh)
        residual = (self.log_picture - result.color_linear.clamp_min(2e-3).log()) / self.settings.sigma
        robust = torch.log1p(residual.pow(2)).mean(1)
        return self.settings.weight * (robust * weight).sum() / weight.sum().clamp_min(1.0)

    def light_and_tone(self, step: Float[Tensor, "D"], tone: Tone) -> tuple[Tone, Tensor] | None:
        """Light and skin tone that explain the photo best (stage b), None where it shows too little skin."""
        weight, seen = self.rendering(step, tone, constant_light(torch.ones(3)))
        mask = weight[0].flatten() > 0.3
        if int(mask.sum()) < 100:
            return None
        colors = self.picture[0].flatten(1).T[mask]
        normals = seen.normals[0].reshape(-1, 3)[mask]
        place = seen.color_linear[0].flatten(1).T[mask] / skin_tone(tone.melanin, tone.haemoglobin)
        return light_and_tone(colors, normals, place, weight[0].flatten()[mask], tone_palette())


def _descend(
    start: Float[Tensor, "D"],
    start_value: float,
    curvature: Float[Tensor, "D D"],
    objective: Callable[[Tensor], Tensor],
    evaluations: int,
) -> tuple[float, Float[Tensor, "D"]]:
    """A few L-BFGS steps in coordinates where the landmark term is a unit bowl.

    curvature: lower Cholesky factor of the landmark term's precision. Returns the best value and point
    seen, never worse than the start.
    """
    to_step = torch.linalg.inv(curvature.T).float()
    z = (curvature.T @ start.double()).float().requires_grad_(True)
    optimizer = torch.optim.LBFGS([z], max_iter=evaluations, max_eval=evaluations, line_search_fn="strong_wolfe")
    best = [(start_value, start)]

    def closure() -> Tensor:
        optimizer.zero_grad()
        candidate = to_step @ z
        value = objective(candidate)
        value.backward()
        if float(value.detach()) < best[0][0]:
            best[0] = float(value.detach()), candidate.detach().clone()
        return value

    optimizer.step(closure)
    return best[0]


def _trusted_skin(head: HeadModel) -> Float[Tensor, "V"]:
    """Where the mean skin predicts a face: not on brows, lips and lids, which are the person's own."""
    if "face" not in head.region_names:
        return torch.ones_like(head.template[:, 0])
    own = torch.stack([head.region(name) for name in ("brows", "lips", "eyelids")]).amax(0)
    return head.region("face") * (1 - own.clamp(0, 1))


def _relief(head: HeadModel) -> Float[Tensor, "3 U U"]:
    """How the mean skin differs from its tone from place to place (rosy cheeks, pale forehead), linear ratios."""
    bare = SkinLook(melanin=0.25, haemoglobin=0.45, brow_density=0.0, stubble=0.0, scalp_hair=0.0, variation=0.0)
    skin = srgb_to_linear(paint_skin(head, bare, 256).float() / 255)
    return skin / skin_tone(0.25, 0.45)[:, None, None]


def _face_crop(
    photo: Photo, head: HeadModel, fit: LandmarkFit, vertices: Tensor, face_px: int
) -> tuple[Float[Tensor, "1 3 h w"], tuple[float, float, float]]:
    """The face in linear light, area-averaged to `face_px`, and the window (left, top, scale) of the photo it shows."""
    import cv2

    points = fit.camera.project(head.landmark_points("mediapipe", vertices))[0, :468, :2]
    low, high = points.amin(0), points.amax(0)
    scale = min(1.0, face_px / float((high - low).max()))
    margin = 6 / scale
    left, top = max(0.0, float(low[0]) - margin), max(0.0, float(low[1]) - margin)
    right, bottom = min(photo.width, float(high[0]) + margin), min(photo.height, float(high[1]) + margin)
    left, top = math.floor(left), math.floor(top)
    right, bottom = max(left + 8, math.ceil(right)), max(top + 8, math.ceil(bottom))
    region = photo.pixels[top : min(bottom, photo.height), left : min(right, photo.width)]
    width, height = max(8, round(region.shape[1] * scale)), max(8, round(region.shape[0] * scale))
    scale = width / region.shape[1]
    small = cv2.resize(region, (width, height), interpolation=cv2.INTER_AREA)
    linear = srgb_to_linear(torch.from_numpy(small).permute(2, 0, 1).float() / 255)
    return linear[None], (float(left), float(top), scale)


@functools.lru_cache(maxsize=1)
def tone_palette() -> TonePalette:
    """The parametric skin's tones over its range of melanin and haemoglobin."""
    melanin, haemoglobin = torch.linspace(0, 1, 33), torch.linspace(0, 1, 17)
    colors = torch.stack([torch.stack([skin_tone(m, h) for h in haemoglobin.tolist()]) for m in melanin.tolist()])
    return TonePalette(melanin, haemoglobin, colors)


def light_and_tone(
    colors: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    place: Float[Tensor, "N 3"],
    weights: Float[Tensor, "N"],
    palette: TonePalette,
    reference_light: Float[Tensor, "3"] | None = None,
) -> tuple[Tone, Float[Tensor, "9 3"]]:
    """Skin tone and light in turns (stage b). place: how the mean skin differs from its tone at each sample.
    palette: the tones to choose from. reference_light: see `lighting.fit_tone`."""
    relative = place
    for _ in range(3):
        tone = fit_tone(colors / relative, weights, palette, reference_light)
        expected = skin_tone(tone.melanin, tone.haemoglobin) * place
        sh = fit_light(colors, normals, expected, weights, mean_irradiance=tone.exposure * tone.cast)
        light = shading(normals, sh)
        level = (light * weights[:, None]).sum(0) / weights.sum()
        relative = place * light / level
    return tone, sh
