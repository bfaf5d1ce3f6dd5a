"""What a model found: for some queries the first images of the gallery, in the order that the figures are made of."""

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.embeddings import DISTRACTOR, Embeddings
from runtime.errors import InputError

from .evaluation import Evaluation
from .features import open_side, without_junk
from .kernels import Lists, Side, pair_cosines
from .metrics import PerQuery
from .threads import Threads

Reason = Literal["worst", "best", "random", "asked for"]


@dataclass(frozen=True)
class Choice:
    """A query to look at: its row, and why it was chosen."""

    row: int
    reason: Reason


@dataclass(frozen=True)
class Found:
    """A gallery image in a rank list.

    Attributes:
        name: as in the data set.
        person_id: 0 distractor, else a person.
        camera_id: who took it.
        cosine: similarity to the query, in -1..1.
        right: whether it shows the query's person.
    """

    name: str
    person_id: int
    camera_id: int
    cosine: float
    right: bool


@dataclass(frozen=True)
class RankList:
    """A query and the first images of the gallery for it; junk and what its own camera saw of its person are left out.

    Attributes:
        name: of the query.
        person_id: its person.
        camera_id: who took it.
        reason: why it was chosen.
        average_precision: in (0, 1]; None where the gallery has no match.
        first_match: rank of the first match, from 1, also beyond the list; None likewise.
        found: from the first rank on.
    """

    name: str
    person_id: int
    camera_id: int
    reason: Reason
    average_precision: float | None
    first_match: int | None
    found: tuple[Found, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON writes it."""
        return asdict(self)


def choose_queries(per_query: PerQuery, count: int, seed: int) -> tuple[Choice, ...]:
    """The queries with the lowest and the highest average precision, and some of the others by chance.

    Queries without a match are left out, and none is chosen twice. Of equal ones the first comes first.

    Args:
        per_query: results of an evaluation.
        count: how many of each kind; there are fewer where there are not enough queries.
        seed: of the chance.
    """
    ordered = sorted(np.flatnonzero(per_query.valid).tolist(), key=lambda row: per_query.average_precision[row])
    worst = ordered[:count]
    best = sorted(ordered[count:], key=lambda row: -per_query.average_precision[row])[:count]
    others = sorted(set(ordered) - {*worst, *best})
    drawn = np.random.default_rng(seed).permutation(others)[:count].tolist() if others else []
    kinds: tuple[tuple[Reason, list[int]], ...] = (("worst", worst), ("best", best), ("random", drawn))
    return tuple(Choice(int(row), reason) for reason, rows in kinds for row in rows)


def find_queries(names: Sequence[str], query: Embeddings) -> tuple[Choice, ...]:
    """The queries of these names, in their order and each once.

    Args:
        names: paths inside the data set, or their last parts.
        query: embeddings of all queries.

    Raises:
        InputError: a name is that of no query, or of more than one.
    """
    known = query.names.tolist()
    return tuple(Choice(row, "asked for") for row in dict.fromkeys(_row(name, known) for name in names))


def rank_lists(evaluation: Evaluation, choices: Sequence[Choice], top: int) -> tuple[RankList, ...]:
    """Order the gallery for some queries, by the distances and the rule for ties of the evaluation.

    Args:
        evaluation: of a run, by cosine distance.
        choices: at least one query of that run.
        top: how many images of the gallery to list, at least 1.
    """
    query, gallery = evaluation.run.query, evaluation.run.gallery
    rows = np.array([choice.row for choice in choices], np.int64)
    candidates = _candidates(query, gallery, rows)
    cosines = _cosines(query.features[rows], gallery.features, candidates)
    return tuple(
        _rank_list(evaluation, choice, candidates.positions[start:stop], cosines[start:stop], top)
        for choice, start, stop in zip(choices, candidates.starts[:-1], candidates.starts[1:], strict=True)
    )


def _candidates(query: Embeddings, gallery: Embeddings, rows: NDArray[np.int64]) -> Lists:
    """Gallery rows that are neither junk nor the query's person under the query's camera; a distractor is no person."""
    kept = without_junk(gallery)
    person, camera = gallery.person_ids[kept], gallery.camera_ids[kept]
    nobody = query.person_ids <= DISTRACTOR
    lists = [kept[nobody[row] | (person != query.person_ids[row]) | (camera != query.camera_ids[row])] for row in rows]
    return Lists(np.cumsum([0, *map(len, lists)]), np.concatenate(lists))


def _cosines(query: NDArray[np.float32], gallery: NDArray[np.float32], candidates: Lists) -> NDArray[np.float64]:
    """Of each candidate, in float64 and as the evaluation computes those that are near each other."""
    owners = np.repeat(np.arange(len(query)), np.diff(candidates.starts))
    cosines = np.empty(len(owners))
    with Threads(len(owners)) as threads:
        sides: tuple[Side, Side] = open_side("query", query, threads), open_side("gallery", gallery, threads)
        threads.run(pair_cosines, len(owners), *sides, owners, candidates.positions, cosines)
    return cosines


def _rank_list(
    evaluation: Evaluation, choice: Choice, rows: NDArray[np.int64], cosines: NDArray[np.float64], top: int
) -> RankList:
    query, gallery, per_query = evaluation.run.query, evaluation.run.gallery, evaluation.metrics.per_query
    person = int(query.person_ids[choice.row])
    order = np.argsort(np.maximum(1 - cosines, 0), kind="stable")[:top]
    found = tuple(
        Found(
            str(gallery.names[row]),
            int(gallery.person_ids[row]),
            int(gallery.camera_ids[row]),
            float(cosine),
            int(gallery.person_ids[row]) == person and person > DISTRACTOR,
        )
        for row, cosine in zip(rows[order], cosines[order], strict=True)
    )
    valid = bool(per_query.valid[choice.row])
    return RankList(
        str(query.names[choice.row]),
        person,
        int(query.camera_ids[choice.row]),
        choice.reason,
        float(per_query.average_precision[choice.row]) if valid else None,
        int(per_query.first_match[choice.row]) if valid else None,
        found,
    )


def _row(name: str, names: Sequence[str]) -> int:
    rows = [row for row, each in enumerate(names) if name in (each, each.rpartition("/")[2])]
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise InputError(f"{len(rows)} queries are called {name!r}; give one's path, e.g. {names[rows[0]]}")
    known = [each.rpartition("/")[2] for each in names]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0)
    raise InputError(f"no query is called {name!r}; the nearest of {len(names):,} is {near[0] if near else names[0]!r}")
