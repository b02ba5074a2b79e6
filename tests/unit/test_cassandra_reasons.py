"""What the driver says of nodes that do not answer, as people are told it (E8)."""

from typing import Any

import pytest
from cassandra import OperationTimedOut
from cassandra.cluster import NoHostAvailable

from shared.adapters.cassandra.session import why

REFUSED = ConnectionRefusedError(111, "Tried connecting to [('127.0.0.1', 9042)]. Last error: Connection refused")
SLOW = OperationTimedOut(errors={"127.0.0.2:9042": "Client request timeout"}, last_host="127.0.0.2:9042")


@pytest.mark.parametrize(
    ("met", "told"),
    [
        ({"127.0.0.1:9042": REFUSED}, "Connection refused"),
        ({"127.0.0.1:9042": REFUSED, "127.0.0.2:9042": REFUSED}, "Connection refused"),
        ({"127.0.0.1:9042": REFUSED, "127.0.0.2:9042": SLOW}, "Connection refused; no answer in time"),
        ({"127.0.0.1:9042": TimeoutError()}, "TimeoutError"),
        ({}, "Unable to connect to any servers"),
    ],
    ids=["one", "the same twice", "two", "without a word", "none"],
)
def test_a_node_that_is_not_there_is_a_word_and_no_dict(met: dict[str, Any], told: str) -> None:
    assert why(NoHostAvailable("Unable to connect to any servers", met)) == told


def test_of_one_that_is_slow_no_dict_is_told_either() -> None:
    assert why(SLOW) == "no answer in time"
