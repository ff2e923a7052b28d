"""The bench of checkpoints measures each way of reading one, and names all damage."""

from agent.bench.checkpoints import checkpoint_rows


def test_each_way_is_measured_and_all_damage_is_named() -> None:
    rows = {row.metric: row for row in checkpoint_rows(quick=True, megabytes=8, damages=40)}

    assert set(rows) == {
        "verify_manifest_gb_cpu_s",
        "verify_crc_gb_cpu_s",
        "verify_manifest_over_sha256sum",
        "verify_crc_over_sha256sum",
        "verify_crc_over_torch_load",
        "sha256_over_blake2b",
        "verify_manifest_over_b3sum",
        "verify_manifest_gb_s",
        "verify_wall_over_sha256sum",
        "save_at_once_ms",
        "save_stall_ms",
        "save_took_ms",
        "save_stall_ratio",
        "list_100_ms",
        "damage_named_ratio",
    }
    assert rows["damage_named_ratio"].value == 1.0
    del rows["verify_manifest_over_b3sum"]  # where there is one
    assert all(row.value is not None and row.value > 0 for row in rows.values())
