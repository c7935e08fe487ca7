"""What was verified on devices that this machine may not have, as `make test-cuda` keeps it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, NamedTuple

FORMAT: Final = "specwb-cuda-1"
RECORD: Final = Path(__file__).with_name("verified_cuda.json")
"""The record of the last run; there is none before the first."""
MAX_BYTES: Final = 1 << 20


class CudaRecord(NamedTuple):
    """What a run on a CUDA device showed.

    Attributes:
        device: Its name.
        when: ISO 8601.
        torch: Version of torch.
        passed, failed, not_run: Names of steps.
    """

    device: str
    when: str
    torch: str
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    not_run: tuple[str, ...]


def cuda_record(file: Path = RECORD) -> CudaRecord | None:
    """Return the kept record, or None where there is none that can be read."""
    try:
        if file.stat().st_size > MAX_BYTES:
            return None
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            return None
        names: dict[str, list[str]] = {"passed": [], "failed": [], "not run": []}
        for step in data["steps"]:
            names[step["status"]].append(str(step["step"]))
        by_status = (tuple(each) for each in names.values())
        return CudaRecord(
            str(data["device"]), str(data["when"]), str(data["versions"].get("torch")), *by_status
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def cuda_evidence(record: CudaRecord | None, here: str, torch: str | None) -> tuple[bool, str]:
    """Return whether both paths are verified on this machine's CUDA device, and what shows it.

    Args:
        record: The kept record.
        here: Name of this machine's device, or empty.
        torch: This machine's version of torch.
    """
    if record is None:
        return False, "never run there; make test-cuda keeps its result"
    ran = f"{record.device}, torch {record.torch}, {record.when}: {len(record.passed)} steps passed"
    wrong = [f"{name} failed" for name in record.failed] + [f"{name} not run" for name in record.not_run]
    if wrong:
        return False, f"{ran}; {', '.join(wrong)}"
    if here != record.device or torch != record.torch:
        return False, f"{ran}; not on this machine ({here or 'no CUDA device'}, torch {torch})"
    return True, ran
