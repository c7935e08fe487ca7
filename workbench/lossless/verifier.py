"""A user's verify function: loaded by name, called with what its parameters ask for, its result read."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from tracing.errors import EnvironmentProblemError, UsageError, sentence_of
from workbench.lossless.drafting import LaidOut
from workbench.lossless.problem import Problem, law_after

Numbers = Literal["fraction", "float64", "float32"]
SOURCES: Final = ("rng", "random", "generator", "uniforms", "final_uniform", "exponentials")
VALUES: Final = ("tokens", "parents", "draft_token_ids", "target_probs", "draft_probs", "vocab_size")
PAD: Final = -1
MAX_SENTENCE: Final = 200


@dataclass(frozen=True)
class Raised:
    """What a verifier raised, in place of tokens."""

    kind: str
    sentence: str


@dataclass(frozen=True)
class Malformed:
    """What a verifier returned that is no sequence of tokens of the vocabulary."""

    sentence: str


Emitted = tuple[Any, ...] | Raised | Malformed
"""Tokens, or for a batch one tuple of tokens a row."""


@dataclass(frozen=True)
class Verifier:
    """A function under test.

    Attributes:
        parameters: Names of what it takes.
        uses_torch: Whether it gets tensors.
        is_batched: Whether everything has a leading axis for rows of a batch.
    """

    name: str
    function: Callable[..., Any]
    parameters: tuple[str, ...]
    uses_torch: bool = False
    is_batched: bool = False

    @property
    def takes_chains(self) -> bool:
        """Whether it knows no parents, so that drafts are chains."""
        return "parents" not in self.parameters

    @property
    def takes_draft_law(self) -> bool:
        """Whether it asks for draft probabilities."""
        return "draft_probs" in self.parameters


def load_verifier(name: str, *, arrays: str = "auto", is_batched: bool = False) -> Verifier:
    """Import a verify function by name.

    Raises:
        UsageError: There is no such function, or it has a parameter that nobody can fill.
        EnvironmentProblemError: Its module could not be imported.
    """
    return as_verifier(load_function(name), name, arrays=arrays, is_batched=is_batched)


def load_function(name: str) -> Callable[..., Any]:
    """Import `package.module:function`, with the current folder first on the path as `python -m` has it.

    Raises:
        UsageError: There is no such function.
        EnvironmentProblemError: Its module could not be imported.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"a verifier is package.module:function, not {name!r}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        with redirect_stdout(sys.stderr):
            function: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == module_name.partition(".")[0]:
            raise UsageError(f"there is no module {module_name!r}, looked for from {folder}") from None
        raise EnvironmentProblemError(f"{module_name} needs {error.name}, which is not installed") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a module of the user raises
        raise EnvironmentProblemError(
            f"{module_name} cannot be imported: {type(error).__name__}: {sentence_of(error)}"
        ) from None
    for part in attribute.split("."):
        function = getattr(function, part, None)
    if not callable(function):
        raise UsageError(f"{module_name} has no function {attribute!r}")
    called: Callable[..., Any] = function
    return called


def as_verifier(
    function: Callable[..., Any], name: str, *, arrays: str = "auto", is_batched: bool = False
) -> Verifier:
    """Return a function as a verifier, after a look at its parameters.

    Raises:
        UsageError: A parameter without default has a name that means nothing here.
    """
    known = (*VALUES, *SOURCES)
    parameters = inspect.signature(function).parameters.values()
    strange = [
        each.name
        for each in parameters
        if each.name not in known
        and each.default is each.empty
        and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if strange:
        raise UsageError(
            f"{name} takes {', '.join(strange)}, which nobody can fill; known are {', '.join(known)}"
        )
    names = tuple(each.name for each in parameters if each.name in known)
    uses_torch = arrays == "torch" or (arrays == "auto" and _mentions_torch(function))
    return Verifier(name, function, names, uses_torch, is_batched)


def _mentions_torch(function: Any) -> bool:
    plain = inspect.unwrap(function)
    named = getattr(getattr(plain, "__code__", None), "co_names", ())
    return "torch" in named or any(
        "Tensor" in str(each) for each in getattr(plain, "__annotations__", {}).values()
    )


def values_of(
    verifier: Verifier, problem: Problem, trees: tuple[LaidOut, ...], numbers: Numbers
) -> dict[str, Any]:
    """Return the values that a verifier asks for, of one tree, or stacked of several.

    Raises:
        UsageError: The trees of a batch have different sizes.
    """
    if len({len(tree.tokens) for tree in trees}) > 1:
        raise UsageError(
            "rows of a batch need trees of one size; take a problem whose draft laws have no zeros"
        )
    each = [_values(problem, tree, numbers, is_chain=verifier.takes_chains) for tree in trees]
    found: dict[str, Any] = {"vocab_size": problem.vocab}
    for name in VALUES[:-1]:
        rows = [values[name] for values in each]
        if rows[0] is None:
            found[name] = None
        else:
            whole = np.stack(rows) if verifier.is_batched else rows[0]
            found[name] = _tensor(whole) if verifier.uses_torch else whole
    return {name: found[name] for name in verifier.parameters if name in found}


def _values(problem: Problem, tree: LaidOut, numbers: Numbers, *, is_chain: bool) -> dict[str, Any]:
    target = _table([law_after(problem.target, path, problem) for path in tree.paths], numbers)
    draft = None
    if problem.gives_draft_law:
        nowhere = tuple(
            [Fraction(1, problem.vocab)] * problem.vocab
        )  # a leaf has no draft law; nobody may use it
        paths = tree.paths[:-1] if is_chain else tree.paths
        draft = _table([problem.draft.get(path, nowhere) for path in paths], numbers)
    return {
        "tokens": tree.tokens,
        "parents": tree.parents,
        "draft_token_ids": tree.tokens[1:],
        "target_probs": target,
        "draft_probs": draft,
    }


def _table(laws: list[tuple[Fraction, ...]], numbers: Numbers) -> Any:
    if numbers == "fraction":
        table = np.empty((len(laws), len(laws[0]) if laws else 0), dtype=object)
        for row, law in enumerate(laws):
            table[row] = list(law)
        return table
    return np.array([[float(each) for each in law] for law in laws], dtype=numbers)


def _tensor(values: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values))


def call(verifier: Verifier, values: dict[str, Any], vocab: int, longest: int) -> Emitted:
    """Call a verifier and return the tokens that it emits, or what went wrong."""
    try:
        result = verifier.function(**values)
        plain = result.tolist() if hasattr(result, "tolist") else result
        rows = (
            [tokens_of(row, vocab, longest) for row in plain]
            if verifier.is_batched
            else [tokens_of(plain, vocab, longest)]
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever code under test raises is a result here
        return Raised(type(error).__name__, " ".join(sentence_of(error).split())[:MAX_SENTENCE])
    bad = next((row for row in rows if isinstance(row, Malformed)), None)
    if bad is not None:
        return bad
    return tuple(rows) if verifier.is_batched else rows[0]


def tokens_of(result: Any, vocab: int, longest: int) -> tuple[int, ...] | Malformed:
    """Return emitted tokens; pads of -1 at the end are dropped."""
    try:
        tokens = [int(each) for each in (result.tolist() if hasattr(result, "tolist") else result)]
    except (TypeError, ValueError):
        return Malformed(f"a sequence of token ids was expected, {type(result).__name__} came")
    while tokens and tokens[-1] == PAD:
        tokens.pop()
    if not tokens:
        return Malformed("no token was emitted")
    if len(tokens) > longest:
        return Malformed(f"{len(tokens)} tokens were emitted, at most {longest} can be")
    if not all(0 <= token < vocab for token in tokens):
        return Malformed(f"token ids are 0 to {vocab - 1}, {tokens} came")
    return tuple(tokens)
