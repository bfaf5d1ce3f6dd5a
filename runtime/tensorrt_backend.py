"""Running an engine with TensorRT 10.3 to 11 or with TensorRT-RTX."""

from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .backend import PendingEmbeddings, Processor, StageTimes
from .batch_checks import check_images
from .device import CudaDevice, open_device
from .engine_manifest import EngineManifest
from .engine_match import check_architecture, check_engine_file, check_platform, check_version, find_plugin
from .engine_queue import EngineQueue, create_streams
from .engine_slot import BatchLayout
from .engine_tensors import check_tensors
from .freeing import free_later, held_on
from .manifest import read_engine_manifest
from .preprocess import network_input
from .tensorrt_engine import TensorRTEngine
from .tensorrt_library import TensorRTLibrary, default_plugin, load_plugin, load_tensorrt


class TensorRTBackend:
    """A backend (see `runtime.backend.QueueingBackend`) on an engine.

    Any threads may share it. Batches run in the order in which they are submitted, each in the profile that
    `EngineManifest.profile_for` names; while one is computed, the next is copied to the GPU. The memory of two batches
    of the largest size and of the network is allocated here; only CUDA graphs, of which there are 32 at most, take
    some later. It works in the GPU's primary context, which is the calling thread's during a call only.
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
        self._closing = Lock()
        with ExitStack() as resources:
            device = free_later(resources, lambda device: device.close(), open_device())
            check_architecture(path, engine, device.architecture)
            with held_on(device, resources) as held:
                self._queue = self._open(path, library, device, held)
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
        return self.submit(images).result()

    def submit(self, images: NDArray[np.uint8]) -> PendingEmbeddings:
        """Queue what `run` does; waits while two batches are on their way.

        Raises:
            InputError: see `run`.
            DeviceError: the GPU refused.
        """
        self._check(images)
        return self._queue.submit(len(images), lambda out: self._write(images, out))

    def run_timed(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], StageTimes]:
        """`run`, and where its time went by the GPU's own clock.

        Raises:
            InputError: see `run`.
            DeviceError: the GPU failed.
        """
        self._check(images)
        return self._queue.run_timed(len(images), lambda out: self._write(images, out))

    def close(self) -> None:
        """Wait for what is on its way, whose embeddings stay to be had, and free the engine and its memory."""
        self._queue.close()
        with self._closing:
            self._resources.close()

    def _open(self, path: Path, library: TensorRTLibrary, device: CudaDevice, held: ExitStack) -> EngineQueue:
        streams = create_streams(device, held)
        described = cast("EngineManifest", self.manifest.engine)
        engine = TensorRTEngine(path, library, device, streams.compute, held, allow_host_code=described.holds_host_code)
        check_tensors(path, engine.tensors, library.trt, self.manifest)
        layout = BatchLayout(
            input_shape=self.manifest.input_shape,
            input_type=np.dtype(self.manifest.input_type),
            output_shape=(self.manifest.embedding_size,),
            profiles=described.profiles,
        )
        return EngineQueue(layout, engine, device, streams, path.name, held)

    def _check(self, images: NDArray[np.uint8]) -> None:
        check_images(images, (self.manifest.height, self.manifest.width, 3), self.max_batch)

    def _write(self, images: NDArray[np.uint8], out: NDArray[Any]) -> None:
        network_input(images, self.manifest.input_format, out=out)
