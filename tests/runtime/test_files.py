"""Atomic writing, and refusing what is not a file."""

import hashlib
import os
from pathlib import Path

import pytest

from runtime.errors import InputError
from runtime.files import (
    atomic_path,
    check_folder,
    check_target,
    removed_path,
    require_file,
    sha256,
    write_bytes,
    write_json,
    write_text,
)


def test_the_new_content_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.json"
    write_json(path, {"rank1": 0.5})
    write_json(path, {"rank1": 0.25})
    assert path.read_text() == '{\n  "rank1": 0.25\n}\n'
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    check_target(tmp_path / "a.json")
    check_target(tmp_path / "new" / "er" / "a.json")
    check_folder(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    check_target(tmp_path / "file")
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match=r"file is no folder that can be written to"):
            check_folder(folder)
        with pytest.raises(InputError, match=r"file is no folder that can be written to"):
            check_target(folder / "a.json")
    with pytest.raises(InputError, match="it is a folder; name a file"):
        check_target(tmp_path)


def test_an_old_output_goes_when_the_new_one_comes(tmp_path: Path) -> None:
    new, old = tmp_path / "new.txt", tmp_path / "old.txt"
    old.write_text("old")
    with atomic_path(new) as temporary, removed_path(old), removed_path(tmp_path / "none.txt"):
        temporary.write_text("new")
        assert old.exists()
    assert list(tmp_path.iterdir()) == [new]


def test_an_old_output_stays_with_a_failure(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    with pytest.raises(RuntimeError, match="half way"), removed_path(tmp_path / "old.txt"):
        raise RuntimeError("half way")
    assert (tmp_path / "old.txt").read_text() == "old"


def test_an_old_output_that_cannot_be_removed_stops_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()

    def write() -> None:
        with atomic_path(tmp_path / "new.txt") as temporary, removed_path(tmp_path / "folder.txt"):
            temporary.write_text("new")

    with pytest.raises(InputError, match=r"cannot remove .*folder\.txt, which an earlier run left: .*; remove it"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["folder.txt"]


def test_a_failure_leaves_no_file_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_the_target_is_untouched_until_the_block_ends_and_the_suffix_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_bytes(path, b"old")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".mp4")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_mode_is_that_of_any_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int) -> None:
    before = os.umask(umask)
    try:
        with monkeypatch.context() as patched:
            # It is the whole process's: to read it is to set it for every thread.
            patched.delattr(os, "umask")
            write_text(tmp_path / "ours", "")
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        write_text(tmp_path / "file" / "a.txt", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_our_error(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.unlink()
            temporary.symlink_to("/dev/full")
            temporary.write_text("x" * 100_000)

    with pytest.raises(InputError, match="No space left"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_sha256(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 17)
    write_bytes(tmp_path / "a", content)
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_require_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_text("x")
    assert require_file(tmp_path / "full", "model") == tmp_path / "full"
    with pytest.raises(InputError, match=r"model .*none does not exist"):
        require_file(tmp_path / "none", "model")
    with pytest.raises(InputError, match="is a folder"):
        require_file(tmp_path, "model")
    with pytest.raises(InputError, match="is empty"):
        require_file(tmp_path / "empty", "model")
