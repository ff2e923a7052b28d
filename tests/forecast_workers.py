"""Workers for tests of forecasts: the functions they are asked for, without a process each."""

import importlib
from dataclasses import dataclass, field
from typing import Any

from core.errors import WorkerFailed


@dataclass
class InProcess:
    """Runs what it is asked in this process, and notes it; the calls in ``failing`` fail."""

    failing: frozenset[int] = frozenset()
    asked: list[Any] = field(default_factory=list)

    async def run(self, function: str, argument: Any) -> Any:
        self.asked.append(argument)
        if len(self.asked) in self.failing:
            raise WorkerFailed("memory", f"Running {function}: it needs more memory.")
        module, _, name = function.partition(":")
        return getattr(importlib.import_module(module), name)(argument)
