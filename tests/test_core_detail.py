"""What a head gets after it is on show: which maps, from what, told how far it is, and what is said about the photo.

The networks' quality is that of their own tests: here a network that has learnt nothing stands in for the bundled one,
and a stand-in for the refinement of the relief.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core import detail, pipeline
from core.avatar import Avatar, load_avatar, save_avatar
from core.detail import LEAST_LINED, STAGES, detailed, lined, with_displacement
from core.errors import FileError, LikenessError
from core.head import load_head
from core.materials import Materials
from core.reflectance import estimate
from core.reflectance.estimate import softened_normals
from core.reflectance.network import WORK_PX, ReflectanceNet
from core.synthesis.heads import rest_vertices

HEAD = load_head()
SIZE = 128
FROM_LIGHT = (
    *("skin_albedo", "skin_roughness", "skin_normal", "skin_diffuse_normal", "skin_specular", "skin_translucency"),
    "skin_displacement",
)
ALWAYS = ("skin_occlusion", "skin_wrinkles")
LOWERED_MM = 0.2


@pytest.fixture(scope="module")
def drawn() -> Avatar:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SKIN_PX", SIZE)
        return pipeline.generate(3)


@pytest.fixture(scope="module")
def photo(drawn: Avatar) -> Avatar:
    """The same head as a photo leaves it: with the photo's light, and nothing of its relief. It smiles."""
    materials = drawn.materials
    across = torch.linspace(0.5, 1.0, SIZE)
    lit = (materials.skin_albedo.float() * across).to(torch.uint8)
    expression = drawn.expression.clone()
    expression[HEAD.expression_names.index("mouthSmileLeft")] = 0.7
    expression[HEAD.expression_names.index("mouthSmileRight")] = 0.6
    bare = Materials(
        materials.skin_albedo, materials.skin_roughness, materials.eye_albedo, materials.mouth_albedo,
        materials.lash_albedo, skin_photo=lit,
    )  # fmt: skip
    provenance = replace(drawn.provenance, source="photo", seed=None, seconds={"fit": 1.0})
    return replace(drawn, materials=bare, expression=expression, provenance=provenance, latent=None, generator=None)


@pytest.fixture(scope="module")
def network() -> ReflectanceNet:
    torch.manual_seed(0)
    return ReflectanceNet().eval()


@pytest.fixture(autouse=True)
def _untrained(network: ReflectanceNet, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, network)


def stand_in(monkeypatch: pytest.MonkeyPatch, network: ReflectanceNet) -> None:
    monkeypatch.setattr(estimate, "bundled_network", lambda: network)

    def refined(head: object, found: estimate.Understood, report=None) -> Tensor:
        assert report is not None
        report(0.5)
        return found.maps.height_mm[0] - LOWERED_MM

    monkeypatch.setattr(detail, "refine_relief", refined)


@pytest.fixture(scope="module")
def told() -> list[tuple[str, float]]:
    return []


@pytest.fixture(scope="module")
def fine(photo: Avatar, network: ReflectanceNet, told: list[tuple[str, float]]) -> Avatar:
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch, network)
        return detailed(photo, lambda stage, share: told.append((stage, share)))


@pytest.fixture(scope="module")
def told_drawn() -> list[tuple[str, float]]:
    return []


@pytest.fixture(scope="module")
def fine_drawn(drawn: Avatar, told_drawn: list[tuple[str, float]]) -> Avatar:
    return detailed(drawn, lambda stage, share: told_drawn.append((stage, share)))


def test_a_photos_head_gets_every_map(photo: Avatar, fine: Avatar) -> None:
    before, after = vars(photo.materials), vars(fine.materials)
    assert all(image is not None for image in after.values())
    assert {name for name in after if after[name] is not before[name]} == {*FROM_LIGHT, *ALWAYS}
    assert all(after[name].shape[-2:] == (SIZE, SIZE) for name in FROM_LIGHT)
    assert {after[name].shape[-1] for name in ALWAYS} == {detail.OCCLUSION_PX, detail.WRINKLES_PX}
    heights = [name for name in after if after[name].dtype == torch.int16]
    assert heights == ["skin_displacement", "skin_wrinkles"]
    # The light of the photo stays with its own map, so that the head can be made anew by a better network.
    assert after["skin_photo"] is before["skin_photo"]


def test_the_relief_is_refined_unless_that_is_not_wanted_and_the_rest_is_the_same(photo: Avatar, fine: Avatar) -> None:
    quick = detailed(photo, refine=False).materials
    refined = fine.materials
    assert quick.skin_displacement is not None and refined.skin_displacement is not None
    difference = (quick.skin_displacement - refined.skin_displacement).float()
    assert float(difference.median()) == pytest.approx(1000 * LOWERED_MM, abs=1.5)
    # The same head gets the same maps.
    for name in ("skin_albedo", "skin_roughness", "skin_specular", "skin_translucency", "skin_occlusion"):
        assert torch.equal(getattr(quick, name), getattr(refined, name)), name


def test_a_generated_head_keeps_its_painters_maps_and_gets_the_rest(drawn: Avatar, fine_drawn: Avatar) -> None:
    before, after = vars(drawn.materials), vars(fine_drawn.materials)
    assert {name for name in after if after[name] is not before[name]} == set(ALWAYS)
    assert fine_drawn.quality is drawn.quality
    assert set(fine_drawn.provenance.seconds) == {"generate", "wrinkles"}
    occlusion, wrinkles = after["skin_occlusion"], after["skin_wrinkles"]
    assert 0 < int(occlusion.min()) < 160 < 240 < int(occlusion.max())
    assert all(int(layer.abs().max()) > 100 for layer in wrinkles)


def test_a_generated_head_saved_without_its_relief_gets_one_and_keeps_its_colours(drawn: Avatar) -> None:
    """A file of an older version."""
    bare = replace(
        drawn.materials, skin_normal=None, skin_diffuse_normal=None, skin_specular=None, skin_translucency=None,
        skin_displacement=None,
    )  # fmt: skip
    found = detailed(replace(drawn, materials=bare)).materials
    assert found.skin_albedo is drawn.materials.skin_albedo
    assert found.skin_displacement is not None and found.skin_photo is None


def test_what_has_it_all_is_returned_as_it_is(fine: Avatar, fine_drawn: Avatar, tmp_path: Path) -> None:
    for head in (fine, fine_drawn):
        assert detailed(head) is head
        save_avatar(head, tmp_path / "saved.likeness")
        again = load_avatar(tmp_path / "saved.likeness")
        assert detailed(again) is again
        for name, image in vars(head.materials).items():
            stored = getattr(again.materials, name)
            assert stored is None if image is None else torch.equal(stored, image), name


def test_the_same_head_gets_the_same_maps(drawn: Avatar, fine_drawn: Avatar) -> None:
    again = detailed(drawn).materials
    assert all(torch.equal(getattr(again, name), getattr(fine_drawn.materials, name)) for name in ALWAYS)


def test_stages_are_told_in_their_order_and_timed(
    photo: Avatar, fine: Avatar, told: list[tuple[str, float]], fine_drawn: Avatar, told_drawn: list[tuple[str, float]]
) -> None:
    assert fine_drawn.materials.skin_wrinkles is not None and {stage for stage, _ in told_drawn} == {"wrinkles"}
    order = [stage for stage, _ in told]
    assert sorted(order, key=STAGES.index) == order and set(order) == set(STAGES)
    shares = [share for _, share in told]
    assert shares == sorted(shares) and (shares[0], shares[-1]) == (0.0, 1.0)
    seconds = fine.provenance.seconds
    assert list(seconds) == ["fit", *STAGES] and all(seconds[stage] > 0 for stage in STAGES)
    assert photo.provenance.seconds == {"fit": 1.0}


@pytest.mark.parametrize("at", STAGES)
def test_whoever_is_told_can_end_it(photo: Avatar, drawn: Avatar, at: str) -> None:
    class Ended(Exception):
        pass

    def end(stage: str, share: float) -> None:
        if stage == at:
            raise Ended

    with pytest.raises(Ended):
        detailed(drawn if at == "wrinkles" else photo, end)


def test_a_photo_that_is_not_near_neutral_is_a_finding(photo: Avatar, fine: Avatar) -> None:
    assert fine.quality.findings[:-1] == photo.quality.findings
    finding = fine.quality.findings[-1]
    assert (finding.code, finding.severity) == ("not-neutral", "warning")
    assert "mouthSmileLeft 0.70" in finding.sentence and finding.advice.startswith("Use a photo with a relaxed face")
    assert finding.sentence.endswith(".") and finding.advice.endswith(".")
    # Where the relief is there and only the wrinkles are not, what is asked is quick.
    relaxed = replace(fine, expression=torch.zeros_like(fine.expression), quality=photo.quality,
                      materials=replace(fine.materials, skin_wrinkles=None))  # fmt: skip
    assert detailed(relaxed).quality is photo.quality


def test_without_weights_and_on_another_head_model_it_is_a_sentence(
    photo: Avatar, drawn: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> ReflectanceNet:
        raise FileError("The weights of reflectance are missing.")

    monkeypatch.setattr(estimate, "bundled_network", missing)
    with pytest.raises(LikenessError, match="weights of reflectance"):
        detailed(photo)
    with pytest.raises(FileError, match="head model 'other'"):
        detailed(replace(drawn, head_model="other"))


def test_how_lined_a_face_is_grows_with_its_furrows() -> None:
    flat = torch.zeros(WORK_PX, WORK_PX)
    rows = torch.arange(WORK_PX)[:, None]
    furrows = -(torch.cos(rows * (2 * torch.pi / 16)).clamp_min(0.8) - 0.8).expand(WORK_PX, WORK_PX)
    amounts = [lined(HEAD, flat + depth_m * furrows) for depth_m in (0.0, 1e-3, 2e-3, 1e-2)]
    assert amounts[0] == LEAST_LINED and amounts[-1] == 1.0
    assert amounts == sorted(amounts) and LEAST_LINED < amounts[2] < 1
    # What is wide is the shape of the face.
    assert lined(HEAD, flat + 1e-3 * torch.cos(rows * (2 * torch.pi / 400))) == LEAST_LINED


def test_another_relief_brings_its_normals(drawn: Avatar) -> None:
    height = drawn.materials.skin_displacement
    assert height is not None
    vertices = rest_vertices(HEAD, drawn.shape[None])
    deeper = with_displacement(drawn.materials, HEAD, vertices, height * 2)
    sharp, soft = softened_normals(HEAD, vertices, height[0].float() * 2e-3)
    assert torch.equal(deeper.skin_normal, sharp) and torch.equal(deeper.skin_diffuse_normal, soft)  # pyright: ignore
    assert torch.equal(deeper.skin_displacement, height * 2)  # pyright: ignore
    assert deeper.skin_albedo is drawn.materials.skin_albedo


def test_the_wrinkles_of_a_photos_head_are_its_skins(photo: Avatar) -> None:
    """They come from somewhere: from the same place for the same skin, from another for another."""
    other = (photo.materials.skin_albedo.float() * 0.9).to(torch.uint8)
    seeds = [
        detail._seed_of(head)
        for head in (
            photo,
            replace(photo, name="other name"),
            replace(photo, materials=replace(photo.materials, skin_albedo=other)),
        )
    ]
    assert seeds[0] == seeds[1] != seeds[2] and all(0 <= seed < 1 << 31 for seed in seeds)
