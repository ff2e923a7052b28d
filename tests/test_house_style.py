"""The house keeps its size: functions, files, nesting and parameters stay small enough to read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

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


def breaches(path: Path) -> Iterator[str]:
    """Yield what of a file is not as small or as plain as the house wants it."""
    text = path.read_text()
    tree = ast.parse(text)
    functions = [each for each in ast.walk(tree) if isinstance(each, Function)]
    yield from (f"{f.name} is long" for f in functions if code_lines(f) > MAX_FUNCTION_LINES)
    # A verb's parameters are its options: the command line's, not a caller's.
    if path.parent.name != "commands":
        most = MAX_POSITIONAL + 1
        yield from (f"{f.name} has many parameters" for f in functions if len(f.args.args) > most)
    yield from (f"{f.name} is nested" for f in functions if nesting(f) > MAX_NESTING)
    if (lines := len(text.splitlines())) > MAX_FILE_LINES:
        yield f"it has {lines} lines"
    if path != ROOT / "core" / "clock.py" and (reads := CLOCK_READS.findall(text)):
        yield f"it reads the time itself: {reads}"
    first_line = (ast.get_docstring(tree) or "").split("\n")[0]
    if not (10 <= len(first_line) <= 120 and first_line.endswith((".", ":"))):
        yield f"it does not say in one sentence what it is: {first_line!r}"


def test_files_keep_to_the_house_style() -> None:
    found = [f"{path.relative_to(ROOT)}: {said}" for path in FILES for said in breaches(path)]

    assert found == []


def test_a_breach_is_seen(tmp_path: Path) -> None:
    """The checks do check: a file with one breach of each kind is told all of them."""
    deep = "".join(f"{' ' * 4 * (k + 1)}if a:\n" for k in range(5)) + " " * 24 + "pass\n"
    wide = "def wide(a, b, c, d, e, f, g, h):\n    return datetime.now()\n"
    long = "def long():\n" + "    pass\n" * 500
    file = tmp_path / "own.py"
    file.write_text(f"def deep(a):\n{deep}{wide}{long}")

    assert [said.partition(":")[0] for said in breaches(file)] == [
        "long is long",
        "wide has many parameters",
        "deep is nested",
        "it has 510 lines",
        "it reads the time itself",
        "it does not say in one sentence what it is",
    ]
