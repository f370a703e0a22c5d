"""Logs in all documented forms, with invented numbers, read back; damaged ones refused."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from damage import CHANGE, mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amc_hw.devices.android.benchmark_log import BenchmarkLog, BenchmarkLogError, OperatorTime, parse_log
from amc_hw.devices.android.benchmark_statistics import number, positive, whole
from amc_hw.errors import DeviceError

pytest.importorskip("ai_edge_litert")
from ai_edge_litert.profiling_info_pb2 import BenchmarkProfilingData

# type, name, microseconds of one call, calls
OPERATORS = [
    ("CONV_2D", "[net/stem/Relu6]:0", 5250, 1),
    ("DEPTHWISE_CONV_2D", "[net/block/depthwise/Relu6]:1", 2571, 1),
    ("Convolution (NHWC, F32) IGEMM", "Delegate/Convolution (NHWC, F32) IGEMM:0", 101, 2),
    ("MEAN", "[net/pool, net/pool_1]:4", 36, 1),
]
LOADING = [("ModifyGraphWithDelegate", "ModifyGraphWithDelegate/0", 14842, 1)]
LINE = "=" * 30


def table(runs: int, operators: list = OPERATORS, *, start: bool = False, csv: bool = False, at: str = "") -> str:
    """The op profile of a set of runs: `Run Order`, `Top by Computation Time`, types, totals."""
    titles = ["node type", "start", "first", "avg_ms", "%", "cdf%", "mem KB", "times called", "name"]
    if not start:
        titles.remove("start")
    tabbed = [f"[{title.replace('_', ' ').replace('name', 'Name')}]" for title in titles]
    header = ", ".join(titles) if csv else "".join(f"\t{title:>9}" for title in tabbed)
    total = sum(us * calls for *_, us, calls in operators)
    rows, before = [], 0
    for kind, name, us, calls in operators:
        share, cumulated = (100 * time / total for time in (us * calls, before + us * calls))
        times = [f"{before / 1000:.3f}"] * start + [f"{us * 1.1 / 1000:.3f}", f"{us / 1000:.3f}"]
        fields = [kind, *times, f"{share:.3f}%", f"{cumulated:.3f}%", "0.000", str(calls)]
        commas = ", ".join([*fields, name.replace(",", "\t")])
        rows.append(commas if csv else "".join(f"\t{field:>9}" for field in fields) + f"\t{name}")
        before += us * calls
    lines = [f"{at}{LINE} Run Order {LINE}", header, *rows, ""]
    lines += [f"{LINE} Top by Computation Time {LINE}", header, *rows[:2], ""]
    lines += [f"Number of nodes executed: {len(rows)}", f"{LINE} Summary by node type {LINE}"]
    lines += ["\t[Node type]\t[count]\t[avg ms]\t[avg %]\t[cdf %]\t[mem KB]\t[times called]", ""]
    statistics = f"first={total + 9} curr={total} min={total} max={total + 90} avg={total} std=20"
    lines += [f"Timings (microseconds): count={runs} {statistics}", "Memory (bytes): count=0"]
    return "\n".join([*lines, f"{len(rows)} nodes observed", "", ""])


APPLIED = "Explicitly applied XNNPACK delegate, and the model graph will be completely"
WARMUP = "count=100 first=9100 curr=8080 min=8060 max=9100 avg=8090.4 std=104"
REGULAR = "count=200 first=8070 curr=8066 min=8055 max=8310 avg=8080.25 std=21"


def log_2018() -> str:
    at = "native : benchmark_tflite_model.cc:"
    return (
        f"{at}480 STARTING!\n{at}526 Num runs: [200]\n{at}531 Warmup runs: [100]\n{at}532 Use nnapi : [0]\n"
        f"{at}560 Initialized session in 0.026466s\n"
        f"{at}412 Running benchmark for 100 iterations with detailed stat logging:\n{at}440 {WARMUP}\n\n"
        f"{at}412 Running benchmark for 200 iterations with detailed stat logging:\n{at}440 {REGULAR}\n\n"
        f"{at}590 Average inference timings in us: Warmup: 8090.4, no stats: 8080\n"
        f"native : stat_summarizer.cc:358 Number of nodes executed: {len(OPERATORS)}\n"
    ) + table(300, start=True, at=f"{at}108 ")


def log_2019() -> str:
    return (
        "STARTING!\nMin num runs: [200]\nEnable op profiling: [1]\nInitialized session in 38.467ms\n"
        f"Running benchmark for at least 100 iterations and at least 0.5 seconds\n{WARMUP}\n\n"
        f"Running benchmark for at least 200 iterations and at least 1 seconds\n{REGULAR}\n\n"
        + table(200, start=True)
        + "Average inference timings in us: Warmup: 8090.4, Init: 38467, no stats: 8080.25\n"
    )


def log_today(profiled: bool = True, file: str = "") -> str:
    until = "but terminate if exceeding 3600 seconds."
    return (
        "INFO: STARTING!\nINFO: Log parameter values verbosely: [0]\nINFO: Min num runs: [200]\n"
        f"{'INFO: Enable op profiling: [1]' if profiled else ''}\n"
        f"{f'INFO: Op profiling output file.: [{file}]' if file else ''}\n"
        "INFO: Graph: [/data/local/tmp/net.tflite]\nINFO: Use xnnpack: [1]\n"
        f"INFO: {APPLIED} executed by the delegate.\nINFO: Initialized session in 16.599ms.\n"
        f"INFO: Running benchmark for at least 100 iterations and at least 0 seconds {until}\n"
        f"INFO: {WARMUP} p5=8062 median=8079 p95=8101\n\n"
        f"INFO: Running benchmark for at least 200 iterations and at least 0 seconds {until}\n"
        f"INFO: {REGULAR} p5=8057 median=8066 p95=8102\n\n"
        "INFO: Inference timings in us: Init: 16599, First inference: 9100, Warmup (avg): 8090.4, "
        "Inference (avg): 8080.25\n"
    ) + (profile_text() if profiled and not file else "")


def profile_text(csv: bool = False) -> str:
    at = "" if csv else "INFO: "
    return (
        f"{at}Profiling Info for Benchmark Initialization:\n{table(1, LOADING, csv=csv)}"
        f"{at}Operator-wise Profiling Info for Regular Benchmark Runs:\n{table(200, csv=csv)}"
    )


def profile_proto() -> bytes:
    message = BenchmarkProfilingData(model_name="net")
    graph = message.runtime_profile.subgraph_profiles.add()
    for order, (kind, name, us, calls) in enumerate(OPERATORS):
        op = graph.per_op_profiles.add(node_type=kind, name=name, times_called=calls, run_order=order)
        times = op.inference_microseconds
        times.count, times.sum, times.avg = 200 * calls, 200 * calls * us, us
        times.min, times.max = us - 1, us + 1
    return message.SerializeToString()


FILE = "/data/local/tmp/profile"
SAMPLES: dict[str, tuple[str, str | bytes | None]] = {
    "2018": (log_2018(), None),
    "2019": (log_2019(), None),
    "today": (log_today(), None),
    "csv": (log_today(file=FILE), profile_text(csv=True)),
    "proto": (log_today(file=FILE), profile_proto()),
}
EXPECTED = [
    ("CONV_2D", "[net/stem/Relu6]:0", 5250.0, 1),
    ("DEPTHWISE_CONV_2D", "[net/block/depthwise/Relu6]:1", 2571.0, 1),
    ("Convolution (NHWC, F32) IGEMM", "Delegate/Convolution (NHWC, F32) IGEMM:0", 202.0, 2),
    ("MEAN", "[net/pool, net/pool_1]:4", 36.0, 1),
]


@pytest.mark.parametrize("form", SAMPLES)
def test_every_form_is_read(form: str) -> None:
    stdout, profile = SAMPLES[form]
    log = parse_log(stdout, profile=profile, warmup_runs=100, runs=200)
    assert log.warmup is not None
    assert (log.warmup.count, log.warmup.first_us, log.warmup.avg_us) == (100, 9100, 8090.4)
    assert (log.regular.count, log.regular.min_us, log.regular.max_us, log.regular.std_us) == (
        200,
        8055,
        8310,
        21,
    )
    assert log.inference_avg_us == (8080 if form == "2018" else 8080.25)
    assert log.warmup_avg_us == 8090.4
    assert log.init_us == {"2018": 26466, "2019": 38467}.get(form, 16599)
    assert [(op.type, op.name, op.avg_us, op.times_called) for op in log.operators] == EXPECTED
    assert log.operators[1].start_us == (5250 if form in ("2018", "2019") else None)
    recent = form not in ("2018", "2019")
    assert log.first_inference_us == (9100 if recent else None)
    assert log.regular.median_us == (8066 if recent else None)
    assert log.delegate == ("XNNPACK" if recent else None)
    assert log.problems == ()


def edited(old: str, new: str, base: str | None = None) -> str:
    text = log_today() if base is None else base
    assert old in text
    return text.replace(old, new)


def test_short_statistics() -> None:
    text = edited(f"{WARMUP} p5=8062 median=8079 p95=8101", "count=0 p5=0 median=0 p95=0")
    text = edited("at least 100", "at least 0", text)
    text = edited("First inference: 9100, Warmup (avg): 8090.4", "First inference: 0, Warmup (avg): 0", text)
    log = parse_log(text)
    assert log.warmup is log.warmup_avg_us is log.first_inference_us is None
    same = edited(f"{REGULAR} p5=8057 median=8066 p95=8102", "count=200 curr=8080(all same)")
    regular = parse_log(same).regular
    assert (regular.count, regular.min_us, regular.avg_us, regular.std_us) == (200, 8080, 8080, 0)


def test_long_times_are_printed_with_six_digits() -> None:
    long = "count=200 first=2950341 curr=2950342 min=2950341 max=2950342 avg=2.95034e+06 std=0"
    text = edited(f"{REGULAR} p5=8057 median=8066 p95=8102", long, log_today(profiled=False))
    assert parse_log(edited("(avg): 8080.25", "(avg): 2.95034e+06", text)).inference_avg_us == 2950340


def test_operators_that_miss_runs() -> None:
    """`times called` is cut to 0 both for an operator that missed one run and for one that ran only once."""
    missed = parse_log(edited("0.000\t        1\t[net/stem", "0.000\t        0\t[net/stem"))
    assert missed.operators[0].times_called == 1
    line = "\tAllocateTensors\t0.291\t0.291\t0.000%\t100.000%\t452.000\t0\tAllocateTensors/0\n"
    once = re.sub(r"(.*net/pool_1\]:4\n)(?=\n=+ Top)", lambda m: m[1] + line, log_today())
    log = parse_log(once.replace("4 nodes observed", "5 nodes observed"))
    assert len(log.operators) == 4
    assert "AllocateTensors/0 is left out" in log.problems[0]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            "INFO: STARTING!",
            "WARN: Unconsumed cmdline flags: --use_cpu=true",
            "does not know the flags '--use_cpu",
        ),
        (
            "INFO: Graph",
            "ERROR: Failed to load model /x\nERROR: Benchmarking failed.\n",
            "failed: 'ERROR: Failed to l",
        ),
        ("INFO: Explicitly applied XNNPACK", "INFO: Created", "does not say that XNNPACK was applied"),
        ("INFO: Use xnnpack", "INFO: Use gpu", "does not say that GPU was applied"),
        ("INFO: Graph", "WARN: GPU acceleration is unsupported on this platform.\n", "ran without GPU"),
        (
            APPLIED,
            "Though XNNPACK delegate is explicitly applied, the model graph will not be",
            "ran without XNN",
        ),
        ("count=200 first", "count=199 first", "only 199 of 200 regular runs"),
        ("count=100 first", "count=99 first", "only 99 of 100 warm-up runs"),
        ("max=8310", "max=8060", "outside of"),
        ("avg=8080.25", "avg=8311", "outside of"),
        ("avg=8080.25", "avg=nan", "'nan' is not a time"),
        ("min=8055", "min=-1", "'-1' is not a time"),
        ("min=8055", "min=0", "a zero that cannot be"),
        ("median=8066", "median=8056", "out of order"),
        ("Inference (avg): 8080.25", "Inference (avg): 9080.25", "other than the 8080.25 us"),
        ("Inference (avg): 8080.25", "", "no single warm-up and inference time"),
        ("INFO: Inference timings in us", "INFO: ", "0 lines 'Inference timings in us'"),
        ("INFO: count=200", "INFO: cou", "1 statistics lines where there are two"),
        ("    5.250\t", "    6.250\t", "add up to 9059 us"),
        ("    5.250\t", "   -5.250\t", "'-5.250' is not a time"),
        ("[avg ms]", "[avg us]", "column titles"),
        ("Operator-wise Profiling Info for Regular", "Operator", "must tell the tables apart"),
        ("4 nodes observed", "", "end \\('Timings', 'nodes observed'\\) is missing"),
        ("count=200 first=8068", "count=201 first=8068", "the op profile is of 201 runs"),
        ("0.000\t        2\t", "0.000\t        2", "6 columns of 8|7 columns of 8"),
    ],
)
def test_what_cannot_be_is_refused(old: str, new: str, reason: str) -> None:
    with pytest.raises(BenchmarkLogError, match=reason) as error:
        parse_log(edited(old, new))
    assert isinstance(error.value, DeviceError)


def test_a_part_on_the_cpu_is_refused_for_delegates_other_than_xnnpack() -> None:
    partly = edited("completely executed by the delegate", "partially executed by the delegate w/ 2 kernels")
    assert parse_log(partly).problems == ("a part of the network ran without XNNPACK",)
    text = edited("XNNPACK", "GPU").replace("xnnpack", "gpu")
    assert parse_log(text).delegate == "GPU"
    with pytest.raises(BenchmarkLogError, match="a part of the network ran on the CPU instead of GPU"):
        parse_log(edited("completely", "partially", text))


def test_more_runs_expected_than_the_log_asked_for() -> None:
    with pytest.raises(BenchmarkLogError, match="only 200 of 300 regular runs"):
        parse_log(log_today(), runs=300)


def test_two_logs_in_one_and_a_missing_profile() -> None:
    with pytest.raises(BenchmarkLogError, match="4 statistics lines"):
        parse_log(log_today() + log_today())
    with pytest.raises(BenchmarkLogError, match="title line 'Run Order' is missing"):
        parse_log(log_2018()[: log_2018().index("executed: 4") + 11])
    assert "which was not given" in parse_log(log_today(file=FILE)).problems[0]
    with pytest.raises(BenchmarkLogError, match="their table is missing"):
        parse_log(log_today(file=FILE), profile="")
    faster = re.sub(r"\b8(0[0-9]{2})\b", r"4\1", log_today(file=FILE))
    with pytest.raises(BenchmarkLogError, match="give log and profile of one benchmark"):
        parse_log(faster, profile=profile_text(csv=True))
    with pytest.raises(BenchmarkLogError, match="holds no regular runs"):
        parse_log(log_today(), profile=b"")


@pytest.mark.parametrize("form", SAMPLES)
def test_every_truncation_is_refused_or_leaves_the_values(form: str) -> None:
    stdout, profile = SAMPLES[form]
    for end in range(0, len(stdout), 7):
        assert_right_or_refused(stdout[:end], profile)


def assert_right_or_refused(stdout: str, profile: str | bytes | None) -> None:
    try:
        log = parse_log(stdout, profile=profile)
    except BenchmarkLogError:
        return
    assert_values_stand_in(log, stdout, profile)


def assert_values_stand_in(log: BenchmarkLog, stdout: str, profile: str | bytes | None) -> None:
    for phase in (log.warmup, log.regular):
        if phase and phase.min_us != phase.max_us:
            values = f"first={phase.first_us} curr={phase.curr_us} min={phase.min_us} max={phase.max_us}"
            found = re.search(rf"count=0*{phase.count} {values} avg=(\S+) std=(\S+)", canonical(stdout))
            assert found
            assert (float(found[1]), float(found[2])) == (phase.avg_us, phase.std_us)
    assert f"{log.inference_avg_us:g}" in stdout or str(log.inference_avg_us) in stdout
    assert log.inference_avg_us > 0
    where = profile.replace("\t", ",") if isinstance(profile, str) else stdout
    for op in log.operators:
        if not isinstance(profile, bytes):
            assert any(stands_in(op, line) for line in where.split("\n"))
        else:
            assert op.avg_us >= 0


def canonical(text: str) -> str:
    """The text without leading zeros, which a mutation can make."""
    return re.sub(r"=0+(?=\d)", "=", text)


def stands_in(op: OperatorTime, line: str) -> bool:
    numbers = [float(text) for text in re.findall(r"(?<=[\t ])\d+\.?\d*(?:e-?\d+)?(?=[\t,])", line)]
    times = [round(1000 * value * op.times_called, 6) for value in numbers]
    return op.type in line and op.name in line and op.avg_us in times


TARGETS = [(form, False) for form in ("2018", "2019", "today", "csv")] + [("csv", True), ("proto", True)]


@settings(max_examples=10_200 // len(TARGETS), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CHANGE, min_size=1, max_size=3))
def test_ten_thousand_damaged_logs(changes: list[tuple[str, float, int, str]]) -> None:
    """Each list of changes damages the stdout of four forms and two profile files: 10,200 inputs."""
    for form, in_profile in TARGETS:
        stdout, profile = SAMPLES[form]
        target = profile if in_profile else stdout
        content = target if isinstance(target, bytes) else str(target).encode()
        for change in changes:
            content = mutated(content, *change)
        if not in_profile:
            assert_right_or_refused(content.decode(errors="replace"), profile)
        else:
            assert_right_or_refused(stdout, content if form == "proto" else content.decode(errors="replace"))


@pytest.mark.parametrize("read", [number, positive, whole])
def test_what_is_no_number_is_told_in_one_line(read: Callable[[str, str], float]) -> None:
    with pytest.raises(BenchmarkLogError) as told:
        read("0.\r000", "Mean (ND)\t0.\r000")
    assert len(str(told.value).splitlines()) == 1
