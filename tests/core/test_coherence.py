"""The rules between keys, seen through `load`, which is how everybody meets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.core.config import ServerEntry
from airlock.core.errors import ConfigError
from airlock.core.settings import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("s3cret")
    return tmp_path / "airlock.yaml"


def server(file: Path, entry: str, **environ: str) -> ServerEntry:
    file.write_text(f"servers:\n- {{name: docs, {entry}}}\n")
    return load(file, environ).config.servers[0]


def refusals(file: Path, entry: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        server(file, entry, **environ)
    assert all(part.where == f"{file}:2" for part in caught.value.problems)
    return [part.what.removeprefix("servers.0.") for part in caught.value.problems]


HTTP = "transport: http, url: 'http://127.0.0.1:9001/mcp'"
STDIO = "transport: stdio, command: [sh, -c, cat]"


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ("transport: http", "url: missing"),
        ("transport: http, url: null", "url: missing"),
        ("transport: http, url: 'ftp://h/'", "url: not an http or https URL"),
        ("transport: http, url: 'http:///mcp'", "url: not an http or https URL"),
        ("transport: http, url: 'http://h:99999/'", "url: not an http or https URL"),
        ("transport: http, url: 'http://[::1/'", "url: not an http or https URL"),
        ("transport: http, url: 'http://h/a b'", "url: not an http or https URL"),
        ('transport: http, url: "http://h/\\n"', "url: not an http or https URL"),
        ("transport: http, url: 'http://h\u00fc/'", "url: not an http or https URL"),
        ("transport: http, url: 'http://user:pw@h/'", "url: holds a user or password"),
        ("transport: http, url: 'http://@h/'", "url: holds a user or password"),
        ("transport: http, url: 'http://h/#top'", "url: has a fragment"),
        ("transport: http, url: 'http://h/#'", "url: has a fragment"),
        (f"{HTTP}, command: [sh]", "command: not used by this transport"),
        (f"{HTTP}, env: {{A: b}}", "env: not used by this transport"),
        (f"{HTTP}, isolation: session", "isolation: not used by this transport"),
        (f"{HTTP}, unsafe_shared_user: true", "unsafe_shared_user: not used by this transport"),
        (f"{HTTP}, credential: {{}}", "credential: file and env"),
        (f"{HTTP}, credential: {{file: secret, env: A}}", "credential: file and env"),
        (f"{HTTP}, credential: {{env: NOT_SET}}", "credential.env: no variable NOT_SET in the environment"),
        (
            f"{HTTP}, credential: {{file: secret, header: 'A: b'}}",
            "credential.header: not the name of a header",
        ),
        (
            f'{HTTP}, credential: {{file: secret, prefix: "a\\r\\nb"}}',
            "credential.prefix: not printable ASCII",
        ),
        ("transport: stdio", "command: missing"),
        ("transport: stdio, command: []", "command: missing"),
        ("transport: stdio, command: ['']", "command: missing"),
        ("transport: stdio, command: [no-such-program]", "command: no program no-such-program"),
        ("transport: stdio, command: [./missing]", "command: no program ./missing"),
        (f"{STDIO}, url: 'http://h/'", "url: not used by this transport"),
        (f"{STDIO}, credential: {{file: secret}}", "credential: not used by this transport"),
        (f"{STDIO}, env: {{'A B': c}}", "env.A B: not the name of a variable"),
        (f"{STDIO}, env_from: {{'1A': secret}}", "env_from.1A: not the name of a variable"),
        (f"{STDIO}, env: {{A: b}}, env_from: {{A: secret}}", "env_from.A: also in env"),
    ],
)
def test_what_does_not_fit_together_is_refused(file: Path, entry: str, what: str) -> None:
    assert what in refusals(file, entry, A="set")


@pytest.mark.parametrize(
    "entry",
    [
        f"{HTTP}, credential: {{file: nowhere}}",
        f"{STDIO}, env_from: {{A: nowhere}}",
        f"{STDIO}, env_from: {{A: .}}",
    ],
)
def test_a_file_that_cannot_be_read_is_refused(file: Path, entry: str) -> None:
    assert "no readable file" in refusals(file, entry)[0]


def test_a_value_that_could_not_be_read_is_not_called_missing_too(file: Path) -> None:
    assert refusals(file, "transport: http, url: 5") == ["url: found `5`"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9001/mcp", "https://h.example/mcp?x=1", "http://[::1]:1/"])
def test_an_http_server_has_a_plain_url(file: Path, url: str) -> None:
    assert server(file, f"transport: http, url: '{url}'").url == url


def test_a_command_gets_its_full_path(file: Path) -> None:
    command = server(file, STDIO).command
    assert Path(command[0]).is_absolute()
    assert (Path(command[0]).name, *command[1:]) == ("sh", "-c", "cat")


def test_credential_files_are_relative_to_the_configuration(file: Path) -> None:
    credential = server(file, f"{HTTP}, credential: {{file: secret, prefix: 'Bearer '}}").credential
    assert credential is not None
    assert credential.file == str(file.parent / "secret")


def test_a_credential_may_come_from_a_variable(file: Path) -> None:
    credential = server(file, f"{HTTP}, credential: {{env: DOCS_KEY}}", DOCS_KEY="k").credential
    assert credential is not None
    assert credential.env == "DOCS_KEY"


def test_files_of_variables_are_relative_to_the_configuration(file: Path) -> None:
    assert server(file, f"{STDIO}, env_from: {{A: secret}}").env_from == {"A": str(file.parent / "secret")}


def test_names_are_unique_over_all_tenants(file: Path) -> None:
    file.write_text(f"servers:\n- {{name: a, tenant: x, {HTTP}}}\n- {{name: a, tenant: y, {HTTP}}}\n")
    with pytest.raises(
        ConfigError, match=r":3: servers\.1\.name: a is taken \(servers\.0\.name has this name"
    ):
        load(file, {})


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("SERVER__PUBLIC_URL", "gate.example", "server.public_url: not an http or https URL"),
        ("SERVER__ALLOWED_HOSTS", "[ok.example, 'http://h']", "server.allowed_hosts.1: found `http://h`"),
        ("SERVER__ALLOWED_ORIGINS", "['h.example']", "server.allowed_origins.0: found `h.example`"),
        ("SERVER__ALLOWED_ORIGINS", "['https://h/x']", "server.allowed_origins.0: found `https://h/x`"),
        (
            "SERVER__TRUSTED_PROXIES",
            "[10.0.0.0/24, proxy.example]",
            "server.trusted_proxies.1: found `proxy.example`",
        ),
        (
            "SERVER__TRUSTED_PROXIES",
            "[10.0.0.1/24]",
            "server.trusted_proxies.0: found `10.0.0.1/24`",
        ),
        ("SERVER__TRUSTED_PROXIES", "['::/0']", "server.trusted_proxies.0: ::/0 is everybody"),
        ("SERVER__METRICS_ALLOW", "['::/0', 'prometheus']", "server.metrics_allow.1: found `prometheus`"),
        ("POLICY__PATH", "/nonexistent/rules", "policy.path: nothing at /nonexistent/rules"),
    ],
)
def test_addresses_and_paths_are_checked(name: str, value: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {f"AIRLOCK__{name}": value})
    assert caught.value.what == what


def test_origins_and_hosts_may_have_ports() -> None:
    section = load(
        None,
        {
            "AIRLOCK__SERVER__ALLOWED_ORIGINS": "['https://ide.example', 'http://localhost:3000']",
            "AIRLOCK__SERVER__ALLOWED_HOSTS": "['[::1]:8080', gate]",
        },
    ).config.server
    assert section.allowed_origins == ("https://ide.example", "http://localhost:3000")
    assert section.allowed_hosts == ("[::1]:8080", "gate")


def test_paths_of_the_incident_section_start_at_the_file(file: Path) -> None:
    file.write_text(
        "incident:\n"
        "  contacts_file: contacts.yaml\n"
        "  regulations_file: /etc/laws.yaml\n"
        "  targets:\n"
        "  - {name: a, kind: webhook, url: 'http://h/', secret_file: key}\n"
        "  - {name: b, kind: webhook, url: 'http://h/', ca_file: ca.pem}\n"
    )
    found = load(file, {}).config.incident
    assert (found.contacts_file, found.regulations_file) == (
        str(file.parent / "contacts.yaml"),
        "/etc/laws.yaml",
    )
    assert [target.secret_file for target in found.targets] == [str(file.parent / "key"), None]
    assert [target.ca_file for target in found.targets] == [None, str(file.parent / "ca.pem")]
