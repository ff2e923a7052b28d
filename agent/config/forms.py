"""What a single value must look like; a ValueError says what it is not and what would work."""

import ipaddress
import re
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

from agent.addresses import host_and_port
from agent.times import from_rfc3339
from core.errors import InputError
from core.units import CATALOG

CREDENTIAL = "credential:"
# Those that are shipped with their figures (docs/policies.md), and the file that was let in here.
POLICIES = ("runbook", "greedy", "rl", "twin", "adopted")
_CREDENTIAL = re.compile(r"credential:[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}", re.ASCII)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_SLURM_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}", re.ASCII)
# Kubernetes: names of namespaces (RFC 1123) and keys of labels, taints and resources.
_KUBERNETES_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_KUBERNETES_KEY = re.compile(
    r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?",
    re.ASCII,
)


def one_line(text: str) -> str:
    """Refuse control characters: the text is printed, logged and sent as a label."""
    if not text.isprintable():
        raise ValueError("holds a line break or control character: write it on one line")
    return text


def metric_name(name: str) -> str:
    """Refuse a metric that the catalogue does not have, naming the nearest."""
    if name not in CATALOG:
        near = get_close_matches(name, CATALOG, n=1, cutoff=0.0)[0]
        raise ValueError(f"is not a metric of the catalogue; the nearest is {near}")
    return name


def linked_metric(name: str) -> str:
    """Refuse a metric that nobody collects, so that no diagnosis could see it."""
    try:
        return metric_name(name)
    except ValueError as error:
        raise ValueError(f"{error}; no other is collected, so none can be linked") from None


def label_name(name: str) -> str:
    """Refuse what Prometheus does not take as a label name."""
    if not _LABEL.fullmatch(name):
        raise ValueError("is not a label name: write letters, digits and underscores")
    return name


def http_url(url: str) -> str:
    """Refuse what is no http address, or holds a password; an empty one means none."""
    if not url:
        return url
    try:
        parts = urlsplit(one_line(url))
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a bracket that does not close, a port above 65535
        known = False
    if not known or " " in url:
        raise ValueError('is not an address: write it like "http://prometheus.example:9090"')
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "holds a user or password, and this file is no place for one: write the address "
            "alone and give the secret by a file"
        )
    if parts.fragment:
        raise ValueError("has a part after #, which is never sent: leave it out")
    return url.rstrip("/") if parts.path == "/" and not parts.query else url


def slurmrestd(address: str) -> str:
    """Refuse what is neither ``unix:/PATH`` nor an http address; an empty one means none."""
    if not address.startswith("unix:"):
        return http_url(address)
    if not one_line(address).removeprefix("unix:").startswith("/"):
        raise ValueError("names no absolute path: write unix:/run/slurmrestd.sock")
    return address


def slurm_name(name: str) -> str:
    """Refuse what Slurm does not take as a reservation's name."""
    if not _SLURM_NAME.fullmatch(name):
        raise ValueError("is no name: write letters, digits, dots, dashes and underscores")
    return name


def kubernetes_name(name: str) -> str:
    """Refuse what Kubernetes does not take as the name of a namespace or a lease."""
    if not _KUBERNETES_NAME.fullmatch(name):
        raise ValueError("is no name: write small letters, digits and dashes, at most 63")
    return name


def kubernetes_key(key: str) -> str:
    """Refuse what Kubernetes does not take as the key of a label, a taint or a resource."""
    if not _KUBERNETES_KEY.fullmatch(key):
        raise ValueError("is no key: write NAME or PREFIX/NAME, such as nvidia.com/gpu")
    return key


def secret_reference(reference: str) -> str:
    """Refuse anything but a file's absolute path or a systemd credential: secrets stay out."""
    if reference and not (
        _CREDENTIAL.fullmatch(reference) or Path(one_line(reference)).is_absolute()
    ):
        raise ValueError(
            "names no file. A secret is never written here: put it in a file that only gpumedic "
            'may read and write its absolute path, or "credential:NAME" for a credential that '
            "systemd loads"
        )
    return reference


def absolute(path: Path) -> Path:
    """Refuse a path that depends on where the process was started."""
    one_line(str(path))
    if not path.is_absolute():
        raise ValueError("is not an absolute path: write it from / on")
    return path


def absolute_or_none(path: str) -> str:
    """Refuse a path that depends on where the process was started; an empty one means none."""
    return str(absolute(Path(path))) if path else path


def acting_policy(text: str) -> str:
    """Refuse what is none of the policies by name; a file must pass the gate first."""
    if text not in POLICIES:
        file = (
            "a file acts after `gpumedic policy promote FILE`, as adopted; " if "/" in text else ""
        )
        raise ValueError(f"names no policy that may act: {file}write {', '.join(POLICIES)}")
    return text


def shadow_policy(text: str) -> str:
    """Refuse what is neither one of the policies by name nor a policy file's absolute path."""
    if text and text not in POLICIES and not Path(one_line(text)).is_absolute():
        raise ValueError(
            f"names no policy: write {', '.join(POLICIES)}, the absolute path of a file that "
            "`gpumedic train` wrote, or nothing"
        )
    return text


def moment(text: str) -> str:
    """Refuse what is no time with its zone."""
    try:
        from_rfc3339(text)
    except InputError:
        raise ValueError('is no time: write it with its zone, "2026-12-01T22:00:00Z"') from None
    return text


def socket_address(text: str) -> str:
    """Refuse what ``host_and_port`` cannot read."""
    host_and_port(text)
    return text


def loopback(host: str) -> bool:
    """Say whether only this machine can reach an address to listen on."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def cidr(text: str) -> str:
    """Refuse what is no network."""
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f'is not a network ({error}): write it like "10.0.0.0/8"') from None
    return text


def no_boolean(value: object) -> object:
    """Refuse true and false as numbers, which Python would take for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("is not a number: write one without quotes")  # noqa: TRY004
    return value
