"""Opens a place in source code in the user's own editor."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from textual.app import App, SuspendNotSupported

from tracing.errors import EnvironmentProblemError, SpecwbError, UsageError
from workbench.view.safe_text import safe_text
from workbench.view.targets import SourceTarget, text_of

USUAL: Final = ("sensible-editor", "vim", "vi", "nano", "emacs")
"""Tried where neither VISUAL nor EDITOR says one."""
_COLON: Final = frozenset({"subl", "zed", "hx", "helix"})
_GOTO: Final = frozenset({"code", "code-insiders", "codium", "cursor", "windsurf"})
_LINE: Final = frozenset({"idea", "pycharm", "kate", "charm"})


def editor_command(place: Path, line: int, environment: Mapping[str, str]) -> list[str]:
    """Return the command that opens a file at a line.

    Args:
        place: The file, absolute, so that no name is taken for an option.
        line: From 1 on.
        environment: Where VISUAL and EDITOR are looked up; they may hold arguments.

    Raises:
        EnvironmentProblemError: There is no editor.
    """
    chosen = environment.get("VISUAL") or environment.get("EDITOR") or ""
    try:
        words = shlex.split(chosen)
    except ValueError as problem:
        raise EnvironmentProblemError(f"VISUAL or EDITOR is {chosen!r}: {problem}") from None
    words = words or [each for each in USUAL if shutil.which(each)][:1]
    if not words:
        raise EnvironmentProblemError("there is no editor; set EDITOR, e.g. EDITOR=vim")
    if shutil.which(words[0]) is None:
        raise EnvironmentProblemError(
            f"there is no editor {words[0]!r}; set VISUAL or EDITOR to one that is there"
        )
    name = Path(words[0]).stem
    if name in _COLON:
        return [*words, f"{place}:{line}"]
    if name in _GOTO:
        return [*words, "--goto", f"{place}:{line}"]
    return [*words, *(("--line", str(line)) if name in _LINE else (f"+{line}",)), str(place)]


def find_source(place: SourceTarget, folders: Iterable[Path]) -> Path:
    """Return the file of a place as it lies on this machine.

    Args:
        place: As recorded: absolute, or as seen from the working directory of then.
        folders: Where that working directory may have been.

    Raises:
        UsageError: No such file is here, or it is none that an editor should open.
    """
    for folder in folders:
        file = folder / place.file
        try:
            if stat.S_ISREG(file.stat().st_mode):
                return file.resolve()
        except (OSError, ValueError):
            continue
    raise UsageError(
        f"{safe_text(place.file)} is not on this machine, or lies elsewhere;"
        " start view in the folder that the run was made in"
    )


def edit(app: App[None], place: SourceTarget, run: Path) -> str:
    """Give the terminal to the user's editor, at a place that a run names, until it is left.

    Returns:
        Why it could not be opened, or how it ended badly; empty where all is well.
    """
    here = run.resolve()
    try:
        file = find_source(place, [Path.cwd(), here, *list(here.parents)[:3]])
        command = editor_command(file, place.line, os.environ)
        with app.suspend():
            ended = subprocess.run(command, check=False).returncode
    except SpecwbError as problem:
        return safe_text(str(problem))
    except SuspendNotSupported:
        return f"this terminal cannot be lent to an editor; the place is {text_of(place)}"
    except OSError as problem:
        return f"the editor does not start: {safe_text(problem.strerror or str(problem))}"
    return f"the editor ended with {ended}" if ended else ""
