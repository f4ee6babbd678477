"""Wiring: what goes on beside single answers with modern clients and servers: questions, parks, news."""

from __future__ import annotations

from secrets import token_urlsafe

import msgspec

from airlock.app.peers import Peers
from airlock.app.redaction import Redaction
from airlock.app.servers import Servers
from airlock.gateway.audience import Audience
from airlock.gateway.authorize import Authorize
from airlock.gateway.conversing import Conversing, Put
from airlock.gateway.ferry import Ferry
from airlock.gateway.interests import Interests
from airlock.gateway.listens import Listens
from airlock.gateway.parks import Parks
from airlock.gateway.record import Record
from airlock.gateway.visibility import Visibility
from airlock.model.snapshot import Current


class Conversations(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one worker."""

    conversing: Conversing
    parks: Parks
    listens: Listens
    interests: Interests


def wire(
    *,
    slot: int,
    peers: Peers,
    put: Put,
    behind: Servers,
    current: Current,
    record: Record,
    secrets: Redaction,
    authorize: Authorize,
    audience: Audience,
    visibility: Visibility,
) -> Conversations:
    """`put` asks a legacy client."""
    asked, answers = secrets.response.asked, secrets.request.answers
    ferry = Ferry(node=f"{slot}-{token_urlsafe(6)}", one=peers.one)
    parks = ferry.parks = Parks(node=ferry.node, asked=asked, answers=answers, elsewhere=ferry.over)
    peers.hears |= ferry.hears
    interests = Interests(behind.upstreams)
    behind.updated.append(interests.heard)
    listens = Listens(
        audience=audience,
        visible=visibility,
        permitted=lambda routed: authorize.may_ask(routed, "resources/subscribe", routed.arguments),
        interests=interests,
        current=current,
        record=record,
    )
    conversing = Conversing(put=put, asked=asked, answers=answers)
    return Conversations(conversing=conversing, parks=parks, listens=listens, interests=interests)
