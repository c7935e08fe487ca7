"""Garbage is collected again after heavy imports, whatever becomes of them."""

from __future__ import annotations

import gc
import sys

import pytest

from workbench.cli.heavy_imports import heavy_imports


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where torch is not there yet: what was frozen."""
    calls: list[str] = []
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(gc, "freeze", lambda: calls.append("freeze"))
    return calls


def test_nothing_is_collected_while_it_imports(frozen: list[str]) -> None:
    with heavy_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert frozen == ["freeze"]


def test_an_import_that_fails_leaves_all_as_it_was(frozen: list[str]) -> None:
    with pytest.raises(ModuleNotFoundError), heavy_imports():
        raise ModuleNotFoundError("torch")
    assert gc.isenabled()
    assert frozen == []


def test_where_torch_is_there_nothing_is_done(frozen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", object())
    with heavy_imports():
        assert gc.isenabled()
    assert frozen == []


def test_who_switched_collection_off_keeps_it_off(frozen: list[str]) -> None:
    gc.disable()
    try:
        with heavy_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert frozen == []
