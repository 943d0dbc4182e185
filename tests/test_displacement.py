"""Shape from shading: a relief that the network missed is found in its shading; hair and darkness are let be."""

from __future__ import annotations

import pytest
import torch

from core.atlas import atlas_lookup, positions
from core.displacement import RefinementSettings, refine_relief
from core.head import HeadModel, load_head
from core.reflectance.estimate import Understood, slopes_of
from core.reflectance.lit_heads import TEXELS_PER_MM, softened
from core.reflectance.network import WORK_PX, SkinMaps
from core.shading import irradiance_basis
from core.synthesis.relief import tangent_frame


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


def grooves(head: HeadModel) -> torch.Tensor:
    """Level lines 0.15 mm deep over the forehead, 4 mm apart."""
    place = positions(head, head.template, WORK_PX)
    forehead = (place[..., 1] > 0.03) & (place[..., 1] < 0.055) & (place[..., 2] > 0.02)
    return -0.15 * forehead * (0.5 + 0.5 * torch.sin(2 * torch.pi * place[..., 1] / 0.004))


def understood(head: HeadModel, height_mm: torch.Tensor, roughness: float = 0.5, level: float = 1.0) -> Understood:
    """A grey head with this relief under light from above, about which the networks said that it is smooth."""
    frame = tangent_frame(head, head.template, 512)
    sh = torch.zeros(9, 3)
    sh[0], sh[1] = 2.0, 1.6  # from above
    axes = [
        torch.nn.functional.interpolate(a[None], size=(WORK_PX, WORK_PX), mode="bilinear")[0]
        for a in (frame.normal, frame.tangent, frame.bitangent)
    ]
    along, across = slopes_of(head, frame, height_mm)
    normal = torch.nn.functional.normalize(axes[0] - along * axes[1] - across * axes[2], dim=0)
    shading = (irradiance_basis(normal.permute(1, 2, 0)) @ sh[:, 0]).clamp_min(0.05)
    lit = (0.3 * level * shading).expand(3, -1, -1)
    one = torch.ones(1, 1, WORK_PX, WORK_PX)
    albedo = torch.full((1, 3, WORK_PX, WORK_PX), 0.3).log()
    return Understood(lit, SkinMaps(albedo, 0 * one, 0.35 * one, roughness * one, 0.45 * one), sh, frame)


def fine(height: torch.Tensor) -> torch.Tensor:
    return height - softened(height, 2.5 * TEXELS_PER_MM)


def test_lines_that_only_shading_shows_are_found(head: HeadModel) -> None:
    truth = grooves(head)
    found = refine_relief(head, understood(head, truth))[0]
    there = truth < -0.05
    a, b = fine(truth)[there], fine(found)[there]
    assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) > 0.6
    # A prior holds it back: towards the truth, and not beyond it.
    assert 0.15 < float((a * b).sum() / (a * a).sum()) < 1.2


def test_a_smooth_head_stays_smooth(head: HeadModel) -> None:
    found = refine_relief(head, understood(head, torch.zeros(WORK_PX, WORK_PX)))
    assert found.abs().max() < 0.01


@pytest.mark.parametrize(("roughness", "level"), [(0.8, 1.0), (0.5, 0.01)])
def test_hair_and_darkness_are_no_relief(head: HeadModel, roughness: float, level: float) -> None:
    found = refine_relief(head, understood(head, grooves(head), roughness, level))
    assert found.abs().max() < 0.01


def test_it_is_the_same_each_time_and_says_how_far_it_is(head: HeadModel) -> None:
    shares: list[float] = []
    settings = RefinementSettings(steps=3)
    one = refine_relief(head, understood(head, grooves(head)), settings, shares.append)
    assert torch.equal(one, refine_relief(head, understood(head, grooves(head)), settings))
    assert shares == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert one.shape == (1, WORK_PX, WORK_PX) and torch.isfinite(one).all()
    assert atlas_lookup(head, WORK_PX).inside.any()
