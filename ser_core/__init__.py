"""Speech emotion recognition: a model is a function from a waveform to emotion probabilities."""

from ser_core.audio import AudioError, Limits
from ser_core.bundle import BundleError
from ser_core.recognizer import Prediction, Recognizer, Segment

__version__ = "0.1.0"

__all__ = ["AudioError", "BundleError", "Limits", "Prediction", "Recognizer", "Segment"]
