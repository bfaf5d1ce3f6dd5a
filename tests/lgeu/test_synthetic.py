from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from eval.datasets import open_dataset
from lgeu.synthetic.dataset import write_dataset
from lgeu.synthetic.figures import paint_figure, place_figure
from lgeu.synthetic.people import sample_people
from lgeu.synthetic.skeleton import Pose, walk
from lgeu.synthetic.video import write_video
from lgeu.synthetic.world import World, make_world
from runtime.boxes import read_boxes
from runtime.errors import InputError
from runtime.images import list_images, read_image


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(world, tmp_path_factory.mktemp("data") / "synthetic-pedestrians")


def test_the_same_seed_draws_the_same_bytes_and_another_seed_does_not(
    world: World, folder: Path, tmp_path: Path
) -> None:
    again = write_dataset(make_world(world.size, world.seed), tmp_path / "again")
    other = write_dataset(make_world(world.size, world.seed + 1), tmp_path / "other")
    assert contents(again) == contents(folder)
    assert contents(other).keys() != contents(folder).keys() or contents(other) != contents(folder)


def test_the_data_set_is_read_as_market_and_called_synthetic(world: World, folder: Path) -> None:
    dataset = open_dataset(folder)
    size = world.size
    assert dataset.synthetic
    assert len(dataset.train) == size.train_people * size.cameras * size.images_per_camera
    assert len(dataset.query) == size.test_people * size.cameras
    test_people = [image.person_id for image in dataset.gallery]
    assert test_people.count(-1) == size.junk
    assert test_people.count(0) == size.distractors
    assert {image.camera_id for image in dataset.train} == {1, 2}
    assert all(dataset.read(image).shape == (128, 64, 3) for image in dataset.gallery)


def test_nobody_is_in_both_halves_and_every_query_has_a_match_under_another_camera(folder: Path) -> None:
    dataset = open_dataset(folder)
    searched = {image.person_id for image in dataset.query}
    assert not searched & {image.person_id for image in dataset.train}
    for query in dataset.query:
        assert any(
            image.person_id == query.person_id and image.camera_id != query.camera_id for image in dataset.gallery
        )


def test_a_folder_that_exists_is_left_alone(world: World, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_dataset(world, tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]


def test_a_failed_run_leaves_no_data_set(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(InputError, match="JPEG"):
        write_dataset(world, tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_look_alikes_share_their_main_colours_and_differ_as_people() -> None:
    people = sample_people(30, np.random.default_rng(0), group=3)
    assert len(set(people)) == 30
    for first in range(0, 30, 3):
        group = people[first : first + 3]
        assert len({(person.upper.colour, person.lower_fabric.colour) for person in group}) == 1


@pytest.mark.parametrize("yaw", np.linspace(-np.pi, np.pi, 7))
def test_the_box_is_where_the_figure_changed_the_picture(yaw: float) -> None:
    person = sample_people(1, np.random.default_rng(3))[0]
    figure = paint_figure(person, Pose(phase=1.0, yaw=float(yaw)), height=120)
    empty = np.zeros((240, 200, 3), np.float32)
    canvas = empty.copy()
    x, y, w, h = place_figure(canvas, figure, (100, 210))
    changed = np.argwhere(np.abs(canvas - empty).max(axis=2) > 0)
    top, left = changed.min(axis=0)
    bottom, right = changed.max(axis=0) + 1
    # Half-covered pixels at the edge make a difference of one pixel.
    np.testing.assert_allclose([left, top, right, bottom], [x, y, x + w, y + h], atol=1)
    assert 0.8 * 120 < h < 1.25 * 120


def test_a_figure_at_the_edge_is_cut_off_and_its_box_is_not() -> None:
    person = sample_people(1, np.random.default_rng(3))[0]
    figure = paint_figure(person, Pose(phase=0.0, yaw=0.0), height=100)
    canvas = np.zeros((120, 80, 3), np.float32)
    x, _, w, _ = place_figure(canvas, figure, (0, 110))
    assert x < 0 < x + w
    assert canvas[:, : x + w].any()
    assert place_figure(canvas, figure, (-500, 110))[0] < -400


def test_a_backpack_is_seen_from_behind_and_hidden_in_front() -> None:
    person = next(p for p in sample_people(300, np.random.default_rng(1)) if p.luggage == "backpack")
    painted = {}
    for side, yaw in (("front", 0.0), ("back", np.pi)):
        one, other = (
            paint_figure(replace(person, luggage_colour=colour), Pose(phase=0.0, yaw=yaw), 120).colour
            for colour in ((255, 0, 0), (0, 0, 255))
        )
        painted[side] = np.count_nonzero(np.abs(one - other).max(axis=2) > 0.2)
    assert painted["back"] > 3 * painted["front"] > 0


@pytest.mark.parametrize("phase", np.linspace(0, 2 * np.pi, 9))
def test_a_foot_is_always_on_the_ground_and_bones_keep_their_length(phase: float) -> None:
    skeleton = walk(Pose(phase=float(phase), yaw=0.0))
    still = walk(Pose(phase=0.0, yaw=0.0, stride=0.0))
    assert min(ankle[1] for ankle in skeleton.ankles) == pytest.approx(0.045)
    for upper, lower in (("hips", "knees"), ("knees", "ankles"), ("shoulders", "elbows")):
        for side in (0, 1):
            length = np.linalg.norm(getattr(skeleton, upper)[side] - getattr(skeleton, lower)[side])
            expected = np.linalg.norm(getattr(still, upper)[side] - getattr(still, lower)[side])
            assert length == pytest.approx(expected, rel=0.05)


def test_the_video_has_every_frame_and_boxes_inside_it(world: World, tmp_path: Path) -> None:
    files = write_video(world, tmp_path)
    capture = cv2.VideoCapture(str(files.video))
    frames = 0
    while capture.read()[0]:
        frames += 1
    assert frames == world.size.video_frames
    boxes = np.loadtxt(files.boxes, delimiter=",")
    assert set(boxes[:, 0]) <= set(range(1, frames + 1))
    assert set(boxes[:, 1]) <= set(files.people)
    assert (boxes[:, 2:4] >= 0).all()
    assert (boxes[:, 2] + boxes[:, 4] <= 640).all()
    assert (boxes[:, 3] + boxes[:, 5] <= 480).all()
    assert (boxes[:, 6] == 1).all()
    assert set(files.people.values()) <= set(world.test)


def test_the_runtime_reads_the_boxes(world: World, tmp_path: Path) -> None:
    files = write_video(world, tmp_path)
    lines = files.boxes.read_text().splitlines()
    assert sum(len(frame.tracks) for frame in read_boxes(files.boxes, -1).values()) == len(lines)


def test_the_video_is_the_same_for_the_same_seed(world: World, tmp_path: Path) -> None:
    first, second = write_video(world, tmp_path / "a"), write_video(world, tmp_path / "b")
    assert first.boxes.read_bytes() == second.boxes.read_bytes()
    captures = [cv2.VideoCapture(str(files.video)) for files in (first, second)]
    for _ in range(world.size.video_frames):
        (_, left), (_, right) = (capture.read() for capture in captures)
        assert np.array_equal(left, right)


def test_cameras_differ_more_than_pictures_of_one(folder: Path) -> None:
    """The casts of the cameras are what makes colour alone a bad clue."""
    images = [(path, read_image(path)) for path in list_images(folder / "bounding_box_train")]
    means = {
        camera: np.mean([image.mean(axis=(0, 1)) for path, image in images if f"_c{camera}s" in path.name], axis=0)
        for camera in (1, 2)
    }
    assert np.abs(means[1] - means[2]).max() > 5
