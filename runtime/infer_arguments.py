"""The options of `infer` as they are written on a command line."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, get_args

from .backend import BackendName
from .detector import DEFAULT_SCORE
from .errors import InputError
from .infer_options import Options
from .outputs import RESULTS
from .sources import Backoff, is_stream


def parse_options(arguments: Sequence[str] | None, program: str = "infer") -> Options:
    """Options from a command line; None takes the program's own.

    Raises:
        InputError: an argument is missing, unknown or malformed, or options contradict one another.
    """
    return Options(**vars(_parser(program).parse_args(arguments)))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse itself would print its usage around the message and end the process.
        raise InputError(f"{message}; see --help")


def _standard_output(text: str) -> bool:
    if text != "-":
        raise argparse.ArgumentTypeError(f"{text!r} given; only - is taken, and > {text} puts the lines into a file")
    return True


def _source(text: str) -> Path | str:
    return text if is_stream(text) else Path(text)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        allow_abbrev=False,
        description="Embed the people of a video, a folder of crops or one image, and write DIR/embeddings.npz. A "
        "video that ends before the number of frames in its header is refused; a damaged frame in its middle is left "
        "out, with a warning. Ctrl-C ends a video after the frames that were read and keeps their results.",
        epilog=f"Of {', '.join(RESULTS)} DIR keeps only what this run wrote; an earlier run's are removed (by a run "
        "that writes one of them). annotated.mp4 and contact-sheets show people: keep them no longer than needed.",
    )
    parser.add_argument(
        "source",
        type=_source,
        metavar="SOURCE",
        help="a video, a stream (rtsp://, http://), a camera's number, - for standard input, or a folder of frames; "
        "without --boxes and --detector a folder of crops (one person each), or one such image",
    )
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        help="an .onnx file, or an .engine with its manifest beside it; `lgeu infer` also takes a checkpoint",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results; --jsonl alone needs none")
    _add_people(parser.add_argument_group("people of a video").add_argument)
    _add_frames(parser.add_argument_group("frames of a video").add_argument)
    _add_results(parser.add_argument_group("results").add_argument)
    _add_model(parser.add_argument_group("running the model").add_argument)
    return parser


def _add_people(add: Callable[..., object]) -> None:
    add("--boxes", type=Path, metavar="FILE", help="where the people of a video are: MOT lines, confidence 0 ignored")
    add("--frame-offset", type=int, metavar="N", help="0-based video frame = frame in the boxes file + N (default -1)")
    add(
        "--detector",
        type=Path,
        metavar="YOLOX",
        help="find the people of a video with YOLOX: an .onnx file, or an .engine built of it",
    )
    add("--score", type=float, metavar="S", help=f"smallest score of a detection (default {DEFAULT_SCORE})")


def _add_frames(add: Callable[..., object]) -> None:
    add("--every", type=int, default=1, metavar="N", help="look at every Nth frame of a video only (default: all)")
    add("--seconds", type=float, metavar="S", help="end after so much of a video or a stream (default: all of it)")
    add(
        "--keep-up",
        action="store_true",
        help="pass over frames of a stream or a camera that come while others are still worked on (default: they wait)",
    )
    add(
        "--reconnect",
        type=float,
        metavar="S",
        help="wait so many seconds for a stream or a camera that is not there yet or stopped, before the run ends with "
        f"an error (inf: for ever; default: {Backoff().patience:g} for one that stopped)",
    )


def _add_results(add: Callable[..., object]) -> None:
    add(
        "--gallery",
        type=Path,
        metavar="GALLERY",
        help="a gallery folder or embeddings (.npz) of known people: name people, and also write matches.csv",
    )
    add(
        "--tracks", action="store_true", help="also write tracks.csv: MOT lines, with person and similarity behind them"
    )
    add(
        "--threshold",
        type=float,
        metavar="T",
        help="cosine below which somebody is unknown to the gallery (default: the gallery's own, if it has one); "
        "without --gallery: from which on two tracks are one person who came back",
    )
    add(
        "--contact-sheets",
        action="store_true",
        help="also write contact-sheets/, an image of each person's crops (of each track's, where nobody is known)",
    )
    add(
        "--jsonl",
        dest="json_lines",
        type=_standard_output,
        default=False,
        metavar="-",
        help="also write a line of JSON for every frame, and for every track that is known, to standard output as they "
        "come, and nothing else there; without --out only these",
    )
    add(
        "--no-embeddings",
        dest="embeddings",
        action="store_false",
        help="do not write embeddings.npz (gigabytes an hour); another result must be asked for",
    )
    add("--annotate", action="store_true", help="also write annotated.mp4, the video with boxes, tracks and identities")


def _add_model(add: Callable[..., object]) -> None:
    add(
        "--backend",
        choices=get_args(BackendName),
        default="auto",
        help="what runs the model (auto, the default: for an .onnx file, the first installed of onnxruntime, openvino)",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the model runs (default: %(default)s)")
    add(
        "--batch-size", type=int, metavar="N", help="crops per call of the model (default: the largest it takes, or 32)"
    )
    add("--plugin", type=Path, metavar="LIB", help="an engine's StripGate library (default: beside it, then as built)")
