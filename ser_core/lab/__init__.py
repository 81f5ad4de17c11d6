"""Building models. Needs the [train] extra; nothing in serving imports this package."""

import os

# TensorFlow's own default leaves it off on CPUs without AVX-512, where training then takes half as
# long again. It is read once, when TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# It would say so each time, and what else it was built with.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
