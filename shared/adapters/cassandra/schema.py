"""The CQL that makes keyspace and tables of the declarations, and adds the columns that came later."""

from collections.abc import Iterable, Mapping

from shared.adapters.cassandra.statements import CQL_TYPE, STANDS
from shared.ports.tables import Table

Columns = Mapping[str, Mapping[str, str]]
"""What each column is, by table: its CQL type, and after it "key" if it is part of the key."""

READ_COLUMNS = "SELECT table_name, column_name, type, kind FROM system_schema.columns WHERE keyspace_name = %s"


class SchemaMismatch(Exception):
    """A table has another key than is declared, or a column another type; no statement can change that."""


def columns_found(rows: Iterable[tuple[str, str, str, str]]) -> Columns:
    """Of what ``READ_COLUMNS`` gives."""
    found: dict[str, dict[str, str]] = {}
    for table, column, cql_type, kind in rows:
        found.setdefault(table, {})[column] = cql_type if kind in ("regular", "static") else f"{cql_type} key"
    return found


def create_keyspace(keyspace: str, replication_factor: int) -> str:
    replication = f"{{'class': 'NetworkTopologyStrategy', 'replication_factor': {replication_factor}}}"
    return f'CREATE KEYSPACE IF NOT EXISTS "{keyspace}" WITH replication = {replication}'


def missing(keyspace: str, tables: Iterable[Table], found: Columns) -> list[str]:
    """
    The statements that make of what was found what is declared; none when it is all there.

    Raises:
        SchemaMismatch: a table is there with another key, or a column with another type.
    """
    statements = []
    for table in tables:
        present = found.get(table.name)
        if present is None:
            statements.append(_create_table(keyspace, table))
            continue
        declared = {name: f"{kind} key" if name in table.key else kind for name, kind in _columns(table).items()}
        for name, what in declared.items():
            if name not in present and name not in table.key:
                statements.append(f'ALTER TABLE "{keyspace}"."{table.name}" ADD IF NOT EXISTS "{name}" {what}')
            elif present.get(name) != what:
                raise SchemaMismatch(f"{keyspace}.{table.name}.{name} is {present.get(name)}, declared {what}")
    return statements


def _columns(table: Table) -> dict[str, str]:
    columns = {name: CQL_TYPE[kind] for name, kind in table.all_columns.items()}
    return {**columns, STANDS: "boolean"} if table.conditional else columns


def _create_table(keyspace: str, table: Table) -> str:
    columns = ", ".join(f'"{name}" {cql_type}' for name, cql_type in _columns(table).items())
    partition = ", ".join(f'"{name}"' for name in table.partition)
    key = ", ".join([f"({partition})", *(f'"{name}"' for name in table.clustering)])
    options = " AND ".join(f"{name} = {value}" for name, value in _options(table).items())
    return (
        f'CREATE TABLE IF NOT EXISTS "{keyspace}"."{table.name}" ({columns}, PRIMARY KEY ({key}))'
        f" WITH {options} AND comment = 'chat4all'"
    )


def _options(table: Table) -> dict[str, str]:
    """How rows live decides how they are compacted (ADR 0020)."""
    if table.short_lived:
        # Deleted before most are on disk. The sweeper and redrive come 30 s later at the earliest: by then deletions
        # are forgotten, so that no read ever counts them as tombstones.
        return {"compaction": _LEVELED, "gc_grace_seconds": "30"}
    if table.expiring and table.immutable:
        return {"compaction": _BY_DAY}
    if table.immutable:
        return {"compaction": _AS_IT_COMES}
    return {"compaction": _LEVELED}


_LEVELED = "{'class': 'LeveledCompactionStrategy'}"
_BY_DAY = (
    "{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': '1',"
    " 'unchecked_tombstone_compaction': 'true'}"
)
_AS_IT_COMES = "{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'}"
