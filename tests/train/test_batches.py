from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import InputError
from train.batches import batches

# Images of each identity: as uneven as real ones, two with fewer than four.
IMAGES = (10, 3, 6, 2, 17, 4, 9, 5)
LABELS = np.repeat(np.arange(len(IMAGES)), IMAGES)


def epoch_of(labels: np.ndarray, batch_size: int, epoch: int = 0, **options: int) -> list[list[int]]:
    """The indices of an epoch's batches."""
    made = batches(labels, batch_size, **{"images_per_identity": 0, "seed": 0} | options)
    made.epoch = epoch
    drawn = list(made)
    assert {key[0] for batch in drawn for key in batch} == {epoch}
    assert len(drawn) == len(made)
    return [[index for _, index, _ in batch] for batch in drawn]


def test_shuffled_batches_show_every_image_once_and_drop_the_last_incomplete_one() -> None:
    drawn = epoch_of(LABELS, 9)
    assert [len(batch) for batch in drawn] == [9] * (56 // 9)
    assert len({index for batch in drawn for index in batch}) == 54


def test_the_shuffled_order_is_that_of_earlier_runs() -> None:
    """Their order by numpy, and one that the code of the first version gave."""
    expected = np.random.default_rng((3, 7)).permutation(56)[:48].reshape(3, 16)
    assert epoch_of(LABELS, 16, epoch=7, seed=3) == expected.tolist()
    assert epoch_of(np.zeros(11, np.int64), 11, epoch=2, seed=5) == [[4, 2, 5, 6, 0, 3, 9, 8, 10, 1, 7]]


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    (batch,) = epoch_of(LABELS, 64)
    assert sorted(batch) == list(range(56))


@pytest.mark.parametrize("images_per_identity", [0, 2])
def test_batches_depend_on_seed_and_epoch_only(images_per_identity: int) -> None:
    first = [epoch_of(LABELS, 8, epoch, images_per_identity=images_per_identity) for epoch in range(3)]
    again = [epoch_of(LABELS, 8, epoch, images_per_identity=images_per_identity) for epoch in reversed(range(3))]
    assert again[::-1] == first
    assert first[0] != first[1]
    assert first[0] != epoch_of(LABELS, 8, 0, images_per_identity=images_per_identity, seed=1)


@given(
    st.lists(st.integers(2, 12), min_size=4, max_size=15), st.integers(2, 4), st.integers(2, 5), st.integers(0, 2**32)
)
@settings(max_examples=60, deadline=None)
def test_a_batch_has_p_identities_and_an_epoch_has_all(
    images: list[int], identities_per_batch: int, images_per_identity: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(images)), images))
    batch_size = identities_per_batch * images_per_identity
    drawn = epoch_of(labels, batch_size, images_per_identity=images_per_identity, seed=seed)
    for batch in drawn:
        groups = labels[batch].reshape(identities_per_batch, images_per_identity)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0])) == identities_per_batch
        for group in np.reshape(batch, groups.shape):
            assert len(set(group)) == min(images_per_identity, images[labels[group[0]]])
    turns = Counter(labels[np.ravel(drawn)])
    assert turns.keys() == set(range(len(images)))
    assert max(turns.values()) - min(turns.values()) <= images_per_identity
    least = -(-len(images) // identities_per_batch)
    assert len(drawn) == max(len(labels) // batch_size, least)


def test_an_identitys_images_take_turns() -> None:
    labels = np.repeat([0, 1], [50, 30])
    shown = Counter(np.ravel(epoch_of(labels, 8, images_per_identity=4)).tolist())
    assert Counter(shown[index] for index in range(50)) == {1: 40, 0: 10}
    assert Counter(shown[index] for index in range(50, 80)) == {1: 20, 2: 10}


def test_an_identity_with_one_image_has_no_copy_of_itself_in_a_batch() -> None:
    """So no loss can take it for its own positive; it is there to be told from the others."""
    several, alone = range(4), range(4, 15)
    labels = np.repeat(np.arange(15), [6, 5, 4, 7] + [1] * len(alone))
    for epoch in range(5):
        drawn = epoch_of(labels, 12, epoch, images_per_identity=4)
        assert set(labels[np.ravel(drawn)]) == {*several, *alone}
        for batch in drawn:
            people = Counter(labels[batch].tolist())
            assert all(people[person] <= 1 for person in alone)
            # The eleven come four at a time; somebody else's image fills the last place of three.
            fillers = sum(people[person] % 4 for person in several)
            assert fillers <= 1
            assert (sum(people[person] for person in alone) + fillers) % 4 == 0


def test_a_single_identity_with_one_image_is_seen_once_in_a_batch() -> None:
    labels = np.repeat(np.arange(3), [2, 2, 1])
    drawn = epoch_of(labels, 8, images_per_identity=4)
    assert len(drawn) == 2
    for batch in drawn:
        assert len(batch) == 8
        assert batch.count(4) <= 1
    assert any(4 in batch for batch in drawn)


@pytest.mark.parametrize("images_per_identity", [0, 2])
@pytest.mark.parametrize("processes", [2, 4])
def test_the_processes_shares_are_one_processs_batches(images_per_identity: int, processes: int) -> None:
    whole = epoch_of(LABELS, 16, 5, images_per_identity=images_per_identity)
    shares = [
        epoch_of(LABELS, 16, 5, images_per_identity=images_per_identity, process=process, processes=processes)
        for process in range(processes)
    ]
    assert {len(batch) for share in shares for batch in share} == {16 // processes}
    assert [[*chain(*parts)] for parts in zip(*shares, strict=True)] == whole


@pytest.mark.parametrize("processes", [1, 2])
def test_a_key_counts_how_often_the_epoch_had_the_image_before(processes: int) -> None:
    """In all processes together: none of them shows what another one did."""
    shares = [
        list(batches(LABELS, 16, images_per_identity=4, seed=0, process=process, processes=processes))
        for process in range(processes)
    ]
    had: Counter[int] = Counter()
    for parts in zip(*shares, strict=True):
        for _, index, occurrence in chain(*parts):
            assert occurrence == had[index]
            had[index] += 1
    assert max(had.values()) > 1


@pytest.mark.parametrize(
    ("batch_size", "options", "message"),
    [
        (9, {"processes": 2}, "9 images does not divide among 2"),
        (64, {"processes": 3}, "56 images does not divide among 3"),
        (12, {"images_per_identity": 4, "processes": 2}, "3 identities does not divide among 2"),
        (4, {"processes": 4}, "4 images leaves one to each of 4 processes.*raise batch_size"),
        (16, {"images_per_identity": 4, "processes": 4}, "4 identities leaves one to each of 4.*at least 2 identities"),
        (10, {"images_per_identity": 4}, "batch_size 10 is not 4 images each"),
        (4, {"images_per_identity": 4}, "multiple of images_per_identity, at least 8"),
        (8, {"images_per_identity": 1}, "images_per_identity is 1"),
        (36, {"images_per_identity": 4}, "has 9 identities; there are 8"),
    ],
)
def test_batches_that_do_not_come_out_are_refused(batch_size: int, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        batches(LABELS, batch_size, **{"images_per_identity": 0, "seed": 0} | options)


def test_identities_of_one_image_only_are_refused_in_batches_by_identity() -> None:
    with pytest.raises(InputError, match="none of 20 identities has two images"):
        batches(np.arange(20), 8, images_per_identity=4, seed=0)
