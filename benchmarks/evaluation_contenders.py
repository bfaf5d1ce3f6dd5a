"""What `evaluation.py` measures: our evaluation, the bare matrix products that it needs, and the peers' evaluation.

Every contender starts from float32 features and integer labels in memory. Those that give figures end with them; those
that give a re-ranked matrix end with that. Junk is gone from the gallery before a peer's time starts, because its data
sets never load it; ours leaves it out while its time runs. What measures a peer imports none of ours before it has been
measured, nor the other way round.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import evaluation_peers
import numpy as np
from evaluation_features import Problem
from evaluation_peers import Call, Figures, Folders

from runtime.errors import InputError

if TYPE_CHECKING:
    from eval.metrics import Metrics

# Queries by gallery images in one tile of their product, as our metrics have it, and rows of a block of all pairs.
PRODUCT_TILE = 4096, 1024
PAIRS_ROWS = 1024


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
    prepare: Callable[[Problem, Folders], Call]
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
    return problem if contender.junk else problem.without_junk()


def figures_of(metrics: "Metrics") -> Figures:
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


def _metrics(problem: Problem, folders: Folders) -> Call:
    from eval.metrics import evaluate

    return lambda: figures_of(evaluate(problem.query, problem.gallery))


def _rerank(problem: Problem, folders: Folders) -> Call:
    from eval.reranking import rerank

    return lambda: rerank(problem.query.features, problem.gallery.features)


def _rerank_metrics(problem: Problem, folders: Folders) -> Call:
    from eval.reranking import Reranking, evaluate_reranked

    return lambda: figures_of(evaluate_reranked(problem.query, problem.gallery, Reranking()))


def _product(problem: Problem, folders: Folders) -> Call:
    queries, gallery = problem.query.features, problem.gallery.features
    rows, columns = min(PRODUCT_TILE[0], len(queries)), min(PRODUCT_TILE[1], len(gallery))

    def call() -> None:
        buffer = np.empty(rows * columns, np.float32)
        for first_query, first in product(range(0, len(queries), rows), range(0, len(gallery), columns)):
            left, right = queries[first_query : first_query + rows], gallery[first : first + columns]
            np.matmul(left, right.T, out=buffer[: len(left) * len(right)].reshape(len(left), len(right)))

    return call


def _pairs_product(problem: Problem, folders: Folders) -> Call:
    features = np.concatenate([problem.query.features, problem.gallery.features])

    def call() -> None:
        buffer = np.empty(PAIRS_ROWS * len(features), np.float32)
        for start in range(0, len(features), PAIRS_ROWS):
            left, right = features[start : start + PAIRS_ROWS], features[start:]
            np.matmul(left, right.T, out=buffer[: len(left) * len(right)].reshape(len(left), len(right)))

    return call


CONTENDERS = (
    Contender("product", _product),
    Contender("metrics", _metrics, junk=True),
    Contender("torchreid-metrics", evaluation_peers.torchreid_metrics, peer="torchreid"),
    Contender("fast-reid-metrics", evaluation_peers.fast_reid_metrics, peer="fast-reid"),
    Contender("transreid-metrics", evaluation_peers.transreid_metrics, peer="transreid"),
    Contender("pairs-product", _pairs_product, reranks=True),
    Contender("rerank", _rerank, reranks=True),
    Contender("rerank-metrics", _rerank_metrics, reranks=True, junk=True),
    Contender("torchreid-rerank", evaluation_peers.torchreid_rerank, reranks=True, peer="torchreid"),
    Contender("fast-reid-rerank", evaluation_peers.fast_reid_rerank, reranks=True, peer="fast-reid"),
    Contender("transreid-rerank", evaluation_peers.transreid_rerank, reranks=True, peer="transreid", flavour="d1"),
)
