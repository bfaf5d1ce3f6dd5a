"""The parts that a pedestrian is painted from: outlines with an axis, a fabric and a place in depth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .people import Fabric, Person
from .skeleton import KNEE, Point, Pose, Skeleton, project, walk


@dataclass(frozen=True)
class Part:
    """One painted piece.

    Attributes:
        outline: (M, 2) float64, x right and y down from between the feet, in body heights.
        axis: (2, 2) float64: where the fabric begins and ends along the part.
        widths: half width of the part at either end of the axis.
        fabric: what it is covered with.
        nearness: parts are painted from the smallest to the largest.
    """

    outline: NDArray[np.float64]
    axis: NDArray[np.float64]
    widths: tuple[float, float]
    fabric: Fabric
    nearness: float


class Body:
    """Builds the parts of one person in one pose.

    The numbers are in body heights. A part's lift moves it in the painting order only: clothes lie over limbs.
    """

    def __init__(self, person: Person, pose: Pose) -> None:
        self.person = person
        self.pose = pose
        self.skeleton: Skeleton = walk(pose, person.girth, person.legs)
        self.front = float(np.cos(pose.yaw))

    def parts(self) -> list[Part]:
        """All parts, the farthest first."""
        parts = [*self._legs(), *self._torso(), *self._arms(), *self._head(), *self._luggage()]
        return sorted(parts, key=lambda part: part.nearness)

    def _legs(self) -> list[Part]:
        person, bones = self.person, self.skeleton
        cloth, skin = person.lower_fabric, Fabric(person.skin)
        upper = skin if person.lower == "skirt" else cloth
        lower = cloth if person.lower == "trousers" else skin
        wide = person.girth
        parts = []
        for side in (0, 1):
            hip, knee, ankle, toe = (joints[side] for joints in (bones.hips, bones.knees, bones.ankles, bones.toes))
            parts += [
                self._limb(ankle - _UP * 0.02, toe, 0.026, 0.02, Fabric(person.shoes), -0.005),
                self._limb(knee, ankle, 0.043 * wide, 0.028 * wide, lower, 0.0),
                self._limb(hip, knee, 0.066 * wide, 0.046 * wide, upper, 0.01),
            ]
        if person.lower == "skirt":
            hem = (bones.knees[0] + bones.knees[1]) / 2 + _UP * 0.02
            parts.append(
                self._limb(
                    bones.pelvis + _UP * 0.02, hem, self._seen_width(0.105, 0.085), 0.135 * wide, cloth, 0.15, flat=True
                )
            )
        return parts

    def _torso(self) -> list[Part]:
        person, bones = self.person, self.skeleton
        hem = bones.pelvis + _UP * (0.0 - person.upper_length * (bones.pelvis[1] - KNEE - 0.02))
        shoulders = bones.neck - _UP * 0.035
        # Seen from the side a trunk is little more than half as wide.
        top, bottom = self._seen_width(0.13, 0.08), self._seen_width(0.108, 0.082) + 0.015 * person.upper_length
        parts = [
            self._limb(bones.pelvis + _UP * 0.03, bones.pelvis - _UP * 0.03, bottom, bottom, self._seat(), 0.1),
            self._trunk(shoulders, hem, top, bottom, self._seen_fabric(person.upper)),
            self._limb(bones.neck - _UP * 0.02, bones.head, 0.032, 0.03, Fabric(person.skin), -0.01),
        ]
        if person.upper.pattern == "open" and self.front > 0.2:
            middle = bones.pelvis * 0.5 + shoulders * 0.5 + _FORWARD * 0.08
            shirt = Fabric(person.upper.second)
            reach = (shoulders - hem) * 0.46
            parts.append(self._limb(middle + reach, middle - reach, 0.035 * self.front, 0.05 * self.front, shirt, 0.06))
        return parts

    def _seat(self) -> Fabric:
        return self.person.lower_fabric

    def _seen_fabric(self, fabric: Fabric) -> Fabric:
        """A logo is printed on the chest only, and a jacket is open in front only."""
        if fabric.pattern == "open" or (fabric.pattern == "logo" and self.front < 0.3):
            return Fabric(fabric.colour)
        return fabric

    def _arms(self) -> list[Part]:
        person, bones = self.person, self.skeleton
        pattern = person.upper.pattern if person.upper.pattern in ("bars", "checks") else "plain"
        sleeve, skin = Fabric(person.upper.colour, person.upper.second, pattern), Fabric(person.skin)
        wide = person.girth**0.7
        parts = []
        for side in (0, 1):
            shoulder, elbow, hand = bones.shoulders[side], bones.elbows[side], bones.hands[side]
            forearm = sleeve if person.sleeves == "long" else skin
            parts += [
                self._limb(hand, hand - _UP * 0.03, 0.021, 0.018, skin, 0.13),
                self._limb(elbow, hand, 0.033 * wide, 0.024 * wide, forearm, 0.135),
                self._limb(shoulder - _UP * 0.01, elbow, 0.042 * wide, 0.035 * wide, sleeve, 0.13),
            ]
        return parts

    def _head(self) -> list[Part]:
        person, head = self.person, self.skeleton.head
        face = self._limb(
            head - _UP * 0.035 + _FORWARD * 0.022,
            head + _UP * 0.012 + _FORWARD * 0.018,
            0.038,
            0.044,
            Fabric(person.skin),
            0.18,
        )
        if person.hair == "none":
            parts = [face, self._limb(head + _UP * 0.01, head + _UP * 0.02, 0.05, 0.05, Fabric(person.skin), 0.175)]
        else:
            crown = head + _UP * 0.018 - _FORWARD * 0.008
            hair = Fabric(person.hair_colour)
            nape = head - _UP * 0.02 - _FORWARD * 0.03
            parts = [face, self._limb(crown, nape, 0.053, 0.05, hair, 0.18)]
            if person.hair == "long":
                # Behind the trunk when seen from the front, over it from the back.
                tips = head - _UP * 0.16 - _FORWARD * 0.06
                parts.append(self._limb(nape - _FORWARD * 0.03, tips, 0.052, 0.045, hair, 0.11))
        if person.hat is not None:
            top, hat = head + _UP * 0.04, Fabric(person.hat)
            parts.append(self._limb(top, top + _UP * 0.01, 0.054, 0.046, hat, 0.3))
            parts.append(self._limb(top, top + _FORWARD * 0.07, 0.03, 0.012, hat, 0.31))
        return parts

    def _luggage(self) -> list[Part]:
        person, bones = self.person, self.skeleton
        fabric, side = Fabric(person.luggage_colour), person.luggage_side
        index = 0 if side > 0 else 1
        if person.luggage == "backpack":
            return self._backpack(fabric)
        if person.luggage == "hand":
            grip = bones.hands[index] - _UP * 0.03
            return [
                self._limb(
                    grip,
                    grip - _UP * 0.11,
                    self._across(0.03, 0.07),
                    self._across(0.035, 0.08),
                    fabric,
                    0.06,
                    flat=True,
                )
            ]
        if person.luggage == "shoulder":
            hip = bones.pelvis + np.array([side * 0.13 * person.girth, 0.02, 0.0])
            strap = [
                self._limb(bones.shoulders[1 - index] + _UP * 0.01 + depth, hip + depth, 0.01, 0.01, fabric, 0.1)
                for depth in (_FORWARD * 0.06, -_FORWARD * 0.06)
            ]
            bag = self._limb(
                hip, hip - _UP * 0.12, self._across(0.04, 0.09), self._across(0.04, 0.09), fabric, 0.15, flat=True
            )
            return [*strap, bag]
        return []

    def _backpack(self, fabric: Fabric) -> list[Part]:
        bones = self.skeleton
        top, bottom = bones.neck - _UP * 0.05 - _FORWARD * 0.13, bones.pelvis + _UP * 0.08 - _FORWARD * 0.14
        width = self._seen_width(0.095, 0.06) / self.person.girth
        parts = [self._limb(top, bottom, width * 0.85, width, fabric, 0.12)]
        for shoulder in bones.shoulders:
            inwards = shoulder * np.array([0.6, 1.0, 1.0])
            parts.append(
                self._limb(
                    inwards + _UP * 0.015 + _FORWARD * 0.07,
                    inwards - _UP * 0.17 + _FORWARD * 0.07,
                    0.014,
                    0.014,
                    fabric,
                    0.02,
                )
            )
        return parts

    def _seen_width(self, wide: float, deep: float) -> float:
        return self._across(wide, deep) * self.person.girth

    def _across(self, wide: float, deep: float) -> float:
        """Half width, as seen, of something `wide` across the body and `deep` from front to back."""
        return float(np.hypot(wide * np.cos(self.pose.yaw), deep * np.sin(self.pose.yaw)))

    def _trunk(self, top: Point, bottom: Point, top_width: float, bottom_width: float, fabric: Fabric) -> Part:
        """Sloping shoulders, then straight down to the hem."""
        start, end, nearness = self._axis(top, bottom)
        along, side = end - start, np.array([1.0, 0.0])
        outline = np.array(
            [
                start - side * top_width * 0.35 - along * 0.06,
                start + side * top_width * 0.35 - along * 0.06,
                start + side * top_width * 0.92 + along * 0.05,
                start + side * top_width + along * 0.2,
                end + side * bottom_width,
                end - side * bottom_width,
                start - side * top_width + along * 0.2,
                start - side * top_width * 0.92 + along * 0.05,
            ]
        )
        return Part(outline, np.array([start, end]), (top_width, bottom_width), fabric, nearness + _TRUNK)

    def _limb(
        self,
        start: Point,
        end: Point,
        start_width: float,
        end_width: float,
        fabric: Fabric,
        lift: float,
        *,
        flat: bool = False,
    ) -> Part:
        """A tapering piece between two joints, with round ends unless `flat`."""
        a, b, nearness = self._axis(start, end)
        along = b - a
        angle = float(np.arctan2(along[1], along[0]))
        caps = np.array([np.pi / 2, -np.pi / 2]) if flat else np.linspace(np.pi / 2, -np.pi / 2, 9)
        ring_b = np.stack([np.cos(caps + angle), np.sin(caps + angle)], 1)
        outline = np.concatenate([b + end_width * ring_b, a - start_width * ring_b])
        return Part(outline, np.array([a, b]), (start_width, end_width), fabric, nearness + lift)

    def _axis(self, start: Point, end: Point) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        a, b = project(start, self.pose), project(end, self.pose)
        return np.array(a[:2]), np.array(b[:2]), (a[2] + b[2]) / 2


_TRUNK = 0.12
_UP, _FORWARD = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
