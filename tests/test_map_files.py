"""Maps for other programs: read back by Pillow, compared with the head's own, and turned normals with geometry."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from core import map_files as module
from core.atlas import atlas_lookup, interpolate
from core.avatar import Avatar
from core.checkpoints import ASSETS, WEIGHTS
from core.errors import FileError
from core.head import load_head
from core.map_files import HEIGHT_KEY, height_png, map_files, object_normals
from core.mesh import vertex_normals
from core.synthesis.relief import normal_map
from tests.tiny_head import make_avatar, make_detailed_materials, tiny_head


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return replace(make_avatar(tiny_head()), materials=make_detailed_materials(48))


@pytest.fixture(scope="module")
def files(avatar: Avatar) -> dict[str, bytes]:
    return map_files(tiny_head(), avatar)


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def test_every_map_is_there_to_the_last_bit(avatar: Avatar, files: dict[str, bytes]):
    maps = avatar.materials
    same = {
        "skin_base_color": maps.skin_albedo,
        "skin_base_color_lit": maps.skin_photo,
        "eye_base_color": maps.eye_albedo,
        "mouth_base_color": maps.mouth_albedo,
        "lash_base_color": maps.lash_albedo,
        "skin_roughness": maps.skin_roughness,
        "skin_specular": maps.skin_specular,
        "skin_translucency": maps.skin_translucency,
        "skin_occlusion": maps.skin_occlusion,
        "skin_specular_normal": maps.skin_normal,
        "skin_diffuse_normal": maps.skin_diffuse_normal,
    }
    for name, image in same.items():
        assert image is not None
        got = np.asarray(opened(files[f"{name}.png"])).reshape(48, 48, -1)
        assert np.array_equal(got, image.permute(1, 2, 0).numpy()), name
    heights = {"skin_displacement", "skin_wrinkles_0", "skin_wrinkles_1"}
    turned = {"skin_specular_normal_object", "skin_diffuse_normal_object"}
    assert set(files) == {f"{name}.png" for name in {*same, *heights, *turned}} | {"README.txt"}
    assert next(iter(files)) == "README.txt"


def test_heights_have_16_bits_and_say_their_scale(avatar: Avatar, files: dict[str, bytes]):
    maps = avatar.materials
    assert maps.skin_displacement is not None and maps.skin_wrinkles is not None
    layers = {"skin_displacement": maps.skin_displacement[0]}
    layers |= {f"skin_wrinkles_{i}": layer for i, layer in enumerate(maps.skin_wrinkles)}
    for name, layer in layers.items():
        picture = opened(files[f"{name}.png"])
        assert picture.mode == "I;16"
        told = json.loads(picture.info[HEIGHT_KEY])
        stored = np.asarray(picture).astype(float)
        assert np.abs((stored - told["zero"]) * told["step_mm"] - layer.numpy() * 1e-3).max() < 1e-9
        # What a program with values of 0..1 makes of it.
        assert np.abs(stored / 65535 * told["scale_mm"] + told["offset_mm"] - layer.numpy() * 1e-3).max() < 1e-6
    ends = torch.tensor([[-(1 << 15), (1 << 15) - 1], [0, 1]], dtype=torch.int16)
    assert np.array_equal(np.asarray(opened(height_png(ends))), [[0, 65535], [32768, 32769]])


def test_only_colours_have_a_colour_space(files: dict[str, bytes]):
    for name, data in files.items():
        if name.endswith(".png"):
            assert (b"sRGB" in data[:200]) == ("base_color" in name), name


def test_same_avatar_same_bytes(avatar: Avatar, files: dict[str, bytes]):
    assert map_files(tiny_head(), avatar) == files


def test_the_readme_names_every_file_and_no_other(avatar: Avatar, files: dict[str, bytes]):
    text = files["README.txt"].decode()
    listed = [word for line in text.splitlines() for word in line.split() if word.endswith(".png")]
    assert sorted(listed) == sorted(name for name in files if name != "README.txt")
    for word in ("sRGB", "Blender", "three.js", "Unreal", "65.535", "0.065535", HEIGHT_KEY, avatar.name):
        assert word in text, word
    assert max(len(line) for line in text.splitlines()) < 140 and "{" not in text


def test_a_head_without_the_new_maps(avatar: Avatar):
    plain = make_avatar(tiny_head())
    files = map_files(tiny_head(), plain)
    assert "(none)" in files["README.txt"].decode()
    assert not any("normal" in name or "displacement" in name for name in files)
    with pytest.raises(FileError, match="other"):
        map_files(tiny_head(), replace(plain, head_model="other"))


@pytest.mark.parametrize("kind", ["tiny", "bundled"])
def test_flat_normals_are_the_surface_s_own(kind: str):
    if kind == "bundled" and not (ASSETS / WEIGHTS["head"].file).is_file():
        pytest.skip("assets/head.safetensors is absent")
    head = tiny_head() if kind == "tiny" else load_head()
    flat = torch.tensor([128, 128, 255], dtype=torch.uint8)[:, None, None].expand(3, 128, 128).contiguous()
    got = object_normals(head, flat, head.template).float() / 127.5 - 1
    own = torch.nn.functional.normalize(interpolate(head, vertex_normals(head.template, head.faces), 128), dim=-1)
    cosine = (torch.nn.functional.normalize(got, dim=0) * own.permute(2, 0, 1)).sum(0)
    assert cosine[atlas_lookup(head, 128).inside].min() > np.cos(np.radians(1.5))


def test_turned_normals_are_those_of_the_displaced_surface():
    """The normals of a relief, turned, against those of the surface moved by that relief, by differences."""
    head, size = tiny_head(), 256
    y = interpolate(head, head.template, size)[..., 1]
    relief = 0.002 * torch.sin(y * 120)
    turned = object_normals(head, normal_map(head, relief), head.template).float() / 127.5 - 1
    normal = torch.nn.functional.normalize(interpolate(head, vertex_normals(head.template, head.faces), size), dim=-1)
    surface = interpolate(head, head.template, size) + relief[..., None] * normal
    across, down = surface[:, 2:] - surface[:, :-2], surface[2:] - surface[:-2]
    expected = torch.nn.functional.normalize(torch.linalg.cross(-down[:, 1:-1], across[1:-1]), dim=-1)
    expected = expected * (expected * normal[1:-1, 1:-1]).sum(-1, keepdim=True).sign()
    inside = atlas_lookup(head, size).inside
    kept = inside[1:-1, 1:-1] & inside[2:, 1:-1] & inside[:-2, 1:-1] & inside[1:-1, 2:] & inside[1:-1, :-2]
    cosine = (torch.nn.functional.normalize(turned, dim=0).permute(1, 2, 0)[1:-1, 1:-1] * expected).sum(-1)[kept]
    angle = torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))
    # The ball's faces are flat, which differences see and interpolated normals do not.
    assert angle.median() < 2.5, angle.median()
    lean = torch.rad2deg(torch.arccos((expected * normal[1:-1, 1:-1]).sum(-1)[kept].clamp(-1, 1)))
    assert lean.median() > 5


def test_large_maps_are_worked_on_in_strips(monkeypatch: pytest.MonkeyPatch):
    head = tiny_head()
    normals = make_detailed_materials(96).skin_normal
    assert normals is not None
    whole = object_normals(head, normals, head.template)
    monkeypatch.setattr(module, "STRIP_ROWS", 7)
    assert torch.equal(object_normals(head, normals, head.template), whole)
    # Frames from a coarser map, for maps that are larger: nearly the same.
    monkeypatch.setattr(module, "FRAME_SIDE", 48)
    inside = atlas_lookup(head, 96).inside
    difference = (object_normals(head, normals, head.template).int() - whole.int()).abs()[:, inside]
    assert difference.float().mean() < 2
