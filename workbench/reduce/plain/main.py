"""What the script does when it is run."""

from __future__ import annotations

import json
import sys

import torch
from torch import Tensor

from workbench.reduce.plain.comparing import Config, compare, part, read_tensors
from workbench.reduce.plain.models import HERE
from workbench.reduce.plain.single_operator import operator_expected
from workbench.reduce.plain.stage_verify import expected, found_rows


def live_found() -> dict[str, Tensor]:
    """Call the path under test on the same case; needs it and specwb."""
    try:
        from workbench.reduce.live import found_again
    except ImportError as missing:
        print(f"--live needs specwb and the path under test on the import path: {missing}", file=sys.stderr)
        sys.exit(3)
    tensors: dict[str, Tensor] = found_again(HERE)
    return tensors


def show_operator(case: Config, inputs: dict[str, Tensor], found: Tensor, own: torch.dtype) -> bool:
    """Compare the located operator alone; return whether it differs."""
    told = case["operator"]
    print(f"\nthe first tensor that its own inputs do not give: {told['name']} ({told['operator']})")
    print(f"  inputs: {', '.join(told['inputs'])}")
    given = [inputs[f"operator.{number}"] for number in range(len(told["inputs"]))]
    exact, rounded = (operator_expected(told["name"], given, own, wide) for wide in (torch.float64, own))
    if exact is None or rounded is None:
        print("  this operator is not written out here")
        return False
    return compare(told["name"].rpartition(".")[2], found, exact[-len(found) :], rounded[-len(found) :])


def main() -> int:
    """Print what was found and what is expected; return 1 where they differ."""
    case = json.loads((HERE / "case.json").read_text())["script"]
    tensors = read_tensors(HERE / "stage.safetensors")
    inputs = part(tensors, "inputs.")
    found = live_found() if "--live" in sys.argv[1:] else part(tensors, "found.")
    own = getattr(torch, case["dtype"])
    print(f"{case['finding']['rule']} at {case['stage'] or 'no single stage'}: {case['finding']['message']}")
    print(f"\n{case['stage']}, recomputed from its inputs ({case['dtype']}, expected in float64):")
    exact, rounded = (expected(case, inputs, own, wide) for wide in (torch.float64, own))
    shown = found_rows(inputs, found) if case["stage"] == "verify" else found
    compared = [name for name in exact if name in shown]
    differs = [compare(name, shown[name], exact[name], rounded[name]) for name in compared]
    if case["operator"] and "operator" in found:
        differs.append(show_operator(case, inputs, found["operator"], own))
    if exact and not compared:
        print("  the path gave no result of this stage: its launch was refused, or it raised")
        return 1
    if any(differs):
        print("\nreproduced: the path gives something else than its inputs do")
        return 1
    where = "recorded: found {fused}, expected {reference}".format(**case["finding"])
    print(f"\nnothing recomputed here differs; the finding is about {case['finding']['column']}; {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
