"""Which earlier figures a benchmark that was cut off goes on from."""

import json
from pathlib import Path

import evaluation_cuda
import pytest
import strip_gate
from pieces import done_before

from runtime.errors import InputError

CIRCUMSTANCES = {
    "features": {"from": "generated, small", "queries": 50},
    "gpu": "a GPU",
    "gpu_mb": 85899.345920,
    "cuda": "12.8",
    "machine": {"processor": "a processor", "cores": "2"},
    "versions": {"python": "3.11.9", "numpy": "2.1.0", "torch": "2.6.0"},
    "what": "something",
    "kernel": "0123",
}
SAME = {"evaluation": evaluation_cuda.SAME, "strip_gate": strip_gate.SAME}


@pytest.mark.parametrize("benchmark", SAME)
def test_pieces_of_the_same_circumstances_are_kept(benchmark: str, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    assert done_before(path, CIRCUMSTANCES, SAME[benchmark]) == {}
    pieces = {"metrics": {"cpu / gpu": 9.5}}
    path.write_text(json.dumps({**CIRCUMSTANCES, "date": "2020-01-01", "pieces": pieces}))
    assert done_before(path, CIRCUMSTANCES, SAME[benchmark]) == pieces


@pytest.mark.parametrize(("benchmark", "name"), [(each, name) for each in SAME for name in SAME[each]])
def test_pieces_of_other_circumstances_are_refused(benchmark: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text(json.dumps({**CIRCUMSTANCES, name: "another", "pieces": {}}))
    with pytest.raises(InputError, match=rf"figures\.json holds pieces measured with other {name}, .* another file"):
        done_before(path, CIRCUMSTANCES, SAME[benchmark])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pieces": {}}'])
def test_another_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"figures\.json holds no pieces that this wrote"):
        done_before(path, CIRCUMSTANCES, evaluation_cuda.SAME)
