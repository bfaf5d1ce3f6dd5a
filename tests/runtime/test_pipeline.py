"""The pipeline gives, in order, what one crop at a time gives."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.boxes import FrameBoxes, cut
from runtime.embedder import Embedder
from runtime.embeddings import Embeddings
from runtime.errors import DeviceError, InputError
from runtime.gallery import Gallery, Matches
from runtime.opencv_threads import one_opencv_thread
from runtime.people import CropBatch, FindPeople, given_boxes
from runtime.pipeline import EmbeddedFrame, Pipeline, embed_batches
from runtime.sources import Backoff, Stream, VideoFile
from runtime.stages import run_in_turn
from runtime.tracking import AppearanceTracker
from runtime.video import Frame, read_frames


@pytest.fixture
def given() -> dict[int, FrameBoxes]:
    """0 to 6 people on each of 30 frames; on the last ones there is nobody."""
    generator = np.random.default_rng(5)
    boxes = {}
    for frame in range(26):
        count = int(generator.integers(0, 7))
        corners = generator.uniform(0, 30, (count, 2))
        sizes = generator.uniform(4, 20, (count, 2))
        boxes[frame] = FrameBoxes.without_tracks(
            np.concatenate([corners, sizes], axis=1).astype(np.float32), np.ones(count, np.float32)
        )
    return boxes


class Counting:
    """A tracker that gives every person a new number, and notes what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []
        self._next = 0

    def update(
        self,
        frame: int,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
    ) -> NDArray[np.int64]:
        assert len(boxes) == len(scores) == len(features)
        self.seen.append((frame, len(boxes)))
        self._next += len(boxes)
        return np.arange(self._next - len(boxes), self._next)

    def miss(self, frames: int) -> None:
        raise AssertionError(f"nothing was missed: {frames}")

    def ended_tracks(self) -> list[int]:
        return []


@pytest.mark.parametrize("batch_size", [1, 5, 32])
@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("keep_pixels", [False, True])
def test_as_one_crop_at_a_time(
    make_video: Callable[..., Path],
    given: dict[int, FrameBoxes],
    tiny_model: Path,
    batch_size: int,
    every: int,
    keep_pixels: bool,
) -> None:
    video = make_video(frames=30)
    whole = list(read_frames(video))
    with Embedder.open(tiny_model, batch_size=batch_size) as embedder:

        def pipeline() -> Pipeline:
            return Pipeline(
                VideoFile(video),
                given_boxes(given),
                3,
                embedder,
                every=every,
                tracker=Counting(),
                keep_pixels=keep_pixels,
            )

        with pipeline().start() as runner:
            frames = list(runner)
        one = pipeline()
        in_turn = list(run_in_turn("decode", VideoFile(video).frames(None, every), one.stages(), {}))
        assert [frame.index for frame in frames] == list(range(0, 30, every))
        people = 0
        for frame, alone in zip(frames, in_turn, strict=True):
            found = given.get(frame.index, FrameBoxes.nobody())
            np.testing.assert_array_equal(frame.found.boxes, found.clipped(64, 48).boxes)
            np.testing.assert_array_equal(frame.found.tracks, np.arange(people, people + len(found)))
            people += len(found)
            np.testing.assert_array_equal(frame.features, alone.features)
            np.testing.assert_array_equal(frame.images, alone.images)
            for box, feature in zip(frame.found.boxes, frame.features, strict=True):
                single = embedder.embed([cut(whole[frame.index], box)], "BGR")[0]
                np.testing.assert_allclose(feature, single, atol=1e-6)
            assert (frame.pixels is not None) == keep_pixels
            if frame.pixels is not None:
                np.testing.assert_array_equal(frame.pixels, whole[frame.index])
    assert people > 10


def test_a_tracker_sees_every_frame_and_a_gallery_every_person(
    make_video: Callable[..., Path], given: dict[int, FrameBoxes], tiny_model: Path
) -> None:
    tracker = Counting()
    with Embedder.open(tiny_model, batch_size=4) as embedder:
        generator = np.random.default_rng(0)
        known = Embeddings(
            features=generator.normal(size=(5, 6)).astype(np.float32),
            person_ids=np.arange(1, 6),
            camera_ids=np.ones(5, np.int64),
            names=np.array(list("abcde")),
        )
        gallery = Gallery(known, "made up")
        pipeline = Pipeline(
            VideoFile(make_video(frames=30)), given_boxes(given), 1, embedder, tracker=tracker, gallery=gallery
        )
        with pipeline.start() as runner:
            frames = list(runner)
    assert tracker.seen == [(index, len(given.get(index, ()))) for index in range(30)]
    for frame in frames:
        assert frame.matches is not None
        similarity = frame.features @ (known.features / np.linalg.norm(known.features, axis=1, keepdims=True)).T
        np.testing.assert_array_equal(frame.matches.person_ids, 1 + similarity.argmax(axis=1))


class Searched:
    """A gallery that notes how many embeddings it was asked for."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self.asked: list[int] = []

    def nearest(self, features: NDArray[np.float32]) -> Matches:
        self.asked.append(len(features))
        return self._gallery.nearest(features)


@pytest.mark.parametrize("name_tracks", [False, True])
def test_people_are_named_by_their_tracks_so_far_in_one_search_and_only_where_that_is_wanted(
    make_video: Callable[..., Path], given: dict[int, FrameBoxes], tiny_model: Path, name_tracks: bool
) -> None:
    random = np.random.default_rng(3)
    tracked = {
        index: FrameBoxes(boxes.boxes, random.permutation([-1, 1, 2, 3, 4, 5])[: len(boxes)], boxes.scores)
        for index, boxes in given.items()
    }
    looks = random.normal(size=(9, 6)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    gallery = Searched(
        Gallery(Embeddings(looks, np.arange(1, 10), np.ones(9, np.int64), np.array(list("abcdefghi"))), "made up")
    )
    with Embedder.open(tiny_model, batch_size=4) as embedder:
        source = VideoFile(make_video(frames=30))
        pipeline = Pipeline(source, given_boxes(tracked), 1, embedder, gallery=gallery, name_tracks=name_tracks)
        with pipeline.start() as runner:
            frames = list(runner)
    assert gallery.asked == [
        len(frame.features) + int(name_tracks) * int((frame.found.tracks != -1).sum()) for frame in frames
    ]
    seen: dict[int, list[NDArray[np.float32]]] = {}
    for frame in frames:
        assert frame.matches is not None
        np.testing.assert_allclose(frame.matches.scores, (frame.features @ looks.T).max(axis=1), atol=1e-6)
        if not name_tracks:
            assert frame.matches_so_far is None
            continue
        assert frame.matches_so_far is not None
        for row, track in enumerate(frame.found.tracks.tolist()):
            own = seen.setdefault(track, []) if track != -1 else []
            own.append(frame.features[row])
            mean = np.mean(own, axis=0, dtype=np.float64)
            similarity = looks @ mean / np.linalg.norm(mean)
            assert frame.matches_so_far.scores[row] == pytest.approx(similarity.max(), abs=1e-6)
            assert similarity[frame.matches_so_far.person_ids[row] - 1] == pytest.approx(similarity.max(), abs=1e-6)


class Forgetful(Counting):
    """A tracker that gives everybody the same numbers on each frame, which ended before it."""

    def update(
        self,
        frame: int,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
    ) -> NDArray[np.int64]:
        return np.arange(1, len(boxes) + 1)

    def ended_tracks(self) -> list[int]:
        return list(range(1, 9))


def test_what_a_track_looked_like_is_forgotten_when_it_ends(
    make_video: Callable[..., Path], given: dict[int, FrameBoxes], tiny_model: Path
) -> None:
    looks = np.eye(4, 6, dtype=np.float32)
    gallery = Gallery(Embeddings(looks, np.arange(1, 5), np.ones(4, np.int64), np.array(list("abcd"))), "made up")
    with Embedder.open(tiny_model, batch_size=4) as embedder:
        source = VideoFile(make_video(frames=30))
        pipeline = Pipeline(
            source, given_boxes(given), 1, embedder, tracker=Forgetful(), gallery=gallery, name_tracks=True
        )
        with pipeline.start() as runner:
            for frame in runner:
                assert frame.matches is not None
                assert frame.matches_so_far is not None
                np.testing.assert_allclose(frame.matches_so_far.scores, frame.matches.scores, atol=1e-6)


@pytest.mark.parametrize(("seconds", "tracks"), [(0.4, [1] * 6), (60.0, [1] * 3 + [2] * 3)])
def test_after_a_gap_in_a_live_stream_nobody_gets_the_track_of_who_stood_there(
    mjpeg_camera: Callable[..., AbstractContextManager[str]], tiny_model: Path, seconds: float, tracks: list[int]
) -> None:
    pytest.importorskip("scipy", reason="SciPy is not installed")
    picture = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    box = FrameBoxes.without_tracks(np.array([[20, 10, 10, 30]], np.float32), np.ones(1, np.float32))
    arrivals = [0, 0.04, 0.08, 0.08 + seconds, 0.12 + seconds, 0.16 + seconds, math.inf]
    with mjpeg_camera([picture] * 3, [], [picture] * 3) as url, Embedder.open(tiny_model) as embedder:
        stream = Stream(
            url,
            lambda: cv2.VideoCapture(url, cv2.CAP_FFMPEG),
            backoff=Backoff(patience=2),
            clock=lambda: arrivals[stream.count],
            wait=lambda stopping, _: stopping.is_set(),
        )
        find = given_boxes(dict.fromkeys(range(6), box))
        with Pipeline(stream, find, 1, embedder, tracker=AppearanceTracker(confirmation=1)).start() as runner:
            frames = list(runner)
    assert [int(frame.found.tracks[0]) for frame in frames] == tracks
    # Who collects a track's embeddings lets them go with this frame.
    assert [frame.index for frame in frames if frame.ended_tracks] == [3] * (2 in tracks)
    assert stream.gaps == {3: pytest.approx(seconds)}


@pytest.mark.parametrize(("seconds", "missed"), [(2.0, [46]), (0.16, []), (0.1, [])])
def test_a_gap_does_not_count_frames_twice_that_have_numbers(
    mjpeg_camera: Callable[..., AbstractContextManager[str]], tiny_model: Path, seconds: float, missed: list[int]
) -> None:
    class Missing(Counting):
        def miss(self, frames: int) -> None:
            gaps.append(frames)

    gaps: list[int] = []
    picture = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    with mjpeg_camera([picture] * 8, [picture] * 8) as url, Embedder.open(tiny_model) as embedder:
        stream = Stream(
            url,
            lambda: cv2.VideoCapture(url, cv2.CAP_FFMPEG),
            backoff=Backoff(patience=2),
            clock=lambda: seconds * (stream.count >= 8),
            wait=lambda stopping, _: stopping.is_set(),
        )
        tracker = Missing()
        with Pipeline(stream, given_boxes({}), 1, embedder, every=4, tracker=tracker).start() as runner:
            assert [frame.index for frame in runner] == [0, 4, 8, 12]
    assert stream.gaps == {8: seconds}
    # 25 frames a second from frame 4 to frame 8.
    assert gaps == missed


class Announced(Stream):
    """A stream that goes on after its first frame when that was taken, and says when it has ended."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, lambda: cv2.VideoCapture(url, cv2.CAP_FFMPEG), **options)
        self.taken, self.ended = threading.Event(), threading.Event()

    def frames(self, stopping: threading.Event, every: int = 1) -> Iterator[Frame]:
        for frame in super().frames(stopping, every):
            yield frame
            assert self.taken.wait(10)
        self.ended.set()

    def detect(self, find: FindPeople) -> FindPeople:
        """As slow as can be: everything else comes while the first frame is looked at."""

        def slow(frames: Sequence[Frame]) -> list[FrameBoxes]:
            self.taken.set()
            assert self.ended.wait(10)
            return find(frames)

        return slow


@pytest.mark.parametrize(("every", "looked_at", "passed_over"), [(1, [0, 11], 9), (2, [0, 10], 4)])
def test_frames_of_a_slow_pipeline_keep_their_numbers_and_times(
    mjpeg_camera: Callable[..., AbstractContextManager[str]],
    tiny_model: Path,
    every: int,
    looked_at: list[int],
    passed_over: int,
) -> None:
    pictures = [cv2.imencode(".jpg", np.full((48, 64, 3), 20 * n, np.uint8))[1].tobytes() for n in range(12)]
    pictures[3] = b"\xff\xd8\xff" + bytes(200)
    with mjpeg_camera(pictures[:7], pictures[7:]) as url, Embedder.open(tiny_model) as embedder:
        stream = Announced(
            url,
            backoff=Backoff(patience=1),
            clock=lambda: stream.count,
            wait=lambda stopping, _: stopping.is_set(),
        )
        find = stream.detect(given_boxes({}))
        with Pipeline(stream, find, 1, embedder, every=every, keep_pixels=True, keep_up=True).start() as runner:
            frames = list(runner)
    assert [frame.index for frame in frames] == looked_at
    for frame in frames:
        assert frame.pixels is not None
        assert round(float(frame.pixels.mean()) / 20) == frame.index
    # The clock shows how many frames of the stream had gone by when the next one that was to be looked at came.
    assert [frame.seconds for frame in frames] == [max(number + 1 - every, 0) for number in looked_at]
    assert runner.passed_over() == passed_over
    assert stream.damaged == [3]
    assert stream.count == 12


@pytest.mark.parametrize(("seconds", "tracks"), [(0.2, [1, 1]), (60.0, [1, 2])])
def test_a_gap_before_a_frame_that_was_passed_over(
    mjpeg_camera: Callable[..., AbstractContextManager[str]], tiny_model: Path, seconds: float, tracks: list[int]
) -> None:
    pytest.importorskip("scipy", reason="SciPy is not installed")
    picture = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    box = FrameBoxes.without_tracks(np.array([[20, 10, 10, 30]], np.float32), np.ones(1, np.float32))
    arrivals = [0, 0.04, 0.08, 0.08 + seconds, 0.12 + seconds, 0.16 + seconds, math.inf]
    with mjpeg_camera([picture] * 3, [picture] * 3) as url, Embedder.open(tiny_model) as embedder:
        stream = Announced(
            url,
            backoff=Backoff(patience=1),
            clock=lambda: arrivals[stream.count],
            wait=lambda stopping, _: stopping.is_set(),
        )
        find = stream.detect(given_boxes(dict.fromkeys(range(6), box)))
        tracker = AppearanceTracker(confirmation=1)
        with Pipeline(stream, find, 1, embedder, tracker=tracker, keep_up=True).start() as runner:
            found = [(frame.index, int(frame.found.tracks[0])) for frame in runner]
    assert found == list(zip([0, 5], tracks, strict=True))
    assert stream.gaps == {3: pytest.approx(seconds)}


def test_pipelines_share_an_embedder(
    make_video: Callable[..., Path],
    given: dict[int, FrameBoxes],
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    video = make_video(frames=30)
    results: list[list[EmbeddedFrame]] = []
    with Embedder.open(tiny_model, batch_size=1) as embedder:
        run, running = embedder.backend.run, threading.Lock()

        def run_alone(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            if not running.acquire(blocking=False):
                raise DeviceError("two threads at once")
            try:
                return run(images)
            finally:
                running.release()

        monkeypatch.setattr(embedder.backend, "run", run_alone)

        def watch() -> None:
            with Pipeline(VideoFile(video), given_boxes(given), 1, embedder).start() as runner:
                results.append(list(runner))

        cameras = [threading.Thread(target=watch) for _ in range(4)]
        for camera in cameras:
            camera.start()
        for camera in cameras:
            camera.join()
    assert len(results) == 4
    for frames in results:
        assert [frame.index for frame in frames] == list(range(30))
        for frame, first in zip(frames, results[0], strict=True):
            np.testing.assert_array_equal(frame.features, first.features)


def test_opencv_has_its_threads_again_after_the_last_of_overlapping_pipelines() -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        with ExitStack() as second:
            with one_opencv_thread():
                second.enter_context(one_opencv_thread())
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_an_error_of_the_device_ends_the_run(
    make_video: Callable[..., Path],
    given: dict[int, FrameBoxes],
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Embedder.open(tiny_model, batch_size=2) as embedder:
        run, calls = embedder.backend.run, []

        def lost(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            calls.append(len(images))
            if len(calls) == 4:
                raise DeviceError("the device was lost")
            return run(images)

        monkeypatch.setattr(embedder.backend, "run", lost)
        frames = []
        pipeline = Pipeline(VideoFile(make_video(frames=30)), given_boxes(given), 1, embedder)
        with pipeline.start() as runner:
            results = iter(runner)
            with pytest.raises(DeviceError, match="was lost"):
                frames.extend(results)
    assert len(calls) == 4
    assert sum(len(frame.features) for frame in frames) <= 6


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_what_came_before_an_error_goes_before_it(tiny_model: Path, ahead: int) -> None:
    images = np.random.default_rng(2).integers(0, 256, (3, 16, 8, 3), np.uint8)

    def batches() -> Iterator[CropBatch]:
        yield CropBatch(images[:2], [])
        yield CropBatch(images[:0], [])
        yield CropBatch(images[2:], [])
        raise InputError("the file ends here")

    sizes: list[tuple[int, ...]] = []
    with Embedder.open(tiny_model) as embedder, pytest.raises(InputError, match="ends here"):
        sizes.extend(batch.features.shape for batch in embed_batches(batches(), embedder, ahead=ahead))
    assert sizes == [(2, 6), (0, 6), (1, 6)]
