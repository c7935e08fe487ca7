"""A worker's half of every launch: one record once the copies of it are on the host, in a file of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from workbench.adapters.vllm.alarms import alarm_in
from workbench.adapters.vllm.content import TokenCover
from workbench.adapters.vllm.copies import HostCopy, as_array
from workbench.adapters.vllm.cost import HookCost
from workbench.adapters.vllm.frames import SEEN, encoded
from workbench.adapters.vllm.launch import LaunchInputs, Logits, Proposed
from workbench.adapters.vllm.part import PartFile
from workbench.adapters.vllm.rows import Array
from workbench.adapters.vllm.settings import RecorderSettings

MAX_OPEN: Final = 64
SCALARS: Final = (
    "block_sizes", "kernel", "is_causal", "num_tokens_padded", "num_reqs_padded", "graph_mode",
)  # fmt: skip
OF_ROWS: Final = ("query_starts", "kv_lens", "kv_lens_host", "committed")
OF_TOKENS: Final = ("token_ids", "position_ids")
OF_SAMPLER: Final = ("temperature", "top_k", "top_p")


class WorkerRecorder:
    """Records what the attention and the sampler of one worker are given.

    Args:
        settings: Of the run.

    Attributes:
        has_begun: The file is open.
        num_late: Launches given up as their copies did not come.
        cost: What the hooks of this process cost.
    """

    def __init__(self, settings: RecorderSettings) -> None:
        self._settings = settings
        self._part: PartFile | None = None
        self._cover = TokenCover(0, 0)
        self._open: dict[int, tuple[LaunchInputs | None, Logits | None]] = {}
        self.num_late = 0
        self.cost = HookCost()

    @property
    def has_begun(self) -> bool:
        """Whether the file is open."""
        return self._part is not None

    def begin(self, manifest: Mapping[str, Any], ranks: Mapping[str, int], proposer: str | None) -> None:
        """Open the file with the facts of the engine as this worker has them."""
        limits = dict(manifest["limits"])
        self._cover = TokenCover(self._settings.key, limits["vocab_size"])
        limits["eos_token_ids"] = self._cover.list_of(limits["eos_token_ids"])
        name = "worker-" + "-".join(f"{key.removesuffix('_rank')}{rank}" for key, rank in ranks.items())
        facts = {"role": "worker", "manifest": {**manifest, "limits": limits}, "ranks": dict(ranks),
                 "proposer": proposer, "level": self._settings.level}  # fmt: skip
        self._part = PartFile(self._settings, name, facts, closing=self._closing)

    def forward(self, number: int, seen: LaunchInputs) -> None:
        """Take what the attention of a launch was given."""
        if number not in self._open:
            self._open[number] = (seen, None)
            while len(self._open) > MAX_OPEN:
                self._open.pop(next(iter(self._open)))
                self.num_late += 1

    def logits(self, number: int, seen: Logits) -> None:
        """Take what the sampler of a launch was given."""
        inputs, before = self._open.get(number, (None, None))
        if inputs is not None and before is None:
            self._open[number] = (inputs, seen)

    def flush(self, *, but: int | None = None) -> None:
        """Write the launches before `but` whose copies are there, in order; waits for none."""
        for number in tuple(self._open):
            inputs, logits = self._open[number]
            if number == but or inputs is None or not _is_there(inputs, logits):
                return
            self._write(number)

    def _closing(self) -> dict[str, Any]:
        self.flush_all()
        return {"num_late": self.num_late, "cost": self.cost.facts()}

    def flush_all(self) -> None:
        """Write all launches; waits for their copies."""
        for number in tuple(self._open):
            self._write(number)

    def _write(self, number: int) -> None:
        inputs, logits = self._open.pop(number)
        if inputs is None or self._part is None:
            return
        self.cost.add(len(inputs.request_ids))
        at = time.time_ns()
        self._part.append(lambda: self._record(number, inputs, logits, at))

    def _record(self, number: int, inputs: LaunchInputs, logits: Logits | None, at: int) -> bytes:
        facts: dict[str, Any] = {name: getattr(inputs, name) for name in SCALARS}
        facts |= {"launch": number, "request_ids": inputs.request_ids, "at": at}
        arrays = self._columns(inputs)
        if logits is not None:
            facts["is_masked"] = logits.is_masked
            arrays |= self._scores(logits)
        found = alarm_in(facts, arrays)
        if found and self._part is not None:
            self._part.alarm(f"launch {number} has {found}")
        return encoded(SEEN, facts, arrays)

    def _columns(self, inputs: LaunchInputs) -> dict[str, Array]:
        num_rows = len(inputs.request_ids)
        rows = {
            name: as_array(getattr(inputs, name)) for name in OF_ROWS if getattr(inputs, name) is not None
        }
        starts = rows["query_starts"][: num_rows + 1]
        arrays = {name: each[:num_rows] for name, each in rows.items()}
        arrays["query_starts"], num_tokens = starts, int(starts[-1]) if len(starts) else 0
        for name in OF_TOKENS:
            arrays[name] = as_array(getattr(inputs, name))[..., :num_tokens]
        arrays["token_ids"] = self._cover.ids(arrays["token_ids"])
        longest = int(arrays["kv_lens"].max(initial=0))
        for group, (table, slots, size) in enumerate(
            zip(inputs.tables, inputs.slots, inputs.block_sizes, strict=True)
        ):
            arrays[f"table_{group}"] = as_array(table)[:num_rows, : -(-longest // size)]
            arrays[f"slots_{group}"] = as_array(slots)[:num_tokens]
        return {**arrays, **self._proposed(inputs)}

    def _proposed(self, inputs: LaunchInputs) -> dict[str, Array]:
        if inputs.proposed is None:
            return {}
        by_name = inputs.proposed.by_name
        found = [by_name.get(each) for each in inputs.request_ids]
        there = [each for each in found if each is not None]
        counts = [-1 if each is None else len(each) for each in found]
        tokens = np.concatenate(there) if there else np.zeros(0, np.int64)
        return {
            "num_proposed": np.array(counts, dtype=np.int32),
            "proposed": self._cover.ids(tokens.astype(np.int64)),
        }

    def _scores(self, logits: Logits) -> dict[str, Array]:
        arrays: dict[str, Array] = {
            "num_logits": np.asarray(as_array(logits.num_rows), dtype=np.int32),
            "top_ids": self._cover.ids(as_array(logits.top_ids)),
            "top_logits": as_array(logits.top_logits),
        }
        values = {name: getattr(logits, name) for name in OF_SAMPLER}
        given: dict[str, Array] = {name: as_array(each) for name, each in values.items() if each is not None}
        return arrays | given


def _is_there(inputs: LaunchInputs, logits: Logits | None) -> bool:
    copies = [*inputs.tables, *inputs.slots, inputs.token_ids, inputs.position_ids, inputs.kv_lens]
    copies += [] if logits is None else [logits.top_ids, logits.top_logits]
    copies += [] if inputs.proposed is None else [inputs.proposed.tokens]
    return all(each.is_there for each in copies if isinstance(each, HostCopy))


def seen_and_scored(
    facts: Mapping[str, Any], arrays: Mapping[str, Array]
) -> tuple[LaunchInputs, Logits | None]:
    """Read a record of a launch."""
    groups = range(len(facts["block_sizes"]))
    proposed = None
    if "num_proposed" in arrays:
        sizes = arrays["num_proposed"]
        names = zip(facts["request_ids"], sizes.tolist(), strict=True)
        there = tuple(name for name, size in names if size >= 0)
        proposed = Proposed(there, arrays["proposed"], sizes[sizes >= 0])
    inputs = LaunchInputs(
        **{name: facts[name] for name in SCALARS if name != "block_sizes"},
        **{name: arrays.get(name) for name in (*OF_ROWS, *OF_TOKENS)},  # type: ignore[arg-type]  # host arrays
        request_ids=tuple(facts["request_ids"]),
        block_sizes=tuple(facts["block_sizes"]),
        tables=tuple(arrays[f"table_{group}"] for group in groups),
        slots=tuple(arrays[f"slots_{group}"] for group in groups),
        proposed=proposed,
    )
    if "top_ids" not in arrays:
        return inputs, None
    values = {name: arrays.get(name) for name in OF_SAMPLER}
    return inputs, Logits(
        arrays["num_logits"], arrays["top_ids"], arrays["top_logits"], is_masked=facts["is_masked"], **values
    )
