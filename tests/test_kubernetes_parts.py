"""What is written on a Kubernetes' objects, how refusals of its API server read."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube import AsyncClient, KubeConfig
from lightkube.config.models import Cluster, User
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node, Pod

from agent.act.kubernetes.calls import Calls, KubernetesAccess, NotNow, client_of
from agent.act.kubernetes.declared import Declared, declared
from agent.act.kubernetes.desk import PAUSE_S, Evictions
from agent.act.kubernetes.marks import (
    HELD,
    KEEP,
    NOTED,
    ORDERS,
    PLACED,
    Marks,
    Placed,
    Taken,
    marks_in,
    with_note,
    with_order,
)
from agent.act.kubernetes.placing import node_affinity
from agent.act.kubernetes.records import pod_in
from agent.act.kubernetes.watched import Watched
from agent.act.node_note import NodeNote
from agent.config import Settings
from agent.config.kubernetes import Kubernetes
from agent.config.settings import Scheduler
from agent.start import scheduler_of
from core.clock import ManualClock, RealClock
from core.cluster import OWNER
from core.errors import ActionFailed, ConfigError, SourceUnavailable

THEIRS = {"key": "zone", "operator": "In", "values": ["a"]}
OWN = {
    "preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [THEIRS]}}
    ],
    "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [THEIRS]}, {"matchFields": [THEIRS]}]
    },
}
KEYS = (HELD, NOTED, ORDERS, PLACED)


@dataclass
class Server(httpx2.AsyncBaseTransport):
    """An API server that gives these answers in turn, the last again and again; ``asked``: what.

    None: it does not answer
    """

    answers: Sequence[httpx2.Response | Exception | None]
    asked: list[httpx2.Request] = field(default_factory=list)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(request)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            await asyncio.Event().wait()
            raise AssertionError
        return httpx2.Response(
            answer.status_code, content=answer.content, headers=answer.headers, request=request
        )


def says(code: int, message: str) -> httpx2.Response:
    body = {"kind": "Status", "status": "Failure", "message": message, "code": code}
    return httpx2.Response(code, json=body)


def gives(**body: Any) -> httpx2.Response:
    return httpx2.Response(200, json=body)


NODE = gives(metadata={"name": "n1", "resourceVersion": "7"})


def client_to(server: httpx2.AsyncBaseTransport) -> AsyncClient:
    config = KubeConfig.from_one(cluster=Cluster(server="http://there"), user=User()).get()
    return AsyncClient(config, transport=server, trust_env=False, field_manager=OWNER)


def calls_to(server: httpx2.AsyncBaseTransport, *, timeout_s: float = 5.0) -> Calls:
    return Calls(KubernetesAccess(timeout_s=timeout_s), client_to(server))


def close_it(_: Any) -> dict[str, Any]:
    return {"metadata": {"annotations": {"a": "b"}}, "spec": {"unschedulable": True}}


async def test_a_change_names_the_version_it_was_made_of_and_is_made_anew_of_a_newer() -> None:
    server = Server([NODE, says(409, "the object has been modified"), NODE, NODE])

    await calls_to(server).change(Node, "n1", close_it, why="cordon n1")

    assert [request.method for request in server.asked] == ["GET", "PATCH", "GET", "PATCH"]
    sent = json.loads(server.asked[-1].content)
    assert sent["metadata"] == {"annotations": {"a": "b"}, "resourceVersion": "7"}
    assert server.asked[-1].url.params["fieldManager"] == "gpumedic"


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (says(403, "nodes n1 is forbidden"), ActionFailed, r"cordon n1: not allowed: .*yaml"),
        (says(422, "spec is invalid"), ActionFailed, "cordon n1: .* refused .*spec is invalid"),
        (says(404, "n1 not found"), ActionFailed, "cordon n1: n1 not found"),
        (says(500, "etcd is away"), SourceUnavailable, "changing Node n1: .*500: etcd is away"),
        (says(429, "too many requests"), SourceUnavailable, "429"),
        (says(409, "modified"), ActionFailed, "changed by others 5 times"),
        (httpx2.ConnectError("refused"), SourceUnavailable, "changing Node n1: refused"),
        (httpx2.Response(200, text="<html>"), SourceUnavailable, "cannot be read"),
        (httpx2.Response(502), SourceUnavailable, "cannot be read"),
    ],
    ids=lambda each: str(getattr(each, "status_code", "")),
)
async def test_what_an_api_server_says_to_an_order_is_told_apart(
    answer: httpx2.Response | Exception, error: type[Exception], said: str
) -> None:
    calls = calls_to(Server([NODE, answer] * 5))

    with pytest.raises(error, match=said):
        await calls.change(Node, "n1", close_it, why="cordon n1")


async def test_a_server_that_does_not_answer_is_given_up_within_the_timeout() -> None:
    with pytest.raises(SourceUnavailable, match=r"listing one node: no answer within 0\.1 s"):
        await calls_to(Server([None]), timeout_s=0.1).answers()


async def test_an_eviction_is_asked_for_in_the_form_that_the_server_knows() -> None:
    unknown = says(400, 'no kind "Eviction" is registered for version "policy/v1"')
    budget = "Cannot evict pod as it would violate the pod's disruption budget."
    server = Server([unknown, gives(), gives(), says(429, budget)])
    calls = calls_to(server)

    await calls.evict("p", "default", why="drain n1")
    await calls.evict("p", "default", why="drain n1")
    with pytest.raises(NotNow, match="disruption budget"):
        await calls.evict("p", "default", why="drain n1")

    forms = [json.loads(request.content)["apiVersion"] for request in server.asked]
    assert forms == ["policy/v1", *["policy/v1beta1"] * 3]


async def test_an_eviction_that_waits_goes_on_once_the_api_server_is_back() -> None:
    no = says(429, "Cannot evict pod as it would violate the pod's disruption budget.")
    server, clock = Server([no, httpx2.ConnectError("refused"), no, gives()]), ManualClock()
    pod = Pod(metadata=ObjectMeta(name="p", namespace="default"))
    evictions = Evictions(calls_to(server), clock, set())

    await evictions.evict(pod_in(pod, gpu=""), why="drain n1", within_s=60.0)
    for _ in range(5):
        await clock.advance(PAUSE_S)

    assert [request.url.path.rpartition("/")[2] for request in server.asked] == ["eviction"] * 4


async def test_a_pod_that_took_the_place_of_another_is_not_deleted_for_it() -> None:
    server = Server([gives(metadata={"name": "p", "namespace": "default", "uid": "second"})])

    await calls_to(server).delete("p", "default", "first", why="restart_job", force=True)

    assert [request.method for request in server.asked] == ["GET"]


async def test_what_is_not_installed_is_none_and_what_is_forgotten_is_listed_again() -> None:
    nothing = Watched(client_to(Server([says(404, "")])), Pod, "*", lambda pod: pod, RealClock())
    await nothing.up_to_date(within_s=5)
    assert nothing.all() == ()
    await nothing.close()

    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
    forgotten = httpx2.Response(200, text=json.dumps(gone) + "\n")
    listed = gives(metadata={"resourceVersion": "9"}, items=[{"metadata": {"name": "p"}}])
    server = Server([listed, forgotten, listed, None])
    followed = Watched(client_to(server), Pod, "*", lambda pod: pod, RealClock())
    await followed.up_to_date(within_s=5)
    while followed.lists < 2:
        await RealClock().sleep(0)
    assert [pod.metadata.name for pod in followed.all() if pod.metadata] == ["p"]
    assert "resourceVersion=9" in str(server.asked[1].url)
    await followed.close()


async def test_a_kind_is_out_of_date_until_the_server_serves_it_again() -> None:
    listed = gives(metadata={"resourceVersion": "9"}, items=[{"metadata": {"name": "p"}}])
    away = httpx2.Response(503, text="service unavailable")
    server = Server([listed, away, away, listed, None])
    followed = Watched(client_to(server), Pod, "*", lambda pod: pod, RealClock())

    async with asyncio.timeout(10):
        while not followed.problem:
            with suppress(SourceUnavailable):
                await followed.up_to_date(within_s=5)
            await RealClock().sleep(0)
        while len(server.asked) < 4:
            with pytest.raises(SourceUnavailable, match=r"Pod: the API server said 503\.$"):
                await followed.up_to_date(within_s=5)
            await RealClock().sleep(0)
        while followed.problem:
            await RealClock().sleep(0)

    await followed.up_to_date(within_s=5)
    assert followed.lists == 1
    await followed.close()


async def test_an_object_that_is_not_understood_is_said_and_the_rest_followed_on() -> None:
    there = {"metadata": {"name": "p", "resourceVersion": "9"}}
    strange = {"metadata": {"name": "strange", "resourceVersion": "10"}}
    change = httpx2.Response(200, text=json.dumps({"type": "ADDED", "object": strange}) + "\n")
    listed = gives(metadata={"resourceVersion": "9"}, items=[there])

    def name(pod: Any) -> str:
        if pod.metadata.name == "strange":
            raise KeyError("a field that nobody thought of")
        return str(pod.metadata.name)

    followed = Watched(
        client_to(Server([listed, change, listed, None])), Pod, "*", name, RealClock()
    )
    said = set()
    async with asyncio.timeout(10):
        while followed.lists < 2:
            try:
                await followed.up_to_date(within_s=5)
            except SourceUnavailable as error:
                said.add(str(error))
            await RealClock().sleep(0)

    assert said == {"following Pod: 'a field that nobody thought of'."}
    assert followed.all() == ("p",)
    await followed.close()


def test_where_a_job_is_wanted_is_said_beside_what_its_owner_wants() -> None:
    first = node_affinity(OWN, Placed(), Placed(("n1", "n2"), ("n3",)))
    second = node_affinity(first, Placed(("n1", "n2"), ("n3",)), Placed(("n4",)))
    none = node_affinity(second, Placed(("n4",)), Placed())

    terms = first["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    avoid = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["n3"]}
    assert [term["matchExpressions"][-1] for term in terms] == [avoid, avoid]
    preferred = second["preferredDuringSchedulingIgnoredDuringExecution"]
    assert [each["preference"]["matchExpressions"][0]["values"] for each in preferred] == [
        ["a"],
        ["n4"],
    ]
    assert none == OWN
    assert set(node_affinity({}, Placed(), Placed()).values()) == {None}


def test_marks_are_read_as_they_were_written_and_the_oldest_orders_go() -> None:
    marks, texts = Marks(), {}
    for number in range(KEEP + 5):
        taken = Taken(float(number), (f"uid-{number}",), ("n4",))
        texts = {ORDERS: with_order(marks, f"p1:{number}:cordon", taken)}
        marks = marks_in(texts)
    assert len(marks.orders) == KEEP
    assert marks.orders[f"p1:{KEEP + 4}:cordon"] == taken
    assert "p1:0:cordon" not in marks.orders

    text = with_note(marks, finding="bad", checked_s=5.0, power_watts=None)
    assert marks_in({NOTED: text}).noted == NodeNote(finding="bad", checked_s=5.0)


@given(st.dictionaries(st.sampled_from(KEYS), st.text()))
def test_marks_that_somebody_has_damaged_are_as_none(texts: dict[str, str]) -> None:
    assert isinstance(marks_in(texts), Marks)


@pytest.mark.parametrize("text", ["{}", "[1]", '{"a": 1}', '{"a": [true, 3, "x"]}', "null", "NaN"])
def test_marks_of_other_forms_are_as_none(text: str) -> None:
    assert isinstance(marks_in(dict.fromkeys(KEYS, text)), Marks)


def test_a_jobs_owner_says_what_may_be_done_with_it() -> None:
    text = "nodes=2-6 unit=2 save=8080/save checkpoint=/ckpt/run7 interval=1800 live=yes"
    assert declared(text) == Declared(2, 6, 2, (8080, "/save"), "/ckpt/run7", 1800.0, live=True)
    assert declared(text).can_save
    assert not declared("save=8080/save").can_save
    assert declared("nodes=6-2 unit=x save=99999 checkpoint=ckpt interval=0") == Declared()
    assert declared("save=80@evil.example/x") == Declared()


def test_settings_that_cannot_be_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    bads = ({"namespaces": ["Team A"]}, {"gpu": "a/b/c"}, {"kubeconfig": "here"}, {"lease": ""})
    for bad in bads:
        with pytest.raises(ValueError, match=r"kubernetes\."):
            Settings.model_validate({"kubernetes": bad})
    for text in ("", "clusters: 3", "[", "clusters: []\ncontexts: []\ncurrent-context: x\n"):
        config = tmp_path / "config"
        config.write_text(text)
        with pytest.raises(ConfigError, match=r"Reaching Kubernetes by .*config"):
            client_of(KubernetesAccess(kubeconfig=config))


def test_a_kubernetes_is_the_scheduler_where_it_is_set(tmp_path: Path) -> None:
    settings = Settings(
        scheduler=Scheduler(backend="kubernetes"),
        kubernetes=Kubernetes(kubeconfig=str(tmp_path / "none")),
    )
    with pytest.raises(ConfigError, match="none not found"):
        scheduler_of(settings, clock=RealClock())
