"""Energy in words, for the page and the command line."""

from agent.energy.saving import Saving
from agent.energy.used import Bill

NOT_KNOWN = "–"


def money(bill: Bill) -> str:
    """Say what a job's energy cost."""
    return NOT_KNOWN if bill.cost is None else f"{bill.cost:,.2f} {bill.currency}"


def carbon(bill: Bill) -> str:
    """Say how much CO2 a job's energy stands for."""
    return NOT_KNOWN if bill.co2_g is None else f"{bill.co2_g / 1000:,.1f} kg CO2"


def bill_text(bill: Bill) -> str:
    """Say a job's energy, and its cost and CO2 where they are known."""
    parts = [f"{bill.kwh:,.1f} kWh", money(bill), carbon(bill)]
    return " · ".join(part for part in parts if part != NOT_KNOWN)


def saving_text(saving: Saving) -> str:
    """Say what to set and what comes of it."""
    less, longer = 100 * (1 - saving.energy_ratio), 100 * saving.slowdown
    why = " and stays cool" if saving.cool else ""
    return f"at {saving.watts:.0f} W a GPU {less:.0f} % less, steps {longer:.0f} % longer{why}"
