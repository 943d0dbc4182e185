"""Text edits of whole heads: determinism, identity at strength 0, order, locks, monotone strength and what moved."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from core import pipeline
from core.avatar import Avatar, save_avatar
from core.errors import LikenessError
from editing.attributes import INDEX, read_subject
from editing.edit import METHODS, Editor, TextEdit, reading_of
from editing.latents import LOCKED, latent_of, values_in


@pytest.fixture(scope="module")
def drawn() -> Avatar:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SKIN_PX", 256)
        return pipeline.generate(3)


@pytest.fixture(scope="module")
def editor(drawn: Avatar) -> Editor:
    return Editor(drawn)


@pytest.fixture(scope="module")
def photo(drawn: Avatar) -> Editor:
    materials = replace(drawn.materials, skin_photo=drawn.materials.skin_albedo // 2, skin_normal=None)
    provenance = replace(drawn.provenance, source="photo")
    return Editor(replace(drawn, materials=materials, provenance=provenance, latent=None, generator=None))


def saved(avatar: Avatar) -> bytes:
    out = io.BytesIO()
    save_avatar(avatar, out)
    return out.getvalue()


def change_by(editor: Editor, *clauses: tuple[str, float], **options: Any) -> torch.Tensor:
    return values_in(editor.apply(TextEdit(clauses, **options)).latent) - values_in(latent_of(editor.subject))


@pytest.mark.parametrize("which", ["editor", "photo"])
def test_nothing_asked_for_is_the_head_itself_and_removing_a_clause_is_exact(which, request):
    editor = request.getfixturevalue(which)
    assert editor.apply(TextEdit()).avatar is editor.avatar
    assert editor.apply(TextEdit((("older", 0.0), ("full beard", 0.0)))).avatar is editor.avatar
    assert editor.apply(TextEdit()).moved == ()
    alone = saved(editor.apply(TextEdit((("older", 1.0),))).avatar)
    both = saved(editor.apply(TextEdit((("older", 1.0), ("smiling", 0.7)))).avatar)
    turned = saved(editor.apply(TextEdit((("smiling", 0.7), ("older", 1.0)))).avatar)
    assert both == turned != alone
    assert saved(editor.apply(TextEdit((("older", 1.0),))).avatar) == alone
    assert saved(Editor(editor.avatar).apply(TextEdit((("older", 1.0),))).avatar) == alone


def test_strength_is_monotone_and_minus_goes_the_other_way(editor):
    for text, name in (("older", "age_years"), ("wider nose", "nose_width"), ("darker skin", "melanin")):
        amounts = [float(change_by(editor, (text, s))[INDEX[name]]) for s in (-1.0, -0.5, 0.0, 0.3, 0.6, 1.0, 1.5)]
        assert amounts == sorted(amounts) and amounts[0] < -1e-3 < amounts[2] + 1e-3 < amounts[-1], text
        assert amounts[2] == pytest.approx(0, abs=1e-6)
    smile = [float(change_by(editor, ("smiling", s))[INDEX["mouthSmileLeft"]]) for s in (0.0, 0.4, 0.8, 1.2)]
    assert smile == sorted(smile) and smile[-1] > 0.6


def test_locks_hold_what_they_say(editor):
    base = editor.avatar
    edit = (("older", 1.0), ("smiling", 1.0), ("wider nose", 1.0))
    free = editor.apply(TextEdit(edit)).avatar
    kept = {lock: editor.apply(TextEdit(edit, locks=frozenset({lock}))).avatar for lock in LOCKED}
    assert torch.equal(kept["shape"].shape, base.shape) and not torch.equal(free.shape, base.shape)
    assert torch.equal(kept["expression"].expression, base.expression)
    assert not torch.equal(free.expression, base.expression)
    assert torch.equal(kept["skin"].materials.skin_albedo, base.materials.skin_albedo)
    assert not torch.equal(free.materials.skin_albedo, base.materials.skin_albedo)
    for lock, other in (("shape", "skin"), ("skin", "expression"), ("expression", "shape")):
        assert saved(kept[lock]) != saved(kept[other])
    with pytest.raises(LikenessError, match="no lock 'hair'"):
        editor.apply(TextEdit(edit, locks=frozenset({"hair"})))


def test_keeping_the_identity_holds_the_person_and_not_the_make_up(editor):
    def amounts(keep: float) -> tuple[float, float, float]:
        change = change_by(editor, ("older", 1.0), ("smiling", 1.0), ("red lipstick", 1.0), keep_identity=keep)
        return tuple(float(change[INDEX[name]]) for name in ("age_years", "mouthSmileLeft", "lipstick"))  # pyright: ignore

    loose, usual, tight = amounts(0.0), amounts(0.5), amounts(1.0)
    assert loose[0] > usual[0] > tight[0] > 0
    assert loose[1:] == pytest.approx(usual[1:]) and usual[1:] == pytest.approx(tight[1:])


def test_what_moved_is_told_most_first_in_readable_units(editor):
    told = editor.apply(TextEdit((("20 years older", 1.0), ("smiling", 1.0)))).moved
    amounts = {row.title: row.amount for row in told}
    assert amounts["age"] == pytest.approx(20, abs=0.1) and amounts["mouth smile"] == pytest.approx(0.75, abs=0.05)
    assert amounts["wrinkles"] > 0.3 and len(told) <= 8
    # One row for both sides.
    assert not any(row.title.endswith(("left", "right")) for row in told)


def test_an_edited_head_can_be_edited_again(editor):
    aged = editor.apply(TextEdit((("full beard", 1.0), ("20 years older", 1.0)))).avatar
    again = Editor(aged)
    assert again.subject.exact
    assert float(read_subject(aged).values[INDEX["age_years"]]) == pytest.approx(
        float(editor.subject.values[INDEX["age_years"]]) + 20, abs=0.1
    )
    assert float(again.subject.values[INDEX["beard_chin"]]) > 0.7
    shaved = again.apply(TextEdit((("clean-shaven", 1.0),))).avatar
    assert float(read_subject(shaved).values[INDEX["beard_chin"]]) == 0


def test_a_preview_is_near_the_final_head_and_moves_the_same_numbers(editor, photo):
    edit = TextEdit((("older", 1.0), ("smiling", 1.0)))
    for head in (editor, photo):
        quick, final = head.preview(edit), head.apply(edit)
        assert torch.equal(quick.latent.vector, final.latent.vector) and quick.moved == final.moved
        assert torch.equal(quick.avatar.shape, final.avatar.shape)
        off = quick.avatar.materials.skin_albedo.float() - final.avatar.materials.skin_albedo.float()
        assert float(off.abs().mean()) < 5


def test_the_light_of_a_photo_and_its_frame_stay(photo):
    made = photo.apply(TextEdit((("older", 1.0),))).avatar
    assert made.camera is photo.avatar.camera and made.light is photo.avatar.light
    assert made.name == photo.avatar.name and made.quality is photo.avatar.quality
    assert made.materials.mouth_albedo is photo.avatar.materials.mouth_albedo
    assert made.materials.skin_photo is not None


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (TextEdit((("older", 1.6),)), "The strength of a change is 1.6. Give a number from -1 to 1.5."),
        (TextEdit((("older", float("nan")),)), "The strength of a change is nan"),
        (TextEdit((("older", 1.0),), keep_identity=2.0), "kept by 2"),
        (TextEdit((("older", 1.0),), method="magic"), "There is no method 'magic'. The methods are mixed"),
        (TextEdit((("qwxyz", 1.0),)), "qwxyz"),
        (TextEdit((("", 1.0),)), "There are no words"),
        (TextEdit((("x" * 10_000, 1.0),)), "10,000 characters"),
    ],
)
def test_what_cannot_be_done_is_said(editor, edit, told):
    with pytest.raises(LikenessError, match=re.escape(told)):
        editor.apply(edit)
    assert METHODS[0] == "mixed"


def test_a_model_of_the_world_may_know_any_word():
    assert reading_of("pikachu", "bundled").clauses == ()
    (clause,) = reading_of("pikachu", "ViT-B-32:laion2b_s34b_b79k").clauses
    assert clause.core == "pikachu" and clause.concepts == ()
