import json
import subprocess
import sys
from pathlib import Path

import pytest

from api import Settings, create_app
from api.models import Models
from ser_core.bundle import BundleError
from tests.api.fakes import recognizer

ROOT = Path(__file__).parents[2]
HEAVY = {"tensorflow", "keras", "librosa", "scipy", "pandas", "matplotlib", "sklearn"}


def test_serving_the_default_model_imports_nothing_heavy() -> None:
    code = (
        "import json, sys; from api import create_app; app = create_app();"
        "app.test_client().get('/ready'); print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "ai_edge_litert.interpreter" in loaded
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()


def test_a_missing_bundle_stops_the_app_from_starting() -> None:
    with pytest.raises(BundleError, match="no bundle 'missing'"):
        create_app(Settings(model=("missing",)))


def test_two_bundles_of_one_name_stop_the_app_from_starting() -> None:
    with pytest.raises(BundleError, match="two bundles of the same name"):
        Models([recognizer(), recognizer()])


def test_apps_do_not_share_their_models() -> None:
    one = create_app(Settings(), Models([recognizer("one")]))
    two = create_app(Settings(), Models([recognizer("two")]))
    names = [app.test_client().get("/models").get_json()["models"][0]["name"] for app in (one, two)]
    assert names == ["one", "two"]
