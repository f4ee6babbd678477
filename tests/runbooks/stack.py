"""The running product: a gateway with two workers behind TLS, two MCP servers, an identity provider.

The gateway is a `Workload`. Its address is `https://airlock.your-company.com`, that of the provider is
`https://your-idp.com`: both really answer with TLS, under names that a test's authority vouches for. The
audit log lies on a small volume of its own. What a fault needs is there from the start, and does nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import ssl
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import yaml

from tests.certificates import Authority
from tests.faults.disk import small_volume
from tests.faults.proxy import Proxy
from tests.faults.seams import Seam
from tests.runbooks.extract import HERE, ROOT
from tests.runbooks.registry import Shown
from tests.runbooks.workload import CONFIG, Workload
from tests.system.deployment import Answer, free_port, until
from tests.system.provider import Provider
from tests.system.recorder import Recorder

GATEWAY = "airlock.your-company.com"
IDP = "your-idp.com"
VOLUME_MIB = 64
"""Of the volume with the audit log; it is memory."""
POLICY = ROOT / "src/airlock/policy/starter"


class Stack:
    """`with Stack(folder) as stack:`. A check uses it through `run.stack`.

    `defect`: a folder whose `sitecustomize` is loaded in every process of the gateway. `sections` of the
    configuration replace ours.
    """

    def __init__(self, folder: Path, *, defect: Path | None = None, **sections: Any) -> None:
        self.folder = folder
        self.seam = Seam(folder / "gateway" / "seam")
        """For faults inside the gateway's processes."""
        self._defect = defect
        self.good = Recorder()
        """The MCP server `files`: low, read-only."""
        self.evil = Recorder()
        """The MCP server `srv-evil`: medium, writes."""
        self.to_good = Proxy(self.good.url)
        self.to_evil = Proxy(self.evil.url)
        self._sections = sections
        self._open = ExitStack()
        self.authority: Authority
        self.idp: Provider
        self.gateway: Workload
        self.tokens: dict[str, str] = {}
        """`test` (the principal of checks), `admin` and `user` (alice, a developer), of the local issuer."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _start(self, stack: ExitStack) -> None:
        """1. authority, provider, servers 2. the container, its volume 3. the gateway 4. tokens, traffic."""
        (self.folder / "tls").mkdir(parents=True)
        self.authority = Authority(self.folder / "tls")
        self.idp = stack.enter_context(self._provider())
        for server in (self.good, self.evil, self.to_good, self.to_evil):
            stack.enter_context(server)
        self.gateway = self._workload()
        stack.enter_context(small_volume(self.gateway.data, mib=VOLUME_MIB))
        stack.callback(self.gateway.stop)
        self.gateway.start()
        self.tokens = {
            "test": self.gateway.token("synthetic", roles=["viewer"]),
            "admin": self.gateway.token("olga", roles=["admin"]),
            "user": self.gateway.token("alice"),
        }
        self.describe()
        self.settled()
        self.traffic()

    def _provider(self) -> Provider:
        cert, key = self.authority.vouch("idp", IDP)
        return Provider(
            tls={"cert": cert.read_text(), "key": key.read_text()},
            address="127." + ".".join(str(secrets.randbelow(250) + 2) for _ in range(3)),
            port=443,
            issuer=f"https://{IDP}",
        )

    def _workload(self) -> Workload:
        cert, key = self.authority.vouch("gateway", GATEWAY, "localhost", "127.0.0.1")
        servers = [
            {"name": "files", "url": self.to_good.url, "sensitivity": "low", "read_only": True},
            {"name": "srv-evil", "url": self.to_evil.url, "sensitivity": "medium"},
        ]
        issuer = {"issuer": f"https://{IDP}", "allow_private": True, "ca_file": "/etc/airlock/ca.pem"}
        sections: dict[str, Any] = {
            "data_dir": "/var/lib/airlock",
            "server": {
                "public_url": f"https://{GATEWAY}",
                "trusted_proxies": ["127.0.0.1"],
                "debug_port": free_port(),
                "tls": {"cert_file": "/etc/airlock/tls.pem", "key_file": "/etc/airlock/tls.key"},
            },
            "auth": {"local_issuer": True, "issuers": [issuer]},
            "policy": {"path": "/etc/policy"},
        }
        gateway = Workload(
            self.folder / "gateway",
            [{"transport": "http", **server} for server in servers],
            tls=ssl.create_default_context(cafile=str(self.authority.file)),
            **sections | self._sections,
        )
        gateway.url = f"https://{GATEWAY}"
        gateway.hosts = f"{self.idp.address} {IDP}"
        path = self.seam.environment["PYTHONPATH"] + (f":{self._defect}" if self._defect else "")
        gateway.place(
            {**self.seam.environment, "PYTHONPATH": path, "CURL_HOME": "/etc/airlock", "PATH": self.path}
        )
        self._files(gateway, cert, key)
        return gateway

    def _files(self, gateway: Workload, cert: Path, key: Path) -> None:
        """What the container's images and ConfigMaps would bring."""
        inside = gateway.folder / "etc"
        for source, name in ((cert, "tls.pem"), (key, "tls.key"), (self.authority.file, "ca.pem")):
            (inside / name).write_bytes(source.read_bytes())
        (inside / ".curlrc").write_text(
            'cacert = "/etc/airlock/ca.pem"\nnoproxy = "*"\n'
            f'connect-to = "localhost:6060:127.0.0.1:{gateway.sections["server"]["debug_port"]}"\n'
        )
        (gateway.folder / "policy" / "policy.rego").write_text((POLICY / "starter.rego").read_text())
        (self.folder / ".curlrc").write_text(
            f'cacert = "{self.authority.file}"\nnoproxy = "*"\n'
            f'connect-to = "{GATEWAY}:443:127.0.0.1:{gateway.port}"\n'
            f'connect-to = "{IDP}:443:{self.idp.address}:443"\n'
        )
        # The same configuration for a command line outside of the container.
        sections = gateway.sections | {
            "data_dir": str(gateway.data),
            "policy": {**gateway.sections["policy"], "path": str(gateway.folder / "policy")},
        }
        text = yaml.safe_dump(sections, sort_keys=False).replace("/etc/airlock/", f"{inside}/")
        (self.folder / "operator.yaml").write_text(text)

    @property
    def pid(self) -> int:
        """Of the gateway's process 1, outside of its namespace."""
        assert self.gateway.process is not None
        return self.gateway.process.pid

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers, outside of their namespace."""
        return self.gateway.children("airlock.worker")

    @property
    def database(self) -> Path:
        return self.gateway.data / "audit.db"

    @property
    def policy(self) -> Path:
        """The policy file that stands in the container at `/etc/policy/policy.rego`."""
        return self.gateway.folder / "policy" / "policy.rego"

    @property
    def overlay(self) -> Path:
        """The file that the ConfigMap `airlock-config` brings."""
        return self.gateway.folder / "etc" / "config.yaml"

    @property
    def path(self) -> str:
        """PATH inside the workload."""
        return f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"

    @property
    def world(self) -> Path:
        """What `kubectl` knows, as JSON."""
        return self.folder / "world.json"

    def variables(self) -> dict[str, str]:
        """The environment of an operator's session."""
        return {
            "PATH": f"{HERE / 'bin'}:{self.path}",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
            "RUNBOOK_PYTHON": sys.executable,
            "RUNBOOK_ROOT": str(ROOT),
            "RUNBOOK_WORLD": str(self.world),
            "CURL_HOME": str(self.folder),
            "SSL_CERT_FILE": str(self.authority.file),
            "NO_PROXY": "*",
            "TEST_TOKEN": self.tokens["test"],
            "ADMIN_TOKEN": self.tokens["admin"],
            "TOKEN": self.tokens["admin"],
            "AIRLOCK_URL": f"https://localhost:{self.gateway.port}",
            "AIRLOCK_CONFIG": str(self.folder / "operator.yaml"),
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
        }

    def describe(self) -> None:
        """Tell `kubectl` what runs; again after every restart."""
        workload = {
            "namespace": "airlock-system",
            "kind": "deployment",
            "name": "airlock",
            "pod": f"airlock-7d9c5b8f64-{self.gateway.port:05d}",
            "labels": {"app.kubernetes.io/name": "airlock"},
            "pid": self.pid,
            "log": str(self.gateway.log),
        }
        maps = {
            "airlock-config": {"config.yaml": str(self.overlay)},
            "airlock-policy": {"policy.rego": str(self.policy)},
        }
        self.world.write_text(
            json.dumps(
                {"workloads": [workload], "configmaps": {"airlock-system": maps}, "merged": str(self.folder)}
            )
        )

    def restart(self) -> None:
        """End the gateway and start it again, on the same data."""
        self.gateway.stop()
        self.gateway.start()
        self.describe()

    def call(self, tool: str, *, token: str = "", **arguments: Any) -> Answer:
        """One call, by alice unless another token is given."""
        return self.gateway.call(tool, arguments, token or self.tokens["user"])

    def ask_policy(self) -> Answer:
        """A call about which no worker remembers a decision: nobody had this role before."""
        return self.call(
            "files__echo", token=self.gateway.token("carol", roles=[secrets.token_hex(8)]), text="x"
        )

    def reload(self) -> None:
        """Tell the gateway to read its files again. Takes effect some time later."""
        os.kill(self.pid, signal.SIGHUP)

    @contextmanager
    def configured(self, **sections: Any) -> Generator[None]:
        """These sections of the base configuration in place of ours, taken over by a reload."""
        ours = self.gateway.sections
        self.gateway.sections = ours | sections
        self.gateway.write()
        self.reload()
        try:
            yield
        finally:
            self.gateway.sections = ours
            self.gateway.write()
            self.reload()

    def traffic(self) -> None:
        """What goes on in a healthy gateway: calls that are allowed, and one that is not."""
        for number in range(4):
            assert self.call("files__echo", text=f"hello {number}").status == 200
        self.call("srv-evil__echo", token=self.tokens["test"], text="no")
        self.gateway.recorded("subject = 'synthetic' AND decision = 'deny'")

    def airlock(self, *arguments: str, config: bool = True) -> Shown:
        """`airlock ARGUMENTS` inside the workload, as an administrator; with its configuration file."""
        given = ("--config", CONFIG) if config and "--config" not in arguments else ()
        began = time.monotonic()
        done = self.gateway.run(
            sys.executable, "-m", "airlock.cli", *arguments, *given, AIRLOCK_TOKEN=self.tokens["admin"]
        )
        return Shown(
            command=" ".join(("airlock", *arguments)),
            out=done.stdout,
            err=done.stderr,
            rc=done.returncode,
            seconds=time.monotonic() - began,
        )

    def everywhere(
        self, path: str, headers: Mapping[str, str] | None = None, *, times: int = 12
    ) -> list[Answer]:
        """The answers at a path, often enough that both workers are among them."""
        return [self.gateway.get(path, headers) for _ in range(times)]

    def settled(self) -> None:
        """Wait until every part of every worker is well."""

        def well() -> bool:
            return all(set(states(answer).values()) == {"ok"} for answer in self.everywhere("/ready"))

        until(well, within=60, what=f"all components ok\n{self.gateway.tail()}")


def states(ready: Answer) -> dict[str, str]:
    """State by component, of an answer at `/ready`."""
    return {name: component["state"] for name, component in ready.json["components"].items()}
