"""Files for other programs, read back by other programs."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.spatial import cKDTree

import core.export
from core.avatar import Avatar
from core.checkpoints import ASSETS, WEIGHTS
from core.errors import FileError, LikenessError
from core.export import export, obj_files, turntable, vertex_colors, wearing
from core.fine_mesh import detailed_mesh
from core.gltf import glb_bytes
from core.head import PARTS, HeadModel, load_head
from core.map_files import map_files
from tests.tiny_head import make_avatar, make_detailed_materials, make_materials, tiny_head


@pytest.fixture(scope="module", params=["tiny", "bundled"])
def head(request: pytest.FixtureRequest) -> HeadModel:
    if request.param == "tiny":
        return tiny_head()
    if not (ASSETS / WEIGHTS["head"].file).is_file():
        pytest.skip("assets/head.safetensors is absent")
    return load_head()


@pytest.fixture(scope="module")
def avatar(head: HeadModel) -> Avatar:
    return make_avatar(head)


def posed(head: HeadModel, avatar: Avatar, expression: str = "fitted") -> np.ndarray:
    return head.vertices(avatar.parameters("neutral" if expression == "neutral" else "fitted"))[0].double().numpy()


def test_glb_is_the_writer_s(head: HeadModel, avatar: Avatar, tmp_path: Path):
    export(head, avatar, "glb", tmp_path / "a.glb", "neutral")
    assert (tmp_path / "a.glb").read_bytes() == glb_bytes(head, avatar, "neutral")


def parse_obj(text: str) -> dict[str, np.ndarray | list[str]]:
    """Literal reader: every line is one of the kinds that are expected."""
    rows: dict[str, list] = {k: [] for k in ("v", "vt", "vn", "f", "usemtl", "mtllib", "g", "o", "s", "#")}
    for line in text.splitlines():
        kind, *values = line.split()
        rows[kind].append(values)
    corners = np.array([[c.split("/") for c in face] for face in rows["f"]], int) - 1
    arrays = {k: np.array(rows[k], float) for k in ("v", "vt", "vn")}
    return {**arrays, "f": corners, "usemtl": [m[0] for m in rows["usemtl"]], "mtllib": rows["mtllib"][0][0]}


@pytest.mark.parametrize("expression", ["fitted", "neutral"])
def test_obj_in_a_zip_is_the_head(head: HeadModel, avatar: Avatar, expression: str, tmp_path: Path):
    path = tmp_path / "Ada Löwe.zip"
    export(head, avatar, "zip", path, "neutral" if expression == "neutral" else "fitted", "mm")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    obj = parse_obj(files["Ada_Löwe.obj"].decode())
    assert np.abs(obj["v"] - posed(head, avatar, expression) * 1000).max() < 1e-3
    assert np.array_equal(obj["f"][..., 0], head.faces[torch.argsort(head.face_part, stable=True)].numpy())
    assert np.array_equal(obj["f"][..., 1], head.uv_faces[torch.argsort(head.face_part, stable=True)].numpy())
    assert np.abs(obj["vt"] - head.uv.numpy()).max() < 1e-6, "OBJ has its origin at the bottom left: no flip"
    assert obj["usemtl"] == list(PARTS) and obj["mtllib"] == "Ada_Löwe.mtl"
    referred = [line.split()[-1] for line in files["Ada_Löwe.mtl"].decode().splitlines() if line.startswith("map_")]
    assert {*referred, "Ada_Löwe.obj", "Ada_Löwe.mtl"} == set(files), "everything referred to is there, nothing else"
    for name in referred:
        Image.open(io.BytesIO(files[name])).load()


def test_obj_beside_its_textures(head: HeadModel, avatar: Avatar, tmp_path: Path):
    export(head, avatar, "obj", tmp_path / "my head.obj")
    loaded = trimesh.load(tmp_path / "my head.obj", process=False)
    assert isinstance(loaded, trimesh.Scene) and set(loaded.geometry) == set(PARTS)
    skin = loaded.geometry["skin"]
    picture = skin.visual.material.image
    assert picture is not None and picture.size == (avatar.materials.skin_albedo.shape[2],) * 2
    assert sum(len(g.faces) for g in loaded.geometry.values()) == len(head.faces)


@pytest.mark.parametrize(("units", "factor"), [("m", 1.0), ("cm", 100.0), ("mm", 1000.0)])
@pytest.mark.parametrize("kind", ["ply", "stl"])
def test_units(head: HeadModel, avatar: Avatar, kind: str, units: str, factor: float, tmp_path: Path):
    path = tmp_path / f"head.{kind}"
    export(head, avatar, "ply" if kind == "ply" else "stl", path, "neutral", {"m": "m", "cm": "cm", "mm": "mm"}[units])
    loaded = trimesh.load(path, process=False)
    expected = posed(head, avatar, "neutral")
    if kind == "stl":
        expected = expected[head.faces[head.face_part != PARTS.index("lashes")].unique().numpy()]
    bounds = np.stack([expected.min(axis=0), expected.max(axis=0)]) * factor
    assert np.allclose(loaded.bounds, bounds, rtol=1e-5, atol=1e-6 * factor)


def test_a_head_is_as_tall_as_a_head(tmp_path: Path):
    if not (ASSETS / WEIGHTS["head"].file).is_file():
        pytest.skip("assets/head.safetensors is absent")
    head = load_head()
    for kind in ("ply", "stl"):
        export(head, make_avatar(head), kind, tmp_path / f"head.{kind}", "neutral", "mm")
        assert 150 < trimesh.load(tmp_path / f"head.{kind}").extents[1] < 400


def test_ply_carries_faces_and_colours(head: HeadModel, avatar: Avatar, tmp_path: Path):
    export(head, avatar, "ply", tmp_path / "head.ply")
    loaded = trimesh.load(tmp_path / "head.ply", process=False)
    assert np.allclose(loaded.vertices, posed(head, avatar), atol=1e-6)
    assert np.array_equal(loaded.faces, head.faces.numpy())
    assert np.array_equal(loaded.visual.vertex_colors, vertex_colors(head, avatar).numpy())


def test_vertex_colours_come_from_the_right_place(head: HeadModel, avatar: Avatar):
    """Green rises with v (row 0 is the top), parts wear their own map, vertices on a seam the mean of its sides."""
    side = 256
    ramp = torch.linspace(0, 255, side)
    upright = torch.stack([torch.zeros(side, side), ramp.flip(0)[:, None].expand(side, side), torch.zeros(side, side)])
    blue = torch.tensor([0, 0, 255], dtype=torch.uint8)[:, None, None].expand(3, 8, 8)
    maps = replace(make_materials(), skin_albedo=upright.byte(), skin_photo=None, eye_albedo=blue)
    colors = vertex_colors(head, replace(avatar, materials=maps)).float()
    eyes = head.faces[head.part_faces("eyes")].unique()
    assert (colors[eyes] == torch.tensor([0.0, 0, 255, 255])).all()
    skin = head.part_faces("skin")
    v = torch.zeros(len(head.template)).index_add(
        0, head.faces[skin].reshape(-1), head.uv[head.uv_faces[skin]][..., 1].reshape(-1)
    )
    count = torch.bincount(head.faces[skin].reshape(-1), minlength=len(v))
    others = torch.zeros(len(v), dtype=torch.bool).index_fill(0, head.faces[head.face_part != 0].unique(), True)
    only_skin = (count > 0) & ~others
    assert (colors[only_skin, 1] - 255 * (v / count.clamp_min(1))[only_skin]).abs().max() < 3


@pytest.mark.parametrize("kind", ["ply", "stl"])
def test_normals_face_outward(head: HeadModel, avatar: Avatar, kind: str, tmp_path: Path):
    """The eyeballs are closed: their signed volume is positive. The skin's faces look away from the head's middle."""
    export(head, avatar, "ply" if kind == "ply" else "stl", tmp_path / f"head.{kind}", "neutral")
    loaded = trimesh.load(tmp_path / f"head.{kind}", process=False)
    part = head.face_part if kind == "ply" else head.face_part[head.face_part != PARTS.index("lashes")]
    triangles = loaded.triangles[part.numpy() == PARTS.index("eyes")]
    for side in (triangles[:, :, 0].mean(axis=1) > 0, triangles[:, :, 0].mean(axis=1) < 0):
        a, b, c = (triangles[side] - triangles[side].mean(axis=(0, 1))).transpose(1, 0, 2)
        assert np.einsum("ij,ij->", a, np.cross(b, c)) > 0
    skin = part.numpy() == 0
    outward = loaded.triangles_center[skin] - loaded.triangles[skin].mean(axis=(0, 1))
    flux = (outward * loaded.face_normals[skin]).sum(axis=1) * loaded.area_faces[skin]
    assert flux.sum() > 0 and flux[flux > 0].sum() > 3 * -flux[flux < 0].sum()


def test_same_head_same_bytes(head: HeadModel, avatar: Avatar, tmp_path: Path):
    for kind in ("zip", "ply", "stl"):
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
            export(head, avatar, kind, tmp_path / name / f"head.{kind}")
        assert (tmp_path / "a" / f"head.{kind}").read_bytes() == (tmp_path / "b" / f"head.{kind}").read_bytes()


# -- Maps and the fine mesh ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def detailed(head: HeadModel) -> Avatar:
    return replace(make_avatar(head), materials=make_detailed_materials(64))


def test_maps_in_an_archive(head: HeadModel, detailed: Avatar, tmp_path: Path):
    for name in ("a.zip", "b.zip"):
        export(head, detailed, "maps", tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == map_files(head, detailed)


@pytest.mark.parametrize("kind", ["glb", "ply", "obj"])
def test_the_fine_mesh_in_every_format(head: HeadModel, detailed: Avatar, kind: str, tmp_path: Path):
    """The same points, triangles and texture coordinates as the mesh itself, and no crack where vertices coincide."""
    mesh = detailed_mesh(head, detailed, "fitted", 40_000)
    path = tmp_path / f"fine.{kind}"
    export(head, detailed, kind, path, detail=True, triangles=40_000)
    loaded = trimesh.load(path, process=False)
    scene = loaded if isinstance(loaded, trimesh.Scene) else trimesh.Scene({"skin": loaded})
    assert sum(len(g.faces) for g in scene.geometry.values()) == len(mesh.faces)
    own = cKDTree(mesh.vertices.numpy())
    for name, geometry in scene.geometry.items():
        assert own.query(geometry.vertices)[0].max() < 1e-6, name
    skin = max(scene.geometry.values(), key=lambda geometry: len(geometry.faces))  # names are not kept by all formats
    if kind != "ply":
        faces = mesh.faces[mesh.part_faces("skin")]
        assert len(skin.faces) == len(faces) == len(skin.triangles)
        uv = skin.visual.uv
        assert uv.shape == (len(skin.vertices), 2) and 0 <= uv.min() and uv.max() <= 1
        corners = mesh.uv[mesh.uv_faces[mesh.part_faces("skin")]].mean(1).numpy()
        middles = mesh.vertices[faces].mean(1).numpy()
        distance, partner = cKDTree(middles).query(skin.triangles_center)
        assert distance.max() < 1e-6 and np.abs(uv[skin.faces].mean(1) - corners[partner]).max() < 1e-5
    else:
        data = path.read_bytes()
        header = data[: data.index(b"end_header")].decode()
        assert "property float s" in header and "property float t" in header
        merged = trimesh.Trimesh(*_welded(skin.vertices, skin.faces), process=False)
        borders = len(trimesh.grouping.group_rows(merged.edges_sorted, require_count=1))
        whole = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
        assert borders == len(trimesh.grouping.group_rows(whole.edges_sorted, require_count=1))


def _welded(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices at the very same place as one."""
    unique, rows = np.unique(np.asarray(vertices, np.float32), axis=0, return_inverse=True)
    return unique, rows.reshape(-1)[faces]


def test_the_fine_glb_keeps_what_the_mesh_cannot(head: HeadModel, detailed: Avatar, tmp_path: Path):
    export(head, detailed, "glb", tmp_path / "fine.glb", detail=True, triangles=40_000)
    data = (tmp_path / "fine.glb").read_bytes()
    file = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    (mesh,) = file["meshes"]
    assert "skins" not in file and "targets" not in json.dumps(mesh)
    assert {"POSITION", "NORMAL", "TANGENT", "TEXCOORD_0"} == set(mesh["primitives"][0]["attributes"])
    skin = file["materials"][0]
    assert "normalTexture" in skin and "KHR_materials_specular" in skin["extensions"]
    assert "wrinkles" not in json.dumps(skin), "they are in the shape"
    assert {name["name"] for name in file["materials"]} == set(PARTS)


def test_wearing_another_expression(head: HeadModel, detailed: Avatar):
    worn = wearing(head, detailed, {"browInnerUp": 1.0, "jawOpen": 0.25})
    weights = dict(zip(head.expression_names, worn.expression.tolist(), strict=True))
    assert {name: weight for name, weight in weights.items() if weight} == {"browInnerUp": 1.0, "jawOpen": 0.25}
    assert not worn.joint_rotations.any() and worn.materials is detailed.materials
    with pytest.raises(LikenessError, match=r"no expression 'frown'.*brow raiser"):
        wearing(head, detailed, {"frown": 1.0})
    with pytest.raises(LikenessError, match="jawOpen is 7"):
        wearing(head, detailed, {"jawOpen": 7.0})


# -- Turntable ----------------------------------------------------------------------------------


@pytest.fixture
def short_film(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.export, "TURNTABLE_FRAMES", 6)
    monkeypatch.setattr(core.export, "GIF_FRAMES", 4)


def test_turntable_shows_the_whole_head_from_every_side():
    head = tiny_head()
    frames = list(turntable(head, make_avatar(head), "neutral", 96, 4))
    background = frames[0][0, 0].astype(int)
    for frame in frames:
        assert frame.shape == (96, 96, 3) and frame.dtype == np.uint8
        border = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
        assert (np.abs(border.astype(int) - background) <= 2).all(), "nothing is cut off"
        assert (np.abs(frame.astype(int) - background).max(axis=2) > 20).mean() > 0.2
    front, left, back, right = (frame.astype(float) for frame in frames)
    assert np.abs(front - back).mean() > 1 and np.abs(left - right).mean() > 1


def test_mp4(short_film: None, tmp_path: Path):
    head = tiny_head()
    done: list[float] = []
    export(head, make_avatar(head), "mp4", tmp_path / "turn.mp4", "neutral", size_px=97, progress=done.append)
    assert done == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])
    decode = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-i",
        str(tmp_path / "turn.mp4"),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    decoded = subprocess.run(decode, capture_output=True, check=True)
    stream = next(line for line in decoded.stderr.decode().splitlines() if "Video: h264" in line)
    assert "yuv420p(tv, bt709" in stream and "96x96" in stream and "unknown" not in stream
    frames = np.frombuffer(decoded.stdout, np.uint8).reshape(-1, 96, 96, 3).astype(float)
    assert len(frames) == 6
    rendered = next(turntable(head, make_avatar(head), "neutral", 97, 6))[:96, :96].astype(float)
    assert np.abs(frames[0] - rendered).mean() < 4, "the colours survive the film"


def test_a_film_that_cannot_be_encoded_says_so(short_film: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(core.export, "BT709", "nonsense")
    with pytest.raises(FileError, match="nonsense"):
        export(tiny_head(), make_avatar(tiny_head()), "mp4", tmp_path / "turn.mp4", size_px=64)
    assert list(tmp_path.iterdir()) == []


def test_gif(short_film: None, tmp_path: Path):
    head = tiny_head()
    export(head, make_avatar(head), "gif", tmp_path / "turn.gif", size_px=64)
    with Image.open(tmp_path / "turn.gif") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (4, (64, 64), 0)
        first = np.asarray(film.convert("RGB")).astype(float)
    rendered = next(turntable(head, make_avatar(head), "fitted", 64, 4)).astype(float)
    assert np.abs(first - rendered).mean() < 6


# -- Errors -------------------------------------------------------------------------------------


def test_errors_are_sentences(tmp_path: Path):
    head = tiny_head()
    avatar = make_avatar(head)
    with pytest.raises(LikenessError, match="metres"):
        export(head, avatar, "glb", tmp_path / "a.glb", units="mm")
    with pytest.raises(LikenessError, match="10000 pixels"):
        export(head, avatar, "mp4", tmp_path / "a.mp4", size_px=10000)
    with pytest.raises(FileError, match="other"):
        export(head, replace(avatar, head_model="other"), "stl", tmp_path / "a.stl")
    with pytest.raises(FileError, match="could not be written"):
        export(head, avatar, "stl", tmp_path / "missing" / "a.stl")
    with pytest.raises(LikenessError, match="python -m app detail"):
        export(head, avatar, "ply", tmp_path / "a.ply", detail=True)
    with pytest.raises(LikenessError, match="maps has no mesh"):
        export(head, avatar, "maps", tmp_path / "a.zip", detail=True)
    with pytest.raises(LikenessError, match="scale themselves"):
        export(head, avatar, "maps", tmp_path / "a.zip", units="mm")
    assert list(tmp_path.iterdir()) == [], "a failed export leaves nothing behind"


def test_obj_names_have_no_spaces():
    head = tiny_head()
    files = obj_files(head, make_avatar(head), "neutral", 1.0, 64, "x")
    assert next(iter(files)) == "x.obj" and not any(" " in name for name in files)
