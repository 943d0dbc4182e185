"""The mapper: a network from a text and the state of a head to a change of the head's attributes, in one pass.

After Patashnik et al. 2021 ("StyleCLIP", section 5), whose mapper is trained anew for every prompt. This one takes the
text as an input and is trained once, over the whole grammar of `editing.prompts`, with the word table as its teacher.
It reads what the table has no phrase for, made of words, or of letters, that the grammar has.

How a change depends on the head is known, and built in: "older" adds, whoever it is, and "blue eyes" leads from any
colour to the same. So the network gives for each attribute whether the text is about it, what is added, and to which
value it is pulled; all for the text and for its opposite.
"""

from __future__ import annotations

import functools
import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from core.checkpoints import read_safetensors, weights_path
from core.errors import FileError, LikenessError
from core.synthesis.people import LATENT_SIZE, labels_of_latents
from editing.attributes import ATTRIBUTES, COUNT, GROUPS, HIGH, LOW, SPREAD
from editing.directions import probe_of, same_model
from editing.text_image import TextImageModel, load_model

FORMAT = "likeness.mapper/1"
CURE = "Restore it from the repository, or train anew with `python -m recipes.train_editing`."

LETTERS = (3, 4, 5)  # lengths of the pieces of words that are looked up
SIGNS = (1.0, -1.0)  # the text, and the other way
MIDDLE: Float[Tensor, "N"] = (LOW + HIGH) / 2
LIKELY = -1.0  # logit of being meant from which on an attribute moves: a quarter
JOINED = 0.2  # share of lessons that ask for two things at once
STEADY = 1e-4  # of a spread; a smaller change is none

# An instruction to learn from: its words, and what it changes of heads with given values at an amount of 1 or -1.
Teacher = Callable[[float, Float[Tensor, "N"]], Float[Tensor, "N"]]


@dataclass(frozen=True)
class MapperConfig:
    """What decides the shape of every weight. embedding: width of the text-image model's space. buckets: of the table
    into which pieces of words are hashed. piece: numbers per piece. hidden: width of the network."""

    embedding: int
    buckets: int = 4096
    piece: int = 64
    hidden: int = 320


class MapperNetwork(nn.Module):
    """Text to what it does to each attribute, for both of `SIGNS`."""

    def __init__(self, config: MapperConfig) -> None:
        super().__init__()
        self.config = config
        self.pieces = nn.EmbeddingBag(config.buckets, config.piece, mode="sum")
        nn.init.normal_(self.pieces.weight, 0, 0.1)
        self.body = nn.Sequential(
            nn.Linear(config.embedding + config.piece, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.hidden),
            nn.GELU(),
        )
        self.out = nn.Linear(config.hidden, len(SIGNS) * 4 * COUNT)
        with torch.no_grad():
            # A text is about a few of a hundred attributes.
            self.out.bias.reshape(len(SIGNS), 4, COUNT)[:, 0] = -4.0

    def forward(
        self, embedded: Float[Tensor, "B E"], pieces: Int[Tensor, "P"], starts: Int[Tensor, "B"]
    ) -> Float[Tensor, "B 2 4 N"]:
        """Of texts: their embeddings of unit length, and their pieces, one text after the other from `starts` on. Gives
        the logit of being meant, what is added (spreads), and the logits of the pull and of its goal's place between
        the ends of the range."""
        # Unit rows in many dimensions have tiny entries.
        x = torch.cat([embedded * self.config.embedding**0.5 / 2, self.pieces(pieces, starts)], 1)
        return self.out(self.body(x)).reshape(len(embedded), len(SIGNS), 4, COUNT)


def pieces_of(text: str, buckets: int) -> list[int]:
    """Rows of the table for a text's words and the pieces of `LETTERS` letters in them, which are what misspellings,
    inflections and kinds of a word have in common. The same on every machine."""
    rows = []
    for word in re.findall(r"[^\W_]+", text.lower()):
        marked = f"<{word}>"
        grams = [marked[i : i + n] for n in LETTERS for i in range(len(marked) - n + 1)]
        rows += [zlib.crc32(gram.encode()) % buckets for gram in dict.fromkeys((marked, *grams))]
    return rows or [0]


def amounts_of(
    out: Float[Tensor, "B 4 N"], values: Float[Tensor, "B N"], share: float = 1.0
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
    """Logit of being meant, and the change in spreads if it is, of heads with these values.

    As `editing.words.Move` has it: an attribute is pulled to its goal from either side, or moves by what is added and
    at least as far as the goal, or something between the two. share: of the change; beyond 1, no goal is passed.
    """
    meant, added, pull, goal = out.unbind(1)
    missing = (torch.sigmoid(goal) - 0.5) * (HIGH - LOW) / SPREAD - (values - MIDDLE) / SPREAD
    farther = torch.where(added >= 0, torch.maximum(added, missing), torch.minimum(added, missing))
    pulled = torch.sigmoid(pull)
    return meant, pulled * min(share, 1.0) * missing + (1 - pulled) * share * farther


@dataclass(frozen=True, eq=False)
class Mapper:
    """A trained network and the text-image model whose embeddings it was trained on. probe: see `probe_of`."""

    network: MapperNetwork
    model: TextImageModel
    probe: Float[Tensor, "P E"]

    def change(self, core: str, amount: float, values: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
        """What a text changes of a head with these attributes, in their units.

        core: words without degree and negation, which `amount` stands for (`editing.prompts.Clause`): 1 as the text
        says, negative the other way, 0 nothing. No attribute leaves its range. A text of which no word is known moves
        next to nothing.
        """
        if amount == 0:
            return torch.zeros_like(values)
        with torch.no_grad():
            embedded = self.model.embed_text([core]).float().cpu()
            out = self.network(embedded, *_bags([pieces_of(core, self.network.config.buckets)]))
        sign = SIGNS.index(1.0 if amount > 0 else -1.0)
        meant, spreads = amounts_of(out[:, sign], values[None], abs(float(amount)))
        wanted = torch.where(meant[0] > LIKELY, spreads[0], 0) * SPREAD
        low, high = torch.minimum(LOW, values), torch.maximum(HIGH, values)
        return (values + wanted).clamp(low, high) - values

    def save(self, path: Path) -> None:
        """As safetensors, in half floats."""
        from safetensors.torch import save_file

        tensors = {name: tensor.half().contiguous() for name, tensor in self.network.state_dict().items()}
        metadata = {
            "format": FORMAT,
            "config": json.dumps(asdict(self.network.config)),
            "attributes": json.dumps([attribute.name for attribute in ATTRIBUTES]),
        }
        save_file(tensors | {"probe": self.probe.half().contiguous()}, path, metadata)


def _bags(rows: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "P"], Int[Tensor, "B"]]:
    lengths = [len(row) for row in rows]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return torch.tensor([i for row in rows for i in row]), torch.from_numpy(starts).long()


def read_mapper(path: Path, model: TextImageModel) -> Mapper:
    """What `Mapper.save` wrote. Raises FileError for a file that is missing, damaged, of another version of the
    attributes or trained with another text-image model."""
    tensors, metadata = read_safetensors(path, required=("probe",), cure=CURE)
    probe = tensors.pop("probe").float()
    try:
        config = MapperConfig(**json.loads(metadata["config"]))
        names = json.loads(metadata["attributes"])
        if metadata.get("format") != FORMAT or names != [attribute.name for attribute in ATTRIBUTES]:
            raise ValueError(f"its format is {metadata.get('format')!r}, or its attributes are others")
        if max(asdict(config).values()) > 1 << 16:
            raise ValueError("its sizes are none of ours")
        with torch.random.fork_rng(devices=()):  # the random weights are replaced at once
            network = MapperNetwork(config)
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FileError(f"{path} holds no mapper of this version ({reason}). {CURE}") from error
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise FileError(f"{path} holds numbers that are not finite. It is damaged. {CURE}")
    if not same_model(probe, model):
        raise FileError(f"{path} was trained with another text-image model than {model.name!r}. {CURE}")
    return Mapper(network.eval().requires_grad_(False), model, probe)


@functools.cache
def load_mapper() -> Mapper:
    """The bundled mapper, with the bundled text-image model. Raises FileError where either is missing or damaged."""
    return read_mapper(weights_path("mapper"), load_model("bundled"))


# ------------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class MapperSettings:
    """instructions: drawn from the grammar to learn from; tested: others, to measure on. nonsense: texts of random
    letters among them, as a share, which mean nothing. passes: over all of them. letters_dropped: share of texts whose
    pieces are hidden in a pass, so that the embedding is read too; embedding_dropped: the other way round."""

    instructions: int = 30_000
    tested: int = 2_000
    nonsense: float = 0.05
    passes: int = 20
    batch: int = 128
    rate: float = 2e-3
    letters_dropped: float = 0.1
    embedding_dropped: float = 0.5
    hidden: int = 320
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Lessons:
    """Instructions and what they do to one head each. meant: which attributes they are about on any head. change: in
    spreads, at amount 1 and -1."""

    texts: tuple[str, ...]
    values: Float[Tensor, "L N"]
    meant: Bool[Tensor, "L 2 N"]
    change: Float[Tensor, "L 2 N"]


def sample_values(count: int, rng: np.random.Generator) -> Float[Tensor, "C N"]:
    """Attributes of random people; most of them relaxed in most expressions, the detail as it is."""
    labels = labels_of_latents(rng.standard_normal((count, LATENT_SIZE)))
    values = torch.ones(count, COUNT)
    for i, attribute in enumerate(ATTRIBUTES[GROUPS["person"]]):
        values[:, i] = torch.from_numpy(labels[attribute.name]).float()
    parts, expressions = GROUPS["part"], GROUPS["expression"]
    values[:, parts] = torch.from_numpy(rng.standard_normal((count, parts.stop - parts.start))).float()
    shape = (count, expressions.stop - expressions.start)
    strength = rng.random(shape) * (rng.random(shape) < 0.15) * (rng.random((count, 1)) < 0.6)
    values[:, expressions] = torch.from_numpy(strength).float()
    return values.clamp(LOW, HIGH)


def grammar_lesson(rng: np.random.Generator, held_out: bool) -> tuple[str, Teacher]:
    """An instruction of the grammar's, or two in one, without their degrees, and the table's change for it."""
    from editing.prompts import Clause, sample_instruction
    from editing.words import concept_change

    clauses = [sample_instruction(rng, held_out)[1] for _ in range(2 if rng.random() < JOINED else 1)]

    def moved(clause: Clause, sign: float, values: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
        moves = torch.zeros_like(values)
        for concept, amount in clause.concepts:
            moves = moves + concept_change(concept, sign * amount / (clause.amount or 1.0), values)
        return moves

    def change(sign: float, values: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
        total = sum((moved(clause, sign, values) for clause in clauses), torch.zeros_like(values))
        return (values + total).clamp(LOW, HIGH) - values

    return " and ".join(clause.core for clause in clauses), change


def draw_lessons(
    count: int,
    rng: np.random.Generator,
    held_out: bool,
    nonsense: float = 0.0,
    lesson: Callable[[np.random.Generator, bool], tuple[str, Teacher]] = grammar_lesson,
) -> Lessons:
    """Random instructions, each with one random head."""
    values = sample_values(count, rng)
    others = sample_values(2, rng)
    texts: list[str] = []
    change = torch.zeros(count, len(SIGNS), COUNT)
    meant = torch.zeros(count, len(SIGNS), COUNT, dtype=torch.bool)
    for i in range(count):
        if rng.random() < nonsense:
            texts.append(_nonsense(rng))
            continue
        text, teach = lesson(rng, held_out)
        texts.append(text)
        for s, sign in enumerate(SIGNS):
            change[i, s] = teach(sign, values[i]) / SPREAD
            # An attribute that is at its end on this head may move on another.
            moves = torch.stack([change[i, s], *(teach(sign, other) / SPREAD for other in others)])
            meant[i, s] = (moves.abs() > STEADY).any(0)
    return Lessons(tuple(texts), values, meant, change)


def _nonsense(rng: np.random.Generator) -> str:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ("".join(rng.choice(letters, rng.integers(3, 11))) for _ in range(rng.integers(1, 4)))
    return " ".join(words)


def train_mapper(
    model: TextImageModel,
    lessons: Lessons,
    settings: MapperSettings | None = None,
    progress: Callable[[float, float], None] | None = None,
) -> Mapper:
    """Learn what instructions do. The same arguments give the same mapper on the same machine.

    progress: gets the share done and the loss. Raises LikenessError without lessons.
    """
    settings = settings or MapperSettings()
    if not lessons.texts:
        raise LikenessError("The mapper was given no instructions to learn from. Give at least one.")
    unique = {text: i for i, text in enumerate(dict.fromkeys(lessons.texts))}
    embedded = _embedded(model, list(unique))
    row = torch.tensor([unique[text] for text in lessons.texts])
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.seed)
        network = MapperNetwork(MapperConfig(embedded.shape[1], hidden=settings.hidden)).train()
        pieces = [pieces_of(text, network.config.buckets) for text in unique]
        slow = [p for name, p in network.named_parameters() if not name.startswith("pieces")]
        # A piece is in few texts, so it has few steps to get to its place.
        groups = [{"params": slow}, {"params": network.pieces.parameters(), "lr": 5 * settings.rate}]
        optimiser = torch.optim.AdamW(groups, lr=settings.rate, weight_decay=0.01)
        steps = settings.passes * -(-len(row) // settings.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, [settings.rate, 5 * settings.rate], total_steps=steps + 1
        )
        for step in range(steps):
            if step * settings.batch % len(row) < settings.batch:
                order = torch.randperm(len(row))
            at = step * settings.batch % len(row)
            batch = order[at : at + settings.batch]  # pyright: ignore[reportPossiblyUnboundVariable]
            chosen = row[batch]
            bags = [pieces[i] for i in chosen.tolist()]
            hide, blind = torch.rand(2, len(batch))
            bags = [[0] if h < settings.letters_dropped else bag for h, bag in zip(hide.tolist(), bags, strict=True)]
            seen = embedded[chosen] * (blind >= settings.embedding_dropped)[:, None]
            loss = _loss(network(seen, *_bags(bags)), lessons, batch)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if progress is not None:
                progress((step + 1) / steps, float(loss.detach()))
    return Mapper(network.eval().requires_grad_(False), model, probe_of(model))


def trained_on_grammar(
    model: TextImageModel,
    settings: MapperSettings | None = None,
    progress: Callable[[float, float], None] | None = None,
) -> tuple[Mapper, dict[str, MapperQuality]]:
    """The mapper that the whole grammar teaches, and how well it reads new instructions in wordings that it has seen
    ("known") and in others ("held out")."""
    settings = settings or MapperSettings()
    lessons = draw_lessons(settings.instructions, np.random.default_rng(settings.seed), False, settings.nonsense)
    mapper = train_mapper(model, lessons, settings, progress)
    quality = {}
    for name, held_out in (("known", False), ("held out", True)):
        asked = draw_lessons(settings.tested, np.random.default_rng((settings.seed, 1, held_out)), held_out)
        quality[name] = measure_mapper(mapper, asked)
    return mapper, quality


def _loss(out: Float[Tensor, "B 2 4 N"], lessons: Lessons, batch: Int[Tensor, "B"]) -> Float[Tensor, ""]:
    values, total = lessons.values[batch], out.new_zeros(())
    for s in range(len(SIGNS)):
        meant, spreads = amounts_of(out[:, s], values)
        wanted = lessons.meant[batch, s].float()
        error = functional.smooth_l1_loss(spreads, lessons.change[batch, s], reduction="none", beta=0.5)
        total = total + functional.binary_cross_entropy_with_logits(meant, wanted, reduction="sum") / len(batch)
        total = total + (error * wanted).sum() / len(batch)
    return total


def _embedded(model: TextImageModel, texts: list[str]) -> Float[Tensor, "T E"]:
    with torch.no_grad():
        return torch.cat([model.embed_text(texts[i : i + 256]).float().cpu() for i in range(0, len(texts), 256)])


@dataclass(frozen=True)
class MapperQuality:
    """How well a mapper follows its teacher. right: of the attributes that an instruction moves by a fifth of a spread
    or more, which share moves the same way. error: mean absolute difference over those, in spreads. leakage: mean
    absolute change of the attributes that it is not about, in spreads. whole: share of instructions all of whose
    attributes move the right way while no other moves by half a spread."""

    instructions: int
    right: float
    error: float
    leakage: float
    whole: float


def measure_mapper(mapper: Mapper, lessons: Lessons) -> MapperQuality:
    """`Mapper.change` beside the teacher's changes, at amount 1."""
    rows = [mapper.change(text, 1.0, value) for text, value in zip(lessons.texts, lessons.values, strict=True)]
    spreads, wanted = torch.stack(rows) / SPREAD, lessons.change[:, 0]
    asked, free = wanted.abs() >= 0.2, ~lessons.meant[:, 0]
    right = (spreads * wanted.sign() >= 0.05) | ~asked
    calm = (spreads.abs() < 0.5) | ~free
    return MapperQuality(
        len(rows),
        float(right[asked].float().mean()),
        float((spreads - wanted).abs()[asked].mean()),
        float(spreads.abs()[free].mean()),
        float((right & calm).all(1).float().mean()),
    )
