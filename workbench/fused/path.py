"""The fused path as a value: models built from plain data, six stages, windows on the caches."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import Any, TypedDict, Unpack

import torch

from tracing.draws import Draws
from tracing.errors import UsageError
from tracing.models import ModelPair
from tracing.run_facts import ModelFacts
from tracing.sampling import Chooser
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, Stages
from workbench.fused.accept import accept
from workbench.fused.cache.pages import BlockTable
from workbench.fused.commit import commit
from workbench.fused.draft import draft
from workbench.fused.drafters import drafter_kind
from workbench.fused.drafters.seam import DrafterParts
from workbench.fused.engine import Engine
from workbench.fused.fitting import BLOCK_SIZES, choose_device, choose_dtype, fit_blocks, fit_switches
from workbench.fused.linear import Products
from workbench.fused.operators import Operators
from workbench.fused.originals import Originals
from workbench.fused.prefill import prefill
from workbench.fused.sampling import CHOOSERS
from workbench.fused.seen import intermediates
from workbench.fused.state import kv_lengths, kv_rows, snapshot, static_inputs
from workbench.fused.switches import read_switches
from workbench.fused.teacher import Teacher
from workbench.fused.tensorize import tensorize
from workbench.fused.verify import verify
from workbench.npu.backends import register


def make_path(pair: ModelPair, settings: DecodeSettings, **options: Unpack[EngineOptions]) -> DecodePath:
    """Build the fused path over the given weights, which are never changed.

    Args:
        pair: Teacher and drafter as plain data.
        settings: Tree shape, commit mode and the like.
        **options: As `make_engine`.

    Raises:
        UsageError: A setting that cannot be.
        CheckpointError: Weights that do not fit their configuration, or an unknown architecture.
        EnvironmentProblemError: The device is not there.
    """
    return path_over(make_engine(pair, settings, **options))


class EngineOptions(TypedDict, total=False):
    """Keyword arguments of `make_engine`."""

    device: str
    dtype: str
    eager: Set[str]
    replication: str
    pad_token_id: int
    environment: Mapping[str, str] | None


def make_engine(
    pair: ModelPair,
    settings: DecodeSettings,
    *,
    device: str = "auto",
    dtype: str = "auto",
    eager: Set[str] = frozenset(),
    replication: str = "incremental",
    pad_token_id: int = 0,
    environment: Mapping[str, str] | None = None,
) -> Engine:
    """Build the models of a fused path.

    Args:
        pair: Teacher and drafter as plain data.
        settings: Tree shape, commit mode and the like.
        device: `auto` is the NPU when there is one, else the CPU.
        dtype: `auto` is bfloat16 on an NPU, else float32; or `float32`, `bfloat16`, `float16`.
        eager: Operators to run as plain torch: `attention`, `norm`, `rotary`, `swiglu`, `scatter`; with
            `linear` products take their weights as they are given.
        replication: `incremental` or `deepcopy`, see `CacheManager`.
        pad_token_id: Token of padded rows.
        environment: Where the paper's variables are read from; the process's own when None.

    Raises:
        As `make_path`.
    """
    _check(pair, settings, pad_token_id)
    place = choose_device(device)
    number = choose_dtype(dtype, place)
    asked = read_switches(eager, os.environ if environment is None else environment)
    switches = fit_blocks(fit_switches(asked, pair, place, number), pair, settings)
    operators = Operators(switches.eager, Products(plain="linear" in switches.eager))
    parts = DrafterParts(pair, settings, operators, switches, place, number)
    engine = Engine(
        teacher=Teacher(pair.teacher, pair.teacher_weights, pair.taps, operators, device=place, dtype=number),
        drafter=drafter_kind(pair).build(parts),
        settings=settings,
        switches=switches,
        device=place,
        dtype=number,
        vocab_size=pair.teacher.vocab_size,
        max_positions=pair.teacher.max_position_embeddings,
        eos_token_ids=pair.eos_token_ids,
        pad_token_id=pad_token_id,
        replication=replication,
        products=operators.products,
        originals=Originals.of(pair),
    )
    engine.new_caches()  # refuses an unknown `replication` at once
    return engine


def path_over(engine: Engine) -> DecodePath:
    """Return the path that decodes with these models."""
    paged = engine.settings.kv_layout == "paged"
    return DecodePath(
        name="fused",
        stages=Stages(
            prefill=partial(prefill, engine),
            draft=partial(draft, engine),
            tensorize=partial(tensorize, engine),
            verify=partial(verify, engine),
            accept=partial(accept, engine),
            commit=partial(commit, engine),
        ),
        begin=engine.begin,
        chooser=_chooser(engine.settings),
        kv_rows=kv_rows,
        kv_lengths=kv_lengths,
        snapshot=snapshot,
        static_inputs=None if engine.static_tree is None else static_inputs,
        intermediates=intermediates,
        lacks=frozenset() if paged else frozenset({"slots"}),
        info={**_info(engine), **_capacity(engine)},
        model_facts=ModelFacts(shown_layer=0),
    )


def _check(pair: ModelPair, settings: DecodeSettings, pad_token_id: int) -> None:
    vocab_size = pair.teacher.vocab_size
    if settings.kv_layout == "paged" and settings.block_size not in BLOCK_SIZES:
        raise UsageError(
            f"block_size should be a multiple of {BLOCK_SIZES.step} from {BLOCK_SIZES.start} to "
            f"{BLOCK_SIZES[-1]}, got {settings.block_size}"
        )
    if not 0 <= pad_token_id < vocab_size:
        raise UsageError(f"pad_token_id should be 0 to {vocab_size - 1}, got {pad_token_id}")


def _chooser(settings: DecodeSettings) -> Callable[[Draws], Chooser] | None:
    """Return what makes choosers for these settings, None if they are greedy."""
    return None if settings.is_greedy else partial(CHOOSERS[settings.acceptance], settings)


def _capacity(engine: Engine) -> Mapping[str, Any]:
    """Return how many slots a paged cache can ever have; a contiguous one has none and grows as it must."""
    settings = engine.settings
    if settings.kv_layout == "contiguous":
        return {"kv_layout": settings.kv_layout}
    most = BlockTable(settings.block_size)
    most.reserve(engine.max_positions + settings.tree_nodes)
    return {
        "kv_layout": settings.kv_layout,
        "block_size": settings.block_size,
        "num_slots": most.num_slots,
        "kv_capacity": most.num_slots,
    }


def _info(engine: Engine) -> Mapping[str, Any]:
    relaxed = engine.dtype is torch.float32 and engine.device.type != "npu"
    return {
        "backend": dict(register().backend.as_json()),
        "device": str(engine.device),
        "dtype": str(engine.dtype).removeprefix("torch."),
        "relaxed": "float32 is off the operators' contract; allowed off-device only" if relaxed else None,
        "switches": dict(engine.switches.as_json()),
        "products": dict(engine.products.stored()),
        "commit_mode": engine.settings.commit_mode,
        "replication": engine.replication,
    }
