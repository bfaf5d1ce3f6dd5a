"""Rank lists: which queries are shown, and the order of the gallery against the definitions, one step at a time."""

import numpy as np
import pytest
from numpy.typing import NDArray

from eval.evaluation import Evaluation, Run, evaluate_run
from eval.metrics import PerQuery
from eval.picture_page import Picture, Section, render_page
from eval.rank_lists import Choice, Found, choose_queries, find_queries, rank_lists
from eval.rank_pictures import FRAME, GAP, IMAGE_HEIGHT, IMAGE_WIDTH, QUERY, RIGHT, WRONG, caption, draw_rank_list
from runtime.embeddings import Embeddings
from runtime.errors import InputError

QUERIES, GALLERY, TOP = 12, 60, 10


def embeddings(random: np.random.Generator, rows: int, folder: str, persons: tuple[int, int]) -> Embeddings:
    features = random.normal(size=(rows, 6)).astype(np.float32)
    features[rows // 2 :] = features[: rows - rows // 2]  # exact ties
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    names = np.array([f"{folder}/{row:03d}.jpg" for row in range(rows)], np.str_)
    return Embeddings(features, random.integers(*persons, rows), random.integers(1, 4, rows), names)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    random = np.random.default_rng(8)
    query = embeddings(random, QUERIES, "query", (1, 5))
    return evaluate_run(Run(query, embeddings(random, GALLERY, "gallery", (-1, 6)), {"data": "made up"}))


def expected_rows(evaluation: Evaluation, row: int) -> list[int]:
    """Gallery rows by float64 distance; junk and the query's person under its own camera are left out."""
    query, gallery = evaluation.run.query, evaluation.run.gallery
    wanted = query.features[row].astype(np.float64)
    person, camera = query.person_ids[row], query.camera_ids[row]
    candidates = []
    for place in range(len(gallery.names)):
        itself = gallery.person_ids[place] == person and gallery.camera_ids[place] == camera
        if gallery.person_ids[place] != -1 and not itself:
            other = gallery.features[place].astype(np.float64)
            cosine = sum(wanted * other) / np.sqrt(sum(wanted**2) * sum(other**2))
            candidates.append((round(1 - cosine, 12), place))
    return [place for _, place in sorted(candidates)]


def test_lists_are_in_the_order_that_the_definitions_give(evaluation: Evaluation) -> None:
    gallery = evaluation.run.gallery
    lists = rank_lists(evaluation, [Choice(row, "random") for row in range(QUERIES)], TOP)
    for row, ranked in enumerate(lists):
        rows = expected_rows(evaluation, row)
        assert [found.name for found in ranked.found] == gallery.names[rows[:TOP]].tolist()
        right = [bool(gallery.person_ids[place] == ranked.person_id) for place in rows]
        assert [found.right for found in ranked.found] == right[:TOP]
        assert ranked.first_match == right.index(True) + 1
        precisions = [sum(right[:rank]) / rank for rank in range(1, len(right) + 1) if right[rank - 1]]
        assert ranked.average_precision == pytest.approx(sum(precisions) / len(precisions))


def test_a_query_without_a_match_is_listed_when_asked_for(evaluation: Evaluation) -> None:
    gallery = evaluation.run.gallery
    stranger = Embeddings(
        evaluation.run.query.features[:2], np.array([99, 2]), np.array([1, 1]), np.array(["a.jpg", "b.jpg"])
    )
    [ranked] = rank_lists(evaluate_run(Run(stranger, gallery, {})), [Choice(0, "asked for")], 3)
    assert (ranked.average_precision, ranked.first_match) == (None, None)
    assert not any(found.right for found in ranked.found)


def test_a_distractor_asked_for_is_nobody_and_leaves_no_other_distractor_out(evaluation: Evaluation) -> None:
    gallery = evaluation.run.gallery
    features = gallery.features[gallery.person_ids == 0][:1]
    camera = gallery.camera_ids[gallery.person_ids == 0][0]
    query = Embeddings(
        np.concatenate([features, evaluation.run.query.features[:1]]),
        np.array([0, 2]),
        np.array([camera, 1]),
        np.array(["a.jpg", "b.jpg"]),
    )
    result = evaluate_run(Run(query, gallery, {}))
    [ranked] = rank_lists(result, [Choice(0, "asked for")], 1)
    nearest = np.flatnonzero(gallery.person_ids != -1)[result.metrics.per_query.nearest[0]]
    assert ranked.found[0].name == gallery.names[nearest]
    assert (ranked.found[0].person_id, ranked.found[0].camera_id, ranked.found[0].right) == (0, camera, False)
    assert ranked.found[0].cosine == pytest.approx(1)


def per_query(precisions: list[float]) -> PerQuery:
    values = np.array(precisions)
    valid = ~np.isnan(values)
    zeros = np.zeros(len(values), np.int64)
    return PerQuery(valid, values, values, zeros, zeros)


def test_the_worst_the_best_and_others_are_chosen_once_each() -> None:
    results = per_query([0.5, np.nan, 0.1, 0.9, 0.5, 0.1, 0.7, 0.9, 0.3])
    chosen = choose_queries(results, 2, seed=3)
    assert [(choice.row, choice.reason) for choice in chosen[:4]] == [
        (2, "worst"),
        (5, "worst"),
        (3, "best"),
        (7, "best"),
    ]
    assert {choice.row for choice in chosen[4:]} < {0, 4, 6, 8}
    assert chosen == choose_queries(results, 2, seed=3)
    assert len({choose_queries(results, 2, seed)[4:] for seed in range(20)}) > 1
    few = choose_queries(per_query([0.5, np.nan, 0.1]), 4, seed=0)
    assert [choice.row for choice in few] == [2, 0]


def test_queries_are_found_by_name(evaluation: Evaluation) -> None:
    query = evaluation.run.query
    names = ["007.jpg", "query/002.jpg", "query/007.jpg"]
    assert find_queries(names, query) == (Choice(7, "asked for"), Choice(2, "asked for"))
    with pytest.raises(InputError, match=r"no query is called '07\.jpg'; the nearest of 12 is '007\.jpg'"):
        find_queries(["07.jpg"], query)


def pixels(seed: int, height: int = 64, width: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_frames_are_green_where_right_and_red_where_wrong(evaluation: Evaluation) -> None:
    [ranked] = rank_lists(evaluation, [Choice(1, "worst")], TOP)
    drawn = draw_rank_list(ranked, pixels(0), [pixels(rank, 20 * rank, 90) for rank in range(1, TOP + 1)])
    step = IMAGE_WIDTH + 2 * FRAME + GAP
    assert drawn.shape[1] == (TOP + 1) * step + GAP
    colours = [tuple(drawn[GAP + 1, GAP + 1 + column * step].tolist()) for column in range(TOP + 1)]
    gallery = evaluation.run.gallery
    right = [gallery.person_ids[place] == ranked.person_id for place in expected_rows(evaluation, 1)[:TOP]]
    assert 0 < sum(right) < TOP
    assert colours == [QUERY, *(RIGHT if each else WRONG for each in right)]


def test_captions_say_what_the_colours_say() -> None:
    assert caption(2, Found("a.jpg", 7, 3, 0.51249, right=True)) == ("2 right 0.512", "person 7", "camera 3")
    assert caption(10, Found("b.jpg", 0, 1, -0.5, right=False)) == ("10 wrong -0.500", "distractor", "camera 1")


def test_the_whole_image_is_shown_in_its_proportions(evaluation: Evaluation) -> None:
    [ranked] = rank_lists(evaluation, [Choice(0, "worst")], 1)
    wide = pixels(1, IMAGE_WIDTH // 2, IMAGE_WIDTH)
    drawn = draw_rank_list(ranked, wide, [pixels(2)])
    inside = drawn[GAP + FRAME : GAP + FRAME + IMAGE_HEIGHT, GAP + FRAME : GAP + FRAME + IMAGE_WIDTH]
    top = (IMAGE_HEIGHT - IMAGE_WIDTH // 2) // 2
    np.testing.assert_array_equal(inside[top : top + IMAGE_WIDTH // 2], wide)
    assert (inside[:top] == 255).all()


def test_the_page_escapes_what_it_is_given() -> None:
    picture = Picture("a b/<1>.jpg", 'three "right"', "<script>")
    page = render_page("x & y", ["<b>"], [Section("<i>", ("<u>",), (picture,))])
    assert "<script>" not in page
    assert 'src="a%20b/%3C1%3E.jpg" alt="three &#34;right&#34;"' in page
    assert "<title>x &amp; y</title>" in page
