from pathlib import Path

import pytest

from runtime.errors import InputError
from train.recipe import Recipe, load_recipe
from train.schedule import learning_rate


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_the_paper_schedule(repository: Path) -> None:
    recipe = load_recipe(repository / "recipes" / "paper.yaml")
    assert (recipe.backbone, recipe.gate, recipe.strips, recipe.reduction) == ("resnet50", "strip", 4, 16)
    assert (recipe.height, recipe.width, recipe.epochs, recipe.batch_size) == (256, 128, 60, 32)
    rates = [learning_rate(recipe, epoch, 0.5) for epoch in range(recipe.epochs)]
    assert rates == pytest.approx([0.1] * 40 + [0.01] * 20)
    # Softmax over images as they come, with flip and crop: nothing of what the field has learnt since.
    assert recipe == Recipe(pretrained=True, workers=4)


def test_every_recipe_is_valid_and_its_strips_divide(repository: Path) -> None:
    paths = sorted((repository / "recipes").glob("*.yaml"))
    assert paths
    for path in paths:
        recipe = load_recipe(path)
        assert recipe.height % (recipe.strips * 32 // (3 - recipe.last_stride)) == 0, path
        assert recipe.schedule == "cosine" or all(milestone < recipe.epochs for milestone in recipe.milestones), path


def test_the_strong_recipes_are_those_of_the_bag_of_tricks(repository: Path) -> None:
    strong, compact = (load_recipe(repository / "recipes" / f"{name}.yaml") for name in ("strong", "strong-compact"))
    assert (strong.batch_size // strong.images_per_identity, strong.images_per_identity) == (16, 4)
    assert (strong.warmup_epochs, strong.schedule, strong.label_smoothing) == (10, "cosine", 0.1)
    assert (strong.random_erasing, strong.last_stride, strong.neck) == (0.5, 1, "bn")
    assert strong.triplet_weight > 0
    assert strong.ema > 0
    different = {name for name in Recipe.model_fields if getattr(strong, name) != getattr(compact, name)}
    sizes = {"backbone", "last_stride", "height", "width", "crop_padding", "epochs", "warmup_epochs", "workers", "lr"}
    assert different - {"neck"} <= sizes
    assert (strong.neck, compact.neck) == ("bn", "centre")


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
        ("lr: .inf", "lr is inf"),
        ("lr: nan", "lr is 'nan'; Input should be a valid number$"),
        ("epochs: 1e1", "epochs is '1e1'.*in digits, e.g. 60"),
        ("flip: '1'", "flip is '1'; Input should be a valid boolean$"),
        ("flip: 1", "flip is 1"),
        ("gate: stripe", "gate is 'stripe'.*'strip', 'se' or 'none'"),
        ("milestones: [1, x]", r"milestones.1 is 'x'"),
        ("- epochs", "holds a list"),
        ("triplet_weight: 1.0", "triplet_weight needs .* set images_per_identity to at least 2"),
        ("images_per_identity: 3", "batch_size 32 does not divide"),
        ("{schedule: cosine, warmup_epochs: 60}", "warmup_epochs 60 leaves no epoch of 60"),
        ("optimiser: adam", "optimiser is 'adam'.*'sgd' or 'adamw'"),
        ("mixed_precision: bf16", "mixed_precision is 'bf16'"),
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


def test_changes_replace_what_the_file_says(tmp_path: Path) -> None:
    path = write(tmp_path, "lr: 0.2\nepochs: 7\nweights: w.pth\n")
    recipe = load_recipe(path, ["lr=0.05", "milestones=[3, 5]", "gate=se", "triplet_margin=null", "weights=here.pth"])
    assert (recipe.lr, recipe.epochs, recipe.milestones, recipe.gate) == (0.05, 7, [3, 5], "se")
    assert recipe.triplet_margin is None
    assert recipe.weights == "here.pth"  # from where the command is typed
    assert load_recipe(path, ["lr=0.1", "lr=0.3"]).lr == 0.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lr", "--set 'lr' is not of the form key=value"),
        ("=3", "not of the form"),
        ("epoch=3", "--set: unknown key 'epoch'; the nearest known key is 'epochs'"),
        ("epochs=many", "--set: epochs is 'many'"),
        ("milestones=[1", "not YAML"),
        ("lr=1e-3", "--set: lr is '1e-3'.*decimal point"),
    ],
)
def test_a_bad_change_is_one_line(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(write(tmp_path, "epochs: 3"), [change])
    assert "\n" not in str(caught.value)


def test_what_precision_was_called_before_is_read(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, "mixed_precision: true")) == Recipe()
    assert load_recipe(write(tmp_path, "mixed_precision: false")).precision == "fp32"


def test_the_training_page_explains_every_line_of_a_recipe(repository: Path) -> None:
    page = (repository / "docs" / "training.md").read_text()
    first_cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    explained = [name for cell in first_cells for name in cell.replace("`", "").replace(" ", "").split(",")]
    assert set(Recipe.model_fields) <= set(explained)
