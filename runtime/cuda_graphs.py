"""CUDA graphs of work that is queued again and again."""

import logging
from collections.abc import Callable, Hashable

from .device import CudaDevice
from .errors import DeviceError
from .freeing import free_quietly

logger = logging.getLogger(__name__)


class CudaGraphs:
    """Queues work on a stream, from the third time on as one graph, which saves a launch for each of its kernels.

    One thread at a time uses it, with the device current. Where a graph cannot be made, all work is queued piece by
    piece from then on, with one warning.
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

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        """Queue `work`.

        Args:
            key: names all that the work depends on: which kernels, what sizes, what addresses.
            work: queues it on the stream.

        Raises:
            DeviceError: it cannot be queued.
        """
        graph = self._graphs.get(key)
        if graph is not None:
            self._device.launch_graph(graph, self._stream)
            return
        # Also before a capture, so that what TensorRT updates after a change of shape is not part of the graph.
        work()
        if key in self._seen and not self._refused:
            self._capture(key, work)
        # Sizes that come once, such as that of a video's last batch, are not worth a graph.
        self._seen.add(key)

    def close(self) -> None:
        """Give the graphs back; none may be running."""
        graphs = list(self._graphs.values())
        self._graphs.clear()
        for graph in graphs:
            free_quietly(self._device.destroy_graph, graph)

    def _capture(self, key: Hashable, work: Callable[[], None]) -> None:
        try:
            self._graphs[key] = self._device.capture(self._stream, work)
        except DeviceError as error:
            self._refused = True
            logger.warning("%s runs without CUDA graphs, which makes small batches slower: %s", self._name, error)
