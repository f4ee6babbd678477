"""The pages of the login: what a person is asked, and what went wrong. Plain HTML without scripts.

Everything that a client says of itself is escaped, and shown as its own claim. No page may be framed, loads
anything, or is kept by a cache; forms go to this gateway only.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from urllib.parse import urlsplit

from airlock.identity.clients import LOOPBACK
from airlock.identity.flow import Request
from airlock.model.http import Headers, HttpResponse

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:3em auto;padding:0 1em;color:#1a1a1a}"
    "dt{color:#555}dd{margin:0 0 .8em;font-weight:600;overflow-wrap:anywhere}"
    "button{font:inherit;padding:.5em 1.4em;margin-right:1em}"
)

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

SECURITY: Headers = (
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'",
    ),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    # Not `no-referrer`: browsers would send `Origin: null` with the form.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
)

_ABILITIES = {"mcp.list": "see the tools that you may use", "mcp.call": "call these tools as you"}


def page(status: int, title: str, body: str, headers: Headers = (), *, head: str = "") -> HttpResponse:
    """A page. `body` and `head` are HTML, whose variable parts are escaped already; `title` is text."""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>{head}</head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return HttpResponse(
        status=status,
        body=text.encode(),
        headers=(("content-type", "text/html; charset=utf-8"), *SECURITY, *headers),
    )


def consent(request: Request, field: str, headers: Headers) -> HttpResponse:
    """The question whether a client may act for the person. `field` is sealed."""
    rows = (
        ("Application", f"{request.name or 'without a name'} (it calls itself so; nobody checked)"),
        ("Known by", _known_by(request.client)),
        ("Your login goes to", _place(request.redirect_uri)),
        ("It may", "; ".join(_ability(scope) for scope in request.scopes)),
        ("At", request.resource),
    )
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return page(
        200,
        "Allow an application to act for you?",
        f"<p>Agree only if you started this yourself, a moment ago.</p><dl>{listed}</dl>"
        '<form method="post" action="/oauth/consent">'
        f'<input type="hidden" name="flow" value="{escape(field)}">'
        '<button name="decision" value="allow">Allow</button>'
        '<button name="decision" value="deny">Deny</button></form>',
        headers,
    )


def onward(url: str, headers: Headers = ()) -> HttpResponse:
    """Send the browser on after a form. A redirect would be bound by the `form-action` of the page before,
    with everything that the other side redirects to in turn."""
    target = escape(url)
    return page(
        200,
        "One moment",
        f'<p><a href="{target}">Go on</a></p>',
        headers,
        head=f'<meta http-equiv="refresh" content="0;url={target}">',
    )


def redirect(url: str, headers: Headers = ()) -> HttpResponse:
    """Send the browser on after a plain request. The address of this request goes nowhere with it."""
    return HttpResponse(
        status=303,
        headers=(
            ("location", url),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            *headers,
        ),
    )


def failed(status: int, text: str, reason: str, headers: Headers = ()) -> HttpResponse:
    """What went wrong. Nobody is sent anywhere: whoever wrote the address could have chosen where to."""
    return page(
        status, "This login cannot go on", f"<p>{escape(text)}</p><p>Reason: {escape(reason)}</p>", headers
    )


def _known_by(client: str) -> str:
    host = urlsplit(client).hostname
    return f"its own page at {host}" if host else "a registration that anybody can make"


def _place(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.hostname in LOOPBACK:
        return "an application on this computer"
    if parts.scheme not in ("http", "https"):
        return f"the application on this computer that opens {parts.scheme}: links"
    return str(parts.hostname)


def _ability(scope: str) -> str:
    return _ABILITIES.get(scope, f"call the tools of {scope.rpartition('.')[2]} as you")
