"""The text-image model: what loading, words and pictures promise, on small untrained networks of open_clip's."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.errors import FileError, LikenessError
from editing import text_image
from editing.text_image import (
    BUNDLED,
    VARIABLE,
    TextImageModel,
    bundled_model,
    create_network,
    load_model,
    read_bundled,
    tokenizer,
    write_bundled,
)

# Small enough that a test is quick, of the two kinds that open_clip has.
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
TINY_TRANSFORMER = TINY | {
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    made = create_network(TINY)
    # As if trained: the last layer of each block starts at zero, which would hide most of the network.
    for name, parameter in made.named_parameters():
        if name.endswith("bn3.weight"):
            nn.init.ones_(parameter)
    return made


@pytest.fixture(scope="module")
def model(network: nn.Module) -> TextImageModel:
    return bundled_model(network, TINY)


def pictures(count: int, side: int) -> Tensor:
    """Coloured blotches."""
    cells = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(cells, size=(side, side), mode="bilinear")


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text_image, "_loaded", {})
    monkeypatch.delenv(VARIABLE, raising=False)


def test_embeddings_are_unit_rows_that_tell_things_apart(model: TextImageModel):
    words, seen = model.embed_text(["an old man", "a young woman", "an old man"]), model.embed_images(pictures(2, 40))
    assert words.shape == (3, 16) and seen.shape == (2, 16)
    for rows in (words, seen):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    assert torch.equal(words[0], words[2]) and (words[0] - words[1]).norm() > 1e-3
    assert (seen[0] - seen[1]).norm() > 1e-4
    assert model.embed_text([""]).isfinite().all()


def test_one_picture_is_embedded_as_in_a_batch(model: TextImageModel):
    batch = pictures(3, 32)
    torch.testing.assert_close(model.embed_images(batch)[1:2], model.embed_images(batch[1:2]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (80, 80), (20, 20), (64, 96)])
def test_pictures_of_any_size_are_brought_to_the_model_s(model: TextImageModel, height: int, width: int):
    flat = torch.full((1, 3, height, width), 0.3)
    expected = (0.3 - torch.tensor(text_image.MEAN)) / torch.tensor(text_image.STD)
    torch.testing.assert_close(model.prepared(flat), expected.reshape(1, 3, 1, 1).expand(1, 3, 32, 32))


def test_of_a_wide_picture_the_middle_is_seen(model: TextImageModel):
    middle = pictures(1, 48)
    wide = torch.cat([torch.zeros(1, 3, 48, 10), middle, torch.ones(1, 3, 48, 10)], dim=3)
    assert torch.equal(model.embed_images(wide), model.embed_images(middle))


def test_fine_stripes_become_grey_and_not_other_stripes(model: TextImageModel):
    stripes = (torch.arange(128) % 2).float().expand(1, 3, 128, 128)
    inside = model.prepared(stripes)[..., 4:-4, 4:-4]
    assert inside.std(dim=(2, 3)).max() < 0.02 / min(text_image.STD)


def test_gradients_reach_every_pixel_and_agree_with_differences(model: TextImageModel):
    picture = pictures(1, 64) * 0.8 + 0.1
    target = model.embed_text(["a smiling woman"])[0]
    picture.requires_grad_()
    (slope,) = torch.autograd.grad(model.embed_images(picture)[0] @ target, picture)
    assert slope.isfinite().all() and (slope.abs().sum(1) > 0).float().mean() > 0.9
    along = slope / slope.norm()
    with torch.no_grad():
        step = 0.02
        up, down = (model.embed_images(picture + sign * step * along)[0] @ target for sign in (1, -1))
    assert float(up - down) / (2 * step) == pytest.approx(float(slope.norm()), rel=0.05)


def test_text_beyond_the_context_is_cut_off(model: TextImageModel):
    start = "an old man with a long grey beard and"
    assert torch.equal(model.embed_text([f"{start} blue eyes " * 4]), model.embed_text([f"{start} blue eyes " * 9]))
    assert tokenizer(TINY)(["word " * 99]).shape == (1, 12)


def test_a_model_comes_back_from_its_file(network: nn.Module, model: TextImageModel, tmp_path: Path):
    write_bundled(tmp_path / "m.safetensors", network, TINY, {"steps": 3})
    again = read_bundled(tmp_path / "m.safetensors")
    assert again.name == BUNDLED and again.size == 32
    # Half precision: three digits.
    torch.testing.assert_close(again.embed_text(["a man"]), model.embed_text(["a man"]), atol=5e-3, rtol=0)
    torch.testing.assert_close(
        again.embed_images(pictures(2, 32)), model.embed_images(pictures(2, 32)), atol=5e-3, rtol=0
    )


def test_a_file_that_is_not_the_model_is_refused_with_a_sentence(network: nn.Module, tmp_path: Path):
    from safetensors.torch import save_file

    good = tmp_path / "good.safetensors"
    write_bundled(good, network, TINY, {})
    tensors = {name: tensor.clone() for name, tensor in text_image.read_safetensors(good)[0].items()}
    header = {"format_version": 1, "config": TINY, "about": {}}

    def refused(content: dict[str, Tensor], metadata: dict[str, str], match: str) -> None:
        save_file(content, str(tmp_path / "bad.safetensors"), metadata)
        with pytest.raises(FileError, match=match):
            read_bundled(tmp_path / "bad.safetensors")

    refused(tensors, {}, "lacks its description")
    refused(tensors, {"text_image": "{"}, "lacks its description")
    refused(tensors, {"text_image": json.dumps(header | {"format_version": 9})}, "format 9")
    named = {"text_image": json.dumps(header)}
    refused({n: t for n, t in tensors.items() if n != "logit_scale"}, named, "lacks logit_scale")
    refused(tensors | {"more": torch.zeros(1)}, named, "holds more")
    refused(tensors | {"text_projection": torch.zeros(3, 3)}, named, "size mismatch")
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-100])
    with pytest.raises(FileError, match="damaged"):
        read_bundled(tmp_path / "cut.safetensors")
    with pytest.raises(FileError, match="missing"):
        read_bundled(tmp_path / "none.safetensors")


# ------------------------------------------------------------------------------------------- models of open_clip


@pytest.fixture(scope="module")
def known_architecture(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny transformer that open_clip knows by name, as a person's own configuration would be."""
    path = tmp_path_factory.mktemp("configs") / "tiny-test.json"
    path.write_text(json.dumps(TINY_TRANSFORMER))
    text_image._open_clip().add_model_config(path)
    return "tiny-test"


@pytest.fixture(scope="module")
def weights(known_architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_file

    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(text_image._open_clip().create_model(known_architecture).state_dict(), str(path))
    return path


def test_any_model_of_open_clip_can_be_named_with_a_file(
    known_architecture: str, weights: Path, monkeypatch: pytest.MonkeyPatch
):
    name = f"{known_architecture}:{weights}"
    model = load_model(name)
    open_clip = text_image._open_clip()
    network = open_clip.create_model(known_architecture, str(weights)).eval()
    tokens = open_clip.get_tokenizer(known_architecture)(["a man"])
    torch.testing.assert_close(model.embed_text(["a man"]), network.encode_text(tokens, normalize=True).detach())
    # Its own preprocessing: open_clip's, since the picture has the model's size already.
    from torchvision.transforms.functional import normalize

    settings = network.visual.preprocess_cfg
    picture = pictures(1, 32)
    expected = network.encode_image(normalize(picture, settings["mean"], settings["std"]), normalize=True)
    torch.testing.assert_close(model.embed_images(picture), expected)
    assert model.name == name and model.size == 32 and model.knows("pikachu")
    assert load_model(name) is model
    monkeypatch.setenv(VARIABLE, name)
    assert load_model() is model


def test_a_folder_with_its_own_configuration_can_be_named(weights: Path, tmp_path: Path):
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_TRANSFORMER, "preprocess_cfg": {}}))
    (tmp_path / "open_clip_model.safetensors").write_bytes(weights.read_bytes())
    assert load_model(f"local-dir:{tmp_path}").embed_text(["a man"]).shape == (1, 16)
    with pytest.raises(FileError, match="could not be read as a model"):
        load_model(f"local-dir:{tmp_path / 'none'}")


def test_names_that_do_not_exist_are_answered_with_those_that_do(known_architecture: str, tmp_path: Path):
    with pytest.raises(LikenessError, match=r"no text-image model 'ViT-B-23:openai'.*mean .*ViT-B-32"):
        load_model("ViT-B-23:openai")
    with pytest.raises(LikenessError, match=r"'opnai' of 'ViT-B-32'.*mean openai"):
        load_model("ViT-B-32:opnai")
    with pytest.raises(LikenessError, match=r"'ViT-B-32' names no weights.*openai"):
        load_model("ViT-B-32")
    with pytest.raises(LikenessError, match="nor a file"):
        load_model(f"{known_architecture}:{tmp_path / 'none.pt'}")


def test_files_that_do_not_fit_are_refused_with_a_sentence(known_architecture: str, weights: Path, tmp_path: Path):
    from safetensors.torch import save_file

    other = tmp_path / "other.safetensors"
    save_file({"text_projection": torch.zeros(3, 3)}, str(other))
    with pytest.raises(FileError, match="holds the weights of another model than 'tiny-test'"):
        load_model(f"{known_architecture}:{other}")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(FileError, match="could not be read as weights"):
        load_model(f"{known_architecture}:{cut}")


def test_without_the_network_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch):
    open_clip = text_image._open_clip()

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", unreachable)
    with pytest.raises(FileError, match=r"not on this computer.*Network is unreachable.*'bundled' works"):
        load_model("ViT-B-32:openai")


def test_offline_fetches_nothing_around_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    open_clip = text_image._open_clip()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: pytest.fail("fetched"))
    found = {"url": "https://example.org/x.pt"}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: found)
    with pytest.raises(FileError, match="HF_HUB_OFFLINE is set"):
        load_model("ViT-B-32:openai")


def test_two_visitors_load_a_model_once(monkeypatch: pytest.MonkeyPatch, model: TextImageModel):
    calls: list[Path] = []
    monkeypatch.setattr(text_image, "weights_path", lambda _: Path("bundled"))

    def read(path: Path) -> TextImageModel:
        calls.append(path)
        return model

    monkeypatch.setattr(text_image, "read_bundled", read)
    found: list[TextImageModel] = []
    threads = [threading.Thread(target=lambda: found.append(load_model(BUNDLED))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and all(one is model for one in found) and len(found) == 4


# ------------------------------------------------------------------------------------------- the bundled weights


def test_the_bundled_model_knows_what_it_was_taught():
    model = load_model(BUNDLED)
    assert model.knows("beard") and model.knows("Smiling") and not model.knows("pikachu")
    near = model.embed_text(["an old man", "an elderly man", "a young woman"])
    assert near[0] @ near[1] > near[0] @ near[2]
