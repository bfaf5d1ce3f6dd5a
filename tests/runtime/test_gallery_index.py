"""Galleries on the disk: what they find, how they change, and what they refuse."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import InputError, ManifestError
from runtime.gallery_changes import add_to_gallery, build_gallery, remove_person, set_threshold
from runtime.gallery_entries import GalleryEntries
from runtime.gallery_index import GalleryIndex
from runtime.gallery_ivf import EXACT_BELOW
from runtime.gallery_manifest import ModelIdentity, OpenSetThreshold
from runtime.manifest import Manifest

faiss = pytest.importorskip("faiss", reason="FAISS is not installed")

SIZE = 32
MODEL = ModelIdentity("c" * 64, SIZE, 16, 8, "none")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """FAISS's threads wait for one another busily, which is slow where other programs run, too."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


def entries(person_ids: list[int] | NDArray[np.int64], names: dict[int, str] | None = None) -> GalleryEntries:
    count = len(person_ids)
    return GalleryEntries(
        person_ids=np.array(person_ids, np.int64),
        person_names=np.array([(names or {}).get(int(person), "") for person in person_ids], np.str_),
        camera_ids=np.arange(count, dtype=np.int64) % 3,
        names=np.array([f"{row}.jpg" for row in range(count)], np.str_),
        times=np.full(count, np.nan),
    )


def features(count: int, seed: int = 0, size: int = SIZE) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32) * 3


def cosines(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    left, right = (
        x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1)[:, None] for x in (queries, rows)
    )
    return np.asarray(left @ right.T)


def clustered(people: int, each: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Made-up embeddings of people, shuffled."""
    random = np.random.default_rng(seed)
    ids = random.permutation(np.repeat(np.arange(1, people + 1), each))
    centres = random.normal(size=(people + 1, SIZE))
    return (centres[ids] + 0.5 * random.normal(size=(len(ids), SIZE))).astype(np.float32), ids


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Fifty entries of five people."""
    path = tmp_path / "people"
    build_gallery(path, features(50), entries([1 + row % 5 for row in range(50)], {2: "anna"}), MODEL)
    return path


def test_exact_search_against_float64(gallery: Path) -> None:
    queries = features(2100, seed=1)  # more than are compared at a time
    found = GalleryIndex.open(gallery).search(queries, 7)
    exact = cosines(queries, features(50))
    assert (found.rows == np.argsort(-exact, axis=1)[:, :7]).mean() > 0.999  # float32 may swap near-ties
    np.testing.assert_allclose(found.scores, np.take_along_axis(exact, found.rows, 1), atol=1e-6)


def test_the_nearest_as_a_gallery_in_a_file_gives_it(gallery: Path) -> None:
    index = GalleryIndex.open(gallery)
    queries = features(20, seed=2)
    best = cosines(queries, features(50)).argmax(axis=1)
    matches = index.nearest(queries)
    assert matches.person_ids.tolist() == (1 + best % 5).tolist()
    assert matches.names.tolist() == [f"{row}.jpg" for row in best]
    assert matches.person_names.tolist() == index.entries.person_names[best].tolist()
    assert index.nearest(np.empty((0, SIZE), np.float32)).person_ids.shape == (0,)


def test_more_results_than_entries_are_all_of_them(gallery: Path) -> None:
    assert GalleryIndex.open(gallery).search(features(2), 500).rows.shape == (2, 50)


def test_added_entries_come_after_the_others(gallery: Path) -> None:
    opened_before = GalleryIndex.open(gallery)
    manifest = add_to_gallery(gallery, features(3, seed=9), entries([7, 7, 2], {7: "bo", 2: "anna"}), MODEL)
    assert (manifest.generation, manifest.entries, manifest.people) == (2, 53, 6)
    after = GalleryIndex.open(gallery, whole=True)
    assert after.search(features(3, seed=9), 1).rows[:, 0].tolist() == [50, 51, 52]
    assert after.entries.people() == {1: "", 2: "anna", 3: "", 4: "", 5: "", 7: "bo"}
    # What was open goes on with what it was opened with.
    assert len(opened_before) == 50
    assert opened_before.search(features(3, seed=9), 1).rows.max() < 50


def test_a_removed_person_is_gone_from_every_file(gallery: Path) -> None:
    given = features(50)
    remove_person(gallery, 2)
    index = GalleryIndex.open(gallery)
    assert index.entries.people().keys() == {1, 3, 4, 5}
    kept = given[[row for row in range(50) if row % 5 != 1]]
    np.testing.assert_allclose(index.search(kept, 1).scores, 1, atol=1e-6)
    content = b"".join(path.read_bytes() for path in gallery.iterdir())
    removed = given[1] / np.linalg.norm(given[1])
    assert removed.astype(np.float32).tobytes()[:16] not in content
    assert "anna".encode("utf-32-le") not in content


def test_only_the_current_files_are_kept(gallery: Path) -> None:
    (gallery / ".index-000009.abc.faiss").write_bytes(b"left by a run that was killed")
    for name in ("index-of-cameras.txt", "entries-2026.csv"):
        (gallery / name).write_text("somebody's own")
    (gallery / "index-000009.faiss").write_bytes(b"likewise")
    add_to_gallery(gallery, features(1), entries([1]), MODEL)
    remove_person(gallery, 3)
    assert sorted(path.name for path in gallery.iterdir()) == [
        ".lock",
        "entries-000003.npz",
        "entries-2026.csv",
        "gallery.json",
        "index-000003.faiss",
        "index-of-cameras.txt",
    ]


def test_a_threshold_is_kept_with_the_gallery(gallery: Path) -> None:
    threshold = OpenSetThreshold(0.5, 0.01, 200, 50)
    set_threshold(gallery, threshold)
    add_to_gallery(gallery, features(1), entries([1]), MODEL)
    assert GalleryIndex.open(gallery).manifest.threshold == threshold


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up entries, as many as are searched in lists."""
    path = tmp_path_factory.mktemp("large") / "people"
    given, ids = clustered(EXACT_BELOW // 20, 20)
    build_gallery(path, given, entries(ids), MODEL)
    return path


def test_lists_find_what_exact_search_finds(large: Path) -> None:
    index = GalleryIndex.open(large)
    assert index.manifest.lists is not None
    assert index.manifest.lists.recall >= 0.97
    assert index.manifest.lists.probes < index.manifest.lists.count / 4
    given, _ = clustered(EXACT_BELOW // 20, 20)
    queries = given[::500] + 0.3 * np.random.default_rng(5).normal(size=(len(given[::500]), SIZE)).astype(np.float32)
    exact = cosines(queries, given)
    best = np.argsort(-exact, axis=1)[:, :10]
    found = index.search(queries, 10)
    hits = sum(len(set(left) & set(right)) for left, right in zip(found.rows, best, strict=True))
    assert hits / best.size >= 0.95
    np.testing.assert_allclose(found.scores, np.take_along_axis(exact, found.rows, 1), atol=1e-3)
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_a_search_for_more_than_the_probed_lists_hold(large: Path) -> None:
    found = GalleryIndex.open(large).search(features(1, seed=4), 20_000)
    assert found.rows.min() >= 0
    assert len(set(found.rows[0])) == 20_000


def test_lists_grow_and_forget(large: Path, tmp_path: Path) -> None:
    path = tmp_path / "people"
    shutil.copytree(large, path)
    new = features(30, seed=8)
    assert add_to_gallery(path, new, entries([9_999] * 30), MODEL).lists == GalleryIndex.open(large).manifest.lists
    index = GalleryIndex.open(path)
    assert index.search(new, 1).rows[:, 0].tolist() == list(range(EXACT_BELOW, EXACT_BELOW + 30))
    remove_person(path, 9_999)
    assert GalleryIndex.open(path).search(new, 1).scores.max() < 0.999
    # Below the limit it is searched exactly again.
    assert remove_person(path, 1).lists is None


def test_an_exact_gallery_that_grows_large_gets_lists(tmp_path: Path) -> None:
    given, ids = clustered(EXACT_BELOW // 20, 20)
    first = EXACT_BELOW - 10
    assert build_gallery(tmp_path / "g", given[:first], entries(ids[:first]), MODEL).lists is None
    assert add_to_gallery(tmp_path / "g", given[first:], entries(ids[first:]), MODEL).lists is not None
    assert GalleryIndex.open(tmp_path / "g").search(given[-10:], 1).rows[:, 0].tolist() == list(
        range(first, EXACT_BELOW)
    )


def test_what_does_not_fit_leaves_the_gallery_as_it_was(gallery: Path) -> None:
    before = {path.name: path.read_bytes() for path in gallery.iterdir()}
    bad = features(2)
    bad[1, 3] = np.nan
    for given, table, model, message in (
        (bad, entries([1, 1]), MODEL, "1 embeddings, the first in row 1, are zero or hold NaN"),
        (features(2), entries([1]), MODEL, r"shape \(2, 32\) and the table 1 entries"),
        (features(2, size=8), entries([1, 1]), MODEL, "have 8 elements, and their model gives 32"),
        (features(2), entries([1, 1]), replace(MODEL, checkpoint_sha256="d" * 64), "was made by another model"),
        (features(2), entries([2, 2], {2: "bo"}), MODEL, "person 2 has more than one name"),
        (features(2), entries([8, 8], {8: "anna"}), MODEL, "'anna' is the name of more than one person"),
    ):
        with pytest.raises(InputError, match=message):
            add_to_gallery(gallery, given, table, model)
    with pytest.raises(InputError, match="has nobody with id 77"):
        remove_person(gallery, 77)
    with pytest.raises(InputError, match="is a gallery already"):
        build_gallery(gallery, features(2), entries([1, 1]), MODEL)
    assert before == {path.name: path.read_bytes() for path in gallery.iterdir()}


def test_the_last_person_is_removed_with_the_folder(tmp_path: Path) -> None:
    build_gallery(tmp_path / "g", features(2), entries([4, 4]), MODEL)
    with pytest.raises(InputError, match="holds nobody but person 4; remove the whole folder"):
        remove_person(tmp_path / "g", 4)


def test_files_of_one_checkpoint_share_a_gallery(gallery: Path, manifest: Manifest) -> None:
    same = replace(manifest, checkpoint_sha256="c" * 64, embedding_size=SIZE)
    index = GalleryIndex.open(gallery)
    index.check_model(same)
    index.check_model(replace(same, precision="fp16", functions="inline", opset={"": 19}))
    with pytest.raises(
        ManifestError, match="was made by another model: none 16x8, 32 elements, checkpoint cccccccccccc"
    ):
        index.check_model(replace(same, checkpoint_sha256="d" * 64))
    with pytest.raises(ManifestError, match="another model"):
        index.check_model(replace(same, height=32))
    with pytest.raises(ManifestError, match="names no checkpoint"):
        index.check_model(replace(same, checkpoint_sha256=None))


@pytest.mark.parametrize("part", ["index", "entries"])
def test_a_truncated_file(gallery: Path, part: str) -> None:
    (path,) = gallery.glob(f"{part}-*")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="copied to its end or is another gallery's"):
        GalleryIndex.open(gallery)


@pytest.mark.parametrize("part", ["index", "entries"])
def test_a_file_of_another_gallery(gallery: Path, tmp_path: Path, part: str) -> None:
    build_gallery(
        tmp_path / "other", features(50, seed=3), entries([1 + row % 4 for row in range(50)], {2: "anna"}), MODEL
    )
    (mine,), (theirs,) = gallery.glob(f"{part}-*"), (tmp_path / "other").glob(f"{part}-*")
    assert mine.stat().st_size == theirs.stat().st_size
    shutil.copy(theirs, mine)
    with pytest.raises(InputError, match="its content has another SHA-256"):
        GalleryIndex.open(gallery)


def test_a_missing_file(gallery: Path) -> None:
    next(gallery.glob("index-*")).unlink()
    with pytest.raises(InputError, match=r"lacks .*index-000001\.faiss"):
        GalleryIndex.open(gallery)


def test_a_flipped_bit_between_the_samples_is_found_when_all_is_read(large: Path, tmp_path: Path) -> None:
    path = tmp_path / "people"
    shutil.copytree(large, path)
    (index,) = path.glob("index-*")
    with index.open("r+b") as file:
        file.seek((1 << 16) + 100)
        byte = file.read(1)[0]
        file.seek((1 << 16) + 100)
        file.write(bytes([byte ^ 1]))
    GalleryIndex.open(path)
    with pytest.raises(InputError, match="another SHA-256"):
        GalleryIndex.open(path, whole=True)


def test_manifests_that_are_none(gallery: Path) -> None:
    file = gallery / "gallery.json"
    good = json.loads(file.read_text())
    for content, message in (
        ("{", "is not a gallery's manifest"),
        ("[]", "a JSON list, not an object"),
        (json.dumps(good | {"schema": 2}), "schema is 2; this version reads 1"),
        (json.dumps(good | {"entries": "50"}), "entries is '50'; expected a whole number"),
        (json.dumps(good | {"entries": 49}), "does not fit together: 50 embeddings of 32 elements, a table of 50"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=message):
            GalleryIndex.open(gallery)
    file.unlink()
    with pytest.raises(InputError, match=r"is not a gallery: it has no gallery\.json"):
        GalleryIndex.open(gallery)


def test_queries_that_are_none(gallery: Path) -> None:
    index = GalleryIndex.open(gallery)
    with pytest.raises(InputError, match=r"queries have shape \(1, 8\); expected \(N, 32\)"):
        index.search(features(1, size=8))
    with pytest.raises(InputError, match="0 results were asked for"):
        index.search(features(1), 0)
    with pytest.raises(InputError, match="are zero or hold NaN"):
        index.search(np.zeros((1, SIZE), np.float32))


def in_child(path: Path, prelude: str) -> subprocess.CompletedProcess[str]:
    """Adds 4,000 entries in another process after `prelude`."""
    code = (
        "import numpy as np, os, resource, signal, sys\n"
        f"sys.path[:0] = [{str(Path(__file__).parents[2])!r}, {str(Path(__file__).parent)!r}]\n"
        "import test_gallery_index as t\n"
        f"{prelude}\n"
        f"t.add_to_gallery(t.Path({str(path)!r}), t.features(4000), t.entries([6] * 4000), t.MODEL)\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_full_disk_leaves_the_old_gallery(gallery: Path) -> None:
    # As a full disk does, a limit on the size of files ends the writing of the index half way.
    done = in_child(gallery, f"resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, {resource.RLIM_INFINITY}))")
    assert done.returncode == 1
    assert "cannot write the gallery's index" in done.stderr
    assert GalleryIndex.open(gallery, whole=True).manifest.generation == 1
    assert sorted(path.name for path in gallery.iterdir()) == [
        ".lock",
        "entries-000001.npz",
        "gallery.json",
        "index-000001.faiss",
    ]


@pytest.mark.parametrize("moment", ["sha256", "GalleryManifest.write", "remove_others"])
def test_a_run_that_is_killed_leaves_the_old_gallery_or_the_new(gallery: Path, moment: str) -> None:
    place = {
        "sha256": "import runtime.gallery_files as place; name = 'sha256'",
        "GalleryManifest.write": "import runtime.gallery_manifest as m; place = m.GalleryManifest; name = 'write'",
        "remove_others": "import runtime.gallery_changes as place; name = 'remove_others'",
    }[moment]
    done = in_child(gallery, f"{place}\nsetattr(place, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))")
    assert done.returncode == -signal.SIGKILL
    expected = 2 if moment == "remove_others" else 1
    assert GalleryIndex.open(gallery, whole=True).manifest.generation == expected
    # The next change finds the lock free and clears up.
    add_to_gallery(gallery, features(1), entries([1]), MODEL)
    assert len(list(gallery.iterdir())) == 4


def test_two_changes_at_a_time(gallery: Path) -> None:
    from runtime.gallery_files import locked

    with locked(gallery):
        done = in_child(gallery, "")
    assert "is being changed by another process" in done.stderr
    assert len(GalleryIndex.open(gallery)) == 50
