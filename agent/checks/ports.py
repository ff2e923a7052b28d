"""InfiniBand and RoCE ports, and network interfaces: up, at their rate, without errors or flaps."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.checks.check import Finding, State, counted, degraded, each, state_of, unhealthy
from agent.checks.machine import Machine, folders, number, text
from agent.checks.recent import Flaps, Growth, after
from agent.collect.host import IB_ACTIVE, NO_PORT

# What InfiniBand's bit error ratio of 1e-12 comes to on the first links; a good one shows none.
SYMBOL_ERRORS_AN_HOUR = 120.0
# Errors of an interface within an hour that are more than a plugged cable's.
ERRORS_AN_HOUR = 1000.0
DISABLED = "3"  # physical state of a port that was switched off on purpose (ibstat)
_IFF_UP = 0x1  # netdevice(7)


@dataclass(slots=True)
class Links:
    """What is remembered of links: which were up, and how often they went down."""

    up: set[str] = field(default_factory=set)
    _flaps: dict[str, Flaps] = field(default_factory=dict)
    _downs: dict[str, float] = field(default_factory=dict)

    def flapping(self, link: str, downs: float | None, now_s: float) -> Finding | None:
        """Take the count of times it went down since the start; damped, see ``recent``."""
        if downs is None:
            return None
        new = max(0.0, downs - self._downs.get(link, downs))
        self._downs[link] = downs
        flaps = self._flaps[link] = after(self._flaps.get(link, Flaps()), new, now_s)
        if not flaps.unstable:
            return None
        remedy = "Reseat or replace the cable or transceiver; it is well after 12 h without a flap."
        return degraded(f"{link} comes and goes: {downs:.0f} times down since the start", remedy)


@dataclass(frozen=True, slots=True)
class Infiniband:
    """Ports in ``/sys/class/infiniband``, RoCE included.

    expected: ports and their rate, such as ``8x400`` (Gb/s); empty: what was active stays so, and
        every port is as fast as most of them
    """

    at: Machine
    expected: str = ""
    name: str = "infiniband"
    deadline_s: float = 5.0
    _links: Links = field(default_factory=Links)
    _errors: Growth = field(default_factory=Growth)

    def run(self) -> State:
        """Read every port now."""
        paths = [*folders(self.at.sys / "class/infiniband", "*/ports/*")]
        ports = [port for port in map(_port, paths) if port.physical != DISABLED]
        active = [port for port in ports if port.active]
        if not ports and not self.expected:
            return state_of(self.name, (), fine="no port is there")
        rates = Counter(port.rate_gbps for port in active)
        usual = max(rates, key=lambda rate: (rates[rate], rate), default=0.0)
        wanted, rate = _wanted(self.expected) or (0, usual)
        findings = [*self._lacking(active, wanted, rate)]
        findings += [f for port in ports for f in self._about(port, rate)]
        idle = len(ports) - len(active)
        fine = f"{len(active)} active at {usual:g} Gb/s" + (f", {idle} without a link" * bool(idle))
        return state_of(self.name, findings, fine=fine)

    def _lacking(self, active: list["Port"], wanted: int, rate: float) -> Iterator[Finding]:
        if len(active) < wanted:
            reason = f"{len(active)} of {wanted} ports at {rate:g} Gb/s are active"
            yield unhealthy(reason, "See `ibstat`; reseat cables; look at the switch's side.")

    def _about(self, port: "Port", rate: float) -> Iterator[Finding]:
        now_s, links = self.at.clock.monotonic_s(), self._links
        if port.active:
            links.up.add(port.name)
        elif port.name in links.up:
            reason = f"{port.name} was active and is {port.said or 'down'}"
            yield unhealthy(reason, "See `ibstat`; reseat the cable; look at the switch's side.")
        if port.active and port.rate_gbps < rate:
            reason = f"{port.name} runs at {port.rate_gbps:g} Gb/s, not at {rate:g}"
            yield degraded(reason, "Reseat the cable; see `ibportstate` for the width and speed.")
        yield from each([links.flapping(port.name, port.downs, now_s)])
        bad = self._errors.of(port.name, port.symbol_errors, now_s)
        if bad >= SYMBOL_ERRORS_AN_HOUR:
            reason = f"{port.name}: {bad:.0f} symbol errors within the last hour"
            yield degraded(reason, "Clean or replace the cable or transceiver.")


@dataclass(frozen=True, slots=True)
class Port:
    """One InfiniBand port; ``downs`` is None where it is not counted."""

    name: str
    active: bool
    said: str
    physical: str
    rate_gbps: float
    symbol_errors: float
    downs: float | None


@dataclass(frozen=True, slots=True)
class Interfaces:
    """Network interfaces of real hardware: carrier, errors, flaps; and members of bonds."""

    at: Machine
    name: str = "network"
    deadline_s: float = 5.0
    _links: Links = field(default_factory=Links)
    _errors: Growth = field(default_factory=Growth)

    def run(self) -> State:
        """Read every interface that is switched on."""
        there = [
            port
            for port in folders(self.at.sys / "class/net")
            if (port / "operstate").exists() and not NO_PORT.fullmatch(port.name) and _is_on(port)
        ]
        up = [port for port in there if _carries(port)]
        fine = f"{len(up)} of {counted(len(there), 'interface')} up"
        if not there:
            fine = "none but loopback is there"
        return state_of(self.name, (f for port in there for f in self._about(port)), fine=fine)

    def _about(self, port: Path) -> Iterator[Finding]:
        now_s, links = self.at.clock.monotonic_s(), self._links
        in_bond = text(port / "bonding_slave/mii_status")
        if _carries(port):
            links.up.add(port.name)
        elif port.name in links.up or in_bond == "down":
            reason = f"{port.name} has lost its carrier" + (" in its bond" if in_bond else "")
            yield unhealthy(reason, f"Reseat the cable of {port.name}; look at the switch's side.")
        downs = number(port / "carrier_down_count")
        yield from each([links.flapping(port.name, downs, now_s)])
        counts = (number(port / "statistics" / name) for name in ("rx_errors", "tx_errors"))
        bad = self._errors.of(port.name, sum(count or 0.0 for count in counts), now_s)
        if bad >= ERRORS_AN_HOUR:
            reason = f"{port.name}: {bad:.0f} errors within the last hour"
            yield degraded(reason, f"See `ethtool -S {port.name}`; replace the cable.")


def _port(path: Path) -> Port:
    said = text(path / "state") or ""
    rate = re.match(r"[\d.]+", text(path / "rate") or "")
    return Port(
        name=f"{path.parents[1].name}:{path.name}",
        active=said.partition(":")[0] == IB_ACTIVE,
        said=said.partition(": ")[2].lower(),
        physical=(text(path / "phys_state") or "").partition(":")[0],
        rate_gbps=float(rate[0]) if rate else 0.0,
        symbol_errors=number(path / "counters/symbol_error") or 0.0,
        downs=number(path / "counters/link_downed"),
    )


def _wanted(expected: str) -> tuple[int, float] | None:
    """Return ports and Gb/s of ``8x400``; None for nothing."""
    ports, _, rate = expected.partition("x")
    return (int(ports), float(rate)) if expected else None


def _is_on(port: Path) -> bool:
    """Say whether an interface is switched on; one that does not tell is."""
    flags = text(port / "flags")
    return flags is None or bool(int(flags, 16) & _IFF_UP)


def _carries(port: Path) -> bool:
    state = text(port / "operstate")
    return state == "up" or (state == "unknown" and number(port / "carrier") == 1)
