from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.core.settings import LARGEST_FILE, Loaded, environment, load, variables


class Folder:
    """A directory with an `airlock.yaml` in it; the file's name is left out of refusals."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "airlock.yaml"

    def load(self, text: str, **environ: str) -> Loaded:
        self.file.write_text(text)
        return load(self.file, environ)

    def refuses(self, text: str, **environ: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(text, **environ)
        return [str(part).replace(str(self.file), "F") for part in caught.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_without_file_and_variables_the_defaults_apply() -> None:
    loaded = load(None, {})
    server = msgspec.structs.replace(loaded.config.server, public_url="")
    assert msgspec.structs.replace(loaded.config, data_dir="./airlock-data", server=server) == Config()
    assert set(loaded.origins.values()) == {"default"}


def test_the_public_url_follows_the_port(folder: Folder) -> None:
    assert load(None, {"AIRLOCK__SERVER__PORT": "9"}).config.server.public_url == "http://localhost:9"
    assert load(None, {}).config.server.public_url == "http://localhost:8080"


def test_every_value_knows_where_it_came_from(folder: Folder) -> None:
    loaded = folder.load(
        "server:\n  port: 9000\n  workers: 2\nservers:\n- name: docs\n  transport: http\n"
        "  url: http://127.0.0.1:9001/mcp\n  tools:\n    search: {read_only: true}\n",
        AIRLOCK__SERVER__PORT="9443",
        LOG_LEVEL="debug",
    )
    origins = {key: place.replace(str(folder.file), "F") for key, place in loaded.origins.items()}
    expected = {
        "server.port": "environment AIRLOCK__SERVER__PORT",
        "server.workers": "F:3",
        "server.host": "default",
        "logging.level": "environment LOG_LEVEL",
        "servers": "F:4",
        "servers.0.url": "F:7",
        "servers.0.tools.search.read_only": "F:9",
        "servers.0.sensitivity": "default",
    }
    assert {key: origins[key] for key in expected} == expected


def test_every_key_of_the_schema_has_an_origin() -> None:
    assert set(load(None, {}).origins) == set(variables().values())


def test_values_are_read_in_their_units(folder: Folder) -> None:
    config = folder.load("server: {drain: 2m, max_body: 64KiB}\naudit: {segment_size: 131072}").config
    assert (config.server.drain, config.server.max_body, config.audit.segment_size) == (120.0, 65536, 131072)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("server:\n  prot: 1\n", "F:2: server.prot: unknown key (did you mean port?)"),
        ("loging: {}", "F:1: loging: unknown key (did you mean logging?)"),
        ("max_body: 1MiB", "F:1: max_body: unknown key (did you mean server.max_body?)"),
        ("server: {maxBody: 1MiB}", "F:1: server.maxBody: unknown key (did you mean max_body?)"),
        (
            "auth: {zzz: 1}",
            "F:1: auth.zzz: unknown key (known here: local_issuer, issuers, require_scopes, login)",
        ),
        (
            "server: {port: eighty}",
            "F:1: server.port: found `eighty` (expected a whole number, at least 0, at most 65535)",
        ),
        (
            "server: {port: 65536}",
            "F:1: server.port: found `65536` (expected a whole number, at least 0, at most 65535)",
        ),
        (
            "server: {port: 0o17}",
            "F:1: server.port: found `0o17` (expected a whole number, at least 0, at most 65535)",
        ),
        (
            "server: {port: 010}",
            "F:1: server.port: found `010` (expected a whole number, at least 0, at most 65535)",
        ),
        (
            "server: {port: '80'}",
            "F:1: server.port: found `80` (expected a whole number, at least 0, at most 65535)",
        ),
        (
            "server: {port: 1:30}",
            "F:1: server.port: found `1:30` (expected a whole number, at least 0, at most 65535)",
        ),
        (
            "server: {port: }",
            "F:1: server.port: found nothing (expected a whole number, at least 0, at most 65535)",
        ),
        (
            "server: {workers: -1}",
            "F:1: server.workers: found `-1` (expected a whole number, at least 1, at most 64)",
        ),
        (
            "server: {drain: soon}",
            "F:1: server.drain: found `soon` (expected a duration such as 30s, 5m, 1h or 30d, at least 0s)",
        ),
        (
            "server: {drain: [1]}",
            "F:1: server.drain: found a list (expected a duration such as 30s, 5m, 1h or 30d, at least 0s)",
        ),
        (
            "audit: {segment_size: 1KiB}",
            "F:1: audit.segment_size: found `1KiB` "
            "(expected a size such as 64KiB or 8MiB, at least 64KiB, at most 1GiB)",
        ),
        ("auth: {local_issuer: maybe}", "F:1: auth.local_issuer: found `maybe` (expected true or false)"),
        (
            "logging: {level: loud}",
            "F:1: logging.level: found `loud` (expected one of debug, error, info, warn)",
        ),
        ("data_dir: 5", "F:1: data_dir: found `5` (expected text; put it in quotes)"),
        ("data_dir: no", "F:1: data_dir: found `no` (expected text; put it in quotes)"),
        ("data_dir: 2026-01-01", "F:1: data_dir: found `2026-01-01` (expected text; put it in quotes)"),
        ("data_dir: {a: b}", "F:1: data_dir: found a mapping (expected text)"),
        (
            "auth: on",
            "F:1: auth: found a boolean value (expected a mapping with keys of "
            "local_issuer, issuers, require_scopes, login)",
        ),
        (
            "auth:\n",
            "F:1: auth: found nothing (expected a mapping with keys of "
            "local_issuer, issuers, require_scopes, login)",
        ),
        (
            "server: {allowed_hosts: a.example}",
            "F:1: server.allowed_hosts: found a text value (expected a list, each item text)",
        ),
        (
            "server:\n  allowed_hosts:\n  - a.example\n  - 7\n",
            "F:4: server.allowed_hosts.1: found `7` (expected text; put it in quotes)",
        ),
        (
            "server: {max_connections: 5, maxConnections: 6}",
            "F:1: server.maxConnections: given twice (another spelling of max_connections)",
        ),
        ("server: {}\nserver: {}\n", "F:2: server: given twice (the first is at F:1)"),
        ("- a", "F:1: found a list value (expected sections, such as `server:`)"),
        ("# nothing\n", "F:1: the file is empty (write {} if you want the defaults)"),
        (
            "servers: [{name: docs}]",
            "F:1: servers.0.transport: missing (expected one of http, stdio)",
        ),
        (
            "servers: [{name: D, transport: stdio}]",
            "F:1: servers.0.name: found `D` (expected text that matches `^[a-z][a-z0-9-]{0,30}$`)",
        ),
        (
            'servers: [{name: "docs\\n", transport: stdio}]',
            "F:1: servers.0.name: found `docs\n` (expected text that matches `^[a-z][a-z0-9-]{0,30}$`)",
        ),
        (
            "servers: [docs]",
            "F:1: servers.0: found a text value (expected a mapping with keys of ",
        ),
    ],
)
def test_a_bad_value_is_refused_with_its_line_and_what_would_be_right(
    folder: Folder, text: str, problem: str
) -> None:
    refused = folder.refuses(text)
    assert len(refused) == 1
    assert refused[0].startswith(problem) if problem.endswith(" of ") else refused[0] == problem


def test_all_problems_are_said_at_once(folder: Folder) -> None:
    refused = folder.refuses(
        "server: {prot: 1, workers: many}\nservers:\n- {name: a, transport: http}\n- {transport: http}\n"
        "- {name: a, transport: stdio, command: [no-such-program-here]}\n",
        AIRLOCK__NOTHING="1",
        AIRLOCK__SERVER__PORT="[",
    )
    assert [line.partition(" (")[0] for line in refused] == [
        "environment AIRLOCK__SERVER__PORT: not readable as YAML: "
        "expected the node content, but found '<stream end>'",
        "environment AIRLOCK__NOTHING: unknown variable",
        "F:1: server.prot: unknown key",
        "F:1: server.workers: found `many`",
        "F:4: servers.1.name: missing",
        "F:5: servers.2.name: a is taken",
        "F:3: servers.0.url: missing",
        "F:5: servers.2.command: no program no-such-program-here",
    ]


def test_a_secret_in_place_of_a_mapping_is_not_repeated(folder: Folder) -> None:
    text = "servers: [{name: a, transport: http, url: 'http://h/', credential: sk-live-123}]"
    assert "sk-live-123" not in "".join(folder.refuses(text))


@pytest.mark.parametrize(
    ("spelling", "key", "value"),
    [
        ("server: {maxConnections: 7}", "server.max_connections", 7),
        ("logging: {auditAllRequests: true}", "logging.audit_all_requests", True),
        ("logging: {level: WARN}", "logging.level", "warn"),
        ("logging: {level: Warning}", "logging.level", "warn"),
    ],
)
def test_other_spellings_become_the_canonical_key(
    folder: Folder, spelling: str, key: str, value: object
) -> None:
    loaded = folder.load(spelling)
    section, name = key.split(".")
    assert msgspec.to_builtins(loaded.config)[section][name] == value
    assert loaded.origins[key].endswith(":1")


class TestEnvironment:
    def test_a_variable_beats_the_file(self, folder: Folder) -> None:
        assert folder.load("server: {port: 1}", AIRLOCK__SERVER__PORT="2").config.server.port == 2

    def test_a_list_is_written_as_in_yaml(self) -> None:
        loaded = load(None, {"AIRLOCK__SERVER__ALLOWED_HOSTS": "[a.example, 'b.example:8443']"})
        assert loaded.config.server.allowed_hosts == ("a.example", "b.example:8443")

    def test_servers_can_be_given_whole(self) -> None:
        text = '[{"name": "docs", "transport": "http", "url": "http://127.0.0.1:1/mcp"}]'
        loaded = load(None, {"AIRLOCK__SERVERS": text})
        assert loaded.config.servers[0].name == "docs"
        assert loaded.origins["servers.0.name"] == "environment AIRLOCK__SERVERS"

    def test_log_level_is_accepted(self) -> None:
        assert load(None, {"LOG_LEVEL": "DEBUG"}).config.logging.level == "debug"

    def test_the_canonical_variable_beats_log_level(self) -> None:
        environ = {"LOG_LEVEL": "debug", "AIRLOCK__LOGGING__LEVEL": "error"}
        assert load(None, environ).config.logging.level == "error"

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("AIRLOCK__SERVER__PROT", "did you mean AIRLOCK__SERVER__PORT?"),
            ("AIRLOCK__server__port", "variables are AIRLOCK__SECTION__KEY"),
            ("AIRLOCK__SERVER", "did you mean AIRLOCK__SERVERS?"),
        ],
    )
    def test_an_unknown_variable_is_refused_by_name(self, name: str, hint: str) -> None:
        with pytest.raises(ConfigError) as caught:
            load(None, {name: "1"})
        assert str(caught.value) == f"environment {name}: unknown variable ({hint})"

    @pytest.mark.parametrize("value", ["", "0x", "70000", "[1]"])
    def test_a_bad_value_is_refused_by_name(self, value: str) -> None:
        with pytest.raises(ConfigError, match=r"environment AIRLOCK__SERVER__PORT: server.port: found"):
            load(None, {"AIRLOCK__SERVER__PORT": value})

    def test_other_variables_are_none_of_our_business(self) -> None:
        assert (
            load(None, {"AIRLOCK_TOKEN": "x", "PATH": "/bin"}).config.server == load(None, {}).config.server
        )

    def test_the_process_environment_is_a_copy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRLOCK__SERVER__PORT", "1")
        before = environment()
        monkeypatch.setenv("AIRLOCK__SERVER__PORT", "2")
        assert before["AIRLOCK__SERVER__PORT"] == "1"


class TestFile:
    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file"):
            load(tmp_path / "nowhere.yaml", {})

    def test_a_huge_file_is_not_read(self, tmp_path: Path) -> None:
        path = tmp_path / "big.yaml"
        with path.open("wb") as file:
            file.truncate(LARGEST_FILE + 1)
        with pytest.raises(ConfigError, match="larger than"):
            load(path, {})

    def test_an_empty_mapping_is_the_defaults(self, folder: Folder) -> None:
        assert folder.load("{}").config.server == load(None, {}).config.server

    def test_relative_paths_start_at_the_file(self, folder: Folder) -> None:
        (folder.path / "rules").mkdir()
        config = folder.load("data_dir: data\npolicy: {path: ./rules}").config
        assert (config.data_dir, config.policy.path) == (f"{folder.path}/data", f"{folder.path}/rules")

    def test_without_a_file_relative_paths_start_here(self) -> None:
        assert load(None, {}).config.data_dir == str(Path.cwd() / "airlock-data")


class TestNotReady:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
    def test_a_demo_key_on_loopback_is_ready(self, host: str) -> None:
        assert load(None, {"AIRLOCK__SERVER__HOST": host}).not_ready == ()

    @pytest.mark.parametrize("host", ["0.0.0.0", "'::'", "10.0.0.1", "gate.example", "''"])  # noqa: S104 - refused
    def test_a_demo_key_off_loopback_is_weak(self, host: str) -> None:
        assert load(None, {"AIRLOCK__SERVER__HOST": host}).not_ready == ("weak_key",)

    def test_without_the_demo_key_any_host_is_ready(self) -> None:
        environ = {"AIRLOCK__SERVER__HOST": "0.0.0.0", "AIRLOCK__AUTH__LOCAL_ISSUER": "false"}  # noqa: S104
        assert load(None, environ).not_ready == ()


class TestDigest:
    def test_it_does_not_depend_on_spelling(self, folder: Folder) -> None:
        first = folder.load("server: {drain: 1m, port: 9000}")
        assert folder.load("server:\n  port: 9000\n  drain: 60\n").digest == first.digest

    def test_it_changes_with_a_value(self, folder: Folder) -> None:
        first = folder.load("server: {port: 9000}")
        assert folder.load("server: {port: 9001}").digest != first.digest

    def test_it_is_the_same_in_another_process(self) -> None:
        code = "from airlock.core.settings import load; print(load(None, {}).digest)"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert other.stdout.strip() == load(None, {}).digest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SECTIONS = st.dictionaries(st.sampled_from(Config.__struct_fields__), JSON, max_size=4)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(SECTIONS)
def test_any_document_is_loaded_or_refused(tmp_path: Path, document: object) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(json.dumps(document))
    try:
        loaded = load(path, {})
    except ConfigError as error:
        assert all(part.where and part.what for part in error.problems)
    else:
        assert isinstance(loaded.config, Config)
