"""What every command has: help with examples and exit codes, short options, --output-file, completion."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.cli.conftest import Specwb
from tests.cli.recorded import leak, write_run
from workbench.cli.app import COMMANDS, build_app
from workbench.cli.examples import EXAMPLES
from workbench.cli.output import coloured

ROOT = Path(__file__).parents[2]
APP = build_app()


def _leaves(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            assert below is not None
            yield from _leaves(below, (*words, name))
    else:
        yield " ".join(words), command


LEAVES = dict(_leaves(APP, ()))


def test_every_command_has_examples() -> None:
    assert set(EXAMPLES) == set(LEAVES)


@pytest.mark.parametrize("words", LEAVES)
def test_help_says_exit_codes_and_examples(specwb: Specwb, words: str) -> None:
    answer = specwb(*words.split(), "-h")
    assert answer.exit_code == 0
    assert "Exit codes:" in answer.out
    assert all(line in answer.out for line in EXAMPLES[words])
    assert all(option in answer.out for option in ("-q, --quiet", "-v, --verbose", "--output-file FILE"))


@pytest.mark.parametrize("words", sorted({words.rpartition(" ")[0] for words in LEAVES} - {""}))
def test_the_help_of_a_group_has_them_too(specwb: Specwb, words: str) -> None:
    """One line of each command below it."""
    answer = specwb(*words.split(), "-h")
    assert "Exit codes:" in answer.out
    below = [lines[0] for each, lines in EXAMPLES.items() if each.startswith(f"{words} ")]
    assert below
    assert all(line in answer.out for line in below)


def _in_guides() -> list[str]:
    """Lines of README and docs that call specwb, in blocks of a shell, without their comments."""
    found: dict[str, None] = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        blocks = re.findall(r"```(?:bash|sh|console)?\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        lines = "\n".join(map(textwrap.dedent, blocks)).replace("\\\n", " ").splitlines()
        found |= dict.fromkeys(
            line.partition(" #")[0].strip() for line in lines if line.startswith("specwb ")
        )
    return list(found)


def test_the_guides_have_lines_to_try() -> None:
    assert len(_in_guides()) > 10


@pytest.mark.parametrize("line", [*(line for lines in EXAMPLES.values() for line in lines), *_in_guides()])
def test_examples_parse(line: str) -> None:
    """Each names options that there are; what they do is tested elsewhere."""
    _, *words = shlex.split(line.removeprefix('eval "$(').removesuffix(')"').partition(" >")[0])
    context, command = click.Context(APP), APP
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        below = command.get_command(context, words.pop(0))
        assert below is not None, line
        command = below
    command.make_parser(click.Context(command)).parse_args(words)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("chek", "check"),
        ("brench", "bench"),
        ("trace verfy x", "verify"),
        ("check --selct X r", "--select"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(specwb: Specwb, typed: str, meant: str) -> None:
    answer = specwb(*typed.split())
    assert answer.exit_code == 2
    assert "Did you mean" in answer.err
    assert meant in answer.err


def test_output_goes_to_a_file_whole_or_not_at_all(specwb: Specwb, tmp_path: Path) -> None:
    run, target = write_run(tmp_path / "run", change=leak), tmp_path / "out.txt"
    target.write_text("before")
    wanted = specwb("check", run)
    answer = specwb("check", run, "--output-file", target)
    assert (answer.exit_code, answer.out) == (wanted.exit_code, "")
    assert target.read_text() == wanted.out
    assert specwb("check", tmp_path / "none", "--output-file", target).exit_code == 2
    assert target.read_text() == wanted.out
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.txt", "run"]
    missing = specwb("check", run, "--output-file", tmp_path / "nowhere" / "out.txt")
    assert missing.exit_code == 2
    assert "no folder" in missing.err


def test_how_much_is_said(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", change=leak)
    usual, quiet, loud = (specwb("check", run, *more) for more in ((), ("-q",), ("-v",)))
    assert {usual.exit_code, quiet.exit_code, loud.exit_code} == {1}
    assert "not checked (-v says why)" in usual.out
    assert "  not checked" not in usual.out
    assert "  not checked" in loud.out
    assert "verdict" not in quiet.out
    assert quiet.out.startswith("0:0:2:verify:11 MASK001")


def test_a_finding_shows_the_cells_that_matter(specwb: Specwb, tmp_path: Path) -> None:
    lines = specwb("check", write_run(tmp_path / "run", change=leak)).out.splitlines()
    assert lines[1].split()[:1] == ["node"]
    assert ">11" in lines[1].split()
    assert any(line.strip().startswith("visible[11] (fused)") and "#" in line for line in lines)


def test_statistics_count_by_rule(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", change=leak)
    answer = specwb("check", run, run, "--statistics")
    assert answer.exit_code == 1
    assert answer.out.splitlines()[0].split() == ["2", "MASK001", "non-ancestor-visible,", "in", "2", "steps"]
    assert specwb("check", write_run(tmp_path / "good"), "--statistics").out == "\n"


def test_colour_marks_the_verdict_alone() -> None:
    report = "verdict     structural (x)\nfirst       0:0:0 M\nsteps       3"
    assert click.unstyle(coloured(report)) == report
    assert coloured(report).splitlines()[2] == "steps       3"
    assert "\x1b[31m" in coloured(report).splitlines()[0]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(specwb: Specwb, shell: str) -> None:
    answer = specwb("completion", shell)
    assert answer.exit_code == 0
    assert f"_SPECWB_COMPLETE={shell}_complete" in answer.out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("che", "plain,check"),
        ("check --sel", "plain,--select"),
        ("check --select MASK001,KV00", "plain,MASK001,KV005"),
        ("explain POS00", "plain,POS001"),
        ("check traces/cl", "plain,traces/clean"),
        ("faults run rotary-i", "plain,rotary-interleaved"),
    ],
)
def test_what_a_shell_is_offered(typed: str, offered: str) -> None:
    words = f"specwb {typed}"
    made = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['specwb']; import specwb; specwb.main()"],
        env={
            **os.environ,
            "_SPECWB_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert offered in made.stdout.splitlines(), made.stderr


def test_commands_are_listed_with_one_line_each(specwb: Specwb) -> None:
    listed = specwb("-h").out
    assert all(f"  {name}" in listed for name in COMMANDS)
