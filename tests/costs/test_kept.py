"""What was measured is kept as it is, and the table in the docs shows the last three of each row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from costs.__main__ import main
from costs.kept import Measurement, keep, kept, this_machine
from costs.markdown import BEGIN, END, as_markdown, put
from costs.row import Cost, Goal, Row
from costs.workshop import Workshop
from tracing.errors import UsageError

ROWS = (
    Row(name="a.b", value=1234.5, unit="s", how="so | so", goal=Goal(2000), spread=(1000.0, 2000.0)),
    Row(name="a.c", value=None, unit="", how="not measured: no torch", goal=Goal(2, at_least=True)),
    Row(name="a.d", value=0.5, unit="", how="free"),
)


def test_rows_come_back_as_they_were_measured(tmp_path: Path) -> None:
    keep(tmp_path / "kept", ROWS, before=0.5)
    keep(tmp_path / "kept", ROWS[:1], before=2.0)
    first, second = kept(tmp_path / "kept")
    assert (first.rows, second.rows) == (ROWS, ROWS[:1])
    assert (first.load, second.load) == (0.5, 2.0)
    assert first.machine == this_machine()


@pytest.mark.parametrize("text", ["no json\n", "{}\n", '{"machine": 1, "load": 0, "costs": []}\n', "[]\n"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "kept").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="should hold what --keep wrote"):
        kept(tmp_path / "kept")
    with pytest.raises(UsageError, match="cannot be read"):
        kept(tmp_path / "nothing")


def test_the_last_three_measurements_of_a_row_stand_side_by_side() -> None:
    runs = [
        Measurement(
            {"processor": "P"}, load, (Row(name="a.b", value=value, unit="s", how="h", goal=Goal(3)),)
        )
        for value, load in ((9.0, 9.0), (1.0, 0.5), (2.0, 0.0), (4.0, 1.0))
    ]
    lines = as_markdown(runs, ["a.b", "a.never"]).splitlines()
    assert lines[0] == "* processor: P"
    assert "0.00 to 1.00" in lines[1]
    assert lines[-1] == "| `a.b`, s | at most 3.0000 s | 1.0000 | 2.0000 | 4.0000 | 2 of 3 | h |"
    assert sum("a.b" in line for line in lines) == 1


def test_quartiles_missing_values_and_bars_are_written_out() -> None:
    *_, first, second, third = as_markdown([Measurement({}, 0, ROWS)], ["a.b", "a.c", "a.d"]).splitlines()
    assert "| 1,234 (1,000 to 2,000) |  |  | 1 of 1 | so \\| so |" in first
    assert "| at least 2.0000 | - |  |  |  |" in second
    assert third.startswith("| `a.d` |  | 0.5000 |")


def test_only_what_lies_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\n\nold\n\n{END}\nafter\n", encoding="utf-8")
    put(page, "new")
    put(page, "newer")
    assert page.read_text(encoding="utf-8") == f"before\n\n{BEGIN}\n\nnewer\n\n{END}\nafter\n"
    page.write_text("no marks\n", encoding="utf-8")
    with pytest.raises(UsageError, match="should have a line"):
        put(page, "new")
    assert page.read_text(encoding="utf-8") == "no marks\n"


def test_the_command_keeps_shows_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = str(tmp_path / "kept"), tmp_path / "page.md"
    keep(Path(file), [Row(name="disk.step", value=7.5, unit="KB", how="h", goal=Goal(8))], before=0)
    page.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    assert main(["--kept", file, "--markdown", str(page)]) == 0
    assert "disk.step" in capsys.readouterr().out
    assert "| `disk.step`, KB | at most 8.0000 KB | 7.5000 |" in page.read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["--markdown", str(page)])


def test_runs_are_kept_one_by_one_and_share_their_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def measure(workshop: Workshop) -> Iterator[Row]:
        shared = workshop.once("shared", made.append)
        (workshop.folder / "own").mkdir()  # there is none from a run before
        yield Row(name="toy.row", value=float(len(made)), unit="s", how=str(shared))

    monkeypatch.setattr("costs.__main__.COSTS", [Cost("toy", {"toy.row": None}, measure)])
    assert main(["--runs", "3", "--keep", str(tmp_path / "kept")]) == 0
    rows = [each.rows[0] for each in kept(tmp_path / "kept")]
    assert [row.value for row in rows] == [1.0, 1.0, 1.0]
    assert len(made) == 1
    assert {row.how for row in rows} == {str(made[0])}


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_number_of_runs_is_one_at_least(count: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--runs", count])
