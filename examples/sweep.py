"""Find the checkpoint interval that wastes least: often costs stalls, seldom costs work."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.experiments.experiment import Request, conduct
from agent.experiments.plan import Wanted, plan
from agent.experiments.summary import grouped

SCENARIO = """
[cluster]
nodes = 66
racks = 6
spares = 2
history = "0s"
[site]
requeue = true
drain = true
[policy]
name = "none"
[[job]]
id = "llm"
nodes = 64
[faults.per_day]
gpu_fallen_off_bus = 0.2
"""

if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        file = Path(folder) / "mine.toml"
        file.write_text(SCENARIO)
        sweep = "job.llm.checkpoint_interval=2m,10m,1h"
        wanted = Wanted(str(file), seeds=4, sweeps=(sweep,), duration_s=5 * 86400.0)
        made = conduct(Request(plan(wanted), folder=Path(sys.argv[1])))
    for group in grouped(made.results):
        found = group.estimate("goodput_ratio")
        sys.stdout.write(f"{dict(group.settings)}: goodput {found.median:.1%}\n")
    sys.stdout.write(f"plots: {sys.argv[1]}/report.html\n")
