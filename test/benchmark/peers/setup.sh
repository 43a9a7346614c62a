#!/bin/sh
# usage: setup.sh [--small]  - once per machine: Python environment, the Kafka Streams program, a broker on
# 127.0.0.1:$BENCH_PORT (left running; `broker.sh stop` ends it), and the input topics: about 3 minutes and 2 GB of disk.
# --small loads only topics for trying the scripts. Topics that exist are kept. Needs java 17, mvn, python3.
set -e
. "$(dirname "$0")/settings.sh"
[ -x "$PYTHON" ] || {
  python3 -m venv "$BENCH_WORK/venv"
  "$BENCH_WORK/venv/bin/pip" install -q quixstreams==3.28.1 confluent-kafka==2.12.2
}
sh streams/build.sh
./broker.sh start
load() { "$PYTHON" load.py "$@" --brokers "$BROKERS" --keep; }
if [ "$1" = --small ]; then
  load w-100k-10k 100000 10000 4
  load w-50k-1k-aborted 50000 1000 4 --aborted
  load seq-100k 100000 100000 4 --sequential
  exit
fi
load w-500k-10k 500000 10000 4
load w-2m-10k 2000000 10000 4
load w-10m-10k 10000000 10000 4
load w-1m-1m 1000000 1000000 4
load seq-1m 1000000 1000000 4 --sequential
for compression in gzip snappy lz4 zstd; do load "w-500k-10k-$compression" 500000 10000 4 --compression $compression; done
load w-500k-10k-aborted 500000 10000 4 --aborted
