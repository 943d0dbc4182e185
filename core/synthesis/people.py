"""Who a synthetic person is: every factor as a number, drawn jointly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Labels:
    """Every factor of a synthetic person. 0..1 unless a unit says otherwise; each is exactly what was painted.

    Person
        age_years: 18..85. gender: 0 female .. 1 male, how dimorphic. weight: 0 thin .. 1 heavy. african, asian,
        european: proportions that sum to 1.
    Skin
        melanin, haemoglobin: overall pigment (`painting.skin_tone`). mottling: uneven pigment. pores: their depth.
        oiliness: shine. freckles, moles, age_spots, blemishes, scars: how many and how strong. wrinkles: depth of all
        lines; with `sag` (folds: nasolabial, marionette, under the eyes). under_eye: darkness below the eyes. flush:
        natural redness of cheeks and nose. lip_redness: 0.5 as in the mean skin.
    Hair
        hair_melanin: 0 blond .. 1 black. hair_redness: 0 none .. 1 ginger. grey: share of white hairs. brow_density,
        brow_thickness, brow_arch, brow_length. scalp_hair: how much a shaved scalp shows of its hair. recession: of
        the hairline, 0 none .. 1 bald on top. stubble: shaved beard's shadow. beard_chin, beard_cheeks, moustache:
        coverage by a short beard.
    Eyes
        iris_melanin: 0 blue .. 1 black-brown. iris_green: 0 blue-grey .. 1 green or amber.
    Make-up
        lipstick, lipstick_hue (0 nude .. 0.5 red .. 1 plum), eyeliner, eyeshadow, blush: amounts.
    """

    age_years: float = 35.0
    gender: float = 0.5
    weight: float = 0.5
    african: float = 1 / 3
    asian: float = 1 / 3
    european: float = 1 / 3

    melanin: float = 0.25
    haemoglobin: float = 0.45
    mottling: float = 0.5
    pores: float = 0.5
    oiliness: float = 0.4
    freckles: float = 0.0
    moles: float = 0.0
    age_spots: float = 0.0
    blemishes: float = 0.0
    scars: float = 0.0
    wrinkles: float = 0.0
    sag: float = 0.0
    under_eye: float = 0.2
    flush: float = 0.3
    lip_redness: float = 0.5

    hair_melanin: float = 0.8
    hair_redness: float = 0.0
    grey: float = 0.0
    brow_density: float = 0.6
    brow_thickness: float = 0.5
    brow_arch: float = 0.5
    brow_length: float = 0.5
    scalp_hair: float = 0.35
    recession: float = 0.0
    stubble: float = 0.0
    beard_chin: float = 0.0
    beard_cheeks: float = 0.0
    moustache: float = 0.0

    iris_melanin: float = 0.8
    iris_green: float = 0.2

    lipstick: float = 0.0
    lipstick_hue: float = 0.5
    eyeliner: float = 0.0
    eyeshadow: float = 0.0
    blush: float = 0.0
