"""Speech emotion recognition: a model is a function from a waveform to emotion probabilities."""

__version__ = "0.1.0"
