"""The two networks that take the light out of a lit skin map and find what reflects it.

The coarse one sees the whole map, small: where lamps stand, how strong and how coloured they are, which shadows they
cast, and what the person's tone is, cannot be told from a patch. It corrects the albedo that division by fitted
spherical harmonics leaves, and hands the fine network some numbers per texel that it finds worth telling. The fine
one sees texels of `WORK_PX` through a window of some 100: pores, lines, highlights, the borders of shadows. It has no
normalisation over space, so that a tile's texels do not depend on where the tile was cut.

Both work in the logarithm of linear light, where illumination is a sum, and both begin as the division alone: their
last layers start near zero.
"""

from __future__ import annotations

import functools
import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from core.checkpoints import read_safetensors, weights_path, write_whole
from core.errors import FileError, LikenessError

FORMAT = "likeness-reflectance-1"
FINE_STRIDE = 16  # of the bundled fine network: tiles begin and end at multiples
CURE = "Train it again with `python -m app train reflectance`, or restore the file that came with the program."

COARSE_PX = 128  # of the coarse network's map
WORK_PX = 1024  # texels a side at which the fine network reads skin: a third of a millimetre in the face
DARKEST = 1e-3  # of linear light, before its logarithm is taken
# What the fine network's outputs mean where it says 0: bare skin.
PLAIN_SPECULAR, PLAIN_ROUGHNESS, PLAIN_TRANSLUCENCY = 0.35, 0.5, 0.45
TONE_CELLS = 8  # a side, from which the tone of a whole skin is read
HEIGHT_UNIT_MM = 0.25  # of the fine network's displacement


@dataclass(frozen=True)
class NetworkSettings:
    """coarse_widths, fine_widths: channels from the full size down (the fine network's from half of it: its first layer
    reads every other texel, its last writes four at once), each level half as large. context: numbers that the
    coarse network hands on per texel. place: numbers that it learns about each place of the atlas."""

    coarse_widths: tuple[int, ...] = (24, 40, 64, 96, 128)
    fine_widths: tuple[int, ...] = (32, 48, 64, 80)
    context: int = 8
    place: int = 8

    def __post_init__(self) -> None:
        if len(self.coarse_widths) < 2 or len(self.fine_widths) < 2 or any(w % 8 for w in self.coarse_widths):
            raise LikenessError(
                f"Networks of widths {self.coarse_widths} and {self.fine_widths} cannot be built: each needs two "
                "levels at least, and the coarse one's widths must be multiples of 8."
            )


@dataclass(frozen=True, eq=False)
class SkinMaps:
    """What the fine network finds, each ``[B, C, H, W]``. log_albedo: of linear diffuse albedo. height_mm: how far the
    skin stands out. specular, roughness, translucency: 0..1 as in `core.materials.Materials`."""

    log_albedo: Float[Tensor, "B 3 H W"]
    height_mm: Float[Tensor, "B 1 H W"]
    specular: Float[Tensor, "B 1 H W"]
    roughness: Float[Tensor, "B 1 H W"]
    translucency: Float[Tensor, "B 1 H W"]


def log_light(linear: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The logarithm that the networks see."""
    return linear.clamp_min(DARKEST).log()


def main_light(
    sh: Float[Tensor, "9 3"],
    normal: Float[Tensor, "B 3 H W"],
    tangent: Float[Tensor, "B 3 H W"],
    bitangent: Float[Tensor, "B 3 H W"],
) -> Float[Tensor, "B 3 H W"]:
    """Where most of the light comes from: first order of the harmonics over the zeroth, along tangent, bitangent and
    normal."""
    grey = sh.mean(1)
    direction = torch.stack([grey[3], grey[1], grey[2]]) / grey[0].clamp_min(1e-3)
    along = [(axis * direction[:, None, None]).sum(1) for axis in (tangent, bitangent, normal)]
    return torch.stack(along, 1).clamp(-2, 2)


class _Block(nn.Module):
    """x + conv(silu(conv(silu(x)))), with or without normalisation over the map."""

    def __init__(self, channels: int, normalised: bool) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels) if normalised else nn.Identity()
        self.conv1, self.conv2 = (
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(functional.silu(self.conv1(functional.silu(self.norm(x)))))


class UNet(nn.Module):
    """Ronneberger et al. 2015, with residual blocks. step: 2 works at half the size inside (Shi et al. 2016). Sides
    must be multiples of ``step * 2 ** (len(widths) - 1)``."""

    def __init__(self, inputs: int, outputs: int, widths: tuple[int, ...], normalised: bool, step: int = 1) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.entry = nn.Conv2d(inputs, widths[0], 2 + step, stride=step, padding=1)
        self.down_blocks = nn.ModuleList(_Block(width, normalised) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
        self.merge = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a, _ in pairs)
        self.up_blocks = nn.ModuleList(_Block(a, normalised) for a, _ in pairs)
        self.exit = nn.Conv2d(widths[0], outputs * step * step, 3, padding=1)
        self.enlarge = nn.PixelShuffle(step)
        nn.init.normal_(self.exit.weight, std=1e-3)
        assert self.exit.bias is not None
        nn.init.zeros_(self.exit.bias)

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O H W"]:
        x = self.down_blocks[0](self.entry(x))
        kept = []
        for down, block in zip(self.down, list(self.down_blocks)[1:], strict=True):
            kept.append(x)
            x = block(down(x))
        for i in reversed(range(len(self.up))):
            x = self.up[i](x)
            x = self.up_blocks[i](self.merge[i](torch.cat([x, kept[i]], 1)))
        return self.enlarge(self.exit(functional.silu(x)))


class ToneReader(nn.Module):
    """How much brighter or darker, and of which hue, a whole skin is than it seems: from cells of the map, what is lit,
    what is left without light, and how far highlights stand out, since shine is as bright on dark skin as on fair. Says
    nothing until it is trained (`training.train_tone`)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(7 * TONE_CELLS**2, 96), nn.Linear(96, 3)
        self.dropout = nn.Dropout(0.3)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    @staticmethod
    def cells(
        log_lit: Float[Tensor, "B 3 C C"], log_albedo: Float[Tensor, "B 3 C C"], inside: Float[Tensor, "1 1 C C"]
    ) -> Float[Tensor, "B N"]:
        """What it reads: means over cells of the skin in them, 0 where there is none."""
        side = log_lit.shape[-1] // TONE_CELLS
        share = functional.avg_pool2d(inside, side)
        both = torch.cat([log_lit, log_albedo], 1) + 1.5
        means = functional.avg_pool2d(both * inside, side) / share.clamp_min(1e-3)
        grey = log_lit.mean(1, keepdim=True) + 1.5
        brightest = functional.max_pool2d(grey * inside - 8 * (1 - inside), side)
        shine = (brightest - means[:, :3].mean(1, keepdim=True)) * (share > 0.05)
        return torch.cat([means, shine], 1).flatten(1)

    def forward(self, cells: Float[Tensor, "B N"]) -> Float[Tensor, "B 3"]:
        return self.last(self.dropout(functional.silu(self.first(cells))))


class ReflectanceNet(nn.Module):
    """Both networks, and the reader of tones."""

    def __init__(self, settings: NetworkSettings | None = None) -> None:
        super().__init__()
        self.settings = s = settings or NetworkSettings()
        self.place = nn.Parameter(0.1 * torch.randn(1, s.place, COARSE_PX, COARSE_PX))
        self.coarse = UNet(3 + 3 + 3 + 1 + s.place, 3 + s.context, s.coarse_widths, True)
        self.fine = UNet(3 + 3 + 3 + s.context, 3 + 4, s.fine_widths, False, step=2)
        self.tone = ToneReader()
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # twice as fast on a CPU

    def see_whole(
        self,
        lit: Float[Tensor, "B 3 C C"],
        fitted: Float[Tensor, "B 3 C C"],
        normals: Float[Tensor, "B 3 C C"],
        inside: Float[Tensor, "1 1 C C"],
    ) -> tuple[Float[Tensor, "B 3 C C"], Float[Tensor, "B K C C"]]:
        """What has to be added to log lit - log fitted for log albedo, and the context.

        lit: linear. fitted: the light of fitted harmonics (`lighting.shading`). normals: of the mesh, head frame.
        inside: 1 where the atlas shows skin.
        """
        count = len(lit)
        known = [
            log_light(lit) + 1.5,
            log_light(lit) - log_light(fitted) + 1.5,
            normals,
            inside.expand(count, -1, -1, -1),
        ]
        x = torch.cat([*known, self.place.expand(count, -1, -1, -1)], 1)
        change, context = self.coarse(x).float().split([3, self.settings.context], 1)
        log_albedo = log_light(lit) - log_light(fitted) + change
        tone = self.tone(ToneReader.cells(log_light(lit), log_albedo, inside)).float()
        return change + tone[..., None, None], context

    def see_tile(
        self,
        lit: Float[Tensor, "B 3 H W"],
        light: Float[Tensor, "B 3 H W"],
        towards: Float[Tensor, "B 3 H W"],
        context: Float[Tensor, "B K H W"],
    ) -> SkinMaps:
        """The maps of a tile. lit: linear. light: log of the light as the coarse network sees it, enlarged. towards:
        `main_light`. context: enlarged."""
        albedo = log_light(lit) - light
        out = self.fine(torch.cat([albedo + 1.5, light, towards, context], 1)).float()
        change, height, specular, roughness, translucency = out.split([3, 1, 1, 1, 1], 1)
        return SkinMaps(
            albedo + change,
            height * HEIGHT_UNIT_MM,
            _around(PLAIN_SPECULAR, specular),
            _around(PLAIN_ROUGHNESS, roughness),
            _around(PLAIN_TRANSLUCENCY, translucency),
        )


def _around(plain: float, x: Tensor) -> Tensor:
    """A number in 0..1 that is `plain` where x is 0."""
    return torch.sigmoid(x + torch.logit(torch.tensor(plain)).item())


# ------------------------------------------------------------------------------------------------------------- files


def save_network(net: ReflectanceNet, path: Path, record: dict[str, object] | None = None) -> None:
    """Write the weights, half precision, with settings and what is to be known of the training. Raises FileError."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().half().contiguous() for name, value in net.state_dict().items()}
    metadata = {"format": FORMAT, "settings": json.dumps(asdict(net.settings)), "record": json.dumps(record or {})}
    write_whole(path, save(tensors, metadata))


def load_network(path: Path) -> ReflectanceNet:
    """Read what `save_network` wrote, in single precision, without gradients. Raises FileError where the file is
    missing, damaged or of another format."""
    tensors, metadata = read_safetensors(path, (), CURE)
    try:
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {metadata.get('format')!r}, expected was {FORMAT!r}")
        known: dict[str, Any] = json.loads(metadata["settings"])
        for name in ("coarse_widths", "fine_widths"):
            known[name] = tuple(known[name])
        settings = NetworkSettings(**known)
        net = ReflectanceNet(settings)
        net.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError, LikenessError) as error:
        raise FileError(f"{path} holds no network for reflectance: {error}. {CURE}") from error
    return net.eval().requires_grad_(False)


@functools.cache
def bundled_network() -> ReflectanceNet:
    """The network that comes with the program, read once. Raises FileError."""
    return load_network(weights_path("reflectance"))
