"""A learned policy as a chooser: only of what is open, and only where it was taught."""

from pathlib import Path

from core.choice import Choice
from remediation.deciding.chooser import Chooser, Moment
from remediation.policies.features import features
from remediation.policies.trained import Trained

SHIPPED = Path(__file__).parent / "shipped" / "rl.npz"


class LearnedChooser:
    """Chooses by a trained network; what training never saw the like of is left to ``fallback``.

    ``trained.Known.holds`` says what that is. ``left`` counts how often it was.
    """

    def __init__(self, trained: Trained, *, fallback: Chooser) -> None:
        self.name = "bandit" if trained.training.learned == "bandit" else "learned"
        self.version = trained.training.version
        self.left = 0
        self._trained = trained
        self._fallback = fallback

    def choose(self, moment: Moment) -> Choice:
        """Return what to do about the incident now."""
        now = moment.situation
        seen = features(now.facts, now.open)
        if not self._trained.known.holds(seen):
            self.left += 1
            return self._fallback.choose(moment)
        return self._trained.network.best(seen, now.open)
