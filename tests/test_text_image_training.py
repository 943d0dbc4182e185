"""Training of the text-image model: its objective, its pictures, and that it learns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.checkpoints import read_safetensors
from core.errors import FileError
from editing.attributes import COUNT, INDEX, LOW, SPREAD
from editing.pairs import Pairs, mirrored_attributes
from editing.text_image import TextImageModel, bundled_model, read_bundled, tokenizer
from editing.text_image_training import (
    ZERO_SHOT,
    TextImageSettings,
    augmented,
    contrast,
    draw_captions,
    evaluate,
    plain,
    retrieval,
    train_text_image,
    zero_shot,
)
from recipes import train_editing

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}

ONE_STEP = TextImageSettings(steps=1, batch=8)


def some_pairs(count: int = 48, side: int = 32) -> Pairs:
    """Discs whose brightness is the skin's, whose size is the weight and whose mouth is a smile: easy to learn from."""
    generator = torch.Generator().manual_seed(0)
    values = torch.zeros(count, COUNT)
    values[:, INDEX["age_years"]] = 40.0
    for name in ("melanin", "weight", "gender"):
        values[:, INDEX[name]] = torch.rand(count, generator=generator)
    smiles = torch.rand(count, generator=generator) < 0.5
    for name in ("mouthSmileLeft", "mouthSmileRight"):
        values[:, INDEX[name]] = smiles.float() * 0.8
    ramp = torch.linspace(-1, 1, side)
    radius = (ramp[:, None] ** 2 + ramp[None] ** 2).sqrt()[None]
    inside = radius < 0.5 + 0.4 * values[:, INDEX["weight"], None, None]
    color = (1 - values[:, INDEX["melanin"]])[:, None, None, None].expand(-1, 3, side, side).clone()
    color[smiles, :, int(side * 0.6) : int(side * 0.7), side // 3 : -side // 3] = 0.0
    pictures = torch.cat([color, inside[:, None].float()], dim=1)
    return Pairs((pictures * 255).round().to(torch.uint8), values)


# -------------------------------------------------------------------------------------------------- the objective


def test_with_one_truth_each_the_contrast_is_clip_s():
    generator = torch.Generator().manual_seed(0)
    heads, texts = (torch.nn.functional.normalize(torch.randn(5, 8, generator=generator), dim=1) for _ in range(2))
    scale = torch.tensor(7.0)
    logits = scale * heads @ texts.T
    own = torch.arange(5)
    expected = 0.5 * (torch.nn.functional.cross_entropy(logits, own) + torch.nn.functional.cross_entropy(logits.T, own))
    torch.testing.assert_close(contrast(heads, texts, torch.eye(5, dtype=torch.bool), scale), expected)


def test_the_contrast_is_least_where_all_that_is_true_is_equally_near():
    truth = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    heads = torch.eye(3)[[0, 0, 1]]
    scale = torch.tensor(30.0)
    best = contrast(heads, heads, truth, scale)
    # The entropy of the targets: two of the three rows have two truths.
    torch.testing.assert_close(best, torch.tensor(2 / 3 * np.log(2)).float(), atol=1e-4, rtol=0)
    assert contrast(heads, torch.eye(3), truth, scale) > best + 1


def test_captions_are_true_of_their_heads_and_told_of_all_others_rightly():
    values = some_pairs(8).values
    captions = draw_captions(values, 3, np.random.default_rng(0))
    assert len(captions.texts) == 24 and captions.truth.shape == (24, 8)
    assert bool(captions.truth[torch.arange(24), torch.arange(8).repeat_interleave(3)].all())
    # Equal heads: what is true of one is true of the other.
    same = draw_captions(torch.cat([values[:1], values[:1]]), 4, np.random.default_rng(1))
    assert bool(same.truth.all())
    again = draw_captions(values, 3, np.random.default_rng(0), others=values[2:5])
    assert again.texts == captions.texts
    assert torch.equal(again.truth[:, :8], captions.truth)
    # What was written for a head is true of it as one of the others too.
    own = torch.zeros(24, 3, dtype=torch.bool)
    own[torch.arange(6, 15), torch.arange(3).repeat_interleave(3)] = True
    assert bool(again.truth[:, 8:][own].all())


# --------------------------------------------------------------------------------------------------- the pictures


def test_augmented_pictures_repeat_by_seed_and_stay_pictures():
    pairs = some_pairs(6)
    flip = torch.zeros(6, dtype=torch.bool)

    def seen(seed: int) -> Tensor:
        return augmented(pairs.pictures, 24, torch.Generator().manual_seed(seed), flip)

    first = seen(0)
    assert first.shape == (6, 3, 24, 24) and float(first.min()) >= 0 and float(first.max()) <= 1
    assert torch.equal(first, seen(0)) and not torch.equal(first, seen(1))


def test_flipping_mirrors_the_head():
    """On average, since everything else is drawn alike for both sides."""
    side = 32
    pictures = torch.zeros(200, 4, side, side, dtype=torch.uint8)
    pictures[:, 3] = 255
    pictures[:, :3, :, : side // 2] = 255  # the left half is white
    generator = torch.Generator().manual_seed(0)
    flip = torch.arange(200) < 100
    seen = augmented(pictures, side, generator, flip)
    left, right = seen[..., : side // 3].mean((1, 2, 3)), seen[..., -side // 3 :].mean((1, 2, 3))
    assert bool((left < right)[flip].float().mean() > 0.95) and bool((left > right)[~flip].float().mean() > 0.95)


def test_plain_pictures_stand_before_the_grey_that_edits_are_measured_on():
    pictures = torch.zeros(1, 4, 2, 2, dtype=torch.uint8)
    pictures[0, 3, 0] = 255
    assert plain(pictures)[0, 0].tolist() == [[0.0, 0.0], pytest.approx([0.85, 0.85])]


# --------------------------------------------------------------------------------------------------- learning


def test_a_short_training_lowers_the_loss_and_goes_on_from_its_checkpoint(tmp_path: Path):
    pairs = some_pairs()
    settings = TextImageSettings(steps=20, batch=16, rate=3e-3)
    seen: list[dict[str, float]] = []
    file = tmp_path / "checkpoint.safetensors"
    _, about = train_text_image(pairs, settings, TINY, file, lambda _step, _share, terms: seen.append(terms))
    assert about["steps"] == 20 == len(seen)
    for name in ("facts", "read", "distil"):
        early, late = (float(np.mean([terms[name] for terms in part])) for part in (seen[:5], seen[-5:]))
        assert late < early, name
    more: list[int] = []
    settings = TextImageSettings(steps=22, batch=16, rate=3e-3)
    train_text_image(pairs, settings, TINY, file, lambda step, _share, _terms: more.append(step))
    assert more == [21, 22]
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(FileError, match="Delete it"):
        train_text_image(pairs, settings, TINY, file)


def test_the_same_seed_gives_the_same_network():
    pairs, settings = some_pairs(), TextImageSettings(steps=2, batch=16)
    one, two = (train_text_image(pairs, settings, TINY)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    # Words that were never seen say nothing.
    rows = one["token_embedding.weight"]
    pikachu, man = tokenizer(TINY)(["pikachu", "man"])[:, 1].tolist()
    assert not rows[pikachu].any() and rows[man].any()


# --------------------------------------------------------------------------------------------------- measuring


def test_a_perfect_model_finds_everything_and_chance_is_counted():
    count = 40
    rows = torch.eye(count)
    found = retrieval(rows, rows, torch.eye(count, dtype=torch.bool))
    assert found.text_top1 == found.picture_top1 == found.text_own5 == found.picture_own5 == 1.0
    assert found.text_chance1 == pytest.approx(1 / count) and found.picture_chance5 == pytest.approx(5 / count)
    # What is true of everything cannot be wrong, and tells nothing.
    trivial = retrieval(rows, rows.roll(1, 0), torch.ones(count, count, dtype=torch.bool))
    assert trivial.text_top1 == trivial.text_chance1 == trivial.picture_chance5 == 1.0


def test_chance_is_what_blind_guesses_reach():
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(60, 60, generator=generator) < 0.15) | torch.eye(60, dtype=torch.bool)
    found = [
        retrieval(torch.randn(60, 8, generator=generator), torch.randn(60, 8, generator=generator), truth)
        for _ in range(60)
    ]
    for way in ("text", "picture"):
        for best in ("1", "5"):
            reached = np.mean([getattr(one, f"{way}_top{best}") for one in found])
            assert reached == pytest.approx(getattr(found[0], f"{way}_chance{best}"), abs=0.04)


def test_zero_shot_asks_about_attributes_that_exist_in_words_that_differ():
    for name, low, low_text, high, high_text in ZERO_SHOT:
        assert LOW[INDEX[name]] <= low < high and low_text != high_text, name
        assert high - low > 0.5 * float(SPREAD[INDEX[name]]), name


def test_zero_shot_is_one_for_who_reads_the_attribute_and_half_for_who_does_not():
    class Reader(TextImageModel):
        """Its space is the attribute "smile" itself."""

        def __init__(self) -> None:
            pass

        def embed_text(self, texts: list[str]) -> Tensor:
            return torch.tensor([[1.0 if text == "a smiling person" else -1.0] for text in texts])

    values = some_pairs(40).values
    smile = values[:, INDEX["mouthSmileLeft"], None] * 2 - 0.5
    reader = Reader()
    assert zero_shot(reader, smile, values)["mouthSmileLeft"] == {"right": 1.0, "ordered": 1.0}
    # A reader who finds everybody happy still knows who is happier.
    assert zero_shot(reader, smile + 2, values)["mouthSmileLeft"] == {"right": 0.5, "ordered": 1.0}
    blind = zero_shot(reader, torch.ones(40, 1), values)
    assert blind["mouthSmileLeft"] == {"right": 0.5, "ordered": 0.5}


def test_evaluation_measures_both_kinds_of_wordings():
    network, _ = train_text_image(some_pairs(), TextImageSettings(steps=1, batch=8), TINY)
    found = evaluate(bundled_model(network, TINY), some_pairs(), group=20)
    assert set(found) == {"pictures", "group", "seen", "held_out", "zero_shot", "zero_shot_mean"}
    assert all(0 <= share <= 1 for name in ("seen", "held_out") for share in found[name].values())


def test_a_mirrored_state_is_told_of_its_other_side():
    values = some_pairs(1).values
    values[:, INDEX["mouthSmileLeft"]] = 0.0
    mirrored = values[:, list(mirrored_attributes())]
    assert float(mirrored[0, INDEX["mouthSmileRight"]]) == 0.0 and float(mirrored[0, INDEX["mouthSmileLeft"]]) > 0


# --------------------------------------------------------------------------------------------------- the recipe


def test_the_recipe_trains_measures_and_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pairs = some_pairs()
    for name in ("pairs", "held_out"):
        (tmp_path / name).mkdir()
        columns = {"pictures": pairs.pictures.contiguous(), "values": pairs.values}
        save_file(columns, str(tmp_path / name / "pairs-00000.safetensors"))
    monkeypatch.setattr(train_editing, "CONFIG", TINY)
    monkeypatch.setattr(
        train_editing, "train_text_image", lambda pairs, _, **given: train_text_image(pairs, ONE_STEP, TINY)
    )
    options = ["--people", str(tmp_path), "--out", str(tmp_path), "--only"]
    assert train_editing.main([*options, "text_image"]) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    about = record["steps"]["text_image"]
    assert about["pictures"] == len(pairs) == about["quality"]["pictures"]
    file = tmp_path / "text_image.safetensors"
    assert read_bundled(file).size == 32
    # The file tells the same of itself.
    told = json.loads(read_safetensors(file)[1]["text_image"])["about"]
    assert told == {name: fact for name, fact in about.items() if name != "seconds"}


def test_the_recipe_says_what_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    options = ["--people", str(tmp_path), "--out", str(tmp_path), "--only"]
    for step, sentence in (("text_image", "no pictures"), ("install", "is missing. Run the step")):
        assert train_editing.main([*options, step]) == 1
        assert sentence in caplog.text
