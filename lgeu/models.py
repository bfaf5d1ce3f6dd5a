"""Opening a model by its file's suffix: the one place that knows both the PyTorch and the deployed way."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from runtime.backend import BackendName, Device
from runtime.embedder import Embedder
from runtime.errors import InputError

MODEL_SUFFIXES = (".pt", ".onnx", ".engine")


def check_model(path: Path, plugin: Path | None) -> None:
    """Refuse a file that is no model by its suffix, and a StripGate library for one that takes none.

    Raises:
        InputError: it is so.
    """
    if path.suffix not in MODEL_SUFFIXES:
        raise InputError(f"{path} is not a model; expected a file ending in {', '.join(MODEL_SUFFIXES)}")
    if plugin is not None and path.suffix != ".engine":
        raise InputError(f"--plugin given with {path}; only an engine takes one, leave it out")


def open_model(
    path: Path,
    *,
    backend: BackendName = "auto",
    device: Device = "auto",
    batch_size: int | None = None,
    plugin: Path | None = None,
) -> Embedder:
    """Open a checkpoint (PyTorch), an ONNX file or an engine as an embedder.

    Raises:
        InputError: another suffix, no such file, a backend for a checkpoint, or a plugin for what is no engine; see
            also `Embedder.open` and `train.embedder.open_checkpoint`.
    """
    check_model(path, plugin)
    if path.suffix == ".pt":
        if backend != "auto":
            raise InputError(
                f"{path} was given to the backend {backend}; PyTorch alone runs a checkpoint: leave it out"
            )
        from train.embedder import open_checkpoint

        return open_checkpoint(path, device=device, batch_size=batch_size)
    return Embedder.open(path, backend=backend, device=device, batch_size=batch_size, plugin=plugin)


def model_opener(path: Path | None, device: Device, plugin: Path | None) -> Callable[[], Embedder] | None:
    """What opens the model of `--model` when it is needed; None where none was named.

    Raises:
        InputError: no model was named, but its device or plugin.
    """
    if path is None:
        if plugin is not None or device != "auto":
            raise InputError("--device and --plugin are the model's; name it with --model, or leave them out")
        return None
    return partial(open_model, path, device=device, plugin=plugin)
