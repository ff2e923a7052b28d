"""Readings and durations as an operator writes them."""

from core.units import CATALOG

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
_HITS = "; it hits "
_PREFIXES = ((2**40, "Ti"), (2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki"))


def amount(value: float, metric: str) -> str:
    """Write a reading with its unit.

    >>> amount(0.953, "node_memory_used_ratio"), amount(3 * 2**30, "gpu_memory_used_bytes")
    ('95.3 %', '3 GiB')
    """
    unit = CATALOG[metric].unit if metric in CATALOG else ""
    match unit:
        case "ratio":
            return f"{100 * value:.3g} %"
        case "bytes":
            scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(value) >= s), (1, ""))
            return f"{value / scale:.3g} {prefix}B"
        case "Hz":
            return f"{value / 1e6:.4g} MHz"
        case _:
            return f"{value:.4g} {unit}".rstrip()


def duration(seconds: float) -> str:
    """Write a duration in its largest fitting unit.

    >>> duration(42), duration(1500), duration(7200)
    ('42 s', '25 min', '2 h')
    """
    for size, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def subject(metric: str) -> str:
    """Name a metric in words: its catalogue text up to a comma, or the name itself."""
    return CATALOG[metric].text.partition(",")[0] if metric in CATALOG else metric


def hitting(text: str, jobs: str) -> str:
    """Return what was said of a GPU, and the jobs that it hits, where there are any.

    >>> hitting("Xid 79", "Slurm job 7 of ann"), hitting("Xid 79", "")
    ('Xid 79; it hits Slurm job 7 of ann', 'Xid 79')
    """
    return f"{text}{_HITS}{jobs}" if jobs else text


def hitting_as(text: str, other: str) -> str:
    """Return what was said of a GPU with the jobs that another text of the same names.

    >>> hitting_as("off the bus", "Xid 79; it hits Slurm job 7 of ann")
    'off the bus; it hits Slurm job 7 of ann'
    """
    return text if _HITS in text else hitting(text, other.partition(_HITS)[2].partition(";")[0])
