"""One word and one exit code for a damaged run, whatever the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Specwb
from tests.cli.recorded import write_run

COMMANDS = (
    *("check RUN", "view RUN --text", "view RUN --text --panel tree", "replay RUN", "trace info RUN"),
    *("trace verify RUN", "trace export RUN OUT", "diff RUN WHOLE", "diff WHOLE RUN"),
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("damage")
    whole, run = (write_run(folder / name, 4) for name in ("whole", "run"))
    stream = run / "fused.arrows"
    stream.write_bytes(stream.read_bytes()[:-600])
    return {"RUN": str(run), "WHOLE": str(whole)}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_run_is_called_damaged_and_is_exit_2(
    specwb: Specwb, places: dict[str, str], tmp_path: Path, command: str
) -> None:
    known = places | {"OUT": str(tmp_path / "out")}
    done = specwb(*(known.get(word, word) for word in command.split()))
    assert done.exit_code == 2
    assert "damaged" in done.out + done.err
    assert "fused.arrows" in done.out + done.err


@pytest.mark.parametrize("command", ["view WHOLE --text", "trace info WHOLE", "trace verify WHOLE"])
def test_a_whole_run_is_not(specwb: Specwb, places: dict[str, str], command: str) -> None:
    done = specwb(*(places.get(word, word) for word in command.split()))
    assert done.exit_code == 0
    assert "damaged" not in done.out + done.err


def test_one_of_something_is_in_the_singular(specwb: Specwb, tmp_path: Path) -> None:
    one, other = (write_run(tmp_path / name, 1) for name in ("one", "other"))
    assert "fused: 1 step, level" in specwb("trace", "info", one).out
    assert "1 equal; 0 turns differ" in specwb("diff", one, other).out
