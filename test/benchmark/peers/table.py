#!/usr/bin/env python3
"""table.py [RESULTS] - Markdown tables of $BENCH_WORK/results.jsonl: one row per cell.

Throughput: the fastest run and the rates of all runs. Recovery, latency and idle cost: the run in the middle.
"""
import json, os, sys

WORK = os.environ.get("BENCH_WORK") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "work")


def table(head, rows):
    if rows:
        print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
        for row in rows:
            print("| " + " | ".join(str(x) for x in row) + " |")
        print()


def middle(runs, key):
    return sorted(runs, key=key)[len(runs) // 2]


cells = {}
for line in open(sys.argv[1] if len(sys.argv) > 1 else os.path.join(WORK, "results.jsonl")):
    result = json.loads(line)
    cells.setdefault(result["name"], []).append(result)
cells = sorted(cells.items())
of = lambda field: [(name, [r for r in rs if field in r]) for name, rs in cells if any(field in r for r in rs)]

rows = []
for name, rs in of("rate"):
    b = max(rs, key=lambda r: r["rate"])
    verified = {True: "yes", False: "NO"}.get(b.get("verified"), "")
    rows.append([name, b["n"], f"{b['rate']:,}", " ".join("%.1f" % (r["rate"] / 1000) for r in rs), b["cpu_M"], b["cpu_total_M"],
                 b["broker_M"], b["rss_mb"], b["start_s"], f"{b['out']:,} / {b['changelog']:,}", verified])
table(["cell", "N", "records/s (best)", "all runs, k/s", "CPU-s/M steady", "CPU-s/M total", "broker CPU-s/M", "peak RSS MB",
       "start s", "out / changelog records", "verified"], rows)

rows = []
for name, rs in of("wiped"):
    kept, wiped = middle(rs, lambda r: r["kept"]["ready_s"])["kept"], middle(rs, lambda r: r["wiped"]["ready_s"])["wiped"]
    rows.append([name, kept["ready_s"], wiped["ready_s"], wiped.get("restore_s", ""), f"{wiped.get('restore_rate', 0):,}", wiped["rss_mb"]])
table(["cell", "kept: ready s", "wiped: ready s", "restoration s", "restored records/s", "peak RSS MB"], rows)

rows = []
for name, rs in of("p50_ms"):
    b = middle(rs, lambda r: r["p99_ms"])
    rows.append([name, b["sent_rate"], b["p50_ms"], b["p99_ms"], b["p999_ms"], b["max_ms"], b["floor_p50_ms"], b["floor_p99_ms"],
                 b["app_cores"], b["missing"]])
table(["cell", "records/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "floor p50", "floor p99", "app cores", "missing"], rows)

rows = []
for name, rs in of("idle_cores"):
    b = middle(rs, lambda r: r["idle_cores"])
    rows.append([name, b["partitions"], f"{100 * b['idle_cores']:.1f} %", f"{100 * b['broker_cores']:.1f} %", b["rss_mb"]])
table(["cell", "partitions", "of a core", "broker, of a core", "RSS MB"], rows)
