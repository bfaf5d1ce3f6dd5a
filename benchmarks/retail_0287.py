"""person-reidentification-retail-0287 (Open Model Zoo), a network that is not ours, as an embedder.

    python benchmarks/retail_0287.py --data market1501-train.zip --model retail-0287.onnx --work FOLDER --out FILE.json

evaluates it on the validation split of Market-1501's training half. It **may have seen these people in its training**:
what it was trained on is not published. Its file has no manifest, and takes one picture at a time, BGR.
"""

import argparse
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from kept_embeddings import kept_run
from numpy.typing import NDArray

from eval.datasets import ReidDataset, open_dataset
from eval.evaluation import Evaluation, evaluate_run
from eval.machine import describe_machine, installed_versions
from eval.reranking import Reranking
from runtime.backend import Processor
from runtime.console import configure_logging
from runtime.embedder import Embedder
from runtime.files import require_file, sha256, write_json
from runtime.manifest import Manifest

NAME = "person-reidentification-retail-0287"
CAVEAT = "may have seen these people in its training: what it was trained on is not published"
SPLIT = "person%5"


class Retail0287:
    """Runs the file on one core of the CPU; see `runtime.backend.Backend`."""

    name = "onnxruntime (CPU)"
    device: Processor = "cpu"
    max_batch: int | None = None

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            InputError: there is no such file.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # single pictures are too little work to share
        self._session = onnxruntime.InferenceSession(str(require_file(path, "model")), options)
        self._input = self._session.get_inputs()[0].name
        # Only size and hash are looked at: the file has no manifest, and normalises by itself.
        self.manifest = Manifest(
            backbone=NAME,
            embedding_size=256,
            gate="none",
            strips=1,
            reduction=0,
            height=256,
            width=128,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            trained_on="not published",
            checkpoint_sha256=sha256(path),
        )

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x 256 x 128 x 3 uint8 RGB to N x 256 float32, L2-normalised."""
        rows = [self._session.run(None, {self._input: image[None]})[0].ravel() for image in _as_bgr(images)]
        features = np.stack(rows)
        return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), np.float32)

    def close(self) -> None:
        """Nothing is held beyond the session's memory."""


def _as_bgr(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(images[..., ::-1], np.float32)


def open_retail(path: Path) -> Embedder:
    """The file as an embedder.

    Raises:
        InputError: there is no such file.
    """
    return Embedder(Retail0287(path))


def evaluate_retail(model: Path, dataset: ReidDataset, work: Path, reranking: Reranking) -> Evaluation:
    """Figures by cosine distance and re-ranked; the embeddings are kept in `work`.

    Raises:
        InputError: no such file, or as `kept_embeddings.kept_run`.
    """
    return evaluate_run(kept_run(model, lambda: open_retail(model), dataset, work), reranking)


def describe_retail(model: Path, evaluation: Evaluation) -> dict[str, Any]:
    """What a report says of it."""
    return {"model": NAME, "sha256": sha256(model), "caveat": CAVEAT, "evaluation": evaluation.to_json()}


def main() -> None:
    """Evaluate it and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Market-1501's training half, a folder or a zip")
    parser.add_argument("--model", type=Path, required=True, help=f"{NAME}.onnx")
    parser.add_argument("--work", type=Path, required=True, help="folder in which its embeddings are kept")
    parser.add_argument("--out", type=Path, required=True, help="the figures (JSON)")
    arguments = parser.parse_args()
    configure_logging()
    dataset = open_dataset(arguments.data, SPLIT)
    evaluation = evaluate_retail(arguments.model, dataset, arguments.work, Reranking())
    print(evaluation.table())
    result = {
        "what": f"{NAME} on {dataset.name}",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "versions": installed_versions(),
        **describe_retail(arguments.model, evaluation),
    }
    write_json(arguments.out, result)


if __name__ == "__main__":
    main()
