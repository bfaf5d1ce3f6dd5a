"""The images of a data set as trtexec reads them, so that an engine can be proven where only trtexec runs it."""

from pathlib import Path

from runtime.errors import InputError
from runtime.files import write_bytes
from runtime.manifest import Manifest
from runtime.preprocess import preprocess_batch
from runtime.progress import progress

from .datasets import ReidDataset


def write_trtexec_inputs(dataset: ReidDataset, manifest: Manifest, batch_size: int, out: Path) -> list[str]:
    """Write the query and then the gallery images as raw batches, and say how trtexec runs them.

    The files hold the network's input, that is pictures of people: treat them as the data set itself.

    Args:
        dataset: with a test half or a split.
        manifest: of the engine.
        batch_size: images a file; the last one has the rest. Within the engine's profile.
        out: folder for `0000.bin`, `0001.bin`, ...

    Returns:
        For each file the arguments to put behind `trtexec --loadEngine=... --dynamicPlugins=...`. They write
        `0000.json`, ... into `out`, which is then a candidate for `eval.parity.compare`.

    Raises:
        InputError: no test half, an unreadable image, a batch size below 1, or `out` cannot be written to.
    """
    dataset.require_test_half()
    if batch_size < 1:
        raise InputError(f"batch size is {batch_size}; expected at least 1, within the engine's profile")
    images = (*dataset.query, *dataset.gallery)
    arguments = []
    for number, start in enumerate(progress(range(0, len(images), batch_size), "writing inputs", unit="batch")):
        crops = [dataset.read(image) for image in images[start : start + batch_size]]
        batch = preprocess_batch(crops, manifest.height, manifest.width, "BGR")
        path = Path(out) / f"{number:04d}.bin"
        write_bytes(path, batch.tobytes())
        arguments.append(
            f"--shapes=images:{'x'.join(map(str, batch.shape))} --loadInputs=images:{path} "
            f"--exportOutput={path.with_suffix('.json')}"
        )
    return arguments
