"""The house keeps its size: functions, files, nesting and parameters stay small enough to read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("core", "agent", "detectors", "rca", "remediation", "sim")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 500
MAX_POSITIONAL = 6
MAX_NESTING = 4
CLOCK_READS = re.compile(r"\btime\.time\(|datetime\.(now|utcnow|today)\(")
BLOCKS = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try, ast.Match)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    for part in ast.walk(ast.parse(path.read_text())):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            yield part


def code_lines(function: Function) -> int:
    """Lines from ``def`` to the end, less the docstring's."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def nesting(part: ast.AST, *, depth: int = 0) -> int:
    """Deepest block within; an ``elif`` is as deep as its ``if``."""
    deepest = depth
    for child in ast.iter_child_nodes(part):
        is_elif = isinstance(part, ast.If) and isinstance(child, ast.If) and child in part.orelse
        step = 1 if isinstance(child, BLOCKS) and not is_elif else 0
        deepest = max(deepest, nesting(child, depth=depth + step))
    return deepest


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_to_the_house_sizes(path: Path) -> None:
    long = [f.name for f in functions(path) if code_lines(f) > MAX_FUNCTION_LINES]
    # A verb's parameters are its options: the command line's, not a caller's.
    is_verb = path.parent.name == "commands"
    wide = [
        f.name for f in functions(path) if len(f.args.args) > MAX_POSITIONAL + 1 and not is_verb
    ]
    deep = [f.name for f in functions(path) if nesting(f) > MAX_NESTING]

    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
    assert (long, wide, deep) == ([], [], [])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_clock_reads_the_time(path: Path) -> None:
    if path == ROOT / "core" / "clock.py":
        return
    assert CLOCK_READS.findall(path.read_text()) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_in_one_sentence_what_it_is(path: Path) -> None:
    first_line = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]

    assert 10 <= len(first_line) <= 120
    assert first_line.endswith((".", ":"))
