"""Tables, JSON lines and contact sheets of a video's people."""

import csv
import errno
import io
import json
import os
import tempfile
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import outputs
from runtime.boxes import FrameBoxes, read_boxes
from runtime.contact_sheet import ContactSheets
from runtime.embeddings import Embeddings
from runtime.errors import InputError
from runtime.gallery import Gallery, Matches
from runtime.gallery_index import open_gallery
from runtime.identities import describe_tracks
from runtime.infer import main
from runtime.json_lines import JsonLines
from runtime.manifest import Manifest
from runtime.outputs import VideoOutputs, Wanted
from runtime.pipeline import EmbeddedFrame
from runtime.tables import MatchesTable, TracksTable, write_matches
from runtime.track_descriptors import TrackDescriptors
from runtime.track_identities import IdentifiedTracks, TrackIdentities, TrackIdentity

SHADES = 200


def frame(index: int, tracks: list[int], persons: list[int] | None = None) -> EmbeddedFrame:
    """People whose pictures have the shade of their frame's number."""
    count = len(tracks)
    found = FrameBoxes(
        np.arange(count * 4, dtype=np.float32).reshape(count, 4) + 0.125,
        np.array(tracks, np.int64),
        np.full(count, 0.5, np.float32),
    )
    matches = None
    if persons is not None:
        matches = Matches(
            np.array(persons, np.int64),
            np.full(count, 0.75, np.float32),
            np.array([f"p{p}, x.jpg" for p in persons], np.str_),
            np.array(["anna" if p == 3 else "" for p in persons], np.str_),
        )
    images = np.full((count, 32, 16, 3), index % SHADES, np.uint8)
    features = np.ones((count, 6), np.float32)
    return EmbeddedFrame(index, index / 10, None, found, 0, images, features, matches, matches)


FRAMES = [frame(0, [7, -1], [3, 4]), frame(1, [], []), frame(12, [8], [-2])]


def test_matches(tmp_path: Path) -> None:
    table = MatchesTable(tmp_path / "matches.csv")
    for each in FRAMES:
        table.add(each)
    table.close()
    with (tmp_path / "matches.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["frame000000_box00", "frame000000_box01", "frame000012_box00"]
    assert [row["person_id"] for row in rows] == ["3", "4", "-2"]
    assert rows[0]["gallery_name"] == "p3, x.jpg"
    assert [row["person_name"] for row in rows] == ["anna", "", ""]


def test_tracks_are_mot_lines(tmp_path: Path) -> None:
    path = tmp_path / "tracks.csv"
    table = TracksTable(path, lambda: {7: TrackIdentity(3, 0.75), 9: TrackIdentity(1, None)})
    for each in FRAMES:
        table.add(each)
    # Before it is closed: a killed run's can be read.
    boxes = read_boxes(path)
    table.finish()
    assert list(boxes) == [0, 12]
    np.testing.assert_array_equal(boxes[0].tracks, [7])
    np.testing.assert_allclose(boxes[12].boxes, [[0.125, 1.125, 2.125, 3.125]], atol=0.01)
    np.testing.assert_allclose(boxes[12].scores, [0.5])
    assert path.read_text().splitlines() == [
        "1,7,0.12,1.12,2.12,3.12,0.5000,-1,-1,-1,3,0.7500",
        "13,8,0.12,1.12,2.12,3.12,0.5000,-1,-1,-1,-2,",
    ]


def test_json_lines() -> None:
    stream = io.StringIO()
    lines = JsonLines(stream)
    for each in (*FRAMES, frame(13, [5])):
        lines.add(each)
    first, second, third, last = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (first["frame"], first["seconds"], len(first["people"])) == (0, 0, 2)
    assert first["people"][1] == {
        "box": [4.12, 5.12, 6.12, 7.12],
        "score": 0.5,
        "track": None,
        "person_id": 4,
        "person": None,
        "similarity": 0.75,
    }
    assert first["people"][0]["person"] == "anna"
    stranger = third["people"][0]
    assert (stranger["person_id"], stranger["person"], stranger["similarity"]) == (None, None, 0.75)
    assert second == {"frame": 1, "seconds": 0.1, "time": None, "people": []}
    assert last["people"][0]["person_id"] is None


def test_json_lines_of_tracks() -> None:
    stream = io.StringIO()
    lines = JsonLines(stream, tracks=True)
    arrived = datetime(2026, 11, 30, 13, 5, 0, 123_456, timezone.utc)
    for each in (frame(3, [7, 8]), replace(frame(4, [8, 7, -1]), arrived=arrived), frame(5, [8])):
        lines.add(each)
    lines.add_tracks({7: TrackIdentity(3, 0.83, "anna"), 8: TrackIdentity(-2, 0.4)})
    known, stranger = [json.loads(line) for line in stream.getvalue().splitlines()[3:]]
    assert known == {
        "track": 7,
        "first": {"frame": 3, "seconds": 0.3, "time": None},
        "last": {"frame": 4, "seconds": 0.4, "time": "2026-11-30T13:05:00.123+00:00"},
        "person_id": 3,
        "person": "anna",
        "similarity": 0.83,
    }
    assert stranger["last"]["frame"] == 5
    assert (stranger["person_id"], stranger["person"], stranger["similarity"]) == (None, None, 0.4)


def shades(path: Path) -> list[int]:
    """Of the tiles of a sheet, row by row; a tile is 160 x 80 with a caption of 16 below, 4 apart."""
    sheet = cv2.imread(str(path))
    assert sheet is not None
    found = []
    for top in range(4, sheet.shape[0] - 100, 180):
        for left in range(4, sheet.shape[1] - 40, 84):
            found.append(round(float(sheet[top + 20 : top + 140, left + 10 : left + 70].mean())))
    return [shade for shade in found if shade < 250]


def test_contact_sheets(tmp_path: Path) -> None:
    sheets = ContactSheets(tmp_path / "sheets")
    for index in range(100):
        sheets.add(frame(index, [1] if index % 10 else [1, 2, -1]))
    sheets.finish()
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["track-000001.jpg", "track-000002.jpg"]
    np.testing.assert_allclose(shades(tmp_path / "sheets" / "track-000002.jpg"), range(0, 100, 10), atol=2)
    spread = shades(tmp_path / "sheets" / "track-000001.jpg")
    assert 12 <= len(spread) <= 24
    steps = np.diff(spread)
    assert spread[0] <= 2
    assert spread[-1] >= 90
    assert steps.max() - steps.min() <= 3


def test_a_sheet_is_of_a_person_where_one_was_found(tmp_path: Path) -> None:
    sheets = ContactSheets(tmp_path / "sheets")
    sheets.add(frame(5, [1, 2, 3, -1], [9, 9, -2, -2]))
    sheets.finish()
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["person-000009.jpg", "track-000003.jpg"]
    assert len(shades(tmp_path / "sheets" / "person-000009.jpg")) == 2


def test_a_sheet_shows_every_visit_of_an_identity(tmp_path: Path) -> None:
    # Whoever the single crops are like: tracks 1 and 4 are one person, 2 another, 3 nobody known, 5 has no identity.
    known = {1: 7, 4: 7, 2: 8, 3: -2}
    identities = {track: TrackIdentity(person, None) for track, person in known.items()}
    sheets = ContactSheets(tmp_path / "sheets", lambda: identities)
    for index in range(60):
        sheets.add(frame(index, [1, 2, -1], [9, -2, 9]))
    for index in range(60, 66):
        sheets.add(frame(index, [3, 5], [8, 8]))
    for index in range(100, 160):
        sheets.add(frame(index, [4], [9]))
    sheets.finish()
    names = ["person-000007.jpg", "person-000008.jpg", "track-000003.jpg", "track-000005.jpg"]
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == names
    visits = np.array(shades(tmp_path / "sheets" / names[0]))
    assert len(visits) == 24
    assert (np.diff(visits) > 0).all()
    assert abs((visits < 80).sum() - 12) <= 1
    assert visits[0] <= 2
    assert visits[-1] >= 154
    np.testing.assert_allclose(shades(tmp_path / "sheets" / names[2]), range(60, 66), atol=2)


def test_many_tracks_need_little_memory(tmp_path: Path) -> None:
    sheets = ContactSheets(tmp_path / "sheets")
    frames = [frame(index, list(range(50))) for index in range(24)]
    tracemalloc.start()
    for each in frames:
        sheets.add(each)
    needed = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    sheets.close()
    assert needed / 50 < 1000


@pytest.mark.parametrize("crops", [1, 24, 25, 48, 49, 1000])
def test_crops_on_the_disk_grow_with_their_logarithm(tmp_path: Path, crops: int) -> None:
    sheets = ContactSheets(tmp_path / "sheets")
    for index in range(crops):
        sheets.add(frame(index, [1]))
    sheets._file.flush()
    size = (tmp_path / "sheets" / "crops.bin").stat().st_size
    sheets.finish()
    one = size / min(crops, 24) if crops <= 24 else size / 24
    assert one < 1500 * (1 + np.log2(max(crops / 24, 1)))
    assert len(shades(tmp_path / "sheets" / "track-000001.jpg")) in range(min(crops, 12), 25)


@pytest.mark.parametrize("crops", [3, 100])
def test_sheets_on_a_full_disk(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]], crops: int
) -> None:
    # A few crops wait in memory until the end, many fail as they come.
    def fill(sheets: ContactSheets) -> None:
        for index in range(crops):
            sheets.add(frame(index, [*range(10)]))
        sheets.finish()

    sheets = ContactSheets(tmp_path / "sheets")
    with full_disk(1000):
        with pytest.raises(InputError, match=r"cannot write .*crops\.bin.*free some space"):
            fill(sheets)
        sheets.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    for make in (lambda p: ContactSheets(p), lambda p: TracksTable(p / "a.csv", dict)):
        with pytest.raises(InputError, match="cannot write"):
            make(tmp_path / "none" / "x")


@pytest.fixture
def arguments(make_video: Callable[..., Path], tiny_model: Path, tmp_path: Path) -> list[str]:
    lines = [f"{frame},{track},{5 + 20 * track},5,15,30,1" for frame in range(1, 13) for track in (1, 2)]
    (tmp_path / "gt.txt").write_text("\n".join(lines))
    options = ["--boxes", str(tmp_path / "gt.txt"), "--out", str(tmp_path / "out")]
    return [str(make_video(frames=12)), "--model", str(tiny_model), *options]


def test_all_results_of_a_run_and_none_of_the_one_before(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--tracks", "--contact-sheets", "--jsonl", "-"]) == 0
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line["frame"] for line in lines] == list(range(12))
    assert all([person["track"] for person in line["people"]] == [1, 2] for line in lines)
    assert "frames: 12" in printed.err
    out = tmp_path / "out"
    written = sorted(path.name for path in out.iterdir())
    assert written == ["contact-sheets", "embeddings.npz", "manifest.json", "tracks.csv"]
    assert sum(len(found) for found in read_boxes(out / "tracks.csv").values()) == 24
    assert len(list((out / "contact-sheets").iterdir())) == 2
    assert main(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == ["embeddings.npz", "manifest.json"]


class Refusing(ContactSheets):
    """Sheets that cannot be completed, as on a disk that is full then."""

    def finish(self) -> None:
        raise InputError("cannot write a sheet; free some space")


def test_of_a_live_source_all_is_completed_that_can_be_and_who_the_tracks_were_is_said(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "ContactSheets", Refusing)
    known = Embeddings(np.ones((1, 6), np.float32), np.array([5]), np.ones(1, np.int64), np.array(["a"]))
    lines = io.StringIO()
    wanted = Wanted(
        tracks=True, sheets=True, identities=TrackIdentities(Gallery(known, "made up"), None), json_lines=lines
    )

    def write() -> None:
        with VideoOutputs(tmp_path, manifest, wanted, live=True) as results:
            results.add(frame(0, [1, 2]))
            results.finish()

    with pytest.raises(InputError, match="cannot write a sheet"):
        write()
    assert [json.loads(line)["person_id"] for line in lines.getvalue().splitlines()[1:]] == [5, 5]
    (left,) = tmp_path.iterdir()
    assert [row[10] for row in rows_of(left / "tracks.csv")] == ["5", "5"]
    assert len(Embeddings.load(left / "embeddings.npz")) == 2


def test_a_track_whose_only_frame_could_not_be_written_has_no_line() -> None:
    stream = io.StringIO()
    lines = JsonLines(stream, tracks=True)
    lines.add(frame(3, [7]))
    for _ in range(2):
        lines.add_tracks({7: TrackIdentity(3, 0.83), 8: TrackIdentity(4, 0.5)})
    assert [json.loads(line)["track"] for line in stream.getvalue().splitlines()[1:]] == [7]


class Known:
    """A gallery in which everybody is anna."""

    def nearest(self, features: NDArray[np.float32]) -> Matches:
        rows = len(features)
        return Matches(np.full(rows, 3), np.full(rows, 0.5, np.float32), np.full(rows, "a.jpg"), np.full(rows, "anna"))


def test_tracks_have_the_name_of_their_person() -> None:
    people = describe_tracks(np.array([4]), np.array([0]), np.ones((1, 6), np.float32))
    assert TrackIdentities(Known(), None).of(people) == {4: TrackIdentity(3, 0.5, "anna")}


@pytest.mark.parametrize("remembers", [True, False])
def test_who_the_tracks_were_is_kept_only_where_it_is_asked_for(tmp_path: Path, remembers: bool) -> None:
    descriptors = TrackDescriptors(tmp_path / "tracks", 6)
    tracks = IdentifiedTracks(descriptors, TrackIdentities(Known(), None), remembers=remembers)
    tracks.add(frame(0, [4, 5]))
    anna = TrackIdentity(3, 0.5, "anna")
    assert tracks.end([5]) == {5: anna}
    assert tracks.finish() == {4: anna}
    assert tracks.known() == ({4: anna, 5: anna} if remembers else {})


class Drawn:
    """An annotated video that notes what it is given in place of drawing it."""

    given: ClassVar[list[Matches | None]] = []

    def __init__(self, path: Path, rate: float) -> None:
        path.touch()

    def add(self, pixels: NDArray[np.uint8], found: FrameBoxes, matches: Matches | None) -> None:
        self.given.append(matches)

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is open."""


def test_lines_and_annotated_video_name_by_the_track_and_the_table_by_the_crop(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "AnnotatedVideo", Drawn)
    lines = io.StringIO()
    crops = frame(0, [1], [4])
    both = replace(crops, matches_so_far=frame(0, [1], [3]).matches, pixels=np.zeros((9, 9, 3), np.uint8))
    with VideoOutputs(tmp_path, manifest, Wanted(matches=True, annotated=10, json_lines=lines)) as results:
        results.add(both)
        results.finish()
    (person,) = json.loads(lines.getvalue())["people"]
    assert (person["person_id"], person["person"]) == (3, "anna")
    assert Drawn.given == [both.matches_so_far]
    assert rows_of(tmp_path / "matches.csv")[1][1] == "4"


class FullAfter(io.StringIO):
    """Takes so many lines."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._left = lines

    def write(self, text: str) -> int:
        self._left -= 1
        if self._left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


@pytest.mark.parametrize("room", [1, 2])
def test_lines_that_cannot_be_written_cost_a_live_source_no_other_results(
    manifest: Manifest, tmp_path: Path, room: int
) -> None:
    """The second frame's line, or the first track's at the end."""
    wanted = Wanted(tracks=True, identities=TrackIdentities(Known(), None), json_lines=FullAfter(room))

    def write() -> None:
        with VideoOutputs(tmp_path, manifest, wanted, live=True) as results:
            try:
                results.add(frame(0, [1, 2]))
                results.add(frame(1, [1, 2]))
            except InputError:
                results.salvage()
                raise
            results.finish()

    with pytest.raises(InputError, match="cannot write the JSON lines: No space left on device"):
        write()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["embeddings.npz", "manifest.json", "tracks.csv"]
    assert [row[10] for row in rows_of(tmp_path / "tracks.csv")] == ["3"] * 4


def test_names_of_files_that_are_not_utf_8(tmp_path: Path) -> None:
    matches = Matches(np.array([3]), np.ones(1, np.float32), np.array(["a"]), np.array([""]))
    write_matches(tmp_path / "matches.csv", [os.fsdecode(b"caf\xe9.jpg")], matches)
    assert (tmp_path / "matches.csv").read_bytes().splitlines()[1] == b"caf\xe9.jpg,3,1.0000,a,"


def rows_of(path: Path) -> list[list[str]]:
    with path.open() as file:
        return list(csv.reader(file))


def sheets_of(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "contact-sheets").iterdir())


def test_boxes_without_tracks_are_joined_and_tracks_get_their_person(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--tracks"]) == 0
    given = rows_of(tmp_path / "out" / "tracks.csv")
    boxes = tmp_path / "gt.txt"
    boxes.write_text(boxes.read_text().replace(",1,25,", ",-1,25,").replace(",2,45,", ",-1,45,"))
    assert main([*arguments, "--tracks", "--threshold=-1", "--contact-sheets"]) == 0
    joined = rows_of(tmp_path / "out" / "tracks.csv")
    # The first sighting makes nobody a track yet.
    assert [row[:6] for row in joined] == [row[:6] for row in given if row[0] != "1"]
    # Tracks that were in the picture together are two people, whatever they look like.
    assert {(row[1], row[10], row[11]) for row in joined} == {("1", "1", ""), ("2", "2", "")}
    assert sheets_of(tmp_path / "out") == ["person-000001.jpg", "person-000002.jpg"]

    found = Embeddings.load(tmp_path / "out" / "embeddings.npz")
    assert found.tracks is not None
    known = Embeddings(
        features=np.stack([found.features[found.tracks == track].mean(axis=0) for track in (1, 2)]),
        person_ids=np.array([31, 32]),
        camera_ids=np.ones(2, np.int64),
        names=np.array(["a", "b"]),
    )
    known.save(tmp_path / "gallery.npz")
    named = [*arguments, "--tracks", "--gallery", str(tmp_path / "gallery.npz")]
    assert main([*named, "--threshold", "0.9", "--contact-sheets"]) == 0
    assert sheets_of(tmp_path / "out") == ["person-000031.jpg", "person-000032.jpg"]
    capsys.readouterr()
    rows = rows_of(tmp_path / "out" / "tracks.csv")
    assert {(row[1], row[10]) for row in rows} == {("1", "31"), ("2", "32")}
    assert all(float(row[11]) > 0.9 for row in rows)
    replace(known, features=-known.features).save(tmp_path / "gallery.npz")
    assert main([*named, "--threshold", "0.9", "--contact-sheets", "--jsonl", "-"]) == 0
    out = tmp_path / "out"
    assert {row[10] for row in rows_of(out / "tracks.csv")} == {"-2"}
    # What is written as the video runs knows strangers, too.
    assert {row[1] for row in rows_of(out / "matches.csv")[1:]} == {"-2"}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    people = [person for line in lines[:12] for person in line["people"]]
    assert len(people) == 24
    assert [line["track"] for line in lines[12:]] == [1, 2]
    assert {each["person_id"] for each in (*people, *lines[12:])} == {None}
    assert all(each["similarity"] < 0.9 for each in (*people, *lines[12:]))
    assert sheets_of(out) == ["track-000001.jpg", "track-000002.jpg"]


@pytest.fixture
def visits(tmp_path: Path) -> Path:
    """Two people on 50 frames, one of whom is away in the middle; boxes without tracks."""
    lines = [f"{frame},-1,45,5,15,30,1" for frame in range(1, 51)]
    lines += [f"{frame},-1,5,5,15,30,1" for frame in (*range(1, 13), *range(35, 51))]
    (tmp_path / "visits.txt").write_text("\n".join(lines))
    return tmp_path / "visits.txt"


@pytest.mark.parametrize("named", [False, True])
def test_tracks_that_ended_meanwhile_are_who_all_their_embeddings_say(
    make_video: Callable[..., Path], tiny_model: Path, visits: Path, tmp_path: Path, named: bool
) -> None:
    generator = np.random.default_rng(0)
    known = Embeddings(generator.normal(size=(4, 6)), np.arange(4), np.ones(4, np.int64), np.array(list("abcd")))
    known.save(tmp_path / "gallery.npz")
    arguments = [str(make_video(frames=50)), "--model", str(tiny_model), "--boxes", str(visits), "--tracks"]
    options = ["--gallery", str(tmp_path / "gallery.npz")] if named else ["--threshold=0.5"]
    out = tmp_path / "out"
    assert main([*arguments, *options, "--out", str(out)]) == 0
    found = Embeddings.load(out / "embeddings.npz")
    assert found.tracks is not None
    assert found.frames is not None
    people = describe_tracks(found.tracks, found.frames, found.features)
    gallery = open_gallery(tmp_path / "gallery.npz") if named else None
    expected = TrackIdentities(gallery, None if named else 0.5).of(people)
    rows = {int(row[1]): (int(row[10]), row[11]) for row in rows_of(out / "tracks.csv")}
    assert len(rows) == 3
    for track, identity in expected.items():
        similarity = "" if identity.similarity is None else f"{identity.similarity:.4f}"
        assert rows[track] == (identity.person_id, similarity)


def test_lines_name_people_by_their_track_so_far_and_the_table_by_each_crop(
    make_video: Callable[..., Path], tiny_model: Path, visits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(make_video(frames=50)), "--model", str(tiny_model), "--boxes", str(visits), "--tracks"]
    arguments += ["--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    found = Embeddings.load(tmp_path / "out" / "embeddings.npz")
    assert found.tracks is not None
    # Everybody in the gallery looks like the people of one frame: who is nearest changes from crop to crop.
    looks = np.unique(found.features, axis=0)[::5]
    count = len(looks)
    known = Embeddings(looks, np.arange(1, count + 1), np.ones(count, np.int64), np.array(["known.jpg"] * count))
    known.save(tmp_path / "gallery.npz")
    capsys.readouterr()
    assert main([*arguments, "--gallery", str(tmp_path / "gallery.npz"), "--jsonl", "-"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    people = [person for line in lines for person in line.get("people", ())]
    table = rows_of(tmp_path / "out" / "matches.csv")[1:]
    for row, (person, crop) in enumerate(zip(people, table, strict=True)):
        earlier = np.flatnonzero(found.tracks[: row + 1] == found.tracks[row])
        mean = found.features[earlier if found.tracks[row] != -1 else [row]].mean(axis=0, dtype=np.float64)
        for similarity, named, score in (
            (looks @ mean / np.linalg.norm(mean), person["person_id"], person["similarity"]),
            (looks @ found.features[row], int(crop[1]), float(crop[2])),
        ):
            assert similarity[named - 1] == pytest.approx(similarity.max(), abs=1e-6)
            assert score == pytest.approx(similarity.max(), abs=1e-4)
    assert [person["person_id"] for person in people] != [int(crop[1]) for crop in table]


@pytest.mark.parametrize("named", [False, True])
def test_lines_say_who_a_track_was_as_soon_as_that_is_known(
    make_video: Callable[..., Path],
    tiny_model: Path,
    visits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    named: bool,
) -> None:
    known = Embeddings(np.eye(4, 6, dtype=np.float32), np.arange(4), np.ones(4, np.int64), np.array(list("abcd")))
    known.save(tmp_path / "gallery.npz")
    arguments = [str(make_video(frames=50)), "--model", str(tiny_model), "--boxes", str(visits), "--tracks"]
    options = ["--gallery", str(tmp_path / "gallery.npz")] if named else ["--threshold=0.5"]
    assert main([*arguments, *options, "--jsonl", "-", "--out", str(tmp_path / "out")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    frames = [line["frame"] for line in lines if "frame" in line]
    tracks = {line["track"]: line for line in lines if "track" in line}
    assert frames == list(range(50))
    rows = rows_of(tmp_path / "out" / "tracks.csv")
    assert len(lines) == 53
    for track, line in tracks.items():
        own = [row for row in rows if int(row[1]) == track]
        seen = [
            {"frame": int(own[end][0]) - 1, "seconds": (int(own[end][0]) - 1) / 10, "time": None} for end in (0, -1)
        ]
        assert [line["first"], line["last"]] == seen
        assert {int(row[10]) for row in own} == {line["person_id"]}
        assert {row[11] for row in own} == {f"{line['similarity']:.4f}" if named else ""}
        assert line["person"] is None
    # The one that is seen until frame 11 is given up before another comes on frame 34.
    order = [line.get("track") or f"frame {line['frame']}" for line in lines]
    assert order[-3:] == (["frame 49", 1, 3] if named else [1, 2, 3])
    assert not named or order.index("frame 12") < order.index(2) < order.index("frame 34")


def test_embeddings_of_tracks_that_ended_leave_the_disk(
    make_video: Callable[..., Path], tiny_model: Path, visits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, out = TrackDescriptors.add, tmp_path / "out"
    on_the_disk: list[set[str]] = []

    def noted(descriptors: TrackDescriptors, frame: EmbeddedFrame) -> None:
        add(descriptors, frame)
        on_the_disk.append({path.stem for path in out.glob("unfinished-*/described-tracks/*")})

    monkeypatch.setattr(TrackDescriptors, "add", noted)
    arguments = [str(make_video(frames=50)), "--model", str(tiny_model), "--boxes", str(visits), "--out", str(out)]
    assert main([*arguments, "--tracks", "--threshold=0.5", "--no-embeddings"]) == 0
    # Who is away from frame 12 to 33 is forgotten, and somebody new from then on.
    assert on_the_disk[20] == {"1", "2"}
    assert on_the_disk[33] == {"1"}
    assert on_the_disk[49] == {"1", "3"}


def test_without_embeddings_the_other_results_are_the_same(
    make_video: Callable[..., Path],
    tiny_model: Path,
    visits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = Embeddings(np.eye(4, 6, dtype=np.float32), np.arange(4), np.ones(4, np.int64), np.array(list("abcd")))
    known.save(tmp_path / "gallery.npz")
    arguments = [str(make_video(frames=50)), "--model", str(tiny_model), "--boxes", str(visits), "--tracks"]
    arguments += ["--gallery", str(tmp_path / "gallery.npz"), "--contact-sheets", "--jsonl", "-"]
    assert main([*arguments, "--out", str(tmp_path / "with")]) == 0
    lines = capsys.readouterr().out
    # What an earlier run left would belong to other results.
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "embeddings.npz").touch()
    assert main([*arguments, "--no-embeddings", "--out", str(tmp_path / "without")]) == 0
    assert capsys.readouterr().out == lines

    def content(out: Path) -> dict[str, bytes]:
        return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    both = content(tmp_path / "with")
    del both["embeddings.npz"], both["manifest.json"]
    assert content(tmp_path / "without") == both
    assert len(both) > 3


@pytest.mark.parametrize("before", [True, False])
def test_lines_alone_touch_no_folder(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], before: bool
) -> None:
    out = tmp_path / "out"
    if before:
        assert main([*arguments, "--tracks"]) == 0
        changed = out.stat().st_mtime_ns
    capsys.readouterr()
    for given in (arguments, arguments[:5]):
        assert main([*given, "--no-embeddings", "--jsonl", "-"]) == 0
        printed = capsys.readouterr()
        assert len(printed.out.splitlines()) == 12
        assert "frames: 12" in printed.err
        assert "written to" not in printed.err
        assert out.exists() == before
    if before:
        assert out.stat().st_mtime_ns == changed
        assert sorted(path.name for path in out.iterdir()) == ["embeddings.npz", "manifest.json", "tracks.csv"]


def test_lines_alone_of_a_stream_that_is_given_up(
    mjpeg_camera: Callable[..., AbstractContextManager[str]],
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    content = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    with mjpeg_camera([content] * 12) as url:
        assert main([url, *arguments[1:], "--no-embeddings", "--jsonl", "-", "--reconnect", "0"]) == 2
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 12
    assert "did not come back" in printed.err
    assert "frames: 12" in caplog.text
    assert "written to" not in caplog.text
    assert not (tmp_path / "out").exists()


def test_few_frames_a_second_are_joined_all_the_same(
    make_video: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    lines = [f"{frame},-1,{place},5,15,30,1" for frame in range(1, 122) for place in (5, 45)]
    (tmp_path / "gt.txt").write_text("\n".join(lines))
    arguments = [str(make_video(frames=121)), "--model", str(tiny_model), "--boxes", str(tmp_path / "gt.txt")]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--tracks", "--every", "20"]) == 0
    rows = rows_of(tmp_path / "out" / "tracks.csv")
    assert [row[:2] for row in rows] == [[str(frame), track] for frame in range(21, 122, 20) for track in ("1", "2")]


def test_a_video_without_people_has_an_empty_table(
    make_video: Callable[..., Path], tiny_model: Path, fixed_detector: Callable[..., Path], tmp_path: Path
) -> None:
    detector = fixed_detector(tmp_path / "d.onnx", np.zeros((1, 84, 7), np.float32))
    options = ["--detector", str(detector), "--tracks", "--threshold", "0.5", "--contact-sheets"]
    assert main([str(make_video()), "--model", str(tiny_model), "--out", str(tmp_path / "out"), *options]) == 0
    assert (tmp_path / "out" / "tracks.csv").read_text() == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--jsonl", "people.jsonl"), "only - is taken, and > people.jsonl puts the lines into a file"),
        (("--threshold", ".5"), "--threshold given without --gallery or --tracks"),
        (("--tracks", "--threshold", "2"), "--threshold is 2.0; expected a cosine similarity"),
        (("--detector", "d", "--contact-sheets"), "--contact-sheets given without identities"),
        (("--no-embeddings",), "--no-embeddings given, and nothing else is to be written; ask for something"),
    ],
)
def test_refused(
    arguments: list[str], options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*arguments[:3], *arguments[5:]] if "--detector" in options else arguments
    assert main([*given, *options]) == 2
    assert message in capsys.readouterr().err


def test_files_need_a_folder(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        ([], "no folder for the results; name one with --out DIR (of a video, --jsonl - alone needs none)"),
        (["--no-embeddings", "--tracks"], "no folder for the results; name one"),
        (["--jsonl", "-", "--annotate"], "--annotate given, and no folder for that; name one"),
        (
            ["--jsonl", "-", "--tracks", "--contact-sheets", "--annotate"],
            "--annotate and --contact-sheets given, and no",
        ),
    ):
        assert main([*arguments[:5], *options]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("named", [False, True])
def test_lines_alone_say_who_is_who_without_a_folder(
    make_video: Callable[..., Path],
    tiny_model: Path,
    visits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    named: bool,
) -> None:
    known = Embeddings(np.eye(4, 6, dtype=np.float32), np.arange(4), np.ones(4, np.int64), np.array(list("abcd")))
    known.save(tmp_path / "gallery.npz")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    arguments = [str(make_video(frames=50)), "--model", str(tiny_model), "--boxes", str(visits), "--tracks"]
    arguments += ["--gallery", str(tmp_path / "gallery.npz")] if named else ["--threshold=0.5"]
    before = sorted(tmp_path.rglob("*"))
    assert main([*arguments, "--jsonl", "-"]) == 0
    printed = capsys.readouterr()
    assert sorted(tmp_path.rglob("*")) == before
    assert "written to" not in printed.err
    assert main([*arguments, "--jsonl", "-", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == printed.out
    assert printed.out.count('"track": 2, "first"') == 1
