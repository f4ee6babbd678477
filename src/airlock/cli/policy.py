"""`airlock policy`: check, test, explain and show a policy; see which one is in force; suggest one.

PATH is a directory or `.tar.gz`; without it, the policy of the configuration, and without one there the
starter policy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from airlock.cli.policy_changes import diff, rollback, went_back
from airlock.cli.reload import reload
from airlock.cli.suggest import suggest_policy
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.core.settings import environment, load
from airlock.policy.bundle import Bundle, load_bundle
from airlock.policy.footprint import Footprint
from airlock.policy.problem import PolicyRejected, Problem
from airlock.policy.trial import Verdict

REFUSED = 1
UNUSABLE = 2
EXITS = {"allow": 0, "deny": REFUSED, "fault": 3, "approval": 4}

app = typer.Typer(help="The policy: check, test, explain, show.", no_args_is_help=True)

PolicyPath = Annotated[Path | None, typer.Argument(help="Directory or .tar.gz of the policy.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file of the gateway.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def policy() -> None:
    """Check, test, explain and show a policy; see which one is in force."""


@app.command()
def check(*, path: PolicyPath = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Compile, check capabilities and try the policy. Exit code 1: refused; 2: cannot be read."""
    bundle = _bundle(path, config)
    from airlock.policy.check import check_bundle

    try:
        verdict = check_bundle(bundle)
    except PolicyRejected as rejected:
        _print(as_json, _report(bundle, rejected.findings, ()), _lines(rejected.findings, "refused"))
        raise typer.Exit(REFUSED) from rejected
    report = _report(bundle, (), verdict.warnings) | {"p99_ms": verdict.p99_ms, "max_ms": verdict.max_ms}
    fine = f"{bundle.origin}: fine, revision {bundle.revision[:12]}, p99 {verdict.p99_ms:.2f} ms"
    report |= {"cache": _cache(verdict)}
    _print(as_json, report, [*_lines(verdict.warnings, "warning"), fine, *_cache_lines(verdict)])


@app.command()
def test(*, path: PolicyPath = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Run the tests of the policy. Exit code 1: one failed, or there are none; 2: cannot be read."""
    bundle = _checked(path, config)
    from airlock.policy.suite import run_tests

    results = run_tests(bundle)
    lines = [
        f"{'ok    ' if test.passed else 'FAILED'} {test.file}:{test.line} {test.name}"
        + (f": {test.detail}" if test.detail else "")
        for test in results.tests
    ]
    failed = sum(not test.passed for test in results.tests)
    lines.append(
        f"{len(results.tests)} tests, {failed} failed" if results.tests else "no tests: that is a failure"
    )
    answer = {"passed": results.passed, "revision": bundle.revision, "tests": results.tests}
    _print(as_json, answer, lines)
    raise typer.Exit(0 if results.passed else REFUSED)


@app.command()
def explain(
    *,
    question: Annotated[
        Path, typer.Option("--input", help="JSON file: the input, or the part of it that differs.")
    ],
    path: PolicyPath = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say why the policy decides so. Exit code 0: allow; 1: deny; 3: cannot decide; 4: waits for a person."""
    from airlock.policy.explain import explain as explain_decision
    from airlock.policy.sample import complete

    bundle = _checked(path, config)
    try:
        asked = complete(msgspec.json.decode(question.read_bytes(), type=dict[str, Any]))
    except (OSError, ValueError) as error:
        raise _stop(f"{question}: {error}") from error
    found = explain_decision(bundle, asked)
    lines = [f"{found.outcome}: {found.reason}", f"rule: {found.rule or '-'}", f"revision: {found.revision}"]
    lines += [f"detail: {found.detail}"] if found.detail else []
    lines += ["it looked at (input named on the lines that were evaluated):"]
    lines += [f"  {seen.path} = {_json(seen.value)}   {seen.file}:{seen.line}" for seen in found.looked_at]
    if flip := found.flip:
        lines.append(f"with {flip.path} = {_json(flip.to)} the answer is {flip.outcome}: {flip.reason}")
    else:
        lines.append("no single change of tenant, pin, role, read_only or sensitivity changes the answer")
    _print(as_json, found, lines)
    raise typer.Exit(EXITS[found.outcome])


@app.command()
def show(
    *,
    path: PolicyPath = None,
    source: Annotated[
        bool, typer.Option("--source", help="Only the `.rego` files, byte for byte as they stand; checked.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the policy, file by file. Exit code 1: with --source, it may not be used."""
    bundle = _bundle(path, config)
    if source:
        _print_source(bundle)
    files = {name: text.decode() for name, text in bundle.files.items()}
    lines = [f"# {name}\n{text}" for name, text in files.items()]
    _print(as_json, {"origin": bundle.origin, "revision": bundle.revision, "files": files}, lines)


@app.command()
def status(
    *,
    config: ConfigFile = None,
    token: Annotated[str, typer.Option(help="Token of an admin.")] = "",
    as_json: AsJson = False,
) -> None:
    """Which policy is in force: of the running gateway, or else what the configured files would be.

    Exit code 0: the configured policy is usable and, where a gateway runs, in force; 1: it is not; 2: the
    files or the gateway cannot be asked.
    """
    from airlock.cli import api
    from airlock.core.clock import SYSTEM
    from airlock.gateway.observe import Observe

    settings = _settings(config)
    bundle = _bundle(None, config)
    verdict = _tried(bundle)
    findings = verdict.findings
    try:
        running = api.get(settings, "/admin/policy/status", token=token, environ=environment())
    except ConfigError as error:
        raise _stop(str(error)) from error
    in_force = running is not None and _everywhere(running, bundle.revision)
    observing = Observe(settings, clock=SYSTEM).standing()[1]
    answer = _report(bundle, findings, ()) | {
        "running": running,
        "in_force": in_force,
        "observing": observing,
        "cache": _cache(verdict) | {"ttl_s": settings.policy.cache_ttl, "size": settings.policy.cache_size},
    }
    lines = [f"configured: {bundle.origin}, revision {bundle.revision}", *_lines(findings, "refused")]
    lines += _cache_lines(verdict)
    lines += [] if settings.policy.cache_ttl else ["the decision cache is off: policy.cache_ttl is 0"]
    lines += ["running: no gateway answers"] if running is None else _running(running)
    lines += ["not every worker decides by the configured policy"] if running and not in_force else []
    lines += [observing] if observing else []
    _print(as_json, answer, lines)
    raise typer.Exit(REFUSED if findings or (running and not in_force) else 0)


app.command("suggest")(suggest_policy)
app.command("reload")(reload)
app.command("diff")(diff)
app.command("rollback")(rollback)


def _print_source(bundle: Bundle) -> NoReturn:
    texts = [text for name, text in bundle.files.items() if name.endswith(".rego")]
    typer.echo(b"".join(texts), nl=False)
    findings = _tried(bundle).findings
    for line in _lines(findings, "refused"):
        typer.echo(line, err=True)
    raise typer.Exit(REFUSED if findings else 0)


def _settings(config: Path | None) -> Config:
    try:
        return load(config, environment()).config
    except ConfigError as error:
        raise _stop(str(error)) from error


def _bundle(path: Path | None, config: Path | None) -> Bundle:
    configured = _settings(config).policy.path if path is None else None
    try:
        return load_bundle(path or (Path(configured) if configured else None))
    except ConfigError as error:
        raise _stop(str(error)) from error


def _checked(path: Path | None, config: Path | None) -> Bundle:
    """A policy that was tried in a child, so that it cannot hang or crash this process."""
    bundle = _bundle(path, config)
    findings = _tried(bundle).findings
    if findings:
        raise _stop("\n".join(_lines(findings, "refused")), REFUSED)
    return bundle


def _everywhere(running: dict[str, Any], revision: str) -> bool:
    """Whether every worker decides by this revision: one that is silent is not known to."""
    replicas = running["replicas"]
    return bool(replicas) and all(
        each and not each["silent"] and each["active_sha256"] == revision for each in replicas
    )


def _running(running: dict[str, Any]) -> list[str]:
    """What each worker of the gateway decides by, and whether it remembers decisions."""
    lines = [f"running: wanted {running['desired_sha256']}"]
    for slot, each in enumerate(running["replicas"]):
        if each is None:
            lines.append(f"worker {slot}: no answer")
            continue
        cache = each["cache"]
        why = f": {'; '.join(cache['why'])}" if cache["why"] else ""
        silent = "silent, last said " if each["silent"] else ""
        lines.append(f"worker {slot}: {silent}{each['active_sha256']}, decision cache {cache['state']}{why}")
    if running["rolled_back"] is not None:
        lines.append(went_back(running["rolled_back"]))
    if running["last_error"] is not None:
        lines.append(f"the last reload was refused: {running['last_error']['what']}")
    return lines


def _tried(bundle: Bundle) -> Verdict:
    """What the trial in a child found; of a refused bundle the findings."""
    from airlock.policy.check import check_bundle

    try:
        return check_bundle(bundle)
    except PolicyRejected as rejected:
        return Verdict(findings=rejected.findings)


def _cache(verdict: Verdict) -> dict[str, Any]:
    """Whether decisions can be remembered: by which facts, or why not."""
    proved = verdict.footprint or Footprint()
    return {
        "cacheable": verdict.footprint is not None and not proved.doubts,
        "reads": [_name(path) for path in proved.paths],
        "doubts": proved.doubts,
    }


def _cache_lines(verdict: Verdict) -> list[str]:
    if verdict.footprint is None:
        return []
    if verdict.footprint.doubts:
        return _lines(verdict.footprint.doubts, "not cacheable")
    reads = ", ".join(_name(path) for path in verdict.footprint.paths)
    return [f"cacheable: reads {reads or 'no part of the input'}"]


def _name(path: tuple[str, ...]) -> str:
    return ".".join(("input", *path))


def _report(bundle: Bundle, findings: tuple[Problem, ...], warnings: tuple[Problem, ...]) -> dict[str, Any]:
    return {
        "usable": not findings,
        "origin": bundle.origin,
        "revision": bundle.revision,
        "problems": findings,
        "warnings": warnings,
    }


def _lines(problems: tuple[Problem, ...], word: str) -> list[str]:
    return [f"{word}: {problem}" for problem in problems]


def _print(as_json: bool, answer: object, lines: list[str]) -> None:
    typer.echo(_json(answer) if as_json else "\n".join(lines))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _stop(why: str, code: int = UNUSABLE) -> typer.Exit:
    typer.echo(f"airlock policy: {why}", err=True)
    return typer.Exit(code)
