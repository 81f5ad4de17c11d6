"""A voice is heard against what is normal for it."""

from pathlib import Path

import numpy as np
import pytest

from ser_core import AudioError, BundleError
from ser_core.profile import MOST, Norm, Profile, ProfileError
from ser_core.recognizer import Recognizer, Span
from tests.api import fakes
from tests.sounds import encode, silence, voice

LOUD, QUIET = voice(2.0, level=0.8), voice(2.0, level=0.2)


def test_a_profile_is_the_mean_of_what_the_recordings_tell() -> None:
    listener = fakes.listener()
    profile = listener.profile((LOUD, 16_000), encode(QUIET, "wav-float"))
    loudness = [float(np.sqrt(np.mean(np.square(sound)))) for sound in (LOUD, QUIET)]
    np.testing.assert_allclose(profile.mean, [np.mean(loudness), 2 / 3], rtol=1e-5)
    assert profile.count == 2


def test_the_answer_is_relative_to_the_profile() -> None:
    listener = fakes.listener()
    by_loud = listener.predict(LOUD, 16_000, profile=listener.profile((LOUD, 16_000)))
    by_quiet = listener.predict(LOUD, 16_000, profile=listener.profile((QUIET, 16_000)))
    assert by_loud.emotion == "happy"
    assert by_quiet.emotion == "angry"
    assert by_loud.probabilities == pytest.approx(fakes.PROBABILITIES, abs=1e-4)


def test_without_a_profile_the_count_is_zero() -> None:
    network = fakes.Listener()
    prediction = fakes.listener(network).predict(LOUD, 16_000)
    assert network.counts == [0.0]
    assert prediction.profile is not None
    assert prediction.profile.count == 1


def at_home(network: fakes.Network | None = None) -> Recognizer:
    """A listener that is used where everybody is loud."""
    info = {"profile": fakes.NORM, "home": {"mean": [0.3, 0.5], "count": 2}}
    return fakes.recognizer("listener", network or fakes.Listener(), info)


def test_without_a_profile_a_voice_is_heard_against_the_home_of_its_bundle() -> None:
    network, home = fakes.Listener(), Profile(np.array([0.3, 0.5], np.float32), 2.0)
    answer = at_home(network).predict(LOUD, 16_000)
    told = fakes.listener(network).predict(LOUD, 16_000, profile=home)
    assert network.counts == [2.0, 2.0]
    assert answer.probabilities == told.probabilities
    assert answer.probabilities != fakes.listener().predict(LOUD, 16_000).probabilities


def test_what_is_known_of_a_voice_is_added_to_the_home() -> None:
    network, known = fakes.Listener(), Profile(np.array([0.1, 0.5], np.float32), 6.0)
    answer = at_home(network).predict(LOUD, 16_000, profile=known)
    both = Profile(np.array([0.15, 0.5], np.float32), 8.0)
    told = fakes.listener(network).predict(LOUD, 16_000, profile=both)
    assert network.counts == [8.0, 8.0]
    assert answer.probabilities == pytest.approx(told.probabilities, abs=1e-6)


def test_a_profile_is_the_voice_s_whatever_the_home() -> None:
    there, here = (each.profile((LOUD, 16_000)) for each in (fakes.listener(), at_home()))
    np.testing.assert_array_equal(there.mean, here.mean)
    assert there.count == here.count == 1
    away = at_home().away()
    plain = fakes.listener().predict(LOUD, 16_000)
    assert away.predict(LOUD, 16_000).probabilities == plain.probabilities


def test_a_long_recording_counts_as_the_windows_of_speech_in_it() -> None:
    sound = np.concatenate([voice(15.0), silence(15.0), voice(15.0)])
    profile = fakes.listener().profile((sound, 16_000))
    assert 9 < profile.count < 11
    assert profile.mean[1] == pytest.approx(1.0)


def test_the_token_of_a_recording_of_minutes_is_taken_again() -> None:
    listener = fakes.listener()
    norm, sound = listener.check_profiles(), voice(300.0)
    for profile in (listener.profile((sound, 16_000)), listener.predict(sound, 16_000).profile):
        assert profile is not None
        assert profile.count == MOST
        again = Profile.from_token(profile.to_token(norm), norm)
        assert again.count == MOST


def test_an_answer_s_own_profile_updates_the_one_before() -> None:
    listener = fakes.listener()
    first = listener.profile((QUIET, 16_000))
    prediction = listener.predict(LOUD, 16_000, profile=first)
    assert prediction.profile is not None
    both = first.update(prediction.profile)
    expected = listener.profile((QUIET, 16_000), (LOUD, 16_000))
    np.testing.assert_allclose(both.mean, expected.mean, rtol=1e-5)


def test_each_speaker_s_parts_are_heard_against_the_others_of_the_same() -> None:
    # A speaks loud as ever, B is quiet but once.
    sound = np.concatenate([LOUD, QUIET, LOUD, QUIET, LOUD, LOUD])
    speakers = ["A", "B", "A", "B", "A", "B"]
    spans = [Span(2.0 * i, 2.0 * i + 2, speaker) for i, speaker in enumerate(speakers)]
    network = fakes.Listener()
    prediction = fakes.listener(network).predict(sound, 16_000, spans=spans)
    emotions = [segment.emotion for segment in prediction.segments]
    assert emotions == ["happy", "happy", "happy", "happy", "happy", "angry"]
    assert network.counts == [0.0] * 6 + [2.0] * 6


def test_the_earlier_windows_say_what_is_normal_for_the_later_ones() -> None:
    # Quiet for 6 s, then louder: against nothing heard before, against quiet speech, against both.
    sound = np.concatenate([voice(6.0, level=0.2), voice(6.0, level=0.8)])
    network = fakes.Listener()
    listener = fakes.listener(network)
    plain = listener.predict(sound, 16_000)
    network.counts.clear()
    adapted = listener.predict(sound, 16_000, adapt=True)
    # Twelve seconds hold windows at 0, 1.5, ... 9; those that end before a window begins count,
    # each for the half of it that is new, and one counts as a whole recording.
    assert network.counts[:7] == [0.0] * 7
    assert network.counts[7:] == pytest.approx([1, 1, 1.5, 2, 2.5], abs=0.01)
    expected = listener.predict(sound, 16_000, profile=listener.profile((sound[:48_000], 16_000)))
    assert adapted.segments[2].probabilities == pytest.approx(expected.segments[2].probabilities)
    assert [segment.emotion for segment in adapted.segments[:2]] == [
        segment.emotion for segment in plain.segments[:2]
    ]
    assert adapted.segments[4].emotion == "angry"
    assert adapted.profile is not None
    assert plain.profile is not None
    np.testing.assert_allclose(adapted.profile.mean, plain.profile.mean)


def test_what_is_known_of_the_voice_already_is_added_to() -> None:
    network = fakes.Listener()
    listener = fakes.listener(network)
    known = listener.profile((LOUD, 16_000), (QUIET, 16_000))
    network.counts.clear()
    listener.predict(voice(6.0), 16_000, profile=known, adapt=True)
    assert network.counts == pytest.approx([2, 2, 2, 3])


def test_one_window_has_none_before_it_and_is_judged_once() -> None:
    network = fakes.Listener()
    listener = fakes.listener(network)
    assert listener.predict(LOUD, 16_000, adapt=True) == listener.predict(LOUD, 16_000)
    assert network.counts == [0.0, 0.0]


def test_windows_without_speech_tell_nothing_of_the_voice() -> None:
    sound = np.concatenate([silence(9.0), voice(0.5), silence(9.0), voice(6.0)])
    network = fakes.Listener()
    adapted = fakes.listener(network).predict(sound, 16_000, adapt=True)
    assert not all(segment.speech for segment in adapted.segments)
    assert all(count == 0 or count >= 1 for count in network.counts)
    assert adapted.probabilities.keys() == fakes.PROBABILITIES.keys()


def test_each_channel_adapts_to_its_own_voice() -> None:
    call = np.stack([voice(6.0, level=0.2), voice(6.0, level=0.8)], axis=1)
    network = fakes.Listener()
    answers = fakes.listener(network).predict_channels(call, 16_000, adapt=True)
    assert len(answers) == 2
    assert network.counts == pytest.approx([0, 0, 0, 1] * 2)


def test_marked_parts_do_not_adapt_as_they_serve_each_other() -> None:
    with pytest.raises(ValueError, match="adapt and spans do not go together"):
        fakes.listener().predict(voice(6.0), 16_000, spans=[Span(0, 2, "A")], adapt=True)


def test_a_speaker_of_one_part_has_no_other() -> None:
    network = fakes.Listener()
    spans = [Span(0, 2, "A"), Span(2, 4), Span(4, 6)]
    fakes.listener(network).predict(voice(6.0), 16_000, spans=spans)
    assert network.counts == [0.0] * 3


def test_only_parts_whose_speaker_has_others_are_judged_twice() -> None:
    network = fakes.Listener()
    listener = fakes.listener(network)
    sound = np.concatenate([LOUD, QUIET, LOUD])
    spans = [Span(0, 2, "A"), Span(2, 4, "B"), Span(4, 6, "A")]
    prediction = listener.predict(sound, 16_000, spans=spans)
    assert network.counts == [0.0, 0.0, 0.0, 1.0, 1.0]
    alone = listener.predict(sound, 16_000, spans=[Span(2, 4, "B")])
    assert prediction.segments[1].probabilities == alone.segments[0].probabilities
    assert prediction.model_seconds > 0


def test_a_model_that_knows_no_profiles_refuses_them() -> None:
    profile = fakes.listener().profile((LOUD, 16_000))
    for ask in (
        lambda: fakes.recognizer().predict(LOUD, 16_000, profile=profile),
        lambda: fakes.recognizer().profile((LOUD, 16_000)),
        lambda: fakes.recognizer().predict(LOUD, 16_000, adapt=True),
    ):
        with pytest.raises(ProfileError, match="default knows no profiles"):
            ask()
    assert fakes.recognizer().predict(LOUD, 16_000).profile is None


@pytest.mark.parametrize(
    "norm",
    [{"mean": [0.2, 0.5], "spread": [0.1, 0.2]}, {"mean": [0.1] * 3, "spread": [0.1] * 3}],
    ids=["of as many values", "of more values"],
)
def test_a_profile_of_another_model_is_refused_and_never_mixed(
    norm: dict[str, list[float]],
) -> None:
    listener, other = fakes.listener(), Norm.from_info(norm)
    theirs = Profile.from_token(Profile(other.mean, 3.0).to_token(other), other)
    own = listener.profile((LOUD, 16_000))
    norm_here = listener.check_profiles()
    # A token brings it back as what it was; so does a second recording.
    again = Profile.from_token(own.to_token(norm_here), norm_here).update(own)
    assert listener.predict(LOUD, 16_000, profile=again).profile is not None
    stereo = np.stack([LOUD, QUIET], axis=1)
    for ask in (
        lambda: listener.predict(LOUD, 16_000, profile=theirs),
        lambda: listener.predict(LOUD, 16_000, profile=theirs, adapt=True),
        lambda: listener.predict(LOUD, 16_000, profile=theirs, spans=[Span(0, 1, "A")]),
        lambda: listener.predict_channels(stereo, 16_000, profile=theirs),
        lambda: listener.hear(LOUD, 16_000, profile=theirs),
        lambda: listener.profile((LOUD, 16_000)).to_token(other),
    ):
        with pytest.raises(ProfileError, match="of another model; make a new one with this"):
            ask()
    # One that does not say where it is from is told by its length at least.
    by_hand = Profile(np.zeros(3, np.float32), 1.0)
    for ask in (
        lambda: listener.predict(LOUD, 16_000, profile=by_hand),
        lambda: by_hand.to_token(norm_here),
    ):
        with pytest.raises(ProfileError, match="of another model"):
            ask()
    for one, two in ((own, theirs), (theirs, again), (own, by_hand)):
        with pytest.raises(ProfileError, match="of different models"):
            one.update(two)


def test_a_profile_needs_a_recording_that_can_be_read() -> None:
    with pytest.raises(ProfileError, match="at least one"):
        fakes.listener().profile()
    with pytest.raises(AudioError):
        fakes.listener().profile(encode(silence(1.0)))


@pytest.mark.parametrize(
    "norm",
    [
        {"mean": [0.1]},
        {"mean": [0.1, 0.2], "spread": [1.0]},
        {"mean": [], "spread": []},
        {"mean": [0.1], "spread": [0.0]},
        {"mean": ["x"], "spread": [1.0]},
        "none",
    ],
)
def test_a_bundle_with_a_damaged_norm_is_refused(norm: object) -> None:
    with pytest.raises(BundleError, match=r"profile in its bundle\.json is damaged"):
        fakes.listener(norm=norm)


@pytest.mark.parametrize(
    ("home", "message"),
    [
        ({"mean": [0.1, 0.5]}, "'count'"),
        ({"mean": [0.1], "count": 2}, "mean must be a list of 2 finite numbers"),
        ({"mean": [0.1, float("inf")], "count": 2}, "mean must be a list of 2 finite numbers"),
        ({"mean": [0.1, 0.5], "count": 0}, "count 0.0 is not above 0 and at most 50"),
        ({"mean": [0.1, 0.5], "count": 51}, "count 51.0 is not above 0 and at most 50"),
        ({"mean": ["x", "y"], "count": 2}, "could not convert"),
        ([0.1, 0.5], "list indices"),
    ],
)
def test_a_bundle_with_a_damaged_home_is_refused(home: object, message: str) -> None:
    with pytest.raises(BundleError, match=r"home in its bundle\.json is damaged") as error:
        fakes.recognizer("listener", fakes.Listener(), {"profile": fakes.NORM, "home": home})
    assert message in str(error.value)


def test_a_home_is_for_bundles_that_know_profiles() -> None:
    with pytest.raises(BundleError, match=r"home .* is damaged: it knows no profiles"):
        fakes.recognizer(info={"home": {"mean": [0.1, 0.5], "count": 2}})


def test_litert_is_asked_with_the_profile(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    from ser_core.runtime import LiteRT

    class Model(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec((1, 100), tf.float32, name="waveform"),
                tf.TensorSpec((1,), tf.int32, name="length"),
                tf.TensorSpec((1, 2), tf.float32, name="profile"),
                tf.TensorSpec((1,), tf.float32, name="count"),
            ]
        )
        def predict(self, waveform, length, profile, count):  # type: ignore[no-untyped-def]
            total = tf.reduce_sum(waveform, axis=1, keepdims=True)
            functionals = tf.concat([total, tf.cast(length, tf.float32)[:, None]], axis=1)
            return {"logits": functionals - count[:, None] * profile, "functionals": functionals}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "saved"), signatures={"predict": model.predict})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    path = tmp_path / "model.tflite"
    path.write_bytes(converter.convert())
    window, length = np.ones((1, 100), np.float32), np.array([80], np.int32)
    profile, count = np.array([[3.0, 4.0]], np.float32), np.array([2.0], np.float32)
    logits, functionals = LiteRT(path).relative(window, length, profile, count)
    np.testing.assert_allclose(functionals, [[100.0, 80.0]])
    np.testing.assert_allclose(logits, [[94.0, 72.0]])
