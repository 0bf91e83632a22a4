"""Rate a node's answers on a local page: plain forms, no script, nothing from the network."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from html import escape
from urllib.parse import parse_qs

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from regrow.align.feedback import Rated
from regrow.errors import RegrowError
from regrow.page.shell import fill
from regrow.serve.api import is_loopback, listen
from regrow.serve.rating import Session

#: The browser may load nothing at all, and send forms here only.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
)


def create_page(session: Session) -> FastAPI:
    """The application. It answers requests that name this machine as their host, and takes forms
    that carry the token of its own pages, so that no other page in a browser can rate."""
    app = FastAPI(title="regrow rate", docs_url=None, redoc_url=None, openapi_url=None)
    token, alone = secrets.token_urlsafe(16), threading.Lock()

    def page(error: str = "") -> Response:
        with alone:
            text = _page(session, token, error)
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(text, 400 if error else 200, headers)

    def take(form: Mapping[str, str]) -> Response:
        try:
            with alone:
                _take(session, form)
        except RegrowError as error:
            return page(str(error))
        return RedirectResponse("/", 303)

    @app.middleware("http")
    async def admit(request: Request, go_on):  # type: ignore[no-untyped-def]
        if not is_loopback(request.url.hostname or ""):
            return PlainTextResponse("this page is for localhost only", 403)
        return await go_on(request)

    @app.get("/")
    async def show() -> Response:
        return await to_thread.run_sync(page)

    @app.post("/")
    async def said(request: Request) -> Response:
        body = parse_qs((await request.body()).decode(errors="replace"))
        form = {name: values[-1] for name, values in body.items()}
        if not secrets.compare_digest(form.get("token", "").encode(), token.encode()):
            return PlainTextResponse("this form is not of this page; load it again", 403)
        return await to_thread.run_sync(take, form)

    return app


def _take(session: Session, form: Mapping[str, str]) -> None:
    number = form.get("number", "")
    if form.get("do") == "undo":
        session.undo()
    elif not number.isdecimal() or int(number) >= len(session.prompts):
        raise RegrowError("the form names no prompt; load the page again")
    elif form.get("do") == "skip":
        session.skip(int(number))
    else:
        count = len(session.shown(int(number)).answers)
        places = [form.get(f"place{n}", "") for n in range(count)]
        best = form.get("best", "")
        if not all(place.isdecimal() for place in places) or not best.isdecimal():
            raise RegrowError("give every answer a place, and the best a mark from 1 to 7")
        session.rate(int(number), [int(place) for place in places], int(best))


def _page(session: Session, token: str, error: str) -> str:
    found = session.next()
    done, total = session.done, len(session.prompts)
    parts = {
        "node": escape(session.speaker.name),
        "rater": escape(session.rater),
        "done": str(done),
        "total": str(total),
        "share": f"{100 * done / total:.1f}",
        "body": _form(*found, token, error) if found else _thanks(session, token),
    }
    return fill("regrow.serve", "rate.html", parts)


def _form(number: int, one: Rated, token: str, error: str) -> str:
    asked = "".join(
        f'<pre class="prompt"><b>{escape(turn.role)}</b>\n{escape(turn.content)}</pre>'
        for turn in one.prompt.messages
    )
    count = len(one.answers)
    cards = "".join(
        f'<div class="answer"><pre>{escape(answer.strip()) or "<i>nothing</i>"}</pre>'
        + (_choice(f"place{n}", "Place", range(1, count + 1)) if count > 1 else "")
        + "</div>"
        for n, answer in enumerate(one.answers)
    )
    only = '<input type="hidden" name="place0" value="1">' if count == 1 else ""
    return (
        f"{asked}"
        + (f'<p class="bad" role="alert">{escape(error)}</p>' if error else "")
        + "<p>Place the answers: 1 is the best, and answers that are alike share a place.</p>"
        f'<form method="post" action="/">{_hidden(token)}{only}'
        f'<input type="hidden" name="number" value="{number}"><div class="answers">{cards}</div>'
        + _choice("best", "How good is the best? 1 is bad, 7 could not be better", range(1, 8))
        + '<div class="does"><button class="go" name="do" value="rate">Keep</button>'
        '<button name="do" value="skip" formnovalidate>Skip</button>'
        '<button name="do" value="undo" formnovalidate>Take back the last</button></div></form>'
    )


def _choice(name: str, title: str, values: range) -> str:
    options = "".join(
        f'<label><input type="radio" name="{name}" value="{value}" required>{value}</label>'
        for value in values
    )
    return f"<fieldset><legend>{title}</legend>{options}</fieldset>"


def _hidden(token: str) -> str:
    return f'<input type="hidden" name="token" value="{token}">'


def _thanks(session: Session, token: str) -> str:
    return (
        f"<h2>Everything is rated</h2><p>Kept in {escape(str(session.path))}. You can close this "
        f'page.</p><form method="post" action="/">{_hidden(token)}<div class="does">'
        '<button name="do" value="undo">Take back the last</button></div></form>'
    )


def serve_page(session: Session, port: int) -> None:
    """Serve on this machine only, until interrupted. Raises RegrowError where the port is taken."""
    listen(create_page(session), "127.0.0.1", port, "rate at {address} (Ctrl-C stops)")
