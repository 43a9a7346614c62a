#!/bin/sh
# usage: bench.sh [--runs N] [--verify] [--small] CELL…  - runs cells of the matrix, one after the other; a JSON line each,
# also appended to $RESULTS ($BENCH_WORK/results.jsonl). p = Partita, q = Quix Streams, s = Kafka Streams; the cells are
# listed below. --verify compares every output of every key; --small takes the topics of `setup.sh --small`.
# Needs what setup.sh makes, a running broker, and for Partita a build (npm run build).
. "$(dirname "$0")/settings.sh"
RUNS=1 VERIFY= SMALL= FAILED=0
while :; do
  case $1 in
    --runs) RUNS=$2; shift 2 ;;
    --verify) VERIFY=1; shift ;;
    --small) SMALL=1; shift ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || { sed -n '2,5s/^# //p' bench.sh >&2; exit 2; }
kill -0 "$(cat "$BROKER_PID_FILE" 2>/dev/null)" 2>/dev/null || { echo "No broker runs: $HERE/broker.sh start" >&2; exit 2; }
BROKER="--brokers $BROKERS --broker-pid $(cat "$BROKER_PID_FILE")"

# Input topics: name and number of records. What is too fast for 2 M records gets 10 M, so that several checkpoints fall into a run.
W500K="w-500k-10k 500000" W2M="w-2m-10k 2000000" W10M="w-10m-10k 10000000" W1M="w-1m-1m 1000000" SEQ="seq-1m 1000000"
ABORTED="w-500k-10k-aborted 500000"
[ -z "$SMALL" ] || {
  W500K="w-100k-10k 100000" W2M=$W500K W10M=$W500K W1M="seq-100k 100000" SEQ=$W1M ABORTED="w-50k-1k-aborted 50000"
}

IO="--in {in} --group {group} --state {state} --brokers {brokers}"
OUT="--out {out}"
P="node $HERE/../../../dist/test/benchmark/stream.js $IO"
Q="$PYTHON quix/app.py $IO"
S="streams/run.sh $IO"

m() { # "TOPIC N" COMMAND [options of measure.py]: throughput, CPU and memory, RUNS times
  input=$1 command=$2; shift 2
  [ -z "$VERIFY" ] || case "$command $*" in *w2*|*--recover*) ;; *"$OUT"*) set -- "$@" --verify w1 ;; esac
  repeat measure.py --topic ${input% *} --n ${input#* } --cmd "$command" "$@"
}
d() { # DRIVER COMMAND [options]: latency.py or idle.py, RUNS times
  driver=$1 command=$2; shift 2
  repeat "$driver" --cmd "$command" "$@"
}
W2_VERIFY=${VERIFY:+--verify w2}
repeat() { # DRIVER [options]: a failed run is told at the end, by the exit code; the others go on
  for _ in $(seq "$RUNS"); do
    line=$("$PYTHON" "$@" --name "$CELL" $BROKER) || FAILED=1
    [ -z "$line" ] || echo "$line" | tee -a "$RESULTS"
  done
}

cell() {
  CELL=$1
  case $CELL in
    p-10k)         m "$W10M" "$P $OUT --alo --workers 2" --out out ;;
    p-10k-1w)      m "$W10M" "$P $OUT --alo --workers 1" --out out ;;
    p-10k-2m)      m "$W2M" "$P $OUT --alo --workers 2" --out out ;;
    p-10k-noout)   m "$W10M" "$P --alo --workers 2" ;;
    p-10k-eos)     m "$W10M" "$P $OUT --eos --commit 1 --workers 2" --out out ;;
    p-10k-eos-1w)  m "$W10M" "$P $OUT --eos --commit 1 --workers 1" --out out ;;
    p-2p)          m "$W10M" "$P $OUT --alo --workers 1" --out out --procs 2 ;;
    p-2p-eos)      m "$W10M" "$P $OUT --eos --commit 1 --workers 1" --out out --procs 2 ;;
    p-1m)          m "$W1M" "$P $OUT --alo --workers 2" --out out ;;
    p-1m-1w)       m "$W1M" "$P $OUT --alo --workers 1" --out out ;;
    p-1m-rocksdb)  m "$W1M" "$P $OUT --alo --workers 2 --engine rocksdb" --out out ;;
    p-recover)     m "$SEQ" "$P $OUT --alo --workers 2" --out out --recover ;;
    p-gzip|p-snappy|p-lz4|p-zstd)
                   m "w-500k-10k-${CELL#p-} 500000" "$P $OUT --alo --workers 2" --out out ;;
    p-aborted)     m "$ABORTED" "$P $OUT --alo --workers 2" --out out --aborted ;;
    p-aborted-eos) m "$ABORTED" "$P $OUT --eos --commit 1 --workers 2" --out out --aborted ;;
    p-w2)          m "$W10M" "$P $OUT --alo --workers 2 --work w2" --out out $W2_VERIFY ;;
    p-w2-eos)      m "$W10M" "$P $OUT --eos --commit 1 --workers 2 --work w2" --out out $W2_VERIFY ;;
    p-w2-final)    m "$W10M" "$P $OUT --alo --workers 2 --work w2 --final" --out out --progress lines ;;
    p-w2-hopping|p-w2-sliding|p-w2-session|p-w2-count|p-w2-countHopping)
                   m "$W2M" "$P $OUT --alo --workers 2 --work w2 --final --window ${CELL#p-w2-}" --out out --progress lines ;;
    p-latency)     d latency.py "$P $OUT --alo --workers 1" ;;
    p-latency-eos) d latency.py "$P $OUT --eos --commit 1 --workers 1" ;;
    p-idle)        d idle.py "$P $OUT --alo --workers 2 --quiet" ;;
    q-10k)         m "$W500K" "$Q $OUT" --out out ;;
    q-1m)          m "$W1M" "$Q $OUT" --out out ;;
    q-10k-noout)   m "$W500K" "$Q" ;;
    q-1m-noout)    m "$W1M" "$Q" ;;
    q-10k-2p)      m "$W500K" "$Q $OUT" --out out --procs 2 ;;
    q-1m-2p)       m "$W1M" "$Q $OUT" --out out --procs 2 ;;
    q-10k-eos)     m "$W500K" "$Q $OUT --eos --commit 1" --out out ;;
    q-w2)          m "$W500K" "$Q $OUT --work w2" --out out ;;
    q-w2-final)    m "$W500K" "$Q $OUT --work w2 --final" --out out --progress lines ;;
    q-recover)     m "$SEQ" "$Q $OUT" --out out --recover ;;
    q-aborted)     m "$ABORTED" "$Q $OUT" --out out --aborted ;;
    q-latency)     d latency.py "$Q $OUT" ;;
    q-idle)        d idle.py "$Q $OUT" ;;
    s-10k)         m "$W2M" "$S $OUT" --out out ;;
    s-10k-500k)    m "$W500K" "$S $OUT" --out out ;;
    s-10k-c)       m "$W2M" "$S $OUT --cache" --out out ;;
    s-10k-c-10m)   m "$W10M" "$S $OUT --cache" --out out ;;
    s-1m)          m "$W1M" "$S $OUT" --out out ;;
    s-1m-c)        m "$W1M" "$S $OUT --cache" --out out ;;
    s-10k-noout)   m "$W2M" "$S" ;;
    s-10k-c-noout) m "$W2M" "$S --cache" ;;
    s-1m-noout)    m "$W1M" "$S" ;;
    s-10k-2t)      m "$W2M" "$S $OUT --threads 2" --out out ;;
    s-10k-c-2t)    m "$W2M" "$S $OUT --threads 2 --cache" --out out ;;
    s-1m-2t)       m "$W1M" "$S $OUT --threads 2" --out out ;;
    s-1m-c-2t)     m "$W1M" "$S $OUT --threads 2 --cache" --out out ;;
    s-10k-eos)     m "$W2M" "$S $OUT --eos --commit 1000" --out out ;;
    s-10k-c-eos)   m "$W2M" "$S $OUT --eos --commit 1000 --cache" --out out ;;
    s-w2)          m "$W2M" "$S $OUT --work w2" --out out ;;
    s-w2-c)        m "$W2M" "$S $OUT --work w2 --cache" --out out --progress lines ;;
    s-w2-final)    m "$W2M" "$S $OUT --work w2 --final" --out out --progress lines ;;
    s-recover)     m "$SEQ" "$S $OUT" --out out --recover ;;
    s-recover-4m)  m "seq-4m 4000000" "$S $OUT" --out out --recover ;; # load.py seq-4m 4000000 4000000 4 --sequential
    s-recover-c)   m "$SEQ" "$S $OUT --cache" --out out --recover ;;
    # Without --eos Kafka Streams reads uncommitted records, aborted ones too: its default.
    s-aborted)     m "$ABORTED" "$S $OUT --eos --commit 1000" --out out --aborted ;;
    s-latency)     d latency.py "$S $OUT" ;;
    s-latency-c)   d latency.py "$S $OUT --cache" ;;
    s-idle)        d idle.py "$S $OUT" ;;
    *) echo "There is no cell $CELL." >&2; exit 2 ;;
  esac
}
for name; do cell "$name"; done
exit $FAILED
