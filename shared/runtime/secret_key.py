"""Whether this process has the key with which the stored secrets were sealed: asked at the start, not at first use."""

from shared.domain.errors import Unavailable
from shared.ports import Ports
from shared.repositories.signing_keys import SigningKeys
from shared.runtime.start_error import KEY_WRONG, StartError


async def check_key(ports: Ports) -> None:
    """
    Raises:
        StartError: it has another one.
    """
    try:
        await SigningKeys(ports.tables, ports.vault, ports.clock).signing()
    except Unavailable as error:
        raise StartError(
            f"{error.detail}; give every process of an installation the same CHAT4ALL_SECRET_KEY, or the vault.key "
            "of the first one's data directory",
            KEY_WRONG,
        ) from error
