"""Who may ask: keys that the service knows only by their SHA-256."""

import hashlib
import hmac

from flask import Flask, current_app, g, request

from api.problems import Problem

OPEN = {
    *("page.index", "static", "docs.docs", "contract.contract"),
    *("status.health", "status.ready", "status.ping", "problems.describe"),
}
"""Endpoints that need no key: what says nothing about anybody's recordings or load."""

_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def init_app(app: Flask, hashes: tuple[str, ...]) -> None:
    """Ask for one of the keys, if there are any."""
    app.config["API_KEYS"] = [bytes.fromhex(each) for each in hashes]
    if hashes:
        app.before_request(_check)


def client() -> str:
    """Who asks, for counting: a name made of their key, else their address."""
    name: str = g.get("client") or f"address {request.remote_addr}"
    return name


def _check() -> None:
    # No endpoint is no page of ours: 404 and 405 tell nothing.
    if request.endpoint is None or request.endpoint in OPEN:
        return
    key = _sent()
    if not key:
        detail = "Send a key in the header Authorization: Bearer, or in X-API-Key."
        raise Problem("unauthorized", detail, headers=_CHALLENGE)
    sent = hashlib.sha256(key.encode()).digest()
    # Every one is compared, in constant time: how long it takes tells nothing.
    known = [hmac.compare_digest(sent, each) for each in current_app.config["API_KEYS"]]
    if not any(known):
        raise Problem("unauthorized", "This key is not known here.", headers=_CHALLENGE)
    g.client = f"key {sent.hex()[:16]}"


def _sent() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("X-API-Key", "").strip()
