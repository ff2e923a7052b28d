"""A target is named by its most specific part, reads as an operator writes it, and nests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.target import Target, TargetKind

PARTS = ("node", "gpu", "port", "volume", "job", "rank", "switch", "rack")
some_parts = st.dictionaries(st.sampled_from(PARTS), st.text(min_size=1, max_size=8))


@pytest.mark.parametrize(
    ("target", "kind", "text"),
    [
        (Target(), TargetKind.CLUSTER, "cluster"),
        (Target(rack="r2"), TargetKind.RACK, "rack r2"),
        (Target(rack="r2", switch="leaf-4"), TargetKind.SWITCH, "switch leaf-4"),
        (Target(rack="r2", node="node-7"), TargetKind.NODE, "node-7"),
        (Target(node="node-7", gpu="GPU-3f2c"), TargetKind.GPU, "node-7/GPU-3f2c"),
        (Target(node="node-7", gpu="node-7/gpu3"), TargetKind.GPU, "node-7/gpu3"),
        (Target(gpu="GPU-3f2c"), TargetKind.GPU, "GPU-3f2c"),
        (Target(node="node-7", port="mlx5_0:1"), TargetKind.PORT, "node-7/mlx5_0:1"),
        (Target(node="node-7", volume="/scratch"), TargetKind.VOLUME, "node-7:/scratch"),
        (Target(volume="/home"), TargetKind.VOLUME, "/home"),
        (Target(job="88213"), TargetKind.JOB, "job 88213"),
        (Target(job="88213", rank="4"), TargetKind.RANK, "job 88213/rank 4"),
        (Target(node="n", gpu="g", job="8", rank="0"), TargetKind.RANK, "job 8/rank 0"),
    ],
)
def test_a_target_reads_as_its_most_specific_part(
    target: Target, kind: TargetKind, text: str
) -> None:
    assert target.kind is kind
    assert str(target) == text


@given(some_parts)
def test_labels_hold_the_known_parts_and_read_back(parts: dict[str, str]) -> None:
    target = Target(**parts)

    assert target.labels() == parts
    assert Target.from_labels(parts | {"instance": "a:9100", "__name__": "up"}) == target


@given(some_parts)
def test_the_name_is_one_of_the_parts(parts: dict[str, str]) -> None:
    assert Target(**parts).name in (*parts.values(), "cluster")
