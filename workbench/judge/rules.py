"""Every rule of the judge in one table: id, short name, and what a violation means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: Short name of the defect, kebab-case.
        sentence: What must hold, for a person.
        verdict: Verdict of a violation: `structural`, `numeric` or `nondeterministic`.
    """

    name: str
    sentence: str
    verdict: str = "structural"


RULES: Final[dict[str, Rule]] = {
    # any stage
    "JUDGE-SHAPE": Rule("wrong-shape", "A result has the shape that its step prescribes."),
    "JUDGE-NONFINITE": Rule("nan-or-inf", "No valid row holds NaN or Inf, on either path.", "numeric"),
    "JUDGE-ROW-MOVED": Rule("row-moved", "A row holds its own node's values, not those of another node."),
    "JUDGE-REPEAT": Rule(
        "differs-with-itself",
        "A stage repeated on a copy of its state gives the same bits.",
        "nondeterministic",
    ),
    "JUDGE-INPUT-WRITTEN": Rule("input-written", "A stage does not write into what it was given."),
    "JUDGE-INPUT-LAUNCHED": Rule(
        "other-input-launched", "A stage launches the values that the stage before it gave."
    ),
    "JUDGE-CACHE-WRITTEN": Rule(
        "cache-written", "Draft, tensorize and accept leave the teacher's caches as they are."
    ),
    # prefill
    "JUDGE-PREFILL-CONTEXT": Rule("context-changed", "The context is the prompt followed by one root."),
    "JUDGE-PREFILL-KV": Rule("prefix-kv-off", "Prefix K and V rows are within rounding.", "numeric"),
    "JUDGE-PREFILL-FEATURES": Rule("prefix-features-off", "Tapped features are within rounding.", "numeric"),
    "JUDGE-PREFILL-LOGITS": Rule("root-logits-off", "The row that chose the root is right.", "numeric"),
    "JUDGE-PREFILL-ARGMAX": Rule("root-not-argmax", "The root is the best token of the path's own row."),
    "JUDGE-PREFILL-ROOT": Rule("root-differs", "The root is the true choice, or a proven near tie."),
    # draft
    "JUDGE-DRAFT-KV": Rule("drafter-kv-off", "Drafter K and V rows are within rounding.", "numeric"),
    "JUDGE-DRAFT-LENGTH": Rule(
        "drafter-length-off", "After a draft every layer of the drafter's cache holds L rows."
    ),
    "JUDGE-DRAFT-LEVELS": Rule("levels-malformed", "One expansion per level, K candidates per beam."),
    "JUDGE-DRAFT-VOCAB": Rule("not-a-draft-token", "Every candidate is a token of the draft vocabulary."),
    "JUDGE-DRAFT-ORDER": Rule("candidates-unordered", "Candidates of a beam are distinct, best first."),
    "JUDGE-DRAFT-SCORES": Rule("scores-off", "Cumulative candidate scores are within rounding.", "numeric"),
    "JUDGE-DRAFT-CANDIDATES": Rule("candidate-omitted", "The K candidates of a beam are its K best tokens."),
    "JUDGE-DRAFT-BEAMS": Rule(
        "wrong-beam", "Kept beams are the best by own score, ties to the lower number."
    ),
    "JUDGE-DRAFT-SELECTED": Rule("wrong-node", "Selected nodes are the best by own score, ties likewise."),
    "JUDGE-DRAFT-ASCENDING": Rule("nodes-unordered", "Nodes ascend by flat candidate number, each once."),
    "JUDGE-DRAFT-CLOSED": Rule("orphan", "Every selected node's parent is selected."),
    "JUDGE-DRAFT-PARENTS": Rule("wrong-parent", "Parents follow from the flat candidate numbers."),
    "JUDGE-DRAFT-COPIES": Rule("node-miscopied", "A node has its candidate's token, score and depth."),
    "JUDGE-DRAFT-PROPOSAL": Rule("proposal-differs", "A draft that tokens alone decide is that of the rule."),
    "JUDGE-DRAFT-ROOT": Rule("wrong-root", "Node 0 is the root: its token, parent 0, depth 0, score 0."),
    # tensorize
    "JUDGE-TENSORIZE-TOKENS": Rule("tokens-changed", "Token ids are those of the draft."),
    "JUDGE-TENSORIZE-PARENTS": Rule("parents-changed", "Parents are those of the draft."),
    "JUDGE-TENSORIZE-DEPTHS": Rule("wrong-depth", "A node's depth is its parent's plus one."),
    "JUDGE-TENSORIZE-LOGPROBS": Rule("logprobs-changed", "Log-probabilities are those of the draft."),
    "JUDGE-TENSORIZE-VALID": Rule("wrong-valid", "The drafted nodes are valid, the rest are pads."),
    "JUDGE-TENSORIZE-POSITIONS": Rule("wrong-position", "A node's rotary position is L + depth."),
    "JUDGE-TENSORIZE-CACHE": Rule("wrong-cache-position", "Node i is cached at logical position L + i."),
    "JUDGE-TENSORIZE-VISIBLE": Rule("visible-not-ancestors", "A node sees itself and its ancestors only."),
    "JUDGE-TENSORIZE-PADS": Rule("pad-not-inert", "Pads: parent 0, depth 0, position L, score 0, unseen."),
    # verify
    "JUDGE-VERIFY-VISIBLE": Rule("visible-changed", "Attention was given the visibility that was built."),
    "JUDGE-VERIFY-PREFIX": Rule("prefix-not-visible", "Every node sees all L committed columns."),
    "JUDGE-VERIFY-OTHER": Rule("foreign-column", "No node sees a column outside prefix and tree."),
    "JUDGE-VERIFY-KV": Rule(
        "node-kv-off", "K (after rotary) and V of a node are within rounding.", "numeric"
    ),
    "JUDGE-VERIFY-FEATURES": Rule("features-off", "Teacher features of a node are right.", "numeric"),
    "JUDGE-VERIFY-LOGITS": Rule("logits-off", "Logits of a node are within rounding.", "numeric"),
    "JUDGE-VERIFY-ARGMAX": Rule("choice-not-argmax", "A choice is the best token of the path's own row."),
    "JUDGE-VERIFY-CHOICE": Rule("choice-differs", "A choice is the true one, or a proven near tie."),
    # accept
    "JUDGE-ACCEPT-NODES": Rule(
        "wrong-acceptance", "Accepted: the path that the choices walk, cut at the end."
    ),
    "JUDGE-ACCEPT-FINAL": Rule("wrong-final", "The final token is the choice after the last accepted node."),
    "JUDGE-ACCEPT-EMITTED": Rule("wrong-emitted", "Emitted are the accepted tokens, then the final one."),
    "JUDGE-ACCEPT-STOP": Rule("wrong-stop", "A turn stops at EOS or at its length limit, and says so."),
    "JUDGE-ACCEPT-PATH": Rule("wrong-path", "Kept positions are L (root) and L + node per accepted node."),
    # commit
    "JUDGE-COMMIT-PREFIX": Rule("prefix-changed", "Committed rows 0..L-1 keep their bits."),
    "JUDGE-COMMIT-ROWS": Rule("wrong-row-moved", "Row L + j holds the bits of the j-th node of the path."),
    "JUDGE-COMMIT-LENGTH": Rule("wrong-length", "Every layer holds L + A + 1 rows after commit."),
    "JUDGE-COMMIT-MODE": Rule("length-commit-of-a-tree", "A length commit needs the path 0, 1, .., A."),
    "JUDGE-COMMIT-KEPT": Rule("prefix-not-kept", "Commit reports that it kept the prefix in order."),
    # two paths, as recorded
    "JUDGE-PATHS-COLUMN": Rule(
        "paths-differ", "What follows from values that both paths were fed is the same in both rows."
    ),
    "JUDGE-PATHS-VALUES": Rule(
        "values-far-apart", "Recorded logits and scores are no further apart than any rounding is.", "numeric"
    ),
    # two runs
    "JUDGE-ALIGN-STREAM": Rule("streams-differ", "Two runs emit the same token at the same position."),
    "JUDGE-ALIGN-COLUMN": Rule("column-differs", "Two runs record the same values at the same step."),
    "JUDGE-ALIGN-MISSING": Rule("step-missing", "Two runs have the same turns and steps."),
}
"""Rule id to rule, in the order in which a step is judged."""
