"""The recognizers that the service answers with; they live on the app."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

from flask import current_app

from api.problems import Problem
from api.settings import Settings
from ser_core.bundle import Bundle, BundleError
from ser_core.recognizer import Recognizer
from ser_core.runtime import check_runtime

log = logging.getLogger(__name__)


_kept: dict[tuple[str, ...], list[Bundle]] = {}
"""What the process that starts the workers has read, which these inherit."""


class Models:
    """Recognizers by the name of their bundle; the first one is the default."""

    def __init__(self, recognizers: Sequence[Recognizer]) -> None:
        check_names([each.bundle for each in recognizers])
        self._by_name = {each.bundle.name: each for each in recognizers}
        self._warm = threading.Event()

    @classmethod
    def load(cls, settings: Settings) -> "Models":
        """Load what `SER_MODEL` names, or what was kept of it.

        Raises:
            BundleError: one is missing or damaged, or two have the same name.
        """
        return cls(
            [
                Recognizer.load(
                    name,
                    runtime=settings.runtime,
                    threads=settings.runtime_threads,
                    interpreters=settings.interpreters,
                )
                for name in _kept.get(settings.model, settings.model)
            ]
        )

    @property
    def names(self) -> list[str]:
        """Default first."""
        return list(self._by_name)

    @property
    def ready(self) -> bool:
        """Every model has answered its warm-up clip."""
        return self._warm.is_set()

    def __iter__(self) -> Iterator[Recognizer]:
        return iter(self._by_name.values())

    def get(self, name: str | None) -> Recognizer:
        """The recognizer of that name; None is the default one.

        Raises:
            Problem: there is none of that name.
        """
        wanted = self.names[0] if name is None else name
        try:
            return self._by_name[wanted]
        except KeyError:
            detail = f"model={wanted[:80]!r}: there is {', '.join(self.names)}."
            raise Problem("bad-parameter", detail, {"parameter": "model"}) from None

    def warm_up(self, then: Callable[[], None] = lambda: None) -> None:
        """Have every model judge a clip, beside the requests: the first ones need not wait."""
        threading.Thread(target=self._warm_up, args=[then], name="warm-up", daemon=True).start()

    def _warm_up(self, then: Callable[[], None]) -> None:
        try:
            for recognizer in self:
                recognizer.warm_up()
        except Exception:
            log.exception("the warm-up failed; /ready keeps saying no")
            return
        then()
        self._warm.set()


def keep(settings: Settings) -> None:
    """Read what `SER_MODEL` names, so that all workers serve the same, whenever they start.

    TensorFlow's own files are read by each worker: nothing of it survives a fork.

    Raises:
        BundleError: one is missing or damaged, or two have the same name; what was kept stays.
    """
    check_runtime(settings.runtime)
    bundles = [Bundle.load(name) for name in settings.model]
    check_names(bundles)
    if settings.runtime == "litert":
        _kept[settings.model] = [bundle.kept() for bundle in bundles]


def check_names(bundles: Sequence[Bundle]) -> None:
    """Raises `BundleError` unless each has a name of its own."""
    names = [each.name for each in bundles]
    if len(set(names)) != len(names):
        raise BundleError(f"SER_MODEL: two bundles of the same name in {', '.join(names)}")


def current_models() -> Models:
    """The models of the app at hand."""
    models: Models = current_app.extensions["ser"]
    return models
