"""Where the joints of a walking pedestrian are, seen from any side."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = NDArray[np.float64]

# Heights in units of the body's height, standing: the proportions of an average adult.
HIP, KNEE, ANKLE = 0.50, 0.27, 0.045
SHOULDER, NECK, HEAD = 0.815, 0.86, 0.925
_UPPER_ARM, _FOREARM = 0.165, 0.155
_FOOT = 0.085
_HIP_WIDTH, _SHOULDER_WIDTH = 0.055, 0.115


@dataclass(frozen=True)
class Pose:
    """One moment of a walk, and the side it is seen from.

    Attributes:
        phase: of the gait, in radians; a full cycle is two steps.
        yaw: in radians; 0 walks towards the camera, pi away from it, pi / 2 to the right of the picture.
        stride: amplitude of the thighs' swing, in radians.
        pitch: how far the camera looks down, in radians.
    """

    phase: float
    yaw: float
    stride: float = 0.42
    pitch: float = 0.15


@dataclass(frozen=True)
class Skeleton:
    """Joints of one pose: (3,) arrays x (the person's left), y (up), z (forward), in body heights, the feet at y = 0.

    Where there are two, the person's left comes first.
    """

    hips: tuple[Point, Point]
    knees: tuple[Point, Point]
    ankles: tuple[Point, Point]
    toes: tuple[Point, Point]
    shoulders: tuple[Point, Point]
    elbows: tuple[Point, Point]
    hands: tuple[Point, Point]
    pelvis: Point
    neck: Point
    head: Point


def walk(pose: Pose, girth: float = 1.0, legs: float = 1.0) -> Skeleton:
    """The joints at one moment of a walk.

    Args:
        pose: the moment.
        girth: factor on the widths.
        legs: factor on the length of the legs.
    """
    left = _leg(pose.phase, pose.stride, _HIP_WIDTH * girth, legs)
    right = _leg(pose.phase + np.pi, pose.stride, -_HIP_WIDTH * girth, legs)
    # The legs were laid out below a hip at y = 0; the lower foot stands on the ground.
    ground = min(left[2][1], right[2][1]) - ANKLE
    rise = np.array([0.0, -ground, 0.0])
    left_leg, right_leg = [joint + rise for joint in left], [joint + rise for joint in right]
    sway = rise - np.array([0.0, HIP, 0.0])
    left_arm = _arm(pose.phase + np.pi, pose.stride, _SHOULDER_WIDTH * girth)
    right_arm = _arm(pose.phase, pose.stride, -_SHOULDER_WIDTH * girth)
    left_arm, right_arm = [joint + sway for joint in left_arm], [joint + sway for joint in right_arm]
    return Skeleton(
        hips=(left_leg[0], right_leg[0]),
        knees=(left_leg[1], right_leg[1]),
        ankles=(left_leg[2], right_leg[2]),
        toes=(left_leg[3], right_leg[3]),
        shoulders=(left_arm[0], right_arm[0]),
        elbows=(left_arm[1], right_arm[1]),
        hands=(left_arm[2], right_arm[2]),
        pelvis=np.array([0.0, HIP, 0.0]) + sway,
        neck=np.array([0.0, NECK, 0.0]) + sway,
        head=np.array([0.0, HEAD, 0.012]) + sway,
    )


def project(point: Point, pose: Pose) -> tuple[float, float, float]:
    """A joint as the camera sees it: x to the right, y down (0 at the feet), both in body heights, and nearness."""
    x, y, z = point
    nearness = z * np.cos(pose.yaw) - x * np.sin(pose.yaw)
    across = x * np.cos(pose.yaw) + z * np.sin(pose.yaw)
    return float(across), float(nearness * np.sin(pose.pitch) - y * np.cos(pose.pitch)), float(nearness)


def _leg(phase: float, stride: float, x: float, length: float) -> list[Point]:
    """Hip, knee, ankle and toe of a leg that hangs from y = 0."""
    swing = stride * np.sin(phase)
    # The knee bends while the leg comes forward.
    bend = 0.08 + 1.6 * stride * max(0.0, float(np.cos(phase))) ** 2
    hip = np.array([x, 0.0, 0.0])
    knee = hip + (HIP - KNEE) * length * _direction(swing)
    ankle = knee + (KNEE - ANKLE) * length * _direction(swing - bend)
    toe = ankle + np.array([0.0, -ANKLE * 0.75, 0.0]) + _FOOT * _direction(np.pi / 2 + 0.3 * (swing - bend))
    return [hip, knee, ankle, toe]


def _arm(phase: float, stride: float, x: float) -> list[Point]:
    """Shoulder, elbow and hand."""
    swing = 0.75 * stride * np.sin(phase)
    outwards = np.array([np.sign(x) * 0.14, 0.0, 0.0])
    shoulder = np.array([x, SHOULDER, 0.0])
    elbow = shoulder + _UPPER_ARM * (_direction(swing) + outwards)
    hand = elbow + _FOREARM * (_direction(swing + 0.3 + 0.3 * max(0.0, float(np.sin(phase)))) + 0.4 * outwards)
    return [shoulder, elbow, hand]


def _direction(angle: float) -> Point:
    """Unit vector that hangs down at 0 and points forward at pi / 2."""
    return np.array([0.0, -np.cos(angle), np.sin(angle)])
