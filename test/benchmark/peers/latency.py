#!/usr/bin/env python3
"""latency.py --name X --cmd "app …" [--rate 10000] [--seconds 20]: end-to-end latency of W1; prints one JSON line.

A producer process sends RATE records per second, evenly over KEYS keys, to a topic of its own; `v` is the microseconds
since the start of the run on the machine's monotonic clock (`t` is the wall clock in ms), taken when the record is handed
to the client. A consumer process reads the outputs: W1 carries `v` of its input on as `last`, so that the latency of a
record is the moment at which its output is polled less that. Producing, the app, and consuming are all in it. The floor is
the same without an app: the consumer reads the input topic itself; it is measured first, for a quarter of the time.

p50_ms … max_ms  latency of the outputs of records sent after WARMUP seconds;  floor_*  the same of the floor
sent, missing    records sent after the warm-up; those without an output within 5 s of the end
sent_rate        records/s that the producer did send
app_cores        CPU cores busy with the app;  broker_cores  with the broker, both after the warm-up
Outputs are parsed after the run; the drivers themselves take about 0.2 cores at 10 k/s.
"""
import argparse, json, multiprocessing, time
from confluent_kafka import Consumer, Producer, TopicPartition
import harness

TICK_S = 0.002          # the producer sends RATE * TICK_S records at a time
DRAIN_S = 5             # how long the consumer waits for outputs that have not come
DRAIN_MAX_S = 60        # and how long it goes on at most while they come
BATCH = 1000


def produce(a, topic, t0, seconds, sent):
    """Sends for so many seconds; puts (records, seconds it took) into `sent`."""
    prod = Producer({"bootstrap.servers": a.brokers, "linger.ms": a.linger, "partitioner": "murmur2_random",
                     "queue.buffering.max.messages": 1_000_000})
    keys = [b"k%07d" % i for i in range(a.keys)]
    pad, monotonic, i = b"x" * 60, time.monotonic, 0
    begin = monotonic()
    while True:
        now = monotonic()
        if now - begin >= seconds:
            break
        due = int((now - begin) * a.rate)
        while i < due:
            prod.produce(topic, b'{"t":%d,"v":%d,"pad":"%s"}' % (time.time() * 1000, (monotonic() - t0) * 1e6, pad), keys[i % a.keys])
            i += 1
        prod.poll(0)
        time.sleep(max(0, TICK_S - (monotonic() - now)))
    took = monotonic() - begin
    prod.flush(10)
    sent.put((i, took))


def consume(a, topic, field, t0, until, ready, got):
    """Collects (value of `field`, microseconds since t0) until the event `until`, and then DRAIN_S more without records."""
    c = Consumer({"bootstrap.servers": a.brokers, "group.id": "latency", "enable.auto.commit": False,
                  "isolation.level": "read_committed", "fetch.wait.max.ms": 100})
    c.assign([TopicPartition(topic, p, 0) for p in c.list_topics(topic).topics[topic].partitions])
    raw, idle, drain_until = [], 0, None
    ready.set()
    while True:
        if until.is_set():
            drain_until = drain_until or time.monotonic() + DRAIN_MAX_S
            if idle >= DRAIN_S or time.monotonic() > drain_until:
                break
        m = c.poll(0.1)                            # returns with the first record; the others that are there follow at once
        if m is None:
            idle += 0.1
            continue
        idle = 0
        more = c.consume(BATCH, 0)
        now = (time.monotonic() - t0) * 1e6
        raw.append((now, [m.value()] + [x.value() for x in more if not x.error()]))
    c.close()
    got.put([(json.loads(v)[field], now) for now, values in raw for v in values])


def measure(a, in_topic, out_topic, field, seconds, warmup, meter=lambda: (0, 0)):
    """The latencies in ms of what was sent after the warm-up, and figures of the run."""
    mp = multiprocessing.get_context("spawn")
    t0, until, ready, sent, got = time.monotonic(), mp.Event(), mp.Event(), mp.Queue(), mp.Queue()
    consumer = mp.Process(target=consume, args=(a, out_topic, field, t0, until, ready, got), daemon=True)
    producer = mp.Process(target=produce, args=(a, in_topic, t0, warmup + seconds, sent), daemon=True)
    consumer.start()
    assert ready.wait(30)
    begin = time.monotonic()
    producer.start()
    time.sleep(warmup + 0.5)                       # the process takes about half a second to start
    m0, at0 = meter(), time.monotonic()
    n, took = sent.get(timeout=seconds + 60)
    m1, at1 = meter(), time.monotonic()
    until.set()
    pairs = got.get(timeout=2 * DRAIN_MAX_S)
    producer.join(10); consumer.join(10)
    from_us = (begin - t0 + 0.5 + warmup) * 1e6
    latencies = sorted((now - v) / 1000 for v, now in pairs if v >= from_us)
    return latencies, {"n": n, "rate": n / took, "got": len(pairs),
                       "cores": [(y - x) / (at1 - at0) for x, y in zip(m0, m1)]}


def quantiles(latencies, prefix=""):
    q = lambda p: round(latencies[min(len(latencies) - 1, int(p * len(latencies)))], 2)
    return {f"{prefix}p50_ms": q(0.5), f"{prefix}p99_ms": q(0.99), f"{prefix}p999_ms": q(0.999), f"{prefix}max_ms": q(1)}


def wait_for_outputs(k, job, app, timeout):
    """One record per partition, and the app has answered each: it runs."""
    prod = Producer(k.conf)
    for p in job.parts:
        prod.produce(job.topic, b'{"t":%d,"v":0,"pad":""}' % (time.time() * 1000), b"k0000000", partition=p)
    prod.flush(10)
    while sum(k.ends(job.out).values()) < len(job.parts):
        app.check()
        if time.monotonic() - app.t0 > timeout:
            raise SystemExit("timeout: the app answers not every partition")
        time.sleep(0.1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    harness.arguments(p)
    p.add_argument("--out", default="out", help="prefix of the output topic")
    p.add_argument("--rate", type=int, default=10_000)
    p.add_argument("--keys", type=int, default=10_000)
    p.add_argument("--partitions", type=int, default=4)
    p.add_argument("--seconds", type=float, default=20)
    p.add_argument("--warmup", type=float, default=10, help="seconds before those that count: JIT, caches")
    p.add_argument("--linger", type=float, default=0.5, help="linger of the producer, ms")
    a = harness.parse(p)
    k = harness.Kafka(a.brokers)
    job = harness.Run(a, k, partitions=a.partitions)
    floor_topic = f"floor-{job.group}"
    app = None
    try:
        k.create(floor_topic, a.partitions)
        floor, _ = measure(a, floor_topic, floor_topic, "v", a.seconds / 4, 1)
        app = harness.App(a, job.names, job.log)
        wait_for_outputs(k, job, app, a.timeout)
        meter = lambda: (app.usage()[0], harness.cpu_rss([a.broker_pid])[0] if a.broker_pid else 0)
        latencies, run = measure(a, job.topic, job.out, "last", a.seconds, a.warmup, meter)
        app.check()
        print(json.dumps({"name": a.name, "sent_rate": round(run["rate"]), "sent": run["n"],
                          "missing": run["n"] + a.partitions - run["got"], "counted": len(latencies),
                          **quantiles(latencies), **quantiles(floor, "floor_"),
                          "app_cores": round(run["cores"][0], 3), "broker_cores": round(run["cores"][1], 3)}), flush=True)
    finally:
        if app:
            app.stop()
        job.close()


if __name__ == "__main__":
    main()
