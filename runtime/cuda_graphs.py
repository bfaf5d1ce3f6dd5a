"""CUDA graphs of work that is queued again and again."""

import logging
from collections.abc import Callable, Hashable

from .device import CudaDevice
from .errors import DeviceError
from .freeing import free_quietly

Work = Callable[[], None]

# Each holds memory of the GPU's and of TensorRT's.
_MOST = 32

logger = logging.getLogger(__name__)


class CudaGraphs:
    """Queues work on a stream, from the third time on as one graph, which saves a launch for each of its kernels.

    One thread at a time uses it, with the device current. The first 32 kinds of work that come again get a graph. Where
    one cannot be made, all work that has none is queued piece by piece from then on, with one warning.
    """

    def __init__(self, device: CudaDevice, stream: int, name: str) -> None:
        """No graph yet.

        Args:
            device: the GPU.
            stream: to queue on.
            name: what is run, for the warning.
        """
        self._device = device
        self._stream = stream
        self._name = name
        self._seen: set[Hashable] = set()
        self._graphs: dict[Hashable, int] = {}
        self._refused = False

    def run(self, key: Hashable, work: Work, prepare_unchanging: Callable[[], Work]) -> None:
        """Queue `work`.

        Args:
            key: names all that the work depends on: which kernels, what sizes, what addresses.
            work: queues it on the stream.
            prepare_unchanging: gives what queues the same from an execution context of its own, for a graph to capture:
                TensorRT does not promise what a graph does once the context it was captured from was changed.

        Raises:
            DeviceError: it cannot be queued.
        """
        if key in self._graphs:
            self._device.launch_graph(self._graphs[key], self._stream)
        elif key in self._seen and not self._refused and len(self._graphs) < _MOST:
            self._run_and_capture(key, work, prepare_unchanging)
        else:
            # Sizes that come once, such as that of a video's last batch, are not worth a graph.
            self._seen.add(key)
            work()

    def close(self) -> None:
        """Give the graphs back; none may be running."""
        graphs = list(self._graphs.values())
        self._graphs.clear()
        for graph in graphs:
            free_quietly(self._device.destroy_graph, graph)

    def _run_and_capture(self, key: Hashable, work: Work, prepare_unchanging: Callable[[], Work]) -> None:
        try:
            unchanging = prepare_unchanging()
            # Before the capture, so that what TensorRT updates in a context that was set is not part of the graph.
            unchanging()
            self._graphs[key] = self._device.capture(self._stream, unchanging)
        except DeviceError as error:
            self._refused = True
            without = "without further" if self._graphs else "without"
            # Not the error itself: whoever keeps the record would keep what its traceback holds of TensorRT.
            logger.warning(
                "%s runs %s CUDA graphs, which makes small batches slower: %s", self._name, without, str(error)
            )
            work()
