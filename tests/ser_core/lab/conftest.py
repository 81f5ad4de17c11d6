from collections.abc import Iterator

import pytest

from ser_core.lab import relative


@pytest.fixture(autouse=True, scope="package")
def one_head_of_each_kind() -> Iterator[None]:
    """What tests train here has one head of each kind: a third of the time, and no other code."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(relative, "HEADS", 1)
        yield
