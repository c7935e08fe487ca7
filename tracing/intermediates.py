"""Named intermediate tensors of the networks of a step: one list, given by any path that offers the window.

A path offers `DecodePath.intermediates`: `(state, give)` returns a context manager, and while it is entered
the stages call `give(name, tensor)` for each tensor that they have at hand, in any order within a forward; a
name that is given again begins the next forward of its network. Nothing is kept of the tensor but a copy, and
nothing has to be given. `tracing.module_hooks` gives them for `torch.nn` modules by name.

Names are `teacher.SITE.NAME` and `drafter.SITE.NAME`. The site is `layers.I`, `midlayer` for the one layer of
an EAGLE-3 drafter, `heads.I` for Medusa, and none for what is outside of layers, e.g.
`teacher.layers.3.attention`, `teacher.logits`. Rows come first. A leading axis of 1 is dropped, and heads may
be flat: `[1, R, H * D]` is `[R, H, D]`. Where only the last rows are computed, as logits of a prefill, only
those are given.

R rows run; Q of them, the last ones, ask; S earlier rows are in the cache.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from tracing.errors import UsageError

Give = Callable[[str, Any], None]
"""`(name, tensor)`; keeps a copy."""
IntermediatesWindow = Callable[[Any, Give], AbstractContextManager[Any]]
"""`(state, give)`; see `tracing.stages.DecodePath`."""


@dataclass(frozen=True, slots=True)
class Intermediate:
    """One tensor of a forward.

    Attributes:
        name: Within its site.
        operator: What computes it: `norm`, `linear`, `rotary`, `attention`, `swiglu`, `add`, ..., or `input`
            for what the forward is given.
        axes: Its shape, rows first.
        about: What it is.
    """

    name: str
    operator: str
    axes: tuple[str, ...]
    about: str


def _listed(*rows: tuple[str, str, str, str]) -> tuple[Intermediate, ...]:
    return tuple(
        Intermediate(name, operator, tuple(axes.split()), about) for name, operator, axes, about in rows
    )


LAYER: Final = _listed(
    (
        "input_norm",
        "norm",
        "R hidden",
        "residual stream, normed; of an EAGLE-3 drafter embedding and feature",
    ),
    ("query_proj", "linear", "R H D", "queries before norm and rotary"),
    ("key_proj", "linear", "R H_kv D", "keys before norm and rotary"),
    ("value", "linear", "R H_kv D", "values of the new rows"),
    ("query_norm", "norm", "R H D", "queries, normed, where the architecture does"),
    ("key_norm", "norm", "R H_kv D", "keys, normed, where the architecture does"),
    ("query", "rotary", "R H D", "queries after rotary"),
    ("key", "rotary", "R H_kv D", "keys of the new rows after rotary"),
    ("keys", "cache", "S+R H_kv D", "all keys, as attention reads them"),
    ("values", "cache", "S+R H_kv D", "all values, as attention reads them"),
    ("visible", "mask", "R S+R", "who attends to whom, True attends, as attention is given it"),
    ("attention", "attention", "R H D", "what leaves attention"),
    ("attention_output", "linear", "Q hidden", "after the output projection"),
    ("attended", "add", "Q hidden", "residual stream behind attention"),
    ("mlp_norm", "norm", "Q hidden", "residual stream, normed"),
    ("gate", "linear", "Q I", "gate projection"),
    ("up", "linear", "Q I", "up projection"),
    ("activated", "swiglu", "Q I", "silu(gate) * up"),
    ("mlp_output", "linear", "Q hidden", "after the down projection; of experts, their weighted sum"),
    ("output", "add", "Q hidden", "residual stream behind the layer"),
)
"""A decoder layer, in the order of its data flow."""

OUTSIDE: Final = _listed(
    ("token_ids", "input", "R", "tokens that the forward runs"),
    ("position_ids", "input", "R", "their rotary positions"),
    ("features", "input", "R features", "teacher features that a drafter is fed; what a teacher hands to it"),
    ("features_norm", "norm", "R features", "of an EAGLE-3 drafter that norms its features"),
    ("hidden_in", "linear", "R hidden", "of an EAGLE-3 drafter: fused features, or its own hidden rows"),
    ("embedding", "embedding", "R hidden", "rows of the embedding"),
    ("embedding_norm", "norm", "R hidden", "of an EAGLE-3 drafter: embedding, normed"),
    ("hidden_norm", "norm", "R hidden", "of an EAGLE-3 drafter: `hidden_in`, normed"),
    ("final_norm", "norm", "Q hidden", "last residual stream, normed"),
    ("hidden_out", "copy", "Q hidden", "of an EAGLE-3 drafter: what the next level is fed"),
    ("logits", "linear", "Q V", "scores of the vocabulary"),
)
"""Outside of layers."""

HEAD: Final = _listed(
    ("output", "block", "R hidden", "behind the residual blocks of a Medusa head"),
    ("logits", "linear", "R V", "scores of the vocabulary"),
)
"""A Medusa head."""

_SITES: Final[Mapping[str, tuple[Intermediate, ...]]] = {
    "layers": LAYER,
    "midlayer": LAYER,
    "heads": HEAD,
    "": OUTSIDE,
}
_NAME: Final = re.compile(
    r"(teacher|drafter)\.(?:(midlayer|(?:layers|heads)\.(?:0|[1-9]\d{0,4}))\.)?([a-z_]+)\Z"
)


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """A named tensor of a network.

    Attributes:
        network: `teacher` or `drafter`.
        site: `layers.I`, `midlayer`, `heads.I`, or empty.
        tensor: Its entry in the list.
    """

    network: str
    site: str
    tensor: Intermediate

    @property
    def layer(self) -> int | None:
        """Number of the layer or head; 0 for `midlayer`, None outside of layers."""
        if not self.site:
            return None
        return int(self.site.rpartition(".")[2]) if "." in self.site else 0


def place_of(name: str) -> TensorPlace:
    """Return what a full name stands for.

    Raises:
        UsageError: It is in no list.
    """
    found = _NAME.match(str(name))
    if found is not None:
        network, site, own = found[1], found[2] or "", found[3]
        for tensor in _SITES[site.partition(".")[0]]:
            if tensor.name == own:
                return TensorPlace(network, site, tensor)
    raise UsageError(
        f"an intermediate should be named as tracing.intermediates lists them, e.g. "
        f"teacher.layers.0.attention, got {name!r:.80}"
    )
