"""The head model: one interface for the bundled head and for FLAME.

A `HeadModel` is data: a template, linear shape and expression bases, a small skeleton with linear
blend skinning, a texture atlas, region masks and landmark embeddings. `HeadParameters` say which
head; `HeadModel.vertices` says where its vertices are.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.camera import axis_angle_to_matrix
from core.checkpoints import BUNDLED_CURE, read_safetensors, weights_path
from core.errors import FileError
from core.mesh import Mesh

# The parts of a complete head, in the order of `HeadModel.face_part`. Each is a primitive with a
# material of its own in exported files.
PARTS = ("skin", "mouth", "eyes", "teeth", "tongue", "lashes")

# Which texture each part samples. Mouth cavity, teeth with gums and tongue share one small picture;
# both eyeballs share one, so that an iris is painted once.
PART_TEXTURE = {"skin": "skin", "mouth": "mouth", "eyes": "eye", "teeth": "mouth", "tongue": "mouth", "lashes": "lash"}


@dataclass(frozen=True)
class LandmarkEmbedding:
    """Points on the surface: a face and barycentric weights for each.

    face_index: ``[L]`` rows of `HeadModel.faces`; barycentric: ``[L, 3]``, each row sums to 1.
    """

    face_index: Int[Tensor, "L"]
    barycentric: Float[Tensor, "L 3"]

    def points(self, vertices: Float[Tensor, "*batch V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "*batch L 3"]:
        """Where the landmarks lie on these vertices."""
        corners = vertices[..., faces[self.face_index], :]
        return (corners * self.barycentric[..., None]).sum(dim=-2)


@dataclass(frozen=True)
class HeadParameters:
    """Which head: a batch of coefficients.

    shape: ``[B, K]``, each ~ N(0, 1) over adults. expression: ``[B, E]``, ARKit weights in 0..1 for
    the bundled head. joint_rotations: ``[B, J, 3]`` rotation vectors (radians) in the head frame's
    axes, relative to the parent joint.
    """

    shape: Float[Tensor, "B K"]
    expression: Float[Tensor, "B E"]
    joint_rotations: Float[Tensor, "B J 3"]


@dataclass(frozen=True)
class HeadModel:
    """A head model with everything that fitting, rendering and export need.

    template: ``[V, 3]`` mean adult head, neutral, mouth closed. shape_basis: ``[K, V, 3]``, one
    standard deviation per unit. expression_basis: ``[E, V, 3]``, the displacement at weight 1;
    expression_names: E names (Apple's ARKit names for the bundled head); expression_range: the
    weights that make sense. joint_names, joint_parents (-1: none), joint_template ``[J, 3]``,
    joint_shape_basis ``[K, J, 3]``. skin_joints, skin_weights: ``[V, 4]`` linear blend skinning,
    weights sum to 1. pose_basis: ``[(J - 1) * 9, V, 3]`` pose correctives of FLAME and SMPL, None
    for the bundled head. faces ``[F, 3]``, uv ``[T, 2]``, uv_faces ``[F, 3]``; face_part ``[F]``
    indexes `PARTS`. mirror: ``[V]`` the vertex across the mid-sagittal plane. regions:
    ``[R, V]`` soft masks 0..1 with region_names. attribute_directions: ``[A, K]`` with
    attribute_names; +-1 is a clear but plausible change. landmarks: name -> embedding
    ("mediapipe": 478 points, "ibug": 68 points).
    """

    name: str
    template: Float[Tensor, "V 3"]
    shape_basis: Float[Tensor, "K V 3"]
    expression_basis: Float[Tensor, "E V 3"]
    expression_names: tuple[str, ...]
    expression_range: tuple[float, float]
    joint_names: tuple[str, ...]
    joint_parents: tuple[int, ...]
    joint_template: Float[Tensor, "J 3"]
    joint_shape_basis: Float[Tensor, "K J 3"]
    skin_joints: Int[Tensor, "V 4"]
    skin_weights: Float[Tensor, "V 4"]
    pose_basis: Float[Tensor, "P V 3"] | None
    faces: Int[Tensor, "F 3"]
    uv: Float[Tensor, "T 2"]
    uv_faces: Int[Tensor, "F 3"]
    face_part: Int[Tensor, "F"]
    mirror: Int[Tensor, "V"]
    region_names: tuple[str, ...]
    regions: Float[Tensor, "R V"]
    attribute_names: tuple[str, ...]
    attribute_directions: Float[Tensor, "A K"]
    landmarks: dict[str, LandmarkEmbedding]

    @property
    def shape_count(self) -> int:
        """K, the number of shape coefficients."""
        return self.shape_basis.shape[0]

    def region(self, name: str) -> Float[Tensor, "V"]:
        """One soft region mask. Raises KeyError naming the regions that exist."""
        if name not in self.region_names:
            raise KeyError(f"The head model has no region {name!r}; it has {', '.join(self.region_names)}.")
        return self.regions[self.region_names.index(name)]

    def part_faces(self, part: str) -> Int[Tensor, "N"]:
        """Indices of the faces of one part (see `PARTS`)."""
        return torch.nonzero(self.face_part == PARTS.index(part)).squeeze(1)

    def neutral(self, batch: int = 1) -> HeadParameters:
        """Zero parameters: the mean head."""
        like = self.template
        return HeadParameters(
            like.new_zeros(batch, self.shape_count),
            like.new_zeros(batch, len(self.expression_names)),
            like.new_zeros(batch, len(self.joint_names), 3),
        )

    def rest_vertices(self, shape: Float[Tensor, "B K"], expression: Float[Tensor, "B E"]) -> Float[Tensor, "B V 3"]:
        """Vertices before skinning: template + shape + expression."""
        k = shape.shape[1]
        return (
            self.template
            + torch.einsum("bk,kvx->bvx", shape, self.shape_basis[:k])
            + torch.einsum("be,evx->bvx", expression, self.expression_basis)
        )

    def joints(self, shape: Float[Tensor, "B K"]) -> Float[Tensor, "B J 3"]:
        """Rest positions of the joints; they follow shape, not expression."""
        return self.joint_template + torch.einsum("bk,kjx->bjx", shape, self.joint_shape_basis[: shape.shape[1]])

    def joint_transforms(self, parameters: HeadParameters) -> Float[Tensor, "B J 4 4"]:
        """World transforms of the joints relative to rest (what a vertex bound to the joint undergoes)."""
        joints = self.joints(parameters.shape)
        rotations = axis_angle_to_matrix(parameters.joint_rotations)
        batch = joints.shape[0]
        world: list[Tensor] = []
        for j, parent in enumerate(self.joint_parents):
            origin = joints[:, j] if parent < 0 else joints[:, j] - joints[:, parent]
            local = torch.eye(4, dtype=joints.dtype, device=joints.device).repeat(batch, 1, 1)
            local = torch.cat([torch.cat([rotations[:, j], origin[..., None]], -1), local[:, 3:]], -2)
            world.append(local if parent < 0 else world[parent] @ local)
        transforms = torch.stack(world, dim=1)
        # Subtract where rest puts the joint: x -> R (x - joint) + posed joint.
        moved = torch.einsum("bjik,bjk->bji", transforms[..., :3, :3], joints)
        translation = transforms[..., :3, 3] - moved
        return torch.cat([torch.cat([transforms[..., :3, :3], translation[..., None]], -1), transforms[..., 3:, :]], -2)

    def vertices(self, parameters: HeadParameters) -> Float[Tensor, "B V 3"]:
        """Posed vertices: linear blend skinning of `rest_vertices` (with FLAME's pose correctives where
        the model has them: Li et al. 2017, eq. 1-4)."""
        rest = self.rest_vertices(parameters.shape, parameters.expression)
        if self.pose_basis is not None:
            rotations = axis_angle_to_matrix(parameters.joint_rotations[:, 1:])
            feature = (rotations - torch.eye(3, dtype=rest.dtype, device=rest.device)).flatten(1)
            rest = rest + torch.einsum("bp,pvx->bvx", feature, self.pose_basis)
        transforms = self.joint_transforms(parameters)
        per_vertex = torch.einsum("vn,bvnij->bvij", self.skin_weights, transforms[:, self.skin_joints])
        return torch.einsum("bvij,bvj->bvi", per_vertex[..., :3, :3], rest) + per_vertex[..., :3, 3]

    def mesh(self, vertices: Float[Tensor, "V 3"]) -> Mesh:
        """A mesh with this model's faces and atlas."""
        return Mesh(vertices, self.faces, self.uv, self.uv_faces)

    def landmark_points(self, name: str, vertices: Float[Tensor, "*batch V 3"]) -> Float[Tensor, "*batch L 3"]:
        """Landmarks of one embedding on given vertices."""
        return self.landmarks[name].points(vertices, self.faces)

    def to(self, device: torch.device | str) -> HeadModel:
        """The same model on another device."""
        moved = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        landmarks = {
            k: LandmarkEmbedding(v.face_index.to(device), v.barycentric.to(device)) for k, v in self.landmarks.items()
        }
        return replace(self, **moved, landmarks=landmarks)


class SameHead:
    """A head model as a key of caches: the same name, template, faces, atlas, regions and landmarks, by identity, which
    the key keeps alive. What is drawn of a head depends on no more than that, not on its expressions."""

    def __init__(self, head: HeadModel) -> None:
        self.head = head

        parts = [head.template, head.faces, head.face_part, head.uv, head.uv_faces, head.regions]
        for embedding in head.landmarks.values():
            parts += [embedding.face_index, embedding.barycentric]
        self._key = (head.name, head.region_names, tuple(head.landmarks), *map(id, parts))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameHead) and self._key == other._key


@functools.lru_cache(maxsize=1)
def load_head() -> HeadModel:
    """The bundled head (assets/head.safetensors, built by recipes/build_head.py), shared and read-only."""
    return read_head(weights_path("head"))


# What a head model file must hold besides its landmark embeddings.
_TENSORS = (
    *("template", "shape_basis", "shape_scale", "joint_template", "joint_shape_basis", "skin_joints", "skin_weights"),
    *("expression_rows", "expression_vertices", "expression_offsets", "expression_scale"),
    *("faces", "uv", "uv_faces", "face_part", "mirror", "regions", "attribute_directions"),
)


def read_head(path: Path) -> HeadModel:
    """A head model file. Expressions are stored sparsely: only the vertices that an expression moves.

    Raises FileError for a file that cannot be read or lacks something.
    """
    tensors, metadata = read_safetensors(path, required=_TENSORS)
    if "head" not in metadata:
        raise FileError(f"{path} is not a head model: it lacks the metadata entry 'head'. {BUNDLED_CURE}")
    names = json.loads(metadata["head"])
    embeddings = [f"landmarks.{name}.{part}" for name in names["landmarks"] for part in ("face_index", "barycentric")]
    if missing := [key for key in embeddings if key not in tensors]:
        raise FileError(f"{path} is not the file that was expected: it lacks {', '.join(missing)}. {BUNDLED_CURE}")
    template = tensors["template"].float()
    expression_basis = torch.zeros(len(names["expressions"]), *template.shape)
    rows, columns = tensors["expression_rows"].long(), tensors["expression_vertices"].long()
    expression_basis[rows, columns] = (
        tensors["expression_offsets"].float() * tensors["expression_scale"].float()[rows, None]
    )
    landmarks = {
        name: LandmarkEmbedding(
            tensors[f"landmarks.{name}.face_index"].long(), tensors[f"landmarks.{name}.barycentric"].float()
        )
        for name in names["landmarks"]
    }
    weights = tensors["skin_weights"].float()
    return HeadModel(
        name=names["name"],
        template=template,
        shape_basis=tensors["shape_basis"].float() * tensors["shape_scale"].float()[:, None, None],
        expression_basis=expression_basis,
        expression_names=tuple(names["expressions"]),
        expression_range=(0.0, 1.0),
        joint_names=tuple(names["joints"]),
        joint_parents=tuple(names["joint_parents"]),
        joint_template=tensors["joint_template"].float(),
        joint_shape_basis=tensors["joint_shape_basis"].float(),
        skin_joints=tensors["skin_joints"].long(),
        skin_weights=weights / weights.sum(1, keepdim=True),
        pose_basis=None,
        faces=tensors["faces"].long(),
        uv=tensors["uv"].float(),
        uv_faces=tensors["uv_faces"].long(),
        face_part=tensors["face_part"].long(),
        mirror=tensors["mirror"].long(),
        region_names=tuple(names["regions"]),
        regions=tensors["regions"].float() / 255,
        attribute_names=tuple(names["attributes"]),
        attribute_directions=tensors["attribute_directions"].float(),
        landmarks=landmarks,
    )
