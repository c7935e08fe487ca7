"""The page: every study with its pictures and the tables behind them; no further file, no network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from plotly.offline import get_plotlyjs

from workbench.bench.report.figures import figure
from workbench.bench.tables import Study, Table, cell_text

STYLE: Final = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de;
  --band: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0d1117; --ink: #e6edf3; --soft: #9198a1; --line: #30363d; --band: #161b22; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-top: 1px solid var(--line);
  padding-top: 1rem; }
a { color: inherit; } nav a { margin-right: 1rem; white-space: nowrap; }
p { margin: .3rem 0; } .note { color: var(--soft); font-size: .9em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88em; font-variant-numeric: tabular-nums; margin: .5rem 0; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } tr:nth-child(even) td { background: var(--band); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); gap: 1rem; }
pre { background: var(--band); padding: .7rem; overflow-x: auto; font-size: .85em; }
"""
SCRIPT: Final = """
const dark = window.matchMedia('(prefers-color-scheme: dark)');
function ink() {
  const css = getComputedStyle(document.documentElement);
  const text = css.getPropertyValue('--ink').trim(), line = css.getPropertyValue('--line').trim();
  return {'font.color': text, 'xaxis.gridcolor': line, 'yaxis.gridcolor': line,
    'xaxis.linecolor': line, 'yaxis.linecolor': line,
    'xaxis.zerolinecolor': line, 'yaxis.zerolinecolor': line};
}
function draw() {
  for (const box of document.querySelectorAll('.plot')) {
    const given = JSON.parse(box.nextElementSibling.textContent);
    Plotly.newPlot(box, given.data, given.layout, {responsive: true, displayModeBar: false})
      .then(() => Plotly.relayout(box, ink()));
  }
}
dark.addEventListener('change', () => {
  for (const box of document.querySelectorAll('.plot')) Plotly.relayout(box, ink());
});
draw();
"""


def page(studies: Sequence[Study], manifest: Mapping[str, Any], *, title: str = "specwb bench") -> str:
    """Return the whole page; a manifest without the fields of a benchmark says what it has in `about`."""
    return "\n".join(_lines(studies, manifest, title)) + "\n"


def _lines(studies: Sequence[Study], manifest: Mapping[str, Any], title: str) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title><style>{STYLE}</style>"
    yield f"<script>{get_plotlyjs()}</script></head><body>"
    yield f"<h1>{escape(title)}</h1>"
    yield f'<p class="note">{escape(_machine(manifest))}</p>'
    links = (f'<a href="#{escape(study.name)}">{escape(study.title)}</a>' for study in studies)
    yield f"<nav>{' '.join(links)}</nav>"
    for study in studies:
        yield from _study(study)
    yield '<h2 id="manifest">Manifest</h2><details><summary>everything about this run</summary>'
    yield f"<pre>{escape(json.dumps(manifest, indent=1))}</pre></details>"
    yield f"<script>{SCRIPT}</script></body></html>"


def _study(study: Study) -> Iterator[str]:
    yield f'<h2 id="{escape(study.name)}">{escape(study.title)}</h2>'
    yield from (f"<p>{escape(sentence)}</p>" for sentence in study.text)
    if study.plots:
        yield '<div class="plots">'
        for plot in study.plots:
            data = figure(plot).to_json().replace("<", "\\u003c")  # nothing may end the script element
            yield f'<div><div class="plot"></div><script type="application/json">{data}</script></div>'
        yield "</div>"
    for table in study.tables:
        yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield f'<div class="wide"><table><caption>{escape(table.title)}</caption><thead><tr>'
    yield "".join(f"<th>{escape(column)}</th>" for column in table.columns) + "</tr></thead><tbody>"
    for row in table.rows:
        yield "<tr>" + "".join(f"<td>{escape(cell_text(cell))}</td>" for cell in row) + "</tr>"
    yield "</tbody></table></div>"
    if table.note:
        yield f'<p class="note">{escape(table.note)}</p>'


def _machine(manifest: Mapping[str, Any]) -> str:
    if "about" in manifest:
        return str(manifest["about"])
    machine, identity = manifest.get("machine", {}), manifest.get("identity", {})
    versions = manifest.get("versions", {})
    suite = identity.get("suite", {})
    return (
        f"{machine.get('processor', '?')}, {machine.get('threads', '?')} threads; device "
        f"{identity.get('device', '?')}, {identity.get('dtype', '?')}; suite {suite.get('name', '?')} "
        f"({suite.get('turns', '?')} turns); torch {versions.get('torch', '?')}, "
        f"specwb {versions.get('specwb', '?')}"
    )
