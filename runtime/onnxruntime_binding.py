"""The input and the output of an ONNX Runtime session in the memory of its device."""

from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import StageTimes
from .onnx_tensors import INPUT, OUTPUT


class BoundTensors:
    """Runs a session on tensors that stay on the device from call to call, as long as the batch size stays.

    The copies start from ordinary memory: page-locked memory is there for plug-in providers only.
    """

    def __init__(self, ort: Any, session: Any, embedding_size: int, device: str = "cuda") -> None:
        """Bind nothing yet.

        Args:
            ort: the onnxruntime module.
            session: one with the input `images` and the output `embeddings`.
            embedding_size: D.
            device: as ONNX Runtime names it.
        """
        self._ort = ort
        self._session = session
        self._embedding_size = embedding_size
        self._device = device
        self._binding: Any = None
        self._input: Any = None
        self._output: Any = None

    def run(self, images: NDArray[Any]) -> tuple[NDArray[np.float32], StageTimes]:
        """What the session makes of `images`, N x ..., and where the time went: N x D float32."""
        begin = perf_counter()
        if self._input is None or tuple(self._input.shape()) != images.shape:
            self._bind(images)
        self._input.update_inplace(np.ascontiguousarray(images))
        uploaded = perf_counter()
        self._session.run_with_iobinding(self._binding)
        computed = perf_counter()
        embeddings = np.array(self._output.numpy(), np.float32)
        end = perf_counter()
        return embeddings, StageTimes(uploaded - begin, computed - uploaded, end - computed)

    def _bind(self, images: NDArray[Any]) -> None:
        # The old ones go before there are new ones, and there are all of the new ones or none.
        self._binding = self._input = self._output = None
        allocate = self._ort.OrtValue.ortvalue_from_shape_and_type
        bound_input = allocate(images.shape, images.dtype.type, self._device)
        bound_output = allocate((len(images), self._embedding_size), np.float32, self._device)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(INPUT, bound_input)
        binding.bind_ortvalue_output(OUTPUT, bound_output)
        self._binding, self._input, self._output = binding, bound_input, bound_output
