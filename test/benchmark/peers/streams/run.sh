#!/bin/sh
# usage: run.sh --in T --group G --state DIR [--out T] [--work w1|w2] [--threads N] [--commit MS] [--cache] [--eos] [--final]
HERE=$(cd "$(dirname "$0")" && pwd)
BUILD=${BENCH_WORK:-$HERE/../work}/streams
exec java -Xms256m -Xmx1g $JAVA_OPTS -Dlog4j.configuration="file:$HERE/log4j.properties" -cp "$BUILD/classes:$BUILD/lib/*" peer.Main "$@"
