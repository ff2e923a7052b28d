"""What the page on the causal graph says of its links is what a diagnosis goes by."""

from pathlib import Path

from rca.graph.links import ALL_LINKS
from rca.graph.templates import Join, Provenance, Template

PAGE = (Path(__file__).parent.parent / "docs" / "causal-graph.md").read_text()


def row(link: Template) -> str:
    marks = [", barrier"] * link.barrier + [", feedback"] * link.feedback
    sign = "+" if link.sign > 0 else "-"
    return (
        f"| `{link.cause}` | `{link.effect}` | {link.join} | {sign} | "
        f"{link.lag_least_s:g} to {link.lag_s:g} | {link.strength:g}{''.join(marks)} | {link.why} |"
    )


def test_the_page_has_every_link_and_no_other() -> None:
    table = PAGE.partition("## The known links")[2].partition("## Sources")[0]

    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == [row(link) for link in ALL_LINKS]


def test_the_page_names_every_source_join_and_provenance() -> None:
    sources = PAGE.partition("## Sources")[2]

    assert {link.source for link in ALL_LINKS} == {s[2:] for s in sources.strip().splitlines()}
    assert all(f"`{join}`" in PAGE for join in Join)
    assert all(f"| {provenance} |" in PAGE for provenance in Provenance)
