"""Global directions: which attributes of a head a text is about, by what moving them does to pictures of heads.

After Patashnik et al. 2021 ("StyleCLIP", section 6), where channels of a 2D generator stand: here a channel is an
attribute (`editing.attributes`), the two sides of an expression together. Once for a text-image model, each is moved on
some heads, and the mean change of the embedding of their pictures is kept. A text is then a direction in the same
space, from a neutral description to it, and one matrix product says which channels go along with it.

This reads any text that the text-image model understands, and is the only reading of what no table has a word for.
It knows no sides: winks are the table's.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from core.checkpoints import read_safetensors, weights_path
from core.errors import FileError, LikenessError
from core.generation import TRUNCATION
from core.head import HeadModel, load_head
from core.synthesis.features import draw_features
from core.synthesis.heads import paint_eyes
from core.synthesis.people import Person, person_from_latent, person_with, sample_person
from core.synthesis.skins import paint_albedo
from editing.attributes import ATTRIBUTES, COUNT, GROUPS, HIGH, INDEX, LOW, SPREAD, Group, labels_in, values_of
from editing.text_image import TextImageModel
from editing.views import render_views

FORMAT = "likeness.directions/1"
CURE = "Restore it from the repository, or measure anew with `python -m recipes.train_editing`."

# Where the text stands, and what stands there for a face of which nothing is said. "{}" takes adjectives, nouns with
# "a", verbs and commands alike.
TEMPLATES: tuple[tuple[str, str], ...] = (
    ("{}", "a face"),
    ("a face, {}", "a face"),
    ("a person, {}", "a person"),
    ("a photo of a person: {}", "a photo of a person"),
)
PROBE_TEXTS = ("a face", "an old man with a beard", "smiling")

# By which share of its range a channel is moved to either side, as far as that goes. Freckles are rare, so a spread of
# them is hardly seen; parts of faces look broken at the ends of their range.
REACH: dict[Group, float] = {"person": 0.8, "part": 0.25, "expression": 0.8}
SEEDS = (1, 2, 3, 5, 8, 13)  # of the heads that are moved: three women, three men
YAWS_RAD = (0.0, 0.6)
PICTURE_PX, MAP_TEXELS, EYE_TEXELS = 112, 256, 96
BATCH = 16  # channels whose pictures are embedded together

DISENTANGLE = 0.5  # of the largest score; channels below it stay
STRIDE = 1.5  # spreads that the channel with the largest score moves by at amount 1
# Of the mean square of the channels' effects, added to each: how unlikely a large move is beside a direction that is
# not reached. Small, scores explain the text wholly, by moves that undo each other; large, each channel is compared
# with it alone, as in the paper.
RIDGE = 3.0
FAINT = 0.02  # length of a text's direction below which it says nothing


def _channels() -> tuple[tuple[str, ...], ...]:
    """Names of the attributes of each channel. An expression's two sides, and both eyes looking one way, are one."""
    rows: dict[str, tuple[str, ...]] = {}
    for attribute in ATTRIBUTES:
        name = attribute.name
        if attribute.group == "detail":
            continue  # finer than any picture here
        pair = _other_side(name) if attribute.group == "expression" else None
        if pair is None or pair not in rows:
            rows[name] = (name,) if pair is None else (name, pair)
    return tuple(rows.values())


def _other_side(name: str) -> str | None:
    """The expression that goes with this one on the other side of a symmetric face, None where there is none."""
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            stem = name.removesuffix(side)
            # Eyes look the same way, one inwards, the other outwards.
            turn = {"eyeLookIn": "eyeLookOut", "eyeLookOut": "eyeLookIn"}
            found = turn.get(stem, stem) + other
            # To the left is no side of the face.
            return None if stem in ("mouth", "jaw") else found
    return None


CHANNELS: tuple[tuple[str, ...], ...] = _channels()


@functools.cache
def _members() -> Float[Tensor, "M N"]:
    """1 where an attribute belongs to a channel."""
    rows = torch.zeros(len(CHANNELS), COUNT)
    for row, names in zip(rows, CHANNELS, strict=True):
        row[[INDEX[name] for name in names]] = 1
    return rows


@dataclass(frozen=True, eq=False)
class Directions:
    """What moving each of `CHANNELS` does to pictures, in the eyes of one text-image model.

    effect: mean change of a picture's embedding for a move of one spread. probe: embeddings by which the model is known
    again.
    """

    effect: Float[Tensor, "M E"]
    probe: Float[Tensor, "P E"]

    @functools.cached_property
    def relevance(self) -> Float[Tensor, "M E"]:
        """Scores of all channels for a text's direction: ``relevance @ direction``, the likeliest move that has this
        effect, if every channel moves by about one spread (ridge regression). A channel that hardly shows, or does so
        otherwise on every head, scores little."""
        rows = self.effect.double()
        gram = rows @ rows.T
        gram.diagonal().add_(RIDGE * float(gram.diagonal().mean()) + 1e-12)
        return torch.linalg.solve(gram, rows).float()

    def fits(self, model: TextImageModel) -> bool:
        """Whether they were measured with this model."""
        return same_model(self.probe, model)

    def change(
        self,
        direction: Float[Tensor, "E"],
        amount: float,
        values: Float[Tensor, "N"],
        disentangle: float = DISENTANGLE,
    ) -> Float[Tensor, "N"]:
        """The change of attributes along a text's direction (`text_direction`) for a head with these values.

        amount: 1 moves the channel that goes along most by `STRIDE` spreads, negative the other way. disentangle: 0
        moves all channels .. 1 only that one. No attribute leaves its range; expressions that the text calls for are
        taken back by a negative amount, no others put on.
        """
        scores = self.relevance @ direction
        largest = float(scores.abs().max())
        if largest == 0 or amount == 0:
            return torch.zeros_like(values)
        kept = torch.where(scores.abs() >= disentangle * largest, scores / largest, 0)
        wanted = float(amount) * STRIDE * (kept @ _members()) * SPREAD
        if amount < 0:
            wanted[GROUPS["expression"]] = wanted[GROUPS["expression"]].clamp(max=0)
        # What lies out of range already stays, unless it is asked to come back.
        low, high = torch.minimum(LOW, values), torch.maximum(HIGH, values)
        return (values + wanted).clamp(low, high) - values

    def save(self, path: Path) -> None:
        """As safetensors, in half floats."""
        from safetensors.torch import save_file

        tensors = {name: getattr(self, name).half().contiguous() for name in ("effect", "probe")}
        save_file(tensors, path, {"format": FORMAT, "channels": json.dumps(CHANNELS)})


def read_directions(path: Path, model: TextImageModel) -> Directions:
    """What `Directions.save` wrote. Raises FileError for a file that is missing, damaged, of another version of the
    attributes or measured with another text-image model."""
    tensors, metadata = read_safetensors(path, required=("effect", "probe"), cure=CURE)
    try:
        channels = tuple(map(tuple, json.loads(metadata.get("channels", ""))))
    except (ValueError, TypeError):
        channels = ()
    effect, probe = tensors["effect"].float(), tensors["probe"].float()
    good = (
        metadata.get("format") == FORMAT
        and channels == CHANNELS
        and effect.ndim == probe.ndim == 2
        and effect.shape == (len(CHANNELS), probe.shape[1])
        and bool(effect.isfinite().all() and probe.isfinite().all())
    )
    if not good:
        raise FileError(
            f"{path} holds no directions of this version: format {metadata.get('format')!r}, {len(channels)} channels, "
            f"effects of the shape {tuple(effect.shape)}; {FORMAT!r} with {len(CHANNELS)} was expected. {CURE}"
        )
    found = Directions(effect, probe)
    if not found.fits(model):
        raise FileError(f"{path} was measured with another text-image model than {model.name!r}. {CURE}")
    return found


def probe_of(model: TextImageModel) -> Float[Tensor, "P E"]:
    """Embeddings of a few texts and of a gradient: another model's are others, on any machine."""
    ramp = torch.linspace(0, 1, 64)
    picture = torch.stack([ramp.expand(64, 64), ramp.expand(64, 64).T, ramp.flip(0).expand(64, 64)])
    with torch.no_grad():
        return torch.cat([model.embed_text(list(PROBE_TEXTS)), model.embed_images(picture[None])]).cpu()


def same_model(probe: Float[Tensor, "P F"], model: TextImageModel) -> bool:
    """Whether a kept probe is this model's, but for rounding."""
    own = probe_of(model)
    return own.shape == probe.shape and bool(((own - probe).norm(dim=1) < 0.02).all())


# ------------------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True, eq=False)
class Swing:
    """One channel of one head at both ends of a move: low, high ``[V, 3, S, S]`` sRGB, `spreads` apart."""

    channel: int
    spreads: float
    low: Float[Tensor, "V 3 S S"]
    high: Float[Tensor, "V 3 S S"]


def swings(head: HeadModel, seed: int, channels: Iterable[int] = range(len(CHANNELS))) -> Iterator[Swing]:
    """Channels of one random person, a little closer to the mean than people are, moved one after the other."""
    drawn = sample_person(head, seed)
    person = person_from_latent(head, TRUNCATION * drawn.latent, seed)
    relaxed = torch.zeros(len(head.expression_names))
    values = values_of(head, person.labels, person.shape, relaxed)
    skin, eyes = _skin(head, person), _eyes(head, person)
    yaws = torch.tensor(YAWS_RAD)
    directions = head.attribute_directions[len(head.attribute_names) - (GROUPS["part"].stop - GROUPS["part"].start) :]
    for channel in channels:
        names = CHANNELS[channel]
        index = [INDEX[name] for name in names]
        ends, pictures = [], []
        for sign in (-1, 1):
            end = values.clone()
            reach = REACH[ATTRIBUTES[index[0]].group] * (HIGH - LOW)
            end[index] = (values + sign * reach).clamp(LOW, HIGH)[index]
            ends.append(float(end[index[0]]))
            shape, drawn_skin, drawn_eyes = person.shape, skin, eyes
            if index[0] < GROUPS["person"].stop:
                # All labels are told, so that no wrinkles follow the age.
                other = person_with(person, head, **labels_in(end))
                shape, drawn_eyes = other.shape, _eyes(head, other)
                drawn_skin = skin if names[0].startswith("iris") else _skin(head, other)
            shape = shape + (end - values)[GROUPS["part"]] @ directions
            expression = end[GROUPS["expression"]]
            with torch.no_grad():
                pictures.append(render_views(head, shape, expression, drawn_skin, drawn_eyes, yaws, PICTURE_PX))
        spreads = (ends[1] - ends[0]) / float(SPREAD[index[0]])
        yield Swing(channel, spreads, pictures[0], pictures[1])


def _skin(head: HeadModel, person: Person) -> Float[Tensor, "3 U U"]:
    features = draw_features(head, person, MAP_TEXELS)
    return paint_albedo(head, person, features, MAP_TEXELS, None).float() / 255


def _eyes(head: HeadModel, person: Person) -> Float[Tensor, "3 V V"]:
    return paint_eyes(head, person, EYE_TEXELS).float() / 255


def measure_directions(
    model: TextImageModel, seeds: Sequence[int] = SEEDS, progress: Callable[[float], None] | None = None
) -> Directions:
    """Move every channel of some heads and see what the model makes of it.

    About a thousand pictures for three heads: a minute for the bundled model, a few for a large one. The same model and
    seeds give the same directions. progress: gets the share done; what it raises ends the work. Raises LikenessError
    without seeds.
    """
    if not seeds:
        raise LikenessError("No heads were given to measure directions on. Give at least one seed.")
    head = load_head()
    total: Tensor | None = None
    done, work = 0, len(seeds) * len(CHANNELS)
    for seed in seeds:
        for batch in _batches(swings(head, seed)):
            pictures = torch.cat([torch.cat([swing.high, swing.low]) for swing in batch])
            with torch.no_grad():
                embedded = model.embed_images(pictures).float().cpu()
            embedded = embedded.reshape(len(batch), 2, len(YAWS_RAD), -1)
            spreads = torch.tensor([swing.spreads for swing in batch])
            changes = (embedded[:, 0] - embedded[:, 1]) / spreads[:, None, None]
            if total is None:
                total = torch.zeros(len(CHANNELS), embedded.shape[-1])
            rows = torch.tensor([swing.channel for swing in batch])
            total[rows] += changes.sum(1)
            done += len(batch)
            if progress is not None:
                progress(done / work)
    assert total is not None
    return Directions(total / (len(seeds) * len(YAWS_RAD)), probe_of(model))


def _batches(found: Iterator[Swing]) -> Iterator[list[Swing]]:
    batch: list[Swing] = []
    for swing in found:
        batch.append(swing)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


# ------------------------------------------------------------------------------------------------------- using

_ON_DEMAND = SEEDS[:3]  # heads, where a person waits for it
_measured: dict[int, tuple[TextImageModel, Directions]] = {}
MOST_MEASURED = 2


def directions_of(model: TextImageModel, progress: Callable[[float], None] | None = None) -> Directions:
    """The directions of a model: from assets for the bundled one; any other's are measured on its first use, in
    minutes, and kept in memory. Raises FileError where the file of the bundled model's is missing or does not fit."""
    if model.name == "bundled":
        return _bundled(model)
    kept = _measured.get(id(model))
    if kept is None:
        kept = (model, measure_directions(model, _ON_DEMAND, progress))  # the model with them: an id may be used again
        while len(_measured) >= MOST_MEASURED:
            _measured.pop(next(iter(_measured)))
        _measured[id(model)] = kept
    return kept[1]


@functools.lru_cache(maxsize=1)
def _bundled(model: TextImageModel) -> Directions:
    return read_directions(weights_path("directions"), model)


def text_direction(model: TextImageModel, core: str) -> Float[Tensor, "E"]:
    """Where a text leads from a face of which nothing is said: the mean over `TEMPLATES`, of length 1. Zero for a text
    that the model sees no difference in."""
    texts = [text.format(core) for text, _ in TEMPLATES]
    with torch.no_grad():
        embedded = model.embed_text([*texts, *(neutral for _, neutral in TEMPLATES)]).float().cpu()
    step = (embedded[: len(texts)] - embedded[len(texts) :]).mean(0)
    length = float(step.norm())
    return step / length if length > FAINT else torch.zeros_like(step)


def global_change(
    model: TextImageModel,
    core: str,
    amount: float,
    values: Float[Tensor, "N"],
    disentangle: float = DISENTANGLE,
    progress: Callable[[float], None] | None = None,
) -> Float[Tensor, "N"]:
    """What a text changes of a head with these attributes: `Directions.change` of the model's directions along the
    text's. core: the words without degree and negation, which `amount` stands for (`editing.prompts.Clause`)."""
    return directions_of(model, progress).change(text_direction(model, core), amount, values, disentangle)
