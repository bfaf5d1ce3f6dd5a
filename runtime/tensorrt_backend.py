"""Running an engine with TensorRT 10.3 to 11 or with TensorRT-RTX."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .backend import Processor, StageTimes
from .device import DeviceMemory, open_device
from .engine_match import (
    check_architecture,
    check_engine_file,
    check_platform,
    check_profiles,
    check_version,
    find_plugin,
)
from .errors import DeviceError, InputError, ManifestError
from .manifest import BatchProfile, EngineManifest, Manifest, read_engine_manifest
from .preprocess import network_input
from .tensorrt_library import create_runtime, default_plugin, load_plugin, load_tensorrt
from .tensorrt_log import collecting_logger, complaint

_INPUT = "images"
_OUTPUT = "embeddings"


class TensorRTBackend:
    """A backend (see `runtime.backend.Backend`) on an engine, for one thread at a time.

    Device memory for the largest batch is allocated once and reused by every call. A batch runs in the profile that
    `EngineManifest.profile_for` names; TensorRT updates its layers where that is another one than before.
    """

    def __init__(self, path: Path, plugin: Path | None = None) -> None:
        """Check `path` against its manifest and this machine, then load it.

        Args:
            path: an engine with its manifest beside it.
            plugin: the StripGate library the engine was built with; None looks beside the engine, then where
                `make plugin` puts it. Not used by an engine without StripGate, or with the plugin inside.

        Raises:
            InputError: the plugin cannot be loaded here, or is of another operator version.
            ManifestError: the manifest is missing, or is not this engine's.
            EngineMismatchError: the engine was built for another TensorRT version, plugin, GPU or platform.
            MissingDependencyError: TensorRT, or the package for device memory, is not installed.
            DeviceError: there is no usable GPU, or too little memory on it.
        """
        self.manifest = read_engine_manifest(path)
        engine = cast("EngineManifest", self.manifest.engine)
        check_engine_file(path, engine)
        library_file = find_plugin(path, engine, plugin, default_plugin)
        library = load_tensorrt(engine.flavour)
        check_version(path, engine, library.version)
        check_platform(path, engine)
        if library_file is not None:
            load_plugin(library, library_file)
        with ExitStack() as resources:
            device = open_device()
            resources.callback(device.close)
            check_architecture(path, engine, device.architecture)
            self._execution: _Execution | None = _Execution(path, self.manifest, library.trt, device, resources)
            self._resources = resources.pop_all()
        self.name = f"{engine.flavour} {library.version} ({device.architecture})"
        self.device: Processor = "cuda"
        self.max_batch: int | None = engine.max_batch

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x H x W x 3 uint8 RGB, whatever the engine's input format, 1 <= N <= max_batch, to N x D float32,
        L2-normalised.

        Raises:
            InputError: `images` is not such an array, or the backend is closed.
            DeviceError: the GPU failed.
        """
        return self._open_execution().run(images)

    def run_timed(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], StageTimes]:
        """`run`, and where its time went by the GPU's own clock."""
        return self._open_execution().run_timed(images)

    def _open_execution(self) -> "_Execution":
        if self._execution is None:
            raise InputError("this embedder is closed; open the engine again")
        return self._execution

    def close(self) -> None:
        """Free the engine and its device memory."""
        self._resources.close()
        self._execution = None


class _Execution:
    """A deserialised engine with its execution context, stream and device memory.

    What it holds is given back by `resources`, also when a later step of its construction fails.
    """

    def __init__(
        self, path: Path, manifest: Manifest, trt: ModuleType, device: DeviceMemory, resources: ExitStack
    ) -> None:
        self._manifest = manifest
        self._described = cast("EngineManifest", manifest.engine)
        self._device = device
        self._logger = collecting_logger(trt)
        self._messages: list[str] = self._logger.errors
        self._runtime = create_runtime(trt, self._logger, self._described)
        resources.callback(self._release)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise ManifestError(
                f"{path} cannot be deserialised ({complaint(self._messages)}); build it again on this machine"
            )
        check_tensors(path, self._engine, trt, manifest)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise DeviceError(f"{path} got no execution context ({complaint(self._messages)}); free memory on the GPU")
        self._active_profile = 0
        self._stream = device.create_stream()
        resources.callback(device.destroy_stream, self._stream)
        self._addresses: dict[str, int] = {}
        largest = self._described.max_batch
        for name, size in (
            (_INPUT, largest * math.prod(manifest.input_shape) * np.dtype(manifest.input_type).itemsize),
            (_OUTPUT, largest * manifest.embedding_size * np.dtype(np.float32).itemsize),
        ):
            self._addresses[name] = device.allocate(size)
            resources.callback(device.free, self._addresses[name])
        self._bind()

    def run_timed(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], StageTimes]:
        """See `TensorRTBackend.run_timed`."""
        with ExitStack() as resources:
            events = []
            for _ in range(4):
                events.append(self._device.create_event())
                resources.callback(self._device.destroy_event, events[-1])
            unset = iter(events)
            embeddings = self.run(images, lambda: self._device.record_event(next(unset), self._stream))
            upload, compute, download = (self._device.seconds_between(*pair) for pair in pairwise(events))
            return embeddings, StageTimes(upload, compute, download)

    def run(self, images: NDArray[np.uint8], mark: Callable[[], None] = lambda: None) -> NDArray[np.float32]:
        """See `TensorRTBackend.run`.

        Args:
            images: as there.
            mark: called four times: before the upload, between the steps, and behind the download.
        """
        index = self._described.profile_for(len(images))
        image_shape = (self._manifest.height, self._manifest.width, 3)
        pixels = fit_batch(images, self._described.profiles[index], image_shape)
        batch = network_input(pixels, self._manifest.input_format)
        output = np.empty((len(batch), self._manifest.embedding_size), np.float32)
        self._messages.clear()
        self._activate(index)
        if not self._context.set_input_shape(_INPUT, batch.shape):
            raise DeviceError(f"the engine refused the input shape {batch.shape} ({complaint(self._messages)})")
        mark()
        self._device.upload(self._addresses[_INPUT], batch, self._stream)
        mark()
        queued = self._context.execute_async_v3(self._stream)
        mark()
        if queued:
            self._device.download(output, self._addresses[_OUTPUT], self._stream)
            mark()
        # Also after a failure: `batch` must outlive its copy.
        self._device.synchronise(self._stream)
        if not queued:
            raise DeviceError(f"the engine failed on a batch of {len(batch)} ({complaint(self._messages)})")
        return output[: len(images)]

    def _activate(self, profile: int) -> None:
        if profile == self._active_profile:
            return
        if not self._context.set_optimization_profile_async(profile, self._stream):
            raise DeviceError(f"the engine refused its profile {profile} ({complaint(self._messages)})")
        self._active_profile = profile
        self._bind()

    def _bind(self) -> None:
        for name, address in self._addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise DeviceError(f"the engine refused the address of {name} ({complaint(self._messages)})")

    def _release(self) -> None:
        # In this order, and before the device is let go of.
        self._context = self._engine = self._runtime = None


def fit_batch(images: NDArray[np.uint8], profile: BatchProfile, image_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Check a batch and pad it with black images to the smallest batch that the engine takes.

    Args:
        images: N x H x W x 3 uint8.
        profile: batch sizes the engine takes.
        image_shape: H, W, 3.

    Returns:
        max(N, profile.min) x H x W x 3 uint8, C-contiguous.

    Raises:
        InputError: another shape or type, or N is 0 or larger than profile.max.
    """
    count = len(images)
    if images.shape[1:] != image_shape or images.dtype != np.uint8 or not 1 <= count <= profile.max:
        raise InputError(
            f"a batch has shape {images.shape} and type {images.dtype}; expected 1 to {profile.max} images of shape "
            f"{image_shape} and type uint8"
        )
    if count >= profile.min:
        return np.ascontiguousarray(images)
    batch = np.zeros((profile.min, *image_shape), np.uint8)
    batch[:count] = images
    return batch


def check_tensors(path: Path, engine: Any, trt: ModuleType, manifest: Manifest) -> None:
    """Refuse an engine whose inputs, outputs and profiles are not what its manifest promises.

    Args:
        path: the engine file, for the message.
        engine: the deserialised `ICudaEngine`.
        trt: the TensorRT module.
        manifest: the engine's.

    Raises:
        ManifestError: another name, type or shape, or other batch profiles.
    """
    given = [_tensor(engine, engine.get_tensor_name(index)) for index in range(engine.num_io_tensors)]
    promised = [
        (_INPUT, trt.TensorIOMode.INPUT, getattr(trt, manifest.input_type), (-1, *manifest.input_shape)),
        (_OUTPUT, trt.TensorIOMode.OUTPUT, trt.float32, (-1, manifest.embedding_size)),
    ]
    # An engine for a single batch size has that size where others have -1.
    sized = [(name, mode, kind, (-1, *shape[1:])) for name, mode, kind, shape in given]
    if sorted(sized, key=lambda tensor: tensor[0] != _INPUT) != promised:
        raise ManifestError(
            f"{path} has the tensors {_listing(given)}; its manifest promises {_listing(promised)}: build it again"
        )
    shapes = [engine.get_tensor_profile_shape(_INPUT, index) for index in range(engine.num_optimization_profiles)]
    profiles = [BatchProfile(*(shape[0] for shape in each)) for each in shapes]
    check_profiles(path, cast("EngineManifest", manifest.engine), profiles)


def _tensor(engine: Any, name: str) -> tuple[str, Any, Any, tuple[int, ...]]:
    return (name, engine.get_tensor_mode(name), engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name)))


def _listing(tensors: list[tuple[str, Any, Any, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {kind} {shape}" for name, _, kind, shape in tensors)
