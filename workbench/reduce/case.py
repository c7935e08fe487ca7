"""One case: what is decoded, how, and what is left of the models, as plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tracing.errors import UsageError
from tracing.settings import DecodeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCut:
    """What is left of one network; None is all.

    Attributes:
        layers: Numbers of the layers that are kept, ascending; an EAGLE-3 drafter has one.
        kv_heads: Numbers of the key heads that are kept, each with its group of query heads.
        group: Query heads that are kept of each group, the first ones.
        width: Inner size of the MLP, the first ones.
    """

    layers: tuple[int, ...] | None = None
    kv_heads: tuple[int, ...] | None = None
    group: int | None = None
    width: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCut:
    """What is left of both models.

    Attributes:
        teacher, drafter: Of each network.
        hidden: Size of the residual stream of both, the first elements; None is all.
        vocab: Token ids that are kept, ascending; None is all.
        seed: Weights are drawn at random from this seed, in the shapes that are left; None: they are the real
            ones.
        plain: Quantised weights are replaced by the numbers that they stand for.
    """

    teacher: NetworkCut = field(default_factory=NetworkCut)
    drafter: NetworkCut = field(default_factory=NetworkCut)
    hidden: int | None = None
    vocab: tuple[int, ...] | None = None
    seed: int | None = None
    plain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCase:
    """One run; token ids are those of the whole vocabulary, also where it is cut.

    Attributes:
        turns: Tokens of each turn; a turn is prefilled with all before it and its own.
        settings: Of decoding.
        cut: Of the models.
        dtype: Of the path under test.
        eager: Fused operators of our path that run eagerly.
        seed, generator: Of the draws, where tokens are sampled.
        repeat: Whether prefill and a clean step are repeated bit by bit.
    """

    turns: tuple[tuple[int, ...], ...]
    settings: DecodeSettings
    cut: ModelCut = field(default_factory=ModelCut)
    dtype: str = "auto"
    eager: tuple[str, ...] = ()
    seed: int = 0
    generator: str = "philox"
    repeat: bool = True

    @property
    def num_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(map(len, self.turns))

    @property
    def key(self) -> str:
        """Digest of the case, 16 hex digits."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, held: Any, where: str) -> RunCase:
        """Return the case that `as_json` gave.

        Raises:
            UsageError: It is something else; `where` names the file.
        """
        try:
            cut = held["cut"]
            networks = {name: _built(NetworkCut, cut[name]) for name in ("teacher", "drafter")}
            return cls(
                **_tuples(held)
                | {
                    "turns": tuple(tuple(map(int, turn)) for turn in held["turns"]),
                    "settings": _built(DecodeSettings, held["settings"]),
                    "cut": ModelCut(**_tuples(cut) | networks),
                }
            )
        except (KeyError, TypeError, AttributeError, ValueError):
            raise UsageError(f"{where} should hold a case of specwb reduce, and does not") from None


def _built(kind: Any, held: Mapping[str, Any]) -> Any:
    names = {each.name for each in fields(kind)}
    return kind(**_tuples({name: value for name, value in held.items() if name in names}))


def _tuples(held: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in held.items()}
