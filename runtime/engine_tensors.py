"""Whether a deserialised engine has the tensors and batch sizes of its manifest."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from .engine_manifest import BatchProfile, EngineManifest
from .engine_match import check_profiles
from .errors import ManifestError
from .manifest import Manifest
from .onnx_tensors import INPUT, OUTPUT

# Name, mode, type and shape, as TensorRT has them.
_Tensor = tuple[str, Any, Any, tuple[int, ...]]


@dataclass(frozen=True)
class EngineTensors:
    """What an engine takes and gives.

    Attributes:
        tensors: its inputs and outputs.
        profiles: the batch sizes it accepts; none where it has no input `images`.
    """

    tensors: tuple[_Tensor, ...]
    profiles: tuple[BatchProfile, ...]


def read_tensors(engine: Any) -> EngineTensors:
    """The tensors and batch sizes of a deserialised `ICudaEngine`."""
    tensors = tuple(_read(engine, engine.get_tensor_name(index)) for index in range(engine.num_io_tensors))
    has_input = any(name == INPUT for name, *_ in tensors)
    shapes = [
        engine.get_tensor_profile_shape(INPUT, index) for index in range(engine.num_optimization_profiles * has_input)
    ]
    return EngineTensors(tensors, tuple(BatchProfile(*(shape[0] for shape in each)) for each in shapes))


def check_tensors(path: Path, found: EngineTensors, trt: ModuleType, manifest: Manifest) -> None:
    """Refuse an engine whose inputs, outputs and profiles are not what its manifest promises.

    It takes no engine, so that the error holds none: an engine that outlives its GPU's context cannot free its memory.

    Args:
        path: the engine file, for the message.
        found: what the engine has.
        trt: the TensorRT module.
        manifest: the engine's.

    Raises:
        ManifestError: another name, type or shape, or other batch profiles.
    """
    promised = (
        (INPUT, trt.TensorIOMode.INPUT, getattr(trt, manifest.input_type), (-1, *manifest.input_shape)),
        (OUTPUT, trt.TensorIOMode.OUTPUT, trt.float32, (-1, manifest.embedding_size)),
    )
    # An engine for a single batch size has that size where others have -1.
    sized = [(name, mode, kind, (-1, *shape[1:])) for name, mode, kind, shape in found.tensors]
    if tuple(sorted(sized, key=lambda tensor: tensor[0] != INPUT)) != promised:
        raise ManifestError(
            f"{path} has the tensors {_listing(found.tensors)}; its manifest promises {_listing(promised)}: build it "
            "again"
        )
    check_profiles(path, cast("EngineManifest", manifest.engine), found.profiles)


def _read(engine: Any, name: str) -> _Tensor:
    return (name, engine.get_tensor_mode(name), engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name)))


def _listing(tensors: tuple[_Tensor, ...]) -> str:
    return ", ".join(f"{name} {kind} {shape}" for name, _, kind, shape in tensors)
