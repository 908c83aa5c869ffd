#!/usr/bin/env bash
# Sends the same reviews over keep-alive connections to the release binary and to a bare TLS echo (benches/echo.rs), in turns, and prints
# the requests per second of each and its ratio to the echo.
#
#   benches/load.sh [ROUNDS [SECONDS]]        (7 rounds of 3 s each by default; about three minutes, without the build)
#
#   BASELINE=PATH  also measures another rolegate, such as one built before a change
#   PARTS=1        also measures the echo behind our server (`server`), and behind our server and the routes of reviews (`reviews`)
#
# Requires wrk and curl (Debian packages). Rounds alternate and medians are compared, because other load on the machine affects each round
# differently. The ratios are the result; requests per second depend on the machine.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-7}
seconds=${2:-3}
port=${LOAD_PORT:-18443}
role=arn:aws:iam::111122223333:role/worker
issuer=oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE

for tool in wrk curl; do
    command -v "$tool" >/dev/null || { echo "load.sh: $tool is missing: apt-get install $tool" >&2; exit 2; }
done

# Builds a target and prints the path of its executable, which contains a hash for benchmarks. Each target is built separately: in one
# build, the program would be compiled with the features of its dependencies that only tests use.
executable() {
    cargo build --release "--$1" "$2" --message-format=json \
        | grep "\"name\":\"$2\"" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1
}
rolegate=$(executable bin rolegate)
echo_program=$(executable bench echo)

folder=$(mktemp -d)
servers=()
cleanup() {
    for server in "${servers[@]}"; do kill -TERM "$server" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap cleanup EXIT

mkdir -p "$folder/cluster/roles/111122223333"
cat >"$folder/cluster/accounts.yaml" <<YAML
apiVersion: v1
kind: ServiceAccount
metadata:
  name: worker
  namespace: jobs
  annotations:
    eks.amazonaws.com/role-arn: $role
YAML
cat >"$folder/cluster/roles/111122223333/worker.json" <<JSON
{"Version": "2012-10-17", "Statement": [{
  "Effect": "Allow",
  "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/$issuer"},
  "Action": "sts:AssumeRoleWithWebIdentity",
  "Condition": {"StringEquals": {
    "$issuer:sub": "system:serviceaccount:jobs:worker",
    "$issuer:aud": "sts.amazonaws.com"}}}]}
JSON

# The review that an API server sends for the pod of a Job; `cargo bench` uses the same review.
cp benches/data/job-pod-review.json "$folder/review.json"
cat >"$folder/post.lua" <<LUA
local file = assert(io.open("$folder/review.json"))
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json, */*"
file:close()
LUA

# What is driven, in turns; the first is what all are compared with.
names=(echo rolegate)
urls=()
serve() {
    "$1" serve --standalone "$folder/cluster" --issuer "$issuer" --drain 0s --log-level warn \
        --listen "127.0.0.1:$2" --admin-listen "127.0.0.1:$(($2 + 1))" &
    servers+=($!)
    urls+=("https://127.0.0.1:$2/mutate?timeout=2s")
}
echo_server() {
    "$echo_program" "$1" "127.0.0.1:$2" &
    servers+=($!)
    urls+=("https://127.0.0.1:$2/mutate?timeout=2s")
}
echo_server bare "$port"
serve "$rolegate" "$((port + 1))"
if [ -n "${BASELINE:-}" ]; then
    names+=(baseline)
    serve "$BASELINE" "$((port + 3))"
fi
if [ -n "${PARTS:-}" ]; then
    names+=(server reviews)
    echo_server server "$((port + 5))"
    echo_server reviews "$((port + 6))"
fi
for i in "${!urls[@]}"; do
    curl --silent --insecure --fail --retry 20 --retry-connrefused --retry-delay 1 --output "$folder/answer" \
        --header 'Content-Type: application/json' --data-binary "@$folder/review.json" "${urls[i]}"
    case ${names[i]} in
        rolegate | baseline)
            grep -q '"patch":' "$folder/answer" || { echo "load.sh: no pod was injected:" >&2; cat "$folder/answer" >&2; exit 1; }
            ;;
    esac
done

# Runs one round and prints its requests per second. Errors and answers other than 200 abort the script.
round() {
    local output
    output=$(wrk --threads 1 --connections "$1" --duration "${seconds}s" --script "$folder/post.lua" "$2")
    if grep -qE 'Non-2xx|Socket errors' <<<"$output"; then echo "$output" >&2; return 1; fi
    awk '/^Requests\/sec/ {print $2}' <<<"$output"
}
median() { sort -n | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

for connections in 16 1; do
    for name in "${names[@]}"; do : >"$folder/$name.rate" && : >"$folder/$name.ratio"; done
    for ((i = 0; i < rounds; i++)); do
        for j in "${!names[@]}"; do
            rate=$(round "$connections" "${urls[j]}")
            [ "$j" -gt 0 ] || echo_rate=$rate
            echo "$rate" >>"$folder/${names[j]}.rate"
            awk -v a="$rate" -v b="$echo_rate" 'BEGIN {print a / b}' >>"$folder/${names[j]}.ratio"
        done
    done
    for name in "${names[@]}"; do
        awk -v c="$connections" -v n="$name" -v a="$(median <"$folder/$name.rate")" -v b="$(median <"$folder/echo.rate")" \
            -v r="$(median <"$folder/$name.ratio")" \
            'BEGIN {printf "%2d connections: %-9s %8.0f/s   ratio of medians %.2f   median of ratios %.2f\n", c, n, a, a / b, r}'
    done
done
