"""`specwb completion SHELL`: a script for the shell that completes commands, options, rules, faults, runs."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

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
