"""The first rows of an installation: a tenant, and a client that may do everything in it."""

import secrets
from contextlib import suppress

from shared.domain.errors import Conflict
from shared.ports import Ports
from shared.repositories.clients import Clients
from shared.repositories.tenants import Tenants
from shared.runtime.credentials_file import Credentials


async def create_tenant(ports: Ports, name: str) -> Credentials:
    """
    A new tenant with its first client, whose secret is generated.

    Raises:
        Invalid: the name is none.
        Conflict: there is a tenant of this name.
    """
    await Tenants(ports.tables, ports.clock).create(name)
    return await _generated(ports, name)


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
