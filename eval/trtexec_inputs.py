"""The images of a data set as trtexec reads them, so that an engine can be proven where only trtexec runs it."""

import shlex
from pathlib import Path

import numpy as np

from runtime.embeddings import save_manifest
from runtime.engine_manifest import BatchProfile
from runtime.errors import InputError
from runtime.files import write_bytes
from runtime.manifest import Manifest
from runtime.preprocess import network_input, preprocess_batch
from runtime.progress import progress

from .datasets import ReidDataset

_ANY_BATCH = BatchProfile(1, 32, 32)


def write_trtexec_inputs(dataset: ReidDataset, manifest: Manifest, out: Path) -> list[str]:
    """Write the query and then the gallery images as raw batches, and say how trtexec runs them.

    The files hold the network's input, that is pictures of people: treat them as the data set itself.

    Args:
        dataset: with a test half or a split.
        manifest: of the model that trtexec will run. An engine gets its largest batches, and where the last images are
            fewer than it takes, black ones after them; another model gets batches of up to 32.
        out: new or empty folder for `0000.bin`, `0001.bin`, ... and the manifest.

    Returns:
        For each file the arguments to put behind `trtexec --loadEngine=... --dynamicPlugins=...` in a shell. They write
        `0000.json`, ... into `out`, which is then a candidate for `eval.parity.compare`.

    Raises:
        InputError: no test half, an unreadable image, or `out` has something in it or cannot be written to.
    """
    dataset.require_test_half()
    out = Path(out)
    if out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"{out} is not empty, and what another engine gave must not lie among these; name a new folder"
        )
    engine = manifest.engine
    profiles = engine.profiles if engine else (_ANY_BATCH,)
    largest = max(profile.max for profile in profiles)
    images = (*dataset.query, *dataset.gallery)
    save_manifest(out, manifest)
    arguments = []
    for number, start in enumerate(progress(range(0, len(images), largest), "writing inputs", unit="batch")):
        crops = [dataset.read(image) for image in images[start : start + largest]]
        index = engine.profile_for(len(crops)) if engine else 0
        pixels = preprocess_batch(crops, manifest.height, manifest.width, "BGR")
        black = max(profiles[index].min - len(pixels), 0)
        batch = network_input(np.pad(pixels, [(0, black), (0, 0), (0, 0), (0, 0)]), manifest.input_format)
        path = out / f"{number:04d}.bin"
        write_bytes(path, batch.tobytes())
        options = [
            f"--shapes=images:{'x'.join(map(str, batch.shape))}",
            f"--loadInputs=images:{path}",
            f"--exportOutput={path.with_suffix('.json')}",
            *([f"--useProfile={index}"] if len(profiles) > 1 else []),
        ]
        arguments.append(shlex.join(options))
    return arguments
