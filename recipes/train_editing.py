"""Train what text editing needs, from the maps of synthetic people to the weights in assets/:
``python -m recipes.train_editing --people FOLDER``.

FOLDER is that of `recipes.train_albedo`, with ``maps`` of people to learn from and ``held_out`` ones to measure on.
Steps, each of which can also be had alone (``--only``): pairs (pictures with known attributes), text_image (the
text-image model, and figures of it on the people held out), methods (what texts and attributes have to do with each
other in its eyes: the directions and the mapper), install (weights into assets/, with their checksums).

Everything that is made lies in one folder (``--out``). The same command goes on where it was stopped: finished files
are kept, training goes on from its checkpoint. ``record.json`` there says what was done, how long it took and how good
it became.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from core.checkpoints import ASSETS, WEIGHTS, write_whole
from core.errors import LikenessError
from editing.directions import measure_directions
from editing.mapper import trained_on_grammar
from editing.pairs import read_pairs, write_pairs
from editing.text_image import CONFIG, read_bundled, write_bundled
from editing.text_image_training import TextImageSettings, evaluate, train_text_image
from recipes import checksums

log = logging.getLogger("train_editing")

STEPS = ("pairs", "text_image", "methods", "install")
INSTALLED = ("text_image", "directions", "mapper")
PICTURES_EACH, HELD_OUT_EACH = 8, 6  # of a person
HELD_OUT_SEED = 1
SAY_EVERY = 50  # steps


@dataclass(frozen=True)
class Work:
    """people: the folder of `recipes.train_albedo`. folder: of what is made. minutes: of training the model."""

    people: Path
    folder: Path
    minutes: float

    @property
    def weights(self) -> Path:
        """The text-image model before it is installed."""
        return self.made("text_image")

    def made(self, name: str) -> Path:
        """A file of the table of weights before it is installed."""
        return self.folder / WEIGHTS[name].file

    def pairs(self, name: str) -> list[Path]:
        """The files of pictures. Raises LikenessError where there are none."""
        files = sorted((self.folder / name).glob("pairs-*.safetensors"))
        if not files:
            raise LikenessError(f"There are no pictures in {self.folder / name}. Run the step `pairs` first.")
        return files


def make_pairs(work: Work) -> dict[str, Any]:
    """Pictures of the people to learn from and of those held out."""
    for name, people, each, seed in (
        ("pairs", "maps", PICTURES_EACH, 0),
        ("held_out", "held_out", HELD_OUT_EACH, HELD_OUT_SEED),
    ):

        def report(done: int, of: int, name: str = name) -> None:
            if done % 512 == 0 or done == of:
                log.info("%s: %d of %d people", name, done, of)

        write_pairs(work.people / people, work.folder / name, each, seed, progress=report)
    return {}


def make_text_image(work: Work) -> dict[str, Any]:
    """The text-image model, which holds how it was made and how good it is."""
    pairs = read_pairs(work.pairs("pairs"))

    def report(step: int, share: float, losses: dict[str, float]) -> None:
        if step % SAY_EVERY == 0:
            terms = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            log.info("step %d, %.0f %%: %s", step, 100 * share, terms)

    settings = TextImageSettings(minutes=work.minutes)
    network, about = train_text_image(
        pairs, settings, checkpoint=work.folder / "checkpoint.safetensors", progress=report
    )
    about["pictures"] = len(pairs)
    write_bundled(work.weights, network, CONFIG, about)
    # Of the file as it is, in half precision; the file then tells its own figures.
    found = evaluate(read_bundled(work.weights), read_pairs(work.pairs("held_out")))
    for name in ("seen", "held_out"):
        log.info("%s wordings: %s", name, json.dumps({k: round(v, 3) for k, v in found[name].items()}))
    log.info("zero-shot: mean %s, %s", json.dumps(found["zero_shot_mean"]), json.dumps(found["zero_shot"]))
    about["quality"] = found
    write_bundled(work.weights, network, CONFIG, about)
    return about


def make_methods(work: Work) -> dict[str, Any]:
    """The directions and the mapper of the text-image model in the folder, and how well the mapper reads."""
    model = read_bundled(work.weights)
    measure_directions(model).save(work.made("directions"))
    mapper, quality = trained_on_grammar(model)
    mapper.save(work.made("mapper"))
    for wordings, figures in quality.items():
        log.info("mapper, %s wordings: %s", wordings, figures)
    return {wordings: asdict(figures) for wordings, figures in quality.items()}


def install(work: Work) -> dict[str, Any]:
    """Copy the weights into assets/, and their sums to the places that name them."""
    for name in INSTALLED:
        if not work.made(name).is_file():
            raise LikenessError(f"{work.made(name)} is missing. Run the steps `text_image` and `methods` first.")
    for name in INSTALLED:
        write_whole(ASSETS / WEIGHTS[name].file, work.made(name).read_bytes())
    checksums.main(["--write"])
    return {}


DOES: dict[str, Callable[[Work], dict[str, Any]]] = {
    "pairs": make_pairs,
    "text_image": make_text_image,
    "methods": make_methods,
    "install": install,
}


def run(work: Work, steps: Sequence[str], command: str = "") -> dict[str, Any]:
    """Do steps in the order of `STEPS`; the record. Raises LikenessError and FileError where a step does."""
    work.folder.mkdir(parents=True, exist_ok=True)
    path = work.folder / "record.json"
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"steps": {}}
    record |= {"command": command, "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__}
    for step in (step for step in STEPS if step in steps):
        log.info("%s ...", step)
        began = time.monotonic()
        facts = DOES[step](work)
        record["steps"][step] = {"seconds": round(time.monotonic() - began, 1)} | facts
        write_whole(path, (json.dumps(record, indent=1) + "\n").encode())
    return record


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes.train_editing", description=__doc__)
    parser.add_argument("--people", type=Path, required=True, help="folder of recipes.train_albedo")
    parser.add_argument("--out", type=Path, default=Path("editing_training"), help="folder of what is made")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training the text-image model")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=STEPS, help="these steps alone")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    command = shlex.join(["python", "-m", "recipes.train_editing", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        run(Work(options.people, options.out, options.minutes), options.only, command)
    except LikenessError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
