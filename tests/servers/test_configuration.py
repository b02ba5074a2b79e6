"""Critical configuration: agreed on by consensus, applied at the next event in every process, no restart (E14)."""

import asyncio

import pytest

from shared.adapters.cassandra.tables import CassandraTables
from shared.adapters.local.clock import SystemClock
from shared.adapters.local.vault import FernetVault
from shared.domain.errors import Unavailable
from shared.domain.routing_rules import Match, RoutingRule, ToDesk
from shared.repositories.channel_accounts import ChannelAccounts
from shared.repositories.identity_schema import CHANNEL_ACCOUNTS, ROUTING_RULES
from shared.repositories.routing_rules import RoutingRules
from shared.testing import real_engines
from shared.testing.build import NOON

pytestmark = pytest.mark.real("cassandra")

KEYSPACE = "chat4all_configuration"
SCHEMA = (CHANNEL_ACCOUNTS, ROUTING_RULES)
KEY = b"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


@pytest.fixture
async def here():
    async with real_engines.cassandra_tables(KEYSPACE, SCHEMA) as tables:
        yield tables


@pytest.fixture
async def there(here):
    """Another process: a connection of its own."""
    tables = await CassandraTables.connect(real_engines.cassandra_settings(KEYSPACE), SCHEMA)
    yield tables
    await tables.close()


def accounts(tables):
    return ChannelAccounts(tables, FernetVault([KEY]), SystemClock())


async def put(tables, *, enabled, over):
    return await accounts(tables).put("acme", "whatsapp", "1", settings={}, secrets={}, enabled=enabled, over=over)


async def names(tables):
    return [one.account_id for one in await accounts(tables).for_channel("acme", "whatsapp")]


async def test_an_account_that_is_disabled_here_is_not_used_there_any_more(here, there):
    made = await put(here, enabled=True, over=None)
    assert await names(there) == ["1"]
    off = await put(here, enabled=False, over=made)
    assert await names(there) == []
    await put(there, enabled=True, over=off)
    assert await names(here) == ["1"]


async def test_a_rule_counts_there_as_soon_as_it_is_made_here(here, there):
    rule = RoutingRule("r1", Match("whatsapp"), ToDesk("sales"), 100, NOON)
    await RoutingRules(here).add("acme", rule)
    assert await RoutingRules(there).first_match("acme", "whatsapp", "1", "+5511987654321") == rule
    await RoutingRules(here).remove("acme", "r1")
    assert await RoutingRules(there).first_match("acme", "whatsapp", "1", "+5511987654321") is None


async def test_of_two_who_change_the_same_at_once_one_is_told_to_read_again(here, there):
    made = await put(here, enabled=True, over=None)
    for _ in range(20):
        changes = [put(tables, enabled=enabled, over=made) for tables, enabled in ((here, False), (there, True))]
        one, other = await asyncio.gather(*changes, return_exceptions=True)
        assert [isinstance(one, Unavailable), isinstance(other, Unavailable)].count(True) == 1
        made = other if isinstance(one, Unavailable) else one
        assert await accounts(here).get("acme", "whatsapp", "1") == made
        assert await accounts(there).get("acme", "whatsapp", "1") == made
