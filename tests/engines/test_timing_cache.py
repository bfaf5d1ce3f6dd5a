"""The timing cache's file: what is done with it and said of it. TensorRT itself, which fills it, is not here."""

import logging
from pathlib import Path

import pytest

from engines.timing_cache import attach_timing_cache, save_timing_cache
from runtime.errors import InputError

LIBRARY = "TensorRT 10.3.0"


class Cache:
    """As TensorRT's own: of one version, and of one GPU."""

    def __init__(self, content: bytes) -> None:
        self.content = content or b"10.3|SM87|"

    def serialize(self) -> memoryview:
        return memoryview(self.content)


class Config:
    """As much of an `IBuilderConfig` as a cache needs, by NVIDIA's documentation."""

    def __init__(self, takes_any: bool = True) -> None:
        self.takes_any = takes_any
        self.cache: Cache | None = None

    def create_timing_cache(self, content: bytes) -> Cache | None:
        return Cache(content) if not content or content.startswith(b"10.3|") else None

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        fits = self.takes_any and cache.content.startswith(b"10.3|SM87|")
        assert not ignore_mismatch
        self.cache = cache if fits else self.cache
        return fits

    def get_timing_cache(self) -> Cache | None:
        return self.cache


def test_a_cache_is_begun_kept_and_used_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "folder" / "timing.cache"
    config = Config()
    with caplog.at_level(logging.INFO):
        attach_timing_cache(config, path, LIBRARY)
    assert f"{path} does not exist; a new timing cache is begun" in caplog.text
    assert not path.exists()
    assert config.cache is not None
    config.cache.content += b"conv1=7us"
    save_timing_cache(config, path)
    assert path.read_bytes() == b"10.3|SM87|conv1=7us"

    caplog.clear()
    again = Config()
    attach_timing_cache(again, path, LIBRARY)
    assert again.cache is not None
    assert again.cache.content == b"10.3|SM87|conv1=7us"
    assert caplog.text == ""
    assert [each.name for each in path.parent.iterdir()] == ["timing.cache"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"no cache at all", "written by another version or for another GPU, or is damaged"),
        (b"10.2|SM87|conv1=7us", "written by another version"),
        (b"10.3|SM86|conv1=7us", "for another GPU"),
    ],
)
def test_a_cache_that_cannot_be_used_is_built_anew_and_said(
    content: bytes, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "timing.cache"
    path.write_bytes(content)
    config = Config()
    attach_timing_cache(config, path, LIBRARY)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert message.startswith(f"timing cache {path} cannot be used by TensorRT 10.3.0 here (")
    assert reason in message
    assert message.endswith("; it is built anew")
    # Until the build is over the old one stays.
    assert path.read_bytes() == content
    save_timing_cache(config, path)
    assert path.read_bytes() == b"10.3|SM87|"


def test_a_cache_that_can_neither_be_read_nor_written_costs_no_engine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config()
    attach_timing_cache(config, tmp_path, LIBRARY)
    assert "(Is a directory); it is built anew" in caplog.text
    save_timing_cache(config, tmp_path)
    assert f"the engine is built, and its timings are not kept: cannot write {tmp_path}" in caplog.text


def test_a_library_that_takes_no_cache(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"TensorRT 10\.3\.0 accepts no timing cache; leave --timing-cache out"):
        attach_timing_cache(Config(takes_any=False), tmp_path / "none", LIBRARY)
