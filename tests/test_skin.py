"""Edits of the maps: exact for random heads, local on photos, and nothing moves without a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core import pipeline
from core.avatar import Avatar
from core.color import luminance
from core.generation import LARGEST_COORDINATE
from core.head import load_head
from core.synthesis.features import canvas_of
from editing import attributes
from editing.attributes import COUNT, INDEX, Subject, read_subject
from editing.latents import latent_of, moved
from editing.skin import edited_materials

SIZE = 256


@pytest.fixture(scope="module")
def drawn() -> Avatar:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SKIN_PX", SIZE)
        return pipeline.generate(3, {"freckles": 0.0, "moustache": 0.0, "beard": 0.0})


@pytest.fixture(scope="module")
def subject(drawn: Avatar) -> Subject:
    return read_subject(drawn)


@pytest.fixture(scope="module")
def photo(drawn: Avatar) -> Subject:
    """The same head as if it came from a photo, its light left in one of its maps."""
    lit = (drawn.materials.skin_albedo.float() * 0.8).to(torch.uint8)
    materials = replace(drawn.materials, skin_photo=lit, skin_normal=None)
    provenance = replace(drawn.provenance, source="photo")
    return read_subject(replace(drawn, materials=materials, provenance=provenance, latent=None, generator=None))


def edited(subject: Subject, size: int | None = None, **amounts: float):
    change = torch.zeros(COUNT)
    for name, amount in amounts.items():
        change[INDEX[name]] = amount
    return edited_materials(subject, latent_of(subject), moved(subject, change), size)


def lightness(skin: torch.Tensor) -> torch.Tensor:
    return luminance(skin.float() / 255)[0]


def test_maps_that_nothing_changes_are_the_same_tensors(subject, photo):
    for head in (subject, photo):
        before = head.avatar.materials
        assert edited(head) is before
        smiling = edited(head, jawOpen=0.5, nose_width=1.0)
        assert smiling.skin_albedo is before.skin_albedo and smiling.eye_albedo is before.eye_albedo
        assert edited(head, iris_melanin=-0.3).skin_albedo is before.skin_albedo
        bearded = edited(head, beard_chin=0.8)
        assert bearded.eye_albedo is before.eye_albedo and bearded.mouth_albedo is before.mouth_albedo


def test_a_random_head_becomes_the_person_that_would_have_been_drawn(subject, drawn, monkeypatch):
    monkeypatch.setattr(pipeline, "SKIN_PX", SIZE)
    change = torch.zeros(COUNT)
    change[INDEX["melanin"]], change[INDEX["age_years"]] = 0.3, 15
    labels = moved(subject, change).labels()
    assert subject.person.latent.abs().max() < LARGEST_COORDINATE
    expected = pipeline.generate(3, labels).materials
    made = edited(subject, melanin=0.3, age_years=15)
    off = (made.skin_albedo.int() - expected.skin_albedo.int()).abs()
    assert float(off.float().mean()) < 0.5 and int(off.max()) <= 6


@pytest.mark.parametrize("which", ["subject", "photo"])
def test_what_is_drawn_on_one_place_leaves_the_others_as_they_are(which, request):
    head = request.getfixturevalue(which)
    before = head.avatar.materials
    masks = canvas_of(load_head(), SIZE).masks
    made = edited(head, lipstick=0.9, lipstick_hue=0.0)
    changed = (made.skin_albedo != before.skin_albedo).any(0)
    lips = torch.nn.functional.max_pool2d(masks["lipstick"][None, None], 3, 1, 1)[0, 0] > 0
    assert float(changed[masks["lipstick"] > 0.3].float().mean()) > 0.9
    assert not bool(changed[~lips].any())
    if before.skin_photo is not None:
        assert torch.equal((made.skin_photo != before.skin_photo).any(0) & ~lips, torch.zeros_like(lips))


def test_a_photo_keeps_its_own_detail_when_its_tone_changes(photo):
    before, made = photo.avatar.materials, edited(photo, melanin=0.25)
    masks = canvas_of(load_head(), SIZE).masks
    cheek = masks["freckled"] > 0.5

    def detail(skin):
        fine = lightness(skin).log() - torch.nn.functional.avg_pool2d(lightness(skin).log()[None, None], 7, 1, 3)[0, 0]
        return fine[cheek]

    assert float(lightness(made.skin_albedo)[cheek].mean()) < 0.8 * float(lightness(before.skin_albedo)[cheek].mean())
    together = torch.corrcoef(torch.stack([detail(before.skin_albedo), detail(made.skin_albedo)]))[0, 1]
    assert float(together) > 0.9
    # The map with the photo's light in it changes in the same proportion.
    assert made.skin_photo is not None and before.skin_photo is not None
    assert float(lightness(made.skin_photo)[cheek].mean()) < 0.85 * float(lightness(before.skin_photo)[cheek].mean())


def test_spots_and_lines_of_a_photo_are_calmed_and_others_drawn(photo):
    before = photo.avatar.materials.skin_albedo
    cheek = canvas_of(load_head(), SIZE).masks["freckled"] > 0.6

    def roughness(skin):
        log = lightness(skin).log()
        return float((log - torch.nn.functional.avg_pool2d(log[None, None], 5, 1, 2)[0, 0])[cheek].std())

    freckled = edited(photo, freckles=0.8).skin_albedo
    assert roughness(freckled) > 1.3 * roughness(before)
    spotted = replace(photo.avatar, materials=replace(photo.avatar.materials, skin_albedo=freckled))
    clear = replace(photo, avatar=spotted)
    assert roughness(edited(clear, freckles=-1).skin_albedo) < 0.8 * roughness(freckled)
    assert roughness(edited(photo, detail=-0.8).skin_albedo) < 0.6 * roughness(before)
    assert roughness(edited(photo, detail=0.8).skin_albedo) > 1.4 * roughness(before)


def test_a_beard_comes_and_goes(subject, photo):
    chin = canvas_of(load_head(), SIZE).masks["beard"] > 0.5
    full = dict(beard_chin=1.0, beard_cheeks=1.0, moustache=1.0, stubble=1.0)
    for head in (subject, photo):
        before = lightness(head.avatar.materials.skin_albedo)[chin].mean()
        bearded = edited(head, **full)
        assert float(lightness(bearded.skin_albedo)[chin].mean()) < 0.85 * float(before)
        worn = replace(head, avatar=replace(head.avatar, materials=bearded))
        if head is photo:
            known = replace(worn, person=replace(head.person, labels=replace(head.person.labels, stubble=0.6)))
            known = replace(known, values=head.values.clone())
            known.values[INDEX["stubble"]] = 0.6
            shaved = edited(known, stubble=-1.0)
            assert float(lightness(shaved.skin_albedo)[chin].mean()) > 0.9 * float(before)


def test_irises_change_and_the_white_of_the_eye_does_not(subject, photo):
    for head in (subject, photo):
        before = head.avatar.materials.eye_albedo.float()
        made = edited(head, iris_melanin=-0.9, iris_green=0.8).eye_albedo.float()
        size = before.shape[-1]
        y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        radius = ((x - size / 2 + 0.5) ** 2 + (y - size / 2 + 0.5) ** 2).sqrt() / size
        iris, white = (radius > 0.08) & (radius < 0.12), radius > 0.25
        greener = (made[1] - made[0])[iris].mean() - (before[1] - before[0])[iris].mean()
        assert float(greener) > 10
        assert float((made - before)[:, white].abs().max()) <= 1


def test_a_quick_look_is_close_to_the_real_thing(subject, photo):
    for head in (subject, photo):
        quick = edited(head, size=128, melanin=0.2, age_years=20).skin_albedo.float()
        whole = edited(head, melanin=0.2, age_years=20.0).skin_albedo.float()
        assert float((quick - whole).abs().mean()) < 4
        assert quick.shape == whole.shape


def test_photos_of_others_are_guessed_apart(photo):
    assert not photo.exact and photo.person.seed == attributes.PHOTO_SEED
