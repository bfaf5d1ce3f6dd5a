"""Which images are learnt together: shuffled batches, and batches of P identities with K images each (PK).

An epoch's batches are a function of (seed, epoch) alone, so that a resumed run repeats them;
pytorch-metric-learning's MPerClassSampler draws from NumPy's global state instead.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from runtime.errors import InputError

Key = tuple[int, int, int]
Indices = NDArray[np.int64]


class Batches(Sampler[list[Key]]):
    """One process's share of every batch, as keys; for `DataLoader(batch_sampler=...)`.

    A key is (epoch, index, occurrence): which image it is, and how often the epoch, over all processes, had it before.

    Attributes:
        epoch: to draw the batches of; set it before iterating.
    """

    def __init__(
        self, order: Callable[[np.random.Generator], Indices], steps: int, seed: int, process: int, processes: int
    ) -> None:
        """See `batches`, which makes these.

        Args:
            order: draws an epoch: (steps, global batch size) indices of images.
            steps: batches an epoch.
            seed: of the order.
            process: which part of each batch to give, counted from 0.
            processes: how many parts there are.
        """
        self.epoch = 0
        self._order = order
        self._steps = steps
        self._seed = seed
        self._process = process
        self._processes = processes

    def __len__(self) -> int:
        """Steps an epoch."""
        return self._steps

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        order = self._order(np.random.default_rng((self._seed, epoch)))
        keys = np.stack([order, _occurrences(order)], axis=2)
        for share in np.split(keys, self._processes, axis=1)[self._process]:
            yield [(epoch, index, occurrence) for index, occurrence in share.tolist()]


def batches(
    labels: Indices, batch_size: int, *, images_per_identity: int, seed: int, process: int = 0, processes: int = 1
) -> Batches:
    """The batches to train on.

    With `images_per_identity` 0 an epoch shows every image once, in a shuffled order; images that do not fill a last
    batch are left out (where there are fewer images than a batch has, all of them are the batch).

    With K images per identity a batch is P = `batch_size` / K different identities of K images each:

    * Identities take turns, whatever number of images they have: each comes once before any comes twice. An epoch has
      as many steps as fit into the number of images, or more where it takes more for every identity to come once.
    * An identity's images take turns likewise; where they are fewer than K, some are in a batch more than once.
    * Identities with one image come K at a time, in the place of one identity. So each of them is in a batch once: it
      is told from the others, and no copy of itself is taken for a match. Where fewer than K of them are left over,
      other identities' images fill the place.

    Args:
        labels: (N,) int64 class of each image.
        batch_size: images a step, of all processes together.
        images_per_identity: K, at least 2; or 0.
        seed: of the order.
        process: whose share of each batch to give, counted from 0. Together, in the order of the processes, the shares
            are the batch that a single process would have.
        processes: how many processes share a batch; a PK batch is shared by whole identities.

    Raises:
        InputError: the batch does not divide into K or among the processes, K is 1, a batch or a process's share is of
            a single image or identity, there are fewer identities than a batch has, or none with two images.
    """
    if images_per_identity:
        by_identity = _IdentityOrder(labels, batch_size, images_per_identity)
        _check_shares("identities", by_identity.identities_per_batch, processes)
        return Batches(by_identity, by_identity.steps, seed, process, processes)
    images, size = len(labels), min(batch_size, len(labels))
    _check_shares("images", size, processes)
    steps = images // size

    def order(generator: np.random.Generator) -> Indices:
        return generator.permutation(images)[: steps * size].reshape(steps, size)

    return Batches(order, steps, seed, process, processes)


def _occurrences(order: Indices) -> Indices:
    """How often each index came before, in the order of the steps and of a step's images; shaped as `order`."""
    flat = order.ravel()
    by_index = np.argsort(flat, kind="stable")
    in_order = flat[by_index]
    places = np.arange(len(flat))
    starts = np.where(np.r_[True, in_order[1:] != in_order[:-1]], places, 0)
    before = np.empty_like(flat)
    before[by_index] = places - np.maximum.accumulate(starts)
    return before.reshape(order.shape)


def _check_shares(what: str, count: int, processes: int) -> None:
    if count % processes:
        raise InputError(
            f"a batch of {count} {what} does not divide among {processes} processes; set batch_size so that it does, "
            "or start another number of processes"
        )
    if count < 2 * processes:
        raise InputError(
            f"a batch of {count} {what} leaves one to each of {processes} processes, which cannot learn from one; "
            f"raise batch_size so that each has at least 2 {what}, or start fewer processes"
        )


class _IdentityOrder:
    """Draws epochs of PK batches; see `batches`."""

    def __init__(self, labels: Indices, batch_size: int, images_per_identity: int) -> None:
        self._size = images_per_identity
        self.identities_per_batch = _identities_per_batch(batch_size, images_per_identity)
        images = np.argsort(labels, kind="stable")
        identities = np.split(images, np.flatnonzero(np.diff(labels[images])) + 1)
        self._several = [own for own in identities if len(own) > 1]
        self._alone = np.array([own[0] for own in identities if len(own) == 1], np.int64)
        places = len(self._several) + -(-len(self._alone) // images_per_identity)
        if not self._several:
            raise InputError(
                f"none of {len(identities)} identities has two images, which images_per_identity "
                f"{images_per_identity} needs; set it to 0"
            )
        if places < self.identities_per_batch:
            raise InputError(
                f"a batch of {batch_size} images, {images_per_identity} each, has {self.identities_per_batch} "
                f"identities; there are {places} (identities with one image count {images_per_identity} as one): "
                "lower batch_size, or raise images_per_identity"
            )
        self.steps = max(len(labels) // batch_size, -(-places // self.identities_per_batch))

    def __call__(self, generator: np.random.Generator) -> Indices:
        """(steps, batch size) indices of images."""
        places = [*self._several, *self._shared_places(generator)]
        order = _take_turns(np.arange(len(places)), self.steps, self.identities_per_batch, generator)
        images = np.empty((order.size, self._size), np.int64)
        for place, own in enumerate(places):
            turns = np.flatnonzero(order.ravel() == place)
            images[turns] = _take_turns(own, len(turns), self._size, generator)
        return images.reshape(self.steps, -1)

    def _shared_places(self, generator: np.random.Generator) -> list[Indices]:
        """The identities with one image, K at a time; others' images fill the last place."""
        missing = -len(self._alone) % self._size
        filling = _take_turns(np.concatenate(self._several), 1, missing, generator).ravel()
        return list(np.concatenate([generator.permutation(self._alone), filling]).reshape(-1, self._size))


def _identities_per_batch(batch_size: int, images_per_identity: int) -> int:
    identities, rest = divmod(batch_size, images_per_identity)
    if images_per_identity == 1:
        raise InputError("images_per_identity is 1; expected 0 (shuffled images) or at least 2")
    if rest or identities < 2:
        raise InputError(
            f"batch_size {batch_size} is not {images_per_identity} images each of two or more identities; set it to a "
            f"multiple of images_per_identity, at least {2 * images_per_identity}"
        )
    return identities


def _take_turns(items: Indices, rows: int, size: int, generator: np.random.Generator) -> Indices:
    """(rows, size) of `items`, each once before any is taken twice, and different in a row where there are enough."""
    taken = np.empty((rows, size), np.int64)
    waiting = items[:0]
    for row in taken:
        while len(waiting) < size:
            shuffled = generator.permutation(items)
            again = np.isin(shuffled, waiting)
            waiting = np.concatenate([waiting, shuffled[~again], shuffled[again]])
        row[...], waiting = waiting[:size], waiting[size:]
    return taken
