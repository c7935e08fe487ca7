"""Results of candidates in a folder: run where the device is, judged where the judge is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tracing.errors import UsageError
from workbench.kernels.call import CaseResult, judge_call
from workbench.kernels.kernel import Kernel
from workbench.kernels.operators import KERNELS
from workbench.kernels.reports import Gate, GateOptions, KernelReport
from workbench.kernels.wire import read
from workbench.npu.doctor import versions

FORMAT: Final = "specwb-kernels-1"
MANIFEST: Final = "kernels.json"
MAX_MANIFEST: Final = 16 << 20


def result_file(folder: Path, kernel: str, case: str, seed: int) -> Path:
    """Return where the result of a case is kept."""
    return folder / f"{kernel}.{case}.{seed}.result"


def keep_manifest(folder: Path, options: GateOptions, reports: Sequence[KernelReport]) -> None:
    """Write what the results beside it are: candidate, device, seeds, versions, cases without one."""
    failed = [
        {"operator": report.kernel, "case": result.case, "rule": first.rule, "message": first.message}
        for report in reports
        for result in report.results
        for first in result.judged.refusals[:1]
        if result.published is None
    ]
    manifest = {
        "format": FORMAT,
        "candidate": reports[0].candidate if reports else "",
        "device": options.device,
        "seeds": list(options.seeds),
        "versions": dict(versions()),
        "failed": failed,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def judge_kept(folder: Path, kernels: Sequence[Kernel]) -> list[KernelReport]:
    """Judge every kept result; of these operators, or of all that have one.

    Raises:
        UsageError: The folder or a file in it is not what `kernels run --keep` writes.
    """
    manifest = _manifest(folder)
    reports = []
    for kernel in kernels or tuple(KERNELS.values()):
        results = _results(folder, kernel, manifest)
        if results:
            reports.append(_report(kernel, str(manifest["candidate"]), results))
    if not reports:
        raise UsageError(
            f"{folder} holds no result of {', '.join(one.name for one in kernels) or 'any operator'}"
        )
    return reports


def _manifest(folder: Path) -> Mapping[str, Any]:
    file = folder / MANIFEST
    try:
        if file.stat().st_size > MAX_MANIFEST:
            raise ValueError(f"{file.stat().st_size:,} bytes")
        manifest = json.loads(file.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']!r}")
        return {
            "candidate": str(manifest["candidate"]),
            "seeds": [int(seed) for seed in manifest["seeds"]][:1000],
            "failed": [{name: str(text) for name, text in one.items()} for one in manifest["failed"]],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{file}: expected what kernels run --keep writes, format {FORMAT}: {error}"
        ) from error


def _results(folder: Path, kernel: Kernel, manifest: Mapping[str, Any]) -> list[CaseResult]:
    found = [
        judge_call(kernel, case, seed, read(file))
        for seed in manifest["seeds"]
        for case in kernel.cases
        if (file := result_file(folder, kernel.name, case.name, seed)).is_file()
    ]
    failed = [one for one in manifest["failed"] if one.get("operator") == kernel.name]
    told = ([one.get(name, "") for name in ("case", "rule", "message")] for one in failed)
    return found + [CaseResult.failed(kernel.name, case, "ordinary", *rest) for case, *rest in told]


def _report(kernel: Kernel, candidate: str, results: Sequence[CaseResult]) -> KernelReport:
    wrong = sum(not result.passed for result in results)
    sentence = f"{wrong} of {len(results)} cases" if wrong else f"{len(results)} cases"
    return KernelReport(
        kernel=kernel.name,
        level=kernel.level,
        candidate=candidate,
        build=Gate("passed", "kept results"),
        correctness=Gate("refused" if wrong else "passed", sentence),
        results=tuple(results),
    )
