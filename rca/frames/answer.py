"""What the plain-data front found: suspects with what speaks for them, or why there are none."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suspect:
    """One component that may be the root cause.

    score: natural logarithm of odds beside the other components, without a zero point
    probability: 0 to 1 that it is the root cause; all components and ``no_fault`` add up to one
    evidence: sentences, strongest first
    columns: its columns that are clearly odd, oddest first
    path: components from it to the watched one; only itself where there is no graph or no way
    """

    name: str
    score: float
    probability: float
    evidence: tuple[str, ...]
    columns: tuple[str, ...]
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Suspects, most suspect first, also where the window is called fault-free.

    no_fault: 0 to 1 that nothing is wrong
    why: reason for an empty answer; "" where there are root causes to name
    notes: what was mended or left out of the tables
    """

    suspects: tuple[Suspect, ...]
    no_fault: float
    why: str
    notes: tuple[str, ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """Return the components to look at, most suspect first; none where nothing is wrong."""
        return () if self.why else tuple(suspect.name for suspect in self.suspects)
