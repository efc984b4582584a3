#!/bin/sh
# PEFT's own tests, of the version that is installed: only its source distribution holds them.
set -eu
version=$(.venv/bin/python -c 'from importlib.metadata import version; print(version("peft"))')
target=.venv/peft-source
[ -e "$target/$version" ] && exit 0
rm -rf "$target" && mkdir -p "$target"
.venv/bin/python -m pip --disable-pip-version-check download --quiet --no-deps --no-binary peft --no-build-isolation \
    --dest "$target" "peft==$version"
tar -xzf "$target/peft-$version.tar.gz" -C "$target" --strip-components=1 "peft-$version/tests"
mv "$target/tests" "$target/peft_tests" # as `tests` they would hide ours
touch "$target/$version"
