"""Differentiable deferred rendering in plain torch.

Three steps, each a function that can be used alone:

1. `raster.rasterize` finds which face each pixel sees, `raster.fragments` its barycentric weights and depth;
   `raster.interpolate` and `raster.sample_texture` read attributes and maps with them.
2. `shading.diffuse_light` and `shading.specular_light` shade.
3. `antialias` blends pixels across silhouettes, which is where the gradient of *visibility* comes from.

`render` runs the three for fitting; `render_head` makes pictures of a whole head with its materials; `render_uv` shades
the skin map itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from core.atlas import atlas_lookup
from core.camera import Camera
from core.color import linear_to_srgb, srgb_to_linear
from core.head import PART_TEXTURE, PARTS, HeadModel
from core.materials import SKIN_F0, SPECULAR_F0, Materials
from core.mesh import at_corners, face_normals, texture_gradients, vertex_normals
from core.occlusion import lamp_shadows, sky_visibility
from core.raster import (
    Fragments,
    fragments_of,
    front_facing,
    mip_level,
    project,
    rasterize,
    sample_texture,
    signed_area,
    weighted,
)
from core.shading import (
    Light,
    Surface,
    attach_to_camera,
    bend_normals,
    diffuse_light,
    light_above,
    light_below,
    shade,
    specular_light,
    studio_light,
)


@dataclass(frozen=True)
class Rendering:
    """A picture and what it was made from.

    color_linear: ``[B, 3, H, W]`` over the background. alpha: ``[B, 1, H, W]`` coverage 0..1. normals:
    ``[B, H, W, 3]`` unit, head frame, turned towards the camera; zero where nothing is seen.
    """

    color_linear: Float[Tensor, "B 3 H W"]
    alpha: Float[Tensor, "B 1 H W"]
    fragments: Fragments
    normals: Float[Tensor, "B H W 3"]


# ----------------------------------------------------------------------------------------------- silhouettes


def face_neighbours(faces: Int[Tensor, "F 3"]) -> Int[Tensor, "F 3"]:
    """The face across the edge opposite each corner; -1 at borders and where more than two faces meet."""
    count = faces.shape[0]
    edges = torch.cat([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]]).sort(dim=1).values
    code = edges[:, 0] * (int(faces.max()) + 1 if count else 1) + edges[:, 1]
    code, order = code.sort(stable=True)
    same = code[1:] == code[:-1]
    padded = functional.pad(same, (1, 1))  # padded[i]: entry i equals entry i - 1
    pair = torch.nonzero(same & ~padded[:-2] & ~padded[2:]).squeeze(1)
    a, b = order[pair], order[pair + 1]
    neighbours = torch.full_like(order, -1)
    neighbours[a], neighbours[b] = b % count, a % count
    return neighbours.reshape(3, count).T.contiguous()


def antialias(
    values: Float[Tensor, "B C H W"],
    fragments: Fragments,
    points_px: Float[Tensor, "#B V 3"],
    faces: Int[Tensor, "F 3"],
    neighbours: Int[Tensor, "F 3"] | None = None,
) -> Float[Tensor, "B C H W"]:
    """Blend pixels across silhouettes by where the edge passes between their centres (Laine et al. 2020, 3.4).

    For each pair of neighbouring pixels that see different faces, the nearer face's silhouette edge that separates
    the two centres at a fraction t from the nearer face's pixel is found. Beyond the middle (t > 1/2) the far pixel
    takes t - 1/2 of the near one's value; before it the near pixel gives up 1/2 - t. Upright edges act on
    horizontal pairs, level edges on vertical ones. The result is continuous in the vertices where the hard picture
    jumps, so it carries the gradient of visibility; a row's sum is exactly the length that upright edges enclose.
    Unlike the paper, the silhouette edges of a face's neighbours count as its own. Known limits: an outline two or
    more unseen faces away from the pixel beside it has no effect (heads seen at less than about 100 px), and where
    several edges meet in one pixel their shares are added, which can leave the range of the values slightly.
    """
    batch, channels, height, width = values.shape
    if neighbours is None:
        neighbours = face_neighbours(faces)
    face_count = faces.shape[0]
    points_px = points_px.expand(batch, -1, -1)
    corners = points_px[:, faces, :2]
    outside = front_facing(corners.detach())
    across = outside[:, neighbours.clamp_min(0).flatten()].reshape(batch, face_count, 3)
    silhouette = ((neighbours < 0) | (across != outside[..., None])).flatten(0, 1)  # [B * F, edge opposite corner]
    corners = corners.flatten(0, 1)
    # Faces at an outline are seen almost edge on, often too thin to cover a pixel: the pixel beside the outline then
    # sees the next face. So the edges of a face's neighbours count as its own.
    self_and_across = torch.cat([torch.arange(face_count, device=faces.device)[:, None], neighbours], dim=1)
    self_and_across = torch.where(self_and_across < 0, self_and_across[:, :1], self_and_across)
    near_silhouette = silhouette.any(dim=1).reshape(batch, face_count)[:, self_and_across].any(dim=2).flatten()

    flat = values.permute(0, 2, 3, 1).reshape(-1, channels)
    pixel = torch.arange(flat.shape[0], device=values.device).reshape(batch, height, width)
    of_batch = torch.arange(batch, device=values.device)[:, None, None] * face_count
    row = torch.where(fragments.face_index < 0, -1, fragments.face_index + of_batch)
    depth = fragments.depth.detach()
    result = flat
    for axis in (0, 1):  # pairs along x, along y
        first, second = _pairs(row, pixel, depth, 2 - axis)
        (row_a, pixel_a, depth_a), (row_b, pixel_b, depth_b) = first, second
        a_nearer = depth_a < depth_b
        near_row = torch.where(a_nearer, row_a, row_b)
        chosen = (row_a != row_b) & (near_row >= 0) & near_silhouette[near_row.clamp_min(0)]
        a_nearer, near_row = a_nearer[chosen], near_row[chosen]
        near = torch.where(a_nearer, pixel_a[chosen], pixel_b[chosen])
        far = torch.where(a_nearer, pixel_b[chosen], pixel_a[chosen])
        towards_far = torch.where(a_nearer, 1.0, -1.0).to(values.dtype)

        centre = torch.stack([near % width, torch.div(near, width, rounding_mode="floor") % height], dim=1) + 0.5
        first_of_batch = torch.div(near_row, face_count, rounding_mode="floor") * face_count
        candidates = (self_and_across[near_row - first_of_batch] + first_of_batch[:, None]).flatten()
        relative = corners.index_select(0, candidates).reshape(-1, 4, 3, 2) - centre[:, None, None].to(values.dtype)
        along = relative[..., axis] * towards_far[:, None, None]  # from the near centre (0) to the far one (1)
        beside = relative[..., 1 - axis]
        a_along, b_along = along.roll(-1, 2), along.roll(-2, 2)  # ends of the edge opposite each corner
        a_beside, b_beside = beside.roll(-1, 2), beside.roll(-2, 2)
        run, rise = b_along - a_along, b_beside - a_beside
        upright = rise.abs() > run.abs() if axis == 0 else rise.abs() >= run.abs()
        crosses = upright & ((a_beside < 0) != (b_beside < 0)) & silhouette[candidates].reshape(-1, 4, 3)
        t = a_along - a_beside * run / torch.where(crosses, rise, 1.0)
        crosses = crosses & (t >= 0) & (t <= 1)
        # A face narrower than a pixel can have two such edges; the farther one bounds it on the far side.
        t = torch.where(crosses, t, -1.0).flatten(1).amax(dim=1)
        hit = torch.nonzero(t >= 0).squeeze(1)
        t, near, far = t[hit, None], near[hit], far[hit]
        difference = flat.index_select(0, near) - flat.index_select(0, far)
        result = result.index_add(0, far, (t - 0.5).clamp_min(0) * difference)
        result = result.index_add(0, near, (t - 0.5).clamp_max(0) * difference)
    return result.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def _pairs(row: Tensor, pixel: Tensor, depth: Tensor, dim: int) -> tuple[list[Tensor], list[Tensor]]:
    """Every pixel but the last along `dim`, and the pixel that follows it."""
    count, tensors = row.shape[dim] - 1, (row, pixel, depth)
    return [t.narrow(dim, 0, count) for t in tensors], [t.narrow(dim, 1, count) for t in tensors]


# ------------------------------------------------------------------------------------------------- renderers


@dataclass(frozen=True)
class _Surface:
    """What the covered pixels of one image see. pixels: ``[N]`` flat indices; rows: ``[N]`` faces; weights: ``[N, 3]``
    of their corners; normals ``[N, 3]`` towards the camera; position ``[N, 3]``; view ``[N, 3]`` unit vectors to the
    camera; uv: ``[N, 2]``."""

    pixels: Tensor
    rows: Tensor
    weights: Tensor
    normals: Tensor
    position: Tensor
    view: Tensor
    uv: Tensor


def _surfaces(
    seen: Fragments, points_px: Tensor, vertices: Tensor, faces: Tensor, uv: Tensor, uv_faces: Tensor, centre: Tensor
) -> list[_Surface]:
    """One `_Surface` per image. Shading only covered pixels, not the whole picture, is most of the speed."""
    attributes = at_corners(torch.cat([vertex_normals(vertices, faces), vertices], dim=2), faces)
    corner_uv = uv[uv_faces]
    inward = signed_area(points_px[:, faces, :2].detach()) > 0
    surfaces = []
    for b in range(seen.face_index.shape[0]):
        flat = seen.face_index[b].flatten()
        pixels = torch.nonzero(flat >= 0).squeeze(1)
        rows = flat.index_select(0, pixels)
        weights = seen.barycentric[b].reshape(-1, 3).index_select(0, pixels)
        corners = torch.cat([_image(attributes, b)[0], corner_uv], dim=2)
        normals, position, pixel_uv = weighted(corners, rows, weights).split([3, 3, 2])
        normals = torch.where(inward[b].index_select(0, rows), -normals, normals)
        view = _unit(_image(centre, b)[0, :, None] - position)
        surfaces.append(_Surface(pixels, rows, weights, _unit(normals).T, position.T, view.T, pixel_uv.T))
    return surfaces


def _unit(vectors: Tensor) -> Tensor:
    """Unit vectors ``[3, N]``. (functional.normalize is ten times slower along a leading axis.)"""
    return vectors * (vectors * vectors).sum(dim=0).clamp_min(1e-24).rsqrt()


def _image(batched: Tensor, b: int) -> Tensor:
    """Image b of a batch that may be shared, as a batch of one."""
    return batched[min(b, len(batched) - 1)][None]


def render(
    vertices: Float[Tensor, "#B V 3"],
    faces: Int[Tensor, "F 3"],
    camera: Camera,
    light: Light | None,
    uv: Float[Tensor, "T 2"],
    uv_faces: Int[Tensor, "F 3"],
    textures_linear: Sequence[Float[Tensor, "_ 3 _ _"]],
    face_texture: Int[Tensor, "F"] | None = None,
    roughness: float | None = None,
    background: Float[Tensor, "..."] | None = None,
    face_index: Int[Tensor, "B H W"] | None = None,
    cull_backfaces: bool = False,
    smooth_edges: bool = True,
) -> Rendering:
    """Render with gradients to vertices, camera, textures and light. One set of vertices, one camera, one light and
    one map are shared by a whole batch.

    textures_linear: maps ``[1 or B, 3, U, U]`` of linear albedo; face_texture ``[F]`` says which one each face
    samples (None: all the first). light: None shows the albedo. roughness: None leaves out highlights.
    background: linear, anything that broadcasts to ``[B, 3, H, W]``; None is black. face_index: visibility computed
    elsewhere. smooth_edges: blend silhouettes (`antialias`), which gives the gradient of visibility.
    """
    points_px = project(vertices, camera)
    if face_index is None:
        face_index = rasterize(points_px, faces, camera.height, camera.width, cull_backfaces)
    seen = fragments_of(points_px, faces, face_index)
    batch, height, width = face_index.shape

    behind = points_px.new_zeros(1) if background is None else background
    behind = behind.expand(batch, 3, height, width).flatten(2)
    colors, normals = [], []
    for b, surface in enumerate(_surfaces(seen, points_px, vertices, faces, uv, uv_faces, camera.centre)):
        grid = surface.uv[None, None]
        color = sample_texture(_image(textures_linear[0], b), grid)[0, :, 0]
        if face_texture is not None:
            which = face_texture.index_select(0, surface.rows)
            for i, texture in enumerate(textures_linear[1:], start=1):
                color = torch.where(which == i, sample_texture(_image(texture, b), grid)[0, :, 0], color)
        if light is not None:
            here, normal, view = light.image(b), surface.normals[None], surface.view[None]
            color = color * diffuse_light(here, normal)[0].T
            if roughness is not None:
                color = color + specular_light(here, normal, view, torch.full_like(view[..., :1], roughness))[0].T
        colors.append(behind[b].index_copy(1, surface.pixels, color))
        empty = surface.normals.new_zeros(height * width, 3)
        normals.append(empty.index_copy(0, surface.pixels, surface.normals))
    color = torch.stack(colors).reshape(batch, 3, height, width)
    alpha = (face_index >= 0)[:, None].to(color.dtype)
    if smooth_edges:
        color, alpha = antialias(torch.cat([color, alpha], dim=1), seen, points_px, faces).split([3, 1], dim=1)
    return Rendering(color, alpha, seen, torch.stack(normals).reshape(batch, height, width, 3))


CLAY_SRGB = (0.80, 0.76, 0.72)  # every part of a clay head
CLAY_ROUGHNESS = 0.6
# Perceptual roughness of what has no roughness map: wet, moist, matt.
PART_ROUGHNESS = {"eyes": 0.18, "teeth": 0.3, "mouth": 0.4, "tongue": 0.4, "lashes": 1.0}
STYLES = ("textured", "albedo", "clay")


@torch.no_grad()
def render_head(
    head: HeadModel,
    vertices: Float[Tensor, "#B V 3"],
    materials: Materials | None,
    camera: Camera,
    light: Light | None = None,
    style: str = "textured",
    supersample: int = 2,
    background: tuple[float, float, float] | Float[Tensor, "3 H W"] = (0.92, 0.93, 0.94),
    shadows: bool = True,
    specular_model: str = "ggx",
) -> Float[Tensor, "B 3 H W"]:
    """Pictures of whole heads, sRGB 0..1, without gradients.

    style: "textured" (materials lit by `light`), "albedo" (materials without light) or "clay" (one matt colour,
    needs no materials; lashes are left out). light: in the head frame; None is `studio_light` moving with the
    camera. background: sRGB, one colour or a picture. supersample: rendered so many times larger and averaged in
    linear light. shadows: of the lamps, cast by everything but lashes (`occlusion.light_visibility`). specular_model:
    of `shading.specular_light`. Lashes are blended by their alpha over everything behind them, the nearest lash only.
    Raises ValueError for an unknown style and for one whose materials are missing.

    Maps of the skin that the materials have are used: normals bend the light (`bend_normals`), not the outline;
    specular albedo, translucency and occlusion as in `shading.Surface`. Where the skin's occlusion is known, that of
    the mouth is worked out too. Light that goes from wall to wall in an open mouth is in both and in its shadows.
    """
    if style not in STYLES:
        raise ValueError(f"There is no style {style!r}; choose one of {', '.join(STYLES)}.")
    if style != "clay" and materials is None:
        raise ValueError(f"The style {style!r} needs materials; only 'clay' does without.")
    fine = camera.crop_and_resize(0.0, 0.0, float(supersample), camera.height * supersample, camera.width * supersample)
    points_px = project(vertices, fine)
    batch = points_px.shape[0]
    if style == "albedo":
        light = None
    elif light is None:
        light = attach_to_camera(studio_light().to(vertices.device), camera)

    lashes = head.face_part == PARTS.index("lashes")
    casters = head.faces[~lashes]

    layers = [torch.nonzero(~lashes).squeeze(1)]
    if style != "clay":
        layers.append(torch.nonzero(lashes).squeeze(1))
    depths, surfaces = [], []
    for selected in layers:
        face_index = rasterize(points_px, head.faces[selected], fine.height, fine.width)
        face_index = torch.where(face_index < 0, -1, selected[face_index.clamp_min(0)])
        seen = fragments_of(points_px, head.faces, face_index)
        depths.append(seen.depth.flatten(1))
        surfaces.append(_surfaces(seen, points_px, vertices, head.faces, head.uv, head.uv_faces, fine.centre))

    # Colour and alpha of the nearest face of each layer.
    shaded = [points_px.new_zeros(batch, 4, fine.height * fine.width) for _ in layers]
    for b in range(batch):
        here, vertices_b = None if light is None else light.image(b), _image(vertices, b)[0]
        visible: Sequence[Tensor | None] = [None] * len(layers)
        if here is not None and shadows:
            # Together, since the lamps' maps are the same for all layers.
            places = torch.cat([of_layer[b].position for of_layer in surfaces])
            upright = torch.cat([of_layer[b].normals for of_layer in surfaces])
            arrives = lamp_shadows(here, vertices_b, casters, places, upright)
            visible = arrives.split([len(of_layer[b].position) for of_layer in surfaces])
        for result, of_layer, visibility in zip(shaded, surfaces, visible, strict=True):
            result[b][:, of_layer[b].pixels] = _shade_head(
                head, vertices_b, points_px[b], materials, here, visibility, style, of_layer[b], specular_model
            )

    if isinstance(background, Tensor):
        behind = background.repeat_interleave(supersample, dim=1).repeat_interleave(supersample, dim=2).flatten(1)
    else:
        behind = vertices.new_tensor(background)[:, None]
    color = srgb_to_linear(behind)[None]
    color = color + shaded[0][:, 3:] * (shaded[0][:, :3] - color)
    for lash, depth in zip(shaded[1:], depths[1:], strict=True):
        color = color + lash[:, 3:] * (depth < depths[0])[:, None] * (lash[:, :3] - color)
    # Highlights above 1 are cut before averaging, or their edges would stay jagged.
    color = color.clamp(0, 1).reshape(batch, 3, fine.height, fine.width)
    return linear_to_srgb(functional.avg_pool2d(color, supersample)).clamp(0, 1)


def _shade_head(
    head: HeadModel,
    vertices: Tensor,
    points_px: Tensor,
    materials: Materials | None,
    light: Light | None,
    visibility: Tensor | None,
    style: str,
    surface: _Surface,
    specular_model: str,
) -> Tensor:
    """Linear colour and alpha ``[4, N]`` of the covered pixels of one picture."""
    part = head.face_part.index_select(0, surface.rows)
    normals = diffuse_normals = surface.normals
    color = points_px.new_ones(4, part.shape[0])
    roughness = points_px.new_full((part.shape[0],), CLAY_ROUGHNESS)
    known: dict[str, Tensor] = {}  # of the skin, where the materials say so
    if style == "clay" or materials is None:
        color[:3] = srgb_to_linear(points_px.new_tensor(CLAY_SRGB))[:, None]
    else:
        maps = {
            "skin": materials.skin_albedo,
            "mouth": materials.mouth_albedo,
            "eye": materials.eye_albedo,
            "lash": materials.lash_albedo,
        }
        texels = signed_area(head.uv[head.uv_faces]).abs() / signed_area(points_px[head.faces][..., :2]).abs()
        for i, name in enumerate(PARTS):
            chosen = torch.nonzero(part == i).squeeze(1)
            if not len(chosen):
                continue
            uv, faces = surface.uv[chosen][None, None], surface.rows[chosen]

            def sample(image: Tensor, uv: Tensor = uv, faces: Tensor = faces) -> Tensor:
                level = mip_level(texels[faces] * image.shape[-1] ** 2)[None, None]
                return sample_texture(image[None], uv, level)[0, :, 0]

            image = maps[PART_TEXTURE[name]].to(color) / 255
            color[: len(image), chosen] = sample(torch.cat([srgb_to_linear(image[:3]), image[3:]]))
            if name != "skin":
                roughness[chosen] = PART_ROUGHNESS[name]
                continue
            roughness[chosen] = sample_texture((materials.skin_roughness.to(color) / 255)[None], uv)[0, 0, 0]
            if light is None:
                continue
            along = None
            for which in ("skin_normal", "skin_diffuse_normal"):
                relief = getattr(materials, which)
                if relief is None:
                    continue
                along = along or _directions(head, vertices, faces, surface.weights[chosen])
                bent = bend_normals(surface.normals[chosen], *along, sample(relief.to(color) / 127.5 - 1).T)
                bent = surface.normals.index_copy(0, chosen, bent)
                if which == "skin_normal":
                    normals = diffuse_normals = bent
                else:
                    diffuse_normals = bent
            for which, elsewhere in (("specular", SKIN_F0 / SPECULAR_F0), ("translucency", 0.0), ("occlusion", 1.0)):
                image = getattr(materials, f"skin_{which}")
                if image is not None:
                    values = torch.full_like(roughness, elsewhere)
                    known[which] = values.index_copy(0, chosen, sample(image.to(color) / 255)[0])
    if light is None:
        return color
    surroundings = "occlusion" in known or light.reflections is not None
    if surroundings or visibility is not None:
        inner, seen = _seen_from_mouth(head, vertices, surface, part)
        # Light that came in goes from wall to wall, as in an integrating sphere.
        arriving = seen / (1 - MOUTH_ALBEDO * (1 - seen))
        if surroundings:
            known["occlusion"] = known.get("occlusion", torch.ones_like(roughness)).index_copy(0, inner, arriving)
        if visibility is not None:
            direct = visibility[inner]
            filled = direct + (1 - direct) * (arriving - seen)[:, None]
            visibility = visibility.index_copy(0, inner, filled)
    lit = Surface(
        color[:3].T[None],
        normals[None],
        surface.view[None],
        roughness[None, :, None],
        SPECULAR_F0 * known["specular"][None, :, None] if "specular" in known else SKIN_F0,
        diffuse_normals[None],
        known["translucency"][None, :, None] if "translucency" in known else None,
        known["occlusion"][None, :, None] if "occlusion" in known else None,
        surface.position[None],
    )
    arrives = None if visibility is None else visibility[None]
    color[:3] = shade(light, lit, arrives, specular_model)[0].T
    return color


MOUTH_PARTS = ("mouth", "teeth", "tongue")
MOUTH_DIRECTIONS = 32  # of `sky_visibility`
MOUTH_ALBEDO = 0.75  # of enamel, moist mucosa and the light that wanders through lips and teeth


def _seen_from_mouth(head: HeadModel, vertices: Tensor, surface: _Surface, part: Tensor) -> tuple[Tensor, Tensor]:
    """Which pixels ``[M]`` of one picture show the mouth, and the share of the surroundings ``[M]`` seen from there."""
    inner = torch.tensor([PARTS.index(name) for name in MOUTH_PARTS], device=part.device)
    chosen = torch.nonzero(torch.isin(part, inner)).squeeze(1)
    if not len(chosen):
        return chosen, surface.position[:0, 0]
    faces = head.faces[torch.isin(head.face_part, inner)]
    rows = torch.unique(faces)
    normals = vertex_normals(vertices, head.faces)[rows]
    casters = head.faces[head.face_part != PARTS.index("lashes")]
    seen = sky_visibility(vertices, casters, vertices[rows], normals, MOUTH_DIRECTIONS)
    at_vertices = torch.zeros_like(vertices[:, :1]).index_copy(0, rows, seen[:, None])
    return chosen, weighted(at_corners(at_vertices, head.faces), surface.rows[chosen], surface.weights[chosen])[0]


def _directions(head: HeadModel, vertices: Tensor, faces: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Along rising u and v ``[N, 3]`` each, at points of faces ``[N]`` of the skin."""
    skin = head.part_faces("skin")
    gradients = texture_gradients(vertices, head.faces[skin], head.uv, head.uv_faces[skin]).flatten(1)
    both = weighted(at_corners(gradients, head.uv_faces), faces, weights).T
    return both[:, :3], both[:, 3:]


# --------------------------------------------------------------------------------------------------- in the atlas


@dataclass(frozen=True)
class SkinMaps:
    """The maps of skin as numbers, to be lit and learnt. A batch of 1 is shared; all have U texels a side.

    albedo: linear. roughness: perceptual. reflectance: at normal incidence. normal, diffuse_normal: tangent space, of
    any length, z outwards. translucency, occlusion: 0..1. All but the albedo may be None: then `CLAY_ROUGHNESS`,
    `SKIN_F0`, and no relief, scattering or occlusion.
    """

    albedo: Float[Tensor, "_ 3 U U"]
    roughness: Float[Tensor, "_ 1 U U"] | None = None
    reflectance: Float[Tensor, "_ 1 U U"] | None = None
    normal: Float[Tensor, "_ 3 U U"] | None = None
    diffuse_normal: Float[Tensor, "_ 3 U U"] | None = None
    translucency: Float[Tensor, "_ 1 U U"] | None = None
    occlusion: Float[Tensor, "_ 1 U U"] | None = None


def skin_maps(materials: Materials, size: int) -> SkinMaps:
    """The maps that materials have of the skin, with `size` texels a side."""

    def resized(image: Tensor | None, low: float = 0.0, high: float = 1.0, linear: bool = True) -> Tensor | None:
        if image is None:
            return None
        values = image.float()[None] / 255
        values = low + (high - low) * (values if linear else srgb_to_linear(values))
        if values.shape[-1] == size:
            return values
        return functional.interpolate(values, size=(size, size), mode="bilinear", antialias=True)

    albedo = resized(materials.skin_albedo, linear=False)
    assert albedo is not None
    return SkinMaps(
        albedo,
        resized(materials.skin_roughness),
        resized(materials.skin_specular, high=SPECULAR_F0),
        resized(materials.skin_normal, -1.0, 1.0),
        resized(materials.skin_diffuse_normal, -1.0, 1.0),
        resized(materials.skin_translucency),
        resized(materials.skin_occlusion),
    )


# How far light spreads sideways in skin, red, green and blue: the second moments of d'Eon and Luebke's six Gaussians
# ("GPU Gems 3", chapter 14, figure 14-13).
DIFFUSION_M = (1.18e-3, 0.26e-3, 0.16e-3)


def render_uv(
    head: HeadModel,
    vertices: Float[Tensor, "#B V 3"],
    maps: SkinMaps,
    light: Light,
    centre: Float[Tensor, "#B 3"] | None = None,
    shadows: bool = True,
    specular_model: str = "ggx",
    diffusion: bool = False,
) -> Float[Tensor, "B 3 U U"]:
    """The lit skin, linear, as a map: every texel at once, seen or not. With gradients to maps, light and vertices.

    vertices: head frame, metres. centre: of the camera, in the head frame; None looks at each texel straight along its
    normal. shadows: of the lamps, cast by everything but lashes, without gradient. diffusion: irradiance is blurred
    over the skin as light is below it (texture-space diffusion, Borshukov and Lewis 2003, by `DIFFUSION_M`), where the
    maps have a translucency; 0.5 is the whole of it. Texels off the skin repeat the nearest skin.
    """
    size = maps.albedo.shape[-1]
    lookup = atlas_lookup(head, size)
    inside = torch.nonzero(lookup.inside.flatten()).squeeze(1)
    rows = lookup.face_index.flatten()[inside]
    weights = lookup.barycentric.to(vertices).reshape(-1, 3)[inside]
    casters = head.faces[head.face_part != PARTS.index("lashes")]
    given = [vertices, light.sh, *(image for image in vars(maps).values() if image is not None)]
    batch = max(len(tensor) for tensor in (*given, *([] if centre is None else [centre])))

    pictures = []
    for b in range(batch):

        def texels(image: Tensor | None, b: int = b) -> Tensor | None:
            return None if image is None else _image(image, b).flatten(2).index_select(2, inside).transpose(1, 2)

        place = _image(vertices, b)[0]
        attributes = torch.cat([vertex_normals(place, head.faces), place], dim=1)
        normals, points = weighted(at_corners(attributes, head.faces), rows, weights).split([3, 3])
        normals, points = _unit(normals).T, points.T
        view = normals if centre is None else _unit((_image(centre, b)[0] - points).T).T
        visibility = None
        if shadows:
            visibility = lamp_shadows(light.image(b), place.detach(), casters, points.detach(), normals.detach())[None]
        bent = {"normal": normals, "diffuse_normal": None}
        if maps.normal is not None or maps.diffuse_normal is not None:
            along = _directions(head, place, rows, weights)
            for which in bent:
                relief = texels(getattr(maps, which))
                if relief is not None:
                    bent[which] = bend_normals(normals, *along, relief[0])
        albedo, roughness, reflectance = texels(maps.albedo), texels(maps.roughness), texels(maps.reflectance)
        assert albedo is not None and bent["normal"] is not None
        lit = Surface(
            albedo,
            bent["normal"][None],
            view[None],
            torch.full_like(albedo[..., :1], CLAY_ROUGHNESS) if roughness is None else roughness,
            SKIN_F0 if reflectance is None else reflectance,
            None if bent["diffuse_normal"] is None else bent["diffuse_normal"][None],
            texels(maps.translucency),
            texels(maps.occlusion),
            points[None],
        )
        here = light.image(b)
        below, above = light_below(here, lit, visibility), light_above(here, lit, visibility, specular_model)
        if diffusion and lit.translucency is not None:
            spread = _diffused(below[0].T, lookup.inside, inside, float(_texel_m(place.detach(), head)) / size)
            below = torch.lerp(below, spread.T[None], (2 * lit.translucency).clamp(0, 1))
        color = (albedo * below + above)[0].T
        image = color.new_zeros(3, size * size).index_copy(1, inside, color)
        pictures.append(image[:, lookup.nearest].reshape(3, size, size))
    return torch.stack(pictures)


def _texel_m(vertices: Tensor, head: HeadModel) -> Tensor:
    """Metres on the skin per side of its map, in the mean over the skin."""
    skin = head.part_faces("skin")
    area = face_normals(vertices, head.faces[skin], normalise=False).norm(dim=-1).sum()
    return (area / signed_area(head.uv[head.uv_faces[skin]]).abs().sum()).sqrt()


def _diffused(values: Tensor, covered: Tensor, inside: Tensor, texel_m: float) -> Tensor:
    """Values ``[3, N]`` of the covered texels, blurred by `DIFFUSION_M`; what is off the skin has no weight."""
    size = covered.shape[0]
    image = values.new_zeros(3, size * size).index_copy(1, inside, values).reshape(3, size, size)
    weight = covered.to(values)
    blurred = []
    for channel, reach_m in zip(image, DIFFUSION_M, strict=True):
        sigma = reach_m / texel_m
        reach = max(1, min(math.ceil(3 * sigma), size - 1))
        steps = torch.arange(-reach, reach + 1, dtype=values.dtype, device=values.device)
        # A texel's own width is in it already: the cells of the kernel are integrals, or a narrow one would be none.
        edges = torch.erf((torch.stack([steps - 0.5, steps + 0.5])) / (sigma * math.sqrt(2)))
        kernel = (edges[1] - edges[0]) / (edges[1] - edges[0]).sum()
        both = torch.stack([channel, weight])[:, None]
        both = functional.conv2d(both, kernel[None, None, :, None], padding=(reach, 0))
        both = functional.conv2d(both, kernel[None, None, None], padding=(0, reach))
        blurred.append((both[0] / both[1].clamp_min(1e-6)).flatten())
    return torch.stack(blurred).index_select(1, inside)
