from __future__ import annotations

from pathlib import Path

from engines.faults import drafts, inputs, second
from engines.matrix import FAULTS

PAGE = Path(__file__).parents[2] / "docs" / "vllm.md"


def test_every_planted_mistake_has_its_rules_or_a_reason_and_a_line_on_the_page() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    for fault in FAULTS:
        assert bool(fault.rules) != bool(fault.blind), fault.name
        (line,) = (each for each in lines if each.startswith(f"| `{fault.name}`"))
        assert any(rule in line for rule in fault.rules) or fault.blind in line


def test_every_mistake_can_be_planted_by_name() -> None:
    names = {fault.name for fault in FAULTS if not fault.name.startswith("engine-")}
    assert all(any(hasattr(room, name) for room in (inputs, drafts, second)) for name in names)
    assert len(names) >= 12
    assert len({name for name in names if hasattr(second, name)}) >= 4
