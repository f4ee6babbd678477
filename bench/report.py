"""A run as Markdown that reads as well on a terminal: the tables of docs/benchmark.md."""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import Document, Latency, PeerRound, Round, bars, middle, of_nginx

ROWS = ("nginx", "mixed", "low", "medium")


NOISE = 0.1
"""Cores. Where others had more, rates and latencies of a run say as much about them as about us."""


def render(document: Document) -> str:
    """All tables of a run, and a warning where it was disturbed."""
    parts = (
        _aims(document),
        _throughput(document),
        _open_loop(document),
        _variants(document),
        _swaps(document),
        _streams(document),
        _lists(document),
        _parts(document),
        _peers(document),
        _conditions(document),
        _disturbed(document),
    )
    return "\n\n".join(part for part in parts if part)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns line up."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def _aims(document: Document) -> str:
    head = ("Aim", "measured", "bar", "")
    rows = [
        (bar.name, f"{bar.value:.3g} {bar.unit}", f"{bar.bar:g} {bar.unit}", "met" if bar.met else "missed")
        for bar in bars(document)
    ]
    return table(head, rows)


def _throughput(document: Document) -> str:
    head = (
        "row", "calls/s", "of nginx", "p50 ms", "p99 ms", "CPU us", "x nginx", "projector us", "rest us",
        "core 0", "core 1", "others", "backlog", "drained s",
    )  # fmt: skip
    rounds = document.rounds
    return table(head, [_row(rounds, row) for row in ROWS])


def _row(rounds: Sequence[Round], row: str) -> tuple[str, ...]:
    one = middle(rounds, row)
    governed = one.row != "nginx"
    return (
        f"`{one.row}`",
        f"{one.rate:.0f}",
        f"{of_nginx(rounds, row, 'rate'):.3f}",
        f"{one.p50_ms:.2f}",
        f"{one.p99_ms:.2f}",
        f"{one.cpu_us:.0f}",
        f"{of_nginx(rounds, row, 'cpu_us'):.1f}",
        f"{one.projector_us:.0f}" if governed else "-",
        f"{one.rest_us:.0f}" if governed else "-",
        f"{one.measured_core:.2f}",
        f"{one.load_core:.2f}",
        f"{one.others:.2f}",
        f"{one.backlog}" if governed else "-",
        f"{one.drained_s:.1f}" if governed else "-",
    )


def _open_loop(document: Document) -> str:
    loop = document.open_loop
    added = Latency(
        p50=loop.airlock.p50 - loop.nginx.p50,
        p99=loop.airlock.p99 - loop.nginx.p99,
        most=loop.airlock.most - loop.nginx.most,
    )
    head = (f"{loop.rate:.0f} calls/s, {loop.calls} calls each", "p50 ms", "p99 ms", "most ms")
    named = (
        ("through nginx", loop.nginx),
        ("governed", loop.airlock),
        ("added", added),
        ("generator late", loop.late),
    )
    return table(head, [(name, *_latency(one)) for name, one in named])


def _variants(document: Document) -> str:
    if not document.variants:
        return ""
    usual = [one for one in document.rounds if one.row in {"nginx", "mixed"}]
    head = ("`mixed`", "calls/s", "of nginx", "p50 ms", "p99 ms", "CPU us", "x nginx")
    return table(
        head, [_variant(name, found) for name, found in {"as above": usual, **document.variants}.items()]
    )


def _variant(name: str, rounds: Sequence[Round]) -> tuple[str, ...]:
    one = middle(rounds, "mixed")
    return (
        name,
        f"{one.rate:.0f}",
        f"{of_nginx(rounds, 'mixed', 'rate'):.3f}",
        f"{one.p50_ms:.2f}",
        f"{one.p99_ms:.2f}",
        f"{one.cpu_us:.0f}",
        f"{of_nginx(rounds, 'mixed', 'cpu_us'):.1f}",
    )


def _swaps(document: Document) -> str:
    if (swaps := document.swaps) is None:
        return ""
    head = ("`mixed`", "calls/s", "p50 ms", "p99 ms", "CPU us")
    named = (("snapshots stay", swaps.quiet), (f"{swaps.per_second:.0f} blocks a second", swaps.swapped))
    return table(
        head,
        [
            (name, f"{one.rate:.0f}", f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", f"{one.cpu_us:.0f}")
            for name, one in named
        ],
    )


def _streams(document: Document) -> str:
    named = (("busy", document.streams), ("idle", document.idle))
    rows = [
        (
            f"{one.count} {name}",
            f"{one.kib_each:.0f} KiB",
            f"{one.opened_s:.1f} s",
            f"{one.revoked.most:.0f}",
            *_latency(one.cut),
            f"{one.cpu_ms:.0f}",
            f"{one.stalled_ms:.0f}",
            f"{one.left.files}, {one.left.tasks}, {one.left.processes}",
        )
        for name, one in named
        if one is not None
    ]
    head = (
        "open streams",
        "memory each",
        "opened in",
        "revoked most ms",
        "cut p50 ms",
        "cut p99 ms",
        "cut most ms",
        "CPU ms",
        "others waited ms",
        "left: files, tasks, processes",
    )
    return table(head, rows) if rows else ""


def _lists(document: Document) -> str:
    if (lists := document.lists) is None:
        return ""
    rows = [
        (
            one.what,
            one.who,
            f"{one.tools}",
            f"{one.pages}",
            f"{one.kib:.0f}",
            f"{one.first.p50:.2f}",
            f"{one.whole.p50:.2f}",
            f"{one.whole.p99:.2f}",
        )
        for one in lists.rows
    ]
    head = (
        f"`tools/list`, {lists.servers} servers", "caller", "tools", "pages", "KiB", "first page p50 ms",
        "whole p50 ms", "whole p99 ms",
    )  # fmt: skip
    added = (
        f"A dead and a hanging server beside the others: the list takes {lists.troubled:.3f} times as long."
    )
    return f"{table(head, rows)}\n\n{added}"


def _parts(document: Document) -> str:
    if not document.parts:
        return ""
    rows = [
        (
            one.name,
            f"{one.value:.4g} {one.unit}",
            f"{'>=' if one.least else '<='} {one.bar:g}" if one.bar else "-",
        )
        for one in document.parts
    ]
    return table(("part, alone", "measured", "budget"), rows)


def _peers(document: Document) -> str:
    if not document.peers:
        return ""
    head = ("program", "calls/s", "of nginx", "p50 ms", "p99 ms", "CPU us", "x nginx", "what it does")
    return table(head, [_ours(document), *(_peer(one) for one in document.peers)])


def _ours(document: Document) -> tuple[str, ...]:
    one, rounds = middle(document.rounds, "mixed"), document.rounds
    return (
        "Airlock, `mixed`",
        f"{one.rate:.0f}",
        f"{of_nginx(rounds, 'mixed', 'rate'):.4f}",
        f"{one.p50_ms:.2f}",
        f"{one.p99_ms:.2f}",
        f"{one.cpu_us:.0f}",
        f"{of_nginx(rounds, 'mixed', 'cpu_us'):.1f}",
        "token, policy, redaction both ways, a record flushed before the answer",
    )


def _peer(one: PeerRound) -> tuple[str, ...]:
    if one.failed:
        return (one.package, *("-",) * 6, f"no figure: {one.failed}")
    return (
        one.package,
        f"{one.rate:.0f}",
        f"{one.of_nginx:.4f}",
        f"{one.p50_ms:.2f}",
        f"{one.p99_ms:.2f}",
        f"{one.cpu_us:.0f}",
        f"{one.times_nginx:.0f}",
        one.does,
    )


def _conditions(document: Document) -> str:
    flushes = [
        (f"flush of the disk, {when}", "p50 {}, p99 {}, most {} ms".format(*_latency(one)))
        for when, one in (("before", document.flush_before), ("after", document.flush_after))
    ]
    return table(("", "of this run"), [*document.machine.items(), *document.settings.items(), *flushes])


def _disturbed(document: Document) -> str:
    most = max(middle(document.rounds, row).others for row in ROWS)
    if most <= NOISE:
        return ""
    return f"Disturbed: other programs had up to {most:.2f} cores. CPU times suffer least."


def _latency(one: Latency) -> tuple[str, str, str]:
    return f"{one.p50:.2f}", f"{one.p99:.2f}", f"{one.most:.2f}"
