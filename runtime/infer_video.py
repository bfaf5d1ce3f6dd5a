"""From a video or a stream to its people's embeddings and what else is wanted of them."""

import logging
import math
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from .boxes import FrameBoxes, read_boxes
from .detector import DEFAULT_SCORE, YoloxDetector
from .embedder import Embedder
from .embeddings import NO_TRACK
from .errors import InputError
from .identities import KnownPeople, open_set
from .infer_options import Options
from .interrupt import Interruption, ends_cleanly
from .opencv_threads import one_opencv_thread
from .outputs import VideoOutputs, Wanted
from .people import FindPeople, check_all_seen, detected_by, frames_at_once, given_boxes
from .pipeline import EmbeddedFrame, Pipeline
from .progress import pipeline_progress
from .sources import Backoff, Source, describe_source, open_source
from .stages import StageRunner
from .summary import Summary
from .track_identities import TrackIdentities
from .tracking import AppearanceTracker

logger = logging.getLogger(__name__)


def infer_video(options: Options, embedder: Embedder, gallery: KnownPeople | None, threshold: float | None) -> Summary:
    """Embed the people of a video and write what `options` ask for.

    Ctrl-C ends it after the frames that were read, and what is known of those is written. So it is when a live source
    fails; what can be run again is not written by halves.

    Args:
        options: what to do.
        embedder: turns crops into embeddings.
        gallery: of known people; None where nobody is known.
        threshold: see `Options.threshold`, with the gallery's own put in.

    Raises:
        LgeuError: see the parts.
    """
    with closing(_people(options)) as people:
        # A camera may have to be waited for: what else can be wrong has been said by then.
        source = _open_source(options)
        pipeline = Pipeline(
            source=source,
            find=people.find,
            find_at_once=_frames_at_once(options, people, source),
            embedder=embedder,
            every=options.every,
            seconds=options.seconds,
            tracker=_tracker(options, people),
            gallery=open_set(gallery, threshold),
            name_tracks=options.json_lines or options.annotate,
            keep_pixels=options.annotate,
            keep_up=options.keep_up,
        )
        wanted = _wanted(options, source, gallery, threshold)
        out = options.out if options.writes_files else None
        with VideoOutputs(out, embedder.manifest, wanted, live=source.live) as outputs:
            runner = pipeline.start()
            # Until all is in its place: an hour of video is not to be lost while its results are completed.
            with ends_cleanly(runner.stop) as interruption:
                try:
                    summary = _Run(runner, outputs, source, options).to_its_end(interruption)
                    if not summary.interrupted and options.seconds is None and source.failure is None:
                        check_all_seen(people.given, source.name, source.count)
                except Exception:
                    outputs.salvage()
                    raise
                outputs.finish()
    if source.failure is not None:
        logger.warning("%s%s", summary, f"\nthe results until then are written to {out}" if out else "")
        raise source.failure
    return summary


def _open_source(options: Options) -> Source:
    backoff = Backoff() if options.reconnect is None else Backoff(patience=options.reconnect, from_start=True)
    source = open_source(options.source, backoff, math.inf if options.seconds is None else options.seconds)
    for option, given in (("--keep-up", options.keep_up), ("--reconnect", options.reconnect is not None)):
        if given and not source.live:
            raise InputError(
                f"{option} given with {source.name}, which is a video of {source.total} frames and no live stream; "
                "leave it out"
            )
    return source


@dataclass(frozen=True)
class _People:
    """How people are found, by which detector, or the boxes that were given."""

    find: FindPeople
    detector: YoloxDetector | None = None
    given: Mapping[int, FrameBoxes] = field(default_factory=dict)

    def close(self) -> None:
        if self.detector is not None:
            self.detector.close()


def _people(options: Options) -> _People:
    if options.boxes is not None:
        given = read_boxes(options.boxes, -1 if options.frame_offset is None else options.frame_offset)
        return _People(given_boxes(given), given=given)
    if options.detector is None:
        raise InputError(f"{describe_source(options.source)} is a video without boxes or a detector")
    score = DEFAULT_SCORE if options.score is None else options.score
    detector = YoloxDetector(options.detector, score=score, device=options.device)
    return _People(detected_by(detector), detector)


def _frames_at_once(options: Options, people: _People, source: Source) -> int:
    detector = people.detector
    if detector is None:
        return 1
    if detector.best_batch == 1:
        logger.info("%s takes one frame at a time", options.detector)
    if source.live and detector.min_batch > 1:
        logger.warning(
            "warning: %s computes %d frames for each one of a live stream; build it for a batch of one",
            options.detector,
            detector.min_batch,
        )
    return frames_at_once(detector, live=source.live)


def _tracker(options: Options, people: _People) -> AppearanceTracker | None:
    """One where tracks are wanted, unless every given box has its own."""
    given = bool(people.given) and all((boxes.tracks != NO_TRACK).all() for boxes in people.given.values())
    if given or not options.tracks:
        return None
    return AppearanceTracker()


def _wanted(options: Options, source: Source, gallery: KnownPeople | None, threshold: float | None) -> Wanted:
    identified = options.tracks and (gallery is not None or threshold is not None)
    return Wanted(
        embeddings=options.embeddings,
        matches=gallery is not None,
        tracks=options.tracks,
        identities=TrackIdentities(gallery, threshold) if identified else None,
        annotated=source.rate / options.every if options.annotate else None,
        sheets=options.contact_sheets,
        json_lines=sys.stdout if options.json_lines else None,
    )


@dataclass
class _Run:
    """Writes what a pipeline gives, and counts."""

    runner: StageRunner
    outputs: VideoOutputs
    source: Source
    options: Options
    frames: int = 0
    outside: int = 0
    embeddings: int = 0

    def to_its_end(self, interruption: Interruption) -> Summary:
        """Until the source ends or somebody asks for the end."""
        started = time.perf_counter()
        with one_opencv_thread(), self.runner:
            for frame in self._shown():
                self.outputs.add(frame)
                self.frames += 1
                self.outside += frame.outside
                self.embeddings += len(frame.features)
                if self.outputs.reader_is_gone:
                    self.runner.stop()
        return Summary(
            frames=self.frames,
            boxes=self.embeddings + self.outside,
            dropped=self.outside,
            embeddings=self.embeddings,
            seconds=time.perf_counter() - started,
            damaged=len(self.source.damaged),
            passed_over=self.runner.passed_over() if self.options.keep_up else None,
            busy=self.runner.busy(),
            interrupted=interruption.asked or self.outputs.reader_is_gone,
        )

    def _shown(self) -> Iterable[EmbeddedFrame]:
        total = self.source.total
        if total is not None and self.options.seconds is not None:
            total = math.ceil(min(total, self.options.seconds * self.source.rate))
        expected = None if total is None else -(-total // self.options.every)
        runner = self.runner
        return pipeline_progress(runner, expected, lambda frame: len(frame.features), runner.busy, runner.passed_over)
