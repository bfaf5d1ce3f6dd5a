"""A YOLOX detector as an engine, built from its ONNX file by trtexec, on TensorRT or TensorRT-RTX."""

from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from .device import CudaDevice, open_device
from .engine_manifest import Flavour
from .engine_queue import EngineQueue, create_streams
from .engine_slot import BatchLayout
from .engine_tensors import EngineTensor, EngineTensors
from .errors import InputError, ManifestError, MissingDependencyError
from .files import require_file
from .freeing import free_later, held_on
from .onnx_tensors import Tensor
from .tensorrt_engine import TensorRTEngine
from .tensorrt_library import load_tensorrt
from .yolox_network import check_yolox


class YoloxEngine:
    """A `runtime.yolox_network.YoloxNetwork`.

    It has no manifest: of the installed TensorRT and TensorRT-RTX the first that can deserialise it runs it.
    """

    def __init__(self, path: Path) -> None:
        """Load the engine, and allocate what its largest batch needs.

        Args:
            path: with the input and output of YOLOX's ONNX file, both float32; for one batch size, or with profiles.

        Raises:
            InputError: the file is not such a detector.
            ManifestError: no installed TensorRT can deserialise it.
            DeviceError: there is no usable GPU, or too little memory on it.
            MissingDependencyError: no TensorRT is installed, or no package for device memory.
        """
        require_file(path, "detector")
        with ExitStack() as resources:
            device = free_later(resources, lambda device: device.close(), open_device())
            with held_on(device, resources) as held:
                self._queue = self._open(path, device, held)
            self._resources = resources.pop_all()

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `runtime.yolox_network.YoloxNetwork.run`."""
        return self._queue.submit(len(images), lambda out: np.copyto(out, images)).result()

    def close(self) -> None:
        """Free the engine and its memory."""
        self._queue.close()
        self._resources.close()

    def _open(self, path: Path, device: CudaDevice, held: ExitStack) -> EngineQueue:
        streams = create_streams(device, held)
        engine, trt = _deserialise(path, device, streams.compute, held)
        layout = self._layout(path, engine.tensors, trt)
        largest = max(layout.profiles, key=lambda profile: profile.max)
        self.min_batch = min(profile.min for profile in layout.profiles)
        self.best_batch = largest.opt
        self.max_batch: int | None = largest.max
        return EngineQueue(layout, engine, device, streams, path.name, held, slots=1)

    def _layout(self, path: Path, tensors: EngineTensors, trt: ModuleType) -> BatchLayout:
        inputs, outputs = ([_tensor(each, trt) for each in some] for some in (tensors.inputs, tensors.outputs))
        self.height, self.width = check_yolox(path, inputs, outputs)
        output = outputs[0]
        if output.kind != "float32" or None in output.shape[1:]:
            raise InputError(
                f"{path} has the output {output}; expected float32 whose sizes but the first are known: build it from "
                "an ONNX file of YOLOX's own export, without --outputIOFormats"
            )
        return BatchLayout(
            input_shape=(3, self.height, self.width),
            input_type=np.dtype(np.float32),
            output_shape=cast("tuple[int, ...]", output.shape[1:]),
            profiles=tensors.profiles,
        )


def _deserialise(path: Path, device: CudaDevice, stream: int, held: ExitStack) -> tuple[TensorRTEngine, ModuleType]:
    refusals, missing = [], []
    for flavour in get_args(Flavour):
        try:
            library = load_tensorrt(flavour)
        except MissingDependencyError as error:
            missing.append(str(error))
            continue
        with ExitStack() as tried:
            try:
                engine = TensorRTEngine(path, library, device, stream, tried)
            except ManifestError as error:
                refusals.append(f"{library.flavour} {library.version}: {error}")
                continue
            held.enter_context(tried.pop_all())
            return engine, library.trt
    if not refusals:
        raise MissingDependencyError(f"{path} is an engine: {' or '.join(missing)}")
    raise ManifestError("; ".join(refusals))


def _tensor(tensor: EngineTensor, trt: ModuleType) -> Tensor:
    kind = "float32" if tensor.kind == trt.float32 else str(tensor.kind)
    return Tensor(tensor.name, kind, tuple(None if size == -1 else size for size in tensor.shape))
