"""Faults that tests and the runbook harness put into a real deployment, each proven before it is used.

Every fault is a context manager that yields its `Facts`. Entering it makes the fault and proves, without
asking the product, that it is really there: `Absent` is raised where it is not. Leaving it mends.
What a fault needs in the gateway's processes (a panic, a leak, a lost message, a forgetful disk, another
clock) waits in a `Seam`, whose `environment` the gateway is started with, and does nothing until asked.

| id | fault |
|---|---|
| F1 | `policy_panics(seam, workers, knock)` |
| F2 | `policy_broken(file, line=7)` |
| F4u F4p | `Proxy.slow(3.0)` between the gateway and an upstream; `policy_slow(seam, workers, knock, 0.5)` |
| F6 | `small_volume(path, mib=8)` before the start, `full_disk(path)` later |
| F7e d t | `row_edited row_deleted tail_truncated` of `(database)`; `cover=True`: its head agrees |
| F7r k | `history_rehashed(database)`, `row_forked(database)`; in a journal: `journal_edited(chain, seq)` |
| F8d k | `provider_down(provider)`, `provider_rotated(provider)`; `provider_lies(provider, path, ...)` |
| F8c | `clock_shifted(seam, workers, 600)`; at the other end `provider_skewed(provider, 600)` |
| F9 | `failed_authentications(gateway, count=50, source="203.0.113.7")` |
| F10 | `in_flight(gateway, recorder, token, tool="srv-evil__hang")`: an open session and a call in it |
| F11 F11l | `canary_in_result(recorder, tool)`, `canary_in_log(file)` |
| F12 | `leak(seam, workers, knock, mib=256)` |
| F13 | `deaf_worker(seam, workers, slot=1)` |
| F17 | `killed_under_load(pid, gateway, token, tool, rate=200.0)`; also `Load(...)` by itself |
| F18 | `Proxy.down()`, or `Namespace.cut()`; `Proxy.garbage() endless() torn() silent() throttled()` |
| - | `killed(pid)`, `stopped(pid)`, `power_loss(seam, supervisor, journals)`, `lying_flush(seam)` |

`workers` are process ids: `children(supervisor, "airlock.worker")`. Before F7 on a running gateway:
`projector_still(supervisor, database)`.
"""

from tests.faults.callers import Load as Load
from tests.faults.callers import failed_authentications as failed_authentications
from tests.faults.callers import in_flight as in_flight
from tests.faults.callers import killed_under_load as killed_under_load
from tests.faults.callers import open_session as open_session
from tests.faults.canaries import CANARIES as CANARIES
from tests.faults.canaries import canary_in_log as canary_in_log
from tests.faults.canaries import canary_in_result as canary_in_result
from tests.faults.disk import full_disk as full_disk
from tests.faults.disk import small_volume as small_volume
from tests.faults.facts import Absent as Absent
from tests.faults.facts import Facts as Facts
from tests.faults.facts import prove as prove
from tests.faults.facts import proven as proven
from tests.faults.network import Namespace as Namespace
from tests.faults.policy import policy_broken as policy_broken
from tests.faults.processes import children as children
from tests.faults.processes import killed as killed
from tests.faults.processes import state as state
from tests.faults.processes import stopped as stopped
from tests.faults.provider import provider_down as provider_down
from tests.faults.provider import provider_lies as provider_lies
from tests.faults.provider import provider_rotated as provider_rotated
from tests.faults.provider import provider_skewed as provider_skewed
from tests.faults.proxy import Proxy as Proxy
from tests.faults.seams import Seam as Seam
from tests.faults.seams import clock_shifted as clock_shifted
from tests.faults.seams import deaf_worker as deaf_worker
from tests.faults.seams import leak as leak
from tests.faults.seams import lying_flush as lying_flush
from tests.faults.seams import policy_panics as policy_panics
from tests.faults.seams import policy_slow as policy_slow
from tests.faults.seams import power_loss as power_loss
from tests.faults.tampering import history_rehashed as history_rehashed
from tests.faults.tampering import journal_edited as journal_edited
from tests.faults.tampering import projector_still as projector_still
from tests.faults.tampering import row_deleted as row_deleted
from tests.faults.tampering import row_edited as row_edited
from tests.faults.tampering import row_forked as row_forked
from tests.faults.tampering import tail_truncated as tail_truncated
