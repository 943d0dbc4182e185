"""Faces, landmarks and the person's outline in a photo (the only file that uses mediapipe).

Three networks of the mediapipe 0.10.21 wheel are run through small graphs of our own rather than through its
`solutions`: the short- and full-range face detectors (BlazeFace, Bazarevsky et al. 2019), the face mesh with
attention (Grishchenko et al. 2020: 468 surface and 10 iris points) and the selfie segmentation. That way we cut the
crops ourselves, anti-aliased and to a fraction of a pixel, and the face mesh's own verdict on whether it looks at a
face ("presence") is a number here and not a hidden threshold.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from core.errors import LikenessError, PhotoError
from core.photo import Photo

LANDMARK_COUNT = 478

# Indices into the 478 points ("left" and "right" are the person's own).
RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_INNER, LEFT_EYE_OUTER = 33, 133, 362, 263
RIGHT_IRIS, LEFT_IRIS = slice(468, 473), slice(473, 478)
NOSE_TIP, FOREHEAD, CHIN, RIGHT_CHEEK, LEFT_CHEEK = 1, 10, 152, 234, 454

# Below this the face mesh does not see a face; mediapipe's own default is the same. It is far from enough: of what the
# detectors propose with scores above 0.3 on walls, fur and cloth, the mesh passes most.
MIN_PRESENCE = 0.5
# What both detectors, shown the levelled crop of a proposal, must score on average. Measured on 69 faces of 45 photos,
# some 30 to 1,000 px and up to profile: 0.69 or more. On about a hundred proposals that the mesh passed and that are
# no faces (dogs, a cat, clothes, a painting's sky, parts of faces): 0.65 or less.
MIN_SCORE = 0.67
_MIN_DETECTOR_SCORE = 0.3
# In tiles, of which there are hundreds, weak proposals cost more than they bring; the 69 faces had 0.55 or more.
_MIN_TILE_SCORE = 0.5
_DETECTOR_SIDE_PX = 512
_MESH_SIDE_PX = 192
_MASK_SIDE_PX = 256


@dataclass(frozen=True)
class Face:
    """A face that a detector found and that was confirmed on its own crop (see `detect_faces`).

    box_px: (left, top, right, bottom) around all 468 surface points, in photo pixels; it may reach beyond the photo.
    roll_rad: in-plane rotation of the head, positive clockwise as seen in the photo; 0 is upright. score: mean of
    both detectors' on the levelled crop, presence: the face mesh's, both 0..1. detector: the one that found it,
    "short-range" or "full-range", and how the photo was shown to it where it was not as it is.
    """

    box_px: tuple[float, float, float, float]
    roll_rad: float
    score: float
    presence: float
    detector: str

    @property
    def size_px(self) -> float:
        """The longer side of the box."""
        left, top, right, bottom = self.box_px
        return max(right - left, bottom - top)


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Where the face mesh sees its points.

    points_px: ``[478, 2]`` float32, photo pixels (x right, y down from the top-left corner of the photo; they may lie
    outside it). depth_px: ``[478]`` float32, distance along the viewing direction in photo pixels relative to the
    head's centre, smaller is nearer; a guess of the network under weak perspective, good for pose, not for shape.
    presence: the face mesh's verdict, 0..1. spread_px: root mean square over points of their standard deviation
    between the runs that were averaged, in photo pixels; about 0.5 % of the face on a clear one, several times that on
    one that is hard to see. crop_px: corners of the square that the network saw, ``[4, 2]`` in photo pixels, in the
    order top-left, top-right, bottom-right, bottom-left of the levelled crop.
    """

    points_px: Float[Tensor, "478 2"]
    depth_px: Float[Tensor, "478"]
    presence: float
    spread_px: float
    crop_px: Float[Tensor, "4 2"]


# --- the networks ------------------------------------------------------------------------------------------------

_DETECTOR_GRAPH = """
input_stream: "image" output_stream: "detections"
node {{ calculator: "FaceDetection{}Cpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:detections"
  node_options {{ [type.googleapis.com/mediapipe.FaceDetectionOptions] {{ min_score_thresh: {} }} }} }}
"""

_MESH_GRAPH = """
input_stream: "image" output_stream: "landmarks" output_stream: "presence"
node { calculator: "TfLiteCustomOpResolverCalculator" output_side_packet: "OP_RESOLVER:op_resolver"
  options { [mediapipe.TfLiteCustomOpResolverCalculatorOptions.ext] { use_gpu: false } } }
node { calculator: "ImageToTensorCalculator" input_stream: "IMAGE:image" output_stream: "TENSORS:input"
  options { [mediapipe.ImageToTensorCalculatorOptions.ext] {
    output_tensor_width: 192 output_tensor_height: 192 output_tensor_float_range { min: 0 max: 1 } } } }
node { calculator: "InferenceCalculatorCpu" input_stream: "TENSORS:input" output_stream: "TENSORS:output"
  input_side_packet: "OP_RESOLVER:op_resolver"
  options { [mediapipe.InferenceCalculatorOptions.ext] {
    model_path: "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite" delegate { xnnpack {} } } } }
node { calculator: "SplitTensorVectorCalculator" input_stream: "output" output_stream: "mesh" output_stream: "flag"
  options { [mediapipe.SplitVectorCalculatorOptions.ext] { ranges { begin: 0 end: 6 } ranges { begin: 6 end: 7 } } } }
node { calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:flag" output_stream: "FLOAT:presence"
  options { [mediapipe.TensorsToFloatsCalculatorOptions.ext] { activation: SIGMOID } } }
node { calculator: "TensorsToFaceLandmarksWithAttention" input_stream: "TENSORS:mesh"
  output_stream: "LANDMARKS:landmarks" }
"""

_MASK_GRAPH = """
input_stream: "image" output_stream: "mask"
node { calculator: "SelfieSegmentationCpu" input_stream: "IMAGE:image" output_stream: "SEGMENTATION_MASK:mask" }
"""

# What mediapipe and TF-Lite write to the process' stderr while they load; none of it is for people.
_CHATTER = (
    b"XNNPACK delegate", b"absl::InitializeLog", b"inference_feedback_manager", b"gl_context", b"GL version",
    b"landmark_projection_calculator", b"face_landmarker_graph",
)  # fmt: skip


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back the process' stderr for the duration and drop the known chatter from it (C++ writes past Python)."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            for line in held:
                if not any(word in line for word in _CHATTER):
                    os.write(2, line)


class _Networks:
    """The four graphs. They hold state (a clock), so one thread at a time uses them."""

    def __init__(self) -> None:
        import mediapipe
        from google.protobuf import text_format
        from mediapipe.calculators.core import split_vector_calculator_pb2  # noqa: F401  registers graph options
        from mediapipe.calculators.tensor import (  # noqa: F401
            image_to_tensor_calculator_pb2,
            inference_calculator_pb2,
            tensors_to_floats_calculator_pb2,
        )
        from mediapipe.calculators.tflite import tflite_custom_op_resolver_calculator_pb2  # noqa: F401
        from mediapipe.framework import calculator_pb2
        from mediapipe.modules.face_detection import face_detection_pb2  # noqa: F401
        from mediapipe.python import packet_creator, packet_getter
        from mediapipe.python._framework_bindings import calculator_graph, image_frame, resource_util

        resource_util.set_resource_dir(os.path.dirname(os.path.dirname(mediapipe.__file__)))
        self._create_packet = packet_creator.create_image_frame
        self._srgb = image_frame.ImageFormat.SRGB
        self._time = 0
        self._results: dict[str, Any] = {}
        getters = {
            "detections": packet_getter.get_proto_list,
            "landmarks": packet_getter.get_proto,
            "presence": packet_getter.get_float,
            "mask": lambda packet: np.array(packet_getter.get_image_frame(packet).numpy_view(), dtype=np.float32),
        }

        def start(text: str) -> Any:
            config: Any = text_format.Parse(text, calculator_pb2.CalculatorGraphConfig())  # type: ignore[attr-defined]
            graph = calculator_graph.CalculatorGraph(graph_config=config)
            for stream in config.output_stream:
                graph.observe_output_stream(
                    stream, lambda name, packet: self._results.__setitem__(name, getters[name](packet)), False
                )
            graph.start_run({})
            return graph

        self._graphs = {
            "short-range": start(_DETECTOR_GRAPH.format("ShortRange", _MIN_DETECTOR_SCORE)),
            "full-range": start(_DETECTOR_GRAPH.format("FullRange", _MIN_DETECTOR_SCORE)),
            "mesh": start(_MESH_GRAPH),
            "mask": start(_MASK_GRAPH),
        }
        # The first run of each graph allocates, and logs; so it belongs to loading.
        for name in self._graphs:
            self.run(name, np.zeros((_MESH_SIDE_PX, _MESH_SIDE_PX, 3), np.uint8))

    def run(self, name: str, image: np.ndarray) -> dict[str, Any]:
        self._results.clear()
        self._time += 1
        packet = self._create_packet(np.ascontiguousarray(image), image_format=self._srgb).at(self._time)
        self._graphs[name].add_packet_to_input_stream("image", packet)
        self._graphs[name].wait_until_idle()
        return dict(self._results)


_lock = threading.RLock()


@functools.lru_cache(maxsize=1)
def _load_networks() -> _Networks:
    try:
        with _without_chatter(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # protobuf's deprecations at import, which are not ours to mend
            return _Networks()
    except ImportError as error:
        raise LikenessError(
            f"Faces cannot be found because mediapipe does not load ({error}). Version 0.10.21 was expected, the last "
            "that carries its models, on Python 3.9 to 3.12 with numpy below 2. "
            "Install it with: pip install mediapipe==0.10.21"
        ) from error


def _run(name: str, image: np.ndarray) -> dict[str, Any]:
    with _lock:
        return _load_networks().run(name, image)


def load_models() -> None:
    """Load the networks now instead of at the first photo (about a second)."""
    with _lock:
        _load_networks()


# --- views: what the networks are shown ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _View:
    """A resampled part of a photo. to_photo: ``[2, 3]``, view pixels to photo pixels (corner origin both)."""

    image: UInt8[np.ndarray, "h w 3"]
    to_photo: Float[np.ndarray, "2 3"]

    def points_in_photo(self, points: np.ndarray) -> np.ndarray:
        return points @ self.to_photo[:, :2].T + self.to_photo[:, 2]


def _view(pixels: np.ndarray, to_photo: np.ndarray, width: int, height: int, *, constant: bool = False) -> _View:
    """Resample a photo, anti-aliased: area average to about twice the view's resolution, bilinear warp to exactly
    twice, 2x2 average. Beyond the border: its nearest pixel, or black (as the detectors were trained) if `constant`."""
    import cv2

    scale = math.sqrt(abs(np.linalg.det(to_photo[:, :2])))  # photo pixels per view pixel
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ to_photo[:, :2].T + to_photo[:, 2]
    reach = 2 * max(1.0, scale)
    left, top = np.maximum(np.floor(corners.min(0) - reach), 0).astype(int)
    right, bottom = np.minimum(np.ceil(corners.max(0) + reach).astype(int), [pixels.shape[1], pixels.shape[0]])
    if right <= left or bottom <= top:  # wholly outside the photo
        left, top, right, bottom = 0, 0, 1, 1
    region = pixels[top:bottom, left:right]
    factor = max(1, int(scale / 2))
    shrink_x, shrink_y = min(factor, region.shape[1]), min(factor, region.shape[0])
    if factor > 1:
        region = region[: region.shape[0] // shrink_y * shrink_y, : region.shape[1] // shrink_x * shrink_x]
        size = (region.shape[1] // shrink_x, region.shape[0] // shrink_y)
        region = cv2.resize(region, size, interpolation=cv2.INTER_AREA)
    # view (doubled) -> photo -> region; then from corner origin to OpenCV's centre-of-first-pixel origin.
    linear = to_photo[:, :2] / 2 / np.array([[shrink_x], [shrink_y]])
    offset = (to_photo[:, 2] - [left, top]) / [shrink_x, shrink_y]
    offset = offset + linear @ [0.5, 0.5] - 0.5
    border = cv2.BORDER_CONSTANT if constant else cv2.BORDER_REPLICATE
    doubled = cv2.warpAffine(
        np.ascontiguousarray(region),
        np.concatenate([linear, offset[:, None]], 1),
        (2 * width, 2 * height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=border,
    )
    return _View(cv2.resize(doubled, (width, height), interpolation=cv2.INTER_AREA), to_photo)


def _square_to_photo(centre: np.ndarray, side_px: float, roll_rad: float, view_side: int) -> np.ndarray:
    """The map of a square view of `side_px` photo pixels around `centre`, turned by `roll_rad`, to the photo."""
    scale = side_px / view_side
    cos, sin = math.cos(roll_rad) * scale, math.sin(roll_rad) * scale
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.concatenate([linear, (centre - linear @ [view_side / 2, view_side / 2])[:, None]], 1)


def _mesh(photo: Photo, centre: np.ndarray, side_px: float, roll_rad: float) -> tuple[np.ndarray, float, _View]:
    """One run of the face mesh: points ``[478, 3]`` in photo pixels (the third relative depth), presence, the view."""
    to_photo = _square_to_photo(centre, side_px, roll_rad, _MESH_SIDE_PX)
    view = _view(photo.pixels, to_photo, _MESH_SIDE_PX, _MESH_SIDE_PX)
    result = _run("mesh", view.image)
    if "landmarks" not in result:
        return np.zeros((LANDMARK_COUNT, 3)), 0.0, view
    points = np.array([(p.x, p.y, p.z) for p in result["landmarks"].landmark])
    xy = view.points_in_photo(points[:, :2] * _MESH_SIDE_PX)
    return np.concatenate([xy, points[:, 2:] * side_px], 1), float(result["presence"]), view


def _roll(points: np.ndarray) -> float:
    """In-plane rotation of the line through the outer eye corners."""
    across = points[LEFT_EYE_OUTER, :2] - points[RIGHT_EYE_OUTER, :2]
    return math.atan2(across[1], across[0])


def _levelled_square(points: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Centre, side and roll of the levelled square that just holds the surface points."""
    roll = _roll(points)
    turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    level = points[:468, :2] @ turn.T
    low, high = level.min(0), level.max(0)
    return (low + high) / 2 @ turn, float((high - low).max()), roll


# --- faces ---------------------------------------------------------------------------------------------------------

# The face mesh was trained on squares 1.5 times the tight one around its own points (mediapipe's face_landmark module).
_MESH_MARGIN = 1.5
_MESH_TURN = 0.15
# The detectors' boxes reach from the brows to the chin; the first crop is generous because the second one corrects it.
_FIRST_MARGIN = 1.6
# What a face must measure to be tried at all, and the overlap at which two finds are one face.
_MIN_FACE_PX = 16
_SAME_FACE_IOU = 0.4


def detect_faces(photo: Photo) -> tuple[Face, ...]:
    """All faces, largest first; empty where none is.

    Both detectors look at the photo. A proposal counts where the face mesh sees a face and where its levelled crop,
    shown to both detectors once more, is a face to them too: of dogs and wallpaper one detector may be half sure, at
    one scale. Where nothing is found the photo is shown again: padded (faces that fill the frame), turned by a quarter
    and a half, and in overlapping tiles (tiny faces).
    """
    with _lock:
        finds = _confirmed(photo, _whole_view(photo, 0, 1.0), "")
        if not finds:
            for quarter, padding, how in ((0, 2.0, "padded"), (0, 3.0, "padded"), (1, 1.3, "turned left"),
                                          (3, 1.3, "turned right"), (2, 1.3, "upside down")):  # fmt: skip
                finds = _confirmed(photo, _whole_view(photo, quarter, padding), how)
                if finds:
                    break
        if not finds:
            for tiles in _tiles(photo):
                for tile in tiles:
                    finds += _confirmed(photo, tile, "in a part of the photo", _MIN_TILE_SCORE)
                if finds:
                    break
    faces: list[Face] = []
    for face in sorted(finds, key=lambda f: (-f.score, f.box_px)):
        if all(_iou(face.box_px, other.box_px) < _SAME_FACE_IOU for other in faces):
            faces.append(face)
    return tuple(sorted(faces, key=lambda f: (-f.size_px, f.box_px)))


def pick_face(faces: tuple[Face, ...], point_px: tuple[float, float] | None = None) -> Face:
    """The largest face, or the one at a point of the photo: the smallest whose box holds it, else the nearest.

    Raises `PhotoError` where there is no face at all.
    """
    if not faces:
        raise PhotoError(
            "No face was found in the photo. One face should be seen from the front, in good light, and at least 64 "
            "pixels wide; take or choose another photo, or cut this one closer to the face."
        )
    if point_px is None:
        return max(faces, key=lambda f: f.size_px)

    def distance(face: Face) -> tuple[float, float]:
        left, top, right, bottom = face.box_px
        x, y = point_px
        return math.hypot(max(left - x, 0, x - right), max(top - y, 0, y - bottom)), face.size_px

    return min(faces, key=distance)


def _iou(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / max(areas - width * height, 1e-9)


def _whole_view(photo: Photo, quarter_turns: int, padding: float) -> _View:
    """The whole photo centred in a square view whose side is `padding` times the photo's longer one."""
    side = max(photo.width, photo.height) * padding
    to_photo = _square_to_photo(
        np.array([photo.width / 2, photo.height / 2]), side, quarter_turns * math.pi / 2, _DETECTOR_SIDE_PX
    )
    return _view(photo.pixels, to_photo, _DETECTOR_SIDE_PX, _DETECTOR_SIDE_PX, constant=True)


def _tiles(photo: Photo) -> Iterator[Iterator[_View]]:
    """Squares that overlap by half, level by level: of 1, 1/2, 1/4 and 1/8 of the photo's shorter side."""
    shorter, size = min(photo.width, photo.height), _DETECTOR_SIDE_PX // 2

    def level(side: float) -> Iterator[_View]:
        columns = math.ceil((photo.width - side) / (side / 2)) + 1
        rows = math.ceil((photo.height - side) / (side / 2)) + 1
        for y in np.linspace(side / 2, photo.height - side / 2, rows):
            for x in np.linspace(side / 2, photo.width - side / 2, columns):
                yield _view(
                    photo.pixels, _square_to_photo(np.array([x, y]), side, 0.0, size), size, size, constant=True
                )

    for division in (1, 2, 4, 8):
        if shorter / division >= 128:
            yield level(shorter / division)


def _confirmed(photo: Photo, view: _View, how: str, min_score: float = _MIN_DETECTOR_SCORE) -> list[Face]:
    """The faces that either detector proposes in a view and the face mesh confirms in the photo."""
    side = view.image.shape[0]
    scale = math.sqrt(abs(np.linalg.det(view.to_photo[:, :2])))
    faces = []
    for name in ("short-range", "full-range"):
        for detection in _run(name, view.image).get("detections", []):
            box = detection.location_data.relative_bounding_box
            keys = np.array([(k.x, k.y) for k in detection.location_data.relative_keypoints]) * side
            centre = view.points_in_photo(np.array([[box.xmin + box.width / 2, box.ymin + box.height / 2]]) * side)[0]
            size = max(box.width, box.height) * side * scale
            if size < _MIN_FACE_PX or detection.score[0] < min_score:
                continue
            # Keypoints: right eye, left eye, nose tip, mouth, right ear, left ear.
            eyes = view.points_in_photo(keys[:2])
            across = eyes[1] - eyes[0]
            points, presence, _ = _mesh(photo, centre, size * _FIRST_MARGIN, math.atan2(across[1], across[0]))
            if presence < MIN_PRESENCE:
                continue
            square, side_px, roll = _levelled_square(points)
            points, presence, _ = _mesh(photo, square, side_px * _MESH_MARGIN, roll)
            if presence < MIN_PRESENCE:
                continue
            low, high = points[:468, :2].min(0), points[:468, :2].max(0)
            left, top, right, bottom = (float(v) for v in (*low, *high))
            # A mesh that collapsed or left its crop is no face, whatever the verdict.
            if _iou((left, top, right, bottom), (*(square - side_px / 2), *(square + side_px / 2))) < 0.3:
                continue
            score = _score_of_crop(photo, points)
            if score >= MIN_SCORE:
                label = f"{name}, {how}" if how else name
                faces.append(Face((left, top, right, bottom), _roll(points), score, presence, label))
    return faces


def _score_of_crop(photo: Photo, points: np.ndarray) -> float:
    """Mean score of both detectors for a face in the middle of the levelled crop of 2.2 times the face's size."""
    centre, side_px, roll = _levelled_square(points)
    size = _DETECTOR_SIDE_PX // 2
    crop = _view(photo.pixels, _square_to_photo(centre, 2.2 * side_px, roll, size), size, size)
    total = 0.0
    for name in ("short-range", "full-range"):
        best = 0.0
        for detection in _run(name, crop.image).get("detections", []):
            box = detection.location_data.relative_bounding_box
            off_centre = max(abs(box.xmin + box.width / 2 - 0.5), abs(box.ymin + box.height / 2 - 0.5))
            if off_centre < 0.15 and 0.2 < box.width < 0.7:
                best = max(best, float(detection.score[0]))
        total += best
    return total / 2


def landmarks(photo: Photo, face: Face) -> Landmarks:
    """The 478 points of one face.

    The mesh runs on the levelled square around the face, on the square around its own points, and then three times on
    the square around those, turned by -0.15, 0 and 0.15 rad; the mean of the three is returned. How far the points move
    when 16 photos are scaled, turned and brightened (12 times each), in per cent of the face: one run 0.36, two 0.23,
    three 0.21, this mean 0.15. Other margins around the face than the one the mesh was trained with shift the points.

    Same pixels and face, same points. A face that the mesh does not see (a box drawn by hand) has a presence near 0.
    """
    left, top, right, bottom = face.box_px
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    with _lock:
        points, _, _ = _mesh(photo, centre, face.size_px * _MESH_MARGIN, face.roll_rad)
        for _ in range(2):
            square, side, roll = _levelled_square(points)
            points, presence, view = _mesh(photo, square, side * _MESH_MARGIN, roll)
        turned = [_mesh(photo, square, side * _MESH_MARGIN, roll + turn)[0] for turn in (-_MESH_TURN, _MESH_TURN)]
    runs = np.stack([points, *turned])
    mean = runs.mean(0)
    size = float(_MESH_SIDE_PX)
    crop = view.points_in_photo(np.array([[0, 0], [size, 0], [size, size], [0, size]]))
    return Landmarks(
        points_px=torch.from_numpy(mean[:, :2]).float(),
        depth_px=torch.from_numpy(mean[:, 2]).float(),
        presence=presence,
        spread_px=float(np.sqrt(runs[..., :2].var(0).sum(-1).mean())),
        crop_px=torch.from_numpy(crop).float(),
    )


def person_mask(photo: Photo, crop: tuple[int, int, int, int]) -> Float[Tensor, "h w"]:
    """How much each pixel of a crop (left, top, right, bottom; whole photo pixels) belongs to a person, 0..1.

    The network sees the crop at 256 x 256, so edges are about 1/100 of the crop wide. Hair, clothes and accessories
    belong to the person. Raises ValueError for a crop that is empty or not inside the photo.
    """
    import cv2

    left, top, right, bottom = crop
    if not (0 <= left < right <= photo.width and 0 <= top < bottom <= photo.height):
        raise ValueError(f"The crop {crop} is not inside the photo of {photo.width} x {photo.height} pixels.")
    width, height = right - left, bottom - top
    side = float(max(width, height))
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    view = _view(photo.pixels, _square_to_photo(centre, side, 0.0, _MASK_SIDE_PX), _MASK_SIDE_PX, _MASK_SIDE_PX)
    mask = np.ascontiguousarray(_run("mask", view.image)["mask"], dtype=np.float32)
    # Photo pixel centres -> view pixel centres.
    scale = _MASK_SIDE_PX / side
    offset_x = (left + 0.5 - (centre[0] - side / 2)) * scale - 0.5
    offset_y = (top + 0.5 - (centre[1] - side / 2)) * scale - 0.5
    to_view = np.array([[scale, 0.0, offset_x], [0.0, scale, offset_y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    resized = cv2.warpAffine(mask, to_view, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(np.clip(resized, 0.0, 1.0))
