"""Which nodes and buffers of a batch message are each column's, in the order of Arrow's format."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

Shares = dict[str, tuple[range, range]]
"""Column name to the numbers of its nodes and of its buffers in a batch message."""


def shares_of(schema: pa.Schema) -> Shares:
    """Return which nodes and buffers are each column's.

    Columns behind one of a type that this format does not use (a newer version's) are left out.
    """
    node = buffer = 0
    shares: Shares = {}
    for field in schema:
        size = _size(field.type)
        if size is None:
            return shares
        shares[field.name] = range(node, node + size[0]), range(buffer, buffer + size[1])
        node, buffer = node + size[0], buffer + size[1]
    return shares


def _size(kind: pa.DataType) -> tuple[int, int] | None:
    """Return the numbers of nodes and buffers of a type; every node has a buffer of its own for nulls."""
    if pa.types.is_list(kind) or pa.types.is_struct(kind):
        children = [_size(kind.field(number).type) for number in range(kind.num_fields)]
        nodes, buffers = 1, 2 if pa.types.is_list(kind) else 1
        for child in children:
            if child is None:
                return None
            nodes, buffers = nodes + child[0], buffers + child[1]
        return nodes, buffers
    if pa.types.is_string(kind):
        return 1, 3
    if pa.types.is_primitive(kind) or pa.types.is_dictionary(kind):
        return 1, 2
    return None


def neighbours(shares: Sequence[tuple[range, range]]) -> list[tuple[range, range]]:
    """Return shares in the order of the file, those that lie one behind the other as one."""
    found: list[tuple[range, range]] = []
    for nodes, buffers in sorted(shares, key=lambda share: share[0].start):
        before = found[-1] if found else (range(-1), range(-1))
        if (before[0].stop, before[1].stop) == (nodes.start, buffers.start):
            found[-1] = range(before[0].start, nodes.stop), range(before[1].start, buffers.stop)
        else:
            found.append((nodes, buffers))
    return found
