"""This checkout as an engine's environment sees an installed specwb, without changing that environment."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final
from uuid import uuid4

ROOT: Final = Path(__file__).parent.parent


def recording(folder: Path, run: Path) -> dict[str, str]:
    """Return the environment variables under which an engine finds the plugin and records to `run`.

    Args:
        folder: Gets the metadata of a distribution with this project's entry points.
        run: Folder of the run.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    metadata = folder / "installed" / "specwb-0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    groups = {group: dict(points) for group, points in project["entry-points"].items()}
    groups["vllm.general_plugins"]["specwb-engines"] = "engines.prepared:everywhere"
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in groups.items()
    ]
    _put(metadata / "METADATA", "Metadata-Version: 2.1\nName: specwb\nVersion: 0\n")
    _put(metadata / "entry_points.txt", "\n".join(lines))
    return {
        "PYTHONPATH": f"{metadata.parent}:{ROOT}",
        "SPECWB_TRACE": str(run),
        "SPECWB_TRACE_BUDGET": "1",
        "SPECWB_TRACE_LEVEL": "digest",
        "SPECWB_TRACE_MODE": "full",
    }


def _put(file: Path, text: str) -> None:
    """Write a file that engines which start at this moment may read."""
    fresh = file.with_suffix(f".{uuid4().hex}")
    fresh.write_text(text)
    fresh.replace(file)
