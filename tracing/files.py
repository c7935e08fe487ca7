"""Files that are whole up to a known size, files replaced in one go, and the lock on a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from tracing.errors import EnvironmentProblemError, TraceError
from tracing.process import owned_here

try:
    import fcntl
except ImportError:  # a system without POSIX locks: the lock file alone then keeps the second writer out
    fcntl = None  # type: ignore[assignment,unused-ignore]

LOCK_NAME: Final = "lock"
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
"""A link at the place of a file to be written is refused, as it may lead anywhere."""
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)
"""Opening a pipe would otherwise wait for its other end."""


def environment_problem(path: Path, problem: OSError) -> EnvironmentProblemError:
    """Return the one sentence for an operating system error on `path`."""
    if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
        return EnvironmentProblemError(
            f"no space left to write {path}; free some, what was written stays readable"
        )
    if problem.errno == errno.ELOOP:
        return EnvironmentProblemError(f"cannot write {path}: a link is at its place; remove it")
    return EnvironmentProblemError(f"cannot write {path}: {problem.strerror or problem}")


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to be read, also through a link; nothing else is ever opened.

    Raises:
        OSError: It cannot be opened, or is a pipe, a device, a socket or a folder.
    """
    _require_regular(path.stat().st_mode, path)  # before the open: opening a device may already act on it
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | _NO_WAIT)
    try:
        _require_regular(os.fstat(handle).st_mode, path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path) -> bytes:
    """Return the bytes of a regular file; raises as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def _require_regular(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is no regular file", str(path))


class AppendFile:
    """A file that grows by whole pieces: a failed or interrupted piece is cut off again.

    Args:
        path: Where it is.
        flush: Wait after each piece until it is on the disk.

    Attributes:
        path: Where it is.
        size: Bytes that are whole.
    """

    def __init__(self, path: Path, *, flush: bool = False) -> None:
        self.path = path
        self.size = 0
        self._flush = flush
        self._is_ragged = False
        self._pid = os.getpid()
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | _NO_FOLLOW | _NO_WAIT, 0o644)
        except OSError as problem:
            raise environment_problem(path, problem) from None
        try:
            _require_regular(os.fstat(self._handle).st_mode, path)
            os.ftruncate(self._handle, 0)
        except OSError as problem:
            self.close()
            raise environment_problem(path, problem) from None
        owned_here(self)

    def append(self, data: bytes) -> None:
        """Write one piece at the end and hand it to the operating system.

        Raises:
            EnvironmentProblemError: It could not be written, or the file was deleted; it is as before.
            TraceError: This process was forked from the one that writes it.
        """
        if os.getpid() != self._pid:
            raise TraceError(f"{self.path} is written by another process, from which this one was forked")
        try:
            if self._is_ragged:
                self.cut()
            if not os.fstat(self._handle).st_nlink:
                raise OSError(errno.ENOENT, "it was deleted while it was written")
            written = 0
            while written < len(data):
                written += os.pwrite(self._handle, memoryview(data)[written:], self.size + written)
            if self._flush:
                os.fdatasync(self._handle)
            self.size += len(data)
        except OSError as problem:
            self._tidy()
            raise environment_problem(self.path, problem) from None
        except BaseException:
            self._tidy()
            raise

    def _tidy(self) -> None:
        """Cut what is not whole, now or, where the disk refuses even that, before the next piece."""
        self._is_ragged = True
        with contextlib.suppress(OSError):
            self.cut()

    def cut(self) -> None:
        """Cut to the whole part; needs no space, so it works on a full disk."""
        os.ftruncate(self._handle, self.size)
        self._is_ragged = False

    def check_place(self) -> None:
        """Refuse to go on writing a file that was moved or deleted, or whose folder was.

        Raises:
            EnvironmentProblemError: Another file, or none, is at its place.
        """
        try:
            if os.path.samestat(self.path.stat(), os.fstat(self._handle)):
                return
            problem = OSError(errno.ENOENT, "another file is at its place")
        except OSError as own:
            problem = own
        raise environment_problem(self.path, problem)

    def sync(self) -> None:
        """Wait until the bytes are on the disk.

        Raises:
            EnvironmentProblemError: The disk refused them.
        """
        try:
            os.fsync(self._handle)
        except OSError as problem:
            raise environment_problem(self.path, problem) from None

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    let_go = close


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk.

    Raises:
        EnvironmentProblemError: The disk refused them.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as problem:
        raise environment_problem(folder, problem) from None


def replace_file(path: Path, data: bytes, *, flush: bool = False) -> None:
    """Put `data` in place of a file in one go: a reader sees the old or the new, never a mixture.

    Args:
        path: The file.
        data: What it holds from now on, on the disk before it takes its place.
        flush: Wait until the new name is on the disk too.

    Raises:
        EnvironmentProblemError: It could not be written; the old file is still there.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        piece = AppendFile(fresh)
        try:
            piece.append(data)
            piece.sync()
        finally:
            piece.close()
        fresh.replace(path)
        if flush:
            sync_folder(path.parent)
    except OSError as problem:
        raise environment_problem(path, problem) from None
    finally:
        fresh.unlink(missing_ok=True)


class FolderLock:
    """One writer per folder: a new empty file, under a lock that the kernel drops on death."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise TraceError(
                f"{folder} is taken by another recording, running or killed; choose another folder"
            ) from None
        except OSError as problem:
            raise environment_problem(folder, problem) from None
        if fcntl is not None:
            with contextlib.suppress(
                OSError
            ):  # a file system without locks: the file itself still marks the folder as taken
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        owned_here(self)

    def let_go(self) -> None:
        """Close it in a forked child; the lock stays its parent's."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def release(self) -> None:
        """Give the folder back; a second time does nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            self._path.unlink(missing_ok=True)
            os.close(handle)


def is_being_written(folder: Path) -> bool | None:
    """Return whether a living writer holds the folder; None where the system cannot tell."""
    path = folder / LOCK_NAME
    if not path.exists():
        return False
    if fcntl is None:
        return None  # type: ignore[unreachable,unused-ignore]
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | _NO_FOLLOW | _NO_WAIT)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
