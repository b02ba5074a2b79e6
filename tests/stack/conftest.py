import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "engines: starts real servers with scripts/stack; the first time it fetches and builds them"
    )
