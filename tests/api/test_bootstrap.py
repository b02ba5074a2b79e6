"""The first rows of an installation (E12)."""

from dataclasses import replace

import pytest

from shared.adapters.memory.tables import Fault, MemoryTables
from shared.domain.errors import Conflict, Invalid, Unauthenticated, Unavailable
from shared.ports import Clock, Ports
from shared.ports.tables import Table
from shared.repositories.clients import Clients
from shared.repositories.identity_schema import CLIENTS, TENANTS
from shared.repositories.tenants import Tenants
from shared.runtime.bootstrap import create_tenant, ensure_client, restore_client
from shared.runtime.credentials_file import Credentials


async def test_a_tenant_gets_a_client_with_a_secret_that_we_cannot_show_again(ports: Ports) -> None:
    credentials = await create_tenant(ports, "acme")
    assert len(credentials.client_secret) >= 43  # 256 bits
    assert credentials.client_secret not in repr(credentials)
    clients = Clients(ports.tables, ports.clock, ports.hasher)
    client = await clients.verify(credentials.client_id, credentials.client_secret)
    assert (client.tenant, client.scopes) == ("acme", {"messages", "users", "channels", "operations"})
    with pytest.raises(Conflict):
        await create_tenant(ports, "acme")


@pytest.mark.parametrize("cut", [TENANTS, CLIENTS])
async def test_a_tenant_whose_making_was_cut_is_made_by_the_next_try(ports: Ports, clock: Clock, cut: Table) -> None:
    """Never a tenant without a client: nobody could come in, and a second try would be refused."""
    faults = [Fault.UNREACHED]

    def once(method: str, table: Table) -> Fault | None:
        return faults.pop() if faults and method == "put_if_absent" and table is cut else None

    ports = replace(ports, tables=MemoryTables(clock, fault=once))
    with pytest.raises(Unavailable):
        await create_tenant(ports, "acme")
    made = await create_tenant(ports, "acme")
    clients = Clients(ports.tables, ports.clock, ports.hasher)
    assert (await clients.verify(made.client_id, made.client_secret)).tenant == "acme"


@pytest.mark.parametrize("name", ["", "-", "-acme", "Acme", "a" * 64, "acme\n", "açme", "a_b", "a/b"])
async def test_what_is_no_name_is_refused(ports: Ports, name: str) -> None:
    with pytest.raises(Invalid):
        await create_tenant(ports, name)
    with pytest.raises(Invalid):
        await ensure_client(ports, name, "id", "secret")


async def test_a_client_is_what_the_settings_say_whatever_it_was(ports: Ports) -> None:
    clients = Clients(ports.tables, ports.clock, ports.hasher)
    for secret in ("first", "first", "second"):
        await ensure_client(ports, "demo", "bootstrap", secret)
        assert (await clients.verify("bootstrap", secret)).tenant == "demo"
    with pytest.raises(Unauthenticated):
        await clients.verify("bootstrap", "first")
    assert [tenant.name for tenant in await Tenants(ports.tables, ports.clock).all()] == ["demo"]
    with pytest.raises(Conflict):
        await ensure_client(ports, "other", "bootstrap", "second")


async def test_credentials_that_were_kept_hold_on_other_tables_too_and_change_nothing_on_their_own(
    ports: Ports,
) -> None:
    kept = Credentials("demo", "demo-1", "kept")
    clients = Clients(ports.tables, ports.clock, ports.hasher)
    assert await restore_client(ports, kept)
    assert (await clients.verify("demo-1", "kept")).tenant == "demo"
    await ensure_client(ports, "demo", "demo-1", "replaced since")
    await clients.disable("demo-1")
    assert not await restore_client(ports, kept)
    with pytest.raises(Unauthenticated):
        await clients.verify("demo-1", "replaced since")
