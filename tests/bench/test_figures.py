"""What is reported follows from what was read."""

from __future__ import annotations

import msgspec
import pytest

from bench import figures, report, saturate
from bench.accounts import Reading
from bench.figures import (
    Document,
    Held,
    Latency,
    Listing,
    Lists,
    Load,
    OpenLoop,
    Part,
    PeerRound,
    Round,
    Streams,
    Swaps,
)

LOAD = Load(requests=1000, rate=500.0, p50_ms=1.0, p99_ms=2.0, backlog=7)


def reading(moment: float, **processes: float) -> Reading:
    usual = {"nginx": 0.0, "worker": 0.0, "projector": 0.0, "supervisor": 0.0, "runner": 0.0}
    return Reading(
        moment=moment,
        processes=usual | processes,
        generators=moment / 10,
        cores={0: moment * 0.9, 1: moment * 0.5},
        stolen=moment * 0.1,
    )


def governed(row: str = "mixed") -> Round:
    return figures.spent(
        row,
        LOAD,
        reading(0.0),
        reading(2.0, nginx=0.05, worker=1.0, projector=0.2, supervisor=0.01),
        reading(5.0, worker=1.1, projector=0.5),
        cores=(0, 1),
    )


def latency(value: float) -> Latency:
    return Latency(p50=value, p99=value * 2, most=value * 3)


def of(row: str, rate: float, cpu_us: float) -> Round:
    return Round(
        row=row,
        requests=1000,
        rate=rate,
        p50_ms=1.0,
        p99_ms=2.0,
        cpu_us=cpu_us,
        measured_core=1.0,
        load_core=0.5,
        others=0.0,
    )


def governed_rounds(rate: float, cpu_us: float) -> list[Round]:
    return [of(row, rate, cpu_us) for row in ("mixed", "low", "medium")]


def listing(what: str, value: float) -> Listing:
    return Listing(
        what=what, who="developer", tools=2000, pages=1, kib=1718.0, first=latency(1.0), whole=latency(value)
    )


def held_open(count: int, kib: float, ms: float) -> Streams:
    return Streams(
        count=count,
        kib_each=kib,
        opened_s=2.5,
        revoked=latency(50.0),
        cut=latency(ms),
        cpu_ms=90.0,
        stalled_ms=7.0,
        left=Held(files=0, tasks=0, processes=0),
    )


def document(*, rate: float = 100.0) -> Document:
    rounds = [
        one
        for slower in (1.0, 2.0, 10.0)
        for one in (
            of("nginx", 1000.0 / slower, 50.0 * slower),
            *governed_rounds(rate / slower, 500.0 * slower),
        )
    ]
    loop = OpenLoop(rate=50.0, nginx=latency(0.25), airlock=latency(2.0), late=latency(0.01), calls=100)
    return Document(
        machine={"processor": "one"},
        settings={"load": "some"},
        rounds=rounds,
        open_loop=loop,
        variants={"flush+5ms": rounds[:2]},
        swaps=Swaps(per_second=19.0, quiet=rounds[1], swapped=rounds[5]),
        streams=held_open(1000, 40.0, 300.0),
        idle=held_open(9000, 20.0, 200.0),
        lists=Lists(servers=50, rows=[listing("all answer", 4.0), listing("pages", 30.0)], troubled=1.02),
        parts=[Part(name="scan", value=33.0, unit="us", bar=100.0)],
        peers=[
            PeerRound(name="one", package="one==1", does="less", rate=10.0, times_nginx=99.0),
            PeerRound(name="two", package="two==2", does="less", failed="it did not start"),
        ],
        flush_before=latency(0.1),
        flush_after=latency(0.2),
    )


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)])
def test_a_percentile_is_a_value_that_was_seen(percent: float, value: float) -> None:
    assert figures.percentile(range(1, 101), percent) == value


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        figures.percentile([], 50)


def test_time_of_the_worker_counts_until_the_load_ends_and_that_of_the_projector_until_it_is_done() -> None:
    one = governed()
    assert one.cpu_us == pytest.approx(1000)
    assert one.projector_us == pytest.approx(500)
    assert one.rest_us == pytest.approx(10)
    assert one.drained_s == pytest.approx(3)


def test_a_round_of_nginx_is_charged_for_nginx_only() -> None:
    one = governed("nginx")
    assert one.cpu_us == pytest.approx(50)
    assert (one.projector_us, one.rest_us) == (0, 0)


def test_others_have_what_the_cores_did_and_we_did_not_use() -> None:
    assert governed().others == pytest.approx(0.9 + 0.5 + 0.1 - (1.26 + 0.2) / 2)


def test_rounds_of_one_kind_are_told_by_their_median() -> None:
    middle = figures.middle(document().rounds, "nginx")
    assert (middle.rate, middle.requests) == (500.0, 3000)


def test_each_bar_is_held_against_nginx_of_the_same_run() -> None:
    assert [(bar.value, bar.met) for bar in figures.bars(document())] == [
        (0.1, False),
        (10.0, False),
        (1.75, False),
        (3.5, True),
        (4.0, True),
    ]
    assert figures.bars(document(rate=150.0))[0].met


def test_the_report_has_every_row_and_what_was_missed() -> None:
    text = report.render(document())
    assert [row for row in report.ROWS if f"| `{row}`" not in text] == []
    assert text.count("missed") == 3
    assert "| flush+5ms " in text


def test_the_report_has_swaps_streams_parts_and_peers() -> None:
    lines = report.render(document()).splitlines()
    found = {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}
    assert "0.00" not in found["19 blocks a second"]
    assert "300.00" in found["1000 busy"]
    assert "200.00" in found["9000 idle"]
    assert "4.00" in found["all answer"] and "30.00" in found["pages"]
    assert "33 us" in found["scan"]
    assert "99" in found["one==1"]
    assert "it did not start" in found["two==2"]


def test_what_was_not_measured_has_no_table() -> None:
    bare = msgspec.structs.replace(
        document(), swaps=None, streams=None, idle=None, lists=None, parts=[], peers=[], variants={}
    )
    text = report.render(bare)
    assert not any(
        word in text for word in ("blocks a second", "open streams", "tools/list", "part, alone", "program")
    )


def test_a_run_that_others_disturbed_says_so() -> None:
    quiet = document()
    loud = [msgspec.structs.replace(one, others=0.5) for one in quiet.rounds]
    assert "Disturbed" not in report.render(quiet)
    assert "up to 0.50 cores" in report.render(msgspec.structs.replace(quiet, rounds=loud))


def test_lines_of_a_table_are_of_one_length() -> None:
    lines = report.table(("a", "long head"), [("long cell", "b"), ("c", "d")]).splitlines()
    assert len({len(line) for line in lines}) == 1


WRK = """Running 4s test @ http://127.0.0.1:1/mcp
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.50ms    1.20ms  50.00ms   99.00%
  Latency Distribution
     50%  650.00us
     75%    1.00ms
     90%    1.50ms
     99%    1.90s
  4321 requests in 4.00s, 1.00MB read
Requests/sec:   1080.25
"""


def test_what_wrk_printed_is_read() -> None:
    load = saturate.parse(WRK)
    assert (load.requests, load.rate, load.p50_ms, load.p99_ms) == (4321, 1080.25, 0.65, 1900.0)


def test_a_round_without_an_answer_is_none() -> None:
    with pytest.raises(ValueError, match="no call was answered"):
        saturate.parse(WRK.replace("4321", "0"))


@pytest.mark.parametrize("lost", ["Requests/sec", "requests in", "99%  "])
def test_what_wrk_did_not_print_is_not_made_up(lost: str) -> None:
    with pytest.raises(ValueError, match=r"expected|percentiles"):
        saturate.parse("".join(line for line in WRK.splitlines(True) if lost not in line))
