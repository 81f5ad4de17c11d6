import pytest

from api import SettingError, Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.model == ("default",)
    assert settings.max_bytes == 25_000_000
    assert settings.max_seconds == 600.0
    assert settings.max_channels == 8


def test_an_empty_value_is_as_good_as_none() -> None:
    assert Settings.from_environment({"PORT": "", "SER_MODEL": ""}) == Settings()


def test_every_value_is_read_with_its_type() -> None:
    settings = Settings.from_environment(
        {
            "HOST": "::",
            "PORT": "81",
            "SER_MODEL": "default, models/mine",
            "SER_RUNTIME": "tensorflow",
            "SER_MAX_BYTES": "1000000",
            "SER_MAX_SECONDS": "7.5",
            "SER_MAX_CHANNELS": "2",
            "SER_MAX_SAMPLING_RATE": "48000",
            "SER_MAX_FILES": "3",
            "SER_WORKERS": "5",
            "SER_THREADS": "6",
            "SER_RUNTIME_THREADS": "2",
            "SER_MAX_IN_FLIGHT": "7",
            "SER_MAX_CONNECTIONS": "90",
            "SER_MAX_BUFFERED_BYTES": "50000000",
            "SER_READ_TIMEOUT": "3",
            "SER_BODY_TIMEOUT": "4",
            "SER_REQUEST_TIMEOUT": "5",
            "SER_HANG_TIMEOUT": "6",
            "SER_API_KEYS": "AB" * 32,
            "SER_RATE_LIMIT": "10/second;1000/day",
            "SER_REDIS_URL": "redis://host:6379/1",
            "SER_TRUSTED_PROXIES": "2",
            "SER_CORS_ORIGINS": "https://a.example, http://localhost:3000",
            "SER_FRAME_ANCESTORS": "'self'  https://a.example",
            "SER_ACCESS_LOG": "false",
        }
    )
    assert settings == Settings(
        host="::",
        port=81,
        model=("default", "models/mine"),
        runtime="tensorflow",
        max_bytes=1_000_000,
        max_seconds=7.5,
        max_channels=2,
        max_sampling_rate=48_000,
        max_files=3,
        workers=5,
        threads=6,
        runtime_threads=2,
        max_in_flight=7,
        max_connections=90,
        max_buffered_bytes=50_000_000,
        read_timeout=3.0,
        body_timeout=4.0,
        request_timeout=5.0,
        hang_timeout=6.0,
        api_keys=("ab" * 32,),
        rate_limit="10/second;1000/day",
        redis_url="redis://host:6379/1",
        trusted_proxies=2,
        cors_origins=("https://a.example", "http://localhost:3000"),
        frame_ancestors="'self' https://a.example",
        access_log=False,
    )


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("PORT", "eighty", "must be a whole number"),
        ("PORT", "0", "must be between 1 and 65535"),
        ("PORT", "70000", "must be between 1 and 65535"),
        ("HOST", "  ", "must not be empty"),
        ("SER_MODEL", " , ", "must name at least one bundle"),
        ("SER_RUNTIME", "onnx", "must be one of litert, tensorflow"),
        ("SER_MAX_BYTES", "25MB", "must be a whole number"),
        ("SER_MAX_BYTES", "-1", "must be between 1000 and 2000000000"),
        ("SER_MAX_SECONDS", "ten", "must be a number of seconds"),
        ("SER_MAX_SECONDS", "nan", "must be between 0.1 and 86400 seconds"),
        ("SER_WORKERS", "0", "must be between 1 and 256"),
        ("WEB_CONCURRENCY", "many", "must be a whole number"),
        ("SER_ACCESS_LOG", "maybe", "must be true or false"),
    ],
)
def test_a_bad_value_is_refused_naming_variable_and_value(
    variable: str, value: str, why: str
) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({variable: value})
    assert str(caught.value) == f"{variable}={value!r}: {why}"


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("SER_API_KEY", "SER_API_KEYS"),
        ("SER_RATELIMIT", "SER_RATE_LIMIT"),
        ("SER_WORKER", "SER_WORKERS"),
    ],
)
def test_a_misspelt_variable_is_refused(misspelt: str, meant: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({misspelt: "x"})
    assert str(caught.value) == f"{misspelt} is no setting; {meant} is"
    assert Settings.from_environment({misspelt: ""}) == Settings()


@pytest.mark.parametrize("value", [",", " , ", " ", "\n"])
def test_keys_that_are_none_open_nothing(value: str) -> None:
    with pytest.raises(SettingError, match="must be SHA-256 hashes"):
        Settings.from_environment({"SER_API_KEYS": value})


def test_variables_of_others_are_left_alone() -> None:
    # Kubernetes sets such ones for a Service that is called "ser", or "ser-redis".
    of_others = {
        f"{service}_{name}": "tcp://10.0.0.1:80"
        for service in ("SER", "SER_REDIS", "SER_SERVICE")
        for name in ("SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR")
    }
    assert Settings.from_environment({**of_others, "SER_DATA": "data"}) == Settings()


def test_workers_follow_the_platforms_variable_unless_set_here() -> None:
    assert Settings.from_environment({"WEB_CONCURRENCY": "3"}).workers == 3
    both = {"WEB_CONCURRENCY": "3", "SER_WORKERS": "1"}
    assert Settings.from_environment(both).workers == 1


@pytest.mark.parametrize(
    ("cpus", "given", "workers", "interpreters"),
    [
        (1, {}, 1, 1),
        (2, {}, 2, 1),
        *((cpus, {}, cpus, 1) for cpus in range(3, 8)),
        (8, {}, 4, 2),
        (9, {}, 4, 2),
        (10, {}, 5, 2),
        (11, {}, 5, 2),
        (12, {}, 4, 3),
        (14, {}, 7, 2),
        (15, {}, 5, 3),
        (16, {}, 4, 4),
        (64, {}, 4, 16),
        (2, {"SER_WORKERS": "1"}, 1, 2),
        (8, {"SER_WORKERS": "2", "SER_RUNTIME_THREADS": "2"}, 2, 2),
        (2, {"SER_WORKERS": "8"}, 8, 1),
    ],
)
def test_workers_times_interpreters_times_threads_fit_the_cpus(
    monkeypatch: pytest.MonkeyPatch,
    cpus: int,
    given: dict[str, str],
    workers: int,
    interpreters: int,
) -> None:
    monkeypatch.setattr("api.settings.available_cpus", lambda: cpus)
    settings = Settings.from_environment(given)
    assert (settings.workers, settings.interpreters) == (workers, interpreters)
