"""Embeddings that grow on the disk."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from runtime.boxes import FrameBoxes
from runtime.embeddings import Embeddings
from runtime.errors import InputError
from runtime.pipeline import EmbeddedFrame
from runtime.spool import EmbeddingsSpool, read_spool

SIZE = 6


def frame(index: int, people: int, size: int = SIZE) -> EmbeddedFrame:
    generator = np.random.default_rng(index)
    found = FrameBoxes(
        generator.uniform(0, 99, (people, 4)).astype(np.float32), np.arange(people) + index, np.ones(people, np.float32)
    )
    return EmbeddedFrame(
        index=index,
        seconds=0,
        pixels=None,
        found=found,
        outside=0,
        images=np.empty((people, 2, 1, 3), np.uint8),
        features=generator.normal(size=(people, size)).astype(np.float32),
    )


def check(found: Embeddings, frames: list[EmbeddedFrame]) -> None:
    assert found.frames is not None
    np.testing.assert_array_equal(found.features, np.concatenate([each.features for each in frames]))
    np.testing.assert_array_equal(found.frames, np.repeat([f.index for f in frames], [len(f.features) for f in frames]))
    np.testing.assert_array_equal(found.tracks, np.concatenate([each.found.tracks for each in frames]))
    np.testing.assert_array_equal(found.boxes, np.concatenate([each.found.boxes for each in frames]))
    assert list(found.names) == [each.name_of(row) for each in frames for row in range(len(each.features))]
    assert set(found.person_ids) <= {-2}
    assert set(found.camera_ids) <= {-1}


@pytest.mark.parametrize("people", [[], [0, 0], [3], [1, 0, 120, 9], [7] * 200])
def test_what_grows_is_what_is_read(people: list[int], tmp_path: Path) -> None:
    frames = [frame(index * 99_999, count) for index, count in enumerate(people)]
    with EmbeddingsSpool(tmp_path / "spool", SIZE) as spool:
        for number, each in enumerate(frames, 1):
            spool.append(each)
            if number % 50 == 0:
                check(read_spool(tmp_path / "spool"), frames[:number])
        spool.finish(tmp_path / "a.npz")
        assert spool.rows == sum(people)
    check(read_spool(tmp_path / "spool"), frames or [frame(0, 0)])
    check(Embeddings.load(tmp_path / "a.npz"), frames or [frame(0, 0)])


def test_a_killed_process_leaves_what_it_finished(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_spool import EmbeddingsSpool, SIZE, frame\n"
        "spool = EmbeddingsSpool(Path('spool'), SIZE)\n"
        "for index in range(10**9):\n"
        "    spool.append(frame(index, 5)); print(index, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = next(int(line) for line in process.stdout if int(line) >= 40)
        os.kill(process.pid, signal.SIGKILL)
        last = max([last, *(int(line) for line in process.stdout if line.endswith("\n"))])
    found = read_spool(tmp_path / "spool")
    assert len(found) // 5 in (last + 1, last + 2)
    check(found, [frame(index, 5) for index in range(len(found) // 5)])


def test_a_full_disk_promises_no_row_that_not_every_file_has(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    def fill(spool: EmbeddingsSpool) -> None:
        for index in range(20):
            spool.append(frame(index, 7))

    with full_disk(1 << 13), EmbeddingsSpool(tmp_path / "spool", SIZE) as spool:
        with pytest.raises(InputError, match="free some space"):
            fill(spool)
        # Names are the largest column, and come after others.
        rows = {path.stem: len(np.load(path)) for path in (tmp_path / "spool").iterdir()}
    assert set(rows.values()) == {spool.rows}
    assert 0 < spool.rows < 140


def test_what_is_not_a_spool(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not the spool of a run"):
        read_spool(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to"):
        EmbeddingsSpool(tmp_path / "file", SIZE)
    with EmbeddingsSpool(tmp_path / "spool", SIZE) as spool, pytest.raises(InputError, match="expected \\(6,\\)"):
        spool.append(frame(0, 2, size=5))
