"""Where models and the path under test come from, as plain data that crosses processes; and both, opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from tracing.errors import UsageError
from tracing.models import ModelPair
from tracing.settings import RungName
from tracing.stages import DecodePath
from workbench.reduce.case import RunCase

if TYPE_CHECKING:
    from workbench.lockstep.engine.user_code import UserCode

KEPT_PAIRS: Final = 4
"""Cut pairs that are kept at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSource:
    """What is under test, on which models.

    Attributes:
        model, draft, proposer, weights, trust_remote_code: As options of `specwb diff`.
        bench, need: In place of these, a bench of the faults (`tiny`, `shipped`) and what its run has.
        folder: In place of these, a folder of a reduced case.
        fused: `module:factory` of the path under test; None is ours.
        fault: Name of a fault that is planted in ours, or empty.
        device: Of the path under test.
        rung, reference_device: Of the reference.
        stage_timeout: Seconds that a stage of the path may take, or None.
        npu_mode: As `specwb diff --npu-mode`.
    """

    model: str | None = None
    draft: str | None = None
    proposer: str = "eagle3"
    weights: str = "as-is"
    trust_remote_code: bool = False
    bench: str = ""
    need: str = "plain"
    folder: str = ""
    fused: str | None = None
    fault: str = ""
    device: str = "auto"
    rung: str = "cached"
    reference_device: str = "cpu"
    stage_timeout: float | None = None
    npu_mode: str = "strict"

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @property
    def is_plain(self) -> bool:
        """Whether it is our own path as it is."""
        return self.fused is None and not self.fault


class OpenedSource:
    """The models of a source, loaded, and its paths, built when asked for.

    Attributes:
        token_bytes: Bytes of a token id of the whole vocabulary.
        tokenizer: None where the models have none.
        cut: `(cut)` returns the pair of which the rest is left out; a few are kept.
    """

    def __init__(
        self, source: RunSource, pair: ModelPair, token_bytes: Callable[[int], bytes], tokenizer: Any = None
    ) -> None:
        """Keep what was loaded."""
        from workbench.reduce.slices import cut_pair

        self.source, self.pair, self.token_bytes, self.tokenizer = source, pair, token_bytes, tokenizer
        self.cut = lru_cache(maxsize=KEPT_PAIRS)(lambda cut: cut_pair(pair, cut))

    @contextmanager
    def path(
        self, case: RunCase, user_code: UserCode | None = None, *, control: bool = False
    ) -> Iterator[DecodePath]:
        """Enter with a fresh path under test over the pair of a case.

        Args:
            case: Its cut, settings, dtype and eager operators.
            user_code: Calls the code of a path that is not ours.
            control: Give our path without a fault in its place.

        Raises:
            SpecwbError: It cannot be built.
        """
        from workbench.campaign.planted import placed
        from workbench.fused.path import make_path
        from workbench.lockstep.engine.user_code import UserCode
        from workbench.lockstep.session.ports import build_port

        source, pair = self.source, self.cut(case.cut)
        options: dict[str, Any] = {
            "device": source.device,
            "dtype": case.dtype,
            "eager": frozenset(case.eager),
        }
        if source.fused is not None and not control:
            yield build_port(source.fused, pair, case.settings, user_code or UserCode(), **options)
            return

        def made() -> DecodePath:
            return make_path(pair, case.settings, **options)

        if control or not source.fault:
            yield made()
            return
        placement = placed(source.fault)
        with placement.around():
            yield placement.path(made())

    def renumbered(self, case: RunCase) -> list[list[int]]:
        """Return the tokens of a case's turns in the numbers of its cut vocabulary.

        Raises:
            ValueError: A token is not left.
        """
        vocab = case.cut.vocab
        if vocab is None:
            return [list(turn) for turn in case.turns]
        places = {token: place for place, token in enumerate(vocab)}
        missing = [token for turn in case.turns for token in turn if token not in places]
        if missing:
            raise ValueError(f"token {missing[0]} of the prompt is not left in the vocabulary")
        return [[places[token] for token in turn] for turn in case.turns]

    def original(self, case: RunCase, token_ids: list[int]) -> list[int]:
        """Return tokens of a run of a case in the numbers of the whole vocabulary."""
        vocab = case.cut.vocab
        return token_ids if vocab is None else [vocab[token] for token in token_ids]


def opened(source: RunSource) -> OpenedSource:
    """Load models; operators must be bootstrapped.

    Raises:
        SpecwbError: Anything that the user can mend.
    """
    if source.bench:
        setup = _bench(source)
        return OpenedSource(source, setup.pair, setup.token_bytes)
    if source.folder:
        from workbench.reduce.models import read_pair

        return OpenedSource(source, *read_pair(source.folder))
    from workbench.checkpoints.load import load_pair
    from workbench.lockstep.session.request import pair_directories

    loaded = load_pair(
        *pair_directories(source.model, source.draft, source.proposer),
        proposer=source.proposer,
        trust_remote_code=source.trust_remote_code,
        weights=source.weights,
    )
    return OpenedSource(source, loaded.pair, loaded.tokenizer.token_bytes, loaded.tokenizer)


def bench_case(source: RunSource) -> RunCase:
    """Return the run that a bench gives a fault of this need."""
    setup = _bench(source)
    return RunCase(
        turns=(setup.prompt,), settings=setup.settings, dtype=setup.dtype, generator="philox_edges"
    )


def _bench(source: RunSource) -> Any:
    from workbench.faults.bench import NEEDS, shipped_bench, tiny_bench

    benches = {"tiny": tiny_bench, "shipped": shipped_bench}
    if source.bench not in benches or source.need not in NEEDS:
        raise UsageError(f"there is no bench {source.bench!r} with {source.need!r}")
    return benches[source.bench](source.proposer).setup(source.need)


def rung_of(source: RunSource) -> RungName:
    """Return the rung of the reference."""
    return cast("RungName", source.rung)
