"""
What every Tables must do (shared.ports.tables). Subclass it, say how to open the tables of ``SCHEMA``, empty.

``pass_time`` advances ``clock``; an engine with a clock of its own overrides it, and ``clock_is_ours``.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.adapters.memory.clock import SettableClock
from shared.ports.tables import Put, Row, Table, Tables, Type
from shared.testing.build import NOON
from shared.testing.tables_model import TablesModel

NOTES = Table(
    "notes",
    partition={"tenant": Type.TEXT, "owner": Type.TEXT},
    clustering={"kind": Type.TEXT, "number": Type.INT},
    columns={
        "text": Type.TEXT,
        "count": Type.INT,
        "flag": Type.BOOL,
        "body": Type.BYTES,
        "at": Type.TIME,
    },
    expiring=True,
)
CLAIMS = Table(
    "claims",
    partition={"tenant": Type.TEXT, "place": Type.TEXT},
    clustering={"kind": Type.TEXT, "number": Type.INT},
    columns={"holder": Type.TEXT, "count": Type.INT, "flag": Type.BOOL, "body": Type.BYTES, "at": Type.TIME},
    conditional=True,
)
LEASES = replace(CLAIMS, name="leases", expiring=True)
PROFILES = Table("profiles", partition={"tenant": Type.TEXT}, columns={"name": Type.TEXT})
CALENDAR = Table(
    "calendar",
    partition={"tenant": Type.TEXT, "minute": Type.INT},
    clustering={"at": Type.TIME, "id": Type.TEXT},
    columns={"text": Type.TEXT},
)
FACTS = Table(
    "facts",
    partition={"tenant": Type.TEXT},
    clustering={"name": Type.TEXT},
    columns={"text": Type.TEXT, "count": Type.INT, "at": Type.TIME},
    immutable=True,
)
QUEUE = Table(
    "queue",
    partition={"tenant": Type.TEXT, "minute": Type.INT},
    clustering={"id": Type.TEXT},
    columns={"text": Type.TEXT},
    short_lived=True,
)
SCHEMA = (NOTES, CLAIMS, LEASES, PROFILES, CALENDAR, FACTS, QUEUE)

judged = pytest.mark.parametrize("table", [CLAIMS, LEASES], ids=lambda table: str(table.name))

PassTime = Callable[[float], Awaitable[None]]


def a_note(number: int = 1, kind: str = "a", *, tenant: str = "acme", owner: str = "alice", **columns: Any) -> Row:
    return {"tenant": tenant, "owner": owner, "kind": kind, "number": number, **columns}


def a_claim(number: int = 1, kind: str = "a", *, tenant: str = "acme", place: str = "p", **columns: Any) -> Row:
    return {"tenant": tenant, "place": place, "kind": kind, "number": number, **columns}


def whole(table: Table, row: Row) -> Row:
    """The row as it is read: with every column."""
    return {**dict.fromkeys(table.all_columns), **row}


def key(table: Table, row: Row) -> list[Any]:
    return [row[name] for name in table.key]


def numbers(rows: Sequence[Row]) -> list[Any]:
    return [row["number"] for row in rows]


class TablesContract:
    clock_is_ours: ClassVar[bool] = True

    @pytest.fixture
    def clock(self) -> SettableClock:
        return SettableClock(NOON)

    @pytest.fixture
    def pass_time(self, clock: SettableClock) -> PassTime:
        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        return advance

    @pytest.fixture
    async def tables(self, clock: SettableClock) -> AsyncIterator[Tables]:
        raise NotImplementedError("say how to open the tables of SCHEMA, empty")
        yield

    # Reading and writing.

    async def test_nothing_is_where_nothing_was_written(self, tables: Tables) -> None:
        assert await tables.get(NOTES, ("acme", "alice", "a", 1)) is None
        assert await tables.get(CLAIMS, ("acme", "p", "a", 1), serial=True) is None
        assert await tables.slice(NOTES, ("acme", "alice"), limit=10) == []
        assert await tables.slice(CLAIMS, ("acme", "p"), limit=10, serial=True) == []

    @pytest.mark.parametrize(
        "columns",
        [
            {},
            {"text": "ção 🙂 \t\r\n'\"\\ %s ; DROP TABLE notes", "body": bytes(range(256)) * 256},
            {"text": "", "body": b"", "count": 0, "flag": False},
            {"count": 2**62, "flag": True, "at": datetime(2026, 2, 28, 23, 59, 59, 999_000, tzinfo=UTC)},
            {"count": 2**63 - 1, "at": datetime(1969, 12, 31, 23, 59, 59, 1_000, tzinfo=UTC)},
            {"count": -(2**63), "at": datetime(2199, 1, 1, tzinfo=UTC)},
            {"count": -1, "text": None, "flag": None, "body": None, "at": None},
            {"text": "x" * 65_536},
        ],
    )
    async def test_a_row_comes_back_as_it_was_given_with_every_column(
        self, tables: Tables, columns: dict[str, Any]
    ) -> None:
        row = a_note(-7, "é", owner="josé/🙂", **columns)
        await tables.put(Put(NOTES, row))
        found = await tables.get(NOTES, key(NOTES, row))
        assert found == whole(NOTES, row)
        assert {name: type(value) for name, value in found.items()} == {
            name: type(value) for name, value in whole(NOTES, row).items()
        }
        assert await tables.slice(NOTES, ("acme", "josé/🙂"), limit=2) == [found]

    async def test_a_claim_comes_back_as_it_was_given_with_every_column(self, tables: Tables) -> None:
        row = a_claim(2**62, holder="ção 🙂", count=-(2**62), flag=False, body=bytes(65_536), at=NOON)
        assert await tables.put_if_absent(CLAIMS, row) == []
        assert await tables.get(CLAIMS, key(CLAIMS, row), serial=True) == whole(CLAIMS, row)

    async def test_a_table_without_clustering_has_one_row_in_a_partition(self, tables: Tables) -> None:
        await tables.put(Put(PROFILES, {"tenant": "acme", "name": "A"}), Put(PROFILES, {"tenant": "b", "name": "B"}))
        assert await tables.get(PROFILES, ("acme",)) == {"tenant": "acme", "name": "A"}
        assert await tables.slice(PROFILES, ("b",), limit=5) == [{"tenant": "b", "name": "B"}]

    async def test_a_repeated_put_changes_nothing(self, tables: Tables) -> None:
        for _ in range(3):
            await tables.put(Put(NOTES, a_note(text="x")))
        assert await tables.slice(NOTES, ("acme", "alice"), limit=10) == [whole(NOTES, a_note(text="x"))]

    async def test_a_put_replaces_the_row_and_clears_what_it_leaves_out(self, tables: Tables) -> None:
        await tables.put(Put(NOTES, a_note(text="x", count=5)))
        await tables.put(Put(NOTES, a_note(text="y")))
        assert await tables.get(NOTES, ("acme", "alice", "a", 1)) == whole(NOTES, a_note(text="y"))

    async def test_an_immutable_row_written_again_is_the_same_row(self, tables: Tables) -> None:
        row: Row = {"tenant": "acme", "name": "a", "text": "x"}
        for _ in range(2):
            await tables.put(Put(FACTS, row), Put(FACTS, {"tenant": "acme", "name": "b"}))
        assert await tables.slice(FACTS, ("acme",), limit=5) == [
            whole(FACTS, row),
            whole(FACTS, {"tenant": "acme", "name": "b"}),
        ]

    async def test_the_last_of_several_puts_of_one_row_stands(self, tables: Tables) -> None:
        for n in range(20):
            await tables.put(Put(NOTES, a_note(count=n)))
        found = await tables.get(NOTES, ("acme", "alice", "a", 1))
        assert found == whole(NOTES, a_note(count=19))

    async def test_one_call_puts_rows_of_several_partitions_and_tables(self, tables: Tables) -> None:
        rows = [a_note(n, owner=f"o{n % 3}") for n in range(9)]
        await tables.put(*(Put(NOTES, row) for row in rows), Put(PROFILES, {"tenant": "acme", "name": "A"}))
        for row in rows:
            assert await tables.get(NOTES, key(NOTES, row)) == whole(NOTES, row)
        assert await tables.get(PROFILES, ("acme",)) == {"tenant": "acme", "name": "A"}

    async def test_nothing_to_do_is_no_error(self, tables: Tables) -> None:
        await tables.put()
        await tables.delete(NOTES)

    async def test_what_a_reader_does_to_a_row_is_not_seen_by_others(self, tables: Tables) -> None:
        await tables.put(Put(NOTES, a_note(text="x")))
        found: Any = await tables.get(NOTES, ("acme", "alice", "a", 1))
        found["text"] = "y"
        assert await tables.get(NOTES, ("acme", "alice", "a", 1)) == whole(NOTES, a_note(text="x"))

    @pytest.mark.parametrize(
        "row",
        [
            a_note(nonsense=1),
            a_note(text=5),
            a_note(count="5"),
            a_note(count=True),
            a_note(flag=1),
            a_note(body="text"),
            a_note(at="2026-11-21"),
            {"tenant": "acme", "owner": "alice", "kind": "a"},
            {**a_note(), "owner": None},
        ],
    )
    async def test_a_row_that_is_not_as_declared_is_a_bug(self, tables: Tables, row: Row) -> None:
        with pytest.raises(TypeError):
            await tables.put(Put(NOTES, row))
        assert await tables.slice(NOTES, ("acme", "alice"), limit=10) == []

    async def test_a_ttl_where_rows_do_not_expire_is_a_bug(self, tables: Tables) -> None:
        with pytest.raises(TypeError):
            await tables.put(Put(PROFILES, {"tenant": "acme"}, ttl=5))

    async def test_a_part_of_a_key_is_a_bug(self, tables: Tables) -> None:
        with pytest.raises(TypeError):
            await tables.get(NOTES, ("acme", "alice", "a"))
        with pytest.raises(TypeError):
            await tables.delete(NOTES, ("acme", "alice"))
        with pytest.raises(TypeError):
            await tables.slice(NOTES, ("acme",), limit=1)

    async def test_tenants_do_not_see_each_other(self, tables: Tables) -> None:
        await tables.put(Put(NOTES, a_note(text="x")))
        await tables.put_if_absent(CLAIMS, a_claim())
        assert await tables.get(NOTES, ("umbrella", "alice", "a", 1)) is None
        assert await tables.slice(NOTES, ("umbrella", "alice"), limit=10) == []
        assert await tables.put_if_absent(CLAIMS, a_claim(tenant="umbrella", holder="u")) == []
        await tables.delete(NOTES, ("umbrella", "alice", "a", 1))
        assert await tables.get(NOTES, ("acme", "alice", "a", 1)) is not None

    async def test_keys_that_look_alike_are_different_rows(self, tables: Tables) -> None:
        owners = ["a", "A", "á", "a\u0301", " a", "a ", "a/b", "a:b", "1", "01", "%", "_"]
        await tables.put(*(Put(NOTES, a_note(owner=owner, text=owner)) for owner in owners))
        for owner in owners:
            found = await tables.slice(NOTES, ("acme", owner), limit=10)
            assert [row["text"] for row in found] == [owner]

    # Slices.

    async def test_a_slice_is_in_the_order_of_the_clustering_columns(self, tables: Tables) -> None:
        keys = [(kind, n) for kind in ("", "B", "a", "aa", "b", "é", "\uffee", "🙂") for n in (-(2**62), -1, 0, 9, 10)]
        await tables.put(*(Put(NOTES, a_note(n, kind)) for kind, n in sorted(keys, key=str)))
        found = await tables.slice(NOTES, ("acme", "alice"), limit=100)
        assert [(row["kind"], row["number"]) for row in found] == keys
        backwards = await tables.slice(NOTES, ("acme", "alice"), limit=100, reverse=True)
        assert backwards == found[::-1]

    async def test_times_are_ordered_to_the_millisecond(self, tables: Tables) -> None:
        times = [NOON + timedelta(milliseconds=n) for n in (-1, 0, 1, 999, 1000, 86_400_000)]
        for at in reversed(times):
            await tables.put(Put(CALENDAR, {"tenant": "acme", "minute": 5, "at": at, "id": "x"}))
        found = await tables.slice(CALENDAR, ("acme", 5), after=times[0], until=times[4], limit=100)
        assert [row["at"] for row in found] == times[1:5]
        exactly = await tables.slice(CALENDAR, ("acme", 5), prefix=(times[2],), limit=100)
        assert [row["at"] for row in exactly] == [times[2]]

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize(
        ("after", "until", "expected"),
        [
            (None, None, [1, 2, 3, 4, 5]),
            (2, None, [3, 4, 5]),
            (None, 3, [1, 2, 3]),
            (1, 4, [2, 3, 4]),
            (0, 9, [1, 2, 3, 4, 5]),
            (3, 3, []),
            (4, 2, []),
            (5, None, []),
            (None, 0, []),
        ],
    )
    async def test_bounds_leave_after_out_and_until_in_whichever_way_the_order_runs(
        self, tables: Tables, after: int | None, until: int | None, expected: list[int], reverse: bool
    ) -> None:
        await tables.put(*(Put(NOTES, a_note(n, kind)) for n in range(1, 6) for kind in ("a", "b", "c")))
        found = await tables.slice(
            NOTES, ("acme", "alice"), prefix=("b",), after=after, until=until, limit=100, reverse=reverse
        )
        assert numbers(found) == (expected[::-1] if reverse else expected)
        assert {row["kind"] for row in found} <= {"b"}

    async def test_bounds_of_the_first_clustering_column_take_whole_groups(self, tables: Tables) -> None:
        await tables.put(*(Put(NOTES, a_note(n, kind)) for n in (1, 2) for kind in ("a", "b", "c")))
        found = await tables.slice(NOTES, ("acme", "alice"), after="a", until="b", limit=100)
        assert [(row["kind"], row["number"]) for row in found] == [("b", 1), ("b", 2)]

    async def test_a_prefix_of_the_whole_clustering_key_finds_one_row(self, tables: Tables) -> None:
        await tables.put(*(Put(NOTES, a_note(n)) for n in range(5)))
        assert numbers(await tables.slice(NOTES, ("acme", "alice"), prefix=("a", 3), limit=100)) == [3]
        assert await tables.slice(NOTES, ("acme", "alice"), prefix=("a", 9), limit=100) == []

    @pytest.mark.parametrize(("reverse", "expected"), [(False, [1, 2, 3]), (True, [9, 8, 7])])
    async def test_a_limit_takes_the_first_in_the_order_asked_for(
        self, tables: Tables, reverse: bool, expected: list[int]
    ) -> None:
        await tables.put(*(Put(NOTES, a_note(n)) for n in range(1, 10)))
        found = await tables.slice(NOTES, ("acme", "alice"), prefix=("a",), limit=3, reverse=reverse)
        assert numbers(found) == expected

    async def test_a_large_partition_is_read_page_by_page(self, tables: Tables) -> None:
        for start in range(0, 5000, 500):
            await tables.put(*(Put(NOTES, a_note(n, text=f"{n}")) for n in range(start, start + 500)))
        seen: list[Any] = []
        while page := await tables.slice(
            NOTES, ("acme", "alice"), prefix=("a",), after=seen[-1] if seen else None, limit=700
        ):
            seen += numbers(page)
        assert seen == list(range(5000))
        newest = await tables.slice(NOTES, ("acme", "alice"), limit=1, reverse=True)
        assert numbers(newest) == [4999]

    # Deleting.

    async def test_a_deleted_row_is_gone_and_its_neighbours_stay(self, tables: Tables) -> None:
        await tables.put(*(Put(NOTES, a_note(n)) for n in range(5)))
        await tables.delete(NOTES, ("acme", "alice", "a", 1), ("acme", "alice", "a", 3))
        assert await tables.get(NOTES, ("acme", "alice", "a", 1)) is None
        assert numbers(await tables.slice(NOTES, ("acme", "alice"), limit=10)) == [0, 2, 4]

    async def test_a_queue_is_filled_and_emptied_over_and_over(self, tables: Tables) -> None:
        for turn in range(3):
            rows: list[Row] = [{"tenant": "acme", "minute": 1, "id": f"{n:03}", "text": f"{turn}"} for n in range(100)]
            await tables.put(*(Put(QUEUE, row) for row in rows))
            assert await tables.slice(QUEUE, ("acme", 1), limit=200) == rows
            await tables.delete(QUEUE, *(key(QUEUE, row) for row in rows))
            assert await tables.slice(QUEUE, ("acme", 1), limit=200) == []

    async def test_deleting_what_is_absent_is_no_error(self, tables: Tables) -> None:
        for _ in range(2):
            await tables.delete(NOTES, ("acme", "alice", "a", 1))

    async def test_a_deleted_row_can_be_written_again(self, tables: Tables) -> None:
        await tables.put(Put(NOTES, a_note(text="x", count=1)))
        await tables.delete(NOTES, ("acme", "alice", "a", 1))
        await tables.put(Put(NOTES, a_note(text="y")))
        assert await tables.get(NOTES, ("acme", "alice", "a", 1)) == whole(NOTES, a_note(text="y"))

    async def test_a_deleted_claim_can_be_claimed_again(self, tables: Tables) -> None:
        await tables.put_if_absent(CLAIMS, a_claim(holder="x"))
        await tables.delete(CLAIMS, ("acme", "p", "a", 1))
        assert await tables.get(CLAIMS, ("acme", "p", "a", 1), serial=True) is None
        assert await tables.put_if_absent(CLAIMS, a_claim(holder="y")) == []

    # Inserting what is not there.

    async def test_an_existing_row_is_in_the_way_and_stays_as_it_is(self, tables: Tables) -> None:
        assert await tables.put_if_absent(CLAIMS, a_claim(holder="x", count=1)) == []
        in_the_way = await tables.put_if_absent(CLAIMS, a_claim(holder="y"))
        assert in_the_way == [whole(CLAIMS, a_claim(holder="x", count=1))]
        assert await tables.get(CLAIMS, ("acme", "p", "a", 1), serial=True) == in_the_way[0]

    async def test_several_rows_are_inserted_all_or_not_at_all(self, tables: Tables) -> None:
        assert await tables.put_if_absent(CLAIMS, a_claim(2, "s", holder="x"), a_claim(0, "m", holder="x")) == []
        in_the_way = await tables.put_if_absent(CLAIMS, *(a_claim(n, "s", holder="y") for n in (1, 2, 3)))
        assert in_the_way == [whole(CLAIMS, a_claim(2, "s", holder="x"))]
        rows = await tables.slice(CLAIMS, ("acme", "p"), limit=10, serial=True)
        assert [(row["kind"], row["number"], row["holder"]) for row in rows] == [("m", 0, "x"), ("s", 2, "x")]

    async def test_every_row_in_the_way_is_named(self, tables: Tables) -> None:
        await tables.put_if_absent(CLAIMS, a_claim(1, holder="x"))
        await tables.put_if_absent(CLAIMS, a_claim(3, holder="y"))
        in_the_way = await tables.put_if_absent(CLAIMS, *(a_claim(n) for n in (1, 2, 3)))
        assert {(row["number"], row["holder"]) for row in in_the_way} == {(1, "x"), (3, "y")}

    async def test_one_of_fifty_who_claim_at_the_same_time_wins(self, tables: Tables) -> None:
        answers = await asyncio.gather(
            *(
                tables.put_if_absent(CLAIMS, a_claim(1, "s", holder=f"h{n}"), a_claim(n, "m", holder=f"h{n}"))
                for n in range(50)
            )
        )
        (winner,) = (n for n, answer in enumerate(answers) if answer == [])
        rows = await tables.slice(CLAIMS, ("acme", "p"), limit=100, serial=True)
        assert [(row["kind"], row["number"], row["holder"]) for row in rows] == [
            ("m", winner, f"h{winner}"),
            ("s", 1, f"h{winner}"),
        ]
        assert all(
            [row["holder"] for row in answer] == [f"h{winner}"] for n, answer in enumerate(answers) if n != winner
        )

    async def test_racing_claims_of_many_numbers_leave_each_with_one_holder(self, tables: Tables) -> None:
        async def claim_first_free(holder: str) -> int:
            number = 1
            while await tables.put_if_absent(CLAIMS, a_claim(number, holder=holder)):
                number += 1
            return number

        taken = await asyncio.gather(*(claim_first_free(f"h{n}") for n in range(12)))
        assert sorted(taken) == list(range(1, 13))
        rows = await tables.slice(CLAIMS, ("acme", "p"), limit=100, serial=True)
        assert {row["holder"]: row["number"] for row in rows} == {f"h{n}": taken[n] for n in range(12)}

    # Changing what is as expected.

    @judged
    async def test_a_row_as_expected_is_changed_and_keeps_its_other_columns(self, tables: Tables, table: Table) -> None:
        await tables.put_if_absent(table, a_claim(holder="x", count=1, flag=False, at=NOON))
        done = await tables.update_if(
            table,
            ("acme", "p", "a", 1),
            expected={"holder": "x", "count": 1, "flag": False, "at": NOON, "body": None},
            changes={"count": 2, "flag": True, "at": None, "body": "ção".encode()},
        )
        assert done is True
        assert await tables.get(table, ("acme", "p", "a", 1), serial=True) == whole(
            table, a_claim(holder="x", count=2, flag=True, body="ção".encode())
        )

    @pytest.mark.parametrize("expected", [{"holder": "y"}, {"holder": None}, {"holder": "x", "count": 2}])
    @judged
    async def test_a_row_that_is_otherwise_stays(self, tables: Tables, table: Table, expected: Row) -> None:
        await tables.put_if_absent(table, a_claim(holder="x", count=1))
        done = await tables.update_if(table, ("acme", "p", "a", 1), expected=expected, changes={"count": 9})
        assert done is False
        assert await tables.get(table, ("acme", "p", "a", 1), serial=True) == whole(table, a_claim(holder="x", count=1))

    @pytest.mark.parametrize("expected", [{}, {"holder": None}, {"holder": "x"}])
    @judged
    async def test_an_absent_row_is_never_as_expected(self, tables: Tables, table: Table, expected: Row) -> None:
        done = await tables.update_if(table, ("acme", "p", "a", 1), expected=expected, changes={"count": 9})
        assert done is False
        assert await tables.get(table, ("acme", "p", "a", 1), serial=True) is None

    @judged
    async def test_expecting_nothing_is_expecting_the_row_to_exist(self, tables: Tables, table: Table) -> None:
        await tables.put_if_absent(table, a_claim())
        assert await tables.update_if(table, ("acme", "p", "a", 1), expected={}, changes={"count": 9})

    @judged
    async def test_one_of_fifty_who_change_the_same_row_wins(self, tables: Tables, table: Table) -> None:
        await tables.put_if_absent(table, a_claim(count=0))
        answers = await asyncio.gather(
            *(
                tables.update_if(
                    table,
                    ("acme", "p", "a", 1),
                    expected={"count": 0},
                    changes={"count": 1, "holder": f"h{n}"},
                )
                for n in range(50)
            )
        )
        (winner,) = (n for n, answer in enumerate(answers) if answer)
        found = await tables.get(table, ("acme", "p", "a", 1), serial=True)
        assert found == whole(table, a_claim(count=1, holder=f"h{winner}"))

    @judged
    async def test_no_increment_is_lost(self, tables: Tables, table: Table) -> None:
        await tables.put_if_absent(table, a_claim(count=0))

        async def increment() -> None:
            done = False
            while not done:
                row: Any = await tables.get(table, ("acme", "p", "a", 1), serial=True)
                done = await tables.update_if(
                    table,
                    ("acme", "p", "a", 1),
                    expected={"count": row["count"]},
                    changes={"count": row["count"] + 1},
                )

        await asyncio.gather(*(increment() for _ in range(8)))
        assert await tables.get(table, ("acme", "p", "a", 1), serial=True) == whole(table, a_claim(count=8))

    # Time.

    async def test_a_row_is_absent_once_its_ttl_has_passed(self, tables: Tables, pass_time: PassTime) -> None:
        await tables.put(Put(NOTES, a_note(1), ttl=2), Put(NOTES, a_note(2)), Put(NOTES, a_note(3), ttl=600))
        await tables.put_if_absent(LEASES, a_claim(holder="x"), ttl=2)
        assert numbers(await tables.slice(NOTES, ("acme", "alice"), limit=10)) == [1, 2, 3]
        assert await tables.get(LEASES, ("acme", "p", "a", 1), serial=True) is not None
        await pass_time(3)
        assert await tables.get(NOTES, ("acme", "alice", "a", 1)) is None
        assert numbers(await tables.slice(NOTES, ("acme", "alice"), limit=2)) == [2, 3]
        assert numbers(await tables.slice(NOTES, ("acme", "alice"), limit=3, reverse=True)) == [3, 2]
        assert await tables.slice(LEASES, ("acme", "p"), limit=10, serial=True) == []

    async def test_an_expired_claim_is_in_nobodys_way(self, tables: Tables, pass_time: PassTime) -> None:
        await tables.put_if_absent(LEASES, a_claim(1, holder="x", count=1), a_claim(2, holder="x"), ttl=2)
        await pass_time(3)
        assert not await tables.update_if(LEASES, ("acme", "p", "a", 1), expected={"holder": "x"}, changes={"count": 2})
        assert await tables.put_if_absent(LEASES, a_claim(1, holder="y")) == []
        assert await tables.slice(LEASES, ("acme", "p"), limit=10, serial=True) == [
            whole(LEASES, a_claim(1, holder="y"))
        ]

    async def test_writing_again_sets_the_ttl_anew(self, tables: Tables, pass_time: PassTime) -> None:
        await tables.put(Put(NOTES, a_note(1), ttl=2), Put(NOTES, a_note(2), ttl=2))
        await tables.put(Put(NOTES, a_note(1)), Put(NOTES, a_note(2), ttl=600))
        await pass_time(3)
        assert numbers(await tables.slice(NOTES, ("acme", "alice"), limit=10)) == [1, 2]

    async def test_a_changed_row_keeps_its_time(self, tables: Tables, pass_time: PassTime) -> None:
        await tables.put_if_absent(LEASES, a_claim(1, holder="x"), ttl=4)
        await tables.put_if_absent(LEASES, a_claim(2, holder="x"))
        for number in (1, 2):
            assert await tables.update_if(
                LEASES, ("acme", "p", "a", number), expected={"holder": "x", "count": None}, changes={"count": 2}
            )
        changed = whole(LEASES, a_claim(1, holder="x", count=2))
        assert await tables.get(LEASES, ("acme", "p", "a", 1), serial=True) == changed
        await pass_time(5)
        assert await tables.slice(LEASES, ("acme", "p"), limit=5, serial=True) == [{**changed, "number": 2}]
        assert await tables.put_if_absent(LEASES, a_claim(1, holder="y")) == []

    @pytest.mark.parametrize(("first", "second", "stays"), [(2, 600, True), (600, 2, False)])
    async def test_a_change_with_a_ttl_gives_the_whole_row_that_time(
        self, tables: Tables, pass_time: PassTime, first: int, second: int, stays: bool
    ) -> None:
        await tables.put_if_absent(LEASES, a_claim(holder="x", flag=True), ttl=first)
        assert await tables.update_if(
            LEASES, ("acme", "p", "a", 1), expected={"flag": True}, changes={"count": 2, "flag": None}, ttl=second
        )
        changed = whole(LEASES, a_claim(holder="x", count=2))
        assert await tables.get(LEASES, ("acme", "p", "a", 1), serial=True) == changed
        await pass_time(3)
        found = await tables.get(LEASES, ("acme", "p", "a", 1), serial=True)
        assert found == (changed if stays else None)
        assert await tables.put_if_absent(LEASES, a_claim(holder="y")) == ([changed] if stays else [])

    # All at once.

    async def test_two_hundred_operations_at_once_do_what_they_would_one_by_one(self, tables: Tables) -> None:
        async def work(n: int) -> None:
            row = a_note(n, owner=f"o{n % 7}", text=f"{n}")
            await tables.put(Put(NOTES, row))
            assert await tables.get(NOTES, key(NOTES, row)) == whole(NOTES, row)
            if n % 2:
                await tables.delete(NOTES, key(NOTES, row))
                assert await tables.get(NOTES, key(NOTES, row)) is None

        await asyncio.gather(*(work(n) for n in range(200)))
        for owner in range(7):
            found = await tables.slice(NOTES, ("acme", f"o{owner}"), limit=1000)
            assert numbers(found) == [n for n in range(200) if n % 7 == owner and n % 2 == 0]

    _programs = 0

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(data=st.data())
    async def test_any_program_reads_what_it_would_read_from_a_dict(
        self, tables: Tables, clock: SettableClock, data: st.DataObject
    ) -> None:
        type(self)._programs += 1  # a tenant of its own keeps each program apart from the others
        model = TablesModel(clock)
        program = data.draw(st.lists(_operations(f"t{self._programs}", self.clock_is_ours), min_size=5, max_size=30))
        for method, arguments, options in program:
            if method == "pass_time":
                clock.advance(*arguments)
                continue
            answer = await getattr(tables, method)(*arguments, **options)
            assert answer == getattr(model, method)(*arguments, **options), (method, arguments, options)
        for table in (NOTES, CLAIMS, LEASES):
            for partition in ((f"t{self._programs}", "p"), (f"t{self._programs}", "q")):
                found = await tables.slice(table, partition, limit=1000, serial=True)
                assert found == model.slice(table, partition, limit=1000)


Operation = tuple[str, tuple[Any, ...], dict[str, Any]]


def _operations(tenant: str, with_time: bool) -> st.SearchStrategy[Operation]:
    """Method, arguments and options of one call; keys are few, so that calls meet."""
    places, kinds, small = st.sampled_from("pq"), st.sampled_from(["", "é"]), st.integers(-1, 1)
    ttls = st.sampled_from([None, 1, 5]) if with_time else st.none()
    values = {
        Type.TEXT: st.sampled_from(["", "x", "é🙂"]),
        Type.INT: st.sampled_from([-1, 0, 2**62]),
        Type.BOOL: st.booleans(),
        Type.BYTES: st.sampled_from([b"", b"\x00\xff"]),
        Type.TIME: st.sampled_from([NOON, NOON + timedelta(milliseconds=1)]),
    }

    def columns(table: Table, least: int = 0) -> st.SearchStrategy[dict[str, Any]]:
        optional = {name: st.none() | values[kind] for name, kind in table.columns.items()}
        some = st.fixed_dictionaries({}, optional=optional)
        return some.filter(lambda drawn: len(drawn) >= least) if least else some

    @st.composite
    def rows(draw: st.DrawFn, table: Table, most: int = 1) -> list[dict[str, Any]]:
        partition = dict(zip(table.partition, (tenant, draw(places)), strict=True))
        keys = draw(st.lists(st.tuples(kinds, small), min_size=1, max_size=most, unique=True))
        return [{**partition, "kind": kind, "number": number, **draw(columns(table))} for kind, number in keys]

    tables, conditional = st.sampled_from([NOTES, CLAIMS, LEASES]), st.sampled_from([CLAIMS, LEASES])
    keys = st.tuples(st.just(tenant), places, kinds, small)

    @st.composite
    def slices(draw: st.DrawFn) -> Operation:
        prefix = draw(st.sampled_from([(), ("",), ("é",)]))
        bound = st.none() | (small if prefix else kinds)
        options = {"prefix": prefix, "after": draw(bound), "until": draw(bound), "reverse": draw(st.booleans())}
        return "slice", (draw(tables), (tenant, draw(places))), {**options, "limit": draw(st.integers(1, 4))}

    @st.composite
    def puts(draw: st.DrawFn) -> Operation:
        return "put", tuple(Put(NOTES, row, draw(ttls)) for row in draw(rows(NOTES, most=3))), {}

    @st.composite
    def inserts(draw: st.DrawFn) -> Operation:
        table = draw(conditional)
        ttl = draw(ttls) if table.expiring else None
        return "put_if_absent", (table, *draw(rows(table, most=3))), {"ttl": ttl}

    @st.composite
    def updates(draw: st.DrawFn) -> Operation:
        expected = draw(st.dictionaries(st.sampled_from(["holder", "flag"]), st.none(), max_size=1))
        options = {"expected": expected or draw(columns(CLAIMS)), "changes": draw(columns(CLAIMS, least=1))}
        return "update_if", (draw(conditional), draw(keys)), options

    gets: st.SearchStrategy[Operation] = st.builds(lambda table, key: ("get", (table, key), {}), tables, keys)
    deletes: st.SearchStrategy[Operation] = st.builds(
        lambda table, keys: ("delete", (table, *keys), {}), tables, st.lists(keys, max_size=2)
    )
    passing: st.SearchStrategy[Operation] = st.builds(
        lambda seconds: ("pass_time", (seconds,), {}), st.sampled_from([1, 3])
    )
    choices: list[st.SearchStrategy[Operation]] = [gets, slices(), puts(), inserts(), updates(), deletes]
    return st.one_of(*choices, passing) if with_time else st.one_of(*choices)
