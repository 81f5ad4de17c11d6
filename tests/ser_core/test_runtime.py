"""LiteRT and TensorFlow behind one interface, and the pool that lends them."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ser_core import Recognizer
from ser_core.bundle import Bundle, BundleError, write_info
from ser_core.lab.export import export_litert
from ser_core.runtime import RUNTIMES, LiteRT, Pool, TensorFlow
from tests.acting import act
from tests.ser_core.conftest import Trained


@pytest.fixture(scope="module")
def bundle(trained: Trained) -> Bundle:
    return Bundle.load(trained.bundle)


def test_several_windows_are_answered_one_row_each(bundle: Bundle) -> None:
    windows = np.zeros((3, 48_000), np.float32)
    lengths = np.array([16_000, 20_000, 24_000], np.int32)
    for row, emotion in enumerate(("angry", "neutral", "sad")):
        signal = act("b4", emotion, 1.5)[: lengths[row]]
        windows[row, : len(signal)] = signal
    runtime = LiteRT(bundle.path / "model.tflite")
    together = runtime.logits(windows, lengths)
    assert together.shape == (3, 7)
    for row in range(3):
        alone = runtime.logits(windows[row : row + 1], lengths[row : row + 1])
        np.testing.assert_array_equal(alone[0], together[row])
    keras = TensorFlow(bundle.path / "model.keras").logits(windows, lengths)
    np.testing.assert_allclose(together, keras, atol=1e-4)


def test_tensorflow_serves_the_same_answers(trained: Trained, tiny: Recognizer) -> None:
    signal = act("b4", "angry")
    expected = Recognizer.load(trained.bundle, runtime="tensorflow").predict(signal, 16_000)
    got = tiny.predict(signal, 16_000)
    assert got.emotion == expected.emotion
    for emotion, probability in expected.probabilities.items():
        assert got.probabilities[emotion] == pytest.approx(probability, abs=0.01)


def test_an_unknown_runtime_is_refused(trained: Trained) -> None:
    with pytest.raises(BundleError, match="no runtime 'onnx'; there are litert, tensorflow"):
        Recognizer.load(trained.bundle, runtime="onnx")


@pytest.mark.parametrize("runtime", [LiteRT, TensorFlow])
def test_a_file_that_is_no_model_is_named(tmp_path: Path, runtime: type) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(b"no model at all" * 100)
    with pytest.raises(BundleError, match=f"{path} is not a model"):
        runtime(path)


def test_the_pool_lends_each_runtime_to_one_at_a_time(bundle: Bundle) -> None:
    pool = Pool(bundle, size=2)
    third = threading.Event()

    def borrow() -> None:
        with pool.borrow():
            third.set()

    with pool.borrow() as first, pool.borrow() as second:
        assert first is not second
        waiting = threading.Thread(target=borrow)
        waiting.start()
        assert not third.wait(0.2)
    assert third.wait(10)
    waiting.join()


def test_a_runtime_comes_back_when_its_use_fails(bundle: Bundle) -> None:
    pool = Pool(bundle)
    with pytest.raises(ZeroDivisionError), pool.borrow() as first:
        _ = 1 / 0
    with pool.borrow() as second:
        assert second is first


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """What the default bundle says of itself, which knows profiles."""
    info: dict[str, Any] = json.loads((Bundle.load().path / "bundle.json").read_text("utf-8"))
    return info


def shorter(profile: dict[str, list[float]]) -> dict[str, list[float]]:
    return {key: values[:-1] for key, values in profile.items()}


MISFITS = [
    ({"window": 2.0}, "it takes 48000 samples, window and sampling_rate make 32000"),
    ({"sampling_rate": 8000}, "it takes 48000 samples, window and sampling_rate make 24000"),
    ({"emotions": ["angry", "sad"]}, "it tells 7 emotions apart, emotions has 2"),
    ({"profile": shorter}, "its profiles have 577 numbers, the mean of profile has 576"),
]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("changes", "why"), MISFITS)
def test_a_network_that_its_bundle_does_not_describe_is_refused_at_once(
    tmp_path: Path, described: dict[str, Any], changes: dict[str, Any], why: str, runtime: str
) -> None:
    folder = Path(shutil.copytree(Bundle.load().path, tmp_path / "mine"))
    changed = {key: new(described[key]) if callable(new) else new for key, new in changes.items()}
    rewritten(folder, **changed)
    with pytest.raises(BundleError) as error:
        Recognizer.load(folder, runtime=runtime)
    file = "model.keras" if runtime == "tensorflow" else described["serve"]
    assert str(error.value) == f"{folder / file} does not fit bundle.json: {why}"


def rewritten(folder: Path, **keys: Any) -> Path:
    """A bundle with other keys and true checksums."""
    info = json.loads((folder / "bundle.json").read_text("utf-8"))
    write_info(folder, {key: value for key, value in (info | keys).items() if key != "format"})
    return folder


def test_a_profile_is_not_believed_of_a_network_that_takes_none(
    trained: Trained, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(trained.bundle, tmp_path / "mine"))
    rewritten(folder, profile={"mean": [0.0], "spread": [1.0]})
    why = "it takes length, waveform, and not count, length, profile, waveform$"
    with pytest.raises(BundleError, match=f"does not fit bundle.json: {why}"):
        Recognizer.load(folder)


def test_a_foreign_network_is_refused_whatever_its_checksum(
    trained: Trained, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(trained.bundle, tmp_path / "mine"))
    features = keras.Input((8,), name="features")
    export_litert(keras.Model([features], {"scores": features * 2.0}), folder / "model.tflite")
    rewritten(folder, serve="model.tflite")
    with pytest.raises(BundleError) as error:
        Recognizer.load(folder)
    why = "it takes features, and not length, waveform"
    assert str(error.value) == f"{folder / 'model.tflite'} does not fit bundle.json: {why}"


def test_a_bundle_that_says_nothing_of_its_network_s_profiles_serves_without(
    tmp_path: Path, described: dict[str, Any]
) -> None:
    folder = Path(shutil.copytree(Bundle.load().path, tmp_path / "mine"))
    kept = {key: value for key, value in described.items() if key not in {"profile", "places"}}
    (folder / "bundle.json").write_text(json.dumps(kept), "utf-8")
    recognizer = Recognizer.load(folder)
    assert recognizer.norm is None
    signal = act("b4", "angry")
    assert (
        recognizer.predict(signal, 16_000).emotion
        == Recognizer.load().predict(signal, 16_000).emotion
    )
