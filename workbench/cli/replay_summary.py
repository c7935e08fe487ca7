"""The outcome of a replay, in the same form as of a live run."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tracing.errors import TraceError
from tracing.manifest_facts import table
from tracing.reader import Run
from tracing.settings import DecodeSettings
from workbench.judge.allowance import EPSILON
from workbench.judge.fed import pair_of
from workbench.judge.recorded.checked import CheckedRun, worst
from workbench.judge.recorded.context import context_of_path
from workbench.judge.recorded.evidence import RecordedFacts
from workbench.judge.recorded.rejudge import Rejudged
from workbench.report.summary import RunSummary


def path_under_test_of(run: Run, asked: str | None) -> str:
    """Return the path to judge: the one asked for, else the one under test.

    Raises:
        TraceError: There is none.
    """
    if asked is not None:
        return run.path(asked).name
    if not run.path_names:
        raise TraceError(f"{run.folder} has no path that can be read")
    pair = pair_of(run)
    if pair is not None:
        return pair[0]
    return "fused" if "fused" in run.path_names else run.path_names[0]


def facts_of(run: Run, under_test: str) -> RecordedFacts:
    """Return what the manifest says of the run; the dtype is that of the path, float32 where not stated."""
    context = context_of_path(run, under_test)
    dtype = str(table(run.path(under_test).entry, "info").get("dtype"))
    return RecordedFacts(
        dtype=dtype if dtype in EPSILON else "float32",
        eos_token_ids=context.eos_token_ids,
        vocab_size=context.vocab_size,
        block_size=context.block_size or DecodeSettings().block_size,
        is_greedy=context.acceptance == "greedy",
        root_is_prompt=root_is_prompt(run),
        model_facts=context.model_facts,
        request_offsets=context.request_offsets,
        records_stop_reason=context.records_stop_reason,
        request_limits=context.request_limits,
        request_sampling=context.request_sampling,
    )


def root_is_prompt(run: Run) -> bool:
    """Whether the engine's first root is the prompt's last token instead of a token that it emitted."""
    return run.manifest.get("first_root") == "prompt"


def settings_of(run: Run) -> DecodeSettings:
    """Return the recorded settings; the default for one that is not stated.

    Raises:
        TraceError: A setting is not of its kind.
    """
    stated = table(run.manifest, "settings")
    known = {field.name: stated[field.name] for field in fields(DecodeSettings) if field.name in stated}
    defaults = DecodeSettings()
    for name, value in known.items():
        if type(value) is not type(getattr(defaults, name)):
            raise TraceError(f"{name} in the manifest's settings should be like {getattr(defaults, name)!r}")
    return DecodeSettings(**known)


def summary_of(run: Run, checked: CheckedRun, rejudged: Rejudged, facts: Mapping[str, Any]) -> RunSummary:
    """Fold verdict, invariants and what was judged into what reports are made from."""
    verdict = rejudged.verdict
    first = 1 if root_is_prompt(run) else 0
    emitted = [state.emitted[first:] for state in rejudged.turns if state.emitted]
    remarks = [verdict.remark, checked.state_remark]
    exit_code = worst([verdict.exit_code, _of_trace(checked)])
    return RunSummary(
        verdict="inconclusive" if exit_code != verdict.exit_code == 0 else verdict.verdict,
        remark=", ".join(remark for remark in remarks if remark),
        exit_code=exit_code,
        steps=rejudged.num_steps + rejudged.num_left_out,
        unjudged_steps=rejudged.num_left_out,
        emitted_token_ids=tuple(tuple(tokens) for tokens in emitted),
        emitted_text=tuple(text for tokens in emitted if (text := _text(run, tokens))),
        num_accepted=tuple(number for state in rejudged.turns for number in state.num_accepted),
        near_ties=verdict.near_ties,
        routing_near_ties=verdict.routing_near_ties,
        warnings=checked.warnings,
        findings=rejudged.findings,
        invariants=checked.invariants,
        not_checked={
            f"{missing.stage}.{missing.quantity}: {missing.reason}": count
            for missing, count in verdict.not_checked.items()
        },
        coverage=verdict.coverage,
        share=None if verdict.share is None else verdict.share.as_json(),
        run=run.folder,
        manifest={"replay": dict(facts)},
    )


def _of_trace(checked: CheckedRun) -> int:
    """The state of the trace alone; what the invariants found is among the findings."""
    if checked.is_damaged:
        return 2
    return 0 if checked.state == "complete" else 4


def _text(run: Run, tokens: list[int]) -> str:
    """Return emitted tokens as text, as far as the trace has their bytes."""
    known = run.vocabulary
    raw = b"".join(known.get(token) or b"" for token in tokens)
    return raw.decode("utf-8", errors="replace")


def versions(run: Run) -> dict[str, dict[str, Any]]:
    """Return what was recorded and what runs now, for every version that the manifest names."""
    from tracing.manifest import fresh_manifest

    now = {**fresh_manifest({})["versions"], "python": platform.python_version()}
    recorded = table(run.manifest, "versions")
    return {name: {"recorded": recorded[name], "now": now.get(name)} for name in recorded}
