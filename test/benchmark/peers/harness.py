"""What the drivers share: the app under test as child processes, their CPU and memory, and the broker's admin side.

measure.py, latency.py and idle.py are the drivers. An app is a command with the placeholders {in} {out} {group} {state}
{brokers} {i}; it prints "@progress 1" at its first record, and is stopped by SIGTERM.
"""
import os, re, shlex, shutil, signal, subprocess, tempfile, threading, time
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

TICK = os.sysconf("SC_CLK_TCK")


def tree(pid):
    out, todo = [], [pid]
    while todo:
        q = todo.pop()
        out.append(q)
        try:
            for t in os.listdir(f"/proc/{q}/task"):
                todo += map(int, open(f"/proc/{q}/task/{t}/children").read().split())
        except OSError:
            pass
    return out


def cpu_rss(pids):
    """CPU seconds (with reaped children) and resident bytes of processes."""
    cpu = rss = 0
    for q in pids:
        try:
            f = open(f"/proc/{q}/stat").read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        cpu += sum(map(int, f[11:15])) / TICK
        rss += int(f[21]) * 4096
    return cpu, rss


def machine():
    """Busy CPU seconds of the whole machine."""
    f = list(map(int, open("/proc/stat").readline().split()[1:9]))
    return (sum(f) - f[3] - f[4]) / TICK


class App:
    """The child processes of one start of the app."""

    def __init__(self, a, names, log):
        self.marks, self.seen, self.lines = [], [0] * a.procs, []
        self.t0 = time.monotonic()
        self.procs = []
        for i in range(a.procs):
            f = dict(names, i=i, state=os.path.join(names["state"], str(i)))
            os.makedirs(f["state"], exist_ok=True)
            cmd = re.sub(r"\{(\w+)\}", lambda m: str(f[m[1]]), a.cmd)
            p = subprocess.Popen(shlex.split(cmd), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.procs.append(p)
            threading.Thread(target=self.read, args=(i, p, log), daemon=True).start()

    def read(self, i, p, log):
        for line in p.stdout:
            now = time.monotonic()
            if line.startswith("@progress "):
                self.seen[i] = int(line.split()[1])
                if self.seen[i] == 1:
                    self.marks.append(now)
            else:
                self.lines.append((now, line))
                log.write(f"{now - self.t0:8.3f} [{i}] {line}")
                log.flush()

    def usage(self):
        return cpu_rss([q for p in self.procs for q in tree(p.pid)])

    def check(self):
        for p in self.procs:
            if p.poll() is not None:
                raise SystemExit(f"app process ended by itself with {p.returncode}")

    def when(self, regex):
        """The moments of the lines that match, in seconds from the start, with the lines."""
        return [(t - self.t0, l) for t, l in list(self.lines) if re.search(regex, l)]

    def stop(self):
        for p in self.procs:
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for p in self.procs:
            try:
                p.wait(60)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()


class Kafka:
    def __init__(self, brokers):
        self.conf = {"bootstrap.servers": brokers}
        self.admin = AdminClient(self.conf)

    def partitions(self, topic):
        return sorted(self.admin.list_topics(topic, timeout=10).topics[topic].partitions)

    def ends(self, topic, spec=None):
        for attempt in range(50):
            try:
                r = self.admin.list_offsets({TopicPartition(topic, p): spec or OffsetSpec.latest() for p in self.partitions(topic)})
                return {tp.partition: f.result().offset for tp, f in r.items()}
            except KafkaException:                 # a topic just created may have no leader yet
                if attempt == 49:
                    raise
                time.sleep(0.1)

    def create(self, topic, n):
        self.admin.create_topics([NewTopic(topic, n, 1, config={"retention.ms": "-1"})])[topic].result()

    def data_ends(self, topic):
        """Per partition the end of the committed records: markers and aborted records behind them do not count."""
        c = Consumer({**self.conf, "group.id": "data-ends", "enable.auto.commit": False,
                      "isolation.level": "read_committed", "enable.partition.eof": True})
        ends = {}
        for p, end in self.ends(topic).items():
            ends[p], back = 0, 5_000
            while not ends[p] and back < 2 * end:
                c.assign([TopicPartition(topic, p, max(0, end - back))])
                while True:
                    m = c.poll(10)
                    if m is None:
                        raise SystemExit(f"{topic}: partition {p} has an open transaction")
                    if m.error():
                        break
                    ends[p] = m.offset() + 1
                back *= 10
        c.close()
        return ends

    def delete(self, match):
        ts = [t for t in self.admin.list_topics(timeout=10).topics if match in t]
        for f in (self.admin.delete_topics(ts) if ts else {}).values():
            f.result()

    def changelog(self, group):
        """Records in the group's changelog topics."""
        ts = [t for t in self.admin.list_topics(timeout=10).topics if group in t and "changelog" in t]
        return sum(sum(self.ends(t).values()) - sum(self.ends(t, OffsetSpec.earliest()).values()) for t in ts)


class Run:
    """One start of an app on topics of its own: a fresh group, state directory and (with `out`) output topic.

    Everything is removed again at the end, with the input topic if it was made here (`partitions`)."""

    def __init__(self, a, k, topic=None, partitions=None):
        self.k = k
        self.group = f"{a.name}-{int(time.time() * 1000) % 10**9}".replace("/", "-").replace(" ", "-")
        self.topic = topic or f"in-{self.group}"
        if topic is None:
            k.create(self.topic, partitions)
        self.parts = k.partitions(self.topic)
        self.out = f"{a.out}-{self.group}" if a.out else None
        if self.out:
            k.create(self.out, len(self.parts))
        self.state = tempfile.mkdtemp(prefix=self.group + "-", dir=a.state_root)
        self.names = {"in": self.topic, "out": self.out or "", "group": self.group, "state": self.state, "brokers": a.brokers}
        self.log = open(a.log or os.path.join(a.state_root, "last-run.log"), "a" if a.log else "w")
        # the group's committed offsets are read through an idle consumer
        self.watch = Consumer({**k.conf, "group.id": self.group, "enable.auto.commit": False})

    def committed(self):
        ask = [TopicPartition(self.topic, p) for p in self.parts]
        return {tp.partition: max(0, tp.offset) for tp in self.watch.committed(ask, timeout=10)}

    def close(self):
        self.watch.close()
        self.log.close()
        shutil.rmtree(self.state, ignore_errors=True)
        self.k.delete(self.group)


def arguments(p):
    """Adds what every driver takes."""
    p.add_argument("--name", required=True)
    p.add_argument("--cmd", required=True, help="placeholders: {in} {out} {group} {state} {brokers} {i}")
    p.add_argument("--procs", type=int, default=1)
    p.add_argument("--brokers", default="127.0.0.1:19192")
    p.add_argument("--broker-pid", type=int)
    work = os.environ.get("BENCH_WORK") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "work")
    p.add_argument("--state-root", default=os.path.join(work, "state"))
    p.add_argument("--timeout", type=float, default=110)
    p.add_argument("--log", help="append the app's output here (default: STATE_ROOT/last-run.log, of the last run)")


def parse(p):
    a = p.parse_args()
    os.makedirs(a.state_root, exist_ok=True)
    return a
