"""The policies that are shipped, questions for them, and real OPA as a child process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Self

from hypothesis import strategies as st

from airlock.model.decision import PolicyInput
from airlock.policy.bundle import Bundle, load_bundle
from airlock.policy.sample import complete

ROOT = Path(__file__).resolve().parents[2]
SHIPPED: dict[str, Path | None] = {"starter": None, "examples": ROOT / "examples" / "policy"}

NAMES = ["read_text_file", "write_file", "list_directory", "search", "move_file", "x", ""]
PATHS = [
    "public/a.txt", "public", "/srv/docs/a", "private/a", "public/../private/a", "/etc/passwd", "public/.git",
    "..", "", "publicity", "public\\a", "/srv/docs", "~/x", "public//a", "\u00fcber/a", "public/\u00fc\u0000",
]  # fmt: skip


def shipped(name: str) -> Bundle:
    return load_bundle(SHIPPED[name])


def bundle(text: str, **files: bytes) -> Bundle:
    """A policy of one module in package `airlock`, with further files by name (`_` stands for `.`)."""
    others = {name.replace("__", "/").replace("_json", ".json"): content for name, content in files.items()}
    return Bundle.of({"a.rego": f"package airlock\n{text}".encode(), **others}, origin="test")


values = st.one_of(
    st.sampled_from(PATHS), st.integers(-2, 5), st.booleans(), st.none(), st.just({"path": "public"})
)

partial_questions: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "phase": st.sampled_from(["list", "call"]),
        "action": st.sampled_from(
            [
                "tools/call",
                "resources/read",
                "prompts/get",
                "sampling/createMessage",
                "admin:servers.update",
                "",
            ]
        ),
        "subject": st.fixed_dictionaries(
            {
                "tenant": st.sampled_from(["acme", "globex", "initech", ""]),
                "roles": st.lists(
                    st.sampled_from(["viewer", "developer", "admin", "contractor", "guest", "Admin"]),
                    max_size=3,
                ),
            }
        ),
        "target": st.fixed_dictionaries(
            {
                "server": st.sampled_from(["files", "docs", "other"]),
                "name": st.sampled_from(NAMES),
                "tenant": st.sampled_from(["", "acme", "globex"]),
                "sensitivity": st.sampled_from(["low", "medium", "high", "critical"]),
                "read_only": st.booleans(),
                "approved": st.booleans(),
            }
        ),
        "arguments": st.dictionaries(
            st.sampled_from(["path", "paths", "source", "destination", "content", "file", "head"]),
            st.one_of(values, st.lists(values, max_size=3)),
            max_size=3,
        ),
        "context": st.fixed_dictionaries(
            {
                "time": st.fixed_dictionaries(
                    {
                        "hour": st.integers(0, 23),
                        "weekday": st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]),
                    }
                )
            }
        ),
    }
)


def question(partial: dict[str, Any]) -> PolicyInput:
    """With `phase: list` there are no arguments, as in real life."""
    if partial["phase"] == "list":
        partial = partial | {"arguments": {}}
    return complete(partial)


class Opa:
    """Real OPA; `scripts/parts.sh` installs it."""

    def __init__(self) -> None:
        python = ROOT / ".parts" / "opa-venv" / "bin" / "python"
        assert python.exists(), f"{python} is missing: run `make setup`, which installs the part `opa`"
        self._process = subprocess.Popen(
            [python, ROOT / "tests" / "policy" / "opa_oracle.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def load(self, modules: dict[str, bytes], data: dict[str, Any]) -> str:
        """Empty, or why OPA refuses the policy."""
        texts = {name: text.decode() for name, text in modules.items()}
        return self._ask({"load": {"modules": texts, "data": data}}).get("error", "")

    def ask(self, rule: str, questions: list[Any]) -> list[dict[str, Any]]:
        """For each question {"value": ...}, {} when undefined, or {"error": text}."""
        answer = self._ask({"path": rule, "inputs": questions})
        assert "results" in answer, answer
        return answer["results"]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the OPA process has ended"
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()
