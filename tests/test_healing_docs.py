"""The page about healing lists every action as the catalogue has it."""

from pathlib import Path

import pytest

from remediation.catalogue import CATALOG

PAGE = Path(__file__).parents[1] / "docs" / "healing.md"


def rows(kind: str) -> list[list[str]]:
    """Return the cells of the page's table rows about a kind."""
    lines = PAGE.read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    return [row for row in cells if row[:1] == [f"`{kind}`"]]


@pytest.mark.parametrize("kind", sorted(CATALOG))
def test_an_action_stands_on_the_page_as_in_the_catalogue(kind: str) -> None:
    known = CATALOG[kind]
    does, costs = rows(kind)

    assert (does[1], does[4]) == (known.text, known.agrees.value)
    assert does[3].startswith(known.effect.value.replace("_", " "))
    assert ("node out" in does[3], "job stops" in does[3]) == (known.takes_out, known.stops_job)
    inverse = f"`{known.inverse}`" if known.inverse else "nothing"
    limit = f"{known.deadline_s:,.0f} s"
    assert costs[2:] == [limit, known.source, inverse, known.verified]
