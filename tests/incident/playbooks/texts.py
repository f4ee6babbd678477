"""Playbooks to compile: one that is right in every way, and its front matter."""

FRONT = """---
id: tool-rug-pull
title: A tool changed
types: [security_incident]
severity_floor: P1
triggers: [MCP-011]
impact: Calls are refused.
owner: security
reviewed_on: 2026-11-22
last_drill: pending
pre_approved: [quarantine]
---
"""

WHOLE = (
    FRONT
    + """
# All of it

## Keep *what* is `there`

~~~action {"id": "freeze"}
evidence.snapshot(scope="server:${server_id}", window="2h")
~~~

~~~action {"id": "quarantine", "ttl": "1h", "on_failure": "disable"}
tool.quarantine(server="${server_id}", tool="${tool}", digest="${new_digest}")
~~~

```action {"id": "disable", "when": "severity in ['P0', 'P1'] && steps.freeze == 'succeeded'", "approvals": 2}
server.disable(
  server="${server_id}",
  reason="the tool could not be held back"
)
```

## Start it again

1. By hand:

   ```bash {"id": "again", "delay": "30s", "timeout": "1h"}
   kubectl rollout restart deployment/airlock
   ```

```
nothing in particular ~~~~
```
"""
)


def with_steps(*fences: str) -> str:
    """A playbook whose first fence is in line 13."""
    front = FRONT.replace("pre_approved: [quarantine]", "pre_approved: []")
    return front + "\n".join("~~~" + fence + "\n~~~" for fence in fences) + "\n"
