"""A small network with everything that our ONNX files have, made without torch."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from plugin_harness import headers_of

from engines.batch_norm import fold_batch_norms
from engines.graph import read_manifest, save_model, set_functions, write_manifest
from engines.precision import to_fp16
from engines.strip_gate import DOMAIN, IR_VERSION, OPERATOR_VERSION, OPSET, strip_gate_node
from runtime.manifest import Gate, Manifest, Neck

MakeModel = Callable[..., onnx.ModelProto]
CHANNELS = 16


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """Makes an fp32 `ModelProto` with manifest and function body: see `tiny_model`."""
    return tiny_model


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    """Five inputs of the tiny network."""
    return np.random.default_rng(1).integers(0, 256, (5, 64, 32, 3), np.uint8)


@pytest.fixture(scope="session")
def run_onnx() -> Callable[[onnx.ModelProto, NDArray[np.uint8]], NDArray[np.float32]]:
    """Runs a model with ONNX Runtime on the CPU, on images N x H x W x 3 uint8 whatever its input format."""
    # Not above: a machine on which scripts/check_gpu.sh runs need not have OpenCV.
    from runtime.preprocess import network_input

    def run(model: onnx.ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        batch = network_input(images, read_manifest(model).input_format)
        result: NDArray[np.float32] = session.run(["embeddings"], {"images": batch})[0]
        return result

    return run


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An fp32 file, 64 x 32 input, K = 4, C = 16, R = 4, D = 16, functions kept."""
    path = tmp_path_factory.mktemp("tiny") / "model.onnx"
    save_model(tiny_model(), path)
    return path


@pytest.fixture(scope="session")
def tiny_fp16_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network cast to fp16."""
    path = tmp_path_factory.mktemp("tiny") / "model.fp16.onnx"
    save_model(to_fp16(tiny_model()), path)
    return path


@pytest.fixture(scope="session")
def tiny_neck_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with a batch norm for its neck, folded as an export folds it."""
    path = tmp_path_factory.mktemp("tiny") / "model.onnx"
    save_model(fold_batch_norms(tiny_model(neck="bn")), path)
    return path


@pytest.fixture(scope="session")
def tiny_neck_fp16_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That network cast to fp16."""
    path = tmp_path_factory.mktemp("tiny") / "model.fp16.onnx"
    save_model(to_fp16(tiny_model(neck="bn")), path)
    return path


@pytest.fixture(scope="session")
def plugin_library(repository: Path) -> Path:
    """libstrip_gate.so, as `make plugin` builds it; one that is there keeps its GPUs (nothing to do if up to date)."""
    for tool in ("nvcc", "cmake", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"the plugin is not built here: {tool} is not installed")
    script = repository / "scripts" / "build_plugin.sh"
    build = subprocess.run([str(script), "--as-before"], capture_output=True, text=True)
    assert build.returncode == 0, build.stderr[-2000:]
    return Path(build.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def tensorrt_headers(plugin_library: Path) -> Path:
    """The folder of NvInferRuntime.h that the library was built with."""
    headers = headers_of(plugin_library)
    if headers is None:
        pytest.skip("TensorRT's headers are not where the plugin was built with them")
    return headers


@pytest.fixture(scope="session")
def cuda_headers() -> Path:
    """The folder of cuda_runtime_api.h."""
    nvcc = Path(shutil.which("nvcc") or "").resolve()
    for folder in (nvcc.parents[1] / "include", Path("/usr/local/cuda/include")):
        if (folder / "cuda_runtime_api.h").is_file():
            return folder
    pytest.skip("CUDA's headers are not beside nvcc")


def tiny_model(
    gate: Gate = "strip",
    strips: int = 4,
    reduction: int = 4,
    channels_last: bool = False,
    neck: Neck = "none",
    seed: int = 0,
) -> onnx.ModelProto:
    """Two convolutions with batch norm and a residual branch, the gate, the neck, the L2 norm; 64 x 32 to D = 16."""
    random = np.random.default_rng(seed)
    strips = 1 if gate != "strip" else strips
    weights = {
        "pixel_scale": np.float32(255),
        "mean": np.float32([0.485, 0.456, 0.406]).reshape(3, 1, 1),
        "std": np.float32([0.229, 0.224, 0.225]).reshape(3, 1, 1),
        "conv1.weight": random.normal(0, 0.3, (CHANNELS, 3, 3, 3)),
        "conv2.weight": random.normal(0, 0.1, (CHANNELS, CHANNELS, 3, 3)),
        "conv2.bias": random.normal(0, 0.1, CHANNELS),
        "conv3.weight": random.normal(0, 0.1, (CHANNELS, CHANNELS, 3, 3)),
        "pool.w1": random.normal(0, 0.5, (strips, reduction, CHANNELS)),
        "pool.w2": random.normal(0, 0.5, (strips, CHANNELS, reduction)),
        "spatial": np.int64([2, 3]),
        "features": np.int64([1]),
        "eps": np.float32(1e-12),
    }
    for name in ("bn1", "bn2", "neck"):
        weights |= {
            f"{name}.weight": random.uniform(0.5, 1.5, CHANNELS),
            f"{name}.bias": random.normal(0, 0.1, CHANNELS),
            f"{name}.running_mean": random.normal(0, 0.1, CHANNELS),
            f"{name}.running_var": random.uniform(0.5, 1.5, CHANNELS),
        }
    nodes = [*_head(), *_body(), *_pool(gate, strips, channels_last), *_tail(neck)]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 64, 32, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", CHANNELS])],
        [_initialiser(name, value) for name, value in weights.items() if name in used],
    )
    opset = {"": OPSET} | ({DOMAIN: OPERATOR_VERSION} if gate != "none" else {})
    model = helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid(*item) for item in opset.items()]
    )
    manifest = Manifest(
        backbone="tiny",
        embedding_size=CHANNELS,
        gate=gate,
        strips=strips,
        reduction=reduction if gate != "none" else 0,
        height=64,
        width=32,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        neck=neck,
        functions="strip" if gate != "none" else None,
        gate_layout="nhwc" if channels_last and gate != "none" else "nchw",
        opset=opset,
    )
    write_manifest(model, manifest)
    return set_functions(model, "keep")


def _initialiser(name: str, value: np.ndarray) -> TensorProto:
    value = np.asarray(value)
    return numpy_helper.from_array(value if value.dtype == np.int64 else value.astype(np.float32), name)


def _head() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", ["images"], ["pixels"], name="to_float", to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "pixel_scale"], ["unit"], name="unit"),
        helper.make_node("Transpose", ["unit"], ["planes"], name="to_planes", perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["planes", "mean"], ["centred"], name="centre"),
        helper.make_node("Div", ["centred", "std"], ["normalised"], name="normalise_pixels"),
    ]


def _norm(x: str, y: str, name: str) -> onnx.NodeProto:
    parameters = [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    return helper.make_node("BatchNormalization", [x, *parameters], [y], name=name, epsilon=1e-5)


def _body() -> list[onnx.NodeProto]:
    def conv(inputs: list[str], y: str, name: str, stride: int) -> onnx.NodeProto:
        return helper.make_node("Conv", inputs, [y], name=name, pads=[1] * 4, strides=[stride] * 2)

    return [
        conv(["normalised", "conv1.weight"], "c1", "conv1", 4),
        _norm("c1", "b1", "bn1"),
        helper.make_node("Relu", ["b1"], ["r1"], name="relu1"),
        conv(["r1", "conv2.weight", "conv2.bias"], "c2", "conv2", 2),
        _norm("c2", "b2", "bn2"),
        helper.make_node("Relu", ["b2"], ["r2"], name="relu2"),
        conv(["r2", "conv3.weight"], "c3", "conv3", 1),
        helper.make_node("Add", ["c3", "r2"], ["x"], name="residual"),
    ]


def _pool(gate: Gate, strips: int, channels_last: bool) -> list[onnx.NodeProto]:
    if gate == "none":
        return [helper.make_node("ReduceMean", ["x", "spatial"], ["descriptor"], name="pool", keepdims=0)]
    nodes = [helper.make_node("Transpose", ["x"], ["x_last"], name="to_last", perm=[0, 2, 3, 1])]
    gate_node = strip_gate_node(
        "x_last" if channels_last else "x",
        "pool.w1",
        "pool.w2",
        "descriptor",
        num_strips=strips,
        channels_last=channels_last,
    )
    return [*(nodes if channels_last else []), gate_node]


def _tail(neck: Neck) -> list[onnx.NodeProto]:
    x = "necked" if neck == "bn" else "descriptor"
    return [
        *([_norm("descriptor", x, "neck")] if neck == "bn" else []),
        helper.make_node("ReduceL2", [x, "features"], ["length"], name="length", keepdims=1),
        helper.make_node("Clip", ["length", "eps"], ["divisor"], name="at_least_eps"),
        helper.make_node("Div", [x, "divisor"], ["embeddings"], name="normalise"),
    ]
