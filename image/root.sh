#!/bin/sh
# Creates the root file system of the container image: image/root.sh PROGRAM ROOT
#
# It contains the program, its shared libraries, the configuration to resolve host names, and the CA certificates of the build system. Used
# by the Dockerfile and by tests/image.rs, which runs the image.
#
# The program is linked dynamically, so that the image contains the binary that CI has tested. A static build would compile every dependency
# a second time. glibc 2.34 and later resolves names from /etc/hosts and DNS without loading further libraries at run time.
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

# Files first, as in every distribution. glibc's default would query DNS for localhost.
printf 'hosts: files dns\n' | install -D -m 0644 /dev/stdin "$root/etc/nsswitch.conf"

# Parses lines such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`. A static
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
