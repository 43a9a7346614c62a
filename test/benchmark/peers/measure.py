#!/usr/bin/env python3
"""Measures one stream-processing app on a loaded input topic; prints one JSON line per run.

  measure.py --name X --cmd "app --in {in} --out {out} --group {group} --state {state} --brokers {brokers}" \\
             --topic IN --n N [--out out] [--procs 2] [--runs 3] [--recover] [--expect-out M]

Every run gets a fresh group, a fresh state directory and (with --out) a fresh output topic;
topics are deleted afterwards. The app is stopped by SIGTERM.

Progress, sampled every 100 ms, is the sum of the end offsets of the output topic where the app emits
one record per input (--progress out, the default with --out), or of the lines "@progress <records
seen so far by this process>" that the app prints on stdout (--progress lines, the default without).
A run is over when progress has reached N and the group has committed the end of every input partition.

rate        records/s between 10 % and 100 % of progress
cpu_M       CPU seconds (user+sys, the app's process trees) per million records, between 10 % and 100 %
cpu_total_M the same from process start until all is committed: start-up, JIT and last commit included
broker_M    CPU seconds of the broker per million records, between 10 % and 100 %
other_cores CPU cores busy with anything else between 10 % and 100 % (noise; about 0.05 is measure.py itself)
start_s     process start -> first record;  wall_s / commit_s  first record -> last one processed / committed
rss_mb      peak of the summed resident memory of the app's process trees

With --recover the app is then stopped, and started again twice: with its state kept, and with it
wiped. Before each start one record is sent to each input partition, and the time is taken until
all of these are processed. Lines matching --restore-start / --restored (first / last match) time
the restoration proper. With --verify the exit code tells whether the outputs are right.
"""
import argparse, json, re, shutil, sys, time
from confluent_kafka import Producer
import harness, verify
from harness import App, Kafka, cpu_rss, machine


def at(samples, x, col):
    """Column `col` of the samples, interpolated at progress x."""
    prev = samples[0]
    for s in samples:
        if s[1] >= x:
            d = s[1] - prev[1]
            return s[col] if d == 0 else prev[col] + (s[col] - prev[col]) * (x - prev[1]) / d
        prev = s
    return samples[-1][col]


def run(a, k, r):
    if a.aborted:                                  # offsets count markers and aborted records too
        n, goal = a.n, k.data_ends(a.topic)
    else:
        goal = k.ends(a.topic)
        n = sum(goal.values())                     # --recover adds records to the topic
        assert a.n <= n < a.n + 1000, f"input topic holds {n} records, not {a.n}"

    job = harness.Run(a, k, topic=a.topic)
    out = job.out
    by_out = a.progress == "out" or (a.progress == "auto" and out)

    def left():
        """Offsets of the input that the group has still to commit."""
        c = job.committed()
        return sum(max(0, goal[p] - c[p]) for p in job.parts)

    app = App(a, job.names, job.log)
    target_out = a.expect_out or n
    try:
        samples, peak, t_commit, next_commit, short = [], 0, None, 0, False
        while True:
            app.check()
            now = time.monotonic()
            if now - app.t0 > a.timeout:
                raise SystemExit(f"{a.name}: timeout, progress {samples[-1][1]} of {n}, {left()} offsets not committed")
            if by_out:
                done = sum(k.ends(out).values()) * n / target_out
            else:
                done = sum(app.seen)
            cpu, rss = app.usage()
            peak = max(peak, rss)
            samples.append((time.monotonic(), min(done, n), cpu, cpu_rss([a.broker_pid])[0] if a.broker_pid else 0, machine()))
            if now >= next_commit or done >= n:
                next_commit = now + 1
                all_committed = left() == 0
                if not by_out and all_committed and done < n:   # the last lines may be short of N by a rounding
                    samples[-1], short = (samples[-1][0], n, *samples[-1][2:]), True
                if all_committed and (done >= n or not by_out):
                    t_commit = time.monotonic()
                    break
            time.sleep(max(0, 0.1 - (time.monotonic() - now)))
        if short:                                  # progress at the last line, not at the commit
            samples = fix_tail(samples, n)
        t_first = min(app.marks) if app.marks else next(s[0] for s in samples if s[1] > 0)
        t10, t100 = at(samples, 0.1 * n, 0), at(samples, n, 0)
        per_m = lambda col: round((at(samples, n, col) - at(samples, 0.1 * n, col)) / (0.9 * n) * 1e6, 2)
        res = {"name": a.name, "run": r, "topic": a.topic, "n": n, "procs": a.procs,
               "rate": round(0.9 * n / (t100 - t10)), "cpu_M": per_m(2),
               "cpu_total_M": round(app.usage()[0] / n * 1e6, 2), "broker_M": per_m(3),
               "start_s": round(t_first - app.t0, 2), "wall_s": round(t100 - t_first, 2),
               "commit_s": round(t_commit - t_first, 2), "rss_mb": round(peak / 1e6),
               "other_cores": round(max(0, per_m(4) - per_m(3) - per_m(2)) * 0.9 * n / 1e6 / (t100 - t10), 2),
               "out": sum(k.ends(out).values()) if out else 0, "changelog": k.changelog(job.group)}
        app.stop()
        if a.verify:
            res["verified"] = verify.verify(a.verify, a.brokers, a.topic, out)
        if a.recover:
            for kind in ("kept", "wiped"):
                if kind == "wiped":
                    shutil.rmtree(job.state)
                res[kind] = restart(a, k, job, kind == "wiped")
        print(json.dumps(res), flush=True)
        return res.get("verified", True)
    finally:
        app.stop()
        job.close()


def fix_tail(samples, n):
    """Lines come every so many records: the moment of the last line stands for 100 %."""
    best = max((s[1] for s in samples if s[1] < n), default=n)
    if best < 0.97 * n:
        return samples
    first = next(i for i, s in enumerate(samples) if s[1] >= best)
    s = samples[first]
    return samples[:first] + [(s[0], n, *s[2:])]


def restart(a, k, job, wiped):
    """Starts the app again, with one new record per partition, until these are committed or processed."""
    cl, before = k.changelog(job.group), sum(job.committed().values())
    out0 = sum(k.ends(job.out).values()) if job.out else 0
    prod = Producer(k.conf)
    for p in job.parts:
        prod.produce(a.topic, b'{"t":%d,"v":1,"pad":""}' % (time.time() * 1000), b"k0000000", partition=p)
    prod.flush(10)
    job.log.write("---- restart\n")
    app = App(a, job.names, job.log)
    try:
        peak = 0
        while True:
            app.check()
            if time.monotonic() - app.t0 > a.timeout:
                raise SystemExit(f"{a.name}: timeout in recovery")
            cpu, rss = app.usage()
            peak = max(peak, rss)
            if (sum(k.ends(job.out).values()) - out0 if job.out else sum(job.committed().values()) - before) >= len(job.parts):
                break
            time.sleep(0.05)
        ready = time.monotonic() - app.t0
        res = {"changelog": cl, "ready_s": round(ready, 2), "cpu_s": round(app.usage()[0], 2), "rss_mb": round(peak / 1e6)}
        t1, t2 = restoration(app, a)
        if wiped and t1 is not None and t2 is not None and t2 > t1:
            res.update(restore_s=round(t2 - t1, 2), restore_rate=round(cl / (t2 - t1)))
        return res
    finally:
        time.sleep(1)
        app.stop()


def restoration(app, a):
    """Begin and end of the restoration proper, in seconds from the start of the app.

    A line that ends with "<N> ms" tells that the restoration of its part has taken so long: it began then, at the latest."""
    begins, ends = app.when(a.restore_start), app.when(a.restored)
    began = [t for t, _ in begins]
    for t, line in ends:
        took = re.search(r"(\d+) ms$", line.rstrip())
        if took:
            began.append(t - int(took[1]) / 1000)
    return (min(began), max(t for t, _ in ends)) if began and ends else (None, None)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    harness.arguments(p)
    p.add_argument("--topic", required=True)
    p.add_argument("--n", type=int, required=True, help="records in the input topic (with --aborted: committed ones)")
    p.add_argument("--aborted", action="store_true", help="the input holds transactions, of which some are aborted")
    p.add_argument("--out", help="prefix of the output topic; without it the app emits nothing")
    p.add_argument("--expect-out", type=int, help="records expected on the output topic (default N)")
    p.add_argument("--progress", choices=["auto", "out", "lines"], default="auto")
    p.add_argument("--runs", type=int, default=1)
    p.add_argument("--verify", choices=["w1", "w2"], help="check the outputs, see verify.py")
    p.add_argument("--recover", action="store_true")
    p.add_argument("--restore-start", default=r"@restore-start|Beginning recovery check")
    p.add_argument("--restored", default=r"@restored|Recovery process complete")
    a = harness.parse(p)
    if a.aborted and a.recover:
        p.error("--recover adds records to the input, and counts them by offset: not with --aborted")
    k = Kafka(a.brokers)
    verified = [run(a, k, r) for r in range(1, a.runs + 1)]
    return 0 if all(verified) else 1


if __name__ == "__main__":
    sys.exit(main())
