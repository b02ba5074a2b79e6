"""Where the S3 is and how it is used."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class S3Settings:
    """
    ``endpoint``: None is AWS's own. ``public_endpoint``: how clients reach the same store, when that is another
    address than ours; presigned URLs name it. Without keys they come from where AWS's SDK looks for them.
    ``timeout``: seconds without a byte until an answer is given up; ``connect_timeout``: the same for connecting.
    """

    bucket: str = "chat4all"
    endpoint: str | None = None
    public_endpoint: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    region: str = "us-east-1"
    timeout: float = 30.0
    connect_timeout: float = 3.0
    tries: int = 4
