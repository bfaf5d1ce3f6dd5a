"""Where a person will be in the next frame: a Kalman filter (OpenCV's) over a box and how fast it changes."""

import cv2
import numpy as np
from numpy.typing import NDArray

# Standard deviations as shares of the box's height, as in SORT's successors: of a position, and of its change a frame.
_POSITION = 1 / 20
_VELOCITY = 1 / 160
_SIDES = 4


class BoxMotion:
    """Follows one box, x y w h in pixels, frame by frame, at a constant velocity."""

    def __init__(self, box: NDArray[np.float32]) -> None:
        """Start at a box (4,), at rest; how it moves is not known."""
        self._filter = cv2.KalmanFilter(2 * _SIDES, _SIDES, 0, cv2.CV_64F)
        self._filter.transitionMatrix = np.eye(2 * _SIDES) + np.eye(2 * _SIDES, k=_SIDES)
        self._filter.measurementMatrix = np.eye(_SIDES, 2 * _SIDES)
        self._filter.statePost = np.concatenate([_centred(box), np.zeros(_SIDES)])[:, None]
        self._filter.errorCovPost = self._noise(2 * _POSITION, 10 * _VELOCITY)

    @property
    def box(self) -> NDArray[np.float32]:
        """Where it is thought to be, (4,) x y w h; its sides are at least a pixel."""
        cx, cy, w, h = self._filter.statePost[:_SIDES, 0]
        w, h = max(w, 1.0), max(h, 1.0)
        return np.array([cx - w / 2, cy - h / 2, w, h], np.float32)

    def predict(self) -> None:
        """Go on by a frame."""
        self._filter.processNoiseCov = self._noise(_POSITION, _VELOCITY)
        self._filter.predict()
        # Until it is corrected, what is predicted is what is known.
        self._filter.statePost, self._filter.errorCovPost = self._filter.statePre, self._filter.errorCovPre

    def correct(self, box: NDArray[np.float32]) -> None:
        """Take in where it was seen, (4,) x y w h."""
        self._filter.measurementNoiseCov = np.eye(_SIDES) * (_POSITION * self._height) ** 2
        self._filter.correct(_centred(box)[:, None])

    @property
    def _height(self) -> float:
        return max(float(self._filter.statePost[3, 0]), 1.0)

    def _noise(self, position: float, velocity: float) -> NDArray[np.float64]:
        deviations = np.repeat([position, velocity], _SIDES) * self._height
        return np.diag(deviations**2)


def _centred(box: NDArray[np.float32]) -> NDArray[np.float64]:
    x, y, w, h = (float(side) for side in box)
    return np.array([x + w / 2, y + h / 2, w, h])
