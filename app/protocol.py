"""Messages between the page and the three.js viewer.

The viewer (`static/viewer.js`) lives in an iframe of its own; the page around it (Gradio's DOM and
`static/page.js`) talks to it with `window.postMessage`, same origin only. A message is a plain
object ``{"type": <snake_case class name>, **fields}``. This file states every message for Python,
`static/protocol.js` states the same table for the browser and checks messages where they arrive; a
test reads both. To add a message: a dataclass here, an entry there, a method on `Viewer`.

Every message to the viewer carries whole state, never a difference: sending one twice, or again
after the iframe reloads, changes nothing. Angles in a message are degrees, as in every
user-facing place; positive yaw turns towards the head's left (+X), positive pitch tips the head
down and raises the camera or light, positive roll tips the head towards its right shoulder.

Python starts only `LoadHead`, `DropFirst`, `SetPhoto`, `ShowProgress`, `SetPerson`, `SetFaces` and `SetWords`; the
others start in the browser, because a slider must act within a frame. The last three are for the page itself.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

# Sent with `Ready` and compared by the page: a browser holding an old cached viewer says so instead of misbehaving.
PROTOCOL_VERSION = 5


@dataclass(frozen=True)
class Message:
    """One message. `receiver` says which side reads it."""

    receiver: ClassVar[Literal["viewer", "page"]]

    @classmethod
    def type_name(cls) -> str:
        """The name on the wire: the class name in snake_case."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def wire(self) -> dict[str, Any]:
        """The message as the plain object that travels."""
        return {"type": self.type_name(), **dataclasses.asdict(self)}


@dataclass(frozen=True)
class LoadHead(Message):
    """Show a GLB. url: absolute or relative to the page. file_name: what a download of it is called.
    final: False for a first, untextured head that a better one will replace (it cannot be saved).
    original: True for a new head, False for an edited one: "before" is the newest final original.
    expression: by ARKit name, how much of the expression stored in the file comes from words and not from the head.
    The previous head stays until the new one is ready, and stays when loading fails."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    url: str
    file_name: str
    final: bool
    original: bool
    expression: dict[str, float]


@dataclass(frozen=True)
class DropFirst(Message):
    """The first head on show will not be finished: the final head that was there before it returns. Without a first
    head on show, or without one before it, nothing happens."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"


@dataclass(frozen=True)
class SetPhoto(Message):
    """The photo that belongs to the head on show, or to the one that is being made.

    url: None: there is none (a random head). width_px, height_px: of the upright photo, in whose pixels everything
    here is. points_px: the landmarks found, x and y in turn, or empty. focal_px, principal_x_px, principal_y_px,
    transform: the fitted camera; transform is T_camera_head (OpenCV axes), 16 numbers row by row, empty until it is
    known. reading: the photo is being read: show it, with its landmarks, over the head; False puts it away, to be
    compared with the head."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    url: str | None
    width_px: float
    height_px: float
    points_px: list[float]
    focal_px: float
    principal_x_px: float
    principal_y_px: float
    transform: list[float]
    reading: bool


@dataclass(frozen=True)
class ShowProgress(Message):
    """A line of text and a bar over the viewer. text: None removes both. fraction: 0..1. beside: small and out of the
    way, since what is made is on show already and only gets finer."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    text: str | None
    fraction: float
    beside: bool = False


@dataclass(frozen=True)
class SetExpression(Message):
    """Morph weights by ARKit name, from sliders and words together; below 0 they take away. Names left out are 0; names
    the head lacks are ignored. own: add them to the head's own expression (the one on the photo, which the file stores
    with that of the words) instead of to a neutral face."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    weights: dict[str, float]
    own: bool


@dataclass(frozen=True)
class SetPose(Message):
    """Rotation of the head on the neck, degrees."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    yaw_deg: float
    pitch_deg: float
    roll_deg: float


@dataclass(frozen=True)
class SetGaze(Message):
    """Where both eyes look relative to the head, degrees: by the ARKit eyeLook shapes, which move the lids too, or
    by the eye bones of a head without those shapes."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    yaw_deg: float
    pitch_deg: float


@dataclass(frozen=True)
class SetView(Message):
    """Where the camera stands: on a sphere around the head; yaw 0, pitch 0 is straight ahead of the
    face. zoom 1 frames the whole head, 2 shows it twice as large."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    yaw_deg: float
    pitch_deg: float
    zoom: float


@dataclass(frozen=True)
class SetLight(Message):
    """The light. preset: "studio", "daylight", "dramatic", "sunset", "overcast" or "neon". yaw_deg, pitch_deg: turn the
    key light from the preset's place. key: its strength, 1 is the preset's. environment, environment_yaw_deg: strength
    and turn of the light from all around. exposure: 1 is neutral. tone_mapping: "neutral", "filmic" or "none"."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    preset: str
    yaw_deg: float
    pitch_deg: float
    key: float
    environment: float
    environment_yaw_deg: float
    exposure: float
    tone_mapping: str


@dataclass(frozen=True)
class SetStyle(Message):
    """How the surface is drawn: "textured", "clay" (grey, to judge the shape), "wireframe", "normals" or "uv" (a
    checker in the atlas)."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    style: str


@dataclass(frozen=True)
class SetDetail(Message):
    """How strongly skin shows what its maps say, each 0..2 times: 1 is as they are. normal: relief; wrinkles: those
    that expressions make; scattering: below the surface; shine: how much and how sharply it mirrors."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    normal: float
    wrinkles: float
    scattering: float
    shine: float


@dataclass(frozen=True)
class SetMap(Message):
    """Show one of the skin's maps on the head, unlit, in place of its surface. map: a name of `static/maps.js`, "" for
    none; a head without that map keeps its surface. flat: lay the map flat over the stage as well."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    map: str
    flat: bool


@dataclass(frozen=True)
class SetSurroundings(Message):
    """Surroundings of the visitor's own, which never leave the browser. url: of an `.hdr` picture, a blob of the page;
    None: those of the light. name: of the file."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    url: str | None
    name: str


@dataclass(frozen=True)
class SetIdle(Message):
    """Whether the head blinks and breathes by itself, on top of the sliders."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    on: bool


@dataclass(frozen=True)
class SetTheme(Message):
    """Whether the page is dark; the viewer's backdrop and buttons follow."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"
    dark: bool


@dataclass(frozen=True)
class SaveHead(Message):
    """Save the GLB on show under its file name. The viewer already has the bytes: no request is made."""

    receiver: ClassVar[Literal["viewer", "page"]] = "viewer"


@dataclass(frozen=True)
class SetPerson(Message):
    """Who is on show. seed: of a random head; None for one of a photo. values: by trait (`making.Person`), what it is
    in this person. fixed: the traits that are not as the seed draws them. truncation: how far people may be from the
    average. colours: by trait, the CSS colours along its range, separated by commas."""

    receiver: ClassVar[Literal["viewer", "page"]] = "page"
    seed: float | None
    values: dict[str, float]
    fixed: list[str]
    truncation: float
    colours: dict[str, str]


@dataclass(frozen=True)
class SetFaces(Message):
    """The faces that the page asked for, by their seeds: pictures as data URIs, and what is on them in words. Empty
    where they could not be drawn."""

    receiver: ClassVar[Literal["viewer", "page"]] = "page"
    seeds: list[float]
    pictures: list[str]
    texts: list[str]


@dataclass(frozen=True)
class SetWords(Message):
    """What words have made of the head on show. clauses, strengths: each clause as it was typed, and how strongly it
    acts. keep_identity, locks, method, model: as in `editing.edit.TextEdit`; they mean nothing without clauses. moved:
    in words, what changed, the most first. expression: as in `LoadHead`; it may come before the head does. rest: what
    was typed and not understood, None where this is no answer to typed text. unknown: sentences about that;
    suggestions: what could have been meant."""

    receiver: ClassVar[Literal["viewer", "page"]] = "page"
    clauses: list[str]
    strengths: list[float]
    keep_identity: float
    locks: list[str]
    method: str
    model: str
    moved: list[str]
    expression: dict[str, float]
    rest: str | None
    unknown: list[str]
    suggestions: list[str]


@dataclass(frozen=True)
class Ready(Message):
    """The viewer has started and listens. Messages sent earlier are kept by the page and sent now."""

    receiver: ClassVar[Literal["viewer", "page"]] = "page"
    protocol: float


@dataclass(frozen=True)
class HeadLoaded(Message):
    """A head is on show. morphs and joints: the names that the file offers. maps: those of its skin, by the names of
    `static/maps.js`."""

    receiver: ClassVar[Literal["viewer", "page"]] = "page"
    url: str
    final: bool
    triangles: float
    morphs: list[str]
    joints: list[str]
    maps: list[str]


@dataclass(frozen=True)
class MapShown(Message):
    """What the viewer shows of the maps now, as in `SetMap`: its own buttons close them too."""

    receiver: ClassVar[Literal["viewer", "page"]] = "page"
    map: str
    flat: bool


@dataclass(frozen=True)
class SurroundingsSet(Message):
    """The answer to `SetSurroundings`. name: of the file that lights the head, None where it is the preset again.
    problem: why the file is not used, in full sentences; what was there stays."""

    receiver: ClassVar[Literal["viewer", "page"]] = "page"
    name: str | None
    problem: str | None


@dataclass(frozen=True)
class FillWindow(Message):
    """Let the viewer fill the whole window, or no longer: for browsers whose full screen is for videos only."""

    receiver: ClassVar[Literal["viewer", "page"]] = "page"
    on: bool


@dataclass(frozen=True)
class Failed(Message):
    """Something a person must be told, in full sentences; what was on show before stays."""

    receiver: ClassVar[Literal["viewer", "page"]] = "page"
    text: str


MESSAGES: tuple[type[Message], ...] = (
    LoadHead,
    DropFirst,
    SetPhoto,
    ShowProgress,
    SetExpression,
    SetPose,
    SetGaze,
    SetView,
    SetLight,
    SetStyle,
    SetDetail,
    SetMap,
    SetSurroundings,
    SetIdle,
    SetTheme,
    SaveHead,
    SetPerson,
    SetFaces,
    SetWords,
    Ready,
    HeadLoaded,
    MapShown,
    SurroundingsSet,
    FillWindow,
    Failed,
)


def schema() -> dict[str, dict[str, Any]]:
    """The table of `static/protocol.js`: type name -> {"to": receiver, "fields": {field: kind}}.

    Kinds: "string", "number", "boolean", with "?" where it may be null, "strings", "values" (a list of numbers),
    "numbers" and "texts" (objects of numbers and of strings).
    """
    kinds = {
        "str": "string",
        "str | None": "string?",
        "float": "number",
        "float | None": "number?",
        "bool": "boolean",
        "list[str]": "strings",
        "list[float]": "values",
        "dict[str, float]": "numbers",
        "dict[str, str]": "texts",
    }
    return {
        message.type_name(): {
            "to": message.receiver,
            "fields": {field.name: kinds[str(field.type)] for field in dataclasses.fields(message)},
        }
        for message in MESSAGES
    }
