"""The networks of reflectance begin as the division, see tiles as the whole, and are saved exactly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import FileError, LikenessError
from core.reflectance.network import (
    COARSE_PX,
    PLAIN_ROUGHNESS,
    PLAIN_SPECULAR,
    NetworkSettings,
    ReflectanceNet,
    load_network,
    log_light,
    main_light,
    save_network,
)

SMALL = NetworkSettings((8, 16), (8, 16), context=2, place=2)


@pytest.fixture
def net() -> ReflectanceNet:
    torch.manual_seed(0)
    return ReflectanceNet(SMALL).eval().requires_grad_(False)


def whole(seed: int = 1) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    lit, fitted = (torch.rand(2, 3, COARSE_PX, COARSE_PX, generator=draw) + 0.05 for _ in range(2))
    normals = torch.nn.functional.normalize(torch.randn(2, 3, COARSE_PX, COARSE_PX, generator=draw), dim=1)
    return lit, fitted, normals, torch.ones(1, 1, COARSE_PX, COARSE_PX)


def tile(side: int = 64) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(2)
    lit = torch.rand(1, 3, side, side, generator=draw) + 0.05
    light, towards = torch.randn(2, 1, 3, side, side, generator=draw)
    return lit, light, towards, torch.randn(1, 2, side, side, generator=draw)


def test_untrained_networks_divide_and_say_plain_skin(net: ReflectanceNet) -> None:
    change, context = net.see_whole(*whole())
    assert change.shape == (2, 3, COARSE_PX, COARSE_PX) and context.shape[1] == 2
    assert change.abs().max() < 0.1
    lit, light, towards, handed_on = tile()
    maps = net.see_tile(lit, light, towards, handed_on)
    assert (maps.log_albedo - (log_light(lit) - light)).abs().max() < 0.1
    assert (maps.specular - PLAIN_SPECULAR).abs().max() < 0.03
    assert (maps.roughness - PLAIN_ROUGHNESS).abs().max() < 0.03
    assert maps.height_mm.abs().max() < 0.05


def test_a_brighter_light_that_is_known_changes_no_albedo(net: ReflectanceNet) -> None:
    lit, light, towards, context = tile()
    plain = net.see_tile(lit, light, towards, context).log_albedo
    # What the fine network adds may depend on the light's level; what it starts from may not.
    brighter = net.see_tile(2 * lit, light + torch.tensor(2.0).log(), towards, context).log_albedo
    assert (plain - brighter).abs().max() < 0.05


def test_the_fine_network_knows_no_place(net: ReflectanceNet) -> None:
    """A texel's answer depends on what surrounds it, not on where the tile was cut (on the network's own grid)."""
    inputs = tile(128)
    all_of_it = net.see_tile(*inputs).height_mm
    part = net.see_tile(*(x[..., 32:, 16:] for x in inputs)).height_mm
    assert torch.allclose(all_of_it[..., 64:96, 64:96], part[..., 32:64, 48:80], atol=1e-6)


def test_every_parameter_learns(net: ReflectanceNet) -> None:
    net = ReflectanceNet(SMALL)
    change, context = net.see_whole(*whole())
    lit, light, towards, _ = tile()
    light = light + change[:1, :, :64, :64]
    maps = net.see_tile(lit, light, towards, context[:1, :, :64, :64])
    sum(value.square().sum() for value in vars(maps).values()).backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert silent == []
    assert net.place.grad is not None and net.place.grad.abs().max() > 0


def test_saved_networks_answer_alike(net: ReflectanceNet, tmp_path: Path) -> None:
    save_network(net, tmp_path / "net.safetensors", {"steps": 3})
    read = load_network(tmp_path / "net.safetensors")
    assert read.settings == SMALL and not any(p.requires_grad for p in read.parameters())
    half = {name: value.half().float() for name, value in net.state_dict().items()}
    assert all(torch.equal(value, half[name]) for name, value in read.state_dict().items())


def test_files_that_hold_no_network_are_refused(net: ReflectanceNet, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with pytest.raises(FileError, match=r"could not be read.*train reflectance"):
        load_network(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(FileError, match="could not be read"):
        load_network(path)
    save_file({"a": torch.zeros(1)}, path, {"format": "other"})
    with pytest.raises(FileError, match=r"its format is 'other'"):
        load_network(path)
    settings = json.dumps({"coarse_widths": [8, 16], "fine_widths": [8, 16], "context": 2, "place": 2})
    save_file({"a": torch.zeros(1)}, path, {"format": "likeness-reflectance-1", "settings": settings})
    with pytest.raises(FileError, match="holds no network for reflectance"):
        load_network(path)
    save_network(net, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match="could not be read"):
        load_network(path)


@pytest.mark.parametrize("widths", [((8,), (8, 16)), ((8, 16), (8,)), ((8, 12), (8, 16))])
def test_networks_that_cannot_be_built_are_refused(widths: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(LikenessError, match="cannot be built"):
        NetworkSettings(*widths)


def test_the_main_light_is_told_in_the_tangent_frame() -> None:
    sh = torch.zeros(9, 3)
    sh[0], sh[3] = 1.0, 0.5  # brighter from +x
    x, y, z = (torch.eye(3)[i][None, :, None, None].expand(1, 3, 2, 2) for i in range(3))
    assert torch.allclose(main_light(sh, z, x, y)[0, :, 0, 0], torch.tensor([0.5, 0.0, 0.0]))
    assert torch.allclose(main_light(sh, x, y, z)[0, :, 0, 0], torch.tensor([0.0, 0.0, 0.5]))
