"""The judges of editing (assets/edit_oracles.safetensors), taught by people who are painted for them: five minutes.

    python -m recipes.oracles

Afterwards `python -m recipes.checksums --write`. Nothing of it guides an edit: the people are drawn afresh, and no
generator, no text-image model and no photo is looked at; heads of the generator serve to check the judges only.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch

from core.checkpoints import ASSETS, WEIGHTS, write_whole
from core.generation import Wish, generate_head
from core.head import HeadModel, load_head
from core.synthesis.features import draw_features
from core.synthesis.heads import paint_eyes
from core.synthesis.people import person_with, sample_person
from core.synthesis.skins import paint_albedo
from editing.oracles import APPEARANCE, MAP_PX, Examined, judge_bytes, readings, train_judge

FIRST_SEED = 5_000_000  # of people nobody trained on
PEOPLE, ASIDE, GENERATED = 900, 300, 150
# In people these hang together (beards are seldom grey on young chins). To tell them apart, some who teach have each
# drawn by itself: absent in one of two, else anything.
OWN = (
    *("melanin", "haemoglobin", "mottling", "freckles", "blemishes", "wrinkles", "under_eye", "flush", "lip_redness"),
    *("hair_melanin", "hair_redness", "grey", "brow_density", "brow_thickness", "scalp_hair", "stubble", "beard_chin"),
    *("beard_cheeks", "moustache", "lipstick", "eyeliner", "eyeshadow", "blush"),
)
EYE_PX = 96


def main(arguments: list[str] | None = None) -> None:
    """Examine people, teach the judge, write it and say how good it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=PEOPLE, help="how many teach, and a third more apart")
    options = parser.parse_args(arguments)
    head = load_head()
    first = FIRST_SEED
    taught = painted(head, range(first, first + options.people))
    apart = painted(head, range(first + 500_000, first + 500_000 + options.people // 3), independent=True)
    taught = Examined(
        taught.found + apart.found, torch.cat([taught.shapes, apart.shapes]), taught.labels + apart.labels
    )
    aside = painted(head, range(first + 1_000_000, first + 1_000_000 + ASIDE))
    made = generated(head, range(first + 1_100_000, first + 1_100_000 + GENERATED))
    judge = train_judge(taught, aside, made)
    path = ASSETS / WEIGHTS["edit_oracles"].file
    write_whole(path, judge_bytes(judge))
    for i, oracle in enumerate(APPEARANCE):
        own, other = judge.validity[:, i].tolist()
        print(f"{oracle.name:18} {own:6.2f} painted {other:6.2f} generated, spread {float(judge.spread[i]):.3g}")
    print(f"{path}  {path.stat().st_size / 1e3:.0f} kB")


def painted(head: HeadModel, seeds: range, independent: bool = False) -> Examined:
    """People as the painters draw them, from the procedural skin, the one in assets; independent: see `OWN`."""
    rows = []
    for seed in _told(seeds, "painted"):
        person = sample_person(head, seed)
        if independent:
            rng = np.random.default_rng(seed)
            person = person_with(person, head, **{name: float(max(rng.uniform(-1, 1), 0)) for name in OWN})
        albedo = paint_albedo(head, person, draw_features(head, person, MAP_PX), MAP_PX, None)
        found = readings(head, person.shape, albedo, paint_eyes(head, person, EYE_PX))
        rows.append((found, person.shape, person.labels))
    return _examined(rows)


def generated(head: HeadModel, seeds: range) -> Examined:
    """People as `python -m app generate` makes them."""
    rows = []
    for seed in _told(seeds, "generated"):
        made = generate_head(head, Wish(seed, truncation=1.0), MAP_PX, preview=True)
        found = readings(head, made.shape, made.materials.skin_albedo, made.materials.eye_albedo)
        rows.append((found, made.shape, made.person.labels))
    return _examined(rows)


def _examined(rows: list) -> Examined:
    found, shapes, labels = zip(*rows, strict=True)
    return Examined(list(found), torch.stack(shapes), list(labels))


def _told(seeds: range, kind: str):
    for i, seed in enumerate(seeds):
        if i % 100 == 0:
            print(f"{i} of {len(seeds)} {kind}", file=sys.stderr)
        yield seed


if __name__ == "__main__":
    main()
