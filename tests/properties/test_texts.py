"""A text that is too long for a channel arrives in parts, and nothing of it is lost (C4; channels.md 2.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.text import split

FAMILY = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}"
THUMB = "\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-5}"
ACCENT = "e\N{COMBINING ACUTE ACCENT}"
HEART = "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}"
PIECES = st.sampled_from(["a", "b", "é", "😀", ACCENT, THUMB, HEART, FAMILY, " ", "\n", "\n\n", "palavra", "ção "])
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=60).map("".join))
JOINED = ("\N{ZERO WIDTH JOINER}", "\N{VARIATION SELECTOR-16}", "\N{COMBINING ACUTE ACCENT}")


def size(text, in_bytes):
    return len(text.encode()) if in_bytes else len(text)


def solid(text):
    return "".join(text.split())


@given(text=TEXTS, limit=st.integers(8, 60), in_bytes=st.booleans())
def test_every_part_fits_and_nothing_but_white_space_is_lost(text, limit, in_bytes):
    parts = split(text, limit, in_bytes=in_bytes)
    assert all(size(part, in_bytes) <= limit for part in parts) or not text.strip()
    assert solid("".join(parts)) == solid(text)
    if text.strip():
        assert all(part.strip() for part in parts), "no part is empty"


@given(text=TEXTS, limit=st.integers(8, 60))
def test_what_fits_goes_as_it_is(text, limit):
    if len(text) <= limit:
        assert split(text, limit) == [text]


@given(pieces=st.lists(PIECES, max_size=60), limit=st.integers(8, 60), in_bytes=st.booleans())
def test_no_part_begins_inside_a_character(pieces, limit, in_bytes):
    limit = max(limit, 3 * max((size(piece, in_bytes) for piece in pieces), default=8))
    parts = split("".join(pieces), limit, in_bytes=in_bytes)
    for part in parts[1:]:
        assert not part.startswith(JOINED)
        assert part[0] != THUMB[1]
    for part in parts[:-1]:
        assert not part.endswith("\N{ZERO WIDTH JOINER}")


@given(text=st.lists(st.sampled_from(["palavra", "ção", "a", "maravilhosa"]), min_size=1, max_size=80).map(" ".join))
def test_words_stay_whole_where_a_part_has_room_for_them(text):
    assert [word for part in split(text, 24) for word in part.split()] == text.split()


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        ("olá", 10, ["olá"]),
        ("um parágrafo\n\noutro parágrafo", 24, ["um parágrafo", "outro parágrafo"]),
        ("uma linha longa\noutra linha", 24, ["uma linha longa", "outra linha"]),
        ("sempalavras" * 3, 11, ["sempalavras"] * 3),
    ],
)
def test_cuts_where_a_reader_would(text, limit, parts):
    assert split(text, limit) == parts


def test_bytes_are_counted_as_bytes():
    assert split("ç" * 10, 10, in_bytes=True) == ["ç" * 5, "ç" * 5]
    assert split("ç" * 10, 10) == ["ç" * 10]
