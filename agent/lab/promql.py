"""The part of PromQL that is spoken here: read an expression into a tree.

Selectors with matchers and ranges, ``rate`` and ``last_over_time``, aggregation by or without
labels, arithmetic, comparisons with and without ``bool``, and ``and``. Anything else is refused in
the words of Prometheus' own errors (https://prometheus.io/docs/prometheus/latest/querying/api).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

FUNCTIONS = ("rate", "last_over_time")
AGGREGATES = ("sum", "avg", "min", "max", "count")
_PRECEDENCE = {"and": 1, "==": 2, "!=": 2, "<": 2, ">": 2, "<=": 2, ">=": 2, "+": 3, "-": 3}
_PRECEDENCE |= {"*": 4, "/": 4}
COMPARISONS = frozenset({"==", "!=", "<", ">", "<=", ">="})
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_TOKEN = re.compile(
    r"\s+|(?P<duration>\[(?P<amounts>(?:\d+(?:ms|[smhdw]))+)\])"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))"
    r"|(?P<word>[A-Za-z_:][\w:]*)"
    r"|(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<sign>=~|!~|==|!=|<=|>=|[-+*/<>=(){},])"
)
_AMOUNT = re.compile(r"(\d+)(ms|[smhdw])")
_MAX_DEPTH = 50


class BadExpression(Exception):
    """An expression that cannot be answered here; the text says why."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number written out."""

    value: float


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label."""

    label: str
    sign: str
    text: str

    def holds(self, value: str) -> bool:
        """Say whether a label's value ("" where it is missing) fits."""
        if self.sign in ("=", "!="):
            return (value == self.text) is (self.sign == "=")
        return (re.fullmatch(self.text, value) is not None) is (self.sign == "=~")


@dataclass(frozen=True, slots=True)
class Selector:
    """Series by name and labels; ``range_s`` 0 for one sample of each at a time."""

    name: str
    matchers: tuple[Matcher, ...]
    range_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Call:
    """A function over a range."""

    function: str
    over: Selector


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Series put together: those that agree in ``labels``, or in all others (``without``)."""

    kind: str
    without: bool
    labels: frozenset[str]
    of: "Expression"


@dataclass(frozen=True, slots=True)
class Binary:
    """Two sides and a sign; ``as_bool``: a comparison that gives 1 and 0."""

    sign: str
    as_bool: bool
    left: "Expression"
    right: "Expression"


Expression = Number | Selector | Call | Aggregate | Binary


def parse(text: str) -> Expression:
    """Read an expression; BadExpression where it is wrong or not spoken here.

    >>> parse("rate(a[2m])")
    Call(function='rate', over=Selector(name='a', matchers=(), range_s=120.0))
    """
    reader = _Reader(list(_tokens(text)))
    found = reader.expression(0)
    reader.end()
    return found


def duration_s(text: str) -> float:
    """Return the seconds of a duration such as 1h30m."""
    return sum(int(count) * _UNITS_S[unit] for count, unit in _AMOUNT.findall(text))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise BadExpression(
                f"1:{place + 1}: parse error: unexpected character: {text[place]!r}"
            )
        if kind := found.lastgroup:
            kind = "duration" if found["duration"] else kind
            yield _Token(kind, found["amounts"] or found[0], place)
        place = found.end()
    yield _Token("end", "end of input", place)


class _Reader:
    """Reads tokens by precedence climbing."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self._depth = 0

    def expression(self, least: int) -> Expression:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise BadExpression(f"1:{self._next.place + 1}: parse error: nested too deep")
        left = self._operand()
        while (rank := _PRECEDENCE.get(self._next.text, 0)) > least and self._next.kind != "text":
            sign = self._take().text
            as_bool = sign in COMPARISONS and self._passed("bool")
            for word in ("on", "ignoring"):
                if self._next.text == word:
                    raise self._wrong("vector matching by labels is not spoken here")
            left = Binary(sign, as_bool, left, self.expression(rank))
        self._depth -= 1
        return left

    def end(self) -> None:
        if self._next.kind != "end":
            raise self._wrong("unexpected")

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _operand(self) -> Expression:
        token = self._take()
        match token.kind, token.text:
            case "number", text:
                return Number(float(text))
            case "sign", "(":
                inside = self.expression(0)
                self._need(")")
                return inside
            case "sign", "-" | "+" as sign:
                return Binary("*", False, Number(-1.0 if sign == "-" else 1.0), self._operand())
            case "word", name if name in AGGREGATES:
                return self._aggregate(name)
            case "word", name if self._next.text == "(" and self._next.kind == "sign":
                return self._call(name)
            case "word", name:
                return self._selector(name)
        self._place -= 1
        raise self._wrong("unexpected")

    def _aggregate(self, kind: str) -> Aggregate:
        without, labels = False, frozenset[str]()
        if self._next.text in ("by", "without"):
            without, labels = self._take().text == "without", self._names()
        self._need("(")
        of = self.expression(0)
        self._need(")")
        return Aggregate(kind, without, labels, of)

    def _names(self) -> frozenset[str]:
        self._need("(")
        names = []
        while not self._passed(")"):
            names.append(self._take().text)
            self._passed(",")
        return frozenset(names)

    def _call(self, function: str) -> Call:
        if function not in FUNCTIONS:
            raise BadExpression(
                f'1:{self._next.place}: parse error: unknown function with name "{function}"; '
                f"here there are {', '.join(FUNCTIONS)}"
            )
        self._need("(")
        over = self._operand()
        self._need(")")
        if not isinstance(over, Selector) or not over.range_s:
            raise BadExpression(f'expected type range vector in call to function "{function}"')
        return Call(function, over)

    def _selector(self, name: str) -> Selector:
        matchers: list[Matcher] = []
        if self._passed("{"):
            while not self._passed("}"):
                matchers.append(self._matcher())
                self._passed(",")
        range_s = duration_s(self._take().text) if self._next.kind == "duration" else 0.0
        return Selector(name, tuple(matchers), range_s)

    def _matcher(self) -> Matcher:
        label, sign, text = self._take(), self._take(), self._take()
        if label.kind != "word" or text.kind != "text" or sign.text not in ("=", "!=", "=~", "!~"):
            self._place -= 3
            raise self._wrong("expected a label matcher, found")
        plain = re.sub(r"\\(.)", r"\1", text.text[1:-1])
        if sign.text in ("=~", "!~"):
            try:
                re.compile(plain)
            except re.error as error:
                raise BadExpression(f"error parsing regexp: {error}: `{plain}`") from None
        return Matcher(label.text, sign.text, plain)

    def _take(self) -> _Token:
        token = self._next
        if token.kind == "end":
            raise self._wrong("unexpected")
        self._place += 1
        return token

    def _passed(self, text: str) -> bool:
        if self._next.text == text and self._next.kind != "text":
            self._place += 1
            return True
        return False

    def _need(self, text: str) -> None:
        if not self._passed(text):
            raise self._wrong(f"expected {text!r}, found")

    def _wrong(self, what: str) -> BadExpression:
        return BadExpression(
            f"1:{self._next.place + 1}: parse error: {what} {self._next.text[:40]!r}"
        )
