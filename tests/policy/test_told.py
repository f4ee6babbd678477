"""What the log says of a refused reload."""

from __future__ import annotations

from airlock.core.errors import ConfigError
from airlock.policy import told
from airlock.policy.problem import PolicyRejected, Problem

FOUND = [Problem(file="policy.rego", line=7, col=3, message=f"complaint {n}") for n in range(30)]


class Lines:
    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, object]]] = []

    def error(self, event: str, **fields: object) -> None:
        self.said.append((event, fields))


def test_every_complaint_about_a_policy_is_told_with_its_place_up_to_a_limit() -> None:
    log = Lines()
    told.refused(log, PolicyRejected(FOUND), active="a1")
    *complaints, last = log.said
    assert [event for event, _ in complaints] == ["policy_compile_error"] * told.MOST
    assert complaints[0][1] == {
        "file": "policy.rego", "line": 7, "col": 3, "message": "complaint 0", "active_revision": "a1",
    }  # fmt: skip
    assert last == ("policy_reload", {"result": "error", "active_revision": "a1"})


def test_what_is_wrong_elsewhere_is_no_complaint_about_a_policy() -> None:
    log, error = Lines(), ConfigError("server.port", "is taken")
    told.refused(log, error, active="a1")
    assert [event for event, _ in log.said] == ["policy_reload"]
    assert told.place(error) == {}
    assert told.place(PolicyRejected(FOUND)) == {
        "file": "policy.rego", "line": 7, "col": 3, "message": "complaint 0",
    }  # fmt: skip
