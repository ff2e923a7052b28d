"""The bench of a large Kubernetes measures a first look, a quiet one and what changes add."""

from agent.bench.kubernetes import kubernetes_rows


def test_each_look_at_a_made_up_cluster_is_measured() -> None:
    rows = {row.metric: row for row in kubernetes_rows(quick=True, nodes=16)}

    assert set(rows) == {
        "kubernetes_first_look_cpu_s",
        "kubernetes_quiet_cycle_cpu_ms",
        "kubernetes_changes_cpu_ms",
    }
    assert all(row.value is not None for row in rows.values())
