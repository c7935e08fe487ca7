"""The file of one process: bounded in bytes, in memory until it is asked for (`ring`) or at once (`full`)."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any, BinaryIO, Final

from workbench.adapters.vllm.background import BACKGROUND, IDLE
from workbench.adapters.vllm.frames import BEGIN, CLOSED, encoded
from workbench.adapters.vllm.settings import PARTS, RecorderSettings

SUFFIX: Final = ".part"
DUMP_SIGNAL: Final = signal.SIGUSR2
WORKERS_SECONDS: Final = 2.0
"""For so long a process that ends others waits at most for their files."""
AFTER_ALARM: Final = 32
"""Records of a process that are kept after an alarm."""
_KEPT_FACTS: Final = 4096
_log = logging.getLogger("specwb.vllm")
_open: list[PartFile] = []


class PartFile:
    """Records of one role of one process.

    Args:
        settings: Of the run.
        name: Role and ranks, a part of the file's name.
        begin: Facts of the first record.
        closing: Called before the file ends: writes what is under way, and returns facts of the last record.

    Attributes:
        num_lost: Records that the limit or the disk refused.
        is_full: The limit is reached.
    """

    def __init__(
        self,
        settings: RecorderSettings,
        name: str,
        begin: dict[str, Any],
        closing: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        folder = settings.folder / PARTS
        folder.mkdir(parents=True, exist_ok=True)
        self.num_lost, self.is_full = 0, False
        self._is_ring, self._limit = settings.mode == "ring", settings.max_bytes
        self._alarm = folder / f"alarm-{settings.run}"
        self._num_left: int | None = None
        rank = begin.get("dp_rank", begin.get("ranks", {}).get("dp_rank", 0))
        self._ends = [folder / f"end-{settings.run}{suffix}" for suffix in ("", f"-dp{rank}")]
        self._mark = folder / f"open-{settings.run}-{os.getpid()}-{name}"
        self._mark.touch()
        self._path = folder / f"{name}-{settings.run}-{os.getpid()}{SUFFIX}"
        self._process, self._guard = os.getpid(), threading.RLock()
        self._ring: deque[tuple[bytes, bool]] = deque()
        self._facts: deque[bytes] = deque(maxlen=_KEPT_FACTS)
        self._size, self._lost_start = 0, False
        self._closing = closing
        self._file: BinaryIO | None = None
        head = {**begin, "run": settings.run, "mode": settings.mode, "pid": os.getpid(), "name": name}
        self._begin = encoded(BEGIN, head)
        if not self._is_ring:
            self._file = self._path.open("xb", buffering=0)
            self._file.write(self._begin)
        Finalize(None, self.close, exitpriority=100)  # children of multiprocessing never run atexit
        _open.append(self)
        IDLE.append(self._close_at_end)
        _listen()

    def append(self, make: Callable[[], bytes], *, is_fact: bool = False) -> None:
        """Take a record, which `make` encodes beside the engine's thread; the ring keeps facts for longer."""
        BACKGROUND.submit(lambda: self._take(make(), is_fact=is_fact))

    def alarm(self, why: str) -> None:
        """Let every process of the run write its ring soon, and stop there; a run's first alarm counts."""
        if self._is_ring and not self._alarm.exists():
            _log.warning("%s; the ring is written after %d more records", why, AFTER_ALARM)
            try:
                self._alarm.write_text(why)
            except OSError as problem:
                _log.warning("%s cannot be written: %s", self._alarm, problem)

    def _take(self, record: bytes, *, is_fact: bool) -> None:
        with self._guard:
            if os.getpid() != self._process:
                return
            if not self._is_ring:
                self._write(record)
            elif self._num_left == 0:
                self.num_lost += 1
            else:
                self._keep(record, is_fact=is_fact)
                self._count_down()

    def _count_down(self) -> None:
        """After an alarm some records more are kept, then the ring is written, and nothing replaces it."""
        if self._num_left is None and self._alarm.exists():
            self._num_left = AFTER_ALARM
        elif self._num_left:
            self._num_left -= 1
            if not self._num_left:
                self._dump(self._why(), {})

    def _why(self) -> str:
        return self._alarm.read_text() if self._is_ring and self._alarm.exists() else "the process ended"

    def _keep(self, record: bytes, *, is_fact: bool) -> None:
        if len(record) > self._limit:
            self.num_lost += 1
            return
        self._ring.append((record, is_fact))
        self._size += len(record)
        while self._size > self._limit:
            oldest, was_fact = self._ring.popleft()
            self._size -= len(oldest)
            self._lost_start = True
            if was_fact:
                self._facts.append(oldest)

    def _write(self, record: bytes) -> None:
        if self.is_full or self._size + len(record) > self._limit or self._file is None:
            if not self.is_full:
                _log.warning("%s has reached its limit of %d bytes", self._path, self._limit)
            self.is_full = True
            self.num_lost += 1
            return
        try:
            self._file.write(record)
            self._size += len(record)
        except OSError as problem:
            _log.warning("%s cannot be written: %s", self._path, problem)
            self.is_full = True
            self.num_lost += 1

    def dump(self, why: str) -> None:
        """Write the ring as it is; a later call replaces it."""
        BACKGROUND.drain()
        with self._guard:
            self._dump(why, {})

    def _dump(self, why: str, facts: dict[str, Any]) -> None:
        if not self._is_ring or os.getpid() != self._process:
            return
        last = {**facts, "why": why, "open_start": self._lost_start, "num_lost": self.num_lost}
        records = [each for each, _ in self._ring]
        fresh = self._path.with_suffix(".fresh")
        try:
            fresh.write_bytes(b"".join((self._begin, *self._facts, *records, encoded(CLOSED, last))))
            fresh.replace(self._path)
        except OSError as problem:
            _log.warning("%s cannot be written: %s", self._path, problem)

    def _close_at_end(self) -> None:
        if any(each.exists() for each in self._ends):
            self.close()

    def close(self) -> None:
        """Write what is under way, then the end."""
        if os.getpid() != self._process or self not in _open:
            return
        _open.remove(self)
        IDLE.remove(self._close_at_end)
        facts = self._closing()
        BACKGROUND.drain()
        with self._guard:
            if self._num_left != 0:
                self._dump(self._why(), facts)
            if self._file is not None:
                self.is_full, self._limit = False, self._limit + (1 << 12)
                self._write(encoded(CLOSED, {**facts, "why": "the process ended", "num_lost": self.num_lost}))
                self._file.close()
                self._file = None
        self._mark.unlink(missing_ok=True)


def end_others(settings: RecorderSettings, which: str = "") -> None:
    """Let other processes end their files before they are killed, and wait a little for it.

    Args:
        settings: Of the run.
        which: Suffix of the ranks that end, as in `-dp0`, or empty: all.
    """
    folder = settings.folder / PARTS
    if not folder.is_dir():
        return
    (folder / f"end-{settings.run}{which}").touch()
    pattern, own = f"open-{settings.run}-*{which}-*", f"open-{settings.run}-{os.getpid()}-"
    deadline = time.monotonic() + WORKERS_SECONDS
    while any(not each.name.startswith(own) for each in folder.glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.02)


def dump_all(why: str) -> None:
    """Write the rings of this process."""
    for part in tuple(_open):
        part.dump(why)


def _listen() -> None:
    """Write the rings on a signal, and then do what the engine does on it."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(DUMP_SIGNAL)
    if getattr(before, "specwb", False):
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=dump_all, args=(f"signal {number}",), daemon=True).start()
        if callable(before):
            before(number, frame)

    on_signal.specwb = True  # type: ignore[attr-defined]  # marks a function
    signal.signal(DUMP_SIGNAL, on_signal)
