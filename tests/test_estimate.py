"""Maps of a lit skin: the same however they are cut, of any size, true to their relief, refused where impossible."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from core.atlas import atlas_lookup
from core.color import srgb_to_linear
from core.errors import LikenessError
from core.head import HeadModel, load_head
from core.reflectance import estimate as module
from core.reflectance.estimate import (
    CHANNELS,
    SEES_PX,
    Reflectance,
    Understood,
    coded_normals,
    estimate,
    slopes_of,
    softened_normals,
    understand,
    written,
)
from core.reflectance.network import COARSE_PX, FINE_STRIDE, WORK_PX, NetworkSettings, ReflectanceNet
from core.synthesis.heads import sample_head
from core.synthesis.relief import normal_map


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def net() -> ReflectanceNet:
    """As deep as the bundled one, and narrow; its last layer says something."""
    torch.manual_seed(3)
    net = ReflectanceNet(NetworkSettings((8, 8, 8), (8, 8, 8, 8), context=2, place=2)).eval().requires_grad_(False)
    torch.nn.init.normal_(net.fine.exit.weight, std=0.05)
    return net


@pytest.fixture(scope="module")
def lit(head: HeadModel) -> torch.Tensor:
    return sample_head(head, 5, 512, None, normals=False).albedo


@pytest.fixture(scope="module")
def found(head: HeadModel, net: ReflectanceNet, lit: torch.Tensor) -> Understood:
    return understand(head, lit, head.template, net=net)


def test_tiles_leave_no_seam(head: HeadModel, net: ReflectanceNet, lit: torch.Tensor, found: Understood) -> None:
    cut = understand(head, lit, head.template, net=net, tile_px=256)
    for name, value in vars(cut.maps).items():
        assert (value - getattr(found.maps, name)).abs().max() < 1e-4, name


def test_what_a_tile_sees_is_all_that_its_texels_see() -> None:
    """The margin is at least the bundled network's reach: a change beyond it moves nothing."""
    torch.manual_seed(0)
    net = ReflectanceNet().eval().requires_grad_(False)
    torch.nn.init.normal_(net.fine.exit.weight, std=0.05)
    for block in (*net.fine.down_blocks, *net.fine.up_blocks):
        torch.nn.init.normal_(block.conv2.weight, std=0.05)
    side = 2 * SEES_PX + 2 * FINE_STRIDE
    x = torch.rand(1, 9 + net.settings.context, side, side)
    changed = x.clone()
    changed[..., :FINE_STRIDE, :] = torch.rand(1, 9 + net.settings.context, FINE_STRIDE, side)
    parts = [3, 3, 3, net.settings.context]
    with torch.no_grad():
        a, b = (net.see_tile(*y.split(parts, 1)).height_mm for y in (x, changed))
    beyond = SEES_PX + FINE_STRIDE
    assert torch.equal(a[..., beyond:, :], b[..., beyond:, :])
    assert not torch.equal(a[..., :FINE_STRIDE, :], b[..., :FINE_STRIDE, :])


@pytest.mark.parametrize("size", [(256, 256), (1024, 1024), (1280, 768)])
def test_maps_are_as_large_as_the_lit_one(
    head: HeadModel, net: ReflectanceNet, lit: torch.Tensor, size: tuple[int, int]
) -> None:
    image = functional.interpolate(lit[None].float(), size=size, mode="bilinear")[0].round().to(torch.uint8)
    maps = estimate(head, image, head.template, net=net)
    for name, value in vars(maps).items():
        assert tuple(value.shape[1:]) == size, name
    assert maps.displacement.dtype == torch.int16
    normal = maps.normal.float() / 127.5 - 1
    assert (normal.norm(dim=0) - 1).abs().max() < 0.02


def test_large_maps_have_no_seams(
    head: HeadModel, net: ReflectanceNet, found: Understood, lit: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written in one piece and in tiles, a map beyond what the networks see is the same to the last bit of a byte."""
    large = functional.interpolate(lit[None].float(), size=(1200, 1100), mode="bicubic")[0].clamp(0, 255)
    large = (large + 6 * torch.rand(large.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255)
    large = large.to(torch.uint8)
    height = found.maps.height_mm[0]
    pieces: list[Reflectance] = []
    for side in (4096, 256):
        monkeypatch.setattr(module, "WRITTEN_PX", side)
        pieces.append(written(head, large, head.template, found, height))
    for name, value in vars(pieces[0]).items():
        difference = (value.int() - getattr(pieces[1], name).int()).abs()
        assert difference.max() <= 1 and (difference > 0).float().mean() < 0.01, name


def test_large_maps_keep_the_photos_own_detail(head: HeadModel, found: Understood, lit: torch.Tensor) -> None:
    """Twice as fine as the networks see: spots in the lit map are spots in the albedo, and dimples in the relief."""
    large = functional.interpolate(lit[None].float(), size=(2048, 2048), mode="bilinear")[0].round().to(torch.uint8)
    spotted = large.clone()
    middle = slice(1000, 1002)
    spotted[:, middle, middle] = spotted[:, middle, middle] // 2
    plain, dotted = (written(head, m, head.template, found, found.maps.height_mm[0]) for m in (large, spotted))
    assert (dotted.albedo[:, middle, middle] < plain.albedo[:, middle, middle]).all()
    assert (dotted.displacement[:, middle, middle] < plain.displacement[:, middle, middle]).all()
    far = torch.ones(2048, 2048, dtype=torch.bool)
    far[996:1006, 996:1006] = False
    assert torch.equal(dotted.albedo[:, far], plain.albedo[:, far])


def test_normals_are_those_of_the_relief(head: HeadModel, found: Understood, lit: torch.Tensor) -> None:
    height = found.maps.height_mm[0]
    image = functional.interpolate(lit[None].float(), size=(WORK_PX, WORK_PX), mode="bilinear")[0].to(torch.uint8)
    maps = written(head, image, head.template, found, height)
    expected = normal_map(head, height[0] / 1000, head.template)
    inside = atlas_lookup(head, WORK_PX).inside
    cosine = functional.cosine_similarity(maps.normal.float() - 127.5, expected.float() - 127.5, dim=0)[inside]
    assert cosine.quantile(0.02) > 0.999
    sharp, soft = softened_normals(head, head.template, height[0])
    assert torch.equal(sharp, expected)
    tilt = [(1 - (m.float() / 127.5 - 1)[2])[inside].mean() for m in (sharp, soft, maps.diffuse_normal)]
    assert tilt[1] < tilt[0] and abs(tilt[2] - tilt[1]) < 0.3 * tilt[0]


def test_flat_relief_has_upright_normals(head: HeadModel, found: Understood) -> None:
    slopes = slopes_of(head, found.frame, torch.zeros(WORK_PX, WORK_PX))
    assert slopes.abs().max() == 0
    assert coded_normals(slopes[:, :2, :2])[:, 0, 0].tolist() == [128, 128, 255]


def test_albedo_times_light_is_what_was_lit(head: HeadModel, found: Understood) -> None:
    light = found.lit.clamp_min(1e-3).log() - found.maps.log_albedo[0]
    assert torch.allclose((found.maps.log_albedo[0] + light).exp(), found.lit.clamp_min(1e-3), atol=1e-4)


def test_progress_rises_to_the_end(head: HeadModel, net: ReflectanceNet, lit: torch.Tensor) -> None:
    shares: list[float] = []
    estimate(head, lit, head.template, net=net, tile_px=512, report=shares.append)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)


def test_the_light_may_be_given(head: HeadModel, net: ReflectanceNet, lit: torch.Tensor, found: Understood) -> None:
    given = understand(head, lit, head.template, found.sh, net)
    assert torch.equal(given.maps.log_albedo, found.maps.log_albedo)
    other = understand(head, lit, head.template, 2 * found.sh, net)
    # Twice the light is half the albedo, but for what the coarse network makes of it.
    ratio = (given.maps.log_albedo - other.maps.log_albedo).mean().exp()
    assert 1.5 < float(ratio) < 2.5


@pytest.mark.parametrize(
    ("shape", "kind", "words"),
    [
        ((1, 64, 64), torch.uint8, "three channels of bytes"),
        ((3, 64, 64), torch.int16, "three channels of bytes"),
        ((4, 64, 64), torch.uint8, "three channels of bytes"),
        ((64, 64), torch.uint8, "three channels of bytes"),
        ((3, 16, 64), torch.uint8, "64 x 16 texels, too few"),
    ],
)
def test_what_is_no_lit_map_is_refused(shape: tuple[int, ...], kind: torch.dtype, words: str) -> None:
    with pytest.raises(LikenessError, match=words):
        module.check_lit_map(torch.zeros(shape, dtype=kind))


def test_huge_maps_are_refused_before_any_work() -> None:
    """A view of one byte, as large as a map that would fill the memory."""
    huge = torch.zeros(1, dtype=torch.uint8).expand(3, 16384, 16384)
    with pytest.raises(LikenessError, match=r"16384 x 16384 texels would need about 5\.5 GB.*such as 6144 x 4096"):
        module.check_lit_map(huge)
    module.check_lit_map(torch.zeros(1, dtype=torch.uint8).expand(3, 6144, 4096))


def test_the_channels_add_up(found: Understood) -> None:
    assert sum(CHANNELS) == 3 + 4 + 4
    assert found.lit.shape == (3, WORK_PX, WORK_PX) and COARSE_PX * 8 == WORK_PX
    assert torch.isfinite(srgb_to_linear(found.lit)).all()
