"""The table that a run makes: its columns, and a row of it for each recording."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ser_core.audio import AudioError, Limits, Source
from ser_core.batch import BatchError
from ser_core.batch.storage import reason
from ser_core.bundle import Bundle, sha256
from ser_core.recognizer import Recognizer

METADATA = b"ser"
"""Key of a Parquet file's metadata under which it says how it was made, as JSON."""

ANSWERS = ("temperature", "bias", "threshold", "home", "profile", "window", "hop", "sampling_rate")
"""Keys of `bundle.json` that decide what is answered, beside the model."""

CRASHED = "crashed"
"""Code of a recording that ended every process that tried to judge it."""


def schema(emotions: Sequence[str], made_by: Mapping[str, Any] | None = None) -> pa.Schema:
    """Columns in their order; `p_EMOTION` are the probabilities."""
    text, number = pa.string(), pa.float64()
    fields = [("file", text), ("duration", number), ("emotion", text), ("confidence", number)]
    fields += [("uncertain", pa.bool_())]
    fields += [(f"p_{emotion}", number) for emotion in emotions]
    fields += [("model", text), ("version", text), ("error", text), ("error_code", text)]
    metadata = None if made_by is None else {METADATA: json.dumps(dict(made_by)).encode()}
    return pa.schema(fields, metadata=metadata)


def is_table(columns: Sequence[str]) -> bool:
    """Whether a run made a table with these columns, of whatever model."""
    first, last = ["file", "duration", "emotion"], ["error", "error_code"]
    return list(columns[:3]) == first and list(columns[-2:]) == last


def scored_schema(emotions: Sequence[str]) -> pa.Schema:
    """The same as it comes from where the work is done: with an index in place of the name."""
    fields = list(schema(emotions))[1:]
    return pa.schema([pa.field("index", pa.int64()), *fields])


def made_by(bundle: Bundle, limits: Limits) -> dict[str, Any]:
    """What two runs must have in common to be one table."""
    return {
        "model": bundle.name,
        "version": bundle.version,
        "sha256": sha256(bundle.model),
        "answers": _answers(bundle),
        "emotions": list(bundle.emotions),
        "max_seconds": limits.max_seconds,
    }


def judge(recognizer: Recognizer, source: Source, limits: Limits) -> dict[str, Any]:
    """The row of one recording but for its name, rounded as every answer is."""
    try:
        answer = recognizer.predict(source, limits=limits).to_dict()
    except AudioError as e:
        return failed(recognizer.bundle, str(e), e.code)
    except OSError as e:
        return storage_failed(recognizer.bundle, e)
    except Exception as e:
        # One recording that nobody has thought of must not cost all others: it is told in its row.
        return failed(recognizer.bundle, f"{type(e).__name__}: {e}", "internal")
    probabilities = answer.pop("probabilities")
    answer |= {f"p_{emotion}": value for emotion, value in probabilities.items()}
    return answer | _names(recognizer.bundle)


def failed(bundle: Bundle, error: str, code: str) -> dict[str, Any]:
    """The row of a recording that was not judged."""
    return _names(bundle) | {"error": error, "error_code": code}


def storage_failed(bundle: Bundle, error: Exception) -> dict[str, Any]:
    """The row of a recording that could not be read."""
    return failed(bundle, reason(error), "storage")


def differences(before: Mapping[str, Any], now: Mapping[str, Any], out: str) -> None:
    """Raise `BatchError` if a table was made otherwise than rows would be now."""
    for key, value in now.items():
        # What an older release made does not tell all.
        if before.get(key, value) != value:
            what = f"made with {key} {before[key]}, this is {value}"
            if key == "answers":
                what = "made with this model calibrated otherwise"
            raise BatchError(f"{out} was {what}; --overwrite makes it anew")


def _answers(bundle: Bundle) -> str:
    """A hash of what `ser calibrate` may change while the model stays the same."""
    decisive = {key: bundle.info.get(key) for key in ANSWERS}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _names(bundle: Bundle) -> dict[str, Any]:
    return {"model": bundle.name, "version": bundle.version}
