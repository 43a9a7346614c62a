#!/usr/bin/env python3
"""The peer in Quix Streams: W1 (running aggregate per key) and W2 (1 s tumbling window)."""
import argparse, sys
from datetime import timedelta
from quixstreams import Application

p = argparse.ArgumentParser()
p.add_argument("--work", choices=["w1", "w2"], default="w1")
p.add_argument("--brokers", default="127.0.0.1:19192")
p.add_argument("--in", dest="inp", required=True)
p.add_argument("--out", help="output topic; none: no output")
p.add_argument("--group", required=True)
p.add_argument("--state", required=True)
p.add_argument("--commit", type=float, default=5.0)
p.add_argument("--eos", action="store_true")
p.add_argument("--final", action="store_true", help="W2: emit closed windows only")
a = p.parse_args()

app = Application(
    broker_address=a.brokers, consumer_group=a.group, auto_offset_reset="earliest",
    state_dir=a.state, commit_interval=a.commit,
    processing_guarantee="exactly-once" if a.eos else "at-least-once",
)
seen = 0


def tick():
    """Progress protocol of measure.py: '@progress <records this process has seen>'."""
    global seen
    seen += 1
    if seen == 1 or seen % 2000 == 0:
        print("@progress", seen, flush=True)


def update(value, state):
    tick()
    agg = state.get("agg")
    v = value["v"]
    if agg is None:
        agg = {"count": 1, "sum": v, "last": v}
    else:
        agg = {"count": agg["count"] + 1, "sum": agg["sum"] + v, "last": v}
    state.set("agg", agg)
    return agg


def first(value):
    tick()
    return {"count": 1, "sum": value["v"]}


def reduce(agg, value):
    tick()
    return {"count": agg["count"] + 1, "sum": agg["sum"] + value["v"]}


sdf = app.dataframe(app.topic(a.inp, value_deserializer="json"))
if a.work == "w1":
    sdf = sdf.apply(update, stateful=True)
else:
    win = sdf.tumbling_window(timedelta(seconds=1)).reduce(reducer=reduce, initializer=first)
    sdf = win.final() if a.final else win.current()
if a.out:
    sdf = sdf.to_topic(app.topic(a.out, value_serializer="json"))
app.run()
