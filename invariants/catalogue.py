"""Every rule, prefilter clause and mutation there is, collected from the modules listed here."""

from __future__ import annotations

from types import MappingProxyType, ModuleType
from typing import Final, TypeVar

from invariants.families import (
    alarms,
    collapses,
    experts,
    features,
    indices,
    logits,
    positions,
    record,
    steps,
)
from invariants.families.acceptance import path, stops, tokens
from invariants.families.cache import commit, digests, ownership, slots
from invariants.families.drafter import beams, distances, proposed, scores
from invariants.families.mask import cells, outside, patterns
from invariants.families.requests import blocks, cached, lengths
from invariants.families.sampling import decisions, draws, logprobs, recovered, settings, support
from invariants.families.tree import order, padding, shape
from invariants.mutation import Mutation
from invariants.prefilter import Applicability, Clause
from invariants.rule import Rule

Kind = TypeVar("Kind")

FAMILIES: Final[dict[str, tuple[str, tuple[ModuleType, ...]]]] = {
    "ROW": ("the record itself", (record,)),
    "TREE": ("tree topology and padding", (shape, order, padding)),
    "POS": ("positions", (positions,)),
    "MASK": ("visibility", (cells, patterns, outside)),
    "IDX": ("indices and token ids", (indices,)),
    "LOGIT": ("the teacher's logits", (logits,)),
    "FEAT": ("teacher features", (features,)),
    "MOE": ("experts", (experts,)),
    "ACC": ("acceptance and stops", (path, tokens, stops)),
    "SAMP": (
        "sampling: draws, decisions, support, settings",
        (draws, settings, decisions, recovered, support, logprobs),
    ),
    "KV": ("cache: lengths, paths, digests, slots", (commit, digests, slots, ownership)),
    "DRAFT": ("the drafter", (scores, beams, distances, proposed)),
    "REQ": ("requests of a batch: blocks, cached prefixes, lengths", (blocks, cached, lengths)),
    "STEP": ("from step to step", (steps,)),
    "STAT": ("alarms over a run", (alarms, collapses)),
}
"""Letters of the ids, in the order of the documentation: what each family is about, and its modules."""


MODULES: Final = tuple(module for _, modules in FAMILIES.values() for module in modules)


def _collected(kind: type[Kind]) -> tuple[Kind, ...]:
    """Return what the modules define of exactly this class, by itself or in a tuple."""
    values = (value for module in MODULES for value in vars(module).values())
    every = (each for value in values for each in (value if isinstance(value, tuple) else (value,)))
    return tuple(each for each in every if type(each) is kind)


CATALOGUE: Final = tuple(
    sorted(_collected(Rule), key=lambda rule: (list(FAMILIES).index(rule.family), rule.id))
)
"""Every rule, family by family, by number."""
BY_ID: Final = MappingProxyType({rule.id: rule for rule in CATALOGUE})
"""The same, by id."""
CLAUSES: Final = _collected(Clause)
"""Every clause of the prefilter."""
APPLICABILITY: Final = _collected(Applicability)
"""Every clause that says where rules apply."""
MUTATIONS: Final = tuple(
    Mutation(key.partition(" ")[2], key.partition(" ")[0], change)
    for module in MODULES
    for key, change in getattr(module, "MUTATIONS", {}).items()
)
"""Every mutation, each with the rule that must report it, and alone."""
