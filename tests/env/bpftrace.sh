# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Debian's bpftrace for the guest: an initramfs with those of its libraries that the guest's own does not have.

bpftrace_packages() { with_dependencies arm64 bpftrace | grep -vxFf <(with_dependencies arm64 "${GUEST_PACKAGES[@]}"); }

build_bpftrace() {
	local root=$1/root
	fetch_with_dependencies arm64 bpftrace
	bpftrace_packages | unpack "$root"
	rm -rf "$root"/usr/{include,sbin,share}
	# The links of unpack are in the guest's own.
	rm "$root"/{bin,sbin,lib,lib64}
	WORKDIR=$root enter_root "$ROOT" bash -euo pipefail -c \
		'find usr -print0 | LC_ALL=C sort -z | cpio --null -o -H newc -R 0:0 --quiet -O ../initramfs.cpio'
	rm -rf "$root"
}

want_bpftrace() {
	want_root
	step bpftrace build_bpftrace -- "$(bpftrace_packages)" "$(declare -f unpack)"
	export ARM_SPE_BPFTRACE=$result/initramfs.cpio
}
