"""What a run of `infer` did."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .progress import describe_shares


@dataclass(frozen=True)
class Summary:
    """What was done.

    Attributes:
        frames: of the video that were looked at; None for crops.
        boxes: on them, or the number of crops.
        dropped: boxes of which less than a pixel, in width or height, was in their frame.
        embeddings: how many were made, written or not.
        seconds: spent on reading, detecting and embedding.
        damaged: frames that could not be decoded.
        passed_over: frames of a live source that others gave no time for; None where it waited instead.
        busy: seconds that each stage of a video's pipeline worked, waiting for others left out.
        interrupted: whether somebody ended it before the source did.
    """

    frames: int | None
    boxes: int
    dropped: int
    embeddings: int
    seconds: float
    damaged: int = 0
    passed_over: int | None = None
    busy: Mapping[str, float] = field(default_factory=dict)
    interrupted: bool = False

    def __str__(self) -> str:
        rate = self.embeddings / max(self.seconds, 1e-9)
        if self.frames is None:
            return f"images: {self.boxes}\nembeddings: {self.embeddings}\nimages/s: {rate:.1f}"
        lines = [
            f"frames: {self.frames}{' (interrupted)' if self.interrupted else ''}",
            *([f"damaged frames left out: {self.damaged}"] if self.damaged else []),
            *([f"frames passed over: {self.passed_over}"] if self.passed_over is not None else []),
            f"boxes: {self.boxes}",
            f"dropped (outside the frame): {self.dropped}",
            f"embeddings: {self.embeddings}",
            f"images/s: {rate:.1f}",
            f"frames/s: {self.frames / max(self.seconds, 1e-9):.1f}",
            f"busy: {describe_shares(self.busy, self.seconds)}",
        ]
        return "\n".join(lines)
