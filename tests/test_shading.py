"""Light and surfaces against quadrature, closed forms, limits and central differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from core.camera import axis_angle_to_matrix
from core.environment import directions_of, environment_light, prefiltered, solid_angles
from core.shading import (
    SCATTER,
    Light,
    Surface,
    diffuse_light,
    environment_reflectance,
    radiance_of,
    roughness_of,
    scatter_wrap,
    sh_basis,
    shade,
    shininess_of,
    specular_light,
)

F64 = torch.float64


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def units(count: int, seed: int = 0) -> Tensor:
    return functional.normalize(noise(1, count, 3, seed=seed) - 0.5, dim=-1)


def lamps(directions: Tensor, colors: Tensor | None = None) -> Light:
    """Nothing but distant lamps ``[D, 3]``, white ones by default."""
    colors = torch.ones_like(directions) if colors is None else colors
    return Light(torch.zeros(1, 9, 3, dtype=F64), directions[None], colors[None])


def sphere(n: int = 200) -> tuple[Tensor, Tensor]:
    """Directions and solid angles over the sphere (Gauss-Legendre x uniform)."""
    z, weight = np.polynomial.legendre.leggauss(n)
    phi = (np.arange(2 * n) + 0.5) * math.pi / n
    zz, pp = np.meshgrid(z, phi, indexing="ij")
    r = np.sqrt(1 - zz**2)
    directions = np.stack([r * np.cos(pp), r * np.sin(pp), zz], -1).reshape(-1, 3)
    return torch.tensor(directions), torch.tensor(np.repeat(weight, 2 * n) * math.pi / n)


def even(radiance: float = 1.0) -> Light:
    """Surroundings of one radiance, as harmonics and as pictures."""
    return environment_light(torch.full((1, 3, 32, 64), radiance, dtype=F64))


# -------------------------------------------------------------------------------------------------- below the surface


def test_without_scattering_the_wrapped_light_is_lamberts() -> None:
    light = lamps(units(3)[0], noise(3, 3))
    light.sh[:] = noise(1, 9, 3, seed=1) - 0.3
    normals, visible, none = units(200, 2), noise(1, 200, 3, seed=3), torch.zeros(1, 200, 3, dtype=F64)
    for arrives in (None, visible):
        plain, wrapped = diffuse_light(light, normals, arrives), diffuse_light(light, normals, arrives, wrap=none)
        assert torch.allclose(plain, wrapped, atol=1e-14, rtol=0)


@pytest.mark.parametrize("wrap", [0.0, 0.1, 0.44, 0.9])
def test_surroundings_are_convolved_with_the_lobe_of_the_lamps(wrap: float) -> None:
    """The harmonics' light equals the integral over lamps from all around, up to the lobe's whole."""
    around, angle = sphere()
    normals = units(20, 1)
    sh = noise(1, 9, 3, seed=2) - 0.5
    sh[:, 0] += 10
    light = Light(sh, torch.zeros(1, 0, 3, dtype=F64), torch.zeros(1, 0, 3, dtype=F64))
    spread = torch.full((1, 20, 3), wrap, dtype=F64)
    lobe = ((normals[0] @ around.T + wrap) / (1 + wrap)).clamp_min(0)
    integral = torch.einsum("pn,nc,n->pc", lobe, sh_basis(around) @ sh[0], angle) / math.pi
    assert torch.allclose(diffuse_light(light, normals, wrap=spread)[0] * (1 + wrap), integral, rtol=2e-4)


def test_a_white_surface_in_even_surroundings_vanishes() -> None:
    """The furnace: whatever the normal and the scattering, albedo 1 under radiance 1 has radiance 1."""
    normals = units(100)
    for translucency in (0.0, 0.5, 1.0):
        wrap = scatter_wrap(torch.full((1, 100, 1), translucency, dtype=F64))
        assert torch.allclose(diffuse_light(even(), normals, wrap=wrap), torch.ones(1, 100, 3, dtype=F64), atol=1e-3)


def test_scattered_light_reaches_beyond_the_terminator_red_first() -> None:
    angle = torch.linspace(0, math.pi, 181, dtype=F64)
    normals = torch.stack([angle.sin(), torch.zeros_like(angle), angle.cos()], dim=-1)[None]
    light = lamps(torch.tensor([[0.0, 0.0, 1.0]], dtype=F64))
    lit = diffuse_light(light, normals, wrap=scatter_wrap(torch.full((1, 181, 1), 0.5, dtype=F64)))[0]
    assert torch.allclose(lit[0], torch.ones(3, dtype=F64))  # what faces the lamp is as bright as ever
    assert (lit[1:90].diff(dim=0) < 0).all()
    ends = [float(angle[lit[:, channel] > 0].max()) for channel in range(3)]
    for end, wrap in zip(ends, SCATTER, strict=True):
        assert end == pytest.approx(math.acos(-wrap), abs=math.radians(1))
    assert ends[0] > ends[1] > ends[2] > math.pi / 2
    assert torch.equal(scatter_wrap(torch.ones(1, 1)), 2 * torch.tensor([SCATTER]))


def test_occlusion_takes_from_the_surroundings_and_not_from_lamps() -> None:
    normals, half = units(50), torch.full((1, 50, 1), 0.5, dtype=F64)
    assert torch.allclose(diffuse_light(even(), normals, occlusion=half), 0.5 * diffuse_light(even(), normals))
    light = lamps(units(2, 5)[0])
    assert torch.equal(diffuse_light(light, normals, occlusion=half), diffuse_light(light, normals))


# -------------------------------------------------------------------------------------------------- lamps at a place


def test_a_lamp_far_away_is_a_distant_lamp() -> None:
    normals, view, points = units(60), units(60, 1), 0.1 * (noise(1, 60, 3, seed=2) - 0.5)
    rough = torch.full((1, 60, 1), 0.4, dtype=F64)
    towards, color = units(2, 3)[0], noise(2, 3, seed=4)
    far = 1e5
    place = Light(
        torch.zeros(1, 9, 3, dtype=F64),
        torch.zeros(1, 0, 3, dtype=F64),
        torch.zeros(1, 0, 3, dtype=F64),
        positions=far * towards[None],
        point_colors=far**2 * color[None],
    )
    distant = lamps(towards, color)
    assert torch.allclose(diffuse_light(place, normals, points=points), diffuse_light(distant, normals), rtol=1e-4)
    near, wanted = (specular_light(light, normals, view, rough, points=points) for light in (place, distant))
    assert torch.allclose(near, wanted, rtol=1e-3, atol=1e-9)


def test_light_falls_with_the_square_of_the_distance() -> None:
    points = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.0, 0.5], [0.0, 0.0, -1.0]]], dtype=F64)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=F64).expand(1, 3, 3)
    none = torch.zeros(1, 0, 3, dtype=F64)
    light = Light(
        torch.zeros(1, 9, 3, dtype=F64),
        none,
        none,
        positions=torch.tensor([[[0.0, 0.0, 1.0]]], dtype=F64),
        point_colors=torch.ones(1, 1, 3, dtype=F64),
    )
    lit = diffuse_light(light, up, points=points)[0, :, 0]
    assert torch.allclose(lit, torch.tensor([1.0, 4.0, 0.25], dtype=F64))
    half = torch.full((1, 3, 1), 0.5, dtype=F64)
    assert torch.allclose(diffuse_light(light, up, visibility=half, points=points)[0, :, 0], lit / 2)
    with pytest.raises(ValueError, match="points"):
        diffuse_light(light, up)


def test_images_of_a_batch_have_lamps_of_their_own() -> None:
    """A batch of different lights is what its images are one by one, of every kind of light."""
    lights = []
    for seed in (1, 2):
        found = environment_light(noise(1, 3, 8, 16, seed=seed) ** 4, lamps=0)
        lights.append(
            Light(
                found.sh,
                units(2, seed),
                noise(1, 2, 3, seed=seed),
                units(1, seed + 7) * 0.4,
                noise(1, 1, 3, seed=seed),
                noise(1, 2, seed=seed) * 0.3,
                found.reflections,
                axis_angle_to_matrix(noise(1, 3, seed=seed)),
            )
        )
    both = Light(*(torch.cat([getattr(one, name) for one in lights]) for name in vars(lights[0])))
    surface = some_surface(2)
    visible = noise(2, 30, 3, seed=9)
    together = shade(both, surface, visible)
    for b in range(2):
        alone = Surface(*(v[b : b + 1] if isinstance(v, Tensor) else v for v in vars(surface).values()))
        assert torch.allclose(together[b], shade(lights[b], alone, visible[b : b + 1])[0], atol=1e-12)
        assert torch.allclose(together[b], shade(both.image(b), alone, visible[b : b + 1])[0], atol=1e-12)


def test_turning_everything_changes_nothing() -> None:
    around = environment_light(noise(1, 3, 16, 32) ** 2, lamps=2)
    light = Light(
        around.sh + 0.5,
        around.directions,
        around.colors,
        units(1, 7) * 0.5,
        noise(1, 1, 3),
        around.spreads,
        around.reflections,
    )
    surface = some_surface(1)
    rotation = axis_angle_to_matrix(torch.tensor([[0.4, -1.1, 0.7]], dtype=F64))

    def turned(vectors: Tensor | None) -> Tensor:
        assert vectors is not None
        return torch.einsum("bij,bnj->bni", rotation, vectors)

    moved = Surface(
        surface.albedo,
        turned(surface.normals),
        turned(surface.view),
        surface.roughness,
        surface.reflectance,
        turned(surface.diffuse_normals),
        surface.translucency,
        surface.occlusion,
        turned(surface.points),
    )
    assert torch.allclose(shade(light.rotated(rotation), moved), shade(light, surface), atol=1e-6)
    twice = light.rotated(rotation).rotated(rotation.transpose(1, 2))
    assert torch.allclose(shade(twice, surface), shade(light, surface), atol=1e-6)


# ------------------------------------------------------------------------------------------------- at the surface


def reflected(model: str, roughness: float, source: Tensor, view: Tensor, reflectance: float = 1.0) -> Tensor:
    """BRDF times pi times the lamp's cosine, for a surface that faces +Z."""
    up = torch.tensor([0.0, 0.0, 1.0], dtype=F64).expand_as(view)[None]
    rough = torch.full_like(up[..., :1], roughness)
    return specular_light(lamps(source[None]), up, view[None], rough, reflectance, model=model)[0, :, 0]


@pytest.mark.parametrize("model", ["ggx", "blinn-phong"])
@pytest.mark.parametrize("roughness", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("elevation", [0.25, 0.8])
def test_no_more_light_leaves_than_arrives_and_both_ways_alike(model: str, roughness: float, elevation: float) -> None:
    view, angle = sphere(160)
    view, angle = view[view[:, 2] > 0], angle[view[:, 2] > 0]
    source = torch.tensor([math.sqrt(1 - elevation**2), 0.0, elevation], dtype=F64)
    whole = (reflected(model, roughness, source, view) * view[:, 2] * angle).sum() / (math.pi * elevation)
    assert 0 < float(whole) <= 1.02
    for other in (view[1000], view[-2500]):
        forth = reflected(model, roughness, source, other[None]) / elevation
        back = reflected(model, roughness, other, source[None]) / other[2]
        assert torch.allclose(forth, back)


@pytest.mark.parametrize("roughness", [0.3, 0.45, 0.6])
def test_both_models_have_highlights_of_one_width_and_height(roughness: float) -> None:
    tilt = torch.linspace(0, 1.2, 600, dtype=F64)
    view = torch.stack([tilt.sin(), torch.zeros_like(tilt), tilt.cos()], dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=F64)
    curves = {model: reflected(model, roughness, up, view, 0.04) for model in ("ggx", "blinn-phong")}
    widths = {model: float(tilt[curve > curve[0] / 2].max()) for model, curve in curves.items()}
    assert widths["ggx"] == pytest.approx(widths["blinn-phong"], rel=0.25)
    assert float(curves["ggx"][0]) == pytest.approx(float(curves["blinn-phong"][0]), rel=0.02)


def test_shininess_and_roughness_are_each_others_inverse() -> None:
    roughness = torch.linspace(0.06, 1, 50, dtype=F64)
    assert torch.allclose(roughness_of(shininess_of(roughness)), roughness)
    assert shininess_of(torch.ones(1)) == 0 and roughness_of(torch.zeros(1)) == 1


def test_an_unknown_model_is_refused() -> None:
    up = torch.tensor([[[0.0, 0.0, 1.0]]], dtype=F64)
    with pytest.raises(ValueError, match=r"'phong'.*ggx, blinn-phong"):
        specular_light(even(), up, up, up[..., :1], model="phong")


def test_a_lamps_size_widens_its_highlight_and_keeps_its_light() -> None:
    view, angle = sphere(160)
    view, angle = view[view[:, 2] > 0], angle[view[:, 2] > 0]
    up = torch.tensor([0.0, 0.0, 1.0], dtype=F64)
    normals, rough = up.expand_as(view)[None], torch.full((1, len(view), 1), 0.3, dtype=F64)
    source = functional.normalize(torch.tensor([[0.4, 0.0, 1.0]], dtype=F64), dim=1)
    point, wide = lamps(source), lamps(source)
    wide = Light(wide.sh, wide.directions, wide.colors, spreads=torch.full((1, 1), 0.25, dtype=F64))
    small, large = (specular_light(light, normals, view[None], rough, 1.0)[0, :, 0] for light in (point, wide))
    assert large.max() < small.max() and (large > 0.1).sum() > (small > 0.1).sum()
    shed = [float((each * view[:, 2] * angle).sum()) for each in (small, large)]
    assert shed[1] == pytest.approx(shed[0], rel=0.05)
    # The truth: many lamps over the disc.
    across = torch.linalg.cross(source[0], torch.tensor([0.0, 1.0, 0.0], dtype=F64))
    across, upright = functional.normalize(across, dim=0), torch.tensor([0.0, 1.0, 0.0], dtype=F64)
    i = torch.arange(200, dtype=F64)
    r, phi = 0.25 * torch.sqrt((i + 0.5) / 200), 2.399963 * i
    many = source[0] + r[:, None] * (phi.cos()[:, None] * across + phi.sin()[:, None] * upright)
    disc = lamps(functional.normalize(many, dim=1), torch.full((200, 3), 1 / 200, dtype=F64))
    truth = specular_light(disc, normals, view[None], rough, 1.0)[0, :, 0]
    assert (large - truth).norm() < 0.35 * (small - truth).norm()


@pytest.mark.parametrize("roughness", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("facing", [0.25, 0.6, 1.0])
def test_the_fitted_share_of_the_surroundings_is_the_integral(roughness: float, facing: float) -> None:
    source, angle = sphere(220)
    source, angle = source[source[:, 2] > 0], angle[source[:, 2] > 0]
    view = torch.tensor([math.sqrt(1 - facing**2), 0.0, facing], dtype=F64)
    # Reciprocity lets the lamps be the viewers: pi f cos cos' / cos is the same either way.
    out = reflected("ggx", roughness, view, source, 0.04) / facing * source[:, 2]
    whole = (out * angle).sum() / math.pi
    one = torch.ones(1, dtype=F64)
    # The fit is meant for the whole, not for grazing views, where it is known to be loose.
    allowed = 0.008 if facing > 0.5 else 0.06
    fitted = float(environment_reflectance(0.04, roughness * one, facing * one))
    assert fitted == pytest.approx(float(whole), abs=allowed)


def test_even_surroundings_are_mirrored_evenly() -> None:
    normals, view = units(80), units(80, 1)
    view = torch.where((view * normals).sum(-1, keepdim=True) < 0, -view, view)
    rough = noise(1, 80, 1, seed=2)
    facing = (normals * view).sum(-1, keepdim=True).clamp_min(1e-4)
    wanted = 2.5 * environment_reflectance(0.04, rough, facing).expand(-1, -1, 3)
    assert torch.allclose(specular_light(even(2.5), normals, view, rough, 0.04), wanted, atol=1e-9)
    # Hidden from all of it nothing is mirrored; wholly open nothing is lost.
    for share, factor in ((0.0, 0.0), (1.0, 1.0)):
        occlusion = torch.full((1, 80, 1), share, dtype=F64)
        mirrored = specular_light(even(2.5), normals, view, rough.clamp_min(0.4), 0.04, occlusion=occlusion)
        open_ = specular_light(even(2.5), normals, view, rough.clamp_min(0.4), 0.04)
        assert torch.allclose(mirrored, factor * open_, atol=0.03 * float(open_.max()))


def test_pictures_are_read_along_their_own_directions() -> None:
    """Texel by texel, and at every level, across the seam of the longitudes too."""
    pictures = prefiltered(noise(1, 3, 12, 24), rows=12, levels=4)
    none = torch.zeros(1, 0, 3, dtype=F64)
    light = Light(torch.zeros(1, 9, 3, dtype=F64), none, none, reflections=pictures)
    directions = directions_of(12, 24).reshape(1, -1, 3)
    for level in range(4):
        rough = torch.full((1, 288, 1), level / 3, dtype=F64)
        found = radiance_of(light, 3 * directions, rough)  # of any length
        assert torch.allclose(found.transpose(1, 2).reshape(3, 12, 24), pictures[0, :, level], atol=1e-6)
    back = torch.tensor([[[1e-9, 0.0, -1.0], [-1e-9, 0.0, -1.0]]], dtype=F64)
    both = radiance_of(light, back, torch.zeros(1, 2, 1, dtype=F64))[0]
    assert torch.allclose(both[0], both[1], atol=1e-6)
    poles = radiance_of(
        light, torch.tensor([[[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]], dtype=F64), torch.ones(1, 2, 1).double()
    )
    assert torch.isfinite(poles).all()


# ------------------------------------------------------------------------------------------------------ together


def some_surface(batch: int, count: int = 30) -> Surface:
    normals = functional.normalize(noise(batch, count, 3, seed=11) - 0.5, dim=-1)
    view = functional.normalize(normals + 0.7 * (noise(batch, count, 3, seed=12) - 0.5), dim=-1)
    bent = functional.normalize(normals + 0.2 * (noise(batch, count, 3, seed=13) - 0.5), dim=-1)
    return Surface(
        noise(batch, count, 3, seed=14),
        normals,
        view,
        0.2 + 0.6 * noise(batch, count, 1, seed=15),
        0.02 + 0.05 * noise(batch, count, 1, seed=16),
        bent,
        noise(batch, count, 1, seed=17),
        0.3 + 0.6 * noise(batch, count, 1, seed=18),
        0.1 * (noise(batch, count, 3, seed=19) - 0.5),
    )


def test_a_surface_without_maps_is_albedo_times_light_and_a_highlight() -> None:
    full = some_surface(1)
    plain = Surface(full.albedo, full.normals, full.view, full.roughness)
    light = lamps(units(2, 3)[0], noise(2, 3, seed=4))
    wanted = full.albedo * diffuse_light(light, full.normals)
    wanted = wanted + specular_light(light, full.normals, full.view, full.roughness)
    assert torch.equal(shade(light, plain), wanted)


def everything(model: str) -> tuple[dict[str, Tensor], Callable[[dict[str, Tensor]], Tensor]]:
    """All that a colour depends on, and a number that depends on all colours."""
    around = environment_light(noise(1, 3, 8, 16) ** 2, lamps=0)
    assert around.reflections is not None
    values = {
        "sh": around.sh + 0.5,
        "directions": units(2, 3),
        "colors": noise(1, 2, 3, seed=4),
        "positions": 0.6 * units(1, 5),
        "point_colors": noise(1, 1, 3, seed=6),
        "spreads": 0.2 * noise(1, 2, seed=7),
        "reflections": around.reflections,
        **{name: value for name, value in vars(some_surface(1)).items() if isinstance(value, Tensor)},
    }
    turn, visible, weights = axis_angle_to_matrix(noise(1, 3)), noise(1, 30, 3, seed=8), noise(1, 30, 3, seed=9)

    def loss(given: dict[str, Tensor]) -> Tensor:
        lit = Light(**{name: given[name] for name in Light.__dataclass_fields__ if name != "turn"}, turn=turn)
        surface = Surface(**{name: given[name] for name in Surface.__dataclass_fields__})
        return (shade(lit, surface, visible, model) * weights).sum()

    return values, loss


@pytest.mark.parametrize("model", ["ggx", "blinn-phong"])
def test_gradients_equal_central_differences(model: str) -> None:
    values, loss = everything(model)
    for what, start in values.items():
        value = start.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss({**values, what: value}), value)
        assert torch.isfinite(gradient).all() and gradient.abs().max() > 0, what
        for seed in range(3):
            direction = noise(*value.shape, seed=seed) - 0.5
            step = 1e-6
            ahead, behind = (loss({**values, what: start + sign * step * direction}) for sign in (1, -1))
            numeric, exact = float(ahead - behind) / (2 * step), float((gradient * direction).sum())
            assert math.isclose(numeric, exact, rel_tol=1e-4, abs_tol=1e-6), what


def test_light_moves_to_another_precision() -> None:
    values, _ = everything("ggx")
    light = Light(**{name: values[name] for name in Light.__dataclass_fields__ if name != "turn"})
    moved = light.to(torch.float32)
    for name, value in vars(light).items():
        if value is None:
            assert getattr(moved, name) is None
        else:
            assert getattr(moved, name).dtype == torch.float32
    assert solid_angles(4, 8).sum() * 8 == pytest.approx(4 * math.pi)
