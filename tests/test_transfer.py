"""A head follows its latent: nothing moves without a reason, and what the photo brought survives."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from core import transfer
from core.albedo.model import log_albedo, srgb_from_log
from core.albedo.stylegan2 import Generator, ToRGB
from core.albedo.stylegan_albedo import ShapeHead, StyleGanAlbedo
from core.avatar import Avatar
from core.errors import FileError, LikenessError
from core.head import load_head
from core.transfer import move, transferred, with_latent
from tests.tiny_head import make_avatar

SIDE = 32


@functools.cache
def generator() -> StyleGanAlbedo:
    """A small untrained generator: its maps are blots, but they are maps."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        net = Generator(SIDE, style_dim=24, n_mlp=1, channel_max=12).eval()
        for module in net.modules():
            if isinstance(module, ToRGB):  # faint, so that maps are never cut at black or white
                module.conv.weight.data *= 0.1
        shape_head = ShapeHead(24, load_head().shape_count)
        people = torch.randn(60, 6)
    return StyleGanAlbedo.from_training(net, shape_head, people, people[:, :2], ("a", "b"), tuple("cdefgh"))


@pytest.fixture(autouse=True)
def small_generator(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(transfer, "albedo_gan", generator)
    yield


def photo_map(size: int) -> Tensor:
    """Skin with pores, bytes."""
    random = torch.Generator().manual_seed(5)
    large = functional.interpolate(torch.rand(1, 3, 6, 6, generator=random), size=(size, size), mode="bicubic")[0]
    pores = 0.06 * torch.randn(1, size, size, generator=random)
    tone = torch.tensor([0.72, 0.55, 0.45])[:, None, None]
    return ((tone + 0.15 * (large - 0.5) + pores).clamp(0, 1) * 255).round().to(torch.uint8)


def avatar(size: int = 96) -> Avatar:
    made = make_avatar(load_head())
    skin = photo_map(size)
    return replace(made, materials=replace(made.materials, skin_albedo=skin, skin_photo=skin // 2 + 20))


def test_the_latent_that_is_there_changes_nothing():
    head = with_latent(avatar())
    assert head.latent is not None and head.generator == generator().fingerprint
    same = move(head, head.latent.clone())
    assert torch.equal(same.materials.skin_albedo, head.materials.skin_albedo)
    assert same.materials.skin_photo is not None and head.materials.skin_photo is not None
    assert torch.equal(same.materials.skin_photo, head.materials.skin_photo)
    assert torch.equal(same.shape, head.shape)
    # Finding it again keeps what is there, of any head: a drawn one has its own.
    assert with_latent(head) is head
    again = with_latent(avatar())
    assert again.latent is not None and torch.equal(again.latent, head.latent)


def test_no_byte_of_any_colour_moves_without_a_change():
    every = torch.arange(256, dtype=torch.uint8)
    colours = torch.stack([every.repeat(256, 1), every.repeat(256, 1).T, every.flip(0).repeat(256, 1)])
    flat = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    albedo, lit = transferred(colours, flat, flat.clone(), colours.flip(0))
    assert torch.equal(albedo, colours) and lit is not None and torch.equal(lit, colours.flip(0))


@pytest.mark.parametrize("size", [24, 32, 96])
def test_a_head_moves_as_its_latent_does_and_keeps_its_pores(size: int):
    head = with_latent(avatar(size))
    assert head.latent is not None
    aim = torch.lerp(head.latent, generator().sample(3), 0.5)
    moved = move(head, aim)
    assert moved.latent is aim
    # Independently: the mean over the map changes as the generator's does, in the space where pigments add.
    before, after = (functional.adaptive_avg_pool2d(log_albedo(generator().decode(w)), 8) for w in (head.latent, aim))
    maps = [log_albedo(h.materials.skin_albedo.float() / 255) for h in (head, moved)]
    change = functional.adaptive_avg_pool2d(maps[1] - maps[0], 8)
    assert float((after - before).abs().mean()) > 0.02, "the test moves something"
    torch.testing.assert_close(change, after - before, atol=0.03, rtol=0.05)
    fine = [m - functional.avg_pool2d(m[None], 3, 1, 1)[0] for m in maps]
    assert float(torch.corrcoef(torch.stack([f.flatten() for f in fine]))[0, 1]) > 0.98
    torch.testing.assert_close(moved.shape - head.shape, generator().shape(aim) - generator().shape(head.latent))
    for kept in ("expression", "joint_rotations", "camera", "light", "quality", "provenance", "name"):
        assert getattr(moved, kept) is getattr(head, kept)
    assert moved.materials.eye_albedo is head.materials.eye_albedo


def test_there_and_back_is_where_it_began():
    head = with_latent(avatar())
    assert head.latent is not None
    back = move(move(head, generator().truncate(generator().sample(4), 0.5)), head.latent)
    difference = back.materials.skin_albedo.int() - head.materials.skin_albedo.int()
    assert float((difference.abs() <= 2).float().mean()) > 0.97  # the rest had to be cut at white
    torch.testing.assert_close(back.shape, head.shape, atol=1e-5, rtol=0)


def test_the_lit_map_gets_the_ratio_of_the_albedo():
    skin = photo_map(64)
    before = torch.full((3, 4, 4), 0.6)
    after = srgb_from_log(log_albedo(before) - torch.tensor([0.1, 0.3, 0.4])[:, None, None])
    light = 0.4
    linear = lambda image: ((image.float() / 255 + 0.055) / 1.055) ** 2.4  # noqa: E731
    lit = ((1.055 * (light * linear(skin)) ** (1 / 2.4) - 0.055).clamp(0, 1) * 255).round().to(torch.uint8)
    albedo, moved = transferred(skin, before, after, lit)
    assert moved is not None
    torch.testing.assert_close(linear(moved), light * linear(albedo), atol=0.006, rtol=0.03)


def test_what_would_be_brighter_than_white_keeps_its_hue():
    orange = torch.tensor([250, 170, 90], dtype=torch.uint8)[:, None, None].expand(3, 8, 8)
    grey, white = torch.full((3, 8, 8), 0.4), torch.full((3, 8, 8), 0.9)
    brighter, _ = transferred(orange, grey, white)
    assert int(brighter[0].min()) >= 254 and int(brighter[1].max()) < 190 and int(brighter[2].max()) < 110
    darker, _ = transferred(orange, white, torch.zeros_like(grey))
    assert bool((darker[0] >= darker[1]).all() and (darker[1] >= darker[2]).all())


def test_what_cannot_be_moved_is_refused_with_a_sentence():
    head = with_latent(avatar())
    assert head.latent is not None
    with pytest.raises(LikenessError, match=r"no latent.*with_latent"):
        move(avatar(), head.latent)
    other = replace(head, generator="0123456789abcdef")
    with pytest.raises(LikenessError, match=rf"0123456789abcdef.*{generator().fingerprint}"):
        move(other, head.latent)
    found = with_latent(other)
    assert found.generator == generator().fingerprint, "a foreign latent is found anew"
    with pytest.raises(LikenessError, match="another generator"):
        move(head, head.latent[:2])
    with pytest.raises(LikenessError, match="no numbers"):
        move(head, head.latent * float("nan"))
    with pytest.raises(FileError, match="was made with"):
        with_latent(replace(avatar(), head_model="flame"))
