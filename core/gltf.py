"""Heads as GLB 2.0: one skinned mesh with a primitive per part, ARKit morph targets and PBR materials.

The writer is our own (the format is a JSON header and a block of numbers) because the libraries
that could do it write dense morph targets: sparse accessors make the file several times smaller.
Section numbers refer to the glTF 2.0 specification, Khronos 2021. The head frame is glTF's own
(+Y up, +Z forward, metres; 3.3), so only texture coordinates change: v is flipped here.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core.avatar import LIKENESS_VERSION, Avatar, ExpressionChoice
from core.head import PART_TEXTURE, PARTS, HeadModel
from core.mesh import face_normals

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

# A file with maps of 1024 px stays within this. What the geometry leaves is shared among the maps by
# their texels, and each is a JPEG of the best quality that fits its share; roughness is one smooth
# channel and needs less. Above 92 a JPEG of skin grows fast and looks the same.
BUDGET_BYTES, BUDGET_TEXTURE_PX = 3_000_000, 1024
JPEG_QUALITIES = (92, 90, 87, 85, 80, 75, 70, 60, 50, 40, 30)
SHARE_PER_TEXEL = {"skin_roughness": 0.25}

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
    normals, normal_offsets = _normals(head, rest, morph_normals)
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

    skin_joints, skin_weights = _influences(head)
    primitives: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        faces = head.part_faces(part)
        if len(faces) == 0:
            continue
        # A glTF vertex has one texture coordinate, so the vertices on a seam of the atlas are written once per side.
        corners = head.faces[faces].numpy().astype(np.int64) * len(head.uv) + head.uv_faces[faces].numpy()
        keys, indices = np.unique(corners, return_inverse=True)
        vertex, uv_index = keys // len(head.uv), keys % len(head.uv)
        uv = head.uv.double().numpy()[uv_index]
        uv[:, 1] = 1 - uv[:, 1]
        kind = UNSIGNED_SHORT if len(keys) < 65535 else UNSIGNED_INT
        targets = []
        for e in range(len(head.expression_names)):
            target = {"POSITION": file.sparse(_offsets(head.expression_basis[e], vertex, POSITION_EPSILON_M), True)}
            if normal_offsets is not None:
                target["NORMAL"] = file.sparse(_offsets(normal_offsets[e], vertex, NORMAL_EPSILON), False)
            targets.append(target)
        primitives[part] = {
            "attributes": {
                "POSITION": file.accessor(rest.numpy()[vertex], FLOAT, "VEC3", ARRAY_BUFFER, bounds=True),
                "NORMAL": file.accessor(normals.numpy()[vertex], FLOAT, "VEC3", ARRAY_BUFFER),
                "TEXCOORD_0": file.accessor(uv, FLOAT, "VEC2", ARRAY_BUFFER),
                "JOINTS_0": file.accessor(skin_joints[vertex], UNSIGNED_BYTE, "VEC4", ARRAY_BUFFER),
                "WEIGHTS_0": file.accessor(skin_weights[vertex], FLOAT, "VEC4", ARRAY_BUFFER),
            },
            "indices": file.accessor(indices.reshape(-1), kind, "SCALAR", ELEMENT_ARRAY_BUFFER),
            "targets": targets,
        }
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
    for part, material in _add_materials(file, head, avatar, list(primitives), texture_px).items():
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


# -- Geometry -----------------------------------------------------------------------------------


def _normals(head: HeadModel, rest: Tensor, morph_normals: bool) -> tuple[Tensor, Tensor | None]:
    """Unit normals ``[V, 3]`` of the rest vertices, and what each expression at weight 1 adds ``[E, V, 3]``."""
    flat = face_normals(rest, head.faces, normalise=False)
    total = _gather(flat, head.faces, len(rest))
    normals = _unit(total)
    if not morph_normals:
        return normals, None
    offsets = torch.zeros_like(head.expression_basis)
    for e, displacement in enumerate(head.expression_basis):
        # Only the faces that the expression moves: a few hundred of many thousand for most.
        moved = torch.nonzero(displacement.any(dim=1)[head.faces].any(dim=1)).squeeze(1)
        faces = head.faces[moved]
        change = face_normals(rest + displacement, faces, normalise=False) - flat[moved]
        touched = faces.unique()
        offsets[e, touched] = _unit((total + _gather(change, faces, len(rest)))[touched]) - normals[touched]
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


def _offsets(displacement: Tensor, vertex: NDArray[np.int64], epsilon: float) -> NDArray[np.float32]:
    """Displacements of the split vertices, with noise set to exactly zero so that it need not be stored."""
    offsets = displacement.numpy()[vertex].astype(np.float32)
    offsets[np.abs(offsets).max(axis=1) < epsilon] = 0
    return offsets


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
    file: _File, head: HeadModel, avatar: Avatar, parts: Sequence[str], texture_px: int
) -> dict[str, int]:
    """One material for each of these parts; returns their indices."""
    maps = avatar.materials
    base = {"skin": maps.skin_albedo, "mouth": maps.mouth_albedo, "eye": maps.eye_albedo, "lash": maps.lash_albedo}
    images = {f"{name}_base_color": base[name] for name in dict.fromkeys(PART_TEXTURE[part] for part in parts)}
    if "skin" in parts:
        # Green is roughness; blue, metalness, is multiplied by a factor of zero (3.9.2), so grey will do.
        images["skin_roughness"] = maps.skin_roughness
        if maps.skin_normal is not None:
            images["skin_normal"] = maps.skin_normal
    inside = bool((head.uv >= 0).all() and (head.uv <= 1).all())
    wrap = CLAMP_TO_EDGE if inside else REPEAT
    file.json["samplers"] = [
        {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": wrap, "wrapT": wrap},
    ]
    textures = {}
    for name, (data, mime) in _encode_maps(images, texture_px, BUDGET_BYTES - file.size_bytes()).items():
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
        if part == "skin":
            pbr["metallicRoughnessTexture"] = {"index": textures["skin_roughness"]}
            if "skin_normal" in textures:
                material["normalTexture"] = {"index": textures["skin_normal"]}
        if surface.ior != 1.5:
            material["extensions"] = {"KHR_materials_ior": {"ior": surface.ior}}
            file.json["extensionsUsed"] = ["KHR_materials_ior"]
        if part == "lashes":
            # Blended, because hairs thinner than a pixel vanish or flicker under an alpha test.
            material["alphaMode"] = "BLEND"
        if surface.double_sided:
            material["doubleSided"] = True
        materials[part] = file.append("materials", material)
    return materials


def _encode_maps(images: dict[str, Tensor], texture_px: int, room_bytes: int) -> dict[str, tuple[bytes, str]]:
    """Every map as a picture; together within `room_bytes` at 1024 px, in proportion to the area at other sizes."""
    encoded = {name: encode_map(image, texture_px, 0.0) for name, image in images.items() if image.shape[0] == 4}
    opaque = {name: image for name, image in images.items() if name not in encoded}
    room = room_bytes * (texture_px / BUDGET_TEXTURE_PX) ** 2 - sum(len(data) for data, _ in encoded.values())
    shares = {name: SHARE_PER_TEXEL.get(name, 1.0) for name in opaque}
    texels = {name: min(image.shape[1], texture_px) * min(image.shape[2], texture_px) for name, image in opaque.items()}
    bytes_per_texel = max(0.0, room) / max(1.0, sum(texels[name] * shares[name] for name in opaque))
    encoded |= {name: encode_map(image, texture_px, bytes_per_texel * shares[name]) for name, image in opaque.items()}
    return {name: encoded[name] for name in images}


def encode_map(image: Tensor, texture_px: int, bytes_per_texel: float) -> tuple[bytes, str]:
    """A map ``[C, H, W]`` uint8 as the bytes of a picture and its MIME type.

    Reduced to `texture_px` where larger. PNG where it has alpha, otherwise a JPEG without chroma
    subsampling, of the best quality that fits into `bytes_per_texel`.
    """
    pixels = image.detach().cpu().permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if max(picture.size) > texture_px:
        scale = texture_px / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if picture.mode == "RGBA":
        picture.save(buffer, "PNG", compress_level=9)
        return buffer.getvalue(), "image/png"
    for quality in JPEG_QUALITIES:
        buffer = io.BytesIO()
        # subsampling=0 is 4:4:4. No optimize=True: Pillow's buffer for it is too small for noisy pictures and saving
        # fails, for the gain of a few per cent.
        picture.save(buffer, "JPEG", quality=quality, subsampling=0)
        # A tiny picture is mostly header; its size is no reason to spoil it.
        if buffer.tell() <= max(4096, bytes_per_texel * picture.width * picture.height):
            break
    return buffer.getvalue(), "image/jpeg"


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
        self, values: NDArray[Any], component: int, kind: str, target: int | None = None, bounds: bool = False
    ) -> int:
        """A dense accessor of one row per element. `bounds`: with minimum and maximum, as stored."""
        stored = np.ascontiguousarray(values, DTYPES[component])
        accessor: dict[str, Any] = {
            "bufferView": self.view(stored.tobytes(), target),
            "componentType": component,
            "count": len(stored),
            "type": kind,
        }
        if bounds:
            accessor |= {"min": _float_list(stored.min(axis=0)), "max": _float_list(stored.max(axis=0))}
        return self.append("accessors", accessor)

    def sparse(self, offsets: NDArray[np.float32], bounds: bool) -> int:
        """Morph offsets ``[N, 3]``: only the rows that are not zero (3.6.2.3), all rows where that is smaller."""
        moved = np.flatnonzero(offsets.any(axis=1))
        count = len(offsets)
        if len(moved) == 0:
            # Nothing stored reads as zeros; one such accessor serves every target.
            if (count, bounds) not in self.zeros:
                limits = {"min": [0.0] * 3, "max": [0.0] * 3} if bounds else {}
                empty = {"componentType": FLOAT, "count": count, "type": "VEC3", **limits}
                self.zeros[count, bounds] = self.append("accessors", empty)
            return self.zeros[count, bounds]
        component = UNSIGNED_SHORT if count <= 65536 else UNSIGNED_INT
        width = np.dtype(DTYPES[component]).itemsize
        if len(moved) * (12 + width) >= count * 12:
            return self.accessor(offsets, FLOAT, "VEC3", ARRAY_BUFFER, bounds)
        self.sparse_indices += b"\0" * (-len(self.sparse_indices) % width)
        accessor: dict[str, Any] = {"componentType": FLOAT, "count": count, "type": "VEC3"}
        if bounds:
            accessor |= {"min": _float_list(offsets.min(axis=0)), "max": _float_list(offsets.max(axis=0))}
        accessor["sparse"] = {
            "count": len(moved),
            "indices": {"byteOffset": len(self.sparse_indices), "componentType": component},
            "values": {"byteOffset": len(self.sparse_values)},
        }
        self.sparse_indices += moved.astype(DTYPES[component]).tobytes()
        self.sparse_values += offsets[moved].tobytes()
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
