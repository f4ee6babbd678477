"""The record of what happens to credentials at servers."""

from __future__ import annotations

import pytest

from airlock.app.linking import event
from airlock.audit.vocabulary import check_words


@pytest.mark.parametrize(
    ("what", "reason", "action", "decision"),
    [
        ("linked", "", "credential", "allow"),
        ("renewed", "", "credential", "allow"),
        ("forgotten", "", "credential", "allow"),
        ("spoiled", "", "credential", "deny"),
        ("refused", "link_denied", "credential", "deny"),
        ("refused", "ssrf_guard", "discovery", "deny"),
    ],
)
def test_a_row_says_whose_credential_it_was_and_what_became_of_it(
    what: str, reason: str, action: str, decision: str
) -> None:
    row = event(what, server="files", tenant="acme", subject="https://idp.example|a|b", reason=reason)
    check_words(row)
    assert (row.action, row.decision, row.reason) == (action, decision, reason)
    assert (row.server_id, row.tenant, row.metadata) == ("files", "acme", {"what": what})
    assert (row.personal.issuer, row.personal.subject) == ("https://idp.example", "a|b")
