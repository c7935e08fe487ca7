"""Reading a run: `open_run(folder)`; torch-free; the files are not trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tracing.bulk import load_bulk
from tracing.errors import TraceError
from tracing.files import is_being_written, read_regular
from tracing.finding import Finding
from tracing.findings_log import FINDINGS_NAME, read_findings
from tracing.identity import (
    ForeignFileError,
    head_facts,
    identity_of,
    named_runs,
    owner_without_manifest,
    rightful_owner,
    strangers,
)
from tracing.ipc_message import MAX_FRAME_BYTES, CorruptFrameError, TornFrameError
from tracing.manifest import MANIFEST_NAME, read_manifest
from tracing.moment import Moment
from tracing.older import in_current_sections
from tracing.path_reader import InProgressStep, PathReader
from tracing.stream_reader import StreamReader
from tracing.vocabulary import VOCABULARY_NAME, VOCABULARY_SCHEMA

__all__ = ["InProgressStep", "PathReader", "Run", "open_run"]


class Run:
    """A recorded run, whole, damaged or still being written.

    Args:
        folder: The run folder.
        lazily: Prove each batch of the paths when it is read, as `StreamReader` says.
        every_row: Read rows that are no steps too.

    Attributes:
        folder: The run folder.
        manifest: What the run is; empty where the manifest is damaged, or missing beside files of a run.
        findings: Findings up to the first damaged line.
        own: What every file must say of itself to belong to the run.
        problems: Sentences about damaged files other than the paths' own.
        strangers: Sentences about streams and journals that no manifest lists, by file name.

    Raises:
        TraceError: The folder is no run, or of a newer major version.
    """

    def __init__(self, folder: str | Path, *, lazily: bool = False, every_row: bool = False) -> None:
        self.folder = Path(folder)
        self._how = {"lazily": lazily, "every_row": every_row}
        self._paths: dict[str, PathReader] = {}
        self.refresh()

    @property
    def status(self) -> str:
        """`running`, `complete`, `interrupted` or `failed`; empty where the manifest is damaged."""
        return str(self.manifest.get("status", ""))

    @property
    def path_names(self) -> tuple[str, ...]:
        """Names of the recorded paths."""
        return tuple(self._paths)

    @property
    def being_written(self) -> bool | None:
        """Whether a living writer holds the folder; None where the system cannot tell."""
        return is_being_written(self.folder)

    def path(self, name: str) -> PathReader:
        """Return one path.

        Raises:
            TraceError: The run has no such path.
        """
        if name not in self._paths:
            raise TraceError(f"{self.folder} has no path {name!r}; it has {', '.join(self._paths) or 'none'}")
        return self._paths[name]

    def refresh(self) -> None:
        """Read what the writer has added since: manifest, findings, steps."""
        self.problems: list[str] = []
        self.manifest = self._read_manifest()
        self.own = identity_of(self.manifest) if self.manifest else owner_without_manifest(self.folder)
        self._read_paths()
        if all(isinstance(path.stream.problem, ForeignFileError) for path in self._paths.values()):
            self._distrust_manifest()
        is_running = self.status == "running"
        self.strangers = (
            strangers(self.folder, self.path_names, self.own, is_running=is_running) if self.manifest else {}
        )
        self.problems += [f"{name}: {sentence}" for name, sentence in self.strangers.items()]
        words = head_facts(self.folder / VOCABULARY_NAME)
        foreign = "" if words is None else self.own.foreign(words)
        if words is not None and words.get("path") and not foreign:
            foreign = f"is a file of path {str(words['path'])[:64]!r}, no vocabulary"
        if foreign:
            self.problems.append(f"{VOCABULARY_NAME}: {foreign}")
        self.findings: list[Finding] = self._read_findings()
        self._vocabulary: dict[int, bytes | None] | None = None

    def _read_paths(self) -> None:
        for name, entry in self._entries().items():
            if name in self._paths:
                self._paths[name].refresh(entry)
            else:
                self._paths[name] = PathReader(self.folder, name, entry, self.own, **self._how)

    def _distrust_manifest(self) -> None:
        """Read without the manifest where all files agree that it is the one of another run."""
        owner = rightful_owner(self.folder, self.own)
        if owner is None:
            return
        self.problems.append(f"{MANIFEST_NAME}: belongs to another run than all files beside it")
        self.manifest, self.own, self._paths = {}, owner, {}
        self._read_paths()

    @property
    def vocabulary(self) -> dict[int, bytes | None]:
        """Raw bytes of every token id that occurs; None for an id that the tokenizer does not have."""
        if self._vocabulary is None:
            self._vocabulary = self._read_vocabulary()
        return self._vocabulary

    def bulk(self, moment: Moment, name: str) -> Any:
        """Return a whole tensor that was saved at a moment, as a read-only memory map.

        Raises:
            TraceError: There is none, or it is not what was written.
        """
        for entry in self.manifest.get("bulk", []):
            if (entry.get("moment"), entry.get("name")) == (str(moment), name):
                return load_bulk(self.folder, entry)
        raise TraceError(f"{self.folder} has no bulk tensor {name} at {moment}")

    def _entries(self) -> dict[str, dict[str, Any]]:
        """Return the manifest's paths, or those found in the folder where it is damaged."""
        if self.manifest:
            return dict(self.manifest["paths"])
        found = sorted(self.folder.glob("*.arrows"))
        return {file.stem: {} for file in found if file.name != VOCABULARY_NAME}

    def _read_manifest(self) -> dict[str, Any]:
        try:
            return in_current_sections(read_manifest(self.folder))
        except (TornFrameError, CorruptFrameError) as problem:
            self.problems.append(str(problem))
        except TraceError:
            if (self.folder / MANIFEST_NAME).exists() or not named_runs(self.folder):
                raise
            self.problems.append(f"{self.folder / MANIFEST_NAME} is missing")
        return {}

    def _read_findings(self) -> list[Finding]:
        path = self.folder / FINDINGS_NAME
        try:
            if path.stat().st_size > MAX_FRAME_BYTES:
                self.problems.append(f"{FINDINGS_NAME}: is larger than {MAX_FRAME_BYTES} bytes")
                return []
            found, problem = read_findings(read_regular(path), self.own)
        except FileNotFoundError:
            return []
        except OSError as unreadable:
            self.problems.append(f"{FINDINGS_NAME}: {unreadable.strerror or unreadable}")
            return []
        if problem is not None:
            self.problems.append(f"{FINDINGS_NAME}: {problem}")
        return found

    def _read_vocabulary(self) -> dict[int, bytes | None]:
        found: dict[int, bytes | None] = {}
        for path in self._paths.values():
            found.update(path.journal.tokens)
        file = self.folder / VOCABULARY_NAME
        if not file.exists():
            return found
        stream = StreamReader(file, VOCABULARY_SCHEMA, self.own)
        if stream.problem is not None and not isinstance(stream.problem, ForeignFileError):
            self.problems.append(f"{VOCABULARY_NAME}: {stream.problem}")
        for number in range(len(stream.batches)):
            batch = stream.read(number)
            columns = (batch.column(name).to_pylist() for name in VOCABULARY_SCHEMA.names)
            found.update(zip(*columns, strict=True))
        return found


def open_run(folder: str | Path, *, lazily: bool = False, every_row: bool = False) -> Run:
    """Open a recorded run: closed, killed, or still being written.

    What is damaged does not raise: `Run.problems` and `PathReader.problems` name it, `tracing.integrity`
    judges it, and everything that is proven can be read.

    Args:
        folder: The run folder.
        lazily: For interactive use: prove each batch of the paths when it is read. No row comes
            unproven, but until `PathReader.num_unproven` is 0 no damage found means little.
        every_row: Read rows that are no steps too (`row_kind` is not null); they count as steps then.

    Raises:
        TraceError: The folder is no run, or of a newer major version.
    """
    return Run(folder, lazily=lazily, every_row=every_row)
