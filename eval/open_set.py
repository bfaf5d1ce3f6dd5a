"""The open-set threshold: from which cosine on the nearest entry of a gallery is taken to be the person.

In the terms of biometrics: the false positive identification rate of a one-to-many search with an answer of one.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError

_BLOCK = 512

# 0.29 * 100 is a little less than 29 in floats, and 1 / (1 / 49) more than 49.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class OpenSet:
    """A threshold and what it does to the embeddings that it was chosen with.

    Attributes:
        threshold: cosine similarity from which on a person is accepted.
        false_accept_rate: share of strangers that reach it, at most the one asked for; 0 to 1.
        strangers: how many there were: each query, compared with everybody else's entries.
        identification_rate: share of queries of people in the gallery whose nearest entry is theirs and reaches it;
            NaN where there are none.
        known: how many those were.
    """

    threshold: float
    false_accept_rate: float
    strangers: int
    identification_rate: float
    known: int


def choose_threshold(
    features: NDArray[np.float32],
    person_ids: NDArray[np.int64],
    gallery: NDArray[np.float32],
    gallery_ids: NDArray[np.int64],
    false_accept_rate: float,
    *,
    same: bool = False,
) -> OpenSet:
    """The lowest threshold that at most a given share of strangers reaches.

    A stranger is a query without the entries of its own person: what would its nearest entry's score be, were the
    person not in the gallery? The threshold belongs to this gallery, or to one of its size: among more entries there is
    always a nearer one.

    Args:
        features: (Q, D) of length 1.
        person_ids: (Q,) of known people.
        gallery: (G, D) of length 1.
        gallery_ids: (G,).
        false_accept_rate: in (0, 1).
        same: the queries are the gallery's entries in their order: an entry is not compared with itself.

    Raises:
        InputError: the rate is out of range, a query has nobody else to be mistaken for, or the strangers are too few
            to tell such a rate.
    """
    if not 0 < false_accept_rate < 1:
        raise InputError(f"the false accept rate is {false_accept_rate}; expected a number between 0 and 1")
    if (needed := math.ceil(1 / false_accept_rate - _ROUNDING)) > len(features):
        raise InputError(
            f"{len(features)} queries cannot tell a false accept rate of {false_accept_rate}; give at least {needed}, "
            "or a larger rate"
        )
    strangers, own = _best_scores(features, person_ids, gallery, gallery_ids, same)
    if np.isneginf(strangers).any():
        raise InputError("the gallery holds nobody but the person of a query; expected entries of at least two people")
    threshold = _lowest(strangers, false_accept_rate)
    known = ~np.isneginf(own)
    right = (own > strangers) & (own >= threshold)
    return OpenSet(
        threshold=threshold,
        false_accept_rate=float((strangers >= threshold).mean()),
        strangers=len(strangers),
        identification_rate=float(right[known].mean()) if known.any() else math.nan,
        known=int(known.sum()),
    )


def _lowest(strangers: NDArray[np.float32], rate: float) -> float:
    """The smallest float32 that at most this share of the scores reaches."""
    allowed = math.floor(rate * len(strangers) + _ROUNDING)
    first_refused = np.sort(strangers)[::-1][allowed]
    return float(np.nextafter(first_refused, np.float32(np.inf), dtype=np.float32))


def _best_scores(
    features: NDArray[np.float32],
    person_ids: NDArray[np.int64],
    gallery: NDArray[np.float32],
    gallery_ids: NDArray[np.int64],
    same: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of each query the best score among everybody else's entries, and among its person's; -inf for none."""
    strangers, own = (np.empty(len(features), np.float32) for _ in range(2))
    for start in range(0, len(features), _BLOCK):
        rows = slice(start, start + _BLOCK)
        scores = features[rows] @ gallery.T
        mates = person_ids[rows, None] == gallery_ids
        strangers[rows] = np.where(mates, -np.inf, scores).max(axis=1)
        if same:
            count = len(scores)
            mates[np.arange(count), np.arange(start, start + count)] = False
        own[rows] = np.where(mates, scores, -np.inf).max(axis=1)
    return strangers, own
