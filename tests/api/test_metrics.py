"""What Prometheus is told, and that Prometheus understands it."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api.problems import KINDS
from tests.api.live import PATIENCE, ROOT, Server, serve
from tests.sounds import encode, silence, voice

WAV = encode(voice(2.0))
MONITORING = ROOT / "deploy" / "monitoring"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def post(client: FlaskClient, content: bytes) -> int:
    return client.post("/predict", data=content, content_type="audio/wav").status_code


def test_requests_refusals_and_answers_are_counted(client: FlaskClient) -> None:
    assert [post(client, WAV), post(client, WAV)] == [200, 200]
    assert post(client, encode(silence(1.0))) == 422
    client.get("/made/up/by/a/client")
    client.open("/health", method="BREW")
    answer = client.get("/metrics")
    assert answer.mimetype == "text/plain"
    found = samples(answer.text)
    counted = {"method": "POST", "route": "/predict"}
    assert value(found, "ser_requests_total", **counted, status="200") == 2
    assert value(found, "ser_requests_total", **counted, status="422") == 1
    assert value(found, "ser_requests_total", method="GET", route="none", status="404") == 1
    assert value(found, "ser_requests_total", method="other", route="none", status="405") == 1
    assert value(found, "ser_refusals_total", reason="silent") == 1
    assert value(found, "ser_request_seconds_count", route="/predict") == 3
    assert value(found, "ser_audio_seconds_total") == pytest.approx(4.0)
    heard = {"model": "default", "emotion": "happy", "uncertain": "false"}
    assert value(found, "ser_predictions_total", **heard) == 2
    assert value(found, "ser_confidence_bucket", model="default", le="0.8") == 0
    assert value(found, "ser_confidence_bucket", model="default", le="0.9") == 2
    for part in ("decode", "model"):
        assert value(found, "ser_recording_seconds_count", part=part) == 2


def test_what_may_fail_is_counted_from_0_on(client: FlaskClient) -> None:
    found = samples(client.get("/metrics").text)
    for kind in KINDS:
        assert value(found, "ser_refusals_total", reason=kind) == 0
    for route in ("/predict", "/invocations"):
        labels = {"method": "POST", "route": route, "status": "500"}
        assert value(found, "ser_requests_total", **labels) == 0
    assert value(found, "ser_log_lines_lost_total") == 0


def test_nothing_that_a_client_sends_becomes_a_label(client: FlaskClient) -> None:
    client.get("/secret-path?model=secret-query", headers={"X-Request-ID": "secret-id"})
    client.post("/predict?model=secret-model", data=WAV, content_type="audio/secret-type")
    assert "secret" not in client.get("/metrics").text


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("pair"), SER_WORKERS="2") as server:
        yield server


def test_whichever_worker_is_asked_tells_of_all_of_them(pair: Server) -> None:
    for _ in range(24):
        assert pair.post("/predict", WAV, "audio/wav").status == 200
    deadline = time.monotonic() + PATIENCE
    while value(_metrics(pair), "ser_workers") != 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    told = [_metrics(pair) for _ in range(8)]
    labels = {"method": "POST", "route": "/predict", "status": "200"}
    assert {value(each, "ser_requests_total", **labels) for each in told} == {24.0}
    assert {value(each, "ser_workers") for each in told} == {2.0}
    assert value(told[-1], "ser_in_flight") == 0
    # Of recordings alone, not of those who ask for metrics.
    assert value(told[-1], "ser_wait_seconds_count") == 24


def test_a_worker_that_dies_is_forgotten_and_its_counts_are_kept(tmp_path: Path) -> None:
    with serve(tmp_path, SER_WORKERS="1") as server:
        assert server.post("/predict", WAV, "audio/wav").status == 200
        server.workers[0].kill()
        assert server.post("/predict", WAV, "audio/wav").status == 200
        deadline = time.monotonic() + PATIENCE
        while value(found := _metrics(server), "ser_workers") != 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    labels = {"method": "POST", "route": "/predict", "status": "200"}
    assert value(found, "ser_requests_total", **labels) == 2
    assert value(found, "ser_worker_starts_total") == 2


def test_a_stopped_service_leaves_no_metrics_behind(tmp_path: Path) -> None:
    with serve(tmp_path, SER_WORKERS="1") as server:
        environment = server.workers[0].environ()
        folder = next(
            Path(file.path).parent
            for file in server.workers[0].open_files()
            if "ser-metrics" in file.path
        )
        assert folder.is_dir()
        assert "PROMETHEUS_MULTIPROC_DIR" not in environment  # made by the service, not given
    assert not folder.exists()


def _metrics(server: Server) -> Samples:
    return samples(server.get("/metrics").body.decode())


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NO {name}: monitoring is not tested with it (apt install prometheus)")
    return found


def test_the_alert_rules_and_the_configuration_are_accepted() -> None:
    promtool = program("promtool")
    for command in (["rules", "alerts.yml"], ["config", "prometheus.yml"]):
        done = subprocess.run(
            [promtool, "check", *command],
            cwd=MONITORING,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


SEVERITY = {"SerFails": "page", "SerTookTooLong": "ticket"}
FIRST_FAULTS = {
    "SerFails": 'ser_requests_total{method="POST",route="/predict",status="500",%s}',
    "SerTookTooLong": 'ser_refusals_total{reason="deadline",%s}',
}


@pytest.mark.parametrize("alert", FIRST_FAULTS)
def test_an_alert_fires_at_the_first_faults(
    alert: str, client: FlaskClient, tmp_path: Path
) -> None:
    series = FIRST_FAULTS[alert]
    first = client.get("/metrics").text
    seen = "0x8 " if series.replace(",%s", "") in first else "_x8 "
    test = {
        "rule_files": [str(MONITORING / "alerts.yml")],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": series % 'instance="a",job="ser"', "values": f"{seen}6x12"}
                ],
                "promql_expr_test": [
                    {
                        "expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}} * 0 + 1',
                        "eval_time": "3m",
                        "exp_samples": [
                            {
                                "labels": f'{{alertname="{alert}",alertstate="firing",'
                                f'instance="a",severity="{SEVERITY[alert]}"}}',
                                "value": 1,
                            }
                        ],
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    command = [program("promtool"), "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_metrics_are_written_as_prometheus_likes_them(pair: Server) -> None:
    text = pair.get("/metrics").body
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_dashboard_and_alerts_ask_only_for_metrics_that_exist(client: FlaskClient) -> None:
    post(client, WAV)
    post(client, b"no audio")
    exist = {name for name, _ in samples(client.get("/metrics").text)}
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    asked += [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    names = {name for query in asked for name in re.findall(r"\bser_\w+", query)}
    assert len(names) > 8
    assert names <= exist


def test_a_real_prometheus_scrapes_the_service(pair: Server, tmp_path: Path) -> None:
    configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    configuration["global"]["scrape_interval"] = "1s"
    configuration["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{pair.port}"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    assert pair.post("/predict", WAV, "audio/wav").status == 200
    port = _free_port()
    command = [
        program("prometheus"),
        "--config.file=prometheus.yml",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not (found := _ask(port, 'ser_requests_total{route="/predict",status="200"}')):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.5)
        assert float(found[0]["value"][1]) >= 1
        assert _ask(port, 'up{job="ser"}')[0]["value"][1] == "1"
    finally:
        process.kill()
        process.wait()


def _ask(port: int, query: str) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with DIRECT.open(url, timeout=5) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result
    except OSError:
        return []


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
