"""Every key of the run screen, in one table: footer, help and command palette are made from it.

vim and less lend theirs where they have one: `/ n N : g G ctrl+d ctrl+u`.
"""

from __future__ import annotations

from typing import Final

from textual.binding import Binding

from workbench.view.panels import PANELS


def _key(keys: str, action: str, text: str, short: str = "", *, label: str | None = None) -> Binding:
    """Return a binding; one with a short name stands in the footer, the long text in help and palette."""
    return Binding(
        keys, action, short or text, show=bool(short), key_display=label, id=f"run.{action}", tooltip=text
    )


MOVES: Final = (
    _key("right_curly_bracket", "finding(1)", "Next finding", "finding", label="}"),
    _key("left_curly_bracket", "finding(-1)", "Previous finding", label="{"),
    _key("exclamation_mark", "first_finding", "First divergence", "first", label="!"),
    _key("K", "check", "Check from here on: the next step that breaks a rule, judged now"),
    _key("right_square_bracket", "move('step', 1)", "Next step", "step", label="]"),
    _key("left_square_bracket", "move('step', -1)", "Previous step", label="["),
    _key("right_parenthesis", "move('turn', 1)", "Next turn", label=")"),
    _key("left_parenthesis", "move('turn', -1)", "Previous turn", label="("),
    _key("greater_than_sign", "move('prompt', 1)", "Next prompt", label=">"),
    _key("less_than_sign", "move('prompt', -1)", "Previous prompt", label="<"),
    _key("colon,ctrl+g", "go_to", "Go to a moment", "go to", label=":"),
    _key("slash", "find", "Find a token, node N, pos N, slot N, id N, or a rule", "find", label="/"),
    _key("n", "find_again(1)", "Find the next"),
    _key("N", "find_again(-1)", "Find the one before"),
    _key("backspace,H", "back", "Back"),
    _key("L", "forward", "Forward"),
)

PANEL_KEYS: Final = tuple(
    _key(
        f"{panel.key},{number}",
        f"panel('{panel.name}')",
        f"Panel {panel.name}: {panel.purpose}",
        label=panel.key,
    )
    for number, panel in enumerate(PANELS, 1)
)

SWITCHES: Final = (
    _key("x", "swap", "Swap the sides"),
    _key("p", "next_path", "Next path first; of two runs, the next path of both"),
    _key("v", "one_side", "One side or both"),
    _key("d", "differences", "Differences only", "differences"),
    _key("z", "zoom", "Make the panel large, or small again"),
    _key("y", "copy_moment", "Copy the moment"),
    _key("Y", "copy_value", "Copy the value under the cursor"),
    _key("F", "follow_run", "Follow the run that is being written, or pause"),
    _key("T", "theme", "Light or dark"),
    _key("question_mark,f1", "help", "Keys", "keys", label="?"),
    _key("q", "quit_view", "Leave", "quit"),
)

RUN_KEYS: Final = (*MOVES, *PANEL_KEYS, *SWITCHES)
