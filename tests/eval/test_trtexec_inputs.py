"""The files that trtexec reads hold the network's input in the order in which its output is read back."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eval.datasets import open_dataset
from eval.parity import Candidate, ExportedCandidate, compare
from eval.trtexec_inputs import write_trtexec_inputs
from runtime.embedder import Embedder
from runtime.errors import InputError


def test_what_is_run_on_the_files_agrees_with_the_model(
    crowd: Path, tmp_path: Path, make_embedder: Callable[..., Embedder]
) -> None:
    dataset = open_dataset(crowd, "person%2")
    backend = make_embedder().backend
    arguments = write_trtexec_inputs(dataset, backend.manifest, 10, tmp_path / "batches")
    assert len(arguments) == 3
    for line in arguments:
        shape = [int(part) for part in re.findall(r"--shapes=images:(\S+)", line)[0].split("x")]
        (source,) = re.findall(r"--loadInputs=images:(\S+)", line)
        (result,) = re.findall(r"--exportOutput=(\S+)", line)
        features = backend.run(np.fromfile(source, np.uint8).reshape(shape))
        dimensions = "x".join(map(str, features.shape))
        tensor = {"name": "embeddings", "dimensions": dimensions, "values": features.ravel().tolist()}
        Path(result).write_text(json.dumps([tensor]))
    report = compare(
        Candidate("reference", make_embedder), [ExportedCandidate("batches", tmp_path / "batches")], dataset
    )
    assert report.failures == ()


def test_an_empty_batch_is_refused(crowd: Path, tmp_path: Path, make_embedder: Callable[..., Embedder]) -> None:
    with pytest.raises(InputError, match="batch size is 0"):
        write_trtexec_inputs(open_dataset(crowd, "person%2"), make_embedder().manifest, 0, tmp_path)
