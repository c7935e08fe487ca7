"""The table of commands. A command appears here on the day it works; its module loads when it runs."""

from __future__ import annotations

import difflib
import importlib
from typing import Final

import click

from tracing.version import VERSION
from workbench.cli.frame import framed
from workbench.cli.heavy_imports import heavy_imports

COMMANDS: Final = {
    "diff": ("workbench.cli.diff", "Decode on both paths in lockstep and show the first wrong thing."),
    "locate": ("workbench.cli.locate", "Open the first wrong stage: which layer, operator, row and element?"),
    "reduce": ("workbench.cli.reduce", "Make a failing run smaller, down to a folder for an issue."),
    "check": ("workbench.cli.check", "Check every invariant at every recorded step; needs no models."),
    "view": ("workbench.cli.view", "Browse a recorded run step by step, or print one moment of it."),
    "doctor": ("workbench.cli.doctor", "Print what this machine has and what is verified on it."),
    "faults": ("workbench.cli.faults", "Inject a named fault into a run; which check reports it first?"),
    "lossless": ("workbench.cli.lossless", "Is a verifier lossless? Its exact law, or an engine's samples."),
    "texts": ("workbench.cli.texts", "Judge token ids of a closed engine against the teacher."),
    "bench": ("workbench.cli.bench", "Speculative against greedy decoding, and the paper's studies."),
    "kernels": ("workbench.cli.kernels", "Try kernels for the operators: build, judge, measure."),
    "explain": ("workbench.cli.explain", "Print what a rule checks, why, and where it was seen."),
    "replay": ("workbench.cli.replay", "Judge a recorded run again, from disk, with or without models."),
    "weights": ("workbench.cli.weights", "Pack weights without loss; verify and measure packed ones."),
    "trace": ("workbench.cli.trace", "Inspect and verify recorded runs; repair, merge, slice, export."),
    "campaign": ("workbench.cli.campaign", "Many cases on many workers, merged into one verdict."),
    "new-path": ("workbench.cli.new_path", "Write the skeleton of a path under test, with its test."),
    "completion": ("workbench.cli.complete", "Print a script that makes a shell complete what is typed."),
}
"""Command name -> module with a click command `command`, and its one-line help."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is asked for (start-up time)."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the commands in the order of `COMMANDS`."""
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names; a word that names none gets the nearest ones."""
        word = args[0] if args else ""
        if args and word not in COMMANDS and not word.startswith("-"):
            near = difflib.get_close_matches(word, COMMANDS, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {word!r}.{hint}")
        return super().resolve_command(ctx, args)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command, or return None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        with heavy_imports():
            command: click.Command = importlib.import_module(module).command
        return framed(command, cmd_name)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def build_app() -> click.Group:
    """Build the root command."""
    return LazyGroup(
        "specwb",
        help="Debugging and verification workbench for tree speculative decoding on Ascend NPUs.",
        context_settings={"help_option_names": ["-h", "--help"]},
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_version,
                help="Show the version and exit.",
            )
        ],
    )


def _version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"specwb {VERSION}")
        ctx.exit()
