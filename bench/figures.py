"""What is reported, and how it follows from what was read. No I/O."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

from bench.accounts import Reading


class Latency(msgspec.Struct, frozen=True):
    """Percentiles in milliseconds."""

    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Latency:
        """Of all values. Raises `ValueError` for none."""
        values = sorted(milliseconds)
        return cls(p50=percentile(values, 50), p99=percentile(values, 99), most=values[-1])


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator saw in a round."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    backlog: int = 0
    """Entries not yet projected at its end."""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One program under all the load that it takes."""

    row: str
    """`nginx`, `mixed`, `low` or `medium`."""
    requests: int
    rate: float
    """A second."""
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """CPU time of the proxy's worker process per request."""
    projector_us: float = 0.0
    """CPU time of the projector per request, until it has done all of them."""
    rest_us: float = 0.0
    """CPU time of supervisor and runner per request."""
    measured_core: float
    """Share of the time in which the core of the proxy was busy."""
    load_core: float
    """The same of the core of generator, MCP server and projector."""
    others: float
    """Cores that other programs of this machine, and other machines of this host, had meanwhile."""
    backlog: int = 0
    """Entries not yet projected when the load ended."""
    drained_s: float = 0.0
    """Seconds until none was left."""


class OpenLoop(msgspec.Struct, frozen=True, kw_only=True):
    """Latency at a fixed rate, from the moment that each call was due."""

    rate: float
    nginx: Latency
    airlock: Latency
    late: Latency
    """How late the generator itself was."""
    calls: int
    """To each of the two."""


class PeerRound(msgspec.Struct, frozen=True, kw_only=True):
    """Another proxy under all the load that it takes, beside a round of nginx just before it."""

    name: str
    package: str
    does: str
    rate: float = 0.0
    of_nginx: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_us: float = 0.0
    """CPU time of all its processes per call."""
    times_nginx: float = 0.0
    core: float = 0.0
    """Share of its core that it had."""
    failed: str = ""
    """Why there is no figure."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway holds."""

    files: int
    """Open files, sockets and pipes of the worker."""
    tasks: int
    """Of the event loop of the worker."""
    processes: int
    """All of them."""


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """Many answers that are under way at once, each a stream of its own."""

    count: int
    kib_each: float
    """Private memory of the worker for each."""
    opened_s: float
    revoked: Latency
    """From the order to revoke one token to the last byte of a stream that it opened."""
    cut: Latency
    """From the order to isolate their tenant to the last byte of each of the others."""
    cpu_ms: float
    """What the worker had of its core from that order to the last byte of all."""
    stalled_ms: float
    """The longest that the worker kept somebody else waiting meanwhile."""
    left: Held
    """What was held afterwards and was not before."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """`tools/list` for one caller, all pages of it, over a connection that is open."""

    what: str
    who: str
    tools: int
    pages: int
    kib: float
    """Of all its answers."""
    first: Latency
    """Until the first page was read."""
    whole: Latency


class Lists(msgspec.Struct, frozen=True, kw_only=True):
    """Lists over many servers."""

    servers: int
    rows: list[Listing]
    troubled: float
    """How many times as long the whole list takes where a dead and a hanging server are beside the others:
    the median over neighbours in time."""


class Swaps(msgspec.Struct, frozen=True, kw_only=True):
    """The mix while snapshots are replaced, and while they are not."""

    per_second: float
    """Blocks given."""
    quiet: Round
    swapped: Round


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the way, alone."""

    name: str
    value: float
    unit: str
    bar: float = 0.0
    """0: there is none."""
    least: bool = False
    """The bar is the least value, not the most."""


class Bar(msgspec.Struct, frozen=True):
    """One aim and what came out."""

    name: str
    value: float
    bar: float
    unit: str
    met: bool


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of a run."""

    machine: dict[str, str]
    settings: dict[str, str]
    rounds: list[Round]
    open_loop: OpenLoop
    variants: dict[str, list[Round]]
    """A round of nginx and one of the mix, by what was different."""
    swaps: Swaps | None
    streams: Streams | None
    idle: Streams | None
    lists: Lists | None
    parts: list[Part]
    peers: list[PeerRound]
    flush_before: Latency
    flush_after: Latency


def percentile(ordered: Sequence[float], percent: float) -> float:
    """By nearest rank: the smallest value that at least `percent` of all do not exceed."""
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def spent(
    row: str, load: Load, before: Reading, after: Reading, drained: Reading, *, cores: Sequence[int]
) -> Round:
    """The round between two readings; `drained`: the reading once the projector had done everything.

    `cores`: the number of the proxy's core, and that of the load.
    """
    wall = after.moment - before.moment
    used = {name: after.processes[name] - before.processes[name] for name in after.processes}
    measured, loaded = ((after.cores[core] - before.cores[core]) / wall for core in cores)
    ours = sum(used.values()) + after.generators - before.generators
    stolen = (after.stolen - before.stolen) / wall
    each = 1e6 / load.requests
    governed = 0.0 if row == "nginx" else each
    return Round(
        row=row,
        requests=load.requests,
        rate=load.rate,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        cpu_us=used["nginx" if row == "nginx" else "worker"] * each,
        projector_us=(drained.processes["projector"] - before.processes["projector"]) * governed,
        rest_us=(used["supervisor"] + used["runner"]) * governed,
        measured_core=measured,
        load_core=loaded,
        others=max(0.0, measured + loaded + stolen - ours / wall),
        backlog=load.backlog,
        drained_s=drained.moment - after.moment if load.backlog else 0.0,
    )


def middle(rounds: Sequence[Round], row: str) -> Round:
    """A row of medians over the rounds of one kind. Raises `StatisticsError` where there are none."""
    mine = [msgspec.structs.asdict(one) for one in rounds if one.row == row]
    names = [field for field in Round.__struct_fields__ if field not in {"row", "requests", "backlog"}]
    values = {name: statistics.median(one[name] for one in mine) for name in names}
    requests = sum(one["requests"] for one in mine)
    return Round(row=row, requests=requests, backlog=max(one["backlog"] for one in mine), **values)


def of_nginx(rounds: Sequence[Round], row: str, figure: str) -> float:
    """The median of a figure's ratios to the round of nginx before it: what drifts meanwhile falls out."""
    pairs: list[tuple[Round, Round]] = []
    nginx: Round | None = None
    for one in rounds:
        nginx = one if one.row == "nginx" else nginx
        if one.row == row and nginx is not None:
            pairs.append((one, nginx))
    found = [
        (msgspec.structs.asdict(one)[figure], msgspec.structs.asdict(base)[figure]) for one, base in pairs
    ]
    return statistics.median(value / base for value, base in found)


def bars(document: Document) -> list[Bar]:
    """What is aimed at, and whether it was met: of the mixed row, against nginx in the same run."""
    rounds, loop = document.rounds, document.open_loop
    found = (
        ("CPU time per call, of nginx's per request", of_nginx(rounds, "mixed", "cpu_us"), 8.0, "x"),
        ("Latency added at half of the peak, p50", loop.airlock.p50 - loop.nginx.p50, 1.0, "ms"),
        ("Latency added at half of the peak, p99", loop.airlock.p99 - loop.nginx.p99, 10.0, "ms"),
    )
    if document.lists is not None:
        whole = document.lists.rows[0]
        name = f"`tools/list` of {whole.tools} tools at {document.lists.servers} servers, p50"
        found = (*found, (name, whole.whole.p50, 10.0, "ms"))
    share = of_nginx(rounds, "mixed", "rate")
    return [
        Bar("Throughput on one core, of nginx's", share, 0.15, "x", share >= 0.15),
        *(Bar(name, value, bar, unit, value <= bar) for name, value, bar, unit in found),
    ]
