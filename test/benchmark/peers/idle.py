#!/usr/bin/env python3
"""idle.py --name X --cmd "app …" [--partitions 16] [--seconds 20]: what an app costs that has nothing to do; prints one JSON line.

The app runs W1 on a topic of its own. It gets one record per partition, so that all partitions are known to run; after
SETTLE seconds without traffic, when these are committed, the CPU time is taken twice, SECONDS apart.

idle_cores    CPU cores busy with the app (user+sys, all its processes);  broker_cores  with the broker meanwhile
rss_mb        resident memory of the app's processes at the end
"""
import argparse, json, time
import harness
from latency import wait_for_outputs


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    harness.arguments(p)
    p.add_argument("--out", default="out", help="prefix of the output topic")
    p.add_argument("--partitions", type=int, default=16)
    p.add_argument("--seconds", type=float, default=20)
    p.add_argument("--settle", type=float, default=10, help="longer than the app's commit interval")
    a = harness.parse(p)
    k = harness.Kafka(a.brokers)
    job = harness.Run(a, k, partitions=a.partitions)
    app = harness.App(a, job.names, job.log)
    meter = lambda: (time.monotonic(), app.usage()[0], harness.cpu_rss([a.broker_pid])[0] if a.broker_pid else 0)
    try:
        wait_for_outputs(k, job, app, a.timeout)
        time.sleep(a.settle)
        t0, cpu0, broker0 = meter()
        time.sleep(a.seconds)
        t1, cpu1, broker1 = meter()
        app.check()
        print(json.dumps({"name": a.name, "partitions": a.partitions, "seconds": round(t1 - t0, 1),
                          "idle_cores": round((cpu1 - cpu0) / (t1 - t0), 4), "broker_cores": round((broker1 - broker0) / (t1 - t0), 4),
                          "rss_mb": round(app.usage()[1] / 1e6)}), flush=True)
    finally:
        app.stop()
        job.close()


if __name__ == "__main__":
    main()
