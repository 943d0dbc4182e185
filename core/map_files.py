"""All maps of a head as PNG files for other programs, with a README that says what each number means."""

from __future__ import annotations

import io
import json

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torch.nn import functional

from core.atlas import atlas_lookup, interpolate
from core.avatar import HEIGHT_ZERO, LIKENESS_VERSION, Avatar
from core.head import HeadModel
from core.materials import DISPLACEMENT_UNIT_M, SKIN_F0, SPECULAR_F0
from core.mesh import texture_gradients, vertex_normals

# The keyword of the text in a PNG of heights, which is JSON: see `height_scale`.
HEIGHT_KEY = "likeness:displacement"
FRAME_SIDE = 1024  # texels of the map on which tangent frames are worked out, at most
STRIP_ROWS = 256  # of a large map at a time

# name in the archive -> (field of Materials, what it is)
COLOURS = {
    "skin_base_color": ("skin_albedo", "colour of the skin without light"),
    "skin_base_color_lit": ("skin_photo", "the same with the photo's own light left in; not for shading"),
    "eye_base_color": ("eye_albedo", "both eyeballs"),
    "mouth_base_color": ("mouth_albedo", "mouth, teeth, gums and tongue"),
    "lash_base_color": ("lash_albedo", "lashes, with opacity in alpha (straight, not multiplied)"),
}
SHADES = {
    "skin_roughness": ("skin_roughness", "perceptual roughness 0..1, as in glTF (alpha = roughness^2)"),
    "skin_specular": (
        "skin_specular",
        f"specular albedo: reflectance at normal incidence is {SPECULAR_F0} x value; {SKIN_F0 / SPECULAR_F0:.2f} is "
        f"bare skin ({SKIN_F0})",
    ),
    "skin_translucency": ("skin_translucency", "0..1: how far light spreads below the surface; 0.5 a cheek, 1 an ear"),
    "skin_occlusion": ("skin_occlusion", "ambient occlusion of the relaxed face; 1 is open"),
}
NORMALS = {
    "skin_specular_normal": ("skin_normal", "normals of the surface, which reflections follow"),
    "skin_diffuse_normal": ("skin_diffuse_normal", "normals that light from below the skin follows, smoother"),
}
HEIGHTS = {
    "skin_displacement": ("skin_displacement", "how far the relaxed skin stands out along its normal"),
    "skin_wrinkles": ("skin_wrinkles", "what expressions add at their fullest, one layer of lines"),
}


def map_files(head: HeadModel, avatar: Avatar) -> dict[str, bytes]:
    """Every map that the avatar has: file name -> contents, README.txt first. The same avatar gives the same bytes.

    Colours, shades and normals have 8 bits, normals are there in tangent and in object space; heights have 16, with
    their scale in the picture's text. Raises FileError where the avatar belongs to another head model.
    """
    avatar.check_fits(head)
    maps = vars(avatar.materials)
    files: dict[str, bytes] = {}
    lines: dict[str, list[str]] = {"colours": [], "shades": [], "normals": [], "heights": []}

    def add(kind: str, name: str, picture: bytes, image: Tensor, what: str) -> None:
        files[f"{name}.png"] = picture
        lines[kind].append(f"  {name + '.png':38} {image.shape[-1]} px  {what}")

    for name, (field, what) in COLOURS.items():
        if maps[field] is not None:
            add("colours", name, _png(maps[field], srgb=True), maps[field], what)
    for name, (field, what) in SHADES.items():
        if maps[field] is not None:
            add("shades", name, _png(maps[field]), maps[field], what)
    vertices = head.vertices(avatar.parameters("neutral"))[0]
    for name, (field, what) in NORMALS.items():
        image = maps[field]
        if image is not None:
            add("normals", name, _png(image), image, what)
            turned = object_normals(head, image, vertices)
            add("normals", f"{name}_object", _png(turned), turned, "the same in object space")
    for name, (field, what) in HEIGHTS.items():
        layers = [] if maps[field] is None else list(maps[field])
        for number, layer in enumerate(layers):
            label = name if len(layers) == 1 else f"{name}_{number}"
            add("heights", label, height_png(layer), layer, what)
    return {"README.txt": _readme(avatar, lines).encode(), **files}


def height_scale() -> dict[str, float]:
    """What is written into a picture of heights: height in millimetres = (stored - zero) * step_mm, which for a value
    v of 0..1, black to white, is v * scale_mm + offset_mm."""
    step_mm = DISPLACEMENT_UNIT_M * 1000
    return {
        "scale_mm": round(65535 * step_mm, 6),
        "offset_mm": round(-HEIGHT_ZERO * step_mm, 6),
        "zero": HEIGHT_ZERO,
        "step_mm": round(step_mm, 9),
    }


def height_png(heights: Tensor) -> bytes:
    """Heights ``[H, W]`` int16, in units of `DISPLACEMENT_UNIT_M`, as a 16-bit greyscale PNG with its scale."""
    stored = (heights.int() + HEIGHT_ZERO).to(torch.uint16).cpu().numpy()
    text = PngInfo()
    text.add_text(HEIGHT_KEY, json.dumps(height_scale(), sort_keys=True))
    return _saved(Image.fromarray(stored), text)


def _png(image: UInt8[Tensor, "C H W"], srgb: bool = False) -> bytes:
    pixels = image.cpu().permute(1, 2, 0).contiguous().numpy()
    chunks = PngInfo()
    if srgb:
        chunks.add(b"sRGB", b"\0")  # perceptual; the other maps are numbers and say nothing about colour
    return _saved(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), chunks)


def _saved(picture: Image.Image, chunks: PngInfo) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=6, pnginfo=chunks)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------------ object space


def object_normals(
    head: HeadModel, normals: UInt8[Tensor, "3 N N"], vertices: Float[Tensor, "V 3"]
) -> UInt8[Tensor, "3 N N"]:
    """Tangent-space normals of the skin (`core.synthesis.relief.normal_map`) turned into the head's own frame, x to
    its left, y up, z ahead, each 0..255 for -1..1. vertices: of the head that wears them, relaxed."""
    side = normals.shape[-1]
    frames = tangent_frames(head, vertices, min(side, FRAME_SIDE)).flatten(0, 1)
    turned = torch.empty_like(normals)
    for start in range(0, side, STRIP_ROWS):
        rows = normals[:, start : start + STRIP_ROWS].to(frames)
        local = functional.normalize(rows / 127.5 - 1, dim=0)
        y, x = torch.meshgrid(
            torch.arange(start, start + rows.shape[1]), torch.arange(side), indexing="ij"
        )  # fmt: skip
        place = ((torch.stack([x, y], -1).to(frames) + 0.5) / side * 2 - 1)[None]
        own = functional.grid_sample(frames[None], place, "bilinear", "border", align_corners=False)[0]
        tangent, bitangent, normal = own.unflatten(0, (3, 3))
        vector = functional.normalize(local[0] * tangent + local[1] * bitangent + local[2] * normal, dim=0)
        turned[:, start : start + STRIP_ROWS] = ((vector * 0.5 + 0.5) * 255).round().clamp(0, 255).byte()
    return turned


def tangent_frames(head: HeadModel, vertices: Float[Tensor, "V 3"], size: int) -> Float[Tensor, "3 3 {size} {size}"]:
    """Tangent, bitangent and normal at each texel of the skin, in the head's frame: the axes of `relief.normal_map`.
    Off the skin those of the nearest skin."""
    normal = functional.normalize(interpolate(head, vertex_normals(vertices, head.faces), size), dim=-1)
    skin = head.part_faces("skin")
    along = texture_gradients(vertices, head.faces[skin], head.uv, head.uv_faces[skin])
    lookup = atlas_lookup(head, size)
    rows, weight = head.uv_faces[lookup.face_index.clamp_min(0)], lookup.barycentric.to(vertices)
    right, up = (
        torch.einsum("uvkc,uvk->uvc", one[rows], weight).reshape(size * size, 3)[lookup.nearest]
        for one in along.unbind(1)
    )
    tangent = functional.normalize(right - (right * normal).sum(-1, keepdim=True) * normal, dim=-1)
    bitangent = torch.linalg.cross(normal, tangent)
    bitangent = torch.where(((bitangent * up).sum(-1) < 0)[..., None], -bitangent, bitangent)
    return torch.stack([tangent, bitangent, normal]).permute(0, 3, 1, 2).contiguous()


# ------------------------------------------------------------------------------------------------------------- README

_README = """Maps of "{name}", made with Likeness {version} from a {source}.

Texture coordinates have their origin at the bottom left, as in OBJ and Blender: the first row of a picture is v = 1.
glTF, three.js and Unreal count v from the top; their loaders take the same pictures as they are.
The maps belong to the mesh that `python -m app export` writes as glb, obj or ply.

COLOURS: 8 bits, sRGB (the only maps with a colour space)
{colours}

SHADES: 8 bits, linear, no colour ("Non-Color" in Blender, sRGB off in Unreal, NoColorSpace in three.js)
{shades}

NORMALS: 8 bits, linear, no colour; -1..1 is stored as 0..255
  Tangent space is glTF's and OpenGL's: red along rising u, green along rising v (up in the picture), blue outwards.
  For DirectX and Unreal turn green round (255 - value). The tangent comes from MikkTSpace or the mesh's own TANGENT.
  Object space: red to the head's own left (+X), green up (+Y), blue ahead (+Z), for the relaxed face.
{normals}

HEIGHTS: 16 bits, greyscale, linear, no colour; along the smooth normal of the surface
  height in millimetres = (stored - {zero}) x {step_mm}
  With values of 0..1: height = value x {scale_mm} mm {offset_mm} mm. The same is in the file's text "{key}".
{heights}

HOW TO PLUG THEM IN
Blender (Principled BSDF; image textures as above):
  skin_base_color             Base Color
  skin_roughness              Roughness
  skin_specular               Specular IOR Level (0.5 there is a reflectance of 0.04, so the map fits as it is; IOR 1.5)
  skin_specular_normal        Normal Map node (Tangent Space) -> Normal
  skin_translucency           Subsurface Weight, times 0.2 or so; Subsurface Radius 1.0 0.35 0.2, Scale 0.004
  skin_occlusion              not needed where light is traced; else multiply what lights the skin from all around
  skin_displacement           Displacement node -> Material Output, Displacement: Midlevel {midlevel:.7f},
                              Scale {scale_m:.6f} (metres); subdivide the mesh; then skip the normals, which hold the
                              same relief
three.js (MeshPhysicalMaterial):
  skin_base_color             map (SRGBColorSpace)
  skin_roughness              roughnessMap (reads green; grey will do), roughness 1
  skin_specular               specularColorMap (NoColorSpace), specularColor 2 2 2, ior 1.5
  skin_specular_normal        normalMap
  skin_occlusion              aoMap (reads red)
  skin_displacement           displacementMap, displacementScale {scale_m:.6f}, displacementBias {bias_m:.6f}
Unreal (Subsurface Profile):
  skin_base_color             Base Color (sRGB on)
  skin_roughness              Roughness (sRGB off, Masks)
  skin_specular               Specular (0.5 there is a reflectance of 0.04: fits as it is)
  skin_specular_normal        Normal, after Flip Green Channel
  skin_translucency           Opacity (strength of the profile)
  skin_occlusion              Ambient Occlusion
  skin_displacement           Nanite displacement: Magnitude {scale_cm:.4f} (centimetres), Center {midlevel:.7f}
Wrinkles: height = skin_displacement + weight_0 x skin_wrinkles_0 + weight_1 x skin_wrinkles_1, where a weight follows
  the expression and the place on the face; `python -m app export HEAD --detailed` bakes them into a mesh.
"""


def _readme(avatar: Avatar, lines: dict[str, list[str]]) -> str:
    scale = height_scale()
    present = {kind: "\n".join(found) if found else "  (none)" for kind, found in lines.items()}
    return _README.format(
        name=avatar.name,
        version=LIKENESS_VERSION,
        source="photo" if avatar.provenance.source == "photo" else f"seed ({avatar.provenance.seed})",
        key=HEIGHT_KEY,
        midlevel=scale["zero"] / 65535,
        scale_m=scale["scale_mm"] / 1000,
        scale_cm=scale["scale_mm"] / 10,
        bias_m=scale["offset_mm"] / 1000,
        **{**scale, "offset_mm": f"- {-scale['offset_mm']}"},
        **present,
    )
