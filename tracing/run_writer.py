"""A run folder being written: manifest, findings, vocabulary, bulk tensors, and one recorder per path."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, get_args

from tracing.bulk import BULK_FOLDER, check_bulk, checked_bulk_path, save_bulk
from tracing.errors import SpecwbError, TraceError, UsageError
from tracing.files import FolderLock, sync_folder
from tracing.finding import Finding
from tracing.findings_log import FindingsWriter
from tracing.identity import heads
from tracing.manifest import (
    MANIFEST_NAME,
    OWNED_BY_WRITER,
    PATH_NAME,
    STATUSES,
    fresh_manifest,
    write_manifest,
)
from tracing.moment import Moment
from tracing.process import Process
from tracing.schema import column_named, columns_of_level
from tracing.settings import require_one_of
from tracing.step_recorder import ON_ERROR, OnError, Trace
from tracing.vocabulary import TokenBytes, VocabularyWriter
from tracing.writer import PathWriter

CODECS: Final = ("zstd", "lz4")
Durability = Literal["process", "power"]
DURABILITIES: Final[tuple[str, ...]] = get_args(Durability)


class RunWriter:
    """Owns a run folder from its first file to its end; a context manager.

    Leaving it writes the status: `complete`, `interrupted` after Ctrl-C or a signal that the host takes for a
    regular exit, `failed` after any other exception.
    It belongs to the process that opened it: in a forked child everything here does nothing.

    Args:
        folder: A folder that holds no run; it is created.
        manifest: Plain data that adds to the manifest: `models`, `settings`, `seeds`, `lockstep`, `engine`.
        token_bytes: Gives the raw bytes of a token id; fills `vocabulary.arrows`.
        codec: Compression of sealed batches: `lz4`, several times as fast, or `zstd`, a fourth smaller.
        durability: What a step that has ended survives. `process`: the death of the process at any moment,
            as every record is handed to the operating system at once; sealed batches (64 steps) and the
            manifest wait for the disk. `power`: the loss of power too, as every record waits for the disk,
            and so do names of files.

    Raises:
        UsageError: There is no such codec or durability.
        TraceError: The folder holds a run, or another writer has it.
        EnvironmentProblemError: The folder cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        manifest: Mapping[str, Any] | None = None,
        *,
        token_bytes: TokenBytes | None = None,
        codec: str = "lz4",
        durability: Durability = "process",
    ) -> None:
        require_one_of("codec", codec, CODECS)
        require_one_of("durability", durability, DURABILITIES)
        self.folder = Path(folder)
        self._flush = durability == "power"
        self._process = Process()
        self._guard = threading.RLock()
        self._codec = codec
        self._paths: dict[str, PathWriter] = {}
        self._closed = False
        self._lock = FolderLock(self.folder)
        try:
            if (self.folder / MANIFEST_NAME).exists():
                raise TraceError(f"{self.folder} already holds a run; choose another folder")
            for file, _ in heads(self.folder):
                raise TraceError(
                    f"{self.folder} holds {file.name} of a run without a manifest; choose another folder, "
                    "specwb trace repair reads this one"
                )
            self.run_id = os.urandom(16).hex()
            self._manifest = fresh_manifest({**(manifest or {}), "run_id": self.run_id})
            self._manifest["vocabulary"] = None if token_bytes is None else {}
            self._manifest["durability"] = durability
            self._write_manifest()
            self._findings = FindingsWriter(self.folder, self.run_id, flush=self._flush)
            self._vocabulary = (
                None
                if token_bytes is None
                else VocabularyWriter(self.folder, self.run_id, token_bytes, flush=self._flush)
            )
            if self._flush:
                sync_folder(self.folder.parent)
        except BaseException:
            self._lock.release()
            raise

    def path(
        self,
        name: str,
        *,
        level: str = "full",
        lacks: Iterable[str] = (),
        info: Mapping[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> Trace:
        """Begin one path of the run and return its recorder.

        Args:
            name: `fused`, `reference`, or another name that can be a file name.
            level: `basic`, `digest` or `full`.
            lacks: Columns that this path can never have.
            info: Plain data about the path: backend, dtype, device, switches.
            on_error: `raise` or `warn`.

        Raises:
            UsageError: The name is taken or cannot be a file name.
            UnknownColumnError: `lacks` names a column that does not exist.
        """
        lacks = checked_path(name, level, lacks, on_error)
        return Trace(self.path_writer(name, level=level, lacks=lacks, info=info), level, on_error)

    def path_writer(
        self, name: str, *, level: str, lacks: Iterable[str] = (), info: Mapping[str, Any] | None = None
    ) -> PathWriter:
        """Begin one path and return what writes its rows; for rows that are Arrow already, else see `path`.

        Raises:
            UsageError: The name is taken or cannot be a file name.
            UnknownColumnError: `lacks` names a column that does not exist.
        """
        entry = {"level": level, "lacks": lacking_columns(lacks), "info": dict(info or {})}
        if not self._process.is_this():
            raise UsageError("this process was forked from the one that records; open a run of its own in it")
        with self._guard:
            if name in self._paths:
                raise UsageError(f"path {name} is being recorded already")
            writer = PathWriter(
                self.folder, name, self.run_id, self._vocabulary, self._codec, flush=self._flush
            )
            self._paths[name] = writer
            self._manifest["paths"][name] = entry
            self._write_manifest()
        return writer

    def add_finding(self, finding: Finding) -> None:
        """Write one finding; it is on record at once."""
        if self._process.is_this():
            self._findings.add(finding)

    def save_bulk(self, moment: Moment, name: str, tensor: Any) -> Path:
        """Write a whole tensor to a file of its own and list it in the manifest; return its path."""
        if not self._process.is_this():
            return self.folder / BULK_FOLDER
        with self._guard:
            return self._list_bulk(save_bulk(self.folder, moment, name, tensor, flush=self._flush))

    def adopt_bulk(self, source: Path, entry: dict[str, Any]) -> Path:
        """Copy a tensor of another run, whose manifest lists it as `entry`; return its path.

        Raises:
            CorruptFrameError: It is not what that manifest lists.
        """
        original = checked_bulk_path(source, entry)
        check_bulk(original, entry)
        (self.folder / BULK_FOLDER).mkdir(exist_ok=True)
        shutil.copyfile(original, self.folder / str(entry["file"]))
        return self._list_bulk(entry)

    def _list_bulk(self, entry: dict[str, Any]) -> Path:
        others = [old for old in self._manifest["bulk"] if old["file"] != entry["file"]]
        self._manifest["bulk"] = [*others, entry]
        path = self.folder / str(entry["file"])
        try:
            self._write_manifest()
        except SpecwbError:
            self._manifest["bulk"] = others
            path.unlink(missing_ok=True)  # nothing would list it
            raise
        return path

    def add_tokens(self, found: Mapping[int, bytes | None]) -> None:
        """Add to the vocabulary what is known without a tokenizer.

        Raises:
            UsageError: The run was opened without `token_bytes`, so it has no vocabulary.
        """
        if self._vocabulary is None:
            raise UsageError("this run has no vocabulary; open it with token_bytes")
        if self._process.is_this():
            self._vocabulary.add(found)

    def update(self, **facts: Any) -> None:
        """Add plain data to the manifest, e.g. `verdict`."""
        owned = OWNED_BY_WRITER.intersection(facts)
        if owned:
            raise UsageError(f"{', '.join(sorted(owned))} of the manifest is written by the recorder itself")
        if self._process.is_this():
            with self._guard:
                self._manifest.update(facts)
                self._write_manifest()

    def _write_manifest(self) -> None:
        write_manifest(self.folder, self._manifest, flush=self._flush)

    def close(self, status: str = "complete") -> None:
        """Seal everything, write the end records and the manifest; a second time does nothing.

        Raises:
            UsageError: The status is none of `STATUSES`.
            EnvironmentProblemError: The disk refused something; what is written stays readable.
        """
        require_one_of("status", status, STATUSES[1:])
        if self._closed or not self._process.is_this():
            return
        self._closed = True
        try:
            with self._guard:
                problem = self._close_files()
                self._manifest["status"] = status if problem is None else "failed"
                self._write_manifest()
            if problem is None:
                for name in self._paths:
                    (self.folder / f"{name}.journal").unlink(missing_ok=True)
            else:
                raise problem
        finally:
            self._lock.release()

    def _close_files(self) -> SpecwbError | None:
        """Close every file, going on after a failure; return the first failure."""
        problem: SpecwbError | None = None
        for name, writer in self._paths.items():
            try:
                self._manifest["paths"][name].update(writer.close())
            except SpecwbError as own:
                problem = problem or own
        try:
            self._manifest["findings"] = self._findings.close()
            if self._vocabulary is not None:
                self._manifest["vocabulary"] = self._vocabulary.close()
        except SpecwbError as own:
            problem = problem or own
        return problem

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if problem is None:
            self.close("complete")
            return
        try:
            self.close("interrupted" if _is_signal(problem) else "failed")
        except SpecwbError as own:
            problem.add_note(f"the trace could not be closed: {own}")


def _is_signal(problem: BaseException) -> bool:
    """Whether a signal ended the host: Ctrl-C, or an exit with 0 or 128 and more."""
    if isinstance(problem, SystemExit):
        return problem.code is None or (isinstance(problem.code, int) and not 0 < problem.code < 128)
    return isinstance(problem, KeyboardInterrupt)


def checked_path(name: str, level: str, lacks: Iterable[str], on_error: str) -> list[str]:
    """Check the arguments of a path before anything is created; return the columns that it lacks.

    Raises:
        UsageError: The name cannot be a file name, or there is no such level or way of failing.
        UnknownColumnError: `lacks` names a column that does not exist.
    """
    if not PATH_NAME.match(name) or f"{name}.arrows" == "vocabulary.arrows":
        raise UsageError(f"a path's name should be letters, digits, dot, dash or underscore, got {name!r}")
    require_one_of("on_error", on_error, ON_ERROR)
    columns_of_level(level)
    return lacking_columns(lacks)


def lacking_columns(lacks: Iterable[str]) -> list[str]:
    """Return names of columns, sorted, each once.

    Raises:
        UnknownColumnError: One does not exist.
    """
    return sorted({column_named(column).name for column in lacks})
