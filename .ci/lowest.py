"""Print the lowest version that pyproject.toml admits of each dependency, one `name==version` a line.

Usage: python lowest.py pyproject.toml [EXTRA ...]
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def main(pyproject: str, *extras: str) -> None:
    """Print the floors of the base and of the extras."""
    project = tomllib.loads(Path(pyproject).read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(need for name in extras for need in project["optional-dependencies"][name]),
    ]
    for need in wanted:
        found = re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)(,<[0-9.]+)?", need)
        if found is None:
            raise SystemExit(f"a dependency should read name>=floor[,<limit], got {need!r}")
        print(f"{found[1]}=={found[2]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
