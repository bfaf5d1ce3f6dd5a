"""What `evaluation.py` measures: our evaluation, the bare matrix products that it needs, and the peers' evaluation.

Every contender starts from float32 features and integer labels in memory. Those that give figures end with them; those
that give a re-ranked matrix end with that. The peers are what their users run: distances by torch, then their evaluator
or their re-ranking, each loaded by itself from a folder that whoever measures has put there. Junk is gone from the
gallery before their time starts, because their data sets never load it; ours leaves it out while its time runs.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from evaluation_features import Problem
from numpy.typing import NDArray

from eval.metrics import Metrics, evaluate, without_junk
from eval.reranking import Reranking, evaluate_reranked, rerank
from runtime.errors import InputError

# Elements of one block of the product of queries and gallery, and rows of one of the product of all pairs.
PRODUCT_ELEMENTS = 2_000_000
PAIRS_ROWS = 1024

Figures = dict[str, float]
Outcome = Figures | NDArray[np.float32] | None
Call = Callable[[], Outcome]


@dataclass(frozen=True)
class Contender:
    """One thing to measure.

    Attributes:
        name: as on the command line and in the results.
        prepare: makes the call to measure from a problem and the peers' folders; its own time is not measured.
        reranks: whether it belongs to re-ranking; otherwise to the metrics alone.
        peer: whose folder it needs; None for ours.
        junk: whether it is given the gallery with its junk.
        flavour: of the re-ranking; results of different flavours are not compared.
    """

    name: str
    prepare: Callable[[Problem, Mapping[str, Path]], Call]
    reranks: bool = False
    peer: str | None = None
    junk: bool = False
    flavour: str = "d2"


def contender_named(name: str) -> Contender:
    """The one called `name`.

    Raises:
        InputError: there is none.
    """
    for contender in CONTENDERS:
        if contender.name == name:
            return contender
    raise InputError(f"no contender is called {name!r}; expected one of {', '.join(one.name for one in CONTENDERS)}")


def problem_for(contender: Contender, problem: Problem) -> Problem:
    """The problem as the contender takes it."""
    return problem if contender.junk else Problem(problem.query, without_junk(problem.gallery))


def figures_of(metrics: Metrics) -> Figures:
    """Those that are compared."""
    return {"rank1": metrics.rank1, "rank10": metrics.rank10, "mAP": metrics.mAP, "mINP": metrics.mINP}


def product_flop(problem: Problem) -> float:
    """Of the product of queries and gallery, an addition and a multiplication counted as two."""
    return float(2 * len(problem.query) * len(problem.gallery) * problem.query.features.shape[1])


def pairs_flop(problem: Problem) -> float:
    """Of the product of all pairs by blocks of rows, from the diagonal block to the right."""
    images, elements = len(problem.query) + len(problem.gallery), problem.query.features.shape[1]
    starts = range(0, images, PAIRS_ROWS)
    return float(sum(2 * elements * min(PAIRS_ROWS, images - start) * (images - start) for start in starts))


def _metrics(problem: Problem, folders: Mapping[str, Path]) -> Call:
    return lambda: figures_of(evaluate(problem.query, problem.gallery))


def _rerank(problem: Problem, folders: Mapping[str, Path]) -> Call:
    return lambda: rerank(problem.query.features, problem.gallery.features)


def _rerank_metrics(problem: Problem, folders: Mapping[str, Path]) -> Call:
    return lambda: figures_of(evaluate_reranked(problem.query, problem.gallery, Reranking()))


def _product(problem: Problem, folders: Mapping[str, Path]) -> Call:
    queries, gallery = problem.query.features, problem.gallery.features
    rows = max(1, PRODUCT_ELEMENTS // len(gallery))

    def call() -> None:
        block = np.empty((min(rows, len(queries)), len(gallery)), np.float32)
        for start in range(0, len(queries), rows):
            part = queries[start : start + rows]
            np.matmul(part, gallery.T, out=block[: len(part)])

    return call


def _pairs_product(problem: Problem, folders: Mapping[str, Path]) -> Call:
    features = np.concatenate([problem.query.features, problem.gallery.features])

    def call() -> None:
        block = np.empty(PAIRS_ROWS * len(features), np.float32)
        for start in range(0, len(features), PAIRS_ROWS):
            left, right = features[start : start + PAIRS_ROWS], features[start:]
            np.matmul(left, right.T, out=block[: len(left) * len(right)].reshape(len(left), len(right)))

    return call


def _torchreid_metrics(problem: Problem, folders: Mapping[str, Path]) -> Call:
    metrics = folders["torchreid"] / "torchreid" / "metrics"
    distances, ranks = _module(metrics / "distance.py"), _compiled(metrics / "rank_cylib")
    query, gallery = _tensors(problem)

    def call() -> Figures:
        matrix = distances.compute_distance_matrix(query, gallery, "cosine").numpy()
        cmc, mean_precision = ranks.evaluate_cy(matrix, *_labels(problem), 50)
        return _peer_figures(cmc, mean_precision)

    return call


def _torchreid_rerank(problem: Problem, folders: Mapping[str, Path]) -> Call:
    package = folders["torchreid"] / "torchreid"
    distances, reranking = _module(package / "metrics" / "distance.py"), _module(package / "utils" / "rerank.py")
    query, gallery = _tensors(problem)

    def call() -> NDArray[np.float32]:
        pairs = ((query, gallery), (query, query), (gallery, gallery))
        matrices = [distances.compute_distance_matrix(*pair, "cosine").numpy() for pair in pairs]
        return np.asarray(reranking.re_ranking(*matrices))

    return call


def _fast_reid_metrics(problem: Problem, folders: Mapping[str, Path]) -> Call:
    ranks = _compiled(folders["fast-reid"] / "fastreid" / "evaluation" / "rank_cylib")
    query, gallery = _tensors(problem)

    def call() -> Figures:
        matrix = _cosine_distances(query, gallery)
        cmc, precisions, penalties = ranks.evaluate_cy(matrix, *_labels(problem), 50)
        return _peer_figures(cmc, np.mean(precisions)) | {"mINP": float(np.mean(penalties))}

    return call


def _fast_reid_rerank(problem: Problem, folders: Mapping[str, Path]) -> Call:
    reranking = _module(folders["fast-reid"] / "fastreid" / "evaluation" / "rerank.py")
    query, gallery = _tensors(problem)

    def call() -> NDArray[np.float32]:
        pairs = ((query, gallery), (query, query), (gallery, gallery))
        return np.asarray(reranking.re_ranking(*(_cosine_distances(*pair) for pair in pairs)))

    return call


def _transreid_metrics(problem: Problem, folders: Mapping[str, Path]) -> Call:
    metrics = _transreid(folders)
    query, gallery = _tensors(problem)

    def call() -> Figures:
        return _peer_figures(*metrics.eval_func(metrics.euclidean_distance(query, gallery), *_labels(problem)))

    return call


def _transreid_rerank(problem: Problem, folders: Mapping[str, Path]) -> Call:
    metrics = _transreid(folders)
    query, gallery = _tensors(problem)
    return lambda: np.asarray(metrics.re_ranking(query, gallery, k1=20, k2=6, lambda_value=0.3))


def _transreid(folders: Mapping[str, Path]) -> ModuleType:
    # Its metrics import its package `utils` by that name.
    sys.path.insert(0, str(folders["transreid"]))
    return importlib.import_module("utils.metrics")


def _cosine_distances(left: Any, right: Any) -> NDArray[np.float32]:
    """As fast-reid computes them; its own module also imports FAISS, which not everybody has."""
    from torch.nn.functional import normalize

    return np.asarray((1 - normalize(left, dim=1) @ normalize(right, dim=1).T).numpy())


def _tensors(problem: Problem) -> tuple[Any, Any]:
    """The features as torch tensors, on the same memory."""
    import torch

    return torch.from_numpy(problem.query.features), torch.from_numpy(problem.gallery.features)


def _labels(problem: Problem) -> tuple[NDArray[np.int64], ...]:
    query, gallery = problem.query, problem.gallery
    return query.person_ids, gallery.person_ids, query.camera_ids, gallery.camera_ids


def _peer_figures(cmc: NDArray[np.floating], mean_precision: float) -> Figures:
    return {"rank1": float(cmc[0]), "rank10": float(cmc[9]), "mAP": float(mean_precision)}


def _compiled(folder: Path) -> ModuleType:
    extensions = sorted(folder.glob("rank_cy.*.so"))
    if not extensions:
        raise InputError(f"{folder} holds no compiled rank_cy; run `python setup.py build_ext --inplace` there")
    return _module(extensions[0])


def _module(path: Path) -> ModuleType:
    """Load one file of a peer without its package, whose imports are many."""
    name = path.name.partition(".")[0]
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None or not path.exists():
        raise InputError(f"{path} does not exist; expected a checkout of the peer's repository")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


CONTENDERS = (
    Contender("product", _product),
    Contender("metrics", _metrics, junk=True),
    Contender("torchreid-metrics", _torchreid_metrics, peer="torchreid"),
    Contender("fast-reid-metrics", _fast_reid_metrics, peer="fast-reid"),
    Contender("transreid-metrics", _transreid_metrics, peer="transreid"),
    Contender("pairs-product", _pairs_product, reranks=True),
    Contender("rerank", _rerank, reranks=True),
    Contender("rerank-metrics", _rerank_metrics, reranks=True, junk=True),
    Contender("torchreid-rerank", _torchreid_rerank, reranks=True, peer="torchreid"),
    Contender("fast-reid-rerank", _fast_reid_rerank, reranks=True, peer="fast-reid"),
    Contender("transreid-rerank", _transreid_rerank, reranks=True, peer="transreid", flavour="d1"),
)
