import csv
import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from timm.utils.model_ema import ModelEmaV3

from eval.datasets import ReidDataset, open_dataset
from eval.evaluation import evaluate_model
from runtime.errors import InputError
from train.checkpoint import load_checkpoint, save_checkpoint, untrained_checkpoint
from train.classifier import LgeuClassifier
from train.embedder import open_checkpoint
from train.fit import fit
from train.model import LgeuNet
from train.recipe import Recipe
from train.run import Run


@pytest.fixture(scope="module")
def trained(toy: ReidDataset, toy_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(toy_recipe, toy, tmp_path_factory.mktemp("run"))


def log_rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_checkpoint_logs_and_metrics(trained: Path, toy: ReidDataset) -> None:
    checkpoint = load_checkpoint(trained)
    assert checkpoint.manifest.trained_on == toy.name
    assert checkpoint.training["person_ids"] == [3, 7]
    assert [row["epoch"] for row in log_rows(trained.parent)] == ["1", "2", "3"]
    events = EventAccumulator(str(trained.parent / "tensorboard")).Reload()
    losses = [float(row["loss"]) for row in log_rows(trained.parent)]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(losses)
    metrics = json.loads((trained.parent / "metrics.json").read_text())
    assert 0 < metrics["mAP"] <= 1
    assert metrics["queries"] == len(toy.query)
    assert metrics["epoch"] == 3


def test_training_learns_the_identities(toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path) -> None:
    recipe = toy_recipe.model_copy(update={"epochs": 15, "milestones": [12], "batch_size": 6})
    fit(recipe, toy, tmp_path)
    rows = log_rows(tmp_path)
    assert float(rows[-1]["loss"]) < 0.3 * float(rows[0]["loss"])
    assert float(rows[-1]["accuracy"]) == 1.0


def test_a_resumed_run_has_the_parameters_of_an_uninterrupted_one(
    trained: Path, toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path
) -> None:
    for epochs in (1, 2):
        fit(toy_recipe.model_copy(update={"epochs": epochs}), toy, tmp_path, resume=epochs > 1)
    resumed = load_checkpoint(fit(toy_recipe, toy, tmp_path, resume=True))
    whole = load_checkpoint(trained)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    for name, value in whole.training["head"].items():
        assert torch.equal(value, resumed.training["head"][name]), name
    assert [row["loss"] for row in log_rows(tmp_path)] == [row["loss"] for row in log_rows(trained.parent)]


def test_neither_a_resumed_run_nor_workers_change_what_dropout_drops(
    toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = toy_recipe.model_copy(update={"backbone": "ghostnet_050", "epochs": 2, "workers": 1})
    toy = dataclasses.replace(toy, query=())
    whole = load_checkpoint(fit(recipe, toy, tmp_path / "whole"))
    fit(recipe.model_copy(update={"epochs": 1, "workers": 0}), toy, tmp_path / "resumed")
    resumed = load_checkpoint(fit(recipe, toy, tmp_path / "resumed", resume=True))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("saved", [False, True])
def test_a_run_killed_beside_a_checkpoint_loses_no_row(
    trained: Path, toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    """Killed just before or just after the second epoch's checkpoint is in its place."""

    def save_and_die(path: Path, model: LgeuNet, trained_on: str, training: dict[str, Any]) -> None:
        if saved or training["epochs_done"] < 2:
            save_checkpoint(path, model, trained_on, training)
        if training["epochs_done"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("train.resume.save_checkpoint", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            fit(toy_recipe, toy, tmp_path)
    fit(toy_recipe, toy, tmp_path, resume=True)
    columns = [[(row["epoch"], row["loss"]) for row in log_rows(out)] for out in (tmp_path, trained.parent)]
    assert columns[0] == columns[1]


def test_a_run_killed_while_it_logs_resumes_with_a_sound_log(
    trained: Path, toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path
) -> None:
    fit(toy_recipe.model_copy(update={"epochs": 1}), toy, tmp_path)
    with (tmp_path / "log.csv").open("a") as file:
        file.write("2,0.1,9.9,0,1,1\n3,0.")  # an epoch the checkpoint lacks, and half a line
    fit(toy_recipe, toy, tmp_path, resume=True)
    assert [row["loss"] for row in log_rows(tmp_path)] == [row["loss"] for row in log_rows(trained.parent)]


def test_training_starts_from_the_untrained_checkpoint(toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path) -> None:
    """With a learning rate of next to nothing the parameters stay those of the untrained network."""
    recipe = toy_recipe.model_copy(update={"epochs": 1, "lr": 1e-12, "seed": 9})
    fitted = load_checkpoint(fit(recipe, toy, tmp_path)).model
    start = load_checkpoint(untrained_checkpoint(tmp_path / "start.pt", **recipe.architecture(), seed=9)).model
    for (name, value), expected in zip(fitted.named_parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(value, expected, msg=name)


def test_runs_of_the_first_version_resume(trained: Path, toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path) -> None:
    """Their checkpoints say less of the recipe and call the precision otherwise; their log has fewer columns."""
    path = fit(toy_recipe.model_copy(update={"epochs": 2}), toy, tmp_path)
    first = (
        *(
            "backbone",
            "pretrained",
            "weights",
            "gate",
            "strips",
            "reduction",
            "height",
            "width",
            "epochs",
            "batch_size",
        ),
        *("lr", "momentum", "weight_decay", "milestones", "gamma", "warmup_epochs", "flip", "crop_padding"),
        *("label_smoothing", "seed", "workers"),
    )
    content = torch.load(path, weights_only=True)
    training = content["training"]
    del training["best"], training["images_sha256"]
    training["recipe"] = {name: training["recipe"][name] for name in first} | {"mixed_precision": True}
    torch.save(content, path)
    rows = [line.split(",")[:6] for line in (tmp_path / "log.csv").read_text().splitlines()]
    (tmp_path / "log.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")
    resumed = load_checkpoint(fit(toy_recipe.model_copy(update={"validate_every": 1}), toy, tmp_path, resume=True))
    for name, value in load_checkpoint(trained).model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert [row["loss"] for row in log_rows(tmp_path)] == [row["loss"] for row in log_rows(trained.parent)]
    assert [bool(row["validation_mAP"]) for row in log_rows(tmp_path)] == [False, False, True]


def test_runs_of_another_kind_of_device_resume(
    toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU computes its steps fused, and float16 has a scaler; what the checkpoint says of them is another's."""
    path = fit(toy_recipe.model_copy(update={"epochs": 1}), toy, tmp_path)
    content = torch.load(path, weights_only=True)
    content["training"]["optimiser"]["param_groups"][0]["fused"] = True
    torch.save(content, path)
    monkeypatch.setattr("train.arithmetic.Arithmetic.scaler", lambda _: torch.amp.GradScaler("cpu"))
    training = load_checkpoint(fit(toy_recipe.model_copy(update={"epochs": 2}), toy, tmp_path, resume=True)).training
    assert training["optimiser"]["param_groups"][0]["fused"] is None
    assert training["scaler"]["_growth_tracker"] == 3  # it scaled the three steps


def test_the_weights_a_run_started_from_may_lie_elsewhere_when_it_resumes(
    toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = toy_recipe.model_copy(update={"backbone": "test_resnet", "epochs": 1})
    weights = tmp_path / "weights.pt"
    torch.save(LgeuNet(**recipe.architecture()).backbone.state_dict(), weights)
    fit(recipe.model_copy(update={"weights": str(weights)}), toy, tmp_path / "out")
    kept = weights.read_bytes()
    torch.save(LgeuNet(**recipe.architecture()).backbone.state_dict(), weights)
    with pytest.raises(InputError, match=r"began with other weights than those in .*weights.pt"):
        fit(recipe.model_copy(update={"weights": str(weights)}), toy, tmp_path / "out", resume=True)
    weights.unlink()
    (tmp_path / "renamed.pt").write_bytes(kept)
    fit(recipe.model_copy(update={"weights": str(tmp_path / "renamed.pt")}), toy, tmp_path / "out", resume=True)
    moved = recipe.model_copy(update={"epochs": 2, "weights": "elsewhere/weights.pt"})
    path = fit(moved, toy, tmp_path / "out", resume=True)
    assert load_checkpoint(path).training["epochs_done"] == 2
    with pytest.raises(InputError, match=r"weights 'elsewhere/weights.pt', the recipe says 'others.pt'"):
        fit(moved.model_copy(update={"weights": "others.pt"}), toy, tmp_path / "out", resume=True)


def test_the_head_behind_a_neck_has_no_bias(toy_recipe: Recipe) -> None:
    for neck in ("none", "bn", "centre"):
        net = LgeuNet(**toy_recipe.model_copy(update={"neck": neck}).architecture())
        assert (LgeuClassifier(net, 3).head.bias is None) == (neck != "none")


def test_the_neck_centre_trains_as_the_neck_bn(toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path) -> None:
    recipe = toy_recipe.model_copy(update={"epochs": 2, "images_per_identity": 2, "triplet_weight": 1.0, "ema": 0.5})
    norm, centre = (
        load_checkpoint(fit(recipe.model_copy(update={"neck": neck}), toy, tmp_path / neck))
        for neck in ("bn", "centre")
    )
    assert (norm.manifest.neck, centre.manifest.neck) == ("bn", "centre")
    for left, right in (
        (norm.model.state_dict(), centre.model.state_dict()),
        (norm.training["head"], centre.training["head"]),
    ):
        assert left.keys() == right.keys()
        for name, value in left.items():
            assert torch.equal(value, right[name]), name


def test_the_best_validated_epoch_is_kept_and_says_that_it_was_chosen(
    toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = toy_recipe.model_copy(update={"epochs": 5, "validate_every": 2, "ema": 0.5, "neck": "bn"})
    path = fit(recipe, toy, tmp_path)
    rows = log_rows(tmp_path)
    figures = {int(row["epoch"]): float(row["validation_mAP"]) for row in rows if row["validation_mAP"]}
    assert list(figures) == [2, 4, 5]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("validation/mAP")] == pytest.approx(list(figures.values()))
    chosen = max(figures, key=lambda epoch: figures[epoch])
    assert load_checkpoint(path).training["best"] == {"epoch": chosen, "mAP": figures[chosen]}
    best = load_checkpoint(tmp_path / "best.pt")
    assert f"epoch {chosen} of 5, chosen by validation mAP {figures[chosen]:.4f}" in best.manifest.trained_on
    assert "chosen" not in load_checkpoint(path).manifest.trained_on
    # What was validated is what was written: the average, not the weights of the last step.
    for file, epoch in ((path, 5), (tmp_path / "best.pt", chosen)):
        with open_checkpoint(file, device="cpu") as embedder:
            assert evaluate_model(embedder, toy).metrics.mAP == figures[epoch]
    assert json.loads((tmp_path / "metrics.json").read_text())["mAP"] == figures[5]


def test_the_deployed_model_is_the_average_and_training_keeps_the_weights(
    toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, counted = ModelEmaV3.update, []

    def counting(average: ModelEmaV3, net: LgeuNet, step: int) -> None:
        counted.append(step)
        update(average, net, step)

    monkeypatch.setattr(ModelEmaV3, "update", counting)
    recipe = toy_recipe.model_copy(update={"epochs": 2})
    plain = load_checkpoint(fit(recipe, toy, tmp_path / "plain"))
    averaged = load_checkpoint(fit(recipe.model_copy(update={"ema": 0.9}), toy, tmp_path / "averaged"))
    for name, value in plain.model.state_dict().items():  # averaging does not disturb what is trained
        assert torch.equal(value, averaged.training["net"][name]), name
    assert counted == [1, 2, 3, 4, 5, 6]  # over all epochs, not anew in each: the first copies
    weights = "backbone.conv1.0.weight"
    assert not torch.equal(averaged.model.state_dict()[weights], plain.model.state_dict()[weights])


def test_a_cosine_cannot_be_resumed_to_another_length(toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path) -> None:
    recipe = toy_recipe.model_copy(update={"epochs": 2, "schedule": "cosine"})
    fit(recipe, toy, tmp_path)
    with pytest.raises(InputError, match="epochs 2, the recipe says 3"):
        fit(recipe.model_copy(update={"epochs": 3}), toy, tmp_path, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bf16"},
        {"channels_last": False},
        {"optimiser": "adamw", "lr": 0.001},
        {"images_per_identity": 2, "triplet_weight": 1.0, "triplet_margin": None, "random_erasing": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_choice_of_a_recipe_trains(
    toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path, change: dict[str, Any]
) -> None:
    recipe = toy_recipe.model_copy(update={"backbone": "test_resnet", "epochs": 6, "milestones": [5], **change})
    fit(recipe, dataclasses.replace(toy, query=(), gallery=()), tmp_path)
    losses = [float(row["loss"]) for row in log_rows(tmp_path)]
    assert losses[-1] < losses[0]


def test_a_compiled_backbone_trains_alike(
    trained: Path, toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a backend that runs the graph as it is: what inductor makes of it takes minutes on a CPU."""
    compile_module, graphs = torch.nn.Module.compile, []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compile_module(module, backend=backend))
    path = fit(toy_recipe.model_copy(update={"compile": True, "validate_every": 1}), toy, tmp_path)
    losses = [[float(row["loss"]) for row in log_rows(out)] for out in (tmp_path, trained.parent)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(graphs) == 1  # validating in between does not have it compiled again
    assert load_checkpoint(path).model.state_dict().keys() == load_checkpoint(trained).model.state_dict().keys()


def test_a_stem_that_crashes_onednn_trains_without_channels_last(
    toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path
) -> None:
    """RepVGG's has a 1x1 convolution with a stride of the image itself, whose backward pass ended the process."""
    if torch.cuda.is_available():
        pytest.skip("oneDNN computes on a CPU only")
    recipe = toy_recipe.model_copy(update={"backbone": "repvgg_a0", "epochs": 1})
    with pytest.raises(
        InputError, match=r"repvgg_a0 cannot be trained .*stem.conv_1x1.conv.* set channels_last to false"
    ):
        fit(recipe, toy, tmp_path)
    fit(recipe.model_copy(update={"channels_last": False}), dataclasses.replace(toy, query=()), tmp_path)
    assert np.isfinite(float(log_rows(tmp_path)[0]["loss"]))


def test_an_earlier_run_is_not_overwritten(trained: Path, toy: ReidDataset, toy_recipe: Recipe) -> None:
    before = trained.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        fit(toy_recipe, toy, trained.parent)
    assert trained.read_bytes() == before


def test_a_folder_that_cannot_be_written_to_is_refused_before_images_are_read(
    toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path
) -> None:
    unreadable = dataclasses.replace(toy, train=(dataclasses.replace(toy.train[0], name="absent.png"), *toy.train[1:]))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write to .*file is no folder"):
        fit(toy_recipe, unreadable, tmp_path / "file" / "out")
    log = tmp_path / "log.csv"
    log.write_text("model,score\nmine,1\n")
    with pytest.raises(InputError, match=r"log.csv has the columns model, score; .*move this one"):
        fit(toy_recipe, unreadable, tmp_path)
    assert log.read_text() == "model,score\nmine,1\n"


@pytest.mark.parametrize(("change", "message"), [({"lr": 0.5}, "lr 0.02, the recipe says 0.5"), ({"seed": 4}, "seed")])
def test_another_recipe_cannot_be_resumed(
    trained: Path, toy: ReidDataset, toy_recipe: Recipe, change: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit(toy_recipe.model_copy(update=change), toy, trained.parent, resume=True)


def test_resuming_needs_a_checkpoint_with_a_training_part(toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        fit(toy_recipe, toy, tmp_path, resume=True)
    untrained_checkpoint(tmp_path / "checkpoint.pt", **toy_recipe.architecture())
    with pytest.raises(InputError, match="nothing to go on from"):
        fit(toy_recipe, toy, tmp_path, resume=True)


def test_other_identities_cannot_be_resumed(trained: Path, toy: ReidDataset, toy_recipe: Recipe) -> None:
    other = dataclasses.replace(toy, train=toy.gallery)
    with pytest.raises(InputError, match="identities"):
        fit(toy_recipe, other, trained.parent, resume=True)


def test_figures_go_with_the_checkpoint_that_they_are_of(
    toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(run: Run) -> None:
        raise KeyboardInterrupt

    recipe = toy_recipe.model_copy(update={"backbone": "test_resnet", "epochs": 1})
    fit(recipe, toy, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["epoch"] == 1
    monkeypatch.setattr("train.fit.validate", die)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe.model_copy(update={"epochs": 2}), toy, tmp_path, resume=True)
    assert load_checkpoint(tmp_path / "checkpoint.pt").training["epochs_done"] == 2
    assert not (tmp_path / "metrics.json").exists()


def test_a_finished_run_resumes_to_itself_and_not_to_fewer_epochs(
    toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = toy_recipe.model_copy(update={"backbone": "test_resnet", "epochs": 2})
    before = fit(recipe, toy, tmp_path).read_bytes()
    with pytest.raises(InputError, match="was trained for 2 epochs, the recipe says 1; raise epochs"):
        fit(recipe.model_copy(update={"epochs": 1}), toy, tmp_path, resume=True)
    with caplog.at_level(logging.INFO):
        fit(recipe, toy, tmp_path, resume=True)
    assert "all 2 epochs are done: nothing is left to train" in caplog.text
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_other_people_of_the_same_number_cannot_be_resumed(
    toy_folder: Path, toy_recipe: Recipe, tmp_path: Path
) -> None:
    """Identities of a plain data set are numbered, and cameras give all people the same file names."""
    recipe = toy_recipe.model_copy(update={"backbone": "test_resnet", "epochs": 1})
    shots = sorted((toy_folder / "bounding_box_train").iterdir())
    for people in (("staff", "anna"), ("staff", "bob"), ("visitors", "anna"), ("visitors", "carl")):
        folder = tmp_path.joinpath(*people)
        folder.mkdir(parents=True)
        for number, shot in enumerate(shots[:4]):
            shutil.copy(shot, folder / f"door_{number}.png")
    fit(recipe, open_dataset(tmp_path / "staff"), tmp_path / "out")
    with pytest.raises(InputError, match=r"was trained on other images \(.*staff.*\) than the 8 given \(.*visitors"):
        fit(recipe, open_dataset(tmp_path / "visitors"), tmp_path / "out", resume=True)


def test_a_zip_may_take_the_place_of_a_folder_when_a_run_resumes(
    toy: ReidDataset, toy_folder: Path, toy_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = toy_recipe.model_copy(update={"backbone": "test_resnet", "epochs": 1})
    fit(recipe, toy, tmp_path / "out")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", toy_folder.parent, toy_folder.name)
    path = fit(recipe.model_copy(update={"epochs": 2}), open_dataset(Path(packed)), tmp_path / "out", resume=True)
    assert load_checkpoint(path).training["epochs_done"] == 2


def test_a_diverging_run_keeps_its_last_good_checkpoint(toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path) -> None:
    recipe = toy_recipe.model_copy(update={"lr": 1e18, "warmup_epochs": 0, "milestones": []})
    with pytest.raises(InputError, match=r"no epoch was finished.*lower lr"):
        fit(recipe, toy, tmp_path / "at-once")
    assert not (tmp_path / "at-once" / "checkpoint.pt").exists()
    # The rate explodes in the second epoch only.
    late = toy_recipe.model_copy(update={"milestones": [1], "gamma": 1e20, "warmup_epochs": 0})
    with pytest.raises(InputError, match=r"epoch 2 .*keeps epoch 1"):
        fit(late, toy, tmp_path / "late")
    kept = load_checkpoint(tmp_path / "late" / "checkpoint.pt")
    assert kept.training["epochs_done"] == 1
    assert all(torch.isfinite(value).all() for value in kept.model.state_dict().values())


def test_a_last_step_that_spoils_the_weights_is_not_saved(toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path) -> None:
    """With one step an epoch the loss is finite, and what the step does to the weights shows in the next one only."""
    change = {"batch_size": 12, "lr": 1e-6, "weight_decay": 1e3, "milestones": [1], "gamma": 3e44, "warmup_epochs": 0}
    recipe = toy_recipe.model_copy(update={**change, "validate_every": 1})
    with pytest.raises(InputError, match=r"weights are not finite after epoch 2; .*keeps epoch 1"):
        fit(recipe, toy, tmp_path)
    kept = load_checkpoint(tmp_path / "checkpoint.pt")
    assert all(torch.isfinite(value).all() for value in kept.model.state_dict().values())


def test_gate_none_trains_and_embeds(toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path) -> None:
    path = fit(toy_recipe.model_copy(update={"gate": "none", "epochs": 1}), toy, tmp_path)
    with open_checkpoint(path, device="cpu") as embedder:
        features = embedder.embed([toy.read(image) for image in toy.query], "BGR")
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)


def test_what_is_trained_on_is_said(
    toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fit(toy_recipe.model_copy(update={"epochs": 1}), toy, tmp_path)
    assert "12 images of 2 identities" in caplog.text
    assert "nothing is validated" not in caplog.text


def test_a_validation_that_the_data_does_not_allow_is_announced(
    toy: ReidDataset, toy_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = toy_recipe.model_copy(update={"backbone": "test_resnet", "epochs": 1, "validate_every": 1})
    with caplog.at_level(logging.INFO):
        fit(recipe, dataclasses.replace(toy, query=()), tmp_path)
    assert "has no query and gallery images: nothing is validated" in caplog.text


def test_a_few_steps_on_real_images_lower_the_loss(shared_data: Path, tmp_path: Path) -> None:
    market = open_dataset(shared_data / "market1501-train.zip", "person%5")
    few = tuple(image for image in market.train if image.person_id < 12)
    recipe = Recipe(backbone="resnet10t", height=128, width=64, epochs=3, batch_size=16, lr=0.03, milestones=[])
    fit(recipe, dataclasses.replace(market, train=few, query=(), gallery=()), tmp_path)
    rows = log_rows(tmp_path)
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert not (tmp_path / "metrics.json").exists()
