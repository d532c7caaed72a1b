# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A second stock kernel, as a control: the newest version in the backports suite whose C driver reports a start
# without space as a success. Only its image and its driver are kept.

CONTROL_RELEASE=6.18.12+deb13-arm64

build_kernel_control() {
	local out=$1 release=$2
	fetch_alone arm64 "linux-image-$release"
	alone arm64 "linux-image-$release" | unpack "$out/packages"
	mkdir "$out/stock"
	mv "$out/packages/boot/vmlinuz-$release" "$out/stock/vmlinuz"
	mv "$out/packages/usr/lib/modules/$release/kernel/drivers/perf" "$out/stock/"
	rm -rf "$out/packages"
}

# The suite keeps an old version for some time only. If it is gone and was not fetched before, there is no control, and
# its tests are skipped.
want_kernel_control() {
	local build=(step kernel-control build_kernel_control "$CONTROL_RELEASE" --)
	plan=1 missing='' "${build[@]}"
	if [ ! -d "$result" ] && ! apt-cache -c "$CACHE/apt/arm64.conf" show "linux-image-$CONTROL_RELEASE" >/dev/null 2>&1; then
		say kernel-control "$SUITE-backports has no linux-image-$CONTROL_RELEASE any more: no control with it"
		return 0
	fi
	"${build[@]}"
	export ARM_SPE_CONTROL=$result/stock ARM_SPE_CONTROL_RELEASE=$CONTROL_RELEASE
}
