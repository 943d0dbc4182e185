"""Surroundings against closed forms, quadrature and files that are not what they should be."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from core.camera import axis_angle_to_matrix
from core.color import luminance
from core.environment import (
    ENVIRONMENTS,
    MAX_HDR_WIDTH,
    Panel,
    directions_of,
    drawn,
    environment_light,
    exposed,
    named_light,
    prefiltered,
    project_sh,
    read_hdr,
    reduced,
    solid_angles,
)
from core.errors import FileError
from core.shading import Light, diffuse_light, radiance_of, sh_basis

F64 = torch.float64


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def units(count: int, seed: int = 0) -> Tensor:
    return functional.normalize(noise(1, count, 3, seed=seed) - 0.5, dim=-1)


# ------------------------------------------------------------------------------------------------- directions


def test_a_picture_shows_all_directions_as_seen_from_within() -> None:
    towards, angle = directions_of(32, 64), solid_angles(32, 64)
    assert torch.allclose(towards.norm(dim=-1), torch.ones(32, 64, dtype=F64))
    assert float(angle.sum()) * 64 == pytest.approx(4 * math.pi)
    assert (towards[0, :, 1] > 0.99).all() and (towards[-1, :, 1] < -0.99).all()
    assert (towards[:, 31:33, 2] > 0).all() and (towards[:, [0, 63], 2] < 0).all()  # the face looks at the middle
    assert (towards[:, :32, 0] > 0).all() and (towards[:, 32:, 0] < 0).all()  # its left is on the left
    assert torch.allclose((towards * angle[:, None, None]).sum(dim=(0, 1)), torch.zeros(3, dtype=F64), atol=1e-12)


def test_harmonics_of_a_picture_of_harmonics_are_themselves() -> None:
    sh = noise(2, 9, 3)
    picture = torch.einsum("hwk,bkc->bchw", sh_basis(directions_of(64, 128)), sh)
    assert torch.allclose(project_sh(picture), sh, atol=2e-3)


def test_a_smaller_picture_has_the_light_of_the_larger() -> None:
    picture = noise(1, 3, 64, 128) ** 3
    small = reduced(picture, 16)
    assert small.shape == (1, 3, 16, 32) and reduced(small, 16) is small

    def shed(image: Tensor) -> Tensor:
        return (image * solid_angles(*image.shape[-2:])[:, None]).sum(dim=(2, 3))

    assert torch.allclose(shed(small), shed(picture))
    assert torch.allclose(project_sh(small), project_sh(picture), atol=0.02)


# ------------------------------------------------------------------------------------------------ reflections


def test_blurring_keeps_what_is_even_and_loses_no_light() -> None:
    even = torch.full((1, 3, 16, 32), 0.7, dtype=F64)
    assert torch.allclose(prefiltered(even, 16, 5), torch.full((1, 3, 5, 16, 32), 0.7, dtype=F64))
    picture = noise(1, 3, 32, 64) ** 4
    levels = prefiltered(picture, 32, 5)
    assert torch.equal(levels[:, :, 0], picture)
    whole = (levels * solid_angles(32, 64)[:, None]).sum(dim=(3, 4))
    assert torch.allclose(whole, whole[:, :, :1].expand(-1, -1, 5), rtol=0.03)
    spread = levels.std(dim=(3, 4))
    assert (spread.diff(dim=2) < 0).all()  # rougher is smoother


@pytest.mark.parametrize("level", [2, 4])
def test_a_level_is_the_mean_under_ggxs_lobe(level: int) -> None:
    """Against the sum over all texels, where the lobe is wider than a texel."""
    picture, towards, angle = noise(1, 3, 24, 48), directions_of(24, 48), solid_angles(24, 48)
    found = prefiltered(picture, 24, 5)[0, :, level]
    alpha_sq = (level / 4) ** 4
    for row, column in ((3, 5), (12, 47), (20, 30)):
        cosine = towards @ towards[row, column]
        half = torch.sqrt((1 + cosine.clamp(-1, 1)) / 2)
        lobe = cosine.clamp_min(0) / (half**2 * (alpha_sq - 1) + 1) ** 2 * angle[:, None]
        wanted = (picture[0] * lobe).sum(dim=(1, 2)) / lobe.sum()
        assert torch.allclose(found[:, row, column], wanted, rtol=1e-9)


def test_blurring_and_harmonics_have_the_gradients_of_central_differences() -> None:
    picture, weights = noise(1, 3, 6, 12), noise(1, 3, 4, 6, 12, seed=1)

    def loss(value: Tensor) -> Tensor:
        return (prefiltered(value, 6, 4) * weights).sum() + (project_sh(value) * weights[..., :1, :3, :1].sum()).sum()

    value = picture.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(value), value)
    for seed in range(3):
        direction = noise(*picture.shape, seed=seed + 5) - 0.5
        numeric = float(loss(picture + 1e-5 * direction) - loss(picture - 1e-5 * direction)) / 2e-5
        assert numeric == pytest.approx(float((gradient * direction).sum()), rel=1e-6)


# ------------------------------------------------------------------------------------------------------ light


def matt_truth(picture: Tensor, normals: Tensor) -> Tensor:
    """The cosine integral over the texels of one picture, over pi."""
    height, width = picture.shape[-2:]
    cosine = torch.einsum("bni,hwi->nhw", normals, directions_of(height, width)).clamp_min(0)
    return torch.einsum("nhw,bchw,h->nc", cosine, picture, solid_angles(height, width)) / math.pi


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_lamps_and_the_rest_are_the_whole_light(name: str) -> None:
    """Matt surfaces get what all texels shed on them; lamps taken out follow it closer than harmonics alone."""
    picture, normals = ENVIRONMENTS[name](64).double(), units(300)
    truth = matt_truth(picture, normals)

    def error(lamps: int) -> float:
        lit = diffuse_light(environment_light(picture, lamps), normals)[0]
        return float((lit - truth).norm() / truth.norm())

    alone, with_lamps = error(0), error(4)
    assert with_lamps < 0.05 and with_lamps <= alone + 1e-9
    if name in ("dramatic", "sunset"):  # one hard lamp: harmonics ring
        assert with_lamps < 0.6 * alone


def test_a_lamp_is_found_where_it_stands() -> None:
    """A disc of known place, size and light in a dim room."""
    towards, angle = directions_of(64, 128), solid_angles(64, 128)
    middle = functional.normalize(torch.tensor([0.5, 0.6, 0.7], dtype=F64), dim=0)
    disc = (torch.acos((towards @ middle).clamp(-1, 1)) < math.radians(9)).double()
    shed = disc * angle[:, None]
    tint = torch.tensor([1.0, 0.8, 0.3], dtype=F64)
    picture = (0.05 + 3 * disc * math.pi / shed.sum() * tint[:, None, None])[None]
    light = environment_light(picture, lamps=3)
    assert light.spreads is not None and light.directions.shape == (1, 1, 3)
    assert math.degrees(math.acos(float(light.directions[0, 0] @ middle))) < 1
    assert torch.allclose(light.colors[0, 0], 3 * tint, rtol=0.05)
    assert math.degrees(float(light.spreads[0, 0])) == pytest.approx(9, abs=1)
    rest = light.sh[0, 0] / math.sqrt(4 * math.pi)
    assert torch.allclose(rest, torch.full((3,), 0.05, dtype=F64), rtol=0.3)
    with_gradient = picture.clone().requires_grad_()
    environment_light(with_gradient, lamps=1).colors.sum().backward()
    assert with_gradient.grad is not None and (with_gradient.grad * (1 - disc)).abs().sum() == 0


def test_pictures_of_a_batch_have_lamps_of_their_own() -> None:
    pictures = torch.cat([ENVIRONMENTS[name](32).double() for name in ("overcast", "dramatic", "studio")])
    together, normals = environment_light(pictures, 3), units(40).expand(3, -1, -1)
    assert together.directions.shape[0] == 3 and torch.equal(together.colors[0], torch.zeros_like(together.colors[0]))
    for b in range(3):
        alone = environment_light(pictures[b : b + 1], 3)
        assert torch.allclose(diffuse_light(together, normals)[b], diffuse_light(alone, normals[:1])[0])
    dark = environment_light(torch.zeros(1, 3, 8, 16, dtype=F64))
    assert dark.directions.shape == (1, 0, 3) and (diffuse_light(dark, normals[:1]) == 0).all()


def test_turned_surroundings_are_seen_turned() -> None:
    light = environment_light(ENVIRONMENTS["neon"](32).double(), lamps=0)
    rotation = axis_angle_to_matrix(torch.tensor([[0.3, 1.2, -0.5]], dtype=F64))
    towards = units(50)
    turned = torch.einsum("bij,bnj->bni", rotation, towards)
    rough = noise(1, 50, 1)
    assert torch.allclose(radiance_of(light.rotated(rotation), turned, rough), radiance_of(light, towards, rough))


def test_exposing_sets_the_level_before_the_face() -> None:
    for name in ("dramatic", "overcast"):
        picture = exposed(ENVIRONMENTS[name](32).double() * 37, 0.8)
        normals = directions_of(24, 48).reshape(1, -1, 3)
        front = normals[0, :, 2].clamp_min(0) * solid_angles(24, 48).repeat_interleave(48)
        mean = (luminance(matt_truth(picture, normals).T[..., None])[0, :, 0] * front).sum() / front.sum()
        assert float(mean) == pytest.approx(0.8, rel=0.05)
    assert torch.equal(exposed(torch.zeros(1, 3, 8, 16)), torch.zeros(1, 3, 8, 16))


# ----------------------------------------------------------------------------------------------------- drawn here


def test_a_panel_stands_where_it_is_said_to_and_sheds_what_it_is_said_to() -> None:
    bare = drawn(0x000000, 0x000000, 0x000000, 1.0, [Panel(40, 25, 12, 20, 0xFF8000, 0.6)], 64)
    yaw, pitch = math.radians(40), math.radians(25)
    facing = torch.tensor([[[math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]]])
    lit = matt_truth(bare.double(), facing.double())[0]
    assert float(lit[0]) == pytest.approx(0.6, rel=1e-3) and lit[2] == 0 and 0 < lit[1] < lit[0]
    bright = bare[0, 0] > 0.5 * bare.max()
    middle = functional.normalize(directions_of(64, 128)[bright].mean(dim=0), dim=0)
    assert float(middle @ facing[0, 0].double()) > math.cos(math.radians(2))
    panes = drawn(0x000000, 0x000000, 0x000000, 1.0, [Panel(40, 25, 12, 20, 0xFF8000, 0.6, (2, 3))], 64)
    assert torch.allclose(matt_truth(panes.double(), facing.double()), lit, rtol=1e-3)
    assert (panes > 0).sum() <= (bare > 0).sum() and panes.max() > bare.max()


def test_the_six_surroundings_differ_and_are_fit_for_a_face() -> None:
    front = torch.tensor([[[0.0, 0.0, 1.0]]], dtype=F64)
    seen = []
    for name, draw in ENVIRONMENTS.items():
        picture = draw(32)
        assert picture.shape == (1, 3, 32, 64) and torch.isfinite(picture).all() and picture.min() >= 0
        assert torch.allclose(project_sh(draw(48)), project_sh(picture), atol=0.06)  # the size changes nothing
        lit = matt_truth(picture.double(), front)[0]
        assert 0.1 < float(luminance(lit[:, None, None])) < 1.2, name
        seen.append(lit / lit.sum())
        light = named_light(name)
        assert isinstance(light, Light) and light is named_light(name)
    assert list(ENVIRONMENTS) == ["studio", "daylight", "dramatic", "sunset", "overcast", "neon"]
    red, blue = torch.stack(seen)[:, 0], torch.stack(seen)[:, 2]
    assert red[3] - blue[3] == (red - blue)[[0, 1, 3, 4]].max()  # the sunset is the warmest of the natural ones
    with pytest.raises(ValueError, match="'disco'"):
        named_light("disco")


# ------------------------------------------------------------------------------------------------------ files


def hdr_bytes(picture: np.ndarray) -> bytes:
    """An ``.hdr`` of linear RGB ``[H, W, 3]``."""
    done, data = cv2.imencode(".hdr", np.ascontiguousarray(picture[..., ::-1], np.float32))
    assert done
    return data.tobytes()


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    picture = (noise(16, 32, 3) * 10).float().numpy()
    file = tmp_path / "room.hdr"
    file.write_bytes(hdr_bytes(picture))
    for source in (file, str(file), file.read_bytes()):
        read = read_hdr(source)
        assert read.shape == (1, 3, 16, 32) and read.dtype == torch.float32
        # A shared exponent: eight bits of the largest channel.
        largest = picture.max(axis=2, keepdims=True)
        assert (np.abs(read[0].permute(1, 2, 0).numpy() - picture) <= largest / 120).all()


def test_files_that_are_no_surroundings_are_refused_in_words(tmp_path: Path) -> None:
    good = hdr_bytes(noise(16, 32, 3).numpy())
    header = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n"
    cases = {
        "no Radiance": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "does not begin": b"",
        "header": good[:20],
        "ends without the size": header,
        "cut off": good[:-40],
        "damaged": good[: len(header) + 20] + bytes(len(good) - len(header) - 20),
        "all directions": hdr_bytes(noise(16, 16, 3).numpy()),
        "not from the top left": good.replace(b"-Y 16 +X 32", b"+X 32 -Y 16"),
    }
    for words, data in cases.items():
        with pytest.raises(FileError, match=words) as caught:
            read_hdr(data, "room.hdr")
        assert "room.hdr" in str(caught.value) and str(caught.value).rstrip().endswith(".")
    with pytest.raises(FileError, match=r"no file .*nowhere\.hdr"):
        read_hdr(tmp_path / "nowhere.hdr")
    with pytest.raises(FileError, match="could not be read"):
        read_hdr(tmp_path)


def test_a_huge_file_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    header = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n"
    for size in (b"-Y 100000 +X 200000\n", b"-Y 4097 +X 8194\n", b"-Y 999999999 +X 999999999\n"):
        with pytest.raises(FileError, match=f"at most {MAX_HDR_WIDTH} x") as caught:
            read_hdr(header + size, "huge.hdr")
        assert size.split()[1].decode() in str(caught.value)
