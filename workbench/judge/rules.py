"""Every rule of the judge in one table: id, short name, and what a violation means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tracing.finding import Finding
from tracing.moment import Moment


@dataclass(frozen=True, slots=True)
class JudgeRule:
    """One rule.

    Attributes:
        name: Short name of the defect, kebab-case.
        sentence: What must hold, for a person.
        verdict: Verdict of a violation: `structural`, `numeric` or `nondeterministic`.
    """

    name: str
    sentence: str
    verdict: str = "structural"


RULES: Final[dict[str, JudgeRule]] = {
    # any stage
    "JUDGE-SHAPE": JudgeRule("wrong-shape", "A result has the shape that its step prescribes."),
    "JUDGE-NONFINITE": JudgeRule("nan-or-inf", "No valid row holds NaN or Inf, on either path.", "numeric"),
    "JUDGE-ROW-MOVED": JudgeRule(
        "row-moved", "A row holds its own node's values, not those of another node."
    ),
    "JUDGE-REPEAT": JudgeRule(
        "differs-with-itself",
        "A stage repeated on a copy of its state gives the same bits.",
        "nondeterministic",
    ),
    "JUDGE-STALE": JudgeRule(
        "stale-inputs", "A stage works on the inputs of this call, not on what an earlier call left."
    ),
    "JUDGE-LEANING": JudgeRule(
        "leans-to-a-mistake",
        "Over all rows of a run, errors in a half precision do not lean towards a standard mistake.",
        "numeric",
    ),
    "JUDGE-INPUT-WRITTEN": JudgeRule("input-written", "A stage does not write into what it was given."),
    "JUDGE-INPUT-LAUNCHED": JudgeRule(
        "other-input-launched", "A stage launches the values that the stage before it gave."
    ),
    "JUDGE-CACHE-WRITTEN": JudgeRule(
        "cache-written", "Draft, tensorize and accept leave the teacher's caches as they are."
    ),
    "JUDGE-DRAW-COUNT": JudgeRule("wrong-number-of-draws", "A stage takes as many draws as its rule needs."),
    # texts of an engine that shows nothing else
    "JUDGE-TEXT-TOKEN": JudgeRule(
        "text-not-greedy", "Each token of a text is the true choice after those before, or a proven near tie."
    ),
    "JUDGE-TEXT-END": JudgeRule(
        "text-ends-elsewhere", "A text ends at its end token or its limit, neither before nor after."
    ),
    "JUDGE-TEXT-ACCEPTED": JudgeRule(
        "text-length-not-accepted", "Accepted counts of its steps add up to the length of a text."
    ),
    # prefill and verify
    "JUDGE-ROUTER": JudgeRule(
        "router-logits-off", "Logits of the routers, over all experts, are within rounding.", "numeric"
    ),
    "JUDGE-EXPERTS": JudgeRule(
        "wrong-expert", "Of each group the expert with the best true score works, or one in a near tie."
    ),
    # prefill
    "JUDGE-PREFILL-CONTEXT": JudgeRule("context-changed", "The context is the prompt followed by one root."),
    "JUDGE-PREFILL-KV": JudgeRule("prefix-kv-off", "Prefix K and V rows are within rounding.", "numeric"),
    "JUDGE-PREFILL-FEATURES": JudgeRule(
        "prefix-features-off", "Tapped features are within rounding.", "numeric"
    ),
    "JUDGE-PREFILL-LOGITS": JudgeRule("root-logits-off", "The row that chose the root is right.", "numeric"),
    "JUDGE-PREFILL-ARGMAX": JudgeRule("root-not-argmax", "The root is the best token of the path's own row."),
    "JUDGE-PREFILL-ROOT": JudgeRule("root-differs", "The root is the true choice, or a proven near tie."),
    # draft
    "JUDGE-DRAFT-KV": JudgeRule("drafter-kv-off", "Drafter K and V rows are within rounding.", "numeric"),
    "JUDGE-DRAFT-LENGTH": JudgeRule(
        "drafter-length-off", "After a draft every layer of the drafter's cache holds L rows."
    ),
    "JUDGE-DRAFT-LEVELS": JudgeRule(
        "levels-malformed", "Levels until the search ends, one expansion each, K candidates a beam."
    ),
    "JUDGE-DRAFT-VOCAB": JudgeRule(
        "not-a-draft-token", "Every candidate is a token of the draft vocabulary."
    ),
    "JUDGE-DRAFT-ORDER": JudgeRule("candidates-unordered", "Candidates of a beam are distinct, best first."),
    "JUDGE-DRAFT-SCORES": JudgeRule(
        "scores-off", "Cumulative candidate scores are within rounding.", "numeric"
    ),
    "JUDGE-DRAFT-CANDIDATES": JudgeRule(
        "candidate-omitted", "The K candidates of a beam are its K best tokens."
    ),
    "JUDGE-DRAFT-BEAMS": JudgeRule(
        "wrong-beam", "Kept beams are the best by own score, best first; equal scores in any order."
    ),
    "JUDGE-DRAFT-SELECTED": JudgeRule(
        "wrong-node", "Selected nodes are the best by own score; of equal ones any."
    ),
    "JUDGE-DRAFT-ASCENDING": JudgeRule(
        "nodes-unordered", "Nodes ascend by flat candidate number, each once."
    ),
    "JUDGE-DRAFT-CLOSED": JudgeRule("orphan", "Every selected node's parent is selected."),
    "JUDGE-DRAFT-PARENTS": JudgeRule("wrong-parent", "Parents follow from the flat candidate numbers."),
    "JUDGE-DRAFT-COPIES": JudgeRule("node-miscopied", "A node has its candidate's token, score and depth."),
    "JUDGE-DRAFT-PROPOSAL": JudgeRule(
        "proposal-differs", "A draft that tokens alone decide is that of the drafter's rule."
    ),
    "JUDGE-DRAFT-TOPOLOGY": JudgeRule("tree-not-static", "A static tree has the same parents at every step."),
    "JUDGE-DRAFT-RANK": JudgeRule(
        "wrong-rank", "A node of a static tree has the token of its rank in its head's row.", "numeric"
    ),
    "JUDGE-DRAFT-DRAWN": JudgeRule(
        "another-token-drawn", "A sampled token is the one that the draft's law and its draw give."
    ),
    "JUDGE-DRAFT-ROOT": JudgeRule("wrong-root", "Node 0 is the root: its token, parent 0, depth 0, score 0."),
    # tensorize
    "JUDGE-TENSORIZE-TOKENS": JudgeRule("tokens-changed", "Token ids are those of the draft."),
    "JUDGE-TENSORIZE-PARENTS": JudgeRule("parents-changed", "Parents are those of the draft."),
    "JUDGE-TENSORIZE-DEPTHS": JudgeRule("wrong-depth", "A node's depth is its parent's plus one."),
    "JUDGE-TENSORIZE-LOGPROBS": JudgeRule("logprobs-changed", "Log-probabilities are those of the draft."),
    "JUDGE-TENSORIZE-VALID": JudgeRule("wrong-valid", "The drafted nodes are valid, the rest are pads."),
    "JUDGE-TENSORIZE-POSITIONS": JudgeRule("wrong-position", "A node's rotary position is L + depth."),
    "JUDGE-TENSORIZE-CACHE": JudgeRule("wrong-cache-position", "Node i is cached at logical position L + i."),
    "JUDGE-TENSORIZE-VISIBLE": JudgeRule(
        "visible-not-ancestors", "A node sees itself and its ancestors only."
    ),
    "JUDGE-TENSORIZE-PADS": JudgeRule(
        "pad-not-inert", "Pads: parent 0, depth 0, position L, score 0, unseen."
    ),
    # verify
    "JUDGE-VERIFY-VISIBLE": JudgeRule(
        "visible-changed", "Attention was given the visibility that was built."
    ),
    "JUDGE-VERIFY-PREFIX": JudgeRule("prefix-not-visible", "Every node sees all L committed columns."),
    "JUDGE-VERIFY-OTHER": JudgeRule("foreign-column", "No node sees a column outside prefix and tree."),
    "JUDGE-VERIFY-KV": JudgeRule(
        "node-kv-off", "K (after rotary) and V of a node are within rounding.", "numeric"
    ),
    "JUDGE-VERIFY-FEATURES": JudgeRule("features-off", "Teacher features of a node are right.", "numeric"),
    "JUDGE-VERIFY-LOGITS": JudgeRule("logits-off", "Logits of a node are within rounding.", "numeric"),
    "JUDGE-VERIFY-ARGMAX": JudgeRule(
        "choice-not-argmax", "A choice is the best token of the path's own row."
    ),
    "JUDGE-VERIFY-CHOICE": JudgeRule("choice-differs", "A choice is the true one, or a proven near tie."),
    # accept
    "JUDGE-ACCEPT-NODES": JudgeRule(
        "wrong-acceptance", "Accepted: the path that the choices walk, cut at the end."
    ),
    "JUDGE-ACCEPT-FINAL": JudgeRule(
        "wrong-final", "The final token is the choice after the last accepted node."
    ),
    "JUDGE-ACCEPT-EMITTED": JudgeRule(
        "wrong-emitted", "Emitted are the accepted tokens, then the final one."
    ),
    "JUDGE-ACCEPT-STOP": JudgeRule("wrong-stop", "A turn stops at EOS or at its length limit, and says so."),
    "JUDGE-ACCEPT-PATH": JudgeRule(
        "wrong-path", "Kept positions are L (root) and L + node per accepted node."
    ),
    "JUDGE-DRAFT-LAW": JudgeRule(
        "wrong-draft-law", "A drafter gives the law that it has drawn its tokens from.", "numeric"
    ),
    "JUDGE-ACCEPT-SAMPLER": JudgeRule(
        "wrong-sampler-settings", "A sampler is given the temperature, top-k and top-p of the settings."
    ),
    "JUDGE-ACCEPT-PROBS": JudgeRule(
        "wrong-probability",
        "The probability of a drafted token is that of its parent's logits, warped in float32 at least.",
        "numeric",
    ),
    "JUDGE-ACCEPT-LOGPROBS": JudgeRule(
        "wrong-logprob", "A returned log-probability is that of its token in its own row.", "numeric"
    ),
    "JUDGE-ACCEPT-RECOVERED": JudgeRule(
        "wrong-recovered", "A recovered token is the one that its draw gives from what a rejection left."
    ),
    # commit
    "JUDGE-COMMIT-PREFIX": JudgeRule("prefix-changed", "Committed rows 0..L-1 keep their bits."),
    "JUDGE-COMMIT-ROWS": JudgeRule(
        "wrong-row-moved", "Row L + j holds the bits of the j-th node of the path."
    ),
    "JUDGE-COMMIT-LENGTH": JudgeRule("wrong-length", "Every layer holds L + A + 1 rows after commit."),
    "JUDGE-COMMIT-MODE": JudgeRule("length-commit-of-a-tree", "A length commit needs the path 0, 1, .., A."),
    "JUDGE-COMMIT-KEPT": JudgeRule("prefix-not-kept", "Commit reports that it kept the prefix in order."),
    # two paths, as recorded
    "JUDGE-PATHS-COLUMN": JudgeRule(
        "paths-differ", "What follows from values that both paths were fed is the same in both rows."
    ),
    "JUDGE-PATHS-VALUES": JudgeRule(
        "values-far-apart", "Recorded logits and scores are no further apart than any rounding is.", "numeric"
    ),
    # two runs
    "JUDGE-ALIGN-STREAM": JudgeRule("streams-differ", "Two runs emit the same token at the same position."),
    "JUDGE-ALIGN-COLUMN": JudgeRule("column-differs", "Two runs record the same values at the same step."),
    "JUDGE-ALIGN-MISSING": JudgeRule("step-missing", "Two runs have the same turns and steps."),
}
"""JudgeRule id to rule, in the order in which a step is judged."""


def finding_of(rule: str, moment: Moment, column: str, message: str, **more: Any) -> Finding:
    """Return the finding that a rule is violated; by default the guilty path is unknown."""
    more = {"verdict": RULES[rule].verdict, "guilty": "unknown"} | more
    return Finding(rule=rule, moment=moment, column=column, message=message, **more)
