"""The front door: console script, `python -m specwb`, pytest plugin. Imports nothing of ours at module level.

The four packages behind it have generic names (`tracing`, `invariants`, `reference`, `workbench`), so
this file is what scripts and plugins touch; `house()` puts our own folder first before anything else of ours
is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

__version__ = "0.1.0"


def house() -> None:
    """Put the folder of our packages first on `sys.path`, so that no folder of the user shadows them."""
    folder = str(Path(__file__).resolve().parent)
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)


def main() -> int:
    """Run the command line and return its exit code (DESIGN section 7)."""
    house()
    from workbench.cli.run import run_command

    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
