"""The front door: console script, `python -m specwb`, pytest plugin. Imports nothing of ours at module level.

The four packages behind it have generic names (`tracing`, `invariants`, `reference`, `workbench`), so
this file is what scripts and plugins touch; `house()` puts our own folder first before anything else of ours
is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def __getattr__(name: str) -> str:
    """Return `__version__`, read when it is asked for."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tracing.version import VERSION

    return VERSION


def house() -> None:
    """Put the folder of our packages first on `sys.path`, so that no folder of the user shadows them."""
    folder = str(Path(__file__).resolve().parent)
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)


def main() -> int:
    """Run the command line and return its exit code."""
    house()
    try:
        from workbench.cli.run import end_process, run_command

        return end_process(run_command(sys.argv[1:]))
    except KeyboardInterrupt:  # while modules were imported, or on the way out
        print("specwb: interrupted", file=sys.stderr)
        return 130


def private(name: str) -> Any:
    """Import a module of ours below `_specwb_house`, taking no public name in anybody's process."""
    folder = Path(__file__).resolve().parent
    if "_specwb_house" not in sys.modules:
        path = folder / "workbench" / "cli" / "plugin" / "house.py"
        spec = importlib.util.spec_from_file_location("_specwb_house", path)
        if spec is None or spec.loader is None:
            raise ImportError(f"specwb is not whole: {path} cannot be loaded; install it again")
        module = importlib.util.module_from_spec(spec)
        sys.modules["_specwb_house"] = module
        spec.loader.exec_module(module)
        module.open_house(str(folder))
    return importlib.import_module(f"_specwb_house.{name}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    group = parser.getgroup("specwb", "specwb: invariants of tree speculative decoding")
    for option, destination, text in (
        (
            "--specwb-trace",
            "specwb_trace",
            "Recorded run; one test per invariant; may be repeated. Write it with =, for pytest's own sake.",
        ),
        ("--specwb-select", "specwb_select", "Only these rules, as in specwb check --select."),
        ("--specwb-ignore", "specwb_ignore", "Not these rules."),
    ):
        group.addoption(option, action="append", default=[], dest=destination, help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Register hooks and fixtures under a private name."""
    config.pluginmanager.register(private("workbench.cli.plugin.hooks"), "specwb-hooks")


if __name__ == "__main__":
    sys.exit(main())
