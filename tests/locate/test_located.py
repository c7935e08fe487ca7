"""An error in one operator is found in it, at its row, head and element, and nothing else is accused."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from placements.placing import Place, drafter_places, placed, teacher_places
from tests.locate.subjects import looked_into, setup_of, subject_of
from tracing.finding import Finding
from tracing.module_hooks import LLAMA
from tracing.moment import Moment
from workbench.faults.catalogue import chosen
from workbench.faults.tiny import tiny_pair
from workbench.fused.path import make_path
from workbench.locate.located import in_pieces, locate
from workbench.locate.text import located_lines

PAIR = tiny_pair()
STAGES = [("prefill", 0), ("draft", 0), ("verify", 0), ("draft", 2), ("verify", 2)]
PLACES = [
    *teacher_places(PAIR, "verify")[::3],
    *teacher_places(PAIR, "prefill")[1::4],
    *drafter_places(PAIR, 0)[::4],
    *drafter_places(PAIR, 2)[1::4],
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sound_path_has_no_culprit(dtype: str) -> None:
    subject = subject_of(setup_of(dtype))
    for stage, step in STAGES:
        located = looked_into(subject, stage, step)
        assert located.culprits == ()
        assert located.num_judged > 30
        assert located.unopened == ()
        assert all(max(each.alone, each.accumulated) < 1 for each in located.growth)


def test_noise_that_rounding_makes_accuses_nobody() -> None:
    setup = setup_of()
    for place in PLACES[::3]:
        assert looked_into(subject_of(setup, placed(replace(place, noise=True))), place.stage).culprits == ()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.stage}-{place.forward}-{place.name}")
def test_an_error_is_found_in_its_operator_and_row(place: Place) -> None:
    located = looked_into(subject_of(setup_of(), placed(replace(place, row=-1))), place.stage)
    assert [(each.name, each.forward) for each in located.culprits] == [(place.name, place.forward)]
    (culprit,) = located.culprits
    last = {"prefill": 4, "verify": 11, "draft": 4 if place.forward == 0 else 3}[place.stage]
    assert culprit.extent.place[0] == last
    assert culprit.extent.rows in ((last,), None)  # None where there is one row
    assert culprit.extent.elements is None


@pytest.mark.parametrize(
    ("name", "row", "head", "element"),
    [("query", 3, 2, 5), ("attention", 7, 1, 15), ("activated", 0, None, 40), ("logits", 2, None, 63)],
)
def test_an_error_of_one_element_is_found_there(name: str, row: int, head: int | None, element: int) -> None:
    place = next(each for each in teacher_places(PAIR, "verify") if each.name.endswith(f".{name}"))
    place = replace(place, row=row, head=head, element=element)
    (culprit,) = looked_into(subject_of(setup_of(), placed(place)), "verify").culprits
    assert culprit.extent.rows == (row,)
    assert culprit.extent.heads == (None if head is None else (head,))
    assert culprit.extent.elements == (element,)
    assert culprit.operator == place.operator


def test_two_errors_are_found_as_two() -> None:
    places = teacher_places(PAIR, "verify")
    first, second = places[6], places[-2]  # attention of layer 0, the last norm
    found = looked_into(subject_of(setup_of(), placed(first, replace(second, row=4))), "verify").culprits
    assert [each.name for each in found] == [first.name, second.name]
    assert found[1].extent.rows == (4,)


FAULTS = {
    "drafter-positions-from-one": ("drafter.position_ids", "input"),
    "drafter-rows-by-beam-place": ("drafter.midlayer.visible", "mask"),
    "post-norm-feature": ("drafter.hidden_out", "copy"),
    "residual-of-the-normed-feature": ("drafter.midlayer.attended", "add"),
    "feature-not-advanced": ("drafter.hidden_in", "input"),
    "token-and-feature-unshifted": ("drafter.token_ids", "input"),
    "differs-with-itself": ("teacher.logits", "hand-over"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_no_operator_computes_is_found_too(name: str) -> None:
    (fault,) = chosen([name])
    placement = fault.place()
    with placement.around():
        located = looked_into(subject_of(setup_of(), placement), fault.stage)
    first = located.culprits[0]
    assert (first.name, first.operator) == FAULTS[name]
    assert {each.operator for each in located.culprits} == {first.operator}


def test_rows_of_the_cache_that_were_wrong_before_are_found_there() -> None:
    (fault,) = chosen(["values-moved-from-the-next-row"])
    located = looked_into(subject_of(setup_of(), fault.place()), "verify", step=1)
    assert {(each.operator, each.forward) for each in located.culprits} == {("cache", -1)}
    assert {each.name for each in located.culprits} == {f"teacher.layers.{layer}.values" for layer in (0, 1)}
    assert located.culprits[0].extent.rows is not None
    assert "before the stage" in "\n".join(located_lines(located))


def test_rows_that_a_cache_never_got_are_found_where_they_are_read() -> None:
    (fault,) = chosen(["stale-drafter-cache"])
    located = looked_into(subject_of(setup_of(), fault.place()), "draft", step=1)
    assert [each.name for each in located.culprits] == ["drafter.midlayer.keys", "drafter.midlayer.values"]
    assert {each.operator for each in located.culprits} == {"cache"}


def _given(keep: Any) -> Any:
    """Return our path with an error in attention, which gives only some tensors."""
    place = teacher_places(PAIR, "verify")[6]
    setup = setup_of()
    path = placed(place).path(make_path(setup.pair, setup.settings, device="cpu", dtype="float32"))
    window = path.intermediates
    assert window is not None

    @contextmanager
    def some(state: Any, give: Any) -> Any:
        with window(state, lambda name, tensor: give(name, tensor) if keep(name) else None):
            yield

    return looked_into(subject_of(setup, path=replace(path, intermediates=some)), "verify")


def test_what_is_not_given_widens_what_is_accused() -> None:
    names = {part.strip() for told in LLAMA.values() for part in told.split(">")}
    hooked = {f"teacher.{name.format(layer)}" for name in names for layer in (0, 1) if name}
    located = _given(hooked.__contains__)
    (culprit,) = located.culprits
    assert culprit.name == "teacher.layers.0.attention"
    assert {name.rpartition(".")[2] for name in culprit.between} == {
        "query",
        "key",
        "keys",
        "values",
        "visible",
    }
    text = "\n".join(located_lines(located))
    assert "attention of the teacher, layer 0" in text
    assert "in what the path does not give: query, key, keys, values, visible" in text
    outputs = _given(lambda name: name.endswith((".output", ".logits")))
    assert [each.name for each in outputs.culprits] == ["teacher.layers.0.output"]


def test_what_cannot_be_opened_is_said() -> None:
    nothing = _given(lambda _: False)
    assert nothing.culprits == ()
    assert nothing.conclusion == "no tensor could be judged"
    assert "the path gave no tensor of its teacher" in nothing.unopened
    finding = Finding("numeric", "fused", Moment(0, 0, 0, "verify"), "logits", rule="JUDGE-VERIFY-LOGITS")
    closed = subject_of(setup_of())
    closed = replace(closed, path=replace(closed.path, intermediates=None))
    assert "gives no tensors" in locate(closed, finding).conclusion
    of_commit = replace(finding, moment=Moment(0, 0, 0, "commit"))
    assert "commit runs no network" in locate(closed, of_commit).conclusion


@pytest.mark.parametrize("cut", [False, True])
def test_a_shape_that_no_tensor_has_is_named(cut: bool) -> None:
    setup = setup_of()
    path = make_path(setup.pair, setup.settings, device="cpu", dtype="float32")

    def width(tensor: Any) -> int:
        return 3 if cut or tensor.is_floating_point() else len(tensor)

    @contextmanager
    def odd(state: Any, give: Any) -> Any:
        assert path.intermediates is not None
        with path.intermediates(state, lambda name, tensor: give(name, tensor[..., : width(tensor)])):
            give("teacher.nonsense", 1)
            yield

    located = looked_into(subject_of(setup, path=replace(path, intermediates=odd)), "prefill")
    text = "\n".join(located_lines(located))
    assert "teacher.nonsense" in text
    assert ("where [5, 32] belongs" in text) is not cut
    assert ("3 of 5 rows of the context were told" in text) is cut


@pytest.mark.parametrize("most_bytes", [0, 4_000, 20_000])
def test_a_stage_that_is_too_large_to_keep_is_narrowed_to_its_layers(most_bytes: int) -> None:
    """What leaves each layer is judged first, and only wrong layers are opened."""
    place = replace(teacher_places(setup_of().pair, "verify")[13 + 11], row=3)
    assert place.name == "teacher.layers.1.activated"
    subject = replace(subject_of(setup_of(), placed(place)), most_bytes=most_bytes)
    located = in_pieces(subject, Moment(0, 0, 0, "verify"))
    assert [each.name for each in located.culprits] == [place.name]
    assert located.culprits[0].extent.rows == (3,)
    assert located.culprits[0].between == ()
    assert any("right on what enters it" in each for each in located.unopened)


def test_where_no_layer_is_wrong_as_a_whole_all_are_opened_in_pieces() -> None:
    located = in_pieces(replace(subject_of(setup_of()), most_bytes=0), Moment(0, 0, 0, "verify"))
    whole = looked_into(subject_of(setup_of()), "verify")
    assert located.culprits == ()
    assert located.num_judged >= whole.num_judged
    assert "right" in located.conclusion
