"""Small models, videos and cameras for the runtime's tests."""

import http.server
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from local_servers import serving
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runtime.manifest import METADATA_KEY, Manifest

HEIGHT, WIDTH, SIZE = 16, 8, 6
OPSET = 18


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    """Of the tiny model."""
    return Manifest(
        backbone="none",
        embedding_size=SIZE,
        gate="none",
        strips=1,
        reduction=0,
        height=HEIGHT,
        width=WIDTH,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3),
        opset={"": OPSET},
    )


@pytest.fixture(scope="session")
def weights() -> NDArray[np.float32]:
    """(H * W * 3, D): what the tiny model multiplies its normalised pixels with."""
    return np.random.default_rng(0).normal(size=(HEIGHT * WIDTH * 3, SIZE)).astype(np.float32)


@pytest.fixture(scope="session")
def tiny_graph(manifest: Manifest, weights: NDArray[np.float32]) -> onnx.ModelProto:
    """uint8 N x 16 x 8 x 3 to L2-normalised N x 6: every pixel of every channel matters."""
    constants = {
        "scale": np.float32(255),
        "mean": np.array(manifest.mean, np.float32),
        "std": np.array(manifest.std, np.float32),
        "flat": np.array([-1, HEIGHT * WIDTH * 3], np.int64),
        "weights": weights,
        "axes": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "scale"], ["unit"]),
        helper.make_node("Sub", ["unit", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normalised"]),
        helper.make_node("Reshape", ["normalised", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["descriptors"]),
        helper.make_node("ReduceL2", ["descriptors", "axes"], ["lengths"], keepdims=1),
        helper.make_node("Div", ["descriptors", "lengths"], ["embeddings"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", SIZE])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: manifest.to_json()})
    onnx.checker.check_model(model)
    return model


@pytest.fixture(scope="session")
def tiny_model(tiny_graph: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a file."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    onnx.save(tiny_graph, str(path))
    return path


@pytest.fixture(scope="session")
def oracle(manifest: Manifest, weights: NDArray[np.float32]) -> Callable[[NDArray[np.uint8]], NDArray[np.float64]]:
    """What the tiny model gives for N x H x W x 3 uint8 RGB, in float64."""

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        pixels = (images.astype(np.float64) / 255 - manifest.mean) / manifest.std
        descriptors = pixels.reshape(len(images), -1) @ weights.astype(np.float64)
        return descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)

    return embed


@pytest.fixture(scope="session")
def crops() -> list[NDArray[np.uint8]]:
    """Eleven noise crops of eleven sizes."""
    generator = np.random.default_rng(1)
    return [generator.integers(0, 256, (20 + 5 * i, 9 + 2 * i, 3), np.uint8) for i in range(11)]


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Writes a video whose frame k is a grey ramp shifted by k."""

    def make(frames: int = 12, width: int = 64, height: int = 48, name: str = "video.avi") -> Path:
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (width, height))
        assert writer.isOpened()
        for index in range(frames):
            row = (np.arange(width) * 3 + index * 10) % 256
            writer.write(np.repeat(np.broadcast_to(row, (height, width))[..., None], 3, axis=2).astype(np.uint8))
        writer.release()
        return path

    return make


def write_fixed_detector(path: Path, output: NDArray[np.float32], shape: tuple[int, ...] = (1, 3, 64, 64)) -> Path:
    """A detector that finds the same in every frame."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["images"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "zero"], ["nothing"]),
            helper.make_node("Add", ["found", "nothing"], ["output"]),
        ],
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, output.shape)],
        [numpy_helper.from_array(output, "found"), numpy_helper.from_array(np.float32(0), "zero")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.fixture
def fixed_detector() -> Callable[..., Path]:
    """Writes a YOLOX file that finds the same in every frame: path, output (1 x 84 x 7 or more), input shape."""
    return write_fixed_detector


def write_light_detector(path: Path, batch: int | str) -> Path:
    """A detector whose scores grow with the frame's light: .25 in the dark, 1 in white."""
    found, light = np.zeros((1, 84, 7), np.float32), np.zeros((1, 84, 7), np.float32)
    found[0, 83] = [0, 0, 0, 0, 0.5, 0.5, 0]
    light[0, 83, 4:6] = 0.5 / 255
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["images", "axes"], ["largest"], keepdims=0),
            helper.make_node("Reshape", ["largest", "shape"], ["column"]),
            helper.make_node("Mul", ["column", "light"], ["lit"]),
            helper.make_node("Add", ["found", "lit"], ["output"]),
        ],
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, 64, 64])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 84, 7])],
        [
            numpy_helper.from_array(found, "found"),
            numpy_helper.from_array(light, "light"),
            numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"),
            numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "shape"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


@pytest.fixture
def light_detector() -> Callable[..., Path]:
    """Writes a YOLOX file that finds one person in light frames: path, batch size (a number, or a name for any)."""
    return write_light_detector


class Camera(http.server.BaseHTTPRequestHandler):
    """Gives the server's next pictures to each who asks, and then hangs up; refuses when there are none."""

    def do_GET(self) -> None:
        connections: list[list[bytes]] = self.server.connections  # type: ignore[attr-defined]
        if not connections:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for content in connections.pop(0):
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
            self.wfile.write(head.encode() + content + b"\r\n")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def run_mjpeg_camera(*connections: list[bytes]) -> Iterator[str]:
    """The URL of an MJPEG camera on this machine that hangs up after each list of pictures."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.connections = list(connections)  # type: ignore[attr-defined]
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}/video.mjpg"


@pytest.fixture
def mjpeg_camera() -> Callable[..., AbstractContextManager[str]]:
    """Runs an MJPEG camera on this machine that hangs up after each list of pictures, and gives its URL."""
    return run_mjpeg_camera


class Files(http.server.SimpleHTTPRequestHandler):
    """Says nothing about what it gives."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def run_web_server(folder: Path) -> Iterator[str]:
    """The URL of a web server on this machine that gives the files of a folder."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder)))
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def web_server() -> Callable[[Path], AbstractContextManager[str]]:
    """Runs a web server on this machine that gives the files of a folder, and gives its URL."""
    return run_web_server
