"""What is written in one mode is not seen in another: whoever stands beside a platform asks in which it is."""

from shared.runtime import start_error
from shared.runtime.credentials_file import CredentialsFile
from shared.runtime.data_directory import unusable
from shared.runtime.open_ports import SERVERS
from shared.runtime.start_error import StartError
from shared.settings import Settings


def check_mode(settings: Settings) -> None:
    """
    Refused, not switched: the mode alone does not say where the platform's servers are, and those of the defaults
    may be another platform's.

    Raises:
        StartError: the platform on the data directory was last started in another mode; it cannot be read.
    """
    try:
        theirs = CredentialsFile(settings.data_dir).mode
    except OSError as error:
        raise unusable(settings.data_dir, error) from error
    if theirs not in (None, settings.mode):
        servers = (
            " and its servers (told=$(scripts/stack env) && export $told, if they are those)"
            if theirs == SERVERS
            else ""
        )
        raise StartError(
            f"the platform on {settings.data_dir} was last started in the mode {theirs}, and would not see what is "
            f"written in the mode {settings.mode}: set CHAT4ALL_MODE={theirs}{servers}, or name another --data-dir",
            start_error.SETTINGS_WRONG,
        )
