"""FaceScape's bilinear model, for people who have its files (their licence forbids shipping them).

Yang, Zhu, Wang, Huang, Shen, Yang, Cao: FaceScape, a large-scale high quality 3D face dataset and detailed riggable 3D
face prediction, 2020. What is known of the files comes from its own pages and code (github.com/zhuhao-nju/facescape:
doc_bilinear_model.md, toolkit; github.com/yanght321/Detailed3DFace: bilinear_model.py):

- core_847_50_52.npy (also 847_300_52) is an array [identity, expression, 3 V] with V = 26,317; a face is
  ``core . identity . expression``. Expression 0 is neutral, the other 51 are whole faces too, so a mixture has weights
  that sum to 1. factors_id_847_50_52.npy is [847, identity], one row per person of the dataset.
- Version 1.6 is one .npz with `shape_bm_core` in the opposite order, [3 V, expression, identity], in another order of
  vertices, with `id_mean`, `id_var`, `lm_list_v16` and triangles counted from 1 (`fv_indices`, `ft_indices`,
  `texcoords`). Its other entries are pickled objects and are never opened.
- +X is the person's left, +Y up, +Z forward, as here; a unit is nominally a millimetre, but each scan was scaled, so a
  fit has a scale of its own.

None of these files could be had for this project: the reader has been tried on files made to this description.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.camera import Camera, axis_angle_to_matrix
from core.checkpoints import FOREIGN, foreign_path
from core.errors import FileError, LikenessError
from core.flame import as_array, read_pickle
from core.mesh import Mesh

VERTEX_COUNT, IDENTITY_COUNT, EXPRESSION_COUNT = 26317, 50, 52  # of the public files; smaller ones load too
LANDMARK_COUNT = 68  # the iBUG ones, in dlib's order
UNIT_M = 0.001  # metres per unit of the files

# The 20 expressions that FaceScape's people made, in the dataset's order: "1_neutral" to "20_brow_lower".
SCANNED_EXPRESSIONS = (
    *("neutral", "smile", "mouth_stretch", "anger", "jaw_left", "jaw_right", "jaw_forward", "mouth_left"),
    *("mouth_right", "dimpler", "chin_raiser", "lip_puckerer", "lip_funneler", "sadness", "lip_roll", "grin"),
    *("cheek_blowing", "eye_closed", "brow_raiser", "brow_lower"),
)

_CURE = "Download the file again from FaceScape's site and pass it unchanged."
_LARGEST = {"identities": 1024, "expressions": 256, "coordinates": 3 << 20}  # a header may say anything
_LARGEST_MEMBER = 6 << 30  # bytes of the core in an .npz, which cannot be mapped and is read whole
_ABSURD_M = 10.0


@dataclass(frozen=True)
class FaceScapeModel:
    """The model; vertices are in metres (see the module), in FaceScape's own place.

    core: ``[I, E, 3 V]`` in units, a view of the mapped file: the public one has 1.6 GB. identity_mean,
    identity_spread: of the dataset's people. template: the mean person, neutral. faces, uv, uv_faces: as in `Mesh`,
    None where no topology was given. landmarks: the vertices of the 68 iBUG points, None where unknown.
    """

    source: Path
    core: np.ndarray
    identity_mean: Float[Tensor, "I"]
    identity_spread: Float[Tensor, "I"]
    template: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"] | None = None
    uv: Float[Tensor, "T 2"] | None = None
    uv_faces: Int[Tensor, "F 3"] | None = None
    landmarks: Int[Tensor, "L"] | None = None

    @property
    def identity_count(self) -> int:
        """I."""
        return self.core.shape[0]

    @property
    def expression_count(self) -> int:
        """E, the neutral one included."""
        return self.core.shape[1]

    @property
    def vertex_count(self) -> int:
        """V."""
        return self.core.shape[2] // 3

    def neutral(self, batch: int = 1) -> Float[Tensor, "B E"]:
        """The expression weights of a relaxed face."""
        return torch.eye(1, self.expression_count).repeat(batch, 1)

    def blended(self, weights: Float[Tensor, "B W"]) -> Float[Tensor, "B E"]:
        """Expression weights that sum to 1 from those of the 51 expressions alone: the rest is neutral."""
        return torch.cat([1 - weights.sum(1, keepdim=True), weights], 1)

    def vertices(self, identity: Float[Tensor, "B I"], expression: Float[Tensor, "B E"]) -> Float[Tensor, "B V 3"]:
        """The faces. Reads the core once, a slice at a time, whatever the batch. Differentiable."""
        return _contract(self.core, identity, expression).unflatten(1, (-1, 3)) * UNIT_M

    def rows(self, vertices: Int[Tensor, "N"]) -> Float[Tensor, "N 3 I E"]:
        """The core of a few vertices, in metres, double precision: what a fit by landmarks needs."""
        columns = (3 * vertices[:, None] + torch.arange(3)).flatten().cpu().numpy()
        picked = np.asarray(self.core[:, :, columns], np.float64)
        return torch.from_numpy(picked).permute(2, 0, 1).unflatten(0, (-1, 3)) * UNIT_M

    def mesh(self, vertices: Float[Tensor, "V 3"]) -> Mesh:
        """A mesh with FaceScape's triangles and texture coordinates. Raises FileError where none were given."""
        if self.faces is None:
            entry = FOREIGN["facescape_topology"]
            raise FileError(
                f"{self.source} came without {entry.feature}. To get it, {entry.how_to_get}. {entry.without_it}"
            )
        return Mesh(vertices, self.faces, self.uv, self.uv_faces)


def _contract(core: np.ndarray, identity: Tensor, expression: Tensor) -> Float[Tensor, "B N"]:
    """sum over i and e of identity[i] expression[e] core[i, e], slice after slice along the file's slowest axis."""
    weights = identity[:, :, None] * expression[:, None, :]
    slowest = int(np.argmax(np.abs(core.strides)))

    def part(view: np.ndarray) -> Tensor:
        with np.errstate(over="ignore"):  # infinity is found by `_model`
            return torch.from_numpy(np.array(view, np.float32)).to(weights)

    if slowest == 2:  # vertices first, as in version 1.6
        step = max(1, (1 << 22) // (core.shape[0] * core.shape[1]))
        blocks = [part(core[:, :, start : start + step]) for start in range(0, core.shape[2], step)]
        return torch.cat([torch.einsum("bie,ien->bn", weights, block) for block in blocks], 1)
    total = weights.new_zeros(len(weights), core.shape[2])
    for k in range(core.shape[slowest]):
        # One person's expressions, or one expression of everybody.
        row, own = (core[k], weights[:, k]) if slowest == 0 else (core[:, k], weights[:, :, k])
        total = total + own @ part(row)
    return total


# ------------------------------------------------------------------------------------------------- files


def load_facescape(
    path: Path, factors: Path | None = None, topology: Path | None = None, landmarks: Path | None = None
) -> FaceScapeModel:
    """The bilinear model from the files a person has.

    path: the folder of version 1.3, its core_*.npy, or the .npz of version 1.6. factors: factors_id_*.npy, where it
    does not lie beside the core. topology: an .obj of FaceScape's mesh (its vertices may be anybody's), or faces.pkl,
    or predef_faces.pkl with predef_texcoords.pkl beside it; a folder's own are found. landmarks: landmark_indices.npz
    or a text of 68 vertex numbers, see `read_landmark_indices`.

    The core is mapped, not read, and its axes are told apart by their lengths: the longest is 3 V, the one as long as
    a row of the factors is identity; where both remaining ones are equal, the public order decides. Raises FileError
    for files that are missing, damaged, of another kind or that do not belong together.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.rglob("core_*.npy")) or sorted(path.rglob("facescape_bm_*.npz"))
        path = found[0] if found else foreign_path("facescape_core", path / FOREIGN["facescape_core"].file)
    foreign_path("facescape_core", path)
    if path.suffix.lower() == ".npz":
        model = _load_single_file(path)
    else:
        if factors is None:
            factors = path.with_name(path.name.replace("core_", "factors_id_"))
        people = _open_array(foreign_path("facescape_factors", factors), 2)
        if not 2 <= len(people) <= 1 << 20 or not 1 <= people.shape[1] <= _LARGEST["identities"]:
            raise FileError(
                f"{factors} is not the file of FaceScape's identities: it is {people.shape}, a row for each of at "
                f"least two people was expected, {(847, IDENTITY_COUNT)} in the public one. {_CURE}"
            )
        rows = _finite(np.array(people, np.float64), "factors", factors)
        core = _oriented(_open_array(path, 3), rows.shape[1], path)
        model = _model(path, core, rows.mean(0), rows.std(0, ddof=1))
        if topology is None:
            beside = (path.with_name(name) for name in ("predef_faces.pkl", "faces.pkl"))
            topology = next((file for file in beside if file.is_file()), None)
        if landmarks is None and (beside := path.with_name("landmark_indices.npz")).is_file():
            landmarks = beside
    faces = model.faces, model.uv, model.uv_faces
    if topology is not None:
        faces = read_topology(topology, model.vertex_count)
    indices = model.landmarks if landmarks is None else read_landmark_indices(landmarks, model.vertex_count)
    return FaceScapeModel(
        model.source, model.core, model.identity_mean, model.identity_spread, model.template, *faces, indices
    )


def _model(path: Path, core: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> FaceScapeModel:
    """With the mean person, whose vertices have to be those of a head. Every value of the core takes part, most of them
    times 0, which leaves no infinity unseen."""
    mean_, spread_ = torch.from_numpy(mean).float(), torch.from_numpy(spread).float()
    template = _contract(core, mean_[None], torch.eye(1, core.shape[1])).unflatten(1, (-1, 3))[0] * UNIT_M
    size = float((template.amax(0) - template.amin(0)).amax())
    if not 0 < size < _ABSURD_M:  # nor a number
        raise FileError(
            f"{path} is damaged, or its factors belong to another model: its mean face is {size:.3g} m large. {_CURE}"
        )
    # A factor that nobody varies in stays at the mean.
    return FaceScapeModel(path, core, mean_, spread_.clamp_min(1e-12), template)


def _open_array(path: Path, dimensions: int) -> np.ndarray:
    """A .npy file of floats, mapped, never unpickled."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, OverflowError) as error:
        raise FileError(
            f"{path} could not be read as a .npy file of numbers ({error}). It is truncated, damaged or of another "
            f"kind. {_CURE}"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim != dimensions:
        what = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise FileError(
            f"{path} holds {what}, but {dimensions}-dimensional floating-point numbers belong there. {_CURE}"
        )
    return array


def _finite(array: np.ndarray, name: str, path: Path) -> np.ndarray:
    if not (np.abs(array) < 1e12).all():
        raise FileError(f"{path} is damaged: its {name} has values that are not finite or absurdly large. {_CURE}")
    return array


def _oriented(array: np.ndarray, identities: int, path: Path) -> np.ndarray:
    """A view as [identity, expression, 3 V]."""
    vertex_axis = int(np.argmax(array.shape))
    others = [axis for axis in range(3) if axis != vertex_axis]
    # The public order is identity, expression, vertices; version 1.6 has the reverse.
    if vertex_axis == 0:
        others.reverse()
    if array.shape[others[0]] != identities:
        others.reverse()
    view = array.transpose(*others, vertex_axis)
    people, expressions, coordinates = view.shape
    if people != identities:
        raise FileError(
            f"{path} does not belong to its factors: it is {array.shape}, none of its axes is {identities} long as a "
            f"row of the factors is; {(IDENTITY_COUNT, EXPRESSION_COUNT, 3 * VERTEX_COUNT)} is the public one. {_CURE}"
        )
    if coordinates % 3 or coordinates > _LARGEST["coordinates"] or not 2 <= expressions <= _LARGEST["expressions"]:
        raise FileError(
            f"{path} is not FaceScape's core: it is {array.shape}, where three coordinates for each vertex and from 2 "
            f"to {_LARGEST['expressions']} expressions were expected, as in "
            f"{(IDENTITY_COUNT, EXPRESSION_COUNT, 3 * VERTEX_COUNT)}. {_CURE}"
        )
    return view


def _load_single_file(path: Path) -> FaceScapeModel:
    """Version 1.6. Only arrays of numbers are read; what is pickled beside them stays closed."""
    required = ("shape_bm_core", "id_mean", "id_var")
    optional = ("fv_indices", "ft_indices", "texcoords", "lm_list_v16")
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        if missing := [name for name in required if name not in sizes]:
            raise FileError(f"{path} is not FaceScape's model of version 1.6: it has no {', '.join(missing)}. {_CURE}")
        if (largest := max(sizes.get(name, 0) for name in (*required, *optional))) > _LARGEST_MEMBER:
            raise FileError(
                f"{path} was refused: one of its arrays has {largest / 2**30:.0f} GiB, far more than the public files. "
                f"{_CURE}"
            )
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in (*required, *optional) if name in sizes}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        raise FileError(
            f"{path} could not be read as a FaceScape .npz ({type(error).__name__}: {error}). It is truncated, damaged "
            f"or of another kind. {_CURE}"
        ) from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise FileError(f"{path} is damaged: its {name} holds {array.dtype}, not numbers. {_CURE}")
    mean, variance = (_finite(arrays[name].astype(np.float64).ravel(), name, path) for name in ("id_mean", "id_var"))
    if arrays["shape_bm_core"].ndim != 3 or len(mean) != len(variance) or (variance < 0).any():
        raise FileError(
            f"{path} is damaged: its shape_bm_core is {arrays['shape_bm_core'].shape}, with {len(mean)} means and "
            f"{len(variance)} variances, some perhaps negative. {_CURE}"
        )
    model = _model(path, _oriented(arrays["shape_bm_core"], len(mean), path), mean, np.sqrt(variance))
    count = model.vertex_count
    faces = uv = uv_faces = indices = None
    if all(name in arrays for name in ("fv_indices", "ft_indices", "texcoords")):
        faces, uv_faces = (_corners(arrays[name] - 1, path) for name in ("fv_indices", "ft_indices"))
        uv = torch.from_numpy(arrays["texcoords"].astype(np.float32))
        faces, uv, uv_faces = _checked_topology(faces, uv, uv_faces, count, path)
    if "lm_list_v16" in arrays:
        indices = _checked_landmarks(arrays["lm_list_v16"], count, path)
    return FaceScapeModel(
        path, model.core, model.identity_mean, model.identity_spread, model.template, faces, uv, uv_faces, indices
    )


Topology = tuple[Int[Tensor, "F 3"], Float[Tensor, "T 2"], Int[Tensor, "F 3"]]


def read_topology(path: Path, vertex_count: int) -> Topology:
    """Triangles, texture coordinates and their rows per triangle of FaceScape's mesh.

    An .obj (polygons are cut into fans), or the pickles of its own code, in which a face is (vertices, normals,
    texture coordinates, material), counted from 1; they are read by `core.flame.read_pickle`, which lets a pickle call
    nothing. Raises FileError for a file that is missing, damaged, or of a mesh with other vertices.
    """
    path = foreign_path("facescape_topology", path)
    if path.suffix.lower() == ".obj":
        return _checked_topology(*_read_obj(path), vertex_count, path)
    with path.open("rb") as file:
        content = read_pickle(file, path, _CURE)
    if isinstance(content, tuple) and len(content) == 2:  # faces.pkl of the Detailed3DFace code
        texture, listed = content
    else:
        beside = foreign_path("facescape_topology", path.with_name(path.name.replace("faces", "texcoords")))
        with beside.open("rb") as file:
            texture, listed = read_pickle(file, beside, _CURE), content
    try:
        corners = [(as_array(face[0]), as_array(face[2])) for face in listed]
        faces, uv_faces = (_corners(np.array([pair[k] for pair in corners]) - 1, path) for k in (0, 1))
        uv = torch.from_numpy(np.array([as_array(pair) for pair in texture], np.float32))
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise FileError(f"{path} holds no list of triangles and texture coordinates ({error}). {_CURE}") from error
    return _checked_topology(faces, uv, uv_faces, vertex_count, path)


def _corners(indices: np.ndarray, path: Path) -> Tensor:
    if indices.dtype.kind not in "iu" or indices.ndim != 2:
        raise FileError(f"{path} is damaged: {indices.dtype} {indices.shape} are no corners of triangles. {_CURE}")
    return torch.from_numpy(indices.astype(np.int64))


def _read_obj(path: Path) -> Topology:
    uv: list[tuple[float, float]] = []
    faces: list[tuple[int, int, int]] = []
    uv_faces: list[tuple[int, int, int]] = []
    try:
        for line in path.read_text("utf-8", errors="replace").splitlines():
            kind, *words = line.split() or [""]
            if kind == "vt":
                uv.append((float(words[0]), float(words[1])))
            elif kind == "f":
                corners = [[int(n) - 1 for n in word.split("/")[:2]] for word in words]
                vertex, texture = zip(*corners, strict=True)
                for k in range(1, len(words) - 1):
                    faces.append((vertex[0], vertex[k], vertex[k + 1]))
                    uv_faces.append((texture[0], texture[k], texture[k + 1]))
    except (ValueError, IndexError) as error:
        raise FileError(
            f"The template {path} could not be read: {error}. "
            "An .obj whose faces have texture coordinates was expected."
        ) from error
    if not faces:
        raise FileError(f"The template {path} has no faces. An .obj of FaceScape's mesh was expected.")
    return torch.tensor(faces), torch.tensor(uv).reshape(-1, 2), torch.tensor(uv_faces)


def _checked_topology(faces: Tensor, uv: Tensor, uv_faces: Tensor, vertex_count: int, path: Path) -> Topology:
    right = faces.shape == uv_faces.shape == (len(faces), 3) and uv.ndim == 2 and uv.shape[1] == 2 and len(faces) > 0
    if not right or not bool(uv.isfinite().all()):
        raise FileError(
            f"{path} is damaged: {tuple(faces.shape)} faces, {tuple(uv_faces.shape)} of their texture coordinates and "
            f"{tuple(uv.shape)} coordinates do not belong together. {_CURE}"
        )
    for name, corners, count in (("vertex", faces, vertex_count), ("texture coordinate", uv_faces, len(uv))):
        if int(corners.min()) < 0 or int(corners.max()) >= count:
            raise FileError(
                f"{path} belongs to another mesh: it names {name} {int(corners.max()) + 1}, but there are {count}. Use "
                "the topology that came with the model (version 1.6 has its vertices in another order)."
            )
    return faces, uv, uv_faces


def read_landmark_indices(path: Path, vertex_count: int, version: str = "v10") -> Int[Tensor, "68"]:
    """The vertices of the 68 iBUG points: an .npz with one array per version of the mesh ("v10" belongs to the models
    up to 1.3, "v16" to 1.6), or a text with one number per line, as index_68.txt. Raises FileError."""
    path = foreign_path("facescape_landmarks", path)
    try:
        if path.suffix.lower() == ".npz":
            # A handle of our own: for an archive that is none, NumPy leaves its one open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                if version not in archive:
                    raise FileError(
                        f"{path} has no landmarks of the mesh {version}, only of {', '.join(archive.files) or 'none'}. "
                        f"{_CURE}"
                    )
                indices = archive[version]
        else:
            indices = np.array([int(word) for word in path.read_text("utf-8").split()])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, OverflowError) as error:
        raise FileError(f"{path} could not be read as 68 vertex numbers ({error}). {_CURE}") from error
    return _checked_landmarks(indices, vertex_count, path)


def _checked_landmarks(indices: np.ndarray, vertex_count: int, path: Path) -> Int[Tensor, "68"]:
    indices = np.ravel(indices)
    if len(indices) != LANDMARK_COUNT or indices.dtype.kind not in "iu":
        raise FileError(
            f"{path} names {len(indices)} landmarks ({indices.dtype}); {LANDMARK_COUNT} whole numbers were expected. "
            f"{_CURE}"
        )
    if not 0 <= indices.min() <= indices.max() < vertex_count:
        raise FileError(
            f"{path} belongs to another mesh: it names vertex {indices.max()}, but there are {vertex_count}. {_CURE}"
        )
    return torch.from_numpy(indices.astype(np.int64))


# ------------------------------------------------------------------------------------------------- fit


@dataclass(frozen=True)
class FaceScapeFitSettings:
    """How far landmarks and dataset are trusted.

    landmark_sd_m: expected error of a landmark on the face. expression_sd: of each of the 51 weights, which stay in
    0..1. identity_weight: of the prior that the person is like the dataset's people (1: as it says). evaluations: at
    most so many of the residuals.
    """

    landmark_sd_m: float = 0.001
    expression_sd: float = 0.3
    identity_weight: float = 1.0
    evaluations: int = 200


@dataclass(frozen=True)
class FaceScapeFit:
    """A person in FaceScape's model and where: target = scale * rotation @ vertex + translation.

    identity ``[I]``, expression ``[E]`` (sums to 1). For landmarks in space scale is free of units and translation in
    metres; for a photo with a camera scale is 1 and the target the camera's frame; without a camera (weak perspective)
    scale is in pixels per metre and the target's x and y are pixels. error: root mean square of what is left of the
    landmarks' distances, in metres or pixels.
    """

    identity: Float[Tensor, "I"]
    expression: Float[Tensor, "E"]
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]
    scale: float
    error: float

    def placed(self, vertices: Float[Tensor, "*B V 3"]) -> Float[Tensor, "*B V 3"]:
        """Vertices of the model in the target's frame."""
        return self.scale * vertices @ self.rotation.T.to(vertices) + self.translation.to(vertices)


def fit_facescape(
    model: FaceScapeModel,
    points: Float[Tensor, "L D"],
    landmarks: Int[Tensor, "L"] | None = None,
    camera: Camera | None = None,
    settings: FaceScapeFitSettings | None = None,
) -> FaceScapeFit:
    """Identity, expression and place of the face with these landmarks, the most likely ones.

    points: ``[L, 3]`` metres in any right-handed frame with any scale, for instance the 68 iBUG points of a head of
    ours; or ``[L, 2]`` pixels of a photo (x right, y down). landmarks: their vertices, by default the model's. camera:
    for a photo, its focal length and centre (the pose is found); without it scaled orthography is assumed, as in
    FaceScape's own fit. Everything at once by damped least squares with bounds (SciPy's trf) on residuals in units of
    their expected errors. Deterministic. Raises LikenessError for points that cannot be fitted.
    """
    from scipy.optimize import least_squares

    settings = settings or FaceScapeFitSettings()
    indices = model.landmarks if landmarks is None else landmarks
    if indices is None:
        entry = FOREIGN["facescape_landmarks"]
        raise LikenessError(
            f"FaceScape's model cannot be fitted without {entry.feature}. To get them, {entry.how_to_get}, and pass it "
            f"as `landmarks`. {entry.without_it}"
        )
    count, dimensions = points.shape
    if count != len(indices) or count < 4 or dimensions not in (2, 3) or not bool(points.isfinite().all()):
        raise LikenessError(
            f"{count} points with {dimensions} coordinates cannot be fitted to {len(indices)} landmarks. As many "
            "finite points as landmarks were expected, at least 4, each with 2 coordinates (pixels) or 3 (metres)."
        )
    target = points.detach().double().cpu()
    if float((target - target[0]).norm(dim=1).amax()) == 0:
        raise LikenessError("All points to be fitted lie in one place. Pass the landmarks of a face.")

    core = model.rows(indices)
    neutral = core[..., 0]
    offsets = core[..., 1:] - core[..., :1]
    mean, spread = model.identity_mean.double(), model.identity_spread.double()
    people, expressions = len(mean), offsets.shape[-1]

    lens = camera if dimensions == 2 else None
    start_rotation, start_translation, start_scale = _start(neutral @ mean, target, lens)
    # Pixels or metres of the target that a landmark's expected error spans, where the search starts.
    sd = settings.landmark_sd_m * start_scale
    focal = centre = torch.zeros(())
    if lens is not None:
        focal, centre = lens.focal_px[0].double().cpu(), lens.principal_px[0].double().cpu()
        sd = settings.landmark_sd_m * float(focal / start_translation[2])
    # Rotation, translation, scale (with a lens it is 1), people, expressions.
    sizes = [3, len(start_translation), 0 if lens is not None else 1, people, expressions]

    def unpack(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        turn, move, zoom, z, weights = x.split(sizes)
        rotation = axis_angle_to_matrix(turn) @ start_rotation
        return rotation, start_translation + 10 * sd * move, start_scale * zoom.sum().exp(), z, weights

    def landmarks_at(x: Tensor) -> Tensor:
        rotation, translation, scale, z, weights = unpack(x)
        identity = mean + spread * z
        shape = neutral @ identity + torch.einsum("lxie,i,e->lx", offsets, identity, weights)
        turned = scale * shape @ rotation.T
        if lens is None:
            return turned[:, :dimensions] + translation
        seen = turned + translation
        return seen[:, :2] / seen[:, 2:].clamp_min(1e-3) * focal + centre

    def residuals(x: Tensor) -> Tensor:
        *_, z, weights = unpack(x)
        misfit = (landmarks_at(x) - target) / sd
        return torch.cat([misfit.flatten(), z * settings.identity_weight**0.5, weights / settings.expression_sd])

    def jacobian(x: Tensor) -> Tensor:
        turn, _, _, z, weights = x.split(sizes)
        rotation, translation, scale, *_ = unpack(x)
        identity = mean + spread * z
        by_z = (neutral + torch.einsum("lxie,e->lxi", offsets, weights)) * spread
        by_weight = torch.einsum("lxie,i->lxe", offsets, identity)
        shape = neutral @ identity + by_weight @ weights
        by_turn = torch.autograd.functional.jacobian(axis_angle_to_matrix, turn)
        assert isinstance(by_turn, Tensor)
        turned = scale * shape @ rotation.T
        move = 10 * sd * torch.eye(len(translation), 3).to(turned).T.expand(count, -1, -1)
        columns = [
            scale * torch.einsum("yxk,xw,lw->lyk", by_turn, start_rotation, shape),
            move,
            turned[:, :, None].expand(-1, -1, sizes[2]),
            scale * torch.einsum("yx,lxi->lyi", rotation, by_z),
            scale * torch.einsum("yx,lxe->lye", rotation, by_weight),
        ]
        by_all = torch.cat(columns, 2)
        if lens is None:
            by_all = by_all[:, :dimensions]
        else:
            seen = turned + translation
            depth = seen[:, 2:, None].clamp_min(1e-3)
            by_all = focal * (by_all[:, :2] / depth - seen[:, :2, None] * by_all[:, 2:] / depth**2)
        prior = torch.zeros(people + expressions, x.numel(), dtype=x.dtype)
        prior[:, -people - expressions :] = torch.diag(
            torch.cat([z.new_full(z.shape, settings.identity_weight**0.5), 1 / settings.expression_sd + 0 * weights])
        )
        return torch.cat([by_all.flatten(0, 1) / sd, prior])

    size = sum(sizes)
    start, lower, upper = np.zeros(size), np.full(size, -np.inf), np.full(size, np.inf)
    start[size - expressions :], lower[size - expressions :], upper[size - expressions :] = 0.01, 0.0, 1.0
    derivative: Any = lambda x: jacobian(torch.from_numpy(x)).numpy()  # noqa: E731, SciPy's stub wants a text
    found = least_squares(
        lambda x: residuals(torch.from_numpy(x)).numpy(),
        start,
        derivative,
        bounds=(lower, upper),
        method="trf",
        ftol=1e-10,
        xtol=1e-10,
        gtol=1e-10,
        max_nfev=settings.evaluations,
    )
    x = torch.from_numpy(found.x)
    rotation, translation, scale, z, weights = unpack(x)
    error = float((landmarks_at(x) - target).square().sum(1).mean().sqrt())
    if len(translation) == 2:
        translation = torch.cat([translation, translation.new_zeros(1)])
    identity, expression = mean + spread * z, model.blended(weights[None])[0]
    return FaceScapeFit(
        identity.float(), expression.float(), rotation.float(), translation.float(), float(scale), error
    )


def _start(shape: Tensor, target: Tensor, camera: Camera | None) -> tuple[Tensor, Tensor, float]:
    """Rotation, translation and scale that bring the mean face onto the points: Umeyama 1991 in space; in a photo the
    affine map in least squares, whose two rows are made orthogonal (the POS of DeMenthon and Davis 1995)."""
    middle, target_middle = shape.mean(0), target.mean(0)
    source, aim = shape - middle, target - target_middle
    if target.shape[1] == 3:
        u, singular, vt = torch.linalg.svd(aim.T @ source)
        sign = torch.ones(3, dtype=shape.dtype)
        sign[2] = torch.sign(torch.linalg.det(u @ vt))
        rotation = u @ torch.diag(sign) @ vt
        scale = float((singular * sign).sum() / source.square().sum())
        return rotation, target_middle - scale * rotation @ middle, scale
    affine = torch.linalg.lstsq(source, aim).solution.T
    u, singular, vt = torch.linalg.svd(affine, full_matrices=False)
    rows, scale = u @ vt, float(singular.mean())
    rotation = torch.stack([rows[0], rows[1], torch.linalg.cross(rows[0], rows[1])])
    if camera is None:
        return rotation, target_middle - scale * (rotation @ middle)[:2], scale
    depth = float(camera.focal_px[0]) / scale
    centre = camera.principal_px[0].double().cpu()
    at = torch.cat([(target_middle - centre) / scale, torch.tensor([depth], dtype=shape.dtype)])
    return rotation, at - rotation @ middle, 1.0
