"""Displacement networks of others, for people who have their weights (none may be passed on with this project).

What is known of each comes from its public code; none of the weights could be had, so the readers have been tried on
small files made to these descriptions. Widths, depths and kinds of normalisation are read from the file's own tensors.

- FaceScape's Detailed3DFace (Yang et al. 2020; github.com/yanght321/Detailed3DFace: pix2pixHD/, main.py, utils.py).
  dpmap_single_net_G.pth and dpmap_rig_net_G.pth are state dicts of pix2pixHD's global generator (Wang et al. 2018):
  64 channels, 4 halvings, 9 residual blocks, instance normalisation without weights, reflection padding, tanh. Input
  is a 1024 px cut-out of FaceScape's 4096 px texture (`WINDOW`), sRGB as 2 x - 1 after its colours in CIELAB were given
  a fixed mean and spread (`toned`); the rig network also reads a position map of the expression wanted, one of 20 in
  posmaps.npz ([60, 1024, 1024], used as they are). Output 1 is `AMPLITUDE` units of FaceScape along the normal.
- DECA (Feng et al. 2021; deca_model.tar). "E_flame" and "E_detail" are ResNet-50s with a head of two layers, on a
  224 px crop, RGB 0..1; "D_detail" draws a 256 px map in FLAME's texture space from jaw rotation, expression and detail
  code, 5 doublings by bilinear interpolation, batch normalisation with an epsilon of 0.8 but for the first, tanh times
  0.01 m.
- disp_GAN of AlbedoGAN (Rai et al. 2023): a StyleGAN2 whose first channel is the displacement; core.albedo.stylegan2
  reads it and says what it means.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from core.albedo.stylegan2 import Generator, assign_weights, load_checkpoint
from core.avatar import Avatar
from core.checkpoints import FOREIGN, foreign_path, read_torch, tensors_of
from core.detail import with_displacement
from core.errors import FileError, LikenessError
from core.facescape import SCANNED_EXPRESSIONS, UNIT_M, FaceScapeModel, fit_facescape, load_facescape
from core.head import HeadModel, HeadParameters, load_head
from core.materials import DISPLACEMENT_UNIT_M
from core.quality import Finding
from core.reflectance.lit_heads import softened
from core.surface_transfer import TransferredMap, TransferSettings, bent_to, from_atlas, to_atlas, windowed

WINDOW = (1100 / 4096, 600 / 4096, 3000 / 4096, 2500 / 4096)  # left, top, right, bottom of the map's side
WINDOW_SIDE = 1024  # texels that the network was trained on
BLEND_SHARE = 1 / 64  # of the map: sigma over which a foreign relief gives way to the head's own
AMPLITUDE = 0.914  # FaceScape's units (millimetres, but for the scan's own scale) at an output of 1
# Mean and spread of lightness, a and b (8-bit CIELAB of OpenCV) that Detailed3DFace gives its textures.
TONE_MEAN = (145.32921, 143.36488, 147.16614)
TONE_SPREAD = (22.719374, 2.6790402, 2.9267197)

DECA_AMPLITUDE_M = 0.01
DECA_SIDE = 224  # of its photo
GAN_LIMIT_M = 0.004

MEMORY_LIMIT = 4 << 30  # bytes that a network's feature maps may take
_RUNNING = (".running_mean", ".running_var", ".num_batches_tracked")
_LARGEST_WIDTH, _LARGEST_DEPTH = 4096, 64
_CURE = "Download the file again from its authors' site and pass it unchanged."


Network = TypeVar("Network", bound=nn.Module)

# ------------------------------------------------------------------------------------------------- pix2pixHD


@dataclass(frozen=True)
class Pix2PixConfig:
    """What decides every weight's shape. inputs: 3, or 6 for the rig network. normalisation: "instance" (no weights),
    "affine instance" or "batch"."""

    inputs: int
    outputs: int = 1
    width: int = 64
    halvings: int = 4
    blocks: int = 9
    normalisation: str = "instance"

    def memory(self, height: int, width: int) -> int:
        """About how many bytes of feature maps are alive at once: four of the widest."""
        return 16 * self.width * height * width


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels, affine=kind == "affine instance")


class ResidualBlock(nn.Module):
    """x plus two 3x3 convolutions of it."""

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        half = [
            [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), _norm(kind, channels), nn.ReLU(inplace=True)]
            for _ in range(2)
        ]
        self.conv_block = nn.Sequential(*half[0], *half[1][:-1])

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x + self.conv_block(x)


class GlobalGenerator(nn.Module):
    """Picture -> picture of the same size; the names of its weights are pix2pixHD's."""

    def __init__(self, config: Pix2PixConfig) -> None:
        super().__init__()
        self.config, kind = config, config.normalisation
        widths = [config.width * 2**k for k in range(config.halvings + 1)]
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(config.inputs, widths[0], 7), _norm(kind, widths[0]), nn.ReLU(True)]
        for wide, wider in itertools.pairwise(widths):
            layers += [nn.Conv2d(wide, wider, 3, stride=2, padding=1), _norm(kind, wider), nn.ReLU(True)]
        layers += [ResidualBlock(widths[-1], kind) for _ in range(config.blocks)]
        for wide, wider in reversed(list(itertools.pairwise(widths))):
            up = nn.ConvTranspose2d(wider, wide, 3, stride=2, padding=1, output_padding=1)
            layers += [up, _norm(kind, wide), nn.ReLU(True)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(widths[0], config.outputs, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O H W"]:
        return self.model(x)


def load_pix2pix(path: Path) -> GlobalGenerator:
    """A global generator from a .pth with its state dict, in float32, on the CPU, in evaluation mode.

    Raises FileError for a file that is missing, damaged, hostile or of another network, listing names that do not fit.
    """
    path = foreign_path("facescape_detail", path)
    state = tensors_of(read_torch(path, _CURE), path, _CURE)
    # Instance normalisation uses each picture's own statistics, but old versions of PyTorch saved running ones.
    if "model.2.weight" not in state:
        state = {
            k: t for k, t in state.items() if not re.search(r"\.(running_mean|running_var|num_batches_tracked)$", k)
        }
    network = _built(functools.partial(GlobalGenerator, _pix2pix_config(state, path)))
    assign_weights(network, state, path)
    return network.eval()


def _built(make: Callable[[], Network]) -> Network:
    """The network without memory for weights, which the file's replace."""
    with torch.device("meta"):
        return make()


def _pix2pix_config(state: dict[str, Tensor], path: Path) -> Pix2PixConfig:
    def of(pattern: str) -> list[re.Match[str]]:
        return [match for name in state if (match := re.fullmatch(pattern, name))]

    convolutions = [m for m in of(r"model\.(\d{1,4})\.weight") if state[m[0]].ndim == 4]
    blocks = {int(m[1]) for m in of(r"model\.(\d{1,4})\.conv_block\.\d+\.weight")}
    first = state.get("model.1.weight")
    if first is None or first.ndim != 4 or len(convolutions) < 2 or len(convolutions) % 2:
        raise FileError(
            f"{path} holds no global generator of pix2pixHD: its {len(state)} weights begin with "
            f"{', '.join(list(state)[:3])}, where model.1.weight and as many halvings as doublings were expected. "
            f"{_CURE}"
        )
    last = max(convolutions, key=lambda m: int(m[1]))
    config = Pix2PixConfig(
        inputs=first.shape[1],
        outputs=state[last[0]].shape[0],
        width=first.shape[0],
        halvings=len(convolutions) // 2 - 1,
        blocks=len(blocks),
        normalisation="instance"
        if "model.2.weight" not in state
        else "batch"
        if "model.2.running_mean" in state
        else "affine instance",
    )
    widest = config.width << config.halvings
    if not 0 < widest <= _LARGEST_WIDTH or config.blocks > _LARGEST_DEPTH or config.halvings > 8:
        raise FileError(
            f"{path} was refused: its network would have {widest} channels and {config.blocks} blocks, far more than "
            f"the public one. {_CURE}"
        )
    return config


@dataclass(frozen=True)
class FaceScapeDetail:
    """FaceScape's displacement network: `displacement`; whether it is the one for key expressions: `rigged`."""

    network: GlobalGenerator

    @property
    def rigged(self) -> bool:
        """Whether it also reads the position map of an expression."""
        return self.network.config.inputs == 6

    @torch.inference_mode()
    def displacement(
        self,
        texture: Float[Tensor, "B 3 H W"],
        positions: Float[Tensor, "#B 3 h w"] | None = None,
        metres_per_unit: float = UNIT_M,
    ) -> Float[Tensor, "B 1 H W"]:
        """Metres along the normal in FaceScape's `WINDOW`. texture: sRGB 0..1, `toned`. positions: the expression's
        map (see `load_position_maps`), for the rig network only. metres_per_unit: `UNIT_M` times the fit's scale.

        One to three minutes on two CPU cores at 1024 px, and 1 GB beside the weights' 0.7. Raises LikenessError for
        sizes and inputs that do not fit and for more memory than `MEMORY_LIMIT`.
        """
        config = self.network.config
        batch, _, height, width = texture.shape
        step = 2**config.halvings
        if height % step or width % step or min(height, width) <= 4 * step // 2:
            raise LikenessError(
                f"A texture of {width} x {height} texels does not go through this network: multiples of {step}, "
                f"larger than {2 * step}, were expected; it was trained on {WINDOW_SIDE}."
            )
        if self.rigged != (positions is not None):
            raise LikenessError(
                "The network for key expressions needs the position map of one of them (load_position_maps)."
                if self.rigged
                else "The network for a single displacement map reads no position map. Leave it out."
            )
        if (needed := batch * config.memory(height, width)) > MEMORY_LIMIT:
            side = math.isqrt(MEMORY_LIMIT // config.memory(1, 1)) // step * step
            raise LikenessError(
                f"{batch} x {width} x {height} texels would take about {needed / 2**30:.1f} GiB of memory in this "
                f"network; at most {MEMORY_LIMIT / 2**30:.0f} GiB are allowed. Use one texture of up to {side} texels."
            )
        x = 2 * texture - 1
        if positions is not None:
            if positions.shape[-2:] != texture.shape[-2:]:
                positions = functional.interpolate(positions, (height, width), mode="bilinear")
            x = torch.cat([x, positions.to(x).expand(batch, -1, -1, -1)], 1)
        return self.network(x) * (AMPLITUDE * metres_per_unit)


def load_facescape_detail(path: Path) -> FaceScapeDetail:
    """dpmap_single_net_G.pth or dpmap_rig_net_G.pth; errors as `load_pix2pix`."""
    network = load_pix2pix(path)
    config = network.config
    if config.inputs not in (3, 6) or config.outputs != 1:
        raise FileError(
            f"{path} holds a network from {config.inputs} channels to {config.outputs}; FaceScape's go from 3 (single) "
            f"or 6 (rig) to 1. {_CURE}"
        )
    return FaceScapeDetail(network)


def load_position_maps(path: Path) -> Float[Tensor, "20 3 H W"]:
    """posmaps.npz, one map for each of `SCANNED_EXPRESSIONS` (that they are in the dataset's order is likely, not
    said). Raises FileError."""
    path = foreign_path("facescape_positions", path)
    try:
        # A handle of our own: for an archive that is none, NumPy leaves its one open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            maps = archive["arr_0"]
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise FileError(f"{path} could not be read as position maps ({error}). {_CURE}") from error
    count = len(SCANNED_EXPRESSIONS)
    if maps.ndim != 3 or len(maps) != 3 * count or maps.dtype.kind != "f" or not np.isfinite(maps).all():
        raise FileError(
            f"{path} is not the file of position maps: it is {maps.dtype} {maps.shape}; three finite channels for each "
            f"of {count} expressions were expected. {_CURE}"
        )
    return torch.from_numpy(maps.astype(np.float32)).unflatten(0, (count, 3))


def toned(texture: Float[Tensor, "3 H W"], known: Bool[Tensor, "H W"]) -> Float[Tensor, "3 H W"]:
    """The texture (sRGB 0..1) with the colours that the network was trained on, where it is known; elsewhere the mean.

    Reinhard et al. 2001, "Color transfer between images": each channel of CIELAB gets a given mean and spread.
    Raises LikenessError where too little is known.
    """
    import cv2

    if int(known.sum()) < 16:
        raise LikenessError("Nothing of the skin lies on the foreign face: its texture is empty. Fit the face first.")
    rgb = np.ascontiguousarray((texture.permute(1, 2, 0).clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy())
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32)
    inside = known.cpu().numpy()
    mean, spread = lab[inside].mean(0), lab[inside].std(0)
    lab = (lab - mean) * (np.array(TONE_SPREAD) / np.maximum(spread, 1e-3)) + np.array(TONE_MEAN)
    lab[~inside] = TONE_MEAN
    rgb = cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)
    return torch.from_numpy(rgb).permute(2, 0, 1).to(texture) / 255


def facescape_displacement(
    head: HeadModel,
    vertices: Float[Tensor, "V 3"],
    skin: Float[Tensor, "3 U U"],
    model: FaceScapeModel,
    detail: FaceScapeDetail,
    size: int,
    positions: Float[Tensor, "1 3 h w"] | None = None,
    side: int = WINDOW_SIDE,
    settings: TransferSettings | None = None,
) -> TransferredMap:
    """Displacement, metres, of a head of ours by FaceScape's network: valid where its face covers our skin.

    FaceScape's model is fitted to the head's 68 iBUG points and bent onto them; the skin (sRGB 0..1, with the photo's
    light where there is a photo) goes to its texture space, the displacement comes back. positions: as in
    `FaceScapeDetail.displacement`. side: of the texture in between.
    """
    targets = head.landmark_points("ibug", vertices)
    fit = fit_facescape(model, targets)
    placed = fit.placed(model.vertices(fit.identity[None], fit.expression[None])[0])
    assert model.landmarks is not None  # else there would be no fit
    mesh = model.mesh(bent_to(placed, placed[model.landmarks], targets))
    mesh = windowed(mesh, *WINDOW)
    texture = from_atlas(head, vertices, mesh, skin, side, settings)
    metres = detail.displacement(toned(texture.values, texture.valid)[None], positions, UNIT_M * fit.scale)[0]
    return to_atlas(head, vertices, mesh, metres, size, texture.valid, settings)


def facescape_detailed(avatar: Avatar, folder: Path, size: int = 1024, side: int = WINDOW_SIDE) -> Avatar:
    """The head with the relief that FaceScape's network finds in its skin, where FaceScape's face covers it; elsewhere
    its own (`core.detail.detailed` comes first), which it meets over `BLEND_SHARE` of the map.

    folder: with core_*.npy and factors_id_*.npy, or the .npz of version 1.6; the mesh as predef_faces.pkl, faces.pkl or
    any .obj; landmark_indices.npz; dpmap_single_net_G.pth. The head gets a finding that says whose the relief is. size:
    of the displacement. side: as in `facescape_displacement`. Raises FileError for files that are missing, damaged or
    do not belong together, or a head of another head model.
    """
    folder = Path(folder)
    meshes = sorted(folder.rglob("*.obj")) if not any(folder.rglob("*faces.pkl")) else []
    model = load_facescape(folder, topology=meshes[0] if meshes else None)
    file = FOREIGN["facescape_detail"].file
    network = load_facescape_detail(next(iter(sorted(folder.rglob(file))), folder / file))
    head = load_head()
    avatar.check_fits(head)
    vertices, maps = head.vertices(avatar.parameters("neutral"))[0], avatar.materials
    skin = maps.skin_albedo if maps.skin_photo is None else maps.skin_photo
    found = facescape_displacement(head, vertices, skin / 255, model, network, size, side=side)
    share = softened(found.valid.float(), BLEND_SHARE * size)
    share = ((2 * share - 1).clamp(0, 1) * found.valid)[None]
    height = share * found.values[:1] / DISPLACEMENT_UNIT_M
    if maps.skin_displacement is not None:
        own = functional.interpolate(maps.skin_displacement[None].float(), size=(size, size), mode="bilinear")[0]
        height = height + (1 - share) * own
    relief = height.round().clamp(-32767, 32767).to(torch.int16)
    said = Finding(
        "foreign-relief",
        "info",
        "The relief of the skin was found by FaceScape's network.",
        "Its licence allows non-commercial research only; this head falls under it.",
    )
    findings = (*(finding for finding in avatar.quality.findings if finding.code != said.code), said)
    return replace(
        avatar,
        materials=with_displacement(maps, head, vertices, relief),
        quality=replace(avatar.quality, findings=findings),
    )


# ------------------------------------------------------------------------------------------------- DECA


@dataclass(frozen=True)
class DecaSizes:
    """How DECA's coarse code is cut up, in this order; the public one's numbers."""

    shape: int = 100
    texture: int = 50
    expression: int = 50
    pose: int = 6
    camera: int = 3
    light: int = 27

    @property
    def total(self) -> int:
        """Length of the coarse code."""
        return self.shape + self.texture + self.expression + self.pose + self.camera + self.light


@dataclass(frozen=True)
class DecaCodes:
    """What DECA sees in a photo: FLAME's coefficients, rotations of head and jaw (vectors, radians), detail code."""

    shape: Float[Tensor, "B S"]
    expression: Float[Tensor, "B E"]
    pose: Float[Tensor, "B 6"]
    detail: Float[Tensor, "B D"]

    def parameters(self, flame: HeadModel) -> HeadParameters:
        """The same head for `core.flame.load_flame`'s model, looking straight ahead; further coefficients are 0."""
        neutral = flame.neutral(len(self.shape))
        shape, expression, joints = (part.clone() for part in vars(neutral).values())
        shape[:, : self.shape.shape[1]] = self.shape[:, : shape.shape[1]]
        expression[:, : self.expression.shape[1]] = self.expression[:, : expression.shape[1]]
        joints[:, flame.joint_names.index("jaw")] = self.pose[:, 3:]
        return HeadParameters(shape, expression, joints)


class DetailDecoder(nn.Module):
    """Code -> displacement, -1..1. widths: channels after each doubling, the first of the smallest map."""

    def __init__(self, inputs: int, side: int, widths: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.inputs: int = inputs
        self.side, self.channels = side, widths[0]
        self.l1 = nn.Sequential(nn.Linear(inputs, widths[0] * side**2))
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0])]
        for narrow, wide in itertools.pairwise(widths):
            layers += [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(narrow, wide, 3, padding=1)]
            layers += [nn.BatchNorm2d(wide, eps=0.8), nn.LeakyReLU(0.2)]
        self.conv_blocks = nn.Sequential(*layers, nn.Conv2d(widths[-1], outputs, 3, padding=1), nn.Tanh())

    def forward(self, code: Float[Tensor, "B I"]) -> Float[Tensor, "B O S S"]:
        return self.conv_blocks(self.l1(code).unflatten(1, (self.channels, self.side, self.side)))


class Bottleneck(nn.Module):
    """A residual block of ResNet-50 (He et al. 2016, figure 5), its stride on the 3x3 convolution."""

    def __init__(self, inputs: int, width: int, stride: int, projects: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if projects:
            skip = nn.Conv2d(inputs, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(skip, nn.BatchNorm2d(4 * width))

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        y = functional.relu(self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))))
        return functional.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class Trunk(nn.Module):
    """A ResNet with bottlenecks and without its classifier; depths: blocks per stage, (3, 4, 6, 3) for ResNet-50."""

    def __init__(self, stem: int, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False), nn.BatchNorm2d(stem)
        self.stages, channels = len(widths), stem
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            stride = 1 if i == 0 else 2
            first = Bottleneck(channels, width, stride, stride > 1 or channels != 4 * width)
            channels = 4 * width
            rest = (Bottleneck(channels, width, 1, False) for _ in range(depth - 1))
            setattr(self, f"layer{i + 1}", nn.Sequential(first, *rest))
        self.channels = channels

    def forward(self, photo: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(photo))), 3, 2, 1)
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return x.mean((2, 3))


class PhotoEncoder(nn.Module):
    """Photo -> code."""

    def __init__(self, trunk: Trunk, hidden: int, outputs: int) -> None:
        super().__init__()
        self.encoder = trunk
        self.outputs: int = outputs
        self.layers = nn.Sequential(nn.Linear(trunk.channels, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, photo: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B O"]:
        return self.layers(self.encoder(photo))


@dataclass(frozen=True)
class DecaDetail:
    """DECA's networks. An encoder is None where the file had none: codes then have to come from elsewhere."""

    decoder: DetailDecoder
    coarse_encoder: PhotoEncoder | None
    detail_encoder: PhotoEncoder | None
    sizes: DecaSizes
    source: Path

    @torch.inference_mode()
    def codes(self, photo: Float[Tensor, "B 3 224 224"]) -> DecaCodes:
        """Of photos cut out as `deca_crop` does, RGB 0..1. Raises LikenessError where the file had no encoders."""
        if self.coarse_encoder is None or self.detail_encoder is None:
            raise LikenessError(
                f"{self.source} holds DECA's decoder without its encoders E_flame and E_detail, so no photo can be "
                "read with it. Pass the whole deca_model.tar."
            )
        s = self.sizes
        cut = self.coarse_encoder(photo).split([s.shape, s.texture, s.expression, s.pose, s.camera, s.light], 1)
        return DecaCodes(cut[0], cut[2], cut[3], self.detail_encoder(photo))

    @torch.inference_mode()
    def displacement(self, codes: DecaCodes) -> Float[Tensor, "B 1 S S"]:
        """Metres along the normal in FLAME's texture space; 256 px. DECA adds fixed_displacement_256.npy to it, which
        smooths FLAME's own mesh, and uses it where uv_face_eye_mask.png is white. Raises LikenessError."""
        code = torch.cat([codes.pose[:, 3:], codes.expression, codes.detail], 1)
        if code.shape[1] != self.decoder.inputs:
            raise LikenessError(
                f"DECA's decoder in {self.source} takes {self.decoder.inputs} numbers: 3 of the jaw, the expression's "
                f"and the detail code's. These codes have {code.shape[1]}."
            )
        return self.decoder(code) * DECA_AMPLITUDE_M


def load_deca(path: Path, sizes: DecaSizes | None = None) -> DecaDetail:
    """deca_model.tar, or any file with a "D_detail". Other parts of it (an optimiser's state) are not read.

    Raises FileError for a file that is missing, damaged, hostile, of another network, or whose parts do not belong
    together, listing names that do not fit.
    """
    path, sizes = foreign_path("deca", path), sizes or DecaSizes()
    content = read_torch(path, _CURE)
    if not isinstance(content, dict) or "D_detail" not in content:
        found = ", ".join(map(str, list(content)[:10])) if isinstance(content, dict) else type(content).__name__
        raise FileError(f'{path} holds no DECA model: it has {found}, a "D_detail" was expected. {_CURE}')
    decoder = _load_decoder(tensors_of(content["D_detail"], path, _CURE), path)
    encoders: dict[str, PhotoEncoder] = {
        name: _load_encoder(tensors_of(content[name], path, _CURE), name, path)
        for name in ("E_flame", "E_detail")
        if name in content
    }
    coarse, detail = encoders.get("E_flame"), encoders.get("E_detail")
    if coarse is not None and coarse.outputs != sizes.total:
        raise FileError(
            f"E_flame in {path} gives {coarse.outputs} numbers; {sizes} has {sizes.total}. Pass the file's own sizes."
        )
    if detail is not None and (length := 3 + sizes.expression + detail.outputs) != decoder.inputs:
        raise FileError(
            f"The parts of {path} do not belong together: D_detail takes {decoder.inputs} numbers, jaw, expression and "
            f"E_detail give {length}. {_CURE}"
        )
    return DecaDetail(decoder, coarse, detail, sizes, path)


def _load_decoder(state: dict[str, Tensor], path: Path) -> DetailDecoder:
    found = [(int(m[1]), t) for n, t in state.items() if (m := re.fullmatch(r"conv_blocks\.(\d{1,3})\.weight", n))]
    convolutions = [t for _, t in sorted(found, key=lambda pair: pair[0]) if t.ndim == 4]
    linear, norm = state.get("l1.0.weight"), state.get("conv_blocks.0.weight")
    widths = (len(norm) if norm is not None and norm.ndim == 1 else 0, *(t.shape[0] for t in convolutions[:-1]))
    area = linear.shape[0] // max(widths[0], 1) if linear is not None and linear.ndim == 2 else 0
    side = math.isqrt(area)
    if not area or side**2 != area or max(widths) > _LARGEST_WIDTH or side << len(widths) > 1 << 13 or not convolutions:
        raise FileError(
            f"D_detail in {path} is no detail decoder of DECA's: l1.0.weight, conv_blocks.0.weight and convolutions "
            f"after each doubling were expected, found {', '.join(list(state)[:4])}. {_CURE}"
        )
    assert linear is not None
    make = functools.partial(DetailDecoder, linear.shape[1], side, widths, convolutions[-1].shape[0])
    decoder = _built(make)
    assign_weights(decoder, state, path)
    return decoder.eval()


def _load_encoder(state: dict[str, Tensor], name: str, path: Path) -> PhotoEncoder:
    # A classifier that the trunk brought from its own training is never used.
    state = {key: tensor for key, tensor in state.items() if not key.startswith("encoder.fc.")}
    stem, last, hidden = (state.get(key) for key in ("encoder.conv1.weight", "layers.2.weight", "layers.0.weight"))
    firsts = [state.get(f"encoder.layer{i}.0.conv1.weight") for i in range(1, 5)]
    given = [t for t in (stem, *firsts) if t is not None and t.ndim == 4 and t.shape[0] <= _LARGEST_WIDTH]
    if len(given) < 5 or hidden is None or last is None or hidden.ndim != 2 or last.ndim != 2:
        raise FileError(
            f"{name} in {path} is no encoder of DECA's: a ResNet with two more layers was expected. {_CURE}"
        )
    numbers = [re.match(r"encoder\.layer([1-4])\.(\d{1,3})\.", key) for key in state]
    depths = tuple(1 + max(int(m[2]) for m in numbers if m and int(m[1]) == i) for i in range(1, 5))
    if max(depths) > _LARGEST_DEPTH or max(len(hidden), len(last)) > 1 << 16:
        raise FileError(
            f"{name} in {path} was refused: a network of {depths} blocks is far larger than DECA's. {_CURE}"
        )
    widths = tuple(t.shape[0] for t in given[1:])
    encoder = _built(
        functools.partial(_encoder, given[0].shape[0], widths, depths, hidden=hidden.shape[0], outputs=last.shape[0])
    )
    assign_weights(encoder, state, path)
    return encoder.eval()


def _encoder(stem: int, widths: tuple[int, ...], depths: tuple[int, ...], hidden: int, outputs: int) -> PhotoEncoder:
    return PhotoEncoder(Trunk(stem, widths, depths), hidden, outputs)


def deca_crop(photo: Float[Tensor, "3 H W"], landmarks: Float[Tensor, "L 2"]) -> Float[Tensor, "1 3 224 224"]:
    """The square that DECA looks at: about the middle of the 68 iBUG points' box, 1.375 times the mean of its sides
    wide, black outside the photo. landmarks: pixels."""
    low, high = landmarks.amin(0), landmarks.amax(0)
    half = 1.25 * 1.1 * (high - low).mean() / 2
    steps = torch.linspace(-1, 1, DECA_SIDE).to(photo)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1) * half + (low + high) / 2
    scale = torch.tensor([2 / photo.shape[2], 2 / photo.shape[1]]).to(photo)
    return functional.grid_sample(photo[None], (grid * scale - 1)[None].to(photo), align_corners=False)


def deca_displacement(
    head: HeadModel,
    vertices: Float[Tensor, "V 3"],
    flame: HeadModel,
    codes: DecaCodes,
    displacement: Float[Tensor, "1 S S"],
    size: int,
    known: Bool[Tensor, "S S"] | None = None,
    settings: TransferSettings | None = None,
) -> TransferredMap:
    """A map in FLAME's texture space (DECA's, disp_GAN's) in our atlas, in metres.

    flame: with head_template.obj and the landmark embedding (`core.flame.load_flame`). codes: whose head FLAME
    should be; it is bent onto ours by the 68 iBUG points. known: where the map counts (uv_face_eye_mask.png).
    Raises LikenessError where FLAME came without landmarks.
    """
    if "ibug" not in flame.landmarks:
        raise LikenessError(
            "FLAME was loaded without landmarks, so it cannot be laid onto the head. Pass landmark_embedding to "
            "core.flame.load_flame."
        )
    own = flame.vertices(codes.parameters(flame))[0]
    bent = bent_to(own, flame.landmark_points("ibug", own), head.landmark_points("ibug", vertices))
    return to_atlas(head, vertices, flame.mesh(bent), displacement, size, known, settings)


# ------------------------------------------------------------------------------------------------- disp_GAN


def load_disp_gan(path: Path) -> Generator:
    """AlbedoGAN's displacement generator; errors as `core.albedo.stylegan2.load_checkpoint`."""
    return load_checkpoint(foreign_path("disp_gan", path))


@torch.inference_mode()
def gan_displacement(generator: Generator, latent: Float[Tensor, "B *L D"]) -> Float[Tensor, "B 1 S S"]:
    """Metres along the normal in FLAME's texture space. latent: w, one or one per layer, of stylegan2_ffhq.

    The first channel, clipped to 0..1 as x, is (2 x - 1) / 255, clipped to +-4 mm.
    """
    image, _ = generator([latent], input_is_latent=True, randomize_noise=False)
    return ((2 * image[:, :1].clamp(0, 1) - 1) / 255).clamp(-GAN_LIMIT_M, GAN_LIMIT_M)
