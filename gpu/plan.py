"""The commands of the check, in the order of what they tell; each has a limit of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PROMPT: Final = "workbench/checkpoints/prompts/code.txt"
DTYPES: Final = ("float32", "bfloat16", "float16")
LAYOUTS: Final = ("contiguous", "paged")
TOKENS: Final = "24"
FAULTS: Final = (
    "rotary-interleaved", "gate-and-up-exchanged", "wrong-parent", "score-not-accumulated", "d2t-skipped",
    "feature-row-shifted", "position-one-too-far", "mask-transposed", "sibling-leak", "mask-ignored-past-512",
    "bonus-from-the-last-row", "compaction-from-a-mutated-base", "stale-last-row",
)  # fmt: skip
"""One or two of every stage; each has to be noticed there as it is on the host."""
PLANTED: Final = ("rms-without-last-tile", "mask-ends-at-512", "matmul-all-nan", "last-tokens-not-written")
"""Planted kernel bugs that the judge has to refuse there too, by `KERNEL-VALUE` and its like."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command.

    Attributes:
        name: In the record.
        words: Arguments of `specwb`.
        exit_code: Expected.
        seconds: Limit.
    """

    name: str
    words: tuple[str, ...]
    exit_code: int = 0
    seconds: float = 90.0


def steps(faults: tuple[str, ...] = FAULTS) -> Iterator[Step]:
    """Yield the steps: decodes in all dtypes and layouts, operators, faults, planted bugs."""
    on_device = ("--device", "cuda")
    for dtype in DTYPES:
        for layout in LAYOUTS:
            words = (
                "diff", "--prompt", PROMPT, "--dtype", dtype, "--kv-layout", layout,
                "--max-new-tokens", TOKENS, "--format", "json", *on_device,
            )  # fmt: skip
            yield Step(f"diff {dtype} {layout}", words)
    reference = ("--reference-device", "cuda", "--max-new-tokens", TOKENS, "--format", "json")
    yield Step("diff float32, reference on the device", ("diff", "--prompt", PROMPT, *reference, *on_device))
    yield Step("operators", ("kernels", "run", "--measure", "0.2", "--format", "json", *on_device))
    yield Step(
        "faults", ("faults", "run", *faults, "--shipped", "--format", "json", *on_device), seconds=150.0
    )
    for bug in PLANTED:
        one = ("kernels", "run", "--candidate", f"planted:{bug}", "--format", "json", *on_device)
        yield Step(f"planted {bug}", one, exit_code=1, seconds=40.0)
