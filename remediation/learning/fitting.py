"""Fit a policy to what was tried: supervised steps before, and beside, reinforcement learning."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.types import Floats

_BATCH = 256
_MOST_HOURS = 1.5  # a choice that loses more than this beyond the best is as bad as any other
_UNIT_HOURS = 0.1  # the network's scores are in minus this
_DECAY = 1e-4


def fit_scores(
    policy: Any,
    seen: NDArray[np.float32],
    is_open: NDArray[np.bool_],
    lost: Floats,
    *,
    epochs: int,
    rate: float,
) -> float:
    """Make a policy's scores what each choice loses, negative; return the last epoch's mean error.

    Only differences between open choices count. seen: (n, SIZE); is_open, lost: (n, len(Choice))
    """
    offered = torch.as_tensor(is_open.astype(np.float32))
    many = offered.sum(dim=1, keepdim=True)
    best = np.where(is_open, lost, np.inf).min(axis=1, keepdims=True)
    beyond = np.where(is_open, np.minimum(lost - best, _MOST_HOURS), 0.0) / _UNIT_HOURS
    wanted = -torch.as_tensor(beyond.astype(np.float32))
    wanted = (wanted - wanted.sum(dim=1, keepdim=True) / many) * offered
    inputs = torch.as_tensor(seen)

    def error(rows: torch.Tensor) -> torch.Tensor:
        scores = policy.action_net(policy.mlp_extractor.policy_net(inputs[rows]))
        mask = offered[rows]
        scores = scores - (scores * mask).sum(dim=1, keepdim=True) / many[rows]
        # Squares, so that what is learnt is the mean: rare crashes are what costs.
        off = (scores - wanted[rows]) * mask
        squares: torch.Tensor = 0.5 * (off**2).sum(dim=1)
        return squares.mean()

    actor = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
    return _descend(actor, error, len(seen), epochs=epochs, rate=rate)


def expected_hours(policy: Any, seen: NDArray[np.float32]) -> Floats:
    """Return (n, len(Choice)) what each choice loses, by a policy that ``fit_scores`` has taught.

    Hours, up to a number that is the same for all choices of a situation.
    """
    with torch.no_grad():
        scores = policy.action_net(policy.mlp_extractor.policy_net(torch.as_tensor(seen)))
    return np.asarray(-_UNIT_HOURS * scores.numpy(), dtype=np.float64)


def fit_values(
    policy: Any, seen: NDArray[np.float32], returns: Floats, *, epochs: int, rate: float
) -> float:
    """Make a policy's values the returns that were met, (n,); return the last mean error."""
    inputs, wanted = torch.as_tensor(seen), torch.as_tensor(returns.astype(np.float32))

    def error(rows: torch.Tensor) -> torch.Tensor:
        values = policy.value_net(policy.mlp_extractor.value_net(inputs[rows])).flatten()
        return torch.nn.functional.mse_loss(values, wanted[rows])

    critic = [*policy.mlp_extractor.value_net.parameters(), *policy.value_net.parameters()]
    return _descend(critic, error, len(seen), epochs=epochs, rate=rate)


def sharpen(policy: Any, times: float) -> None:
    """Multiply a policy's scores: the same choices, with less chance."""
    with torch.no_grad():
        policy.action_net.weight *= times
        policy.action_net.bias *= times


def _descend(
    parameters: Sequence[Any],
    error: Callable[[torch.Tensor], torch.Tensor],
    count: int,
    *,
    epochs: int,
    rate: float,
) -> float:
    """Step down an error's gradient, ever slower; return its mean over the last epoch."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=_DECAY)
    errors: list[float] = []
    for epoch in range(epochs):
        order, errors = torch.randperm(count), []
        for group in optimizer.param_groups:
            group["lr"] = rate * max(0.02, 1.0 - epoch / epochs)
        for start in range(0, count, _BATCH):
            found = error(order[start : start + _BATCH])
            optimizer.zero_grad()
            found.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            errors.append(float(found.detach()))
    return float(np.mean(errors))
