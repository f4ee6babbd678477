"""Rules that need themselves, and chains that are too long: either can take the whole process down.

OPA refuses recursion when it compiles; this engine follows a recursive function until the stack is gone.
References are taken as in OPA: a computed key may mean any rule below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airlock.policy.problem import Problem
from airlock.policy.syntax import references, static, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airlock.policy.syntax import Module, Node, Path, Rule

MAX_CHAIN = 100
"""Rules that need each other in a row; the engine runs out of an 8 MiB stack somewhere above 1,000."""

Name = tuple[str, ...]


def check_recursion(modules: Sequence[Module]) -> list[Problem]:
    """At most one problem: the first cycle or over-long chain that is found."""
    places: dict[Name, Rule] = {}
    targets: dict[Name, set[Name]] = {}
    for module in modules:
        for rule in module.rules:
            name = (*module.package, *static(rule.path))
            places.setdefault(name, rule)
            targets.setdefault(name, set()).update(_targets(module, rule))
    uses = {name: sorted(_meant(wanted, places)) for name, wanted in targets.items()}
    name, message = _trouble(uses)
    if not message:
        return []
    rule = places[name]
    return [Problem(file=rule.file, line=rule.line, col=rule.col, message=message)]


def _targets(module: Module, rule: Rule) -> Iterator[Name]:
    """Full paths of what the rule reads and calls; a call cannot mean a local name, a plain reference can."""
    calls = {_span(*body["fcn"].values()) for kind, body in walk(rule.node) if kind == "Call"}
    aliases = module.aliases
    for path, span in references(rule.node):
        place = _span({"span": span})
        if place != rule.head and (place in calls or path[0] not in rule.bound):
            full = _full(path, module.package, aliases)
            if full[0] == "data":
                yield full[1:]


def _full(path: Path, package: Name, aliases: dict[str, Path]) -> Name:
    root, *rest = path
    if root in {"data", "input"}:
        return static(path)
    return static((*aliases.get(str(root), ("data", *package, root)), *rest))


def _span(body: Node) -> tuple[int, int]:
    return body["span"]["start"], body["span"]["end"]


def _meant(wanted: set[Name], rules: dict[Name, Rule]) -> set[Name]:
    return {
        rule for rule in rules for name in wanted if all(a == b for a, b in zip(name, rule, strict=False))
    }


def _trouble(uses: dict[Name, list[Name]]) -> tuple[Name, str]:
    """Depth first without recursion of our own: `depth` is known once all that a rule needs is known."""
    depth: dict[Name, int] = {}
    for start, first in uses.items():
        way = {start: iter(first)}
        while way:
            name = next(reversed(way))
            following = next((use for use in way[name] if use not in depth), None)
            if following is None:
                del way[name]
                depth[name] = 1 + max((depth[use] for use in uses[name]), default=0)
                if depth[name] > MAX_CHAIN:
                    return name, f"{'.'.join(name)} needs a chain of more than {MAX_CHAIN} rules"
            elif following in way:
                names = [".".join(step) for step in [*way, following]]
                return following, f"recursion: {' -> '.join(names[names.index(names[-1]) :])}"
            else:
                way[following] = iter(uses[following])
    return (), ""
