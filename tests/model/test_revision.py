"""Changes of policy: which one is the last, which were taken back, what decided before."""

from __future__ import annotations

import pytest

from airlock.model.revision import Kind, Revision, holds, previous, undone


def changes(*told: str) -> list[Revision]:
    """`A`, `B`: files that were loaded; `<A`: a rollback to it."""
    found: list[Revision] = []
    for n, word in enumerate(told, 1):
        kind: Kind = "rollback" if word.startswith("<") else "reload"
        before = found[-1].revision if found else ""
        found.append(Revision(n=n, revision=word[-1], before=before, kind=kind, at=float(n), by="olga"))
    return found


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("", ""),
        ("A", ""),
        ("A B", "A"),
        ("A B C", "B"),
        ("A B <A", ""),
        ("A B C <B", "A"),
        ("A B C <B <A", ""),
        ("A B <A C", "A"),
        ("A B A", "B"),
        ("A B <A A", ""),
        ("A B <A B", "A"),
    ],
)
def test_what_decided_before_is_never_what_was_taken_back(told: str, expected: str) -> None:
    assert previous(changes(*told.split())) == expected


def test_what_a_rollback_replaced_was_taken_back() -> None:
    assert undone(changes("A", "B", "<A", "B")) == {2}
    refused = Revision(n=9, revision="B", kind="refused", at=9.0, by="olga")
    assert undone([refused, *changes("A", "B", "<A")]) == {2}


def test_a_rollback_holds_over_the_files_it_was_ordered_over() -> None:
    loaded, rollback = changes("A", "<B")
    assert not holds(None, "A") and not holds(loaded, "A")
    assert holds(rollback, "A")
    noted = Revision(revision="B", kind="rollback", at=1.0, by="olga", against="A")
    assert holds(noted, "A") and not holds(noted, "C")
