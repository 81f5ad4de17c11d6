"""What schemathesis sends as audio: random bytes would be refused, and rightly so."""

import schemathesis
from hypothesis import strategies
from schemathesis.transport.serialization import Binary

from tests.sounds import encode, voice

RECORDINGS = strategies.sampled_from(
    [encode(voice(0.5, seed=seed), kind) for seed, kind in enumerate(("wav16", "flac", "vorbis"))]
)

schemathesis.openapi.format("binary", RECORDINGS.map(Binary))
for media_type in ("audio/wav", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, RECORDINGS)
