"""A whole head: parameters, maps, camera, light, where it came from and how good it is, saved as one file.

A ``.likeness`` file is a zip archive whose entries are stored without compression: ``avatar.json``
(names, provenance, quality report, image size of the camera), ``parameters.safetensors`` (numbers,
among them the latent of the albedo generator) and one PNG per texture map, or per layer of one; heights
are 16-bit greyscale, in the unit of `Materials` and with 32768 for 0. It is data, never code,
and the same avatar gives the same bytes: fixed time stamps, fixed order, sorted keys. How long the
stages took is deliberately not part of it, so that the same photo gives the same file on every run.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from core.camera import Camera
from core.checkpoints import write_whole
from core.errors import FileError
from core.head import HeadModel, HeadParameters
from core.materials import Materials
from core.quality import Finding

LIKENESS_VERSION = "0.1.0"
# 2 added the latent, the labels and the truncation, 3 the maps of how skin takes light and of its relief; older files
# are read as heads without them.
FORMAT_VERSION = 3

# The fitted expression and pose of a photo, or the relaxed face that riggers want.
ExpressionChoice = Literal["fitted", "neutral"]


@dataclass(frozen=True)
class Provenance:
    """Where a head came from.

    source: ``photo`` or ``generated`` (drawn from the prior with `seed`). version: of the program.
    attributes: attribute name -> the amount that was asked for, in units of
    `HeadModel.attribute_directions`. labels: label of `core.synthesis.people.Labels` -> the value that was asked for,
    in the label's unit. truncation: how much of the variety of people a generated head was drawn from, 1 for all and
    0 for the mean person; None where that does not apply. seconds: stage -> duration; known to the session that made
    the head, never saved (see the module's docstring) and no part of a comparison.
    """

    source: Literal["photo", "generated"]
    seed: int | None = None
    attributes: Mapping[str, float] = field(default_factory=dict)
    version: str = LIKENESS_VERSION
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    labels: Mapping[str, float] = field(default_factory=dict)
    truncation: float | None = None


@dataclass(frozen=True)
class QualityReport:
    """How far the head can be trusted, in words and numbers.

    confidence: 0 (do not use) to 1. findings: most serious first. summary: one sentence for the
    person. residuals: name with unit -> value, such as ``landmarks_px``.
    """

    confidence: float
    findings: tuple[Finding, ...]
    summary: str
    residuals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Avatar:
    """One person's head.

    name: for people and file names. head_model: `HeadModel.name` of the model that the coefficients
    belong to. shape ``[K]``, expression ``[E]``, joint_rotations ``[J, 3]`` as in `HeadParameters`,
    without the batch axis. camera: that of the photo (a batch of one), None for a generated head.
    light: ``[9, 3]`` second-order spherical harmonics of the photo's light per linear RGB channel,
    or None. latent: ``[L, W]``, the person in the albedo generator, by which later edits move the head; None where none
    was fitted or drawn. generator: `StyleGanAlbedo.fingerprint` of the generator whose latent it is, as to any other
    the numbers mean nothing; None where there is no latent. Comparing two avatars compares identity; compare their
    saved bytes for content.
    """

    name: str
    head_model: str
    shape: Float[Tensor, "K"]
    expression: Float[Tensor, "E"]
    joint_rotations: Float[Tensor, "J 3"]
    materials: Materials
    camera: Camera | None
    light: Float[Tensor, "9 3"] | None
    provenance: Provenance
    quality: QualityReport
    latent: Float[Tensor, "L W"] | None = None
    generator: str | None = None

    def __post_init__(self) -> None:
        assert (self.latent is None) == (self.generator is None), "a latent is stored with its generator's fingerprint"

    def parameters(self, expression: ExpressionChoice = "fitted") -> HeadParameters:
        """The coefficients as a batch of one. ``neutral`` relaxes the face and every joint."""
        if expression == "neutral":
            relaxed, upright = torch.zeros_like(self.expression), torch.zeros_like(self.joint_rotations)
            return HeadParameters(self.shape[None], relaxed[None], upright[None])
        return HeadParameters(self.shape[None], self.expression[None], self.joint_rotations[None])

    def check_fits(self, head: HeadModel) -> None:
        """Raises FileError, naming both sides, where the coefficients belong to another head model."""
        here = (len(self.shape), len(self.expression), len(self.joint_rotations))
        there = (head.shape_count, len(head.expression_names), len(head.joint_names))
        # Fewer shape coefficients than the model has are fine: the rest are zero.
        if self.head_model != head.name or here[0] > there[0] or here[1:] != there[1:]:
            raise FileError(
                f"The head {self.name!r} was made with the head model {self.head_model!r} "
                f"({here[0]} shape coefficients, {here[1]} expressions, {here[2]} joints), but the model in use is "
                f"{head.name!r} ({there[0]}, {there[1]}, {there[2]}). Load the head model that it was made with, "
                "or reconstruct the photo again."
            )


# -- The file -----------------------------------------------------------------------------------

JSON_ENTRY, TENSORS_ENTRY = "avatar.json", "parameters.safetensors"
HEIGHT_ZERO = 1 << 15  # what is stored for a height of 0


@dataclass(frozen=True)
class _MapKind:
    """How a field of `Materials` is stored. mode: of its pictures; ``I;16`` is a layer of int16 numbers, each plus
    32768. layers: how many pictures. since: the version of the file format that has it. optional: may be absent."""

    mode: Literal["L", "RGB", "RGBA", "I;16"]
    optional: bool = True
    layers: int = 1
    since: int = 1


MAPS: dict[str, _MapKind] = {
    "skin_albedo": _MapKind("RGB", optional=False),
    "skin_roughness": _MapKind("L", optional=False),
    "eye_albedo": _MapKind("RGB", optional=False),
    "mouth_albedo": _MapKind("RGB", optional=False),
    "lash_albedo": _MapKind("RGBA", optional=False),
    "skin_photo": _MapKind("RGB"),
    "skin_normal": _MapKind("RGB"),
    "skin_diffuse_normal": _MapKind("RGB", since=3),
    "skin_specular": _MapKind("L", since=3),
    "skin_translucency": _MapKind("L", since=3),
    "skin_occlusion": _MapKind("L", since=3),
    "skin_displacement": _MapKind("I;16", since=3),
    "skin_wrinkles": _MapKind("I;16", layers=2, since=3),
}


def _entries_of(name: str) -> list[str]:
    """The names in the archive of a map's pictures."""
    layers = MAPS[name].layers
    return [f"{name}.png"] if layers == 1 else [f"{name}_{layer}.png" for layer in range(layers)]


# Far above anything Likeness writes, far below what would trouble a server.
MAX_FILE_BYTES = 192 * 2**20
MAX_JSON_BYTES = 2**20
MAX_TENSOR_BYTES = 4 * 2**20
MAX_MAP_SIDE_PX = 4096
MAX_COEFFICIENTS = 4096
MAX_TEXT = 2000
MAX_ITEMS = 256
MAX_TRUNCATION = 10.0

# Bits per channel, by the mode of the picture, and the byte of a PNG that says it (in IHDR, its first chunk).
PNG_DEPTH = {"L": 8, "RGB": 8, "RGBA": 8, "I;16": 16}
PNG_DEPTH_AT = 24


def save_avatar(avatar: Avatar, target: str | Path | io.BufferedIOBase) -> None:
    """Write a ``.likeness`` file to a path (whole or not at all) or to an open binary file.

    The same avatar gives the same bytes. Raises FileError where the path cannot be written, and
    for an avatar that `load_avatar` would refuse.
    """
    data = _avatar_bytes(avatar)
    # Never hand out a file that cannot be read back.
    load_avatar(data)
    if not isinstance(target, str | Path):
        target.write(data)
        return
    write_whole(Path(target), data)


def _avatar_bytes(avatar: Avatar) -> bytes:
    from safetensors.numpy import save

    tensors = {"shape": avatar.shape, "expression": avatar.expression, "joint_rotations": avatar.joint_rotations}
    camera = avatar.camera
    if camera is not None:
        tensors["camera.T_camera_head"] = camera.T_camera_head
        tensors["camera.focal_px"] = camera.focal_px
        tensors["camera.principal_px"] = camera.principal_px
    if avatar.light is not None:
        tensors["light"] = avatar.light
    if avatar.latent is not None:
        tensors["latent"] = avatar.latent
    provenance = {f.name: getattr(avatar.provenance, f.name) for f in fields(Provenance) if f.name != "seconds"}
    document = {
        "format": "likeness",
        "format_version": FORMAT_VERSION,
        "name": avatar.name,
        "head_model": avatar.head_model,
        # So that a map that got lost is noticed although it is optional.
        "maps": [name for name in MAPS if getattr(avatar.materials, name) is not None],
        "camera": None if camera is None else {"height": camera.height, "width": camera.width},
        "generator": avatar.generator,
        "provenance": {
            **provenance,
            "attributes": {k: float(v) for k, v in avatar.provenance.attributes.items()},
            "labels": {k: float(v) for k, v in avatar.provenance.labels.items()},
        },
        "quality": {
            "confidence": float(avatar.quality.confidence),
            "summary": avatar.quality.summary,
            "residuals": {k: float(v) for k, v in avatar.quality.residuals.items()},
            "findings": [asdict(finding) for finding in avatar.quality.findings],
        },
    }
    try:
        text = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise FileError(
            f"The head {avatar.name!r} cannot be saved: its quality report or provenance holds a number that is not "
            "finite. Please report this, with the photo's circumstances; reconstructing from another photo may help."
        ) from error
    entries = {
        JSON_ENTRY: text.encode(),
        TENSORS_ENTRY: save({k: v.detach().cpu().float().contiguous().numpy() for k, v in tensors.items()}),
    }
    for name in MAPS:
        image = getattr(avatar.materials, name)
        if image is not None:
            for layer, entry in enumerate(_entries_of(name)):
                entries[entry] = _png_bytes(image[layer : layer + 1] if image.dtype == torch.int16 else image)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            # A ZipInfo of our own: the default would record the time and this system's kind.
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def _png_bytes(image: Tensor) -> bytes:
    if image.dtype == torch.int16:
        image = (image.int() + HEIGHT_ZERO).to(torch.uint16)
    pixels = image.detach().cpu().permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    # Level 3 is within a few per cent of the default's size at a fraction of its time.
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def load_avatar(source: str | Path | bytes) -> Avatar:
    """Read a ``.likeness`` file from a path or from its bytes.

    Nothing in the file is trusted: sizes are checked before anything is unpacked, only the expected
    names and kinds are read, numbers must be finite and in range. Raises FileError, saying what is
    wrong and what to do, for a missing, damaged, oversized, foreign or too new file.
    """
    if isinstance(source, bytes):
        label, data = "The saved head", source
        if len(data) > MAX_FILE_BYTES:
            raise _too_large(label, len(data))
    else:
        path = Path(source)
        label = f"{path.name!r}"
        try:
            size = path.stat().st_size
            if size > MAX_FILE_BYTES:
                raise _too_large(label, size)
            data = path.read_bytes()
        except OSError as error:
            raise FileError(
                f"{label} could not be read ({error.strerror or error}). "
                "Check the path; a saved head is a file that ends in .likeness."
            ) from error
    entries = _read_entries(label, data)
    document = _Reader(label, "avatar.json", _read_json(label, entries[JSON_ENTRY]))
    version = document.number("format_version", 1, 10**6)
    if document.text("format") != "likeness":
        raise _damaged(label, "avatar.json does not say that it is a Likeness head")
    if version > FORMAT_VERSION:
        raise FileError(
            f"{label} was saved by a newer version of Likeness (file format {version:g}, this program reads up to "
            f"{FORMAT_VERSION}). Update Likeness to open it."
        )
    listed = document.values.get("maps")
    present = [name for name in MAPS if any(entry in entries for entry in _entries_of(name))]
    if listed != present:
        raise _damaged(label, f"it should hold the maps {listed!r:.400} but holds {', '.join(present)}")
    tensors = _read_tensors(label, entries[TENSORS_ENTRY])
    early = [name for name in present if MAPS[name].since > version]
    if early:
        raise _damaged(label, f"it holds the maps {', '.join(early)}, which its file format {version:g} does not have")
    images = {name: _read_layers(label, name, entries) for name in present}
    for one, other in (("skin_photo", "skin_albedo"), ("skin_diffuse_normal", "skin_normal")):
        if one in images and other in images and images[one].shape != images[other].shape:
            raise _damaged(label, f"{one}.png and {other}.png differ in size")
    missing = {"shape", "expression", "joint_rotations"} - tensors.keys()
    if missing:
        raise _damaged(label, f"{TENSORS_ENTRY} lacks {', '.join(sorted(missing))}")
    # Version 1 had neither.
    generator = None
    if version > 1 and document.values.get("generator") is not None:
        generator = document.text("generator")
    if version > 1 and (generator is None) != ("latent" not in tensors):
        raise _damaged(label, "it holds a latent without the generator that it belongs to, or the other way round")
    return Avatar(
        name=document.text("name"),
        head_model=document.text("head_model"),
        shape=_shaped(label, tensors, "shape", (None,)),
        expression=_shaped(label, tensors, "expression", (None,)),
        joint_rotations=_shaped(label, tensors, "joint_rotations", (None, 3)),
        materials=Materials(**images),
        camera=_read_camera(label, document, tensors),
        light=_shaped(label, tensors, "light", (9, 3)) if "light" in tensors else None,
        provenance=_read_provenance(document.object("provenance"), version),
        quality=_read_quality(document.object("quality")),
        latent=None if generator is None else _shaped(label, tensors, "latent", (None, None)),
        generator=generator,
    )


def _read_entries(label: str, data: bytes) -> dict[str, bytes]:
    """The archive's entries by name, after every check that needs no unpacking."""
    if not data:
        raise _damaged(label, "it is empty")
    if not data.startswith(b"PK"):
        raise FileError(
            f"{label} is not a saved head: it does not begin like a .likeness file. "
            "Choose a file that Likeness saved; a photo goes to `reconstruct` instead."
        )
    allowed = {JSON_ENTRY: MAX_JSON_BYTES, TENSORS_ENTRY: MAX_TENSOR_BYTES} | {
        entry: MAX_FILE_BYTES for name in MAPS for entry in _entries_of(name)
    }
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            # An allow list: a path that climbs out of a folder, or anything else unknown, has no way in.
            for name in names:
                if name not in allowed:
                    raise FileError(
                        f"{label} is not a saved head: it holds {name[:80]!r}, which does not belong in one. "
                        "Choose a file that Likeness saved."
                    )
            if len(set(names)) != len(names):
                raise _damaged(label, "one of its entries appears twice")
            for info in infos:
                # Likeness stores its entries as they are. Compression is refused, and with it zip bombs.
                if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                    raise _damaged(label, f"its entry {info.filename} is compressed, which Likeness never does")
                if info.flag_bits & 0x1:
                    raise _damaged(label, f"its entry {info.filename} is encrypted, which Likeness never does")
                if info.file_size > allowed[info.filename]:
                    raise _too_large(f"{label}, entry {info.filename},", info.file_size, allowed[info.filename])
            if sum(info.file_size for info in infos) > len(data):
                raise _damaged(label, "its entries overlap")
            needed = {JSON_ENTRY, TENSORS_ENTRY} | {f"{name}.png" for name, kind in MAPS.items() if not kind.optional}
            missing = sorted(needed - set(names))
            if missing:
                raise _damaged(label, f"it lacks {', '.join(missing)}")
            return {name: archive.read(name) for name in names}
    except (
        zipfile.BadZipFile,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OverflowError,
    ) as error:
        raise _damaged(label, f"its archive is broken ({error})") from error


def _read_json(label: str, data: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not a number")

    try:
        document = json.loads(data.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise _damaged(label, f"avatar.json is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise _damaged(label, "avatar.json is not an object")
    return document


def _read_tensors(label: str, data: bytes) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError, RecursionError) as error:
        raise _damaged(label, f"{TENSORS_ENTRY} is broken ({error})") from error
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tensor.numel() > MAX_COEFFICIENTS * 3:
            raise _damaged(
                label, f"{name[:80]!r} should be float32 numbers, not {tuple(tensor.shape)} of {tensor.dtype}"
            )
        if not torch.isfinite(tensor).all():
            raise _damaged(label, f"{name[:80]!r} holds a value that is not finite")
    return tensors


def _shaped(label: str, tensors: Mapping[str, Tensor], name: str, expected: tuple[int | None, ...]) -> Tensor:
    """A tensor that must be there and have this shape (None: any length from 1 to MAX_COEFFICIENTS)."""
    if name not in tensors:
        raise _damaged(label, f"{TENSORS_ENTRY} lacks {name}")
    tensor = tensors[name]
    fits = tensor.ndim == len(expected) and all(
        1 <= size <= MAX_COEFFICIENTS if want is None else size == want
        for size, want in zip(tensor.shape, expected, strict=True)
    )
    if not fits:
        readable = " x ".join("any" if want is None else str(want) for want in expected)
        raise _damaged(label, f"{name!r} has the shape {tuple(tensor.shape)}, expected {readable}")
    return tensor


def _read_layers(label: str, name: str, entries: Mapping[str, bytes]) -> Tensor:
    """A map from its pictures, which must all be there and of one size."""
    kind, layers = MAPS[name], []
    for entry in _entries_of(name):
        if entry not in entries:
            raise _damaged(label, f"it lacks {entry}")
        layers.append(_read_picture(label, entry, kind.mode, entries[entry]))
        if layers[-1].shape != layers[0].shape:
            raise _damaged(label, f"{entry} and {_entries_of(name)[0]} differ in size")
    image = torch.cat(layers) if len(layers) > 1 else layers[0]
    return (image.int() - HEIGHT_ZERO).to(torch.int16) if kind.mode == "I;16" else image


def _read_picture(label: str, entry: str, mode: str, data: bytes) -> Tensor:
    try:
        # The size is in the header: refuse before a single pixel is unpacked.
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        width, height = image.size
        # Where Pillow knows no mode of the file's depth it would round in silence: the depth stands in the header too.
        depth = data[PNG_DEPTH_AT]
        if width != height or not 1 <= width <= MAX_MAP_SIDE_PX or image.mode != mode or depth != PNG_DEPTH[mode]:
            raise _damaged(
                label,
                f"{entry} is {width} x {height} in mode {image.mode} with {depth} bits, "
                f"expected a square of at most {MAX_MAP_SIDE_PX} in mode {mode} with {PNG_DEPTH[mode]} bits",
            )
        pixels = np.array(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _damaged(label, f"{entry} is broken ({error})") from error
    return torch.from_numpy(pixels.reshape(height, width, -1)).permute(2, 0, 1).contiguous()


def _read_camera(label: str, document: _Reader, tensors: Mapping[str, Tensor]) -> Camera | None:
    if document.values.get("camera") is None:
        return None
    size = document.object("camera")
    transform = _shaped(label, tensors, "camera.T_camera_head", (1, 4, 4))
    rotation = transform[0, :3, :3].double()
    last_row = torch.tensor([0.0, 0.0, 0.0, 1.0])
    orthonormal = torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=rotation.dtype), atol=1e-3)
    if not orthonormal or torch.linalg.det(rotation) < 0 or not torch.equal(transform[0, 3], last_row):
        raise _damaged(label, "the camera's transform is not a rotation and a translation")
    focal_px = _shaped(label, tensors, "camera.focal_px", (1,))
    if focal_px.item() <= 0:
        raise _damaged(label, f"the camera's focal length is {focal_px.item():g} pixels")
    return Camera(
        T_camera_head=transform,
        focal_px=focal_px,
        principal_px=_shaped(label, tensors, "camera.principal_px", (1, 2)),
        height=int(size.number("height", 1, 10**6)),
        width=int(size.number("width", 1, 10**6)),
    )


def _read_provenance(values: _Reader, version: int | float) -> Provenance:
    seed = None if values.values.get("seed") is None else int(values.number("seed", -(2**63), 2**64))
    source: Any = values.text("source", choices=("photo", "generated"))
    provenance = Provenance(source, seed, values.numbers("attributes"), values.text("version"))
    if version < 2:
        return provenance
    drawn = values.values.get("truncation") is not None
    truncation = float(values.number("truncation", 0, MAX_TRUNCATION)) if drawn else None
    return replace(provenance, labels=values.numbers("labels"), truncation=truncation)


def _read_quality(values: _Reader) -> QualityReport:
    findings = []
    for finding in values.objects("findings"):
        severity: Any = finding.text("severity", choices=("info", "warning", "error"))
        findings.append(Finding(finding.text("code"), severity, finding.text("sentence"), finding.text("advice")))
    confidence = float(values.number("confidence", 0.0, 1.0))
    return QualityReport(confidence, tuple(findings), values.text("summary"), values.numbers("residuals"))


@dataclass(frozen=True)
class _Reader:
    """A JSON object from outside; every access checks the kind and names the place in its error."""

    label: str
    place: str
    values: dict[str, Any]

    def _wrong(self, key: str, expected: str) -> FileError:
        got = "nothing" if key not in self.values else f"{self.values[key]!r:.80}"
        return _damaged(self.label, f"{self.place}: {key[:80]!r} is {got}, expected {expected}")

    def text(self, key: str, choices: tuple[str, ...] | None = None) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise self._wrong(key, f"a text of at most {MAX_TEXT} characters")
        if choices is not None and value not in choices:
            raise self._wrong(key, f"one of {', '.join(choices)}")
        return value

    def number(self, key: str, low: int | float, high: int | float) -> int | float:
        value = self.values.get(key)
        # bool is an int to Python, but true is no number in a file. 1e999 parses as infinity.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self._wrong(key, f"a number from {low:g} to {high:g}")
        return value

    def object(self, key: str) -> _Reader:
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return _Reader(self.label, f"{self.place}/{key}", value)

    def objects(self, key: str) -> list[_Reader]:
        value = self.values.get(key)
        if not isinstance(value, list) or len(value) > MAX_ITEMS or not all(isinstance(item, dict) for item in value):
            raise self._wrong(key, f"a list of at most {MAX_ITEMS} objects")
        return [_Reader(self.label, f"{self.place}/{key}/{i}", item) for i, item in enumerate(value)]

    def numbers(self, key: str) -> dict[str, float]:
        """An object of finite numbers."""
        inner = self.object(key)
        if len(inner.values) > MAX_ITEMS or any(len(name) > MAX_TEXT for name in inner.values):
            raise self._wrong(key, f"at most {MAX_ITEMS} short names")
        limit = math.nextafter(math.inf, 0)
        return {name: float(inner.number(name, -limit, limit)) for name in inner.values}


def _damaged(label: str, what: str) -> FileError:
    return FileError(
        f"{label} cannot be opened as a head: {what}. The file is damaged or was changed by another program; "
        "copy it again from where it was saved, or reconstruct the photo again."
    )


def _too_large(label: str, size: int, limit: int = MAX_FILE_BYTES) -> FileError:
    return FileError(
        f"{label} is too large for a saved head: {size / 2**20:.1f} MiB, at most {limit / 2**20:.0f} MiB are read. "
        "Choose a file that Likeness saved."
    )
