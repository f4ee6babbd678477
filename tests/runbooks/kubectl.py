"""The harness' `kubectl`: as much of the real client as the runbooks use, on the workloads of a `Stack`.

`exec` runs in the workload's own namespaces and environment, `logs` shows what it wrote to standard output,
with the client's ten lines for `-l`, `patch configmap` and `cp` do what they do. What only a cluster can do
says so and ends with 90; an unknown command or flag ends with 91. Both fail the check that asked.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

NEEDS_CLUSTER = 90
UNKNOWN = 91
SELECTED = 10
"""Lines of each pod that `logs -l` shows where no `--tail` is given."""
UNITS = {"s": 1, "m": 60, "h": 3600}
WITH_VALUE = {
    "-n": "namespace", "--namespace": "namespace", "-l": "selector", "--selector": "selector", "-o": "output",
    "--output": "output", "--tail": "tail", "--since": "since", "--patch": "patch", "-p": "patch",
    "--sort-by": "sort", "--replicas": "replicas", "--timeout": "timeout", "--for": "for", "-f": "file",
    "--from-literal": "literal", "-c": "container", "--container": "container",
}  # fmt: skip
WITHOUT = {"-i": "stdin", "-t": "tty", "-it": "stdin", "--containers": "containers"}
CLUSTER = frozenset((
    "top", "wait", "rollout", "edit", "scale", "delete", "describe", "apply", "create",
))  # fmt: skip
"""Commands whose answers a cluster gives, or rendered charts."""


class Refused(Exception):
    """Text and exit status."""


def parse(words: list[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Positional words, flags, and what stands after `--`. Raises Refused for an unknown flag."""
    given, command = words, list[str]()
    if "--" in words:
        cut = words.index("--")
        given, command = words[:cut], words[cut + 1 :]
    positional: list[str] = []
    flags: dict[str, str] = {}
    rest = iter(given)
    for word in rest:
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name in WITH_VALUE:
            flags[WITH_VALUE[name]] = value if equals else next(rest, "")
        elif name in WITHOUT and not equals:
            flags[WITHOUT[name]] = "yes"
        elif word.startswith("-") and word != "-":
            raise Refused(f"unknown flag: {word}", UNKNOWN)
        else:
            positional.append(word)
    return positional, flags, command


class Cluster:
    """What runs, from the file that the stack writes."""

    def __init__(self, world: Mapping[str, Any]) -> None:
        self._workloads: list[dict[str, Any]] = world["workloads"]
        self._maps: dict[str, dict[str, dict[str, str]]] = world["configmaps"]
        self._merged = Path(world["merged"])

    def named(self, namespace: str, name: str) -> dict[str, Any]:
        """The workload `deployment/x` (of several replicas, one), or the pod `x`."""
        kind, slash, bare = name.rpartition("/")
        for one in self._workloads:
            kinds = ("deployment", "deploy") if slash else ()
            if one["namespace"] == namespace and (
                one["pod"] == bare if not slash else one["name"] == bare and kind in kinds
            ):
                return one
        raise Refused(f'Error from server (NotFound): "{name}" not found in {namespace}', 1)

    def selected(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        """The workloads that carry all labels of `a=b,c=d`."""
        wanted = dict(pair.split("=", 1) for pair in selector.split(","))
        return [
            one
            for one in self._workloads
            if one["namespace"] == namespace and wanted.items() <= one["labels"].items()
        ]

    def exec(self, positional: list[str], flags: dict[str, str], command: list[str]) -> int:
        (name,) = positional
        one = self.named(flags["namespace"], name)
        raw = Path(f"/proc/{one['pid']}/environ").read_bytes().split(b"\0")
        environment = dict(os.fsdecode(line).split("=", 1) for line in raw if b"=" in line)
        return subprocess.run(inside(one, command), env=environment, check=False).returncode

    def logs(self, positional: list[str], flags: dict[str, str], _: list[str]) -> int:
        if "selector" in flags:
            found, tail = (
                self.selected(flags["namespace"], flags["selector"]),
                flags.get("tail", str(SELECTED)),
            )
        else:
            found, tail = [self.named(flags["namespace"], positional[0])], flags.get("tail", "-1")
        for one in found:
            lines = Path(one["log"]).read_text(errors="replace").splitlines()
            if "since" in flags:
                lines = since(lines, flags["since"], datetime.now(UTC))
            shown = lines if int(tail) < 0 else lines[len(lines) - min(int(tail), len(lines)) :]
            sys.stdout.writelines(line + "\n" for line in shown)
        return 0

    def get(self, positional: list[str], flags: dict[str, str], _: list[str]) -> int:
        kind = positional[0].removesuffix("s")
        if kind != "pod" or flags.get("output") != "jsonpath={.items[0].metadata.name}":
            raise Refused(f"get {' '.join(positional)}", NEEDS_CLUSTER)
        found = self.selected(flags["namespace"], flags["selector"])
        if not found:
            raise Refused("error: array index out of bounds: index 0, length 0", 1)
        sys.stdout.write(found[0]["pod"])
        return 0

    def cp(self, positional: list[str], _: dict[str, str], __: list[str]) -> int:
        """Out of a pod only. As the real one: by `tar`, which copies no symbolic link."""
        source, target = positional
        place, path = source.split(":", 1)
        namespace, pod = place.split("/", 1)
        at = Path(path)
        packed = subprocess.run(
            inside(self.named(namespace, pod), ["tar", "cf", "-", "-C", str(at.parent), at.name]),
            capture_output=True, check=False,
        )  # fmt: skip
        if packed.returncode != 0:
            raise Refused(packed.stderr.decode(), 1)
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            member = archive.getmembers()[0]
            if not member.isreg():
                sys.stderr.write(f"warning: skipping symlink: {path}\n")
                return 0
            content = archive.extractfile(member)
            assert content is not None
            Path(target).write_bytes(content.read())
        return 0

    def patch(self, positional: list[str], flags: dict[str, str], _: list[str]) -> int:
        kind, name = positional
        if kind not in ("configmap", "cm"):
            raise Refused(f"patch {kind}", NEEDS_CLUSTER)
        import yaml

        files = self._maps[flags["namespace"]][name]
        data = {key: Path(file).read_text() if Path(file).exists() else "" for key, file in files.items()}
        merged = {"kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        said = yaml.safe_load(flags["patch"])
        if set(said) != {"data"}:
            raise Refused(f"patch of {', '.join(said)}", UNKNOWN)
        merged["data"] |= said["data"]
        (self._merged / f"{name}.json").write_text(json.dumps(merged))
        for key, file in files.items():
            fresh = Path(f"{file}.new")
            fresh.write_text(merged["data"][key])
            fresh.replace(file)
        sys.stdout.write(f"configmap/{name} patched\n")
        return 0


def inside(one: Mapping[str, Any], command: list[str]) -> list[str]:
    """The command line that runs in the namespaces of a workload."""
    return ["nsenter", "--target", str(one["pid"]), "--pid", "--mount", "--", *command]


def since(lines: list[str], span: str, now: datetime) -> list[str]:
    """The lines from the first that is not older than `span`, such as `2h`."""
    oldest = now - timedelta(seconds=int(span[:-1]) * UNITS[span[-1]])
    for number, line in enumerate(lines):
        if line.startswith("{") and datetime.fromisoformat(json.loads(line)["timestamp"]) >= oldest:
            return lines[number:]
    return []


def main(words: list[str]) -> int:
    """Exit status as the module says."""
    cluster = Cluster(json.loads(Path(os.environ["RUNBOOK_WORLD"]).read_text()))
    known: dict[str, Callable[[list[str], dict[str, str], list[str]], int]] = {
        "exec": cluster.exec,
        "logs": cluster.logs,
        "get": cluster.get,
        "cp": cluster.cp,
        "patch": cluster.patch,
    }
    try:
        positional, flags, command = parse(words[1:])
        if words[0] in CLUSTER:
            return refuse(f"{words[0]} {' '.join(positional)}", NEEDS_CLUSTER)
        if words[0] not in known:
            return refuse(f"unknown command: {words[0]}", UNKNOWN)
        return known[words[0]](positional, flags, command)
    except Refused as refused:
        return refuse(*refused.args)


def refuse(text: str, status: int) -> int:
    word = {NEEDS_CLUSTER: "kubectl of the harness: needs a cluster: ", UNKNOWN: "kubectl of the harness: "}
    sys.stderr.write(f"{word.get(status, '')}{text}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
