from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pixel_model import PixelModel
from torch.nn import functional

from core.albedo.bundled import albedo_gan
from core.avatar import Avatar, Provenance, QualityReport
from core.errors import LikenessError
from core.generation import Wish, generate_head
from core.head import load_head
from core.synthesis.people import Labels, iris_colour
from editing import optimise as module
from editing.attributes import INDEX, Subject, read_subject
from editing.latents import EditLatent, latent_of
from editing.optimise import OptimiseSettings, Step, optimise

QUICK = OptimiseSettings(steps=6, size_px=32, augmentations=2, yaws_rad=(-0.5, 0.5))


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A random head with small maps."""
    head = load_head()
    made = generate_head(head, Wish(4), 64, preview=True)
    neutral = head.neutral()
    avatar = Avatar(
        name="random 4",
        head_model=head.name,
        shape=made.shape,
        expression=neutral.expression[0],
        joint_rotations=neutral.joint_rotations[0],
        materials=made.materials,
        camera=None,
        light=None,
        provenance=Provenance("generated", 4, truncation=Wish(4).truncation),
        quality=QualityReport(1.0, (), "A random head."),
        latent=made.latent,
        generator=albedo_gan().fingerprint,
    )
    return read_subject(avatar)


@pytest.fixture(scope="module")
def model(subject: Subject) -> PixelModel:
    """It knows "dark": where pictures of the head go when its skin darkens."""
    model = PixelModel()
    scene = _scene(subject, latent_of(subject), latent_of(subject))
    camera = module.camera_of(torch.tensor([0.0]), torch.zeros(1), 32)
    picture = scene.base_pictures(camera, 0.85)
    darker = torch.where(picture < 0.8, 0.6 * picture, picture)
    change = (model.embed_images(darker) - model.embed_images(picture))[0]
    model.places["dark"] = 0.3 * functional.normalize(change, dim=0)
    return model


def _scene(subject: Subject, base: EditLatent, start: EditLatent) -> module._Scene:
    worn = [module._worn(subject, base, latent) for latent in (base, start)]
    return module._Scene(load_head(), *worn)


def run(model: PixelModel, subject: Subject, settings: OptimiseSettings = QUICK, **options: object) -> list[Step]:
    arguments = {"start": latent_of(subject), "clauses": [("dark", 1.0)], **options}
    return list(optimise(model, subject, settings=settings, **arguments))  # pyright: ignore[reportArgumentType]


def test_it_lowers_the_loss_and_makes_the_skin_darker(model: PixelModel, subject: Subject):
    base = latent_of(subject)
    steps = run(model, subject, replace(QUICK, steps=10))
    rounds = [sum(step.loss for step in steps[i : i + 2]) / 2 for i in range(0, 10, 2)]
    assert rounds[-1] < rounds[0] - 0.05
    scene = _scene(subject, base, base)
    camera = module.camera_of(torch.tensor([0.0]), torch.zeros(1), 32)
    with torch.no_grad():
        before, after = (scene.pictures(scene.coordinates(x), camera, 0.85) for x in (base, steps[-1].latent))
    skin = before < 0.8
    assert float(after[skin].mean()) < float(before[skin].mean()) - 0.005


def test_fractions_rise_to_one_and_some_steps_are_shown(model: PixelModel, subject: Subject):
    steps = run(model, subject)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions) and fractions[-1] == 1 and len(steps) == QUICK.steps
    assert [step.show for step in steps] == [False, False, False, True, False, True]


def test_the_same_arguments_give_the_same_steps_and_another_seed_others(model: PixelModel, subject: Subject):
    first, second, other = (run(model, subject, replace(QUICK, steps=1, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first[-1].latent.vector, second[-1].latent.vector)
    assert not torch.equal(first[-1].latent.vector, other[-1].latent.vector)


def test_it_can_be_left_at_any_step(model: PixelModel, subject: Subject):
    whole = run(model, subject, replace(QUICK, steps=2))
    steps = optimise(model, subject, latent_of(subject), [("dark", 1.0)], settings=replace(QUICK, steps=2))
    assert torch.equal(next(steps).latent.vector, whole[0].latent.vector)
    steps.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_it_ends_when_nothing_is_gained(model: PixelModel, subject: Subject):
    still = replace(QUICK, steps=40, rates=tuple((name, 1e-9) for name in module.MOVED), patience=1)
    steps = run(model, subject, still)
    assert len(steps) == 2 * 2 and steps[-1].fraction == 1 and steps[-1].show


@pytest.mark.parametrize(
    ("lock", "held"), [("shape", ("shape",)), ("skin", ("albedo",)), ("expression", ("expression",))]
)
def test_locked_groups_stay(model: PixelModel, subject: Subject, lock: str, held: tuple[str, ...]):
    base = latent_of(subject)
    end = run(model, subject, replace(QUICK, steps=2), locks=(lock,))[-1].latent
    for name in ("albedo", "shape", "expression", "iris"):
        moved = not torch.equal(end.group(name), base.group(name))  # pyright: ignore[reportArgumentType]
        if name in held:
            assert not moved
    assert not torch.equal(end.vector, base.vector)


def test_what_has_no_gradient_stays_as_the_start_has_it(model: PixelModel, subject: Subject):
    start = latent_of(subject)
    person = start.group("person").clone()
    person[0] += 5.0
    start = start.replaced(person=person)
    end = run(model, subject, replace(QUICK, steps=2), start=start)[-1].latent
    for name in ("person", "hair", "detail"):
        assert torch.equal(end.group(name), start.group(name))


def test_weights_of_expressions_stay_in_range(model: PixelModel, subject: Subject):
    wild = replace(QUICK, steps=4, rates=tuple((name, 0.5) for name in module.MOVED))
    end = run(model, subject, wild)[-1].latent
    assert float(end.group("expression").min()) >= 0 and float(end.group("expression").max()) <= 1
    assert bool(end.vector.isfinite().all())


def test_identity_keeps_the_form(model: PixelModel, subject: Subject):
    scene = _scene(subject, latent_of(subject), latent_of(subject))
    strong = replace(QUICK, steps=3, same_form=20.0)
    ends = [run(model, subject, strong, keep_identity=keep)[-1].latent for keep in (0.0, 1.0)]
    free, kept = (float(scene.displacement(end.group("shape"))) for end in ends)
    assert kept < free


@pytest.mark.parametrize("clauses", [[], [("dark", 0.0)], [("pikachu", 1.0)]])
def test_nothing_to_do_gives_the_start(model: PixelModel, subject: Subject, clauses: list[tuple[str, float]]):
    (step,) = run(model, subject, clauses=clauses)
    assert torch.equal(step.latent.vector, latent_of(subject).vector) and step.fraction == 1


@pytest.mark.parametrize("keep", [-0.1, 1.1, float("nan")])
def test_identity_out_of_range_is_refused(model: PixelModel, subject: Subject, keep: float):
    with pytest.raises(LikenessError, match="from 0 to 1"):
        run(model, subject, keep_identity=keep)


def test_the_start_is_seen_as_it_is(subject: Subject):
    """The pictures of unmoved coordinates are those of the head itself."""
    base = latent_of(subject)
    scene = _scene(subject, base, base)
    camera = module.camera_of(torch.tensor([0.0, 0.6]), torch.zeros(2), 48)
    with torch.no_grad():
        assert torch.allclose(
            scene.pictures(scene.coordinates(base), camera, 0.7), scene.base_pictures(camera, 0.7), atol=2e-3
        )
    assert torch.equal(scene.latent(scene.coordinates(base)).vector, base.vector)


def test_irises_have_the_colours_of_people():
    for melanin, green in ((0.0, 0.0), (0.4, 1.0), (0.55, 0.3), (0.72, 0.0), (1.0, 0.5)):
        expected = torch.tensor(iris_colour(Labels(iris_melanin=melanin, iris_green=green)))
        found = module._iris(torch.tensor([melanin, green]))
        assert torch.allclose(found, expected.clamp_min(module.LEAST_COLOUR), atol=3e-3)
    assert INDEX["iris_green"] == INDEX["iris_melanin"] + 1
