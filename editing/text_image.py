"""Words and pictures in one space: the bundled text-image model, and any of open_clip's.

Both are open_clip's own networks (Radford et al. 2021). The bundled one is small, knows heads like ours and our words,
and was trained on nothing but synthetic heads (`text_image_training`); CLIP proper knows far more words and photos, and
is used where somebody has its weights.
"""

from __future__ import annotations

import difflib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from core.checkpoints import BUNDLED_CURE, read_safetensors, weights_path, write_whole
from core.errors import FileError, LikenessError

BUNDLED = "bundled"
VARIABLE = "LIKENESS_CLIP"  # names the model that is used where nothing else was asked for
FORMAT_VERSION = 1

# The bundled network in open_clip's own terms. A residual network, since it learns from few pictures: a transformer of
# this size knows nothing about neighbouring pixels and would need many times as many.
CONFIG: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 96, "layers": [1, 2, 2, 1], "width": 32, "head_width": 64},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 192, "heads": 3, "layers": 4},
}
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

_EXAMPLE = "ViT-B-32:laion2b_s34b_b79k"


class TextImageModel:
    """A text encoder and an image encoder with one space; read-only, safe to use from several threads.

    name: as it was asked for. size: pixels a side that its image encoder sees.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        tokenize: Callable[[list[str]], Tensor],
        size: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        limited: bool,
    ) -> None:
        self.name = name
        self.size = size
        self._network = network.eval().requires_grad_(False)
        self._tokenize = tokenize
        self._mean, self._std = (torch.tensor(x).reshape(1, 3, 1, 1) for x in (mean, std))
        self._limited = limited

    @property
    def device(self) -> torch.device:
        """Where its weights are; results come from there."""
        return next(self._network.parameters()).device

    def embed_text(self, texts: list[str]) -> Float[Tensor, "T E"]:
        """Unit rows, one per text. What is longer than the model's context is cut off. Without gradients."""
        network: Any = self._network
        with torch.no_grad():
            return functional.normalize(network.encode_text(self._tokenize(texts).to(self.device)).float(), dim=-1)

    def embed_images(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        """Unit rows, one per sRGB picture 0..1 of any size, with gradients to the pixels. The middle square is seen,
        resized with a filter that keeps fine detail from aliasing."""
        network: Any = self._network
        return functional.normalize(network.encode_image(self.prepared(pictures)).float(), dim=-1)

    def prepared(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 {self.size} {self.size}"]:
        """Pictures as the image encoder takes them."""
        height, width = pictures.shape[-2:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = pictures[..., top : top + side, left : left + side].to(self.device)
        if side != self.size:
            square = functional.interpolate(
                square, (self.size, self.size), mode="bicubic", align_corners=False, antialias=True
            )
        # Bicubic filters overshoot at edges.
        return (square.clamp(0, 1) - self._mean.to(square)) / self._std.to(square)

    def knows(self, word: str) -> bool:
        """Whether the model has seen a word. CLIP has seen every one."""
        if not self._limited:
            return True
        from editing.words import known_words

        return word.lower() in known_words()


# --------------------------------------------------------------------------------------------------- loading

_loaded: dict[tuple[str, str], TextImageModel] = {}
_lock = threading.Lock()


def load_model(name: str | None = None, device: str = "cpu") -> TextImageModel:
    """A model by name: "bundled", or one of open_clip's as "MODEL:WEIGHTS", where WEIGHTS is one of its own names or a
    file ("local-dir:FOLDER" and "hf-hub:OWNER/NAME" work too). None: what the environment variable LIKENESS_CLIP says,
    else "bundled". Loaded once; of open_clip's the last one is held, since they are large.

    Raises LikenessError for a name that does not exist, FileError for weights that cannot be had or read.
    """
    name = name or os.environ.get(VARIABLE) or BUNDLED
    # One at a time: a second visitor must not load the same gigabytes again.
    with _lock:
        if (name, device) not in _loaded:
            made = read_bundled(weights_path("text_image")) if name == BUNDLED else _open_clip_model(name)
            made._network.to(device)
            for other in [key for key in _loaded if name != BUNDLED and key[0] != BUNDLED]:
                del _loaded[other]
            _loaded[name, device] = made
        return _loaded[name, device]


def read_bundled(path: Path) -> TextImageModel:
    """The model in a file of `write_bundled`. Raises FileError for a file that is missing, damaged or another kind."""
    tensors, metadata = read_safetensors(path)
    try:
        header = json.loads(metadata["text_image"])
        version, config = header["format_version"], header["config"]
    except (KeyError, ValueError) as error:
        raise FileError(f"{path} is not a text-image model: it lacks its description. {BUNDLED_CURE}") from error
    if version != FORMAT_VERSION:
        raise FileError(f"{path} has the format {version}, but this version reads {FORMAT_VERSION}. {BUNDLED_CURE}")
    network = create_network(config)
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    except RuntimeError as error:
        raise FileError(f"{path} does not fit its own description ({_first_line(error)}). {BUNDLED_CURE}") from error
    # open_clip counts the batches that normalisation has seen; nothing reads that.
    missing = [n for n in expected if n not in tensors and not n.endswith("num_batches_tracked")]
    if missing or (extra := [n for n in tensors if n not in expected]):
        wrong = f"lacks {missing[0]}" if missing else f"holds {extra[0]}, which no such network has"
        raise FileError(f"{path} does not fit its own description: it {wrong}. {BUNDLED_CURE}")
    return bundled_model(network, config)


def write_bundled(path: Path, network: nn.Module, config: dict[str, Any], about: dict[str, Any]) -> None:
    """Write a network of `create_network` in half precision. about: how it was made, kept in the file."""
    from safetensors.torch import save

    tensors = {
        name: tensor.detach().cpu().half().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    header = {"format_version": FORMAT_VERSION, "config": config, "about": about}
    write_whole(path, save(tensors, {"text_image": json.dumps(header, sort_keys=True)}))


def create_network(config: dict[str, Any]) -> nn.Module:
    """An untrained network of open_clip with this configuration: {"embed_dim", "vision_cfg", "text_cfg"}."""
    return _open_clip().CLIP(**config)


def bundled_model(network: nn.Module, config: dict[str, Any]) -> TextImageModel:
    """A network of `create_network` with our words and pictures; in evaluation mode from now on."""
    return TextImageModel(
        BUNDLED, network, tokenizer(config), int(config["vision_cfg"]["image_size"]), MEAN, STD, limited=True
    )


def tokenizer(config: dict[str, Any]) -> Callable[[list[str]], Tensor]:
    """Texts to token numbers ``[T, context]``. The vocabulary is part of open_clip's package."""
    return _open_clip().SimpleTokenizer(context_length=config["text_cfg"]["context_length"])


def _open_clip() -> Any:
    """The library, imported when it is first needed: it takes seconds.

    torchvision from PyPI beside a torch without CUDA cannot load its compiled operators and then fails to import over
    the names of two of them, which nothing here calls. Declaring those names is enough.
    """
    try:
        try:
            import torchvision  # noqa: F401
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            for operator in ("nms", "qnms"):
                schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                torch.library.define(f"torchvision::{operator}", schema)
        import open_clip
    except ImportError as error:
        raise LikenessError(
            f"The library open_clip is not installed ({error}), which reading words needs. Install it with "
            "`pip install -r requirements.txt`."
        ) from error
    return open_clip


def _open_clip_model(name: str) -> TextImageModel:
    open_clip = _open_clip()
    architecture, _, weights = name.partition(":")
    schema = architecture in ("local-dir", "hf-hub")
    if not schema:
        _check_name(open_clip, name, architecture, weights)
    _check_reachable(open_clip, name, architecture, weights)
    try:
        network = open_clip.create_model(
            name if schema else architecture, None if schema else weights, require_pretrained=True
        )
        tokenize = open_clip.get_tokenizer(name if schema else architecture)
    # open_clip raises whatever its loaders, the Hub's client and its networks raise, and has no type of its own.
    except Exception as error:
        raise FileError(_why_not(name, weights, schema, error)) from error
    settings = network.visual.preprocess_cfg
    size = settings["size"]
    size = size if isinstance(size, int) else min(size)
    return TextImageModel(name, network, tokenize, size, tuple(settings["mean"]), tuple(settings["std"]), limited=False)


def _check_name(open_clip: Any, name: str, architecture: str, weights: str) -> None:
    known = open_clip.list_models()
    if architecture not in known:
        raise LikenessError(
            f"There is no text-image model {name!r}.{_close(architecture, known)} Use {BUNDLED!r}, or a model of "
            f"open_clip with its weights, such as {_EXAMPLE!r} or 'ViT-B-32:/path/to/file'."
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not weights or (weights not in tags and not Path(weights).is_file()):
        what = f"{name!r} names no weights, so nothing can be loaded"
        if weights:
            what = f"The weights {weights!r} of {architecture!r} are neither one of open_clip's names nor a file"
        listed = f" It has {', '.join(tags)}." if tags and not _close(weights, tags) else ""
        raise LikenessError(
            f"{what}.{_close(weights, tags)}{listed} Write MODEL:WEIGHTS, such as {_EXAMPLE!r}, or MODEL:/path/to/file."
        )


def _check_reachable(open_clip: Any, name: str, architecture: str, weights: str) -> None:
    """Offline means offline: open_clip fetches some weights around the Hub's client, which knows that setting."""
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("", "0", "false", "no", "off"):
        return
    found = open_clip.get_pretrained_cfg(architecture, weights) if weights else {}
    if found.get("url") and not found.get("hf_hub"):
        kept = Path("~/.cache/clip").expanduser() / str(found["url"]).rsplit("/", 1)[-1]
        if not kept.is_file():
            raise FileError(_not_here(name, "HF_HUB_OFFLINE is set"))


def _why_not(name: str, weights: str, schema: bool, error: Exception) -> str:
    reason = _first_line(error)
    if not schema and Path(weights).is_file():
        if "size mismatch" in str(error) or "Missing key" in str(error) or "Unexpected key" in str(error):
            return (
                f"The file {weights} holds the weights of another model than {name.partition(':')[0]!r} ({reason}). "
                "Name the model that the file belongs to."
            )
        return (
            f"The file {weights} could not be read as weights ({reason}). Get it again: it may be cut off or damaged."
        )
    if name.startswith("local-dir:"):
        return f"The folder {weights} could not be read as a model of open_clip ({reason}). Name another one."
    return _not_here(name, reason)


def _not_here(name: str, reason: str) -> str:
    return (
        f"The weights of {name!r} are not on this computer and could not be fetched ({reason}). Connect it to the "
        f"internet once, or name a file as MODEL:/path/to/file. Until then {BUNDLED!r} works."
    )


def _close(word: str, choices: list[str]) -> str:
    near = difflib.get_close_matches(word, choices, 3, 0.5)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _first_line(error: Exception) -> str:
    """What an error says, short enough for a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines else type(error).__name__
    return text[:200].rstrip(".")
