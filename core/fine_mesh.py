"""A head as a mesh so fine that its skin can stand out by itself: a smooth surface through the head model's vertices,
moved along its normals by the map of displacement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from core.avatar import Avatar, ExpressionChoice
from core.errors import LikenessError
from core.head import PARTS, HeadModel
from core.key_expressions import displacement_of
from core.mesh import edge_rows, loop_points, split_edges, vertex_normals

# Of the whole head. At this many the vertices of the skin lie two to three texels of a map of 1024 apart, about a
# millimetre on the face: wrinkles are shape, pores stay in the map of normals.
TRIANGLES, TRIANGLES_RANGE = 300_000, (20_000, 2_000_000)
# Texels a side of the map that moves the vertices, at most: finer ones are averaged, which vertices could not follow.
RELIEF_PX = 1024
# Loop's surface lies inside the mesh that it smooths, so the mesh is moved outwards first, by what its vertices lack,
# averaged so often over neighbours. On the bundled head the surface then passes the vertices 0.01 mm too far inside on
# average instead of 0.09, and 0.15 mm off instead of 0.25 (on the face 0.10 instead of 0.15). To pass through them
# all it would have to ripple: they are coarse.
BACKFIT_AVERAGES = 2


@dataclass(frozen=True, eq=False)
class PartMesh:
    """A head at rest or posed, for files: vertices ``[V, 3]`` metres, head frame, and their unit normals; faces
    ``[F, 3]``; uv ``[T, 2]`` origin bottom-left, uv_faces ``[F, 3]``; face_part ``[F]`` index into `PARTS`."""

    vertices: Float[Tensor, "V 3"]
    normals: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    uv: Float[Tensor, "T 2"]
    uv_faces: Int[Tensor, "F 3"]
    face_part: Int[Tensor, "F"]

    def part_faces(self, name: str) -> Int[Tensor, "N"]:
        """Rows of `faces` that belong to a part; none where the head lacks it."""
        return torch.nonzero(self.face_part == PARTS.index(name)).squeeze(1)


def coarse_mesh(head: HeadModel, vertices: Float[Tensor, "V 3"]) -> PartMesh:
    """The head model's own mesh."""
    return PartMesh(vertices, vertex_normals(vertices, head.faces), head.faces, head.uv, head.uv_faces, head.face_part)


def detailed_mesh(
    head: HeadModel, avatar: Avatar, expression: ExpressionChoice = "fitted", triangles: int = TRIANGLES
) -> PartMesh:
    """An avatar's head with its relief as shape, and with the wrinkles of its expression.

    Raises LikenessError for an avatar without a map of displacement, and for a number of triangles out of range.
    """
    low, high = TRIANGLES_RANGE
    if not low <= triangles <= high:
        raise LikenessError(f"A mesh of {triangles} triangles cannot be made. Choose from {low} to {high}.")
    relief = relief_of(head, avatar, expression)
    posed = head.vertices(avatar.parameters(expression))[0]
    return displaced(smooth_mesh(head, posed, triangles), relief)


def relief_of(head: HeadModel, avatar: Avatar, expression: ExpressionChoice) -> Float[Tensor, "U U"]:
    """How far an avatar's skin stands out under its expression, metres, on a map of at most `RELIEF_PX`. Raises
    LikenessError where the avatar has no map of displacement."""
    displacement = avatar.materials.skin_displacement
    if displacement is None:
        raise LikenessError(
            f"The head {avatar.name!r} has no map of displacement, so there is no detail to give its mesh. Add it with "
            "`python -m app detail HEAD.likeness --out FOLDER` and export the head that this writes, or export "
            "without --detailed."
        )
    weights = arkit_weights(head, avatar) if expression == "fitted" else {}
    return displacement_of(head, avatar.materials, weights, min(displacement.shape[-1], RELIEF_PX))


def arkit_weights(head: HeadModel, avatar: Avatar) -> Mapping[str, float]:
    """The avatar's expression by name."""
    return dict(zip(head.expression_names, avatar.expression.tolist(), strict=True))


def smooth_mesh(head: HeadModel, vertices: Float[Tensor, "V 3"], triangles: int = TRIANGLES) -> PartMesh:
    """A head whose skin is a smooth surface through about these vertices, of about so many triangles in all.

    The skin is subdivided by Loop's rules and its vertices put where the surface ends up; the last step splits only
    the edges that are longest on the map, as many as it takes. Texture coordinates are linear along the old edges. The
    other parts stay as they are, but for the edges that they share with the skin, so that the mesh stays as closed as
    it was.
    """
    faces, uv, uv_faces, part = head.faces, head.uv, head.uv_faces, head.face_part
    skin_label = PARTS.index("skin")
    points = _control_points(vertices, faces, part == skin_label)
    while True:
        skin = part == skin_label
        edges, of_faces = edge_rows(faces)
        of_skin = torch.zeros(len(edges), dtype=torch.bool, device=faces.device)
        of_skin[of_faces[skin]] = True
        # Splitting an edge makes two more triangles of the two beside it.
        room = (triangles - len(faces)) // 2
        enough = int(of_skin.sum()) >= room
        if enough and room <= 0:
            limit = loop_points(points, faces, skin).limit
            return PartMesh(limit, vertex_normals(limit, faces), faces, uv, uv_faces, part)
        step = loop_points(points, faces, skin)
        split = split_edges(faces, uv_faces, of_skin, len(points), len(uv))
        finer = torch.cat([step.vertices, step.middles[of_skin]])
        if enough:
            limit = loop_points(finer, split.faces, skin[split.parent]).limit
            chosen = _longest_on_map(uv, uv_faces, of_faces, of_skin, room)
            split = split_edges(faces, uv_faces, chosen, len(points), len(uv))
            points = torch.cat([limit[: len(points)], limit[len(points) :][chosen[of_skin]]])
        else:
            points = finer
        uv = torch.cat([uv, uv[split.uv_edges].mean(1)])
        faces, uv_faces, part = split.faces, split.uv_faces, part[split.parent]
        if enough:
            return PartMesh(points, vertex_normals(points, faces), faces, uv, uv_faces, part)


def _control_points(vertices: Tensor, faces: Tensor, skin: Tensor) -> Tensor:
    """A mesh whose smooth surface encloses as much as the vertices do."""
    lacking = vertices - loop_points(vertices, faces, skin).limit
    ends = edge_rows(faces[skin])[0]
    both, others = ends.flatten(), ends.flip(1).flatten()
    count = 1 + vertices.new_zeros(len(vertices), 1).index_add(0, both, vertices.new_ones(len(both), 1))
    for _ in range(BACKFIT_AVERAGES):
        lacking = lacking.index_add(0, both, lacking[others]) / count
    return vertices + lacking


def _longest_on_map(uv: Tensor, uv_faces: Tensor, of_faces: Tensor, candidates: Tensor, count: int) -> Tensor:
    """The `count` candidates among the edges that are longest on the map, on whichever side of a seam."""
    on_map = uv[uv_faces]
    length = (on_map - on_map.roll(-1, 1)).norm(dim=-1)
    longest = length.new_zeros(len(candidates)).scatter_reduce(0, of_faces.flatten(), length.flatten(), "amax")
    longest = torch.where(candidates, longest, -1.0)
    chosen = torch.zeros_like(candidates)
    chosen[torch.argsort(longest, descending=True, stable=True)[:count]] = True
    return chosen & candidates


def displaced(mesh: PartMesh, displacement_m: Float[Tensor, "U U"]) -> PartMesh:
    """The mesh with the vertices of its skin moved along their normals by what the map says there."""
    height = heights_at(mesh, displacement_m)
    vertices = mesh.vertices + height[:, None] * mesh.normals
    return PartMesh(vertices, vertex_normals(vertices, mesh.faces), mesh.faces, mesh.uv, mesh.uv_faces, mesh.face_part)


def heights_at(mesh: PartMesh, displacement_m: Float[Tensor, "U U"]) -> Float[Tensor, "V"]:
    """What a map of the skin says at each vertex, bilinear between texels: at a seam the mean of its sides, off the
    skin 0."""
    skin = mesh.part_faces("skin")
    corners = torch.stack([mesh.faces[skin].flatten(), mesh.uv_faces[skin].flatten()], 1)
    vertex, uv_row = torch.unique(corners, dim=0).unbind(1)
    place = (mesh.uv[uv_row] * 2 - 1) * mesh.uv.new_tensor([1.0, -1.0])
    value = functional.grid_sample(
        displacement_m[None, None].to(place), place[None, None], "bilinear", "border", align_corners=False
    ).flatten()
    total = value.new_zeros(len(mesh.vertices)).index_add(0, vertex, value)
    count = value.new_zeros(len(mesh.vertices)).index_add(0, vertex, torch.ones_like(value))
    return total / count.clamp_min(1)


def finer_than(mesh: PartMesh, displacement_m: Float[Tensor, "U U"]) -> Float[Tensor, "U U"]:
    """What of a map of displacement is too fine for the mesh's vertices, and is left for a map of normals."""
    skin = mesh.part_faces("skin")
    side = min(displacement_m.shape[0], round(math.sqrt(len(torch.unique(mesh.faces[skin])))))
    coarse = functional.interpolate(displacement_m[None, None], size=(side, side), mode="bilinear", antialias=True)
    back = functional.interpolate(coarse, size=tuple(displacement_m.shape), mode="bilinear")[0, 0]
    return displacement_m - back
