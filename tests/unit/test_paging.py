"""Cursors come from anybody: what no page of ours can have given is refused (api.md, lists)."""

import pytest

from shared.domain.errors import Invalid
from shared.http.paging import MAX_NUMBER, decode_cursor, encode_cursor


@pytest.mark.parametrize("number", [-1, MAX_NUMBER + 1, 2**64 - 1])
def test_a_number_that_no_store_can_hold_is_refused(number):
    with pytest.raises(Invalid):
        decode_cursor(encode_cursor(["since", number]), (str, int))


def test_the_greatest_number_passes():
    assert decode_cursor(encode_cursor(["since", MAX_NUMBER]), (str, int)) == ("since", MAX_NUMBER)
