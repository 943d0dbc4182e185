"""A head follows its latent: the person in a photo's head is found in the albedo generator, and edits of it are carried
over to the head.

What the generator draws of a latent is close to the photo's head but has none of its own pores, moles and hairs. So its
map never replaces the head's: only what it says of the change is transferred, as a ratio, and the change of shape is
added (residual transfer).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from core.albedo.bundled import albedo_gan
from core.albedo.model import LOG_FLOOR, log_albedo, srgb_from_log
from core.albedo.stylegan_albedo import FitSettings
from core.avatar import Avatar
from core.color import linear_to_srgb, srgb_to_linear
from core.errors import LikenessError
from core.head import load_head
from core.texture import skin_mask

# Added to both sides of the ratio by which a lit map follows the albedo: where the albedo is almost 0, no ratio is.
RATIO_FLOOR = 1e-3


def with_latent(avatar: Avatar) -> Avatar:
    """The same head with the most likely latent, given a thumbnail of its skin; as it is, where it has one of this
    generator.

    In closed form, without the steps of `StyleGanAlbedo.fit`, which take many times as long to halve what is left
    over: edits transfer only the change. Hair is left out. Deterministic. Raises FileError where the generator's
    weights are missing and where the head belongs to another head model than the bundled one.
    """
    generator, head = albedo_gan(), load_head()
    avatar.check_fits(head)
    if avatar.generator == generator.fingerprint:
        return avatar
    albedo = avatar.materials.skin_albedo
    size = min(albedo.shape[-1], generator.size)
    shown = functional.interpolate(albedo[None].float() / 255, size=(size, size), mode="area")[0]
    latent = generator.invert(shown, skin_mask(head, size), FitSettings(evaluations=0)).latent
    return replace(avatar, latent=latent, generator=generator.fingerprint)


def move(avatar: Avatar, latent: Float[Tensor, "L W"]) -> Avatar:
    """The head after an edit of its latent. Skin and shape change by what changes between the generator's two people;
    whatever the photo or the painter brought besides stays. With the latent that the head has already, nothing changes.

    avatar: with a latent (see `with_latent`). Eyes, lashes, roughness, relief, expression, camera, light and quality
    report stay. Raises LikenessError for a head without a latent or with that of another generator, and for a latent
    that cannot be one; FileError as `with_latent`.
    """
    generator, head = albedo_gan(), load_head()
    avatar.check_fits(head)
    if avatar.latent is None:
        raise LikenessError(
            f"The head {avatar.name!r} has no latent to start an edit from. Find it first (core.transfer.with_latent)."
        )
    if avatar.generator != generator.fingerprint:
        raise LikenessError(
            f"The latent of the head {avatar.name!r} belongs to the albedo generator {avatar.generator}, but the one "
            f"in use is {generator.fingerprint}. Find it anew (core.transfer.with_latent) before editing."
        )
    before, after = generator.decode(avatar.latent), generator.decode(latent)
    shape = functional.pad(avatar.shape, (0, head.shape_count - len(avatar.shape)))
    materials = avatar.materials
    albedo, photo = transferred(materials.skin_albedo, before, after, materials.skin_photo)
    return replace(
        avatar,
        shape=shape + (generator.shape(latent) - generator.shape(avatar.latent)),
        materials=replace(materials, skin_albedo=albedo, skin_photo=photo),
        latent=latent,
    )


def transferred(
    albedo: UInt8[Tensor, "3 U U"],
    before: Float[Tensor, "3 S S"],
    after: Float[Tensor, "3 S S"],
    lit: UInt8[Tensor, "3 U U"] | None = None,
) -> tuple[UInt8[Tensor, "3 U U"], UInt8[Tensor, "3 U U"] | None]:
    """A map, and its lit version, changed as `before` (sRGB 0..1) changes to `after`, in the logarithm of albedo.

    A texel that would become brighter than white goes as far along its way as all three channels can, so that no hue
    tips over. Equal maps change no byte.
    """
    change = log_albedo(after) - log_albedo(before)
    return changed(albedo, enlarged(change, albedo.shape[-1]), lit)


def enlarged(change: Float[Tensor, "3 S S"], size: int) -> Float[Tensor, "3 {size} {size}"]:
    """A change of a map for a map of another size."""
    return functional.interpolate(change[None], size=(size, size), mode="bilinear", antialias=True)[0]


def changed(
    albedo: UInt8[Tensor, "3 U U"], change: Float[Tensor, "3 U U"], lit: UInt8[Tensor, "3 U U"] | None = None
) -> tuple[UInt8[Tensor, "3 U U"], UInt8[Tensor, "3 U U"] | None]:
    """A map, and its lit version, after a change of the logarithm of albedo. Where it is 0 no byte changes."""
    bytes_ = torch.arange(256) / 255
    # By table: a map has millions of bytes, but only 256 different ones.
    start, linear = log_albedo(bytes_)[albedo.long()], srgb_to_linear(bytes_)
    room = (math.log(1 + LOG_FLOOR) - start).clamp_min(0)
    share = torch.where(change > 0, room / change.clamp_min(1e-9), 1).amin(0).clamp(max=1)
    moved = srgb_from_log(start + share * change)
    if lit is None:
        return _byte(moved), None
    # Texels that keep their colour keep it exactly; rounding through the logarithm would be a ratio of almost 1.
    ratio = (srgb_to_linear(moved) + RATIO_FLOOR) / (linear[albedo.long()] + RATIO_FLOOR)
    ratio = torch.where(change == 0, 1.0, ratio)
    return _byte(moved), _byte(linear_to_srgb((linear[lit.long()] * ratio).clamp(0, 1)))


def _byte(image: Tensor) -> UInt8[Tensor, "3 U U"]:
    return (image.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
