"""From a video, a folder of crops or one image to embeddings: `python runtime/infer.py --help`."""

if __name__ == "__main__" and not __package__:
    # Run as a file: imports must start from the repository, not from this folder, whose module names are common ones.
    import importlib
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __package__ = importlib.import_module("runtime").__name__

    from .console import run_command
    from .dependencies import require_base

    if status := run_command("infer", require_base):
        sys.exit(status)

import csv
import io
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .annotate import annotate_video
from .boxes import FrameBoxes, read_boxes
from .console import configure_logging, run_command
from .detector import DEFAULT_SCORE, YoloxDetector
from .embedder import Embedder
from .embeddings import UNKNOWN_CAMERA, UNKNOWN_PERSON, Embeddings
from .errors import InputError
from .files import atomic_path, removed_path, write_text
from .gallery import Gallery, Matches
from .images import list_images, read_image
from .infer_options import ANNOTATED, EMBEDDINGS, MATCHES, Options, parse_options
from .people import FindPeople, VideoCrops, check_all_seen, detected_by, given_boxes
from .progress import progress

# Takes what `Embedder.open` takes.
OpenModel = Callable[..., Embedder]


@dataclass(frozen=True)
class Summary:
    """What was done.

    Attributes:
        frames: of the video; None for crops.
        boxes: on them, or the number of crops.
        dropped: boxes that lay fully outside their frame.
        embeddings: rows written.
        seconds: spent on reading, detecting and embedding.
    """

    frames: int | None
    boxes: int
    dropped: int
    embeddings: int
    seconds: float

    def __str__(self) -> str:
        frames = "" if self.frames is None else f"frames: {self.frames}\n"
        dropped = "" if self.frames is None else f"dropped (outside the frame): {self.dropped}\n"
        what = "images" if self.frames is None else "boxes"
        rate = self.embeddings / max(self.seconds, 1e-9)
        return f"{frames}{what}: {self.boxes}\n{dropped}embeddings: {self.embeddings}\nimages/s: {rate:.1f}"


def infer(options: Options, open_model: OpenModel = Embedder.open) -> Summary:
    """Embed what `options` name and write `embeddings.npz`; with a gallery `matches.csv`, annotated `annotated.mp4`.

    What is not written is removed, where an earlier run left it: it would belong to other embeddings.

    Raises:
        LgeuError: see the parts; nothing half-written is left.
    """
    gallery = Gallery.load(options.gallery) if options.gallery else None
    embed = _embed_video if options.is_video else _embed_images
    with open_model(
        options.model,
        backend=options.backend,
        device=options.device,
        batch_size=options.batch_size,
        plugin=options.plugin,
    ) as embedder:
        if gallery:
            gallery.check_size(embedder.manifest.embedding_size)
        embeddings, summary = embed(embedder, options)
    _write(options, embeddings, gallery.nearest(embeddings.features) if gallery else None)
    return summary


def _embed_images(embedder: Embedder, options: Options) -> tuple[Embeddings, Summary]:
    paths = list_images(options.source) if options.source.is_dir() else [options.source]
    started = time.perf_counter()
    crops = (read_image(path) for path in progress(paths, "embedding", unit="image"))
    features = embedder.embed(crops, "BGR")
    embeddings = Embeddings(
        features=features,
        person_ids=np.full(len(paths), UNKNOWN_PERSON, np.int64),
        camera_ids=np.full(len(paths), UNKNOWN_CAMERA, np.int64),
        names=np.array([path.name for path in paths], np.str_),
    )
    return embeddings, Summary(None, len(paths), 0, len(features), time.perf_counter() - started)


def _embed_video(embedder: Embedder, options: Options) -> tuple[Embeddings, Summary]:
    find_people, given = _people(options)
    crops = VideoCrops(options.source, find_people)
    started = time.perf_counter()
    features = embedder.embed(crops, "BGR")
    seconds = time.perf_counter() - started
    check_all_seen(given, options.source, crops.frames)
    return crops.with_features(features), Summary(crops.frames, crops.boxes, crops.dropped, len(features), seconds)


def _people(options: Options) -> tuple[FindPeople, Mapping[int, FrameBoxes]]:
    """Where the people are, and the boxes that were given, which the video must have frames for."""
    if options.boxes is not None:
        given = read_boxes(options.boxes, -1 if options.frame_offset is None else options.frame_offset)
        return given_boxes(given), given
    if options.detector is not None:
        score = DEFAULT_SCORE if options.score is None else options.score
        return detected_by(YoloxDetector(options.detector, score=score, device=options.device)), {}
    raise InputError(f"{options.source} is a video without boxes or a detector")


def _write(options: Options, embeddings: Embeddings, matches: Matches | None) -> None:
    with ExitStack() as outputs:
        # Every file is complete before the first one takes its place.
        def output(name: str) -> Path:
            return outputs.enter_context(atomic_path(options.out / name))

        if options.annotate:
            annotate_video(options.source, output(ANNOTATED), embeddings, matches)
        if matches is not None:
            write_text(output(MATCHES), _matches_csv(embeddings, matches))
        embeddings.save(output(EMBEDDINGS))
        for name, written in ((ANNOTATED, options.annotate), (MATCHES, matches is not None)):
            if not written:
                outputs.enter_context(removed_path(options.out / name))


def _matches_csv(embeddings: Embeddings, matches: Matches) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "person_id", "score", "gallery_name"))
    for name, person, score, nearest in zip(
        embeddings.names, matches.person_ids, matches.scores, matches.names, strict=True
    ):
        writer.writerow((name, person, f"{score:.4f}", nearest))
    return text.getvalue()


def infer_command(
    argv: Sequence[str] | None = None, *, program: str = "infer", open_model: OpenModel = Embedder.open
) -> None:
    """Parse a command line, do what it asks for and print what was done.

    Args:
        argv: arguments without the program's name; None takes the program's own.
        program: what its help calls it.
        open_model: opens the model; `lgeu infer` gives one that also takes checkpoints, which this room does not know.

    Raises:
        LgeuError: see `infer` and `parse_options`.
    """
    # FFmpeg's own remarks on a damaged video would bury the one line that says what is wrong.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    options = parse_options(argv, program)
    summary = infer(options, open_model)
    print(f"{summary}\nwritten to: {options.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """`infer_command` as a program of its own; returns its exit status: 0, or 2 for what the user can mend."""
    configure_logging()
    return run_command("infer", lambda: infer_command(argv))


if __name__ == "__main__":
    sys.exit(main())
