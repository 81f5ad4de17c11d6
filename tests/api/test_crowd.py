"""Connections are shared out between workers that can see each other's numbers."""

import os

from api.crowd import Crowd


def test_who_has_more_than_another_is_fuller() -> None:
    crowd = Crowd()
    crowd.join(1)
    crowd.join(2)
    assert not crowd.is_fuller(1)
    crowd.set(1, 1)
    assert crowd.is_fuller(1)
    assert not crowd.is_fuller(2)
    crowd.set(2, 1)
    assert not crowd.is_fuller(1)


def test_who_is_alone_or_left_behind_is_not_fuller() -> None:
    crowd = Crowd()
    crowd.join(7)
    crowd.set(7, 100)
    assert not crowd.is_fuller(7)
    crowd.join(8)
    assert crowd.is_fuller(7)
    crowd.leave(8)
    assert not crowd.is_fuller(7)


def test_numbers_are_seen_by_other_processes() -> None:
    crowd = Crowd()
    crowd.join(1)
    crowd.set(1, 3)
    child = os.fork()
    if not child:
        crowd.join(300)  # gunicorn goes on counting, and its numbers come round again
        os._exit(0)
    os.waitpid(child, 0)
    assert crowd.is_fuller(1)
