"""The studies of Medusa heads on a tiny pair: what their tables hold, and choices that are a tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.made import exact
from tracing.static_tree import read_choices, static_tree
from workbench.bench.choices import CHOICES_FILE, Choices
from workbench.bench.session import BenchSession
from workbench.bench.studies import heads, medusa_tree
from workbench.bench.studies.lab import Lab
from workbench.bench.turn import BenchCase
from workbench.faults.bench import tiny_bench

EAGER = frozenset({"attention", "norm", "rotary", "swiglu"})
PROMPT = (7, 19, 3, 50, 21)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    setup = tiny_bench().setup("medusa")
    session = BenchSession(setup.pair, None, (), (), 12, "cpu", "float32")
    monkeypatch.setitem(session.__dict__, "compare", exact)
    engine = session.engine(setup.settings, EAGER)
    monkeypatch.setattr(medusa_tree, "calibration_prompts", lambda _session: [list(PROMPT)])
    monkeypatch.setattr(medusa_tree, "SIZES", (4, 8))
    return Lab(
        session=session,
        choices=Choices(setup.settings, EAGER, EAGER, "medusa"),
        engine=engine,
        baseline=session.greedy(engine),
        all_cases=[BenchCase(0, 0, "made", "code", PROMPT)],
        num_cases=1,
        results=(),
        write=lambda name, text: (tmp_path / name).write_text(text),
    )


def test_each_head_has_a_row_and_more_heads_never_accept_less(lab: Lab) -> None:
    study = heads.measure(lab)
    accuracy, lengths = study.tables
    assert [row[0] for row in accuracy.rows] == [1, 2, 3]
    for _, best, two, five, ten, *_ in accuracy.rows:
        assert 0 <= best <= two <= five <= ten <= 1
    assert [row[0] for row in lengths.rows] == [1, 2, 3]
    chain = [row[1] for row in lengths.rows]
    assert chain == sorted(chain)


def test_the_fastest_tree_is_written_as_choices(lab: Lab, tmp_path: Path) -> None:
    study = medusa_tree.measure(lab)
    assert study.num_refused == 0
    names = {row[0]: row[1] for row in study.tables[0].rows}
    assert names["by head, 4"] == 4
    assert "chosen" in names
    paths = static_tree(read_choices(tmp_path / CHOICES_FILE))
    assert len(paths) + 1 in names.values()
