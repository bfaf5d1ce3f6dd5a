"""Features in tensors: the torch code gives what the NumPy code gives, wherever the tensors are."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from eval import tensor_neighbours, tensor_ranking, tensor_reranking, tensors
from eval.evaluation import Run, evaluate_run
from eval.expansion import Expansion, expand
from eval.features import LabelledFeatures, check_sizes, select, without_junk
from eval.kernels import Ranking
from eval.metrics import evaluate, evaluate_distances, match_labels, summarise
from eval.reranking import Reranking, evaluate_reranked, rerank
from runtime.embeddings import Embeddings
from runtime.errors import DeviceError, InputError

torch = pytest.importorskip("torch", reason="torch is not installed")

# Vectors of four halves have length 1 and inner products in quarters: exact in float32, and full of ties.
SIGNS = np.array(list(itertools.product([-0.5, 0.5], repeat=4)), np.float32)

# The square of the distance, its share and the numbers of neighbours; 500 is more than there are images.
RERANKINGS = [Reranking(), Reranking(3, 2, 0.3, "d1"), Reranking(500, 90, 0.3, "d2"), Reranking(1, 1, 1.0, "d1")]

gpu = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")


class Search(NamedTuple):
    """Labelled features, the gallery's with junk."""

    query: LabelledFeatures
    gallery: LabelledFeatures

    def to(self, device: str) -> "Search":
        return Search(*(tensors_of(side, device) for side in self))


def tensors_of(side: LabelledFeatures, device: str) -> LabelledFeatures:
    return LabelledFeatures(torch.from_numpy(side.features).to(device), side.person_ids, side.camera_ids)


def signs(random: np.random.Generator, rows: int) -> NDArray[np.float32]:
    return SIGNS[random.integers(0, 16, rows)]


def duplicates(random: np.random.Generator, rows: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(12, 33)).astype(np.float32)[random.integers(0, 12, rows)]


def zeros(random: np.random.Generator, rows: int) -> NDArray[np.float32]:
    features = random.normal(size=(rows, 8)).astype(np.float32)
    features[random.random(rows) < 0.3] = 0
    return features


def clusters(random: np.random.Generator, rows: int) -> NDArray[np.float32]:
    centres = np.random.default_rng(1).normal(size=(6, 12))
    return (5 * (centres[random.integers(0, 6, rows)] + 0.4 * random.normal(size=(rows, 12)))).astype(np.float32)


def collapsed(random: np.random.Generator, rows: int) -> NDArray[np.float32]:
    """A collapsed model: the same large elements for every image, and differences of the size of rounding errors."""
    features = 1e-4 * random.normal(size=(rows, 20))
    features[:, :3] += 1
    return features.astype(np.float32)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=[gpu, needs_gpu])])
def device(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=["whole", "blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, or a few rows and pairs at a time."""
    if request.param == "blocks":
        for module in (tensors, tensor_ranking, tensor_neighbours, tensor_reranking):
            monkeypatch.setattr(module, "BLOCK_ELEMENTS", 500)
        monkeypatch.setattr(tensors, "_LISTED", 300)


@pytest.fixture(
    params=[(signs, 4), (duplicates, 3), (zeros, 3), (clusters, 4), (clusters, 1)],
    ids=["signs", "duplicates", "zeros", "clusters", "one query camera"],
)
def search(request: pytest.FixtureRequest) -> Search:
    return search_of(*request.param)


def search_of(make: Callable[[np.random.Generator, int], NDArray[np.float32]], cameras: int) -> Search:
    random = np.random.default_rng(7)
    # With one camera only the gallery's other camera has matches.
    return Search(
        LabelledFeatures(make(random, 25), random.integers(-1, 7, 25), random.integers(1, cameras + 1, 25)),
        LabelledFeatures(make(random, 70), random.integers(-1, 7, 70), random.integers(1, max(cameras, 2) + 1, 70)),
    )


def rank(search: Search, reranking: Reranking | None = None) -> Ranking:
    """What `evaluate` and `evaluate_reranked` do with tensors, on any device."""
    kept = without_junk(search.gallery)
    with tensors.on_device(search.query.features):
        sides = tensors.open_tensors(search.query.features, search.gallery.features, kept)
        matches = match_labels(search.query, select(search.gallery, kept))
        if reranking is None:
            return tensor_ranking.rank_tensors(*sides, matches)
        return tensor_reranking.rank_reranked_tensors(*sides, matches, reranking, None)


def rerank_anywhere(query: Any, gallery: Any, reranking: Reranking) -> Any:
    with tensors.on_device(query):
        return tensor_reranking.rerank_tensors(*tensors.open_tensors(query, gallery), reranking, None)


def assert_same_results(ranking: Ranking, search: Search, expected: Any) -> None:
    kept = without_junk(search.gallery)
    matches = match_labels(search.query, select(search.gallery, kept))
    metrics = summarise(ranking, matches, len(kept), len(search.gallery.person_ids) - len(kept))
    for name in ("average_precision", "inverse_negative_penalty", "first_match", "nearest"):
        np.testing.assert_array_equal(getattr(metrics.per_query, name), getattr(expected.per_query, name))
    np.testing.assert_array_equal(metrics.cmc, expected.cmc)


@pytest.mark.usefixtures("blocks")
def test_tensors_rank_as_arrays(search: Search, device: str) -> None:
    assert_same_results(rank(search.to(device)), search, evaluate(*search))


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("reranking", RERANKINGS, ids=str)
def test_tensors_rerank_as_arrays(search: Search, device: str, reranking: Reranking) -> None:
    there = search.to(device)
    assert_same_results(rank(there, reranking), search, evaluate_reranked(*search, reranking))
    kept = without_junk(search.gallery)
    settings = reranking.k1, reranking.k2, reranking.lambda_, reranking.flavour
    expected = rerank(search.query.features, search.gallery.features[kept], *settings)
    result = rerank_anywhere(there.query.features, there.gallery.features[torch.from_numpy(kept).to(device)], reranking)
    np.testing.assert_allclose(result.cpu().numpy(), expected, atol=1e-6)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("reranking", [None, *RERANKINGS[:2]], ids=str)
def test_images_that_only_rounding_tells_apart_in_float32_rank_as_in_arrays(
    device: str, reranking: Reranking | None
) -> None:
    search = search_of(collapsed, 4)
    expected = evaluate(*search) if reranking is None else evaluate_reranked(*search, reranking)
    there = search.to(device)
    assert_same_results(rank(there, reranking), search, expected)
    if reranking is not None:
        settings = reranking.k1, reranking.k2, reranking.lambda_, reranking.flavour
        result = rerank_anywhere(there.query.features, there.gallery.features, reranking)
        distances = rerank(search.query.features, search.gallery.features, *settings)
        np.testing.assert_allclose(result.cpu().numpy(), distances, atol=1e-6)


def test_with_no_original_distance_the_jaccard_distance_is_left(search: Search, device: str) -> None:
    there = search.to(device)
    result = rerank_anywhere(there.query.features, there.gallery.features, Reranking(lambda_=0))
    expected = rerank(search.query.features, search.gallery.features, lambda_=0)
    np.testing.assert_allclose(result.cpu().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_any_float_type_is_taken(device: str, kind: str) -> None:
    random = np.random.default_rng(0)
    search = Search(
        LabelledFeatures(signs(random, 10), random.integers(1, 4, 10), random.integers(1, 3, 10)),
        LabelledFeatures(signs(random, 30), random.integers(0, 4, 30), random.integers(1, 3, 30)),
    )
    sides = [tensors_of(side, device) for side in search]
    there = Search(*(replace(side, features=side.features.to(getattr(torch, kind))) for side in sides))
    assert_same_results(rank(there), search, evaluate(*search))


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
def test_distances_in_a_tensor_are_evaluated(search: Search, device: str, kind: str) -> None:
    shape = len(search.query.person_ids), len(search.gallery.person_ids)
    # Small whole numbers are exact in every type.
    distances = np.random.default_rng(0).integers(0, 9, shape).astype(np.float64)
    metrics = evaluate_distances(torch.from_numpy(distances).to(device, getattr(torch, kind)), *search)
    np.testing.assert_array_equal(metrics.cmc, evaluate_distances(distances, *search).cmc)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros((2, 3), dtype=torch.int64), "gallery: features are 2-D of type torch.int64"),
        (torch.zeros(3), r"gallery: features are 1-D .* \(N, D\)"),
        (torch.zeros((0, 3)), "gallery: nothing to evaluate"),
        (torch.full((2, 3), float("nan")), "gallery: 2 of 2 rows, the first is row 0, hold NaN or infinity"),
        (torch.full((2, 3), 1e30), "gallery: 2 of 2 rows, .* a length outside"),
        (torch.ones((2, 4)), "query features have 3 elements and gallery features 4"),
    ],
)
def test_bad_tensors_are_refused(device: str, features: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_sizes(*tensors.open_tensors(torch.eye(3, device=device), features.to(device)))


def test_a_limit_that_the_sets_of_neighbours_pass_is_refused(device: str) -> None:
    sides = tensors.open_tensors(torch.eye(3, device=device), torch.eye(3, device=device))
    with pytest.raises(InputError, match="the limit is 10 bytes"):
        tensor_reranking.rerank_tensors(*sides, Reranking(), 10)


def test_features_on_two_devices_are_refused() -> None:
    class Elsewhere(torch.Tensor):
        device = torch.device("cuda", 1)

    there = torch.eye(3).as_subclass(Elsewhere)
    with pytest.raises(InputError, match=r"query features are on cpu and gallery .* on cuda:1; .* move either"):
        tensors.are_on_gpu(np.eye(3), there)
    assert tensors.are_on_gpu(there, there)
    assert not tensors.are_on_gpu(torch.eye(3), np.eye(3))


@pytest.fixture
def keep_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("keep_precision")
def test_products_are_full_float32_whatever_the_user_set() -> None:
    torch.set_float32_matmul_precision("medium")
    features = torch.eye(3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16), tensors.on_device(features):
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32
        product = features @ features
        assert (product.dtype, product.requires_grad) == (torch.float32, False)
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch is too old for this")
@pytest.mark.usefixtures("keep_precision")
def test_products_are_full_float32_with_the_newer_settings() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    with tensors.on_device(torch.eye(3)):
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


def test_what_torch_reports_is_a_device_error() -> None:
    failed = pytest.raises(DeviceError, match=r"evaluation on cpu failed: .*; free memory there")
    with failed, tensors.on_device(torch.eye(2)):
        torch.empty(1 << 55)


def test_sums_do_not_depend_on_what_they_are_made_with() -> None:
    random = np.random.default_rng(0)
    rows = torch.from_numpy(np.repeat(random.normal(size=(1, 131)), 70, axis=0))
    side = tensors.TensorSide(rows.float(), torch.full((70,), 0.7, dtype=torch.float64), torch.arange(70))
    pairs = torch.arange(70)
    together = tensors.pair_cosines(side, side, pairs, pairs.flip(0))
    assert together.unique().numel() == 1
    assert together[:1] == tensors.pair_cosines(side, side, pairs[:1], pairs[3:4])


def test_a_run_is_compared_where_its_features_are_taken(search: Search) -> None:
    taken = []

    def to_tensor(features: NDArray[np.float32]) -> Any:
        taken.append(features)
        return torch.from_numpy(features)

    sides = [Embeddings(s.features, s.person_ids, s.camera_ids, np.full(len(s.features), "")) for s in search]
    here, there = Run(*sides, {}), Run(*sides, {}, to_device=to_tensor)
    assert evaluate_run(there, Reranking()).to_json() == evaluate_run(here, Reranking()).to_json()
    assert [len(features) for features in taken] == [25, 70, 25, 70]


@gpu
@needs_gpu
class TestOnTheGpu:
    """The public functions, given tensors that are there."""

    def test_evaluate(self, search: Search) -> None:
        assert evaluate(*search.to("cuda")).mAP == pytest.approx(evaluate(*search).mAP, abs=1e-12)

    def test_rerank_stays_there(self, search: Search) -> None:
        there = search.to("cuda")
        result = rerank(there.query.features, there.gallery.features)
        assert result.device == there.query.features.device
        result += 1  # an ordinary tensor
        expected = 1 + rerank(search.query.features, search.gallery.features)
        np.testing.assert_allclose(result.cpu().numpy(), expected, atol=1e-6)

    def test_evaluate_reranked(self, search: Search) -> None:
        there = evaluate_reranked(*search.to("cuda"), Reranking())
        assert there.mAP == pytest.approx(evaluate_reranked(*search, Reranking()).mAP, abs=1e-5)

    def test_expanded_features_go_back(self, search: Search) -> None:
        there = expand(*search.to("cuda"), Expansion(2, 1))
        for side, expected in zip(there, expand(*search, Expansion(2, 1)), strict=True):
            assert side.features.is_cuda
            np.testing.assert_allclose(side.features.cpu().numpy(), expected.features, atol=1e-6)

    def test_two_devices(self, search: Search) -> None:
        with pytest.raises(InputError, match="on cuda:0 and gallery features on cpu"):
            evaluate(search.to("cuda").query, search.gallery)
