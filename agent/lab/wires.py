"""Nodes of one machine as if they were several: a network namespace each, and links to cut.

Needs root. Addresses are seen nowhere outside; the namespaces have a name of their own and are gone
with ``remove``.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError

PROGRAMS = ("ip", "nsenter", "unshare", "mount", "hostname")
HUB = "hub"
_ENTER = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; exec "$@"'


@dataclass(frozen=True, slots=True)
class Wires:
    """A bridge in a namespace ``hub``, and a namespace with a link to it for each node.

    folder: for the table of names that every node sees as its /etc/hosts
    """

    nodes: tuple[str, ...]
    folder: Path

    @property
    def prefix(self) -> str:
        """Return what the names of the namespaces begin with: this process's own."""
        return f"gm{os.getpid()}-"

    def addresses(self) -> dict[str, str]:
        """Return the address of the hub and of each node."""
        found = {name: f"10.77.{at // 250}.{at % 250 + 1}" for at, name in enumerate(self.nodes)}
        return {HUB: "10.77.255.254", **found}

    def lay(self) -> None:
        """Make the namespaces and links; InputError where this user or machine may not."""
        if os.geteuid() or (missing := self.missing()):
            found = "it is not root" if os.geteuid() else f"{', '.join(missing)} not found"
            raise InputError(f"Making network namespaces: {found}. Run it as root on Linux.")
        names = "".join(f"{address} {name}\n" for name, address in self.addresses().items())
        self.folder.mkdir(parents=True, exist_ok=True)
        self._hosts.write_text(f"127.0.0.1 localhost\n{names}")
        hub = self.prefix + HUB
        self._ip("netns", "add", hub)
        self._up(hub, "lo")
        self._ip("-n", hub, "link", "add", "br0", "type", "bridge")
        self._ip("-n", hub, "addr", "add", f"{self.addresses()[HUB]}/16", "dev", "br0")
        self._up(hub, "br0")
        for at, name in enumerate(self.nodes):
            self._join(at, name, hub)

    def remove(self) -> None:
        """Take the namespaces away, and with them the links."""
        for name in (HUB, *self.nodes):
            argv = ["ip", "netns", "del", self.prefix + name]
            subprocess.run(argv, capture_output=True, check=False)  # noqa: S603

    def cut(self, node: str) -> None:
        """Let a node's link be down: nothing comes or goes, and nobody is told."""
        self._link(node, "down")

    def mend(self, node: str) -> None:
        """Let a node's link be up again."""
        self._link(node, "up")

    def inside(self, name: str, argv: Sequence[str]) -> list[str]:
        """Return what runs a program on a node, or the hub, under that name."""
        entered = ["nsenter", f"--net=/run/netns/{self.prefix}{name}", "unshare", "-u", "-m"]
        return [*entered, "bash", "-c", _ENTER, "in", name, str(self._hosts), *argv]

    @staticmethod
    def missing() -> tuple[str, ...]:
        """Return which programs are not here."""
        return tuple(name for name in PROGRAMS if shutil.which(name) is None)

    @property
    def _hosts(self) -> Path:
        return self.folder / "hosts"

    def _join(self, at: int, name: str, hub: str) -> None:
        space, address = self.prefix + name, self.addresses()[name]
        self._ip("netns", "add", space)
        self._up(space, "lo")
        peer = ("type", "veth", "peer", "name", f"v{at}", "netns", hub)
        self._ip("link", "add", "eth0", "netns", space, *peer)
        self._ip("-n", space, "addr", "add", f"{address}/16", "dev", "eth0")
        self._up(space, "eth0")
        self._ip("-n", hub, "link", "set", f"v{at}", "master", "br0", "up")

    def _link(self, node: str, state: str) -> None:
        at = self.nodes.index(node)
        self._ip("-n", self.prefix + HUB, "link", "set", f"v{at}", state)

    def _up(self, space: str, device: str) -> None:
        self._ip("-n", space, "link", "set", device, "up")

    @staticmethod
    def _ip(*words: str) -> None:
        argv = ["ip", *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise InputError(f"`{' '.join(argv)}` ended with {done.returncode}: {done.stderr}")
