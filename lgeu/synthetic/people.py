"""Who the synthetic pedestrians are: clothing by body part, hair, luggage and build, drawn from a seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

T = TypeVar("T")
Colour = tuple[int, int, int]
Pattern = Literal["plain", "bars", "stripes", "checks", "yoke", "hem", "logo", "open"]
Sleeves = Literal["long", "short"]
Lower = Literal["trousers", "shorts", "skirt"]
Hair = Literal["short", "long", "none"]
Luggage = Literal["none", "backpack", "shoulder", "hand"]

# RGB. Clothing in a street is mostly dark, blue or grey, so these come up more often than the rest.
_CLOTHING: dict[Colour, float] = {
    (28, 28, 32): 3.0,
    (70, 72, 78): 2.0,
    (150, 150, 152): 1.5,
    (232, 230, 224): 2.0,
    (36, 48, 92): 2.5,
    (78, 120, 176): 1.5,
    (128, 32, 36): 1.2,
    (206, 52, 50): 1.0,
    (214, 176, 60): 0.8,
    (62, 104, 66): 1.0,
    (120, 88, 60): 1.0,
    (196, 170, 132): 1.0,
    (214, 130, 160): 0.7,
    (110, 72, 132): 0.7,
    (64, 150, 150): 0.6,
}
_SKIN: tuple[Colour, ...] = ((236, 200, 176), (214, 168, 136), (164, 116, 84), (104, 70, 52))
_HAIR: tuple[Colour, ...] = ((24, 20, 18), (60, 40, 26), (112, 78, 46), (186, 150, 92), (150, 150, 150))
_PATTERNS: tuple[Pattern, ...] = ("plain", "plain", "bars", "stripes", "checks", "yoke", "hem", "logo", "open")
_LUGGAGE: tuple[Luggage, ...] = ("none", "none", "backpack", "shoulder", "hand")
_HAIRCUTS: tuple[Hair, ...] = ("short", "short", "long", "long", "none")
_LOWER: tuple[Lower, ...] = ("trousers", "trousers", "trousers", "shorts", "skirt")


@dataclass(frozen=True)
class Fabric:
    """What a garment is made of.

    Attributes:
        colour: RGB, 0 to 255.
        second: RGB of the pattern; unused where it is plain.
        pattern: bars are horizontal, stripes vertical; a yoke is on the shoulders; "open" is a jacket over a shirt.
    """

    colour: Colour
    second: Colour = (0, 0, 0)
    pattern: Pattern = "plain"


@dataclass(frozen=True)
class Person:
    """One identity. Lengths are factors on an average body, and 1 is average.

    Attributes:
        upper: torso and sleeves.
        sleeves: "short" leaves the forearms bare.
        upper_length: how far the garment reaches down, 0 (waist) to 1 (a coat to the knees).
        lower: kind of the lower garment.
        lower_fabric: of trousers, shorts or skirt.
        shoes: RGB.
        skin: RGB.
        hair: length of the hair.
        hair_colour: RGB.
        hat: RGB, None for none.
        luggage: what is carried.
        luggage_colour: RGB.
        luggage_side: 1 for the person's left, -1 for the right.
        height: of the body.
        girth: width of the body.
        legs: length of the legs within the body.
    """

    upper: Fabric
    sleeves: Sleeves
    upper_length: float
    lower: Lower
    lower_fabric: Fabric
    shoes: Colour
    skin: Colour
    hair: Hair
    hair_colour: Colour
    hat: Colour | None
    luggage: Luggage
    luggage_colour: Colour
    luggage_side: int
    height: float
    girth: float
    legs: float


def sample_people(count: int, rng: np.random.Generator, group: int = 3) -> list[Person]:
    """Draw `count` different people.

    They come in groups of look-alikes, who share the main colours of the upper and the lower garment and differ in
    the rest: whoever tells them apart must look at several parts of the body, not at the overall colour.

    Args:
        count: how many people.
        rng: source of randomness.
        group: how many people share their main colours; 1 for no look-alikes.
    """
    people: list[Person] = []
    while len(people) < count:
        first = _sample_person(rng)
        people.append(first)
        people.extend(_look_alike(first, rng) for _ in range(min(group - 1, count - len(people))))
    return people


def _sample_person(rng: np.random.Generator) -> Person:
    upper, lower = _clothing_colour(rng), _clothing_colour(rng)
    return Person(
        upper=Fabric(upper, _contrasting(upper, rng), _pick(_PATTERNS, rng)),
        sleeves="long" if rng.random() < 0.6 else "short",
        upper_length=float(rng.choice([0.0, 0.15, 0.9], p=[0.5, 0.35, 0.15])),
        lower=_pick(_LOWER, rng),
        lower_fabric=Fabric(lower, _contrasting(lower, rng), "stripes" if rng.random() < 0.1 else "plain"),
        shoes=_clothing_colour(rng),
        skin=_pick(_SKIN, rng),
        hair=_pick(_HAIRCUTS, rng),
        hair_colour=_pick(_HAIR, rng),
        hat=_clothing_colour(rng) if rng.random() < 0.2 else None,
        luggage=_pick(_LUGGAGE, rng),
        luggage_colour=_clothing_colour(rng),
        luggage_side=int(rng.choice([-1, 1])),
        height=float(np.clip(rng.normal(1, 0.05), 0.85, 1.13)),
        girth=float(np.clip(rng.normal(1, 0.12), 0.78, 1.35)),
        legs=float(np.clip(rng.normal(1, 0.03), 0.93, 1.07)),
    )


def _look_alike(person: Person, rng: np.random.Generator) -> Person:
    other = _sample_person(rng)
    # The hem and the pattern may coincide; the second colour, shoes, hair and luggage are drawn anew.
    return replace(
        other,
        upper=replace(other.upper, colour=person.upper.colour, second=_contrasting(person.upper.colour, rng)),
        lower_fabric=replace(other.lower_fabric, colour=person.lower_fabric.colour),
    )


def _clothing_colour(rng: np.random.Generator) -> Colour:
    colours, weights = list(_CLOTHING), np.array(list(_CLOTHING.values()))
    return colours[int(rng.choice(len(colours), p=weights / weights.sum()))]


def _contrasting(colour: Colour, rng: np.random.Generator) -> Colour:
    """A clothing colour that can be told from `colour` in a small picture."""
    while True:
        other = _clothing_colour(rng)
        if np.abs(np.subtract(other, colour)).sum() > 120:
            return other


def _pick(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]
