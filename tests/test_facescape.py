"""FaceScape's bilinear model on tiny files of its structure: an independent implementation agrees, known faces are
found again by their landmarks, and nothing hostile runs."""

from __future__ import annotations

import os
import pickle  # noqa: TID251, writes the pickles that FaceScape's own code has
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from core.camera import Camera, axis_angle_to_matrix
from core.errors import FileError, LikenessError
from core.facescape import (
    SCANNED_EXPRESSIONS,
    FaceScapeFitSettings,
    FaceScapeModel,
    fit_facescape,
    load_facescape,
    read_landmark_indices,
    read_topology,
)

PEOPLE, IDENTITIES, EXPRESSIONS, SIDE = 40, 5, 4, 10
VERTICES = SIDE * SIDE


def grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A curved sheet the size of a face, in millimetres; its triangles, counted from 0; its texture coordinates."""
    u, v = np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE))
    points = np.stack([140 * (u - 0.5), 180 * (v - 0.5), 70 * np.cos(2 * (u - 0.5)) * np.cos(v - 0.5)], -1)
    corner = np.arange(VERTICES).reshape(SIDE, SIDE)
    a, b, c, d = (part.ravel() for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return points.reshape(-1, 3), faces, np.stack([u, v], -1).reshape(-1, 2)


def tiny_arrays(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """[identity, expression, 3 V] and [people, identity]. The first factor is the mean face, as in an SVD."""
    rng = np.random.default_rng(seed)
    points, _, uv = grid()

    def bump(height: float) -> np.ndarray:
        centre = rng.uniform(0.2, 0.8, 2)
        return height * np.exp(-((uv - centre) ** 2).sum(1) / 0.03)[:, None] * rng.normal(size=3)

    neutral = [10 * points, *(bump(60) for _ in range(IDENTITIES - 1))]
    core = np.zeros((IDENTITIES, EXPRESSIONS, VERTICES, 3))
    core[:, 0] = neutral
    for e in range(1, EXPRESSIONS):
        core[0, e] = core[0, 0] + 10 * bump(8)
        core[1:, e] = core[1:, 0] + 0.1 * rng.normal(size=(IDENTITIES - 1, 1, 3))
    factors = np.concatenate([rng.normal(0.1, 0.002, (PEOPLE, 1)), rng.normal(0, 0.1, (PEOPLE, IDENTITIES - 1))], 1)
    return core.reshape(IDENTITIES, EXPRESSIONS, -1), factors


LANDMARKS = np.random.default_rng(3).permutation(VERTICES)[:68]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What unpacking the 1.3 archive leaves, much smaller."""
    core, factors = tiny_arrays()
    np.save(tmp_path / "core_847_50_52.npy", core)
    np.save(tmp_path / "factors_id_847_50_52.npy", factors)
    np.savez(tmp_path / "landmark_indices.npz", v10=LANDMARKS, v16=LANDMARKS[::-1])
    _, faces, uv = grid()
    listed = [(list(map(int, face + 1)), [0, 0, 0], list(map(int, face + 1)), "material_0") for face in faces]
    (tmp_path / "predef_faces.pkl").write_bytes(pickle.dumps(listed))
    (tmp_path / "predef_texcoords.pkl").write_bytes(pickle.dumps([tuple(map(float, pair)) for pair in uv]))
    return tmp_path


@pytest.fixture
def model(folder: Path) -> FaceScapeModel:
    return load_facescape(folder)


def some_face(model: FaceScapeModel, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(1, model.identity_count, generator=generator).clamp(-1.5, 1.5)
    weights = torch.rand(1, model.expression_count - 1, generator=generator) * 0.8
    return model.identity_mean + z * model.identity_spread, model.blended(weights)


# ------------------------------------------------------------------------------------------------- model


def test_faces_equal_those_of_the_authors_formula(model: FaceScapeModel):
    """core.transpose(2, 1, 0) . identity . expression, as doc and demo have it."""
    core, factors = tiny_arrays()
    identity, expression = some_face(model)
    expected = core.transpose(2, 1, 0).dot(identity[0].double().numpy()).dot(expression[0].double().numpy())
    found = model.vertices(identity, expression)
    np.testing.assert_allclose(1000 * found[0].numpy(), expected.reshape(-1, 3), atol=1e-3)
    np.testing.assert_allclose(model.identity_mean.numpy(), factors.mean(0), rtol=1e-6)
    np.testing.assert_allclose(model.identity_spread.numpy(), factors.std(0, ddof=1), rtol=1e-6)
    both = model.vertices(torch.cat([identity, identity]), torch.cat([model.neutral(), expression]))
    assert torch.allclose(both[1], found[0], atol=1e-7) and not torch.allclose(both[0], both[1], atol=1e-3)
    assert torch.equal(model.vertices(model.identity_mean[None], model.neutral())[0], model.template)
    assert len(SCANNED_EXPRESSIONS) == len(set(SCANNED_EXPRESSIONS)) == 20


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (2, 0, 1), (0, 2, 1)])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f8"])
def test_axes_are_told_apart_by_their_lengths(folder: Path, model: FaceScapeModel, order: tuple[int, ...], dtype: str):
    core, _ = tiny_arrays()
    path = folder / "core_847_50_52.npy"
    identity, expression = some_face(model)
    expected = model.vertices(identity, expression)
    np.save(path, np.ascontiguousarray(core.transpose(order)).astype(dtype))
    assert torch.allclose(load_facescape(path).vertices(identity, expression), expected, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_equal_axes_follow_the_public_order(tmp_path: Path, reverse: bool):
    core, factors = tiny_arrays()
    core, factors = core[:EXPRESSIONS], factors[:, :EXPRESSIONS]
    np.save(tmp_path / "core_1.npy", core.transpose(2, 1, 0) if reverse else core)
    np.save(tmp_path / "factors_id_1.npy", factors)
    model = load_facescape(tmp_path)
    assert model.landmarks is None and model.faces is None
    assert np.array_equal(model.core, core)


def test_the_core_stays_on_the_disk_and_is_differentiable(model: FaceScapeModel):
    base = model.core
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    identity, expression = (part.double() for part in some_face(model))
    assert torch.autograd.gradcheck(
        lambda i, e: 1000 * model.vertices(i, e), (identity.requires_grad_(), expression.requires_grad_())
    )


def test_version_16_is_the_same_model_in_another_container(folder: Path, model: FaceScapeModel):
    """Reversed axes, means and variances instead of people, triangles from 1; pickled entries stay closed."""
    core, factors = tiny_arrays()
    _, faces, uv = grid()
    victim = folder / "victim"
    np.savez(
        folder / "facescape_bm_v1.6_847_50_52_id_front.npz",
        shape_bm_core=core.transpose(2, 1, 0),
        id_mean=factors.mean(0),
        id_var=factors.var(0, ddof=1),
        fv_indices=faces + 1,
        ft_indices=faces + 1,
        texcoords=uv,
        lm_list_v16=LANDMARKS,
        sym_dict=np.array({"a": Hostile(victim)}, dtype=object),
    )
    other = load_facescape(folder / "facescape_bm_v1.6_847_50_52_id_front.npz")
    identity, expression = some_face(model)
    assert torch.allclose(other.vertices(identity, expression), model.vertices(identity, expression), atol=1e-6)
    assert torch.allclose(other.identity_spread, model.identity_spread)
    for name in ("faces", "uv", "uv_faces", "landmarks"):
        assert torch.equal(getattr(other, name), getattr(model, name)), name
    assert not victim.exists()


# ------------------------------------------------------------------------------------------------- topology, landmarks


def test_topologies_agree(folder: Path, model: FaceScapeModel):
    _, faces, uv = grid()
    assert model.faces is not None and model.uv is not None
    assert np.array_equal(model.faces.numpy(), faces) and np.allclose(model.uv[model.uv_faces].numpy(), uv[faces])
    lines = [f"v {x} {y} {z}" for x, y, z in grid()[0]] + [f"vt {u} {v}" for u, v in uv]
    lines += [f"f {a}/{a}/1 {b}/{b}/1 {c}/{c}/1" for a, b, c in faces + 1]
    (folder / "neutral.obj").write_text("# made by hand\nmtllib a.mtl\n" + "\n".join(lines))
    for_pair = ([list(map(float, pair)) for pair in uv], pickle.loads((folder / "predef_faces.pkl").read_bytes()))
    (folder / "faces.pkl").write_bytes(pickle.dumps(for_pair))
    for name in ("neutral.obj", "faces.pkl"):
        found = read_topology(folder / name, VERTICES)
        assert torch.equal(found[0], model.faces) and torch.allclose(found[1], model.uv)
        assert model.uv_faces is not None and torch.equal(found[2], model.uv_faces)
    mesh = load_facescape(folder, topology=folder / "neutral.obj").mesh(model.template)
    assert torch.equal(mesh.faces, model.faces) and mesh.uv is not None


def test_polygons_become_fans(tmp_path: Path):
    (tmp_path / "quad.obj").write_text("vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 4/1 3/2 2/3 1/4\n")
    faces, _, uv_faces = read_topology(tmp_path / "quad.obj", 4)
    assert faces.tolist() == [[3, 2, 1], [3, 1, 0]] and uv_faces.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_landmarks_from_both_kinds_of_file(folder: Path):
    (folder / "index_68.txt").write_text("\n".join(map(str, LANDMARKS)))
    for found in (
        read_landmark_indices(folder / "landmark_indices.npz", VERTICES),
        read_landmark_indices(folder / "landmark_indices.npz", VERTICES, "v16").flip(0),
        read_landmark_indices(folder / "index_68.txt", VERTICES),
    ):
        assert found.tolist() == LANDMARKS.tolist()


# ------------------------------------------------------------------------------------------------- fit

SURE = FaceScapeFitSettings(landmark_sd_m=1e-6, identity_weight=1e-6, expression_sd=1e3)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_known_face_in_space_is_found_again(model: FaceScapeModel, seed: int):
    identity, expression = some_face(model, seed)
    vertices = model.vertices(identity, expression)[0]
    rotation = axis_angle_to_matrix(torch.tensor([0.4, -2.0, 0.3]))
    target = 1.3 * vertices @ rotation.T + torch.tensor([0.2, -0.1, 0.5])
    assert model.landmarks is not None
    fit = fit_facescape(model, target[model.landmarks], settings=SURE)
    placed = fit.placed(model.vertices(fit.identity[None], fit.expression[None])[0])
    assert fit.error < 1e-6 and (placed - target).norm(dim=1).max() < 2e-5
    # The first factor is size: it and the scale say the same, so neither is known alone.
    assert torch.allclose(fit.expression, expression[0], atol=2e-3) and fit.expression.sum() == pytest.approx(1)
    assert torch.allclose(fit.rotation, rotation, atol=1e-4)


@pytest.mark.parametrize("yaw", [-0.5, 0.0, 0.4])
def test_a_known_face_in_a_photo_is_found_again(model: FaceScapeModel, yaw: float):
    """Through a camera, to fractions of a millimetre in shape. Facing the camera is half a turn about x."""
    identity, expression = some_face(model)
    vertices = model.vertices(identity, expression)[0]
    rotation = axis_angle_to_matrix(torch.tensor([torch.pi, 0.0, 0.0])) @ axis_angle_to_matrix(
        torch.tensor([0.1, yaw, 0.05])
    )
    T = torch.eye(4)
    T[:3, :3], T[:3, 3] = rotation, torch.tensor([0.02, -0.03, 0.6])
    camera = Camera(T[None], torch.tensor([900.0]), torch.tensor([[320.0, 240.0]]), 480, 640)
    pixels = camera.project(vertices[None])[0, :, :2]
    assert model.landmarks is not None
    # The size of the face and its distance are told apart by perspective alone: trust the dataset's sizes a little.
    fit = fit_facescape(
        model, pixels[model.landmarks], camera=camera, settings=replace(SURE, landmark_sd_m=1e-5, identity_weight=0.01)
    )
    assert fit.error < 0.02 and fit.scale == pytest.approx(1)
    placed = fit.placed(model.vertices(fit.identity[None], fit.expression[None])[0])
    again = placed[:, :2] / placed[:, 2:] * 900 + torch.tensor([320.0, 240.0])
    assert (again - pixels).norm(dim=1).max() < 0.3
    relief, expected = (z - z.mean() for z in (placed[:, 2], (vertices @ rotation.T)[:, 2]))
    assert (relief - expected).abs().max() < 0.05 * expected.abs().max()


def test_a_known_face_in_parallel_light_rays_is_found_again(model: FaceScapeModel):
    identity, expression = some_face(model)
    vertices = model.vertices(identity, expression)[0]
    rotation = axis_angle_to_matrix(torch.tensor([torch.pi, 0.0, 0.0])) @ axis_angle_to_matrix(
        torch.tensor([0.1, 0.5, 0.05])
    )
    pixels = 2000 * (vertices @ rotation.T)[:, :2] + torch.tensor([300.0, 200.0])
    assert model.landmarks is not None
    fit = fit_facescape(model, pixels[model.landmarks], settings=SURE)
    placed = fit.placed(model.vertices(fit.identity[None], fit.expression[None])[0])
    assert fit.error < 0.01 and (placed[:, :2] - pixels).norm(dim=1).max() < 0.1
    assert torch.allclose(fit.rotation, rotation, atol=2e-2)


@pytest.mark.parametrize("kind", ["space", "photo", "parallel"])
def test_derivatives_against_central_differences(model: FaceScapeModel, monkeypatch: pytest.MonkeyPatch, kind: str):
    import scipy.optimize

    class Done(Exception):
        pass

    def compare(fun: Callable, x0: np.ndarray, jac: Callable, **_: object) -> None:
        x = x0 + 0.1 * np.abs(np.random.default_rng(0).normal(size=len(x0)))
        steps = 1e-6 * np.eye(len(x))
        expected = np.stack([(fun(x + step) - fun(x - step)) / 2e-6 for step in steps], 1)
        np.testing.assert_allclose(jac(x), expected, atol=1e-5 * np.abs(expected).max())
        raise Done

    monkeypatch.setattr(scipy.optimize, "least_squares", compare)
    assert model.landmarks is not None
    points = model.vertices(*some_face(model))[0][model.landmarks] * torch.tensor([1.0, -1.0, -1.0])
    camera = Camera(torch.eye(4)[None], torch.tensor([900.0]), torch.tensor([[320.0, 240.0]]), 480, 640)
    with pytest.raises(Done):
        fit_facescape(
            model, points if kind == "space" else 1500 * points[:, :2] + 300, camera=camera if kind == "photo" else None
        )


def test_the_priors_are_those_of_the_dataset(model: FaceScapeModel):
    """With landmarks that mean nothing the answer is the mean person at rest; weights stay in 0..1 with noisy ones."""
    assert model.landmarks is not None
    target = model.template[model.landmarks]
    noise = 0.004 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    vague = fit_facescape(model, target + noise, settings=FaceScapeFitSettings(landmark_sd_m=10.0))
    z = (vague.identity - model.identity_mean) / model.identity_spread
    assert z.abs().max() < 0.01 and (vague.expression - model.neutral()[0]).abs().max() < 0.01
    near = fit_facescape(model, target + noise)
    assert (near.expression[1:] >= 0).all() and (near.expression[1:] <= 1).all()
    assert near.error < vague.error
    again = fit_facescape(model, target + noise)
    assert torch.equal(near.identity, again.identity)


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        (torch.zeros(68, 3), "lie in one place"),
        (torch.zeros(3, 3), "3 points with 3 coordinates cannot be fitted to 68 landmarks"),
        (torch.zeros(68, 4), "68 points with 4 coordinates"),
        (torch.full((68, 2), float("nan")), "finite points"),
    ],
)
def test_points_that_cannot_be_fitted(model: FaceScapeModel, points: Tensor, sentence: str):
    with pytest.raises(LikenessError, match=sentence):
        fit_facescape(model, points)
    with pytest.raises(LikenessError, match=r"without the 68 landmarks .*landmark_indices\.npz"):
        fit_facescape(replace(model, landmarks=None), torch.rand(68, 3))


# ------------------------------------------------------------------------------------------------- bad files


class Hostile:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self):
        return (os.system, (f"touch {self.victim}",))


def test_a_missing_file_says_everything(tmp_path: Path, folder: Path):
    with pytest.raises(FileError) as caught:
        load_facescape(tmp_path / "absent")
    for part in ("FaceScape's bilinear model", "absent", "facescape.nju.edu.cn", "non-commercial", "work without it"):
        assert part in str(caught.value)
    (folder / "other").mkdir()
    np.save(folder / "other/core_2.npy", tiny_arrays()[0])
    with pytest.raises(FileError, match=r"looked for .*factors_id_2\.npy"):
        load_facescape(folder / "other")
    (folder / "other/core_2.npy").unlink()
    with pytest.raises(FileError, match=r"looked for .*no\.obj"):
        load_facescape(folder, topology=tmp_path / "no.obj")
    with pytest.raises(FileError, match=r"came without the triangles .*faces\.pkl"):
        model = load_facescape(folder)
        replace(model, faces=None).mesh(model.template)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda core: core[0], r"holds float64 \(4, 300\), but 3-dimensional floating-point numbers"),
        (lambda core: core.astype(int), "holds int64"),
        (lambda core: core[:, :, :-1], r"is not FaceScape's core: it is \(5, 4, 299\)"),
        (lambda core: core[:, :1], r"from 2 to 256 expressions"),
        (lambda core: core[:3], r"none of its axes is 5 long"),
        (lambda core: core * 1e6, "its mean face is .* m large"),
        (lambda core: core * 0, "its mean face is 0 m large"),
        (lambda core: np.where(np.arange(300) == 7, np.nan, core), "its mean face is nan m large"),
    ],
)
def test_wrong_cores_are_sentences(folder: Path, change: Callable[[np.ndarray], np.ndarray], sentence: str):
    np.save(folder / "core_847_50_52.npy", change(tiny_arrays()[0]))
    with pytest.raises(FileError, match=sentence) as caught:
        load_facescape(folder)
    assert str(folder / "core_847_50_52.npy") in str(caught.value)


def test_values_that_only_an_expression_shows_are_found(folder: Path):
    for bad in (np.inf, np.nan, 1e300):
        core, _ = tiny_arrays()
        core[2, 3, 5] = bad
        np.save(folder / "core_847_50_52.npy", core)
        with pytest.raises(FileError, match="its mean face is nan m large"):
            load_facescape(folder)


def test_wrong_factors_are_sentences(folder: Path):
    path = folder / "factors_id_847_50_52.npy"
    for array, sentence in (
        (np.zeros((1, 5)), "at least two people"),
        (np.zeros((40, 6)), "none of its axes is 6 long"),
        (np.full((40, 5), np.nan), "its factors has values that are not finite"),
        (np.zeros(5), "but 2-dimensional"),
    ):
        np.save(path, array)
        with pytest.raises(FileError, match=sentence):
            load_facescape(folder)


@pytest.mark.parametrize("name", ["core_847_50_52.npy", "factors_id_847_50_52.npy"])
def test_truncated_and_foreign_arrays_are_sentences(folder: Path, name: str):
    path = folder / name
    whole = path.read_bytes()
    for content in (b"", b"GIF89a" + bytes(60), *(whole[:n] for n in (4, 20, 70, 100, 128, len(whole) - 1))):
        path.write_bytes(content)
        with pytest.raises(FileError, match=rf"{name} could not be read"):
            load_facescape(folder)
    np.savez(folder / "other.npz", a=np.zeros(3))
    path.write_bytes((folder / "other.npz").read_bytes())
    with pytest.raises(FileError, match="holds an archive"):
        load_facescape(folder)
    victim = folder / "victim"
    np.save(path, np.array([Hostile(victim)], dtype=object), allow_pickle=True)
    with pytest.raises(FileError, match=rf"{name} could not be read"):
        load_facescape(folder)
    assert not victim.exists()


def test_headers_that_promise_too_much_allocate_nothing(folder: Path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000, 1000000), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    (folder / "core_847_50_52.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(FileError, match="could not be read"):
        load_facescape(folder)


def test_hostile_and_wrong_topologies(folder: Path):
    path, victim = folder / "predef_faces.pkl", folder / "victim"
    good = path.read_bytes()
    path.write_bytes(pickle.dumps([Hostile(victim)]))
    with pytest.raises(FileError, match=r"predef_faces\.pkl was refused: it asks for (posix|nt)\.system"):
        load_facescape(folder)
    assert not victim.exists()
    for content, sentence in (
        (good[:100], "could not be read as a pickle .* FaceScape's site"),
        (pickle.dumps([1, 2]), "holds no list of triangles"),
        (pickle.dumps([([1, 2, 3], [0] * 3, [1, 2], None)]), "holds no list|no corners|do not belong together"),
        (pickle.dumps([([1, 2, 300], [0] * 3, [1, 2, 3], None)]), "names vertex 300, but there are 100"),
        (pickle.dumps([([0, 2, 3], [0] * 3, [1, 2, 3], None)]), "belongs to another mesh"),
        (pickle.dumps([([1.5, 2, 3], [0] * 3, [1, 2, 3], None)]), "no corners of triangles"),
    ):
        path.write_bytes(content)
        with pytest.raises(FileError, match=sentence):
            load_facescape(folder)
    for text, sentence in (
        ("v 0 0 0\n", "has no faces"),
        ("f 1 2 3\n", "could not be read"),
        ("vt 0 0\nf 1/1 2/1 101/1\n", "names vertex 101"),
        ("vt 0 0\nf 1/1 2/1 3/2\n", "names texture coordinate 2"),
        ("vt a b\nf 1/1 2/1 3/1\n", "could not be read"),
    ):
        (folder / "wrong.obj").write_text(text)
        with pytest.raises(FileError, match=sentence):
            read_topology(folder / "wrong.obj", VERTICES)


def test_wrong_landmarks(folder: Path):
    path = folder / "landmark_indices.npz"
    for arrays, sentence in (
        ({"v16": LANDMARKS}, "no landmarks of the mesh v10, only of v16"),
        ({"v10": LANDMARKS[:60]}, "names 60 landmarks"),
        ({"v10": LANDMARKS * 1.0}, "68 whole numbers"),
        ({"v10": LANDMARKS + 100}, "belongs to another mesh"),
        ({"v10": LANDMARKS.astype(object)}, "could not be read as 68 vertex numbers"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(FileError, match=sentence):
            load_facescape(folder)
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(FileError, match="could not be read as 68"):
        load_facescape(folder)
    (folder / "index.txt").write_text("one two")
    with pytest.raises(FileError, match="could not be read as 68"):
        load_facescape(folder, landmarks=folder / "index.txt")


def test_wrong_version_16_files(tmp_path: Path):
    core, factors = tiny_arrays()
    good = {"shape_bm_core": core.transpose(2, 1, 0), "id_mean": factors.mean(0), "id_var": factors.var(0)}
    path = tmp_path / "facescape_bm_v1.6.npz"
    for change, sentence in (
        ({"id_mean": None}, "has no id_mean"),
        ({"id_var": -factors.var(0)}, "some perhaps negative"),
        ({"id_mean": np.zeros(3)}, "3 means and 5 variances"),
        ({"shape_bm_core": core[0]}, r"shape_bm_core is \(4, 300\)"),
        ({"shape_bm_core": core.astype(object)}, "could not be read as a FaceScape"),
        ({"fv_indices": np.zeros((3, 3)), "ft_indices": np.zeros((3, 3)), "texcoords": np.zeros((3, 2))}, "no corners"),
        ({"lm_list_v16": np.arange(5)}, "names 5 landmarks"),
    ):
        np.savez(path, **{key: value for key, value in (good | change).items() if value is not None})
        with pytest.raises(FileError, match=sentence):
            load_facescape(tmp_path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(FileError, match="could not be read as a FaceScape"):
            load_facescape(path)
