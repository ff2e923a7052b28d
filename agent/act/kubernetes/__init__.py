"""A Kubernetes cluster behind the port of ``core``: read by watching, acted on by its own API.

``calls`` speaks to the API server; ``watched`` keeps what it says; ``kinds`` are the jobs that are
known and ``records`` what is read of them; ``picture`` makes one look of it; ``orders_*`` are what
can be ordered, by whoever holds the ``lease``; ``cluster`` is the port.
"""
