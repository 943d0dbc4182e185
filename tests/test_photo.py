"""Photos: every file that holds one gives the same pixels; everything else gives one sentence."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageCms

from core import photo as photo_module
from core.camera import focal_from_equivalent_mm
from core.errors import PhotoError
from core.photo import MAX_SIDE_PX, load_photo

ASTRONAUT = skimage.data.astronaut()


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def astronaut() -> Image.Image:
    return Image.fromarray(ASTRONAUT)


def mean_difference(pixels: np.ndarray, reference: np.ndarray) -> float:
    assert pixels.shape == reference.shape
    return float(np.abs(pixels.astype(float) - reference.astype(float)).mean())


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM", "TGA"])
def test_lossless_files_give_exactly_their_pixels(kind):
    photo = load_photo(encoded(astronaut(), kind))
    assert np.array_equal(photo.pixels, ASTRONAUT)
    assert (photo.width, photo.height) == (512, 512)
    assert photo.focal_px is None and photo.notes == ()


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95})])
def test_lossy_files_are_within_their_own_loss(kind, options):
    assert mean_difference(load_photo(encoded(astronaut(), kind, **options)).pixels, ASTRONAUT) < 2.5


def test_every_kind_of_source_gives_the_same_photo(tmp_path):
    data = encoded(astronaut(), "PNG")
    path = tmp_path / "me.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        from_file = load_photo(file)
    photos = [load_photo(path), load_photo(str(path)), load_photo(data), from_file, load_photo(astronaut())]
    photos.append(load_photo(ASTRONAUT))
    for photo in photos:
        assert np.array_equal(photo.pixels, ASTRONAUT)
    assert photos[0].name == photos[3].name == "me.png"
    assert load_photo(data, name="upload.png").name == "upload.png"


def test_pixels_are_read_only_and_do_not_alias_the_source():
    source = ASTRONAUT.copy()
    photo = load_photo(source)
    source[:] = 0
    assert np.array_equal(photo.pixels, ASTRONAUT)
    with pytest.raises(ValueError):
        photo.pixels[0, 0] = 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    picture = astronaut().crop((0, 0, 400, 512))
    stored = {
        1: picture,
        2: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: picture.transpose(Image.Transpose.ROTATE_180),
        4: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: picture.transpose(Image.Transpose.TRANSPOSE),
        6: picture.transpose(Image.Transpose.ROTATE_90),
        7: picture.transpose(Image.Transpose.TRANSVERSE),
        8: picture.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(load_photo(encoded(stored, "PNG", exif=exif)).pixels, np.asarray(picture))


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGBA", "CMYK", "I;16", "I", "F", "LAB", "YCbCr", "HSV"])
def test_every_mode_is_read(mode):
    image = astronaut()
    grey = np.asarray(image.convert("L"))
    reference = np.repeat(grey[..., None], 3, 2)
    if mode == "I;16":
        source = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode in ("I", "F"):
        source = Image.fromarray(grey.astype(np.int32) * 257 if mode == "I" else grey.astype(np.float32) / 255)
    elif mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        source, reference = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB"), ASTRONAUT
        assert source is not None
    else:
        source = image.convert(mode)
        reference = reference if mode in ("L", "LA") else np.asarray(source.convert("RGB"))
    photo = load_photo(encoded(source, "TIFF") if mode not in ("P", "HSV", "YCbCr") else source)
    assert mean_difference(photo.pixels, reference) < (3.0 if mode == "LAB" else 0.6)


def test_16_bit_png_keeps_its_full_range():
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    photo = load_photo(encoded(Image.fromarray(grey), "PNG"))
    assert np.abs(photo.pixels[..., 0] - grey / 257.0).max() <= 0.5
    assert np.array_equal(photo.pixels, load_photo(grey).pixels)


def test_floating_point_with_gaps_is_read_without_a_warning():
    values = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    values[0, :4] = [np.nan, np.inf, -np.inf, -1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photo = load_photo(values)
    assert (photo.pixels[0, :4] == 0).all() and photo.pixels.max() == 255


def test_transparency_is_filled_with_grey_and_said():
    image = astronaut().convert("RGBA")
    alpha = np.full((512, 512), 255, np.uint8)
    alpha[:, :100] = 0
    image.putalpha(Image.fromarray(alpha))
    photo = load_photo(encoded(image, "PNG"))
    assert (photo.pixels[:, :100] == photo_module.BACKGROUND_GREY).all()
    assert np.array_equal(photo.pixels[:, 100:], ASTRONAUT[:, 100:])
    assert "Transparent" in photo.notes[0]
    palette = astronaut().quantize(64)
    photo = load_photo(encoded(palette, "PNG", transparency=0))
    hidden = np.asarray(palette) == 0
    assert (photo.pixels[hidden] == photo_module.BACKGROUND_GREY).all()


def test_an_embedded_profile_is_converted_to_srgb():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(load_photo(encoded(astronaut(), "PNG", icc_profile=srgb)).pixels, ASTRONAUT)
    damaged = load_photo(encoded(astronaut(), "PNG", icc_profile=srgb[:60]))
    assert np.array_equal(damaged.pixels, ASTRONAUT)
    assert "colour profile" in damaged.notes[0]
    # sRGB with red and blue primaries exchanged: a picture under it has its channels exchanged in sRGB.
    swapped = bytearray(srgb)
    count = struct.unpack(">I", srgb[128:132])[0]
    entries = {srgb[132 + 12 * i : 136 + 12 * i]: 132 + 12 * i for i in range(count)}
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    swapped[red + 4 : red + 12], swapped[blue + 4 : blue + 12] = srgb[blue + 4 : blue + 12], srgb[red + 4 : red + 12]
    description = entries[b"desc"]
    offset, length = struct.unpack(">II", srgb[description + 4 : description + 12])
    swapped[offset : offset + length] = bytes(swapped[offset : offset + length]).replace(b"s\0R\0G\0B", b"S\0w\0a\0p")
    converted = load_photo(encoded(astronaut(), "PNG", icc_profile=bytes(swapped)))
    assert mean_difference(converted.pixels, ASTRONAUT[..., ::-1]) < 1.0


def test_a_large_photo_is_reduced_and_its_focal_length_with_it():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    large = astronaut().resize((6000, 4500))
    photo = load_photo(encoded(large, "JPEG", exif=exif))
    assert (photo.width, photo.height) == (MAX_SIDE_PX, MAX_SIDE_PX * 3 // 4)
    assert photo.focal_px == pytest.approx(focal_from_equivalent_mm(28.0, photo.height, photo.width), rel=1e-6)
    reference = astronaut().resize((photo.width, photo.height))
    assert mean_difference(photo.pixels, np.asarray(reference)) < 2


def test_a_very_wide_jpeg_is_accepted_and_a_huge_png_is_not():
    wide = load_photo(encoded(Image.new("L", (30000, 3000), 90), "JPEG"))
    assert (wide.width, wide.height) == (MAX_SIDE_PX, round(MAX_SIDE_PX / 10))
    with pytest.raises(PhotoError, match="megapixels"):
        load_photo(bomb_png(30000, 30000))


def bomb_png(width: int, height: int) -> bytes:
    """A small file that claims to be a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def exif_with(**fields) -> Image.Exif:
    exif = Image.Exif()
    names = {"equivalent": 0xA405, "focal": 0x920A, "plane": 0xA20E, "unit": 0xA210, "width": 0xA002, "height": 0xA003}
    for name, value in fields.items():
        exif.get_ifd(0x8769)[names[name]] = value
    return exif


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"equivalent": 26}, 26 / 43.2666 * np.hypot(512, 512)),
        # 50 mm before a sensor 36 mm wide and high that took 5,000 x 5,000 pixels.
        ({"focal": 50.0, "plane": 5000 / 3.6, "unit": 3, "width": 5000, "height": 5000}, 50 / 36 * 512),
        ({"focal": 50.0, "plane": 5000 / 3.6, "unit": 3}, None),
        # An editor reduced the picture and kept the sensor's resolution.
        ({"focal": 50.0, "plane": 5000 / 3.6, "unit": 3, "width": 512, "height": 512}, None),
        ({"equivalent": 26, "width": 4000, "height": 3000}, None),
        ({"equivalent": 0}, None),
        ({"equivalent": 60000}, None),
        ({}, None),
    ],
)
def test_focal_length_comes_from_exif_where_it_can_be_right(fields, expected):
    photo = load_photo(encoded(astronaut(), "JPEG", exif=exif_with(**fields)))
    assert photo.focal_px == (None if expected is None else pytest.approx(expected, rel=1e-4))


def test_animations_give_their_first_frame_and_say_so():
    frames = [astronaut(), astronaut().transpose(Image.Transpose.ROTATE_90)]
    for kind in ("GIF", "PNG", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
        photo = load_photo(data)
        assert mean_difference(photo.pixels, ASTRONAUT) < 12  # GIF has 256 colours
        assert "2 frames" in photo.notes[0]


def test_mpo_of_a_stereo_or_portrait_camera_is_read_like_a_jpeg():
    data = encoded(astronaut(), "MPO", save_all=True, append_images=[astronaut().rotate(90)])
    photo = load_photo(data)
    assert mean_difference(photo.pixels, ASTRONAUT) < 6 and photo.notes == ()


def test_heic_is_read_where_its_reader_is_installed_and_named_where_not(monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    heif = pillow_heif.from_pillow(astronaut())
    buffer = io.BytesIO()
    heif.save(buffer, quality=95)
    assert mean_difference(load_photo(buffer.getvalue()).pixels, ASTRONAUT) < 3
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r"HEIC.*pip install pillow-heif"):
        load_photo(buffer.getvalue())


def test_a_wrong_extension_is_read_and_said(tmp_path):
    path = tmp_path / "me.jpg"
    path.write_bytes(encoded(astronaut(), "PNG"))
    photo = load_photo(path)
    assert np.array_equal(photo.pixels, ASTRONAUT)
    assert photo.notes == ("The file is named .jpg but holds a PNG picture, which was read as such.",)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"hello, this is no picture", "not a photo"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\xef\xbb\xbf<svg/>", "SVG"),
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"PK\x03\x04 and so on", "zip"),
        (b"glTF\x02\0\0\0", "GLB"),
        (b"\0\0\0\x20ftypisom\0\0\0\0", "video"),
        (bomb_png(64, 64), "damaged"),
        (encoded(astronaut(), "PNG")[:20000], "damaged"),
        (encoded(astronaut(), "JPEG")[:9000], "damaged"),
        (encoded(astronaut(), "WEBP")[:9000], "damaged"),
        (encoded(astronaut(), "GIF")[:9000], "damaged"),
        (encoded(Image.new("RGB", (8, 300)), "PNG"), "8 x 300 pixels"),
    ],
)
def test_what_is_no_photo_gives_one_sentence(data, words, capfd):
    with warnings.catch_warnings(), pytest.raises(PhotoError) as raised:
        warnings.simplefilter("error")
        load_photo(data, name="picture")
    sentence = str(raised.value)
    assert words in sentence and sentence.startswith("picture") and sentence.endswith(".")
    assert capfd.readouterr() == ("", "")


def test_paths_that_hold_no_file_give_one_sentence(tmp_path):
    for path, words in [(tmp_path, "folder"), (tmp_path / "no.jpg", "There is no file"), ("a\0b", "could not be read")]:
        with pytest.raises(PhotoError, match=words):
            load_photo(path)
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    with pytest.raises(PhotoError, match="ordinary file"):
        load_photo(pipe)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_gives_one_sentence(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(astronaut(), "PNG"))
    path.chmod(0)
    with pytest.raises(PhotoError, match="permission denied"):
        load_photo(path)


@pytest.mark.parametrize("shape", [(0, 5), (5,), (64, 64, 2), (2, 64, 64, 3)])
def test_arrays_that_are_no_picture_give_one_sentence(shape):
    with pytest.raises(PhotoError, match="shape"):
        load_photo(np.zeros(shape, np.uint8))
    with pytest.raises(PhotoError, match="Integers or floating-point"):
        load_photo(np.zeros((64, 64), dtype=complex))


@hypothesis.given(
    st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=12),
    st.floats(0, 1),
)
@hypothesis.settings(max_examples=80)
def test_damaged_files_are_read_or_refused_but_never_crash(kind, damage, length):
    data = bytearray(DAMAGED[kind][: max(1, int(len(DAMAGED[kind]) * (0.3 + 0.7 * length)))])
    for where, value in damage:
        data[int(where * (len(data) - 1))] = value
    try:
        photo = load_photo(bytes(data))
    except PhotoError:
        return
    assert photo.pixels.dtype == np.uint8 and photo.pixels.ndim == 3 and photo.pixels.shape[2] == 3


DAMAGED = {
    kind: encoded(Image.fromarray(ASTRONAUT[:96, :96]), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")
}


def test_pillows_own_limit_is_left_as_it_was():
    before = Image.MAX_IMAGE_PIXELS
    load_photo(ASTRONAUT)
    with pytest.raises(PhotoError):
        load_photo(bomb_png(60000, 60000))
    assert before == Image.MAX_IMAGE_PIXELS


def test_real_photos_are_read(shared_data: Path):
    for path in sorted((shared_data / "photos").iterdir()):
        photo = load_photo(path)
        assert min(photo.pixels.shape[:2]) >= 200 and photo.name == path.name
