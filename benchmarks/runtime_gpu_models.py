"""What runs the model in `runtime_gpu.py`: torch in three forms, ONNX Runtime and TensorRT."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from runtime.backend import Processor
from runtime.dependencies import require
from runtime.embedder import Embedder
from runtime.errors import CheckFailedError, DeviceError, InputError, MissingDependencyError
from runtime.files import sha256
from runtime.manifest import Precision
from runtime.tensorrt_library import TensorRTLibrary, load_tensorrt
from train.embedder import open_checkpoint

TORCH: dict[str, tuple[Precision, bool]] = {
    "torch-fp32": ("fp32", False),
    "torch-fp16": ("fp16", False),
    "torch-fp16-compiled": ("fp16", True),
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """The files of one model. What is not given is made of the checkpoint when it is first needed, and kept.

    Attributes:
        checkpoint: of the model.
        work: folder for what is made.
        device: where it is to run.
        onnx: a file that was exported from the checkpoint; None exports one, in half for a GPU.
        engine: one that was built from such a file; None builds one, for batches of 1 to `largest`.
        largest: batch.
    """

    checkpoint: Path
    work: Path
    device: Processor
    onnx: Path | None
    engine: Path | None
    largest: int

    def open(self, contender: str, batch: int) -> Embedder:
        """The model on one of the contenders, after a first batch: torch compiles it then.

        Raises:
            DeviceError: it cannot run on this device.
            InputError: half on a CPU, or a file that is not the checkpoint's.
            MissingDependencyError: a package, or the StripGate library, is not here.
        """
        embedder = self._open(contender, batch)
        try:
            self._check(embedder)
            manifest = embedder.manifest
            embedder.backend.run(np.zeros((batch, manifest.height, manifest.width, 3), np.uint8))
        except BaseException:
            embedder.close()
            raise
        return embedder

    def _open(self, contender: str, batch: int) -> Embedder:
        if contender in TORCH:
            precision, compiled = TORCH[contender]
            if compiled:
                # For this batch size, and not, after having seen two, for any.
                torch.compiler.reset()
            return open_checkpoint(self.checkpoint, self.device, batch, precision=precision, compiled=compiled)
        if contender == "onnxruntime":
            package = "onnxruntime" if self.device == "cpu" else "onnxruntime-gpu"
            require("onnxruntime", purpose="running an ONNX file", install=f"pip install {package}")
            return Embedder.open(self._onnx_file(), backend="onnxruntime", device=self.device, batch_size=batch)
        if self.device == "cpu":
            raise DeviceError("an engine runs on a GPU only")
        return Embedder.open(self._engine_file(), backend="tensorrt", batch_size=batch)

    def _check(self, embedder: Embedder) -> None:
        hashed, found = sha256(self.checkpoint), embedder.manifest.checkpoint_sha256
        if found != hashed:
            raise InputError(
                f"what {embedder.backend.name} runs was made from a checkpoint of hash {found}, and {self.checkpoint} "
                f"has {hashed}; give the checkpoint that belongs to the file"
            )

    def _onnx_file(self) -> Path:
        if self.onnx is not None:
            return self.onnx
        half = self.device == "cuda"
        folder = self.work / f"onnx-{sha256(self.checkpoint)[:12]}"
        path = folder / ("model.fp16.onnx" if half else "model.onnx")
        if not path.exists():
            for module in ("onnx", "onnxscript", "onnxruntime"):
                require(module, purpose="exporting (or give --onnx)", install="pip install 'lgeu-reid[export]'")
            from export.onnx_export import export_checkpoint

            try:
                export_checkpoint(self.checkpoint, folder, fp16=half)
            except CheckFailedError as error:
                raise InputError(f"{self.checkpoint} cannot be exported ({error}); give --onnx") from error
        return path

    def _engine_file(self) -> Path:
        if self.engine is not None:
            return self.engine
        library = _installed_tensorrt()
        source = self._onnx_file()
        path = source.with_name(f"model-{library.flavour}-{library.version}.engine")
        if not path.exists():
            from engines.builder import build_engine
            from engines.options import BuildOptions
            from runtime.engine_manifest import BatchProfile

            log.info("building %s", path)
            profile = BatchProfile(1, min(32, self.largest), self.largest)
            try:
                build_engine(source, path, flavour=library.flavour, plugin=None, options=BuildOptions((profile,)))
            except CheckFailedError as error:
                raise InputError(f"no engine can be built of {source} ({error}); give --engine") from error
        return path


def _installed_tensorrt() -> TensorRTLibrary:
    try:
        return load_tensorrt("tensorrt")
    except MissingDependencyError:
        return load_tensorrt("tensorrt-rtx")


@contextmanager
def opened(
    models: Models, contenders: Sequence[str], batch: int, *, must: bool
) -> Iterator[tuple[dict[str, Embedder], dict[str, str]]]:
    """Those of the contenders that can run here, and why the others cannot.

    Args:
        models: what they run.
        contenders: their names.
        batch: their batch size.
        must: whether one that cannot run is an error.

    Raises:
        MissingDependencyError: none can run.
        LgeuError: as `Models.open`, where all must run.
    """
    running: dict[str, Embedder] = {}
    not_run: dict[str, str] = {}
    with ExitStack() as resources:
        for name in contenders:
            try:
                running[name] = resources.enter_context(models.open(name, batch))
            except (DeviceError, InputError, MissingDependencyError) as error:
                if must:
                    raise
                not_run[name] = str(error)
                log.warning("%s is not run: %s", name, error)
        if not running:
            raise MissingDependencyError(f"nothing runs the model here: {'; '.join(not_run.values())}")
        yield running, not_run
