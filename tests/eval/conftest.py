"""What the tests of `eval/` share: small data sets on disk and made-up embeddings."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from eval.features import LabelledFeatures, Labels
from eval.metrics import Metrics
from runtime.embedder import Embedder
from runtime.embeddings import Embeddings
from runtime.manifest import Manifest, Precision

MARKET_NAMES = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0002_c2s1_000551_01.jpg",
    "bounding_box_train/0007_c1s1_000001_00.jpg",
    "query/0003_c1s1_000101_00.jpg",
    "query/0005_c2s1_000102_00.jpg",
    "bounding_box_test/-1_c3s1_000103_00.jpg",
    "bounding_box_test/0000_c1s1_000104_00.jpg",
    "bounding_box_test/0003_c2s1_000105_00.jpg",
    "bounding_box_test/0003_c2s1_000106_00.jpg",
    "bounding_box_test/0005_c1s2_000107_00.jpg",
)


def write_images(folder: Path, names: Sequence[str]) -> Path:
    """Small images of noise, different for each name."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (16, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(path), noise)
    return folder


def zip_folder(folder: Path, path: Path, compression: int, top: str = "") -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, top + file.relative_to(folder).as_posix())
    return path


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """A tiny data set in the Market-1501 layout, with junk and a distractor."""
    return write_images(tmp_path / "market", MARKET_NAMES)


@pytest.fixture
def make_images() -> Callable[[Path, Sequence[str]], Path]:
    return write_images


@pytest.fixture
def make_zip() -> Callable[..., Path]:
    return zip_folder


@pytest.fixture
def make_embeddings() -> Callable[..., Embeddings]:
    def make(features: object, person_ids: Sequence[int], camera_ids: Sequence[int]) -> Embeddings:
        return Embeddings(
            np.asarray(features, np.float32),
            np.asarray(person_ids, np.int64),
            np.asarray(camera_ids, np.int64),
            np.array([f"{row:05d}.jpg" for row in range(len(person_ids))], dtype=np.str_),
        )

    return make


@pytest.fixture(scope="session")
def evaluation_facts(repository: Path) -> Path:
    """What independent implementations gave on a small made-up data set; not part of the project."""
    folder = repository.parent / "shared" / "facts" / "evaluation"
    if not folder.is_dir():
        pytest.skip(f"the results of independent implementations are not here: {folder} does not exist")
    return folder


class ColourMeans:
    """A backend that needs no network: the mean colour of nine patches, normalised, with rounding as asked for."""

    def __init__(self, precision: Precision = "fp32", rounding: float = 0.0, size: int = 27) -> None:
        self.name = "colour means"
        self.device = "cpu"
        self.manifest = Manifest("none", size, "none", 1, 0, 24, 12, (0.5,) * 3, (0.5,) * 3, precision=precision)
        self.max_batch: int | None = None
        self._rounding = rounding

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        patches = images.reshape(len(images), 3, 8, 3, 4, 3).mean(axis=(2, 4)).reshape(len(images), -1) - 127
        if self._rounding:
            patches = np.round(patches / self._rounding) * self._rounding
        features = patches[:, : self.manifest.embedding_size]
        return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def make_embedder() -> Callable[..., Embedder]:
    def make(batch_size: int | None = None, **settings: object) -> Embedder:
        return Embedder(ColourMeans(**settings), batch_size)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight persons in their own colours, three cameras, two images each, with noise; no test half."""
    folder = tmp_path_factory.mktemp("data") / "crowd"
    random = np.random.default_rng(5)
    for person in range(1, 9):
        clothing = random.integers(0, 256, (6, 3, 3))
        for camera in (1, 2, 3):
            for frame in (1, 2):
                noisy = np.clip(clothing + random.normal(0, 60, clothing.shape), 0, 255).astype(np.uint8)
                path = folder / "bounding_box_train" / f"{person:04d}_c{camera}s1_{frame:06d}_00.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), cv2.resize(noisy, (12, 24), interpolation=cv2.INTER_NEAREST))
    return folder


class Result(NamedTuple):
    """What the definitions give for a query: nan, nan and 0 without a match; its nearest image, junk not counted."""

    average_precision: float
    penalty: float
    first: int
    nearest: int


class Definition:
    """CMC, AP and INP, one step at a time, in float64."""

    @staticmethod
    def results(distances: NDArray[np.float64], query: Labels, gallery: Labels) -> list[Result]:
        kept = [g for g, person in enumerate(gallery.person_ids.tolist()) if person != -1]
        return [
            Definition._result(distances[row], int(query.person_ids[row]), int(query.camera_ids[row]), gallery, kept)
            for row in range(len(query.person_ids))
        ]

    @staticmethod
    def _result(distances: NDArray[np.float64], person: int, camera: int, gallery: Labels, kept: list[int]) -> Result:
        persons, cameras = gallery.person_ids.tolist(), gallery.camera_ids.tolist()
        row = distances.tolist()
        candidates = [g for g in kept if person in (-1, 0) or not (persons[g] == person and cameras[g] == camera)]
        candidates.sort(key=lambda g: (row[g], g))
        nearest = kept.index(candidates[0]) if candidates else -1
        ranks = [rank for rank, g in enumerate(candidates, start=1) if persons[g] == person and person not in (-1, 0)]
        if not ranks:
            return Result(float("nan"), float("nan"), 0, nearest)
        precisions = [found / rank for found, rank in enumerate(ranks, start=1)]
        return Result(sum(precisions) / len(ranks), len(ranks) / ranks[-1], ranks[0], nearest)

    @staticmethod
    def check(metrics: Metrics, expected: list[Result]) -> None:
        """That these are the metrics of these results."""
        valid = [result for result in expected if result.first > 0]
        per_query = metrics.per_query
        assert per_query.first_match.tolist() == [result.first for result in expected]
        assert per_query.nearest.tolist() == [result.nearest for result in expected]
        assert per_query.valid.tolist() == [result.first > 0 for result in expected]
        np.testing.assert_allclose(
            per_query.average_precision, [result.average_precision for result in expected], rtol=1e-12
        )
        np.testing.assert_allclose(
            per_query.inverse_negative_penalty, [result.penalty for result in expected], rtol=1e-12
        )
        assert (metrics.queries, metrics.valid_queries) == (len(expected), len(valid))
        assert metrics.mAP == pytest.approx(sum(result.average_precision for result in valid) / len(valid))
        assert metrics.mINP == pytest.approx(sum(result.penalty for result in valid) / len(valid))
        curve = [sum(result.first <= rank for result in valid) / len(valid) for rank in range(1, 51)]
        np.testing.assert_allclose(metrics.cmc, curve, rtol=1e-12)
        named = (metrics.rank1, metrics.rank5, metrics.rank10, metrics.rank20)
        assert named == (metrics.cmc[0], metrics.cmc[4], metrics.cmc[9], metrics.cmc[19])


@pytest.fixture(scope="session")
def definition() -> type[Definition]:
    return Definition


@contextmanager
def _worked(tiles: bool, threads: bool) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if tiles:
            patch.setattr("eval.tiles._TILE_QUERIES", 3)
            patch.setattr("eval.tiles._TILE_IMAGES", 5)
            patch.setattr("eval.ranking._BLOCK_ELEMENTS", 50)
            patch.setattr("eval.memory._TILE", (4, 6))
            patch.setattr("eval.memory._BLOCK", 2)
        if threads:
            patch.setattr("eval.threads._LEAST_PAIRS", 0)
            patch.setattr("eval.threads._cores", lambda: 3)
        yield


Way = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def ways() -> list[Way]:
    """Contexts in which evaluation works on small data at once, in tiles, in threads, and in both."""
    return [
        lambda tiles=tiles, threads=threads: _worked(tiles, threads)
        for tiles in (False, True)
        for threads in (False, True)
    ]


@pytest.fixture(scope="session")
def make_labelled() -> Callable[..., LabelledFeatures]:
    def make(
        random: np.random.Generator, features: NDArray[np.floating], persons: Sequence[int], cameras: int = 3
    ) -> LabelledFeatures:
        """Of persons drawn from a range, by cameras from 1."""
        rows = len(features)
        return LabelledFeatures(
            features, random.integers(persons[0], persons[1], rows), random.integers(1, cameras + 1, rows)
        )

    return make
