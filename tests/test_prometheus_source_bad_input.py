"""Whatever a Prometheus does or says, the source ends in time and says what was wrong."""

import json
import math
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.collect.prometheus import PrometheusSource, probe
from agent.collect.prometheus_settings import PrometheusAccess
from core.clock import RealClock
from core.errors import SourceUnavailable
from core.ports import Collected, Query
from core.target import Target
from tests.bad_prometheus import (
    BadPrometheus,
    Behave,
    answering,
    bad_prometheus,
    cut_short,
    dribble,
    dribble_header,
    hang,
    matrix,
    send,
)
from tests.real import free_port, program

NAME = "gpumedic_gpu_temperature_celsius"
METRIC = "gpu_temperature_celsius"
CPU = "gpumedic_node_cpu_used_ratio"
LABELS = {"__name__": NAME, "node": "n1", "gpu": "GPU-1"}
START_S = 1_700_000_010.0
QUERY = Query((METRIC, "node_cpu_used_ratio"), START_S, START_S + 60, 15.0)

Make = Callable[..., PrometheusSource]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Make sources that are closed at the end; 60 s of patience unless told."""
    made: list[PrometheusSource] = []

    def one(url: str, **settings: Any) -> PrometheusSource:
        access = PrometheusAccess(url, **{"timeout_s": 60.0, **settings})
        made.append(PrometheusSource(access, clock=RealClock()))
        return made[-1]

    yield one
    for source in made:
        await source.close()


async def read_from(make: Make, behave: Behave, *names: str, **settings: Any) -> Collected:
    with bad_prometheus(*(names or (NAME,)), behave=behave) as server:
        return await make(server.url, **settings).read(QUERY)


def found(given: Collected, code: str) -> str:
    """Return the texts of the problems of that code."""
    return " | ".join(problem.text for problem in given.problems if problem.code == code)


async def test_a_server_that_is_not_there_is_named(make: Make) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(SourceUnavailable, match=r"Connection refused.*unreachable") as failed:
        await make(url).read(QUERY)

    assert url in str(failed.value)


async def test_a_name_that_does_not_resolve_is_named(make: Make) -> None:
    with pytest.raises(SourceUnavailable, match="unreachable"):
        await make("http://prometheus.invalid:9090").read(QUERY)


async def test_an_address_that_is_no_url_is_named(make: Make) -> None:
    with pytest.raises(SourceUnavailable, match=r"prometheus\.url"):
        await make("localhost:9090").read(QUERY)


async def test_a_password_in_the_address_stays_out_of_messages(make: Make) -> None:
    with pytest.raises(SourceUnavailable) as failed:
        await make(f"http://me:hunter2@127.0.0.1:{free_port()}").read(QUERY)

    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize("behave", [hang, dribble, dribble_header])
async def test_an_answer_that_never_ends_is_cut_off(make: Make, behave: Behave) -> None:
    """The deadline is the whole answer's, long before all of it is there; it is asked once, and no
    thread is left waiting behind it."""
    with bad_prometheus(NAME, behave=behave) as server:
        source = make(server.url, timeout_s=0.3)

        with pytest.raises(SourceUnavailable, match=r"within 0\.3 s.*timeout"):
            await source.read(QUERY)
        await source.close()
        threads = [one for one in threading.enumerate() if one.name.startswith("prometheus")]
        for thread in threads:
            thread.join(1)

    assert not any(thread.is_alive() for thread in threads)
    assert len(server.asked) == 1


async def test_one_slow_metric_does_not_hide_the_others(make: Make) -> None:
    def behave(handler: Any, asked: dict[str, str]) -> None:
        if NAME in asked["query"]:
            hang(handler, asked)
        send_cpu(handler)

    given = await read_from(make, behave, NAME, CPU, timeout_s=3.0)

    assert [window.metric for window in given.windows] == ["node_cpu_used_ratio"]
    assert METRIC in found(given, "timeout")


def send_cpu(handler: Any) -> None:
    document = matrix(({"__name__": CPU, "node": "n1"}, [[START_S, "0.5"]]))
    send(handler, json.dumps(document).encode())


async def test_after_a_slow_read_the_next_one_works(make: Make) -> None:
    with bad_prometheus(NAME, behave=hang) as server:
        source = make(server.url, timeout_s=0.3)
        with pytest.raises(SourceUnavailable):
            await source.read(QUERY)
        server.behave = answering(matrix((LABELS, [[START_S, "40"]])))

        given = await source.read(QUERY)

    assert given.windows[0].value.tolist() == [[40.0]]


async def test_a_web_page_is_not_taken_for_an_answer(make: Make) -> None:
    page = b"<html><title>Sign in</title></html>"

    with pytest.raises(SourceUnavailable, match=r"text/html.*Sign in.*not_json"):
        await read_from(make, lambda handler, _: send(handler, page, kind="text/html"))


async def test_ten_megabytes_of_garbage_are_not_read(make: Make) -> None:
    """Garbage that calls itself JSON is turned down by its first bytes."""
    garbage = b"\xff\x00garbage" * (10 << 20 >> 3)

    with pytest.raises(SourceUnavailable, match="not_json"):
        await read_from(make, lambda handler, _: send(handler, garbage))


async def test_ten_megabytes_that_begin_like_json_hit_the_cap(make: Make) -> None:
    garbage = b'{"status": "' + b"x" * (10 << 20)

    with pytest.raises(SourceUnavailable, match=r"longer than 1 MiB.*too_large"):
        await read_from(make, lambda h, _: send(h, garbage), max_body_bytes=1 << 20)


async def test_json_nested_a_million_deep_is_refused(make: Make) -> None:
    bomb = b'{"a":' * 1_000_000

    with pytest.raises(SourceUnavailable, match="not_json"):
        await read_from(make, lambda handler, _: send(handler, bomb))


async def test_an_answer_that_breaks_off_is_said_so(make: Make) -> None:
    with pytest.raises(SourceUnavailable, match="cut_off"):
        await read_from(make, cut_short)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "query_refused"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "http_status"),
        (422, "query_refused"),
        (500, "http_status"),
        (503, "http_status"),
    ],
)
async def test_an_http_error_shows_what_the_server_said(make: Make, status: int, code: str) -> None:
    body = json.dumps({"status": "error", "error": "too many samples"}).encode()

    with pytest.raises(SourceUnavailable, match=rf"{status}: 'too many samples'.*\[{code}\]"):
        await read_from(make, lambda handler, _: send(handler, body, status=status))


async def test_control_characters_of_a_body_stay_out_of_logs(make: Make) -> None:
    body = b"\x1b[2J\x1b[31mowned\r\n" * 10

    with pytest.raises(SourceUnavailable) as failed:
        await read_from(make, lambda h, _: send(h, body, status=500, kind="text/plain"))

    assert str(failed.value).isprintable()


async def test_a_redirect_is_not_followed(make: Make, tmp_path: Path) -> None:
    """A token must not be handed to whoever the answer points at."""
    token = tmp_path / "token"
    token.write_text("secret")
    with bad_prometheus(NAME, behave=answering(matrix())) as other:
        to = {"Location": f"{other.url}/api/v1/query_range"}

        with pytest.raises(SourceUnavailable, match=rf"{other.url}.*redirect"):
            await read_from(
                make, lambda h, _: send(h, b"", status=302, headers=to), token_file=token
            )

    assert other.headers == []


@pytest.mark.parametrize(
    "document",
    [
        [],
        "success",
        None,
        {},
        {"status": "success"},
        {"status": "success", "data": []},
        {"status": "success", "data": {"resultType": "matrix"}},
        {"status": "success", "data": {"result": 7}},
        {"status": "success", "data": {"result": [7]}},
        {"status": "success", "data": {"result": [{"metric": LABELS}]}},
        {"status": "success", "data": {"result": [{"metric": LABELS, "values": 7}]}},
        {"status": "success", "data": {"result": [{"metric": LABELS, "values": [[1]]}]}},
        {"status": "success", "data": {"result": [{"metric": LABELS, "values": [[1, "x"]]}]}},
        {"status": "success", "data": {"result": [{"metric": 3, "values": [[1, "2"]]}]}},
        {"status": "error", "error": "boom"},
    ],
)
async def test_json_of_another_shape_is_refused(make: Make, document: Any) -> None:
    with pytest.raises(SourceUnavailable, match=r"not_json|shape"):
        await read_from(make, answering(document))


async def test_a_list_of_names_of_another_shape_is_refused(make: Make) -> None:
    """It then asks for everything, as with a server that keeps its names to itself."""
    with bad_prometheus(behave=answering(matrix((LABELS, [[START_S, "40"]])))) as server:
        server.on_names = answering({"status": "success", "data": {"a": 1}})

        given = await make(server.url).read(QUERY)

    assert {window.metric for window in given.windows} >= {METRIC}
    assert "list of metric names" in found(given, "shape")


async def test_impossible_readings_are_missing_and_counted(make: Make) -> None:
    values = [
        [START_S, "NaN"],
        [START_S + 15, "+Inf"],
        [START_S + 30, "1e300"],
        [START_S + 45, "-1e300"],
        [START_S + 60, "41"],
    ]

    given = await read_from(make, answering(matrix((LABELS, values))))

    assert given.windows[0].value.tolist() == [[41.0]]
    assert "2 readings are NaN or infinite" in found(given, "not_finite")
    assert "2 readings cannot be, such as 1e+300" in found(given, "implausible")


async def test_times_that_cannot_be_are_dropped(make: Make) -> None:
    """Numbers that no clock shows must not break the arithmetic of the grid."""
    values: list[list[Any]] = [
        [1e308, "1"],
        [-1e308, "2"],
        ["NaN", "3"],
        ["Inf", "4"],
        [START_S, "40"],
    ]

    given = await read_from(make, answering(matrix((LABELS, values))))

    assert given.windows[0].value.tolist() == [[40.0]]


async def test_unsorted_and_repeated_times_are_put_in_order(make: Make) -> None:
    values = [[START_S + 30, "3"], [START_S, "1"], [START_S + 30, "33"], [START_S + 15, "2"]]

    window = (await read_from(make, answering(matrix((LABELS, values))))).windows[0]

    assert window.value.tolist() == [[1.0, 2.0, 33.0]]
    assert window.time_s.tolist() == [START_S, START_S + 15, START_S + 30]


async def test_series_that_name_no_target_or_one_twice_are_counted(make: Make) -> None:
    unnamed = {"__name__": NAME, "node": "n1"}
    document = matrix((LABELS, [[START_S, "1"]]), (LABELS, [[START_S, "2"]]), (unnamed, []))

    given = await read_from(make, answering(document))

    assert given.windows[0].targets == (Target(node="n1", gpu="GPU-1"),)
    assert given.windows[0].value.tolist() == [[1.0]]
    assert "1 series" in found(given, "doubled")
    assert "1 series" in found(given, "unplaced")


async def test_a_warning_is_passed_on(make: Make) -> None:
    document = matrix((LABELS, [[START_S, "1"]]), warnings=["a store was away"])

    given = await read_from(make, answering(document))

    assert "a store was away" in found(given, "warning")
    assert len(given.windows) == 1


@pytest.mark.parametrize(("seconds", "said"), [(100, "ahead of"), (-3600, "behind")])
async def test_a_clock_that_is_off_is_told(make: Make, seconds: int, said: str) -> None:
    from email.utils import formatdate

    date = formatdate(RealClock().now_s() + seconds, usegmt=True)

    def dated(document: Any) -> Behave:
        def behave(handler: Any, _: dict[str, str]) -> None:
            handler.date_time_string = lambda *_: date
            send(handler, json.dumps(document).encode())

        return behave

    with bad_prometheus(behave=dated(matrix((LABELS, [[START_S, "1"]])))) as server:
        server.on_names = dated({"status": "success", "data": [NAME]})
        given = await make(server.url).read(QUERY)

    assert said in found(given, "clock_skew")
    assert math.isclose(
        float(found(given, "clock_skew").split(" s ")[0].split()[-1]), abs(seconds), abs_tol=3
    )


async def test_a_right_clock_is_no_problem(make: Make) -> None:
    given = await read_from(make, answering(matrix((LABELS, [[START_S, "1"]]))))

    assert given.problems == ()


async def test_a_token_file_is_read_again_when_it_changes(make: Make, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    with bad_prometheus(NAME, behave=answering(matrix((LABELS, [])))) as server:
        source = make(server.url, token_file=token)
        await source.read(QUERY)
        token.write_text("second-token\n")

        await source.read(QUERY)

    sent = [headers["Authorization"] for headers in server.headers]
    assert sent[0] == "Bearer first"
    assert sent[-1] == "Bearer second-token"


@pytest.mark.parametrize("content", [None, "", "two\nlines", "tök"])
async def test_a_token_file_that_holds_no_token_is_named(
    make: Make, tmp_path: Path, content: str | None
) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)

    with pytest.raises(SourceUnavailable, match="token_file") as failed:
        await read_from(make, answering(matrix()), token_file=token)

    assert content is None or content == "" or content not in str(failed.value)


async def test_a_ca_file_that_is_not_there_is_named(make: Make, tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="tls"):
        await make("https://127.0.0.1:1", ca_file=tmp_path / "ca.pem").read(QUERY)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a self-signed certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.pem")]
    openssl = program("openssl")
    subprocess.run([openssl, *command, *names, *files], check=True, capture_output=True)
    return folder


async def test_tls_is_trusted_by_the_ca_file_only(make: Make, authority: Path) -> None:
    """And a hang within TLS is cut off like any other."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority / "ca.pem", authority / "key.pem")
    answer = answering(matrix((LABELS, [[START_S, "40"]])))
    with bad_prometheus(NAME, behave=answer, tls=tls) as server:
        trusted = make(server.url, ca_file=authority / "ca.pem", timeout_s=0.5)

        given = await trusted.read(QUERY)
        with pytest.raises(SourceUnavailable, match=r"CERTIFICATE_VERIFY_FAILED.*tls"):
            await make(server.url).read(QUERY)
        server.behave = dribble
        with pytest.raises(SourceUnavailable, match="timeout"):
            await trusted.read(QUERY)

    assert given.windows[0].value.tolist() == [[40.0]]


async def test_a_server_without_tls_is_told_from_a_dead_one(make: Make) -> None:
    with (
        bad_prometheus(NAME, behave=answering(matrix())) as server,
        pytest.raises(SourceUnavailable, match="tls"),
    ):
        await make(server.url.replace("http:", "https:")).read(QUERY)


async def test_an_answer_too_long_is_asked_for_in_halves(make: Make) -> None:
    """Nobody knows beforehand how many series there are; a day of many is more than the cap."""

    def behave(handler: Any, asked: dict[str, str]) -> None:
        start_s, end_s = float(asked["start"]), float(asked["end"])
        times = np.arange(start_s, end_s + 1, 15)
        body = json.dumps(matrix((LABELS, [[t, "40"] for t in times]))).encode()
        send(handler, body)

    with bad_prometheus(NAME, behave=behave) as server:
        query = Query((METRIC,), START_S, START_S + 15 * 999, 15.0)

        given = await make(server.url, max_body_bytes=10_000).read(query)

    assert given.windows[0].value.shape == (1, 1000)
    assert not np.isnan(given.windows[0].value).any()
    assert len(server.asked) > 2


async def test_no_query_asks_for_more_points_than_are_allowed(make: Make) -> None:
    with bad_prometheus(NAME, behave=answering(matrix((LABELS, [])))) as server:
        await make(server.url).read(Query((METRIC,), START_S, START_S + 86_400, 1.0))

    spans = [(float(a["start"]), float(a["end"])) for a in server.asked]
    assert max(end_s - start_s for start_s, end_s in spans) < 11_000
    assert sum(end_s - start_s + 1 for start_s, end_s in spans) == 86_401


async def test_a_cycle_asks_only_for_what_there_is(make: Make) -> None:
    with bad_prometheus(NAME, behave=answering(matrix((LABELS, [])))) as server:
        source = make(server.url)
        for _ in range(5):
            await source.read(QUERY)

    fresh = f"({NAME} and last_over_time({NAME}[90s]))"
    assert [asked["query"] for asked in server.asked] == [fresh] * 5


async def test_a_server_with_none_of_our_metrics_says_what_to_scrape(make: Make) -> None:
    given = await read_from(make, answering(matrix()), "go_threads")

    assert given.windows == ()
    assert "dcgm-exporter" in found(given, "no_metrics")


async def test_a_dead_server_is_not_asked_for_every_metric(make: Make) -> None:
    with bad_prometheus(NAME, CPU, behave=answering(matrix((LABELS, [])))) as server:
        source = make(server.url, parallel=1)
        await source.read(QUERY)

    with pytest.raises(SourceUnavailable, match="unreachable"):
        await source.read(QUERY)


async def test_a_probe_tells_a_prometheus_from_something_else() -> None:
    with bad_prometheus(NAME, "up", behave=answering({"status": "success", "data": {}})) as server:
        there = await probe(PrometheusAccess(server.url), clock=RealClock())
    gone = await probe(PrometheusAccess(server.url), clock=RealClock())

    assert there.found
    assert METRIC in there.metrics
    assert not gone.found
    assert "no Prometheus at" in gone.text


def test_the_lying_server_serves(tmp_path: Path) -> None:
    """The server itself must not be what fails: it gives what it is told, byte for byte."""
    import urllib.request

    def teapot(handler: Any, _: dict[str, str]) -> None:
        send(handler, b"{}", headers={"X-Kind": "teapot"})

    with bad_prometheus(behave=teapot) as server:
        assert isinstance(server, BadPrometheus)
        with urllib.request.urlopen(f"{server.url}/x") as reply:  # noqa: S310 - loopback
            assert reply.headers["X-Kind"] == "teapot"
