"""Packed truths give what the unpacked ones would, wherever they begin."""

from __future__ import annotations

from functools import wraps

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invariants.batch.flat import Bits
from invariants.rule import argument_names


@given(
    truths=st.lists(st.booleans(), max_size=70),
    lead=st.integers(0, 17),
    begin=st.integers(0, 70),
    end=st.integers(0, 70),
)
def test_any_stretch_is_what_was_packed(truths: list[bool], lead: int, begin: int, end: int) -> None:
    packed = np.packbits(np.array([True] * lead + truths, dtype=np.bool_), bitorder="little")
    bits, plain = Bits(packed, lead, len(truths)), np.array(truths, dtype=np.bool_)
    assert len(bits) == len(truths)
    assert np.array_equal(bits[begin:end], plain[begin:end])
    assert np.array_equal(bits[:], plain)
    if truths:
        wanted = np.array([len(truths) - 1, 0])
        assert np.array_equal(bits[wanted], plain[wanted])


def test_a_decorated_function_has_the_arguments_of_the_one_inside() -> None:

    def law(parents: object, *, slots: object = None) -> None: ...

    @wraps(law)
    def outer(*given: object, **named: object) -> None: ...

    assert argument_names(outer) == argument_names(law) == (("parents",), ("slots",))


@pytest.mark.parametrize("length", [0, 1, 8, 9])
def test_an_empty_stretch_is_empty(length: int) -> None:
    assert Bits(np.zeros(2, np.uint8), 3, length)[length:].tolist() == []
