"""`specwb doctor`: what this machine has, the backend of the operators, what is verified here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from tracing.errors import SpecwbError
from workbench.cli.decode_options import backend_option, format_option, proposer_option
from workbench.cli.output import say, show
from workbench.view.safe_text import safe_json, safe_text

if TYPE_CHECKING:
    from workbench.npu.capability import Capability
    from workbench.npu.doctor import Examination, ProbeResult


@click.command(name="doctor")
@backend_option
@click.option("--probe", "with_probes", is_flag=True, help="Settle the vendor's contradictions on a device.")
@click.option("--model", metavar="DIR", help="Teacher whose load report to print; default the shipped pair.")
@click.option("--draft", metavar="DIR", help="Drafter of that teacher.")
@proposer_option
@click.option("--engine", is_flag=True, help="Only whether this environment's vLLM can be recorded.")
@format_option
def command(npu_backend: str, *, with_probes: bool, engine: bool, output_format: str, **pair: Any) -> int:
    """Print what this machine has and what is verified on it.

    Exit codes: 0 looked at everything that was asked, 3 no backend for the operators, or with --engine no
    engine that could be recorded.
    """
    if engine:
        return _engine(output_format)
    from workbench.npu.doctor import examine, probe

    examination = examine(npu_backend)
    probes = probe(examination.backend) if with_probes and examination.backend else ()
    report = _load_report(**pair)
    if output_format == "json":
        click.echo(safe_json(_as_json(examination, probes, report), default=str))
    else:
        say("\n".join(_lines(examination, probes, report)))
    return 0 if examination.backend else 3


def _engine(output_format: str) -> int:
    """Print what is there to record the engine of this environment."""
    from workbench.adapters.sglang.doctor import sglang_statements, sglang_version
    from workbench.adapters.vllm.doctor import engine_statements
    from workbench.adapters.vllm.install import installed_version

    is_sglang_alone = bool(sglang_version()) and not installed_version("vllm")
    statements = (*(() if is_sglang_alone else engine_statements()), *sglang_statements())
    show(
        output_format,
        lambda: [dataclasses.asdict(each) for each in statements],
        lambda: (f"{each.word:<9} {each.text}" for each in statements),
    )
    return 3 if any(each.word in {"missing", "differs"} for each in statements) else 0


def _load_report(model: str | None, draft: str | None, proposer: str) -> list[str]:
    """The load report of a pair, or one sentence on why there is none."""
    try:
        from workbench.checkpoints.load import load_pair, needs_drafter
        from workbench.checkpoints.shipped import shipped_pair_dirs
    except ImportError as error:
        return [f"not read: {error.name} is not installed; pip install 'specwb[decode]'"]
    try:
        has_drafter = needs_drafter(proposer)
        shipped = shipped_pair_dirs(proposer if has_drafter else "eagle3")
        drafter = (draft or shipped[1]) if has_drafter else None
        return load_pair(model or shipped[0], drafter, proposer=proposer).report.lines()
    except SpecwbError as error:
        return [f"not read: {error}"]


def _lines(examination: Examination, probes: tuple[ProbeResult, ...], report: list[str]) -> Iterator[str]:
    for name, version in examination.versions.items():
        yield f"version     {name}: {version or 'not there'}"
    backend = examination.backend
    named = f"{backend.name} ({backend.why})" if backend else f"none: {examination.no_backend}"
    yield f"backend     {named}"
    for shadow in examination.shadows:
        verb = "hides" if shadow.hides else "would hide, under python -m or pytest,"
        yield f"shadow      {safe_text(str(shadow.found))} {verb} our package {shadow.package}"
    if not examination.shadows:
        yield "shadow      no folder hides one of our packages"
    yield from map(_capability, examination.capabilities.values())
    for operator in examination.drifted:
        yield f"drift       {operator}: its schema is not the pinned one"
    for statement in examination.statements:
        yield f"{'verified' if statement.verified else 'UNVERIFIED':<11} {statement.what}: {statement.how}"
    yield from map(_probe, probes)
    yield from (f"pair        {safe_text(line)}" for line in report)


def _capability(capability: Capability) -> str:
    value = "contested" if capability.value is None else str(capability.value)
    return f"capability  {capability.name}: {value} ({capability.source})"


def _probe(result: ProbeResult) -> str:
    question = result.contradiction
    line = f"probe       {question.key}: {result.status}; {question.question} {safe_text(result.observed)}"
    return line if result.agrees is not False else f"{line}; THE EMULATION FOLLOWS {question.followed}"


def _as_json(examination: Examination, probes: tuple[ProbeResult, ...], report: list[str]) -> dict[str, Any]:
    return {
        **dataclasses.asdict(examination),
        "probes": [dataclasses.asdict(result) for result in probes],
        "load_report": report,
    }
