"""The prompts that editing is judged by, each with what has to change, and what may change with it.

Written as people type them, before the word table that the editor reads was: what the table does not know fails here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["single", "synonym", "degree", "negation", "compound of 2", "compound of 3"]
KINDS: tuple[Kind, ...] = ("single", "synonym", "degree", "negation", "compound of 2", "compound of 3")


@dataclass(frozen=True)
class Want:
    """What a prompt names. oracles: names of `oracles.ORACLES`; one of them has to move. sign: which way."""

    oracles: tuple[str, ...]
    sign: int


@dataclass(frozen=True)
class Case:
    """A prompt and all that has to move for it to have worked.

    share: of the step that is asked for (half a standard deviation, 0.3 of an expression) which this prompt has to
    reach: 1, or less for "slightly". prepared: labels or traits and expressions that a head is given before, so that
    there is something to take away. implied: what may come with the words, and need not (a sailor's beard).
    """

    prompt: str
    kind: Kind
    wants: tuple[Want, ...]
    share: float = 1.0
    prepared: Mapping[str, float] = field(default_factory=dict)
    implied: tuple[str, ...] = ()


def _case(prompt: str, kind: Kind, wants: str, share: float = 1.0, **prepared: float) -> Case:
    """wants: words such as ``+age`` or ``-mouthSmile``; ``|`` stands between alternatives, ``~`` before what is only
    implied."""
    words = [word for word in wants.split() if word[0] != "~"]
    read = tuple(Want(tuple(word[1:].split("|")), 1 if word[0] == "+" else -1) for word in words)
    return Case(prompt, kind, read, share, prepared, tuple(word[1:] for word in wants.split() if word[0] == "~"))


SLIGHTLY = 0.3  # of the whole step, for prompts that ask for little

_SINGLES = {
    "older": "+age",
    "younger": "-age",
    "smiling": "+mouthSmile",
    "angry": "+browDown",
    "sad": "+mouthFrown|browInnerUp",
    "surprised": "+eyeWide|browInnerUp|browOuterUp|jawOpen",
    "beard": "+beard",
    "moustache": "+moustache",
    "freckles": "+freckles",
    "wrinkles": "+wrinkles",
    "darker skin": "-skin_lightness",
    "pale skin": "+skin_lightness",
    "rosy cheeks": "+flush",
    "dark circles under the eyes": "+under_eye",
    "blue eyes": "+iris_blue",
    "green eyes": "+iris_green",
    "brown eyes": "-iris_green",
    "red lips": "+lip_redness",
    "thick eyebrows": "+brow_density|brow_thickness",
    "grey hair": "+grey",
    "wider nose": "+nose_width",
    "longer nose": "+nose_length",
    "full lips": "+lip_height",
    "wide mouth": "+mouth_width",
    "square jaw": "+jaw_width",
    "strong chin": "+chin_projection|chin_length",
    "high cheekbones": "+cheekbones",
    "big ears": "+ear_height",
    "big eyes": "+eye_opening|eye_width",
    "long face": "+face_length",
    "chubby": "+weight",
    "thin face": "-weight|face_width",
    "masculine": "+gender",
    "feminine": "-gender",
    "mouth open": "+jawOpen",
    "eyes closed": "+eyeBlink",
    "Asian": "+asian",
    "African": "+african",
}
_SYNONYMS = {
    "elderly": "+age",
    "Senior citizen": "+age",
    "youthful": "-age",
    "make her look like a grandmother": "+age ~gender",
    "grinning": "+mouthSmile",
    "happy": "+mouthSmile",
    "FURIOUS": "+browDown",
    "unhappy": "+mouthFrown|browInnerUp",
    "shocked": "+eyeWide|browInnerUp|browOuterUp|jawOpen",
    "frowning": "+browDown|mouthFrown",
    "wide-eyed": "+eyeWide|eye_opening",
    "kissing lips": "+mouthPucker",
    "raise the eyebrows": "+browOuterUp|browInnerUp",
    "winking": "+eyeBlinkLeft|eyeBlinkRight",
    "bearded": "+beard",
    "give him a mustache": "+moustache",
    "five o'clock shadow": "+beard",
    "freckled": "+freckles",
    "wrinkly": "+wrinkles",
    "dark-skinned": "-skin_lightness",
    "tanned": "-skin_lightness",
    "fair complexion": "+skin_lightness",
    "lipstick": "+lip_redness",
    "bags under the eyes": "+under_eye",
    "bushy brows": "+brow_density|brow_thickness",
    "a broad nose": "+nose_width",
    "plump lips": "+lip_height",
    "large ears": "+ear_height",
    "overweight": "+weight",
    "skinny": "-weight",
    "more manly": "+gender",
    "ladylike": "-gender",
}
_DEGREES = (
    _case("slightly older", "degree", "+age", SLIGHTLY),
    _case("much older", "degree", "+age"),
    _case("a bit younger", "degree", "-age", SLIGHTLY),
    _case("20 years older", "degree", "+age"),
    _case("a little smile", "degree", "+mouthSmile", SLIGHTLY),
    _case("smiling broadly", "degree", "+mouthSmile"),
    _case("very wrinkled", "degree", "+wrinkles"),
    _case("a bit darker skin", "degree", "-skin_lightness", SLIGHTLY),
    _case("much wider nose", "degree", "+nose_width"),
    _case("slightly fuller lips", "degree", "+lip_height", SLIGHTLY),
    _case("lots of freckles", "degree", "+freckles"),
    _case("extremely fat", "degree", "+weight"),
)
_BEARDED = {"gender": 1.0, "beard": 0.9, "hair_colour": 0.85, "grey_hair": 0.0}
_NEGATIONS = (
    _case("no freckles", "negation", "-freckles", freckles=0.8, skin_tone=0.1),
    _case("less freckles", "negation", "-freckles", SLIGHTLY, freckles=0.9, skin_tone=0.1),
    _case("not smiling", "negation", "-mouthSmile", mouthSmileLeft=0.8, mouthSmileRight=0.8),
    _case("not angry", "negation", "-browDown", browDownLeft=0.8, browDownRight=0.8),
    _case("close the mouth", "negation", "-jawOpen", jawOpen=0.6),
    _case("without a beard", "negation", "-beard", **_BEARDED),
    _case("clean-shaven", "negation", "-beard", **_BEARDED),
    _case("less beard", "negation", "-beard", SLIGHTLY, **_BEARDED),
    _case("no wrinkles", "negation", "-wrinkles", age=70.0, wrinkles=0.9),
    _case("no lipstick", "negation", "-lip_redness", lipstick=0.9, lipstick_hue=0.5, gender=0.0),
    _case("no dark circles", "negation", "-under_eye", under_eye=0.9),
)
_PAIRS = {
    "older, smiling": "+age +mouthSmile",
    "older woman": "+age -gender",
    "young and happy": "-age +mouthSmile",
    "fat and happy": "+weight +mouthSmile",
    "angry surprised": "+browDown +eyeWide|jawOpen|browInnerUp|browOuterUp",
    "sad and tired": "+mouthFrown|browInnerUp +under_eye|eyeBlink|eyeSquint",
    "wider nose and fuller lips": "+nose_width +lip_height",
    "green eyes and freckles": "+iris_green +freckles",
    "dark skin, brown eyes": "-skin_lightness -iris_green",
    "bearded with bushy eyebrows": "+beard +brow_density|brow_thickness",
    "smiling with red lips": "+mouthSmile +lip_redness",
    "long nose, big ears": "+nose_length +ear_height",
    "pale with dark circles": "+skin_lightness +under_eye",
    "a wrinkled man": "+wrinkles +gender",
    "surprised, blue eyes": "+eyeWide|jawOpen|browInnerUp|browOuterUp +iris_blue",
    "make him look like a tired old sailor": "+age +under_eye|eyeBlink|eyeSquint ~gender ~beard ~skin_lightness",
}
_TRIPLES = {
    "older, smiling, with a beard": "+age +mouthSmile +beard",
    "angry old man": "+browDown +age +gender",
    "young freckled woman": "-age +freckles -gender",
    "wide nose, full lips, dark skin": "+nose_width +lip_height -skin_lightness",
    "happy, freckles, blue eyes": "+mouthSmile +freckles +iris_blue",
    "surprised chubby man": "+eyeWide|jawOpen|browInnerUp|browOuterUp +weight +gender",
    "old, wrinkled and sad": "+age +wrinkles +mouthFrown|browInnerUp",
    "square jaw, strong chin, wide mouth": "+jaw_width +chin_projection|chin_length +mouth_width",
    "thick eyebrows, brown eyes, moustache": "+brow_density|brow_thickness -iris_green +moustache",
}

# From which reading on a head has what is named, where most people or half of them do: below the first, above the
# second. Men and women are two humps; above 55 degrees ITA is very light, below -30 dark skin (Chardon et al. 1991);
# reddish brown irises begin at an a* of about 6. Of all else it takes as much as one person in twenty has.
ENOUGH: Mapping[str, tuple[float, float]] = {
    "gender": (0.25, 0.75),
    "skin_lightness": (-30.0, 55.0),
    "iris_green": (-6.0, 1.0),
}
# Of these there is no more or less: who is within stays within.
CLASSES = frozenset({"iris_green"})

SUITE: tuple[Case, ...] = (
    *(_case(prompt, "single", wants) for prompt, wants in _SINGLES.items()),
    *(_case(prompt, "synonym", wants) for prompt, wants in _SYNONYMS.items()),
    *_DEGREES,
    *_NEGATIONS,
    *(_case(prompt, "compound of 2", wants) for prompt, wants in _PAIRS.items()),
    *(_case(prompt, "compound of 3", wants) for prompt, wants in _TRIPLES.items()),
)


# What may change with what is named, and is not held against an edit: what comes with it in people (wrinkles and grey
# hair with age), what is partly the same measurement (the face's length holds the nose's), and what a reading cannot
# keep apart (a wider nose reads as another ancestry, since shape is all that ancestry is read from).
_ANCESTRIES = ("african", "asian", "european")
_CONTRASTS = (
    "freckles under_eye eyeshadow eyeliner brow_density brow_thickness beard moustache scalp_hair detail mottling"
)
COMPANIONS: Mapping[str, frozenset[str]] = {
    name: frozenset(others.split()) - {name}
    for name, others in {
        "age": "wrinkles mottling under_eye detail grey hair_darkness brow_density lip_height lip_redness ear_height "
        "nose_length nose_width eye_opening skin_lightness redness",
        "gender": "jaw_width chin_length chin_projection face_length face_width cheekbones brow_height brow_density "
        "brow_thickness lip_height nose_width nose_length eye_opening",
        "weight": "face_width jaw_width cheekbones chin_length mouth_width nose_width eye_opening",
        **{
            name: f"{' '.join(_ANCESTRIES)} skin_lightness redness hair_darkness iris_lightness iris_blue iris_green "
            "nose_width nose_length nose_bridge lip_height eye_opening eye_width eye_spacing cheekbones brow_height "
            f"chin_projection face_width face_length mouth_width lip_redness wrinkles flush {_CONTRASTS}"
            for name in _ANCESTRIES
        },
        "nose_width": "african asian european",
        "nose_length": "african asian european face_length",
        "lip_height": "african asian european chin_length",
        "jaw_width": "face_width weight gender",
        "chin_length": "face_length gender",
        "chin_projection": "gender",
        "cheekbones": "face_width weight",
        "face_length": "nose_length chin_length gender",
        "face_width": "jaw_width cheekbones weight eye_spacing",
        "eye_opening": "eye_width asian eye_spacing",
        "eye_width": "eye_opening eye_spacing asian",
        # The darker the skin, the less of what is dark on it stands out.
        "skin_lightness": f"redness flush lip_redness hair_darkness {_CONTRASTS}",
        "redness": "flush",
        "flush": "redness",
        "freckles": "detail mottling skin_lightness",
        "wrinkles": "age mottling detail under_eye",
        "under_eye": "age",
        "iris_blue": "iris_lightness iris_green",
        "iris_green": "iris_lightness iris_blue",
        "iris_lightness": "iris_blue iris_green",
        "grey": "hair_darkness brow_density age",
        "brow_density": "brow_thickness",
        "brow_thickness": "brow_density",
        "beard": "moustache",
        "moustache": "beard",
        # A face that acts does so with more than one muscle.
        "mouthSmile": "cheekSquint mouthDimple mouthUpperUp eyeSquint jawOpen mouthStretch",
        "browDown": "noseSneer eyeSquint mouthFrown mouthPress mouthShrugUpper mouthShrugLower",
        "mouthFrown": "browInnerUp mouthShrugLower mouthShrugUpper browDown mouthLowerDown mouthRollLower",
        "eyeWide": "browInnerUp browOuterUp jawOpen mouthFunnel",
        "browOuterUp": "browInnerUp eyeWide",
        "mouthPucker": "mouthFunnel",
        "eyeBlink": "eyeLookDown cheekSquint eyeSquint",
        "eyeBlinkLeft": "eyeBlink cheekSquint mouthSmile eyeSquint",
        "eyeBlinkRight": "eyeBlink cheekSquint mouthSmile eyeSquint",
        "jawOpen": "mouthLowerDown mouthUpperUp mouthFunnel",
    }.items()
}
