"""The classic speech emotion service, as a baseline to measure against.

Flask, `librosa.load` of the upload, the means of 40 MFCCs, a scikit-learn MLP (of made-up weights:
only its cost matters here). It is what most such services do, less their usual faults: no temp
file that requests share, and gunicorn in place of Flask's own server, so that every request is
answered.
"""

import io

import librosa
import numpy as np
from flask import Flask, jsonify, request
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier

EMOTIONS = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
MFCCS = 40


def features(file: io.BytesIO) -> NDArray[np.float32]:
    signal, sampling_rate = librosa.load(file)
    return librosa.feature.mfcc(y=signal, sr=sampling_rate, n_mfcc=MFCCS).mean(axis=1)


def create_app() -> Flask:
    made_up = np.random.default_rng(0).standard_normal((70, MFCCS))
    classifier = MLPClassifier((300,))
    classifier.partial_fit(made_up, EMOTIONS * 10, classes=EMOTIONS)
    app = Flask(__name__)

    @app.get("/ready")
    def ready() -> str:
        return "ready"

    @app.post("/predict")
    def predict():
        mean = features(io.BytesIO(request.files["file"].read()))
        probabilities = classifier.predict_proba(mean[None])[0].tolist()
        emotion = EMOTIONS[probabilities.index(max(probabilities))]
        return jsonify(
            emotion=emotion, probabilities=dict(zip(EMOTIONS, probabilities, strict=True))
        )

    return app
