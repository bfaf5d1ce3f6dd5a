"""What TensorRT complains of, with the real TensorRT-RTX, whose builder needs no GPU."""

import logging
from typing import Any

import pytest

from runtime.tensorrt_library import load_tensorrt
from runtime.tensorrt_log import collecting_logger, complaint


@pytest.fixture
def trt() -> Any:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    return load_tensorrt("tensorrt-rtx").trt


def messages_of_an_empty_build(trt: Any, builder: Any) -> list[str]:
    log = collecting_logger(trt)
    assert builder.build_serialized_network(builder.create_network(0), builder.create_builder_config()) is None
    return list(log.errors)


def test_everything_is_heard_while_an_earlier_builder_lives(trt: Any, caplog: pytest.LogCaptureFixture) -> None:
    first = trt.Builder(collecting_logger(trt))
    with caplog.at_level(logging.DEBUG):
        log = collecting_logger(trt)
        second = trt.Builder(log)
    assert "logger is ignored" not in caplog.text
    # The registry is the process's own, and knows the first logger only.
    trt.get_plugin_registry().load_library("/none/plugin.so")
    assert "/none/plugin.so" in complaint(log.errors)
    for builder in (second, first):
        assert "Network must have at least one output" in complaint(messages_of_an_empty_build(trt, builder))


def test_an_earlier_use_is_forgotten(trt: Any) -> None:
    assert messages_of_an_empty_build(trt, trt.Builder(collecting_logger(trt)))
    assert complaint(collecting_logger(trt).errors) == "TensorRT gave no reason"
