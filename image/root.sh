#!/bin/sh
# Lays out the root of the container image: image/root.sh PROGRAM ROOT
#
# The program, the shared libraries that it names, what these need to resolve host names, and the CA certificates of the system that it
# was built on. Used by the Dockerfile, and by tests/image.rs, which runs what comes of it.
#
# The libraries are copied rather than linked in, so that what CI has built and tested already is what is put together: a
# static build compiles every dependency a second time. From 2.34 on glibc resolves names from /etc/hosts and DNS by itself,
# without libraries that it would have to look for at run time.
set -eu

if [ $# -ne 2 ]; then
    echo "usage: $0 PROGRAM ROOT" >&2
    exit 2
fi
program=$1
root=$2
certificates=/etc/ssl/certs/ca-certificates.crt

if [ ! -s "$certificates" ]; then
    echo "$0: no $certificates: install the package ca-certificates" >&2
    exit 1
fi
install -D -m 0755 "$program" "$root/rolegate"
install -D -m 0644 "$certificates" "$root$certificates"

# Files first, as every distribution has it; glibc's own default would ask DNS for localhost.
printf 'hosts: files dns\n' | install -D -m 0644 /dev/stdin "$root/etc/nsswitch.conf"

# Lines such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`. A static
# program has none, and ldd fails.
libraries=$(ldd "$program" 2>/dev/null || true)
case $libraries in
*"not found"*)
    echo "$0: $program needs a library that is missing:" >&2
    echo "$libraries" >&2
    exit 1
    ;;
esac
echo "$libraries" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | while read -r library; do
    install -D -m 0755 "$library" "$root$library"
done
