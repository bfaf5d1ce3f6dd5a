"""A run's files take their places together, or not at all."""

import shutil
from pathlib import Path

import pytest

from runtime.errors import InputError
from runtime.unfinished import UnfinishedFolder


def listing(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_files_and_folders_take_the_place_of_older_ones(tmp_path: Path) -> None:
    (tmp_path / "sheets").mkdir()
    for name in ("a.txt", "b.txt", "sheets/1.txt", "notes.txt"):
        (tmp_path / name).write_text("old")
    with UnfinishedFolder(tmp_path) as folder:
        (folder.path / "sheets").mkdir()
        for name in ("a.txt", "sheets/2.txt", "left.txt"):
            (folder.path / name).write_text("new")
        folder.put_in_place(["a.txt", "sheets"], ["b.txt", "none.txt"])
    assert listing(tmp_path) == {"a.txt": "new", "sheets/2.txt": "new", "notes.txt": "old"}


def test_after_an_error_everything_is_as_it_was(tmp_path: Path) -> None:
    def fail(out: Path) -> None:
        with UnfinishedFolder(out) as folder:
            (folder.path / "a.txt").write_text("new")
            raise InputError("no")

    (tmp_path / "a.txt").write_text("old")
    for out in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="no"):
            fail(out)
    assert listing(tmp_path) == {"a.txt": "old"}
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


def test_a_file_that_is_missing_leaves_the_old_ones(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with UnfinishedFolder(tmp_path) as folder:
        (folder.path / "a.txt").write_text("new")
        with pytest.raises(InputError, match="cannot write to"):
            folder.put_in_place(["a.txt", "b.txt"], [])
    assert listing(tmp_path) == {"a.txt": "old"}


def test_what_a_killed_run_left_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = UnfinishedFolder(tmp_path)
    with UnfinishedFolder(tmp_path) as second:
        assert second.path != first.path
    assert str(first.path) in caplog.text
    assert first.path.is_dir()


def test_a_results_folder_that_somebody_removes_hides_no_error(tmp_path: Path) -> None:
    def fail() -> None:
        with UnfinishedFolder(tmp_path / "out"):
            shutil.rmtree(tmp_path / "out")
            raise InputError("the disk is gone")

    with pytest.raises(InputError, match="the disk is gone"):
        fail()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="name a folder that can be written to"):
        UnfinishedFolder(tmp_path / "file" / "out")
