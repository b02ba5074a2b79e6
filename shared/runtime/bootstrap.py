"""The first rows of an installation: a tenant, and a client that may do everything in it."""

import secrets
from contextlib import suppress

from shared.domain.errors import Conflict, NotFound
from shared.domain.identity import check_tenant_name
from shared.ports import Ports
from shared.repositories.clients import Clients
from shared.repositories.tenants import Tenants
from shared.runtime.credentials_file import Credentials


async def create_tenant(ports: Ports, name: str) -> Credentials:
    """
    A new tenant with its first client, whose secret is generated.

    The client comes first: whoever dies between the two leaves a client whose secret nobody knows, not a tenant that
    has none and cannot be made again.

    Raises:
        Invalid: the name is none.
        Conflict: there is a tenant of this name.
    """
    check_tenant_name(name)
    tenants = Tenants(ports.tables, ports.clock)
    if await tenants.get(name) is not None:
        raise Conflict(f"there is a tenant {name!r} already; chat4all tenants add-client {name} makes a client for it")
    credentials = await _generated(ports, name)
    await tenants.create(name)
    return credentials


async def add_client(ports: Ports, tenant: str) -> Credentials:
    """
    One more client of the tenant, with a secret that is generated; those before stay.

    Raises:
        NotFound: there is no such tenant.
    """
    if await Tenants(ports.tables, ports.clock).get(tenant) is None:
        raise NotFound(f"there is no tenant {tenant!r}")
    return await _generated(ports, tenant)


async def disable_client(ports: Ports, client_id: str) -> None:
    """
    End the client, and its tokens.

    Raises:
        NotFound: there is no such client.
        Conflict: it was changed at the same moment.
    """
    if not await _clients(ports).disable(client_id):
        raise NotFound(f"there is no client {client_id!r}")


async def first_client(ports: Ports, tenant: str) -> Credentials:
    """
    The tenant, made when it is not there, with a client whose secret is generated.

    Raises:
        Invalid: the tenant's name is none.
    """
    with suppress(Conflict):  # made by a start that died before its client was kept
        await Tenants(ports.tables, ports.clock).create(tenant)
    return await _generated(ports, tenant)


async def ensure_client(ports: Ports, tenant: str, client_id: str, client_secret: str) -> Credentials:
    """
    The tenant, made when it is not there, with this client and this secret, whatever they were before.

    Raises:
        Invalid: the tenant's name is none.
        Conflict: the client_id belongs to another tenant.
    """
    tenants = Tenants(ports.tables, ports.clock)
    if await tenants.get(tenant) is None:
        with suppress(Conflict):  # another process that starts at the same moment made it
            await tenants.create(tenant)
    await _clients(ports).ensure(tenant, client_id, client_secret)
    return Credentials(tenant, client_id, client_secret)


async def restore_client(ports: Ports, kept: Credentials) -> bool:
    """
    Make the client whose credentials were kept, and its tenant, when the tables do not know it: they may be others than
    at the last start. A client that they know stays as it is. True: it was made.

    Raises:
        Invalid: the tenant's name is none.
    """
    if await _clients(ports).known(kept.client_id):
        return False
    await ensure_client(ports, kept.tenant, kept.client_id, kept.client_secret)
    return True


async def _generated(ports: Ports, tenant: str) -> Credentials:
    credentials = Credentials(tenant, f"{tenant}-{secrets.token_hex(4)}", secrets.token_urlsafe(32))
    await _clients(ports).create(tenant, credentials.client_id, credentials.client_secret)
    return credentials


def _clients(ports: Ports) -> Clients:
    return Clients(ports.tables, ports.clock, ports.hasher)
