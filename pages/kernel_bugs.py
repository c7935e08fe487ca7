"""Write docs/kernel-bugs.md: planted kernel bugs, and which judge refuses each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from workbench.kernels.call import CaseResult, call, judge_call
from workbench.kernels.kernel import Draw, Kernel
from workbench.kernels.operators import KERNELS
from workbench.kernels.planted import PLANTED_BUGS
from workbench.kernels.planted.bug import PlantedBug, sound

INTRO = """# Planted kernel bugs

Written by `make pages`. Each kernel has one mistake; `specwb kernels run --candidate planted:NAME` runs it.
*Ours* is the number of cases that our judge refuses, and the first of them with its rule. The public rule is
NPUKernelBench's for such an operator ([how](kernels.md)); it is asked on the cases in which it accepts the
sound kernel. *On its own kind* are those of random values in the shape that a kernel is built for: what the
public benchmark would run. A bug is *passed* there when no such case refuses it. The public rules cannot
judge some outputs at all, such as logits of minus infinity: *no case*.
"""


def page() -> str:
    """Return the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    clean = {name: {one.case: one for one in judged(kernel, None)} for name, kernel in KERNELS.items()}
    yield INTRO
    yield "| planted bug | operator | mistake | ours | public rule, all cases | public rule, its own kind |"
    yield "| --- | --- | --- | --- | --- | --- |"
    rows = [_row(bug, clean[bug.kernel]) for bug in PLANTED_BUGS.values()]
    yield from (line for line, _, _ in rows)
    passed, passed_own = sum(one for _, one, _ in rows), sum(one for _, _, one in rows)
    yield (
        f"\nOf {len(rows)} bugs our judge refuses {len(rows)}. The public rules pass {passed} on all of "
        f"these cases, and {passed_own} on cases of their own kind."
    )
    yield "\n## Sound kernels\n"
    yield "Cases of the border's own kernels that the public rule refuses, or that it cannot judge.\n"
    yield "| operator | public rule | cases | refused | raises |\n| --- | --- | --- | --- | --- |"
    for name, results in clean.items():
        public = [one.published for one in results.values() if one.published is not None]
        raised = sum(bool(one.raises) for one in public)
        refused = sum(not one.passed for one in public) - raised
        yield f"| `{name}` | {KERNELS[name].rule} | {len(results)} | {refused} | {raised} |"


def judged(kernel: Kernel, bug: PlantedBug | None) -> list[CaseResult]:
    """Return every case of a kernel, of the sound one when there is no bug."""
    candidate = sound(kernel.name) if bug is None else bug.function
    return [
        judge_call(kernel, case, 0, call(kernel, candidate, case.build(Draw(0)))) for case in kernel.cases
    ]


def _row(bug: PlantedBug, clean: dict[str, CaseResult]) -> tuple[str, bool, bool]:
    """Return the line, and whether the public rule passes the bug on all cases and on its own kind."""
    kernel = KERNELS[bug.kernel]
    results = judged(kernel, bug)
    refused = [one for one in results if not one.passed]
    first = f"{len(refused)} of {len(results)}: {refused[0].judged.refusals[0].rule} in {refused[0].case}"
    usual = {case.name for case in kernel.cases if case.form == "static" and case.values == "ordinary"}
    fair = [one for one in results if _accepts(clean[one.case])]
    own = [one for one in fair if one.case in usual]
    words = [_public(fair), _public(own)]
    line = (
        f"| `{bug.name}`: {bug.about} | `{bug.kernel}` | {bug.mistake} | {first} | {words[0]} | {words[1]} |"
    )
    return line, bool(fair) and all(map(_accepts, fair)), bool(own) and all(map(_accepts, own))


def _accepts(result: CaseResult) -> bool:
    return result.published is not None and result.published.passed


def _public(results: list[CaseResult]) -> str:
    if not results:
        return "no case"
    refused = sum(not _accepts(one) for one in results)
    return f"refuses {refused} of {len(results)}" if refused else f"**passes** {len(results)}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
