"""The people of a video as they come: found, cut out, batched across frames, embedded, tracked and named.

Each step is a stage in a thread of its own (see `runtime.stages`); frames leave in their order.
"""

import math
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .backend import PendingEmbeddings
from .boxes import FrameBoxes
from .embedder import Embedder
from .embeddings import NO_TRACK
from .gallery import Matches
from .identities import KnownPeople
from .people import Batching, CropBatch, FindPeople, batch_crops, find_people
from .sources import Source
from .stages import Stage, StageRunner
from .track_means import TrackMeans

DECODE, DETECT, CROP, EMBED, IDENTIFY, WRITE = "decode", "detect", "crop", "embed", "identify", "write"

# Frames are large: what waits between two stages, and for a batch to fill, is what a run holds in memory.
_DEPTH = 2
_MOST_FRAMES = 32
_MOST_FRAMES_WITH_PIXELS = 8
# People in a live stream wait no longer than this for others to fill their batch with.
_LIVE_SECONDS = 0.2
# How often that is looked at while no frame comes.
_IDLE_SECONDS = 0.05


class Tracker(Protocol):
    """Joins the boxes of successive frames into tracks."""

    def update(
        self,
        frame: int,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
    ) -> NDArray[np.int64]:
        """Track numbers (N,) of a frame's N people; -1 for no track.

        Args:
            frame: 0-based number, larger than the last one's.
            boxes: (N, 4), x y w h in pixels.
            scores: (N,) of the detector.
            features: (N, D), L2-normalised.
        """
        ...

    def miss(self, frames: int) -> None:
        """So many frames went by unseen that have no numbers, because a live source had stopped."""
        ...

    def ended_tracks(self) -> list[int]:
        """Numbers that nobody gets any more from the last update on."""
        ...


@dataclass(frozen=True)
class EmbeddedFrame:
    """What the pipeline gives for each frame.

    Attributes:
        index: 0-based number of the frame.
        seconds: see `runtime.video.Frame`.
        pixels: H x W x 3 uint8, BGR; None unless they were to be kept.
        found: the N people's boxes, tracks and scores.
        outside: how many more boxes had less than a pixel on the frame.
        images: N x height x width x 3 uint8, RGB: what the network saw of them.
        features: (N, D) float32, L2-normalised.
        matches: the nearest person in the gallery for each; None without a gallery.
        matches_so_far: likewise, but for who has a track by the mean of that track's embeddings until now; None also
            where the pipeline was not asked for it.
        ended_tracks: numbers that the tracker gives to nobody any more, from this frame on.
        arrived: see `runtime.video.Frame`.
    """

    index: int
    seconds: float
    pixels: NDArray[np.uint8] | None
    found: FrameBoxes
    outside: int
    images: NDArray[np.uint8]
    features: NDArray[np.float32]
    matches: Matches | None = None
    matches_so_far: Matches | None = None
    ended_tracks: Sequence[int] = ()
    arrived: datetime | None = None

    def name_of(self, row: int) -> str:
        """What the person in a row is called in tables and embeddings files."""
        return f"frame{self.index:06d}_box{row:02d}"


@dataclass(frozen=True)
class Pipeline:
    """The steps between a source and what is written of it.

    Attributes:
        source: gives the frames; to be run once.
        find: finds the people on frames.
        find_at_once: on so many frames in a call.
        embedder: turns them into embeddings; pipelines in several threads may share one.
        every: frames whose number is not a multiple of this are left out.
        seconds: the first frame that is so late, or later, ends the source; None reads it to its end.
        tracker: joins boxes into tracks; None leaves them as `find` gives them.
        gallery: names people; None does not.
        name_tracks: whether it also names them by their tracks so far.
        keep_pixels: whether the frames are needed after their people were cut out.
        depth: what may wait between two stages.
        keep_up: whether of the frames that come while others are still worked on only the newest waits, and between any
            two stages one item: what waits is late. The source should be live, as what is read of a file depends on
            the machine then.
    """

    source: Source
    find: FindPeople
    find_at_once: int
    embedder: Embedder
    every: int = 1
    seconds: float | None = None
    tracker: Tracker | None = None
    gallery: KnownPeople | None = None
    name_tracks: bool = False
    keep_pixels: bool = False
    depth: int = _DEPTH
    keep_up: bool = False

    def start(self) -> StageRunner:
        """A runner that gives an `EmbeddedFrame` for every frame, in order; its last stage is the caller."""
        stopping = threading.Event()
        end = math.inf if self.seconds is None else self.seconds
        return StageRunner(
            DECODE,
            takewhile(lambda frame: frame.seconds < end, self.source.frames(stopping, self.every)),
            self.stages(),
            consumer_name=WRITE,
            depth=1 if self.keep_up else self.depth,
            keeps_up=self.keep_up,
            stopping=stopping,
        )

    def stages(self) -> list[Stage]:
        """What is done between the source and the caller."""
        batching = self._batching()
        return [
            Stage(DETECT, lambda frames: find_people(frames, self.find, self.find_at_once)),
            Stage(CROP, lambda frames: batch_crops(frames, batching), idle=_IDLE_SECONDS if self.source.live else None),
            Stage(EMBED, lambda batches: embed_batches(batches, self.embedder, ahead=self._ahead())),
            Stage(IDENTIFY, lambda batches: self._identified(split_frames(batches))),
        ]

    def _batching(self) -> Batching:
        manifest = self.embedder.manifest
        return Batching(
            people=self.embedder.batch_size,
            height=manifest.height,
            width=manifest.width,
            frames=_MOST_FRAMES_WITH_PIXELS if self.keep_pixels else _MOST_FRAMES,
            seconds=_LIVE_SECONDS if self.source.live else None,
            keep_pixels=self.keep_pixels,
        )

    def _ahead(self) -> int:
        # What a live stream gave is not held back until there is another batch.
        return int(self.embedder.queues and not self.source.live)

    def _identified(self, frames: Iterator[EmbeddedFrame]) -> Generator[EmbeddedFrame, None, None]:
        latest = -1
        means = TrackMeans()
        for frame in frames:
            if self.tracker is not None:
                found = frame.found
                # The first frame after a gap may itself have been passed over.
                if missed := self._missed(range(latest + 1, frame.index + 1)):
                    self.tracker.miss(missed)
                latest = frame.index
                tracks = self.tracker.update(frame.index, found.boxes, found.scores, frame.features)
                ended = self.tracker.ended_tracks()
                frame = replace(frame, found=replace(found, tracks=tracks), ended_tracks=ended)
            if self.gallery is not None:
                frame = self._named(frame, self.gallery, means)
            yield frame

    def _named(self, frame: EmbeddedFrame, gallery: KnownPeople, means: TrackMeans) -> EmbeddedFrame:
        if not self.name_tracks:
            return replace(frame, matches=gallery.nearest(frame.features))
        means.end(frame.ended_tracks)
        so_far = means.add(frame.found.tracks, frame.features)
        count, tracked = len(so_far), np.flatnonzero(frame.found.tracks != NO_TRACK)
        # One search for both: what it costs is to read the gallery.
        found = gallery.nearest(np.concatenate([frame.features, so_far[tracked]]))
        rows = np.arange(count)
        crops = found.take(rows)
        rows[tracked] = count + np.arange(len(tracked))
        return replace(frame, matches=crops, matches_so_far=found.take(rows))

    def _missed(self, numbers: range) -> int:
        """How many frames that have no numbers went by before frames with these."""
        gaps = [self.source.gaps[number] for number in numbers if number in self.source.gaps]
        # From the last frame before a gap to the first one after it, whose numbers are `every` apart.
        return sum(max(round(seconds * self.source.rate) - self.every, 0) for seconds in gaps)


@dataclass(frozen=True)
class EmbeddedBatch:
    """A `CropBatch` with its (N, D) embeddings."""

    crops: CropBatch
    features: NDArray[np.float32]


def embed_batches(
    batches: Iterator[CropBatch], embedder: Embedder, *, ahead: int = 0
) -> Generator[EmbeddedBatch, None, None]:
    """Run the network on each batch.

    Args:
        batches: what to embed.
        embedder: other threads may use it, too.
        ahead: so many more batches are given to the network before the embeddings of one are waited for.

    Raises:
        DeviceError: the device failed.
    """
    waiting: deque[tuple[CropBatch, PendingEmbeddings | None]] = deque()
    try:
        for batch in batches:
            waiting.append((batch, embedder.submit(batch.images) if len(batch.images) else None))
            if len(waiting) > ahead:
                yield _embedded(*waiting.popleft(), embedder)
    except Exception:
        # As if nothing had been ahead: what came before the error goes before it.
        while waiting:
            yield _embedded(*waiting.popleft(), embedder)
        raise
    while waiting:
        yield _embedded(*waiting.popleft(), embedder)


def _embedded(crops: CropBatch, pending: PendingEmbeddings | None, embedder: Embedder) -> EmbeddedBatch:
    if pending is None:
        return EmbeddedBatch(crops, np.empty((0, embedder.manifest.embedding_size), np.float32))
    return EmbeddedBatch(crops, pending.result())


def split_frames(batches: Iterator[EmbeddedBatch]) -> Generator[EmbeddedFrame, None, None]:
    """The frames of successive batches, each with the embeddings of its own people."""
    left: list[EmbeddedBatch] = []
    for batch in batches:
        together = [*left, batch]
        images = np.concatenate([each.crops.images for each in together])
        features = np.concatenate([each.features for each in together])
        start = 0
        for people in batch.crops.complete:
            own = slice(start, start + len(people.found))
            start = own.stop
            yield EmbeddedFrame(
                index=people.index,
                seconds=people.seconds,
                pixels=people.pixels,
                found=people.found,
                outside=people.outside,
                images=images[own],
                features=features[own],
                arrived=people.arrived,
            )
        # The people of a frame that goes on in the next batch.
        left = [EmbeddedBatch(CropBatch(images[start:], []), features[start:])]
