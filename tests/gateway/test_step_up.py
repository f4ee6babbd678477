"""Whether the login behind a call is recent and strong enough."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.core.config import StepUp
from airlock.core.errors import Unauthenticated
from airlock.gateway.step_up import step_up
from airlock.model.call import Routed
from tests.gateway.parts import (
    NOW,
    HandClock,
    authenticated,
    identified,
    principal,
    registered,
    routed,
    snapshot,
)

RECENT = int(NOW) - 299


def call(needed: StepUp | None, **login: Any) -> Routed:
    at = snapshot(registered(step_up=needed))
    return routed(identified(caller=authenticated(who=principal(**login), at=at)))


@pytest.mark.parametrize(
    ("needed", "login"),
    [
        (None, {}),
        (StepUp(max_age=300), {"auth_time": RECENT}),
        (StepUp(max_age=300), {"auth_time": int(NOW) + 30}),
        (StepUp(acr=("mfa", "hw")), {"acr": "hw"}),
        (StepUp(max_age=300, acr=("mfa",)), {"auth_time": RECENT, "acr": "mfa"}),
    ],
)
def test_a_login_that_suffices_passes(needed: StepUp | None, login: dict[str, Any]) -> None:
    step_up(HandClock())(call(needed, **login))


@pytest.mark.parametrize(
    ("needed", "login"),
    [
        (StepUp(max_age=300), {}),
        (StepUp(max_age=300), {"auth_time": int(NOW) - 301}),
        (StepUp(acr=("mfa",)), {}),
        (StepUp(acr=("mfa",)), {"acr": "pwd"}),
        (StepUp(max_age=300, acr=("mfa",)), {"auth_time": RECENT, "acr": "pwd"}),
        (StepUp(max_age=300, acr=("mfa",)), {"auth_time": int(NOW) - 301, "acr": "mfa"}),
    ],
)
def test_a_login_that_does_not_is_told_all_that_is_asked_for(needed: StepUp, login: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated) as refused:
        step_up(HandClock())(call(needed, **login))
    assert (refused.value.http, refused.value.reason) == (401, "login_insufficient")
    assert refused.value.acr_values == needed.acr
    assert refused.value.max_age == (int(needed.max_age) or None)
