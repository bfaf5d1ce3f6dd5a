"""`lgeu export`: a checkpoint to `model.onnx` and `model.fp16.onnx`, checked before they are written."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from engines.precision import to_fp16
from runtime.errors import InputError
from runtime.files import atomic_path, removed_path, sha256
from runtime.manifest import UNTRAINED, GateLayout, InputFormat, Manifest
from runtime.preprocess import preprocess_batch
from runtime.progress import progress
from train.checkpoint import load_checkpoint
from train.embedder import TorchBackend

from .checks import BATCHES, BatchCheck, batches_of, compare, largest_activation
from .convert import convert
from .report import FP16_MIN_COSINE, FP16_MIN_COSINE_UNTRAINED, ExportReport, check_fp16, check_fp32


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    crops: Iterable[NDArray[np.uint8]] | None = None,
    *,
    fp16: bool = True,
    layout: GateLayout = "nchw",
    input_format: InputFormat = "uint8-nhwc",
) -> ExportReport:
    """Export a checkpoint to ONNX.

    Both files take `images` (RGB, 0..255, any N; N x H x W x 3 uint8, or N x 3 x H x W float32) and give `embeddings`
    (N x D float32, L2-normalised), and hold the manifest, the StripGate node and its function body. They are written
    together, after both have passed: ONNX's checker; fp32 within 1e-5 of torch in every element; fp16 at a cosine to
    torch of at least .999 (.99 where the weights are random); each with ONNX Runtime on the CPU, at batches 1 and 7 on
    the first crops and at batch 32 on all of them; and no activation beyond fp16's largest number. Without `fp16`, an
    fp16 file that an earlier export left in `out` is removed: it would be another model's.

    Args:
        checkpoint: a `checkpoint.pt`.
        out: folder for `model.onnx` and `model.fp16.onnx`, or, for an input format other than the runtime's own, for
            `model.float-nchw.onnx` and `model.float-nchw.fp16.onnx`; made if need be.
        crops: real crops to check on, h x w x 3 uint8 BGR, any sizes; each of them costs time. None takes 32 images of
            random noise, on which activations say little about those on real images.
        fp16: whether to write the fp16 file, too, or to remove it.
        layout: how StripGate reads the feature map; "nhwc" puts a Transpose in front of it.
        input_format: what the files take as `images`: "uint8-nhwc", or "float-nchw" for DeepStream's nvinfer.

    Raises:
        InputError: no such checkpoint, no crops, a weight that fp16 cannot hold, `layout` is "nhwc" and there is no
            StripGate, or `out` cannot be written to.
        ManifestError: the checkpoint's manifest is not valid.
        CheckFailedError: a file disagrees with torch, or fp16 overflows; nothing was written.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder for the ONNX files")
    fp32_path, fp16_path = (out / name for name in _names(input_format))
    source = load_checkpoint(Path(checkpoint))
    images, described = _images(crops, source.manifest)
    min_cosine = FP16_MIN_COSINE_UNTRAINED if source.manifest.trained_on == UNTRAINED else FP16_MIN_COSINE
    files: dict[Path, onnx.ModelProto] = {}
    fp16_checks: tuple[BatchCheck, ...] = ()
    with progress(range(4), "exporting", unit="step") as bar:
        hashed = sha256(Path(checkpoint))
        model = files[fp32_path] = convert(source, hashed, layout=layout, input_format=input_format)
        bar.update()
        reference = TorchBackend(source.model, source.manifest, torch.device("cpu")).run
        batches = batches_of(images)
        expected = [reference(batch) for batch in progress(batches, "embedding with PyTorch")]
        fp32_checks = compare(model, batches, expected, input_format)
        check_fp32(fp32_checks)
        bar.update()
        activation = largest_activation(model, images, input_format)
        bar.update()
        if fp16:
            half = files[fp16_path] = _cast(model)
            fp16_checks = compare(half, batches, expected, input_format)
            check_fp16(fp16_checks, min_cosine, activation)
        bar.update()
    _save_together(files, () if fp16 else (fp16_path,))
    return ExportReport(
        fp32=fp32_path,
        fp16=fp16_path if fp16 else None,
        images=described,
        fp32_checks=fp32_checks,
        fp16_checks=fp16_checks,
        min_cosine=min_cosine,
        activation=activation,
    )


def _names(input_format: InputFormat) -> tuple[str, str]:
    """Of the fp32 and the fp16 file. Files that take something else must not lie where `model.onnx` is expected."""
    if input_format not in get_args(InputFormat):
        raise InputError(f"input format is {input_format!r}; expected one of {', '.join(get_args(InputFormat))}")
    stem = "model" if input_format == "uint8-nhwc" else f"model.{input_format}"
    return f"{stem}.onnx", f"{stem}.fp16.onnx"


def _cast(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return to_fp16(model)
    except InputError as error:
        raise InputError(f"{error}; nothing was written: export without fp16 (--no-fp16)") from error


def _images(crops: Iterable[NDArray[np.uint8]] | None, manifest: Manifest) -> tuple[NDArray[np.uint8], str]:
    if crops is None:
        count = max(BATCHES)
        noise = np.random.default_rng(0).integers(0, 256, (count, manifest.height, manifest.width, 3), np.uint8)
        return noise, f"{count} images of random noise; give crops for figures that mean something"
    images = preprocess_batch(list(crops), manifest.height, manifest.width, "BGR")
    if not len(images):
        raise InputError("no crops were given to check on; give at least one, or none at all for random noise")
    return images, f"{len(images)} given crops"


def _save_together(files: dict[Path, onnx.ModelProto], stale: Iterable[Path]) -> None:
    """Write several files so that they appear together: all are complete before the first takes its place.

    `stale` files are removed when they do.
    """
    with ExitStack() as stack:
        for path, model in files.items():
            stack.enter_context(atomic_path(path)).write_bytes(model.SerializeToString(deterministic=True))
        for path in stale:
            stack.enter_context(removed_path(path))
