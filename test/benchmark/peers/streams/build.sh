#!/bin/sh
# Compiles the peer in Kafka Streams: dependencies into $BENCH_WORK/streams/lib, classes into $BENCH_WORK/streams/classes.
set -e
cd "$(dirname "$0")"
BUILD=${BENCH_WORK:-$PWD/../work}/streams
mkdir -p "$BUILD/classes"
[ -d "$BUILD/lib" ] || mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$BUILD/lib"
javac -nowarn -d "$BUILD/classes" -cp "$BUILD/lib/*" src/main/java/peer/Main.java
