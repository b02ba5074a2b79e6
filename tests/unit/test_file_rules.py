"""What a file may be and how it is cut (B1, B6), and as what a channel takes it (channels.md 2.1)."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.deliver.content import link, media_type, parts_of
from shared.channels.instagram import Instagram
from shared.channels.whatsapp import WhatsApp
from shared.domain import file as rules
from shared.domain.errors import Invalid, TooLarge
from shared.domain.file import MAX_FILENAME, MAX_PARTS, MAX_SIZE, MIN_PART, Layout
from shared.ports.channel import Limits
from shared.repositories.files import FileRecord
from shared.testing.build import NOON

SIZES = st.integers(1, MAX_SIZE)
MIB = 1024**2


@given(SIZES, st.integers(MIN_PART, MAX_SIZE))
def test_parts_cover_the_file_once_and_are_few_enough(size, part_size):
    cut = rules.layout(size, part_size)
    assert sum(cut.size_of(number) for number in cut.numbers) == size
    assert [cut.offset_of(number + 1) for number in cut.numbers[:-1]] == [
        cut.offset_of(number) + cut.size_of(number) for number in cut.numbers[:-1]
    ]
    assert 1 <= len(cut.numbers) <= MAX_PARTS
    assert all(cut.size_of(number) >= MIN_PART for number in cut.numbers[:-1])


@given(st.integers(1, 200), st.integers(1, 40), st.data())
def test_what_is_missing_and_what_is_there_is_the_file(size, part_size, data):
    cut = Layout(size, part_size)
    there = data.draw(st.sets(st.sampled_from(list(cut.numbers))))
    stored = [(number, cut.size_of(number)) for number in there]
    assert sorted([*cut.missing(stored), *there]) == list(cut.numbers)
    offset = cut.contiguous(stored)
    assert offset == size or offset == cut.offset_of(min(cut.missing(stored)))


@given(st.text(max_size=300))
def test_a_name_is_kept_in_one_form_or_refused_and_never_leads_anywhere(name):
    try:
        kept = rules.filename(name)
    except Invalid:
        return
    assert rules.filename(kept) == kept
    assert not set(kept) & set("/\\\0\r\n\t\u202e")
    assert 0 < len(kept.encode()) <= MAX_FILENAME
    assert kept.strip() not in ("", ".", "..")


@given(st.text(max_size=60))
def test_a_content_type_has_nothing_that_ends_a_header(given_type):
    try:
        kept = rules.content_type(given_type)
    except Invalid:
        return
    assert kept.isprintable()
    assert kept.isascii()
    assert "/" in kept


@pytest.mark.parametrize("good", ["application/pdf", "image/svg+xml", 'text/plain; charset="utf-8"', "a/b;c=d"])
def test_content_types_as_they_are(good):
    assert rules.content_type(good) == good


@pytest.mark.parametrize(("size", "error"), [(0, Invalid), (-1, Invalid), (MAX_SIZE + 1, TooLarge)])
def test_sizes_that_are_none(size, error):
    with pytest.raises(error):
        rules.check_size(size)


@pytest.mark.parametrize(
    "given_sum", ["", "sha256:", "0" * 63, "0" * 65, "sha1:" + "0" * 40, "g" * 64, "0" * 64 + "\n"]
)
def test_what_is_no_checksum(given_sum):
    with pytest.raises(Invalid):
        rules.checksum(given_sum)


@pytest.mark.parametrize(
    ("channel", "content_type", "size", "expected"),
    [
        (WhatsApp, "image/jpeg", 5 * MIB, "image"),
        (WhatsApp, "image/jpeg", 5 * MIB + 1, "document"),
        (WhatsApp, "image/gif", 1, "document"),
        (WhatsApp, "video/mp4", 16 * MIB + 1, "document"),
        (WhatsApp, "application/zip", 100 * MIB, "document"),
        (WhatsApp, "application/zip", 100 * MIB + 1, None),
        (Instagram, "image/PNG; x=1", 8 * MIB, "image"),
        (Instagram, "image/png", 8 * MIB + 1, None),
        (Instagram, "application/pdf", 25 * MIB, "document"),
        (Instagram, "application/zip", 1, None),
    ],
)
def test_a_channel_takes_a_file_as_itself_as_a_document_or_not_at_all(channel, content_type, size, expected):
    assert media_type(content_type, size, channel.limits) == expected


def a_file(name="a.bin", size=5):
    return FileRecord(
        file_id="f", owner="ana", conversation_id="c", filename=name, content_type="a/b", size=size, part_size=5,
        created_at=NOON, updated_at=NOON,
    )  # fmt: skip


def test_a_link_is_never_cut():
    url = "https://store/" + "x" * 80
    wide, narrow, none = (Limits(text=size, uncertain_wait=timedelta(0)) for size in (200, 100, 50))
    assert link(a_file(size=2_500_000), url, wide).text == f"a.bin (2.5 MB)\n{url}"
    assert link(a_file("n" * 50), url, narrow).text == url
    assert link(a_file(), url, none) is None
    assert parts_of(link(a_file(), url, wide), wide) == [link(a_file(), url, wide)]
