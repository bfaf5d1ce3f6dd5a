from pathlib import Path

import pytest

from runtime.errors import InputError
from train.recipe import Recipe, load_recipe


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_the_paper_schedule(repository: Path) -> None:
    recipe = load_recipe(repository / "recipes" / "paper.yaml")
    assert (recipe.backbone, recipe.gate, recipe.strips, recipe.reduction) == ("resnet50", "strip", 4, 16)
    assert (recipe.height, recipe.width, recipe.epochs, recipe.batch_size) == (256, 128, 60, 32)
    rates = [recipe.learning_rate(epoch, 0.5) for epoch in range(recipe.epochs)]
    assert rates == pytest.approx([0.1] * 40 + [0.01] * 20)


@pytest.mark.parametrize("name", ["paper", "demo", "market1501-cpu"])
def test_every_recipe_is_valid_and_its_strips_divide(repository: Path, name: str) -> None:
    recipe = load_recipe(repository / "recipes" / f"{name}.yaml")
    assert recipe.height % (recipe.strips * 32) == 0
    assert all(milestone < recipe.epochs for milestone in recipe.milestones)


def test_warm_up_rises_to_the_full_rate_and_meets_the_milestones() -> None:
    recipe = Recipe(lr=1.0, warmup_epochs=2, milestones=[3, 5], gamma=0.5, epochs=6)
    points = [(epoch, step / 4) for epoch in range(6) for step in range(4)]
    rates = [recipe.learning_rate(*point) for point in points]
    assert 0 < rates[0] < 0.05
    assert rates[:8] == sorted(set(rates[:8]))
    assert rates[8:] == [1.0] * 4 + [0.5] * 8 + [0.25] * 4


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("epoch", "epochs"), ("learning_rate", "lr"), ("weigths", "weights"), ("batchsize", "batch_size")],
)
def test_an_unknown_key_names_the_nearest(tmp_path: Path, wrong: str, right: str) -> None:
    with pytest.raises(InputError, match=f"unknown key '{wrong}'") as caught:
        load_recipe(write(tmp_path, f"{wrong}: 3\n"))
    if wrong != "learning_rate":  # letters alone cannot tell that this one means lr
        assert f"'{right}'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 0", "epochs is 0"),
        ("epochs: many", "epochs is 'many'"),
        ("epochs: 2.5", "epochs is 2.5"),
        ("lr: 1e-3", "lr is '1e-3'.*write it without quotes and with a decimal point"),
        ("flip: 1", "flip is 1"),
        ("gate: stripe", "gate is 'stripe'.*'strip', 'se' or 'none'"),
        ("milestones: [1, x]", r"milestones.1 is 'x'"),
        ("- epochs", "holds a list"),
        ("epochs: [", "not YAML"),
        ("epochs: 1\n\tlr: 2", "not YAML"),
    ],
)
def test_a_bad_value_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "recipe.yaml" in str(caught.value)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_recipe(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="is empty"):
        load_recipe(write(tmp_path, ""))
    (tmp_path / "image.yaml").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(InputError, match="not YAML"):
        load_recipe(tmp_path / "image.yaml")


def test_weights_are_found_beside_the_recipe(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, "weights: w.pth")).weights == str(tmp_path / "w.pth")
    assert load_recipe(write(tmp_path, "weights: /a/w.pth")).weights == "/a/w.pth"
