"""Read the incidents of a running controller over its HTTP API, each with its likeliest cause."""

import sys
from typing import Any

import httpx2

CONTROLLER = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8642"


def get(path: str) -> Any:
    """Return what the controller answers."""
    return httpx2.get(CONTROLLER + path, timeout=10).raise_for_status().json()


for incident in get("/v1/incidents")["incidents"]:
    diagnosis = get(f"/v1/incidents/{incident['id']}")["diagnosis"]
    cause = "not diagnosed yet"
    if diagnosis and diagnosis["causes"]:
        first = diagnosis["causes"][0]
        cause = f"{first['fault']}, p = {first['probability']:.2f}"
    sys.stdout.write(f"{incident['state']:9}{incident['title']}: {cause}\n")
