"""Speak to an API server: each call within a deadline, and what went wrong said in one way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node, Pod
from lightkube.types import PatchType

from core.cluster import OWNER
from core.errors import ActionFailed, ConfigError, SourceUnavailable

EXCERPT = 300
TRIES = 5  # to change what somebody else changes at the same moment
_GONE, _CONFLICT, _TOO_MANY, _TROUBLE = 404, 409, 429, 500
_NOT_ALLOWED = (401, 403)
# Served by 1.21 and older; 1.22 and newer take policy/v1.
_OLD_EVICTION = "policy/v1beta1"


@dataclass(frozen=True, slots=True)
class KubernetesAccess:
    """How to reach a cluster.

    kubeconfig: file that names it; None: the service account of the pod that this runs in
    context: of that file; "": its current one
    namespaces: whose jobs are read and healed; none named: all
    timeout_s: deadline of one call
    """

    kubeconfig: Path | None = None
    context: str = ""
    namespaces: tuple[str, ...] = ()
    timeout_s: float = 10.0


class Missing(ActionFailed):
    """There is no such object."""


class NotNow(ActionFailed):
    """An eviction that a disruption budget does not allow at this moment."""


def client_of(access: KubernetesAccess) -> AsyncClient:
    """Return a client; ConfigError where what names the cluster cannot be used."""
    named = str(access.kubeconfig) if access.kubeconfig else "this pod's service account"
    try:
        if access.kubeconfig:
            config = KubeConfig.from_file(access.kubeconfig)
        else:
            config = KubeConfig.from_service_account()
        return AsyncClient(
            config.get(access.context or None),
            field_manager=OWNER,
            trust_env=False,
            timeout=httpx2.Timeout(access.timeout_s),
        )
    except Exception as error:  # a file of other forms fails in as many ways as it can be read
        raise ConfigError(
            f"Reaching Kubernetes by {named}: {type(error).__name__}: {error}. Name a kubeconfig "
            "as kubernetes.kubeconfig, or run in a pod with a service account (docs/kubernetes.md)."
        ) from error


@dataclass(slots=True)
class Calls:
    """The calls that this backend makes of one API server.

    may: raises what forbids a change at this moment; it is told what the change is for
    """

    access: KubernetesAccess
    client: AsyncClient
    may: Callable[[str], None] = lambda why: None
    _eviction: str = ""

    async def answers(self) -> None:
        """Ask for the least that there is; SourceUnavailable where nobody answers."""
        async with self._asked("listing one node"):
            async for _ in self.client.list(Node, chunk_size=1):
                return

    async def get(self, kind: type[Any], name: str, namespace: str = "") -> Any:
        """Return an object as it is now, None where there is none of that name."""
        try:
            async with self._asked(f"getting {_said(kind, name, namespace)}"):
                return await self.client.get(kind, name, **_within(namespace))
        except Missing:
            return None

    async def on_node(self, node: str) -> list[Pod]:
        """Return the pods that are on a node now, of the namespaces that are healed."""
        found: list[Pod] = []
        for namespace in self.access.namespaces or ("*",):
            async with self._asked(f"listing the pods of {node}"):
                chosen: Any = {"spec.nodeName": node}
                found += [
                    pod async for pod in self.client.list(Pod, namespace=namespace, fields=chosen)
                ]
        return found

    async def change(
        self,
        kind: type[Any],
        name: str,
        change: Callable[[Any], Mapping[str, Any] | None],
        *,
        why: str,
        namespace: str = "",
    ) -> Any:
        """Change an object as it is at this moment; return it as it is then.

        change: what to merge into the object that it is given, None: nothing. Where somebody else
            changes it in between, it is read again and asked again.
        """
        for _ in range(TRIES):
            now = await self.get(kind, name, namespace)
            if now is None:
                raise Missing(f"{why}: there is no {_said(kind, name, namespace)} any more.")
            wanted = change(now)
            if wanted is None:
                return now
            version = {"resourceVersion": now.metadata.resourceVersion}
            body = {**wanted, "metadata": {**wanted.get("metadata", {}), **version}}
            with contextlib.suppress(_Conflict):
                async with self._asked(f"changing {_said(kind, name, namespace)}", why):
                    return await self.client.patch(
                        kind, name, body, patch_type=PatchType.MERGE, **_within(namespace)
                    )
        raise ActionFailed(
            f"{why}: {_said(kind, name, namespace)} was changed by others {TRIES} times meanwhile. "
            "See who writes to it all the time."
        )

    async def create(self, thing: Any, *, why: str) -> None:
        """Make an object; one of its name that is there already stays as it is."""
        meta = thing.metadata
        with contextlib.suppress(_Conflict):
            async with self._asked(f"making {_said(type(thing), meta.name, meta.namespace)}", why):
                await self.client.create(thing)

    async def delete(self, pod: str, namespace: str, uid: str, *, why: str, force: bool) -> None:
        """Delete the pod of that name where it is still this one.

        force: without waiting for the node to end it; only where the node does not answer
        """
        now = await self.get(Pod, pod, namespace)
        if now is None or now.metadata.uid != uid:
            return
        if now.metadata.deletionTimestamp and not force:
            return
        with contextlib.suppress(Missing):
            async with self._asked(f"deleting pod {namespace}/{pod}", why):
                grace = 0 if force else None
                await self.client.delete(Pod, pod, namespace=namespace, grace_period=grace)

    async def evict(self, pod: str, namespace: str, *, why: str) -> None:
        """Have a pod leave its node; NotNow where a disruption budget does not allow it yet."""
        for version in (self._eviction,) if self._eviction else ("policy/v1", _OLD_EVICTION):
            eviction = Pod.Eviction(metadata=ObjectMeta(name=pod, namespace=namespace))
            eviction.apiVersion = version
            try:
                async with self._asked(f"evicting pod {namespace}/{pod}", why):
                    await self.client.create(eviction, pod, namespace=namespace)
            except Missing:
                return
            except _OtherForm:
                continue
            self._eviction = version
            return
        raise ActionFailed(f"{why}: this API server takes no eviction of a known form.")

    @contextlib.asynccontextmanager
    async def _asked(self, what: str, why: str = "") -> AsyncIterator[None]:
        """Bound what is asked, and say what went wrong with it.

        why: the order that it is part of; "" where it only reads
        """
        if why:
            self.may(why)
        try:
            async with asyncio.timeout(self.access.timeout_s):
                yield
        except ApiError as error:
            raise _of_api(error, what, why) from error
        except TimeoutError:
            found = f"no answer within {self.access.timeout_s:g} s"
            raise SourceUnavailable(
                f"{what}: {found}. See whether the API server is well."
            ) from None
        except (httpx2.HTTPError, OSError) as error:
            said = str(error) or type(error).__name__
            raise SourceUnavailable(f"{what}: {said[:EXCERPT]}.") from error
        except (msgspec.MsgspecError, KeyError) as error:  # KeyError: it does not say what it is
            raise SourceUnavailable(
                f"{what}: the answer cannot be read: {str(error)[:EXCERPT]}. Report it with the "
                "version of the API server."
            ) from error


class _Conflict(Exception):
    """It was changed meanwhile."""


class _OtherForm(Exception):
    """The server knows an eviction by another version."""


def _of_api(error: ApiError, what: str, why: str) -> Exception:
    code, said = error.status.code or 0, " ".join((error.status.message or "").split())[:EXCERPT]
    if code == _GONE:
        return Missing(f"{why or what}: {said}.")
    if code in _NOT_ALLOWED:
        remedy = "Give gpumedic the rights of deploy/kubernetes.yaml."
        problem = f"{why or what}: not allowed: {said}. {remedy}"
        return ActionFailed(problem) if why else SourceUnavailable(problem)
    if why and (found := _of_order(code, said, why)):
        return found
    if code >= _TROUBLE or code == _TOO_MANY or not why:
        return SourceUnavailable(f"{what}: the API server said {code}: {said}.")
    return ActionFailed(f"{why}: the API server refused {what}: {said or code}.")


def _of_order(code: int, said: str, why: str) -> Exception | None:
    """Return what an order can be told and go on from; None for anything else."""
    if code == _CONFLICT:
        return _Conflict(said)
    if "no kind" in said and "Eviction" in said:
        return _OtherForm(said)
    if code == _TOO_MANY and "disruption budget" in said:
        return NotNow(f"{why}: {said}")
    return None


def _within(namespace: str) -> Any:
    return {"namespace": namespace} if namespace else {}


def _said(kind: type[Any], name: str, namespace: str) -> str:
    where = f"{namespace}/" if namespace else ""
    return f"{kind.__name__} {where}{name}"
