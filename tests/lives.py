"""Results of lives without a simulator, for what is made of them."""

from remediation.evaluation.life import LifeResult

HOUR_S = 3600.0


def life(
    policy: str,
    family: str = "larger",
    seed: int = 0,
    *,
    lost_h: float = 100.0,
    pages: int = 0,
    breaches: tuple[str, ...] = (),
    decision_s: float = 0.1,
) -> LifeResult:
    """A life of which ``lost_h`` GPU-hours of 1,000 were lost; a page costs ten."""
    lost_s = lost_h * HOUR_S
    return LifeResult(
        policy=policy,
        version="1",
        family=family,
        seed=seed,
        priced_gpu_s=lost_s + 10 * pages * HOUR_S,
        lost_gpu_s=lost_s,
        asked_gpu_s=1000 * HOUR_S,
        useful_gpu_s=1000 * HOUR_S - lost_s,
        productive_gpu_s=1000 * HOUR_S - 0.9 * lost_s,
        losses_gpu_s=(("slow", 0.1 * lost_s), ("stopped", 0.9 * lost_s)),
        incidents=10,
        recovered=8,
        recovering_s=16 * HOUR_S,
        pages=pages,
        wrong_drains=1,
        node_days=50.0,
        late_requests=0.0,
        energy_j=3.6e9,
        decisions=1000,
        decision_s=decision_s,
        capped=False,
        breaches=breaches,
    )
