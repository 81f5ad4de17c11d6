"""LiteRT and TensorFlow behind one interface, and the pool that lends them."""

import threading
from pathlib import Path

import numpy as np
import pytest

from ser_core import Recognizer
from ser_core.bundle import Bundle, BundleError
from ser_core.runtime import LiteRT, Pool, TensorFlow
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
