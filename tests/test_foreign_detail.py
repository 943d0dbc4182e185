"""Others' displacement networks, on small files of their layout: an independent implementation agrees, what does not
fit is listed, and nothing hostile runs."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_head import make_avatar, tiny_head
from torch import Tensor, nn
from torch.nn import functional

from core import foreign_detail
from core.albedo.stylegan2 import Generator
from core.atlas import atlas_lookup
from core.avatar import load_avatar, save_avatar
from core.errors import FileError, LikenessError
from core.facescape import SCANNED_EXPRESSIONS, load_facescape
from core.foreign_detail import (
    AMPLITUDE,
    DECA_AMPLITUDE_M,
    TONE_MEAN,
    TONE_SPREAD,
    DecaCodes,
    DecaSizes,
    DetailDecoder,
    FaceScapeDetail,
    GlobalGenerator,
    PhotoEncoder,
    Pix2PixConfig,
    Trunk,
    deca_crop,
    deca_displacement,
    facescape_displacement,
    gan_displacement,
    load_deca,
    load_disp_gan,
    load_facescape_detail,
    load_pix2pix,
    load_position_maps,
    toned,
)
from core.head import HeadModel, load_head


def save(content: object, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)  # noqa: TID251, the public format
    return path


def filled(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Random weights; variances and scales are positive."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        fan_in = max(1, math.prod(shape[1:]))
        state[name] = torch.randn(shape, generator=generator) / math.sqrt(fan_in)
        if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            state[name] = state[name].abs() + 0.5
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
    return state


# ------------------------------------------------------------------------------------------------- pix2pixHD


def pix2pix_shapes(inputs: int, width: int, halvings: int, blocks: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes by hand: reflection, convolution, normalisation and ReLU each have a number."""
    shapes: dict[str, tuple[int, ...]] = {"model.1.weight": (width, inputs, 7, 7), "model.1.bias": (width,)}
    at, wide = 4, width
    for _ in range(halvings):
        shapes |= {f"model.{at}.weight": (2 * wide, wide, 3, 3), f"model.{at}.bias": (2 * wide,)}
        at, wide = at + 3, 2 * wide
    for _ in range(blocks):
        for k in (1, 5):
            name = f"model.{at}.conv_block.{k}"
            shapes |= {f"{name}.weight": (wide, wide, 3, 3), f"{name}.bias": (wide,)}
        at += 1
    for _ in range(halvings):
        shapes |= {f"model.{at}.weight": (wide, wide // 2, 3, 3), f"model.{at}.bias": (wide // 2,)}
        at, wide = at + 3, wide // 2
    return shapes | {f"model.{at + 1}.weight": (1, wide, 7, 7), f"model.{at + 1}.bias": (1,)}


def pix2pix_reference(state: dict[str, Tensor], x: Tensor, halvings: int, blocks: int) -> Tensor:
    """The network as Wang et al. 2018 describe it, without modules."""

    def normal(y: Tensor) -> Tensor:
        mean, variance = y.mean((2, 3), keepdim=True), y.var((2, 3), unbiased=False, keepdim=True)
        return (y - mean) / (variance + 1e-5).sqrt()

    def convolved(y: Tensor, name: str, pad: int = 0, **more: int) -> Tensor:
        y = functional.pad(y, [pad] * 4, mode="reflect") if pad else y
        return functional.conv2d(y, state[f"{name}.weight"], state[f"{name}.bias"], **more)

    y = normal(convolved(x, "model.1", 3)).relu()
    at = 4
    for _ in range(halvings):
        y, at = normal(convolved(y, f"model.{at}", stride=2, padding=1)).relu(), at + 3
    for _ in range(blocks):
        inner = normal(convolved(y, f"model.{at}.conv_block.1", 1)).relu()
        y, at = y + normal(convolved(inner, f"model.{at}.conv_block.5", 1)), at + 1
    for _ in range(halvings):
        w, b = state[f"model.{at}.weight"], state[f"model.{at}.bias"]
        y = functional.conv_transpose2d(y, w, b, stride=2, padding=1, output_padding=1)
        y, at = normal(y).relu(), at + 3
    return convolved(y, f"model.{at + 1}", 3).tanh()


@pytest.fixture(scope="module")
def single() -> dict[str, Tensor]:
    return filled(pix2pix_shapes(3, 4, 2, 3))


@pytest.mark.parametrize(("inputs", "width", "halvings", "blocks"), [(3, 4, 2, 3), (6, 2, 4, 1), (3, 8, 1, 0)])
@pytest.mark.parametrize("zipped", [True, False])
def test_equals_an_independent_implementation(
    tmp_path: Path, inputs: int, width: int, halvings: int, blocks: int, zipped: bool
):
    state = filled(pix2pix_shapes(inputs, width, halvings, blocks))
    network = load_pix2pix(save(state, tmp_path / "dpmap_single_net_G.pth", zipped))
    assert network.config == Pix2PixConfig(inputs, 1, width, halvings, blocks)
    x = torch.rand(2, inputs, 48, 64) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(network(x), pix2pix_reference(state, x, halvings, blocks), atol=1e-5)
    assert not network.training


def test_the_public_layout():
    """Of the names and shapes that 64 channels, 4 halvings and 9 blocks have; the last convolution is number 38."""
    with torch.device("meta"):
        state = GlobalGenerator(Pix2PixConfig(3)).state_dict()
    shapes = pix2pix_shapes(3, 64, 4, 9)
    assert {name: tuple(t.shape) for name, t in state.items()} == shapes and "model.38.weight" in shapes
    assert sum(math.prod(s) for s in shapes.values()) == pytest.approx(182.4e6, rel=0.01)


def test_other_containers_load_the_same_weights(tmp_path: Path, single: dict[str, Tensor]):
    x = torch.rand(1, 3, 32, 32)
    expected = load_pix2pix(save(single, tmp_path / "a.pth"))(x)
    parallel = {f"module.{name}": t for name, t in single.items()}
    # Of PyTorch before 0.4, which kept statistics that instance normalisation does not use.
    old = single | {"model.2.running_mean": torch.ones(4), "model.2.running_var": torch.ones(4)}
    for state in (parallel, old, {name: t.half() for name, t in single.items()}):
        assert torch.allclose(load_pix2pix(save(state, tmp_path / "b.pth"))(x), expected, atol=1e-2)


@pytest.mark.parametrize("kind", ["batch", "affine instance"])
def test_the_kind_of_normalisation_is_read_from_the_weights(tmp_path: Path, kind: str):
    network = GlobalGenerator(Pix2PixConfig(3, 1, 2, 1, 1, kind)).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.uniform_(part.weight, 0.5, 2)
    loaded = load_pix2pix(save(network.state_dict(), tmp_path / "n.pth"))
    assert loaded.config == network.config
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded(x), network(x))


def test_displacement_is_in_metres(tmp_path: Path, single: dict[str, Tensor]):
    detail = load_facescape_detail(save(single, tmp_path / "s.pth"))
    texture = torch.rand(1, 3, 32, 48)
    metres = detail.displacement(texture, metres_per_unit=0.002)
    assert torch.allclose(metres, pix2pix_reference(single, 2 * texture - 1, 2, 3) * AMPLITUDE * 0.002, atol=1e-8)
    assert not detail.rigged and metres.shape == (1, 1, 32, 48)


def test_the_rig_network_reads_a_position_map(tmp_path: Path):
    state = filled(pix2pix_shapes(6, 2, 1, 1))
    detail = load_facescape_detail(save(state, tmp_path / "dpmap_rig_net_G.pth"))
    maps = torch.rand(60, 32, 32).numpy()
    np.savez(tmp_path / "posmaps.npz", maps)
    positions = load_position_maps(tmp_path / "posmaps.npz")
    assert positions.shape == (len(SCANNED_EXPRESSIONS), 3, 32, 32)
    assert np.array_equal(positions[7].numpy(), maps[21:24])
    texture = torch.rand(1, 3, 32, 32)
    found = [detail.displacement(texture, positions[i : i + 1]) for i in (0, 7)]
    for metres, i in zip(found, (0, 7), strict=True):
        x = torch.cat([2 * texture - 1, positions[i : i + 1]], 1)
        assert torch.allclose(metres, pix2pix_reference(state, x, 1, 1) * AMPLITUDE / 1000, atol=1e-8)
    # All expressions at once; another size than the maps'.
    every = detail.displacement(texture.expand(20, -1, -1, -1), positions)
    assert torch.allclose(every[[0, 7]], torch.cat(found), atol=1e-8)
    assert detail.displacement(torch.rand(1, 3, 64, 64), positions[:1]).shape == (1, 1, 64, 64)


def test_inputs_that_do_not_fit_are_sentences(tmp_path: Path, single: dict[str, Tensor]):
    detail = load_facescape_detail(save(single, tmp_path / "s.pth"))
    with pytest.raises(LikenessError, match=r"33 x 32 texels .* multiples of 4"):
        detail.displacement(torch.zeros(1, 3, 32, 33))
    with pytest.raises(LikenessError, match="reads no position map"):
        detail.displacement(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))
    rig = load_facescape_detail(save(filled(pix2pix_shapes(6, 2, 1, 1)), tmp_path / "r.pth"))
    with pytest.raises(LikenessError, match="needs the position map"):
        rig.displacement(torch.zeros(1, 3, 32, 32))


def test_huge_textures_are_refused_before_they_fill_the_memory():
    with torch.device("meta"):
        detail = FaceScapeDetail(GlobalGenerator(Pix2PixConfig(3)))
        with pytest.raises(LikenessError, match=r"1 x 4096 x 4096 texels .* 16\.0 GiB .* up to 2048 texels"):
            detail.displacement(torch.zeros(1, 3, 4096, 4096))
        assert detail.displacement(torch.zeros(1, 3, 1024, 1024)).shape == (1, 1, 1024, 1024)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: {k: t for k, t in s.items() if k != "model.4.bias"}, r"model\.4\.bias is missing"),
        (lambda s: s | {"extra": torch.zeros(1)}, "extra is not known"),
        (lambda s: s | {"model.4.weight": torch.zeros(8, 5, 3, 3)}, r"model\.4\.weight has the shape \(8, 5, 3, 3\)"),
        (lambda s: s | {"model.4.bias": torch.full((8,), math.nan)}, r"not all finite: model\.4\.bias"),
        (lambda s: {k: t for k, t in s.items() if k != "model.1.weight"}, "holds no global generator"),
        (lambda s: {k: t for k, t in s.items() if k != "model.7.weight"}, "holds no global generator"),
        (lambda s: s | {"model.1.weight": torch.zeros(1).expand(9999, 3, 7, 7)}, "was refused: its network would have"),
        (lambda s: {}, "holds no network: a dictionary of tensors"),
        (lambda s: [1, 2], "holds no network: a dictionary of tensors"),
        (lambda s: s | {"model.1.bias": "four"}, "holds no network: a dictionary of tensors"),
        (lambda s: s | {"model.1.bias": torch.zeros(4).to_sparse()}, "holds no network: a dictionary of tensors"),
        (lambda s: {"linear.weight": torch.zeros(2, 2)}, r"begin with linear\.weight"),
    ],
)
def test_wrong_weights_are_named(
    tmp_path: Path, single: dict[str, Tensor], change: Callable[[dict[str, Tensor]], object], sentence: str
):
    path = save(change(single), tmp_path / "wrong.pth")
    with pytest.raises(FileError, match=sentence) as caught:
        load_facescape_detail(path)
    assert str(path) in str(caught.value)


def test_networks_for_something_else_are_refused(tmp_path: Path):
    with pytest.raises(FileError, match="from 5 channels to 1"):
        load_facescape_detail(save(filled(pix2pix_shapes(5, 2, 1, 1)), tmp_path / "labels.pth"))


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path, ("touched",))


@pytest.mark.parametrize("load", [load_pix2pix, load_deca, load_disp_gan])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_and_hostile_files_are_refused(
    tmp_path: Path, single: dict[str, Tensor], load: Callable[[Path], object], zipped: bool
):
    path = save({"g": single, "x": Hostile()}, tmp_path / "h.pth", zipped)
    with pytest.raises(FileError, match=r"was refused: it asks for pathlib\.Path"):
        load(path)
    whole = save({"g": single}, path, zipped).read_bytes()
    for keep in (0, 20, len(whole) // 2, len(whole) - 90):
        path.write_bytes(whole[:keep])
        with pytest.raises(FileError, match=r"h\.pth (could not be read|is no StyleGAN2)"):
            load(path)
    path.write_bytes(b"GIF89a" + bytes(90))
    with pytest.raises(FileError, match=r"h\.pth (could not be read|is no StyleGAN2)"):
        load(path)


@pytest.mark.parametrize(
    ("load", "feature", "how"),
    [
        (load_pix2pix, "FaceScape's displacement network", "yanght321/Detailed3DFace"),
        (load_position_maps, "position maps of FaceScape's 20 key expressions", r"posmaps\.npz"),
        (load_deca, "DECA's detail decoder", r"deca\.is\.tue\.mpg\.de"),
        (load_disp_gan, "AlbedoGAN's displacement generator", "ask the authors"),
    ],
)
def test_a_missing_file_says_everything(tmp_path: Path, load: Callable[[Path], object], feature: str, how: str):
    sentence = rf"{feature}.* is missing: looked for \S*absent\.pth.*licence.*{how}.* (needs|works) "
    with pytest.raises(FileError, match=sentence):
        load(tmp_path / "absent.pth")


def test_wrong_position_maps(tmp_path: Path):
    path = tmp_path / "posmaps.npz"
    for array, sentence in (
        (np.zeros((59, 4, 4)), r"float64 \(59, 4, 4\); three finite channels for each of 20"),
        (np.zeros((60, 4, 4), int), "int64"),
        (np.full((60, 2, 2), np.nan), "three finite channels"),
        (np.array([Hostile()], dtype=object), "could not be read as position maps"),
    ):
        np.savez(path, array)
        with pytest.raises(FileError, match=sentence):
            load_position_maps(path)
    np.savez(path, other=np.zeros(3))
    for content in (path.read_bytes(), b"", b"PK\x03\x04 nothing", b"GIF89a" + bytes(99)):
        path.write_bytes(content)
        with pytest.raises(FileError, match="could not be read as position maps"):
            load_position_maps(path)


def test_toned_textures_have_the_mean_and_spread_of_the_training():
    import cv2

    generator = torch.Generator().manual_seed(0)
    texture = (0.5 + 0.1 * torch.randn(3, 64, 64, generator=generator)).clamp(0, 1) * torch.tensor([1.0, 0.7, 0.5])[
        :, None, None
    ]
    known = torch.zeros(64, 64, dtype=torch.bool)
    known[8:56, 8:56] = True
    result = toned(texture, known)
    lab = cv2.cvtColor((result.permute(1, 2, 0) * 255).round().byte().numpy(), cv2.COLOR_RGB2LAB)[known.numpy()]
    # Whole numbers: rounded twice, and a narrow spread gains from it.
    np.testing.assert_allclose(lab.mean(0), TONE_MEAN, atol=1)
    np.testing.assert_allclose(lab.std(0), TONE_SPREAD, atol=0.6)
    assert (result[:, ~known] - result[:, ~known][:, :1]).abs().max() == 0
    flat = toned(torch.full((3, 8, 8), 0.4), torch.ones(8, 8, dtype=torch.bool))
    assert flat.isfinite().all()
    with pytest.raises(LikenessError, match="texture is empty"):
        toned(texture, torch.zeros(64, 64, dtype=torch.bool))


def write_facescape(head: HeadModel, folder: Path, says: float) -> None:
    """The files of a FaceScape whose mean face is the front of this head at half its size, and of a network that
    says the same everywhere."""
    folder.mkdir()
    faces = head.faces[head.part_faces("skin")]
    used, faces = faces.unique(return_inverse=True)
    skin = head.template[used].double()
    points = torch.cat([skin, head.landmark_points("ibug", head.template).double()]) * 500  # millimetres
    rng = np.random.default_rng(0)
    core = np.zeros((3, 4, 3 * len(points)), np.float32)
    core[0] = points.flatten().numpy() * 10
    core[0, 1:] += rng.normal(scale=5, size=core[0, 1:].shape)
    core[1:] = rng.normal(size=(2, 1, core.shape[2]))
    np.save(folder / "core_847_50_52.npy", core)
    factors = np.array([[0.1, 0.01, 0.01], [0.1, -0.01, -0.01], [0.1, 0.01, -0.01], [0.1, -0.01, 0.01]])
    np.save(folder / "factors_id_847_50_52.npy", factors)
    np.savez(folder / "landmark_indices.npz", v10=len(skin) + np.arange(68))
    # Orthographic texture coordinates that fill the window which the network sees.
    left, top, right, bottom = foreign_detail.WINDOW
    span = 1.1 * float((skin.amax(0) - skin.amin(0))[:2].amax())
    place = (skin[:, :2] - skin.mean(0)[:2]) / span
    uv = torch.stack([left + (right - left) * (place[:, 0] + 0.5), 1 - top - (bottom - top) * (0.5 - place[:, 1])], 1)
    front = skin[faces].mean(1)[:, 2] > skin[:, 2].mean() + 0.02
    lines = [f"vt {u:.8f} {v:.8f}" for u, v in uv.tolist()]
    lines += ["f " + " ".join(f"{corner}/{corner}" for corner in face) for face in (faces[front] + 1).tolist()]
    (folder / "1_neutral.obj").write_text("\n".join(lines))
    state = filled(pix2pix_shapes(3, 2, 1, 1))
    last = f"model.{max(int(name.split('.')[1]) for name in state)}"
    state |= {f"{last}.weight": torch.zeros(1, 2, 7, 7), f"{last}.bias": torch.full((1,), math.atanh(says))}
    save(state, folder / "dpmap_single_net_G.pth")


def test_the_way_from_a_head_to_its_displacement(tmp_path: Path):
    """Twice the size of FaceScape's, so twice the displacement."""
    head = tiny_head()
    write_facescape(head, tmp_path / "fs", says=0.5)
    model = load_facescape(tmp_path / "fs", topology=tmp_path / "fs/1_neutral.obj")
    detail = load_facescape_detail(tmp_path / "fs/dpmap_single_net_G.pth")
    result = facescape_displacement(head, head.template, torch.rand(3, 32, 32), model, detail, 48, side=64)
    inside = atlas_lookup(head, 48).inside
    assert result.valid.sum() > 0.2 * inside.sum() and not result.valid[~inside].any()
    assert torch.allclose(result.values[0, result.valid], torch.tensor(0.5 * AMPLITUDE * 0.001 * 2), rtol=2e-3)


@pytest.mark.slow
def test_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On the bundled head, with a FaceScape made of it."""
    head = load_head()
    write_facescape(head, tmp_path / "facescape", says=-0.5)
    save_avatar(make_avatar(head, side=64), tmp_path / "anna.likeness")
    text = (Path(__file__).parent.parent / "docs/foreign_models.md").read_text("utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    exec(compile(example.replace("size=1024", "size=128, side=128"), "foreign_models.md", "exec"), {})
    result = load_avatar("detailed.likeness")
    relief, normals = result.materials.skin_displacement, result.materials.skin_normal
    assert relief is not None and relief.shape == (1, 128, 128)
    # A random person's head is about twice as large. The same everywhere, and flat where FaceScape has no face.
    deepest = relief.min()
    assert float(deepest) == pytest.approx(-0.5 * 914 * 2, rel=0.15)
    assert (relief <= deepest + 1).float().mean() > 0.1 and relief.max() == 0 and (relief == 0).float().mean() > 0.1
    assert normals is not None and normals.shape == (3, 128, 128)
    assert [finding.code for finding in result.quality.findings].count("foreign-relief") == 1


# ------------------------------------------------------------------------------------------------- DECA

SIZES = DecaSizes(shape=4, texture=2, expression=3, pose=6, camera=3, light=27)


def decoder_shapes(inputs: int, widths: tuple[int, ...] = (8, 8, 6, 4), side: int = 4) -> dict[str, tuple[int, ...]]:
    """DECA's names: a linear layer, then per doubling upsampling, convolution, normalisation, activation."""

    def norm(at: int, width: int) -> dict[str, tuple[int, ...]]:
        parts = ("weight", "bias", "running_mean", "running_var")
        return {f"conv_blocks.{at}.{part}": (width,) for part in parts} | {f"conv_blocks.{at}.num_batches_tracked": ()}

    shapes: dict[str, tuple[int, ...]] = {
        "l1.0.weight": (widths[0] * side**2, inputs),
        "l1.0.bias": (widths[0] * side**2,),
    } | norm(0, widths[0])
    at = 2
    for narrow, wide in itertools.pairwise(widths):
        shapes |= {f"conv_blocks.{at}.weight": (wide, narrow, 3, 3), f"conv_blocks.{at}.bias": (wide,)}
        shapes |= norm(at + 1, wide)
        at += 4
    return shapes | {f"conv_blocks.{at - 1}.weight": (1, widths[-1], 3, 3), f"conv_blocks.{at - 1}.bias": (1,)}


def decoder_reference(state: dict[str, Tensor], code: Tensor, channels: int = 8, side: int = 4) -> Tensor:
    def norm(y: Tensor, at: int, eps: float) -> Tensor:
        parts = (
            state[f"conv_blocks.{at}.{p}"][:, None, None] for p in ("running_mean", "running_var", "weight", "bias")
        )
        mean, variance, weight, bias = parts
        return (y - mean) / (variance + eps).sqrt() * weight + bias

    y = (code @ state["l1.0.weight"].T + state["l1.0.bias"]).reshape(len(code), channels, side, side)
    y, at = norm(y, 0, 1e-5), 2
    while f"conv_blocks.{at}.weight" in state and f"conv_blocks.{at + 1}.running_mean" in state:
        y = functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        y = functional.conv2d(y, state[f"conv_blocks.{at}.weight"], state[f"conv_blocks.{at}.bias"], padding=1)
        y, at = functional.leaky_relu(norm(y, at + 1, 0.8), 0.2), at + 4
    at -= 1
    return functional.conv2d(y, state[f"conv_blocks.{at}.weight"], state[f"conv_blocks.{at}.bias"], padding=1).tanh()


def encoder(outputs: int, seed: int) -> PhotoEncoder:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return PhotoEncoder(Trunk(4, (2, 2, 2, 3), (1, 2, 1, 1)), 6, outputs).eval()


@pytest.fixture(scope="module")
def deca() -> dict[str, dict[str, Tensor]]:
    """A whole deca_model.tar, with 5 numbers of detail."""
    return {
        "E_flame": encoder(SIZES.total, 1).state_dict(),
        "E_detail": encoder(5, 2).state_dict(),
        "D_detail": filled(decoder_shapes(3 + 3 + 5)),
        "opt": {"state": {}, "step": torch.tensor(3)},
    }


def test_the_decoder_equals_an_independent_implementation(tmp_path: Path, deca: dict[str, dict[str, Tensor]]):
    model = load_deca(save(deca, tmp_path / "deca_model.tar"), SIZES)
    codes = DecaCodes(*(torch.randn(2, n) for n in (4, 3, 6, 5)))
    code = torch.cat([codes.pose[:, 3:], codes.expression, codes.detail], 1)
    found = model.displacement(codes)
    assert found.shape == (2, 1, 32, 32)
    assert torch.allclose(found, decoder_reference(deca["D_detail"], code) * DECA_AMPLITUDE_M, atol=1e-8)
    assert found.std() > 1e-5
    bare = load_deca(save({"D_detail": deca["D_detail"]}, tmp_path / "d.tar", zipped=False))
    assert torch.equal(bare.displacement(codes), found)
    with pytest.raises(LikenessError, match="without its encoders"):
        bare.codes(torch.zeros(1, 3, 224, 224))
    with pytest.raises(LikenessError, match=r"takes 11 numbers.* have 12"):
        model.displacement(replace(codes, detail=torch.zeros(2, 6)))


def test_the_public_decoder_draws_256_pixels():
    with torch.device("meta"):
        decoder = DetailDecoder(181, 8, (128, 128, 64, 64, 32, 16), 1)
        assert decoder.eval()(torch.zeros(2, 181)).shape == (2, 1, 256, 256)
    expected = decoder_shapes(128 + 50 + 3, (128, 128, 64, 64, 32, 16), 8)
    assert {name: tuple(t.shape) for name, t in decoder.state_dict().items()} == expected
    assert "conv_blocks.21.weight" in expected and DecaSizes().total == 236


@pytest.mark.slow
def test_the_encoder_is_a_resnet_50(tmp_path: Path):
    """Of torchvision, whose weights DECA's began with, and with the classifier that may lie beside them."""
    from editing import text_image

    text_image._open_clip()  # makes torchvision importable beside a torch without CUDA
    from torchvision.models import resnet50

    reference = resnet50(weights=None).eval()
    heads = {"layers.0.weight": (1024, 2048), "layers.0.bias": (1024,), "layers.2.weight": (236, 1024)}
    state = {f"encoder.{name}": t for name, t in reference.state_dict().items()}
    state |= filled(heads | {"layers.2.bias": (236,)})
    found = foreign_detail._load_encoder(state, "E_flame", tmp_path)
    photo = torch.rand(1, 3, 224, 224)
    reference.fc = nn.Identity()  # pyright: ignore
    with torch.no_grad():
        expected = functional.linear(reference(photo), state["layers.0.weight"], state["layers.0.bias"]).relu()
        expected = functional.linear(expected, state["layers.2.weight"], state["layers.2.bias"])
        assert torch.allclose(found(photo), expected, atol=1e-3 * float(expected.abs().max()))


def test_codes_are_cut_in_the_public_order(tmp_path: Path, deca: dict[str, dict[str, Tensor]]):
    model = load_deca(save(deca, tmp_path / "deca_model.tar"), SIZES)
    photo = torch.rand(2, 3, 224, 224)
    codes = model.codes(photo)
    with torch.no_grad():
        coarse = encoder(SIZES.total, 1)(photo)
        detail = encoder(5, 2)(photo)
    assert torch.allclose(codes.shape, coarse[:, :4]) and torch.allclose(codes.expression, coarse[:, 6:9])
    assert torch.allclose(codes.pose, coarse[:, 9:15]) and torch.allclose(codes.detail, detail)


def test_codes_are_parameters_of_flame():
    head = tiny_head()
    codes = DecaCodes(torch.ones(1, 4), 2 * torch.ones(1, 3), torch.arange(6.0)[None], torch.zeros(1, 5))
    parameters = codes.parameters(head)
    assert parameters.shape.tolist() == [[1, 1, 1, 1, 0]]
    assert parameters.expression.sum() == 6 and parameters.expression[0, 3:].abs().max() == 0
    assert parameters.joint_rotations[0, head.joint_names.index("jaw")].tolist() == [3, 4, 5]
    assert parameters.joint_rotations.abs().sum() == 12
    assert head.neutral().shape.abs().sum() == 0


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: {"E_flame": d["E_flame"]}, 'has E_flame, a "D_detail" was expected'),
        (lambda d: [1], "it has list"),
        (lambda d: d | {"D_detail": {"a": torch.zeros(1)}}, r"no detail decoder of DECA's.* found a\."),
        (
            lambda d: d | {"D_detail": {k: t for k, t in d["D_detail"].items() if k != "l1.0.bias"}},
            r"l1\.0\.bias is mis",
        ),
        (lambda d: d | {"D_detail": d["D_detail"] | {"l1.0.weight": torch.zeros(120, 11)}}, "no detail decoder"),
        (lambda d: d | {"D_detail": filled(decoder_shapes(12))}, "D_detail takes 12 numbers, .* give 11"),
        (lambda d: d | {"E_detail": {"a": torch.zeros(1)}}, "E_detail in .* is no encoder of DECA's"),
        (lambda d: d | {"E_flame": d["E_detail"]}, r"E_flame in .* gives 5 numbers; DecaSizes\(shape=4.* has 45"),
        (
            lambda d: d | {"E_flame": d["E_flame"] | {"encoder.layer1.99.x": torch.zeros(1)}},
            "100, 2, 1, 1. blocks|of .100",
        ),
        (lambda d: d | {"E_flame": d["E_flame"] | {"encoder.y": torch.zeros(1)}}, r"encoder\.y is not known"),
    ],
)
def test_wrong_deca_files_are_named(
    tmp_path: Path, deca: dict[str, dict[str, Tensor]], change: Callable[[dict], object], sentence: str
):
    with pytest.raises(FileError, match=sentence):
        load_deca(save(change(deca), tmp_path / "deca_model.tar"), SIZES)


def test_the_crop_is_square_about_the_face():
    """A photo whose colours are the coordinates shows where each pixel of the crop came from."""
    y, x = torch.meshgrid(torch.arange(400) + 0.5, torch.arange(600) + 0.5, indexing="ij")
    photo = torch.stack([x / 600, y / 400, torch.ones(400, 600)])
    points = torch.rand(68, 2) * torch.tensor([100.0, 140.0]) + torch.tensor([250.0, 120.0])
    points[:2] = torch.tensor([[250.0, 120.0], [350.0, 260.0]])
    crop = deca_crop(photo, points)
    assert crop.shape == (1, 3, 224, 224)
    half = 1.375 * 120 / 2
    corners = crop[0, :2, [0, -1], [0, -1]] * torch.tensor([600.0, 400.0])[:, None]
    assert torch.allclose(corners, torch.tensor([[300 - half, 300 + half], [190 - half, 190 + half]]), atol=0.6)
    away = deca_crop(photo, points - torch.tensor([600.0, 0.0]))
    assert away.abs().max() == 0


def test_a_map_of_flames_arrives_in_the_atlas():
    """With our own head as FLAME its map is ours."""
    head = tiny_head()
    codes = DecaCodes(torch.zeros(1, 4), torch.zeros(1, 3), torch.zeros(1, 6), torch.zeros(1, 5))
    v, u = torch.meshgrid(1 - (torch.arange(64) + 0.5) / 64, (torch.arange(64) + 0.5) / 64, indexing="ij")
    image = (0.001 * (3 * u).sin() * (4 * v).cos())[None]
    known = torch.ones(64, 64, dtype=torch.bool)
    known[:10] = False
    result = deca_displacement(head, head.template, head, codes, image, 64, known)
    # The seam of the texture may lead to its other side.
    close = (result.values - image)[:, result.valid].abs() < 1e-5
    assert close.float().mean() > 0.97 and not result.valid[:9].any()
    assert result.valid.sum() > 0.8 * (atlas_lookup(head, 64).inside & known).sum()
    with pytest.raises(LikenessError, match="loaded without landmarks"):
        deca_displacement(head, head.template, replace(head, landmarks={}), codes, image, 8)


# ------------------------------------------------------------------------------------------------- disp_GAN


def test_disp_gan_is_a_stylegan_whose_first_channel_counts(tmp_path: Path):
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        generator = Generator(16, style_dim=8, n_mlp=1, channel_max=16).eval()
    path = save({"g": {f"module.{k}": t for k, t in generator.state_dict().items()}}, tmp_path / "disp_GAN.pt")
    loaded = load_disp_gan(path)
    w = torch.randn(2, 8)
    image, _ = generator([w], input_is_latent=True, randomize_noise=False)
    expected = [
        min(max((2 * min(max(float(x), 0), 1) - 1) / 255, -0.004), 0.004) for x in image[:, 0].detach().flatten()
    ]
    found = gan_displacement(loaded, w)
    assert found.shape == (2, 1, 16, 16)
    np.testing.assert_allclose(found.flatten().numpy(), expected, atol=1e-7)
    assert found.min() < 0 < found.max()
    layered = gan_displacement(loaded, w[:, None].expand(-1, loaded.n_latent, -1))
    assert torch.allclose(layered, found, atol=1e-7)
