"""What a shell offers for a word that is being typed; none of it imports torch."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from workbench.view.rule_index import rule_index

MAX_RUNS: Final = 200
FAMILIES: Final = Path(__file__).parents[1] / "faults" / "families"


def complete_rules(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer rule ids; of a list of them, for its last word."""
    before, comma, word = typed.rpartition(",")
    return [
        CompletionItem(f"{before}{comma}{entry.id}", help=entry.summary)
        for entry in rule_index().values()
        if entry.id.startswith(word.upper())
    ]


def complete_runs(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer run folders below what is typed, below `runs/` and below `traces/`; else any folder."""
    folders = [Path(typed).parent if not typed.endswith("/") else Path(typed), Path("runs"), Path("traces")]
    found = dict.fromkeys(str(run) for folder in folders for run in _runs_in(folder))
    items = [CompletionItem(run) for run in found if run.startswith(typed)]
    return [*items, CompletionItem(typed, type="dir")]


def complete_faults(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer names and ids of faults."""
    return [
        CompletionItem(word, help=about)
        for name, fault_id, about in _faults()
        for word in (name, fault_id)
        if word.startswith(typed)
    ]


def _runs_in(folder: Path) -> Iterable[Path]:
    try:
        below = sorted(folder.iterdir())[:MAX_RUNS]
    except OSError:
        return ()
    return (each for each in below if (each / "manifest.json").is_file())


def _faults() -> Iterable[tuple[str, str, str]]:
    """Yield name, id and text of each fault, read from the source: the catalogue itself needs torch."""
    for path in sorted(FAMILIES.glob("*.py")):
        for item in ast.parse(path.read_text("utf-8")).body:
            for call in getattr(item, "decorator_list", ()):
                if isinstance(call, ast.Call) and call.args and isinstance(item, ast.FunctionDef):
                    known = call.args[0]
                    if isinstance(known, ast.Constant) and isinstance(known.value, str):
                        about = (ast.get_docstring(item) or "").partition("\n")[0]
                        yield item.name.replace("_", "-"), known.value, about


SHELLS = ("bash", "zsh", "fish")


@click.command(name="completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    """Print a script that makes the shell complete what is typed: commands, options, rules, faults, runs.

    bash, in ~/.bashrc: eval "$(specwb completion bash)"; zsh likewise in ~/.zshrc. bash must be 4.4 or newer.
    """
    kind = get_completion_class(shell)
    assert kind is not None  # one of SHELLS
    root = click.get_current_context().find_root().command
    # Not `source()`, which asks the installed bash for its version: the text does not depend on it.
    made = kind(root, {}, "specwb", "_SPECWB_COMPLETE")
    click.echo(made.source_template % made.source_vars())
    return 0
