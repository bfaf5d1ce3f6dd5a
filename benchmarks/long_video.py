"""Memory of `infer.py` over an hour of video, with every output there is: PETS 2009 S2.L1 again and again, on a CPU.

    python benchmarks/long_video.py --data FOLDER --model model.onnx --out FILE.json

FOLDER holds `vtest.avi` (10 frames/s) and `gt.txt`. The video's frames come in at standard input as JPEG files, one
after the other, until there were `--minutes` of them, with the boxes of the ground truth but not its tracks, and one
box that stays where it is all the time: somebody at a desk. People are tracked, linked where they come back, written to
JSON lines, to an annotated video and to contact sheets. The resident memory of the process is looked at whenever the
JSON line of a frame arrives that completes `--step` minutes, and its peaks over the whole run: at its end embeddings
are put into one file from what is mapped, not loaded. The system takes mapped pages back where it needs them; the peak
of the memory that it cannot take back is given, too. Speed is not measured: other programs may share the cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from itertools import cycle, islice
from pathlib import Path
from typing import IO

import cv2

from eval.machine import describe_machine, installed_versions
from runtime.boxes import read_boxes
from runtime.files import sha256, write_json
from runtime.video import read_frames, read_header

INFER = Path(__file__).resolve().parents[1] / "runtime" / "infer.py"
QUALITY = 95
# Beside a lamp post of PETS 2009, view 1.
DESK = "300.00,100.00,40.00,100.00"


def main() -> None:
    """Run `infer.py` and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--model", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--threshold", type=float, default=0.6, help="from which on tracks are one person")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--step", type=float, default=5)
    arguments = parser.parse_args()
    video = arguments.data / "vtest.avi"
    rate = read_header(video).rate
    frames, step = round(arguments.minutes * 60 * rate), round(arguments.step * 60 * rate)
    pictures = jpegs(video)
    options = ["--tracks", "--threshold", str(arguments.threshold), "--annotate", "--contact-sheets", "--jsonl", "-"]
    with tempfile.TemporaryDirectory() as folder:
        out, boxes = Path(folder) / "out", Path(folder) / "boxes.txt"
        write_boxes(boxes, arguments.data / "gt.txt", len(pictures), frames)
        command = [sys.executable, str(INFER), "-", "--model", str(arguments.model), "--boxes", str(boxes)]
        command += ["--out", str(out), "--device", "cpu", *options]
        run = watch(command, islice(cycle(pictures), frames), step)
        written = {path.name: round(path.stat().st_size / 1e6) for path in sorted(out.iterdir()) if path.is_file()}
        sheets = len(list((out / "contact-sheets").iterdir()))
    result = {
        "what": "PETS 2009 S2.L1, view 1, again and again at standard input: memory of infer.py, on a CPU",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "versions": installed_versions(),
        "model": {"name": arguments.model.name, "sha256": sha256(arguments.model)},
        "options": options,
        "frames": frames,
        "frames_per_second_of_the_video": rate,
        "written_mb": written,
        "contact_sheets": sheets,
        **run,
    }
    write_json(arguments.out, result)


def jpegs(video: Path) -> list[bytes]:
    """Every frame of the video as a JPEG file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return [cv2.imencode(".jpg", pixels, options)[1].tobytes() for pixels in read_frames(video)]


def write_boxes(path: Path, truth: Path, length: int, frames: int) -> None:
    """MOT lines without tracks: the truth of a video of `length` frames again and again, and the desk."""
    given = read_boxes(truth, -1)
    with path.open("w") as file:
        for frame in range(frames):
            found = given.get(frame % length)
            for x, y, w, h in () if found is None else found.boxes:
                file.write(f"{frame + 1},-1,{x:.2f},{y:.2f},{w:.2f},{h:.2f},1\n")
            file.write(f"{frame + 1},-1,{DESK},1\n")


def watch(command: list[str], pictures: Iterator[bytes], step: int) -> dict[str, object]:
    """Run a command that reads pictures and writes a line for each; its resident memory after every `step` of them.

    Returns:
        `people`, boxes on all of them; `resident_mb` by number of frames; `peak_mb` of the whole run, and of it
        `peak_anonymous_mb`, what is not mapped from files, looked at twice a second.
    """
    resident: dict[str, float] = {}
    people = 0
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    threading.Thread(target=feed, args=(process.stdin, pictures), daemon=True).start()
    with PeakOf(process.pid) as anonymous:
        frames = (said for said in map(json.loads, process.stdout) if "frame" in said)
        for number, frame in enumerate(frames, 1):
            people += len(frame["people"])
            if number % step == 0:
                resident[str(number)] = memory_mb(process.pid, "VmRSS")
                print(f"frame {number}: {resident[str(number)]:.0f} MB", file=sys.stderr, flush=True)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "people": people,
        "resident_mb": resident,
        "peak_mb": usage.ru_maxrss / 1024,
        "peak_anonymous_mb": anonymous.mb,
    }


def feed(pipe: IO[bytes], pictures: Iterator[bytes]) -> None:
    """Write the pictures; the reader may end before them, which its status says."""
    with suppress(BrokenPipeError), pipe:
        for picture in pictures:
            pipe.write(picture)


class PeakOf:
    """The peak of a process's anonymous memory, looked at twice a second while the context is open."""

    def __init__(self, process: int) -> None:
        self.mb = 0.0
        self._process = process
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._ended.wait(0.5):
            self.mb = max(self.mb, memory_mb(self._process, "RssAnon"))

    def __enter__(self) -> "PeakOf":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def memory_mb(process: int, field: str) -> float:
    """A field of a process's `/proc` status, in MB; 0 where it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    return 0


if __name__ == "__main__":
    main()
