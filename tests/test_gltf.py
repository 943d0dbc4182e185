"""The GLB writer, judged by the Khronos validator, by two libraries and by an evaluator that knows only the file."""

from __future__ import annotations

import gc
import io
import json
import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from pygltflib import GLTF2

from core import gltf
from core.atlas import atlas_lookup
from core.avatar import Avatar
from core.checkpoints import ASSETS, WEIGHTS
from core.errors import FileError
from core.gltf import encode_map, glb_bytes
from core.head import PARTS, HeadModel, HeadParameters, load_head
from core.key_expressions import FAMILIES, family_masks
from core.materials import Materials
from core.mesh import face_normals
from core.synthesis.relief import normal_map
from tests.tiny_head import ARKIT_NAMES, make_avatar, make_detailed_materials, make_materials, tiny_head

ROOT = Path(__file__).resolve().parent.parent


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


@pytest.fixture(scope="module")
def glb(head: HeadModel, avatar: Avatar) -> bytes:
    return glb_bytes(head, avatar)


# -- An independent reader: numpy, struct and the specification ---------------------------------


@dataclass
class Glb:
    """What section 4 (container), 3.6 (accessors) and 3.7 (geometry) of the specification say, read literally."""

    json: dict[str, Any]
    binary: bytes

    @staticmethod
    def parse(data: bytes) -> Glb:
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        json_length, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON" and json_length % 4 == 0
        start = 20 + json_length
        binary_length, kind = struct.unpack_from("<I4s", data, start)
        assert kind == b"BIN\0" and start + 8 + binary_length == len(data)
        return Glb(json.loads(data[20:start]), data[start + 8 :])

    def view(self, index: int, offset: int, count: int, dtype: str) -> np.ndarray:
        start = self.json["bufferViews"][index].get("byteOffset", 0) + offset
        return np.frombuffer(self.binary, dtype, count, start)

    def accessor(self, index: int) -> np.ndarray:
        a = self.json["accessors"][index]
        dtype = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[a["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[a["type"]]
        values = np.zeros((a["count"], width), dtype)
        if "bufferView" in a:
            values = self.view(a["bufferView"], a.get("byteOffset", 0), a["count"] * width, dtype).reshape(-1, width)
        if "sparse" in a:
            s = a["sparse"]
            kind = {5121: "u1", 5123: "<u2", 5125: "<u4"}[s["indices"]["componentType"]]
            rows = self.view(s["indices"]["bufferView"], s["indices"].get("byteOffset", 0), s["count"], kind)
            new = self.view(s["values"]["bufferView"], s["values"].get("byteOffset", 0), s["count"] * width, dtype)
            values = values.copy()
            values[rows] = new.reshape(-1, width)
        return values

    def image(self, texture: int) -> Image.Image:
        image = self.json["images"][self.json["textures"][texture]["source"]]
        view = self.json["bufferViews"][image["bufferView"]]
        start = view["byteOffset"]
        return Image.open(io.BytesIO(self.binary[start : start + view["byteLength"]]))

    def primitives(self) -> dict[str, dict[str, Any]]:
        """Material name -> primitive."""
        (mesh,) = self.json["meshes"]
        return {self.json["materials"][p["material"]]["name"]: p for p in mesh["primitives"]}

    def node(self, name: str) -> dict[str, Any]:
        (node,) = [n for n in self.json["nodes"] if n.get("name") == name]
        return node

    def world_matrices(self) -> list[np.ndarray]:
        """Global transform of every node, as 3.5 defines them."""
        nodes = self.json["nodes"]
        parent = {child: i for i, node in enumerate(nodes) for child in node.get("children", [])}

        def world(i: int) -> np.ndarray:
            local = np.eye(4)
            x, y, z, w = nodes[i].get("rotation", [0, 0, 0, 1])
            local[:3, :3] = [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
            local[:3, 3] = nodes[i].get("translation", [0, 0, 0])
            return world(parent[i]) @ local if i in parent else local

        return [world(i) for i in range(len(nodes))]

    def evaluate(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Material name -> posed positions: morph (3.7.2.2), then skin (3.7.3.3), with the file's own weights
        unless others are given."""
        (mesh,) = self.json["meshes"]
        weights = np.array(mesh["weights"]) if weights is None else weights
        (mesh_node,) = [n for n in self.json["nodes"] if "mesh" in n]
        skin = self.json["skins"][mesh_node["skin"]]
        bind = self.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1).astype(float)
        world = self.world_matrices()
        matrices = np.stack([world[node] @ bind[j] for j, node in enumerate(skin["joints"])])
        posed = {}
        for name, primitive in self.primitives().items():
            positions = self.accessor(primitive["attributes"]["POSITION"]).astype(float)
            for weight, target in zip(weights, primitive["targets"], strict=True):
                positions = positions + weight * self.accessor(target["POSITION"])
            joints = self.accessor(primitive["attributes"]["JOINTS_0"])
            influence = self.accessor(primitive["attributes"]["WEIGHTS_0"]).astype(float)
            blended = np.einsum("vn,vnij->vij", influence, matrices[joints])
            posed[name] = np.einsum("vij,vj->vi", blended[:, :3, :3], positions) + blended[:, :3, 3]
        return posed

    def corners(self, posed: dict[str, np.ndarray], name: str) -> np.ndarray:
        """``[N, 3, 3]`` the triangles of one primitive as points."""
        return posed[name][self.accessor(self.primitives()[name]["indices"]).reshape(-1, 3)]


def model_corners(head: HeadModel, parameters: HeadParameters, part: str) -> np.ndarray:
    """The same triangles from the head model, in double precision."""
    exact = replace(
        head, **{k: v.double() for k, v in vars(head).items() if torch.is_tensor(v) and v.is_floating_point()}
    )
    double = HeadParameters(*(t.double() for t in vars(parameters).values()))
    return exact.vertices(double)[0][head.faces[head.part_faces(part)]].numpy()


def worst_mm(head: HeadModel, glb: Glb, parameters: HeadParameters) -> float:
    posed = glb.evaluate()
    return max(
        float(np.linalg.norm(glb.corners(posed, part) - model_corners(head, parameters, part), axis=-1).max()) * 1000
        for part in PARTS
    )


# -- Geometry -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_morphs_and_skin_from_the_file_alone_equal_the_model(head: HeadModel, seed: int):
    """Random identity, expression and pose of every joint, up to large angles."""
    generator = torch.Generator().manual_seed(seed)
    joints, expressions = len(head.joint_names), len(head.expression_names)
    person = replace(
        make_avatar(head, seed),
        expression=torch.rand(expressions, generator=generator),
        joint_rotations=torch.randn(joints, 3, generator=generator) * 0.6,
    )
    assert worst_mm(head, Glb.parse(glb_bytes(head, person)), person.parameters()) < 0.01


def test_each_target_alone_equals_its_expression(head: HeadModel, avatar: Avatar, glb: bytes):
    """The order of the targets is the order of the names, one by one, not merely in sum."""
    file = Glb.parse(glb_bytes(head, avatar, "neutral"))
    names = file.json["meshes"][0]["extras"]["targetNames"]
    still = avatar.parameters("neutral")
    rest = head.rest_vertices(still.shape, still.expression)[0].double()
    for e, name in enumerate(head.expression_names):
        assert names[e] == name
        for part in PARTS:
            primitive = file.primitives()[part]
            offsets = file.accessor(primitive["targets"][e]["POSITION"])
            base = file.accessor(primitive["attributes"]["POSITION"]).astype(float)
            triangles = (base + offsets)[file.accessor(primitive["indices"]).reshape(-1, 3)]
            expected = (rest + head.expression_basis[e])[head.faces[head.part_faces(part)]].numpy()
            assert np.abs(triangles - expected).max() < 1e-5


def test_neutral_opens_relaxed_and_keeps_every_target(head: HeadModel, avatar: Avatar):
    file = Glb.parse(glb_bytes(head, avatar, "neutral"))
    assert file.json["meshes"][0]["weights"] == [0.0] * len(head.expression_names)
    assert not any("rotation" in node for node in file.json["nodes"])
    assert worst_mm(head, file, avatar.parameters("neutral")) < 0.01
    fitted = Glb.parse(glb_bytes(head, avatar))
    assert np.allclose(fitted.json["meshes"][0]["weights"], avatar.expression.numpy(), atol=0)


def test_morph_normals_are_the_normals_of_the_morphed_head(head: HeadModel, avatar: Avatar, glb: bytes):
    file = Glb.parse(glb)
    shape = avatar.parameters().shape
    for e in (0, head.expression_names.index("jawOpen"), head.expression_names.index("mouthSmileLeft")):
        moved = head.rest_vertices(shape, torch.eye(len(head.expression_names))[e : e + 1])[0]
        # Area-weighted, by a plain loop over the corners.
        flat = face_normals(moved, head.faces, normalise=False).double().numpy()
        total = np.zeros(tuple(moved.shape))
        for corner in range(3):
            np.add.at(total, head.faces[:, corner].numpy(), flat)
        total /= np.linalg.norm(total, axis=1, keepdims=True).clip(1e-20)
        for part in PARTS:
            primitive = file.primitives()[part]
            normals = file.accessor(primitive["attributes"]["NORMAL"]) + file.accessor(
                primitive["targets"][e]["NORMAL"]
            )
            got = normals[file.accessor(primitive["indices"]).reshape(-1, 3)]
            expected = total[head.faces[head.part_faces(part)].numpy()]
            angle = np.degrees(np.arccos(np.clip((got * expected).sum(-1), -1, 1)))
            assert angle.max() < 1.0


def test_normals_are_unit_and_face_outward(head: HeadModel, glb: bytes):
    file = Glb.parse(glb)
    for name, primitive in file.primitives().items():
        normals = file.accessor(primitive["attributes"]["NORMAL"])
        assert np.abs(np.linalg.norm(normals, axis=1) - 1).max() < 1e-5, name
    eyes = file.primitives()["eyes"]
    positions, normals = (file.accessor(eyes["attributes"][k]) for k in ("POSITION", "NORMAL"))
    for side in (positions[:, 0] > 0, positions[:, 0] < 0):
        outward = positions[side] - positions[side].mean(axis=0)
        assert ((outward * normals[side]).sum(1) > 0).mean() > 0.95


def test_seams_are_split_and_nothing_else(head: HeadModel, glb: bytes):
    file = Glb.parse(glb)
    for part in PARTS:
        faces = head.part_faces(part)
        pairs = {
            (int(v), int(t)) for v, t in zip(head.faces[faces].flatten(), head.uv_faces[faces].flatten(), strict=True)
        }
        count = file.json["accessors"][file.primitives()[part]["attributes"]["POSITION"]]["count"]
        assert count == len(pairs)
        indices = file.accessor(file.primitives()[part]["indices"])
        assert set(indices.flatten().tolist()) == set(range(count))


def test_bounds_are_exact_float32(glb: bytes):
    file = Glb.parse(glb)
    for i, accessor in enumerate(file.json["accessors"]):
        if "min" in accessor:
            values = file.accessor(i)
            assert [np.float32(x) for x in accessor["min"]] == values.min(axis=0).tolist()
            assert [np.float32(x) for x in accessor["max"]] == values.max(axis=0).tolist()


# -- The format ---------------------------------------------------------------------------------


def validate(data: bytes, folder: Path) -> dict[str, Any]:
    """The Khronos validator's report. npm ci installs it; without it there is nothing to assert."""
    node = shutil.which("node")
    if node is None or not (ROOT / "node_modules" / "gltf-validator").is_dir():
        pytest.skip("the Khronos validator is not installed (npm ci)")
    path = folder / "head.glb"
    path.write_bytes(data)
    command = [node, str(ROOT / "tests" / "gltf_validator.cjs"), str(path)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.parametrize("options", [{}, {"idle": True}, {"morph_normals": False}, {"expression": "neutral"}], ids=str)
def test_khronos_validator_has_no_complaint(head: HeadModel, avatar: Avatar, options: dict[str, Any], tmp_path: Path):
    report = validate(glb_bytes(head, avatar, **options), tmp_path)
    counts = {k: v for k, v in report["issues"].items() if k.startswith("num")}
    assert counts["numErrors"] == counts["numWarnings"] == 0, report["issues"]["messages"][:5]
    assert report["info"]["hasMorphTargets"] and report["info"]["hasSkins"] and report["info"]["maxInfluences"] <= 4
    assert report["info"]["drawCallCount"] == len(PARTS)
    assert report["info"]["totalTriangleCount"] == len(head.faces)


def test_the_validator_sees_mistakes(head: HeadModel, glb: bytes, tmp_path: Path):
    """A check that cannot fail proves nothing: one wrong byte in a normal must be reported."""
    file = Glb.parse(glb)
    accessor = file.json["accessors"][file.primitives()["skin"]["attributes"]["NORMAL"]]
    start = len(glb) - len(file.binary) + file.json["bufferViews"][accessor["bufferView"]]["byteOffset"]
    broken = glb[:start] + struct.pack("<f", 7.0) + glb[start + 4 :]
    assert validate(broken, tmp_path)["issues"]["numErrors"] > 0


def test_same_avatar_same_bytes(head: HeadModel, avatar: Avatar, glb: bytes):
    later = replace(avatar, provenance=replace(avatar.provenance, seconds={"fit": 99.0}))
    assert glb_bytes(head, later) == glb
    assert glb_bytes(head, replace(avatar, shape=avatar.shape + 0.01)) != glb


def test_names(head: HeadModel, glb: bytes):
    file = Glb.parse(glb)
    for kind in ("nodes", "meshes", "skins", "materials", "textures", "images"):
        names = [item["name"] for item in file.json[kind]]
        assert len(set(names)) == len(names) > 0, kind
    assert sorted(file.json["meshes"][0]["extras"]["targetNames"]) == sorted(ARKIT_NAMES)
    assert all(len(p["targets"]) == 52 for p in file.primitives().values())
    assert tuple(file.primitives()) == PARTS
    assert [file.json["nodes"][i]["name"] for i in file.json["skins"][0]["joints"]] == list(head.joint_names)
    assert file.json["asset"]["generator"].startswith("Likeness")
    assert file.json["asset"]["extras"]["source"] == "photo"


def test_sparse_where_it_pays(head: HeadModel, glb: bytes):
    """Every target is stored in the smallest of the three ways: nothing, sparse, dense."""
    file = Glb.parse(glb)
    for primitive in file.primitives().values():
        for target in primitive["targets"]:
            accessor = file.json["accessors"][target["POSITION"]]
            moved = int(file.accessor(target["POSITION"]).any(axis=1).sum())
            if moved == 0:
                assert "bufferView" not in accessor and "sparse" not in accessor
            elif moved * 14 < accessor["count"] * 12:
                assert accessor["sparse"]["count"] == moved
            else:
                assert "bufferView" in accessor and "sparse" not in accessor


def test_loads_with_trimesh(head: HeadModel, avatar: Avatar):
    scene = trimesh.load(io.BytesIO(glb_bytes(head, avatar, "neutral")), file_type="glb", process=False)
    assert isinstance(scene, trimesh.Scene) and len(scene.geometry) == len(PARTS)
    loaded = scene.to_geometry()
    assert len(loaded.faces) == len(head.faces)
    still = head.vertices(avatar.parameters("neutral"))[0].numpy()
    assert np.allclose(loaded.bounds, [still.min(axis=0), still.max(axis=0)], atol=1e-6)


def test_loads_with_pygltflib(head: HeadModel, glb: bytes):
    loaded = GLTF2.load_from_bytes(glb)
    assert loaded is not None and len(loaded.meshes[0].primitives) == len(PARTS)
    assert loaded.meshes[0].extras["targetNames"] == list(head.expression_names)
    assert len(loaded.skins[0].joints) == len(head.joint_names)
    assert loaded.binary_blob() == Glb.parse(glb).binary


def test_idle_clip_starts_and_ends_as_the_file_opens(head: HeadModel, avatar: Avatar):
    file = Glb.parse(glb_bytes(head, avatar, idle=True))
    (clip,) = file.json["animations"]
    by_path = {c["target"]["path"]: (c["target"]["node"], clip["samplers"][c["sampler"]]) for c in clip["channels"]}
    opens = np.array(file.json["meshes"][0]["weights"])
    _, sampler = by_path["weights"]
    frames = file.accessor(sampler["output"]).reshape(-1, len(opens))
    times = file.accessor(sampler["input"]).flatten()
    assert len(frames) == len(times) and (np.diff(times) > 0).all() and times[0] == 0
    assert np.allclose(frames[[0, -1]], opens, atol=1e-7)
    lids = [i for i, name in enumerate(head.expression_names) if name.startswith("eyeBlink")]
    assert np.allclose(frames[:, lids].max(axis=0), 1)
    others = np.setdiff1d(np.arange(len(opens)), lids)
    assert np.allclose(frames[:, others], opens[others], atol=1e-7)
    node, sampler = by_path["rotation"]
    turns = file.accessor(sampler["output"])
    assert np.allclose(np.linalg.norm(turns, axis=1), 1, atol=1e-6)
    assert np.allclose(turns[[0, -1]], file.json["nodes"][node]["rotation"], atol=1e-6)
    assert (np.abs((turns[:-1] * turns[1:]).sum(axis=1)) > np.cos(np.radians(1))).all(), "no jump between keys"
    assert file.json["nodes"][node]["name"] == "head"


# -- Materials ----------------------------------------------------------------------------------


def test_a_texel_keeps_its_place():
    """The colour at (u, v), origin bottom-left, is found at (u, 1 - v) of glTF, origin top-left, on every part."""
    head = tiny_head()
    side = 64
    gradient = torch.linspace(0, 255, side).round()
    # Red rises to the right, green rises upwards: row 0 is the top.
    colour = torch.stack(
        [gradient.expand(side, side), gradient.flip(0)[:, None].expand(side, side), torch.zeros(side, side)]
    )
    lash = torch.cat([colour, torch.full((1, side, side), 255.0)])
    maps = replace(
        make_materials(side),
        skin_albedo=colour.byte(),
        eye_albedo=colour.byte(),
        mouth_albedo=colour.byte(),
        lash_albedo=lash.byte(),
        skin_photo=None,
    )
    file = Glb.parse(glb_bytes(head, replace(make_avatar(head), materials=maps), "neutral"))
    for part, primitive in file.primitives().items():
        material = file.json["materials"][primitive["material"]]
        picture = np.asarray(file.image(material["pbrMetallicRoughness"]["baseColorTexture"]["index"]).convert("RGB"))
        s, t = file.accessor(primitive["attributes"]["TEXCOORD_0"]).T
        column, row = np.clip((np.stack([s, t]) * side).astype(int), 0, side - 1)
        sampled = picture[row, column].astype(float)
        faces = head.part_faces(part)
        # Per corner, because the file's vertices are in an order of its own.
        u, v = head.uv[head.uv_faces[faces]].numpy().reshape(-1, 2).T
        corner = sampled[file.accessor(primitive["indices"]).flatten()]
        assert np.abs(corner[:, 0] - 255 * u).max() < 12, part
        assert np.abs(corner[:, 1] - 255 * v).max() < 12, part


def test_each_part_wears_its_map(head: HeadModel, avatar: Avatar):
    """Flat colours survive the JPEG: skin, eyes, lashes, and one picture for mouth, teeth and tongue."""

    def flat(*rgb: int) -> torch.Tensor:
        return torch.tensor(rgb, dtype=torch.uint8)[:, None, None].expand(-1, 16, 16).contiguous()

    maps = Materials(flat(200, 150, 120), flat(128), flat(240, 240, 250), flat(120, 30, 40), flat(20, 10, 5, 99))
    file = Glb.parse(glb_bytes(head, replace(avatar, materials=maps)))
    expected = {"skin": 200, "mouth": 120, "eyes": 240, "teeth": 120, "tongue": 120, "lashes": 20}
    index = {}
    for part, primitive in file.primitives().items():
        material = file.json["materials"][primitive["material"]]
        index[part] = material["pbrMetallicRoughness"]["baseColorTexture"]["index"]
        assert abs(int(np.asarray(file.image(index[part]))[8, 8, 0]) - expected[part]) <= 2, part
        assert (material.get("alphaMode") == "BLEND") == (part == "lashes")
        assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert index["mouth"] == index["teeth"] == index["tongue"] and len(set(index.values())) == 4
    assert file.image(index["lashes"]).mode == "RGBA"
    rough = file.json["materials"][file.primitives()["skin"]["material"]]["pbrMetallicRoughness"]
    assert abs(int(np.asarray(file.image(rough["metallicRoughnessTexture"]["index"]))[8, 8]) - 128) <= 2
    assert "normalTexture" not in json.dumps(file.json)


def test_normal_map_is_written_when_there_is_one(head: HeadModel, avatar: Avatar, tmp_path: Path):
    up = torch.tensor([128, 128, 255], dtype=torch.uint8)[:, None, None].expand(3, 32, 32).contiguous()
    data = glb_bytes(head, replace(avatar, materials=replace(avatar.materials, skin_normal=up)))
    file = Glb.parse(data)
    material = file.json["materials"][file.primitives()["skin"]["material"]]
    assert np.abs(np.asarray(file.image(material["normalTexture"]["index"])).astype(int) - [128, 128, 255]).max() <= 2
    assert validate(data, tmp_path)["issues"]["numErrors"] == 0


# -- How skin takes light -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def detailed(head: HeadModel, avatar: Avatar) -> Avatar:
    return replace(avatar, materials=make_detailed_materials(64))


@pytest.fixture(scope="module")
def detailed_glb(head: HeadModel, detailed: Avatar) -> bytes:
    return glb_bytes(head, detailed)


def material_of(file: Glb, part: str) -> dict[str, Any]:
    return file.json["materials"][file.primitives()[part]["material"]]


def pixels(file: Glb, texture: dict[str, int]) -> np.ndarray:
    return np.asarray(file.image(texture["index"])).astype(float)


def unit_normals(coded: np.ndarray) -> np.ndarray:
    vectors = coded / 127.5 - 1
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_all_maps_pass_the_validator_and_load(head: HeadModel, detailed_glb: bytes, tmp_path: Path):
    report = validate(detailed_glb, tmp_path)
    counts = {k: v for k, v in report["issues"].items() if k.startswith("num")}
    assert counts["numErrors"] == counts["numWarnings"] == 0, report["issues"]["messages"][:5]
    # No material refers to the layers of wrinkles, which is all that is found.
    assert {message["code"] for message in report["issues"]["messages"]} <= {"UNUSED_OBJECT"}
    assert report["info"]["drawCallCount"] == len(PARTS)
    assert len(trimesh.load(io.BytesIO(detailed_glb), file_type="glb", process=False).to_geometry().faces) == len(
        head.faces
    )
    loaded = GLTF2.load_from_bytes(detailed_glb)
    assert loaded is not None and "KHR_materials_specular" in loaded.materials[0].extensions


def test_reflectance_at_normal_incidence_is_the_map_s(head: HeadModel, detailed: Avatar, detailed_glb: bytes):
    """By the formula of KHR_materials_specular: ((ior - 1) / (ior + 1))^2 * factor * texture, decoded from sRGB."""
    file = Glb.parse(detailed_glb)
    skin = material_of(file, "skin")
    assert "KHR_materials_ior" not in skin["extensions"], "1.5, the default"
    specular = skin["extensions"]["KHR_materials_specular"]
    coded = pixels(file, specular["specularColorTexture"]) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    assert detailed.materials.skin_specular is not None
    for factor in specular["specularColorFactor"]:
        reflectance = ((1.5 - 1) / (1.5 + 1)) ** 2 * factor * linear
        assert np.abs(reflectance - 0.08 * detailed.materials.skin_specular[0].numpy() / 255).max() < 0.001


def test_one_texture_holds_occlusion_roughness_and_translucency(head: HeadModel, detailed: Avatar, detailed_glb: bytes):
    file = Glb.parse(detailed_glb)
    skin, maps = material_of(file, "skin"), detailed.materials
    texture = skin["pbrMetallicRoughness"]["metallicRoughnessTexture"]
    assert skin["occlusionTexture"]["index"] == texture["index"]
    assert skin["pbrMetallicRoughness"]["metallicFactor"] == 0, "blue is free"
    assert maps.skin_occlusion is not None and maps.skin_translucency is not None
    expected = torch.cat([maps.skin_occlusion, maps.skin_roughness, maps.skin_translucency])
    assert np.abs(pixels(file, texture) - expected.permute(1, 2, 0).numpy()).max() <= 6
    assert skin["extras"]["likeness"]["translucency"] == "metallicRoughness.b"


def test_maps_that_are_missing_change_nothing_else(head: HeadModel, avatar: Avatar, detailed: Avatar, tmp_path: Path):
    """Each map alone: no occlusion is white, no translucency a cheek's, no specular map an index of refraction."""
    full = detailed.materials
    for name in ("skin_specular", "skin_occlusion", "skin_translucency", "skin_wrinkles"):
        one = replace(avatar, materials=replace(avatar.materials, **{name: getattr(full, name)}))
        data = glb_bytes(head, one)
        file = Glb.parse(data)
        skin = material_of(file, "skin")
        picture = pixels(file, skin["pbrMetallicRoughness"]["metallicRoughnessTexture"])
        if name == "skin_wrinkles":
            assert picture.ndim == 2 and "occlusionTexture" not in skin
            assert list(skin["extras"]["likeness"]) == ["wrinkles"] and "TANGENT" in json.dumps(file.json)
        else:
            assert name == "skin_occlusion" or picture[..., 0].min() >= 250
            assert name == "skin_translucency" or np.abs(picture[..., 2] - 128).max() <= 8
        specular = "KHR_materials_specular" in skin["extensions"]
        assert specular == (name == "skin_specular") != ("KHR_materials_ior" in skin["extensions"])
        assert "normalTexture" not in skin and "likeness" in skin["extras"]
        assert validate(data, tmp_path)["issues"]["numErrors"] == 0
    # What is no part of the file changes no byte of it.
    shaped = replace(avatar, materials=replace(avatar.materials, skin_displacement=full.skin_displacement))
    assert glb_bytes(head, shaped) == glb_bytes(head, avatar)


def test_cornea_lips_and_down(head: HeadModel, avatar: Avatar, detailed_glb: bytes):
    file, plain = Glb.parse(detailed_glb), Glb.parse(glb_bytes(head, avatar))
    eyes = material_of(file, "eyes")
    assert eyes["extensions"]["KHR_materials_clearcoat"]["clearcoatFactor"] == 1
    rough = eyes["pbrMetallicRoughness"]["roughnessFactor"]
    assert eyes["extensions"]["KHR_materials_clearcoat"]["clearcoatRoughnessFactor"] < 0.1 < rough
    skin = material_of(file, "skin")["extensions"]
    assert 0 < max(skin["KHR_materials_sheen"]["sheenColorFactor"]) <= 0.05
    if "lips" in head.region_names:
        moist = pixels(file, skin["KHR_materials_clearcoat"]["clearcoatTexture"])
        lips = head.region("lips")
        primitive = file.primitives()["skin"]
        s, t = file.accessor(primitive["attributes"]["TEXCOORD_0"]).T * len(moist)
        at = moist[t.astype(int).clip(0, len(moist) - 1), s.astype(int).clip(0, len(moist) - 1)]
        place = file.accessor(primitive["attributes"]["POSITION"])
        inside, away = at > 200, at < 20
        assert inside.sum() > 20 and away.mean() > 0.8 and float(lips.mean()) < 0.2
        assert np.ptp(place[inside, 1]) < 0.06 and np.ptp(place[inside, 0]) < 0.09, "a mouth, no more"
    used = set(file.json["extensionsUsed"])
    assert {name for m in file.json["materials"] for name in m.get("extensions", {})} == used
    assert used >= {"KHR_materials_specular", "KHR_materials_sheen", "KHR_materials_clearcoat"}
    assert plain.json["extensionsUsed"] == ["KHR_materials_ior"] and "extras" not in material_of(plain, "skin")


def test_wrinkles_travel_as_normals_masks_and_gains(head: HeadModel, detailed: Avatar, detailed_glb: bytes):
    file = Glb.parse(detailed_glb)
    told = material_of(file, "skin")["extras"]["likeness"]["wrinkles"]
    assert [(f["name"], f["layer"], f["gains"]) for f in told["families"]] == [
        (f.name, f.layer, dict(f.gains)) for f in FAMILIES
    ]
    wrinkles = detailed.materials.skin_wrinkles
    assert wrinkles is not None and told["scale"] == 1
    for layer, texture in zip(wrinkles, told["textures"], strict=True):
        got = unit_normals(np.asarray(file.image(texture)).astype(float))
        expected = unit_normals(normal_map(head, layer.float() * 1e-6).permute(1, 2, 0).numpy())
        angle = np.degrees(np.arccos(np.clip((got * expected).sum(-1), -1, 1)))
        assert angle.mean() < 1.5
    # Corner by corner, the masks of the model.
    attributes = file.primitives()["skin"]["attributes"]
    accessors = [file.json["accessors"][attributes[f"_WRINKLES_{n}"]] for n in range(-(-len(FAMILIES) // 4))]
    assert all(a["normalized"] and a["componentType"] == 5121 and a["type"] == "VEC4" for a in accessors)
    masks = np.concatenate([file.accessor(attributes[f"_WRINKLES_{n}"]) for n in range(len(accessors))], 1) / 255
    corners = masks[file.accessor(file.primitives()["skin"]["indices"]).flatten()]
    own = family_masks(head)[head.faces[head.part_faces("skin")].flatten()].numpy()
    assert np.abs(corners[:, : len(FAMILIES)] - own).max() <= 0.51 / 255
    assert not corners[:, len(FAMILIES) :].any()
    assert not any("_WRINKLES_0" in p["attributes"] for name, p in file.primitives().items() if name != "skin")


def test_normals_keep_their_slopes(head: HeadModel, avatar: Avatar):
    """Fine relief, as lively as skin's: what the picture changes is small against how far the normals lean."""
    noise = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)[0, 0] * 4e-4
    coded = normal_map(head, smooth)
    maps = replace(make_detailed_materials(64), skin_normal=coded, skin_diffuse_normal=None)
    file = Glb.parse(glb_bytes(head, replace(avatar, materials=maps), texture_px=256))
    got = unit_normals(pixels(file, material_of(file, "skin")["normalTexture"]))
    want = unit_normals(coded.permute(1, 2, 0).numpy().astype(float))
    inside = atlas_lookup(head, 256).inside.numpy()
    error = np.degrees(np.arccos(np.clip((got * want).sum(-1), -1, 1)))[inside]
    assert error.mean() < 1, error.mean()
    slopes = [(normals[..., :2] / normals[..., 2:])[inside].flatten() for normals in (got, want)]
    assert np.corrcoef(*slopes)[0, 1] > 0.93


def test_maps_are_reduced_but_never_enlarged():
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    assert Image.open(io.BytesIO(encode_map(image, 16, 1.0)[0])).size == (16, 16)
    assert Image.open(io.BytesIO(encode_map(image, 256, 1.0)[0])).size == (64, 64)


def test_jpeg_quality_follows_the_budget():
    noise = torch.randint(0, 256, (3, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sizes = [len(encode_map(noise, 256, budget)[0]) for budget in (3.0, 1.5, 1.0)]
    assert sizes[0] > sizes[1] > sizes[2] and sizes[1] <= 1.5 * 256**2
    assert encode_map(noise, 256, 1.0) == encode_map(noise, 256, 1.0)


@pytest.mark.parametrize("more", ["none", "normals", "all"])
def test_size_budget(head: HeadModel, avatar: Avatar, more: str):
    """At most 3 MB with every map at 1024 px and busier than real skin, which has less grain than this noise."""
    generator = torch.Generator().manual_seed(0)

    def busy(channels: int, side: int) -> torch.Tensor:
        coarse = torch.rand(1, channels, 16, 16, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)[0] * 200 + 20
        grain = torch.randn(channels, side, side, generator=generator) * 4
        return (smooth + grain).clamp(0, 255).byte()

    maps = Materials(
        busy(3, 1024),
        busy(1, 1024),
        busy(3, 1024),
        busy(3, 1024),
        busy(4, 256),
        None,
        busy(3, 1024) if more != "none" else None,
    )
    if more == "all":
        heights = (busy(2, 1024).to(torch.int16) - 128) * 10
        maps = replace(
            maps,
            skin_diffuse_normal=busy(3, 1024),
            skin_specular=busy(1, 1024),
            skin_translucency=busy(1, 1024),
            skin_occlusion=busy(1, 1024),
            skin_displacement=heights[:1],
            skin_wrinkles=heights,
        )
    assert len(glb_bytes(head, replace(avatar, materials=maps), idle=True)) <= 3_000_000


# -- Errors and edges ---------------------------------------------------------------------------


def test_an_avatar_of_another_model_is_refused(head: HeadModel, avatar: Avatar):
    with pytest.raises(FileError, match="FLAME"):
        glb_bytes(head, replace(avatar, head_model="FLAME 2020"))
    with pytest.raises(FileError, match="shape coefficients"):
        glb_bytes(head, replace(avatar, shape=torch.zeros(head.shape_count + 1)))


def test_fewer_shape_coefficients_are_zeros(head: HeadModel, avatar: Avatar):
    short = replace(avatar, shape=avatar.shape[:3])
    padded = replace(avatar, shape=torch.cat([avatar.shape[:3], torch.zeros(head.shape_count - 3)]))
    a, b = (Glb.parse(glb_bytes(head, person)).evaluate() for person in (short, padded))
    assert all(np.abs(a[part] - b[part]).max() < 1e-6 for part in PARTS)


def test_a_head_of_skin_alone(tmp_path: Path):
    """FLAME has no separate teeth or lashes: absent parts leave no empty primitives behind."""
    head = tiny_head()
    keep = head.face_part == PARTS.index("skin")
    bare = replace(head, faces=head.faces[keep], uv_faces=head.uv_faces[keep], face_part=head.face_part[keep])
    data = glb_bytes(bare, make_avatar(bare))
    file = Glb.parse(data)
    assert list(file.primitives()) == ["skin"] and len(file.json["materials"]) == 1
    assert validate(data, tmp_path)["issues"]["numErrors"] == 0


def test_vertices_without_area_still_have_a_normal(tmp_path: Path):
    head = tiny_head()
    template = head.template.clone()
    first = head.faces[head.part_faces("tongue")].unique()
    template[first] = head.template[first[0]]
    flat = replace(
        head,
        template=template,
        expression_basis=torch.zeros_like(head.expression_basis),
        shape_basis=head.shape_basis * 0,
    )
    report = validate(glb_bytes(flat, make_avatar(flat)), tmp_path)
    assert report["issues"]["numErrors"] == 0, report["issues"]["messages"][:3]


# -- What is kept between calls -----------------------------------------------------------------


def noisy_avatar(head: HeadModel, seed: int = 0) -> Avatar:
    """Maps so large and rough that they have to be packed below the best quality, in which the shape has a say."""
    generator = torch.Generator().manual_seed(seed)
    avatar = make_avatar(head, seed, side=128)
    noise = torch.randint(0, 256, (3, 1024, 1024), dtype=torch.uint8, generator=generator)
    return replace(
        avatar, materials=replace(avatar.materials, skin_albedo=noise, skin_photo=None, eye_albedo=noise.flip(2))
    )


def fresh(avatar: Avatar) -> Avatar:
    """The same content in new objects, of which nothing can be known yet."""
    maps: dict[str, Any] = {name: image.clone() for name, image in vars(avatar.materials).items() if image is not None}
    return replace(avatar, materials=replace(avatar.materials, **maps))


def test_what_is_kept_changes_no_byte(head: HeadModel):
    avatar = noisy_avatar(head)
    model = replace(head)  # equal, but another object
    reshaped = replace(avatar, shape=avatar.shape + 1.0)
    options = [{}, {"texture_px": 256}, {"expression": "neutral", "idle": True}, {"morph_normals": False}]
    for person in (avatar, reshaped, avatar):
        for chosen in options:
            assert glb_bytes(head, person, **chosen) == glb_bytes(replace(model), fresh(person), **chosen)
    assert glb_bytes(head, avatar) != glb_bytes(head, reshaped)


def test_maps_are_packed_once_for_all_shapes(monkeypatch: pytest.MonkeyPatch):
    head, avatar = tiny_head(), noisy_avatar(tiny_head())
    packed: list[str] = []
    for name in ("_png", "_jpeg"):
        real = getattr(gltf, name)
        monkeypatch.setattr(gltf, name, lambda *a, name=name, real=real: packed.append(name) or real(*a))
    glb_bytes(head, avatar)
    first = len(packed)
    assert packed.count("_png") == 1 and first > 5  # the noise takes several attempts
    for step in range(3):
        glb_bytes(head, replace(avatar, shape=avatar.shape + 0.1 * step))
    assert len(packed) == first


def test_a_map_that_was_written_to_is_packed_anew():
    image = torch.full((3, 64, 64), 200, dtype=torch.uint8)
    before = encode_map(image, 64, 3.0)
    image[:, :, 32:] = 10
    after = encode_map(image, 64, 3.0)
    assert after != before and after == encode_map(image.clone(), 64, 3.0)
    # Nor is a new map at an old one's address taken for it.
    seen = set()
    for level in range(40):
        seen.add(encode_map(torch.full((3, 64, 64), level * 5, dtype=torch.uint8), 64, 3.0)[0])
    assert len(seen) == 40


def test_what_is_kept_goes_with_the_head_it_belongs_to():
    head = replace(tiny_head())
    avatar = make_avatar(head)
    gc.collect()
    maps, heads = len(gltf._PICTURES), len(gltf._PARTS)
    for seed in range(3):
        model = replace(head)
        glb_bytes(model, make_avatar(model, seed))
    del model
    glb_bytes(head, avatar)
    gc.collect()
    used = [image for name, image in vars(avatar.materials).items() if image is not None and name != "skin_photo"]
    assert (len(gltf._PICTURES) - maps, len(gltf._PARTS) - heads) == (len(used), 1)


def test_what_is_made_from_maps_is_kept_as_long_as_they(monkeypatch: pytest.MonkeyPatch):
    head = replace(tiny_head())
    avatar = replace(make_avatar(head), materials=make_detailed_materials())
    made: list[int] = []
    real = gltf._layer_normals
    monkeypatch.setattr(gltf, "_layer_normals", lambda *a: made.append(1) or real(*a))
    before = gc.collect() * 0 + len(gltf._MADE)
    first = glb_bytes(head, avatar)
    assert glb_bytes(head, replace(avatar, shape=avatar.shape + 0.1)) != first and len(made) == 2
    assert glb_bytes(replace(head), fresh(avatar)) == first
    gc.collect()
    assert len(gltf._MADE) - before == 3  # of roughness, specular and wrinkles; none of the copies'
    # A map that was written to is made anew, and so is what another map of the three changes.
    wrinkles, occlusion = avatar.materials.skin_wrinkles, avatar.materials.skin_occlusion
    assert wrinkles is not None and occlusion is not None
    wrinkles[0] = 0
    second = glb_bytes(head, avatar)
    occlusion[:, :16] = 30
    third = glb_bytes(head, avatar)
    assert len({first, second, third}) == 3 and third == glb_bytes(replace(head), fresh(avatar))


def test_many_threads_get_the_bytes_of_one():
    head, avatar = tiny_head(), noisy_avatar(tiny_head(), 1)
    people = [replace(avatar, shape=avatar.shape + 0.2 * i) for i in range(4)]
    jobs = [(person, px) for person in people for px in (1024, 64)] * 2
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda job: glb_bytes(head, job[0], texture_px=job[1]), jobs))
    assert files == [glb_bytes(tiny_head(), fresh(person), texture_px=px) for person, px in jobs]
