"""The files that trtexec reads hold the network's input in the order in which its output is read back."""

import dataclasses
import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from eval.datasets import open_dataset
from eval.parity import Candidate, ExportedCandidate, compare
from eval.trtexec_inputs import write_trtexec_inputs
from runtime.embedder import Backend, Embedder
from runtime.engine_manifest import BatchProfile, EngineManifest
from runtime.errors import InputError
from runtime.manifest import InputFormat, Manifest


def engine_manifest(manifest: Manifest, profiles: Sequence[BatchProfile]) -> Manifest:
    engine = EngineManifest("tensorrt", "10.3.0", ("SM86",), tuple(profiles), "e", "o", None)
    return dataclasses.replace(manifest, engine=engine)


def run_trtexec(arguments: Sequence[str], backend: Backend) -> list[int]:
    """What trtexec does with such arguments, by a backend; gives the batch sizes."""
    sizes = []
    for line in arguments:
        options = dict(option.removeprefix("--").split("=", 1) for option in shlex.split(line))
        shape = [int(part) for part in options["shapes"].removeprefix("images:").split("x")]
        source, result = options["loadInputs"].removeprefix("images:"), options["exportOutput"]
        planar = shape[1] == 3
        images = np.fromfile(source, np.float32 if planar else np.uint8).reshape(shape)
        features = backend.run(images.transpose(0, 2, 3, 1).astype(np.uint8) if planar else images)
        dimensions = "x".join(map(str, features.shape))
        tensor = {"name": "embeddings", "dimensions": dimensions, "values": features.ravel().tolist()}
        Path(result).write_text(json.dumps([tensor]))
        sizes.append(shape[0])
    return sizes


@pytest.mark.parametrize("input_format", ["uint8-nhwc", "float-nchw"])
@pytest.mark.parametrize(
    ("profiles", "sizes", "used"),
    [
        ([], [24], []),
        ([BatchProfile(1, 4, 10)], [10, 10, 4], []),
        ([BatchProfile(6, 8, 10)], [10, 10, 6], []),
        ([BatchProfile(7, 7, 7)], [7, 7, 7, 7], []),
        ([BatchProfile(30, 32, 64)], [30], []),
        ([BatchProfile(5, 5, 5), BatchProfile(8, 8, 10)], [10, 10, 5], [1, 1, 0]),
    ],
)
def test_what_is_run_on_the_files_agrees_with_the_model(
    crowd: Path,
    tmp_path: Path,
    make_embedder: Callable[..., Embedder],
    profiles: list[BatchProfile],
    sizes: list[int],
    used: list[int],
    input_format: InputFormat,
) -> None:
    dataset = open_dataset(crowd, "person%2")
    backend = make_embedder(precision="fp16").backend
    manifest = engine_manifest(backend.manifest, profiles) if profiles else backend.manifest
    manifest = dataclasses.replace(manifest, input_format=input_format)
    out = tmp_path / "batches of 'E'"
    arguments = write_trtexec_inputs(dataset, manifest, out)
    assert run_trtexec(arguments, backend) == sizes
    assert [int(index) for line in arguments for index in re.findall(r"--useProfile=(\d+)", line)] == used
    report = compare(Candidate("reference", make_embedder), [ExportedCandidate("batches", out)], dataset)
    assert report.failures == ()
    assert report.stages[0].precision == "fp16"
    assert report.stages[0].comparison is not None
    assert report.stages[0].comparison.agreement is not None
    assert report.stages[0].comparison.agreement.max_abs_difference == pytest.approx(0, abs=1e-6)


def test_a_folder_with_something_in_it_is_refused(
    crowd: Path, tmp_path: Path, make_embedder: Callable[..., Embedder]
) -> None:
    (tmp_path / "0000.json").write_text("what another engine gave")
    with pytest.raises(InputError, match="is not empty"):
        write_trtexec_inputs(open_dataset(crowd, "person%2"), make_embedder().manifest, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["0000.json"]
