"""Saved heads: what goes in comes out, the same head gives the same bytes, and no file can do harm."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

import core.avatar
from core.avatar import (
    FORMAT_VERSION,
    LIKENESS_VERSION,
    MAX_FILE_BYTES,
    Avatar,
    Provenance,
    load_avatar,
    save_avatar,
)
from core.camera import Camera
from core.errors import FileError
from core.materials import Materials
from tests.tiny_head import make_avatar, tiny_head

ROOT = Path(__file__).resolve().parent.parent


def saved(avatar: Avatar) -> bytes:
    buffer = io.BytesIO()
    save_avatar(avatar, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return make_avatar(tiny_head())


@pytest.fixture(scope="module")
def data(avatar: Avatar) -> bytes:
    return saved(avatar)


def assert_same(a: Any, b: Any) -> None:
    """Equal field by field, tensors to the last bit."""
    if torch.is_tensor(a):
        assert a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, Materials | Camera | Avatar):
        for f in fields(a):
            assert_same(getattr(a, f.name), getattr(b, f.name))
    else:
        assert a == b


def test_round_trip_is_exact(avatar: Avatar, data: bytes):
    assert_same(avatar, load_avatar(data))


def test_round_trip_without_the_optional_fields(avatar: Avatar):
    bare = replace(
        avatar,
        camera=None,
        light=None,
        materials=replace(avatar.materials, skin_photo=None),
        provenance=Provenance("generated", 2**63 + 5),
        quality=replace(avatar.quality, findings=(), residuals={}),
    )
    assert_same(bare, load_avatar(saved(bare)))


def test_round_trip_of_the_latent(avatar: Avatar, data: bytes):
    latent = torch.randn(16, 512, generator=torch.Generator().manual_seed(3))
    provenance = Provenance("generated", 7, labels={"age": 61.5, "freckles": 0.0}, truncation=0.7)
    drawn = replace(avatar, latent=latent, generator="5d1c" * 4, provenance=provenance)
    assert_same(drawn, load_avatar(saved(drawn)))
    assert saved(load_avatar(saved(drawn))) == saved(drawn)
    # Stored as it is computed with, in float32, so that nothing moves by being saved.
    double = replace(drawn, latent=latent.double())
    assert saved(double) == saved(drawn) != data
    with pytest.raises(AssertionError, match="fingerprint"):
        replace(avatar, latent=latent)


def test_files_of_version_1_are_heads_without_a_latent(avatar: Avatar, data: bytes):
    def to_version_1(document: dict[str, Any]) -> None:
        document["format_version"] = 1
        del document["generator"], document["provenance"]["labels"], document["provenance"]["truncation"]

    assert_same(avatar, load_avatar(with_json(data, to_version_1)))
    # A latent that its version does not know is not taken on trust.
    odd = with_json(
        with_tensors(data, lambda t: t.update(latent=np.ones((2, 3), np.float32))),
        lambda d: (to_version_1(d), d.update(generator="x")),
    )
    assert_same(avatar, load_avatar(odd))


def with_all_maps(avatar: Avatar, side: int = 32) -> Avatar:
    """How skin takes light and how it is shaped, at sizes of their own, heights to both ends of their range."""
    generator = torch.Generator().manual_seed(5)

    def noise(channels: int, size: int) -> torch.Tensor:
        return torch.randint(0, 256, (channels, size, size), dtype=torch.uint8, generator=generator)

    def heights(layers: int, size: int) -> torch.Tensor:
        values = torch.randint(-(1 << 15), 1 << 15, (layers, size, size), dtype=torch.int16, generator=generator)
        values[:, 0, :3] = torch.tensor([-(1 << 15), 0, (1 << 15) - 1], dtype=torch.int16)
        return values

    return replace(
        avatar,
        materials=replace(
            avatar.materials,
            skin_normal=noise(3, side),
            skin_diffuse_normal=noise(3, side),
            skin_specular=noise(1, side),
            skin_translucency=noise(1, side // 4),
            skin_occlusion=noise(1, side // 2),
            skin_displacement=heights(1, side * 2),
            skin_wrinkles=heights(2, side // 2),
        ),
    )


@pytest.fixture(scope="module")
def full(avatar: Avatar) -> bytes:
    return saved(with_all_maps(avatar))


def test_round_trip_of_every_map(avatar: Avatar, full: bytes):
    assert all(image is not None for image in vars(with_all_maps(avatar).materials).values())
    assert_same(with_all_maps(avatar), load_avatar(full))
    assert saved(load_avatar(full)) == full
    for name in ("skin_normal", "skin_specular", "skin_displacement", "skin_wrinkles"):
        one = replace(avatar, materials=replace(avatar.materials, **{name: vars(load_avatar(full).materials)[name]}))
        assert_same(one, load_avatar(saved(one)))


def test_heights_are_stored_as_16_bit_pictures(avatar: Avatar, full: bytes):
    maps = with_all_maps(avatar).materials
    assert maps.skin_displacement is not None and maps.skin_wrinkles is not None
    layers = {"skin_displacement": maps.skin_displacement[0]}
    layers |= {f"skin_wrinkles_{i}": layer for i, layer in enumerate(maps.skin_wrinkles)}
    with zipfile.ZipFile(io.BytesIO(full)) as archive:
        for name, layer in layers.items():
            picture = Image.open(io.BytesIO(archive.read(f"{name}.png")))
            assert picture.mode == "I;16"
            assert np.array_equal(np.asarray(picture).astype(int) - 32768, layer.numpy())


def test_a_displacement_of_4096_texels_fits(avatar: Avatar):
    """The roughest there can be: noise, which no PNG makes smaller."""
    noise = torch.randint(-(1 << 15), 1 << 15, (1, 4096, 4096), dtype=torch.int16)
    assert_same(large := replace(avatar, materials=replace(avatar.materials, skin_displacement=noise)),
                load_avatar(data := saved(large)))  # fmt: skip
    assert len(data) < MAX_FILE_BYTES / 4


def test_files_of_version_2_are_heads_without_relief(avatar: Avatar, data: bytes, full: bytes):
    for version in (1, 2):
        assert_same(avatar, load_avatar(with_json(data, lambda d, v=version: d.update(format_version=v))))
        refuses(
            with_json(full, lambda d, v=version: d.update(format_version=v)), f"file format {version} does not have"
        )


def test_round_trip_through_a_path(avatar: Avatar, data: bytes, tmp_path: Path):
    path = tmp_path / "ada.likeness"
    save_avatar(avatar, path)
    assert path.read_bytes() == data
    assert_same(avatar, load_avatar(path))
    assert_same(avatar, load_avatar(str(path)))
    assert [p.name for p in tmp_path.iterdir()] == ["ada.likeness"], "no temporary file stays behind"
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600


def test_same_avatar_same_bytes_whatever_the_clock_says(avatar: Avatar, data: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("time.time", lambda: 4e9)
    later = replace(avatar, provenance=replace(avatar.provenance, seconds={"fit": 3.0, "texture": 9.0}))
    assert saved(later) == data
    # The order in which dictionaries were filled does not matter either.
    both, swapped = ({"age": 1.0, "gender": 2.0}, {"gender": 2.0, "age": 1.0})
    a, b = (saved(replace(avatar, provenance=replace(avatar.provenance, attributes=x))) for x in (both, swapped))
    assert a == b
    assert saved(load_avatar(data)) == data, "saving what was loaded changes nothing"


def test_seconds_are_not_saved(data: bytes):
    assert load_avatar(data).provenance.seconds == {}
    assert b"seconds" not in data


def test_it_is_an_ordinary_archive_of_ordinary_files(avatar: Avatar, data: bytes):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("avatar.json"))["name"] == "Ada Löwe"
        skin = np.asarray(Image.open(io.BytesIO(archive.read("skin_albedo.png"))))
        assert np.array_equal(load_tensors(archive.read("parameters.safetensors"))["shape"], avatar.shape.numpy())
    assert np.array_equal(skin, avatar.materials.skin_albedo.permute(1, 2, 0).numpy()), "row 0 is the top"


def test_parameters(avatar: Avatar):
    fitted, neutral = avatar.parameters(), avatar.parameters("neutral")
    assert torch.equal(fitted.expression[0], avatar.expression) and fitted.shape.shape[0] == 1
    assert torch.equal(neutral.shape, fitted.shape)
    assert not neutral.expression.any() and not neutral.joint_rotations.any()


def test_check_fits(avatar: Avatar):
    avatar.check_fits(tiny_head())
    with pytest.raises(FileError, match=r"'other'.*'tiny'"):
        replace(avatar, head_model="other").check_fits(tiny_head())
    with pytest.raises(FileError, match="joints"):
        replace(avatar, joint_rotations=torch.zeros(2, 3)).check_fits(tiny_head())


def test_version_is_the_package_s():
    assert f'version = "{LIKENESS_VERSION}"' in (ROOT / "pyproject.toml").read_text()


# -- Files that were not made by us, or did not stay as they were --------------------------------


def refuses(data: bytes, *words: str) -> None:
    """A FileError in sentences that name these words; nothing else may escape."""
    with pytest.raises(FileError) as caught:
        load_avatar(data)
    message = str(caught.value)
    assert message.endswith(".") and message.count(". ") >= 1, message
    for word in words:
        assert word in message, message


Edit = Callable[[dict[str, bytes]], None]


def edited(data: bytes, edit: Edit, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The archive again with its entries changed; every checksum is right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    edit(entries)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_json(data: bytes, edit: Callable[[dict[str, Any]], Any]) -> bytes:
    def change(entries: dict[str, bytes]) -> None:
        document = json.loads(entries["avatar.json"])
        edit(document)
        entries["avatar.json"] = json.dumps(document).encode()

    return edited(data, change)


def with_tensors(data: bytes, edit: Callable[[dict[str, np.ndarray]], Any]) -> bytes:
    def change(entries: dict[str, bytes]) -> None:
        tensors = dict(load_tensors(entries["parameters.safetensors"]))
        edit(tensors)
        entries["parameters.safetensors"] = save_tensors(tensors)

    return edited(data, change)


def test_the_editing_helpers_change_nothing_by_themselves(avatar: Avatar, data: bytes):
    assert_same(avatar, load_avatar(with_json(with_tensors(data, lambda t: None), lambda d: None)))


def test_missing_file(tmp_path: Path):
    with pytest.raises(FileError, match=r"gone\.likeness.*could not be read"):
        load_avatar(tmp_path / "gone.likeness")
    with pytest.raises(FileError, match="could not be read"):
        load_avatar(tmp_path)


def test_unwritable_target(avatar: Avatar, tmp_path: Path):
    with pytest.raises(FileError, match="could not be written"):
        save_avatar(avatar, tmp_path / "no" / "such" / "folder" / "x.likeness")


def test_failed_write_keeps_the_old_file(avatar: Avatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "ada.likeness"
    path.write_bytes(b"old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FileError, match="No space left"):
        save_avatar(avatar, path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_foreign_files():
    refuses(b"", "empty")
    refuses(b"\xff\xd8\xff\xe0 a photo", "not a saved head")
    refuses(b"PK\x03\x04 not really", "archive is broken")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    refuses(buffer.getvalue(), "not a saved head", "word/document.xml")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\x.png", "skin_albedo.png/../../x", "a.pkl"])
def test_names_that_climb_out(data: bytes, name: str):
    refuses(edited(data, lambda entries: entries.update({name: b"x"})), "does not belong")


def test_truncated_anywhere(data: bytes):
    for length in (*range(0, 64), *range(64, len(data), 97), *range(len(data) - 64, len(data))):
        refuses(data[:length])


@pytest.mark.parametrize("directory_only", [False, True])
def test_a_flipped_byte_is_noticed_or_harmless(avatar: Avatar, data: bytes, directory_only: bool):
    """Contents carry checksums; a flip in an unused header field may pass, but then the head is unchanged."""
    rng = np.random.default_rng(0)
    # The structure is in the directory at the end.
    start = data.index(b"PK\x01\x02") if directory_only else 0
    noticed = 0
    for position, flip in zip(rng.integers(start, len(data), 400), rng.integers(1, 256, 400), strict=True):
        broken = bytearray(data)
        broken[position] ^= int(flip)
        try:
            loaded = load_avatar(bytes(broken))
        except FileError:
            noticed += 1
        else:
            assert_same(avatar, loaded)
    assert noticed > 100


def test_zip_bomb(data: bytes):
    bomb = edited(data, lambda e: e.update({"skin_photo.png": bytes(50 * 2**20)}), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**20
    refuses(bomb, "compressed")


def test_overlapping_entries(data: bytes):
    """Two directory records that point at the same bytes: the other kind of zip bomb."""
    end = data.rindex(b"PK\x05\x06")
    start = struct.unpack_from("<I", data, end + 16)[0]
    directory = bytearray(data[start:end])
    # The record of skin_photo.png is renamed to skin_normal.png and added again.
    where = directory.index(b"skin_photo.png") - 46
    length = 46 + struct.unpack_from("<H", directory, where + 28)[0]
    twin = bytearray(directory[where : where + length]).replace(b"skin_photo.png", b"eye_albedo.png")
    tail = bytearray(data[end:])
    count = struct.unpack_from("<H", tail, 8)[0] + 1
    struct.pack_into("<HHI", tail, 8, count, count, len(directory) + len(twin))
    refuses(data[:start] + bytes(directory + twin) + bytes(tail), "twice")


def test_a_png_bomb(data: bytes):
    """A header that promises 60,000 x 60,000 pixels is refused before a pixel is unpacked."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side in (60_000, 5_000):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        refuses(edited(data, lambda e, png=png: e.update({"skin_albedo.png": png})), "skin_albedo.png")


def test_too_large(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "huge.likeness"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(FileError, match="too large"):
        load_avatar(path)
    monkeypatch.setattr(core.avatar, "MAX_FILE_BYTES", len(data) - 1)
    refuses(data, "too large")
    monkeypatch.undo()
    refuses(edited(data, lambda e: e.update({"avatar.json": b" " * 2**21})), "too large")
    refuses(edited(data, lambda e: e.update({"parameters.safetensors": b" " * 2**23})), "too large")


@pytest.mark.parametrize("entry", ["avatar.json", "parameters.safetensors", "skin_albedo.png", "lash_albedo.png"])
def test_missing_or_scrambled_entry(data: bytes, entry: str):
    refuses(edited(data, lambda e: e.pop(entry)), "lacks", entry)
    refuses(edited(data, lambda e: e.update({entry: b"nonsense"})), entry)
    refuses(edited(data, lambda e: e.pop("skin_photo.png")), "skin_photo")
    refuses(edited(data, lambda e: e.update({entry: b""})), entry)


def test_wrong_pictures(data: bytes):
    def png(mode: str, size: tuple[int, int], kind: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.new(mode, size).save(buffer, kind)
        return buffer.getvalue()

    refuses(edited(data, lambda e: e.update({"skin_albedo.png": png("RGB", (8, 9))})), "8 x 9")
    refuses(edited(data, lambda e: e.update({"skin_albedo.png": png("RGBA", (32, 32))})), "RGBA")
    refuses(edited(data, lambda e: e.update({"skin_albedo.png": png("RGB", (32, 32), "JPEG")})), "broken")
    refuses(edited(data, lambda e: e.update({"skin_photo.png": png("RGB", (16, 16))})), "differ in size")


def test_wrong_reflectance_and_relief(full: bytes):
    def png(array: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG")
        return buffer.getvalue()

    def deep_rgb(side: int) -> bytes:
        """Three channels of 16 bits, which Pillow would round to 8 in silence."""
        rows = b"".join(b"\0" + bytes(6 * side) for _ in range(side))
        parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
        chunks = [*parts, (b"IEND", b"")]
        packed = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
        return b"\x89PNG\r\n\x1a\n" + b"".join(packed)

    grey, deep = np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint16)
    colour = np.zeros((16, 16, 3), np.uint8)
    wrong = {
        "skin_displacement.png": [
            (grey, "mode L with 8 bits"),
            (colour, "RGB"),
            (np.zeros((8, 16), np.uint16), "16 x"),
        ],
        "skin_wrinkles_1.png": [(grey, "mode L"), (np.zeros((8, 8), np.uint16), "differ in size")],
        "skin_specular.png": [(deep, "I;16 with 16 bits"), (colour, "RGB")],
        "skin_translucency.png": [(deep, "I;16"), (colour, "RGB")],
        "skin_occlusion.png": [(deep, "I;16"), (np.zeros((8, 9), np.uint8), "9 x 8")],
        "skin_diffuse_normal.png": [
            (grey, "mode L"),
            (deep, "I;16"),
            (deep_rgb(16), "RGB with 16 bits"),
            (colour, "differ"),
        ],
        "skin_albedo.png": [(deep_rgb(32), "with 16 bits")],
    }
    for entry, cases in wrong.items():
        for content, word in cases:
            picture = content if isinstance(content, bytes) else png(content)
            refuses(edited(full, lambda e, x=(entry, picture): e.update([x])), entry, word)
        refuses(edited(full, lambda e, entry=entry: e.update({entry: e[entry][:-30]})), entry)
        refuses(edited(full, lambda e, entry=entry: e.pop(entry)), entry.removesuffix(".png").removesuffix("_1"))
    refuses(edited(full, lambda e: e.update({"skin_wrinkles_2.png": png(deep)})), "does not belong")
    refuses(edited(full, lambda e: e.update({"skin_wrinkles.png": png(deep)})), "does not belong")


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (lambda d: d.update(format="glTF"), "Likeness head"),
        (lambda d: d.update(format_version=FORMAT_VERSION + 1), "newer version"),
        (lambda d: d.update(format_version="1"), "format_version"),
        (lambda d: d.update(format_version=True), "format_version"),
        (lambda d: d.pop("name"), "name"),
        (lambda d: d.update(name=5), "name"),
        (lambda d: d.update(name="x" * 5000), "name"),
        (lambda d: d.update(provenance=[]), "provenance"),
        (lambda d: d["provenance"].update(source="magic"), "photo, generated"),
        (lambda d: d["provenance"].update(attributes={"age": "old"}), "age"),
        (lambda d: d["provenance"].update(attributes={str(i): 0 for i in range(999)}), "attributes"),
        (lambda d: d["provenance"].update(seed=1e99), "seed"),
        (lambda d: d["provenance"].update(labels={"age": "old"}), "age"),
        (lambda d: d["provenance"].pop("labels"), "labels"),
        (lambda d: d["provenance"].update(truncation=-1), "truncation"),
        (lambda d: d["provenance"].update(truncation=True), "truncation"),
        (lambda d: d.update(generator="x"), "latent"),
        (lambda d: d["quality"].update(confidence=1.5), "confidence"),
        (lambda d: d["quality"].update(findings={}), "findings"),
        (lambda d: d["quality"]["findings"][0].update(severity="fatal"), "severity"),
        (lambda d: d["quality"]["residuals"].update(landmarks_px=float("nan")), "NaN"),
        (lambda d: d["quality"]["residuals"].update(landmarks_px=float("inf")), "Infinity"),
        (lambda d: d["camera"].update(height=-3), "height"),
        (lambda d: d.update(camera=3), "camera"),
    ],
)
def test_wrong_values_in_the_document(data: bytes, edit: Callable[[dict[str, Any]], Any], word: str):
    refuses(with_json(data, edit), word)


def test_json_that_is_not_an_object_or_endless(data: bytes):
    for text in (b"[]", b"null", b"[" * 200_000, b'{"a":' * 100_000, b"\xff\xfe", b'{"format_version": 1e999}'):
        refuses(edited(data, lambda e, text=text: e.update({"avatar.json": text})), "avatar.json")
    digits = b'{"format": "likeness", "format_version": ' + b"9" * 5000 + b"}"
    refuses(edited(data, lambda e: e.update({"avatar.json": digits})), "avatar.json")


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (lambda t: t.update(shape=t["shape"] * np.float32("nan")), "finite"),
        (lambda t: t.update(light=t["light"] + np.float32("inf")), "finite"),
        (lambda t: t.update(shape=t["shape"][None]), "shape"),
        (lambda t: t.update(shape=t["shape"][:0]), "shape"),
        (lambda t: t.update(shape=t["shape"].astype(np.float64)), "float32"),
        (lambda t: t.update(shape=np.zeros(5000, np.float32)), "shape"),
        (lambda t: t.update(joint_rotations=np.zeros((6, 4), np.float32)), "joint_rotations"),
        (lambda t: t.update(light=np.zeros((3, 9), np.float32)), "light"),
        (lambda t: t.pop("expression"), "expression"),
        (lambda t: t.pop("camera.focal_px"), "camera.focal_px"),
        (lambda t: t.update({"camera.focal_px": np.zeros(1, np.float32)}), "focal length"),
        (lambda t: t.update({"camera.T_camera_head": np.zeros((1, 4, 4), np.float32)}), "rotation"),
        (lambda t: t.update({"camera.T_camera_head": np.diag([-1, 1, 1, 1]).astype(np.float32)[None]}), "rotation"),
    ],
)
def test_wrong_numbers(data: bytes, edit: Callable[[dict[str, np.ndarray]], Any], word: str):
    refuses(with_tensors(data, edit), word)


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (lambda t: t.update(latent=t["latent"] * np.float32("nan")), "finite"),
        (lambda t: t.update(latent=t["latent"].astype(np.float16)), "float32"),
        (lambda t: t.update(latent=t["latent"][0]), "any x any"),
        (lambda t: t.update(latent=t["latent"][:, :0]), "any x any"),
        (lambda t: t.update(latent=np.zeros((18, 1024), np.float32)), "latent"),
        (lambda t: t.pop("latent"), "generator"),
    ],
)
def test_wrong_latents(avatar: Avatar, edit: Callable[[dict[str, np.ndarray]], Any], word: str):
    with_latent = saved(replace(avatar, latent=torch.ones(4, 8), generator="a"))
    refuses(with_tensors(with_latent, edit), word)


def test_wrong_generators(avatar: Avatar):
    with_latent = saved(replace(avatar, latent=torch.ones(4, 8), generator="a"))
    for name in (5, "x" * 5000, ["a"]):
        refuses(with_json(with_latent, lambda d, name=name: d.update(generator=name)), "generator")
    refuses(with_json(with_latent, lambda d: d.update(generator=None)), "latent")


def test_a_head_that_could_not_be_read_back_is_not_saved(avatar: Avatar):
    with pytest.raises(FileError, match="finite"):
        saved(replace(avatar, shape=avatar.shape * float("nan")))
    with pytest.raises(FileError, match="finite"):
        saved(replace(avatar, quality=replace(avatar.quality, residuals={"landmarks_px": float("nan")})))
