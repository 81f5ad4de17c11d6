"""The worker process: gunicorn's gthread, but no thread waits for a client.

gthread gives a connection a thread before its request has come in, so as many slow clients as
there are threads stop everybody else, and a full thread pool lets requests queue where no one
sees them. Here one loop reads all requests as they come in, within bounds of time and memory. A
thread gets a request once it is there as a whole; beyond `SER_MAX_IN_FLIGHT` of them the loop
refuses at once, by the head of the request alone. What is not a POST has threads of its own, so
that health and metrics never wait for predictions.
"""

import os
import selectors
import socket
import time
from concurrent import futures
from contextvars import ContextVar
from functools import partial
from typing import Any

from gunicorn.http import get_parser
from gunicorn.http.errors import ParseException

from api import bare, overload
from api.arrival import Arrival
from api.connections import Answer, Incoming, Job, Lingering, Sending, send, send_some
from api.door import Door
from api.settings import Settings
from api.upload import FORM_ALLOWANCE

LIGHT_THREADS = 2
"""Threads for what needs no model: health, metrics, the page."""

TICK = 0.25
"""Seconds between two looks at the clock."""

_RECEIVE = 256 * 1024
_SEND_SECONDS = 10
_LINGER_SECONDS = 2.0
_REFUSED_LINGER_SECONDS = 5.0
_STOP_IDLE_SECONDS = 2.0
_RESCUE_SECONDS = 5.0

_ARRIVAL: ContextVar[Arrival] = ContextVar("arrival")
"""The request that this thread works on."""


class Worker(Door):
    """Reads requests in one loop, answers them in threads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = Settings.from_environment()
        self._incoming: dict[Any, Incoming] = {}
        self._lingering: dict[Any, Lingering] = {}
        self._sending: dict[Any, Sending] = {}
        self._jobs: set[Job] = set()
        self._in_flight = 0
        self._held = 0
        self._ticked = 0.0
        self._rescue_since: float | None = None
        # Large blocks of memory come from the system anew each time, so this one stays.
        self._buffer = memoryview(bytearray(_RECEIVE))

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse what this worker cannot do."""
        if cfg.is_ssl:
            raise SystemExit("ser: TLS is for the proxy before the service; unset certfile")

    def init_process(self) -> None:
        self._light = futures.ThreadPoolExecutor(LIGHT_THREADS, "light")
        super().init_process()

    # What comes in

    def _expect(self, conn: Any, first: bytes = b"") -> None:
        """Wait for a connection's next request, of which some may be here already."""
        now = time.monotonic()
        arrival = Arrival(self._settings.max_bytes + FORM_ALLOWANCE)
        incoming = self._incoming[conn] = Incoming(conn, arrival, now, now)
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._receive, incoming))
        if first:
            self._take(incoming, first)
        else:
            self._receive(incoming, conn.sock)

    def _receive(self, incoming: Incoming, sock: Any) -> None:
        if self._incoming.get(incoming.conn) is not incoming:
            return  # closed by an event of the same turn
        try:
            data = bytes(self._buffer[: sock.recv_into(self._buffer)])
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(incoming)
            return
        if data:
            self._take(incoming, data)
        elif incoming.arrival.received and not incoming.refused:
            incoming.arrival.end()
            self._hand_over(incoming)
        else:
            self._drop(incoming)

    def _take(self, incoming: Incoming, data: bytes) -> None:
        arrival = incoming.arrival
        incoming.last = time.monotonic()
        if not arrival.received:
            incoming.started = incoming.last
        if not incoming.refused:
            self._held += len(data)
        try:
            arrival.feed(data)
        except Exception:
            # Else one connection would end the process, and with it what all others wait for.
            self.log.exception("a connection is closed, as what came in on it was not understood")
            self._drop(incoming)
            return
        if incoming.refused:
            if arrival.complete:
                self._start_over(incoming)
            return
        if arrival.complete:
            self._hand_over(incoming, "too-large" if arrival.too_large else None)
            return
        if self._is_full_for(arrival):
            self._refuse_here(incoming, "overloaded")
            return
        if arrival.expects_continue and not incoming.told_to_continue:
            incoming.told_to_continue = True
            send(incoming.conn.sock, b"HTTP/1.1 100 Continue\r\n\r\n")
        while self._held > self._settings.max_buffered_bytes and self._refuse_oldest():
            pass

    def _refuse_oldest(self) -> bool:
        """Make room: of the requests that still come in, the first one has been slowest."""
        started = [
            each for each in self._incoming.values() if each.arrival.received and not each.refused
        ]
        if started:
            self._give_up(min(started, key=lambda each: each.started), "overloaded")
        return bool(started)

    # What is worked on

    def _is_full_for(self, arrival: Arrival) -> bool:
        return self._in_flight >= self._settings.max_in_flight and arrival.heavy

    def _hand_over(self, incoming: Incoming, refusal: str | None = None) -> None:
        """Give a request to a thread, to be served, or refused for a reason."""
        conn, arrival = incoming.conn, incoming.arrival
        heavy = refusal is None and arrival.heavy
        if heavy and self._is_full_for(arrival):
            self._refuse_here(incoming, "overloaded")
            return
        self._forget(incoming)
        if refusal:
            # It is told by the head alone, and others need the room now, not once it is out.
            self._held -= arrival.drop_body()
        if conn.parser is None:
            conn.parser = get_parser(self.cfg, conn.sock, conn.client)
        conn.parser.unreader = arrival
        conn.initialized = conn.data_ready = True
        deadline = time.monotonic() + self._settings.request_timeout
        job = Job(conn, arrival, arrival.held, refusal, heavy, deadline)
        self._jobs.add(job)
        self._count(+heavy)
        done = (self.tpool if heavy else self._light).submit(self._serve, job)
        done.add_done_callback(lambda future: self.method_queue.defer(self._finish, job, future))

    def _count(self, more: int) -> None:
        if more:
            self._in_flight += more
            overload.on_in_flight(self._in_flight)

    def _serve(self, job: Job) -> bool:
        """In a thread: parse and answer; whether the connection stays open."""
        job.started = time.monotonic()
        _ARRIVAL.set(job.arrival)
        too_late = job.heavy and job.started > job.deadline
        overload.REFUSAL.set("deadline" if too_late else job.refusal)
        overload.WAITED.set(job.started - job.came)
        overload.DEADLINE.set(job.deadline)
        return bool(self.handle(job.conn))

    def handle_request(self, req: Any, conn: Any) -> Any:
        req._expected_100_continue = False  # the loop has said it
        if not conn.parser.unreader.whole:
            req.force_close()
        sock, conn.sock = conn.sock, Answer(conn.sock)
        try:
            return super().handle_request(req, conn)
        finally:
            conn.unsent, conn.sock = conn.sock.flush(), sock

    def _keepalive_after(self, conn: Any, keepalive: Any) -> bool:
        """Leave out what the app did not read; gthread would close where that is much."""
        if not keepalive or not conn.parser.unreader.whole:
            return False
        try:
            while conn.parser.mesg.body.read(_RECEIVE):
                pass
        except (OSError, ParseException):
            return False
        return not conn.parser.mesg.body.failed

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what is no HTTP request."""
        problem, clients_fault = bare.of_error(exc)
        # Not its text, which quotes what was sent.
        identity, _ = bare.refuse(
            client, problem, _ARRIVAL.get(), self._settings, fault=type(exc).__name__
        )
        if not clients_fault:
            self.log.error("request %s failed", identity, exc_info=exc)

    def _finish(self, job: Job, future: "futures.Future[bool]") -> None:
        self._jobs.discard(job)
        self._count(-job.heavy)
        self._held -= job.held
        keep = not future.cancelled() and not future.exception() and future.result()
        # Taken off, as the connection's next request may fail before it has an answer of its own.
        left, job.conn.unsent = getattr(job.conn, "unsent", b""), b""
        if not left:
            self._go_on(job, keep)
            return
        sending = self._sending[job.conn] = Sending(job, left, keep, time.monotonic())
        job.conn.sock.setblocking(False)
        callback = partial(self._send_more, sending)
        self.poller.register(job.conn.sock, selectors.EVENT_WRITE, callback)

    def _send_more(self, sending: Sending, sock: Any) -> None:
        conn = sending.job.conn
        if conn not in self._sending:
            return
        sending.left, sending.last = send_some(sock, sending.left), time.monotonic()
        if not sending.left:
            del self._sending[conn]
            self.poller.unregister(sock)
            self._go_on(sending.job, sending.keep)

    def _go_on(self, job: Job, keep: bool) -> None:
        """The answer is out: wait for the connection's next request, or close it."""
        if keep:
            self._expect(job.conn, job.arrival.take_buffered())
        else:
            self._linger(job.conn, job.arrival)

    # What goes

    def _refuse_here(self, incoming: Incoming, refusal: str) -> None:
        """Refuse without a thread and without the app, as soon as the head is known.

        The connection stays open where it is clear what comes next on it: to make it anew would
        cost more than the refusal.
        """
        arrival = incoming.arrival
        keep = refusal == "overloaded" and self.alive and arrival.plain
        problem, sock = overload.refusal(refusal), incoming.conn.sock
        _, sent = bare.refuse(sock, problem, arrival, self._settings, keep=keep)
        keep &= sent
        self._held -= arrival.received
        if not keep:
            self._forget(incoming)
            arrival.clear()
            self._linger(incoming.conn, arrival)
            return
        incoming.refused = True
        arrival.discard()
        if arrival.complete:
            self._start_over(incoming)

    def _start_over(self, incoming: Incoming) -> None:
        """A refused request is through: wait for the next one on its connection."""
        rest = incoming.arrival.take_buffered()
        incoming.arrival = Arrival(self._settings.max_bytes + FORM_ALLOWANCE)
        incoming.last = incoming.started = time.monotonic()
        incoming.told_to_continue = incoming.refused = False
        if rest:
            self._take(incoming, rest)

    def _give_up(self, incoming: Incoming, refusal: str) -> None:
        """Refuse a request that has not come in as a whole."""
        if incoming.refused:
            self._drop(incoming)
        elif incoming.arrival.head is not None:
            self._hand_over(incoming, refusal)
        else:
            self._refuse_here(incoming, refusal)

    def _forget(self, incoming: Incoming) -> None:
        del self._incoming[incoming.conn]
        self.poller.unregister(incoming.conn.sock)

    def _drop(self, incoming: Incoming) -> None:
        self._forget(incoming)
        if not incoming.refused:
            self._held -= incoming.arrival.received
        self._close(incoming.conn)

    def _linger(self, conn: Any, arrival: Arrival) -> None:
        seconds = _LINGER_SECONDS if arrival.whole else _REFUSED_LINGER_SECONDS
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
            return
        lingering = Lingering(conn, time.monotonic() + seconds)
        self._lingering[conn] = lingering
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._discard, lingering))
        self._discard(lingering, conn.sock)

    def _discard(self, lingering: Lingering, sock: Any) -> None:
        if lingering.conn not in self._lingering:
            return
        try:
            count = sock.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        lingering.left -= count
        if not count or lingering.left <= 0:
            self._part(lingering)

    def _part(self, lingering: Lingering) -> None:
        del self._lingering[lingering.conn]
        self.poller.unregister(lingering.conn.sock)
        self._close(lingering.conn)

    # The clock

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(min(timeout, TICK))

    def murder_pending(self) -> None:
        """Called by gthread's loop after each turn."""
        now = time.monotonic()
        if now - self._ticked < TICK:
            return
        self._ticked = now
        for incoming in list(self._incoming.values()):
            self._check(incoming, now)
        for lingering in [each for each in self._lingering.values() if each.until < now]:
            self._part(lingering)
        for sending in [s for s in self._sending.values() if now - s.last > _SEND_SECONDS]:
            conn = sending.job.conn
            del self._sending[conn]
            self.poller.unregister(conn.sock)
            self._close(conn)
        self._make_room()
        self._watch(now)

    def _check(self, incoming: Incoming, now: float) -> None:
        settings = self._settings
        if not incoming.arrival.received:
            patience = self.cfg.keepalive
            if self._stopping_since is not None:
                patience = min(patience, self._stopping_since + _STOP_IDLE_SECONDS - incoming.last)
            if now - incoming.last > patience:
                self._drop(incoming)
        elif (
            now - incoming.last > settings.read_timeout
            or now - incoming.started > settings.body_timeout
        ):
            self._give_up(incoming, "body-timeout")

    def _make_room(self) -> None:
        """Let someone else in when every connection is taken: those go that do nothing."""
        missing = self.nr_conns + 1 - self.worker_connections
        if missing <= 0:
            return
        for lingering in list(self._lingering.values())[:missing]:
            self._part(lingering)
            missing -= 1
        idle = [each for each in self._incoming.values() if not each.arrival.received]
        for incoming in idle[: max(0, missing)]:
            self._drop(incoming)
            missing -= 1
        for _ in range(missing):
            self._refuse_oldest()

    def _watch(self, now: float) -> None:
        """Replace this process once a thread hangs, which nothing else can end."""
        limit = now - self._settings.hang_timeout
        # Who only waited for a thread has from then on to say that it is too late.
        hanging = {
            job for job in self._jobs if job.started and max(job.started, job.deadline) < limit
        }
        if not hanging:
            return
        if self._rescue_since is None:
            self._rescue_since = now
            self.alive = False
            self.log.critical("%d threads hang: replacing worker %s", len(hanging), self.pid)
        partial_requests = any(each.arrival.received for each in self._incoming.values())
        if (hanging == self._jobs and not partial_requests) or (
            now - self._rescue_since > _RESCUE_SECONDS
        ):
            os._exit(1)
