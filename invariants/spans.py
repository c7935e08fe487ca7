"""Which span the recorded visibility shows: what is lawful is a fact of the model, and may not be known."""

from __future__ import annotations

import numpy as np

from invariants.ancestry import ancestor_or_self
from invariants.rule import BoolArray, IntArray, NotApplicableError
from tracing.run_facts import ModelFacts
from tracing.spans import FULL, Reach


def shown_span(
    prefix_visible: IntArray,
    depths: IntArray | None,
    valid: BoolArray,
    committed_len: int,
    model_facts: ModelFacts | None,
) -> Reach:
    """Return the span that a step's rows were shown under: the first lawful one that fits, else the first.

    Args:
        prefix_visible: Committed rows that each node sees, `[N]`.
        depths: `[N]`, or None where not recorded.
        valid: `[N]`.
        committed_len: L.
        model_facts: None where not known.

    Raises:
        NotApplicableError: The facts are not known, and the rows are those of some window; or depths are
            not known, and the window is.
    """
    if depths is None:
        if model_facts is not None and any(span.window for span in model_facts.shown_spans):
            raise NotApplicableError("the layers have windows, and column depths was not recorded")
        return FULL
    own, positions = prefix_visible[valid], committed_len + depths[valid].astype(np.int64)
    lawful = (FULL,) if model_facts is None else model_facts.shown_spans
    fitting = [span for span in lawful if np.array_equal(span.num_prefix(positions, committed_len), own)]
    if not fitting and model_facts is None:
        window = _window_of(own, positions, committed_len)
        if window is not None:
            raise NotApplicableError(
                f"rows are shown as under a window of {window} tokens, and the manifest does not say whether "
                "the model has one (model_facts.windows)"
            )
    return (*fitting, lawful[0])[0]


def _window_of(own: IntArray, positions: IntArray, committed_len: int) -> int | None:
    """Return the one window that explains what all nodes see, None if there is none."""
    short = own < committed_len
    if not short.any() or (own < 1).any():
        return None
    windows = set((own + positions - committed_len + 1)[short].tolist())
    window = windows.pop()
    whole = np.array_equal(Reach(window).num_prefix(positions, committed_len), own)
    return window if not windows and whole else None


def lawful_visible(
    parents: IntArray,
    valid: BoolArray,
    visible: BoolArray,
    committed_len: int | None,
    model_facts: ModelFacts | None,
) -> BoolArray:
    """Return `[N, N]`: ancestors and the node itself, as far as the layer that is shown lets a node see.

    Where several layers may be shown, those of the first that `visible` agrees with.
    """
    closure = ancestor_or_self(parents, valid)
    if model_facts is None or committed_len is None or not any(each.window for each in model_facts.spans):
        return closure
    positions = committed_len + closure.sum(axis=1) - 1
    blocks = [closure & span.reaches(positions, positions) for span in model_facts.shown_spans]
    own = np.ix_(valid, valid)
    return next((block for block in blocks if np.array_equal(block[own], visible[own])), blocks[0])
