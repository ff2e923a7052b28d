"""A trained policy fits only what it was taught on: its meaning is a number that people raise.

Nothing can tell by itself whether a changed line changes what a fact or a choice stands for. So the
lines that say it have a digest here, and who changes one of them has to decide.
"""

import ast
import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from remediation.policies.trained import MEANING

ROOT = Path(__file__).parent.parent
# Of the meaning that stands beside them: what facts are, in simulation and in life; how they are
# seen; what can be chosen, and what it comes to.
OF_MEANING = 1
DIGESTS: Mapping[str, str] = {
    "core/choice.py": "afb049c6044ecc4c",
    "core/situation.py": "b1f4431db3d30b12",
    "remediation/deciding/plans.py": "8fa182d62abdb9bb",
    "remediation/deciding/situations.py": "dca98a15ae34e5fa",
    "remediation/policies/features.py": "4b4b2edeac9ed899",
    "sim/engine/facts.py": "5bbfca456cd027a7",
    "sim/engine/menu.py": "419de3908520be5a",
}


class Bare(ast.NodeTransformer):
    """Takes out what no policy sees: docstrings and what is said to people."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.Pass() if isinstance(node.value, ast.Constant) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.Constant("")


def digest(text: str) -> str:
    """What a module does, whatever its comments, docstrings and layout."""
    bare = ast.unparse(Bare().visit(ast.parse(text)))
    return hashlib.sha256(bare.encode()).hexdigest()[:16]


@pytest.mark.parametrize("path", DIGESTS)
def test_who_changes_what_facts_and_choices_mean_decides_on_trained_policies(path: str) -> None:
    found = digest((ROOT / path).read_text())

    assert (found, MEANING) == (DIGESTS[path], OF_MEANING), (
        f"{path} has changed. If a fact, a feature or a choice now stands for something else, "
        "raise MEANING in remediation/policies/trained.py and OF_MEANING here: policies that were "
        "trained before are then refused, and the shipped ones must be trained again. In either "
        f"case write its new digest here: {found}."
    )


def test_a_digest_is_of_what_is_done() -> None:
    plain = 'def f(x):\n    """Say."""\n    return x + 1\n'

    assert digest(plain) == digest("def f(x):\n    # why\n    'Other.'\n    return (x +\n 1)\n")
    assert digest(plain) != digest(plain.replace("+ 1", "+ 2"))
