"""How `block`, `lease` and `contain` reach the leases: over the management API while the gateway runs, else
in its files.

The files are changed by the very handlers that the API has, so both ways refuse and answer alike. What is
given in the files holds from the next start on, and is recorded then.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.cli.api import TIMEOUT_S, Answer, address, send
from airlock.core.clock import SYSTEM
from airlock.core.config import Config
from airlock.core.errors import ConfigError, Fault, Refused
from airlock.core.harmless import harmless

if TYPE_CHECKING:
    from airlock.app.management import Management
    from airlock.edge.routes import Handler
    from airlock.model.http import HttpRequest
    from airlock.model.principal import Principal
    from airlock.store.database import Store

REFUSED = 1
UNUSABLE = 2
UNPROVEN = 3
WAITS = 4
"""Somebody else has to agree."""

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file of the gateway.")]
Token = Annotated[str, typer.Option("--token", help="Token of an administrator, where the gateway runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Incident = Annotated[str, typer.Option("--incident", help="Incident that it belongs to.")]


class Containing:
    """One command: whom it asks. Every method ends the program with its exit code where there is no yes."""

    def __init__(self, verb: str, config: Path | None, token: str) -> None:
        from airlock.core.settings import environment, load

        self._verb = verb
        self._token = token
        self._gateway = False
        """Whether a gateway answered, and not its files."""
        self._environ = environment()
        try:
            self._config = load(config, self._environ).config
        except ConfigError as wrong:
            raise self.stop(str(wrong), UNUSABLE) from wrong

    @property
    def settings(self) -> Config:
        """The configuration of the gateway."""
        return self._config

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        beside: tuple[str, ...] = (),
        timeout: float = TIMEOUT_S,
    ) -> Answer:
        """The answer of the gateway within so many seconds, or of its files. A refusal ends the program,
        unless its word is one of `beside`."""
        token, environ = self._token, self._environ
        try:
            told = send(self._config, method, path, token=token, environ=environ, body=body, timeout=timeout)
            self._gateway = told is not None
            answer = told or self._files(method, path, body)
        except (ConfigError, Fault) as failed:
            detail = failed.detail if isinstance(failed, Fault) else ""
            raise self.stop(detail or str(failed), UNUSABLE) from failed
        if answer.status >= 400 and answer.document.get("code") not in beside:
            raise self.stop(_why(answer.document), REFUSED)
        return answer

    def finish(self, answer: Answer, as_json: bool, lines: Callable[[dict[str, Any]], list[str]]) -> None:
        """Print the answer to a change, and say by the exit code whether every worker enforces it."""
        document = answer.document
        if as_json:
            self.print_json(document)
        else:
            typer.echo("\n".join([*lines(document), enforced(document)]))
        if answer.status == 200:
            return
        if document["replicas_total"] == 0 and not self._gateway:
            typer.echo(
                f"no worker runs on {self._config.data_dir}: this holds from the next start on", err=True
            )
            return
        raise self.stop("not every worker has confirmed it yet", UNPROVEN)

    def print_json(self, document: object) -> None:
        """One JSON object that no terminal obeys."""
        typer.echo(harmless(msgspec.json.encode(document)))

    def stop(self, why: str, code: int) -> typer.Exit:
        """The end, with its reason on standard error."""
        typer.echo(f"airlock {self._verb}: {why}", err=True)
        return typer.Exit(code)

    def _files(self, method: str, path: str, body: object) -> Answer:
        from airlock.store.database import FILE, open_store

        file = Path(self._config.data_dir) / FILE
        if not file.exists():
            where = address(self._config, "")
            raise ConfigError(where, "no gateway answers", f"and none ever ran on {self._config.data_dir}")
        store = open_store(file)
        try:
            return asyncio.run(_handled(_management(self._config, store), method, path, body))
        finally:
            store.close()


def _why(problem: dict[str, Any]) -> str:
    """What a refusal says, with each thing that a guard misses on a line of its own."""
    missing: list[dict[str, str]] = problem.get("missing") or []
    if problem.get("code") != "guard_failed" or not missing:
        return visible(problem.get("detail", "it was refused"))
    lines = [f"  {visible(each['key'])}: {visible(each['text'])}" for each in missing]
    return "\n".join([f"{visible(problem['event'])} is refused; missing:", *lines])


def enforced(document: dict[str, Any]) -> str:
    """Who enforces a change, and where it stands in the log, for people."""
    workers = f"enforced by {document['replicas_acked']} of {document['replicas_total']} workers"
    missing = f", not by {', '.join(map(visible, document['missing']))}" if document["missing"] else ""
    seq = document["audit_seq"]
    return f"{workers}{missing}; " + (f"audit record {seq}" if seq is not None else "not in the log yet")


def lasting(lease: dict[str, Any]) -> str:
    """How long a lease holds, for people."""
    end = lease["expires_at"]
    return "for good" if end is None else f"until {visible(end)}"


def _management(config: Config, store: Store) -> Management:
    """The handlers of the management API on the files alone: there is nobody to tell, and nobody to turn
    away, because who can write the files needs no token."""
    from airlock.api.deciding import Deciding
    from airlock.api.door import Door, nobody_else
    from airlock.api.keys import UsedKeys
    from airlock.api.leasing import Leasing
    from airlock.api.overrides import OverridesApi
    from airlock.api.policy import PolicyApi, World
    from airlock.app.incident_facts import gather
    from airlock.app.management import behind
    from airlock.app.turned import inbound
    from airlock.incident.regulation import known
    from airlock.model.call import Authenticated
    from airlock.model.server import Registry
    from airlock.model.snapshot import Snapshot

    async def account(request: HttpRequest) -> Authenticated:
        unread = Snapshot(registry=Registry(servers={}), policy_revision="")
        return Authenticated(inbound=inbound(request), principal=_account(), snapshot=unread)

    def anybody(_: Authenticated) -> None:
        """Nobody is contained on the own machine."""

    async def turned(request: HttpRequest, principal: Principal | None, why: Refused) -> None:
        """Nobody is turned away."""

    async def look() -> None:
        """Workers of a gateway that listens elsewhere look by themselves."""

    guard = Door(
        identify=account,
        permit=anybody,
        allowed=nobody_else,
        turned=turned,
        keys=UsedKeys(store=store, clock=SYSTEM),
        public_url=config.server.public_url,
    )
    proxies = config.server.trusted_proxies
    leasing = Leasing(store=store, trusted_proxies=proxies, look=look, clock=SYSTEM, origin="cli")
    overrides = OverridesApi(leasing=leasing, base=lambda: config, overlay=lambda: None, clock=SYSTEM)
    deciding = Deciding(
        store=store,
        gather=partial(gather, data=Path(config.data_dir)),
        law=lambda: known(config.incident.regulations_file),
        clock=SYSTEM,
    )
    return behind(
        guard=guard,
        leasing=leasing,
        standing=PolicyApi(world=World(), active=str),
        held=overrides,
        deciding=deciding,
        clock=SYSTEM,
    )


def _account() -> Principal:
    from airlock.api.door import ADMIN
    from airlock.model.principal import Principal

    number = os.getuid()
    try:  # not what the environment says: records name who it was
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = f"uid {number}"
    return Principal(issuer="", subject=name, tenant="", roles=(ADMIN,), token_id="", expires_at=0)


async def _handled(management: Management, method: str, path: str, body: object) -> Answer:
    from airlock.model.http import HttpRequest

    parts = urlsplit(path)
    handler, params = _handler(management, method, parts.path)
    request = HttpRequest(
        method=method,
        path=parts.path,
        params=params,
        query=parts.query,
        authorization=None,
        source_ip="",
        body=b"" if body is None else msgspec.json.encode(body),
    )
    response = await handler(request)
    return Answer(status=response.status, document=msgspec.json.decode(response.body, type=dict[str, Any]))


def _handler(management: Management, method: str, path: str) -> tuple[Handler, dict[str, str]]:
    from airlock.app.management import routes
    from airlock.edge.routes import compile_table

    for pattern, methods in compile_table(routes(management)):
        found, route = pattern.fullmatch(path), methods.get(method)
        if found is not None and route is not None and route.handler is not None:
            return route.handler, found.groupdict()
    raise RuntimeError(f"no handler for {method} {path}")
