"""Real traces can be replayed: each published header is read, and a bad row says where and why."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError
from sim.engine.words import Ending, JobKind
from sim.scenario import node_name
from sim.traces.faults import read_faults, to_specs
from sim.traces.read import read_trace, submissions
from sim.traces.row import Counts
from sim.traces.submission import Reading, Submission, to_table
from sim.traces.telemetry import wide_windows

GENERIC = "job_id,submit_s,gpus,duration_s,status\n"
HELIOS = (
    "job_id,user,vc,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,queue\n"
    "1,u1,v1,4,16,1,FAILED,2020-06-09 18:41:27,2020-06-09 18:41:27,2020-06-09 18:45:36,249,0\n"
    "2,u1,v1,1,1,1,CANCELLED,2020-06-09 18:41:28,2020-06-09 18:41:28,2020-06-17 14:15:21,675233,0\n"
    "3,u1,v1,0,8,1,COMPLETED,2020-06-09 18:41:29,2020-06-09 18:41:29,2020-06-09 18:42:29,60,0\n"
)
SEREN = (
    "job_id,user,node_num,gpu_num,cpu_num,type,state,submit_time,start_time,end_time,duration,"
    "queue,gpu_time\n"
    "5778432,u1,1,8,128,Other,NODE_FAIL,2023-03-01 00:18:22+08:00,2023-03-01 00:18:54+08:00,"
    "2023-03-01 00:20:51+08:00,117,32,936.0\n"
    "5778469,u1,16,128,128,Debug,TIMEOUT,2023-03-01 00:23:58+08:00,2023-03-01 00:24:11+08:00,"
    "2023-03-01 01:09:04+08:00,2693,13,344704.0\n"
)
OPENB = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,"
    "deletion_time,scheduled_time\n"
    "p0,88000,327680,8,1000,,Burstable,Succeeded,9437497,10769854,9437497\n"
    "p1,4000,15258,1,220,,BE,Running,9679175,9973826,9679175\n"
    "p2,4000,15258,1,220,,LS,Pending,9679180,9973826,\n"
    "p3,4000,15258,0,0,,LS,Succeeded,9679190,9973826,9679190\n"
)
TASKS = (
    "a,ps,1.0,Terminated,100.0,400.0,600.0,29.3,,MISC\n"
    "b,tensorflow,1.0,Failed,50.0,90.0,600.0,29.3,50.0,T4\n"
    "a,worker,3.0,Terminated,120.0,400.0,600.0,29.3,250.0,V100\n"
    "c,worker,2.0,Running,130.0,,600.0,29.3,100.0,V100\n"
    "d,worker,2.0,Waiting,,,600.0,29.3,100.0,V100\n"
)
JOBS = "a,i1,u1,Terminated,95.0,400.0\nb,i2,u1,Failed,40.0,90.0\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def attempt(start: str | None, end: str | None, gpus: int) -> dict[str, object]:
    servers = [{"ip": "m1", "gpus": [f"gpu{index}" for index in range(gpus)]}]
    return {"start_time": start, "end_time": end, "detail": servers}


def philly(job: str, *attempts: dict[str, object], status: str = "Pass") -> dict[str, object]:
    return {
        "status": status,
        "vc": "v",
        "jobid": job,
        "attempts": list(attempts),
        "submitted_time": "2017-10-07 01:11:39",
        "user": "u",
    }


def test_a_generic_row_becomes_a_job_at_its_distance_from_the_first(tmp_path: Path) -> None:
    text = GENERIC + "b,500,2.5,60,failed\na,100,0.46,0,\nc,100,16,30,killed\n"

    trace = read_trace(write(tmp_path, "jobs.csv", text))

    assert trace.table["submit_s"].tolist() == [0, 0, 400]
    assert trace.table["gpus"].tolist() == [1, 16, 3]
    assert trace.table["duration_s"].tolist() == [1, 30, 60]
    assert trace.table["ending"].tolist() == [Ending.COMPLETED, Ending.CANCELLED, Ending.FAILED]


def test_helios_is_known_by_its_header_and_loses_jobs_without_gpus(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "cluster_log.csv", HELIOS))

    assert trace.table["gpus"].tolist() == [4, 1]
    assert trace.table["submit_s"].tolist() == [0, 1]
    assert trace.table["duration_s"].tolist() == [249, 675233]
    assert trace.counts.left_out == {"without GPUs": 1}
    assert trace.counts.sentence == "3 rows read, 2 kept; left out 1 without GPUs"


def test_acmes_times_keep_their_offset_and_a_lost_node_is_no_bug_of_the_job(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "trace_seren.csv", SEREN))

    assert trace.table["submit_s"].tolist() == [0, 336]
    assert trace.table["ending"].tolist() == [Ending.COMPLETED, Ending.TIMEOUT]
    assert trace.table["kind"].tolist() == [JobKind.TRAINING, JobKind.INTERACTIVE]


def test_openb_pods_run_from_when_they_are_scheduled(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "openb_pod_list_default.csv", OPENB))

    assert trace.table["gpus"].tolist() == [8, 1]
    assert trace.table["duration_s"].tolist() == [1332357, 294651]
    assert trace.table["ending"].tolist() == [Ending.COMPLETED, Ending.CANCELLED]
    assert trace.table["priority"].tolist() == [0, -1]
    assert trace.counts.left_out == {"that never ran": 1, "without GPUs": 1}


def test_pai_sums_a_jobs_tasks_and_takes_its_submission_from_the_table_of_jobs(
    tmp_path: Path,
) -> None:
    tasks = write(tmp_path, "pai_task_table.csv", TASKS)
    write(tmp_path, "pai_job_table.csv", JOBS)

    trace = read_trace(tasks)

    assert trace.table["submit_s"].tolist() == [0, 55]
    assert trace.table["gpus"].tolist() == [1, 8]
    assert trace.table["duration_s"].tolist() == [40, 280]
    assert trace.table["ending"].tolist() == [Ending.FAILED, Ending.COMPLETED]
    assert trace.table["kind"].tolist() == [JobKind.TRAINING, JobKind.PARAMETER_SERVER]
    assert trace.counts.left_out == {
        "still running when the trace ended": 1,
        "that never ran": 1,
    }


def test_pai_without_the_table_of_jobs_submits_at_the_first_task(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "pai_task_table.csv", TASKS))

    assert trace.table["submit_s"].tolist() == [0, 70]


def test_pais_table_of_jobs_alone_says_which_file_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"says nothing of GPUs. Give pai_task_table\.csv"):
        read_trace(write(tmp_path, "pai_job_table.csv", JOBS))


def test_philly_adds_up_its_attempts(tmp_path: Path) -> None:
    jobs = [
        philly(
            "j1",
            attempt("2017-10-07 01:12:09", "2017-10-07 01:13:09", 8),
            attempt(None, "2017-10-07 01:20:00", 8),
            attempt("2017-10-07 02:00:00", "2017-10-07 02:00:30", 4),
        ),
        philly("j2", status="Killed"),
        philly("j3", attempt("2017-10-07 01:12:09", "None", 1)),
        philly("j4", attempt("2017-10-07 01:12:09", "2017-10-07 01:12:19", 1), status="Failed"),
    ]

    trace = read_trace(write(tmp_path, "cluster_job_log", json.dumps(jobs, indent=1)))

    assert trace.table["gpus"].tolist() == [8, 1]
    assert trace.table["duration_s"].tolist() == [90, 10]
    assert trace.table["ending"].tolist() == [Ending.COMPLETED, Ending.FAILED]
    assert trace.counts.left_out == {
        "that never ran": 1,
        "still running when the trace ended": 1,
    }


def test_gzip_json_lines_and_parquet_read_as_csv_does(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows = [{"submit_s": 10.0 * i, "gpus": i + 1, "duration_s": 5.0} for i in range(20_000)]
    csv = tmp_path / "jobs.csv.gz"
    head = "submit_s,gpus,duration_s\n"
    text = head + "".join("{submit_s},{gpus},{duration_s}\n".format(**row) for row in rows)
    csv.write_bytes(gzip.compress(text.encode()))
    lines = write(tmp_path, "jobs.jsonl", "\n".join(map(json.dumps, rows)))
    array = tmp_path / "jobs.json.gz"
    array.write_bytes(gzip.compress(json.dumps(rows).encode()))
    table = tmp_path / "jobs.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), table)

    tables = [read_trace(path).table for path in (csv, lines, array, table)]

    assert len(tables[0]) == 20_000
    assert tables[0]["gpus"][-1] == 20_000
    assert all(np.array_equal(tables[0], other) for other in tables[1:])


def test_rows_are_read_one_by_one(tmp_path: Path) -> None:
    path = write(tmp_path, "jobs.csv", GENERIC + "a,0,1,10,\n" + "b,1,1,ten,\n")
    counts = Counts()

    jobs = submissions(path, counts=counts)

    assert next(jobs).duration_s == 10
    assert counts.rows == 1


def test_all_missing_columns_are_named_at_once_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, "jobs.csv", "job,submit_sec,gpu,status\n1,2,3,ok\n")

    with pytest.raises(InputError) as error:
        read_trace(path)

    assert (
        "it lacks the columns submit_s (the nearest is submit_sec), gpus (the nearest is gpu), "
        "duration_s; it has job, submit_sec, gpu, status."
    ) in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,0,1,ten,", r"line 3, column duration_s: found ten; expected a number of 0 or more"),
        ("a,0,-4,10,", r"line 3, column gpus: found -4; expected a number of 0 or more"),
        ("a,0,inf,10,", r"line 3, column gpus: found inf"),
        ("a,,1,10,", r"line 3, column submit_s: found nothing; expected seconds, or a time"),
        ("a,2020-13-01,1,10,", r"line 3, column submit_s: found 2020-13-01"),
        ("a,0,1,10,complted", r"column status: found complted; .* the nearest is completed"),
        ("a,0,1", r"line 3: found 3 cells; expected 5, one for each column"),
    ],
)
def test_a_bad_row_says_file_line_column_and_what_is_expected(
    tmp_path: Path, row: str, message: str
) -> None:
    path = write(tmp_path, "jobs.csv", f"{GENERIC}z,0,1,10,\n{row}\n")

    with pytest.raises(InputError, match=message):
        read_trace(path)


def test_bad_rows_are_skipped_on_request_counted_and_told(tmp_path: Path) -> None:
    path = write(tmp_path, "jobs.csv", GENERIC + "a,0,1,ten,\nb,5,2,10,\n" + "c,x,1,1,\n" * 9)

    trace = read_trace(path, reading=Reading(skip_bad=True))

    assert trace.table["gpus"].tolist() == [2]
    assert (trace.counts.bad, len(trace.counts.problems)) == (10, 5)
    assert "line 2, column duration_s: found ten" in trace.counts.sentence


@pytest.mark.parametrize(
    ("choice", "gpus"),
    [("cut", [64, 8]), ("leave_out", [8])],
)
def test_a_job_larger_than_the_cluster_is_cut_or_left_out(
    tmp_path: Path, choice: str, gpus: list[int]
) -> None:
    path = write(tmp_path, "jobs.csv", GENERIC + "a,0,100,10,\nb,5,8,10,\n")
    reading = Reading(capacity_gpus=64, too_large=choice)  # type: ignore[arg-type]

    assert read_trace(path, reading=reading).table["gpus"].tolist() == gpus


def test_a_job_larger_than_the_cluster_is_refused_by_default(tmp_path: Path) -> None:
    path = write(tmp_path, "jobs.csv", GENERIC + "a,0,100,10,\n")

    with pytest.raises(InputError, match="line 2: the job wants 100 GPUs and the cluster has 64"):
        read_trace(path, reading=Reading(capacity_gpus=64))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.csv", None, "there is no such file"),
        ("empty.csv", b"", "the file is empty"),
        ("empty.json", b"[]", "found no object in it"),
        ("head.csv", GENERIC.encode(), "it holds no job to replay"),
        ("jobs.xlsx", b"PK", "its ending '.xlsx' is none of .csv"),
        ("latin.csv", GENERIC.encode() + b"\xe9,0,1,1,\n", "0xe9 that is not UTF-8"),
        (
            "cut.csv.gz",
            gzip.compress(GENERIC.encode() * 9, mtime=0)[:-20],
            "compressed file is damaged",
        ),
        ("not.parquet", b"no", "it is no parquet file"),
        (
            "cut.json",
            b'[{"submit_s": 1,\n "gpus": 1, "durat',
            "in the object that begins on line 1",
        ),
        ("list.json", b"[1, 2]", "found '1'; expected an object"),
        ("twice.csv", b"gpus,gpus\n1,1\n", "names gpus twice"),
        ("quote.csv", GENERIC.encode() + b'"a"b,0,1,1,\n', "line 2: ',' expected"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InputError, match=message):
        read_trace(path)


def test_an_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, "jobs.csv", GENERIC)

    with pytest.raises(InputError, match="no such format; did you mean 'philly'"):
        read_trace(path, "philli")


def test_a_format_may_be_said_where_two_fit(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "log.csv", SEREN), "helios")

    assert trace.table["gpus"].tolist() == [8, 128]


def test_an_empty_list_of_jobs_is_an_empty_table() -> None:
    assert len(to_table([])) == 0
    assert to_table([Submission(7.0, 1.0, 3.0)])["submit_s"].tolist() == [0]


EVENTS = [
    ("n2", 3.0, "fault_start", "GPU", "GPU Lost"),
    ("n1", 3.5, "fault_start", "Fan", "Speed Critical (Sensor)"),
    ("n2", 4.0, "fault_end", "GPU", "GPU Lost"),
    ("n2", 6.0, "fault_start", "Unknown Error", "Unknown Error"),
]


def events(rows: list[tuple[str, float, str, str, str]]) -> str:
    return json.dumps(
        [
            {
                "node_id": node,
                "event_time": day,
                "event_type": what,
                "fault_type": {"Level": "Hardware Failure", "Class": kind, "Desc": text},
            }
            for node, day, what, kind, text in rows
        ]
    )


def test_beginnings_and_ends_make_faults_in_order(tmp_path: Path) -> None:
    faults = read_faults(write(tmp_path, "fault_trace.json", events(EVENTS))).faults

    assert [(fault.node, fault.start_s, fault.end_s) for fault in faults] == [
        ("n2", 259200.0, 345600.0),
        ("n1", 302400.0, math.inf),
        ("n2", 518400.0, math.inf),
    ]
    assert [fault.fault for fault in faults] == [
        "gpu_fallen_off_bus",
        "cooling_degraded",
        "node_reboot",
    ]


def test_recorded_faults_become_a_scenarios_first_at_its_start(tmp_path: Path) -> None:
    text = (
        "node,start_s,end_s,level,class,desc\n"
        "n190,1019563,3359154,Hardware Failure,NIC,NIC Link Speed low\n"
        "n081,1145474,1262710,Hardware Failure,GPU,GPU xid Error\n"
    )
    faults = read_faults(write(tmp_path, "faults.csv", text)).faults

    specs = to_specs(faults, nodes=4)

    assert [(spec.target.node, spec.onset_s, spec.lasts_s) for spec in specs] == [
        (node_name(1, 4), 0.0, 2339591.0),
        (node_name(0, 4), 125911.0, 117236.0),
    ]
    assert specs[0].fault == "network_cable"


def test_faults_of_more_nodes_than_there_are_are_refused(tmp_path: Path) -> None:
    faults = read_faults(write(tmp_path, "fault_trace.json", events(EVENTS))).faults

    with pytest.raises(InputError, match="faults of 2 nodes on a cluster of 1"):
        to_specs(faults, nodes=1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("f.json", events(EVENTS[2:3]), "found fault_end; expected a fault_start of this node"),
        ("f.json", events([("n", 1.0, "broke", "GPU", "")]), "expected fault_start or fault_end"),
        ("f.json", '[{"node_id": "n"}]', "lacks the columns event_time, event_type, fault_type"),
        ("f.csv", "node,start_s,end\nn,1,2\n", r"lacks the columns end_s \(the nearest is end\)"),
        ("f.csv", "node,start_s,end_s\nn,5,2\n", "column end_s: found 2; expected 5 or later"),
        ("f.csv", "node,start_s,end_s\n", "it holds no fault"),
    ],
)
def test_a_bad_trace_of_faults_says_what_is_wrong(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_faults(write(tmp_path, name, text))


WIDE = (
    "Time,10.0.0.1,10.0.0.2\n"
    "2023-07-01 08:00:00+08:00,50.0,8.101\n"
    "2023-07-01 08:01:00+08:00,,7.5\n"
    "2023-07-01 08:03:00+08:00,25.0,7.25\n"
)


def test_a_wide_table_becomes_windows_with_its_gaps(tmp_path: Path) -> None:
    path = write(tmp_path, "NODE_MEMORY.csv", WIDE)

    (window,) = wide_windows(path, "node_memory_used_ratio", step_s=60.0, factor=0.01)

    assert [target.node for target in window.targets] == ["10.0.0.1", "10.0.0.2"]
    assert window.time_s.tolist() == [1688169600.0 + 60.0 * step for step in range(4)]
    np.testing.assert_allclose(
        window.value, [[0.5, np.nan, np.nan, 0.25], [0.08101, 0.075, np.nan, 0.0725]]
    )


def test_a_long_wide_table_comes_in_pieces(tmp_path: Path) -> None:
    text = "Time,a\n" + "".join(f"{60 * row},{row}\n" for row in range(1200))
    path = write(tmp_path, "GPU_TEMP.csv", text)

    windows = list(wide_windows(path, "gpu_temperature_celsius", step_s=60.0))

    assert [len(window.time_s) for window in windows] == [512, 512, 176]
    assert np.concatenate([window.value[0] for window in windows]).tolist() == list(range(1200))


@pytest.mark.parametrize(
    ("text", "metric", "message"),
    [
        (WIDE, "node_memory_usd_ratio", "did you mean 'node_memory_used_ratio'"),
        ("time,a\n1,2\n", "node_memory_used_ratio", r"lacks the columns Time \(the nearest is ti"),
        ("Time,a\n1,2\n1,3\n", "node_memory_used_ratio", "line 3, column Time: .* later time"),
        ("Time,a\n1,hot\n", "node_memory_used_ratio", "line 2, column a: found hot"),
    ],
)
def test_a_bad_wide_table_says_what_is_wrong(
    tmp_path: Path, text: str, metric: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        list(wide_windows(write(tmp_path, "wide.csv", text), metric, step_s=60.0))
