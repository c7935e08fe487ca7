"""Limits of a candidate's process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """What a candidate may take.

    Attributes:
        call_s: Seconds for one case, its two calls together.
        build_s: Seconds to import or compile.
        memory_mib: MiB beyond what the process has when the candidate is loaded; 0 is no limit.
    """

    call_s: float = 60.0
    build_s: float = 300.0
    memory_mib: int = 4096


def limit_memory(mebibytes: int) -> None:
    """Bound this process's memory from here on; a system without such limits has none."""
    try:
        import resource

        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    except (ImportError, OSError):
        return
    most = int(pages) * os.sysconf("SC_PAGE_SIZE") + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
