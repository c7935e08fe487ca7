"""`python -m gpu`: the check on a CUDA device; `make test-cuda` runs it.

Exit codes: 0 every step was as expected, or there is no device (one line says so), 1 a step was not.
"""

from __future__ import annotations

import sys

from gpu.check import checked, device_name, in_process, keep
from gpu.plan import Step, steps


def main() -> int:
    """Run the plan and keep its record."""
    device = device_name()
    if not device:
        print("test-cuda: skipped, torch sees no CUDA device")
        return 0

    def told(step: Step, seconds: float) -> tuple[int, str, str]:
        print(f"{step.name} ...", file=sys.stderr, flush=True)
        return in_process(step, seconds)

    record = checked(steps(), device, told)
    keep(record)
    for step in record["steps"]:
        print(f"{step['status']:<8} {step['step']}: {step['said']}")
    return 0 if all(step["status"] == "passed" for step in record["steps"]) else 1


if __name__ == "__main__":
    sys.exit(main())
