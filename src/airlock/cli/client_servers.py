"""From a server as a client knows it to an entry of our configuration, or to the reason why not.

A program is named by its full path and started without a shell, secrets leave the configuration for files of
their own, and whatever cannot be taken over as it was is said. Values of variables, headers and arguments are
never repeated in a note.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

import msgspec

from airlock.cli.client_files import Found, LeftOut, mapping, text, texts

SHELLS = frozenset(
    ("sh", "bash", "dash", "zsh", "fish", "ksh", "cmd", "cmd.exe", "powershell", "pwsh", "powershell.exe")
)
_SHELL_MARK = re.compile(r"[;&|<>`\n]|\$\(")
_REFERENCE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_PROMPT = re.compile(r"\$\{input:[^}]*\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SECRET_NAME = re.compile(
    r"(?i)(token|secret|passw|pwd|passphrase|api_?-?key|apikey|access_?-?key|private_?-?key|credential|"
    r"auth|cookie|session|signature|dsn|connection_?string|database_?url|(^|_)(key|pat|pass)$)"
)
_SECRET_VALUE = re.compile(
    r"(gh[pousr]_|github_pat_|glpat-|sk-|xox[abprs]-|AKIA|ASIA|eyJ[A-Za-z0-9_-]+\.|-----BEGIN |AIza|npm_|hf_)"
    r"|://[^/@\s]+:[^/@\s]+@"
)
_GIVEN = re.compile(r"[A-Za-z0-9_-]+(?==|: )")
"""The name in `NAME=value` and `Header: value`."""
_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+/_=-]{24,}")

_READ = ("command", "args", "env", "cwd", "url", "serverUrl", "httpUrl", "headers", "type", "transport")
KNOWN = frozenset((*_READ, "disabled", "enabled", "name", "description", "source"))
"""Keys that are read or that say nothing of how the server is reached."""

APPROVALS = frozenset({"autoApprove", "alwaysAllow", "trust"})


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of `servers`, the secrets that it names by file, and what was changed on the way."""

    entry: dict[str, Any]
    secrets: dict[str, str]
    """File name -> content."""
    notes: tuple[str, ...]


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the import runs: its environment, and whether the gateway will be root."""

    environ: Mapping[str, str]
    root: bool


def imported(found: Found, name: str, around: Surroundings) -> Imported:
    """Take over one server under `name`. Raises LeftOut."""
    taking = _Taking(name, around)
    entry = found.entry
    if entry.get("disabled") is True or entry.get("enabled") is False:
        raise LeftOut("it is disabled in the client")
    url = next((entry[key] for key in ("url", "serverUrl", "httpUrl") if key in entry), None)
    kind = entry.get("type", entry.get("transport"))
    if kind == "sse" or (isinstance(url, str) and kind is None and _parts(url).path.endswith("/sse")):
        raise LeftOut("it speaks the retired HTTP+SSE transport: ask for its streamable HTTP address")
    if (url is None) == ("command" not in entry):
        raise LeftOut("it needs either a command or a url")
    taking.drop_unknown(entry)
    result = taking.stdio(entry) if url is None else taking.http(url, entry)
    return Imported(entry=result, secrets=taking.secrets, notes=tuple(taking.notes))


def looks_secret(name: str, value: str) -> bool:
    """Whether a value belongs into a file: by the name it has, or by its own looks."""
    random = not value.startswith("/") and _RANDOM.fullmatch(value)
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value) or random)


class _Taking:
    """One server on its way: notes and secrets gather here."""

    def __init__(self, name: str, around: Surroundings) -> None:
        self.name = name
        self.secrets: dict[str, str] = {}
        self.notes: list[str] = []
        self._environ = around.environ
        self._root = around.root

    def drop_unknown(self, entry: Mapping[str, Any]) -> None:
        for key in entry:
            if key in APPROVALS:
                self.notes.append(f"{key} is not taken over: policy decides what may be called")
            elif key not in KNOWN:
                self.notes.append(f"{key} is not taken over")

    def stdio(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """A program of this machine."""
        command = self._command(text(entry["command"], "command"), texts(entry.get("args", []), "args"))
        if entry.get("cwd"):
            self.notes.append("cwd is not taken over: it starts in an empty directory of its own")
        result: dict[str, Any] = {"name": self.name, "transport": "stdio", "command": command}
        plain, hidden = self._environment(mapping(entry.get("env", {}), "env"))
        result |= {"env": plain} if plain else {}
        result |= {"env_from": hidden} if hidden else {}
        if not self._root:
            result["unsafe_shared_user"] = True
            self.notes.append("it runs as your own user, as it did under the client (unsafe_shared_user)")
        elif not _open_to_all(command[0]):
            self.notes.append(f"{command[0]} lies in a private directory: its own user cannot start it there")
        return result

    def _command(self, program: str, arguments: list[str]) -> list[str]:
        words = [self._filled(word) for word in self._words(program, arguments)]
        path = shutil.which(words[0], path=self._environ.get("PATH"))
        if path is None:
            raise LeftOut(f"there is no program {words[0]} here: install it, then run this again")
        if path != words[0]:
            self.notes.append(f"{words[0]} is {path}")
        if any(_SHELL_MARK.search(word) for word in words[1:]):
            self.notes.append(
                "its arguments hold marks of a shell; there is none, they are taken as they stand"
            )
        self._tell_packages(words)
        for previous, word in pairwise(words):
            flag, _, value = word.partition("=") if word.startswith("-") else (previous, "", word)
            given = _GIVEN.match(word)
            named = (flag if flag.startswith("-") else "", given[0] if given else "")
            if value and (_SECRET_VALUE.search(value) or any(map(_SECRET_NAME.search, named))):
                self.notes.append(
                    "an argument looks like a secret: every user of this machine sees it while it runs; "
                    "use a variable if the server takes one"
                )
                break
        return [os.path.abspath(path), *words[1:]]

    def _words(self, program: str, arguments: list[str]) -> list[str]:
        """Program and arguments without a shell around them. Raises LeftOut where only a shell could run
        them."""
        if _PROMPT.search(" ".join([program, *arguments])):
            raise LeftOut("it asks for an input (${input:...}): write the value, then run this again")
        if " " in program and shutil.which(program, path=self._environ.get("PATH")) is None:
            self.notes.append("command was a whole line; it is taken apart into words")
            program, *before = self._split(program)
            arguments = [*before, *arguments]
        if PureWindowsPath(program).name.lower() not in SHELLS:
            return [program, *arguments]
        flags = [word for word in arguments if word.lower() in {"/c", "-c", "-lc", "/d", "/s"}]
        if not flags or arguments[0] != flags[0]:
            raise LeftOut(f"it is a script of {program}: Airlock starts programs, no shells")
        rest = arguments[len(flags) :]
        self.notes.append(f"{program} {flags[-1]} is left out: there is no shell between")
        return self._split(rest[0]) if len(rest) == 1 else self._unmarked(rest)

    def _split(self, line: str) -> list[str]:
        try:
            return (
                self._unmarked(shlex.split(line)) if not _SHELL_MARK.search(line) else self._unmarked([line])
            )
        except ValueError as error:
            raise LeftOut(f"its command line cannot be taken apart: {error}") from error

    def _unmarked(self, words: list[str]) -> list[str]:
        if not words or any(_SHELL_MARK.search(word) for word in words):
            raise LeftOut("its command needs a shell, and there is none: name one program and its arguments")
        return words

    def _tell_packages(self, words: list[str]) -> None:
        if Path(words[0]).name not in {"npx", "uvx", "bunx", "pipx"}:
            return
        package = next((word for word in words[1:] if not word.startswith("-")), "")
        if not re.search(r".@[0-9]|==[0-9]", package):
            self.notes.append(
                "it runs whatever version of its package is newest: name one, such as name@1.2.3"
            )

    def _environment(self, given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Variables that stay readable, and those whose values go to files."""
        plain: dict[str, str] = {}
        hidden: dict[str, str] = {}
        for variable, value in given.items():
            if not _VARIABLE.fullmatch(variable):
                raise LeftOut(f"{variable!r} is not the name of a variable")
            filled = self._filled(value)
            if looks_secret(variable, filled):
                hidden[variable] = self._hide(variable, filled)
            else:
                plain[variable] = filled
        return plain, hidden

    def http(self, url: Any, entry: Mapping[str, Any]) -> dict[str, Any]:
        """A server somewhere else."""
        address, credential = self._address(self._filled(text(url, "url")))
        result: dict[str, Any] = {"name": self.name, "transport": "http", "url": address}
        headers = mapping(entry.get("headers", {}), "headers")
        values = {header: self._filled(value) for header, value in headers.items()}
        if credential:
            values = {**values, "Authorization": credential}
        if values:
            chosen = max(
                values, key=lambda header: (header.lower() == "authorization", looks_secret(header, ""))
            )
            result["credential"] = self._credential(chosen, values[chosen])
            self.notes += [
                f"the header {other} is not sent: Airlock sends one" for other in values if other != chosen
            ]
        return result

    def _address(self, url: str) -> tuple[str, str]:
        """The address without a user and password, and the header that carries them."""
        parts = _parts(url)
        plain = url.isascii() and url.isprintable() and " " not in url
        if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
            raise LeftOut("its url is not an http or https address")
        if any(looks_secret(name, value) for name, value in parse_qsl(parts.query)):
            self.notes.append(
                "its url holds what looks like a secret, and it stays there: use a header if it takes one"
            )
        login, _, host = parts.netloc.rpartition("@")
        if not login:
            return urlunsplit((*parts[:4], "")), ""
        self.notes.append("user and password of its url are moved to a header")
        encoded = base64.b64encode(unquote(login).encode()).decode()
        return urlunsplit((parts.scheme, host, parts.path, parts.query, "")), f"Basic {encoded}"

    def _credential(self, header: str, value: str) -> dict[str, str]:
        if not _HEADER.fullmatch(header) or not value.isascii() or not value.isprintable():
            raise LeftOut(f"the header {header!r} is not one line of ASCII")
        scheme, space, rest = value.partition(" ")
        prefix = f"{scheme} " if space and scheme.lower() in {"bearer", "basic", "token"} else ""
        file = self._hide(header, rest if prefix else value)
        return {"header": header, **({"prefix": prefix} if prefix else {}), "file": file}

    def _hide(self, label: str, value: str) -> str:
        file = f"secrets/{self.name}.{re.sub(r'[^A-Za-z0-9_-]', '_', label)}"
        self.secrets[file] = value
        self.notes.append(f"the value of {label} is moved to {file}")
        return file

    def _filled(self, value: str) -> str:
        """The text with the variables of this environment in their places. Raises LeftOut for one that is not
        set."""
        if _PROMPT.search(value):
            raise LeftOut("it asks for an input (${input:...}): write the value, then run this again")

        def fill(match: re.Match[str]) -> str:
            default: str | None = match[2]
            found = self._environ.get(match[1], default)
            if found is None:
                raise LeftOut(f"it needs the variable {match[1]}, which is not set here")
            self.notes.append(f"the variable {match[1]} is taken over with the value it has here")
            return found

        return _REFERENCE.sub(fill, value)


def _parts(url: str) -> SplitResult:
    """The parts of an address, empty ones for what is none."""
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 else urlsplit("")
    except ValueError:
        return urlsplit("")


def _open_to_all(program: str) -> bool:
    """Whether every user may walk to the program."""
    return all(parent.stat().st_mode & 0o001 for parent in Path(program).resolve().parents)
