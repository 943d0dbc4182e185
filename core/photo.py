"""Photos: whatever a person uploads becomes upright 8-bit sRGB pixels, or one clear sentence.

The file decides what it is by its content, never by its name. Everything a camera or an editor may have
done to it is undone here, once: EXIF orientation, embedded colour profiles, transparency, palettes, CMYK,
16-bit and floating-point samples. Nothing after this module meets any of that.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageCms, ImageOps

from core.camera import focal_from_equivalent_mm
from core.errors import PhotoError

# A larger photo is reduced to this longest side: 12 to 17 megapixels, what a phone takes, and at most 50 MB of
# pixels. A face that fills it still has twice the texels of the 2048 px skin map.
MAX_SIDE_PX = 4096

# Limits that hold before anything is decoded. A baseline JPEG is reduced by up to 8 while it is decoded, so only the
# reduced picture is ever in memory; every other format (progressive JPEG too, which libjpeg buffers whole) is decoded
# at full size, 4 to 6 bytes per pixel.
MAX_DECODED_MEGAPIXELS = 120
MAX_BASELINE_JPEG_MEGAPIXELS = 1000
MAX_FILE_MB = 256
MIN_SIDE_PX = 32

# Transparent parts are filled with this sRGB grey: neither a dark nor a light edge around a cut-out head.
BACKGROUND_GREY = 128

# Raster formats that photos come in. Left out on purpose: formats whose Pillow plugin runs another program (EPS) or
# that hold no photos (icons' cursors, window metafiles, scientific containers).
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "TGA", "ICO", "JPEG2000", "AVIF", "HEIF")

# How the formats are named to people, where their Pillow name would puzzle.
_FORMAT_NAMES = {"MPO": "JPEG", "DIB": "BMP", "HEIF": "HEIC", "JPEG2000": "JPEG 2000", "PPM": "PNM", "WEBP": "WebP"}

# Pillow's guards and warnings are process-wide state. Photos are therefore read one at a time, which also bounds the
# memory that decoding takes at its peak.
_reading = threading.Lock()


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright photo.

    pixels: ``[H, W, 3]`` uint8 sRGB, at most `MAX_SIDE_PX` on its longest side. focal_px: the focal length that the
    camera wrote into the file, in pixels of *this* picture (None where it wrote none, or none that can be right).
    name: short name of the source for messages and files. notes: full sentences about what was done to the file
    that its owner may want to know; empty for an ordinary photo.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    focal_px: float | None
    name: str
    notes: tuple[str, ...]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Pixels."""
        return self.pixels.shape[1]


def load_photo(source: str | Path | bytes | IO[bytes] | Image.Image | np.ndarray, name: str | None = None) -> Photo:
    """Read a photo from a file, its bytes, an open binary file, a Pillow image or an array.

    Arrays are ``[H, W]``, ``[H, W, 1]``, ``[H, W, 3]`` or ``[H, W, 4]`` in RGB order: uint8, uint16 (full range), bool,
    or floating point in 0..1, display-encoded. `name` replaces the source's own name.

    Raises `PhotoError` for everything that is not a usable photo; it is the only exception that leaves this function
    for bad input.
    """
    label = name or _source_name(source)
    with _reading, warnings.catch_warnings():
        # Pillow warns of large pictures, damaged EXIF and odd palettes; the limits above and the notes say it better.
        warnings.simplefilter("ignore")
        if isinstance(source, np.ndarray):
            return _from_image(_image_from_array(source, label), label, [])
        if isinstance(source, Image.Image):
            return _from_image(source, label, [])
        data = _read_bytes(source, label)
        notes: list[str] = []
        with _open_image(data, label) as image:
            _check_size(image, label)
            _note_extension(image, label if name is None else _source_name(source), notes)
            return _from_image(image, label, notes)


def _source_name(source: Any) -> str:
    if isinstance(source, str | Path):
        return Path(source).name or str(source)
    for attribute in ("name", "filename"):
        value = getattr(source, attribute, None)
        if isinstance(value, str) and value:
            return Path(value).name
    return "photo"


def _read_bytes(source: str | Path | bytes | IO[bytes], label: str) -> bytes:
    limit = MAX_FILE_MB * 1024 * 1024
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif isinstance(source, str | Path):
        try:
            mode = os.stat(source).st_mode
            if stat.S_ISDIR(mode):
                raise PhotoError(f"{label} is a folder. A photo file was expected; name one of the files in it.")
            if not stat.S_ISREG(mode):
                raise PhotoError(
                    f"{label} is not an ordinary file. A photo file was expected; save the photo to disk first."
                )
            with open(source, "rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError as error:
            raise PhotoError(f"There is no file {source}. Check its name and folder.") from error
        except PermissionError as error:
            raise PhotoError(
                f"{label} may not be read (permission denied). Allow reading it, or copy it elsewhere."
            ) from error
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise PhotoError(
                f"{label} could not be read ({error}). Check the name, or copy the photo elsewhere."
            ) from error
    elif hasattr(source, "read"):
        try:
            data = source.read(limit + 1)
        except (OSError, ValueError) as error:
            raise PhotoError(f"{label} could not be read ({error}). Open the photo again.") from error
        if not isinstance(data, bytes):
            raise PhotoError(f"{label} was opened as text. A photo must be opened in binary mode.")
    else:
        raise PhotoError(
            "A photo was expected as a file name, bytes, an open file, a Pillow image or an array, "
            f"not as {type(source).__name__}."
        )
    if not data:
        raise PhotoError(f"{label} is empty (0 bytes). The upload or copy probably failed; try it again.")
    if len(data) > limit:
        raise PhotoError(f"{label} is larger than {MAX_FILE_MB} MB. Save the photo as JPEG and try again.")
    return data


def _foreign_kind(data: bytes) -> str | None:
    """What people upload by mistake, by its first bytes; None where it may be a photo."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = head.lower()
    if b"<svg" in lower or (lower.startswith(b"<?xml") and b"svg" in lower):
        return "an SVG drawing"
    if lower.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if b"%pdf-" in lower:
        return "a PDF document"
    if head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        return "a PostScript drawing"
    if head.startswith(b"PK\x03\x04"):
        return "a zip archive or an office document"
    if head.startswith(b"glTF"):
        return "a GLB model"
    if head.startswith(b"8BPS"):
        return "a Photoshop document"
    if head.startswith((b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO")) or data[8:10] == b"CR" or data[4:12] == b"ftypcrx ":
        return "a camera raw file"
    if data[4:8] == b"ftyp" and data[8:11] in (b"iso", b"mp4", b"M4V", b"qt ", b"avc", b"3gp", b"MSN"):
        return "a video"
    if head.startswith(b"\x1a\x45\xdf\xa3") or (head.startswith(b"RIFF") and data[8:12] == b"AVI "):
        return "a video"
    return None


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in (
        b"heic",
        b"heix",
        b"hevc",
        b"heim",
        b"heis",
        b"hevm",
        b"mif1",
        b"msf1",
    )


def _open_image(data: bytes, label: str) -> Image.Image:
    kind = _foreign_kind(data)
    if kind is not None:
        raise PhotoError(f"{label} is {kind}, not a photo. Use a JPEG, PNG, WebP or HEIC photo of a face.")
    if _is_heif(data):
        try:
            import pillow_heif
        except ImportError as error:
            raise PhotoError(
                f"{label} is an HEIC photo, and the reader for HEIC is not installed here. "
                "Save the photo as JPEG, or install it with: pip install pillow-heif"
            ) from error
        pillow_heif.register_heif_opener()
    elif data[4:12] in (b"ftypavif", b"ftypavis") and "AVIF" not in Image.OPEN:
        Image.init()
        if "AVIF" not in Image.OPEN:
            raise PhotoError(f"{label} is an AVIF photo, which this installation cannot read. Save it as JPEG.")
    Image.init()
    with _without_pillow_limit():
        try:
            return Image.open(io.BytesIO(data), formats=[f for f in FORMATS if f in Image.OPEN])
        except Exception as error:  # A plugin that meets hostile bytes raises anything at all.
            if isinstance(error, Image.UnidentifiedImageError | SyntaxError):
                sentence = (
                    f"{label} is not a photo that can be read here. Use a JPEG, PNG, WebP or HEIC photo of a face."
                )
            else:
                sentence = f"{label} is damaged and could not be opened ({error}). Save or copy the photo again."
            raise PhotoError(sentence) from error


@contextlib.contextmanager
def _without_pillow_limit() -> Iterator[None]:
    # `_check_size` knows which formats are reduced while decoding; Pillow's one number does not.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_size(image: Image.Image, label: str) -> None:
    width, height = image.size
    baseline = image.format in ("JPEG", "MPO") and not (image.info.get("progressive") or image.info.get("progression"))
    limit = MAX_BASELINE_JPEG_MEGAPIXELS if baseline else MAX_DECODED_MEGAPIXELS
    if width * height > limit * 1_000_000:
        raise PhotoError(
            f"{label} is {width} x {height} pixels ({width * height / 1e6:.0f} megapixels), and at most {limit} "
            f"megapixels are read. Reduce it to {MAX_SIDE_PX} pixels on its longest side; nothing is lost by that."
        )


def _note_extension(image: Image.Image, file_name: str, notes: list[str]) -> None:
    suffix = Path(file_name).suffix.lower()
    named = Image.registered_extensions().get(suffix)
    aliases = {"MPO": "JPEG", "DIB": "BMP"}
    found = aliases.get(image.format or "", image.format)
    if named is not None and aliases.get(named, named) != found:
        shown = _FORMAT_NAMES.get(image.format or "", image.format)
        notes.append(f"The file is named {suffix} but holds a {shown} picture, which was read as such.")


def _from_image(image: Image.Image, label: str, notes: list[str]) -> Photo:
    """Upright 8-bit sRGB pixels of an open image; `MAX_SIDE_PX` at most."""
    full_width, full_height = image.size
    if min(full_width, full_height) < MIN_SIDE_PX:
        raise PhotoError(
            f"{label} is {full_width} x {full_height} pixels. At least {MIN_SIDE_PX} pixels on each side are needed to "
            "find a face, and 300 across the face make a good head. Use a larger photo."
        )
    frames = _guard(lambda: getattr(image, "n_frames", 1), 1)
    if frames > 1 and image.format not in ("MPO", "HEIF", "AVIF", "ICO", "TIFF"):
        notes.append(f"The picture is animated ({frames} frames); its first frame was used.")
    elif frames > 1 and image.format == "TIFF":
        notes.append(f"The file holds {frames} pages; the first was used.")
    focal = _guard(lambda: _focal_px_of_full_size(image, notes), None)
    try:
        if frames > 1 and image.tell() != 0:
            image.seek(0)
        if image.format in ("JPEG", "MPO"):
            # Decodes at 1/2, 1/4 or 1/8, never below the requested size.
            scale = MAX_SIDE_PX / max(full_width, full_height)
            if scale < 1:
                image.draft(None, (math.ceil(full_width * scale), math.ceil(full_height * scale)))
        image.load()
        upright = _guard(lambda: ImageOps.exif_transpose(image), image) or image
        rgb = _to_srgb(_reduced(upright), notes)
    except Image.DecompressionBombError as error:
        raise PhotoError(f"{label} unpacks to far more pixels than it says. Save the photo again as JPEG.") from error
    except MemoryError as error:
        raise PhotoError(
            f"{label} needs more memory than there is. Reduce it to {MAX_SIDE_PX} pixels and try again."
        ) from error
    except Exception as error:  # A decoder that meets a truncated or hostile file raises anything at all.
        raise PhotoError(
            f"{label} is cut short or damaged and could not be read to its end ({error}). Save or copy the photo again."
        ) from error
    pixels = np.array(rgb, dtype=np.uint8)
    pixels.flags.writeable = False
    if focal is not None:
        focal *= max(pixels.shape[:2]) / max(full_width, full_height)
    return Photo(pixels, focal, label, tuple(notes))


def _guard(function: Any, default: Any) -> Any:
    """Side information (EXIF, frame count) must never cost us the picture: damaged, it is as if it were absent."""
    try:
        return function()
    except Exception:
        return default


def _reduced(image: Image.Image) -> Image.Image:
    """At most `MAX_SIDE_PX`, box-averaged: what a sensor with fewer pixels would have seen, near enough.

    Averages display-encoded values, as every photo program does. Palette, 1-bit and integer modes, which cannot be
    averaged as they are, are converted first.
    """
    scale = MAX_SIDE_PX / max(image.size)
    if scale >= 1:
        return image
    if image.mode in ("P", "PA", "1") or image.mode.startswith("I"):
        image = _plain_mode(image)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    profile = image.info.get("icc_profile")
    image = image.resize(size, Image.Resampling.BOX if scale < 0.5 else Image.Resampling.LANCZOS)
    if profile is not None:
        image.info["icc_profile"] = profile
    return image


def _plain_mode(image: Image.Image) -> Image.Image:
    """Any Pillow mode as L, LA, RGB, RGBA, CMYK, LAB, HSV or YCbCr with 8 bits per channel."""
    profile = image.info.get("icc_profile")
    if image.mode in ("P", "PA"):
        has_alpha = image.mode == "PA" or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")
    elif image.mode in ("L", "RGB") and "transparency" in image.info:
        image = image.convert("LA" if image.mode == "L" else "RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_eight_bit(np.asarray(image), exact_16_bit=image.mode.startswith("I;16")))
    elif image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    elif image.mode == "RGBX":
        image = image.convert("RGB")
    if profile is not None:
        image.info["icc_profile"] = profile
    return image


def _eight_bit(samples: np.ndarray, exact_16_bit: bool) -> np.ndarray:
    """Samples of any numeric type as uint8.

    Unsigned 16 bit is full range. Where the file leaves the range open (32-bit integers, floating point), it is the
    smallest of 1 (floating point only), 255 and 65535 that holds the largest sample, else that sample itself. Values
    are taken as display-encoded; not-a-number and negative ones are black.
    """
    values = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    peak = float(values.max(initial=0.0))
    if exact_16_bit:
        full = 65535.0
    else:
        ranges = [1.0] if np.issubdtype(samples.dtype, np.floating) else []
        # A hair above: a resampled or compressed picture in 0..1 overshoots.
        full = next((r for r in [*ranges, 255.0, 65535.0] if peak <= r * 1.01), peak)
    return np.clip(np.rint(values * (255.0 / full)), 0, 255).astype(np.uint8)


def _to_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Composite transparency over grey and convert the embedded colour space to sRGB."""
    image = _plain_mode(image)
    alpha = None
    if image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
        profile = image.info.get("icc_profile")
        image = image.convert(image.mode[:-1])
        if profile is not None:
            image.info["icc_profile"] = profile
    rgb = _profile_to_srgb(image, notes)
    if alpha is not None and alpha.getextrema() != (255, 255):
        background = Image.new("RGB", rgb.size, (BACKGROUND_GREY,) * 3)
        rgb = Image.composite(rgb, background, alpha)
        notes.append("Transparent parts of the picture were filled with grey.")
    return rgb


def _profile_to_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    profile_bytes = image.info.get("icc_profile")
    if profile_bytes and image.mode in ("RGB", "L", "CMYK", "LAB"):
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(profile_bytes))
            description = ImageCms.getProfileDescription(profile).strip()
            if image.mode == "RGB" and description.startswith("sRGB"):
                return image
            converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            notes.append(f"The colour profile in the file is damaged and was ignored ({error}).")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        if converted is not None:
            return converted
    if image.mode == "CMYK":
        notes.append("The photo has print colours (CMYK) and no profile, so its colours are approximate.")
    return image.convert("RGB")


def _image_from_array(array: np.ndarray, label: str) -> Image.Image:
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not shape_ok or array.size == 0:
        raise PhotoError(
            f"{label} is an array of shape {tuple(array.shape)}. A picture was expected: height x width, "
            "with 1, 3 or 4 channels."
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype != np.uint8:
        if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
            raise PhotoError(f"{label} is an array of {array.dtype}. Integers or floating-point numbers were expected.")
        array = _eight_bit(array, exact_16_bit=array.dtype == np.uint16)
    array = np.ascontiguousarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
    image = Image.fromarray(array)
    if max(image.size) > 0 and image.size[0] * image.size[1] > MAX_DECODED_MEGAPIXELS * 1_000_000:
        _check_size(image, label)
    return image


def _focal_px_of_full_size(image: Image.Image, notes: list[str]) -> float | None:
    """The focal length in pixels of the file's own full size, from EXIF; None where absent or absurd.

    The 35 mm equivalent (FocalLengthIn35mmFilm) where present: it holds on the diagonal and includes digital zoom.
    Else FocalLength with the focal plane's resolution, which EXIF gives for the picture as it was taken.
    """
    width, height = image.size
    exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
    if not exif:
        return None
    taken_width, taken_height = exif.get(ExifTags.Base.ExifImageWidth), exif.get(ExifTags.Base.ExifImageHeight)
    taken = None
    if taken_width and taken_height:
        taken = (max(int(taken_width), int(taken_height)), min(int(taken_width), int(taken_height)))
        # Cut to another shape after it was taken: what the lens saw is no longer the picture's width.
        if abs(taken[0] / taken[1] / (max(width, height) / min(width, height)) - 1) > 0.03:
            notes.append("The photo was cropped after it was taken, so the focal length written in it was not used.")
            return None
    focal: float | None = None
    equivalent = exif.get(ExifTags.Base.FocalLengthIn35mmFilm)
    if equivalent and float(equivalent) > 0:
        focal = focal_from_equivalent_mm(float(equivalent), height, width)
    else:
        focal_mm, per_unit = exif.get(ExifTags.Base.FocalLength), exif.get(ExifTags.Base.FocalPlaneXResolution)
        unit_mm = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}.get(exif.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))
        if focal_mm and per_unit and unit_mm and taken:
            # Editors that reduce a picture write its new size and keep the sensor's resolution, which then implies a
            # sensor that no camera has. Those that write this pair have 1-inch to medium-format sensors, 14 to 60 mm.
            sensor_mm = math.hypot(*taken) / float(per_unit) * unit_mm
            if 14 < sensor_mm < 60:
                focal = float(focal_mm) / sensor_mm * math.hypot(width, height)
    # 10 mm to 1,000 mm equivalent; outside it the field was filled in by something other than the camera.
    diagonal = math.hypot(width, height)
    return focal if focal is not None and math.isfinite(focal) and 0.2 < focal / diagonal < 25 else None
