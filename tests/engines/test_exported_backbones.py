"""Engines for two GPUs from files that our own export writes of two backbones and a neck, by the real TensorRT-RTX."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.builder import build_engine
from engines.layers import Layer, layers_path, load_layers
from engines.options import BuildOptions
from engines.plan_bytes import missing_plugin_traces
from runtime.engine_manifest import BatchProfile
from runtime.files import sha256
from runtime.manifest import Precision, read_engine_manifest

Exported = Callable[[str], dict[Precision, Path]]
HEAVY = {"CONVOLUTION", "MATRIX_MULTIPLY"}
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet10t": {"backbone": "resnet10t"},
    "mobilenetv3_small_050": {"backbone": "mobilenetv3_small_050"},
    "resnet10t, last stride 1, neck": {"backbone": "resnet10t", "last_stride": 1, "neck": "bn"},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Exports a network with random weights, 64 x 32 input and two strips, once; gives the files by precision."""
    for package in ("torch", "timm", "onnxscript"):
        pytest.importorskip(package, reason=f"nothing can be exported here: {package} is not installed")
    from export.onnx_export import export_checkpoint
    from train.checkpoint import untrained_checkpoint

    done: dict[str, dict[Precision, Path]] = {}

    def export(network: str) -> dict[Precision, Path]:
        if network not in done:
            folder = tmp_path_factory.mktemp("network")
            size = {"height": 64, "width": 32, "strips": 2}
            checkpoint = untrained_checkpoint(folder / "checkpoint.pt", **NETWORKS[network], **size)
            report = export_checkpoint(checkpoint, folder, None)
            assert report.fp16 is not None
            done[network] = {"fp32": report.fp32, "fp16": report.fp16}
        return done[network]

    return export


def types_of(layers: tuple[Layer, ...], kinds: set[str]) -> set[str]:
    return {layer.outputs[0].type for layer in layers if layer.type in kinds}


def types_of_neck(layers: tuple[Layer, ...]) -> set[str]:
    return {layer.outputs[0].type for layer in layers if layer.name.startswith("neck/")}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", ["SM86", "SM120"])
def test_the_plugin_is_inside_in_the_network_and_in_the_plan(
    exported: Exported, network: str, precision: Precision, target: str, plugin_library: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    onnx_path = exported(network)[precision]
    options = BuildOptions((BatchProfile(1, 8, 32),), targets=(target,), precision=precision)

    out = tmp_path / "model.engine"
    engine = build_engine(onnx_path, out, flavour="tensorrt-rtx", plugin=plugin_library, options=options)

    manifest = read_engine_manifest(engine)
    assert manifest.engine is not None
    assert (manifest.backbone, manifest.precision) == (NETWORKS[network]["backbone"], precision)
    assert manifest.engine.gpu_architectures == (target,)
    assert manifest.engine.plugin_sha256 == sha256(plugin_library)
    belongs_to, layers = load_layers(layers_path(engine))
    assert belongs_to == sha256(engine)
    (gate,) = (layer for layer in layers if layer.type == "PLUGIN_V3")
    kind = {"fp32": "FLOAT", "fp16": "HALF"}[precision]
    assert gate.outputs[0].type == kind
    assert gate.outputs[0].shape == (-1, manifest.embedding_size)
    assert types_of(layers, HEAVY) == {kind}
    # The neck computes in float32 whatever the precision.
    assert types_of_neck(layers) == ({"FLOAT"} if "neck" in NETWORKS[network] else set())
    # What TensorRT-RTX itself wrote into the plan.
    assert f'custom_layer={{ name="{gate.name}"'.encode() in engine.read_bytes()
    assert missing_plugin_traces(engine) == []
