"""Where frames come from: a video file, a folder of frames, a stream, a camera or standard input."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

import cv2

from .errors import InputError, LgeuError
from .images import list_images, read_image
from .video import Frame, NumberedFrames, header_of, open_file, read_header

STANDARD_INPUT = "-"

# A stream that is silent for so many seconds is gone. FFmpeg gives up on a read after them, and on each of the next.
_PATIENCE = 10.0
# A stream that is there has a readable frame among so many; one that is gone fails at once, every time.
_MOST_UNREADABLE_LIVE = 10
_FOLDER_RATE = 25.0
# Of a camera's number: OpenCV takes 32 bits.
_MOST_DIGITS = 9

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Something that gives frames, once.

    Attributes:
        name: what it is called in messages.
        live: whether what is missed is gone, because it cannot be read again.
        rate: frames per second that it says it has.
        total: how many frames it says it has; None where it does not.
        count: how many were passed so far, damaged ones and left out ones included.
        damaged: numbers of those that could not be decoded.
        gaps: seconds without a frame before those, by number, that came first after a live source was opened again.
        failure: why a live source ended though nobody stopped it; None where it did not.
    """

    name: str
    live: bool
    rate: float
    total: int | None
    count: int
    damaged: list[int]
    gaps: dict[int, float]
    failure: LgeuError | None

    def frames(self, stopping: threading.Event, every: int = 1) -> Iterator[Frame]:
        """Yield frames in order.

        Args:
            stopping: set by another thread to end a wait; the source then ends.
            every: give only frames whose number is a multiple of this.

        Raises:
            InputError: it cannot be read to its end.
        """
        ...


def wait_for(stopping: threading.Event, seconds: float) -> bool:
    """Wait for `stopping`, for so many seconds at most, and say whether it is set."""
    return stopping.wait(seconds)


@dataclass(frozen=True)
class Backoff:
    """How long to wait before each attempt to open a stream again: each time twice as long, up to a limit.

    Attributes:
        first: seconds before the first attempt.
        longest: seconds that no wait exceeds.
        patience: seconds of waiting after which no other attempt is made.
        from_start: whether a stream that is not there yet is waited for, too.
    """

    first: float = 1.0
    longest: float = 30.0
    patience: float = 300.0
    from_start: bool = False

    def waits(self) -> Iterator[float]:
        """Yield the seconds before each attempt."""
        wait, waited = self.first, 0.0
        while waited < self.patience:
            yield wait
            waited += wait
            wait = min(wait * 2, self.longest)


def open_source(source: Path | str, backoff: Backoff = Backoff(), seconds: float = math.inf) -> Source:
    """Find out what `source` is and open it.

    Args:
        source: a video file, a folder of frames as images (in the order of their names), a stream's URL (RTSP, HTTP
            or what else FFmpeg reads), a camera's number, or `-` for what standard input gives (e.g. MJPEG).
        backoff: how long to wait before a stream or a camera that stopped is opened again.
        seconds: after its first frame; it is not waited for beyond them.

    Raises:
        InputError: it does not exist or cannot be opened.
    """
    if not is_stream(source):
        path = Path(source)
        return FrameFolder(path) if path.is_dir() else VideoFile(path)
    text, name = str(source), describe_source(source)
    if text == STANDARD_INPUT:
        unopened = "gave no video that FFmpeg recognises; send it one, e.g. ffmpeg ... -f mjpeg - | infer -"
        return Stream(name, lambda: cv2.VideoCapture("pipe:0", cv2.CAP_FFMPEG), backoff=None, unopened=unopened)
    if text.isdecimal():
        if len(text) > _MOST_DIGITS:
            raise InputError(f"{name} is no camera that OpenCV can open; cameras are numbered from 0")
        return Stream(name, lambda: cv2.VideoCapture(int(text)), backoff=backoff, seconds=seconds)
    patience = round(1000 * _PATIENCE)
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, patience, cv2.CAP_PROP_READ_TIMEOUT_MSEC, patience]
    return Stream(name, lambda: cv2.VideoCapture(text, cv2.CAP_FFMPEG, timeouts), backoff=backoff, seconds=seconds)


def describe_source(source: Path | str) -> str:
    """What a source is called in messages and logs, a URL without user, password and query."""
    text = str(source)
    if not is_stream(source):
        return text
    if text == STANDARD_INPUT:
        return "standard input"
    if text.isdecimal():
        return f"camera {text}" + (f" (for the file or folder write ./{text})" if Path(text).exists() else "")
    scheme, _, rest = text.partition("://")
    # A password that holds a / or a ? is not given away either, though no server can be reached with it.
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def is_stream(source: Path | str) -> bool:
    """Whether this is a URL, a camera's number or standard input rather than a path; a `Path` never is."""
    return isinstance(source, str) and (source == STANDARD_INPUT or source.isdecimal() or "://" in source)


class VideoFile:
    """A `Source` that is a video file."""

    live = False
    failure: LgeuError | None = None

    def __init__(self, path: Path) -> None:
        """Look into the file.

        Raises:
            InputError: it is missing or is not a video that OpenCV can read.
        """
        header = read_header(path)
        self._path = path
        self.name = str(path)
        self.rate, self.total = header.rate, header.frames
        self.count = 0
        self.damaged: list[int] = []
        self.gaps: dict[int, float] = {}

    def frames(self, stopping: threading.Event, every: int = 1) -> Iterator[Frame]:
        """See `Source`; a file that ends before the number of frames in its header is refused at its end."""
        capture = open_file(self._path)
        try:
            numbered = NumberedFrames(capture, self.name, every=every, damaged=self.damaged)
            for index, pixels in numbered:
                self.count = numbered.count
                yield Frame(index, index / self.rate, pixels)
            self.count = numbered.count
            numbered.check_complete(self.total)
        finally:
            capture.release()


class FrameFolder:
    """A `Source` whose frames are the images in a folder, in the order of their names, 25 a second."""

    live = False
    failure: LgeuError | None = None
    rate = _FOLDER_RATE

    def __init__(self, path: Path) -> None:
        """Look into the folder.

        Raises:
            InputError: it holds no image.
        """
        self._images = list_images(path)
        self.name = str(path)
        self.total: int | None = len(self._images)
        self.count = 0
        self.damaged: list[int] = []
        self.gaps: dict[int, float] = {}

    def frames(self, stopping: threading.Event, every: int = 1) -> Iterator[Frame]:
        """See `Source`; an image that cannot be decoded is left out, with a warning, and keeps its number."""
        decoded = 0
        for index, path in enumerate(self._images):
            self.count = index + 1
            if index % every:
                continue
            try:
                pixels = read_image(path)
            except InputError as error:
                logger.warning("warning: frame %d is left out: %s", index, error)
                self.damaged.append(index)
                continue
            decoded += 1
            yield Frame(index, index / self.rate, pixels)
        if not decoded:
            raise InputError(f"{self.name} has no image that can be decoded; expected the frames of a video")


class Stream:
    """A `Source` that is read as it comes: a network stream, a camera or standard input.

    A stream that stops is opened again, after waits that grow; its frames are numbered on. One that says how many
    frames it has (a video file on a web server) is read once, and must have them all.
    """

    def __init__(
        self,
        name: str,
        open_capture: Callable[[], cv2.VideoCapture],
        *,
        backoff: Backoff | None = Backoff(),
        seconds: float = math.inf,
        unopened: str = f"cannot be opened by OpenCV {cv2.__version__}; check the address, or that it is running",
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], bool] | None = None,
    ) -> None:
        """Open the stream.

        Args:
            name: what to call it in messages.
            open_capture: opens it, each time it is opened.
            backoff: how long to wait before it is opened again; None ends with the stream.
            seconds: after its first frame; it is not opened again after them.
            unopened: what to say of it, and what to do, where it cannot be opened.
            clock: seconds, for `Frame.seconds`.
            wait: how to wait; None is `wait_for`.

        Raises:
            InputError: it cannot be opened.
        """
        self.name = name
        self._open_capture = open_capture
        self._clock = clock
        self._wait = wait or wait_for
        self._seconds = seconds
        self._capture = self._opened_at_first(backoff.waits() if backoff and backoff.from_start else iter(()), unopened)
        header = header_of(self._capture)
        self.rate, self.total = header.rate, header.frames
        self.live = self.total is None
        self._backoff = backoff if self.live else None
        self.count = 0
        self.damaged: list[int] = []
        self.gaps: dict[int, float] = {}
        self.failure: LgeuError | None = None

    def frames(self, stopping: threading.Event, every: int = 1) -> Iterator[Frame]:
        """See `Source`; a live one that does not come back ends, and `failure` says so."""
        started, latest, end = 0.0, None, math.inf
        waits = self._backoff.waits() if self._backoff else iter(())
        try:
            while True:
                before = self.count
                numbered = NumberedFrames(
                    self._capture,
                    self.name,
                    every=every,
                    first=self.count,
                    most_unreadable=_MOST_UNREADABLE_LIVE,
                    patience=_PATIENCE if self._backoff else math.inf,
                    clock=self._clock,
                    damaged=self.damaged,
                )
                for index, pixels in numbered:
                    now = self._clock()
                    if latest is None:
                        started, end = now, now + self._seconds
                    elif self.count == before:
                        self.gaps[index] = now - latest
                    latest = now
                    self.count = numbered.count
                    if self.live:
                        yield Frame(index, now - started, pixels, datetime.now(timezone.utc))
                    else:
                        yield Frame(index, index / self.rate, pixels)
                self.count = numbered.count
                if self._backoff is None:
                    numbered.check_complete(self.total)
                    return
                if self.count > before:
                    waits = self._backoff.waits()
                if not self._opened_again(waits, stopping, end):
                    return
        finally:
            self._capture.release()

    def _opened_at_first(self, waits: Iterator[float], unopened: str) -> cv2.VideoCapture:
        """Open the stream and, where that fails, try again after each of the waits."""
        while not (capture := self._open_capture()).isOpened():
            seconds = next(waits, None)
            if seconds is None:
                raise InputError(f"{self.name} {unopened}")
            logger.warning("warning: %s %s; trying again in %g s", self.name, unopened, seconds)
            # Nothing runs yet that somebody could stop: Ctrl-C ends the program.
            self._wait(threading.Event(), seconds)
        return capture

    def _opened_again(self, waits: Iterator[float], stopping: threading.Event, end: float) -> bool:
        """Wait and open the stream, until that works, the waits are used up or reach `end`, or `stopping` is set."""
        self._capture.release()
        for seconds in waits:
            if self._clock() + seconds >= end:
                return False
            logger.warning(
                "warning: %s stopped after %d frames; opening it again in %g s", self.name, self.count, seconds
            )
            if self._wait(stopping, seconds):
                return False
            self._capture = self._open_capture()
            if self._capture.isOpened():
                return True
        self.failure = InputError(
            f"{self.name} stopped after {self.count} frames and did not come back; start it, then this again"
        )
        return False
