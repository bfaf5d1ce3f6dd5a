"""What a deserialised engine takes and gives, against what its manifest promises."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from .engine_manifest import BatchProfile, EngineManifest
from .engine_match import check_profiles
from .errors import ManifestError
from .manifest import Manifest
from .onnx_tensors import INPUT, OUTPUT


@dataclass(frozen=True)
class EngineTensor:
    """An input or output of an engine.

    Attributes:
        name: of the tensor.
        kind: its type, a `DataType` of TensorRT's.
        shape: its sizes; -1 where one is dynamic.
    """

    name: str
    kind: Any
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.kind} {self.shape}"


@dataclass(frozen=True)
class EngineTensors:
    """What an engine takes and gives.

    Attributes:
        inputs: in the engine's order.
        outputs: likewise.
        profiles: the batch sizes that its first input accepts; none where it has no input, or that has no batch.
    """

    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    profiles: tuple[BatchProfile, ...]

    def __str__(self) -> str:
        return f"{_listing(self.inputs)} -> {_listing(self.outputs)}"


def read_tensors(engine: Any, trt: ModuleType) -> EngineTensors:
    """The tensors and batch sizes of a deserialised `ICudaEngine`."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    return EngineTensors(
        inputs=tuple(_read(engine, name) for name in inputs),
        outputs=tuple(_read(engine, name) for name in names if name not in inputs),
        profiles=tuple(profile for name in inputs[:1] for profile in _profiles(engine, _read(engine, name))),
    )


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
    promised = EngineTensors(
        (EngineTensor(INPUT, getattr(trt, manifest.input_type), (-1, *manifest.input_shape)),),
        (EngineTensor(OUTPUT, trt.float32, (-1, manifest.embedding_size)),),
        found.profiles,
    )
    if (_of_any_batch(found.inputs), _of_any_batch(found.outputs)) != (promised.inputs, promised.outputs):
        raise ManifestError(f"{path} has the tensors {found}; its manifest promises {promised}: build it again")
    check_profiles(path, cast("EngineManifest", manifest.engine), found.profiles)


def _read(engine: Any, name: str) -> EngineTensor:
    return EngineTensor(name, engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name)))


def _profiles(engine: Any, tensor: EngineTensor) -> list[BatchProfile]:
    indices = range(engine.num_optimization_profiles if tensor.shape else 0)
    if tensor.shape[:1] != (-1,):
        return [BatchProfile(*tensor.shape[:1] * 3) for _ in indices]
    shapes = [engine.get_tensor_profile_shape(tensor.name, index) for index in indices]
    return [BatchProfile(*(shape[0] for shape in each)) for each in shapes]


def _of_any_batch(tensors: tuple[EngineTensor, ...]) -> tuple[EngineTensor, ...]:
    """An engine for a single batch size has that size where others have -1."""
    return tuple(EngineTensor(each.name, each.kind, (-1, *each.shape[1:])) for each in tensors)


def _listing(tensors: tuple[EngineTensor, ...]) -> str:
    return ", ".join(map(str, tensors)) or "nothing"
