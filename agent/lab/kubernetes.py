"""A real Kubernetes control plane on this machine, with nodes that are made up, on loopback.

etcd, API server, controllers and scheduler are the real ones, found on PATH; any user may start
them. Kubelets and the operator of Kubeflow's jobs are stand-ins (``agent.lab.kubelets``): pods are
said to run and nothing runs. Nothing outside its folder is written.
"""

import contextlib
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import yaml
from lightkube import Client, KubeConfig
from lightkube.codecs import from_dict
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod
from lightkube.types import CascadeType, PatchType

from agent.act.kubernetes.kinds import KINDS
from agent.lab.kubelets import CRDS, LEASES, Kubelets
from core.errors import InputError

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
CONTROLLERS = "nodelifecycle,job,garbagecollector,disruption,podgc,namespace"
START_S = 120.0
END_S = 15.0
USER = "gpumedic"  # and the namespace that the manifest has for it


@dataclass(frozen=True, slots=True)
class KubernetesLabSettings:
    """How large it is and how quick.

    grace_s: a node that is not heard of for so long is not ready; Kubernetes' own: 40, later 50
    programs: folder of the programs; None: on PATH
    """

    nodes: int = 4
    gpus: int = 8
    grace_s: int = 10
    programs: Path | None = None


@dataclass(slots=True)
class KubernetesLab:
    """One control plane in a folder of its own; ``start`` it, and ``stop`` it whatever happened."""

    folder: Path
    settings: KubernetesLabSettings = KubernetesLabSettings()
    _daemons: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _kubelets: Kubelets | None = None
    _client: Client | None = None
    _ports: list[int] = field(default_factory=list)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Return its nodes' names."""
        return tuple(f"n{number}" for number in range(1, self.settings.nodes + 1))

    @property
    def kubeconfig(self) -> Path:
        """Return the kubeconfig of a user who may do what ``allow`` has allowed."""
        return self.folder / USER

    @property
    def client(self) -> Client:
        """Return a client that may do anything."""
        if self._client is None:
            self._client = Client(KubeConfig.from_file(self.folder / "admin"), trust_env=False)
        return self._client

    def missing(self) -> tuple[str, ...]:
        """Return which of the programs are not here."""
        return tuple(name for name in PROGRAMS if self._program(name) is None)

    def start(self) -> None:
        """Start it and return once every node is ready; InputError where that cannot be."""
        if missing := self.missing():
            raise InputError(
                f"Starting a Kubernetes in {self.folder}: {', '.join(missing)} not found. "
                "docs/kubernetes.md says where they can be had."
            )
        self._ports = _free_ports(5)
        self._configure()
        self._run(*self._etcd())
        self.start_api()
        for name, secure in (("kube-controller-manager", 3), ("kube-scheduler", 4)):
            flags = ("--controllers", CONTROLLERS, *self._quick()) if "manager" in name else ()
            self._run(
                name,
                *("--kubeconfig", self.folder / "admin", "--bind-address", "127.0.0.1"),
                *("--secure-port", self._ports[secure], "--cert-dir", self.folder / name),
                *("--leader-elect=false", *flags),
            )
        for thing in (LEASES, *CRDS):
            self.create(thing)
        self._kubelets = Kubelets(KubeConfig.from_file(self.folder / "admin"), self.settings.gpus)
        for node in self.nodes:
            self._kubelets.alive.add(node)
        self._kubelets.start()
        self.wait_for(self._all_ready, within_s=START_S)

    def start_api(self) -> None:
        """Start the API server, or start it again with what etcd has kept."""
        self._run(*self._api())
        self.wait_for(self._answers, within_s=START_S)

    def stop(self) -> None:
        """End every process of it, and wait until they are gone."""
        if self._kubelets is not None:
            self._kubelets.stop()
        for name in reversed(list(self._daemons)):
            self._end(name, signal.SIGTERM)
        if self._client is not None:
            self._client.close()

    def kill_node(self, node: str) -> None:
        """Let nothing be heard of a node any more; its pods are not ended."""
        self._stand_ins().alive.discard(node)

    def revive(self, node: str) -> None:
        """Let a node be heard of again."""
        self._stand_ins().alive.add(node)

    def kill_api(self) -> None:
        """End the API server at once."""
        self._end("kube-apiserver", signal.SIGKILL)

    def pause_api(self, *, paused: bool) -> None:
        """Let the API server stand still, or go on: it is there and does not answer."""
        number = signal.SIGSTOP if paused else signal.SIGCONT
        self._daemons["kube-apiserver"].send_signal(number)

    def create(self, thing: Mapping[str, Any]) -> None:
        """Create an object; one that is a custom one is not known until its kind is."""
        made = from_dict(dict(thing))

        def done() -> bool:
            try:
                self.client.create(made)
            except httpx2.HTTPStatusError as error:
                code = error.response.status_code
                if code not in (httpx2.codes.CONFLICT, httpx2.codes.NOT_FOUND):
                    raise
                return code == httpx2.codes.CONFLICT  # the server has made it itself
            return True

        self.wait_for(done, within_s=20)

    def clear(self) -> None:
        """Take away all jobs, pods and leases, and let each node be as it was at the start."""
        for lease in self.client.list(Lease, namespace=USER):
            self.client.delete(Lease, str(lease.metadata and lease.metadata.name), namespace=USER)
        for node in self.nodes:
            self.revive(node)
            found = self.client.get(Node, node)
            notes = (found.metadata.annotations if found.metadata else None) or {}
            none = {name: None for name in notes if name.startswith("gpumedic/")}
            body = {"metadata": {"annotations": none}, "spec": {"unschedulable": None}}
            self.client.patch(Node, node, body, patch_type=PatchType.MERGE)
        for kind in KINDS:
            with contextlib.suppress(httpx2.HTTPStatusError):  # a kind that is not served has none
                for job in self.client.list(kind.resource, namespace="*"):
                    name, space = job.metadata.name, job.metadata.namespace
                    self.client.delete(
                        kind.resource, name, namespace=space, cascade=CascadeType.BACKGROUND
                    )
        self.wait_for(lambda: not self.pods(), within_s=START_S)
        for node in self.nodes:
            self.client.patch(Node, node, {"spec": {"taints": None}}, patch_type=PatchType.MERGE)
        self.wait_for(self._all_ready, within_s=START_S)

    def allow(self, manifest: Path) -> None:
        """Give the user of ``kubeconfig`` the rights of a manifest's service account."""
        for thing in yaml.safe_load_all(manifest.read_text()):
            if thing["kind"].endswith("RoleBinding"):
                thing["subjects"] = [{"kind": "User", "name": USER}]
            self.create(thing)

    def pods(self) -> dict[str, Pod]:
        """Return the pods of the default namespace by name."""
        return {str(pod.metadata.name): pod for pod in self.client.list(Pod) if pod.metadata}

    def runs_on(self) -> dict[str, str]:
        """Return the node of each pod that runs and is not about to leave."""
        return {
            name: str(pod.spec.nodeName)
            for name, pod in self.pods().items()
            if pod.spec and pod.status and pod.status.phase == "Running"
            if pod.metadata and not pod.metadata.deletionTimestamp
        }

    @staticmethod
    def wait_for(true: Callable[[], bool], *, within_s: float) -> None:
        """Wait until something is so; InputError where it does not come."""
        until_s = time.monotonic() + within_s
        while not true():
            if time.monotonic() > until_s:
                raise InputError(f"Waiting on the lab's Kubernetes: nothing in {within_s:g} s.")
            time.sleep(0.05)

    def _all_ready(self) -> bool:
        nodes = list(self.client.list(Node))
        return len(nodes) == self.settings.nodes and all(
            any(c.type == "Ready" and c.status == "True" for c in node.status.conditions or ())
            and not (node.spec and node.spec.taints)
            for node in nodes
            if node.status
        )

    def _stand_ins(self) -> Kubelets:
        if self._kubelets is None:
            raise InputError("The lab's Kubernetes was not started.")
        return self._kubelets

    def _answers(self) -> bool:
        if self._daemons["kube-apiserver"].poll() is not None:
            raise InputError(f"The API server has ended: see {self.folder}/kube-apiserver.log.")
        if not (self.folder / "certs" / "apiserver.crt").exists():
            return False
        try:
            next(iter(self.client.list(Node)), None)
        except (httpx2.HTTPError, OSError):
            return False
        return True

    def _configure(self) -> None:
        tokens = {name: secrets.token_hex(16) for name in ("admin", USER)}
        groups = {"admin": '"system:masters"', USER: ""}
        rows = [f"{token},{name},{name},{groups[name]}" for name, token in tokens.items()]
        (self.folder / "tokens.csv").write_text("\n".join(rows) + "\n")
        done = subprocess.run(  # noqa: S603 - a list of arguments of our own
            [
                shutil.which("openssl") or "openssl",
                "genrsa",
                "-out",
                self.folder / "sa.key",
                "2048",
            ],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise InputError(f"Starting a Kubernetes: openssl made no key: {done.stderr!r}.")
        for name, token in tokens.items():
            config = {
                "current-context": "lab",
                "clusters": [{"name": "lab", "cluster": self._cluster()}],
                "users": [{"name": name, "user": {"token": token}}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
            }
            (self.folder / name).write_text(yaml.safe_dump(config))

    def _cluster(self) -> dict[str, str]:
        return {
            "server": f"https://127.0.0.1:{self._ports[2]}",
            "certificate-authority": str(self.folder / "certs" / "apiserver.crt"),
        }

    def _etcd(self) -> tuple[object, ...]:
        clients, peers = (f"http://127.0.0.1:{port}" for port in self._ports[:2])
        return (
            "etcd",
            *("--data-dir", self.folder / "etcd", "--unsafe-no-fsync"),
            *("--listen-client-urls", clients, "--advertise-client-urls", clients),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"default={peers}"),
        )

    def _api(self) -> tuple[object, ...]:
        key = self.folder / "sa.key"
        return (
            "kube-apiserver",
            *("--etcd-servers", f"http://127.0.0.1:{self._ports[0]}"),
            *("--bind-address", "127.0.0.1", "--secure-port", self._ports[2]),
            *("--cert-dir", self.folder / "certs", "--token-auth-file", self.folder / "tokens.csv"),
            *("--authorization-mode", "RBAC", "--allow-privileged", "--profiling=false"),
            *("--service-account-issuer", "https://lab", "--service-account-key-file", key),
            *("--service-account-signing-key-file", key),
            *("--service-cluster-ip-range", "10.0.0.0/24", "--endpoint-reconciler-type", "none"),
            "--disable-admission-plugins=ServiceAccount",
        )

    def _quick(self) -> tuple[object, ...]:
        return (
            "--node-monitor-period",
            "1s",
            "--node-monitor-grace-period",
            f"{self.settings.grace_s}s",
        )

    def _program(self, name: str) -> str | None:
        folder = self.settings.programs
        return shutil.which(name, path=str(folder) if folder else None)

    def _run(self, name: object, *flags: object) -> None:
        program = self._program(str(name)) or str(name)
        with (self.folder / f"{name}.log").open("ab") as out:
            self._daemons[str(name)] = subprocess.Popen(  # noqa: S603 - likewise
                [*self._ends_with_us(), program, *map(str, flags)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @staticmethod
    def _ends_with_us() -> tuple[str, ...]:
        """Return what has a program end when this process does, however it ends."""
        setpriv = shutil.which("setpriv")
        return (setpriv, "--pdeathsig", "KILL") if setpriv else ()

    def _end(self, name: str, number: signal.Signals) -> None:
        daemon = self._daemons.pop(name)
        daemon.send_signal(signal.SIGCONT)
        daemon.send_signal(number)
        try:
            daemon.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


@contextmanager
def kubernetes_lab(
    folder: Path, settings: KubernetesLabSettings = KubernetesLabSettings()
) -> Iterator[KubernetesLab]:
    """Have a control plane for a while; nothing of it is left afterwards but the folder."""
    lab = KubernetesLab(folder, settings)
    try:
        lab.start()
        yield lab
    finally:
        lab.stop()


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    probes: Sequence[socket.socket] = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
