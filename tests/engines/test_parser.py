"""TensorRT-RTX's real parser on the files as they are kept: without a plugin it expands the function."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: a plugin that another test has loaded would be taken instead of the function.
PARSE = """
import json, sys
import tensorrt_rtx_bindings as trt
builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, builder.logger)
with open(sys.argv[1], "rb") as file:
    parsed = parser.parse(file.read())
errors = [str(parser.get_error(index)) for index in range(parser.num_errors)]
layers = [network.get_layer(index) for index in range(network.num_layers)]
print(json.dumps({
    "errors": errors if not parsed or errors else [],
    "input": network.get_input(0).dtype.name,
    "output": network.get_output(0).dtype.name,
    "layers": [[layer.type.name, layer.name, layer.get_output(0).dtype.name] for layer in layers],
}))
"""


KINDS = [
    ("tiny_onnx", "FLOAT"),
    ("tiny_fp16_onnx", "HALF"),
    ("tiny_neck_onnx", "FLOAT"),
    ("tiny_neck_fp16_onnx", "HALF"),
]


@pytest.mark.parametrize(("fixture", "kind"), KINDS)
def test_a_kept_file_parses_in_the_types_it_says(fixture: str, kind: str, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    path: Path = request.getfixturevalue(fixture)
    result = subprocess.run([sys.executable, "-c", PARSE, path], capture_output=True, text=True, check=True)
    parsed = json.loads(result.stdout.splitlines()[-1])

    assert parsed["errors"] == []
    assert (parsed["input"], parsed["output"]) == ("UINT8", "FLOAT")
    kinds = {layer: {dtype for name, _, dtype in parsed["layers"] if name == layer} for layer, _, _ in parsed["layers"]}
    assert kinds["CONVOLUTION"] == {kind}
    assert kinds["MATRIX_MULTIPLY"] == {"FLOAT"}  # of the gate: StripGate accumulates in float32
    neck = {name: dtype for _, name, dtype in parsed["layers"] if name.startswith("neck.")}
    assert neck == ({"neck.scale": "FLOAT", "neck.shift": "FLOAT"} if "neck" in fixture else {})
    assert not any(name.startswith("PLUGIN") for name in kinds)
