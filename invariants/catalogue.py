"""Every rule there is, in the order of the documentation; a rule that is not listed here does not exist."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from invariants.rule import Rule
from invariants.rules import acceptance, commit, mask_patterns, positions, row, steps, tree, visibility

CATALOGUE: Final[tuple[Rule, ...]] = (
    row.lengths_disagree,
    tree.parent_out_of_range,
    tree.circle_or_depth_not_rising,
    tree.valid_child_of_pad,
    tree.depth_skips_a_level,
    tree.root_is_not_a_root,
    tree.parent_after_child,
    tree.duplicate_sibling,
    positions.position_not_len_plus_depth,
    positions.cache_position_not_packed,
    positions.position_beyond_limit,
    positions.cache_position_beyond_capacity,
    visibility.non_ancestor_visible,
    visibility.ancestor_hidden,
    visibility.self_hidden,
    visibility.root_hidden,
    mask_patterns.inverted_polarity,
    mask_patterns.transposed,
    mask_patterns.tree_mask_dropped,
    mask_patterns.tree_block_shifted,
    visibility.prefix_hidden,
    visibility.stale_row_visible,
    visibility.pad_visible,
    acceptance.path_leaves_the_tree,
    acceptance.accepted_against_the_choice,
    acceptance.longer_path_available,
    acceptance.final_token_from_another_row,
    acceptance.emitted_is_not_path_plus_final,
    commit.length_law_broken,
    commit.path_indices_are_not_the_path,
    steps.step_number_jumps,
    steps.root_is_not_last_emitted,
    steps.committed_length_jumps,
)

BY_ID: Final = MappingProxyType({rule.id: rule for rule in CATALOGUE})
"""The same, by id."""
