# Sourced by the scripts beside it before anything else: where work files are, which broker is used; then goes to this folder.
# BENCH_WORK, RESULTS and PYTHON may be relative to where the script was called.
absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
HERE=$(cd "$(dirname "$0")" && pwd)
BENCH_WORK=$(absolute "${BENCH_WORK:-$HERE/work}")
BENCH_PORT=${BENCH_PORT:-19192}
RESULTS=$(absolute "${RESULTS:-$BENCH_WORK/results.jsonl}")
PYTHON=$(absolute "${PYTHON:-$BENCH_WORK/venv/bin/python}")
BROKERS=127.0.0.1:$BENCH_PORT
BROKER_PID_FILE=$BENCH_WORK/broker.pid
export BENCH_WORK BENCH_PORT
mkdir -p "$BENCH_WORK"
cd "$HERE"
