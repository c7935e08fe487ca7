"""What every command has: `-h`, `-q`, `-v`, `--output-file`, exit codes and examples in its help."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from tracing.errors import EnvironmentProblemError, UsageError
from workbench.cli.examples import EXAMPLES
from workbench.cli.output import LOUDER, QUIETER, change_verbosity, say

EXIT_CODES: Final = (
    "Exit codes: 0 all held, 1 findings, 2 usage or unreadable input, 3 environment (device, model, extra, "
    "disk), 4 inconclusive, 70 internal error, 130 interrupted."
)
"""What a command's help ends with, unless it says what is special about its own."""


def framed(command: click.Command, words: str) -> click.Command:
    """Give a command, and all below it, what every command has; once.

    Args:
        command: The command or group; changed in place.
        words: How it is called, e.g. `trace info`.
    """
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            framed(below, f"{words} {name}")
        if not command.epilog:
            command.epilog = _epilog(command.help or "", words)
        return command
    if command.callback is None or any(each.name == "output_file" for each in command.params):
        return command
    command.params += [_verbosity("-q", "--quiet"), _verbosity("-v", "--verbose"), _output_file()]
    command.callback = _into_file(_with_joined_runs(command.callback))
    command.epilog = _epilog(command.help or "", words)
    return command


def _epilog(help_text: str, words: str) -> str:
    codes = "" if "Exit codes" in help_text else f"{EXIT_CODES}\n\n"
    own = EXAMPLES.get(words) or tuple(
        lines[0] for below, lines in EXAMPLES.items() if below.startswith(f"{words} ") and lines
    )
    lines = "\n".join(f"  {line}" for line in own)
    return f"{codes}\b\nExamples:\n{lines}" if lines else codes


def _verbosity(short: str, long: str) -> click.Option:
    change, text = (
        (QUIETER, "Only what was found.") if short == "-q" else (LOUDER, "All of it, nothing summed up.")
    )

    def change_it(_context: click.Context, _option: click.Parameter, wanted: bool) -> None:
        if wanted:
            change_verbosity(change)

    return click.Option([short, long], is_flag=True, expose_value=False, callback=change_it, help=text)


def _output_file() -> click.Option:
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.Option(
        ["--output-file", "output_file"],
        type=kind,
        metavar="FILE",
        help="Write the output here instead of to stdout; the file is replaced when all of it is there.",
    )


def _into_file(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Return the callback with what it prints going to `--output-file`."""

    @functools.wraps(callback)
    def run(*args: Any, output_file: Path | None, **options: Any) -> Any:
        with contextlib.nullcontext() if output_file is None else _replaced(output_file):
            return callback(*args, **options)

    return run


def _with_joined_runs(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Return the callback, which finds the files of an engine's processes joined to a run."""

    @functools.wraps(callback)
    def run(*args: Any, **options: Any) -> Any:
        for name in ("run", "runs"):
            given = options.get(name)
            folders = given if isinstance(given, tuple) else (given,)
            for folder in (each for each in folders if isinstance(each, str | Path)):
                if (Path(folder) / "parts").is_dir():
                    from workbench.adapters.vllm.join import has_parts, join

                    if has_parts(folder) and join(folder):
                        say(f"{folder}: joined from the files of an engine's processes", err=True)
        return callback(*args, **options)

    return run


@contextlib.contextmanager
def _replaced(target: Path) -> Iterator[None]:
    """Collect stdout in a file beside the target, which it replaces at the end of the block.

    Raises:
        UsageError: The folder of the file is not there.
        EnvironmentProblemError: The file cannot be written.
    """
    if not target.parent.is_dir():
        raise UsageError(f"--output-file {target}: there is no folder {target.parent}; make it first")
    kept = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        file = kept.open("x", encoding="utf-8")
    except OSError as problem:
        why = problem.strerror
        raise EnvironmentProblemError(f"--output-file {target} cannot be written: {why}") from None
    try:
        with file, contextlib.redirect_stdout(file):
            yield
        kept.replace(target)
    finally:
        kept.unlink(missing_ok=True)
