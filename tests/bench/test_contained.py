"""What leases cost a call, measured as the benchmark does, far from any bar."""

from __future__ import annotations

import pytest

from bench import contained


def test_a_thousand_leases_cost_a_call_microseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contained, "MOST", 500)
    monkeypatch.setattr(contained, "TIMES", 20)
    none, many, replay = contained.measure()
    assert none.value < many.value < 2000
    assert replay.value < 10
