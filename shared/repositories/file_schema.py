"""Tables of files, their uploads, and the bytes that files of one tenant share."""

from shared.ports.tables import Table, Type

_TENANT = {"tenant": Type.TEXT}
_FILE = {**_TENANT, "file_id": Type.TEXT}

FILES = Table(
    "files",
    partition=_FILE,
    columns={
        "owner": Type.TEXT,
        "conversation_id": Type.TEXT,
        "filename": Type.TEXT,
        "content_type": Type.TEXT,
        "size": Type.INT,
        "part_size": Type.INT,
        "state": Type.TEXT,  # shared.domain.file.State
        "version": Type.INT,  # one more with each change
        "created_at": Type.TIME,
        "updated_at": Type.TIME,
        "announced": Type.TEXT,  # the checksum that initiate named
        "part_checksums": Type.BYTES,  # 32 bytes a part, or none
        "upload_id": Type.TEXT,  # the store's; None until it is begun there
        "claimed": Type.TEXT,  # the checksum that complete named
        "manifest": Type.BYTES,  # JSON: the parts that it was completed of
        "object_key": Type.TEXT,  # where its bytes are, once it is ready
        "checksum": Type.TEXT,  # proven
        "reason": Type.TEXT,  # why it was rejected
        "detail": Type.TEXT,
    },
    conditional=True,
)

FILE_HOLDERS = Table(
    "file_holders",
    partition=_FILE,
    clustering={"conversation_id": Type.TEXT},
    columns={"added_by": Type.TEXT, "at": Type.TIME},
)
"""The conversations that hold a file: where it was uploaded for, and wherever it was sent."""

OPEN_UPLOADS = Table(
    "open_uploads",
    partition=_TENANT,
    clustering={"owner": Type.TEXT, "file_id": Type.TEXT},
    columns={"expires_at": Type.TIME},
    short_lived=True,
)
"""Uploads that take parts: what the quotas count and the reaper looks at."""

FILE_CHUNKS = Table(
    "file_chunks",
    partition=_FILE,
    clustering={"offset": Type.INT},
    columns={"size": Type.INT, "object_key": Type.TEXT},
    conditional=True,
    short_lived=True,
)
"""Pieces of a part that came by PATCH and are too small to be one."""

BLOBS = Table(
    "blobs",
    partition={**_TENANT, "checksum": Type.TEXT},
    columns={
        "object_key": Type.TEXT,
        "state": Type.TEXT,  # live | doomed | going
        "doomed_at": Type.TIME,
        "version": Type.INT,
    },
    conditional=True,
)
"""The bytes that a tenant's files with one checksum share (B8)."""

BLOB_FILES = Table(
    "blob_files",
    partition={**_TENANT, "checksum": Type.TEXT},
    clustering={"file_id": Type.TEXT},
    columns={"at": Type.TIME},
)
"""The files that use a blob: its references, counted by being there."""

DOOMED_BLOBS = Table(
    "doomed_blobs",
    partition=_TENANT,
    clustering={"checksum": Type.TEXT},
    columns={"since": Type.TIME},
    short_lived=True,
)
"""Blobs without a file, for the reaper; ``blobs`` has the truth."""

FILE_TABLES = (FILES, FILE_HOLDERS, OPEN_UPLOADS, FILE_CHUNKS, BLOBS, BLOB_FILES, DOOMED_BLOBS)
