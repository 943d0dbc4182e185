"""Does a text edit do what was typed, and nothing else? `editing.suite` on heads that no training has seen, judged by
`editing.oracles`, which guide no edit.

Success: everything that the prompt names moves the right way by at least half a standard deviation over people (0.3 for
an expression); three tenths of that where the prompt asks for "slightly". Two cases count as success though less moves:
a head that afterwards has as much of it as one person in twenty (`suite.ENOUGH` says more), having lost nothing of it;
and a negation ("no freckles") on a head that has none, where nothing may rise. Negations are therefore also asked of
heads that were given the feature first.
"""

from __future__ import annotations

import functools
import io
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from core import pipeline
from core.albedo.bundled import albedo_gan
from core.avatar import Avatar, load_avatar, save_avatar
from core.errors import LikenessError, PhotoError
from core.generation import labels_from
from core.head import HeadModel, load_head
from core.synthesis.heads import sample_head
from core.synthesis.people import sample_person
from core.synthesis.photo import sample_photo
from editing.edit import Editor, TextEdit
from editing.oracles import (
    APPEARANCE,
    BOTH_SIDES,
    EXPRESSION_STEP,
    ORACLES,
    STEP,
    Judge,
    areas,
    columns,
    load_judge,
)
from editing.prompts import read_prompt, split_prompt
from editing.suite import CLASSES, COMPANIONS, ENOUGH, KINDS, SUITE, Case, Want

# Heads. Half of them drawn, half of them photos of painted people that went through reconstruction.
HEADS = 12
FIRST_SEED = 9_000_000  # nobody trained on these
PHOTO_PX, PHOTO_YAW_DEG, PHOTO_MAP_PX = 768, (-25.0, 25.0), 1024
EDIT_PX = 512  # of the skin that is edited and judged: what is finer no oracle looks at

# Success. Shares of the spread over people.
ALREADY = 0.25  # nearer than this to the 5th or the 95th percentile, a head has enough of it
STAYS = 0.1  # what moves less than this has not moved
GALLERY = 500  # other people's heads among whom an edited head has to be recognised

# Bars of the project, as shares of tries and as spreads.
BAR_SINGLE, BAR_COMPOUND, BAR_LEAKAGE = 0.95, 0.90, 0.25
ROUNDS, BOOTSTRAP_SEED = 1000, 0  # of resampling heads and prompts
TIMED_HEADS = 4
TIMED_PROMPTS = ("older, smiling", "freckles", "wider nose")

HeadKind = Literal["generated", "photo"]
Verdict = Literal["moved", "has enough", "nothing to take away", "failed", "refused"]
Report = Callable[[int, int, str], None]


# ---------------------------------------------------------------------------------------------- heads


@dataclass(frozen=True, eq=False)
class Subject:
    """A head of the suite. avatar: as the product has it; seed: who it is."""

    name: str
    kind: HeadKind
    seed: int
    avatar: Avatar


def suite_heads(count: int = HEADS, folder: Path | None = None, report: Report | None = None) -> list[Subject]:
    """The first heads of the suite, generated ones and those of photos by turns; always the same.

    folder: where heads are kept that were made before, since a photo takes seconds. A photo that cannot be used gives
    way to the next seed's.
    """
    heads: list[Subject] = []
    photo_seed = FIRST_SEED
    for i in range(count):
        if report is not None:
            report(i, count, "heads")
        if i % 2 == 0:
            seed = FIRST_SEED + i // 2
            avatar = _kept(folder, f"generated-{seed}", functools.partial(pipeline.generate, seed))
            assert avatar is not None
            heads.append(Subject(f"generated {seed}", "generated", seed, avatar))
            continue
        while True:
            avatar = _kept(folder, f"photo-{photo_seed}", functools.partial(_from_photo, photo_seed))
            photo_seed += 1
            if avatar is not None:
                heads.append(Subject(f"photo {photo_seed - 1}", "photo", photo_seed - 1, avatar))
                break
    return heads


def _from_photo(seed: int) -> Avatar | None:
    head = load_head()
    person = sample_head(head, seed, PHOTO_MAP_PX)
    picture = sample_photo(
        head, seed, yaw_range_deg=PHOTO_YAW_DEG, size=PHOTO_PX, supersample=2, person=person, centred=True
    )
    try:
        return pipeline.reconstruct(picture.pixels, name=f"photo {seed}")
    except PhotoError:
        return None


def _kept(folder: Path | None, name: str, make: Callable[[], Avatar | None]) -> Avatar | None:
    path = None if folder is None else folder / f"{name}.likeness"
    if path is not None and path.is_file():
        avatar = load_avatar(path)
        if avatar.generator == albedo_gan().fingerprint:
            return avatar
    avatar = make()
    if path is not None and avatar is not None:
        save_avatar(avatar, path)
    return avatar


def smaller(avatar: Avatar, size: int = EDIT_PX) -> Avatar:
    """The same head with a skin map of at most `size` texels a side."""
    maps = avatar.materials
    changed = {}
    for name in ("skin_albedo", "skin_photo"):
        image = getattr(maps, name)
        if image is not None and image.shape[-1] > size:
            small = functional.interpolate(image[None].float(), size=(size, size), mode="area")[0]
            changed[name] = small.round().to(torch.uint8)
    return replace(avatar, materials=replace(maps, **changed))


def prepared(subject: Subject, case: Case) -> Avatar | None:
    """The head with what a negation takes away, small; None where it cannot be given (a photo shows what it shows)."""
    head = load_head()
    names = head.expression_names
    acted = {name: value for name, value in case.prepared.items() if name in names}
    labels = {name: value for name, value in case.prepared.items() if name not in names}
    if not case.prepared or (labels and subject.kind == "photo"):
        return None
    avatar = subject.avatar
    if labels:
        labels_from(labels)
        avatar = pipeline.generate(subject.seed, labels)
    expression = avatar.expression.clone()
    for name, value in acted.items():
        expression[names.index(name)] = value
    return smaller(replace(avatar, expression=expression))


# ---------------------------------------------------------------------------------------------- judging


@dataclass(frozen=True)
class Outcome:
    """What became of one prompt on one head.

    steps: how far each thing named moved, in units of the step that counts as a success of a whole prompt. leakage,
    expression_leakage: mean absolute change of the oracles of looks and of actions that are neither named nor
    companions, in spreads; worst: the one that changed most, and by how much. shape_mm: mean distance of the face's
    vertices, relaxed. skin: correlation of the skin's texture before and after. recognised: the head before is the
    nearest in shape among `GALLERY` others. seconds: of the edit, on the small map. refused: what was said instead.
    """

    prompt: str
    kind: str
    head: str
    verdict: Verdict
    steps: tuple[float, ...] = ()
    leakage: float = math.nan
    expression_leakage: float = math.nan
    worst: str = ""
    worst_spreads: float = math.nan
    shape_mm: float = math.nan
    skin: float = math.nan
    recognised: bool = True
    seconds: float = math.nan
    refused: str = ""

    @property
    def success(self) -> bool:
        """Whether all that the prompt names came about."""
        return self.verdict not in ("failed", "refused")


def verdict(
    case: Case, before: Float[Tensor, "O"], after: Float[Tensor, "O"], judge: Judge, given: bool
) -> tuple[Verdict, tuple[float, ...]]:
    """Whether everything named moved, and by how many steps each.

    given: the head was prepared to have what a negation takes away; else a negation only must not add any.
    """
    verdicts: list[Verdict] = []
    steps = []
    for want in case.wants:
        moved = max(_steps(name, want.sign, before, after, judge) for name in want.oracles)
        steps.append(moved)
        still = moved * STEP >= -STAYS
        if moved >= case.share:
            verdicts.append("moved")
        elif case.kind == "negation" and not given and still:
            verdicts.append("nothing to take away")
        elif any(_enough(name, want, before, after, judge) for name in want.oracles):
            verdicts.append("has enough")
        else:
            verdicts.append("failed")
    order: tuple[Verdict, ...] = ("failed", "moved", "has enough", "nothing to take away")
    return min(verdicts, key=order.index), tuple(steps)


def _steps(name: str, sign: int, before: Tensor, after: Tensor, judge: Judge) -> float:
    rows = list(columns(name))
    change = sign * float((after[rows] - before[rows]).mean())
    if ORACLES[rows[0]].group == "expression":
        # Weights are multiples of what sliders have: 0.3 asked for and 0.2999 got is no failure.
        return change / EXPRESSION_STEP + 1e-4
    return change / (STEP * float(judge.spread[rows[0]]))


def _enough(name: str, want: Want, before: Tensor, after: Tensor, judge: Judge) -> bool:
    """Whether the head has as much of it now as can be asked for, and lost nothing of what there is more or less."""
    rows = list(columns(name))
    low, high = ENOUGH.get(name, (float(judge.least[rows].mean()), float(judge.most[rows].mean())))
    margin = 0.0 if name in ENOUGH else ALREADY * float(judge.spread[rows[0]])
    value = float(after[rows].mean())
    there = value >= high - margin if want.sign > 0 else value <= low + margin
    return there and (name in CLASSES or _steps(name, want.sign, before, after, judge) * STEP >= -STAYS)


def leaks(
    case: Case, before: Float[Tensor, "O"], after: Float[Tensor, "O"], judge: Judge
) -> tuple[float, float, str, float]:
    """Leakage into looks and into actions, the oracle that changed most of all that should not, and by how much."""
    named = {name for want in case.wants for name in want.oracles} | set(case.implied)
    free = named | {other for name in named for other in COMPANIONS.get(name, frozenset())}
    spreads = ((after - before).abs() / judge.spread).tolist()
    looks = {o.name: spreads[i] for i, o in enumerate(APPEARANCE) if o.name not in free}
    sided = {row for rows in BOTH_SIDES.values() for row in rows}
    actions = {name: sum(spreads[row] for row in rows) / len(rows) for name, rows in BOTH_SIDES.items()}
    actions |= {o.name: spreads[i] for i, o in enumerate(ORACLES) if o.group == "expression" and i not in sided}
    actions = {name: value for name, value in actions.items() if name not in free}
    worst = max({**looks, **actions}.items(), key=lambda item: item[1])
    return statistics.fmean(looks.values()), statistics.fmean(actions.values()), *worst


class Identity:
    """Whether a head is still the same person: by shape among many others, and by the texture of the skin."""

    def __init__(self, head: HeadModel) -> None:
        self.head = head
        others = [sample_person(head, FIRST_SEED + 500_000 + k).shape for k in range(GALLERY)]
        self.gallery = torch.stack(others)
        self.face = head.region("face") > 0.5
        weight = areas()["tone"] + areas()["cheeks"]
        self.skin = weight > 0.2 * weight.max()

    def compare(self, before: Avatar, after: Avatar) -> tuple[float, float, bool]:
        """Mean distance of the relaxed faces in mm, correlation of their textures, and whether shape tells them."""
        a, b = (functional.pad(x.shape, (0, self.head.shape_count - len(x.shape))) for x in (before, after))
        moved = torch.einsum("k,kvx->vx", b - a, self.head.shape_basis[:, self.face])
        nearest = float((self.gallery - b).square().sum(1).min())
        textures = torch.stack([self._texture(x) for x in (before, after)])
        return (
            1000 * float(moved.norm(dim=-1).mean()),
            float(torch.corrcoef(textures)[0, 1]),
            bool((b - a).square().sum() <= nearest),
        )

    def _texture(self, avatar: Avatar) -> Float[Tensor, "N"]:
        """What is finer than a centimetre of bare skin, in logarithms."""
        side = self.skin.shape[-1]
        light = avatar.materials.skin_albedo[None, 1:2].float().div(255).add(0.02).log()
        light = functional.interpolate(light, size=(side, side), mode="area")
        return (light - functional.avg_pool2d(light, 31, 1, 15, count_include_pad=False))[0, 0][self.skin]


# ---------------------------------------------------------------------------------------------- running


def chosen_cases(count: int | None = None) -> list[Case]:
    """The suite, or so many of its prompts, of every kind in proportion."""
    if count is None or count >= len(SUITE):
        return list(SUITE)
    rows = [round(i * len(SUITE) / count) for i in range(count)]
    return [SUITE[row] for row in rows]


def request(prompt: str, method: str, model: str = "bundled") -> TextEdit:
    """A prompt with every clause at full strength."""
    return TextEdit(tuple((clause, 1.0) for clause in split_prompt(prompt)), method=method, model=model)


def run_suite(
    heads: Sequence[Subject],
    cases: Sequence[Case],
    method: str,
    model: str = "bundled",
    workers: int = 1,
    report: Report | None = None,
) -> list[Outcome]:
    """Every prompt on every head, by one method. workers: processes, which share the heads; the result is the same.

    report: called with tries done and in all, and what is going on.
    """
    every = len(heads) * len(cases)
    outcomes: list[Outcome] = []
    if workers <= 1 or len(heads) == 1:
        for i, subject in enumerate(heads):
            start = i * len(cases)
            outcomes += run_head(
                subject,
                cases,
                method,
                model,
                None if report is None else lambda k, s=subject, n=start: report(n + k, every, f"{method}: {s.name}"),
            )
        return outcomes
    # Fresh processes: threads of torch do not survive a fork. Heads travel as their files do.
    with ProcessPoolExecutor(min(workers, len(heads)), get_context("spawn"), _single_thread) as pool:
        jobs = [pool.submit(_run_saved, h.name, h.kind, h.seed, saved(h.avatar), cases, method, model) for h in heads]
        for i, job in enumerate(jobs):
            if report is not None:
                report(i * len(cases), every, f"{method}: {heads[i].name}")
            outcomes += job.result()
    return outcomes


def _single_thread() -> None:
    torch.set_num_threads(1)


def _run_saved(
    name: str, kind: HeadKind, seed: int, data: bytes, cases: Sequence[Case], method: str, model: str
) -> list[Outcome]:
    return run_head(Subject(name, kind, seed, load_avatar(data)), cases, method, model)


def run_head(
    subject: Subject,
    cases: Sequence[Case],
    method: str,
    model: str = "bundled",
    report: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Every prompt on one head."""
    judge, identity = load_judge(), Identity(load_head())
    small = smaller(subject.avatar)
    plain = (small, Editor(small), judge.read(small))
    made: dict[tuple[tuple[str, float], ...], tuple[Avatar, Editor, Tensor]] = {}
    outcomes = []
    for k, case in enumerate(cases):
        if report is not None:
            report(k)
        key = tuple(sorted(case.prepared.items()))
        if key and key not in made and (own := prepared(subject, case)) is not None:
            made[key] = (own, Editor(own), judge.read(own))
        edit = request(case.prompt, method, model)
        outcomes.append(_tried(case, subject, made.get(key, plain), key in made, edit, judge, identity))
    return outcomes


def _tried(
    case: Case,
    subject: Subject,
    base: tuple[Avatar, Editor, Tensor],
    given: bool,
    edit: TextEdit,
    judge: Judge,
    identity: Identity,
) -> Outcome:
    avatar, editor, before = base
    if not edit.clauses:
        said = " ".join(word.sentence for word in read_prompt(case.prompt).unknown)
        return Outcome(case.prompt, case.kind, subject.name, "refused", refused=said)
    started = time.perf_counter()
    try:
        edited = editor.apply(edit).avatar
    except LikenessError as error:
        return Outcome(case.prompt, case.kind, subject.name, "refused", refused=str(error))
    seconds = time.perf_counter() - started
    after = judge.read(edited)
    found, steps = verdict(case, before, after, judge, given)
    looks, actions, worst, amount = leaks(case, before, after, judge)
    return Outcome(
        case.prompt,
        case.kind,
        subject.name,
        found,
        tuple(round(step, 3) for step in steps),
        looks,
        actions,
        worst,
        amount,
        *identity.compare(avatar, edited),
        seconds,
    )


@dataclass(frozen=True)
class Exactness:
    """What has to hold to the byte of the saved head: how often it did, of how many. removed: without its clauses, or
    with a strength of 0, an edit is the head itself, and a clause that was taken away leaves no trace. order: the order
    of clauses changes nothing."""

    removed: int
    order: int
    of: int


def exactness(heads: Sequence[Subject], method: str, model: str = "bundled") -> Exactness:
    """Checked with a compound prompt on each head, another on the next."""
    prompts = [case.prompt for case in SUITE if len(case.wants) > 1 and len(split_prompt(case.prompt)) > 1]
    removed = order = tried = 0
    for i, subject in enumerate(heads):
        small = smaller(subject.avatar)
        edit, editor = request(prompts[i % len(prompts)], method, model), Editor(small)
        try:
            whole = saved(editor.apply(edit).avatar)
            less = replace(edit, clauses=edit.clauses[:-1])
            nothing = replace(edit, clauses=tuple((text, 0.0) for text, _ in edit.clauses))
            back = [saved(editor.apply(e).avatar) for e in (less, nothing, replace(edit, clauses=()))]
            turned = saved(editor.apply(replace(edit, clauses=edit.clauses[::-1])).avatar)
            fresh = saved(Editor(small).apply(less).avatar)
        except LikenessError:
            continue  # counted by the suite
        tried += 1
        removed += back == [fresh, saved(small), saved(small)]
        order += turned == whole
    return Exactness(removed, order, tried)


def saved(avatar: Avatar) -> bytes:
    """The bytes of a head's file."""
    buffer = io.BytesIO()
    save_avatar(avatar, buffer)
    return buffer.getvalue()


@dataclass(frozen=True)
class Seconds:
    """Medians on maps of full size, after the head has been read: what a visitor waits. read: of reading it."""

    read: float
    preview: float
    final: float


def seconds(heads: Sequence[Subject], method: str, model: str = "bundled") -> Seconds:
    """Timed with a few prompts on a few heads."""
    read, preview, final = [], [], []
    for subject in heads[:TIMED_HEADS]:
        editor = Editor(subject.avatar)
        started = time.perf_counter()
        _ = editor.subject
        read.append(time.perf_counter() - started)
        for prompt in TIMED_PROMPTS:
            edit = request(prompt, method, model)
            for run, kept in ((editor.preview, preview), (editor.apply, final)):
                started = time.perf_counter()
                try:
                    run(edit)
                except LikenessError:
                    continue
                kept.append(time.perf_counter() - started)
    return Seconds(*(statistics.median(x) if x else math.nan for x in (read, preview, final)))


# ---------------------------------------------------------------------------------------------- the report


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % confidence interval. of: how many tries it is of."""

    value: float
    low: float
    high: float
    of: int


def estimate(outcomes: Sequence[Outcome], value: Callable[[Outcome], float], seed: int = BOOTSTRAP_SEED) -> Estimate:
    """The mean over heads and prompts. Both are samples, so the bootstrap draws both anew (Owen 2007, "The pigeonhole
    bootstrap"). What is no number is left out; without any number, the estimate is none."""
    heads, prompts = (sorted({getattr(o, name) for o in outcomes}) for name in ("head", "prompt"))
    table = np.full((len(heads), len(prompts)), np.nan)
    for o in outcomes:
        table[heads.index(o.head), prompts.index(o.prompt)] = value(o)
    known = np.isfinite(table)
    if not known.any():
        return Estimate(math.nan, math.nan, math.nan, 0)
    rng = np.random.default_rng(seed)
    filled, means = np.where(known, table, 0.0), []
    for _ in range(ROUNDS):
        rows, cols = (rng.integers(0, n, n) for n in table.shape)
        count = known[np.ix_(rows, cols)].sum()
        if count:
            means.append(filled[np.ix_(rows, cols)].sum() / count)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(float(filled.sum() / known.sum()), float(low), float(high), int(known.sum()))


@dataclass(frozen=True)
class Measured:
    """A method, measured. success: by kind, and of singles with synonyms and of both compounds together. verdicts: how
    often each. failing: prompts that fail oftenest, and on how many heads. leaking: what leaks most, and how often."""

    method: str
    success: Mapping[str, Estimate]
    leakage: Estimate
    expression_leakage: Estimate
    shape_mm: Estimate
    skin: Estimate
    recognised: Estimate
    verdicts: Mapping[str, int]
    failing: Mapping[str, int]
    leaking: Mapping[str, int]
    seconds: Seconds
    exact: Exactness


SINGLES, COMPOUNDS = "singles and synonyms", "compounds"


def summary(method: str, outcomes: Sequence[Outcome], timed: Seconds, exact: Exactness) -> Measured:
    """What the outcomes of a method say."""

    def success(o: Outcome) -> float:
        return float(o.success)

    groups = {kind: [o for o in outcomes if o.kind == kind] for kind in KINDS}
    groups[SINGLES] = groups["single"] + groups["synonym"]
    groups[COMPOUNDS] = groups["compound of 2"] + groups["compound of 3"]
    return Measured(
        method,
        {name: estimate(some, success) for name, some in groups.items() if some},
        estimate(outcomes, lambda o: o.leakage),
        estimate(outcomes, lambda o: o.expression_leakage),
        estimate(outcomes, lambda o: o.shape_mm),
        estimate(outcomes, lambda o: o.skin),
        estimate(outcomes, lambda o: float(o.recognised) if math.isfinite(o.shape_mm) else math.nan),
        _counted(o.verdict for o in outcomes),
        _counted(o.prompt for o in outcomes if not o.success),
        _counted(o.worst for o in outcomes if o.worst_spreads > 1),
        timed,
        exact,
    )


def _counted(names: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True)
class Bar:
    """A bar of the project: what was measured and what it has to be, with whether it is."""

    name: str
    measured: float
    wanted: str
    passed: bool


def bars(measured: Measured) -> list[Bar]:
    """The project's bars for a method. A kind that was not tried has no bar."""
    found = []
    for name, least in ((SINGLES, BAR_SINGLE), (COMPOUNDS, BAR_COMPOUND)):
        if name in measured.success:
            value = measured.success[name].value
            found.append(Bar(f"success on {name}", value, f">= {least:.0%}", value >= least))
    for name, value in (
        ("leakage into looks, sd", measured.leakage.value),
        ("leakage into expressions, sd", measured.expression_leakage.value),
    ):
        found.append(Bar(name, value, f"<= {BAR_LEAKAGE}", value <= BAR_LEAKAGE))
    exact = measured.exact
    for name, count in (("removing is exact", exact.removed), ("order does not matter", exact.order)):
        found.append(Bar(name, count / max(exact.of, 1), f"{exact.of} of {exact.of}", 0 < exact.of == count))
    return found


def validity(judge: Judge | None = None) -> list[dict[str, Any]]:
    """How good each oracle of looks is: correlation with the true label over painted and generated people who were kept
    aside, and the spread over people that is its unit."""
    judge = judge or load_judge()
    rows = []
    for i, oracle in enumerate(APPEARANCE):
        painted, generated = (round(x, 3) if math.isfinite(x) else None for x in judge.validity[:, i].tolist())
        rows.append(
            {
                "name": oracle.name,
                "title": oracle.title,
                "how": oracle.how,
                "label": oracle.label,
                "painted": painted,
                "generated": generated,
                "spread": float(judge.spread[i]),
                "unit": oracle.unit,
            }
        )
    return rows


def document(
    measured: Sequence[Measured], outcomes: Mapping[str, Sequence[Outcome]], heads: Sequence[Subject]
) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "heads": [{"name": h.name, "kind": h.kind, "seed": h.seed} for h in heads],
        "methods": [{**asdict(m), "bars": [asdict(bar) for bar in bars(m)]} for m in measured],
        "oracles": validity(),
        "outcomes": {method: [_plain(o) for o in some] for method, some in outcomes.items()},
    }


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        name: round(value, 4) if isinstance(value, float) and math.isfinite(value) else value
        for name, value in asdict(outcome).items()
        if not (isinstance(value, float) and math.isnan(value))
    }
