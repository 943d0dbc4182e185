"""The judges of edits, the suite and its sums: do they see what is there, count right, and catch who cheats?"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from core.errors import FileError, LikenessError
from core.generation import Wish, generate_head, labels_from
from core.head import load_head
from core.synthesis.people import LABEL_NAMES
from editing import evaluation, oracles, suite
from editing.edit import Editor
from editing.evaluation import Outcome, Seconds, Subject, estimate
from editing.oracles import APPEARANCE, INDEX, ORACLES, columns, load_judge
from editing.suite import COMPANIONS, KINDS, SUITE
from tests.tiny_head import make_avatar, tiny_head

SEED = 8


@pytest.fixture(scope="module")
def judge():
    return load_judge()


def generated(**labels: float) -> torch.Tensor:
    """What the oracles of looks say of a person with these labels or traits."""
    made = generate_head(load_head(), Wish(SEED, labels_from(labels)), oracles.MAP_PX, preview=True)
    found = oracles.readings(load_head(), made.shape, made.materials.skin_albedo, made.materials.eye_albedo)
    return load_judge().appearance(found, made.shape)


@pytest.fixture(scope="module")
def plain() -> torch.Tensor:
    return generated()


# ------------------------------------------------------------------------------------------------- oracles


# What can be told apart is given to one person at once, since each costs a third of a second.
@pytest.mark.parametrize(
    ("labels", "least"),
    [
        ({"age": 75.0}, {"age": 1.0}),
        ({"skin_tone": 0.7}, {"skin_lightness": -1.0}),
        ({"gender": 1.0, "beard": 0.9, "grey_hair": 0.0}, {"gender": 1.0, "beard": 2.0}),
        (
            {"weight": 1.0, "freckles": 0.7, "lipstick": 0.9, "eye_colour": 0.0, "green_eyes": 0.0},
            {"weight": 1.0, "freckles": 1.0, "lip_redness": 0.5, "iris_blue": 1.0},
        ),
        ({"eye_colour": 0.0, "green_eyes": 1.0, "flush": 0.9, "brows": 0.95}, {"iris_green": 1, "flush": 0.8}),
        ({"wrinkles": 0.8, "under_eye": 0.9}, {"wrinkles": 1.0, "under_eye": 0.8}),
        ({"grey_hair": 0.9}, {"grey": 1.0}),
        ({"brows": 0.95}, {"brow_density": 0.8, "brow_thickness": 1.0}),
    ],
)
def test_an_oracle_sees_what_a_person_has(judge, plain, labels, least):
    after = generated(**labels)
    for name, wanted in least.items():
        i = INDEX[name]
        moved = float((after[i] - plain[i]) / judge.spread[i])
        assert moved * math.copysign(1, wanted) >= abs(wanted), name


# The head model's parts, and what is measured of each.
PARTS = {
    "nose_width": "nose_width", "nose_length": "nose_length", "nose_bridge": "nose_bridge",
    "lips_fullness": "lip_height", "mouth_width": "mouth_width", "jaw_width": "jaw_width",
    "chin_length": "chin_length", "chin_projection": "chin_projection", "cheekbones": "cheekbones",
    "eye_size": "eye_opening", "eye_spacing": "eye_spacing", "brow_height": "brow_height",
    "ears_size": "ear_height", "face_length": "face_length", "face_width": "face_width",
    "forehead_height": "forehead_height",
}  # fmt: skip


def test_a_part_is_measured_by_its_own_oracle_first(judge):
    """+1 of a part is a clear change: about 1.7 deviations of what it is called after, and hardly more of another
    length than of that."""
    head = load_head()
    before = oracles.shape_readings(head, torch.zeros(head.shape_count))
    for part, name in PARTS.items():
        direction = head.attribute_directions[head.attribute_names.index(part)]
        after = oracles.shape_readings(head, direction)
        moved = {key: (after[key] - before[key]) / float(judge.spread[INDEX[key]]) for key in before if key in INDEX}
        assert 0.8 < moved[name] < 2.3, part
        assert moved[name] > 0.75 * max(map(abs, moved.values())), part


def test_lengths_are_those_of_a_head_in_millimetres():
    """Adults' noses are 30 to 45 mm wide, ears about 60 mm high; a head that is scaled measures by as much more."""
    head = load_head()
    found = oracles.shape_readings(head, torch.zeros(head.shape_count))
    assert 30 < found["nose_width"] < 45 and 50 < found["ear_height"] < 70 and 100 < found["face_length"] < 130
    larger = replace(head, template=head.template * 1.1)
    for name, value in oracles.shape_readings(larger, torch.zeros(head.shape_count)).items():
        assert value == pytest.approx(found[name] * 1.1, rel=1e-4, abs=1e-3), name


def test_skin_and_eyes_tell_nothing_of_the_shape(plain):
    """Lengths, ancestry, gender and weight are read from the shape alone, colours from the maps alone."""
    coloured = generated(freckles=0.9, flush=0.9)
    by_shape = [i for i, o in enumerate(APPEARANCE) if o.group == "shape" or o.inputs == ("shape",)]
    assert torch.equal(coloured[by_shape], plain[by_shape])
    assert len(by_shape) == 22


def test_lab_is_that_of_others():
    """Beside scikit-image's, a matrix of its own with a few digits less."""
    color = pytest.importorskip("skimage.color")
    srgb = np.random.default_rng(0).random((64, 3))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    ours = oracles.lab(torch.from_numpy(linear).float()).numpy()
    assert np.abs(ours - color.rgb2lab(srgb[None])[0]).max() < 0.02


def test_lines_are_told_from_spots():
    """A dark line of the filters' width and direction answers with about its depth, one between two directions with a
    part of it; a spot as dark and as wide with less, an even tone and a slope with nothing."""
    y, x = np.mgrid[:96, :96].astype(float)
    kernels = oracles._line_kernels()
    assert float(kernels.sum((1, 2, 3)).abs().max()) < 1e-5

    def strongest(image: np.ndarray) -> float:
        light = torch.from_numpy(image).float()[None, None]
        answers = torch.nn.functional.conv2d(light, kernels, padding="same")[0, :, 16:-16, 16:-16]
        return float(answers.amax())

    for degrees in (0, 30, 60, 90, 120):
        here, between = (
            (x - 48) * math.sin(math.radians(angle)) - (y - 48) * math.cos(math.radians(angle))
            for angle in (degrees, degrees + 15)
        )
        assert 0.7 < strongest(-np.exp(-0.5 * here**2)) < 1.1
        assert strongest(-np.exp(-0.5 * between**2)) > 0.3
    assert strongest(-np.exp(-0.5 * ((x - 48) ** 2 + (y - 48) ** 2))) < 0.3
    assert abs(strongest(np.ones((96, 96)))) < 1e-4 and abs(strongest(x / 10)) < 1e-4


def test_a_map_of_another_size_reads_alike(judge, plain):
    """A map of twice the size with the same picture gives the same readings."""
    made = generate_head(load_head(), Wish(SEED), oracles.MAP_PX, preview=True)
    wide = made.materials.skin_albedo.repeat_interleave(2, 1).repeat_interleave(2, 2)
    found = oracles.readings(load_head(), made.shape, wide, made.materials.eye_albedo)
    moved = (judge.appearance(found, made.shape) - plain) / judge.spread[: len(APPEARANCE)]
    assert float(moved.abs().max()) < 0.02


def test_the_judge_is_good(judge):
    """Regressed oracles follow the truth on people that they were not taught on."""
    for i, oracle in enumerate(APPEARANCE):
        painted = float(judge.validity[0, i])
        if oracle.label is None:
            assert math.isnan(painted)
        else:
            assert painted > 0.65, oracle.name
    assert bool((judge.spread > 0).all()) and bool((judge.most > judge.least).all())
    assert [ORACLES[i].name for i in columns("mouthSmile")] == ["mouthSmileLeft", "mouthSmileRight"]


def test_the_judge_comes_back_from_its_file(judge, tmp_path, monkeypatch):
    path = tmp_path / "judge.safetensors"
    path.write_bytes(oracles.judge_bytes(judge))
    monkeypatch.setattr(oracles, "weights_path", lambda name: path)
    again = oracles.load_judge.__wrapped__()
    assert again.inputs == judge.inputs
    assert all(torch.equal(getattr(again, n), getattr(judge, n)) for n in ("slopes", "offset", "spread", "mean"))
    monkeypatch.setattr(oracles, "ORACLES", ORACLES[1:])
    with pytest.raises(FileError, match=r"recipes\.oracles"):
        oracles.load_judge.__wrapped__()


def test_the_same_people_teach_the_same_judge():
    rng = np.random.default_rng(3)
    head = load_head()
    person = {name: 1.0 for name in _some_readings()}

    def people(count: int) -> oracles.Examined:
        found = [{name: float(rng.normal(value, 1)) for name, value in person.items()} for _ in range(count)]
        labels = [replace(oracles.Labels(), age_years=50 + 10 * f["lines_lines"]) for f in found]
        return oracles.Examined(found, torch.zeros(count, head.shape_count), labels)

    teach, aside = people(300), people(60)
    first, second = (oracles.train_judge(teach, aside, aside) for _ in range(2))
    assert torch.equal(first.slopes, second.slopes)
    # What was made to follow a reading is found to.
    assert float(first.validity[0, INDEX["age"]]) > 0.95
    # Who may not look, does not.
    skin_of_gender = [i for i, name in enumerate(first.inputs) if not name.startswith("shape_")]
    assert not bool(first.slopes[INDEX["gender"], skin_of_gender].any())


def _some_readings() -> list[str]:
    made = generate_head(load_head(), Wish(SEED), 64, preview=True)
    return list(oracles.readings(load_head(), made.shape, made.materials.skin_albedo, made.materials.eye_albedo))


# ------------------------------------------------------------------------------------------------- the suite


def test_the_suite_is_well_formed():
    prompts = [case.prompt for case in SUITE]
    assert len(prompts) >= 80 and len(set(prompts)) == len(prompts)
    assert {case.kind for case in SUITE} == set(KINDS)
    for case in SUITE:
        assert case.wants and case.prompt.strip() == case.prompt
        assert {"compound of 2": 2, "compound of 3": 3}.get(case.kind, 1) == len(case.wants), case.prompt
        assert (case.kind == "negation") == bool(case.prepared), case.prompt
        assert 0 < case.share <= 1
        for want in case.wants:
            assert want.sign in (1, -1)
            assert all(columns(name) for name in want.oracles)
        names = load_head().expression_names
        labels_from({name: value for name, value in case.prepared.items() if name not in names})
    for name, others in COMPANIONS.items():
        assert all(columns(other) for other in (name, *others))
        assert name not in others


def test_some_of_the_suite_is_of_every_kind():
    some = evaluation.chosen_cases(30)
    assert len(some) == 30 and {case.kind for case in some} == set(KINDS)
    assert evaluation.chosen_cases() == list(SUITE) == evaluation.chosen_cases(10_000)


# ------------------------------------------------------------------------------------------------- judging


def case_of(prompt: str) -> suite.Case:
    (case,) = [case for case in SUITE if case.prompt == prompt]
    return case


def moved_by(judge, before: torch.Tensor, **spreads: float) -> torch.Tensor:
    after = before.clone()
    for name, amount in spreads.items():
        for row in columns(name):
            after[row] += amount * judge.spread[row]
    return after


@pytest.fixture
def middling(judge) -> torch.Tensor:
    """Somebody who has nothing in plenty."""
    return (judge.least + judge.most) / 2 * torch.tensor([o.group != "expression" for o in ORACLES])


@pytest.mark.parametrize(
    ("prompt", "moves", "wanted"),
    [
        ("older", {"age": 0.51}, "moved"),
        ("older", {"age": 0.49}, "failed"),
        ("older", {"age": -1.0}, "failed"),
        ("younger", {"age": -0.51}, "moved"),
        ("slightly older", {"age": 0.16}, "moved"),
        ("smiling", {"mouthSmile": 1.0}, "moved"),
        ("smiling", {"mouthSmile": 0.9}, "failed"),
        ("winking", {"eyeBlinkLeft": 1.5}, "moved"),
        ("older, smiling", {"age": 0.6, "mouthSmile": 1.0}, "moved"),
        ("older, smiling", {"age": 0.6}, "failed"),
        ("strong chin", {"chin_length": 0.6}, "moved"),
    ],
)
def test_success_is_half_a_deviation_of_all_that_is_named(judge, middling, prompt, moves, wanted):
    case = case_of(prompt)
    assert evaluation.verdict(case, middling, moved_by(judge, middling, **moves), judge, True)[0] == wanted


def test_a_negation_must_not_add_what_is_not_there(judge, middling):
    case = case_of("no freckles")
    more, less = (moved_by(judge, middling, freckles=x) for x in (0.3, -0.05))
    assert evaluation.verdict(case, middling, middling, judge, False)[0] == "nothing to take away"
    assert evaluation.verdict(case, middling, less, judge, False)[0] == "nothing to take away"
    assert evaluation.verdict(case, middling, more, judge, False)[0] == "failed"
    # Of somebody who was given freckles, they have to go.
    assert evaluation.verdict(case, middling, less, judge, True)[0] == "failed"


def test_who_has_it_already_has_to_keep_it(judge, middling):
    case, i = case_of("older"), INDEX["age"]
    old = middling.clone()
    old[i] = judge.most[i]
    assert evaluation.verdict(case, old, old, judge, False)[0] == "has enough"
    assert evaluation.verdict(case, old, moved_by(judge, old, age=-0.2), judge, False)[0] == "failed"
    assert evaluation.verdict(case, old, moved_by(judge, old, age=0.6), judge, False)[0] == "moved"
    # Who gets there by less than a step is there; a man is one without looking more so than nineteen of twenty.
    nearly = moved_by(judge, old, age=-0.4)
    assert evaluation.verdict(case, nearly, old, judge, False)[0] == "has enough"
    man = middling.clone()
    man[INDEX["gender"]] = 0.8
    assert evaluation.verdict(case_of("masculine"), man, man, judge, False)[0] == "has enough"
    assert evaluation.verdict(case_of("feminine"), man, man, judge, False)[0] == "failed"
    # Brown eyes that become another brown are brown.
    brown, other = middling.clone(), middling.clone()
    brown[INDEX["iris_green"]], other[INDEX["iris_green"]] = -9.0, -7.0
    assert evaluation.verdict(case_of("brown eyes"), brown, other, judge, False)[0] == "has enough"


def test_leakage_counts_what_is_neither_named_nor_a_companion(judge, middling):
    case = case_of("older")
    free = {"age", *COMPANIONS["age"]}
    looks = sum(o.name not in free for o in APPEARANCE)
    after = moved_by(judge, middling, age=3.0, wrinkles=2.0, iris_blue=-1.0, mouthSmile=0.5)
    appearance, expression, worst, amount = evaluation.leaks(case, middling, after, judge)
    assert appearance == pytest.approx(1 / looks, rel=1e-4)
    assert worst == "iris_blue" and amount == pytest.approx(1, rel=1e-4)
    sides = 52 - sum(len(rows) - 1 for rows in oracles.BOTH_SIDES.values())
    assert expression == pytest.approx(0.5 / sides, rel=1e-4)
    assert evaluation.leaks(case, middling, middling, judge)[:2] == (0.0, 0.0)


# ------------------------------------------------------------------------------------------------- sums


def outcome(prompt: str, head: str, success: bool, kind: str = "single", leakage: float = 0.1) -> Outcome:
    return Outcome(
        prompt, kind, head, "moved" if success else "failed", (1.0,), leakage, 0.0, "age", 0.5, 0.3, 0.9, True, 0.1
    )


def test_intervals_are_those_of_a_resampling_of_heads_and_prompts():
    rng = np.random.default_rng(0)
    table = rng.random((12, 40)) < 0.8
    some = [outcome(f"p{k}", f"h{i}", bool(table[i, k])) for i in range(12) for k in range(40)]
    found = estimate(some, lambda o: float(o.success))
    assert found.value == pytest.approx(table.mean()) and found.of == 480
    assert found.low < found.value < found.high
    # Independent tries: not far from the binomial's interval.
    half = 1.96 * math.sqrt(0.8 * 0.2 / 480)
    assert half < (found.high - found.low) / 2 < 2.5 * half
    assert estimate(some, lambda o: float(o.success)) == found
    # Where heads differ, few heads say little however many prompts were tried.
    by_head = [outcome(f"p{k}", f"h{i}", i < 6) for i in range(12) for k in range(40)]
    wide = estimate(by_head, lambda o: float(o.success))
    assert wide.high - wide.low > 3 * (found.high - found.low)


def test_an_estimate_leaves_out_what_is_no_number():
    some = [outcome("a", "x", True, leakage=math.nan), outcome("b", "x", True, leakage=0.4)]
    assert estimate(some, lambda o: o.leakage).value == pytest.approx(0.4)
    nothing = estimate(some, lambda o: math.nan)
    assert math.isnan(nothing.value) and nothing.of == 0
    always = estimate([outcome("a", "x", True), outcome("a", "y", True)], lambda o: float(o.success))
    assert (always.value, always.low, always.high) == (1, 1, 1)


def test_the_report_holds_all_kinds_and_bars():
    some = [
        outcome(f"{kind} {k}", f"h{i}", k > 0 or kind != "negation", kind)
        for kind in KINDS
        for k in range(3)
        for i in range(2)
    ]
    refused = Outcome("pikachu", "single", "h0", "refused", refused="I don't know 'pikachu'.")
    measured = evaluation.summary("mixed", [*some, refused], Seconds(0.1, 0.2, 1.0), evaluation.Exactness(2, 2, 2))
    assert set(measured.success) == {*KINDS, evaluation.SINGLES, evaluation.COMPOUNDS}
    assert measured.success[evaluation.SINGLES].value == pytest.approx(12 / 13)
    assert measured.success["negation"].value == pytest.approx(2 / 3)
    assert measured.failing == {"negation 0": 2, "pikachu": 1}
    passed = {bar.name: bar.passed for bar in evaluation.bars(measured)}
    assert passed == {
        "success on singles and synonyms": False,
        "success on compounds": True,
        "leakage into looks, sd": True,
        "leakage into expressions, sd": True,
        "removing is exact": True,
        "order does not matter": True,
    }
    text = json.dumps(evaluation.document([measured], {"mixed": [*some, refused]}, []), allow_nan=False)
    assert json.loads(text)["methods"][0]["success"]["single"]["of"] == 7


# ------------------------------------------------------------------------------------------------- running


class Moving(Editor):
    """An editor that smiles or opens the mouth and refuses freckles. Unfair, it does no clause but the first."""

    fair = True

    def __init__(self, avatar) -> None:
        self.avatar = avatar

    def apply(self, edit):
        expression = self.avatar.expression.clone()
        for k, (text, strength) in enumerate(edit.clauses):
            if text == "freckles":
                raise LikenessError("No.")
            if strength and (self.fair or k == 0):
                name = "mouthSmile" if "smil" in text else "jawOpen"
                for row in columns(name):
                    expression[row - len(APPEARANCE)] = 0.8 * strength
        if torch.equal(expression, self.avatar.expression):
            return SimpleNamespace(avatar=self.avatar)
        return SimpleNamespace(avatar=replace(self.avatar, expression=expression))


@pytest.fixture
def subject(monkeypatch) -> Subject:
    """A head of the generator with a small map."""
    head = load_head()
    made = generate_head(head, Wish(SEED), 64, preview=True)
    bare = replace(
        make_avatar(tiny_head()),
        head_model=head.name,
        shape=made.shape,
        expression=torch.zeros(52),
        joint_rotations=head.neutral().joint_rotations[0],
        materials=made.materials,
        camera=None,
        light=None,
    )
    monkeypatch.setattr(evaluation, "Editor", Moving)
    monkeypatch.setattr(evaluation, "GALLERY", 5)
    return Subject("somebody", "photo", SEED, bare)


def test_a_run_judges_every_prompt_on_every_head(subject):
    cases = [case_of("smiling"), case_of("older"), case_of("not smiling"), case_of("no freckles")]
    cases += [suite._case("pikachu", "single", "+age"), case_of("freckles")]
    told: list[int] = []
    found = evaluation.run_suite([subject], cases, "mixed", report=lambda done, of, what: told.append(done))
    assert [o.verdict for o in found] == ["moved", "failed", "failed", "nothing to take away", "refused", "refused"]
    assert told == list(range(6))
    smiled = found[0]
    assert smiled.steps[0] == pytest.approx(0.8 / 0.3, abs=1e-3)
    assert smiled.leakage == 0 and smiled.shape_mm == 0 and smiled.skin == pytest.approx(1) and smiled.recognised
    # One by the reader of prompts, which finds nothing in it, one by the editor.
    assert "pikachu" in found[-2].refused and found[-1].refused == "No."
    assert math.isnan(found[-1].leakage)


def test_heads_are_made_smaller_once(subject):
    small = evaluation.smaller(subject.avatar, 32)
    assert small.materials.skin_albedo.shape == (3, 32, 32)
    assert evaluation.smaller(small, 32).materials == small.materials
    blocks = subject.avatar.materials.skin_albedo.float().reshape(3, 32, 2, 32, 2).mean((2, 4))
    assert float((small.materials.skin_albedo.float() - blocks).abs().max()) <= 0.5


def test_who_depends_on_the_order_is_caught(subject, monkeypatch):
    assert evaluation.exactness([subject], "mixed") == evaluation.Exactness(1, 1, 1)
    monkeypatch.setattr(Moving, "fair", False)
    assert evaluation.exactness([subject], "mixed") == evaluation.Exactness(1, 0, 1)
    assert set(LABEL_NAMES) >= {o.label for o in APPEARANCE if o.label not in (None, oracles.BEARD)}


def test_identity_knows_another_person(subject):
    identity = evaluation.Identity(load_head())
    same = identity.compare(subject.avatar, subject.avatar)
    assert same == (0.0, pytest.approx(1.0), True)
    other = replace(subject.avatar, shape=identity.gallery[0])
    distance, _, recognised = identity.compare(subject.avatar, other)
    assert distance > 1 and not recognised
