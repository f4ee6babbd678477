"""The pages of a login at a server: what a person agrees to, where to log in, and what came of it."""

from __future__ import annotations

from html import escape
from urllib.parse import urlsplit

from airlock.api.pages import page
from airlock.gateway.tickets import CONNECT, Ticket
from airlock.model.http import Headers, HttpResponse
from airlock.model.link import Link

_PROOF = (
    "<p><label>Your token for this gateway, as your application sends it:<br>"
    '<input name="token" type="password" required autocomplete="off" spellcheck="false"></label></p>'
    "<p>It shows that this link is yours, and goes nowhere else.</p>"
)


def ask(
    ticket: Ticket, issuers: tuple[str, ...], field: str, headers: Headers, *, proven: bool
) -> HttpResponse:
    """The question whether the gateway may act for a person at a server. `field` is sealed."""
    rows = (
        ("Server", ticket.server),
        ("Login at", ", ".join(issuers) or "the address that the server names; the next page shows it"),
        ("For", ticket.who.subject.rpartition("|")[2]),
    )
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return page(
        200,
        "Let Airlock act for you at a server?",
        "<p>Agree only if you asked for this yourself, a moment ago. Airlock keeps the login, and uses it "
        f"for your calls of this server alone.</p><dl>{listed}</dl>"
        f'<form method="post" action="{CONNECT}">'
        f'<input type="hidden" name="flow" value="{escape(field)}">{"" if proven else _PROOF}'
        "<button>Go on</button></form>",
        headers,
    )


def onward(server: str, url: str, headers: Headers) -> HttpResponse:
    """Where to log in: the server chose it, so a person reads it before going there."""
    return page(
        200,
        "Log in at the server",
        f"<p>{escape(server)} has its logins at:</p><p><strong>{escape(urlsplit(url).netloc)}</strong></p>"
        f'<p><a href="{escape(url)}" rel="noreferrer">Log in there</a></p>'
        "<p>If you do not know this address, close this tab: nothing has happened.</p>",
        headers,
    )


def done(link: Link) -> HttpResponse:
    """The login is kept."""
    scopes = f" It may: {escape(', '.join(link.scopes))}." if link.scopes else ""
    return page(
        200,
        "You are connected",
        f"<p>Airlock can call {escape(link.server)} for you.{scopes}</p>"
        "<p>You can close this tab and go on in your application.</p>",
    )
