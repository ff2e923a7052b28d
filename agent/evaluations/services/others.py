"""Held-out families of other shapes than those the evidence was first chosen on.

Those of UNSEEN were first answered once the evidence was settled.
"""

from agent.evaluations.services.families import (
    ALL,
    CRASH,
    DELAY,
    DISK,
    ERRORS,
    HOG,
    LEAK,
    LOSS,
    SURGE,
    Family,
)

LOOKED_AT = (
    Family(
        "ticks",  # resources each second, held between scrapes, long before and after, no graph
        (10, 16),
        "web",
        1.0,
        (500, 650),
        (400, 650),
        {"cpu": 1, "mem": 1, "diskio": 0.6, "load": 0.8, "latency": 0.8},
        "latency",
        (HOG, LEAK, DELAY, LOSS, DISK),
        closed=True,
        graph=0.0,
        held=(5, 15),
        wander=0.1,
        spikes=0.01,
        noise=0.3,
    ),
    Family(
        "console",  # a cloud's console: a few points of five minutes in several statistics
        (15, 45),
        "web",
        300.0,
        (60, 300),
        (3, 9),
        {
            "duration|Average": 0.8,
            "duration|p50": 0.8,
            "duration|p90": 0.8,
            "duration|Maximum": 0.8,
            "success_rate|Average": 0.8,
            "calls|Sum": 0.9,
        },
        "duration|Average",
        (DELAY, DELAY, LOSS, ERRORS, ERRORS, SURGE),
        missing=0.3,
        season=0.7,
        noise=0.3,
        wander=0.1,
        strength=(0.3, 1.5),
    ),
)
UNSEEN = (
    Family(
        "crowd",  # many services each second, more than half of them without latency
        (25, 40),
        "fan",
        1.0,
        (200, 400),
        (200, 400),
        {"cpu": 1, "mem": 1, "socket": 1, "diskio": 0.5, "workload": 0.6, "latency_p90": 0.4},
        "latency_p90",
        (HOG, LEAK, DELAY, LOSS, DISK),
        closed=True,
        graph=0.0,
        held=(1, 30),
        wander=0.2,
        spikes=0.02,
        shifts=0.05,
        noise=0.4,
    ),
    Family(
        "hours",  # a month of quarter hours, of which an hour is bad
        (20, 40),
        "mesh",
        900.0,
        (200, 700),
        (3, 5),
        {"latency|p90": 0.8, "latency|p50": 0.8, "availability|Average": 0.9, "requests|Sum": 1},
        "availability|Average",
        (DELAY, LOSS, ERRORS, ERRORS, SURGE),
        missing=0.1,
        season=0.9,
        wander=0.15,
        links_lost=0.1,
        strength=(0.3, 1.5),
    ),
    Family(
        "sidecars",  # a mesh of proxies, scraped every 15 s
        (12, 30),
        "chain",
        15.0,
        (80, 200),
        (8, 24),
        {
            "http_5xx_rate": 0.9,
            "http_requests_rate": 0.9,
            "request_duration_p50": 0.9,
            "request_duration_p95": 0.9,
            "container_cpu": 1,
            "container_memory": 1,
        },
        "request_duration_p95",
        ALL,
        buckets=True,
        late=0.3,
        missing=0.05,
        wander=0.05,
        spikes=0.02,
    ),
    Family(
        "pipeline",  # stages with queues between them, the last one watched
        (6, 14),
        "queues",
        20.0,
        (100, 300),
        (8, 40),
        {"messages_rate": 0.9, "queue_length": 0.9, "message_age": 0.8, "cpu": 1, "memory": 1},
        "message_age",
        (HOG, HOG, LEAK, DELAY, ERRORS, CRASH),
        late=0.2,
        shifts=0.05,
        wander=0.1,
    ),
)
