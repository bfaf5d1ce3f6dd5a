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

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .console import configure_logging, run_command
from .embedder import Embedder
from .embeddings import MANIFEST_NAME, UNKNOWN_CAMERA, UNKNOWN_PERSON, Embeddings, save_manifest
from .gallery import Gallery
from .gallery_index import GalleryIndex, open_gallery
from .identities import KnownPeople, open_set
from .images import list_images, read_image
from .infer_arguments import parse_options
from .infer_options import Options
from .infer_video import infer_video
from .outputs import EMBEDDINGS, MATCHES, put_in_place
from .progress import progress
from .sources import is_stream
from .summary import Summary
from .tables import write_matches
from .unfinished import UnfinishedFolder

logger = logging.getLogger(__name__)

# Takes what `Embedder.open` takes.
OpenModel = Callable[..., Embedder]


def infer(options: Options, open_model: OpenModel = Embedder.open) -> Summary:
    """Embed what `options` name and write `embeddings.npz`; with a gallery `matches.csv`, annotated `annotated.mp4`.

    What is not written is removed, where an earlier run left it: it would belong to other embeddings.

    Raises:
        LgeuError: see the parts; nothing half-written is left.
    """
    gallery = open_gallery(options.gallery) if options.gallery else None
    threshold = _threshold(options, gallery)
    with open_model(
        options.model,
        backend=options.backend,
        device=options.device,
        batch_size=options.batch_size,
        plugin=options.plugin,
    ) as embedder:
        if gallery:
            gallery.check_model(embedder.manifest)
        if options.is_video:
            return infer_video(options, embedder, gallery, threshold)
        return _infer_images(options, embedder, open_set(gallery, threshold))


def _threshold(options: Options, gallery: Gallery | GalleryIndex | None) -> float | None:
    if options.threshold is not None or not isinstance(gallery, GalleryIndex) or gallery.manifest.threshold is None:
        return options.threshold
    chosen = gallery.manifest.threshold.score
    logger.info("the threshold is that of %s: %g", gallery.path, chosen)
    return chosen


def _infer_images(options: Options, embedder: Embedder, gallery: KnownPeople | None) -> Summary:
    source = Path(options.source)
    paths = list_images(source) if source.is_dir() else [source]
    started = time.perf_counter()
    crops = (read_image(path) for path in progress(paths, "embedding", unit="image"))
    features = embedder.embed(crops, "BGR")
    seconds = time.perf_counter() - started
    embeddings = Embeddings(
        features=features,
        person_ids=np.full(len(paths), UNKNOWN_PERSON, np.int64),
        camera_ids=np.full(len(paths), UNKNOWN_CAMERA, np.int64),
        names=np.array([path.name for path in paths], np.str_),
    )
    assert options.out is not None  # noqa: S101
    with UnfinishedFolder(options.out) as folder:
        written = [EMBEDDINGS, MANIFEST_NAME]
        embeddings.save(folder.path / EMBEDDINGS)
        save_manifest(folder.path, embedder.manifest)
        if gallery:
            written.append(MATCHES)
            write_matches(folder.path / MATCHES, [path.name for path in paths], gallery.nearest(features))
        put_in_place(folder, written)
    return Summary(None, len(paths), 0, len(features), seconds)


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
        KeyboardInterrupt: Ctrl-C ended it; the results of the frames until then are written.
    """
    # FFmpeg's own remarks on a damaged video would bury the one line that says what is wrong.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    options = parse_options(argv, program)
    if is_stream(options.source):
        # FFmpeg would look at five seconds of a stream before the first frame. The other option is OpenCV's default.
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_flags;prefer_tcp|analyzeduration;500000")
    summary = infer(options, open_model)
    written = f"\nwritten to: {options.out}" if options.writes_files else ""
    # Where other programs read standard output, nothing but JSON lines is on it.
    print(f"{summary}{written}", file=sys.stderr if options.json_lines else sys.stdout)
    if summary.interrupted:
        raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """`infer_command` as a program of its own; returns its exit status: 0, or 2 for what the user can mend."""
    configure_logging()
    return run_command("infer", lambda: infer_command(argv))


if __name__ == "__main__":
    sys.exit(main())
