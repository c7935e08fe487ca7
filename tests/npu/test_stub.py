"""The stub generator on tiny libraries: exactly what is missing is made up, nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tracing.errors import EnvironmentProblemError
from workbench.npu.stub.build import ANSWERED, ANSWERS_SOURCE, build, c_source, find_compiler, stub_folder
from workbench.npu.stub.symbols import MissingSymbols, missing_symbols

CXX_NAME = "_ZN3atb9CreateOpsEv"


def compile_library(path: Path, code: str, *options: str) -> Path:
    source = path.with_suffix(".c")
    source.write_text(code)
    command = [find_compiler(), "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-o", str(path), str(source)]
    subprocess.run([*command, *options], check=True)
    return path


@pytest.fixture(scope="module")
def fake_wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel of one library: it needs torch's `there`; of CANN `aclInit`, `gone` and a C++ name."""
    root = tmp_path_factory.mktemp("fake")
    wheel, torch_lib, cann = root / "torch_npu", root / "torch" / "lib", root / "cann"
    for folder in (wheel / "lib", torch_lib, cann):
        folder.mkdir(parents=True)
    (wheel / "version.py").write_text("__version__ = '0'\n")
    compile_library(torch_lib / "libc10.so", "int there(void) { return 1; }")
    cxx = f'long create(void) __asm__("{CXX_NAME}");'
    compile_library(
        cann / "libascendcl.so",
        "int aclInit(void *c) { return 5; } long gone(void) { return 5; }"
        f"{cxx} long create(void) {{ return 5; }}",
    )
    compile_library(cann / "libhccl.so", "int unused;")
    compile_library(
        wheel / "lib" / "libtorch_npu.so",
        f"int there(void); long gone(void); int aclInit(void *); {cxx}\n"
        "int weak(void) __attribute__((weak));\n"
        "long answer(void) { return 100 * aclInit(0) + (weak ? weak() : 0) + there() * gone() + create(); }",
        f"-L{torch_lib}",
        f"-L{cann}",
        "-Wl,--no-as-needed",
        "-lc10",
        "-lascendcl",
        "-lhccl",
    )
    return wheel, torch_lib


def test_missing_is_what_no_found_library_defines(fake_wheel: tuple[Path, Path]) -> None:
    """Not torch's `there`, not libc, not the weak reference; both CANN libraries, the empty one too."""
    missing = missing_symbols(*fake_wheel)
    assert missing == MissingSymbols(
        libraries=("libascendcl.so", "libhccl.so"), functions=(CXX_NAME, "aclInit", "gone")
    )


def test_a_library_over_stubs_loads_and_gets_error_codes(
    fake_wheel: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aclInit answers 0, every other function 107002; a second call builds nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = stub_folder(*fake_wheel)
    code = (
        "import ctypes, sys; from pathlib import Path; from workbench.npu.stub.build import preload\n"
        "ctypes.CDLL(sys.argv[3], mode=ctypes.RTLD_GLOBAL); preload(Path(sys.argv[1]))\n"
        "library = ctypes.CDLL(sys.argv[2]); library.answer.restype = ctypes.c_long; print(library.answer())"
    )
    wheel, torch_lib = fake_wheel
    arguments = [str(folder), str(wheel / "lib" / "libtorch_npu.so"), str(torch_lib / "libc10.so")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{2 * 107002}\n", done.stderr
    monkeypatch.setenv("PATH", "")
    assert stub_folder(*fake_wheel) == folder


def test_another_wheel_gets_another_stub(
    fake_wheel: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: a stub built for the old wheel is kept after an upgrade, and the import fails on a new symbol."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wheel, torch_lib = fake_wheel
    before = stub_folder(wheel, torch_lib)
    (wheel / "version.py").write_text("__version__ = '1'\n")
    assert stub_folder(wheel, torch_lib) != before


def test_answers_and_their_names_are_the_same_six() -> None:
    """Bug: a function answered in C but not named in Python is defined twice, and the build fails."""
    source = ANSWERS_SOURCE.read_text(encoding="utf-8")
    assert {name for name in ANSWERED if f"{name}(" in source} == ANSWERED
    assert not any(f'"{name}"' in c_source((*sorted(ANSWERED), "gone")) for name in ANSWERED)
    assert '"gone"' in c_source(("gone",))


def test_a_compile_error_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblemError, match=r"could not build the stub libascendcl\.so: "):
        build(MissingSymbols((), ('quote"inside',)), tmp_path, find_compiler())


def test_a_folder_without_libraries_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblemError, match="reinstall torch_npu"):
        missing_symbols(tmp_path, tmp_path)


def test_an_unwritable_cache_is_told(
    fake_wheel: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EnvironmentProblemError, match="could not be kept in"):
        stub_folder(*fake_wheel)
