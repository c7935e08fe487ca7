"""Judges prefill: the context, prefix K and V, features, and the row that chose the root."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tracing.stages import IntArray
from workbench.judge.choices import ROOT, judge_choices
from workbench.judge.draw_ties import note_draw_ties
from workbench.judge.evidence import PrefillEvidence
from workbench.judge.exact import judge_list, judge_num_draws
from workbench.judge.experts import behind_open, judge_experts
from workbench.judge.measured import Judged
from workbench.judge.notes import Notes
from workbench.judge.row_truth import RowTruth
from workbench.judge.rows import judge_rows


def judge_prefill(notes: Notes, evidence: PrefillEvidence) -> None:
    """Judge one prefill; positions are named in the messages, the root is node 0."""
    prompt = np.asarray(evidence.prompt_token_ids)
    _judge_context(notes, prompt, evidence.fused_context_token_ids, "fused")
    _judge_context(notes, prompt, evidence.reference_context_token_ids, "reference")
    open_layer = judge_experts(notes, evidence.routing, evidence.kv, named=False)
    kv, why = behind_open(notes, open_layer, evidence.kv)
    judge_rows(notes, "JUDGE-PREFILL-KV", "kv", kv)
    if why:
        for quantity in ("features", "logits", "root"):
            notes.skip(quantity, why)
        return
    if "features" not in evidence.absent:
        judge_rows(notes, "JUDGE-PREFILL-FEATURES", "features", evidence.features)
    logits = judge_rows(notes, "JUDGE-PREFILL-LOGITS", "logits", _with_positions(evidence))
    ours = _root(evidence.fused_context_token_ids, prompt)
    theirs = _root(evidence.reference_context_token_ids, prompt)
    if not evidence.is_greedy:
        judge_num_draws(notes, evidence.draws, evidence.num_draws)
        note_draw_ties(notes, evidence.draw_ties)
        _judge_sampled_root(notes, ours, theirs)
        return
    only = np.zeros(1, dtype=np.int64)
    judge_choices(notes, ROOT, fused=ours, reference=theirs, logits=_root_row(logits), nodes=only)


def _judge_sampled_root(notes: Notes, ours: IntArray | None, theirs: IntArray | None) -> None:
    """Judge a root that a draw chose: the reference's, by the path's own logits and draw, is the law."""
    if ours is None or theirs is None:
        notes.skip("root", "a sampled root needs the choice of both paths")
        return
    notes.check("root")
    message = "the token that the draw chooses from the path's own logits"
    judge_list(notes, ROOT.differs, ROOT.column, ours, theirs, path="fused", message=message)


def _with_positions(evidence: PrefillEvidence) -> RowTruth | None:
    """Return the logits with rows named by prompt position: the last of R rows is at L - 1."""
    logits = evidence.logits
    if logits is None or logits.rows is not None or logits.truth is None:
        return logits
    num_rows = 1 if logits.truth.ndim == 1 else logits.truth.shape[0]
    first = len(evidence.prompt_token_ids) - num_rows
    arbiter = {first + row: third for row, third in logits.arbiter.items()}
    return replace(logits, rows=np.arange(first, first + num_rows, dtype=np.int64), arbiter=arbiter)


def _judge_context(notes: Notes, prompt: IntArray, context: IntArray | None, path: str) -> None:
    """Judge the context of one path: the prompt, then one more token."""
    if context is None:
        notes.lacks("context_token_ids", f"the {path} path does not provide it")
        return
    notes.check("context_token_ids")
    rule, column = "JUDGE-PREFILL-CONTEXT", "context_token_ids"
    if len(context) != len(prompt) + 1:
        message = f"context has {len(context)} tokens, expected the prompt's {len(prompt)} and one root"
        notes.finding(rule, column, message, guilty=path, fused=len(context), reference=len(prompt) + 1)
        return
    judge_list(notes, rule, column, context[:-1], prompt, path=path, message="the prompt as it was given")


def _root(context: IntArray | None, prompt: IntArray) -> IntArray | None:
    """Return the root as `[1]`, or None where the context is missing or too short."""
    return None if context is None or len(context) != len(prompt) + 1 else np.asarray(context[-1:])


def _root_row(logits: Judged | None) -> Judged | None:
    """Return the judged logits with the last row named node 0: it chose the root."""
    if logits is None:
        return None
    rows = np.arange(logits.rows.size - 1, -1, -1, dtype=np.int64)
    return Judged(logits.groups, rows)
