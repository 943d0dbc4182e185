"""FLAME's file format on a tiny synthetic model: an independent implementation agrees, and nothing hostile runs."""

from __future__ import annotations

import collections
import functools
import io
import os
import pickle
import struct
import sys
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.spatial.transform import Rotation

from core.errors import FileError
from core.flame import cylindrical_uv, load_flame
from core.head import PARTS, HeadModel, HeadParameters

JOINTS = 5


class Ch:
    """What chumpy.ch.Ch leaves in a file: a plain object with the values in x beside bookkeeping of its own."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x
        self._dirty_vars = set()
        self._itr = None
        self._depends_on_deps = {"x": {"r"}}


Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 did: both are its 8-bit strings."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, value: str | bytes) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        if self.proto == 0:
            self.write(b"S" + repr(data).removeprefix("b").encode("latin1") + b"\n")
        else:
            self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def tiny_flame(seed: int = 0) -> dict:
    """A model with FLAME's keys, types and joint tree: two spheres for eyes in a larger one, mirror-symmetric."""
    rng = np.random.default_rng(seed)
    points, faces = [], []
    for centre, radius in (((0.0, 0.0, 0.0), 0.1), ((0.032, 0.03, 0.08), 0.012), ((-0.032, 0.03, 0.08), 0.012)):
        first = sum(map(len, points))
        ring = np.arange(8) * (2 * np.pi / 8) + np.pi / 8  # no vertex on the mid-plane's back, so the cut crosses faces
        body = [(np.sin(a) * np.cos(t), np.sin(t), np.cos(a) * np.cos(t)) for t in (-0.7, 0.0, 0.7) for a in ring]
        points.append(np.array(centre) + radius * np.array(body))
        for row in range(2):
            for i in range(8):
                a, b = first + row * 8 + i, first + row * 8 + (i + 1) % 8
                faces += [(a, b, b + 8), (a, b + 8, a + 8)]
    template = np.concatenate(points)
    count = len(template)
    weights = np.zeros((count, JOINTS))
    weights[:24, :3] = rng.dirichlet((1, 1, 1), 24)
    weights[24:48, 3] = weights[48:, 4] = 1
    regressor = np.zeros((JOINTS, count))
    for joint, members in enumerate((range(0, 8), range(4, 12), range(12, 20), range(24, 48), range(48, 72))):
        regressor[joint, list(members)] = 1 / len(members)
    return {
        "v_template": Ch(template),
        "shapedirs": Ch(rng.normal(scale=0.001, size=(count, 3, 400))),
        "posedirs": rng.normal(scale=0.001, size=(count, 3, 36)),
        "J_regressor": scipy.sparse.csc_matrix(regressor),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], range(JOINTS)], dtype=np.uint32),
        "weights": weights,
        "f": np.array(faces, dtype=np.uint32),
        "J": np.zeros((JOINTS, 3)),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def write(path: Path, content: dict, pickler: type = pickle._Pickler, protocol: int = 2) -> Path:
    chumpy, ch = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")
    ch.Ch = Ch
    sys.modules.update({"chumpy": chumpy, "chumpy.ch": ch})
    try:
        with path.open("wb") as file:
            pickler(file, protocol).dump(content)
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]
    return path


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> HeadModel:
    return load_flame(write(tmp_path_factory.mktemp("flame") / "tiny.pkl", tiny_flame(), Python2Pickler))


def random_parameters(seed: int) -> HeadParameters:
    generator = torch.Generator().manual_seed(seed)
    sizes = ((2, 300), (2, 100), (2, JOINTS, 3))
    shape, expression, rotations = (torch.randn(*size, generator=generator) for size in sizes)
    return HeadParameters(shape, expression, 0.4 * rotations)


def reference_vertices(model: dict, shape: np.ndarray, expression: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Li et al. 2017, eq. 1-4, written from the paper: one head, 4x4 matrices in a loop over the vertices' joints."""
    template, basis = model["v_template"].x, model["shapedirs"].x
    shaped = template + basis[:, :, :300] @ shape
    joints = model["J_regressor"] @ shaped
    rotations = Rotation.from_rotvec(pose).as_matrix()
    correctives = model["posedirs"] @ (rotations[1:] - np.eye(3)).ravel()
    unposed = shaped + basis[:, :, 300:] @ expression + correctives
    world = []
    for j in range(JOINTS):
        # A rotation about the joint where it rests, then whatever the parent does.
        about = np.eye(4)
        about[:3, :3] = rotations[j]
        about[:3, 3] = joints[j] - rotations[j] @ joints[j]
        world.append(about if j == 0 else world[int(model["kintree_table"][0, j])] @ about)
    blended = np.einsum("vj,jab->vab", model["weights"], np.array(world))
    return np.einsum("vab,vb->va", blended, np.c_[unposed, np.ones(len(unposed))])[:, :3]


def eye_middle(model: dict) -> np.ndarray:
    return (model["J_regressor"] @ model["v_template"].x)[3:].mean(0)


@pytest.mark.parametrize(
    ("pickler", "protocol"),
    [
        (Python2Pickler, 0),
        (Python2Pickler, 1),
        (Python2Pickler, 2),
        *((pickle._Pickler, p) for p in (0, 1, 2, 3, 4, 5)),
    ],
)
def test_equals_an_independent_implementation(tmp_path: Path, pickler: type, protocol: int):
    model = tiny_flame()
    head = load_flame(write(tmp_path / "tiny.pkl", model, pickler, protocol))
    parameters = random_parameters(1)
    actual = head.vertices(parameters).numpy()
    for b in range(2):
        expected = reference_vertices(
            model,
            parameters.shape[b].double().numpy(),
            parameters.expression[b].double().numpy(),
            parameters.joint_rotations[b].double().numpy(),
        )
        np.testing.assert_allclose(actual[b] + eye_middle(model), expected, atol=1e-6)
    # The pose must have mattered for this to mean anything.
    assert np.abs(actual - head.rest_vertices(parameters.shape, parameters.expression).numpy()).max() > 0.01


def test_other_containers_give_the_same_model(tmp_path: Path, head: HeadModel):
    """FLAME 2023 has plain arrays; scipy can write rows instead of columns; numpy can write Fortran order."""
    model = tiny_flame()
    model["v_template"] = model["v_template"].x.astype(">f8")
    model["shapedirs"] = np.asfortranarray(model["shapedirs"].x)
    model["J_regressor"] = scipy.sparse.csr_matrix(model["J_regressor"])
    other = load_flame(write(tmp_path / "2023.pkl", collections.OrderedDict(model), protocol=4))
    parameters = random_parameters(2)
    assert torch.equal(other.vertices(parameters), head.vertices(parameters))
    model["J_regressor"] = model["J_regressor"].toarray()
    other = load_flame(write(tmp_path / "dense.pkl", model))
    assert torch.allclose(other.vertices(parameters), head.vertices(parameters), atol=1e-7)


def test_frame_parts_and_symmetry(head: HeadModel):
    left, right = head.joint_template[3], head.joint_template[4]
    assert left[0] > 0 > right[0] and torch.allclose(left + right, torch.zeros(3), atol=1e-7)
    assert head.joint_parents == (-1, 0, 1, 1, 1)
    eyes = head.faces[head.part_faces("eyes")]
    assert set(eyes.unique().tolist()) == set(range(24, 72)) and set(head.face_part.tolist()) == {
        PARTS.index("skin"),
        PARTS.index("eyes"),
    }
    assert torch.equal(head.mirror[head.mirror], torch.arange(72))
    assert torch.allclose(head.template[head.mirror], head.template * torch.tensor([-1.0, 1.0, 1.0]), atol=1e-7)


def test_fifth_joint_of_a_vertex_is_the_weakest_and_is_dropped(tmp_path: Path):
    model = tiny_flame()
    model["weights"][0] = (0.3, 0.25, 0.2, 0.05, 0.2)
    head = load_flame(write(tmp_path / "five.pkl", model))
    kept = dict(zip(head.skin_joints[0].tolist(), head.skin_weights[0].tolist(), strict=True))
    assert kept == pytest.approx({0: 0.3 / 0.95, 1: 0.25 / 0.95, 2: 0.2 / 0.95, 4: 0.2 / 0.95})
    assert torch.allclose(head.skin_weights.sum(1), torch.ones(72))


def test_cylindrical_uv_is_upright_and_never_runs_backwards(head: HeadModel):
    uv, uv_faces = cylindrical_uv(head.template, head.faces)
    corners = uv[uv_faces]
    assert (corners.amax(1) - corners.amin(1))[:, 0].max() <= 0.5
    assert (uv_faces % 72 == head.faces).all()  # the same vertices, once around or twice
    assert (uv_faces >= 72).any() and uv[:, 1].min() == pytest.approx(0, abs=1e-6)
    assert uv[:, 1].max() == pytest.approx(1)
    front = head.template[:24]
    by_u, by_x = uv[:24, 0][front[:, 2] > 0.02], front[:, 0][front[:, 2] > 0.02]
    assert ((by_u > 0.5) == (by_x > 0)).all()


def random_uv(faces: np.ndarray, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(50, 2)), rng.integers(0, 50, faces.shape)


@pytest.mark.parametrize("kind", ["obj", "npz", "npy"])
def test_uv_of_the_users_template(tmp_path: Path, kind: str):
    model = tiny_flame()
    vt, ft = random_uv(model["f"])
    template = tmp_path / f"template.{kind}"
    if kind == "obj":
        # Faces in another order and starting at another corner, as a modelling program would write them.
        order = np.random.default_rng(4).permutation(len(ft))
        lines = [f"v {x} {y} {z}" for x, y, z in model["v_template"].x] + [f"vt {u} {v}" for u, v in vt] + ["vn 0 0 1"]
        for i in order:
            lines.append(
                "f " + " ".join(f"{model['f'][i, c] + 1}/{ft[i, c] + 1}/1" for c in ((0, 1, 2), (1, 2, 0))[i % 2])
            )
        template.write_text("# made by hand\n\n" + "\n".join(lines))
    elif kind == "npz":
        np.savez(template, vt=vt, ft=ft, mean=np.zeros((4, 4, 3)))
    else:
        np.save(template, {"vt": vt, "ft": ft}, allow_pickle=True)
    head = load_flame(write(tmp_path / "tiny.pkl", model), template)
    np.testing.assert_allclose(head.uv[head.uv_faces].numpy(), vt[ft], atol=1e-6)


def test_landmark_embedding(tmp_path: Path):
    model = tiny_flame()
    rng = np.random.default_rng(5)
    index, bary = rng.integers(0, len(model["f"]), (1, 68)), rng.dirichlet((1, 1, 1), (1, 68))
    content = {"full_lmk_faces_idx": index, "full_lmk_bary_coords": bary, "dynamic_lmk_faces_idx": [1, 2]}
    np.save(tmp_path / "landmarks.npy", content, allow_pickle=True)
    head = load_flame(write(tmp_path / "tiny.pkl", model), landmark_embedding=tmp_path / "landmarks.npy")
    corners = (model["v_template"].x - eye_middle(model))[model["f"][index[0]]]
    expected = np.einsum("lc,lcx->lx", bary[0], corners)
    np.testing.assert_allclose(head.landmark_points("ibug", head.template).numpy(), expected, atol=1e-6)


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *args) -> None:
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "named"),
    [
        (os.system, r"(posix|nt)\.system"),
        (eval, r"(builtins|__builtin__)\.eval"),
        (functools.partial, r"functools\.partial"),
        (getattr, r"(builtins|__builtin__)\.getattr"),
        (np.load, r"numpy\.load"),
        (np.fromfile, r"numpy\.?\S*\.fromfile"),
        (Path, r"pathlib\.(Posix)?Path"),
    ],
)
def test_hostile_pickle_is_refused_by_name(tmp_path: Path, function, named: str, protocol: int):
    path, victim = tmp_path / "hostile.pkl", tmp_path / "victim"
    argument = {os.system: f"touch {victim}", eval: f"open({str(victim)!r}, 'w')"}.get(function, "x")
    path.write_bytes(pickle.dumps({"v_template": Call(function, argument)}, protocol))
    with pytest.raises(FileError, match=rf"hostile\.pkl was refused: it asks for {named}"):
        load_flame(path)
    assert not victim.exists()


def test_admitted_names_are_inert_whatever_a_file_does_with_them(tmp_path: Path):
    """Calls of an admitted name with absurd arguments, and state set on the class itself, leave nothing behind."""
    huge = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(L99999999999L\ntS'b'\ntR"
    on_class = b"cnumpy\nndarray\n(N(dS'name'\nS'Ch'\nsS'__setstate__'\nI1\nstb"
    deep = b"(lp0\n" + b"(lp1\n" * 5000
    for program in (huge, on_class, deep, b"(dS'v_template'\n" + huge + b"s", b"r\xff\xff\xff\x7f"):
        (tmp_path / "odd.pkl").write_bytes(program + b".")
        with pytest.raises(FileError, match=r"odd\.pkl"):
            load_flame(tmp_path / "odd.pkl")
    load_flame(write(tmp_path / "tiny.pkl", tiny_flame()))


def test_hostile_object_array_of_numpy_is_refused(tmp_path: Path):
    np.save(tmp_path / "texture.npy", {"vt": Call(os.system, f"touch {tmp_path / 'victim'}")}, allow_pickle=True)
    with pytest.raises(FileError, match=r"texture\.npy was refused: it asks for (posix|nt)\.system"):
        load_flame(write(tmp_path / "tiny.pkl", tiny_flame()), tmp_path / "texture.npy")
    assert not (tmp_path / "victim").exists()


def test_every_truncation_is_a_sentence(tmp_path: Path):
    whole = write(tmp_path / "tiny.pkl", tiny_flame(), Python2Pickler).read_bytes()
    cut = tmp_path / "cut.pkl"
    for keep in [*range(0, 200, 7), *range(200, len(whole), len(whole) // 50), len(whole) - 1]:
        cut.write_bytes(whole[:keep])
        with pytest.raises(FileError, match=r"cut\.pkl (could not be read as a pickle|was refused)"):
            load_flame(cut)


def test_flipped_bytes_never_escape_as_another_exception(tmp_path: Path):
    buffer = io.BytesIO()
    whole = write(tmp_path / "tiny.pkl", tiny_flame(), Python2Pickler).read_bytes()
    rng = np.random.default_rng(6)
    for _ in range(100):
        damaged = bytearray(whole)
        # Near the start and the end lie the opcodes; between them mostly numbers.
        position = int(rng.choice([rng.integers(0, 400), rng.integers(len(whole) - 2000, len(whole))]))
        damaged[position] ^= int(rng.integers(1, 256))
        (tmp_path / "damaged.pkl").write_bytes(damaged)
        try:
            load_flame(tmp_path / "damaged.pkl")
        except FileError as error:
            buffer.write(str(error).encode())
    assert b"damaged.pkl" in buffer.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(50), pickle.dumps([1, 2]), pickle.dumps({"a": 1})]
)
def test_other_files_are_sentences(tmp_path: Path, content: bytes):
    (tmp_path / "other.pkl").write_bytes(content)
    with pytest.raises(FileError, match=r"other\.pkl"):
        load_flame(tmp_path / "other.pkl")
    with pytest.raises(FileError, match=r"nothing\.pkl could not be opened"):
        load_flame(tmp_path / "nothing.pkl")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("shapedirs", np.zeros((72, 3, 10)), r"its shapedirs is \(72, 3, 10\), not \(72, 3, 400\)"),
        ("weights", np.zeros((72, 24)), r"its weights is \(72, 24\), not \(72, 5\)"),
        ("f", np.full((4, 3), 72), "its f has values that are not indices below 72"),
        ("f", np.zeros((4, 3)), "its f has values that are not indices below 72"),
        ("kintree_table", np.array([[0, 3, 1, 1, 1], range(5)]), "is not a tree of joints"),
        ("posedirs", np.full((72, 3, 36), np.nan), "its posedirs has values that are not finite"),
        ("v_template", "twelve", "its v_template is not an array of numbers"),
        ("J_regressor", scipy.sparse.coo_matrix((5, 72)), r"was refused: it asks for scipy\.sparse\S+coo_matrix"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, key: str, value, sentence: str):
    path = write(tmp_path / "wrong.pkl", tiny_flame() | {key: value})
    with pytest.raises(FileError, match=sentence):
        load_flame(path)


def test_template_of_another_mesh_is_named(tmp_path: Path):
    model = tiny_flame()
    flame = write(tmp_path / "tiny.pkl", model)
    (tmp_path / "other.obj").write_text("v 0 0 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    with pytest.raises(FileError, match=r"other\.obj belongs to another mesh"):
        load_flame(flame, tmp_path / "other.obj")
    (tmp_path / "plain.obj").write_text("v 0 0 0\nf 1 2 3\n")
    with pytest.raises(FileError, match=r"plain\.obj could not be read"):
        load_flame(flame, tmp_path / "plain.obj")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(FileError, match=r"broken\.npz could not be read"):
        load_flame(flame, tmp_path / "broken.npz")
    np.savez(tmp_path / "lacking.npz", vt=np.zeros((3, 2)))
    with pytest.raises(FileError, match=r"lacking\.npz .* has no ft"):
        load_flame(flame, tmp_path / "lacking.npz")
