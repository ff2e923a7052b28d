"""The settings shown to people, editors and newcomers are those in force, without secrets."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.addresses import host_and_port
from agent.config import Settings, example, load, schema, show
from agent.config.problems import known_keys

EXAMPLE = Path(__file__).parent.parent / "deploy" / "config.example.toml"


def uncommented() -> str:
    """Return the example with every setting's line in force, less the prose above it."""
    _, settings = EXAMPLE.read_text().split("\n\n", 1)
    return re.sub(r"^# (?=[a-z_]+ = |\[\[)", "", settings, flags=re.MULTILINE)


def test_the_shipped_example_is_made_from_the_settings() -> None:
    assert EXAMPLE.read_text() == example()


def test_the_example_as_shipped_changes_nothing() -> None:
    assert load([EXAMPLE], environ={}).settings == load([], environ={}).settings


def test_the_example_in_force_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(uncommented())

    loaded = load([path], environ={}).settings

    lists: dict[str, bool | set[str]] = {
        "webhooks": True,
        "autonomy": True,
        "diagnose": {"link"},
        "guards": {"maintenance"},
        "checkpoints": {"folder"},
    }
    assert loaded.model_dump(exclude=lists) == Settings().model_dump(exclude=lists)
    assert [webhook.name for webhook in loaded.webhooks] == ["ops"]
    assert loaded.autonomy_of("drain", "any") == "observe"
    assert [link.cause for link in loaded.diagnose.link] == ["node_open_files_ratio"]
    assert [window.nodes for window in loaded.guards.maintenance] == [("node-1*",)]
    assert [each.job for each in loaded.checkpoints.folder] == ["llama-70b"]


def test_the_example_has_every_key() -> None:
    assert set(keys_of(tomllib.loads(uncommented()))) == set(known_keys())


def keys_of(data: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, inner in data.items():
        key = f"{path}.{name}" if path else name
        yield key
        for table in inner if isinstance(inner, list) else [inner]:
            if isinstance(table, dict):
                yield from keys_of(table, key)


def test_show_has_every_key_with_its_unit_and_origin() -> None:
    rows = {key: (value, origin) for key, value, origin in show(load([], environ={}))}

    assert rows["history.span"] == ("1d", "default")
    assert rows["forecast.memory_limit"] == ("2GiB", "default")
    assert rows["forecast.limits"] == ({}, "default")
    nested = {"diagnose.link", "guards.maintenance", "checkpoints.folder"}
    sections = {key.rpartition(".")[0] for key in known_keys()} - {"webhooks", "autonomy"}
    lists = ("webhooks.", "autonomy.", *(f"{name}." for name in nested))
    items = {key for key in known_keys() if key.startswith(lists)}
    assert rows.keys() == set(known_keys()) - (sections - nested) - items


def test_show_cuts_a_webhook_to_its_host() -> None:
    environ = {
        "GPUMEDIC__WEBHOOKS": json.dumps(
            [
                {"name": "chat", "url": "https://hooks.example:8443/services/T0/s3cret"},
                {"name": "query", "url": "https://hooks.example?token=s3cret"},
                {"name": "plain", "url": "http://receiver.example:9000/"},
            ]
        )
    }

    rows = {key: value for key, value, _ in show(load([], environ=environ))}

    assert rows["webhooks.0.url"] == "https://hooks.example:8443/..."
    assert rows["webhooks.1.url"] == "https://hooks.example/..."
    assert rows["webhooks.2.url"] == "http://receiver.example:9000"
    assert "s3cret" not in str(rows)


def test_the_schema_refuses_unknown_keys_and_shows_defaults_with_units() -> None:
    form: Any = json.loads(json.dumps(schema(), allow_nan=False))
    tables = [part for part in form["$defs"].values() if part["type"] == "object"]

    assert form["additionalProperties"] is False
    assert all(table["additionalProperties"] is False for table in tables)
    assert form["$defs"]["History"]["properties"]["step"]["default"] == "15s"
    assert form["$defs"]["History"]["properties"]["step"]["type"] == "string"
    assert all("description" in key for table in tables for key in table["properties"].values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8642", ("127.0.0.1", 8642)),
        ("[::1]:80", ("::1", 80)),
        (":8642", ("0.0.0.0", 8642)),  # noqa: S104
        ("gpu-head:0", ("gpu-head", 0)),
    ],
)
def test_an_address_splits_into_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert host_and_port(text) == expected
