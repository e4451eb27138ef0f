"""`python -m flows.server.embedded server start`: Prefect's own command, on SQLite that waits.

Prefect begins a transaction on SQLite as DEFERRED. One that reads first and writes later fails at
once with "database is locked" where another one wrote in between. SQLite does not wait for its busy
timeout then, because its data are out of date
(https://www.sqlite.org/rescode.html#busy_snapshot). A transaction that begins as IMMEDIATE waits
for its turn before it reads. On PostgreSQL nothing begins as DEFERRED, and nothing changes.
"""

import sys
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

_DEFERRED, _IMMEDIATE = "BEGIN DEFERRED", "BEGIN IMMEDIATE"


def wait_for_turn() -> None:
    """Let every transaction that this process begins on SQLite wait before it reads."""
    event.listen(Engine, "before_cursor_execute", begin_at_once, retval=True)


# Any: SQLAlchemy's connection, cursor, parameters and context, all of which are passed on.
def begin_at_once(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
) -> tuple[str, Any]:
    """Return a statement as it is executed: a transaction takes the write lock as it begins."""
    return (_IMMEDIATE if statement == _DEFERRED else statement), parameters


def run_prefect() -> None:
    """Run Prefect's command line with the arguments of this process."""
    wait_for_turn()
    from prefect.cli import app

    sys.argv[0] = "prefect"
    app()


if __name__ == "__main__":
    run_prefect()
