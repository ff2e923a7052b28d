"""A message is taken only from who holds the secret, unchanged, and within five minutes."""

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Reference
from standardwebhooks import WebhookVerificationError

from agent.notify.signing import SignatureRefused, read_secrets, sign, verify
from core.errors import ConfigError

NOW_S = 1_700_000_000.0
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()
BODY = json.dumps({"a": 1}).encode()


def signed(body: bytes = BODY, **changed: str) -> dict[str, str]:
    headers = sign(body, message_id="msg_1", now_s=NOW_S, secrets=[SECRET])
    return {**headers, **{name.replace("_", "-"): text for name, text in changed.items()}}


def check(headers: dict[str, str], body: bytes = BODY, *, now_s: float = NOW_S) -> str:
    return verify(headers, body, secrets=[SECRET], now_s=now_s)


def test_the_specs_own_library_accepts_our_signature() -> None:
    now_s = time.time()

    headers = sign(BODY, message_id="msg_1", now_s=now_s, secrets=[SECRET])

    assert Reference(SECRET).verify(BODY, headers) == {"a": 1}
    with pytest.raises(WebhookVerificationError):
        Reference(OTHER).verify(BODY, headers)


def test_we_accept_the_signature_of_the_specs_library() -> None:
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(NOW_S, UTC)
    signature = Reference(SECRET).sign("msg_1", moment, BODY.decode())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(NOW_S)),
        "webhook-signature": signature,
    }

    assert check(headers) == "msg_1"


def test_either_secret_works_while_one_replaces_the_other() -> None:
    headers = sign(BODY, message_id="msg_1", now_s=NOW_S, secrets=[OTHER, SECRET])

    for secret in (OTHER, SECRET):
        assert verify(headers, BODY, secrets=[secret], now_s=NOW_S) == "msg_1"


@given(
    body=st.binary(max_size=200), message_id=st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True)
)
def test_what_is_signed_is_accepted_whatever_it_is(body: bytes, message_id: str) -> None:
    headers = sign(body, message_id=message_id, now_s=NOW_S, secrets=[SECRET])

    assert verify(headers, body, secrets=[SECRET], now_s=NOW_S + 299) == message_id


@given(at=st.integers(0, len(BODY) - 1), flip=st.integers(1, 255))
def test_a_body_with_one_byte_changed_is_refused(at: int, flip: int) -> None:
    changed = bytes([*BODY[:at], BODY[at] ^ flip, *BODY[at + 1 :]])

    with pytest.raises(SignatureRefused, match="none of 1 v1 signatures fits"):
        check(signed(), changed)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (signed(webhook_id="msg_2"), "none of 1 v1 signatures fits"),
        (signed(webhook_signature="v1,AAAA"), "none of 1 v1 signatures fits"),
        (signed(webhook_signature="v2," + "A" * 44), "none of 0 v1 signatures fits"),
        (signed(webhook_signature="v1,\udcff\udcfe"), "none of 1 v1 signatures fits"),
        (signed(webhook_timestamp="yesterday"), "found 'yesterday'"),
        (signed(webhook_timestamp="nan"), "found 'nan'"),
        (signed(webhook_id=""), "header webhook-id is missing"),
        ({}, "header webhook-id is missing"),
        (sign(BODY, message_id="m", now_s=NOW_S, secrets=[OTHER]), "none of 1 v1 signatures fits"),
    ],
)
def test_a_message_that_does_not_fit_is_refused_with_why(
    headers: dict[str, str], found: str
) -> None:
    with pytest.raises(SignatureRefused, match=found):
        check(headers)


@pytest.mark.parametrize(("later_s", "side"), [(301.0, "old"), (-301.0, "in the future")])
def test_a_message_sent_again_later_is_refused(later_s: float, side: str) -> None:
    with pytest.raises(SignatureRefused, match=f"301 s {side}"):
        check(signed(), now_s=NOW_S + later_s)


def test_a_thousand_signatures_cost_no_more_than_a_few() -> None:
    headers = signed(webhook_signature="v1,AAAA " * 1000 + signed()["webhook-signature"])

    with pytest.raises(SignatureRefused, match="none of 16 v1 signatures"):
        check(headers)


@pytest.mark.parametrize("secret", ["hunter2", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "d2hzZWM="])
def test_an_unfit_secret_is_named_without_being_shown(secret: str) -> None:
    with pytest.raises(ConfigError, match="openssl rand") as error:
        read_secrets(secret)

    assert secret == "whsec_" or secret not in str(error.value)


def test_a_secret_file_may_hold_several_and_comments() -> None:
    assert read_secrets(f"# new\n{OTHER}\n\n  {SECRET}  \n") == (OTHER, SECRET)
