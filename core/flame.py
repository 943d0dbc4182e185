"""FLAME as a head model, for people who have the file (its licence forbids shipping it).

Li, Bolkart, Black, Li, Romero: Learning a model of facial shape and expression from 4D scans, 2017. The 2020 and 2023
releases are Python pickles, that is, programs for a stack machine that can call any function. `read_pickle` lets such
a program call nothing: every class or function it names becomes an inert `Record` of its arguments, names that a file
of arrays has no use for are refused, and afterwards `as_array` turns the few kinds of record that describe arrays into
arrays. Neither chumpy nor SciPy's sparse matrices are needed, and NumPy's own unpickling code, which trusts its input,
never sees the file.
"""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.errors import FileError
from core.head import PARTS, HeadModel, LandmarkEmbedding

SHAPE_COUNT, EXPRESSION_COUNT = 300, 100
JOINT_NAMES = ("root", "neck", "jaw", "leftEye", "rightEye")
_EYES = (3, 4)

_CURE = "Download the file again from the FLAME project's site and pass it unchanged."

# What a pickle of arrays may name, written by Python 2 or 3 with old or new NumPy, SciPy and chumpy.
_ADMITTED = {
    **{
        (module, name): name
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar")
    },
    **{(module, "_frombuffer"): "_frombuffer" for module in ("numpy.core.numeric", "numpy._core.numeric")},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    **{
        (f"scipy.sparse.{module}", name): name
        for kind in ("csc", "csr")
        for module in (kind, f"_{kind}")
        for name in (f"{kind}_matrix", f"{kind}_array")
    },
    ("chumpy.ch", "Ch"): "Ch",
    **{(module, "_reconstructor"): "_reconstructor" for module in ("copy_reg", "copyreg")},
    **{
        (module, name): name
        for module in ("__builtin__", "builtins")
        for name in ("object", "set", "frozenset", "bytes", "bytearray")
    },
}


class Record:
    """What a pickle said about one object: its class's name, the arguments and the state. It does nothing."""

    name = ""
    __slots__ = ("args", "state")

    def __new__(cls, *args: Any) -> Record:
        record = object.__new__(cls)
        record.args, record.state = args, None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state


# The pure-Python unpickler: the C one allocates whatever memo index the file asks for.
class _RecordUnpickler(pickle._Unpickler):
    """An unpickler for which nothing can be called but the constructor of `Record`."""

    def __init__(self, file: BinaryIO, source: Path) -> None:
        super().__init__(file, encoding="latin1")  # the strings of Python 2, in which it kept bytes too
        self.source = source

    def find_class(self, module: str, name: str) -> type:
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if (module, name) not in _ADMITTED:
            raise FileError(
                f"{self.source} was refused: it asks for {module}.{name}, which a file of arrays does not need. "
                "Pickle files can run programs, so only NumPy, SciPy sparse and chumpy arrays are admitted. "
                "If you trust the file, save its arrays anew; if not, delete it."
            )
        # A class of its own for each mention, so that nothing a file does to a class outlives the file.
        return type(name, (Record,), {"__slots__": (), "name": _ADMITTED[module, name]})


def read_pickle(file: BinaryIO, source: Path, cure: str = _CURE) -> Any:
    """The object in a pickle, with a `Record` in place of everything but Python's own containers, text and numbers.

    Raises FileError, naming `source`, for a damaged file and for one that names anything but array types; its
    message ends with `cure`.
    """
    try:
        return _RecordUnpickler(file, source).load()
    except FileError:
        raise
    except Exception as error:  # a damaged program for a stack machine can fail in any way at all
        raise FileError(
            f"{source} could not be read as a pickle ({type(error).__name__}: {error}). It is truncated, damaged or "
            f"another kind of file. {cure}"
        ) from error


def as_array(value: Any) -> np.ndarray:
    """The array that a `Record` describes: NumPy array or scalar, chumpy Ch, SciPy csc or csr (made dense).

    Lists and numbers become arrays as usual. Raises ValueError for anything else.
    """
    if isinstance(value, Record):
        return _record_as_array(value)
    if isinstance(value, (np.ndarray, list, tuple, int, float)):
        return np.asarray(value)
    raise ValueError(f"found {type(value).__name__} where an array was expected")


def _record_as_array(record: Record) -> np.ndarray:
    name, args, state = record.name, record.args, record.state
    if name == "_reconstructor":  # protocols 0 and 1 name the class in the arguments
        name = args[0].name
    if name == "_reconstruct":
        _version, shape, dtype, fortran, data = state
        return _filled(data, _as_dtype(dtype), shape, fortran)
    if name == "_frombuffer":
        data, dtype, shape, order = args
        return _filled(data, _as_dtype(dtype), shape, order == "F")
    if name == "scalar":
        return _filled(args[1], _as_dtype(args[0]), (), False)
    if name == "Ch":  # chumpy keeps the values of a free variable in x
        return as_array(state["x"])
    if name[:4] in ("csc_", "csr_"):
        return _dense(state, by_column=name.startswith("csc_"))
    raise ValueError(f"found {name} where an array was expected")


def _filled(data: Any, dtype: np.dtype, shape: Any, fortran: Any) -> np.ndarray:
    if dtype.hasobject:
        if not isinstance(data, list) or len(data) != math.prod(shape):
            raise ValueError(f"an array of objects has no list of {shape} objects")
        array = np.empty(len(data), dtype=object)
        array[:] = data
        return array.reshape(shape, order="F" if fortran else "C")
    return np.frombuffer(_as_bytes(data), dtype=dtype).reshape(shape, order="F" if fortran else "C").copy()


def _as_dtype(value: Any) -> np.dtype:
    """Booleans, integers, floats and objects. A state carries the byte order: (version, "<", ...)."""
    if not (isinstance(value, Record) and value.name == "dtype" and re.fullmatch(r"[biuf][1248]|O8?", value.args[0])):
        raise ValueError("an array has neither numbers nor objects as its elements")
    order = value.state[1] if value.state else "="
    return np.dtype(order + value.args[0]) if order in ("<", ">") else np.dtype(value.args[0])


def _as_bytes(value: Any) -> bytes:
    """Python 2 wrote bytes as text, Python 3 below protocol 3 as the call encode(text, "latin1") or bytes()."""
    if isinstance(value, Record):
        value = value.args[0] if value.args else b""
    return value.encode("latin1") if isinstance(value, str) else bytes(memoryview(value))


def _dense(state: dict[str, Any], by_column: bool) -> np.ndarray:
    rows, columns = (int(as_array(n)) for n in state["_shape"])
    if rows * columns > 1 << 24:
        raise ValueError(f"a sparse matrix of {rows} x {columns} is far larger than FLAME's")
    outer = columns if by_column else rows
    data, inner, starts = (as_array(state[key]) for key in ("data", "indices", "indptr"))
    along = np.repeat(np.arange(outer), np.diff(starts))
    dense = np.zeros((rows, columns))
    # Duplicate entries of a sparse matrix add up.
    np.add.at(dense, (inner, along) if by_column else (along, inner), data)
    return dense


def load_flame(path: Path, uv_template: Path | None = None, landmark_embedding: Path | None = None) -> HeadModel:
    """A FLAME 2020 or 2023 pickle as a `HeadModel`.

    FLAME is in metres, +Y up, +Z forward already; it is moved so that the origin lies between the eyeballs' centres.
    300 shape and 100 expression coefficients, each ~ N(0, 1), five joints and the pose correctives. As in the paper
    (eq. 3) the joints follow shape, not expression; some implementations regress them from both.
    `HeadModel` keeps four joints per vertex: where FLAME has all five, the weakest is dropped and the rest scaled to
    sum to 1. No region masks and no attributes; `mirror` is the nearest vertex to the reflection.

    uv_template: `head_template.obj`, or the .npz or .npy of a texture space with `vt` and `ft`; without it the texture
    coordinates are a cylindrical projection with its seam at the back. landmark_embedding: a .npy or .npz with the
    68 iBUG points as `full_lmk_faces_idx` and `full_lmk_bary_coords`; without it there are no landmarks.

    Raises FileError for files that are missing, damaged, of another kind, or that name anything but array types.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = read_pickle(file, path)
    except OSError as error:
        raise FileError(f"The FLAME file {path} could not be opened ({error.strerror}). Check the path.") from error
    keys = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")
    arrays = _arrays(content, keys, path)

    count = len(arrays["v_template"])
    joints = len(JOINT_NAMES)
    _expect(path, arrays, "v_template", (count, 3))
    _expect(path, arrays, "shapedirs", (count, 3, SHAPE_COUNT + EXPRESSION_COUNT))
    _expect(path, arrays, "posedirs", (count, 3, (joints - 1) * 9))
    _expect(path, arrays, "J_regressor", (joints, count))
    _expect(path, arrays, "kintree_table", (2, joints))
    _expect(path, arrays, "weights", (count, joints))
    _expect(path, arrays, "f", (len(arrays["f"]), 3), below=count)

    template = torch.from_numpy(arrays["v_template"].astype(np.float64))
    regressor = torch.from_numpy(arrays["J_regressor"])
    basis = torch.from_numpy(arrays["shapedirs"].astype(np.float64)).permute(2, 0, 1)
    joint_template = regressor @ template
    origin = joint_template[list(_EYES)].mean(0)
    joint_shape_basis = torch.einsum("jv,kvx->kjx", regressor, basis[:SHAPE_COUNT])

    weights = torch.from_numpy(arrays["weights"].astype(np.float64))
    skin_weights, skin_joints = weights.topk(4, dim=1)
    faces = torch.from_numpy(arrays["f"].astype(np.int64))
    # The eyeballs are the vertices that only an eye joint moves.
    eyeball = weights[:, list(_EYES)].amax(1) > 0.99 * weights.sum(1)
    face_part = torch.where(eyeball[faces].all(1), PARTS.index("eyes"), PARTS.index("skin"))

    centred = (template - origin).float()
    uv, uv_faces = cylindrical_uv(centred, faces) if uv_template is None else read_uv(Path(uv_template), faces)
    return HeadModel(
        name="flame",
        template=centred,
        shape_basis=basis[:SHAPE_COUNT].float().contiguous(),
        expression_basis=basis[SHAPE_COUNT:].float().contiguous(),
        expression_names=tuple(f"flame_{i:03d}" for i in range(1, EXPRESSION_COUNT + 1)),
        expression_range=(-2.0, 2.0),
        joint_names=JOINT_NAMES,
        joint_parents=_parents(arrays["kintree_table"], path),
        joint_template=(joint_template - origin).float(),
        joint_shape_basis=joint_shape_basis.float(),
        skin_joints=skin_joints,
        skin_weights=(skin_weights / skin_weights.sum(1, keepdim=True)).float(),
        pose_basis=torch.from_numpy(arrays["posedirs"].astype(np.float32)).permute(2, 0, 1).contiguous(),
        faces=faces,
        uv=uv,
        uv_faces=uv_faces,
        face_part=face_part,
        mirror=_mirror(centred),
        region_names=(),
        regions=torch.zeros(0, count),
        attribute_names=(),
        attribute_directions=torch.zeros(0, SHAPE_COUNT),
        landmarks={} if landmark_embedding is None else {"ibug": _read_ibug(Path(landmark_embedding), len(faces))},
    )


def _arrays(content: Any, keys: tuple[str, ...], source: Path) -> dict[str, np.ndarray]:
    """The named arrays of a dictionary read from `source`, of finite numbers."""
    present = content if isinstance(content, dict) else {}
    if missing := [key for key in keys if key not in present]:
        raise FileError(f"{source} is not the file that was expected: it has no {', '.join(missing)}. {_CURE}")
    arrays = {}
    for key in keys:
        try:
            arrays[key] = np.asarray(as_array(present[key]))
            finite = (np.abs(arrays[key]) < 1e12).all()  # and stays so in single precision
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
            raise FileError(f"{source} is damaged: its {key} is not an array of numbers ({error}). {_CURE}") from error
        if not finite:
            raise FileError(f"{source} is damaged: its {key} has values that are not finite or absurdly large. {_CURE}")
    return arrays


def _expect(
    source: Path, arrays: dict[str, np.ndarray], key: str, shape: tuple[int, ...], below: int | None = None
) -> None:
    """Check an array's shape and, for indices, that they are integers in 0..below - 1."""
    array = arrays[key]
    if array.shape != shape:
        raise FileError(f"{source} is not a FLAME 2020 or 2023 model: its {key} is {array.shape}, not {shape}. {_CURE}")
    if below is not None and (
        array.dtype.kind not in "iu" or (array.size and not 0 <= array.min() <= array.max() < below)
    ):
        raise FileError(f"{source} is damaged: its {key} has values that are not indices below {below}. {_CURE}")


def _parents(kintree_table: np.ndarray, source: Path) -> tuple[int, ...]:
    """Parents of the joints, each before its children. The root's is -1, which an unsigned table holds as 2^32 - 1."""
    parents = (-1, *(int(p) for p in kintree_table[0, 1:]))
    if any(not 0 <= parent < j for j, parent in enumerate(parents) if j > 0):
        raise FileError(f"{source} is damaged: its kintree_table {parents} is not a tree of joints. {_CURE}")
    return parents


def _mirror(template: Float[Tensor, "V 3"]) -> Int[Tensor, "V"]:
    """The nearest vertex to each one's reflection."""
    reflected = template * torch.tensor([-1.0, 1.0, 1.0])
    # The faster mode of cdist, by a matrix product, is off by fractions of a millimetre.
    return torch.cdist(reflected, template, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)


def cylindrical_uv(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]
) -> tuple[Float[Tensor, "T 2"], Int[Tensor, "F 3"]]:
    """Texture coordinates from the angle about the mesh's vertical middle (u) and the height (v), cut at the back (-Z).

    The person's left is on the right of the map, as in a photo of the face. A face across the cut gets coordinates of
    its own beyond u = 1, which a repeating texture continues.
    """
    low, high = vertices.amin(0), vertices.amax(0)
    x, y, z = (vertices - (low + high) / 2).unbind(-1)
    u = torch.atan2(x, z) / (2 * math.pi) + 0.5
    v = y / (high - low)[1].clamp_min(1e-12) + 0.5
    across = u[faces].amax(1) - u[faces].amin(1) > 0.5
    wrapped = across[:, None] & (u[faces] < 0.5)
    uv = torch.stack([torch.cat([u, u + 1]), torch.cat([v, v])], -1)
    return uv, faces + wrapped * len(vertices)


def read_uv(path: Path, faces: Int[Tensor, "F 3"]) -> tuple[Float[Tensor, "T 2"], Int[Tensor, "F 3"]]:
    """Texture coordinates ``[T, 2]`` and their rows per face ``[F, 3]`` from a template of the user's.

    An .obj whose faces (in any order, starting at any corner) are those of the model, or an .npz or .npy with `vt` and
    `ft`. Raises FileError where the file is unreadable or belongs to another mesh.
    """
    if path.suffix.lower() == ".obj":
        return _read_obj_uv(path, faces)
    arrays = _arrays(_read_npy_or_npz(path, ("vt", "ft")), ("vt", "ft"), path)
    _expect(path, arrays, "vt", (len(arrays["vt"]), 2))
    _expect(path, arrays, "ft", (len(faces), 3), below=len(arrays["vt"]))
    return torch.from_numpy(arrays["vt"].astype(np.float32)), torch.from_numpy(arrays["ft"].astype(np.int64))


def _read_obj_uv(path: Path, faces: Tensor) -> tuple[Tensor, Tensor]:
    uv: list[list[float]] = []
    uv_of_face: dict[tuple[int, ...], tuple[int, ...]] = {}
    try:
        for line in path.read_text("utf-8", errors="replace").splitlines():
            kind, *words = line.split() or [""]
            if kind == "vt":
                uv.append([float(words[0]), float(words[1])])
            elif kind == "f":
                corners = [tuple(int(n) - 1 for n in word.split("/")[:2]) for word in words]
                vertex, texture = zip(*corners, strict=True)
                if len(vertex) != 3 or not 0 <= min(texture) <= max(texture) < len(uv):
                    raise ValueError(f"the face {line!r} is no triangle with texture coordinates")
                for k in range(3):
                    uv_of_face[vertex[k:] + vertex[:k]] = texture[k:] + texture[:k]
        rows = [uv_of_face[tuple(face)] for face in faces.tolist()]
    except OSError as error:
        raise FileError(f"The template {path} could not be opened ({error.strerror}). Check the path.") from error
    except (ValueError, IndexError) as error:
        raise FileError(
            f"The template {path} could not be read: {error}. "
            "A triangulated .obj with texture coordinates was expected."
        ) from error
    except KeyError as error:
        raise FileError(
            f"The template {path} belongs to another mesh: it has no face with the vertices {error}. "
            "Use the template that came with the FLAME file."
        ) from error
    return torch.tensor(uv), torch.tensor(rows)


def _read_npy_or_npz(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """The named entries of an .npz, or the dictionary that NumPy pickled into an .npy."""
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".npz":
                with np.load(file, allow_pickle=False) as archive:
                    return {key: archive[key] for key in keys if key in archive}
            version = np.lib.format.read_magic(file)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            _shape, _fortran, dtype = read_header[version](file)
            if not dtype.hasobject:
                raise ValueError("it holds one array, not several with names")
            return as_array(read_pickle(file, path)).item()  # the pickle repeats shape and type
    except OSError as error:
        raise FileError(f"The file {path} could not be opened ({error.strerror or error}). Check the path.") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(
            f"{path} could not be read as {path.suffix} ({error}). It is damaged or of another kind."
        ) from error


def _read_ibug(path: Path, face_count: int) -> LandmarkEmbedding:
    keys = ("full_lmk_faces_idx", "full_lmk_bary_coords")
    arrays = {key: np.squeeze(array) for key, array in _arrays(_read_npy_or_npz(path, keys), keys, path).items()}
    _expect(path, arrays, keys[0], (68,), below=face_count)
    _expect(path, arrays, keys[1], (68, 3))
    barycentric = torch.from_numpy(arrays[keys[1]].astype(np.float32))
    return LandmarkEmbedding(
        torch.from_numpy(arrays[keys[0]].astype(np.int64)), barycentric / barycentric.sum(1, keepdim=True)
    )
