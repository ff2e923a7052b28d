"""What a training script imports to be handed over, not restarted, when a rank dies.

    import gpumedic_job as gm

    with gm.Training(model, optimizer) as job:
        for step in job.steps(1000):
            with step:
                loss = loss_of(job.model(inputs(step, job.rank)))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

``gpumedic launch`` puts this package, and nothing else, on the PYTHONPATH of what it starts.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fence import Fenced
    from .progress import Progress
    from .saving import Saver
    from .training import Step, Training

__all__ = ["Fenced", "Progress", "Saver", "Step", "Training"]
_MODULES = {
    "Fenced": "fence",
    "Progress": "progress",
    "Saver": "saving",
    "Step": "training",
    "Training": "training",
}


def __getattr__(name: str) -> Any:
    """Import torch only when it is needed: the supervisor reads ``layout`` from here without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_MODULES[name]}", __name__)
    return getattr(module, name)
