import json
import pickle
from pathlib import Path

import pytest
import torch

from runtime.errors import InputError, ManifestError
from train.checkpoint import load_checkpoint, save_checkpoint, untrained_checkpoint
from train.model import LgeuNet

ARGUMENTS = {"backbone": "resnet10t", "height": 64, "width": 32, "strips": 2}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_checkpoint(tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt", **ARGUMENTS, seed=5)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    model = LgeuNet(**ARGUMENTS)
    path = save_checkpoint(tmp_path / "new" / "checkpoint.pt", model, "toy", {"epochs_done": 3, "t": torch.arange(2)})
    loaded = load_checkpoint(path)
    assert loaded.manifest.trained_on == "toy"
    assert loaded.training["epochs_done"] == 3
    assert not loaded.model.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name


def test_last_stride_and_neck_are_written_and_read(tmp_path: Path) -> None:
    path = untrained_checkpoint(tmp_path / "checkpoint.pt", **ARGUMENTS, last_stride=1, neck="bn", seed=5)
    loaded = load_checkpoint(path)
    assert (loaded.manifest.last_stride, loaded.manifest.neck) == (1, "bn")
    assert loaded.model.neck.running_var.shape == (512,)
    with torch.no_grad():
        assert loaded.model.backbone(torch.zeros(1, 3, 64, 32)).shape == (1, 512, 4, 2)


def test_a_checkpoint_older_than_last_stride_and_neck_is_read(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    manifest = json.loads(content["manifest"])
    del manifest["last_stride"], manifest["neck"]
    torch.save({**content, "manifest": json.dumps(manifest)}, tmp_path / "old.pt")
    old, new = load_checkpoint(tmp_path / "old.pt"), load_checkpoint(checkpoint)
    assert old.manifest == new.manifest
    assert old.model.state_dict().keys() == new.model.state_dict().keys()


def test_an_untrained_one_depends_on_its_seed_alone(checkpoint: Path, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    same, other = (untrained_checkpoint(tmp_path / f"{seed}.pt", **ARGUMENTS, seed=seed) for seed in (5, 6))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [load_checkpoint(path).model.backbone.conv1[0].weight for path in (checkpoint, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert load_checkpoint(checkpoint).manifest.trained_on == "nothing (random weights)"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_one_line(checkpoint: Path, tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.pt"
    content = checkpoint.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"cut.pt is not a complete torch file") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0 a picture", b"text\n", b"PK\x03\x04"])
def test_a_file_of_another_kind_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint .*other.pt is not a complete torch file") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    for name, message in (("absent.pt", "does not exist"), ("empty.pt", "is empty"), (".", "is a folder")):
        with pytest.raises(InputError, match=message):
            load_checkpoint(tmp_path / name)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    torch.save({"manifest": Payload(), "model": {}}, tmp_path / "evil.pt")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Payload()))
    for name in ("evil.pt", "evil.pkl"):
        with pytest.raises(InputError, match=name):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_other_torch_files_are_named_as_such(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save(LgeuNet(**ARGUMENTS).state_dict(), path)
    with pytest.raises(InputError, match="not a checkpoint of LGEU-ReID"):
        load_checkpoint(path)
    torch.save({"manifest": "{}", "model": {}}, path)
    with pytest.raises(ManifestError, match="schema"):
        load_checkpoint(path)
    torch.save({"manifest": load_checkpoint(checkpoint).manifest.to_json(), "model": {}}, path)
    with pytest.raises(InputError, match="do not fit its manifest") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_failed_write_keeps_the_old_file(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(checkpoint.read_bytes())
    with pytest.raises(AttributeError):
        save_checkpoint(path, LgeuNet(**ARGUMENTS), "toy", {"unpicklable": lambda: 0})
    assert path.read_bytes() == checkpoint.read_bytes()
    assert list(tmp_path.iterdir()) == [path]
