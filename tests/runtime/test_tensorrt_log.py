"""What TensorRT complains of, with the real TensorRT-RTX, whose builder needs no GPU."""

import gc
from typing import Any

import pytest

from runtime.tensorrt_library import load_tensorrt
from runtime.tensorrt_log import collecting_logger, complaint


@pytest.fixture
def trt() -> Any:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    return load_tensorrt("tensorrt-rtx").trt


def build_nothing(builder: Any) -> object:
    return builder.build_serialized_network(builder.create_network(0), builder.create_builder_config())


def test_a_second_builder_is_heard_while_the_first_lives(trt: Any) -> None:
    gc.collect()
    first = trt.Builder(collecting_logger(trt))
    log = collecting_logger(trt)
    second = trt.Builder(log)
    assert build_nothing(second) is None
    assert "output" in complaint(log.errors)
    assert build_nothing(first) is None


def test_an_earlier_use_is_forgotten(trt: Any) -> None:
    log = collecting_logger(trt)
    assert build_nothing(trt.Builder(log)) is None
    assert log.errors
    assert complaint(collecting_logger(trt).errors) == "TensorRT gave no reason"
