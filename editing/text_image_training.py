"""Training of the bundled text-image model, and what it is good for in numbers.

Three encoders share one space: of pictures, of captions (Radford et al. 2021), and, while training only, of the
attributes that a picture shows. Attributes are exact and quick to read, so captions are learned from them within
minutes, and the picture's embedding is drawn towards its attributes' and has to tell them. A caption is often true of
many pictures in a batch; all of those count as its own.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from core.checkpoints import read_safetensors, write_whole
from core.errors import FileError
from editing.attributes import COUNT, INDEX
from editing.pairs import Pairs, mirrored_attributes
from editing.text_image import CONFIG, MEAN, STD, TextImageModel, create_network, tokenizer
from editing.words import caption_facts, caption_with_facts


@dataclass(frozen=True)
class TextImageSettings:
    """minutes: of training, or `steps` where that comes first. batch: pictures a step, each with `captions` captions.
    others: heads that captions are told from besides, by their attributes alone.
    rate: of AdamW at its peak; falls along a cosine over the time. average: of the weights that are kept, per step.
    distil, read: weights of the losses that draw pictures towards their attributes' embedding and of reading the
    attributes off a picture, beside 1 for each contrast."""

    minutes: float = 60.0
    steps: int = 1_000_000
    batch: int = 80
    captions: int = 2
    others: int = 400
    rate: float = 1.5e-3
    decay: float = 0.05
    average: float = 0.995
    distil: float = 1.0
    read: float = 5.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Captions:
    """Captions of some heads and which heads each is true of: ``truth[t, b]``."""

    texts: list[str]
    truth: Bool[Tensor, "T B"]


def draw_captions(
    values: Float[Tensor, "B A"],
    count: int,
    rng: np.random.Generator,
    held_out: bool = False,
    others: Float[Tensor, "M A"] | None = None,
) -> Captions:
    """`count` captions of each head, those of one head together. others: further heads that have no captions of their
    own; the truth has columns for them behind those of `values`."""
    texts: list[str] = []
    told: list[frozenset[Any]] = []
    for row in values:
        for _ in range(count):
            text, facts = caption_with_facts(row, rng, held_out)
            texts.append(text)
            told.append(frozenset(facts))
    heads = values if others is None else torch.cat([values, others])
    all_true = [frozenset(caption_facts(row)) for row in heads]
    truth = torch.tensor([[facts <= true for true in all_true] for facts in told])
    own = torch.arange(len(values)).repeat_interleave(count)
    truth[torch.arange(len(texts)), own] = True
    return Captions(texts, truth)


# ---------------------------------------------------------------------------------------------- pictures, as seen


def augmented(
    pictures: UInt8[Tensor, "B 4 S S"], size: int, generator: torch.Generator, flip: Bool[Tensor, "B"]
) -> Float[Tensor, "B 3 {size} {size}"]:
    """Pictures as a camera, a website or another renderer might show them: cut and turned a little, over any
    background, some under hair, in any light, blurred or compressed. flip: which ones to mirror."""
    batch = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    def chosen(share: float) -> Tensor:
        return torch.rand(batch, generator=generator) < share

    angle, zoom, shift = uniform(-0.08, 0.08), uniform(0.78, 1.02), uniform(-0.05, 0.05, 2)
    mirror = torch.where(flip, -1.0, 1.0)
    affine = torch.stack(
        [
            torch.stack([angle.cos() * zoom * mirror, -angle.sin() * zoom, shift[:, 0]], dim=1),
            torch.stack([angle.sin() * zoom * mirror, angle.cos() * zoom, shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(affine, [batch, 4, size, size], align_corners=False)
    seen = functional.grid_sample(pictures.float() / 255, grid, align_corners=False)
    color, alpha = seen[:, :3], seen[:, 3:]

    # Behind: one colour, a gradient or blotches.
    cells = torch.rand(batch, 3, 5, 5, generator=generator) * uniform(0.0, 1.0, 1, 1, 1) + uniform(0.0, 0.7, 1, 1, 1)
    blotches = functional.interpolate(cells.clamp(0, 1), size=(size, size), mode="bilinear", align_corners=False)
    behind = torch.where(chosen(0.35)[:, None, None, None], cells[:, :, 2:3, 2:3], blotches).clamp(0, 1)
    # Grey like the app's own background more often than chance.
    behind = torch.where(chosen(0.25)[:, None, None, None], uniform(0.75, 0.95, 1, 1, 1), behind)
    color = color + (1 - alpha) * behind

    # Hair: above a wavy line and beside two others, of one dark or fair colour with strands.
    ramp = torch.linspace(-1, 1, size)
    wave = functional.interpolate(torch.randn(batch, 1, 6, generator=generator), size=size, mode="linear") * 0.08
    top = ramp[None, :, None] < uniform(-0.95, -0.5, 1, 1) + wave
    sides = ramp.abs()[None, None, :] > uniform(0.5, 1.3, 1, 1) + wave.transpose(1, 2)
    sides = sides & (ramp[None, :, None] < uniform(-0.4, 1.0, 1, 1))
    hair = (top | sides) & chosen(0.08)[:, None, None]
    strands = torch.rand(batch, 1, 1, size, generator=generator) * 0.12
    tone = uniform(0.02, 0.55, 1, 1, 1) * torch.tensor([1.0, 0.8, 0.6]).reshape(1, 3, 1, 1)
    color = torch.where(hair[:, None], tone + strands, color)

    gain = torch.exp(torch.randn(batch, 3, 1, 1, generator=generator) * 0.03 + uniform(-0.12, 0.12, 1, 1, 1))
    color = (color.clamp(1e-3, 1) ** torch.exp(uniform(-0.15, 0.15, 1, 1, 1)) * gain).clamp(0, 1)
    small = functional.interpolate(
        functional.avg_pool2d(color, 2), size=(size, size), mode="bilinear", align_corners=False
    )
    color = torch.where(chosen(0.06)[:, None, None, None], small, color)
    noise = torch.randn(color.shape, generator=generator) * uniform(0.0, 0.03, 1, 1, 1)
    color = torch.where(chosen(0.15)[:, None, None, None], color + noise, color).clamp(0, 1)
    for i in torch.nonzero(chosen(0.04)).flatten().tolist():
        color[i] = _compressed(color[i], int(torch.randint(25, 80, (1,), generator=generator)))
    return color


def plain(pictures: UInt8[Tensor, "B 4 S S"]) -> Float[Tensor, "B 3 S S"]:
    """Pictures over the grey that edits are measured on."""
    from editing.views import BACKGROUND_SRGB

    seen = pictures.float() / 255
    return seen[:, :3] * seen[:, 3:] + (1 - seen[:, 3:]) * BACKGROUND_SRGB


def _compressed(picture: Float[Tensor, "3 H W"], quality: int) -> Float[Tensor, "3 H W"]:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray((picture.permute(1, 2, 0) * 255).round().byte().numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1) / 255


# ---------------------------------------------------------------------------------------------- the objective


class Trainee(nn.Module):
    """The network, and what helps it to learn and is thrown away: an encoder of attributes and a reader of them."""

    def __init__(self, config: dict[str, Any], values: Float[Tensor, "N A"]) -> None:
        super().__init__()
        self.register_buffer("middle", values.mean(0))
        self.register_buffer("spread", values.std(0).clamp_min(0.05))
        self.network: Any = create_network(config)
        width = config["embed_dim"]
        self.attributes = nn.Sequential(
            nn.Linear(COUNT, 512), nn.GELU(), nn.Linear(512, 512), nn.GELU(), nn.Linear(512, width)
        )
        self.reader = nn.Linear(width, COUNT)

    def losses(
        self, pictures: Tensor, values: Tensor, tokens: Tensor, truth: Tensor, settings: TextImageSettings
    ) -> dict[str, Tensor]:
        """The terms, weighted. pictures: prepared; values: of those and of further heads; truth: ``[T, all heads]``."""
        middle, spread = self.get_buffer("middle"), self.get_buffer("spread")
        values = ((values - middle) / spread).clamp(-4, 4)
        # On a CPU the plain attention is quicker backwards than the fused one, at so few tokens.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            image = self.network.encode_image(pictures)
            text = self.network.encode_text(tokens)
        image, text = image.float(), functional.normalize(text.float(), dim=-1)
        known = functional.normalize(self.attributes(values), dim=-1)
        unit = functional.normalize(image, dim=-1)
        scale = self.network.logit_scale.exp().clamp(max=100)
        shown = len(pictures)
        return {
            "contrast": contrast(unit, text, truth[:, :shown], scale),
            "facts": contrast(known, text, truth, scale),
            "distil": settings.distil * (1 - (unit * known[:shown].detach()).sum(-1)).mean(),
            "read": settings.read * functional.mse_loss(self.reader(image), values[:shown]),
        }


def contrast(
    heads: Float[Tensor, "B E"], texts: Float[Tensor, "T E"], truth: Bool[Tensor, "T B"], scale: Tensor
) -> Float[Tensor, ""]:
    """Both cross entropies of CLIP, where everything that is true shares the target evenly (Khosla et al. 2020)."""
    logits = scale * texts @ heads.T
    target = truth.float()
    of_text = target / target.sum(1, keepdim=True).clamp_min(1)
    of_head = target / target.sum(0, keepdim=True).clamp_min(1)
    return -0.5 * ((of_text * logits.log_softmax(1)).sum(1).mean() + (of_head * logits.log_softmax(0)).sum(0).mean())


# ---------------------------------------------------------------------------------------------- training


def train_text_image(
    pairs: Pairs,
    settings: TextImageSettings,
    config: dict[str, Any] = CONFIG,
    checkpoint: Path | None = None,
    progress: Callable[[int, float, dict[str, float]], None] | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """The averaged network after `settings.minutes` of work, and how it went: {"steps", "minutes", "losses"}.

    checkpoint: a file that is written every few minutes and gone on from; its time counts. progress: called each step
    with the step, the share of the time that is over, and the loss's terms.
    """
    torch.manual_seed(settings.seed)
    trainee = Trainee(config, pairs.values).train()
    trainee.network.visual.to(memory_format=torch.channels_last)
    decayed = [p for p in trainee.parameters() if p.ndim >= 2]
    others = [p for p in trainee.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": settings.decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.98), fused=True)
    averaged = {name: p.detach().clone() for name, p in trainee.network.named_parameters()}
    step, spent = 0, 0.0
    losses: dict[str, float] = {}
    if checkpoint is not None and checkpoint.is_file():
        step, spent = load_checkpoint(checkpoint, trainee, optimizer, averaged)

    rng = np.random.default_rng([settings.seed, step])
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    tokenize, size = tokenizer(config), int(config["vision_cfg"]["image_size"])
    mirrored = torch.tensor(mirrored_attributes())
    mean, std = (torch.tensor(x).reshape(1, 3, 1, 1) for x in (MEAN, STD))
    limit_s = settings.minutes * 60
    before, saved = time.perf_counter() - spent, spent
    while step < settings.steps and spent < limit_s:
        share = max(spent / limit_s, step / settings.steps)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * _pace(step, share)
        rows = torch.from_numpy(rng.choice(len(pairs), min(settings.batch, len(pairs)), replace=False))
        flip = torch.from_numpy(rng.random(len(rows)) < 0.5)
        values = torch.where(flip[:, None], pairs.values[rows][:, mirrored], pairs.values[rows])
        others = pairs.values[torch.from_numpy(rng.integers(len(pairs), size=settings.others))]
        captions = draw_captions(values, settings.captions, rng, others=others)
        pictures = (augmented(pairs.pictures[rows], size, generator, flip) - mean) / std
        pictures = pictures.to(memory_format=torch.channels_last)
        values = torch.cat([values, others])
        terms = trainee.losses(pictures, values, tokenize(captions.texts), captions.truth, settings)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimizer.step()
        step += 1
        spent = time.perf_counter() - before
        # At first over few steps, or the average would hold the random start for long.
        keep = min(settings.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in trainee.network.named_parameters():
                averaged[name].lerp_(parameter, 1 - keep)
        losses = {name: float(term.detach()) for name, term in terms.items()}
        if progress is not None:
            progress(step, max(spent / limit_s, step / settings.steps), losses)
        if checkpoint is not None and spent - saved > CHECKPOINT_EVERY_S:
            saved = spent
            save_checkpoint(checkpoint, trainee, optimizer, averaged, step, spent)
    if checkpoint is not None:
        save_checkpoint(checkpoint, trainee, optimizer, averaged, step, spent)
    # Tokens that no caption had are as they were drawn at first. Nothing is known of them, so they shall say nothing.
    if moments := optimizer.state.get(trainee.network.token_embedding.weight):
        averaged["token_embedding.weight"][moments["exp_avg_sq"].amax(1) == 0] = 0.0
    network = create_network(config)
    network.load_state_dict({**trainee.network.state_dict(), **averaged})
    return network.eval(), {"steps": step, "minutes": spent / 60, "losses": losses, "settings": asdict(settings)}


CHECKPOINT_EVERY_S = 180.0
WARM_UP_STEPS = 100


def _pace(step: int, share: float) -> float:
    """Of the learning rate: a short rise, then a cosine down to a hundredth."""
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))


def save_checkpoint(
    path: Path,
    trainee: Trainee,
    optimizer: torch.optim.Optimizer,
    averaged: dict[str, Tensor],
    step: int,
    spent: float,
) -> None:
    """What training goes on from."""
    from safetensors.torch import save

    tensors = {f"trainee.{name}": tensor for name, tensor in trainee.state_dict().items()}
    tensors |= {f"averaged.{name}": tensor for name, tensor in averaged.items()}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": tensor for name, tensor in moments.items()}
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    write_whole(path, save(tensors, {"step": str(step), "spent": repr(spent)}))


def load_checkpoint(
    path: Path, trainee: Trainee, optimizer: torch.optim.Optimizer, averaged: dict[str, Tensor]
) -> tuple[int, float]:
    """Put back what `save_checkpoint` wrote; steps and seconds done. Raises FileError for a file that is no such."""
    tensors, about = read_safetensors(path, cure="Delete it to train from the start.")

    def under(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    try:
        trainee.load_state_dict(under("trainee."))
        averaged.update(under("averaged."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in under("optimizer.").items():
            moments.setdefault(int(name.split(".")[0]), {})[name.split(".")[1]] = tensor
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        return int(about["step"]), float(about["spent"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise FileError(f"{path} is no checkpoint of this model. Delete it to train from the start.") from error


# ---------------------------------------------------------------------------------------------- what it is good for


@dataclass(frozen=True)
class Retrieval:
    """Of pictures and captions, one each: how often the best, or one of the best five, is true of the one that was
    asked about. A caption that tells of several pictures is right for each of them. chance: of picking blindly; own:
    how often the very caption that was written for a picture is among the best five (or the picture of a caption)."""

    text_top1: float
    text_top5: float
    text_chance1: float
    text_chance5: float
    text_own5: float
    picture_top1: float
    picture_top5: float
    picture_chance1: float
    picture_chance5: float
    picture_own5: float


def retrieval(
    pictures: Float[Tensor, "N E"], texts: Float[Tensor, "N E"], truth: Bool[Tensor, "N N"], best: int = 5
) -> Retrieval:
    """text_*: which caption for a picture; picture_*: which picture for a caption. truth: ``[caption, picture]``, true
    on the diagonal."""
    count = len(pictures)
    scores = texts @ pictures.T

    def one_way(scores: Tensor, right: Tensor) -> tuple[float, ...]:
        order = scores.argsort(1, descending=True)[:, :best]
        hit = right.gather(1, order)
        share = right.float().mean(1)
        wrong = torch.ones(len(right))
        for i in range(best):
            left = (count - right.sum(1) - i).clamp_min(0)
            wrong = wrong * left / (count - i)
        own = (order == torch.arange(len(order))[:, None]).any(1)
        rows = (hit[:, 0], hit.any(1), share, 1 - wrong, own)
        return tuple(float(row.float().mean()) for row in rows)

    return Retrieval(*one_way(scores.T, truth.T), *one_way(scores, truth))


# attribute, at most, the words for it, at least, the words for that. People between the two are left out.
ZERO_SHOT: tuple[tuple[str, float, str, float, str], ...] = (
    ("age_years", 28, "a young person", 60, "an old person"),
    ("gender", 0.25, "a woman", 0.75, "a man"),
    ("weight", 0.25, "a thin person", 0.75, "a heavy person"),
    ("melanin", 0.15, "a person with pale skin", 0.55, "a person with dark skin"),
    ("african", 0.1, "a person of European descent", 0.7, "a person of African descent"),
    ("asian", 0.1, "a person of European descent", 0.7, "a person of Asian descent"),
    ("freckles", 0.0, "a person with no freckles", 0.4, "a person with freckles"),
    ("wrinkles", 0.03, "a person with smooth skin", 0.5, "a person with wrinkles"),
    ("grey", 0.05, "a person with dark eyebrows", 0.7, "a person with grey eyebrows"),
    ("brow_thickness", 0.2, "a person with thin eyebrows", 0.8, "a person with thick eyebrows"),
    ("beard_chin", 0.0, "a person with no beard", 0.5, "a person with a beard"),
    ("iris_melanin", 0.15, "a person with blue eyes", 0.7, "a person with brown eyes"),
    ("lipstick", 0.0, "a person with no make-up", 0.4, "a person with lipstick"),
    ("nose_width", -1.2, "a person with a narrow nose", 1.2, "a person with a wide nose"),
    ("lips_fullness", -1.2, "a person with thin lips", 1.2, "a person with full lips"),
    ("eye_size", -1.2, "a person with small eyes", 1.2, "a person with big eyes"),
    ("jaw_width", -1.0, "a person with a narrow jaw", 1.0, "a person with a wide jaw"),
    ("ears_size", -1.2, "a person with small ears", 1.2, "a person with big ears"),
    ("face_width", -1.0, "a person with a narrow face", 1.0, "a person with a wide face"),
    ("mouthSmileLeft", 0.0, "a person who is not smiling", 0.5, "a smiling person"),
    ("mouthFrownLeft", 0.0, "a smiling person", 0.5, "a sad person"),
    ("jawOpen", 0.0, "a person with a closed mouth", 0.4, "a person with an open mouth"),
    ("eyeBlinkRight", 0.05, "a person with open eyes", 0.7, "a person with closed eyes"),
    ("eyeWideLeft", 0.0, "a relaxed person", 0.5, "a surprised person"),
    ("browDownLeft", 0.0, "a relaxed person", 0.6, "an angry person"),
    ("browInnerUp", 0.0, "a relaxed person", 0.5, "a person with raised eyebrows"),
    ("noseSneerLeft", 0.0, "a relaxed person", 0.6, "a disgusted person"),
    ("mouthPucker", 0.0, "a relaxed person", 0.6, "a person with pursed lips"),
    ("cheekPuff", 0.0, "a relaxed person", 0.5, "a person with puffed cheeks"),
    ("tongueOut", 0.0, "a person with a closed mouth", 0.5, "a person sticking the tongue out"),
)  # fmt: skip
LEAST_OF_EITHER = 8  # people, or a share of them says little


def zero_shot(
    model: TextImageModel, embedded: Float[Tensor, "N E"], values: Float[Tensor, "N A"]
) -> dict[str, dict[str, float]]:
    """By attribute, of two sentences: "right", how often the truer one is the nearer one, the mean of both kinds of
    people; "ordered", how often of one person of each kind the right one is further towards the second sentence, which
    is what edits need. A coin has 0.5. Attributes that too few people clearly have are left out."""
    found: dict[str, dict[str, float]] = {}
    for name, low, low_text, high, high_text in ZERO_SHOT:
        column = values[:, INDEX[name]]
        less, more = column <= low, column >= high
        if min(int(less.sum()), int(more.sum())) < LEAST_OF_EITHER:
            continue
        low_embedded, high_embedded = model.embed_text([low_text, high_text])
        towards = embedded @ (high_embedded - low_embedded)
        right = 0.5 * (float((towards[less] < 0).float().mean()) + float((towards[more] > 0).float().mean()))
        difference = towards[more][:, None] - towards[less][None]
        ordered = float((difference > 0).float().mean() + 0.5 * (difference == 0).float().mean())
        found[name] = {"right": right, "ordered": ordered}
    return found


def evaluate(model: TextImageModel, pairs: Pairs, seed: int = 0, group: int = 100) -> dict[str, Any]:
    """Retrieval among groups of `group` pictures with wordings seen in training and with others, and `zero_shot`."""
    rng = np.random.default_rng(seed)
    order = torch.from_numpy(rng.permutation(len(pairs)))
    with torch.no_grad():
        embedded = torch.cat([model.embed_images(plain(part)) for part in pairs.pictures.split(64)])
    result: dict[str, Any] = {"pictures": len(pairs), "group": group}
    for name, held_out in (("seen", False), ("held_out", True)):
        rows: list[dict[str, float]] = []
        for chosen in order.split(group):
            if len(chosen) < group:
                break
            captions = draw_captions(pairs.values[chosen], 1, rng, held_out)
            rows.append(asdict(retrieval(embedded[chosen], model.embed_text(captions.texts), captions.truth)))
        result[name] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} if rows else {}
    result["zero_shot"] = zero_shot(model, embedded, pairs.values)
    result["zero_shot_mean"] = {
        name: float(np.mean([figures[name] for figures in result["zero_shot"].values()]))
        for name in ("right", "ordered")
        if result["zero_shot"]
    }
    return result
