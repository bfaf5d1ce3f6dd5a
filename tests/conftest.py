"""Fixtures that every room's tests share."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from strip_gate_library import StripGateLibrary

from runtime.device import open_device
from runtime.engine_manifest import BatchProfile, Flavour
from runtime.errors import InputError, LgeuError, MissingDependencyError

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """CUDA's own folder is on the PATH. Of several processes each has cores of its own: waiting threads crawl."""
    os.environ["PATH"] += f"{os.pathsep}/usr/local/cuda/bin"
    process, processes = os.environ.get("PYTEST_XDIST_WORKER"), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if process is None or not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= processes:
        os.sched_setaffinity(0, cores[int(process.removeprefix("gw")) :: processes])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The README's commands first: they take the longest of what cannot be divided among processes."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes share the tests, one takes the whole of a room: its fixtures are costly to make."""
    from xdist.scheduler import LoadScopeScheduling

    class RoomScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "/".join(nodeid.partition("::")[0].split("/")[:2])  # a room's folder, or a file beside them

    return RoomScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C works in tests and in what they start, also where the test run is a job in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def unread(repository: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python with these arguments, and its standard output is a pipe that nobody reads any more."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            return subprocess.run(
                [sys.executable, *map(str, arguments)],
                env={**os.environ, "PYTHONPATH": str(repository), "PYTHONUNBUFFERED": ""},
                stdout=pipe,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images, video and models, which are not part of the project."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not here: {folder} does not exist")
    return folder


@pytest.fixture(scope="session")
def has_gpu() -> bool:
    """Whether this machine has a GPU that engines can run on."""
    try:
        open_device().close()
    except LgeuError:
        return False
    return True


@pytest.fixture(scope="session")
def plugin_of_version_2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with the StripGate plugin's entry points, made for version 2 of the operator."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("version_2")
    source = folder / "version_2.c"
    source.write_text(
        'char const* strip_gate_operator_version(void) { return "2"; }\n'
        "void strip_gate_set_error_handler(void* handler) { (void)handler; }\n"
        "void* getCreators(int* count) { *count = 0; return 0; }\n"
    )
    library = folder / "libstrip_gate.so"
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    return library


@pytest.fixture(scope="session")
def build_for_this_gpu(has_gpu: bool) -> Callable[..., Path]:
    """Builds an engine for the GPU at hand; skips where there is none, or the library is missing or does not know it.

    The engine lies beside the ONNX file.
    """
    if not has_gpu:
        pytest.skip("needs an NVIDIA GPU")
    from engines.builder import build_engine
    from engines.options import BuildOptions

    def build(
        onnx_path: Path,
        flavour: Flavour,
        *profiles: BatchProfile,
        plugin: Path | None = None,
        embed_plugin: bool = False,
    ) -> Path:
        try:
            options = BuildOptions(profiles, embed_plugin=embed_plugin, allow_min_batch=True)
            return build_engine(onnx_path, flavour=flavour, plugin=plugin, options=options)
        except MissingDependencyError as error:
            pytest.skip(str(error))
        except InputError as error:
            if "does not build for" not in str(error):
                raise
            pytest.skip(str(error))

    return build


@pytest.fixture(scope="session")
def kernel_on_the_cpu(tmp_path_factory: pytest.TempPathFactory) -> StripGateLibrary:
    """The StripGate kernel's device code, compiled for the CPU; addresses are those of arrays, a stream is not used."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    plugin = REPOSITORY / "engines" / "plugin"
    path = tmp_path_factory.mktemp("host") / "libstrip_gate_host.so"
    flags = ["-O2", "-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    sources = [plugin / name for name in ("host/strip_gate_host.cpp", "strip_gate_plan.cpp", "strip_gate_c_api.cpp")]
    subprocess.run([compiler, *flags, f"-I{plugin}", *map(str, sources), "-o", str(path)], check=True)
    return StripGateLibrary(path)


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Within `full_disk(size)` no file grows beyond so many bytes; the test run's own output may be a file, too."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
