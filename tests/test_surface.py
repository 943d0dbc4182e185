"""Edits of reflectance and relief: what a word promises is measured on the maps, the rest of them does not move."""

from __future__ import annotations

import functools
from dataclasses import asdict, replace

import pytest
import torch

from core import pipeline
from core.atlas import interpolate
from core.avatar import Avatar
from core.head import load_head
from core.key_expressions import KEY_EXPRESSIONS, displacement_of, draw_wrinkles
from core.materials import DISPLACEMENT_UNIT_M, Materials
from core.reflectance.estimate import softened_normals
from core.synthesis.features import draw_features
from editing.attributes import COUNT, INDEX, Subject, read_subject
from editing.edit import Editor, TextEdit
from editing.latents import latent_of, moved
from editing.skin import edited_materials
from editing.surface import LINE_MM, bare_skin, smoothed

SIZE = 256
MAPS = ("skin_displacement", "skin_normal", "skin_diffuse_normal", "skin_specular", "skin_roughness")
MAPS = (*MAPS, "skin_translucency", "skin_occlusion", "skin_wrinkles")


def generated(**labels: float) -> Avatar:
    """A random head with all maps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SKIN_PX", SIZE)
        made = pipeline.generate(3, labels)
    relief = made.materials.skin_displacement
    assert relief is not None
    wrinkles = draw_wrinkles(load_head(), 0.4, 3, relief[0].float() * DISPLACEMENT_UNIT_M, 128)
    occlusion = torch.full((1, 64, 64), 200, dtype=torch.uint8)
    return replace(made, materials=replace(made.materials, skin_wrinkles=wrinkles, skin_occlusion=occlusion))


def photographed(head: Avatar) -> Avatar:
    """The same head as if it came from a photo."""
    lit = (head.materials.skin_albedo.float() * 0.8).to(torch.uint8)
    materials = replace(head.materials, skin_photo=lit)
    provenance = replace(head.provenance, source="photo", labels={}, seed=None, truncation=None)
    return replace(head, materials=materials, provenance=provenance, latent=None, generator=None)


@pytest.fixture(scope="module")
def drawn() -> Avatar:
    return generated(wrinkles=0.5, beard=0.0, moles=0.6)


@pytest.fixture(scope="module")
def known(drawn: Avatar) -> Editor:
    return Editor(drawn)


@pytest.fixture(scope="module")
def photo(drawn: Avatar) -> Editor:
    return Editor(photographed(drawn))


@functools.cache
def said(editor: Editor, *words: str, **options) -> Materials:
    """The maps after these words; the same edit is made once."""
    return again(editor, *words, **options)


def again(editor: Editor, *words: str, **options) -> Materials:
    return editor.apply(TextEdit(tuple((text, 1.0) for text in words), **options)).avatar.materials


def changed(subject: Subject, size: int | None = None, **amounts: float) -> Materials:
    change = torch.zeros(COUNT)
    for name, amount in amounts.items():
        change[INDEX[name]] = amount
    return edited_materials(subject, latent_of(subject), moved(subject, change), size)


@functools.cache
def region(name: str, size: int) -> torch.Tensor:
    head = load_head()
    return interpolate(head, head.region(name).float().clamp(0, 1)[:, None], size)[..., 0]


def mean(image: torch.Tensor | None, name: str) -> float:
    assert image is not None
    where = region(name, image.shape[-1])
    return float((image.float()[0] * where).sum() / where.sum())


def depth(height: torch.Tensor | None, name: str = "forehead") -> float:
    """Mean depth of what lies below its surroundings, micrometres."""
    assert height is not None
    below = (smoothed(height.float(), LINE_MM) - height.float()).clamp_min(0)
    return mean(below, name)


def relief(materials: Materials) -> torch.Tensor:
    """The displacement ``[1, U, U]``, micrometres."""
    assert materials.skin_displacement is not None
    return materials.skin_displacement.float()


def same(first: Materials, second: Materials) -> set[str]:
    return {name for name in MAPS if getattr(first, name) is getattr(second, name)}


@pytest.mark.parametrize("which", ["known", "photo"])
def test_wrinkles_rise_and_fall_in_the_relief(which, request):
    editor = request.getfixturevalue(which)
    before = editor.avatar.materials
    lined, smooth = said(editor, "wrinkled"), said(editor, "smooth skin")
    assert depth(lined.skin_displacement) > 1.3 * depth(before.skin_displacement)
    assert depth(smooth.skin_displacement) < 0.85 * depth(before.skin_displacement)
    for made in (lined, smooth):
        assert "skin_occlusion" in same(before, made) and "skin_normal" not in same(before, made)
        # What light follows is what stands there.
        height = relief(made)[0] * DISPLACEMENT_UNIT_M * 1000
        avatar = editor.avatar
        sharp, soft = softened_normals(load_head(), load_head().vertices(avatar.parameters())[0], height)
        for normals, expected in ((made.skin_normal, sharp), (made.skin_diffuse_normal, soft)):
            assert normals is not None and float((normals.int() - expected.int()).abs().float().mean()) < 0.6
    head = load_head()
    raised = [displacement_of(head, m, KEY_EXPRESSIONS["brow raiser"], SIZE)[None] for m in (smooth, before, lined)]
    depths = [depth(height) for height in raised]
    assert depths == sorted(depths) and depths[2] > 1.1 * depths[0]


@pytest.mark.parametrize("which", ["known", "photo"])
def test_oil_shines_on_nose_and_forehead_and_shapes_nothing(which, request):
    editor = request.getfixturevalue(which)
    before, oily, matte = editor.avatar.materials, said(editor, "oily skin"), said(editor, "matte skin")
    for made in (oily, matte):
        assert same(before, made) == set(MAPS) - {"skin_specular", "skin_roughness"}
    for place in ("nose", "forehead"):
        smoother = mean(before.skin_roughness, place) - mean(oily.skin_roughness, place)
        assert smoother > 8 and smoother > 1.2 * (
            mean(before.skin_roughness, "cheeks") - mean(oily.skin_roughness, "cheeks")
        )
        brighter = mean(oily.skin_specular, place) - mean(before.skin_specular, place)
        assert brighter > 1 and brighter > mean(oily.skin_specular, "cheeks") - mean(before.skin_specular, "cheeks")
        assert mean(matte.skin_roughness, place) > mean(before.skin_roughness, place) + 4
    # In a preview as well.
    quick = editor.preview(TextEdit((("oily skin", 1.0),))).avatar.materials
    assert mean(quick.skin_roughness, "nose") == pytest.approx(mean(oily.skin_roughness, "nose"), abs=3)


@pytest.mark.parametrize("which", ["known", "photo"])
def test_other_words_and_locks_leave_the_maps_alone(which, request):
    editor = request.getfixturevalue(which)
    before = editor.avatar.materials
    for words in (("smiling", "wider nose"), ("blue eyes",), ("freckles",)):
        assert same(before, said(editor, *words)) == set(MAPS), words
    assert same(before, said(editor, "wrinkled", "oily skin", "smiling", locks=frozenset({"skin"}))) == set(MAPS)
    assert "skin_displacement" in same(before, editor.preview(TextEdit((("wrinkled", 1.0),))).avatar.materials)
    # The rest of the face keeps its relief where a mouth is painted.
    assert "skin_displacement" in same(before, said(editor, "red lipstick"))


@pytest.mark.parametrize("which", ["known", "photo"])
def test_an_edit_taken_back_leaves_the_same_bytes(which, request):
    editor = request.getfixturevalue(which)
    alone = said(editor, "wrinkled")
    assert not torch.equal(said(editor, "wrinkled", "oily skin").skin_roughness, alone.skin_roughness)
    repeated, anew = again(editor, "wrinkled"), again(Editor(editor.avatar), "wrinkled")
    for name in MAPS:
        assert torch.equal(getattr(repeated, name), getattr(alone, name)), name
        assert torch.equal(getattr(anew, name), getattr(alone, name)), name
    assert said(editor) is editor.avatar.materials


def test_a_known_head_gets_the_relief_of_the_person_it_becomes(known):
    subject = known.subject
    change = torch.zeros(COUNT)
    change[INDEX["wrinkles"]], change[INDEX["moles"]], change[INDEX["oiliness"]] = 0.4, -0.6, -0.2
    made = edited_materials(subject, latent_of(subject), moved(subject, change))
    expected = generated(**moved(subject, change).labels()).materials
    off = (relief(made) - relief(expected)).abs()
    assert int(off.max()) <= 2
    for name in ("skin_specular", "skin_roughness", "skin_translucency"):
        assert int((getattr(made, name).int() - getattr(expected, name).int()).abs().max()) <= 2, name


def test_what_is_taken_off_a_photo_is_its_own(photo, known):
    """Lines and bumps lie elsewhere in the photo than in the guess behind it: they must not be filled twice."""
    before = photo.avatar.materials
    labels = replace(photo.subject.person.labels, wrinkles=0.6, moles=0.6)
    person = replace(photo.subject.person, labels=labels)
    values = photo.subject.values.clone()
    values[INDEX["wrinkles"]] = values[INDEX["moles"]] = 0.6
    subject = replace(photo.subject, person=person, values=values, worked_out={})
    smooth = changed(subject, wrinkles=-0.6)
    filled = relief(smooth) - relief(before)
    lines = (smoothed(relief(before), LINE_MM) - relief(before))[0]
    bare = region("forehead", SIZE) > 0.9
    together = torch.corrcoef(torch.stack([filled[0][bare], lines.clamp_min(0)[bare]]))[0, 1]
    assert float(together) > 0.95
    after = (smoothed(relief(smooth), LINE_MM) - relief(smooth))[0]
    deep = bare & (lines > 30)
    assert int(deep.sum()) > 50 and float(after[deep].mean()) < 0.2 * float(lines[deep].mean())
    # Moles stay until they are asked off.
    bump = relief(before) - smoothed(relief(before), 2.0)
    drawn = draw_features(load_head(), known.subject.person, SIZE)
    moles = (drawn.moles > 0.3) & (bare_skin(load_head(), drawn, SIZE) > 0.9)
    assert int(moles.sum()) > 3
    flat = relief(changed(subject, moles=-0.6))
    assert float(bump[0][moles].mean()) > 2 * float((flat - smoothed(flat, 2.0))[0][moles].mean())
    kept = relief(smooth)
    assert float((kept - smoothed(kept, 2.0))[0][moles].mean()) > 0.8 * float(bump[0][moles].mean())


def test_brows_keep_their_hairs_under_smooth_skin(photo):
    before, smooth = photo.avatar.materials, said(photo, "smooth skin")
    hairs = relief(before)[0] > 150
    brows = hairs & (region("brows", SIZE) > 0.5)
    assert int(brows.sum()) > 20
    off = (relief(smooth) - relief(before))[0].abs()[brows]
    assert float(off.mean()) < 15


def test_a_head_of_another_relief_than_its_painter_is_treated_like_a_photos(drawn):
    """A generated head whose relief somebody has drawn: nothing of the painter's is taken from it."""
    flat = replace(drawn.materials, skin_displacement=torch.zeros_like(drawn.materials.skin_displacement))
    editor = Editor(replace(drawn, materials=flat))
    assert editor.subject.exact
    smooth = said(editor, "smooth skin")
    assert "skin_displacement" in same(flat, smooth)
    assert depth(said(editor, "wrinkled").skin_displacement) > 1


@pytest.mark.parametrize("photographed_too", [False, True])
def test_heads_without_maps_get_none(drawn, photographed_too):
    none = dict.fromkeys(("skin_displacement", "skin_diffuse_normal", "skin_specular", "skin_translucency"))
    materials = replace(drawn.materials, **none, skin_wrinkles=None, skin_occlusion=None)
    plain = replace(drawn, materials=materials)
    editor = Editor(photographed(plain) if photographed_too else plain)
    made = said(editor, "wrinkled", "oily skin")
    for name in MAPS:
        if name not in ("skin_normal", "skin_roughness"):
            assert getattr(made, name) is None, name
    assert made.skin_normal is not None and not torch.equal(made.skin_normal, materials.skin_normal)


def test_a_beard_stands_on_the_skin_and_does_not_shine(known, photo):
    chin = region("chin", SIZE) > 0.7
    for editor in (known, photo):
        before, made = editor.avatar.materials, said(editor, "full beard")
        assert float((relief(made) - relief(before))[0][chin].mean()) > 100
        assert mean(made.skin_specular, "chin") < 0.85 * mean(before.skin_specular, "chin")


def test_a_photos_shaved_chin_shines_like_skin(drawn):
    bearded = generated(wrinkles=0.3, beard=1.0)
    subject = read_subject(photographed(bearded))
    labels = replace(subject.person.labels, beard_chin=0.8, beard_cheeks=0.8, moustache=0.8, stubble=1.0)
    values = subject.values.clone()
    for name, amount in asdict(labels).items():
        values[INDEX[name]] = amount
    subject = replace(subject, person=replace(subject.person, labels=labels), values=values)
    shaved = changed(subject, beard_chin=-1.0, beard_cheeks=-1.0, moustache=-1.0, stubble=-1.0)
    before, bare = bearded.materials, drawn.materials
    gap = mean(bare.skin_specular, "chin") - mean(before.skin_specular, "chin")
    assert mean(shaved.skin_specular, "chin") > mean(before.skin_specular, "chin") + 0.5 * gap
    assert mean(shaved.skin_roughness, "chin") < mean(before.skin_roughness, "chin") - 5
