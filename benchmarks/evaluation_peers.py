"""The evaluation of other toolboxes, each as its users run it, from checkouts whose folders are given.

Distances by torch, then their evaluator or their re-ranking. Each file is loaded by itself, because the packages import
far more than evaluation needs.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from evaluation_features import Problem
from numpy.typing import NDArray

from runtime.errors import InputError

Figures = dict[str, float]
Outcome = Figures | NDArray[np.float32] | None
Call = Callable[[], Outcome]
Folders = Mapping[str, Path]


def torchreid_metrics(problem: Problem, folders: Folders) -> Call:
    """Cython CMC and mAP."""
    metrics = folders["torchreid"] / "torchreid" / "metrics"
    distances, ranks = _module(metrics / "distance.py"), _compiled(metrics / "rank_cylib")
    query, gallery = _tensors(problem)

    def call() -> Figures:
        matrix = distances.compute_distance_matrix(query, gallery, "cosine").numpy()
        cmc, mean_precision = ranks.evaluate_cy(matrix, *_labels(problem), 50)
        return _peer_figures(cmc, mean_precision)

    return call


def torchreid_rerank(problem: Problem, folders: Folders) -> Call:
    """Flavour d2."""
    package = folders["torchreid"] / "torchreid"
    distances, reranking = _module(package / "metrics" / "distance.py"), _module(package / "utils" / "rerank.py")
    query, gallery = _tensors(problem)

    def call() -> NDArray[np.float32]:
        pairs = ((query, gallery), (query, query), (gallery, gallery))
        matrices = [distances.compute_distance_matrix(*pair, "cosine").numpy() for pair in pairs]
        return np.asarray(reranking.re_ranking(*matrices))

    return call


def fast_reid_metrics(problem: Problem, folders: Folders) -> Call:
    """Cython CMC, mAP and mINP."""
    ranks = _compiled(folders["fast-reid"] / "fastreid" / "evaluation" / "rank_cylib")
    query, gallery = _tensors(problem)

    def call() -> Figures:
        matrix = _cosine_distances(query, gallery)
        cmc, precisions, penalties = ranks.evaluate_cy(matrix, *_labels(problem), 50)
        return _peer_figures(cmc, np.mean(precisions)) | {"mINP": float(np.mean(penalties))}

    return call


def fast_reid_rerank(problem: Problem, folders: Folders) -> Call:
    """Flavour d2; its trainer runs another formula, on FAISS."""
    reranking = _module(folders["fast-reid"] / "fastreid" / "evaluation" / "rerank.py")
    query, gallery = _tensors(problem)

    def call() -> NDArray[np.float32]:
        pairs = ((query, gallery), (query, query), (gallery, gallery))
        return np.asarray(reranking.re_ranking(*(_cosine_distances(*pair) for pair in pairs)))

    return call


def transreid_metrics(problem: Problem, folders: Folders) -> Call:
    """NumPy CMC and mAP."""
    metrics = _transreid(folders)
    query, gallery = _tensors(problem)

    def call() -> Figures:
        return _peer_figures(*metrics.eval_func(metrics.euclidean_distance(query, gallery), *_labels(problem)))

    return call


def transreid_rerank(problem: Problem, folders: Folders) -> Call:
    """Flavour d1, in float16 for the most part."""
    metrics = _transreid(folders)
    query, gallery = _tensors(problem)
    return lambda: np.asarray(metrics.re_ranking(query, gallery, k1=20, k2=6, lambda_value=0.3))


def _transreid(folders: Folders) -> ModuleType:
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
