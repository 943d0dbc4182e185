"""Pictures of heads that were changed by words, for docs/editing.md. `pictures` saves them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from PIL import Image, ImageDraw, ImageFont

from core.avatar import Avatar
from core.head import HeadModel, load_head
from core.pipeline import generate, reconstruct
from core.synthesis.heads import sample_head
from core.synthesis.photo import sample_photo
from recipes.drawing import GAP, draw, portrait

# Two random heads, the astronaut, and a photo of somebody painted, which went through reconstruction.
SEEDS, PHOTO_SEED = (13, 23), 900_000_029
VIEWS_DEG = (0.0, 38.0)
TILE_PX, TITLE_PX, ZOOM = 136, 34, 1.25
FIRST = ("older", "younger", "smiling", "angry", "a beard", "freckles")
SECOND = (
    "darker skin",
    "green eyes",
    "wider nose and fuller lips",
    "chubby",
    "bushy eyebrows, surprised",
    "a tired old sailor",
)


@functools.cache
def heads() -> tuple[Avatar, ...]:
    """Who is edited in the pictures."""
    head = load_head()
    person = sample_head(head, PHOTO_SEED, 1024)
    photo = sample_photo(
        head, PHOTO_SEED, yaw_range_deg=(-15.0, 15.0), size=768, supersample=2, person=person, centred=True
    )
    return (*(generate(seed) for seed in SEEDS), portrait().avatar, reconstruct(photo.pixels, name="painted"))


def edited(head: HeadModel, prompts: Sequence[str]) -> Image.Image:
    """Each head before and after each prompt, from the front and from the side; not picked."""
    from editing.edit import Editor
    from editing.evaluation import request

    step, columns = TILE_PX + GAP, 1 + len(prompts)
    rows = len(heads()) * len(VIEWS_DEG)
    whole = Image.new("RGB", (columns * step - GAP, TITLE_PX + rows * step - GAP), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(14)
    for column, title in enumerate(("before", *prompts)):
        pen.text((column * step + TILE_PX / 2, TITLE_PX / 2), _broken(title), "#333", font, anchor="mm", align="center")
    for i, avatar in enumerate(heads()):
        editor = Editor(avatar)
        shown = [avatar, *(editor.apply(request(prompt, "mixed")).avatar for prompt in prompts)]
        for column, one in enumerate(shown):
            parameters = one.parameters("fitted")
            upright = replace(parameters, joint_rotations=torch.zeros_like(parameters.joint_rotations))
            for view, yaw_deg in enumerate(VIEWS_DEG):
                tile = draw(head, upright, one.materials, TILE_PX, yaw_deg=yaw_deg, zoom=ZOOM)
                whole.paste(tile, (column * step, TITLE_PX + (i * len(VIEWS_DEG) + view) * step))
    return whole


def _broken(title: str) -> str:
    """A long title in two lines."""
    if len(title) < 18:
        return title
    middle = min((k for k, letter in enumerate(title) if letter == " "), key=lambda k: abs(k - len(title) / 2))
    return f"{title[:middle]}\n{title[middle + 1 :]}"


PICTURES: dict[str, Callable[[HeadModel], Image.Image]] = {
    "editing": functools.partial(edited, prompts=FIRST),
    "editing_more": functools.partial(edited, prompts=SECOND),
}
