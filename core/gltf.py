"""Heads as GLB 2.0: one skinned mesh with a primitive per part, ARKit morph targets and PBR materials.

The writer is our own (the format is a JSON header and a block of numbers) because the libraries
that could do it write dense morph targets: sparse accessors make the file several times smaller.
Section numbers refer to the glTF 2.0 specification, Khronos 2021. The head frame is glTF's own
(+Y up, +Z forward, metres; 3.3), so only texture coordinates change: v is flipped here.

How skin takes light is told in extensions that loaders know, and the rest in `extras.likeness` of the skin's material:

    translucency  in the blue channel of the texture of roughness, which glTF reads as metalness and multiplies by zero
    diffuseNormal "blur": light from below the skin follows the same normals, blurred
    wrinkles      textures: one normal map for each layer of lines, of what it adds at its fullest, by which to multiply
                  slopes with `scale`; families: what folds where (`core.key_expressions`), with the mask of family f in
                  component f % 4 of the vertex attribute _WRINKLES_(f // 4)
"""

from __future__ import annotations

import functools
import io
import json
import math
import struct
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core.atlas import interpolate
from core.avatar import LIKENESS_VERSION, Avatar, ExpressionChoice
from core.color import linear_to_srgb
from core.fine_mesh import PartMesh
from core.head import PART_TEXTURE, PARTS, HeadModel
from core.key_expressions import FAMILIES, family_masks
from core.materials import DISPLACEMENT_UNIT_M, SPECULAR_F0, Materials
from core.mesh import face_normals, texture_gradients
from core.synthesis.relief import normal_map

# Names of constants from section 3.6 and 5.
UNSIGNED_BYTE, UNSIGNED_SHORT, UNSIGNED_INT, FLOAT = 5121, 5123, 5125, 5126
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE, REPEAT = 9729, 9987, 33071, 10497


@dataclass(frozen=True)
class Surface:
    """How a part reflects light, beside its base colour.

    roughness: perceptual, 0..1, a factor where the part has a roughness map. ior: index of
    refraction, which sets the specular reflectance at normal incidence (KHR_materials_ior).
    double_sided: the part is an open sheet that can be seen from behind.
    """

    roughness: float
    ior: float
    double_sided: bool = False


# Refraction: skin 1.4 (F0 = 0.028), cornea 1.376, saliva on mouth and tongue 1.33, enamel 1.62.
# Skin and mouth are seen from behind through the open neck, lashes from below.
SURFACES = {
    "skin": Surface(roughness=1.0, ior=1.4, double_sided=True),
    "mouth": Surface(roughness=0.45, ior=1.33, double_sided=True),
    "eyes": Surface(roughness=0.08, ior=1.376),
    "teeth": Surface(roughness=0.25, ior=1.62, double_sided=True),
    "tongue": Surface(roughness=0.4, ior=1.33),
    "lashes": Surface(roughness=0.9, ior=1.5, double_sided=True),
}

# Where it is known how skin takes light, its reflectance at normal incidence is a texture: KHR_materials_specular
# multiplies the 0.04 of a refractive index of 1.5, glTF's default, by factor and texture.
SPECULAR_FACTOR = SPECULAR_F0 / 0.04
# Down on the face, seen against the light. KHR_materials_sheen takes from the skin what the sheen gives, by its albedo:
# 0.04 adds at most 0.02 to what the edge of the face reflects, and 0.002 where it is seen from the front.
PEACH_FUZZ = {"sheenColorFactor": [0.04, 0.036, 0.032], "sheenRoughnessFactor": 0.5}
# A film of tears over cornea and white, below it a surface that is not smooth; moist lips, as far as a texture says.
CORNEA, EYE_ROUGHNESS = {"clearcoatFactor": 1.0, "clearcoatRoughnessFactor": 0.03}, 0.45
MOIST_LIPS = {"clearcoatFactor": 0.35, "clearcoatRoughnessFactor": 0.28}

# A file with maps of 1024 px stays within this. What the geometry leaves is shared among the maps by
# their texels, and each is a JPEG of the best quality that fits its share; smooth maps need less.
# Above 92 a JPEG of skin grows fast and looks the same.
BUDGET_BYTES, BUDGET_TEXTURE_PX = 3_000_000, 1024
JPEG_QUALITIES = (92, 90, 87, 85, 80, 75, 70, 60, 50, 40, 30)
SHARE_PER_TEXEL = {"skin_roughness": 0.25, "lips": 0.1, "skin_orm": 0.7, "skin_specular": 0.3}
SHARE_PER_TEXEL |= {"skin_wrinkles_0": 0.4, "skin_wrinkles_1": 0.4}
# Normals are worth more where the rest of the surface is drawn as finely. Pores and fine lines of a random head, tilted
# by 1.8 degrees on average, are off by 1.1 degrees after a JPEG of 92 and by 0.8 after one of 97 (correlation of the
# slopes 0.94 and 0.97; the 8 bits of the map cost 0.3 degrees in any picture). Lines of expressions, two or three times
# as steep, are off by 0.5 at 92.
FINE_NORMALS_QUALITIES, FINE_NORMALS_SHARE = (97, 96, 95), 1.2

# Texels a side, at most, of maps that are made for the file.
SMOOTH_PX, WRINKLES_PX, LIPS_PX = 512, 512, 256
# What is in the texture of roughness where a map is missing: nothing in the way of light, a cheek's translucency.
NO_OCCLUSION, SOME_TRANSLUCENCY = 255, 128

# Morph offsets below these are left out: a hundredth of a micrometre is rounding noise, and nobody
# sees a normal that is off by half a degree, but it would cost 0.2 MB.
POSITION_EPSILON_M, NORMAL_EPSILON = 1e-8, 0.01


def glb_bytes(
    head: HeadModel,
    avatar: Avatar,
    expression: ExpressionChoice = "fitted",
    *,
    texture_px: int = 1024,
    morph_normals: bool = True,
    idle: bool = False,
) -> bytes:
    """The avatar as a GLB file that opens in Blender, Unity, Unreal and three.js. Same avatar, same bytes.

    expression: what the file shows when opened; ``fitted`` sets the morph weights and joint
    rotations of the photo, ``neutral`` zero. The morph targets are all there either way. texture_px:
    maps larger than this are reduced. morph_normals: write normals for the morph targets. On the
    bundled head they cost 0.5 MB; without them a smile keeps the shading of a still face, normals off
    by 4.4 degrees on average and 14 at the 95th percentile (with them 0.9 and 3.3, the error of
    blending linearly). idle: add an animation clip of four seconds, a blink and a slight sway. It is off by default
    because players that start clips on their own would then override the morph sliders.

    Evaluating morphs (3.7.2.2) and skin (3.7.3.3) from the file gives `HeadModel.vertices` to
    float32 precision; FLAME's pose correctives have no counterpart in glTF and are left out.
    Raises FileError where the avatar belongs to another head model.
    """
    avatar.check_fits(head)
    parameters = avatar.parameters(expression)
    rest = head.rest_vertices(parameters.shape, torch.zeros_like(parameters.expression))[0]
    joints = head.joints(parameters.shape)[0].double().numpy()
    parts = _PARTS.get(head, lambda: _head_parts(head))
    normals, normal_offsets = _normals(head, rest, parts.moved if morph_normals else None)
    weights = _float_list(parameters.expression[0])
    rotations = [_quaternion(rotation) for rotation in parameters.joint_rotations[0].double().tolist()]

    file = _File()
    joint_nodes = _add_skeleton(file, head, joints, rotations)
    root_joints = [joint_nodes[j] for j, parent in enumerate(head.joint_parents) if parent < 0]
    bind = np.tile(np.eye(4), (len(joints), 1, 1))
    bind[:, :3, 3] = -joints
    # Matrices are column-major (3.6.2.4).
    columns = bind.transpose(0, 2, 1).astype(np.float32).reshape(-1, 16)
    file.json["skins"] = [
        {
            "name": "Skeleton",
            "joints": joint_nodes,
            "skeleton": root_joints[0],
            "inverseBindMatrices": file.accessor(columns, FLOAT, "MAT4"),
        }
    ]

    primitives: dict[str, dict[str, Any]] = {}
    for name, part in parts.geometry.items():
        targets = []
        for e, positions in enumerate(part.positions):
            target = {"POSITION": file.sparse(positions)}
            if normal_offsets is not None:
                target["NORMAL"] = file.sparse(_normal_rows(part, parts.moved[e].vertices, normal_offsets[e]))
            targets.append(target)
        primitives[name] = {
            "attributes": {
                "POSITION": file.accessor(rest.numpy()[part.vertex], FLOAT, "VEC3", ARRAY_BUFFER, bounds=True),
                "NORMAL": file.accessor(normals.numpy()[part.vertex], FLOAT, "VEC3", ARRAY_BUFFER),
                "TEXCOORD_0": file.accessor(part.uv, FLOAT, "VEC2", ARRAY_BUFFER),
                "JOINTS_0": file.accessor(part.joints, UNSIGNED_BYTE, "VEC4", ARRAY_BUFFER),
                "WEIGHTS_0": file.accessor(part.weights, FLOAT, "VEC4", ARRAY_BUFFER),
            },
            "indices": file.accessor(part.indices, part.index_type, "SCALAR", ELEMENT_ARRAY_BUFFER),
            "targets": targets,
        }
        if name == "skin":
            attributes, maps = primitives[name]["attributes"], avatar.materials
            if maps.skin_normal is not None or maps.skin_wrinkles is not None:
                tangents = _tangents(part, rest, normals)
                attributes["TANGENT"] = file.accessor(tangents, FLOAT, "VEC4", ARRAY_BUFFER)
            if maps.skin_wrinkles is not None:
                for n, masks in enumerate(_wrinkle_masks(head, part)):
                    attributes[f"_WRINKLES_{n}"] = file.accessor(
                        masks, UNSIGNED_BYTE, "VEC4", ARRAY_BUFFER, normalized=True
                    )
    # The names are a convention that every loader follows (3.7.2.2, implementation note).
    mesh: dict[str, Any] = {"name": "LikenessHead", "primitives": list(primitives.values())}
    if head.expression_names:
        mesh |= {"weights": weights, "extras": {"targetNames": list(head.expression_names)}}
    else:
        for primitive in primitives.values():
            del primitive["targets"]
    file.json["meshes"] = [mesh]
    # A skinned mesh belongs at the root of the scene: the transforms above it are ignored (3.7.3.3).
    file.json["nodes"].append({"name": "LikenessHeadMesh", "mesh": 0, "skin": 0})
    mesh_node = len(file.json["nodes"]) - 1
    file.json["scenes"] = [{"name": "Scene", "nodes": [mesh_node, *root_joints]}]
    file.json["scene"] = 0
    if idle:
        _add_idle(file, head, mesh_node, joint_nodes, weights, rotations)
    file.json["asset"] = _asset(avatar, expression)
    # Last, because the maps may take what is left of the budget.
    room = BUDGET_BYTES - file.size_bytes()
    for part, material in _add_materials(file, head, avatar, list(primitives), texture_px, room).items():
        primitives[part]["material"] = material
    return file.bytes()


def solid_glb_bytes(
    head: HeadModel, avatar: Avatar, mesh: PartMesh, expression: ExpressionChoice, texture_px: int = 1024
) -> bytes:
    """A mesh of the avatar that does not move, with the avatar's materials: no joints and no morph targets.
    expression: which it was made with. The maps may take as much as in `glb_bytes` the whole file."""
    file = _File()
    primitives: dict[str, dict[str, Any]] = {}
    for name in PARTS:
        faces = mesh.part_faces(name)
        if len(faces) == 0:
            continue
        corners = _split_corners(mesh.faces[faces], mesh.uv_faces[faces], mesh.uv)
        positions = mesh.vertices.float().numpy()[corners.vertex]
        normals = _unit(mesh.normals).float().numpy()[corners.vertex]
        primitives[name] = {
            "attributes": {
                "POSITION": file.accessor(positions, FLOAT, "VEC3", ARRAY_BUFFER, bounds=True),
                "NORMAL": file.accessor(normals, FLOAT, "VEC3", ARRAY_BUFFER),
                "TEXCOORD_0": file.accessor(corners.uv, FLOAT, "VEC2", ARRAY_BUFFER),
            },
            "indices": file.accessor(corners.indices, corners.index_type, "SCALAR", ELEMENT_ARRAY_BUFFER),
        }
        if name == "skin" and avatar.materials.skin_normal is not None:
            tangents = _tangents(corners, mesh.vertices, _unit(mesh.normals))
            primitives[name]["attributes"]["TANGENT"] = file.accessor(tangents, FLOAT, "VEC4", ARRAY_BUFFER)
    file.json["meshes"] = [{"name": "LikenessHead", "primitives": list(primitives.values())}]
    file.json["nodes"].append({"name": "LikenessHeadMesh", "mesh": 0})
    file.json["scenes"] = [{"name": "Scene", "nodes": [0]}]
    file.json["scene"] = 0
    file.json["asset"] = _asset(avatar, expression)
    for part, material in _add_materials(file, head, avatar, list(primitives), texture_px, BUDGET_BYTES).items():
        primitives[part]["material"] = material
    return file.bytes()


def _asset(avatar: Avatar, expression: ExpressionChoice) -> dict[str, Any]:
    provenance = avatar.provenance
    return {
        "version": "2.0",
        "generator": f"Likeness {LIKENESS_VERSION}",
        "extras": {
            "name": avatar.name,
            "source": provenance.source,
            "seed": provenance.seed,
            "attributes": {name: float(value) for name, value in sorted(provenance.attributes.items())},
            "headModel": avatar.head_model,
            "madeWith": f"Likeness {provenance.version}",
            "expression": expression,
            "confidence": float(avatar.quality.confidence),
        },
    }


# -- What is made once --------------------------------------------------------------------------

Key = TypeVar("Key")
Value = TypeVar("Value")


class _Kept(Generic[Key, Value]):
    """Values that belong to objects, by identity, made when first asked for and freed with their object."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # freeing may happen in the middle of anything, in the same thread too
        self._entries: dict[int, tuple[weakref.ref[Any], Value]] = {}

    def get(self, owner: Key, make: Callable[[], Value]) -> Value:
        """The owner's value; two threads that ask at once may both make it, and the first stays."""
        with self._lock:
            entry = self._entries.get(id(owner))
        # An address is used again: only the object itself counts.
        if entry is not None and entry[0]() is owner:
            return entry[1]
        value, address = make(), id(owner)

        def free(dead: weakref.ref[Any]) -> None:
            with self._lock:
                if address in self._entries and self._entries[address][0] is dead:
                    del self._entries[address]

        with self._lock:
            entry = self._entries.get(address)
            if entry is None or entry[0]() is not owner:
                entry = self._entries[address] = (weakref.ref(owner, free), value)
        return entry[1]

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True, eq=False)
class _Moved:
    """What one expression moves: indices of faces, the faces themselves, and their vertices, ascending."""

    index: Tensor
    faces: Tensor
    vertices: Tensor


@dataclass(frozen=True, eq=False)
class _Rows:
    """Morph offsets of `count` vertices: those that are not zero, at their row, and the bounds of all of them."""

    count: int
    moved: NDArray[np.int64]
    values: NDArray[np.float32]
    limits: dict[str, list[float]]


@dataclass(frozen=True, eq=False)
class _Corners:
    """Triangles as glTF has them, where a vertex has one texture coordinate: vertices on a seam of the atlas are there
    once per side. vertex: of the mesh, per vertex of the file, ascending."""

    vertex: NDArray[np.int64]
    uv: NDArray[np.float32]
    indices: NDArray[np.uint32]
    index_type: int


@dataclass(frozen=True, eq=False)
class _Part(_Corners):
    """A part as glTF has it, apart from the shape. positions: offsets of each expression."""

    joints: NDArray[np.uint8]
    weights: NDArray[np.float32]
    positions: list[_Rows]


@dataclass(frozen=True, eq=False)
class _HeadParts:
    """What the file takes from the head model alone. moved: per expression. geometry: by the name of the part."""

    moved: list[_Moved]
    geometry: dict[str, _Part]


_PARTS: _Kept[HeadModel, _HeadParts] = _Kept()


def _head_parts(head: HeadModel) -> _HeadParts:
    moved = []
    for displacement in head.expression_basis:
        # Only the faces that the expression moves: a few hundred of many thousand for most.
        index = torch.nonzero(displacement.any(dim=1)[head.faces].any(dim=1)).squeeze(1)
        moved.append(_Moved(index, head.faces[index], head.faces[index].unique()))
    joints, weights = _influences(head)
    geometry = {}
    for name in PARTS:
        faces = head.part_faces(name)
        if len(faces) == 0:
            continue
        corners = _split_corners(head.faces[faces], head.uv_faces[faces], head.uv)
        vertex = corners.vertex
        positions = []
        for displacement in head.expression_basis:
            offsets = displacement.numpy()[vertex].astype(np.float32)
            # Noise is set to exactly zero, so that it need not be stored.
            offsets[np.abs(offsets).max(axis=1) < POSITION_EPSILON_M] = 0
            rows = np.flatnonzero(offsets.any(axis=1))
            limits = {"min": _float_list(offsets.min(axis=0)), "max": _float_list(offsets.max(axis=0))}
            positions.append(_Rows(len(vertex), rows, offsets[rows], limits))
        geometry[name] = _Part(**vars(corners), joints=joints[vertex], weights=weights[vertex], positions=positions)
    return _HeadParts(moved, geometry)


# -- Geometry -----------------------------------------------------------------------------------


def _split_corners(faces: Tensor, uv_faces: Tensor, uv: Tensor) -> _Corners:
    corners = faces.numpy().astype(np.int64) * len(uv) + uv_faces.numpy()
    keys, indices = np.unique(corners, return_inverse=True)
    place = uv.double().numpy()[keys % len(uv)]
    place[:, 1] = 1 - place[:, 1]
    kind = UNSIGNED_SHORT if len(keys) < 65535 else UNSIGNED_INT
    return _Corners(keys // len(uv), place.astype(np.float32), indices.reshape(-1).astype(np.uint32), kind)


def _tangents(part: _Corners, rest: Tensor, normals: Tensor) -> NDArray[np.float32]:
    """The axes of a normal map at each vertex of the file ``[N, 4]``: the direction in which u rises, and 1 or -1 for
    the side of the plane that it spans with the normal on which v, counted from below, rises (3.7.2.1). Viewers that
    find none each make their own."""
    faces = torch.from_numpy(part.indices.astype(np.int64)).reshape(-1, 3)
    uv = torch.from_numpy(part.uv) * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, 1.0])
    vertex = torch.from_numpy(part.vertex)
    normal = normals[vertex].to(rest)
    along_u, along_v = texture_gradients(rest[vertex], faces, uv, faces).unbind(1)
    flat = along_u - (along_u * normal).sum(1, keepdim=True) * normal
    # Where the map has no area any direction in the surface will do.
    spare = torch.linalg.cross(normal, normal.roll(1, 1) * torch.tensor([1.0, -1.0, 1.0]))
    flat = torch.where(flat.norm(dim=1, keepdim=True) > 1e-9, flat, spare)
    tangent = torch.nn.functional.normalize(flat, dim=1)
    side = torch.where((torch.linalg.cross(normal, tangent) * along_v).sum(1) < 0, -1.0, 1.0)
    return torch.cat([tangent, side[:, None]], 1).numpy().astype(np.float32)


def _wrinkle_masks(head: HeadModel, part: _Part) -> list[NDArray[np.uint8]]:
    """How far each family of wrinkles reaches, 0..255, at the vertices of a part, four families at a time; as many
    attributes for every head, the last filled up with zeros."""
    masks = (family_masks(head).clamp(0, 1) * 255).round().byte().cpu().numpy()[part.vertex]
    masks = np.pad(masks, ((0, 0), (0, -masks.shape[1] % 4)))
    return [np.ascontiguousarray(masks[:, start : start + 4]) for start in range(0, masks.shape[1], 4)]


def _normals(head: HeadModel, rest: Tensor, moved: list[_Moved] | None) -> tuple[Tensor, list[Tensor] | None]:
    """Unit normals ``[V, 3]`` of the rest vertices, and what each expression at weight 1 adds to those it moves."""
    flat = face_normals(rest, head.faces, normalise=False)
    total = _gather(flat, head.faces, len(rest))
    normals = _unit(total)
    if moved is None:
        return normals, None
    offsets = []
    for displacement, part in zip(head.expression_basis, moved, strict=True):
        change = face_normals(rest + displacement, part.faces, normalise=False) - flat[part.index]
        summed = (total + _gather(change, part.faces, len(rest)))[part.vertices]
        offsets.append(_unit(summed) - normals[part.vertices])
    return normals, offsets


def _gather(face_vectors: Tensor, faces: Tensor, vertex_count: int) -> Tensor:
    """For each vertex the sum over its faces."""
    total = face_vectors.new_zeros(vertex_count, 3)
    return total.index_add(0, faces.reshape(-1), face_vectors.repeat_interleave(3, dim=0))


def _unit(vectors: Tensor) -> Tensor:
    """Unit vectors. A vertex of degenerate faces only has no normal, but the format demands one: +Z."""
    length = vectors.norm(dim=-1, keepdim=True)
    ahead = torch.tensor([0.0, 0.0, 1.0]).to(vectors)
    return torch.where(length > 1e-20, vectors / length.clamp_min(1e-20), ahead)


def _normal_rows(part: _Part, moved: Tensor, offsets: Tensor) -> _Rows:
    """What an expression adds to the normals of a part. moved: vertices of the head that it moves, ascending."""
    sorted_moved = moved.numpy()
    place = np.searchsorted(sorted_moved, part.vertex).clip(max=max(len(sorted_moved) - 1, 0))
    rows = np.flatnonzero(sorted_moved[place] == part.vertex) if len(sorted_moved) else np.zeros(0, np.int64)
    values = offsets.numpy()[place[rows]].astype(np.float32)
    kept = np.abs(values).max(axis=1, initial=0.0) >= NORMAL_EPSILON
    return _Rows(len(part.vertex), rows[kept], values[kept], {})


def _influences(head: HeadModel) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """JOINTS_0 and WEIGHTS_0 as 3.7.3.3 wants them: a joint at most once per vertex, unused slots all zero, sum 1."""
    count = len(head.joint_names)
    dense = np.zeros((len(head.template), count))
    rows = np.arange(len(dense))[:, None]
    np.add.at(dense, (rows, head.skin_joints.numpy()), head.skin_weights.double().numpy())
    dense /= dense.sum(axis=1, keepdims=True)
    joints = np.argsort(-dense, axis=1, kind="stable")[:, :4]
    joints = np.pad(joints, ((0, 0), (0, max(0, 4 - joints.shape[1]))))
    weights = np.take_along_axis(dense, joints, axis=1).astype(np.float32)
    weights[:, count:] = 0
    joints[weights == 0] = 0
    return joints.astype(np.uint8), weights


def _add_skeleton(
    file: _File, head: HeadModel, joints: NDArray[np.float64], rotations: Sequence[list[float]]
) -> list[int]:
    """One node per joint, in the order of the head model; returns their indices."""
    nodes = file.json["nodes"]
    first = len(nodes)
    for j, parent in enumerate(head.joint_parents):
        origin = joints[j] if parent < 0 else joints[j] - joints[parent]
        node: dict[str, Any] = {"name": head.joint_names[j], "translation": _float_list(origin)}
        if rotations[j] != [0.0, 0.0, 0.0, 1.0]:
            node["rotation"] = rotations[j]
        children = [first + k for k, above in enumerate(head.joint_parents) if above == j]
        if children:
            node["children"] = children
        nodes.append(node)
    return list(range(first, len(nodes)))


def _quaternion(axis_angle: Sequence[float]) -> list[float]:
    """A rotation vector as a unit quaternion x, y, z, w (3.5.2), rounded to float32."""
    angle = math.sqrt(sum(x * x for x in axis_angle))
    scale = 0.5 if angle < 1e-9 else math.sin(angle / 2) / angle
    return _float_list(np.array([*(scale * x for x in axis_angle), math.cos(angle / 2)]))


def _float_list(values: Tensor | NDArray[np.floating[Any]]) -> list[float]:
    """Values as JSON numbers that are exact float32; no negative zeros."""
    return [float(x) + 0.0 for x in np.asarray(values, dtype=np.float32)]


# -- Materials ----------------------------------------------------------------------------------


def _add_materials(
    file: _File, head: HeadModel, avatar: Avatar, parts: Sequence[str], texture_px: int, room_bytes: int
) -> dict[str, int]:
    """One material for each of these parts; returns their indices. room_bytes: for the maps, at 1024 px."""
    maps = avatar.materials
    base = {"skin": maps.skin_albedo, "mouth": maps.mouth_albedo, "eye": maps.eye_albedo, "lash": maps.lash_albedo}
    images = {f"{name}_base_color": base[name] for name in dict.fromkeys(PART_TEXTURE[part] for part in parts)}
    if "skin" in parts:
        images |= _skin_images(head, maps)
    inside = bool((head.uv >= 0).all() and (head.uv <= 1).all())
    wrap = CLAMP_TO_EDGE if inside else REPEAT
    file.json["samplers"] = [
        {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": wrap, "wrapT": wrap},
    ]
    textures = {}
    for name, (data, mime) in _encode_maps(images, texture_px, room_bytes).items():
        source = file.append("images", {"name": name, "mimeType": mime, "bufferView": file.view(data)})
        textures[name] = file.append("textures", {"name": name, "sampler": 0, "source": source})

    materials = {}
    for part in parts:
        surface = SURFACES[part]
        pbr: dict[str, Any] = {
            "baseColorTexture": {"index": textures[f"{PART_TEXTURE[part]}_base_color"]},
            "metallicFactor": 0.0,
            "roughnessFactor": surface.roughness,
        }
        material: dict[str, Any] = {"name": part, "pbrMetallicRoughness": pbr}
        extensions: dict[str, Any] = {}
        if surface.ior != 1.5 and not (part == "skin" and "skin_specular" in textures):
            extensions["KHR_materials_ior"] = {"ior": surface.ior}
        if part == "skin":
            pbr["metallicRoughnessTexture"] = {"index": textures.get("skin_orm", textures.get("skin_roughness"))}
            if "skin_normal" in textures:
                material["normalTexture"] = {"index": textures["skin_normal"]}
            _describe_skin(material, extensions, textures)
        if part == "eyes" and _takes_light(maps):
            pbr["roughnessFactor"] = EYE_ROUGHNESS
            extensions["KHR_materials_clearcoat"] = CORNEA
        if extensions:
            material["extensions"] = extensions
            file.json["extensionsUsed"] = sorted({*file.json.get("extensionsUsed", []), *extensions})
        if part == "lashes":
            # Blended, because hairs thinner than a pixel vanish or flicker under an alpha test.
            material["alphaMode"] = "BLEND"
        if surface.double_sided:
            material["doubleSided"] = True
        materials[part] = file.append("materials", material)
    return materials


def _describe_skin(material: dict[str, Any], extensions: dict[str, Any], textures: dict[str, int]) -> None:
    """Add what is known of how skin takes light to its material."""
    extras: dict[str, Any] = {}
    if "skin_specular" in textures:
        extensions["KHR_materials_specular"] = {
            "specularColorFactor": [SPECULAR_FACTOR] * 3,
            "specularColorTexture": {"index": textures["skin_specular"]},
        }
    if "skin_orm" in textures:
        material["occlusionTexture"] = {"index": textures["skin_orm"]}
        extensions["KHR_materials_sheen"] = PEACH_FUZZ
        extras |= {"translucency": "metallicRoughness.b", "diffuseNormal": "blur"}
    if "lips" in textures:
        extensions["KHR_materials_clearcoat"] = MOIST_LIPS | {"clearcoatTexture": {"index": textures["lips"]}}
    layers = [index for name, index in textures.items() if name.startswith("skin_wrinkles_")]
    if layers:
        families = [{"name": f.name, "layer": f.layer, "gains": dict(f.gains)} for f in FAMILIES]
        extras["wrinkles"] = {"textures": layers, "scale": 1.0, "families": families}
    if extras:
        material["extras"] = {"likeness": extras}


def _takes_light(maps: Materials) -> bool:
    """Whether more is known of the skin than colour, roughness and normals."""
    return any(image is not None for image in (maps.skin_specular, maps.skin_translucency, maps.skin_occlusion))


def _skin_images(head: HeadModel, maps: Materials) -> dict[str, Tensor]:
    """The skin's maps beside its colour, as the file has them. Those that are made here are made once for the maps
    that they are made from, so that their pictures are packed once too."""
    images: dict[str, Tensor] = {}
    if not _takes_light(maps):
        # Green is roughness; blue, metalness, is multiplied by a factor of zero (3.9.2), so grey will do.
        images["skin_roughness"] = maps.skin_roughness
    else:
        channels = (maps.skin_occlusion, maps.skin_roughness, maps.skin_translucency)
        images["skin_orm"] = _derived("orm", maps.skin_roughness, channels, lambda: _occlusion_roughness(*channels))
        specular = maps.skin_specular
        if specular is not None:
            images["skin_specular"] = _derived("srgb", specular, (specular,), lambda: _srgb_coded(specular))
        if "lips" in head.region_names:
            images["lips"] = _LIPS.get(head, lambda: _lip_mask(head))
    if maps.skin_normal is not None:
        images["skin_normal"] = maps.skin_normal
    wrinkles = maps.skin_wrinkles
    if wrinkles is not None:
        for layer in range(len(wrinkles)):
            made = functools.partial(_layer_normals, head, wrinkles[layer])
            images[f"skin_wrinkles_{layer}"] = _derived(f"normals {layer}", wrinkles, (wrinkles, head), made)
    return images


def _occlusion_roughness(occlusion: Tensor | None, roughness: Tensor, translucency: Tensor | None) -> Tensor:
    """Red occlusion, green roughness, blue translucency, on one map of at most `SMOOTH_PX`."""
    maps = (occlusion, roughness, translucency)
    side = min(SMOOTH_PX, max(image.shape[-1] for image in maps if image is not None))
    missing = (NO_OCCLUSION, 0, SOME_TRANSLUCENCY)
    channels = [
        torch.full((1, side, side), float(level)) if image is None else _resized(image.float(), side)
        for image, level in zip(maps, missing, strict=True)
    ]
    return torch.cat(channels).round().byte()


def _srgb_coded(specular: Tensor) -> Tensor:
    """Linear values 0..255 as the file wants colours: reduced in linear light, then coded."""
    small = _resized(specular.float(), min(SMOOTH_PX, specular.shape[-1]))
    return (linear_to_srgb(small / 255) * 255).round().byte()


def _layer_normals(head: HeadModel, layer: Tensor) -> Tensor:
    """The normals of one layer of wrinkles. On the mean head, whatever the person's shape: slopes differ by a few per
    cent, and the maps serve all shapes that a person is given."""
    metres = layer.float() * DISPLACEMENT_UNIT_M
    return normal_map(head, _resized(metres[None], min(WRINKLES_PX, layer.shape[-1]))[0])


_LIPS: _Kept[HeadModel, Tensor] = _Kept()


def _lip_mask(head: HeadModel) -> Tensor:
    """Where the lips are, 0..255."""
    mask = interpolate(head, head.region("lips")[:, None], LIPS_PX).permute(2, 0, 1)
    return (mask.clamp(0, 1) * 255).round().byte()


def _resized(image: Tensor, side: int) -> Tensor:
    """A map ``[C, H, W]`` of floats at another size, filtered where it shrinks."""
    if image.shape[1:] == (side, side):
        return image
    return torch.nn.functional.interpolate(image[None], size=(side, side), mode="bilinear", antialias=True)[0]


class _Made:
    """Maps made from others, by name, with what they were made from: the objects, and the versions of tensors."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: dict[str, tuple[list[tuple[weakref.ref[Any], int]], Tensor]] = {}


_MADE: _Kept[Tensor, _Made] = _Kept()


def _derived(name: str, owner: Tensor, sources: Sequence[Any], make: Callable[[], Tensor]) -> Tensor:
    """What `make` makes from the sources, kept while the owner, one of them, lives and nobody writes to any of them."""
    kept = _MADE.get(owner, _Made)
    used = [source for source in sources if source is not None]
    versions = [0 if not torch.is_tensor(x) or x.is_inference() else x._version for x in used]
    with kept.lock:
        if name in kept.entries:
            made_from, value = kept.entries[name]
            if len(made_from) == len(used) and all(
                ref() is source and then == now
                for (ref, then), source, now in zip(made_from, used, versions, strict=True)
            ):
                return value
        value = make()
        kept.entries[name] = [(weakref.ref(x), version) for x, version in zip(used, versions, strict=True)], value
    return value


def _encode_maps(images: dict[str, Tensor], texture_px: int, room_bytes: int) -> dict[str, tuple[bytes, str]]:
    """Every map as a picture; together within `room_bytes` at 1024 px, in proportion to the area at other sizes."""
    encoded = {name: encode_map(image, texture_px, 0.0) for name, image in images.items() if image.shape[0] == 4}
    opaque = {name: image for name, image in images.items() if name not in encoded}
    room = room_bytes * (texture_px / BUDGET_TEXTURE_PX) ** 2 - sum(len(data) for data, _ in encoded.values())
    shares = {name: SHARE_PER_TEXEL.get(name, 1.0) for name in opaque}
    finer: dict[str, tuple[int, ...]] = {}
    if "skin_orm" in opaque and "skin_normal" in opaque:
        finer["skin_normal"], shares["skin_normal"] = FINE_NORMALS_QUALITIES, FINE_NORMALS_SHARE
    texels = {name: min(image.shape[1], texture_px) * min(image.shape[2], texture_px) for name, image in opaque.items()}
    bytes_per_texel = max(0.0, room) / max(1.0, sum(texels[name] * shares[name] for name in opaque))
    encoded |= {
        name: encode_map(image, texture_px, bytes_per_texel * shares[name], finer.get(name, ()))
        for name, image in opaque.items()
    }
    return {name: encoded[name] for name in images}


class _Pictures:
    """A map as pictures. made_for: the version of the tensor and the longest side that they show. sizes: bytes at each
    JPEG quality that was tried. chosen: the quality (None for PNG) and the bytes of the picture that was used last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made_for: tuple[int, int] | None = None
        self.sizes: dict[int, int] = {}
        self.chosen: tuple[int | None, bytes] | None = None


# A change of shape leaves the maps as they are, and packing them takes longest.
_PICTURES: _Kept[Tensor, _Pictures] = _Kept()


def encode_map(
    image: Tensor, texture_px: int, bytes_per_texel: float, finer: tuple[int, ...] = ()
) -> tuple[bytes, str]:
    """A map ``[C, H, W]`` uint8 as the bytes of a picture and its MIME type.

    Reduced to `texture_px` where larger. PNG where it has alpha, otherwise a JPEG without chroma
    subsampling, of the best quality that fits into `bytes_per_texel`. finer: qualities above the usual best to try
    first. The last picture is kept while the tensor lives
    and nobody writes to it.
    """
    kept = _PICTURES.get(image, _Pictures)
    longest = min(max(image.shape[1:]), texture_px)
    with kept.lock:
        made_for = (0 if image.is_inference() else image._version, longest)
        if kept.made_for != made_for:
            kept.made_for, kept.sizes, kept.chosen = made_for, {}, None
        if image.shape[0] == 4:
            kept.chosen = kept.chosen or (None, _png(_picture(image, longest)))
            return kept.chosen[1], "image/png"
        scale = longest / max(image.shape[1:])
        texels = math.prod(max(1, round(side * scale)) for side in image.shape[1:])
        # A tiny picture is mostly header; its size is no reason to spoil it.
        room = max(4096, bytes_per_texel * texels)
        data, picture = b"", None
        for quality in (*finer, *JPEG_QUALITIES):
            # One that is known to be too large need not be made again, unless there is none smaller.
            if kept.sizes.get(quality, 0) > room and quality != JPEG_QUALITIES[-1]:
                continue
            if kept.chosen is not None and kept.chosen[0] == quality:
                data = kept.chosen[1]
            else:
                picture = picture or _picture(image, longest)
                data = _jpeg(picture, quality)
                kept.sizes[quality] = len(data)
            if len(data) <= room or quality == JPEG_QUALITIES[-1]:
                kept.chosen = quality, data
                break
        return data, "image/jpeg"


def _picture(image: Tensor, longest: int) -> Image.Image:
    pixels = image.detach().cpu().permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if max(picture.size) > longest:
        scale = longest / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return picture


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    # subsampling=0 is 4:4:4. No optimize=True: Pillow's buffer for it is too small for noisy pictures and saving
    # fails, for the gain of a few per cent.
    picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


# -- Idle clip ----------------------------------------------------------------------------------

IDLE_SECONDS, IDLE_SAMPLES, SWAY_YAW, SWAY_PITCH = 4.0, 32, math.radians(2.0), math.radians(1.0)
# Seconds and how far the lids are closed: a human blink closes in about 0.1 s and opens in 0.2 s.
BLINK = ((1.4, 0.0), (1.5, 1.0), (1.55, 1.0), (1.75, 0.0))


def _add_idle(
    file: _File,
    head: HeadModel,
    mesh_node: int,
    joint_nodes: Sequence[int],
    weights: Sequence[float],
    rotations: Sequence[list[float]],
) -> None:
    """A loop of four seconds: a blink over the weights that the file opens with, and a slight sway of the head."""
    channels: list[dict[str, Any]] = []
    samplers: list[dict[str, Any]] = []

    def add(node: int, path: str, times: list[float], values: NDArray[np.floating[Any]], kind: str) -> None:
        samplers.append(
            {
                "input": file.accessor(np.array(times, np.float32)[:, None], FLOAT, "SCALAR", bounds=True),
                "output": file.accessor(values, FLOAT, kind),
                "interpolation": "LINEAR",
            }
        )
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    lids = [i for i, name in enumerate(head.expression_names) if name in ("eyeBlinkLeft", "eyeBlinkRight")]
    if lids:
        # A weights channel sets every weight, so the rest keep what the mesh opens with.
        keys = [(0.0, 0.0), *BLINK, (IDLE_SECONDS, 0.0)]
        frames = np.tile(np.array(weights), (len(keys), 1))
        for row, (_, closed) in enumerate(keys):
            frames[row, lids] += closed * (1 - frames[row, lids])
        add(mesh_node, "weights", [t for t, _ in keys], frames.reshape(-1, 1), "SCALAR")
    if "head" in head.joint_names:
        j = head.joint_names.index("head")
        phase = np.linspace(0, 2 * math.pi, IDLE_SAMPLES + 1)
        # Starts and ends at the pose that the file opens with.
        sway = [_quaternion([SWAY_PITCH * math.sin(2 * p), SWAY_YAW * math.sin(p), 0.0]) for p in phase]
        posed = np.array([_multiply(rotations[j], q) for q in sway])
        posed /= np.linalg.norm(posed, axis=1, keepdims=True)
        add(joint_nodes[j], "rotation", list(phase / (2 * math.pi) * IDLE_SECONDS), posed, "VEC4")
    if channels:
        file.json["animations"] = [{"name": "Idle", "channels": channels, "samplers": samplers}]


def _multiply(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """The Hamilton product of two quaternions x, y, z, w: first b, then a."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return [
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    ]


# -- The container ------------------------------------------------------------------------------

DTYPES = {UNSIGNED_BYTE: np.uint8, UNSIGNED_SHORT: np.uint16, UNSIGNED_INT: np.uint32, FLOAT: np.float32}


@dataclass
class _File:
    """A GLB file as it grows: the JSON document and the binary chunk.

    Sparse morph offsets are collected in two blocks of their own, so that hundreds of accessors
    share two buffer views instead of adding two each.
    """

    json: dict[str, Any] = field(
        default_factory=lambda: {"asset": {}, "nodes": [], "accessors": [], "bufferViews": [], "buffers": []}
    )
    binary: bytearray = field(default_factory=bytearray)
    sparse_indices: bytearray = field(default_factory=bytearray)
    sparse_values: bytearray = field(default_factory=bytearray)
    pending: list[dict[str, Any]] = field(default_factory=list)
    zeros: dict[tuple[int, bool], int] = field(default_factory=dict)

    def append(self, kind: str, item: dict[str, Any]) -> int:
        """Append to one of the document's arrays; returns the index."""
        items = self.json.setdefault(kind, [])
        items.append(item)
        return len(items) - 1

    def view(self, data: bytes | bytearray, target: int | None = None) -> int:
        """A buffer view over `data`, aligned to four bytes (3.6.2.4)."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.binary += data
        return self.append("bufferViews", view)

    def accessor(
        self,
        values: NDArray[Any],
        component: int,
        kind: str,
        target: int | None = None,
        bounds: bool = False,
        normalized: bool = False,
    ) -> int:
        """A dense accessor of one row per element. `bounds`: with minimum and maximum, as stored. `normalized`:
        the largest whole number stands for 1."""
        stored = np.ascontiguousarray(values, DTYPES[component])
        accessor: dict[str, Any] = {
            "bufferView": self.view(stored.tobytes(), target),
            "componentType": component,
            "count": len(stored),
            "type": kind,
        }
        if normalized:
            accessor["normalized"] = True
        if bounds:
            accessor |= {"min": _float_list(stored.min(axis=0)), "max": _float_list(stored.max(axis=0))}
        return self.append("accessors", accessor)

    def sparse(self, rows: _Rows) -> int:
        """Morph offsets: only the rows that are not zero (3.6.2.3), all rows where that is smaller."""
        moved, count = rows.moved, rows.count
        if len(moved) == 0:
            # Nothing stored reads as zeros; one such accessor serves every target.
            key = (count, bool(rows.limits))
            if key not in self.zeros:
                empty = {"componentType": FLOAT, "count": count, "type": "VEC3", **rows.limits}
                self.zeros[key] = self.append("accessors", empty)
            return self.zeros[key]
        component = UNSIGNED_SHORT if count <= 65536 else UNSIGNED_INT
        width = np.dtype(DTYPES[component]).itemsize
        if len(moved) * (12 + width) >= count * 12:
            dense = np.zeros((count, 3), np.float32)
            dense[moved] = rows.values
            return self.accessor(dense, FLOAT, "VEC3", ARRAY_BUFFER, bool(rows.limits))
        self.sparse_indices += b"\0" * (-len(self.sparse_indices) % width)
        accessor: dict[str, Any] = {"componentType": FLOAT, "count": count, "type": "VEC3", **rows.limits}
        accessor["sparse"] = {
            "count": len(moved),
            "indices": {"byteOffset": len(self.sparse_indices), "componentType": component},
            "values": {"byteOffset": len(self.sparse_values)},
        }
        self.sparse_indices += moved.astype(DTYPES[component]).tobytes()
        self.sparse_values += rows.values.tobytes()
        self.pending.append(accessor["sparse"])
        return self.append("accessors", accessor)

    def size_bytes(self) -> int:
        """The size of the finished file, give or take a few kilobytes for what is still to come."""
        text = json.dumps(self.json, separators=(",", ":"))
        return len(text) + len(self.binary) + len(self.sparse_indices) + len(self.sparse_values) + 8192

    def bytes(self) -> bytes:
        """The finished file: header, JSON chunk padded with spaces, binary chunk padded with zeros (4.4)."""
        if self.pending:
            indices, values = self.view(self.sparse_indices), self.view(self.sparse_values)
            for sparse in self.pending:
                sparse["indices"]["bufferView"] = indices
                sparse["values"]["bufferView"] = values
            self.pending.clear()
        self.json["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps(self.json, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self.binary) + b"\0" * (-len(self.binary) % 4)
        total = 12 + 8 + len(text) + 8 + len(binary)
        return b"".join(
            [
                struct.pack("<4sII", b"glTF", 2, total),
                struct.pack("<I4s", len(text), b"JSON"),
                text,
                struct.pack("<I4s", len(binary), b"BIN\0"),
                binary,
            ]
        )
