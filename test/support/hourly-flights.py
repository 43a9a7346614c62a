"""The result of examples/08-hourly-delays, by DuckDB from the flights' CSV and the definitions of docs/decisions/0008-windows.md.

Prints one line of JSON. The rule, with closing by key and the result's order of records: each origin's clock is the largest
departure among its records so far, this one included; a record is late if its hour has ended six hours before that clock.
hourly-oracle.test.ts runs it.
"""
import json
import sys

import duckdb

FLOWN = """
create table flown as
with records as (
  select row_number() over () as nr, scheduled_ms, origin, dep_delay_min
  from read_csv($csv, header = true, parallel = false)
), times as (
  select nr, origin, dep_delay_min as delay, scheduled_ms + 60000 * dep_delay_min as ts
  from records where dep_delay_min is not null
)
select *, ts - ts % 3600000 as start,
  max(ts) over (partition by origin order by nr rows between unbounded preceding and current row) as clock
from times
"""
GRACE_MS = 6 * 3_600_000
HOUR_MS = 3_600_000

database = duckdb.connect()
database.execute("set threads = 1")
database.execute(FLOWN, {"csv": sys.argv[1]})
database.execute(f"create table kept as select *, clock >= start + {HOUR_MS + GRACE_MS} as late from flown")
database.execute(
    f"""
    create table windows as
    select origin, start, count(*) as n, sum(delay) as delay,
      start + {HOUR_MS + GRACE_MS} <= (select max(clock) from flown f where f.origin = kept.origin) as closed
    from kept where not late group by origin, start
    """
)


def one(query):
    return database.execute(query).fetchone()[0]


FIRST = "select start, n, delay from windows where closed and origin = 'JFK' order by start limit 5"
jfk = database.execute(FIRST).fetchall()
print(
    json.dumps(
        {
            "flown": one("select count(*) from flown"),
            "late": one("select count(*) from kept where late"),
            "windows": one("select count(*) from windows where closed"),
            "flights": int(one("select sum(n) from windows where closed")),
            "open": one("select count(*) from windows where not closed"),
            "jfk": [{"start": start, "n": n, "delayMin": int(delay)} for start, n, delay in jfk],
        }
    )
)
