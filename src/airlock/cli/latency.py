"""`airlock status --latency`: how long messages take now, and which stage of their way takes it."""

from __future__ import annotations

from typing import Any

from airlock.cli import insight

TOO_SLOW_MS = 200.0
"""p95 of a message from which on it is too slow: the threshold of the shipped alert."""

WHOLE = "request"
"""The stage that all others are part of."""

SHORTEST = ("1m", "5m", "1h")
"""The first of them in which there was a message is the one that is judged."""

Stages = dict[str, dict[str, dict[str, float]]]


def judge(found: dict[str, Any]) -> dict[str, Any]:
    """The answer of the gateway with a verdict: `healthy` is None where there was no message at all."""
    stages: Stages = found["stages"]
    window = next((name for name in SHORTEST if stages and stages[WHOLE][name]["count"]), "")
    p95 = stages[WHOLE][window]["p95_ms"] if window else 0.0
    slowest = max(
        (stage for stage in stages if window and stage != WHOLE and stages[stage][window]["count"]),
        key=lambda stage: stages[stage][window]["p95_ms"],
        default="",
    )
    healthy = (p95 <= TOO_SLOW_MS) if window else None
    return {
        **found,
        "healthy": healthy if insight.whole(found) else False,
        "window": window,
        "p95_ms": p95,
        "slowest_stage": slowest,
    }


def exit_code(judged: dict[str, Any]) -> int:
    """0: fast enough; 1: not, or not every worker answered; 3: there was no message to tell by."""
    return insight.UNKNOWN if judged["healthy"] is None else 0 if judged["healthy"] else insight.BAD


def lines(judged: dict[str, Any]) -> list[str]:
    """For people: the verdict, then every stage."""
    told = [f"{_verdict(judged)}; {insight.acked(judged)}"]
    for stage, windows in judged["stages"].items():
        told += [f"{stage:<10} {window:>3}: {_took(took)}" for window, took in windows.items()]
    return told


def _verdict(judged: dict[str, Any]) -> str:
    if not judged["window"]:
        return "no message in the last hour"
    word = "fast enough" if judged["p95_ms"] <= TOO_SLOW_MS else "TOO SLOW"
    stage = f", most of it in {judged['slowest_stage']}" if judged["slowest_stage"] else ""
    return f"{word}: p95 {judged['p95_ms']} ms in the last {judged['window']}{stage}"


def _took(took: dict[str, float]) -> str:
    if not took["count"]:
        return "nothing"
    return f"{took['count']} times, p50 {took['p50_ms']} ms, p95 {took['p95_ms']} ms, p99 {took['p99_ms']} ms"
