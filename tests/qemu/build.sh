#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build the QEMU that emulates FEAT_SPE.
#
#   build.sh SRC OUT [--unpatched|--sanitize]
#
# SRC is the unpacked source of the distribution's QEMU; it is modified. OUT is a directory for the result: OUT/qemu-system-aarch64.
# With --unpatched, the same configuration is built without the model, for comparison; with --sanitize, together with the
# address sanitizer and the sanitizer of undefined behaviour.
# Runs in an environment with QEMU's build dependencies: gcc, meson, ninja, python3 with venv, glib, libfdt.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
fail() { echo "tests/qemu/build.sh: $*" >&2; exit 1; }

[ $# -ge 2 ] || fail "usage: build.sh SRC OUT [--unpatched|--sanitize]"
src=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
variant=${3:-}
jobs=${JOBS:-$(nproc)}

[ -d "$src/target/arm" ] || fail "$src is not a QEMU source tree"

sanitizers=()
case $variant in
--sanitize) sanitizers=(--enable-asan --enable-ubsan) ;;
'' | --unpatched) ;;
*) fail "$variant: no such variant" ;;
esac

if [ "$variant" != --unpatched ]; then
    for patch in "$here"/patches/*.patch; do
        patch -d "$src" -p1 --forward --silent --fuzz=0 <"$patch" ||
            fail "$(basename "$patch") does not apply to QEMU $(<"$src/VERSION"): start from the pristine source"
    done
    cp "$here/arm-spe.c" "$src/target/arm/tcg/"
    cp "$here/arm-spe.h" "$src/target/arm/"
fi

# A machine to boot Linux on, and the few devices that the guest uses.
cat >"$src/configs/devices/aarch64-softmmu/arm-spe.mak" <<'EOF'
CONFIG_ARM_VIRT=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_RNG=y
EOF
# Not in the distribution's source, and not needed to boot Linux directly.
sed -i 's/^if unpack_edk2_blobs$/if false/' "$src/pc-bios/meson.build"
# Needed by QEMU's functional tests only.
sed -i '/^pycotap *=/d' "$src/pythondeps.toml"

cc=$(command -v gcc-14 || command -v gcc) || fail "no C compiler found: install gcc"
mkdir -p "$src/build"
cd "$src/build"
../configure --cc="$cc" --host-cc="$cc" \
    --target-list=aarch64-softmmu \
    --without-default-features --without-default-devices \
    --with-devices-aarch64=arm-spe \
    --enable-system --enable-tcg --enable-plugins --enable-fdt=system \
    --disable-download --disable-docs --disable-tools \
    --disable-install-blobs "${sanitizers[@]}" >configure.log 2>&1 ||
    { tail -n 20 configure.log >&2; fail "configure failed (the lines above)"; }
ninja -j "$jobs" qemu-system-aarch64 || fail "the compiler failed (the lines above)"
cp qemu-system-aarch64 "$out/qemu-system-aarch64.new"
mv "$out/qemu-system-aarch64.new" "$out/qemu-system-aarch64"
