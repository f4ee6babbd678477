"""`airlock status --revisions`: which configuration and policy is wanted, and which each worker runs."""

from __future__ import annotations

from typing import Any

from airlock.cli import insight
from airlock.cli.policy_changes import went_back


def judge(found: dict[str, Any]) -> dict[str, Any]:
    """What `/admin/status` says of revisions, with a verdict."""
    policy, configuration = found["policy"]["desired_sha256"], found["configuration"]["desired_sha256"]
    workers = [
        {
            "slot": worker["slot"],
            "silent": worker["silent"],
            "policy": worker["active_sha256"],
            "configuration": worker["configuration_digest"],
            "in_force": not worker["silent"]
            and (worker["active_sha256"], worker["configuration_digest"]) == (policy, configuration),
        }
        for worker in found["workers"]
    ]
    acked = sum(worker["in_force"] for worker in workers)
    refused = found["policy"]["last_error"]
    return {
        "version": found["version"],
        "policy": policy,
        "rolled_back": found["policy"]["rolled_back"],
        "configuration": configuration,
        "workers": workers,
        "replicas_acked": acked,
        "replicas_total": len(workers),
        "last_error": refused,
        "in_force": 0 < acked == len(workers) and refused is None,
    }


def exit_code(judged: dict[str, Any]) -> int:
    """0: every worker runs what is wanted, and no newer wish was refused; 1: not."""
    return 0 if judged["in_force"] else insight.BAD


def lines(judged: dict[str, Any]) -> list[str]:
    """For people."""
    told = [
        f"airlock {judged['version']}; {judged['replicas_acked']}/{judged['replicas_total']} workers run "
        "what is wanted",
        f"policy wanted:        {judged['policy']}",
        f"configuration wanted: {judged['configuration']}",
    ]
    if judged["rolled_back"] is not None:
        told.append(went_back(judged["rolled_back"]))
    if judged["last_error"] is not None:
        told.append(f"the last reload was refused: {judged['last_error']['what']}")
    for worker in judged["workers"]:
        state = "silent" if worker["silent"] else "in force" if worker["in_force"] else "DIFFERENT"
        told.append(
            f"worker {worker['slot']}: {state}, policy {worker['policy']}, configuration "
            f"{worker['configuration']}"
        )
    return told
