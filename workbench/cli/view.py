"""`specwb view`: browse a recorded run, live or at rest, or print one moment of it."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tracing.errors import EnvironmentProblemError, UsageError
from tracing.moment import Moment
from workbench.cli.complete import complete_runs
from workbench.cli.decode_options import edges_option
from workbench.cli.output import say
from workbench.view.panels import PANEL_BY_NAME
from workbench.view.step import ViewOptions

if TYPE_CHECKING:
    from workbench.view.lines import Line
    from workbench.view.run_view import RunView
    from workbench.view.step import StepView

PLAN_NAME: Final = "plan.json"
"""File of a campaign's folder by which it is known."""
DAMAGED: Final = 2
"""Exit code of a damaged run, as every command has it."""
_MOMENT: Final = re.compile(r"\d+(:\d+){0,2}(:[a-z]*(:\d+)?)?\Z")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the arguments ask for.

    Attributes:
        other: A second run to compare it with.
        moment: Where to begin.
        edges: Lower edges of the distance buckets, None for those that the run states.
        path: Path to show first, None for the usual one.
        panels: Panels to print, empty for all.
        differences, width: How to print them.
        as_text, svg, html: Where to print them; a screen is opened where none of the three is asked for.
    """

    run: Path | None = None
    other: Path | None = None
    moment: Moment | None = None
    edges: tuple[int, ...] | None = None
    path: str | None = None
    panels: tuple[str, ...] = ()
    differences: bool = False
    width: int = ViewOptions().width
    as_text: bool = False
    svg: str | None = None
    html: str | None = None


@click.command(name="view")
@click.argument("places", nargs=-1, metavar="[RUN] [OTHER_RUN] [MOMENT]", shell_complete=complete_runs)
@click.option("--follow", is_flag=True, help="Follow a run that is being written.")
@click.option("--text", "as_text", is_flag=True, help="Print the moment to stdout.")
@click.option("--svg", metavar="FILE", help="Write the screen as an SVG picture.")
@click.option("--html", metavar="FILE", help="Write the screen as an HTML page.")
@click.option(
    "--panel",
    "panels",
    multiple=True,
    type=click.Choice(list(PANEL_BY_NAME)),
    help="Print this panel alone and whole; may be given again.",
)
@click.option(
    "--differences", is_flag=True, help="Leave out what is as it should be and alike on both sides."
)
@click.option("--path", metavar="NAME", help="Path to show first; of two runs, the one of each to compare.")
@edges_option
@click.option("--width", type=click.IntRange(min=40, max=240), default=ViewOptions().width, show_default=True)
def command(
    places: tuple[str, ...], *, follow: bool, distance_edges: tuple[int, ...] | None, **options: Any
) -> int:
    """Browse a recorded run step by step, both sides at once; with two runs, compare them.

    MOMENT is prompt:turn:step:stage:node, as findings print it; later parts may be left out. Without a run,
    choose one from runs/ and traces/. A campaign's folder opens with its causes, axes and cases.
    """
    wanted = replace(parse_places(places), edges=distance_edges, **options)
    if wanted.run is not None and (wanted.run / PLAN_NAME).is_file():
        return _campaign(wanted)
    if wanted.as_text or wanted.svg or wanted.html:
        return _print_moment(wanted)
    return _open_screen(wanted, follow=follow)


def _campaign(wanted: Wanted) -> int:
    """Browse a campaign, or print what it adds up to."""
    assert wanted.run is not None  # the caller has looked
    if wanted.svg or wanted.html or wanted.other or wanted.moment or wanted.panels:
        raise UsageError(f"{wanted.run} is a campaign: view it alone, or specwb campaign merge --format html")
    if wanted.as_text:
        from workbench.campaign.browse import BrowsedCampaign
        from workbench.campaign.text import lines_of

        say("\n".join(lines_of(BrowsedCampaign.read(wanted.run).merged)))
        return 0
    _require_terminal()
    _tui("campaign").view_campaign(wanted.run)
    return 0


def parse_places(places: tuple[str, ...]) -> Wanted:
    """Tell runs from the moment.

    Raises:
        UsageError: More than two runs, or something after the moment.
    """
    moment = None
    folders = list(places)
    if folders and _MOMENT.match(folders[-1]) and not Path(folders[-1]).exists():
        moment = Moment.parse(folders.pop())
    if len(folders) > 2:
        raise UsageError(f"view takes at most two runs and one moment, got {' '.join(places)}")
    if moment is not None and not folders:
        raise UsageError(f"view needs a run before the moment {moment}")
    paths = [Path(folder) for folder in folders]
    for path in paths:
        if not path.is_dir():
            raise UsageError(f"{path} is no folder; view takes a run folder, as specwb diff prints it")
    run, other = [*paths, None, None][:2]
    return Wanted(run, other, moment)


def _print_moment(wanted: Wanted) -> int:
    from workbench.view.lines import plain_text

    if wanted.run is None:
        raise UsageError("view --text, --svg and --html need a run, and a moment of it")
    view = _open_run(wanted)
    if (wanted.svg or wanted.html) and not wanted.panels:
        _save_screen(view, wanted)
    lines = _moment_lines(view, wanted) if wanted.as_text or wanted.panels else []
    if wanted.as_text:
        click.echo(plain_text(lines), nl=False)
    if (wanted.svg or wanted.html) and wanted.panels:
        export = _tui("export")
        if wanted.svg:
            export.save_svg(
                lines, Path(wanted.svg), f"specwb view {wanted.run.resolve().name} {wanted.moment or ''}"
            )
        if wanted.html:
            export.save_html(lines, Path(wanted.html))
    return DAMAGED if view.proof() == "damaged" else 0


def _save_screen(view: RunView, wanted: Wanted) -> None:
    """Write one screen, as `specwb view` shows it."""
    view.compare()
    if wanted.moment is not None:
        _require_node(view.step(view.row_of(wanted.moment)), wanted.moment)
    _tui("picture").save_screen(
        view,
        wanted.moment,
        svg=Path(wanted.svg) if wanted.svg else None,
        html=Path(wanted.html) if wanted.html else None,
        differences=wanted.differences,
        columns=None if wanted.width == ViewOptions().width else wanted.width,
    )


def _moment_lines(view: RunView, wanted: Wanted) -> list[Line]:
    """Return the page of a moment; without one, of the first finding or the first step."""
    from workbench.view.page import page_lines
    from workbench.view.run_distance import count_run

    if not view.num_rows:
        return list(page_lines(view, None, ViewOptions(width=wanted.width)))
    view.compare()
    first = min(view.findings, key=lambda each: each.moment.place, default=None)
    at = wanted.moment or (first.moment if first is not None else None)
    step = view.step(view.row_of(at) if at is not None else 0)
    if wanted.moment is not None:
        _require_node(step, wanted.moment)
    drawn = ViewOptions(wanted.differences, wanted.width)
    names = wanted.panels
    whole = count_run(view) if not names or "distance" in names else None
    return list(page_lines(view, step, drawn, names, whole))


def _require_node(step: StepView, moment: Moment) -> None:
    """Refuse a node that no row of the step can be: neither a finding's nor one of prefix or tree.

    Raises:
        UsageError: There is no such node.
    """
    if moment.node is None or any(finding.moment == moment for _, finding in step.findings):
        return
    rows = [side.num_nodes + (side.committed_len or 0) for side in step.sides]
    if any(rows) and moment.node >= max(rows) and moment.stage not in {"prefill", "draft"}:
        nodes = max(side.num_nodes for side in step.sides)
        raise UsageError(f"step {step.moment} has no node {moment.node}; it has {nodes}, numbered from 0")


def _open_run(wanted: Wanted, *, lazily: bool = False) -> RunView:
    from workbench.view.run_view import RunView

    assert wanted.run is not None  # both callers have looked
    view = RunView(wanted.run, wanted.other, edges=wanted.edges, lazily=lazily)
    if wanted.path is not None:
        view.show_path(wanted.path)
    return view


def _open_screen(wanted: Wanted, *, follow: bool) -> int:
    _require_terminal()
    if wanted.run is None:
        _tui("app").pick_and_view()
        return 0
    import gc
    from concurrent.futures import ThreadPoolExecutor

    gc.disable()  # startup makes no garbage worth a walk; the screen collects once it is drawn

    with ThreadPoolExecutor(max_workers=1) as pool:
        view = pool.submit(_open_run, wanted, lazily=True)  # reads while the screen's library is imported
        app = _tui("app")
    opened = view.result()
    if wanted.moment is not None and not follow:
        _require_step(opened, wanted.moment)
    app.view_run(opened, wanted.moment, follow=follow)
    return 0


def _require_terminal() -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise EnvironmentProblemError("view needs a terminal; without one use --text, --svg or --html")


def _require_step(view: RunView, moment: Moment) -> None:
    """Refuse a moment that a run does not have; one whose batch turns out to be damaged is not there."""
    from tracing.stream_reader import DisprovedError

    try:
        view.row_of(moment)
    except DisprovedError:
        view.refresh()
        view.row_of(moment)


def _tui(module: str) -> Any:
    """Import a module of the terminal UI.

    Raises:
        EnvironmentProblemError: The extra is not installed.
    """
    import importlib

    try:
        return importlib.import_module(f"workbench.tui.{module}")
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] not in {"textual", "rich"}:
            raise
        raise EnvironmentProblemError(
            f"this needs {problem.name}, which is not installed; pip install 'specwb[tui]', or use --text"
        ) from None
