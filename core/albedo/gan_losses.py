"""What the albedo GAN is trained with: distances of maps, regularisers, and distances of pictures of maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from core.camera import look_at_head
from core.color import linear_to_srgb, srgb_to_linear
from core.errors import LikenessError
from core.head import PARTS, HeadModel, HeadParameters
from core.raster import rasterize
from core.render import render
from core.shading import Light


def laplacian_loss(
    a: Float[Tensor, "B C H W"], b: Float[Tensor, "B C H W"], levels: int, skip: int = 0
) -> Float[Tensor, ""]:
    """Mean absolute difference of each band of the Laplacian pyramid, summed over bands but the `skip` finest.

    Lap1 of Bojanowski et al. 2018 ("Optimizing the latent space of generative networks", section 3.2): beside a plain
    L1 distance, coarse bands count as much as fine ones, so tone is right before features, and a feature that is a
    little out of place still costs less than one that is missing. The last band is the remaining low pass. The
    pyramid is linear, so one is built, of the difference.
    """
    difference = a - b
    total = difference.new_zeros(())
    for level in range(levels):
        if level == levels - 1 or min(difference.shape[2:]) < 4:
            return total + difference.abs().mean()
        coarse = functional.avg_pool2d(difference, 2)
        if level >= skip:
            back = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
            total = total + (difference - back).abs().mean()
        difference = coarse
    return total


class RandomFeatures(nn.Module):
    """A perceptual distance from two layers of fixed random filters, at full and at half size.

    The usual perceptual distances come from networks that were trained on photographs of people and things whose
    owners were not asked, under licences that do not allow passing the weights on; here nothing is trained. Random
    rectified filters already see what L1 does not: whether there is structure, apart from where exactly it lies
    (Amir and Weiss 2021, "Understanding and simplifying perceptual distances"; their finding is that the architecture
    does most of the work). The filters sum to zero, so the distance is blind to tone, which the pyramid compares.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        first = torch.randn(24, 3, 5, 5, generator=generator)
        first = first - first.mean((1, 2, 3), keepdim=True)
        second = torch.randn(32, 24, 3, 3, generator=generator)
        # Each filter keeps the size of what it reads, so that both layers weigh alike.
        self.register_buffer("first", first / first.flatten(1).norm(dim=1)[:, None, None, None])
        self.register_buffer("second", second / second.flatten(1).norm(dim=1)[:, None, None, None])

    def features(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Two layers of the image and two of its half."""
        found = []
        for image in (images, functional.avg_pool2d(images, 2)):
            one = functional.conv2d(image, cast(Tensor, self.first), stride=2, padding=2).relu()
            two = functional.conv2d(one, cast(Tensor, self.second), stride=2, padding=1).relu()
            found += [one, two]
        return found

    def forward(self, a: Float[Tensor, "B 3 H W"], b: Float[Tensor, "B 3 H W"]) -> Float[Tensor, ""]:
        """Mean absolute difference of the features, summed over layers."""
        with torch.no_grad():
            targets = self.features(b)
        return torch.stack([(f - t).abs().mean() for f, t in zip(self.features(a), targets, strict=True)]).sum()


def r1_penalty(scores: Float[Tensor, "B _"], images: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """Mean squared norm of the discriminator's gradient at real images: Mescheder et al. 2018, eq. 9 without gamma / 2.

    Differentiable in the weights. `images` must require gradients and `scores` come from them.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def path_lengths(
    images: Float[Tensor, "B C H W"], latents: Float[Tensor, "B L D"], noise: Float[Tensor, "B C H W"]
) -> Float[Tensor, "B"]:
    """How far images move per unit step in w: |J^T y| for random images y (StyleGAN2, eq. 4), averaged over layers.

    latents: the w of each layer, from which `images` come. noise: y ~ N(0, 1); it is divided by the root of the number
    of texels, so that lengths do not depend on the size of the maps.
    """
    height, width = images.shape[2:]
    (gradient,) = torch.autograd.grad((images * noise).sum() / math.sqrt(height * width), latents, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


@dataclass(frozen=True)
class PictureSettings:
    """Losses on rendered pictures, and how they are drawn. All weights 0: nothing is."""

    l1: float = 0.0  # weight of the mean absolute difference, sRGB 0..1
    features: float = 0.0  # weight of `RandomFeatures`
    identity: float = 0.0  # weight of 1 - cosine of embeddings
    size: int = 128  # pixels a side
    count: int = 2  # heads drawn per process and step

    @property
    def on(self) -> bool:
        return max(self.l1, self.features, self.identity) > 0


class PictureLosses:
    """The losses of AlbedoGAN on rendered pictures (Rai et al. 2024, "Towards realistic generative 3D face models",
    section 3.3): two maps on the same head, in the same random view and light, compared as pictures.

    recogniser: pictures ``[B, 3, H, W]`` sRGB 0..1 to embeddings ``[B, E]``, differentiable; None leaves identity out.
    Raises LikenessError where identity is to be compared and there is no recogniser.
    """

    NUMBERS = 6  # standard normal numbers per picture: view 2, light 4

    def __init__(
        self,
        head: HeadModel,
        settings: PictureSettings,
        features: RandomFeatures,
        recogniser: Callable[[Tensor], Tensor] | None,
    ) -> None:
        if settings.identity > 0 and recogniser is None:
            raise LikenessError(
                f"The weight of the identity loss is {settings.identity}, but no face recogniser was given. "
                "Pass one as `recogniser`, or set the weight to 0."
            )
        self.head, self.settings, self.features, self.recogniser = head, settings, features, recogniser
        self.skin = torch.nonzero(head.face_part == PARTS.index("skin")).squeeze(1)
        # The whole head in the picture, from a portrait's distance.
        low, high = head.template.amin(0), head.template.amax(0)
        self.middle, self.radius = (low + high) / 2, float((high - low).norm()) / 2

    def __call__(
        self,
        made: Float[Tensor, "B 3 U U"],
        real: Float[Tensor, "B 3 U U"],
        shape: Float[Tensor, "B K"],
        numbers: Float[Tensor, "B 6"],
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted losses by name. Maps are sRGB in -1..1; gradients go to `made`."""
        s, head, size = self.settings, self.head, self.settings.size
        batch = len(made)
        still = head.neutral(batch)
        vertices = head.vertices(HeadParameters(shape, still.expression, still.joint_rotations))
        distance = 8 * self.radius
        yaw = 2 * torch.special.ndtr(numbers[:, 0]) - 1  # within 57 degrees, evenly
        camera = look_at_head(
            yaw, 0.15 * numbers[:, 1], distance, self.middle, size / 2 * distance / self.radius, size, size
        )
        faces, uv_faces = head.faces[self.skin], head.uv_faces[self.skin]
        light = self._light(numbers[:, 2:])
        face_index = rasterize(camera.project(vertices), faces, size, size)
        pictures = [
            render(
                vertices,
                faces,
                camera,
                light,
                head.uv,
                uv_faces,
                [srgb_to_linear((maps + 1) / 2)],
                face_index=face_index,
            ).color_linear
            for maps in (made, real)
        ]
        a, b = (linear_to_srgb(picture) for picture in pictures)
        losses = {"picture": s.l1 * (a - b).abs().mean()}
        if s.features > 0:
            losses["picture_features"] = s.features * self.features(2 * a - 1, 2 * b - 1)
        if self.recogniser is not None and s.identity > 0:
            with torch.no_grad():
                known = self.recogniser(b)
            alike = functional.cosine_similarity(self.recogniser(a), known, dim=1)
            losses["identity"] = s.identity * (1 - alike).mean()
        return losses

    @staticmethod
    def _light(numbers: Tensor) -> Light:
        """Even surroundings and one lamp in front, of random place and strength."""
        sh = numbers.new_zeros(len(numbers), 9, 3)
        sh[:, 0] = 0.6 * math.sqrt(4 * math.pi)
        towards = torch.cat([0.7 * numbers[:, 0:2], torch.ones_like(numbers[:, :1])], 1)
        strength = 0.5 * torch.special.ndtr(numbers[:, 2:3])
        return Light(sh, functional.normalize(towards, dim=1)[:, None], strength[:, None].expand(-1, 1, 3))
