"""What `infer` is asked to do: the options, and what they refuse."""

from dataclasses import dataclass
from pathlib import Path

from .backend import BackendName, Device
from .embeddings import MANIFEST_NAME, check_manifest_is_of
from .errors import InputError
from .images import IMAGE_SUFFIXES, is_image_name
from .outputs import EMBEDDINGS, RESULTS
from .sources import STANDARD_INPUT, describe_source, is_stream


@dataclass(frozen=True)
class Options:
    """What to embed, with what, and where to; options that contradict one another are refused.

    Attributes:
        source: a video, a folder of crops (images of one person each; with `boxes` or `detector`: of the frames of a
            video), or one such image. A text may be what `runtime.sources.open_source` takes beside files, too: a
            stream's URL, a camera's number, or `-` for standard input.
        model: an .onnx or .engine file, or what else the caller's way of opening takes.
        out: folder for the results, left alone where none of them is a file; None writes JSON lines only.
        boxes: MOT file with the people of a video.
        frame_offset: added to its frame numbers to give 0-based video frames; None is -1, as MOT counts from 1.
        detector: YOLOX in ONNX, or an engine of it, that finds the people of a video.
        score: smallest score of a detection; None is the detector's default.
        every: look only at the frames of a video whose 0-based number is a multiple of this.
        seconds: look only at the first ones of a video, or of a stream from its first frame on; None for all of it.
        keep_up: pass over frames of a live source that come while others are still worked on.
        reconnect: seconds to wait, in all, for a stream or a camera that is not there yet or has stopped; None waits
            for one that has stopped only, and takes the default.
        gallery: a gallery folder, or an embeddings file of known people, to name the nearest of.
        tracks: join boxes without tracks into some, and also write `tracks.csv`.
        threshold: least cosine similarity of a crop or a track to a person in the gallery, else it is unknown; None
            takes the gallery's own where it has one. Without a gallery: of tracks of one person who left and came back.
        annotate: also write the video with boxes and labels.
        contact_sheets: also write an image of each identity's crops.
        json_lines: also write a line of JSON for every frame and track of a video to standard output.
        embeddings: write them; without them something else of a video must be asked for.
        backend: what runs the model: see `runtime.backend_choice.open_backend`.
        device: of the model and the detector.
        batch_size: crops per call of the model; None is the model's choice.
        plugin: StripGate library of an engine; None searches for it.

    Raises:
        InputError: there is no such source, an option does not go with it or with another one, or a file to read is
            one that `out` would get.
    """

    source: Path | str
    model: Path
    out: Path | None = None
    boxes: Path | None = None
    frame_offset: int | None = None
    detector: Path | None = None
    score: float | None = None
    every: int = 1
    seconds: float | None = None
    keep_up: bool = False
    reconnect: float | None = None
    gallery: Path | None = None
    tracks: bool = False
    threshold: float | None = None
    annotate: bool = False
    contact_sheets: bool = False
    json_lines: bool = False
    embeddings: bool = True
    backend: BackendName = "auto"
    device: Device = "auto"
    batch_size: int | None = None
    plugin: Path | None = None

    def __post_init__(self) -> None:
        if not is_stream(self.source) and not Path(self.source).exists():
            raise InputError(f"{self.source} does not exist; expected a video, a folder of crops or an image")
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            raise InputError(f"--out {self.out} is a file; name a folder")
        self._check_people()
        self._check_inputs_survive()
        if self.frame_offset is not None and self.boxes is None:
            raise InputError("--frame-offset given without --boxes; it shifts the frames of a boxes file only")
        self._check_identities()
        self._check_frames()
        self._check_results()
        if self.score is not None and self.detector is None:
            raise InputError("--score given without --detector; boxes from a file are all taken")
        if self.plugin is not None and self.model.suffix == ".onnx":
            raise InputError(f"--plugin given with {self.model}; only an engine takes one, leave it out")

    @property
    def is_video(self) -> bool:
        """Whether the source has frames with people on them, rather than being crops of people."""
        if is_stream(self.source):
            return True
        path = Path(self.source)
        return bool(self._where_people_are) if path.is_dir() else not is_image_name(path.name)

    @property
    def writes_files(self) -> bool:
        """Whether anything is to be written to `out`, rather than lines to standard output only."""
        wanted = self.embeddings, self.gallery, self.tracks, self.annotate, self.contact_sheets
        return self.out is not None and any(wanted)

    @property
    def _where_people_are(self) -> list[str]:
        return [f"--{name}" for name in ("boxes", "detector") if getattr(self, name) is not None]

    def _check_people(self) -> None:
        given = self._where_people_are
        if self.is_video:
            if len(given) != 1:
                raise InputError(
                    f"{describe_source(self.source)} is no image ({', '.join(IMAGE_SUFFIXES)}), so it is taken for a "
                    f"video, given with {' and '.join(given) or 'no boxes'}; say where its people are with either "
                    "--boxes FILE or --detector YOLOX (.onnx or .engine)"
                )
            return
        given += [
            flag
            for flag, wanted in (
                ("--tracks", self.tracks),
                ("--annotate", self.annotate),
                ("--contact-sheets", self.contact_sheets),
                ("--jsonl", self.json_lines),
                ("--every", self.every != 1),
                ("--seconds", self.seconds is not None),
                ("--no-embeddings", not self.embeddings),
            )
            if wanted
        ]
        if given:
            raise InputError(
                f"{' and '.join(given)} given with {self.source}, which is no video; a folder or an image holds "
                "crops of people already, leave it out"
            )

    def _check_identities(self) -> None:
        if self.contact_sheets and self.detector is not None and self.gallery is None and not self.tracks:
            raise InputError("--contact-sheets given without identities; join boxes with --tracks, or give a --gallery")
        if self.threshold is not None and self.gallery is None and not self.tracks:
            raise InputError("--threshold given without --gallery or --tracks; it decides who is unknown")
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise InputError(f"--threshold is {self.threshold}; expected a cosine similarity, -1 to 1")

    def _check_frames(self) -> None:
        if self.every < 1:
            raise InputError(f"--every {self.every}; expected 1 for every frame, 2 for every other one, and so on")
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(f"--seconds {self.seconds:g}; expected more than 0")
        if self.keep_up and not is_stream(self.source):
            raise InputError(
                f"--keep-up given with {self.source}, which waits for whoever reads it; only frames of a stream, a "
                "camera or standard input are passed over, leave it out"
            )
        if self.reconnect is not None and (self.source == STANDARD_INPUT or not is_stream(self.source)):
            raise InputError(
                f"--reconnect given with {describe_source(self.source)}; only a stream or a camera is opened again, "
                "leave it out"
            )
        if self.reconnect is not None and not self.reconnect >= 0:
            raise InputError(f"--reconnect {self.reconnect:g}; expected seconds, 0 or more, or inf")

    def _check_results(self) -> None:
        pictures = [f"--{name}" for name in ("annotate", "contact-sheets") if getattr(self, name.replace("-", "_"))]
        if self.out is None and (pictures or not self.json_lines):
            given = (
                f"{' and '.join(pictures)} given, and no folder for that" if pictures else "no folder for the results"
            )
            raise InputError(f"{given}; name one with --out DIR (of a video, --jsonl - alone needs none)")
        if not self.writes_files and not self.json_lines:
            raise InputError(
                "--no-embeddings given, and nothing else is to be written; ask for something with --tracks, --gallery, "
                "--jsonl -, --contact-sheets or --annotate"
            )

    def _check_inputs_survive(self) -> None:
        if self.out is None:
            return
        outputs = {(self.out / name).resolve() for name in RESULTS}
        for path in (self.source, self.boxes, self.gallery):
            if path is not None and not is_stream(path) and Path(path).resolve() in outputs:
                raise InputError(
                    f"{path} is read, and --out {self.out} would replace or remove it; name another folder"
                )
        if self.writes_files and (self.embeddings or (self.out / MANIFEST_NAME).exists()):
            check_manifest_is_of(self.out, {EMBEDDINGS})
