"""Every key of the run screen, in one table: footer, help and command palette are made from it.

vim and less lend theirs where they have one: `/ n N : g G ctrl+d ctrl+u`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from textual.binding import Binding

from workbench.view.panels import PANELS


def _key(keys: str, action: str, text: str, short: str = "", *, label: str | None = None) -> Binding:
    """Return a binding; one with a short name appears in the footer, the long text in help and palette."""
    return Binding(
        keys, action, short or text, show=bool(short), key_display=label, id=f"run.{action}", tooltip=text
    )


def _do(keys: str, call: str, text: str, short: str = "", *, label: str | None = None) -> Binding:
    """Return a binding that calls a method of the model, e.g. `finding(1)`."""
    name, _, arguments = call.rstrip(")").partition("(")
    action = f"do({name!r}, ({arguments},))" if arguments else f"do({name!r})"
    return replace(_key(keys, call, text, short, label=label), action=action)


MOVES: Final = (
    _do("right_curly_bracket", "finding(1)", "Next finding", "finding", label="}"),
    _do("left_curly_bracket", "finding(-1)", "Previous finding", label="{"),
    _do("exclamation_mark", "first_finding", "First divergence", "first", label="!"),
    _do("K", "check", "Check from here on: the next step that breaks a rule, judged now"),
    _do("right_square_bracket", "move('step', 1)", "Next step", "step", label="]"),
    _do("left_square_bracket", "move('step', -1)", "Previous step", label="["),
    _do("right_parenthesis", "move('turn', 1)", "Next turn", label=")"),
    _do("left_parenthesis", "move('turn', -1)", "Previous turn", label="("),
    _do("greater_than_sign", "move('prompt', 1)", "Next prompt", label=">"),
    _do("less_than_sign", "move('prompt', -1)", "Previous prompt", label="<"),
    _do("S", "only_findings_or_all", "List only the steps with findings, or all"),
    _key("colon,ctrl+g", "go_to", "Go to a moment", "go to", label=":"),
    _key("slash", "find", "Find a token, node N, pos N, slot N, id N, or a rule", "find", label="/"),
    _key("n", "find_again(1)", "Find the next"),
    _key("N", "find_again(-1)", "Find the one before"),
    _do("backspace,H", "back", "Back"),
    _do("L", "forward", "Forward"),
    _key("J", "jumps", "Places that you were at, to go back to"),
)

LAST_DIGIT: Final = 9
"""The first panels have a digit too."""

PANEL_KEYS: Final = tuple(
    _do(
        f"{panel.key},{number}" if number <= LAST_DIGIT else panel.key,
        f"panel('{panel.name}')",
        f"Panel {panel.name}: {panel.purpose}",
        label=panel.key,
    )
    for number, panel in enumerate(PANELS, 1)
)

SWITCHES: Final = (
    _do("x", "swap", "Swap the sides"),
    _do("p", "next_path", "Next path first; of two runs, the next path of both"),
    _do("v", "one_side", "One side or both"),
    _do("d", "differences", "Differences only", "differences"),
    _do("z", "zoom", "Make the panel large, or small again"),
    _do("y", "copy_moment", "Copy the moment"),
    _do("Y", "copy_value", "Copy the value under the cursor"),
    _do("e", "edit", "Open the line of code that a finding names in your editor (VISUAL or EDITOR)"),
    _do("F", "follow_run", "Follow the run that is being written, or pause"),
    _key("T", "theme", "Light or dark"),
    _key("question_mark,f1", "help", "Keys", "keys", label="?"),
    _key("q", "dismiss", "Leave", "quit"),
)

RUN_KEYS: Final = (*MOVES, *PANEL_KEYS, *SWITCHES)
