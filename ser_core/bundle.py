"""A model on disk: a folder with the network, what it is, and checksums."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ser_core.profile import Norm, Profile

FORMAT = 1
DEFAULT = "default"
SHIPPED = (DEFAULT, "open", "ravdess8")
"""The bundles of the repository; the image and the wheel hold the default alone."""
RATES = (4_000, 192_000)
"""Hz that a model may hear, from the lowest to the highest."""
INFO = "bundle.json"
CARD = "MODEL_CARD.md"

_PACKAGED = Path(__file__).parent / "_bundles"
_SOURCE_TREE = Path(__file__).parents[1] / "models"


class BundleError(RuntimeError):
    """A bundle that is missing, damaged or of another format; the message is one clear line."""


@dataclass(frozen=True)
class Bundle:
    """What `bundle.json` says, checked; see `docs/bundle.md` for every key."""

    path: Path
    name: str
    version: str
    emotions: tuple[str, ...]
    sampling_rate: int
    """Hz that the model hears."""
    window: float
    """Seconds that the model judges at once."""
    hop: float
    """Seconds from one window of a long recording to the next."""
    temperature: float
    """Logits are divided by it before the softmax (Guo et al. 2017, arXiv:1706.04599)."""
    threshold: float
    """Confidence under which an answer is called uncertain."""
    info: Mapping[str, Any]
    bias: tuple[float, ...] = ()
    """What is added to each class's logit after the temperature; none for nothing."""
    card: str = field(default="", repr=False)
    """The text of the model's card, Markdown."""
    content: bytes = field(default=b"", repr=False)
    """What the file that is served holds, where it is kept; else nothing."""

    @classmethod
    def load(cls, bundle: str | Path | None = None) -> "Bundle":
        """Read and verify a bundle: a name (`default`) or a folder; None is the default one.

        Raises:
            BundleError: it is missing, not of this format, or its checksums do not match.
        """
        path = find_bundle(bundle or DEFAULT)
        info = _read_info(path / INFO)
        try:
            loaded = cls(
                path=path,
                name=_text(info, "name"),
                version=_text(info, "version"),
                emotions=_texts("emotions", info["emotions"]),
                sampling_rate=_rate(info["sampling_rate"]),
                window=_number("window", info["window"]),
                hop=_number("hop", info["hop"]),
                temperature=_number("temperature", info["temperature"]),
                threshold=_number("threshold", info["threshold"]),
                info=info,
                bias=tuple(_number("bias", each) for each in info.get("bias", ())),
                card=_read_card(path / CARD),
            )
            artefacts = _table("artefacts", info["artefacts"])
            loaded._check()
        except KeyError as e:
            raise BundleError(f"{path / INFO} is damaged: it has no {e}") from e
        except (TypeError, ValueError, AttributeError, OverflowError) as e:
            raise BundleError(f"{path / INFO} is damaged: {e}") from e
        for name, checksum in artefacts.items():
            _verify(path / name, checksum)
        return loaded

    def _check(self) -> None:
        if len(set(self.emotions)) < max(2, len(self.emotions)):
            raise ValueError(f"emotions {list(self.emotions)} are not two or more different ones")
        for name in ("window", "hop", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)} is not above 0")
        for name in ("window", "hop"):
            if round(getattr(self, name) * self.sampling_rate) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is shorter than a sample")
        if self.bias and len(self.bias) != len(self.emotions):
            raise ValueError(f"bias has {len(self.bias)} numbers for {len(self.emotions)} emotions")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold} is not between 0 and 1")
        # Files are written by these names, beside what is exported or where a batch works.
        for what, name in (("name", self.name), *(("artefact", n) for n in self.info["artefacts"])):
            if not is_file_name(name):
                raise ValueError(f"{what} {name!r} is no name of a file")
        if self.info["serve"] not in self.info["artefacts"]:
            raise ValueError(f"{self.info['serve']!r} is served, but is none of its artefacts")
        for key in OPTIONAL.keys() & self.info.keys():
            OPTIONAL[key](key, self.info[key])
        self.home()

    def norm(self) -> Norm | None:
        """What its speakers are like; None if it knows no profiles.

        Raises:
            BundleError: what it says of them is damaged.
        """
        described = self.info.get("profile")
        if described is None:
            return None
        try:
            return Norm.from_info(described)
        except (KeyError, TypeError, ValueError) as e:
            what = "the profile in its bundle.json is damaged"
            raise BundleError(f"{self.path}: {what}: {e}") from e

    def home(self) -> Profile | None:
        """What recordings are like where it is used; None if it was not told.

        Raises:
            BundleError: what it says of them, or of its speakers, is damaged.
        """
        norm, described = self.norm(), self.info.get("home")
        if described is None:
            return None
        what = "the home in its bundle.json is damaged"
        if norm is None:
            raise BundleError(f"{self.path}: {what}: it knows no profiles")
        try:
            return Profile.from_info(described, norm)
        except (KeyError, TypeError, ValueError) as e:
            raise BundleError(f"{self.path}: {what}: {e}") from e

    def without(self, *keys: str) -> "Bundle":
        """The same, as if its `bundle.json` did not have these optional keys."""
        info = {key: value for key, value in self.info.items() if key not in keys}
        return replace(self, info=info)

    @property
    def shipped(self) -> bool:
        """Whether it is one of those that come with the service, where these lie."""
        places = (folder / name for folder in (_SOURCE_TREE, _PACKAGED) for name in SHIPPED)
        return self.path.resolve() in {place.resolve() for place in places}

    @property
    def model(self) -> Path:
        """The LiteRT file that is served: float or int8, whichever the bundle names."""
        return self.path / str(self.info["serve"])

    def kept(self) -> "Bundle":
        """The same with its content in memory, to be served whatever becomes of its folder.

        Raises:
            BundleError: the file cannot be read, or is another one by now.
        """
        try:
            content = self.model.read_bytes()
        except OSError as e:
            raise BundleError(f"{self.model} cannot be read: {e.strerror}") from e
        if hashlib.sha256(content).hexdigest() != self.info["artefacts"][self.info["serve"]]:
            raise BundleError(f"{self.model} is damaged: its SHA-256 is not the one in {INFO}")
        return replace(self, content=content)


def find_bundle(bundle: str | Path) -> Path:
    """The folder of a bundle given by name or by path.

    Raises:
        BundleError: there is none, naming the places that were searched.
    """
    places = [Path(bundle)]
    if Path(bundle).name == str(bundle):
        places = [_SOURCE_TREE / bundle, _PACKAGED / bundle, Path(bundle)]
    for place in places:
        if (place / INFO).is_file():
            return place
    raise BundleError(f"no bundle {str(bundle)!r}: there is no {INFO} in {_listed(places)}")


def write_info(path: Path, info: Mapping[str, Any]) -> None:
    """Write `bundle.json` with the checksums of the artefacts that `info["artefacts"]` names."""
    checksums = {name: sha256(path / name) for name in info["artefacts"]}
    text = json.dumps({"format": FORMAT, **info, "artefacts": checksums}, indent=2, allow_nan=False)
    partial = path / f"{INFO}.part"
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path / INFO)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_info(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except OSError as e:
        raise BundleError(f"{path} cannot be read: {e.strerror}") from e
    except ValueError as e:
        raise BundleError(f"{path} is damaged: {e}") from e
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise BundleError(f"{path} is not a bundle of format {FORMAT}")
    return info


def _read_card(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as e:
        raise BundleError(f"{path} cannot be read: {e.strerror}") from e


def _text(info: Mapping[str, Any], key: str) -> str:
    value = info[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} {value!r} is not a text")
    return value


def _texts(key: str, values: Any) -> tuple[str, ...]:
    # A text is a sequence of texts too: its letters.
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise ValueError(f"{key} {values!r} is not a list of texts")
    return tuple(values)


def _table(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{key} {value!r} is not an object")
    return value


def _number(key: str, value: Any) -> float:
    # True is an integer to Python, and 1e999 infinite.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise ValueError(f"{key} {value!r} is not a finite number")
    return float(value)


def _tables(key: str, value: Any) -> None:
    for name, each in _table(key, value).items():
        _table(f"{name} of {key}", each)


def _counts(key: str, value: Any) -> None:
    for name, each in _table(key, value).items():
        _number(f"{name!r} of {key}", each)


def _judges(key: str, value: Any) -> None:
    """The names of the speakers of both parts, or nothing."""
    if parts := _table(key, value):
        for part in ("valid", "test"):
            _texts(f"{part} of {key}", parts.get(part))


def _init(key: str, value: Any) -> None:
    _counts(f"corpora of {key}", _table(key, value).get("corpora", {}))


def _line(key: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{key} {value!r} is not a text")


OPTIONAL: Mapping[str, Callable[[str, Any], object]] = {
    "calibration": _table,
    "command": _line,
    "corpora": _counts,
    "init": _init,
    "judged_by": _judges,
    "members": _texts,
    "metrics": _tables,
    "note": _line,
    "parameters": _number,
    "preset": _line,
    "speakers": _texts,
}
"""Keys that a bundle may do without -> raises for what is none; profile and home have their own."""


def _rate(value: Any) -> int:
    least, most = RATES
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        raise ValueError(f"sampling_rate {value!r} is not a whole number from {least} to {most}")
    return int(value)


def is_file_name(name: str) -> bool:
    """Whether a bundle may have this name."""
    plain = name.isprintable() and not {"/", "\\"} & {*name}
    return plain and name not in {"", ".", ".."}


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _verify(artefact: Path, checksum: str) -> None:
    if not artefact.is_file():
        raise BundleError(f"{artefact} is missing; fetch the bundle again")
    try:
        intact = sha256(artefact) == checksum
    except OSError as e:
        raise BundleError(f"{artefact} cannot be read: {e.strerror}") from e
    if not intact:
        raise BundleError(f"{artefact} is damaged: its SHA-256 is not the one in {INFO}")


def _listed(places: list[Path]) -> str:
    return ", ".join(str(place) for place in places)
