"""Heads in the formats of other programs: GLB, OBJ, PLY, STL, all maps as PNG, and a turntable as MP4 or GIF."""

from __future__ import annotations

import io
import itertools
import math
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from core.avatar import Avatar, ExpressionChoice
from core.camera import look_at_head
from core.checkpoints import write_whole
from core.errors import FileError, LikenessError
from core.fine_mesh import TRIANGLES, PartMesh, coarse_mesh, detailed_mesh, finer_than, relief_of
from core.gltf import encode_map, glb_bytes, solid_glb_bytes
from core.head import PART_TEXTURE, PARTS, HeadModel
from core.key_expressions import KEY_EXPRESSIONS
from core.map_files import map_files
from core.materials import Materials
from core.mesh import vertex_normals
from core.render import render_head
from core.synthesis.relief import normal_map

Format = Literal["glb", "obj", "ply", "stl", "zip", "maps", "mp4", "gif"]
DETAILED: tuple[Format, ...] = ("glb", "obj", "ply", "stl", "zip")  # which have a mesh that may be fine
Units = Literal["m", "mm", "cm"]
UNITS_PER_METRE = {"m": 1.0, "cm": 100.0, "mm": 1000.0}

# Textures beside an OBJ are for further work, so they are kept well above what a GLB affords.
OBJ_BYTES_PER_TEXEL = 2.0

TURNTABLE_FRAMES, TURNTABLE_FRAMES_PER_SECOND = 72, 24
# A GIF has 256 colours and grows with every frame: a third of the frames, at a third of the rate.
GIF_FRAMES, GIF_FRAME_MS = 24, 120
TURNTABLE_SUPERSAMPLE = 2
BT709 = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"


def export(
    head: HeadModel,
    avatar: Avatar,
    format: Format,
    path: str | Path,
    expression: ExpressionChoice = "fitted",
    units: Units = "m",
    *,
    size_px: int = 512,
    texture_px: int = 1024,
    detail: bool = False,
    triangles: int = TRIANGLES,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write one head to a file, whole or not at all.

    glb: everything (see `core.gltf`), always in metres. obj: geometry with normals and texture
    coordinates, with an MTL file and textures beside it, named after `path`; zip: the same in one
    archive. ply: geometry with the base colour at each vertex; stl: geometry only. maps: an archive of all maps
    (see `core.map_files`). mp4 (H.264) and gif: a turntable of `size_px` pixels.

    detail: the skin's relief as shape, in a mesh of about so many triangles (`core.fine_mesh`), with the wrinkles of
    the expression; what is too fine for it stays in a map of normals. Such a glb has no morph targets and no joints,
    such a ply has texture coordinates too, and vertices on seams of the atlas twice.

    expression: the photo's, or relaxed. units: of the coordinates in obj, zip, ply and stl, which
    do not say their unit themselves: 3D printing expects millimetres. progress: called with the done
    fraction of a turntable. Raises LikenessError for a format, unit or size that does not exist, for detail where the
    avatar has no map of displacement or the format no mesh, and FileError where the avatar belongs to another head
    model or the path cannot be written.
    """
    for value, choices, what in ((format, get_args(Format), "format"), (units, get_args(Units), "unit")):
        if value not in choices:
            raise LikenessError(f"There is no {what} {value!r}. Choose one of {', '.join(choices)}.")
    if units != "m" and format in ("glb", "maps", "mp4", "gif"):
        reasons = {"glb": "glTF prescribes metres", "maps": "heights in maps say their scale themselves"}
        reason = reasons.get(format, "a film has no unit")
        raise LikenessError(f"The format {format} cannot be written in {units}: {reason}. Leave the unit at m.")
    if not 64 <= size_px <= 2048 or not 16 <= texture_px <= 4096:
        raise LikenessError(
            f"A film of {size_px} pixels or textures of {texture_px} pixels cannot be made. "
            "Choose 64 to 2048 pixels for films and 16 to 4096 for textures."
        )
    if detail and format not in DETAILED:
        raise LikenessError(
            f"The format {format} has no mesh, so it cannot be written in detail. Leave out --detailed, or choose one "
            f"of {', '.join(DETAILED)}."
        )
    avatar.check_fits(head)
    path = Path(path)
    scale = UNITS_PER_METRE[units]
    if detail:
        _write_detailed(head, avatar, format, path, expression, scale, texture_px, triangles)
    elif format == "glb":
        write_whole(path, glb_bytes(head, avatar, expression, texture_px=texture_px))
    elif format == "zip":
        write_whole(path, _zip_bytes(obj_files(head, avatar, expression, scale, texture_px, _plain(path.stem))))
    elif format == "maps":
        write_whole(path, _zip_bytes(map_files(head, avatar), zipfile.ZIP_STORED))
    elif format == "obj":
        files = obj_files(head, avatar, expression, scale, texture_px, _plain(path.stem))
        _write_obj(files, path)
    elif format == "ply":
        write_whole(path, ply_bytes(head, avatar, expression, scale))
    elif format == "stl":
        write_whole(path, stl_bytes(head, avatar, expression, scale))
    elif format == "mp4":
        frames = turntable(head, avatar, expression, size_px, TURNTABLE_FRAMES)
        write_whole(path, _mp4_bytes(_reported(frames, TURNTABLE_FRAMES, progress)))
    else:
        write_whole(
            path, _gif_bytes(_reported(turntable(head, avatar, expression, size_px, GIF_FRAMES), GIF_FRAMES, progress))
        )


def wearing(head: HeadModel, avatar: Avatar, weights: Mapping[str, float]) -> Avatar:
    """The avatar looking straight ahead with another expression: ARKit name -> 0..1. Raises LikenessError for a name
    that the head model does not have and for a weight out of range."""
    low, high = head.expression_range
    unknown = [name for name in weights if name not in head.expression_names]
    if unknown:
        raise LikenessError(
            f"This head has no expression {', '.join(repr(name) for name in unknown)}. It has "
            f"{', '.join(head.expression_names)}, and the key expressions {', '.join(KEY_EXPRESSIONS)}."
        )
    for name, weight in weights.items():
        if not low <= weight <= high:
            raise LikenessError(f"The weight of {name} is {weight:g}. Give a number from {low:g} to {high:g}.")
    values = avatar.expression.new_tensor([weights.get(name, 0.0) for name in head.expression_names])
    return replace(avatar, expression=values, joint_rotations=torch.zeros_like(avatar.joint_rotations))


def _write_obj(files: dict[str, bytes], path: Path) -> None:
    """The OBJ last, under the name that was asked for: when it is there, what it refers to is there."""
    (_, obj), *beside = files.items()
    for name, data in beside:
        write_whole(path.parent / name, data)
    write_whole(path, obj)


def _write_detailed(
    head: HeadModel,
    avatar: Avatar,
    format: Format,
    path: Path,
    expression: ExpressionChoice,
    scale: float,
    texture_px: int,
    triangles: int,
) -> None:
    mesh = detailed_mesh(head, avatar, expression, triangles)
    if format == "ply":
        write_whole(path, _fine_ply_bytes(mesh, avatar.materials, scale))
        return
    if format == "stl":
        write_whole(path, _solid_stl_bytes(mesh, scale))
        return
    # The mesh has the wrinkles in it, and all relief that it can follow: the rest is what normals are for.
    fine = finer_than(mesh, relief_of(head, avatar, expression))
    normals = normal_map(head, fine, _posed(head, avatar, expression))
    materials = replace(avatar.materials, skin_normal=normals, skin_diffuse_normal=None, skin_wrinkles=None)
    if format == "glb":
        write_whole(path, solid_glb_bytes(head, replace(avatar, materials=materials), mesh, expression, texture_px))
        return
    files = _mesh_obj_files(mesh, materials, scale, texture_px, _plain(path.stem))
    if format == "zip":
        write_whole(path, _zip_bytes(files))
    else:
        _write_obj(files, path)


def _plain(name: str) -> str:
    """A name that OBJ and MTL files can refer to: they separate words by spaces and know no quotes."""
    return re.sub(r"[^\w.-]+", "_", name) or "head"


def _posed(head: HeadModel, avatar: Avatar, expression: ExpressionChoice) -> Float[Tensor, "V 3"]:
    return head.vertices(avatar.parameters(expression))[0]


# -- Geometry -----------------------------------------------------------------------------------


def obj_files(
    head: HeadModel, avatar: Avatar, expression: ExpressionChoice, scale: float, texture_px: int, stem: str
) -> dict[str, bytes]:
    """A Wavefront OBJ, its MTL and its textures: file name -> contents, the OBJ first.

    One group and material per part, texture coordinates as they are (OBJ has its origin at the
    bottom left too). A roughness map is referred to as ``map_Pr``, the usual extension for PBR.
    """
    mesh = coarse_mesh(head, _posed(head, avatar, expression))
    return _mesh_obj_files(mesh, avatar.materials, scale, texture_px, stem)


def _mesh_obj_files(mesh: PartMesh, maps: Materials, scale: float, texture_px: int, stem: str) -> dict[str, bytes]:
    images = {
        "skin": maps.skin_albedo,
        "mouth": maps.mouth_albedo,
        "eye": maps.eye_albedo,
        "lash": maps.lash_albedo,
        "skin_roughness": maps.skin_roughness,
        "skin_normal": maps.skin_normal,
    }
    parts = [part for part in PARTS if len(mesh.part_faces(part))]
    used = {PART_TEXTURE[part] for part in parts} | ({"skin_roughness", "skin_normal"} if "skin" in parts else set())
    textures: dict[str, tuple[str, bytes]] = {}
    for name, image in images.items():
        if image is not None and name in used:
            data, mime = encode_map(image, texture_px, OBJ_BYTES_PER_TEXEL)
            textures[name] = (f"{stem}_{name}.{'png' if mime == 'image/png' else 'jpg'}", data)

    material_lines = []
    for part in parts:
        file_name, _ = textures[PART_TEXTURE[part]]
        # Viewers without physically based shading take the highlight from Ks and Ns.
        material_lines += [f"newmtl {part}", "Kd 1 1 1", "Ks 0.04 0.04 0.04", "Ns 40", f"map_Kd {file_name}"]
        if part == "lashes":
            material_lines.append(f"map_d -imfchan m {file_name}")
        if part == "skin":
            material_lines.append(f"map_Pr {textures['skin_roughness'][0]}")
            if "skin_normal" in textures:
                material_lines.append(f"norm {textures['skin_normal'][0]}")
        material_lines.append("")

    lines = [f"# {stem}: made with Likeness; y up, facing z", f"mtllib {stem}.mtl", f"o {stem}"]
    lines += ["v {:.7g} {:.7g} {:.7g}".format(*row) for row in (mesh.vertices.double() * scale).tolist()]
    lines += ["vt {:.6f} {:.6f}".format(*row) for row in mesh.uv.tolist()]
    lines += ["vn {:.5f} {:.5f} {:.5f}".format(*row) for row in mesh.normals.tolist()]
    for part in parts:
        lines += [f"g {part}", f"usemtl {part}", "s 1"]
        faces = mesh.part_faces(part)
        for corners, uv in zip((mesh.faces[faces] + 1).tolist(), (mesh.uv_faces[faces] + 1).tolist(), strict=True):
            lines.append("f " + " ".join(f"{v}/{t}/{v}" for v, t in zip(corners, uv, strict=True)))
    return {
        f"{stem}.obj": ("\n".join(lines) + "\n").encode(),
        f"{stem}.mtl": "\n".join(material_lines).encode(),
        **dict(textures.values()),
    }


def _zip_bytes(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            entry.compress_type = compression
            archive.writestr(entry, data)
    return buffer.getvalue()


def vertex_colors(head: HeadModel, avatar: Avatar) -> UInt8[Tensor, "V 4"]:
    """Base colour and opacity at each vertex, sRGB: the mean of the nearest texels at its corners."""
    mesh = PartMesh(head.template, head.template, head.faces, head.uv, head.uv_faces, head.face_part)
    return _mesh_colors(mesh, avatar.materials)


def _mesh_colors(mesh: PartMesh, maps: Materials) -> UInt8[Tensor, "V 4"]:
    images = {"skin": maps.skin_albedo, "mouth": maps.mouth_albedo, "eye": maps.eye_albedo, "lash": maps.lash_albedo}
    total = torch.zeros(len(mesh.vertices), 5)
    for part in PARTS:
        faces = mesh.part_faces(part)
        image = images[PART_TEXTURE[part]]
        uv = mesh.uv[mesh.uv_faces[faces]].reshape(-1, 2)
        column = (uv[:, 0] * image.shape[2]).long().clamp(0, image.shape[2] - 1)
        row = ((1 - uv[:, 1]) * image.shape[1]).long().clamp(0, image.shape[1] - 1)
        texel = image[:, row, column].T.float()
        if texel.shape[1] == 3:
            texel = torch.cat([texel, torch.full((len(texel), 1), 255.0)], dim=1)
        texel = torch.cat([texel, torch.ones(len(texel), 1)], dim=1)
        total = total.index_add(0, mesh.faces[faces].reshape(-1), texel)
    return (total[:, :4] / total[:, 4:].clamp_min(1)).round().byte()


def ply_bytes(head: HeadModel, avatar: Avatar, expression: ExpressionChoice, scale: float) -> bytes:
    """A binary PLY with normals and vertex colours."""
    import trimesh
    from trimesh.exchange.ply import export_ply

    vertices = _posed(head, avatar, expression)
    mesh = trimesh.Trimesh(
        vertices.double().numpy() * scale,
        head.faces.numpy(),
        vertex_normals=vertex_normals(vertices, head.faces).double().numpy(),
        vertex_colors=vertex_colors(head, avatar).numpy(),
        process=False,
    )
    data = export_ply(mesh, vertex_normal=True)
    assert isinstance(data, bytes)
    return data


def _fine_ply_bytes(mesh: PartMesh, maps: Materials, scale: float) -> bytes:
    """A binary PLY with normals, texture coordinates (``s`` and ``t``, as Blender and MeshLab read them) and colours.
    Vertices on a seam of the atlas are there once per side, at the very same place."""
    corners = mesh.faces * len(mesh.uv) + mesh.uv_faces
    keys, faces = torch.unique(corners, return_inverse=True)
    vertex, uv = keys // len(mesh.uv), mesh.uv[keys % len(mesh.uv)]
    floats = torch.cat([(mesh.vertices.double() * scale).float()[vertex], mesh.normals.float()[vertex], uv.float()], 1)
    names = ("x", "y", "z", "nx", "ny", "nz", "s", "t")
    bytes_of = ("red", "green", "blue", "alpha")
    rows = np.empty(len(keys), [*((name, "<f4") for name in names), *((name, "u1") for name in bytes_of)])
    for name, column in zip(names, floats.T.numpy(), strict=True):
        rows[name] = column
    for name, column in zip(bytes_of, _mesh_colors(mesh, maps)[vertex].T.numpy(), strict=True):
        rows[name] = column
    triangles = np.empty(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    triangles["count"], triangles["corners"] = 3, faces.numpy()
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment made with Likeness; y up, facing z",
        f"element vertex {len(rows)}",
        *(f"property float {name}" for name in names),
        *(f"property uchar {name}" for name in bytes_of),
        f"element face {len(triangles)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    return ("\n".join(header) + "\n").encode() + rows.tobytes() + triangles.tobytes()


def stl_bytes(head: HeadModel, avatar: Avatar, expression: ExpressionChoice, scale: float) -> bytes:
    """A binary STL. Lashes are left out: sheets without thickness cannot be printed."""
    return _solid_stl_bytes(coarse_mesh(head, _posed(head, avatar, expression)), scale)


def _solid_stl_bytes(mesh: PartMesh, scale: float) -> bytes:
    import trimesh
    from trimesh.exchange.stl import export_stl

    solid = mesh.faces[mesh.face_part != PARTS.index("lashes")]
    vertices = mesh.vertices.double().numpy() * scale
    data = export_stl(trimesh.Trimesh(vertices, solid.numpy(), process=False))
    assert isinstance(data, bytes)
    return data


# -- Turntable ----------------------------------------------------------------------------------


def turntable(
    head: HeadModel, avatar: Avatar, expression: ExpressionChoice, size_px: int, frames: int
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """One turn of the camera around the head, frame by frame, starting from the front, sRGB."""
    vertices = _posed(head, avatar, expression)
    low, high = vertices.amin(dim=0), vertices.amax(dim=0)
    target = (low + high) / 2
    # The whole head at any angle, through a lens of about 85 mm (a portrait's perspective).
    radius = float((vertices - target).norm(dim=1).max())
    half_angle = math.radians(12)
    distance = radius / math.sin(half_angle)
    focal_px = size_px / 2 / math.tan(half_angle) * 0.98
    for i in range(frames):
        yaw = torch.tensor([2 * math.pi * i / frames])
        camera = look_at_head(yaw, torch.zeros(1), distance, target, focal_px, size_px, size_px)
        picture = render_head(head, vertices[None], avatar.materials, camera, supersample=TURNTABLE_SUPERSAMPLE)
        yield (picture[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()


def _reported(
    frames: Iterator[np.ndarray], count: int, progress: Callable[[float], None] | None
) -> Iterator[np.ndarray]:
    for i, frame in enumerate(frames):
        yield frame
        if progress is not None:
            progress((i + 1) / count)


def _mp4_bytes(frames: Iterator[np.ndarray]) -> bytes:
    """H.264 with 4:2:0 chroma, which every browser and phone plays."""
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise LikenessError(
            f"A film needs the package imageio-ffmpeg, which could not be imported ({error}). "
            "Install it with `pip install imageio-ffmpeg`, or export a GIF instead."
        ) from error

    first = next(frames)
    # 4:2:0 wants even sides.
    height, width = first.shape[0] // 2 * 2, first.shape[1] // 2 * 2
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "turntable.mp4"
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            *("-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"),
            *("-r", str(TURNTABLE_FRAMES_PER_SECOND), "-i", "-"),
            # Converted to BT.709 and tagged so, or players guess the colours from the size.
            *("-vf", "scale=out_color_matrix=bt709:out_range=tv," + BT709),
            *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-threads", "2"),
            *("-movflags", "+faststart", str(target)),
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:
            assert encoder.stdin is not None and encoder.stderr is not None
            try:
                for frame in itertools.chain([first], frames):
                    encoder.stdin.write(np.ascontiguousarray(frame[:height, :width]).tobytes())
                encoder.stdin.close()
            except BrokenPipeError:
                pass  # it gave up early; what it says follows
            except BaseException:
                encoder.kill()
                raise
            complaint = encoder.stderr.read().decode(errors="replace").strip()
        if encoder.returncode != 0 or not target.is_file():
            raise FileError(
                f"The film could not be encoded ({complaint[-300:] or f'ffmpeg ended with {encoder.returncode}'}). "
                "Export a GIF instead, or free some space on the disk for temporary files."
            )
        return target.read_bytes()


def _gif_bytes(frames: Iterator[np.ndarray]) -> bytes:
    """A looping GIF with one palette for all frames, so that the background does not flicker."""
    pictures = [Image.fromarray(frame) for frame in frames]
    # The palette of front, side and back together.
    probes = pictures[:: max(1, len(pictures) // 4)]
    strip = Image.new("RGB", (probes[0].width * len(probes), probes[0].height))
    for i, probe in enumerate(probes):
        strip.paste(probe, (i * probe.width, 0))
    palette = strip.quantize(256, method=Image.Quantize.MEDIANCUT)
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for picture in pictures]
    buffer = io.BytesIO()
    indexed[0].save(buffer, "GIF", save_all=True, append_images=indexed[1:], duration=GIF_FRAME_MS, loop=0)
    return buffer.getvalue()
