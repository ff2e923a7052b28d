"""The exception family.

GpumedicError            anything gpumedic itself refuses or cannot do
├── ConfigError          a setting is unknown, ill-formed or contradicts another
├── InputError           a file, request or argument from outside cannot be used
├── SourceUnavailable    a source of readings or events gave nothing usable
├── StoreError           the store cannot be opened, read or written
│   └── StoreLocked      another controller holds the store
├── WorkerFailed         a worker process died, ran out of time or out of memory
├── ActionRefused        a guard or a precondition said no; a result, not an accident
├── ActionFailed         an action was tried and the cluster said no
└── NotLeader            this process may not act

Every message says what was attempted on what, what was found, and what would make it work.
"""


class GpumedicError(Exception):
    """Something gpumedic refuses or cannot do; ``code`` is stable and for machines."""

    code = "gpumedic"


class ConfigError(GpumedicError):
    """A setting is unknown, ill-formed or contradicts another."""

    code = "config"


class InputError(GpumedicError):
    """A file, request or argument from outside cannot be used."""

    code = "input"


class SourceUnavailable(GpumedicError):
    """A source of readings or events gave nothing usable."""

    code = "source_unavailable"


class StoreError(GpumedicError):
    """The store cannot be opened, read or written."""

    code = "store"


class StoreLocked(StoreError):
    """Another controller holds the store."""

    code = "store_locked"


class WorkerFailed(GpumedicError):
    """A worker process did not give a result.

    reason: ``timeout``, ``memory``, ``crashed``, ``raised``, ``busy`` or ``closed``
    """

    code = "worker_failed"

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class ActionRefused(GpumedicError):
    """A guard or precondition said no: ``guard`` names it, ``remedy`` says what would allow it."""

    code = "action_refused"

    def __init__(self, guard: str, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}")
        self.guard, self.reason, self.remedy = guard, reason, remedy


class ActionFailed(GpumedicError):
    """An action was tried and the cluster said no."""

    code = "action_failed"


class NotLeader(GpumedicError):
    """This process may not act: another one leads, or none does."""

    code = "not_leader"
